# SPDX-License-Identifier: Apache-2.0
# tests/guest/smp.c with 2, 4 and 8 processors, and under QEMU's TCG with a thread a processor as a witness.
elf=$BUILD/tests/guest/smp.elf
for cpus in 2 4 8; do
	[ "$cpus" = 8 ] && [ -n "$SHORT" ] && continue
	"$DOPPEL" boot -q --cpus $cpus --kernel "$elf" --debug-exit --timeout 240 >"$TMPDIR/out" 2>&1
	status=$?
	tail -n 1 "$TMPDIR/out"
	[ $status = 1 ] && grep -q "^$cpus processors" "$TMPDIR/out" && continue
	cat "$TMPDIR/out"
	echo "$cpus processors: status $status"
	exit 1
done
[ -n "$SHORT" ] && exit 0
command -v qemu-system-x86_64 >/dev/null || { echo "(no qemu-system-x86_64 to be a witness)"; exit 0; }
objcopy -O elf32-i386 "$elf" "$TMPDIR/smp.elf32" || exit 1
timeout 240 qemu-system-x86_64 -accel tcg,thread=multi -smp 4 -cpu max -m 512 -display none -serial stdio -no-reboot \
	-device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "$TMPDIR/smp.elf32" >"$TMPDIR/out" 2>&1
tr -d '\r' <"$TMPDIR/out" | grep -q "^[0-9]* passed, [0-9]* failed" || { cat "$TMPDIR/out"; echo "the witness did not end"; exit 1; }
tr -d '\r' <"$TMPDIR/out" | sed -n 's/^\(FAIL .*\): want .*/\1/p' | grep -vxFf tests/guest/smp.tcg >"$TMPDIR/new" &&
	{ cat "$TMPDIR/new"; echo "the witness disagrees where tests/guest/smp.tcg does not say so"; exit 1; }
echo "witness: $(tail -n 1 "$TMPDIR/out" | tr -d '\r')"
