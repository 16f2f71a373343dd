# SPDX-License-Identifier: Apache-2.0
# doppel run where things go wrong around it: a signal for the whole process group, a directory that is gone, a cache
# that others can write, one input for two; and fetch and tar, of which nothing stays behind when doppel is ended.
. tests/guest/run.inc

DOPPEL=$(realpath "$DOPPEL")
mkdir "$TMPDIR/work" "$TMPDIR/gone" "$TMPDIR/bin"
cd "$TMPDIR/work" || exit 1

# timeout(1) sends SIGTERM to the whole group: the command still has its files for what it does then.
timeout -k 30 100 "$DOPPEL" run -- sh -c 'trap "sleep 1; echo saved >file; cat file; exit 9" TERM
	echo up
	while :; do sleep 0.2; done' >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null &
pid=$!
for _ in $(seq 100); do
	grep -q up "$TMPDIR/out" && break
	sleep 0.2
done
kill -TERM $pid # timeout passes it on as it does at its time
wait $pid
[ "$(cat file 2>/dev/null)" = saved ] || fail "the command had no files any more after SIGTERM"
[ "$(tail -n 1 "$TMPDIR/out")" = saved ] || fail "the command's last words after SIGTERM"
! grep -q doppel "$TMPDIR/err" || fail "after SIGTERM doppel complains"

# A file server that dies takes the command's files along: whatever the command made of it, that is no success of its own.
for share in 1 2; do # the root's, the current directory's
	"$DOPPEL" run --timeout 100 -- sh -c 'echo up; while [ -e "$1" ]; do sleep 0.2; done; exit 3' sh "$PWD/file" \
		>"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null &
	pid=$!
	for _ in $(seq 200); do
		grep -q up "$TMPDIR/out" && break
		sleep 0.2
	done
	servers=$(for child in $(cat "/proc/$pid/task/"*/children); do
		[ "$(cat "/proc/$child/comm")" != doppel-fs ] || echo "$child"
	done)
	kill -KILL "$(echo "$servers" | sed -n ${share}p)" || fail "no file server $share"
	wait $pid
	want 125 "after the death of file server $share"
	grep -q "file server has ended" "$TMPDIR/err" || fail "the sentence about file server $share"
done

# Two of them read one pipe: each line reaches one of them, and both come to their end.
{ sleep 3; seq 1000; } | { run -- cat >"$TMPDIR/one" & run -- cat >"$TMPDIR/two"; wait; }
[ "$(cat "$TMPDIR/one" "$TMPDIR/two" | wc -l)" = 1000 ] || fail "two that read one pipe"

# No current directory, and none needed.
cd "$TMPDIR/gone" && rmdir "$TMPDIR/gone" || exit 1
run --no-share -w /usr -- pwd >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null
want 0 "without a current directory"
[ "$(cat "$TMPDIR/out")" = /usr ] || fail "-w where the current directory is gone"
cd "$TMPDIR/work" || exit 1

# Someone else's cache.
mkdir -p "$TMPDIR/open/doppel/kernel/boot"
chmod 777 "$TMPDIR/open/doppel"
XDG_CACHE_HOME=$TMPDIR/open timeout 20 "$DOPPEL" fetch >"$TMPDIR/out" 2>"$TMPDIR/err"
want 125 "fetch into a cache that others can write"
grep -q "other users can write" "$TMPDIR/err" || fail "the sentence about a cache that others can write"

# ended NAME WORDS...: doppel in WORDS waits for the program NAME; SIGTERM ends both, and nothing is in the cache.
ended() {
	name=$1
	shift
	printf '#!/bin/sh\nsleep 77.%s &\necho $! >"%s/pid"\nwait\n' $$ "$TMPDIR" >"$TMPDIR/bin/$name"
	chmod 755 "$TMPDIR/bin/$name"
	rm -rf "$TMPDIR/pid" "$TMPDIR/cache"
	PATH="$TMPDIR/bin:$PATH" XDG_CACHE_HOME=$TMPDIR/cache "$DOPPEL" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null &
	pid=$!
	for _ in $(seq 50); do
		[ -s "$TMPDIR/pid" ] && break
		sleep 0.1
	done
	kill -TERM $pid
	wait $pid
	want 143 "$* and SIGTERM"
	! grep -qs "^State:[^Z]*$" "/proc/$(cat "$TMPDIR/pid")/status" || fail "$*: what $name began goes on after SIGTERM"
	[ -z "$(ls "$TMPDIR/cache/doppel")" ] || fail "$*: left $(ls "$TMPDIR/cache/doppel")"
}
tar -C /usr/share -cf "$TMPDIR/root.tar" misc
ended apt-cache fetch
ended tar run --rootfs "$TMPDIR/root.tar" -- true
echo "all of them end"
