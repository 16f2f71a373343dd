#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the translator tells of itself: blocks side by side, names for perf, what the library did, verified and audited blocks.
set -u
fail() {
	echo "$1"
	exit 1
}
guest() {
	name=$1
	shift
	"$DOPPEL" boot -q --engine translate --kernel "$BUILD/tests/guest/$name.elf" --debug-exit --timeout 100 "$@" \
		>"$TMPDIR/out" 2>&1
	[ $? = 1 ] || { tail -n 5 "$TMPDIR/out"; fail "$name $*: the guest did not end well"; }
}

guest selfmod --dump=blocks --dump-file "$TMPDIR/dump"
grep -q '^block at [0-9a-f]*, physical [0-9a-f]*' "$TMPDIR/dump" || fail "the dump has no block"
grep -q '^  [0-9a-f]*  [a-z].* | [0-9a-f]*  [a-z]' "$TMPDIR/dump" || fail "the dump has no instruction beside another"
grep -q 'gs:\[' "$TMPDIR/dump" || fail "the dump has no host code"

"$DOPPEL" boot -q --engine translate --kernel "$BUILD/tests/guest/selfmod.elf" --debug-exit --timeout 100 --perf-map \
	>"$TMPDIR/out" 2>&1 &
pid=$!
wait $pid
map=/tmp/perf-$pid.map
[ -s "$map" ] || fail "there is no $map"
grep -q '^[0-9a-f]* [0-9a-f]* guest:[0-9a-f]*$' "$map" || fail "the perf map names no block"
grep -q ' translate:lookup$' "$map" || fail "the perf map does not name the lookup"
rm -f "$map"

# gdb on doppel itself, which is told of blocks while it is attached; they are gone when the translator is
if command -v gdb >/dev/null; then
	timeout 100 gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'handle SIGUSR1 SIGUSR2 nostop noprint pass' \
		-ex 'break translate_detach' -ex run -ex 'info functions ^guest:' \
		-ex 'delete' -ex continue --args \
		"$DOPPEL" boot -q --engine translate --kernel "$BUILD/tests/guest/selfmod.elf" --debug-exit \
		--no-sandbox --timeout 80 --jit-symbols >"$TMPDIR/gdb" 2>&1
	grep -q '^0x[0-9a-f]*  guest:[0-9a-f]*$' "$TMPDIR/gdb" ||
		fail "gdb knows no block: $(tail -n 5 "$TMPDIR/gdb")"
fi

guest segments --verify 1/3 --audit=tlb,blocks --stats
n=$(sed -n 's/^translate.verified *\([0-9]*\).*/\1/p' "$TMPDIR/out")
[ "${n:-0}" -gt 100 ] || fail "--verify compared ${n:-no} blocks"
grep -q 'verify:' "$TMPDIR/out" && fail "$(grep -m3 'verify:' "$TMPDIR/out")"
grep -q 'audit blocks: 0 differ' "$TMPDIR/out" || fail "the audit of blocks: $(grep 'audit' "$TMPDIR/out")"
grep -q '^executed by the library from translated code' "$TMPDIR/out" || fail "--stats has no list of instructions"
grep -q '^  out  *[0-9]' "$TMPDIR/out" || fail "that list has no OUT"
echo "$n blocks verified"
