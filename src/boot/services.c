/* SPDX-License-Identifier: Apache-2.0
 * The BIOS's services that kernels still call in real mode before they take the machine over, for machines without
 * firmware: what memory there is (INT 15H), text to COM1 (INT 10H) and keys from it (INT 16H), clock ticks,
 * PCI (INT 1AH); disks and displays are answered as absent. Sources: Ralf Brown's interrupt list; ACPI 6.3, 15.1
 * (E820H); PCI BIOS Specification 2.1.
 *
 * The code stands in the last page below 1 MiB, in a segment of its own (0xff00), behind a table of the offsets that
 * the vectors get. Hardware interrupts come as the 8259 pair is left by firmware: from vector 8 and 70H on.
 */
#include "boot/load.h"

#define SERVICES_GPA 0xff000u
#define SERVICES_SEGMENT 0xff00u
#define SERVICES_MAX 0xff0u
#define RESET_GPA 0xffff0u
#define VECTORS 256

/* In the order of the table at the head of the code. */
enum service {
	S_IRET,
	S_TIMER,
	S_IRQ_MASTER,
	S_IRQ_SLAVE,
	S_VIDEO,
	S_EQUIPMENT,
	S_MEMORY_SIZE,
	S_ABSENT,
	S_SYSTEM,
	S_KEYBOARD,
	S_CLOCK,
	S_STOP,
	NR_SERVICES
};

/* Behind the code. */
struct services_data {
	u16 ext_kib;	      /* above 1 MiB, at most 64 MiB - 1 KiB */
	u16 below16, above16; /* E801: KiB from 1 to 16 MiB, 64-KiB units above */
	u16 pad;
	u32 n;
	struct {
		u64 addr, size;
		u32 type;
	} __attribute__((packed)) map[BOOT_MAP_MAX];
} __attribute__((packed));

extern const u8 boot_services_start[], boot_services_data[];

