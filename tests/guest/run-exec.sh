# SPDX-License-Identifier: Apache-2.0
# doppel exec: other commands in a machine of doppel run --name, at once, before the first one runs, with streams,
# status, signals and a terminal; readers that do not read, and ends of all kinds.
. tests/guest/run.inc

export XDG_RUNTIME_DIR="$TMPDIR/runtime"
mkdir "$TMPDIR/work" "$TMPDIR/runtime"
DOPPEL=$(realpath "$DOPPEL")
py=$(realpath tests/guest/run-exec.py)
cd "$TMPDIR/work" || exit 1
exec_() {
	timeout 60 "$DOPPEL" exec "$@"
}

FIRST=of-the-first timeout 160 "$DOPPEL" run --timeout 150 --name box -- sh -c 'echo up; while [ ! -e stop ]; do sleep 0.1; done
	exit 3' </dev/null >"$TMPDIR/first" 2>"$TMPDIR/first.err" &
machine=$!
for _ in $(seq 100); do
	"$DOPPEL" ps | grep -q '^box:' && break
	sleep 0.1
done
# At once: it waits for the first command.
echo in | FIRST=no exec_ -e ADDED=yes box -- sh -c 'cat; echo "$FIRST $ADDED"; pwd; id -u; umask; echo error >&2; exit 7' \
	>"$TMPDIR/out" 2>"$TMPDIR/err"
want 7 "exec"
printf 'in\nof-the-first yes\n%s\n%s\n%s\n' "$TMPDIR/work" "$(id -u)" "$(umask)" | diff - "$TMPDIR/out" || fail "exec's output"
[ "$(cat "$TMPDIR/err")" = error ] || fail "exec's standard error"
exec_ -w /usr --user 12:34 box -- sh -c 'pwd; id -u; id -g; id -G' </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "exec -w --user"
[ "$(tr '\n' ' ' <"$TMPDIR/out")" = "/usr 12 34 34 " ] || fail "exec -w --user: $(cat "$TMPDIR/out")"

# Five megabytes there and back, while another one's reader sleeps; a reader that goes away; nobody reads the input.
head -c 5000000 /dev/urandom >"$TMPDIR/much"
{ exec_ box -- sh -c 'yes 2>/dev/null | head -c 1000000' </dev/null; } | { sleep 4; wc -c; } >"$TMPDIR/slow" &
slow=$!
exec_ box -- tee /dev/stderr <"$TMPDIR/much" >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "exec with 5 MB"
cmp "$TMPDIR/much" "$TMPDIR/out" && cmp "$TMPDIR/much" "$TMPDIR/err" || { : >"$TMPDIR/err"; fail "exec changed 5 MB"; }
wait $slow
[ "$(cat "$TMPDIR/slow")" = 1000000 ] || fail "a slow reader got $(cat "$TMPDIR/slow") bytes"
[ "$(exec_ box -- sh -c 'yes; echo $? >status' </dev/null | head -n 1)" = y ] || fail "exec's reader went away"
[ "$(exec_ box -- cat status </dev/null)" = 141 ] || fail "the writer was not ended by SIGPIPE"
exec_ box -- true <"$TMPDIR/much"
want 0 "exec of what does not read its input"
exec_ box -- ./none </dev/null 2>"$TMPDIR/err"
want 127 "exec of what is not there"

# What it leaves behind does not keep it; a client that is killed takes its command along.
exec_ box -- sh -c 'sleep 100 & echo begun' </dev/null >"$TMPDIR/out"
want 0 "exec of what leaves something behind"
"$DOPPEL" exec box -- sh -c 'echo $$ >pid; exec sleep 123' </dev/null &
client=$!
for _ in $(seq 100); do
	[ -s pid ] && break
	sleep 0.1
done
kill -KILL $client
for _ in $(seq 50); do
	exec_ box -- sh -c "kill -0 $(cat pid)" </dev/null 2>/dev/null || break
	sleep 0.1
done
! exec_ box -- sh -c "kill -0 $(cat pid)" </dev/null 2>/dev/null || fail "a command outlived its client"

# No more than there is room for, and there is room again afterwards.
crowd=
for i in 1 2 3 4 5 6 7 8 9 10; do
	exec_ box -- sh -c 'while [ ! -e go ]; do sleep 0.1; done' </dev/null 2>>"$TMPDIR/crowd" &
	crowd="$crowd $!"
done
for _ in $(seq 100); do
	[ "$(grep -c "running there already" "$TMPDIR/crowd")" = 2 ] && break
	sleep 0.1
done
touch go
refused=0
for pid in $crowd; do
	wait $pid || refused=$((refused + 1))
done
[ $refused = 2 ] || { cat "$TMPDIR/crowd"; fail "of 10 at once $refused were refused"; }
exec_ box -- true </dev/null || fail "no room after a crowd"

python3 "$py" "$DOPPEL" box || { : >"$TMPDIR/err"; fail "terminal and signals"; }

# The machine ends, and its commands with it.
exec_ box -- sleep 100 </dev/null 2>"$TMPDIR/err" &
last=$!
sleep 1
touch stop
wait $machine
want 3 "the first command"
wait $last
want 125 "a command whose machine has ended"
grep -q "has ended before the command" "$TMPDIR/err" || fail "the sentence about a machine that has ended"
[ "$(cat "$TMPDIR/first")" = up ] && [ ! -s "$TMPDIR/first.err" ] || fail "the first command's streams"
[ -z "$(ls "$XDG_RUNTIME_DIR/doppel")" ] || fail "the socket is still there"
exec_ box -- true 2>"$TMPDIR/err"
want 125 "exec where no machine is"
exec_ --no-such box -- true 2>"$TMPDIR/err"
want 125 "exec with a wrong option"
exec_ box true 2>"$TMPDIR/err"
grep -q "behind '--'" "$TMPDIR/err" || fail "exec without --"
echo "streams, statuses, a terminal, signals, ends"
