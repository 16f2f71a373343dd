# SPDX-License-Identifier: Apache-2.0
# A tap interface in a network namespace of the test's own: the host's kernel cuts and joins what the card does not.
. tests/guest/debian.inc
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
[ -s "$guest/modules/failover.ko" ] || { echo "the kernel has no network modules"; exit 77; }
own="unshare -n"
[ "$(id -u)" = 0 ] || own="unshare -Urn"
if ! $own ip tuntap add tap0 mode tap 2>"$TMPDIR/why"; then
	cat "$TMPDIR/why"
	echo "no network namespace with a tap interface can be had here"
	exit 77
fi
tools/make-initramfs "$guest" tests/guest/net-tap.commands || exit 1
(cd "$guest" && find modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/net-tap.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"
mkdir "$TMPDIR/www"
head -c 5000000 /dev/urandom >"$TMPDIR/www/bytes"
cat >"$TMPDIR/inside" <<'END'
ip tuntap add tap0 mode tap
ip addr add 192.168.77.1/24 dev tap0
ip link set tap0 up
(cd "$TMPDIR/www" && exec python3 -m http.server -b 192.168.77.1 8080) >"$TMPDIR/www.log" 2>&1 &
web=$!
# The receiver looks away at first: a guest that has the machine to itself for little of the time fills its queue meanwhile,
# and has something to send in long frames.
python3 -c 'import socket, time
c, n = socket.create_server(("192.168.77.1", 8081)).accept()[0], 0
time.sleep(1)
while True:
    part = c.recv(1 << 16)
    if not part: break
    n += len(part)
print(n)' >"$TMPDIR/up" &
up=$!
timeout -k 5 200 "$DOPPEL" boot -q --kernel "$1/vmlinuz" --initrd "$TMPDIR/initrd" --append "console=ttyS0 quiet" \
	--timeout 150 --stats=json --memory 256M --net "tap:tap0,mac=52:54:00:11:22:33,pcap=$TMPDIR/frames" </dev/null >"$TMPDIR/console" 2>"$TMPDIR/stats"
status=$?
sleep 0.2
kill $web $up 2>/dev/null
exit $status
END
$own sh "$TMPDIR/inside" "$guest"
status=$?
[ $status = 0 ] || { cat "$TMPDIR/stats"; fail "the guest ended with status $status"; }
for want in "ping: ok" "down: $(md5sum <"$TMPDIR/www/bytes" | cut -d' ' -f1)" "script: done"; do
	tr -d '\r' <"$TMPDIR/console" | grep -q "^$want" || fail "the console lacks the line '$want'"
done
[ "$(cat "$TMPDIR/up")" = 8388608 ] || fail "$(cat "$TMPDIR/up") bytes of 8388608 came up"
# Frames that nobody cut, in both directions: longer than the MTU of 1500.
longest=$(python3 -c 'import struct, sys
d, at, longest = open(sys.argv[1], "rb").read(), 24, [0, 0]
while at < len(d):
    n = struct.unpack("<I", d[at + 8:at + 12])[0]
    out = d[at + 22:at + 28] == bytes.fromhex("525400112233")
    longest[out] = max(longest[out], n)
    at += 16 + n
print(min(longest))' "$TMPDIR/frames")
[ "$longest" -gt 4000 ] || fail "no frame of one direction has more than $longest bytes"
echo "net-tap: $(stat_of wall_seconds) s"
