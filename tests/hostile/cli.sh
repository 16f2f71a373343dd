# SPDX-License-Identifier: Apache-2.0
# Absurd command lines: each ends with status 125 and one sentence, at once.
bad=0

# refuse WORDS-THAT-MUST-BE-SAID ARGUMENTS …
refuse() {
	want=$1
	shift
	timeout 20 "$DOPPEL" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null
	status=$?
	if [ $status != 125 ] || [ "$(wc -l <"$TMPDIR/err")" != 1 ] || ! grep -qF -- "$want" "$TMPDIR/err"; then
		echo "doppel $*: status $status, said: $(cat "$TMPDIR/err")"
		bad=1
	fi
}

head -c 100000 /dev/zero >"$TMPDIR/zeroes"
head -c 100000 /dev/urandom >"$TMPDIR/noise"
: >"$TMPDIR/empty"
refuse "frobnicate" frobnicate
refuse "behind '--'" run true
refuse "not available" console
refuse "--kernel" boot
refuse "cannot open disk 'disk.img'" boot disk.img
refuse "'b' is one image more than 'a'" boot a b
ln "$TMPDIR/zeroes" "$TMPDIR/also"
refuse "also' is given twice" boot "$TMPDIR/zeroes,readonly" --disk "$TMPDIR/also"
rm "$TMPDIR/also"
refuse "give a disk image" boot --memory 64M
refuse "exclude each other" boot --kernel k --firmware f
refuse "--append is for a kernel" boot --append x disk.img
refuse "cannot open firmware" boot --firmware /nonexistent
refuse "--debugcon" boot --debugcon none,port=0 --kernel k
refuse "does not count instructions" boot --engine direct --record "$TMPDIR/log" --kernel k
refuse "give 64, 32 or 16" boot --linux-entry 8 --kernel k
refuse "/nonexistent" boot --kernel /nonexistent
refuse "is empty" boot --kernel "$TMPDIR/empty"
refuse "not a kernel" boot --kernel "$TMPDIR/zeroes"
refuse "not a kernel" boot --kernel "$TMPDIR/noise"
refuse "directory" boot --kernel /
refuse "--memory" boot --kernel "$TMPDIR/zeroes" --memory 0
refuse "--memory" boot --kernel "$TMPDIR/zeroes" --memory -1
refuse "--memory" boot --kernel "$TMPDIR/zeroes" --memory 99999999999999999999
refuse "--memory" boot --kernel "$TMPDIR/zeroes" --memory 12Q
refuse "--cpus" boot --kernel "$TMPDIR/zeroes" --cpus 65
refuse "engine" boot --kernel "$TMPDIR/zeroes" --engine warp
refuse "engine" boot --kernel "$TMPDIR/zeroes" --engine nosuch
refuse "--serial" boot --kernel "$TMPDIR/zeroes" --serial telepathy
refuse "stdio" boot --kernel "$TMPDIR/zeroes" --serial stdio --serial stdio
refuse "--nonsense" boot --nonsense
refuse "--kernel needs" boot --kernel
refuse "takes no" doctor now
refuse "no command" help frobnicate
[ $bad = 0 ] && echo "all refused"
exit $bad
