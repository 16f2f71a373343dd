# SPDX-License-Identifier: Apache-2.0
# Debian's drivers let go of each virtio device and take it again, the disk's in the middle of its requests; what they
# negotiate (the balloon's without indirect descriptors in newer kernels); discard and write-zeroes, which must leave a hole in the image.
. tests/guest/debian.inc
[ -z "$SHORT" ] || { echo "the sanitizers have tests/guest/virtio.sh"; exit 77; }
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
tools/make-initramfs "$guest" tests/guest/virtio-reset.commands || exit 1
mkdir "$TMPDIR/modules"
cp "$guest"/modules/virtio*.ko "$TMPDIR/modules"
cat >"$TMPDIR/blkctl.c" <<'E2'
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	uint64_t range[2] = { strtoull(argv[3], 0, 0), strtoull(argv[4], 0, 0) };
	int fd = open(argv[1], O_RDWR);

	if (argc != 5 || fd < 0 || ioctl(fd, argv[2][0] == 'd' ? BLKDISCARD : BLKZEROOUT, range))
		return perror(argv[2]), 1;
	return 0;
}
E2
gcc -O1 -static -o "$TMPDIR/modules/blkctl" "$TMPDIR/blkctl.c" || exit 1
(cd "$TMPDIR" && find modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/virtio-reset.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"

# reset_devices ENGINE
reset_devices() {
	rm -f "$TMPDIR/disk"
	truncate -s 4M "$TMPDIR/disk"
	timeout -k 5 400 "$DOPPEL" boot -q --engine "$1" --kernel "$guest/vmlinuz" --initrd "$TMPDIR/initrd" \
		--append "console=ttyS0" --cpus 2 --disk "$TMPDIR/disk" --virtio-console "file:$TMPDIR/hvc" --timeout 300 \
		--stats=json </dev/null >"$TMPDIR/console" 2>"$TMPDIR/stats"
	status=$?
	[ $status = 0 ] || { cat "$TMPDIR/stats"; fail "$1: the guest ended with status $status"; }
	for want in "queues: 2" "features virtio_blk: 1111" "features virtio_balloon: .111" "features virtio_rng: 1111" \
		"features virtio_console: 1111" "pattern: there" "discard: ok" "zero: ok" "zeroes: 0" "disk: back 1" "disk: back 2" \
		"disk: back 3" "disk: back 4" "entropy: 512" "script: done"; do
		tr -d '\r' <"$TMPDIR/console" | grep -q "^$want" || fail "$1: the console lacks the line '$want'"
	done
	for bad in "Kernel panic" "BUG:" "WARNING:" "Oops" "insmod .* failed" "nobody cared" "blocked for more"; do
		grep -q "$bad" "$TMPDIR/console" && fail "$1: the console has a line with '$bad'"
	done
	grep -q "again to the console" "$TMPDIR/hvc" || fail "$1: nothing came out of the virtio console"
	[ "$(stat_of virtio.broken)" = 0 ] || fail "$1: a device was stopped"
}

reset_devices translate
[ -n "$LONG" ] || exit 0
reset_devices interp
