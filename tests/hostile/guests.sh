# SPDX-License-Identifier: Apache-2.0
# Guests that mean harm (storm.c): each ends by itself, by a triple fault or by the clock, and doppel ends with it: no
# crash, no sanitizer's report, no hang, no growth. Then: a guest that cannot be stopped from inside is ended from outside.
bad=0
cases=0
: "${ASAN_OPTIONS:=exitcode=99}" "${UBSAN_OPTIONS:=exitcode=99}" "${SEED:=1}"
export ASAN_OPTIONS UBSAN_OPTIONS
seconds=2
seeds=1
[ -n "$SHORT" ] && seconds=1
[ -n "$LONG" ] && seeds=10 seconds=8

complain() {
	echo "$1: status $status, said: $(head -c 2000 "$TMPDIR/err")"
	bad=1
}

for guest in storm rings; do
	gcc -std=gnu11 -O2 -g -Wall -Wextra -Itests/guest -ffreestanding -fno-pie -no-pie -nostdlib -static -mno-red-zone \
		-mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
		-Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -T tests/guest/kit/kit.ld \
		-o "$TMPDIR/$guest" tests/hostile/$guest.c tests/guest/kit/*.c tests/guest/kit/*.S || exit 1
done

# storm SCENARIO CPUS: what it prints at its end is "done"; the clock and triple faults are other ends.
storm() {
	cases=$((cases + 1))
	timeout -k 1 $((seconds + 30)) "$DOPPEL" boot -q --memory 32M --cpus "$2" --testdev --no-reboot --debug-exit \
		--timeout $seconds --stats=json --kernel "$TMPDIR/storm" --append "$1 $SEED" >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null
	status=$?
	case $status in
	0 | 1 | 125) ;;
	124) grep -q "triple-faulted" "$TMPDIR/err" || complain "$1 $SEED (does not end)" ;;
	*) [ $((status & 1)) = 1 ] && [ $status -lt 90 ] || complain "$1 $SEED" ;;
	esac
	if grep -qE "runtime error|Sanitizer|Assertion" "$TMPDIR/err"; then complain "$1 $SEED"; fi
	# 32 MiB of guest, the caches of the engine, and the sanitizers' shadow.
	rss=$(sed -n 's/^ *"peak_rss_kib": \([0-9]*\),*$/\1/p' "$TMPDIR/err")
	[ "${rss:-0}" -lt 1500000 ] || complain "$1 $SEED: $rss KiB"
	if [ -n "$V" ]; then echo "$1 $SEED: $status $(tail -c 200 "$TMPDIR/out" | tail -n 1) ($rss KiB)"; fi
}

while [ $seeds -gt 0 ]; do
	for scenario in ports msrs mmio apic tables descriptors stacks fetch strings timers hpet pci fwcfg serial code insns; do
		storm $scenario 1
	done
	storm ports 2
	storm mmio 2
	storm pci 2
	seeds=$((seeds - 1))
	SEED=$((SEED + 1))
done

# Virtio rings that other processors change under the devices: it comes to its end, and devices did work on the way.
truncate -s 1M "$TMPDIR/disk"
for cpus in 1 3; do
	cases=$((cases + 1))
	timeout -k 1 120 "$DOPPEL" boot -q --memory 32M --cpus $cpus --no-reboot --debug-exit --timeout 100 --stats=json \
		--kernel "$TMPDIR/rings" --append "$SEED" --disk "$TMPDIR/disk,overlay" --virtio-console none \
		--virtio-console "file:$TMPDIR/port,name=port" >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null
	status=$?
	[ $status = 1 ] || complain "rings $SEED, $cpus processors"
	if grep -qE "runtime error|Sanitizer|Assertion" "$TMPDIR/err"; then complain "rings $SEED, $cpus processors"; fi
	for counter in virtio.broken virtio.requests; do
		[ "$(sed -n "s/^ *\"$counter\": \([0-9]*\),*$/\1/p" "$TMPDIR/err")" -gt 10 ] || complain "rings: few $counter"
	done
done

# ended WANTED-STATUS WHAT: spin.sh-like guests from outside, within five seconds.
ended() {
	cases=$((cases + 1))
	[ "$status" = "$1" ] || complain "$2"
}

for scenario in spin flood timers; do
	for sig in TERM INT HUP; do
		[ -n "$SHORT" ] && [ $sig != TERM ] && continue
		"$DOPPEL" boot -q --memory 32M --kernel "$TMPDIR/storm" --append "$scenario 1" >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null &
		pid=$!
		sleep 1
		# A shell's background job ignores SIGINT, and doppel then leaves it so.
		[ $sig = INT ] && sig=TERM
		kill -$sig $pid
		(sleep 8; kill -KILL $pid 2>/dev/null) &
		guard=$!
		wait $pid
		status=$?
		kill $guard 2>/dev/null
		[ $sig = HUP ] && ended 129 "SIGHUP to $scenario"
		[ $sig = TERM ] && ended 143 "SIGTERM to $scenario"
	done
done

# The console's key, with the guest's output never read.
for scenario in spin flood; do
	python3 - "$DOPPEL" "$TMPDIR/storm" $scenario 2>"$TMPDIR/err" <<'E'
import os, pty, select, signal, sys, time
pid, fd = pty.fork()
if not pid:
	os.execv(sys.argv[1], [sys.argv[1], "boot", "-q", "--memory", "32M", "--kernel", sys.argv[2], "--append", sys.argv[3] + " 1"])
time.sleep(2)
os.write(fd, b"\x01x")
end = time.time() + 8
while time.time() < end:
	done, status = os.waitpid(pid, os.WNOHANG)
	if done:
		sys.exit(os.waitstatus_to_exitcode(status))
	# The last of the output is flushed for a second at most.
	time.sleep(0.1)
os.kill(pid, signal.SIGTERM)
time.sleep(3)
os.kill(pid, signal.SIGKILL)
sys.exit(98)
E
	status=$?
	ended 0 "Ctrl-a x to $scenario, output not read"
done

[ $bad = 0 ] && echo "$cases runs, none broke anything"
exit $bad
