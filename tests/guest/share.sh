# SPDX-License-Identifier: Apache-2.0
# Shared directories in a Debian guest: a program of file calls against models, git and sqlite of the host's own root at
# work, a read-only share, links that lead out, the host changing things meanwhile, a file server that dies. Wrong use is told.
# SEED and TIMES: other file calls, and so many times as many.
. tests/guest/debian.inc
if ! MODULES=fuse tools/fetch-guest "$guest/share" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
tools/make-initramfs "$guest/share" tests/guest/share.commands || exit 1
mkdir "$TMPDIR/modules" "$TMPDIR/work" "$TMPDIR/lib" "$TMPDIR/outside" "$TMPDIR/plain" "$TMPDIR/kept"
cp "$guest"/share/modules/*.ko "$TMPDIR/modules"
cc -O1 -static -o "$TMPDIR/modules/stress" tests/guest/share/stress.c || fail "the program cannot be made"
cc -O1 -static -o "$TMPDIR/modules/errors" tests/guest/share/errors.c || fail "the program cannot be made"
cc -O1 -w -static -o "$TMPDIR/modules/posix" tests/guest/share/posix.c || fail "the program cannot be made"
mkdir "$TMPDIR/errors" && (cd "$TMPDIR/errors" && ../modules/errors) >"$TMPDIR/errors.here"
[ "$(id -u)" != 0 ] || echo root >"$TMPDIR/modules/who"
touch "$TMPDIR/modules/who"
echo "${SEED:-0} ${TIMES:-1}" >"$TMPDIR/modules/how"
mkdir "$TMPDIR/posix" "$TMPDIR/posix/nomap" && (cd "$TMPDIR/posix" && ../modules/posix $(cat ../modules/who)) >"$TMPDIR/posix.work"
(cd "$TMPDIR/posix/nomap" && ../../modules/posix nomap $(cat ../../modules/who)) >"$TMPDIR/posix.plain"
(cd "$TMPDIR" && find modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/share/share.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"
head -c 3000000 /dev/urandom >"$TMPDIR/work/file"
cp "$TMPDIR/work/file" "$TMPDIR/lib/file"
cp -r src/share "$TMPDIR/work/tree"
echo x >"$TMPDIR/work/tree/file"
ln -s /etc "$TMPDIR/work/out"
echo outside >"$TMPDIR/outside/secret"
mkdir "$TMPDIR/work/swap"
echo inside >"$TMPDIR/work/swap/secret"
ln -s "$TMPDIR/outside" "$TMPDIR/work/swap.link"
python3 -c 'import ctypes, os, sys, time
libc = ctypes.CDLL(None)
while os.getppid() > 1:
    libc.syscall(316, -100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2)
    time.sleep(0.002)' "$TMPDIR/work/swap" "$TMPDIR/work/swap.link" &
swapper=$!
trap 'kill $swapper 2>/dev/null' EXIT
timeout -k 5 300 "$DOPPEL" boot -q --engine "${ENGINE:-auto}" --kernel "$guest/share/vmlinuz" --initrd "$TMPDIR/initrd" \
	--append "console=ttyS0 quiet" --timeout 250 --stats=json --memory 512M --cpus "${CPUS:-2}" \
	--share "$TMPDIR/work:work" --share "$TMPDIR/plain:plain,cache=none,locks" \
	--share "$TMPDIR/kept:kept,cache=always,writeback" --share "$TMPDIR/lib,ro" --share "/:host,ro,cache=always" \
	</dev/null >"$TMPDIR/console" 2>"$TMPDIR/stats"
status=$?
kill $swapper
[ $status = 0 ] || { cat "$TMPDIR/stats"; fail "the guest ended with status $status"; }
for want in "mounts: ok" "/w stress: ok" "/n stress: ok" "/a stress: ok" "readonly: ok" "links: ok" "sealed: ok" "git: ok" \
	"sqlite: ok" "again: ok" "script: done"; do
	tr -d '\r' <"$TMPDIR/console" | grep -q "^$want" || fail "the console lacks the line '$want'"
done
# Names, modes, times and errors are those of the host's own file system.
for d in work plain; do
	diff "$TMPDIR/errors.here" "$TMPDIR/$d/errors.there" >"$TMPDIR/diff" || { head -n 40 "$TMPDIR/diff"; fail "errors in $d"; }
done
# So are open files, times, attributes, locks and users.
for d in work plain; do
	diff "$TMPDIR/posix.$d" "$TMPDIR/$d/posix.there" >"$TMPDIR/diff" || { head -n 40 "$TMPDIR/diff"; fail "posix in $d"; }
done
for bad in "links: outside" "readonly: written" "BUG:" "WARNING:" "Oops"; do
	grep -q "$bad" "$TMPDIR/console" && fail "the console has a line with '$bad'"
done
cmp "$TMPDIR/work/file" "$TMPDIR/lib/file" || fail "a file changed"
[ "$(cat "$TMPDIR/outside/secret")" = outside ] || fail "something outside was written"
[ "$(stat -c %u "$TMPDIR/work/stress/model")" = "$(id -u)" ] || fail "the guest's file belongs to somebody else"
[ "$(stat -c %s "$TMPDIR/work/stress/attr")" = 67108864 ] && [ "$(stat -c %b "$TMPDIR/work/stress/attr")" -lt 64 ] ||
	fail "the file with a hole is not what the guest made"

# Wrong use.
wrong() {
	want=$1
	shift
	"$DOPPEL" boot -q --kernel "$guest/share/vmlinuz" --timeout 5 "$@" </dev/null >"$TMPDIR/wrong" 2>&1
	[ $? = 125 ] && grep -q -- "$want" "$TMPDIR/wrong" || { cat "$TMPDIR/wrong"; fail "wrong use: $*"; }
}
wrong "/nonexistent' cannot be shared" --share /nonexistent
wrong "shows the host's state" --share /proc
wrong "does not know 'rw'" --share /tmp,rw
wrong "is another one's" --share /tmp:a --share /usr:a
wrong "do not go together" --share /tmp --record "$TMPDIR/log"
wrong "do not go together" --share /tmp --load "$TMPDIR/file"
echo "share: $(stat_of wall_seconds) s, $(stat_of share.in) bytes in, $(stat_of share.out) out, $(stat_of share.waited) not waited for"
