/* SPDX-License-Identifier: Apache-2.0
 * The kit's few services; see kit.h.
 */
#include "kit.h"

typeof(kit_last) kit_last;
kit_handler *kit_handlers[256];
u64 kit_idt[512] __attribute__((aligned(16)));
u8 kit_tss[104 + 8192 + 8] __attribute__((aligned(16)));
struct kit_dt kit_idtr = { sizeof(kit_idt) - 1, (u64)kit_idt };
static u8 trap_stack[16384] __attribute__((aligned(16)));
extern u64 kit_recover_rsp;
extern char boot_stack_top[];

void kit_set_gate(unsigned v, void *handler, unsigned type_dpl, unsigned ist)
{
	u64 h = (u64)handler;

	kit_idt[2 * v] = (h & 0xffff) | 0x08 << 16 | (u64)ist << 32 | (u64)type_dpl << 40 | (h >> 16 & 0xffff) << 48;
	kit_idt[2 * v + 1] = h >> 32;
}

int kit_trap(struct frame *f);
int kit_trap(struct frame *f)
{
	u64 cr2 = rdcr2(), dr6;

	if (kit_handlers[f->vector] && kit_handlers[f->vector](f))
		return -1;
	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	kit_last.f = *f;
	kit_last.cr2 = cr2;
	kit_last.dr6 = dr6;
	if (!kit_recover_rsp) {
		kit_printf("unexpected trap %lu error %lx rip %lx cs %lx rsp %lx cr2 %lx flags %lx\n", f->vector,
			   f->error, f->rip, f->cs, f->rsp, cr2, f->rflags);
		kit_exit(2);
	}
	return (int)f->vector;
}

static bool told(const char *word)
{
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *s = (info[0] & 4) ? (const char *)(u64)info[4] : "";
	u32 k;

	for (; *s; s++) {
		for (k = 0; word[k] && s[k] == word[k]; k++)
			;
		if (!word[k])
			return true;
	}
	return false;
}

static bool on_tcg;

/* A guest of KVM on QEMU's hardware sees another hypervisor, and is told; asked before the command line may be gone. */
static void look_for_tcg(void)
{
	u32 r[4];

	cpuid(0x40000000, 0, r);
	on_tcg = r[1] == 0x54474354 || told("on-tcg"); /* "TCGT" */
}

bool kit_on_tcg(void)
{
	return on_tcg;
}

static u8 *next_page;

void *kit_page(void)
{
	if (!next_page)
		next_page = (u8 *)(((u64)kit_end + 4095) & ~4095ull);
	next_page += 4096;
	return memset(next_page - 4096, 0, 4096);
}

void kit_init(void)
{
	u64 tss = (u64)kit_tss;

	outb(0x3f9, 0);
	outb(0x3fb, 0x80);
	outb(0x3f8, 1);
	outb(0x3f9, 0);
	outb(0x3fb, 3);
	outb(0x3fa, 7);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	for (unsigned v = 0; v < 256; v++)
		kit_set_gate(v, kit_stubs + 16 * v, v == 3 || v == 4 || v >= 0x80 ? 0xee : 0x8e, 0);
	__asm__ volatile("lidt %0" ::"m"(kit_idtr));
	*(u64 *)(kit_tss + 4) = (u64)trap_stack + sizeof(trap_stack);
	*(u16 *)(kit_tss + 102) = 104;
	memset(kit_tss + 104, 0xff, 8193);
	kit_gdt[7] = (sizeof(kit_tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
	kit_gdt[8] = tss >> 32;
	__asm__ volatile("ltr %w0" ::"r"(0x38));
	look_for_tcg();
}
