# SPDX-License-Identifier: Apache-2.0
# A Debian root (debootstrap) on a virtio disk: to a login shell, a file written, sync, reset; after it the file is there,
# and once the guest has gone e2fsck finds nothing on the image. The long form also with systemd, with the generic kernel
# and with the interpreter; with 4 processors it builds zlib by eight compilers at a time, whose own tests must pass, and runs
# hackbench.
. tests/guest/debian.inc
[ -z "$SHORT" ] || { echo "the sanitizers have tests/guest/virtio.sh"; exit 77; }
command -v e2fsck >/dev/null || { echo "e2fsck is not installed"; exit 77; }

prepare() {
	if ! tools/fetch-guest "$guest" "$1" >"$TMPDIR/fetch" 2>&1; then
		cat "$TMPDIR/fetch"
		echo "Debian's kernel could not be fetched"
		exit 77
	fi
	tools/make-root "$guest" bookworm >"$TMPDIR/root" 2>&1
	status=$?
	[ $status = 0 ] || { cat "$TMPDIR/root"; exit $status; }
	dir=$guest
	[ "$1" = cloud-amd64 ] || dir=$guest/$1
	tools/make-initramfs "$dir" --root || exit 1
	cp --sparse=always "$guest/bookworm.ext4" "$TMPDIR/disk"
}

# On a host that is busy with other work systemd's own limits would be over too soon.
patience="systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900"

# A second disk with zlib's source and hackbench.
prepare_work() {
	packages=$guest/packages
	tools/fetch-source $packages zlib >"$TMPDIR/fetch" 2>&1 && tools/fetch-package $packages rt-tests >"$TMPDIR/fetch" 2>&1 ||
		{ tail -n 1 "$TMPDIR/fetch"; exit 77; }
	mkdir "$TMPDIR/work"
	cp -r $packages/zlib.source "$TMPDIR/work/zlib"
	cp $packages/rt-tests/usr/bin/hackbench "$TMPDIR/work"
	mke2fs -q -t ext4 -d "$TMPDIR/work" "$TMPDIR/second" 16M || exit 1
}

# disk_root FLAVOUR ENGINE CPUS INIT [SCRIPT]
disk_root() {
	prepare "$1"
	python3 tests/guest/disk-root.py "$4" "${5:-}" "$DOPPEL" boot -q --engine "$2" --cpus "$3" --memory 1G \
		--kernel "$dir/vmlinuz" --initrd "$dir/root.gz" --append "console=ttyS0 quiet root=/dev/vda init=$4 $patience" \
		--disk "$TMPDIR/disk" ${5:+--disk "$TMPDIR/second,readonly"} --timeout ${LIMIT:-1500} --stats=json >"$TMPDIR/console" 2>"$TMPDIR/stats" ||
		{ cat "$TMPDIR/stats"; fail "the guest did not do it"; }
	for bad in "Kernel panic" "BUG:" "Oops" "I/O error" "EXT4-fs error" "segfault" "general protection"; do
		grep -q "$bad" "$TMPDIR/console" && fail "the console has a line with '$bad'"
	done
	[ "$(stat_of disk.errors)" = 0 ] || fail "requests failed"
	e2fsck -fn "$TMPDIR/disk" >"$TMPDIR/fsck" 2>&1 || { cat "$TMPDIR/fsck"; fail "e2fsck finds errors"; }
	debugfs -R "cat /proof" "$TMPDIR/disk" 2>/dev/null | grep -q "^written$" || fail "the host does not find the file"
	echo "$1, $2, $3 CPUs, $4: $(stat_of wall_seconds) s, $(stat_of disk.written) bytes written"
}

disk_root cloud-amd64 translate 2 /sbin/init.small
[ -n "$LONG" ] || exit 0
disk_root cloud-amd64 translate 2 /sbin/init
disk_root amd64 translate 1 /sbin/init
disk_root cloud-amd64 interp 1 /sbin/init.small
prepare_work
LIMIT=3000
disk_root cloud-amd64 translate 4 /sbin/init.small tests/guest/disk-root.work
