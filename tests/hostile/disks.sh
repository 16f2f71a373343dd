# SPDX-License-Identifier: Apache-2.0
# Disks that are missing, are none, are full, shrink, or cannot be written: what cannot work from the start ends in one
# sentence; what goes wrong later becomes the guest's I/O error, and the guest goes on.
. tests/guest/debian.inc

# refuse WORDS DISK
refuse() {
	timeout 30 "$DOPPEL" boot -q --kernel "$guest/vmlinuz" --disk "$2" >"$TMPDIR/console" 2>"$TMPDIR/err" </dev/null
	status=$?
	if [ $status != 125 ] || [ "$(wc -l <"$TMPDIR/err")" != 1 ] || ! grep -qF -- "$1" "$TMPDIR/err"; then
		cat "$TMPDIR/err"
		fail "--disk $2: status $status"
	fi
}

if ! tools/fetch-guest "$guest" >"$TMPDIR/fetch" 2>&1; then
	cat "$TMPDIR/fetch"
	echo "Debian's kernel could not be fetched"
	exit 77
fi
head -c 100 /dev/zero >"$TMPDIR/small"
refuse "cannot open disk" "$TMPDIR/missing"
refuse "Is a directory" "$TMPDIR"
refuse "neither a file nor a block device" "$TMPDIR,readonly"
refuse "neither a file nor a block device" /dev/full
refuse "less than one sector" "$TMPDIR/small"
refuse "read-only and has an overlay" "$TMPDIR/small,readonly,overlay"
refuse "does not know" "$TMPDIR/small,fast"

unshare -rm true 2>/dev/null || { echo "no user namespace to mount a small file system in"; exit 77; }
tools/make-initramfs "$guest" tests/hostile/disks.commands || exit 1
(cd "$guest" && find modules -name "virtio*" -o -name modules | cpio -o -H newc --quiet | gzip -1) >"$TMPDIR/modules.gz"
cat "$guest/disks.commands.gz" "$TMPDIR/modules.gz" >"$TMPDIR/initrd"
truncate -s 16M "$TMPDIR/shrinks"
truncate -s 1M "$TMPDIR/fixed"
mkdir "$TMPDIR/fs"
export TMPDIR guest DOPPEL
(
	unshare -rm sh -c 'mount -t tmpfs -o size=6m none "$TMPDIR/fs" && truncate -s 16M "$TMPDIR/fs/full" &&
		timeout -k 5 300 "$DOPPEL" boot -q --engine translate --kernel "$guest/vmlinuz" --initrd "$TMPDIR/initrd" \
		--append console=ttyS0 --cpus 2 --disk "$TMPDIR/fs/full" --disk "$TMPDIR/shrinks" \
		--disk "$TMPDIR/fixed,readonly" --timeout 280 --stats=json' </dev/null >"$TMPDIR/console" 2>"$TMPDIR/stats"
	echo $? >"$TMPDIR/status"
) &
i=0
until grep -q "shrink now" "$TMPDIR/console" 2>/dev/null || [ $i -gt 2800 ] || [ -s "$TMPDIR/status" ]; do
	sleep 0.1
	i=$((i + 1))
done
truncate -s 8M "$TMPDIR/shrinks"
wait
[ "$(cat "$TMPDIR/status")" = 0 ] || { cat "$TMPDIR/stats"; fail "the guest ended with status $(cat "$TMPDIR/status")"; }
for want in "full: first half ok" "full: an error" "full: read again" "shrinks: ok" "shrinks: an error" "shrinks: first half ok" \
	"fixed: not written" "script: done"; do
	tr -d '\r' <"$TMPDIR/console" | grep -q "^$want" || fail "the console lacks the line '$want'"
done
grep -qE "Kernel panic|BUG:|Oops|hung_task|blocked for more" "$TMPDIR/console" && fail "the guest has trouble"
[ "$(stat_of disk.errors)" -gt 1 ] || fail "no request failed"
[ "$(stat_of virtio.broken)" = 0 ] || fail "a device was stopped"
exit 0