/* clang-format off */
asm(
"	.pushsection .rodata.boot_services, \"a\", @progbits\n"
"	.code16\n"
"	.globl boot_services_start, boot_services_data\n"
"boot_services_start:\n"
"	.word s_iret - boot_services_start, s_timer - boot_services_start\n"
"	.word s_irq_master - boot_services_start, s_irq_slave - boot_services_start\n"
"	.word s_video - boot_services_start, s_equipment - boot_services_start\n"
"	.word s_memory_size - boot_services_start, s_absent - boot_services_start\n"
"	.word s_system - boot_services_start, s_keyboard - boot_services_start\n"
"	.word s_clock - boot_services_start, s_stop - boot_services_start\n"

"s_set_carry:\n"
"	pushw %bp\n"
"	movw %sp, %bp\n"
"	orw $1, 6(%bp)\n"
"	popw %bp\n"
"	iretw\n"
"s_clear_carry:\n"
"	pushw %bp\n"
"	movw %sp, %bp\n"
"	andw $0xfffe, 6(%bp)\n"
"	popw %bp\n"
"s_iret:\n"
"	iretw\n"

/* Interrupts of the hardware. */
"s_timer:\n"
"	pushw %ax\n"
"	pushw %ds\n"
"	movw $0x40, %ax\n"
"	movw %ax, %ds\n"
"	incl 0x6c\n"
"	int $0x1c\n"
"	popw %ds\n"
"	jmp 1f\n"
"s_irq_slave:\n"
"	pushw %ax\n"
"	movb $0x20, %al\n"
"	outb %al, $0xa0\n"
"	jmp 1f\n"
"s_irq_master:\n"
"	pushw %ax\n"
"1:	movb $0x20, %al\n"
"	outb %al, $0x20\n"
"	popw %ax\n"
"	iretw\n"

/* INT 10H: teletype goes to COM1 if there is one; the mode is a text mode that nobody sees; no VESA, no EGA. */
"s_video:\n"
"	cmpb $0x0e, %ah\n"
"	je 2f\n"
"	cmpb $0x0f, %ah\n"
"	je 3f\n"
"	cmpb $0x03, %ah\n"
"	je 4f\n"
"	cmpb $0x4f, %ah\n"
"	jne s_iret\n"
"	movw $0x0100, %ax\n"
"	iretw\n"
"3:	movw $0x5003, %ax\n"
"	movb $0, %bh\n"
"	iretw\n"
"4:	xorw %dx, %dx\n"
"	movw $0x0607, %cx\n"
"	iretw\n"
"2:	pushw %ds\n"
"	pushw %dx\n"
"	pushw %cx\n"
"	pushw %ax\n"
"	movw $0x40, %dx\n"
"	movw %dx, %ds\n"
"	movw 0, %dx\n"
"	testw %dx, %dx\n"
"	jz 7f\n"
"	addw $5, %dx\n"
"	movw $0x1000, %cx\n"
"5:	inb %dx, %al\n"
"	testb $0x20, %al\n"
"	jnz 6f\n"
"	loop 5b\n"
"6:	subw $5, %dx\n"
"	popw %ax\n"
"	outb %al, %dx\n"
"	pushw %ax\n"
"7:	popw %ax\n"
"	popw %cx\n"
"	popw %dx\n"
"	popw %ds\n"
"	iretw\n"

"s_equipment:\n"
"	pushw %ds\n"
"	movw $0x40, %ax\n"
"	movw %ax, %ds\n"
"	movw 0x10, %ax\n"
"	popw %ds\n"
"	iretw\n"
"s_memory_size:\n"
"	pushw %ds\n"
"	movw $0x40, %ax\n"
"	movw %ax, %ds\n"
"	movw 0x13, %ax\n"
"	popw %ds\n"
"	iretw\n"

/* INT 13H, 14H, 17H: there is no such drive or port. */
"s_absent:\n"
"	movb $0x01, %ah\n"
"	jmp s_set_carry\n"

"s_system:\n"
"	cmpw $0xe820, %ax\n"
"	je 1f\n"
"	cmpw $0xe801, %ax\n"
"	je 3f\n"
"	cmpb $0x88, %ah\n"
"	je 4f\n"
"	cmpw $0x2401, %ax\n"
"	je 5f\n"
"2:	movb $0x86, %ah\n"
"	jmp s_set_carry\n"
"1:	cmpl $0x534d4150, %edx\n"
"	jne 2b\n"
"	cmpl $20, %ecx\n"
"	jb 2b\n"
"	cmpl %cs:(boot_services_data - boot_services_start + 8), %ebx\n"
"	jae 2b\n"
"	pushw %si\n"
"	pushw %di\n"
"	pushw %ds\n"
"	movw %cs, %si\n"
"	movw %si, %ds\n"
"	imulw $20, %bx, %si\n"
"	addw $(boot_services_data - boot_services_start + 12), %si\n"
"	movl $10, %ecx\n"
"	cld\n"
"	rep movsw\n"
"	popw %ds\n"
"	popw %di\n"
"	popw %si\n"
"	movl $20, %ecx\n"
"	movl $0x534d4150, %eax\n"
"	incl %ebx\n"
"	cmpl %cs:(boot_services_data - boot_services_start + 8), %ebx\n"
"	jb s_clear_carry\n"
"	xorl %ebx, %ebx\n"
"	jmp s_clear_carry\n"
"3:	movw %cs:(boot_services_data - boot_services_start + 2), %ax\n"
"	movw %ax, %cx\n"
"	movw %cs:(boot_services_data - boot_services_start + 4), %bx\n"
"	movw %bx, %dx\n"
"	jmp s_clear_carry\n"
"4:	movw %cs:(boot_services_data - boot_services_start), %ax\n"
"	jmp s_clear_carry\n"
"5:	inb $0x92, %al\n"
"	orb $2, %al\n"
"	andb $0xfe, %al\n"
"	outb %al, $0x92\n"
"	movb $0, %ah\n"
"	jmp s_clear_carry\n"

/* INT 16H: keys are what COM1 receives; one is held in the BIOS's buffer between the look and the reading. */
"s_keyboard:\n"
"	pushw %ds\n"
"	pushw %dx\n"
"	movw $0x40, %dx\n"
"	movw %dx, %ds\n"
"	testb $0xef, %ah\n"
"	jz 2f\n"
"	testb $0xee, %ah\n"
"	movb $0, %al\n"
"	jnz 3f\n"
"	call s_key\n"
"	popw %dx\n"
"	popw %ds\n"
"	pushw %bp\n"
"	movw %sp, %bp\n"
"	jz 1f\n"
"	andw $0xffbf, 6(%bp)\n"
"	popw %bp\n"
"	iretw\n"
"1:	orw $0x40, 6(%bp)\n"
"	popw %bp\n"
"	iretw\n"
"2:	call s_key\n"
"	jnz 4f\n"
"	sti\n"
"	hlt\n"
"	jmp 2b\n"
"4:	movw 0x1c, %dx\n"
"	movw %dx, 0x1a\n"
"3:	popw %dx\n"
"	popw %ds\n"
"	iretw\n"

/* ax = the waiting key, without a scan code; ZF if there is none. Terminals say DEL where keyboards say backspace.
 * The UART gives input to who asks often only (ns16550.c). */
"s_key:\n"
"	movw 0x1a, %ax\n"
"	cmpw 0x1c, %ax\n"
"	jne 5f\n"
"	movw 0, %dx\n"
"	testw %dx, %dx\n"
"	jz 7f\n"
"	addw $5, %dx\n"
"	pushw %cx\n"
"	movw $100, %cx\n"
"8:	inb %dx, %al\n"
"	testb $1, %al\n"
"	loopz 8b\n"
"	popw %cx\n"
"	jz 7f\n"
"	subw $5, %dx\n"
"	inb %dx, %al\n"
"	cmpb $0x7f, %al\n"
"	jne 6f\n"
"	movb $0x08, %al\n"
"6:	movb $0, %ah\n"
"	movw %ax, 0x1e\n"
"	movw $0x1e, 0x1a\n"
"	movw $0x20, 0x1c\n"
"5:	movw 0x1e, %ax\n"
"	testw %sp, %sp\n"
"7:	ret\n"

/* INT 1AH: ticks since midnight; the RTC is reached by its ports. */
"s_clock:\n"
"	cmpb $0xb1, %ah\n"
"	je s_pci\n"
"	testb %ah, %ah\n"
"	jnz s_set_carry\n"
"	pushw %ds\n"
"	movw $0x40, %cx\n"
"	movw %cx, %ds\n"
"	movw 0x6c, %dx\n"
"	movw 0x6e, %cx\n"
"	movb $0, %al\n"
"	popw %ds\n"
"	iretw\n"

/* PCI BIOS 2.1, for bus 0: presence, find by identity and by class, configuration space. */
"s_pci:\n"
"	cmpb $0x08, %al\n"
"	jb 2f\n"
"	cmpb $0x0d, %al\n"
"	ja 8f\n"
"	testw $0xff00, %di\n"
"	jnz 9f\n"
"	pushl %eax\n"
"	pushw %dx\n"
"	pushw %bp\n"
"	movw %sp, %bp\n"
"	call s_pci_address\n"
"	movb 4(%bp), %al\n"
"	cmpb $0x09, %al\n"
"	jb 3f\n"
"	je 4f\n"
"	cmpb $0x0b, %al\n"
"	jb 5f\n"
"	je 6f\n"
"	cmpb $0x0d, %al\n"
"	movl %ecx, %eax\n"
"	je 7f\n"
"	outw %ax, %dx\n"
"	jmp 1f\n"
"3:	inb %dx, %al\n"
"	movb %al, %cl\n"
"	jmp 1f\n"
"4:	inw %dx, %ax\n"
"	movw %ax, %cx\n"
"	jmp 1f\n"
"5:	inl %dx, %eax\n"
"	movl %eax, %ecx\n"
"	jmp 1f\n"
"6:	movb %cl, %al\n"
"	outb %al, %dx\n"
"	jmp 1f\n"
"7:	outl %eax, %dx\n"
"1:	popw %bp\n"
"	popw %dx\n"
"	popl %eax\n"
"	movb $0, %ah\n"
"	jmp s_clear_carry\n"
"2:	cmpb $0x01, %al\n"
"	jb 8f\n"
"	ja 1f\n"
"	movl $0x20494350, %edx\n"
"	movw $0x0001, %ax\n"
"	movw $0x0210, %bx\n"
"	movb $0, %cl\n"
"	xorl %edi, %edi\n"
"	jmp s_clear_carry\n"
"8:	movb $0x81, %ah\n"
"	jmp s_set_carry\n"
"9:	movb $0x87, %ah\n"
"	jmp s_set_carry\n"
"1:	cmpb $0x03, %al\n"
"	ja 8b\n"
"	pushal\n"
"	movw $8, %di\n"
"	je 1f\n"
"	xorw %di, %di\n"
"	shll $16, %ecx\n"
"	movw %dx, %cx\n"
"1:	xorw %bx, %bx\n"
"2:	call s_pci_address\n"
"	inl %dx, %eax\n"
"	testw %di, %di\n"
"	jz 3f\n"
"	shrl $8, %eax\n"
"3:	cmpl %eax, %ecx\n"
"	jne 4f\n"
"	subw $1, %si\n"
"	jc 5f\n"
"4:	incb %bl\n"
"	jnz 2b\n"
"	popal\n"
"	movb $0x86, %ah\n"
"	jmp s_set_carry\n"
"5:	movw %sp, %bp\n"
"	movw %bx, 16(%bp)\n"
"	popal\n"
"	movb $0, %ah\n"
"	jmp s_clear_carry\n"

/* Selects register di of bx; dx = the port of its data. */
"s_pci_address:\n"
"	movzwl %bx, %eax\n"
"	shll $8, %eax\n"
"	movw %di, %dx\n"
"	movb %dl, %al\n"
"	andb $0xfc, %al\n"
"	orl $0x80000000, %eax\n"
"	movw $0xcf8, %dx\n"
"	outl %eax, %dx\n"
"	movw %di, %dx\n"
"	andw $3, %dx\n"
"	addw $0xcfc, %dx\n"
"	ret\n"

"s_stop:\n"
"	sti\n"
"	hlt\n"
"	jmp s_stop\n"
"	.balign 4\n"
"boot_services_data:\n"
"	.code64\n"
"	.popsection\n");
/* clang-format on */

