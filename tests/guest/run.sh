# SPDX-License-Identifier: Apache-2.0
# doppel run: a command in a guest that sees this host's files. Streams, status, directory, environment, user, umask;
# what is shared is written here, all else is not.
. tests/guest/run.inc

mkdir "$TMPDIR/work" "$TMPDIR/other" "$TMPDIR/locked"
echo here >"$TMPDIR/work/file"
echo there >"$TMPDIR/other/file"
echo kept >"$TMPDIR/locked/file"
head -c 2000000 /dev/urandom >"$TMPDIR/binary"
DOPPEL=$(realpath "$DOPPEL")
cd "$TMPDIR/work" || exit 1

# Binary data in and out, at once and to its end; standard error apart; the status of the command.
TMPDIR_IN_GUEST=$TMPDIR GREETING='two words' run --share "$TMPDIR/other:/mnt/o" --share "$TMPDIR/locked,ro" \
	-e ADDED=yes -- sh -c '
	cat
	exec >&2
	pwd
	cat file
	echo "$GREETING $ADDED"
	id -u
	umask
	uname -r
	cat /mnt/o/file
	cat "$TMPDIR_IN_GUEST/locked/file"
	echo new >made
	echo more >>/mnt/o/file
	echo lost >"$TMPDIR_IN_GUEST/lost" && echo "the root can be written"
	echo no 2>/dev/null >"$TMPDIR_IN_GUEST/locked/made" || echo "locked cannot"
	exit 7' <"$TMPDIR/binary" >"$TMPDIR/out" 2>"$TMPDIR/err"
want 7 "the command's status"
cmp "$TMPDIR/binary" "$TMPDIR/out" || fail "2 MB came out otherwise than they went in"
release=$(ls "$XDG_CACHE_HOME/doppel/kernel/boot" | sed -n 's/^vmlinuz-//p' | tail -n 1)
cat >"$TMPDIR/want" <<END
$TMPDIR/work
here
two words yes
$(id -u)
$(umask)
$release
there
kept
the root can be written
locked cannot
END
diff "$TMPDIR/want" "$TMPDIR/err" || fail "standard error is not what the command wrote"
[ "$(cat made)" = new ] || fail "a file in the current directory was not made here"
[ "$(tail -n 1 "$TMPDIR/other/file")" = more ] || fail "a shared directory was not written here"
[ ! -e "$TMPDIR/lost" ] || fail "the root was written here"
[ ! -e "$TMPDIR/locked/made" ] || fail "a directory shared with ,ro was written here"

# A reader that goes away ends a writer that has no end; no input ends what reads it; nothing is shared with --no-share.
run --no-share -- sh -c 'cat; echo no >no-share-made; yes; echo "yes: $?" >&2' </dev/null 2>"$TMPDIR/err" | head -n 1000 |
	tail -n 1 >"$TMPDIR/out"
[ "$(cat "$TMPDIR/out")" = y ] || fail "a pipe whose reader goes away"
grep -q "yes: 141" "$TMPDIR/err" || fail "the writer was not ended by SIGPIPE"
[ ! -e no-share-made ] || fail "--no-share shared the directory"

# A command that is not there, and one that cannot be run; their sentences are on standard error.
run -- ./no-such-command </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 127 "a command that is not there"
grep -q "cannot run './no-such-command': No such file" "$TMPDIR/err" || fail "the sentence for it"
run -- ./file </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 126 "a file that is no command"
echo "2 MB, 7 statuses and streams"
