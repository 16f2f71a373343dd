# SPDX-License-Identifier: Apache-2.0
# Files and descriptors that mean harm: each run ends soon, without a crash or a leak, with one sentence if it fails.
# SHORT: fewer damaged files; LONG: many more.
bad=0
cases=0
: "${ASAN_OPTIONS:=exitcode=99}" "${UBSAN_OPTIONS:=exitcode=99}"
export ASAN_OPTIONS UBSAN_OPTIONS

complain() {
	echo "$1: status $status, said: $(head -c 2000 "$TMPDIR/err")"
	bad=1
}

# refuse WORDS-THAT-MUST-BE-SAID ARGUMENTS …: status 125, one line on stderr.
refuse() {
	want=$1
	shift
	cases=$((cases + 1))
	timeout 30 "$DOPPEL" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err" </dev/null
	status=$?
	if [ $status != 125 ] || [ "$(wc -l <"$TMPDIR/err")" != 1 ] || ! grep -qF -- "$want" "$TMPDIR/err"; then
		complain "doppel $*"
	fi
}

# survive FILE OPTIONS …: refused in one line, or a guest that ends by itself, by a triple fault or by the clock.
survive() {
	cases=$((cases + 1))
	timeout 30 "$DOPPEL" boot -q --memory 16M --no-reboot --debug-exit --timeout 1 --kernel "$@" >"$TMPDIR/out" \
		2>"$TMPDIR/err" </dev/null
	status=$?
	case $status in
	125) [ "$(wc -l <"$TMPDIR/err")" = 1 ] || complain "survive $*" ;;
	99 | 132 | 134 | 135 | 136 | 139 | 137) complain "survive $*" ;;
	124) grep -q "triple" "$TMPDIR/err" || complain "survive $* (hangs)" ;;
	esac
	if grep -qE "runtime error|Sanitizer" "$TMPDIR/err"; then complain "survive $*"; fi
}

# exits STATUS WHAT: how the run just made must have ended.
exits() {
	cases=$((cases + 1))
	[ $status = "$1" ] || complain "$2"
}

cat >"$TMPDIR/k.s" <<'E'
	.section .text
	.align 4
	.long 0x1badb002, 0, -0x1badb002
	.globl _start
_start:	mov $'x', %al
	mov $0x3f8, %dx
	mov $3000, %ecx
1:	outb %al, %dx
	loop 1b
	mov $21, %eax
	out %eax, $0xf4
	hlt
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18
	.asciz "Xen"
	.long _start
	.section .data
	.long 1
	.section .bss
	.skip 70000
E
cd "$TMPDIR" || exit 1
echo 'PHDRS { t PT_LOAD; n PT_NOTE; } SECTIONS { . = 0x100000; .text : { *(.text) } :t .data : { *(.data) } :t
	.note.pvh : { *(.note.pvh) } :t :n .bss : { *(.bss) } :t /DISCARD/ : { *(.note.gnu*) } }' >k.ld
as --32 -o k.o k.s && ld -m elf_i386 --no-warn-rwx-segments -T k.ld -e _start -o k k.o || exit 1
objcopy -I elf32-i386 -O elf64-x86-64 k k64 || exit 1
# Without the multiboot magic only the PVH note is left.
LC_ALL=C sed 's/\x02\xb0\xad\x1b/\x02\xb0\xad\x1c/' k >pvh
LC_ALL=C sed 's/\x02\xb0\xad\x1b/\x02\xb0\xad\x1c/' k64 >pvh64