static enum service service_of(unsigned vector)
{
	switch (vector) {
	case 0x08:
		return S_TIMER;
	case 0x10:
		return S_VIDEO;
	case 0x11:
		return S_EQUIPMENT;
	case 0x12:
		return S_MEMORY_SIZE;
	case 0x13:
	case 0x14:
	case 0x17:
		return S_ABSENT;
	case 0x15:
		return S_SYSTEM;
	case 0x16:
		return S_KEYBOARD;
	case 0x18:
	case 0x19:
		return S_STOP;
	case 0x1a:
		return S_CLOCK;
	}
	if (vector > 0x08 && vector < 0x10)
		return S_IRQ_MASTER;
	return vector >= 0x70 && vector < 0x78 ? S_IRQ_SLAVE : S_IRET;
}

static int place_vectors(struct mem *m, struct err *e)
{
	u16 vector[VECTORS][2], offset[NR_SERVICES];

	memcpy(offset, boot_services_start, sizeof(offset));
	for (unsigned i = 0; i < VECTORS; i++) {
		vector[i][0] = offset[service_of(i)];
		vector[i][1] = SERVICES_SEGMENT;
	}
	return load_bytes(m, 0, vector, sizeof(vector), "interrupt vectors", e);
}

static void fill_data(struct services_data *d, const struct boot_map *map)
{
	u64 ext = 0;

	for (unsigned i = 0; i < map->n; i++) {
		d->map[i].addr = map->e[i].addr;
		d->map[i].size = map->e[i].size;
		d->map[i].type = map->e[i].type;
		if (map->e[i].type == E820_RAM && map->e[i].addr == 1u << 20)
			ext = map->e[i].size;
	}
	d->n = map->n;
	d->ext_kib = (u16)MIN(ext >> 10, 0xfc00);
	d->below16 = (u16)MIN(ext >> 10, 0x3c00);
	d->above16 = (u16)(ext > 15u << 20 ? MIN((ext - (15u << 20)) >> 16, 0xffff) : 0);
}

