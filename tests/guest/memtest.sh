# SPDX-License-Identifier: Apache-2.0
# memtest86+ with two processors and 32 MiB, on the serial console: its first tests find no error.
packages=build/guest/packages
tools/fetch-package $packages memtest86+ 2>"$TMPDIR/fetch" || { tail -n 1 "$TMPDIR/fetch"; exit 77; }
[ -z "$SHORT" ] || { echo "memtest86+ needs the speed of an ordinary build"; exit 77; }
# The screen is drawn now and then: a short test may never be seen on it.
last='#([2-9]|10) '
[ -z "$LONG" ] || last='#([6-9]|10) '

: >"$TMPDIR/out"
"$DOPPEL" boot -q --kernel "$packages/memtest86+/boot/memtest86+x64.bin" --append "console=ttyS0,115200" --cpus 2 \
	--memory 32M --no-reboot --serial "file:$TMPDIR/out" --timeout "${LONG:+3}500" </dev/null 2>"$TMPDIR/err" &
pid=$!
while kill -0 $pid 2>/dev/null && ! grep -qaE "$last" "$TMPDIR/out"; do sleep 0.5; done
kill $pid 2>/dev/null
wait $pid
grep -qaE "$last" "$TMPDIR/out" || { tail -c 3000 "$TMPDIR/out"; cat "$TMPDIR/err"; echo "the first tests were not passed"; exit 1; }
grep -qa "2 Cores 2 Threads" "$TMPDIR/out" || { echo "not two processors"; exit 1; }
errors=$(grep -ao "Errors: *[0-9]*" "$TMPDIR/out" | tr -dc '0-9\n' | sort -nr | head -n 1)
[ "${errors:-0}" = 0 ] || { tail -c 3000 "$TMPDIR/out"; echo "memtest86+ found $errors errors"; exit 1; }
echo "memtest86+ came to test $(grep -aoE "$last" "$TMPDIR/out" | tail -n 1)"
