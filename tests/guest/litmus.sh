# SPDX-License-Identifier: Apache-2.0
# tests/guest/litmus.c with 2 and 4 processors under both engines, and with 64. The long form runs each test two million times with 2
# processors, and there a store buffer must have been seen where the host has two CPUs.
elf=$BUILD/tests/guest/litmus.elf

litmus() {
	engine=$1 cpus=$2 rounds=$3 limit=$4
	"$DOPPEL" boot -q --engine "$engine" --cpus "$cpus" $5 --kernel "$elf" --append "rounds=$rounds" --debug-exit \
		--timeout "$limit" >"$TMPDIR/out" 2>&1
	status=$?
	echo "$engine, $cpus processors, $rounds rounds: $(tail -n 1 "$TMPDIR/out")"
	[ $status = 1 ] && grep -q "^$cpus processors, $rounds rounds" "$TMPDIR/out" && return
	cat "$TMPDIR/out"
	echo "$engine, $cpus processors: status $status"
	exit 1
}

if [ -n "$SHORT" ]; then
	litmus translate 2 200 200
	exit 0
fi
for engine in interp translate; do
	litmus $engine 2 2000 200
	litmus $engine 4 200 200
done
litmus translate 2 200 200 "--cpu host,+monitor"
litmus translate 64 8 200 # as many as there may be
[ -n "$LONG" ] || exit 0
for engine in interp translate; do
	litmus $engine 2 2000000 1500
	[ "$(nproc)" -lt 2 ] || grep -q "^store buffering: [1-9]" "$TMPDIR/out" || { echo "no store buffer was ever seen"; exit 1; }
	litmus $engine 4 20000 1500
	litmus $engine 8 1000 1500
done
