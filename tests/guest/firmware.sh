# SPDX-License-Identifier: Apache-2.0
# Firmware from ROM: SeaBIOS to its messages on the terminal and on its debug port, with what it found in fw_cfg; a disk
# image with GRUB to GRUB's own output through SeaBIOS; U-Boot to its first message; UEFI to its shell; iPXE, which needs
# a BIOS's services, to an address from the network. LONG: GRUB and UEFI boot Debian's kernel from a disk.
bad=0
fail() {
	echo "$1"
	tail -n 40 "$TMPDIR/out" "$TMPDIR/err" "$TMPDIR/log" 2>/dev/null
	bad=1
}
bios=/usr/share/seabios/bios-256k.bin
[ -s $bios ] || { echo "the package seabios is not installed"; exit 77; }

# until WORD SECONDS OPTIONS …: runs until the output has WORD, at most so long.
until_said() {
	word=$1
	limit=$2
	shift 2
	: >"$TMPDIR/out"
	"$DOPPEL" boot -q --serial "file:$TMPDIR/out" --timeout "$limit" "$@" 2>"$TMPDIR/err" </dev/null &
	pid=$!
	while kill -0 $pid 2>/dev/null && ! grep -qaF -- "$word" "$TMPDIR/out"; do sleep 0.3; done
	kill $pid 2>/dev/null
	wait $pid
	grep -qaF -- "$word" "$TMPDIR/out" || fail "$*: no '$word'"
}

until_said "No bootable device" 120 --firmware $bios --cpus 2 --memory 3300M --debugcon "file:$TMPDIR/log,port=0x402"
for want in "Running on QEMU (i440fx)" "Found 2 cpu(s) max supported 2 cpu(s)" "Found QEMU fw_cfg" "Booting from Hard Disk" \
	"addr 0x0000000100000000 len 0x000000000e400000" "Copying SMBIOS" "ACPI: parse DSDT" \
	"sercon: using ioport 0x3f8"; do
	cat "$TMPDIR/log" "$TMPDIR/out" | grep -qaF "$want" || fail "SeaBIOS does not say '$want'"
done
grep -qaE "WARNING|internal error|Unable to" "$TMPDIR/log" && fail "SeaBIOS is not content"

head -c 1000 $bios >"$TMPDIR/short"
for args in "--firmware $TMPDIR/short" "--firmware $bios --kernel $bios" "--firmware $TMPDIR/none"; do
	timeout 30 "$DOPPEL" boot -q $args >"$TMPDIR/out" 2>"$TMPDIR/err"
	[ $? = 125 ] && [ "$(wc -l <"$TMPDIR/err")" = 1 ] || fail "$args: not refused in one sentence"
done

# U-Boot's package is for many boards: only fetched.
packages=build/guest/packages
if tools/fetch-package $packages u-boot-qemu 2>"$TMPDIR/err"; then
	until_said "Hit any key to stop autoboot" 120 --firmware $packages/u-boot-qemu/usr/lib/u-boot/qemu-x86_64/u-boot.rom
	grep -qa "DRAM:  512 MiB" "$TMPDIR/out" || fail "U-Boot does not find the memory"
else
	echo "U-Boot could not be fetched"
fi

uefi=$packages/ovmf/usr/share/ovmf/OVMF.fd
if tools/fetch-package $packages ovmf 2>"$TMPDIR/err"; then
	until_said "UEFI Interactive Shell" 200 --firmware $uefi
else
	echo "UEFI could not be fetched"
fi

if tools/fetch-package $packages ipxe 2>"$TMPDIR/err"; then
	until_said "net0: 10.0.2.15/255.255.255.0" 120 --kernel $packages/ipxe/boot/ipxe.lkrn --net user
else
	echo "iPXE could not be fetched"
fi

if ! command -v grub-mkimage >/dev/null || [ ! -s /usr/lib/grub/i386-pc/boot.img ] || ! command -v mke2fs >/dev/null; then
	[ $bad = 0 ] && echo "firmware without a disk: grub-pc-bin or e2fsprogs is missing"
	exit $bad
