# SPDX-License-Identifier: Apache-2.0
# The gdb stub and --trace: gdb stops a bare guest at a function by name, steps, reads registers of every kind and writes
# memory; it attaches to a running Debian kernel and stops it in a system call; the guest then ends as if nothing was.
. tests/guest/debian.inc
command -v gdb >/dev/null || { echo "gdb is not installed"; exit 77; }

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

expect() {
	grep -Eq "$2" "$1" || { echo "gdb did not say '$2':"; cat "$1"; exit 1; }
}

port=$(free_port)
elf=$BUILD/tests/guest/exceptions.elf
"$DOPPEL" boot -q --kernel "$elf" --debug-exit --gdb="$port" --wait --timeout 200 \
	--trace=exceptions,softints,cr,mode,msr --trace-file="$TMPDIR/trace0" --symbols "$elf" >"$TMPDIR/bare" 2>&1 &
vm=$!
sleep 1
timeout 180 gdb -nx -batch -ex "target remote 127.0.0.1:$port" -ex "break guest_main" -ex continue -ex "bt 1" \
	-ex "set \$before = \$pc" -ex stepi -ex "printf \"stepped %d\n\", \$pc != \$before" -ex "info threads" \
	-ex "printf \"cr0 %#lx\n\", \$cr0" -ex "p \$xmm1.uint128" -ex "p \$st0" -ex "info registers mxcsr fctrl" \
	-ex "set var kit_gdt[20] = 0x1234" -ex "printf \"memory %#lx\n\", kit_gdt[20]" \
	-ex "tbreak kit_done" -ex continue -ex "delete" -ex continue "$elf" >"$TMPDIR/gdb1" 2>&1
wait $vm
[ $? = 1 ] || { cat "$TMPDIR/bare" "$TMPDIR/gdb1"; exit 1; }
expect "$TMPDIR/gdb1" "Breakpoint 1, guest_main"
expect "$TMPDIR/gdb1" "stepped 1"
expect "$TMPDIR/gdb1" "vCPU 0, running"
expect "$TMPDIR/gdb1" "cr0 0x80010033"
expect "$TMPDIR/gdb1" "mxcsr  *0x1f80"
expect "$TMPDIR/gdb1" "memory 0x1234"
expect "$TMPDIR/gdb1" "breakpoint 2, kit_done"

for line in "exception #DE" "exception #GP error 0xfff8" "exception #PF|exception #NP" "int 0x3 rax" "cr0 0x" "mode 64-bit cpl 0" \
	"_start\+0x[0-9a-f]*  msr 0xc0000080 written 0x901"; do
	expect "$TMPDIR/trace0" "$line"
done

if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
tools/make-initramfs "$guest" tests/guest/gdb.commands || exit 1
port=$(free_port)
"$DOPPEL" boot -q --kernel "$guest/vmlinuz" --initrd "$guest/gdb.commands.gz" --append "console=ttyS0 quiet nokaslr" \
	--gdb="$port" --timeout 400 --trace=syscalls --trace-file="$TMPDIR/trace" >"$TMPDIR/console" 2>&1 &
vm=$!
for i in $(seq 400); do
	addr=$(tr -d '\r' <"$TMPDIR/console" | sed -n 's/^\([0-9a-f]*\) T __x64_sys_newuname$/\1/p')
	[ -n "$addr" ] && break
	kill -0 $vm 2>/dev/null || break
	sleep 1
done
[ -n "$addr" ] || fail "the guest did not say where the system call is"
timeout 180 gdb -nx -batch -ex "target remote 127.0.0.1:$port" -ex "hbreak *0x$addr" -ex continue \
	-ex "printf \"at %#lx\n\", \$pc" -ex "x/i \$pc" -ex "delete" -ex detach >"$TMPDIR/gdb2" 2>&1
wait $vm
status=$?
[ $status = 0 ] || { cat "$TMPDIR/gdb2"; fail "the guest ended with status $status"; }
expect "$TMPDIR/gdb2" "at 0x$addr"
grep -q "^script: done" "$TMPDIR/console" || fail "the guest did not go on after gdb left"
grep -q "syscall 63 " "$TMPDIR/trace" || { echo "the trace has no uname system call"; exit 1; }
echo "stopped in a bare guest and in Debian's kernel; $(wc -l <"$TMPDIR/trace") system calls traced"
