# SPDX-License-Identifier: Apache-2.0
# doppel run --rootfs debian: made once by the tool that is there, by one of two that want it at once, kept only when it
# is whole; owners as they shall be, for root and for an ordinary user. The tool is a small one of the test's own; a
# Debian that the cache has is looked into as well.
. tests/guest/run.inc

kernel=$XDG_CACHE_HOME/doppel/kernel
own=$XDG_CACHE_HOME
mkdir -p "$TMPDIR/root/bin" "$TMPDIR/root/etc" "$TMPDIR/root/home/one" "$TMPDIR/bin" "$TMPDIR/cache/doppel" "$TMPDIR/state"
cp /bin/busybox "$TMPDIR/root/bin/busybox" || { echo "no busybox"; exit 77; }
for applet in sh cat id ls env stat; do ln -s busybox "$TMPDIR/root/bin/$applet"; done
cp "$TMPDIR/root/bin/busybox" "$TMPDIR/root/bin/su"
cp "$TMPDIR/root/bin/busybox" "$TMPDIR/root/home/one/tool"
chmod 4755 "$TMPDIR/root/bin/su"
ln -s "$(realpath "$kernel")" "$TMPDIR/cache/doppel/kernel"
chmod 755 "$TMPDIR"
chmod 777 "$TMPDIR/state"
chmod 700 "$TMPDIR/cache" "$TMPDIR/cache/doppel"
# mmdebstrap OPTIONS SUITE FILE [MIRROR]
cat >"$TMPDIR/bin/mmdebstrap" <<END
#!/bin/sh
echo x >>"$TMPDIR/state/made"
[ ! -e "$TMPDIR/state/broken" ] || { echo "no such suite" >&2; exit 9; }
sleep 1
echo "\$3 \${5:-default}" >"$TMPDIR/state/told"
exec tar -C "$TMPDIR/root" --owner=0 --group=0 -cf "\$4" .
END
chmod 755 "$TMPDIR/bin/mmdebstrap"
export XDG_CACHE_HOME="$TMPDIR/cache" PATH="$TMPDIR/bin:$PATH"

# One that cannot be made leaves nothing, and the sentence.
: >"$TMPDIR/state/broken"
run --no-share --rootfs debian -- true </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 125 "a Debian that cannot be made"
grep -q "no root of Debian stable" "$TMPDIR/err" || fail "the sentence for it"
! ls "$XDG_CACHE_HOME"/doppel | grep -v '^kernel$\|\.lock$' || fail "something of it was kept"
rm "$TMPDIR/state/broken" "$TMPDIR/state/made"

# Two at once: one makes it, both have it; what an earlier one has left behind is nobody's.
mkdir -p "$XDG_CACHE_HOME/doppel/rootfs-debian-some.part/left"
for i in 1 2; do
	DEBIAN_MIRROR=http://mirror run --no-share --rootfs debian:some -- sh -c 'ls -d /left /bin/su; stat -c "%u:%g %a" /bin/su
		stat -c %u /home/one/tool' </dev/null >"$TMPDIR/out$i" 2>"$TMPDIR/err$i" &
done
wait
printf '/bin/su\n0:0 4755\n0\n' >"$TMPDIR/want"
for i in 1 2; do
	grep -v 'No such file' "$TMPDIR/out$i" | diff "$TMPDIR/want" - || { cat "$TMPDIR/err$i"; fail "run $i of two at once"; }
done
[ "$(wc -l <"$TMPDIR/state/made")" = 1 ] || fail "it was made $(wc -l <"$TMPDIR/state/made") times"
[ "$(cat "$TMPDIR/state/told")" = "some http://mirror" ] || fail "the tool was told: $(cat "$TMPDIR/state/told")"

# Once made it is there, and nothing is said about it.
run --no-share --rootfs debian:some -- sh -c 'echo changed >/bin/su; cat /bin/su' </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "a Debian that is there"
[ "$(cat "$TMPDIR/out")" = changed ] && [ ! -s "$TMPDIR/err" ] || fail "a Debian that is there: $(cat "$TMPDIR/out")"
cmp -s "$TMPDIR/root/bin/su" "$XDG_CACHE_HOME/doppel/rootfs-debian-some/bin/su" || fail "the cached root was written"
[ "$(wc -l <"$TMPDIR/state/made")" = 1 ] || fail "it was made again"

# Wrong words, and no tool.
for bad in debian: debian:../x debian:-x "debian:a b"; do
	timeout 20 "$DOPPEL" run --rootfs "$bad" -- true </dev/null 2>"$TMPDIR/err"
	want 125 "--rootfs $bad"
	grep -q "suite of Debian" "$TMPDIR/err" || fail "the sentence for --rootfs $bad"
done
mkdir "$TMPDIR/few"
for tool in sh rm chmod id tar; do ln -s "$(command -v $tool)" "$TMPDIR/few/$tool"; done

# An ordinary user: what tar could not give to root is root's for the guest all the same.
as_user() {
	[ "$(id -u)" = 0 ] || { env "$@"; return; }
	env XDG_CACHE_HOME="$TMPDIR/theirs" setpriv --reuid 65534 --regid 65534 --clear-groups env "$@"
}
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$TMPDIR/theirs/doppel"
	cp -r --reflink=auto "$(realpath "$kernel")" "$TMPDIR/theirs/doppel/kernel"
	chown -R 65534:65534 "$TMPDIR/theirs"
	chmod 700 "$TMPDIR/theirs/doppel"
fi
if as_user test -x "$DOPPEL" -a -x "$TMPDIR/bin/mmdebstrap"; then
	cd / || exit 1
	as_user timeout 120 "$DOPPEL" run --timeout 100 --no-share --rootfs debian:some -- sh -c 'ls -d /bin/su
		stat -c "%u:%g %a" /bin/su; stat -c %u /home/one/tool' </dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
	want 0 "an ordinary user's Debian"
	diff "$TMPDIR/want" "$TMPDIR/out" || fail "an ordinary user's Debian"
	if [ "$(id -u)" = 0 ]; then
		: >"$TMPDIR/state/broken"
		as_user "$DOPPEL" run --rootfs debian:other -- true </dev/null 2>"$TMPDIR/err"
		want 125 "no subordinate ids"
		grep -q "in /etc/subuid and" "$TMPDIR/err" || fail "the sentence that names subordinate ids"
		rm "$TMPDIR/state/broken"
	fi
	as_user PATH="$TMPDIR/few" "$DOPPEL" run --rootfs debian:other -- true </dev/null 2>"$TMPDIR/err"
	want 125 "no tool"
	grep -q "needs the package mmdebstrap" "$TMPDIR/err" || fail "the sentence that names the package"
	cd "$OLDPWD" || exit 1
fi

# The real one.
real=$(ls -d "$own"/doppel/rootfs-debian-* 2>/dev/null | grep -v '\.' | head -n 1)
[ -n "$real" ] || { echo "a tool of the test's own; a real Debian is not in the cache"; exit 0; }
XDG_CACHE_HOME=$own run --no-share --rootfs "debian:${real##*rootfs-debian-}" -- sh -c 'cat /etc/os-release; dpkg -s dpkg' \
	</dev/null >"$TMPDIR/out" 2>"$TMPDIR/err"
want 0 "a real Debian"
grep -q "^ID=debian" "$TMPDIR/out" && grep -q "^Status: install ok installed" "$TMPDIR/out" || fail "a real Debian: $(cat "$TMPDIR/out")"
echo "a tool of the test's own, and a real Debian"
