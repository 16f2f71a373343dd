# SPDX-License-Identifier: Apache-2.0
# Every process of a running machine is under a filter, without privileges and with nothing open that is not its own; a
# machine's process that a guest commands (a test program, takeover.c) is refused what it tries, and says so; sockets and
# processes are gone however a machine ends.
export XDG_RUNTIME_DIR="$TMPDIR/run"
mkdir -p "$XDG_RUNTIME_DIR" "$TMPDIR/shared"
[ -n "$("$BUILD/doppel" boot --help | grep -e --no-sandbox)" ] || exit 1
TAKEOVER="$BUILD/tests/hostile/takeover"

fail() {
	echo "$1"
	tail -n 5 "$TMPDIR/out" "$TMPDIR/err" 2>/dev/null
	exit 1
}

# The letter stands in the multiboot command line: the byte behind its '#'.
{
	printf '.section .text\n.align 4\n.long 0x1badb002, 0, -0x1badb002\n.globl _start\n_start:\n'
	printf 'mov 16(%%ebx), %%esi\n1: lodsb\ncmp $0x23, %%al\njne 1b\nlodsb\nmov $0xe9, %%edx\nout %%al, (%%dx)\n'
	printf 'mov $0x3f8, %%edx\nmov $0x2a, %%al\nout %%al, (%%dx)\n2: cli\nhlt\njmp 2b\n'
} >"$TMPDIR/puppet.s"
as --32 -o "$TMPDIR/puppet.o" "$TMPDIR/puppet.s" &&
	ld -m elf_i386 -Ttext 0x100000 -e _start -o "$TMPDIR/puppet" "$TMPDIR/puppet.o" || exit 1

await() {
	tries=0
	until eval "$1"; do
		tries=$((tries + 1))
		[ $tries -lt 300 ] || fail "$2"
		sleep 0.1
	done
}

children() {
	cat /proc/"$1"/task/*/children 2>/dev/null
}

field() {
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

if "$DOPPEL" doctor | grep -q "sandbox *no *this build"; then
	echo "this build has no sandbox: it makes system calls of its own"
	exit 77
fi

# 1. What is in force.
for engine in translate direct; do
	: >"$TMPDIR/out"
	timeout 60 "$DOPPEL" boot --name "sandbox-$$" --engine $engine --memory 64M --kernel "$TMPDIR/puppet" --append "#." \
		--share "$TMPDIR/shared:x" --net user --serial stdio --serial "unix:$TMPDIR/com2" --timeout 50 \
		<&- 3</etc/passwd >"$TMPDIR/out" 2>"$TMPDIR/err" &
	timer=$!
	await 'grep -q "[*]" "$TMPDIR/out"' "the guest did not begin"
	vm=$(children $timer | tr -d ' ')
	count=0
	for pid in $vm $(children $vm); do
		[ "$(field $pid Seccomp)" = 2 ] || fail "$(cat /proc/$pid/comm): no filter"
		[ "$(field $pid NoNewPrivs)" = 1 ] || fail "$(cat /proc/$pid/comm): new privileges"
		! ls -l /proc/$pid/fd | grep -q 'passwd' || fail "$(cat /proc/$pid/comm) holds the caller's file"
		count=$((count + 1))
	done
	[ $count -ge 4 ] || fail "$count processes, not those of machine, keeper, files and network"
	for task in /proc/$vm/task/*; do
		grep -q "^Seccomp:.2" $task/status || fail "a thread without a filter"
	done
	[ "$(field $vm CapEff)$(field $vm CapBnd)" = 00000000000000000000000000000000 ] || fail "the machine has privileges"
	if unshare -Un true 2>/dev/null; then
		[ "$(readlink /proc/$vm/ns/net)" != "$(readlink /proc/self/ns/net)" ] || fail "the host's network"
		[ "$(readlink /proc/$vm/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ] || fail "the host's files"
		[ -z "$(ls -A /proc/$vm/root/ 2>/dev/null)" ] || fail "the machine sees files"
	fi
	# 2. Killed, it leaves nothing: the keeper takes the sockets away, the others end with it.
	others=$(children $vm)
	[ -S "$TMPDIR/com2" ] || fail "no socket for COM2"
	kill -KILL $vm
	wait $timer 2>/dev/null
	await '[ ! -e "$TMPDIR/com2" ] && [ -z "$(ls "$XDG_RUNTIME_DIR/doppel")" ]' "sockets were left behind"
	for pid in $others; do
		await "[ ! -d /proc/$pid ] || grep -q zombie /proc/$pid/status" "process $pid was left behind"
	done
done

# 3. Without it.
: >"$TMPDIR/out"
timeout 60 "$DOPPEL" boot --no-sandbox --memory 64M --kernel "$TMPDIR/puppet" --append "#." --timeout 50 \
	</dev/null >"$TMPDIR/out" 2>"$TMPDIR/err" &
timer=$!
await 'grep -q "[*]" "$TMPDIR/out"' "the guest did not begin"
vm=$(children $timer | tr -d ' ')
[ "$(field $vm Seccomp)" = "$(field self Seccomp)" ] || fail "--no-sandbox has a filter"
kill -TERM $vm
wait $timer

# 4. Where a filter stands already and forbids namespaces and mounts, as container runtimes do, the rest holds.
if command -v python3 >/dev/null; then
	cat >"$TMPDIR/container.py" <<'E'
import ctypes, os, struct, sys
forbidden = [165, 272]  # mount, unshare
op = lambda code, yes, no, k: struct.pack("HBBI", code, yes, no, k)
program = op(0x20, 0, 0, 0)
for i, number in enumerate(forbidden):
    program += op(0x15, len(forbidden) - i, 0, number)
program += op(6, 0, 0, 0x7fff0000) + op(6, 0, 0, 0x50001)
code = ctypes.create_string_buffer(program, len(program))
class Filter(ctypes.Structure):
    _fields_ = [("n", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, ctypes.addressof(code)))):
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
E
	python3 "$TMPDIR/container.py" "$DOPPEL" doctor >"$TMPDIR/out" 2>&1
	grep -q "seccomp: filters of system calls can be set" "$TMPDIR/out" || fail "doctor knows no seccomp behind a filter"
	grep "in force" "$TMPDIR/out" | grep -q "seccomp" || fail "doctor: nothing in force behind a filter"
	grep "in force" "$TMPDIR/out" | grep -q "user" && fail "doctor: a user namespace, where none can be made"
	timeout 60 python3 "$TMPDIR/container.py" "$DOPPEL" boot --memory 64M --kernel "$TMPDIR/puppet" --append "#." \
		--timeout 3 </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
	grep -q "[*]" "$TMPDIR/out" || fail "the guest did not begin behind a filter"
fi

# 5. A guest that commands the machine's process.
for letter in r w x s f p P t n; do
	timeout 60 "$TAKEOVER" boot -q --memory 64M --kernel "$TMPDIR/puppet" --append "#$letter" --debugcon none --timeout 20 \
		</dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
	status=$?
	[ $status = 125 ] || fail "attack $letter: status $status"
	grep -q "the sandbox refused the system call [a-z0-9_]* ([0-9]*)" "$TMPDIR/err" || fail "attack $letter: no sentence"
	! grep -q SUCCEEDED "$TMPDIR/err" || fail "attack $letter succeeded"
done
timeout 60 "$TAKEOVER" boot -q --no-sandbox --memory 64M --kernel "$TMPDIR/puppet" --append "#r" --debugcon none --timeout 2 \
	</dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
grep -q "attack r: SUCCEEDED" "$TMPDIR/err" || fail "the test attacks nothing"
exit 0
