# SPDX-License-Identifier: Apache-2.0
# tests/guest/farlinks.c with 2 and 4 processors under the translator, with and without links to other pages.
elf=$BUILD/tests/guest/farlinks.elf
for options in "--cpus 2" "--cpus 2 -O all,-far" "--cpus 4"; do
	"$DOPPEL" boot -q --engine translate $options --kernel "$elf" --debug-exit --timeout 100 >"$TMPDIR/out" 2>&1
	status=$?
	[ $status = 1 ] && grep -q "^[24] processors" "$TMPDIR/out" && continue
	cat "$TMPDIR/out"
	echo "$options: status $status"
	exit 1
done
tail -n 1 "$TMPDIR/out"
