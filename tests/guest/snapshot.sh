# SPDX-License-Identifier: Apache-2.0
# A machine saved and loaded by another process goes on: a freestanding guest under every pair of engines, with one CPU and
# two; and what doppel says of the control socket's wrong use.
export XDG_RUNTIME_DIR="$TMPDIR/run"
mkdir -p "$XDG_RUNTIME_DIR"
elf="$BUILD/tests/guest/snapshot.elf"
snap="$TMPDIR/snap"

fail() {
	echo "$1"
	tail -n 20 "$TMPDIR/console" "$TMPDIR/errors" "$TMPDIR/answer" 2>/dev/null
	exit 1
}

# The n-th line of ticks, or the end.
await_ticks() {
	tries=0
	while [ "$(grep -c '^ticks' "$1")" -lt "$2" ]; do
		tries=$((tries + 1))
		[ $tries -lt 1500 ] || fail "no ticks came"
		sleep 0.1
	done
}

start() {
	: >"$TMPDIR/console"
	"$DOPPEL" boot -q --name "$1" --engine "$2" --cpus "$3" --cpu "${4:-host}" --memory 64M --kernel "$elf" \
		--append hold --debug-exit --timeout 300 >"$TMPDIR/console" 2>"$TMPDIR/errors" </dev/null &
	pid=$!
	await_ticks "$TMPDIR/console" 3
}

go_on() {
	: >"$TMPDIR/console"
	(await_ticks "$TMPDIR/console" 3 && printf q) | timeout 330 "$DOPPEL" boot -q --load "$snap" --engine "$1" \
		--timeout 300 >"$TMPDIR/console" 2>"$TMPDIR/errors"
	status=$?
	[ $status = 1 ] || fail "the loaded guest ended with status $status"
	tr -d '\r' <"$TMPDIR/console" | tail -n 1 | grep -q " passed, 0 failed" || fail "the loaded guest failed"
	[ "$(sed -n 's/^ticks //p' "$TMPDIR/console" | tr -d '\r' | head -n 1)" -gt "$ticks" ] || fail "time went backwards"
}

save() {
	timeout 60 "$DOPPEL" save "$@" >"$TMPDIR/answer" 2>&1 || fail "save failed"
	ticks=$(sed -n 's/^ticks //p' "$TMPDIR/console" | tr -d '\r' | head -n 3 | tail -n 1)
}

for case in "interp interp 1" "interp translate 2" "translate interp 2" "translate translate 1" "interp interp 1 host,-xsave"; do
	set -- $case
	start "snap-$$" "$1" "$3" ${4:+"$4"}
	save --stop "snap-$$" "$snap"
	wait $pid || fail "a machine that was saved and stopped did not end with status 0"
	go_on "$2"
done

# A recording that begins with a snapshot is repeated by both engines, from that snapshot only.
repeat() {
	timeout 330 "$DOPPEL" boot --load "$snap" --timeout 300 "$@" >"$TMPDIR/console" 2>"$TMPDIR/errors" </dev/null
	status=$?
}
start "first-$$" interp 1
save "first-$$" "$snap.first"
save --stop "first-$$" "$snap"
wait $pid
(await_ticks "$TMPDIR/console" 1 && printf q) | timeout 330 "$DOPPEL" boot --load "$snap" --engine translate --timeout 300 \
	--record "$TMPDIR/log" >"$TMPDIR/console" 2>"$TMPDIR/errors"
[ $? = 1 ] || fail "the recorded guest failed"
state=$(grep "doppel: state" "$TMPDIR/errors")
cp "$TMPDIR/console" "$TMPDIR/recorded"
for engine in interp translate; do
	repeat --replay "$TMPDIR/log" --engine $engine
	[ $status = 1 ] && [ -n "$state" ] && [ "$(grep "doppel: state" "$TMPDIR/errors")" = "$state" ] &&
		cmp -s "$TMPDIR/console" "$TMPDIR/recorded" || fail "the replay under $engine is another run"
done
mv "$snap.first" "$snap"
repeat --replay "$TMPDIR/log"
[ $status = 125 ] && grep -q "not the recorded" "$TMPDIR/errors" || fail "a replay from another snapshot: status $status"

# Saving again and again does not disturb who is saved, and a second name is refused.
start "again-$$" interp 2
for n in 1 2 3; do
	save "again-$$" "$snap"
done
"$DOPPEL" boot -q --name "again-$$" --kernel "$elf" </dev/null >"$TMPDIR/answer" 2>&1
[ $? = 125 ] && grep -q "running already" "$TMPDIR/answer" || fail "one name for two machines"
"$DOPPEL" ps >"$TMPDIR/answer" 2>&1 && grep -q "^again-$$: running, engine interp, 64 MiB, 2 vCPUs" "$TMPDIR/answer" ||
	fail "ps does not list the machine"
"$DOPPEL" stat "again-$$" >"$TMPDIR/answer" 2>&1 && grep -q '"engine": "interp"' "$TMPDIR/answer" || fail "no statistics"
printf 'info cpus\nstop\nstatus\nstop\ncont\ncont\nballoon 4M\nballoon\ninfo i8254\ninfo cpu1\ninfo nothing\nwhat\nhelp me\n' |
	"$DOPPEL" monitor "again-$$" >"$TMPDIR/answer" 2>&1 || fail "the monitor failed"
for want in "^cpu1  running" "machine is held$" ": held, engine" "held already" "machine goes on" "machine is running" \
	"asked for 4096 KiB" "given back 0 KiB" "^ch.count  " "^zmm  " "no info about 'nothing'" "no command 'what'" \
	"'help' takes no 'me'"; do
	grep -q "$want" "$TMPDIR/answer" || fail "the monitor's answers lack '$want'"
done
"$DOPPEL" stop --now "again-$$" >"$TMPDIR/answer" 2>&1 || fail "stop --now failed"
wait $pid || fail "a machine that was stopped did not end with status 0"
go_on translate

# A socket that nobody listens on goes away; wrong use gets a sentence.
python3 -c "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])" "$XDG_RUNTIME_DIR/doppel/dead.sock"
"$DOPPEL" ps >"$TMPDIR/answer" 2>&1 || fail "ps failed"
[ ! -e "$XDG_RUNTIME_DIR/doppel/dead.sock" ] || fail "a dead socket was left"
refused() {
	want=$1
	shift
	"$DOPPEL" "$@" >"$TMPDIR/answer" 2>&1 </dev/null
	[ $? = 125 ] || fail "'$*' was not refused"
	[ "$(wc -l <"$TMPDIR/answer")" = 1 ] && grep -q "$want" "$TMPDIR/answer" || fail "'$*' got no sentence with '$want'"
}
refused "no machine called 'nobody'" stop nobody
refused "no machine called 'nobody'" save nobody "$TMPDIR/x"
refused "is no name" stat ../nobody
refused "is no name" boot --name "a b" --kernel "$elf"
refused "needs a FILE" save nobody
refused "needs the NAME" monitor
refused "takes no" ps more
chmod 755 "$XDG_RUNTIME_DIR/doppel"
refused "mode 0700" ps
chmod 700 "$XDG_RUNTIME_DIR/doppel"
