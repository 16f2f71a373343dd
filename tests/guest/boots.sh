# SPDX-License-Identifier: Apache-2.0
# Boots in a row, because a lost wake-up or a race of starting processors does not show each time: a freestanding guest with
# 2 to 8 processors (litmus.c, few rounds), ten of them; the long form takes 1,000, and 100 of Debian's kernel with 2, 4
# and 8. BOOTS and DEBIAN_BOOTS say otherwise.
elf=$BUILD/tests/guest/litmus.elf
if [ -n "$LONG" ]; then
	boots=${BOOTS:-1000} debian=${DEBIAN_BOOTS:-100}
else
	boots=${BOOTS:-10} debian=${DEBIAN_BOOTS:-0}
fi

n=0
while [ $n -lt "$boots" ]; do
	n=$((n + 1))
	cpus=$((1 << (n % 3 + 1)))
	engine=$([ $((n % 4)) = 0 ] && echo interp || echo translate)
	timeout 120 "$DOPPEL" boot -q --engine $engine --cpus $cpus --kernel "$elf" --append rounds=16 --debug-exit --timeout 100 \
		>"$TMPDIR/out" 2>&1
	status=$?
	[ $status = 1 ] && continue
	cat "$TMPDIR/out"
	echo "boot $n, $cpus processors, $engine: status $status"
	exit 1
done
echo "$boots boots of the litmus guest"
[ "$debian" -gt 0 ] || exit 0

guest=build/guest
tools/fetch-guest "$guest" cloud-amd64 >"$TMPDIR/out" 2>&1 || { cat "$TMPDIR/out"; echo "Debian's kernel could not be fetched"; exit 77; }
echo "cat /proc/interrupts | grep -c . ; echo script: done" >"$TMPDIR/commands"
tools/make-initramfs "$guest" "$TMPDIR/commands" || exit 1
n=0
while [ $n -lt "$debian" ]; do
	n=$((n + 1))
	cpus=$((1 << (n % 3 + 1)))
	timeout 200 "$DOPPEL" boot -q --memory 256M --cpus $cpus --kernel "$guest/vmlinuz" --initrd "$guest/commands.gz" \
		--append "console=ttyS0 quiet" --timeout 180 >"$TMPDIR/out" 2>&1
	status=$?
	[ $status = 0 ] && tr -d '\r' <"$TMPDIR/out" | grep -q "^script: done" && continue
	tail -n 40 "$TMPDIR/out"
	echo "boot $n of Debian's kernel, $cpus processors: status $status"
	exit 1
done
echo "$debian boots of Debian's kernel"
