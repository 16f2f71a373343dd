#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/share.sh BUILD [ROUNDS]: find, git status, git diff and a compile in a shared directory, by programs of another (Debian,
# tools/make-root): doppel beside QEMU (TCG) with virtiofsd, taking turns. Needs root (virtiofsd), git, gcc, and Debian's
# qemu-system-x86 and qemu-system-common. Prints the guest's seconds, command by command, a line a machine and round.
set -eu
build=$1
rounds=${2:-3}
cd "$(dirname "$0")/.."
guest=$build/guest/share
MODULES=fuse tools/fetch-guest "$guest" >/dev/null
tools/make-root "$build/guest" bookworm >/dev/null
root=$(cd "$build/guest/bookworm.root" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
(
	cd "$work/tree"
	git init -q .
	for i in 1 2 3 4 5 6 7 8; do cp -r "$OLDPWD/src" "s$i"; done
	git add .
	mkdir .git/bin
	cp "$(command -v git)" .git/bin
	git -c user.name=n -c user.email=a@b commit -qm one
)
cat >"$work/share-bench" <<'END'
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci fuse virtiofs; do insmod /modules/$m.ko; done
mkdir /h
mount -t virtiofs host /h
mount -t proc proc /h/proc
mount -t virtiofs tree /h/mnt
mount -t tmpfs tmpfs /h/tmp
mount --bind /dev /h/dev
cat >/h/tmp/work.sh <<'EOS'
export HOME=/tmp PATH=/mnt/.git/bin:/usr/bin:/bin TIMEFORMAT=%R
git config --global --add safe.directory '*'
cd /mnt
for what in "find ." "find . -newer s1" "git status" "git diff HEAD" "gcc -O1 -std=gnu11 -D_GNU_SOURCE= -Is1 -c s1/base/loop.c -o /mnt/loop.o"; do
	sleep 1.5 # what was believed for a second is asked for again
	$what >/dev/null
	sleep 1.5
	set -- $what
	{ echo "result: $1 $2 $( { time $what >/dev/null; } 2>&1 )"; }
done
EOS
chroot /h /bin/bash /tmp/work.sh
END
cp "$work/share-bench" "$work/share-bench.commands"
tools/make-initramfs "$work" "$work/share-bench.commands"
(cd "$guest" && find modules | cpio -o -H newc --quiet | gzip -1) >"$work/modules.gz"
cat "$work/share-bench.commands.gz" "$work/modules.gz" >"$work/initrd"

tell() {
	tr -d '\r' <"$work/console" | sed -n 's/.*result: //p' | tr '\n' ';' | sed "s/^/$1: /"
	echo
}
with_doppel() {
	timeout 400 "$build/doppel" boot -q --kernel "$guest/vmlinuz" --initrd "$work/initrd" --append "console=ttyS0 quiet" \
		--memory 1G --share "$work/tree:tree" --share "$root:host,ro" </dev/null >"$work/console" 2>&1 || true
	tell doppel
}
with_qemu() {
	for tag in tree host; do
		dir=$work/tree
		[ $tag = tree ] || dir=$root
		/usr/lib/qemu/virtiofsd --socket-path="$work/$tag.socket" -o "source=$dir" -o cache=auto >/dev/null 2>&1 &
	done
	for i in 1 2 3 4 5 6 7 8 9 10; do [ -S "$work/tree.socket" ] && [ -S "$work/host.socket" ] || sleep 0.5; done
	timeout 400 qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 1G -object memory-backend-memfd,id=m,size=1G,share=on \
		-numa node,memdev=m -kernel "$guest/vmlinuz" -initrd "$work/initrd" -append "console=ttyS0 quiet" -nographic -nodefaults \
		-serial stdio -no-reboot -chardev "socket,id=a,path=$work/tree.socket" -device vhost-user-fs-pci,chardev=a,tag=tree \
		-chardev "socket,id=b,path=$work/host.socket" -device vhost-user-fs-pci,chardev=b,tag=host \
		</dev/null >"$work/console" 2>&1 || true
	tell "qemu and virtiofsd"
}
while [ "$rounds" -gt 0 ]; do
	with_doppel
	with_qemu
	rounds=$((rounds - 1))
done
