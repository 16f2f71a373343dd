# SPDX-License-Identifier: Apache-2.0
# Debian's Xen hypervisor through multiboot: in real mode it asks the BIOS's services, then it goes on to its search for a
# dom0. LONG: it is given one and starts it.
packages=build/guest/packages
xen=xen-hypervisor-4.17-amd64
tools/fetch-package $packages $xen 2>"$TMPDIR/fetch" || { tail -n 1 "$TMPDIR/fetch"; exit 77; }
gzip -dc $packages/$xen/boot/xen-4.17-amd64.gz >"$TMPDIR/xen" || exit 1

boot_xen() {
	want=$1
	shift
	"$DOPPEL" boot -q --kernel "$TMPDIR/xen" --append "com1=115200,8n1 console=com1 loglvl=all" --no-reboot "$@" \
		--serial "file:$TMPDIR/out" </dev/null 2>"$TMPDIR/err" &
	pid=$!
	while kill -0 $pid 2>/dev/null && ! grep -qaF "$want" "$TMPDIR/out"; do sleep 0.5; done
	kill $pid 2>/dev/null
	wait $pid
	grep -qaF "$want" "$TMPDIR/out" && return
	tail -n 30 "$TMPDIR/out" "$TMPDIR/err"
	echo "Xen did not say '$want'"
	exit 1
}

: >"$TMPDIR/out"
boot_xen "dom0 kernel not specified" --timeout 200
grep -qa "Bootloader: doppel" "$TMPDIR/out" && grep -qa "Command line: com1=115200" "$TMPDIR/out" || {
	cat "$TMPDIR/out"
	echo "Xen was not told its loader and command line"
	exit 1
}
if [ -n "$LONG" ]; then
	tools/fetch-guest build/guest >/dev/null 2>&1 || { echo "Debian's kernel could not be fetched"; exit 77; }
	boot_xen "about to get started" --timeout 900 --initrd "build/guest/vmlinuz placeholder console=hvc0"
fi
echo "Xen: $want"
