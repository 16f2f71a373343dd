# SPDX-License-Identifier: Apache-2.0
# doppel run with another root: a directory, its copy in the guest's memory, a tar archive; and wrong use.
. tests/guest/run.inc

cache=$XDG_CACHE_HOME
mkdir -p "$TMPDIR/root/bin" "$TMPDIR/root/etc"
cp /bin/busybox "$TMPDIR/root/bin/busybox" || { echo "no busybox"; exit 77; }
for applet in sh cat id ls env; do ln -s busybox "$TMPDIR/root/bin/$applet"; done
echo another >"$TMPDIR/root/etc/name"
tar -C "$TMPDIR/root" -cf "$TMPDIR/root.tar" .

look='cat /etc/name; id -u; env | grep -c SECRET; echo x >/etc/name; cat /etc/name'
want_text="another
0
0
x"
for root in "$TMPDIR/root" "$TMPDIR/root,copy" "$TMPDIR/root.tar"; do
	XDG_CACHE_HOME=$XDG_CACHE_HOME SECRET=1 run --no-share --rootfs "$root" -- sh -c "$look" </dev/null \
		>"$TMPDIR/out" 2>"$TMPDIR/err"
	want 0 "--rootfs $root"
	[ "$(cat "$TMPDIR/out")" = "$want_text" ] || fail "--rootfs $root: $(cat "$TMPDIR/out")"
	[ ! -s "$TMPDIR/err" ] || fail "--rootfs $root wrote to standard error"
done
[ "$(cat "$TMPDIR/root/etc/name")" = another ] || fail "--rootfs DIR was written"
rm -rf "$XDG_CACHE_HOME"/doppel/rootfs-*

# refused WORDS...: 125, and one sentence that has the first word in it.
refused() {
	word=$1
	shift
	timeout 20 "$DOPPEL" run "$@" </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
	want 125 "run $*"
	[ "$(wc -l <"$TMPDIR/err")" = 1 ] || fail "run $*: not one line"
	grep -q -e "$word" "$TMPDIR/err" || fail "run $*: the sentence lacks '$word'"
}
refused "behind '--'" ls
refused --no-such-option --no-such-option -- ls
refused no-such-dir --share no-such-dir -- ls
refused hide --share /tmp:/ -- ls
refused colon --share /tmp:relative -- ls
refused no-such-kernel --kernel no-such-kernel -- ls
refused --kernel --modules /tmp -- ls
refused --user --user no-such-user -- ls
refused -w -w relative -- ls
refused --net -p 1:2 -- ls
refused --memory --memory nonsense -- ls
timeout 20 "$DOPPEL" run --rootfs tests/run -- ls </dev/null 2>"$TMPDIR/err"
want 125 "a root that is no archive"
grep -q "tests/run' is neither" "$TMPDIR/err" || fail "the sentence for a root that is no archive"
XDG_CACHE_HOME="$TMPDIR/empty" HOME=/nonexistent
mkdir "$XDG_CACHE_HOME"
[ -n "$(ls /boot/vmlinuz-* 2>/dev/null)" ] || refused "doppel fetch" -- ls

# doctor names the kernel that run would start.
HOME=$TMPDIR XDG_CACHE_HOME=$cache "$DOPPEL" doctor --json | python3 -c '
import json, sys
rows = json.load(sys.stdin)
assert any(r["what"] == "kernel" and r["ok"] and "vmlinuz" in r["tried"] for r in rows), rows
assert sum(r["what"] == "engine" and r["ok"] for r in rows) >= 2, rows' || fail "doctor --json"
echo "3 roots, 13 wrong uses"