# A bzImage that writes to the debug-exit port, by both entries.
python3 - <<'E' || exit 1
import struct
code = b"\xb8\x15\x00\x00\x00\xe7\xf4\xf4"
body = code.ljust(0x200, b"\x90") + code.ljust(0x600, b"\x90")
h = bytearray(512 * 5)
h[0x1f1] = 4
struct.pack_into("<I", h, 0x1f4, len(body) // 16)
struct.pack_into("<H", h, 0x1fe, 0xaa55)
h[0x200:0x202] = b"\xeb\x66"
h[0x202:0x206] = b"HdrS"
struct.pack_into("<H", h, 0x206, 0x20f)
h[0x211] = 1
struct.pack_into("<I", h, 0x214, 0x100000)
struct.pack_into("<I", h, 0x22c, 0x7fffffff)
struct.pack_into("<I", h, 0x230, 0x200000)
h[0x234] = 1
struct.pack_into("<H", h, 0x236, 1)
struct.pack_into("<I", h, 0x238, 255)
struct.pack_into("<Q", h, 0x258, 0x200000)
struct.pack_into("<I", h, 0x260, 0x10000)
open("bz", "wb").write(h + body)
h[0x236] = 0
open("bz32", "wb").write(h + body)
# Its fields, one by one, with values that lie.
fields = [(0x1f1, 1), (0x1f4, 4), (0x201, 1), (0x206, 2), (0x211, 1), (0x214, 4), (0x22c, 4), (0x230, 4), (0x234, 1),
	  (0x236, 2), (0x238, 4), (0x258, 8), (0x260, 4)]
n = 0
for off, size in fields:
	for v in (0, 1, 0x7f, 0xff, 0xfffff000, 0xffffffff, 2**63, 2**64 - 4096):
		d = bytearray(h + body)
		d[0x236] = 1
		d[off:off + size] = (v & (2 ** (8 * size) - 1)).to_bytes(size, "little")
		open("lie%d" % n, "wb").write(d)
		n += 1
E
elf_lies() {
	python3 - "$1" <<'E'
import os, random, sys
src = open(sys.argv[1], "rb").read()
seed = int(os.environ.get("SEED", "1"))
rng = random.Random(seed)
wide = src[4] == 2
phoff = int.from_bytes(src[32:40] if wide else src[28:32], "little")
n = int(os.environ["LIES"])
for k in range(n):
	d = bytearray(src)
	for _ in range(rng.randint(1, 3)):
		where = rng.choice([rng.randrange(64), phoff + rng.randrange(56 * 4), 0x1000 + rng.randrange(64)])
		size = rng.choice([1, 2, 4, 8])
		v = rng.choice([0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 2**63, 2**64 - 1, 2**64 - 4096, rng.getrandbits(64),
				len(src), len(src) - 1, 0x100000, 0xfffff])
		if where + size < len(d):
			d[where:where + size] = (v & (2 ** (8 * size) - 1)).to_bytes(size, "little")
	open("elf%d" % k, "wb").write(d)
E
}

# Sound ones first: the tests must be able to fail.
for f in k k64 pvh pvh64 bz bz32; do
	timeout 30 "$DOPPEL" boot -q --memory 16M --debug-exit --timeout 20 --kernel $f >out 2>err </dev/null
	status=$?
	exits 43 "the sound kernel $f"
done

# Truncated at every kind of place.
for f in k k64 pvh pvh64 bz bz32; do
	size=$(stat -c %s $f)
	for cut in 1 3 4 11 12 51 63 64 100 511 512 600 2559 2560 3000 4095 4096 4100 $((size - 1)); do
		[ "$cut" -lt "$size" ] || continue
		if [ -n "$SHORT" ] && [ $((cut % 3)) = 0 ]; then continue; fi
		head -c "$cut" $f >cut
		survive cut
	done
done
for f in lie*; do
	if [ -z "$LONG" ] && [ $((${f#lie} % 5)) != 0 ]; then continue; fi
	survive "$f"
	if [ -n "$LONG" ]; then survive "$f" --initrd k --append x; fi
done
LIES=8
[ -n "$SHORT" ] && LIES=3
[ -n "$LONG" ] && LIES=300
SEED=${SEED:-1}
export LIES SEED
for f in k k64 pvh pvh64; do
	elf_lies $f
	i=0
	while [ $i -lt $LIES ]; do
		survive elf$i
		i=$((i + 1))
	done
done

# What is no file, or too much of one.
mkfifo fifo
mkdir dir
: >empty
cp k secret
chmod 0 secret
truncate -s 40M huge
truncate -s 3000G vast
for what in --kernel --initrd; do
	kernel=
	[ $what = --initrd ] && kernel="--kernel bz"
	refuse "is a device" boot $kernel $what /dev/zero
	refuse "is a device" boot $kernel $what /dev/null
	refuse "directory" boot $kernel $what dir
	refuse "is empty" boot $kernel $what empty
	refuse "No such file" boot $kernel $what nosuch
	[ "$(id -u)" = 0 ] || refuse "Permission denied" boot $kernel $what secret
done
# A pipe without end, in place of a file.
yes >fifo &
refuse "no memory for it" boot --kernel bz --initrd fifo --memory 16M
wait
refuse "does not fit" boot --kernel bz --initrd huge --memory 41M
refuse "--memory" boot --kernel k --initrd huge --memory 41M
refuse "does not fit" boot --kernel pvh --initrd huge --memory 41M
refuse "no memory for it" boot --kernel bz --initrd vast --memory 16M
refuse "more than 64 modules" boot --kernel k --initrd "$(yes k, | head -n 70 | tr -d '\n')"
refuse "--initrd is empty" boot --kernel k --initrd ""
refuse "--append" boot --kernel bz --append "$(head -c 300 /dev/zero | tr '\0' x)"
refuse "--append" boot --kernel pvh --append "$(head -c 100000 /dev/zero | tr '\0' x)"
refuse "--memory" boot --kernel k --memory 1M
refuse "--memory" boot --kernel bz --memory 1M
refuse "--memory" boot --kernel pvh --memory 1M

# Outputs that cannot be.
refuse "Is a directory" boot --kernel k --serial file:dir
refuse "No such file" boot --kernel k --serial file:nosuch/x
refuse "No such file" boot --kernel k --serial unix:nosuch/x
refuse "in use" boot --kernel k --serial unix:empty
refuse "is longer than" boot --kernel k --serial "unix:$(head -c 200 /dev/zero | tr '\0' x)"
refuse "Is a directory" boot --kernel k --trace all --trace-file dir
refuse "--trace-file" boot --kernel k --trace-file t
refuse "--debug-exit" boot --kernel k --debug-exit=0x3f8
refuse "--cpu" boot --kernel k --cpu i8086
refuse "--gdb" boot --kernel k --gdb=0
refuse "--timeout" boot --kernel k --timeout 0
refuse "symbols" boot --kernel k --symbols dir
refuse "symbols" boot --kernel k --symbols nosuch
refuse "symbols" boot --kernel k --symbols /dev/zero
refuse "--trace" boot --kernel k --trace ,
run="$DOPPEL boot -q --memory 16M --debug-exit --timeout 20 --kernel k"
$run >/dev/full 2>err </dev/null
status=$?
exits 43 "stdout on a full disk"
grep -q "No space left" err || complain "stdout on a full disk, unsaid"
$run --serial file:/dev/full >out 2>err </dev/null
status=$?
exits 43 "--serial on a full disk"
grep -q "No space left" err || complain "--serial on a full disk, unsaid"
$run --trace all --trace-file /dev/full >out 2>err </dev/null
status=$?
exits 43 "--trace-file on a full disk"
grep -q "trace" err || complain "--trace-file on a full disk, unsaid"
$DOPPEL help >/dev/full 2>err
status=$?
exits 125 "help on a full disk"
$run 2>/dev/full >out </dev/null
status=$?
exits 43 "stderr on a full disk"

# Descriptors that came closed: nothing of ours may take their numbers.
$run <&- >out 2>err
status=$?
exits 43 "stdin closed"
[ "$(tr -d '\n' <out | wc -c)" = 3000 ] || complain "stdin closed: output lost"
$run >&- 2>err </dev/null
status=$?
exits 43 "stdout closed"
$run 2>&- >out </dev/null
status=$?
exits 43 "stderr closed"
$run <&- >&- 2>&-
status=$?
exits 43 "all closed"
# A reader that leaves at once.
{
	$run 2>err </dev/null
	echo $? >status
} | true
status=$(cat status)
exits 43 "stdout a broken pipe"

[ $bad = 0 ] && echo "$cases cases, none broke anything"
exit $bad
