# SPDX-License-Identifier: Apache-2.0
# Debian's virtio drivers on every virtio device: three disks (plain, read-only, overlay), two console ports, entropy,
# balloon. What the guest wrote must be on the image, and nowhere else.
. tests/guest/debian.inc
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
[ -s "$guest/modules/virtio_blk.ko" ] || { echo "the kernel has no virtio modules"; exit 77; }
tools/make-initramfs "$guest" tests/guest/virtio.commands || exit 1
(cd "$guest" && find modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/virtio.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"

truncate -s 32M "$TMPDIR/disk"
head -c 1048576 /dev/urandom >"$TMPDIR/fixed"
{ echo first && head -c 1048570 /dev/zero; } >"$TMPDIR/base"
sums=$(cat "$TMPDIR/fixed" "$TMPDIR/base" | md5sum)

boot_virtio() {
	timeout -k 5 550 "$DOPPEL" boot -q --kernel "$guest/vmlinuz" --initrd "$TMPDIR/initrd" --append "console=ttyS0" \
		--cpus 2 --disk "$TMPDIR/disk,serial=doppel-disk" --disk "$TMPDIR/fixed,readonly" \
		--disk "$TMPDIR/base,overlay" --virtio-console "file:$TMPDIR/hvc" \
		--virtio-console "file:$TMPDIR/port,name=org.example.port" --balloon 100M --timeout 500 --stats=json \
		</dev/null >"$TMPDIR/console" 2>"$TMPDIR/stats"
}

boot_virtio
status=$?
[ $status = 0 ] || { cat "$TMPDIR/stats"; fail "the guest ended with status $status"; }
for want in "serial: doppel-disk" "size: 65536" "readonly: 1" "sum of vdb: $(md5sum <"$TMPDIR/fixed")" "vdb: not written" \
	"entropy: 512" "file: ok" "trim: ok" "vdc: first" "vdc: changed" "port: org.example.port" "balloon: ok" \
	"script: done"; do
	tr -d '\r' <"$TMPDIR/console" | grep -q "^$want" || fail "the console lacks the line '$want'"
done
for bad in "Kernel panic" "BUG:" "WARNING:" "Oops" "I/O error, dev vda" "insmod .* failed" "nobody cared" "no file system"; do
	grep -q "$bad" "$TMPDIR/console" && fail "the console has a line with '$bad'"
done
grep -q "to the console" "$TMPDIR/hvc" || fail "nothing came out of the virtio console"
[ "$(cat "$TMPDIR/fixed" "$TMPDIR/base" | md5sum)" = "$sums" ] || fail "a disk that must not change was changed"
[ "$(stat_of virtio.broken)" = 0 ] || fail "a device was stopped"
[ "$(stat_of balloon.bytes)" -ge 104857600 ] || fail "the balloon gave back $(stat_of balloon.bytes) bytes"

# The file, as the host reads it from the image.
want=$(tr -d '\r' <"$TMPDIR/console" | sed -n 's/^sum of file: \([0-9a-f]*\).*/\1/p')
if command -v e2fsck >/dev/null && command -v debugfs >/dev/null; then
	e2fsck -fn "$TMPDIR/disk" >"$TMPDIR/fsck" 2>&1 || { cat "$TMPDIR/fsck"; fail "e2fsck finds errors"; }
	got=$(debugfs -R "cat /file" "$TMPDIR/disk" 2>/dev/null | md5sum | cut -d' ' -f1)
	[ "$got" = "$want" ] || fail "the file on the image has the sum $got, the guest wrote $want"
fi
seconds=$(stat_of wall_seconds)

# One doppel a disk.
exec 9<"$TMPDIR/disk"
flock -s 9
boot_virtio
status=$?
exec 9<&-
[ $status = 125 ] || fail "a disk in use was opened: status $status"
grep -q "in use by another machine" "$TMPDIR/stats" || fail "no sentence about the disk in use"
echo "virtio: $seconds s"