fi
cat >"$TMPDIR/grub.cfg" <<'E'
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
echo on (hd0,msdos1):
ls (hd0,msdos1)/
linux (hd0,msdos1)/vmlinuz console=ttyS0 panic=-1
initrd (hd0,msdos1)/initrd
boot
E
mkdir "$TMPDIR/root"
echo >"$TMPDIR/root/a-file-to-be-found"
want=a-file-to-be-found
limit=120
if [ -n "$LONG" ]; then
	guest=build/guest
	tools/fetch-guest $guest >/dev/null 2>&1 && tools/make-initramfs $guest || { echo "no kernel"; exit 77; }
	cp $guest/vmlinuz "$TMPDIR/root/vmlinuz"
	cp $guest/initramfs.gz "$TMPDIR/root/initrd"
	want="Run /init as init process"
	limit=400
fi
grub-mkimage -O i386-pc -o "$TMPDIR/core.img" -c "$TMPDIR/grub.cfg" -p /boot biosdisk part_msdos ext2 linux ls echo \
	serial terminal boot || exit 1
truncate -s 40M "$TMPDIR/fs"
PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext2 -d "$TMPDIR/root" "$TMPDIR/fs" || exit 1
# GRUB's boot sector, its core behind it, one partition: what grub-install writes.
python3 - "$TMPDIR" <<'E' || exit 1
import struct, sys
dir = sys.argv[1]
boot = bytearray(open("/usr/lib/grub/i386-pc/boot.img", "rb").read()[:512])
core = bytearray(open(dir + "/core.img", "rb").read())
core += bytes(-len(core) % 512)
struct.pack_into("<Q", boot, 0x5c, 1)
struct.pack_into("<QHH", core, 0x1f4, 2, len(core) // 512 - 1, 0x820)
boot[0x1be:0x1fe] = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", 2048, 81920) + bytes(48)
with open(dir + "/disk", "wb") as image:
    image.write(boot + core)
    image.seek(1 << 20)
    image.write(open(dir + "/fs", "rb").read())
E
until_said "$want" $limit "$TMPDIR/disk,overlay"
if [ -n "$LONG" ] && [ -s $uefi ] && command -v mformat >/dev/null; then
	truncate -s 100M "$TMPDIR/esp"
	printf 'vmlinuz initrd=\\initrd console=ttyS0 panic=-1\r\n' >"$TMPDIR/startup.nsh"
	mformat -i "$TMPDIR/esp" -F :: && mcopy -i "$TMPDIR/esp" "$TMPDIR/root/vmlinuz" "$TMPDIR/root/initrd" "$TMPDIR/startup.nsh" :: || exit 1
	until_said "$want" $limit --firmware $uefi --disk "$TMPDIR/esp,readonly"
fi

# GRUB's functional tests, from an ISO image that is a disk as well: those that compute. The others draw for an hour into memory,
# under QEMU as well, and one measures time.
if command -v xorriso >/dev/null && command -v grub-mkrescue >/dev/null && command -v mformat >/dev/null; then
	mkdir -p "$TMPDIR/iso/boot/grub"
	tests="bswap_test cmp_test ctz_test div_test mul_test pbkdf2_test setjmp_test shift_test signature_test strtoull_test xnu_uuid_test"
	{
		printf 'serial --unit=0 --speed=115200\nterminal_output serial\n'
		for test in functional_test $tests; do
			echo "insmod $test"
		done
		printf 'functional_test\n'
	} >"$TMPDIR/iso/boot/grub/grub.cfg"
	grub-mkrescue -d /usr/lib/grub/i386-pc -o "$TMPDIR/test.iso" "$TMPDIR/iso" >/dev/null 2>&1 || exit 1
	until_said "TESTS PASSED" 200 "$TMPDIR/test.iso,readonly"
	for test in $tests; do
		grep -qaF "$test: PASS" "$TMPDIR/out" || fail "GRUB's $test"
	done
fi
[ $bad = 0 ] && echo "SeaBIOS, U-Boot, UEFI, iPXE, GRUB"
exit $bad
