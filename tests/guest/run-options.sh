# SPDX-License-Identifier: Apache-2.0
# doppel run's options about who, where and with what; much input, none, and streams that are not open at all.
. tests/guest/run.inc

mkdir "$TMPDIR/work" "$TMPDIR/ro"
echo kept >"$TMPDIR/ro/file"
DOPPEL=$(realpath "$DOPPEL")
kernel=$(realpath "$(ls "$XDG_CACHE_HOME"/doppel/kernel/boot/vmlinuz-* | tail -n 1)")
cd "$TMPDIR/work" || exit 1

# expect WHAT: standard output is the lines of standard input, and nothing was said besides.
expect() {
	cat >"$TMPDIR/want"
	diff "$TMPDIR/want" "$TMPDIR/out" || fail "$1"
	[ ! -s "$TMPDIR/err" ] || fail "$1 wrote to standard error"
}

# Who, where, with what; a variable that is not there is none, one that is given twice has its last value.
unset NOT_THERE
NAMED="of here" GIVEN=here run --user 12:34 -w /usr/share -e NAMED -e GIVEN=there -e NOT_THERE -e EMPTY= -e TWICE=1 -e TWICE=2 \
	-- sh -c 'id -u; id -g; id -G; pwd; echo "$NAMED $GIVEN ${NOT_THERE-none} ${EMPTY-none}. $TWICE"' \
	</dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "--user, -w, -e"
expect "--user, -w, -e" <<END
12
34
34
/usr/share
of here there none . 2
END

# Names of users are this host's; a group's, too.
run --user "nobody:$(id -gn nobody)" --no-share -w / -- sh -c 'id -u; id -g' </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "--user NAME:GROUP"
printf '%s\n' "$(id -u nobody)" "$(id -g nobody)" | expect "--user NAME:GROUP"

# A named kernel, with its modules beside it; two shares, one of them at another path and read-only, even for root.
echo mine >file
run --kernel "$kernel" --share "$TMPDIR/ro:/opt/a/b,ro" -- sh -c 'uname -r; cat /opt/a/b/file; cat file
	{ echo x >/opt/a/b/file; } 2>/dev/null || echo refused
	mount -o remount,rw /opt/a/b 2>/dev/null; { echo x >/opt/a/b/new; } 2>/dev/null || echo refused' \
	</dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "--kernel, --share DIR:PATH,ro"
printf '%s\nkept\nmine\nrefused\nrefused\n' "${kernel##*/vmlinuz-}" | expect "--kernel, --share DIR:PATH,ro"
[ "$(ls "$TMPDIR/ro")" = file ] && [ "$(cat "$TMPDIR/ro/file")" = kept ] || fail "a read-only share was written"

# Not even to be read: --no-share, where the directory is this host's copy.
run --no-share -- sh -c 'cat file; echo theirs >file; cat file' </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
printf 'mine\ntheirs\n' | expect "--no-share"
[ "$(cat file)" = mine ] || fail "--no-share wrote the directory"

# Ten megabytes there and back, and what both streams carry at the same time.
head -c 10000000 /dev/urandom >"$TMPDIR/much"
run -- sh -c 'tee /dev/stderr' <"$TMPDIR/much" >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "10 MB"
cmp "$TMPDIR/much" "$TMPDIR/out" && cmp "$TMPDIR/much" "$TMPDIR/err" || { : >"$TMPDIR/err"; fail "10 MB on two streams"; }

# No input; streams that the caller has closed.
run -- wc -c </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
echo 0 | expect "no input"
run -- wc -c <&- >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "input that is closed"
echo 0 | expect "input that is closed"
run -- sh -c 'echo lost; echo said >&2; exit 4' </dev/null 2>"$TMPDIR/err" >&-
want 4 "output that is closed"
[ "$(grep -c said "$TMPDIR/err")" = 1 ] || fail "standard error where output is closed"
run -- sh -c 'echo out; exit 3' </dev/null >"$TMPDIR/out" 2>&-
want 3 "standard error that is closed"
: >"$TMPDIR/err"
echo out | expect "output where standard error is closed"
run -- sh -c 'echo full' </dev/null >/dev/full 2>"$TMPDIR/err"
grep -q "No space left" "$TMPDIR/err" || fail "a full device is not told of"
echo "who, where, with what; 10 MB; streams that are closed"
