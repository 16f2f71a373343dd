# SPDX-License-Identifier: Apache-2.0
# Small kernels of each kind that say what their loader gave them: multiboot 2 (ELF, relocated, by addresses), multiboot 1
# (64-bit ELF, by addresses), Linux's 16-bit entry with the BIOS's services, PVH. Each ends by port 0xf4 with status 43.
bad=0
fail() {
	echo "$1"
	[ -s out ] && cat out
	cat err
	bad=1
}

dir=$PWD
cd "$TMPDIR" || exit 1
command -v as >/dev/null && command -v python3 >/dev/null || { echo "no assembler or no python3"; exit 77; }

# boots WORDS FILE OPTIONS …: ends with 43 and says each of WORDS (separated by |) on the console.
boots() {
	words=$1
	file=$2
	shift 2
	timeout 60 "$DOPPEL" boot -q --memory 64M --debug-exit --no-reboot --timeout 50 --kernel "$file" "$@" >out 2>err </dev/null
	status=$?
	[ $status = 43 ] || fail "$file $*: status $status"
	while [ -n "$words" ]; do
		word=${words%%|*}
		words=${words#"$word"}
		words=${words#|}
		tr -d '\r' <out | grep -qF -- "$word" || fail "$file $*: the console lacks '$word'"
	done
}

# refused WORDS FILE OPTIONS …
refused() {
	words=$1
	file=$2
	shift 2
	timeout 60 "$DOPPEL" boot -q --debug-exit --timeout 50 --kernel "$file" "$@" >out 2>err </dev/null
	status=$?
	[ $status = 125 ] && [ "$(wc -l <err)" = 1 ] && grep -qF -- "$words" err || fail "$file $*: status $status, wanted '$words'"
}

# ---- multiboot 2: a C kernel that walks the tags -------------------------------------------------------------------
cat >mb2.c <<'E'
typedef unsigned u32;
typedef unsigned long long u64;
static void put(char c) { __asm__ volatile("outb %0, %w1" : : "a"(c), "d"(0x3f8)); }
static void text(const char *s) { while (*s) put(*s++); }
static void num(u32 v) { for (int i = 28; i >= 0; i -= 4) put("0123456789abcdef"[v >> i & 15]); }
static void line(const char *what, u32 v) { text(what); num(v); put('\n'); }
static u32 sum(const unsigned char *p, u32 n) { u32 s = 0; while (n--) s += *p++; return s & 255; }
void kmain(u32 magic, u32 info, u32 where)
{
	u32 *t = (u32 *)(info + 8), cr0, flags, n = 0;
	__asm__ volatile("mov %%cr0, %0; pushf; pop %1" : "=r"(cr0), "=r"(flags));
	line("magic ", magic); line("aligned ", info & 7); line("at ", where & ~0xfffu);
	line("pe ", cr0 & 0x80000001); line("if ", flags & 0x20200);
	for (; t[0]; t = (u32 *)(((u32)t + t[1] + 7) & ~7u), n++) {
		if (t[0] == 1) { text("cmdline <"); text((char *)&t[2]); text(">\n"); }
		if (t[0] == 2) { text("loader <"); text((char *)&t[2]); text(">\n"); }
		if (t[0] == 3) { line("module size ", t[3] - t[2]); line("module page ", t[2] & 4095);
			text("module <"); text((char *)&t[4]); text("> "); put(*(char *)t[2]); put('\n'); }
		if (t[0] == 4) { line("lower ", t[2]); line("upper ", t[3]); }
		if (t[0] == 6) { u64 ram = 0; for (u32 *e = t + 4; e < t + t[1] / 4; e += t[2] / 4)
			if (e[4] == 1) ram += *(u64 *)(e + 2); line("ram ", (u32)ram); }
		if (t[0] == 9) line("sections ", t[2] > 2 && t[3] == 40);
		if (t[0] == 13) line("smbios ", t[2] & 255);
		if (t[0] == 14) line("rsdp1 ", sum((void *)(t + 2), 20));
		if (t[0] == 15) line("rsdp2 ", sum((void *)(t + 2), t[1] - 8));
		if (t[0] == 21) line("base ", t[2]);
	}
	line("end ", t[1]); line("whole ", (u32)t + 8 - info == *(u32 *)info);
	__asm__ volatile("outl %0, %w1" : : "a"(21), "d"(0xf4));
}
E
cat >mb2head.S <<'E'
	.section .head, "ax"
	.globl _start
_start:	mov $0x80000, %esp
	call 1f
1:	push %ebx
	push %eax
	call kmain
	hlt
	.balign 8
h:	.long 0xe85250d6, 0, hend - h, -(0xe85250d6 + hend - h)
	.short 1, 0; .long 20, 1, 6, 14; .balign 8
	.short 0x4242, 1; .long 12, 0; .balign 8
	.short 6, 0; .long 8
	.short 5, 0; .long 20, 1024, 768, 32; .balign 8
#ifdef RELOCATABLE
	.short 10, 0; .long 24, 0x1000000, 0x3ffffff, 0x200000, RELOCATABLE
#endif
#ifdef ADDRESSES
	.short 2, 0; .long 24, h, _start, 0, bss_end
	.short 3, 0; .long 12, _start; .balign 8
#endif
#ifdef TAG
	TAG
#endif
	.short 0, 0; .long 8
hend:
E
echo 'SECTIONS { . = 0x200000; .text : { *(.head) *(.text*) *(.rodata*) } .data : { *(.data*) *(.got*) }
	.bss : { *(.bss*) } bss_end = .; /DISCARD/ : { *(.note*) *(.eh_frame*) *(.comment) } }' >mb2.ld
mb2() {
	out=$1
	shift
	${CC:-cc} -m32 -O1 -ffreestanding -fno-pic -fno-pie -no-pie -nostdlib -static -fno-stack-protector -mgeneral-regs-only \
		-fno-asynchronous-unwind-tables -fcf-protection=none -Wl,--build-id=none -Wl,-z,noexecstack \
		-Wl,--no-warn-rwx-segments -T mb2.ld "$@" -o "$out" mb2head.S mb2.c
}
mb2 mb2 || { echo "the compiler makes no 32-bit programs"; exit 77; }
printf 'Xmodule' >mod
boots "magic 36d76289|aligned 00000000|at 00200000|pe 00000001|if 00000000|cmdline <one  two>|loader <doppel>|module size 00000007|module page 00000000|module <a b> X|lower 0000027f|upper 0000fc00|ram 03f9fc00|sections 00000001|smbios 00000002|rsdp1 00000000|rsdp2 00000000|end 00000008|whole 00000001" \
	mb2 --append "one  two" --initrd "mod a b"
mb2 raw -DADDRESSES && objcopy -O binary raw raw.bin &&
	boots "magic 36d76289|at 00200000|cmdline <>|end 00000008" raw.bin
# Position-independent enough up to its first call: where it runs is all that it can say.
cat >rel.S <<'E'
	.section .text
	.globl _start
_start:	mov $0x80000, %esp
	call 1f
1:	pop %ecx
	shr $20, %ecx
	add $'a', %ecx
	mov %cl, %al
	mov $0x3f8, %dx
	outb %al, %dx
	mov $21, %eax
	out %eax, $0xf4
	.balign 8
h:	.long 0xe85250d6, 0, hend - h, -(0xe85250d6 + hend - h)
	.short 10, 0; .long 24, 0x1000000, 0x3ffffff, 0x200000, PREFERENCE
	.short 0, 0; .long 8
hend:
E
for p in "0 q" "1 q"; do
	set -- $p
	${CC:-cc} -m32 -nostdlib -static -no-pie -Wl,--build-id=none,-Ttext=0x200000 -DPREFERENCE="$1" -o "rel$1" rel.S &&
		boots "$2" "rel$1"
done
mb2 tag "-DTAG=.short 0x4343, 0; .long 8" && refused "header tag 17219" tag
mb2 tag "-DTAG=.short 4, 0; .long 12, 1, 0" && refused "requires a display" tag
mb2 tag "-DTAG=.short 1, 0; .long 12, 99, 0" && refused "information of type 99" tag
mb2 tag "-DTAG=.short 3, 0; .long 7, 0" && refused "a tag's length is wrong" tag

# ---- Linux by its 16-bit entry: the kernel is its setup code ----------------------------------------------------------
cat >real.s <<'E'
	.code16
	.globl _start
_start:	.skip 0x1f1
	.byte 4
	.skip 2
	.long 1
	.skip 6
	.short 0xaa55
	jmp go
	.ascii "HdrS"
	.short VERSION
	.skip 9
	.byte HIGH
	.skip 2
	.long 0x100000
	.long 0, 0, 0
	.short 0
	.skip 2
cmd:	.long 0, 0x37ffffff, 0x1000, 0, 255
	.skip 0x14
	.balign 16
go:	sti
	mov $1, %cx
	xor %ebx, %ebx
	xor %bp, %bp
1:	mov $0xe820, %eax
	mov $0x534d4150, %edx
	mov $20, %ecx
	mov $buf, %di
	int $0x15
	jc fail
	inc %bp
	test %ebx, %ebx
	jnz 1b
	mov %bp, %ax
	add $'0', %al
	call putc
	mov $0xe801, %ax
	int $0x15
	jc fail
	cmp $0x3c00, %ax
	jne fail
	cmp $0x300, %bx
	jne fail
	mov $0x88, %ah
	int $0x15
	jc fail
	cmp $0xfc00, %ax
	jne fail
	int $0x12
	cmp $639, %ax
	jne fail
	mov $8, %ah
	mov $0x80, %dl
	int $0x13
	jnc fail
	.if !KEY
	mov $1, %ah
	int $0x16
	jnz fail
	.endif
	# The clock ticks (INT 1AH), and PCI BIOS finds the host bridge by class and by identity.
1:	mov $0, %ah
	int $0x1a
	test %dx, %dx
	jz 1b
	mov $0xb101, %ax
	int $0x1a
	jc fail
	cmp $0x20494350, %edx
	jne fail
	mov $0xb103, %ax
	mov $0x060000, %ecx
	xor %si, %si
	mov $-1, %bx
	int $0x1a
	jc fail
	test %bx, %bx
	jnz fail
	mov $0xb103, %ax
	inc %si
	int $0x1a
	jnc fail
	mov $0xb10a, %ax
	xor %bx, %bx
	xor %di, %di
	int $0x1a
	jc fail
	movzwl %cx, %edx
	shr $16, %ecx
	mov $0xb102, %ax
	xor %si, %si
	mov $-1, %bx
	int $0x1a
	jc fail
	test %bx, %bx
	jnz fail
	mov $0xb10c, %ax
	mov $4, %di
	mov $0x0103, %cx
	int $0x1a
	jc fail
	mov $0xb108, %ax
	mov $5, %di
	int $0x1a
	cmp $1, %cl
	jne fail
	mov $0xb109, %ax
	mov $0x104, %di
	int $0x1a
	jnc fail
	.if KEY
	mov $0, %ah
	int $0x16
	cmp $'k', %al
	jne fail
1:	mov $0x11, %ah
	int $0x16
	jz 1b
	mov $0x10, %ah
	int $0x16
	cmp $8, %al
	jne fail
	.endif
	mov $0x5300, %ax
	int $0x15
	jnc fail
	mov $' ', %al
	call putc
	cmpw $0x202, 0x206
	jb old
	mov cmd, %eax
	shr $4, %eax
	mov %ax, %fs
	xor %si, %si
	jmp text
old:	cmpw $0xa33f, 0x20
	jne fail
	mov %ds, %ax
	mov %ax, %fs
	mov 0x22, %si
text:	mov %fs:(%si), %al
	inc %si
	test %al, %al
	jz high
	call putc
	jmp text
high:	mov $21, %eax
	out %eax, $0xf4
fail:	mov $99, %eax
	out %eax, $0xf4
putc:	mov $0x0e, %ah
	int $0x10
	ret
buf:	.skip 24
	.org 2560
	.skip 1024
E
for v in 0x200 0x201 0x202 0x209; do
	for high in 0 1; do
		as --32 --defsym VERSION=$v --defsym HIGH=$high --defsym KEY=0 -o real.o real.s && ld -m elf_i386 -Ttext=0 --oformat binary -o real real.o ||
			fail "the 16-bit kernel does not assemble"
		boots "4 hello world" real --linux-entry 16 --append "hello world"
	done
done
refused "has no 64-bit entry" real --linux-entry 64
as --32 --defsym VERSION=0x209 --defsym HIGH=1 --defsym KEY=1 -o real.o real.s && ld -m elf_i386 -Ttext=0 --oformat binary -o real real.o
printf 'k\177' | timeout 60 "$DOPPEL" boot -q --memory 64M --debug-exit --no-reboot --timeout 50 --kernel real --linux-entry 16 >out 2>err
[ $? = 43 ] || fail "the 16-bit kernel gets no keys"
refused "give 64, 32 or 16" real --linux-entry 8

# ---- multiboot 1 of 64 bits is covered by tests/hostile/files.sh ------------------------------------------------------
cd "$dir" || exit 1
[ $bad = 0 ] && echo "all loaders"
exit $bad
