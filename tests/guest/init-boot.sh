#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# INIT of the boot processor sends it to the reset vector (SDM 3A 8.4.2, 10.4.7.3), where a board without firmware has a
# page that restarts the machine, or obeys the shutdown code 0AH (MultiProcessor Specification B.4).
for engine in interp translate; do
	out=$("$DOPPEL" boot -q --engine $engine --kernel "$BUILD/tests/guest/events.elf" --append init --debug-exit \
		--timeout 60 2>&1)
	status=$?
	echo "$out"
	[ "$(echo "$out" | grep -c -x first)" = 1 ] && [ "$(echo "$out" | grep -c -x again)" = 1 ] && [ $status = 43 ] &&
		continue
	echo "$engine: status $status, want 43 after one restart"
	exit 1
done
