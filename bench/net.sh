#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/net.sh BUILD [ROUNDS]: a user network of doppel beside QEMU's (TCG; both are libslirp's), taking turns: megabytes a second
# of TCP down and up between the guest and this host, and what a request and its answer of one byte take. A program of the bench
# is the guest's side, a Python script this host's. Needs Debian's qemu-system-x86. Prints a line a machine and round, with the
# seconds of host CPU that the machine's processes have used in all.
set -eu
build=$1
rounds=${2:-3}
cd "$(dirname "$0")/.."
guest=$build/guest
tools/fetch-guest "$guest" >/dev/null
work=$(mktemp -d)
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
mkdir "$work/modules"
cp "$guest"/modules/*.ko "$work/modules"
cc -O2 -static -o "$work/modules/network" bench/network.c
cat >"$work/net-bench.commands" <<'END'
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net; do
	insmod /modules/$m.ko
done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
sleep 1
/modules/network 10.0.2.2 $(sed 's/.*port=\([0-9]*\).*/\1/' /proc/cmdline)
END
tools/make-initramfs "$work" "$work/net-bench.commands"
(cd "$work" && find modules | cpio -o -H newc --quiet | gzip -1) >"$work/modules.gz"
cat "$work/net-bench.commands.gz" "$work/modules.gz" >"$work/initrd"

# First byte of a connection: s sends until the other end closes, r receives, e answers each byte.
cat >"$work/server.py" <<'END'
import socket, sys, threading
def serve(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    what, block = c.recv(1), bytes(1 << 16)
    try:
        while what == b"s":
            c.sendall(block)
        while what == b"r" and c.recv(1 << 18):
            pass
        while what == b"e" and (b := c.recv(1)):
            c.sendall(b)
    except OSError:
        pass
    c.close()
s = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1], "w").write(str(s.getsockname()[1]))
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
END
python3 "$work/server.py" "$work/port" &
server=$!
while [ ! -s "$work/port" ]; do sleep 0.1; done
append="console=ttyS0 quiet port=$(cat "$work/port")"

# tell NAME COMMAND...
tell() {
	name=$1
	shift
	/usr/bin/env python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=open(sys.argv[1], "w"), stderr=subprocess.STDOUT, timeout=400)
r = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1] + ".cpu", "w").write("%.1f" % (r.ru_utime + r.ru_stime))' "$work/console" "$@" || true
	echo "$name: $(tr -d '\r' <"$work/console" | sed -n 's/.*result: //p' | tr '\n' ';') CPU $(cat "$work/console.cpu") s"
}
while [ "$rounds" -gt 0 ]; do
	tell doppel "$build/doppel" boot -q --kernel "$guest/vmlinuz" --initrd "$work/initrd" --append "$append" --memory 256M \
		--timeout 350 --net user,host-loopback
	tell qemu qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 256M -kernel "$guest/vmlinuz" -initrd "$work/initrd" \
		-append "$append" -nographic -nodefaults -serial stdio -no-reboot -netdev user,id=n -device virtio-net-pci,netdev=n
	rounds=$((rounds - 1))
done
