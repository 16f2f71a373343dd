# SPDX-License-Identifier: Apache-2.0
# Debian's virtio network driver on a user network: lease, names of the card, bytes down and, through forwarded TCP and
# UDP ports, up and back; what allow= does not list is not reached; every frame is in the capture. Wrong use is told.
. tests/guest/debian.inc
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
[ -s "$guest/modules/failover.ko" ] || { echo "the kernel has no network modules"; exit 77; }

# Two ports that nobody has now.
set -- $(python3 -c 'import socket
s = [socket.create_server(("127.0.0.1", 0)) for i in range(2)]
print(*[i.getsockname()[1] for i in s])')
tcp=$1
udp=$2
host=$TMPDIR/host
mkdir "$host"
python3 tests/guest/net.py "$host" "$tcp" "$udp" >"$TMPDIR/host.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null' EXIT
i=0
while [ ! -s "$host/port" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
web=$(cat "$host/port")
closed=$(cat "$host/closed")

tools/make-initramfs "$guest" tests/guest/net.commands || exit 1
mkdir "$TMPDIR/modules"
cp "$guest"/modules/*.ko "$TMPDIR/modules"
cc -O1 -static -o "$TMPDIR/modules/udpecho" tests/guest/net/udpecho.c || fail "the echo program cannot be made"
(cd "$TMPDIR" && find modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/net.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"
timeout -k 5 200 "$DOPPEL" boot -q --engine "${ENGINE:-auto}" --kernel "$guest/vmlinuz" --initrd "$TMPDIR/initrd" \
	--append "console=ttyS0 quiet ports=$web,$closed" --timeout 150 --stats=json --memory 256M \
	--net "user,host-loopback,allow=10.0.2.2:$web,mac=52:54:00:11:22:33,pcap=$TMPDIR/frames" -p "$tcp:7" -p "$udp:9/udp" \
	</dev/null >"$TMPDIR/console" 2>"$TMPDIR/stats" &
machine=$!
i=0
while [ $i -lt 1200 ] && kill -0 $machine 2>/dev/null && ! grep -q "^listening" "$TMPDIR/console"; do
	sleep 0.1
	i=$((i + 1))
done
touch "$host/begin"
wait $machine
status=$?
[ $status = 0 ] || { cat "$TMPDIR/stats" "$TMPDIR/host.log"; fail "the guest ended with status $status"; }
for want in "card: 52:54:00:11:22:33 65520" "lease: 10.0.2.15 10.0.2.2 10.0.2.3" "ping: ok" "down: $(cat "$host/sum")" \
	"closed: ok" "ipv6: ok" "script: done"; do
	tr -d '\r' <"$TMPDIR/console" | grep -q "^$want" || fail "the console lacks the line '$want'"
done
[ "$(cat "$host/tcp")" = ok ] || fail "through the forwarded TCP port: $(cat "$host/tcp")"
[ "$(cat "$host/udp")" = ok ] || fail "through the forwarded UDP port: $(cat "$host/udp")"
[ "$(cat "$host/reached")" = no ] || fail "what is not allowed was reached"
[ "$(stat_of net.rx_bytes)" -gt 8000000 ] || fail "only $(stat_of net.rx_bytes) bytes came"
frames=$(python3 -c 'import struct, sys
d = open(sys.argv[1], "rb").read()
magic, n, at = struct.unpack("<I", d[:4])[0], 0, 24
while at < len(d):
    at += 16 + struct.unpack("<I", d[at + 8:at + 12])[0]
    n += 1
print(n if magic == 0xa1b23c4d and at == len(d) else "broken")' "$TMPDIR/frames")
[ "$frames" -ge $(($(stat_of net.rx_frames) + $(stat_of net.tx_frames))) ] || fail "the capture has $frames frames"
# No larger segments than a quarter of a window without scaling: with half windows libslirp's TCP comes to stand for seconds.
segment=$(python3 -c 'import struct, sys
d, at, most = open(sys.argv[1], "rb").read(), 24, 0
while at < len(d):
    n = struct.unpack("<I", d[at + 8:at + 12])[0]
    f = d[at + 16:at + 16 + n]
    at += 16 + n
    if f[12:14] != b"\x08\x00" or f[23] != 6 or f[26:28] != b"\x0a\x00" or f[29] == 15 or not f[47] & 2:
        continue
    options = f[54:34 + 4 * (f[46] >> 4)]
    if options[:2] == b"\x02\x04":
        most = max(most, struct.unpack(">H", options[2:4])[0])
print(most)' "$TMPDIR/frames")
[ "$segment" -gt 0 ] && [ "$segment" -le 16384 ] || fail "the host's side of a connection offers segments of $segment bytes"

# Wrong use.
wrong() {
	want=$1
	shift
	"$DOPPEL" boot -q --kernel "$guest/vmlinuz" --timeout 5 "$@" </dev/null >"$TMPDIR/wrong" 2>&1
	[ $? = 125 ] && grep -q -- "$want" "$TMPDIR/wrong" || { cat "$TMPDIR/wrong"; fail "wrong use: $*"; }
}
wrong "give --net user" -p 1:2
wrong "--net does not take" --net bridge
wrong "cannot be used\|cannot be opened" --net tap:lo
wrong "cannot be written" --net user,pcap=/nonexistent/x
wrong "-p: port $web of 127.0.0.1 cannot be listened at" --net user -p "$web:1"
wrong "do not go together" --net user --record "$TMPDIR/log"
echo "net: $(stat_of wall_seconds) s"
