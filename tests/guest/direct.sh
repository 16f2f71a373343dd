# SPDX-License-Identifier: Apache-2.0
# The engine `direct` with a Debian kernel: user code runs natively, and a program cannot tell (tests/guest/direct/user.c).
guest=build/guest
root=$TMPDIR/root

cannot() {
	echo "$1"
	exit 77
}

fail() {
	echo "$1"
	tail -n 30 "$TMPDIR/console"; grep direct "$TMPDIR/err" 2>/dev/null
	exit 1
}

# kill_mirrors MACHINE: the only processes that it has; the guest must not notice.
kill_mirrors() {
	killed=0
	while [ $killed -lt 8 ] && kill -0 $1 2>/dev/null; do
		sleep 0.5
		doppel=$(cat /proc/$1/task/$1/children 2>/dev/null) && [ -n "$doppel" ] || continue
		mirrors=$(cat /proc/${doppel% }/task/*/children 2>/dev/null)
		[ -n "$mirrors" ] && kill -9 $mirrors 2>/dev/null && killed=$((killed + 1))
	done
}

"$DOPPEL" doctor 2>&1 | grep -q "ok *--engine direct" || cannot "no process can be made for guest code"
# auto takes it where it gains something
for pair in "1 direct" "2 direct"; do
	timeout 60 "$DOPPEL" boot --cpus ${pair% *} --kernel "$BUILD/tests/guest/ports.elf" --debug-exit --timeout 50 </dev/null 2>&1 |
		tr -d '\r' | grep -qE "engine (${pair#* }|kvm) \(by default" || fail "auto did not take ${pair#* } for ${pair% *} CPU"
done

tools/fetch-guest $guest >"$TMPDIR/fetch" 2>&1 || cannot "Debian's kernel could not be fetched"
mkdir -p "$root"
${CC:-cc} -O2 -static -pthread -mno-red-zone -o "$root/user" tests/guest/direct/user.c || cannot "no static program can be made"
${CC:-cc} -O2 -static -pthread -o "$root/smp" tests/guest/direct/smp.c || cannot "no static program can be made"
tools/make-initramfs $guest tests/guest/direct.commands && tools/make-initramfs $guest tests/guest/direct-smp.commands || exit 1
(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0) >"$TMPDIR/initrd" # the kernel wants it first: it has to be aligned
cp "$TMPDIR/initrd" "$TMPDIR/initrd-smp"
cat $guest/direct.commands.gz >>"$TMPDIR/initrd"
cat $guest/direct-smp.commands.gz >>"$TMPDIR/initrd-smp"

timeout 240 "$DOPPEL" boot --engine direct -O -promote --cpu host,-aes --memory 256M --cpus 1 --timeout 200 --stats --audit=tlb,blocks \
	--kernel $guest/vmlinuz --initrd "$TMPDIR/initrd" --append "console=ttyS0 quiet" >"$TMPDIR/console" 2>"$TMPDIR/err" \
	</dev/null &
machine=$!

kill_mirrors $machine
wait $machine || fail "the guest ended with an error"
tr -d '\r' <"$TMPDIR/console" >"$TMPDIR/lines"
for want in "user: ok" "user: status 0" "93adf53fd1a0c9940e9a04e0061292e6bd1029b3888f4af8d424389c47551bcd" "      8 child" "script: done"; do
	grep -q "^$want" "$TMPDIR/lines" || fail "the console lacks the line '$want'"
done
grep -qE "segfault|trap |Oops|BUG:" "$TMPDIR/lines" && fail "the kernel complains"
grep -q "block audit: .* differs" "$TMPDIR/err" && fail "code and its copies differ"
entries=$(sed -n 's/^direct.entries  *\([0-9]*\) .*/\1/p' "$TMPDIR/err")
died=$(sed -n 's/^direct.died  *\([0-9]*\) .*/\1/p' "$TMPDIR/err")
breaks=$(sed -n 's/^direct.breaks  *\([0-9]*\) .*/\1/p' "$TMPDIR/err")
grep -q cpuid_fault /proc/cpuinfo || [ "${breaks:-0}" -gt 25 ] || fail "breakpoints stopped CPUID only ${breaks:-0} times"
[ "${died:-0}" -gt 0 ] || fail "no mirror was killed while the guest ran in it"
grep -qE "^user code: [0-9.]+ % of its time native" "$TMPDIR/err" || fail "the share of native user code is not told"
[ "${entries:-0}" -gt 100 ] || fail "user code did not run natively (${entries:-0} times)"

# Several vCPUs, with and without one each of the host's.
for cpus in 2 3; do
	timeout 240 "$DOPPEL" boot --engine direct -O -promote --memory 256M --cpus $cpus --timeout 200 --stats --audit=tlb,blocks \
		--kernel $guest/vmlinuz --initrd "$TMPDIR/initrd-smp" --append "console=ttyS0 quiet" >"$TMPDIR/console" \
		2>"$TMPDIR/err" </dev/null &
	machine=$!
	kill_mirrors $machine
	wait $machine || fail "the guest with $cpus vCPUs ended with an error"
	tr -d '\r' <"$TMPDIR/console" | grep -q "^smp: ok" || fail "the guest with $cpus vCPUs did not say 'smp: ok'"
	grep -q "block audit: .* differs" "$TMPDIR/err" && fail "code and its copies differ"
	entries=$(sed -n 's/^direct.entries  *\([0-9]*\) .*/\1/p' "$TMPDIR/err")
	[ "${entries:-0}" -gt 1000 ] || fail "user code of $cpus vCPUs ran natively only ${entries:-0} times"
done

# In turns with the interpreter: three engines on one state.
for pair in "1 initrd" "3 initrd-smp"; do
	timeout 240 "$DOPPEL" boot --engine direct -O -promote --engine-switch-every 50021 --cpu host,-aes --memory 256M --cpus ${pair% *} \
		--timeout 200 --stats --audit=tlb,blocks --kernel $guest/vmlinuz --initrd "$TMPDIR/${pair#* }" --append "console=ttyS0 quiet" \
		>"$TMPDIR/console" 2>"$TMPDIR/err" </dev/null || fail "the guest that engines took turns with ended with an error"
	tr -d '\r' <"$TMPDIR/console" | grep -qE "^(user: status 0|smp: ok)" || fail "engines in turns: no program said that it is well"
	grep -q "block audit: .* differs" "$TMPDIR/err" && fail "engines in turns: code and its copies differ"
	for counter in direct.entries engine.switches; do
		n=$(sed -n "s/^$counter  *\([0-9]*\) .*/\1/p" "$TMPDIR/err")
		[ "${n:-0}" -gt 200 ] || fail "engines in turns: $counter is ${n:-0}"
	done
done
exit 0
