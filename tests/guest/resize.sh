# SPDX-License-Identifier: Apache-2.0
# The size of doppel's terminal, at the start and after a change, reaches the guest's virtio console.
. tests/guest/debian.inc
[ -z "$SHORT" ] || { echo "the sanitizers have tests/unit/test_virtio_devices.c"; exit 77; }
if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
[ -s "$guest/modules/virtio_console.ko" ] || { echo "the kernel has no virtio modules"; exit 77; }
tools/make-initramfs "$guest" tests/guest/resize.commands || exit 1
(cd "$guest" && find modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/resize.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"
exec python3 tests/guest/resize.py "$TMPDIR/console" "$DOPPEL" boot -q --engine translate --kernel "$guest/vmlinuz" \
	--initrd "$TMPDIR/initrd" --append "console=ttyS0" --serial "file:$TMPDIR/console" --virtio-console stdio --timeout 250
