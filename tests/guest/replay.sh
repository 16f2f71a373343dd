# SPDX-License-Identifier: Apache-2.0
# --record and --replay: two recordings of one guest differ, a replay is the recording again, by whichever engine; console
# input typed while recording comes again; a replay of something else ends with one sentence. LONG: Debian, 1 and 2 CPUs.
inputs="$BUILD/tests/guest/inputs.elf"

fail() {
	echo "$1"
	tail -n 5 "$TMPDIR/out" "$TMPDIR/err" 2>/dev/null
	exit 1
}

# run STATUS OPTIONS …
run() {
	want=$1
	shift
	timeout 100 "$DOPPEL" boot --memory 64M --debug-exit --timeout 90 "$@" >"$TMPDIR/out" 2>"$TMPDIR/err"
	status=$?
	[ $status = "$want" ] || fail "doppel boot $*: status $status"
}

state() {
	sed -n 's/^doppel: state \([0-9a-f]*\) after \([0-9]*\) instructions$/\1 \2/p' "$TMPDIR/err"
}

digest() {
	tr -d '\r' <"$TMPDIR/out" | grep digest
}

record() {
	printf 'typed' | run 1 --kernel "$inputs" --record "$TMPDIR/log$1" --engine "$2"
	state >"$TMPDIR/state$1"
	digest >"$TMPDIR/digest$1"
	[ -s "$TMPDIR/state$1" ] || fail "a recording says no state"
	grep -q "^5 bytes" "$TMPDIR/digest$1" || fail "the guest got no input"
}

# replay N OPTIONS …
replay() {
	n=$1
	shift
	run 1 --kernel "$inputs" --replay "$TMPDIR/log$n" "$@" </dev/null
	state | cmp -s - "$TMPDIR/state$n" || fail "replay of recording $n $*: another state"
	digest | cmp -s - "$TMPDIR/digest$n" || fail "replay of recording $n $*: another digest"
}

record 1 interp
record 2 translate
cmp -s "$TMPDIR/digest1" "$TMPDIR/digest2" && fail "two recordings are the same"
for n in 1 2; do
	replay $n
	replay $n --engine interp
	replay $n --engine translate
	replay $n --engine translate --engine-switch-every 3001
	replay $n --serial "file:$TMPDIR/out"
done
run 1 --kernel "$BUILD/tests/guest/smp.elf" --cpus 3 --record "$TMPDIR/log3" </dev/null
state >"$TMPDIR/state3"
run 1 --kernel "$BUILD/tests/guest/smp.elf" --cpus 3 --engine translate --replay "$TMPDIR/log3" </dev/null
state | cmp -s - "$TMPDIR/state3" || fail "three CPUs: another state"

# refuse WORDS OPTIONS …: status 125 and one line that has the words
refuse() {
	words=$1
	shift
	run 125 -q "$@" </dev/null
	[ "$(wc -l <"$TMPDIR/err")" = 1 ] || fail "doppel boot $*: not one line"
	grep -qF -- "$words" "$TMPDIR/err" || fail "doppel boot $*: another sentence"
}

refuse "not the recorded one: bytes of memory" --kernel "$inputs" --replay "$TMPDIR/log1" --memory 32M
refuse "not the recorded one: CPUs" --kernel "$inputs" --replay "$TMPDIR/log1" --cpus 2
refuse "not the recorded one: CPU model" --kernel "$inputs" --replay "$TMPDIR/log1" --cpu x86-64-v2
refuse "not the recorded one: kernel" --kernel "$BUILD/tests/guest/events.elf" --replay "$TMPDIR/log1"
refuse "choose one" --kernel "$inputs" --replay "$TMPDIR/log1" --record "$TMPDIR/log4"
refuse "cannot open" --kernel "$inputs" --replay "$TMPDIR/none"
refuse "cannot write" --kernel "$inputs" --record "$TMPDIR/none/log"
refuse "is no regular file" --kernel "$inputs" --replay /dev/zero
refuse "not a recording" --kernel "$inputs" --replay "$inputs"
: >"$TMPDIR/empty"
refuse "not a recording" --kernel "$inputs" --replay "$TMPDIR/empty"
[ ! -e /dev/full ] || refuse "cannot write" --kernel "$inputs" --record /dev/full

# A log cut anywhere, or with any byte changed, is refused; none of it reaches the guest.
size=$(wc -c <"$TMPDIR/log1")
for at in 10 24 30 100 180 200 $((size / 2)) $((size - 60)) $((size - 1)); do
	head -c "$at" "$TMPDIR/log1" >"$TMPDIR/cut"
	refuse "$TMPDIR/cut" --kernel "$inputs" --replay "$TMPDIR/cut"
	{
		head -c "$at" "$TMPDIR/log1"
		printf '\377'
		tail -c +$((at + 2)) "$TMPDIR/log1"
	} >"$TMPDIR/cut"
	cmp -s "$TMPDIR/cut" "$TMPDIR/log1" || refuse "" --kernel "$inputs" --replay "$TMPDIR/cut"
done
cat "$TMPDIR/log1" "$TMPDIR/log1" >"$TMPDIR/cut"
refuse "damaged" --kernel "$inputs" --replay "$TMPDIR/cut"

[ -n "$LONG" ] || exit 0
. tests/guest/debian.inc
tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1 || exit 0
tools/make-initramfs "$guest" tests/guest/debian.commands || exit 1
for cpus in 1 2; do
	set -- --memory 512M --cpus $cpus --kernel "$guest/vmlinuz" --initrd "$guest/debian.commands.gz" --append console=ttyS0
	timeout 500 "$DOPPEL" boot --timeout 490 "$@" --record "$TMPDIR/log" </dev/null >"$TMPDIR/console" 2>"$TMPDIR/err" ||
		fail "Debian with $cpus CPUs: the recording failed"
	state >"$TMPDIR/state"
	timeout 500 "$DOPPEL" boot --timeout 490 "$@" --replay "$TMPDIR/log" --engine translate </dev/null >"$TMPDIR/out" \
		2>"$TMPDIR/err" || fail "Debian with $cpus CPUs: the replay failed"
	state | cmp -s - "$TMPDIR/state" || fail "Debian with $cpus CPUs: another state"
	cmp -s "$TMPDIR/out" "$TMPDIR/console" || fail "Debian with $cpus CPUs: another console"
	echo "$cpus CPUs: $(cat "$TMPDIR/state")"
done
