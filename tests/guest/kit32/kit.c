/* SPDX-License-Identifier: Apache-2.0
 * The 32-bit kit's few services; see kit.h.
 */
#include "kit32/kit.h"

struct kit_frame kit_last;
u32 kit_cr2;
kit_handler *kit_handlers[256];
u64 kit_idt[256] __attribute__((aligned(16)));
u8 kit_tss[104 + 8192 + 32] __attribute__((aligned(16)));
u8 kit_df_tss[104] __attribute__((aligned(16)));
struct kit_dt kit_idtr = { sizeof(kit_idt) - 1, (u32)kit_idt };
static u8 ring_stack[4][8192] __attribute__((aligned(16)));  /* of contexts */
static u8 trap_stack[3][16384] __attribute__((aligned(16))); /* of the TSS */
static u8 df_stack[4096] __attribute__((aligned(16)));
extern u32 kit_recover_esp, kit_df_error;
void kit_df_entry(void);

u64 kit_desc(u32 base, u32 limit, unsigned access, unsigned flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 | (u64)(limit >> 16 & 15) << 48 |
	       (u64)flags << 52 | (u64)(base >> 24) << 56;
}

u64 kit_gate(u32 offset, u32 selector, unsigned access, unsigned params)
{
	return (offset & 0xffff) | selector << 16 | (u64)params << 32 | (u64)access << 40 | (u64)(offset >> 16) << 48;
}

u32 kit_code_sel(unsigned cpl)
{
	static const u8 sel[] = { K_CODE0, K_CODE1, K_CODE2, K_CODE3 };

	return sel[cpl];
}

u32 kit_data_sel(unsigned cpl)
{
	static const u8 sel[] = { K_DATA0, K_DATA1, K_DATA2, K_DATA3 };

	return sel[cpl];
}

struct kit_ctx kit_ctx(unsigned cpl, const void *code)
{
	struct kit_ctx c;

	memset(&c, 0, sizeof(c));
	c.cs = kit_code_sel(cpl);
	c.ss = kit_data_sel(cpl);
	c.ds = c.es = c.fs = c.gs = K_DATA3;
	c.eip = (u32)code;
	c.eflags = 2;
	c.esp = (u32)ring_stack[cpl] + 4096;
	return c;
}

static bool told(const char *word)
{
	const u32 *info = (const u32 *)multiboot_info;
	const char *s = (info[0] & 4) ? (const char *)info[4] : "";
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
		next_page = (u8 *)(((u32)kit_end + 4095) & ~4095u);
	next_page += 4096;
	return memset(next_page - 4096, 0, 4096);
}

int kit_trap(void);
int kit_trap(void)
{
	struct kit_frame *f = &kit_last;

	kit_cr2 = rdcr2();
	if (kit_handlers[f->vector & 255] && kit_handlers[f->vector & 255](f))
		return -1;
	if (!kit_recover_esp) {
		kit_printf("unexpected trap %u error %x at %x:%x flags %x cr2 %x\n", f->vector, f->error, f->cs, f->eip,
			   f->eflags, kit_cr2);
		kit_exit(2);
	}
	return (int)f->vector;
}

static void task_registers(void)
{
	kit_gdt[K_TSS / 8] = kit_desc((u32)kit_tss, sizeof(kit_tss) - 1, 0x89, 0);
	kit_gdt[K_DF_TSS / 8] = kit_desc((u32)kit_df_tss, 103, 0x89, 0);
	__asm__ volatile("ltr %w0" ::"r"(K_TSS));
}

/* Runs in the task of #DF; leaves as if the first task had never gone away. */
void kit_df(void);
void kit_df(void)
{
	if (!kit_recover_esp) {
		u32 *t = (u32 *)kit_tss;

		kit_printf("double fault at %x:%x esp %x\n", t[19], t[8], t[14]);
		kit_exit(2);
	}
	kit_last.vector = 8;
	kit_last.error = kit_df_error;
	*(u32 *)(kit_df_tss + 32) = (u32)kit_df_entry;
	*(u32 *)(kit_df_tss + 56) = (u32)df_stack + sizeof(df_stack);
	task_registers();
	__asm__ volatile("clts; pushf; btrl $14, (%%esp); popf" ::: "cc", "memory");
}

static void fill_tss(void)
{
	u32 *t = (u32 *)kit_tss, *d = (u32 *)kit_df_tss;

	for (unsigned r = 0; r < 3; r++) {
		t[1 + 2 * r] = (u32)trap_stack[r] + sizeof(trap_stack[r]) / 2;
		t[2 + 2 * r] = kit_data_sel(r);
	}
	t[25] = 104u << 16;
	memset(kit_tss + 104, 0xff, 8193);
	d[8] = (u32)kit_df_entry;
	d[9] = 2;
	d[14] = (u32)df_stack + sizeof(df_stack);
	d[18] = d[20] = d[21] = d[22] = d[23] = K_DATA0;
	d[19] = K_CODE0;
	d[25] = 104u << 16;
}

void kit_init(void)
{
	outb(0x3f9, 0);
	outb(0x3fb, 0x80);
	outb(0x3f8, 1);
	outb(0x3f9, 0);
	outb(0x3fb, 3);
	outb(0x3fa, 7);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	for (unsigned v = 0; v < 256; v++)
		kit_idt[v] = kit_gate((u32)kit_stubs + 16 * v, K_CODE0, v == 3 || v == 4 || v >= 0x80 ? 0xee : 0x8e, 0);
	kit_idt[8] = kit_gate(0, K_DF_TSS, 0x85, 0);
	__asm__ volatile("lidt %0" ::"m"(kit_idtr));
	fill_tss();
	task_registers();
	look_for_tcg();
}