int services_place(struct mem *m, const struct boot_map *map, struct err *e)
{
	/* jmp far 0xff00:offset of S_STOP; date; model byte: a PC AT. */
	u8 reset[16] = { 0xea, 0, 0, 0x00, 0xff, '0', '1', '/', '0', '1', '/', '2', '6', 0, 0xfc, 0 };
	size_t code = (size_t)(boot_services_data - boot_services_start);
	struct services_data data = { 0 };

	if (!load_fits(m, SERVICES_GPA, PAGE_SIZE))
		return 0; /* a board without memory there */
	fill_data(&data, map);
	memcpy(reset + 1, boot_services_start + 2 * S_STOP, 2);
	if (code + sizeof(data) > SERVICES_MAX)
		return err_set(e, "the BIOS services do not fit their page");
	if (place_vectors(m, e) || load_bytes(m, SERVICES_GPA, boot_services_start, code, "BIOS services", e) ||
	    load_bytes(m, SERVICES_GPA + code, &data, sizeof(data), "BIOS services", e))
		return -1;
	return load_bytes(m, RESET_GPA, reset, sizeof(reset), "BIOS services", e);
}

_Static_assert(offsetof(struct services_data, n) == 8 && offsetof(struct services_data, map) == 12,
	       "as the code reads");
