#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The translator with its optimisations off in pairs (tests/matrix.def), and each off alone: the fast freestanding guests,
# with LONG all but the one that measures time.
set -u
guests="events exceptions paging ports realmode selfmod smp system tasks"
[ -z "$LONG" ] || guests="$guests paging32 segments"
[ -z "$SHORT" ] || guests="selfmod segments"
alone=$(sed -n 's/^OPT([A-Z0-9_]*, "\([^"]*\)".*/-\1/p' src/engine/translate/opts.def)
bad=0
n=0
tools/make-matrix --check || exit 1
for list in $(grep -v '^#' tests/matrix.def) $alone; do
	for guest in $guests; do
		elf=$BUILD/tests/guest/$guest.elf
		[ -e "$elf" ] || continue
		out=$("$DOPPEL" boot -q --engine translate -O "$list" --kernel "$elf" --debug-exit --timeout 100 2>&1)
		status=$?
		n=$((n + 1))
		[ "$status" = 1 ] && continue
		bad=$((bad + 1))
		echo "FAIL -O $list $guest: status $status"
		echo "$out" | grep -v ' ok' | tail -5
	done
done
echo "$n runs, $bad failed"
[ "$bad" = 0 ]
