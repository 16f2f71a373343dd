/* SPDX-License-Identifier: Apache-2.0
 * Corners that need a 32-bit system: x87 errors by way of IRQ 13, x87 environments, 4 MiB pages above 4 GiB, and paging
 * of five levels, which can only be entered with paging off.
 */
#include "kit32/kit.h"

enum { P = 1, W = 2, A = 0x20, PS = 0x80, PF = 14, MF = 16, PIC = 0xa0, S_CODE64 = K_FREE };
#define NE 0x20u
#define FAR_VA 0x00ff123456789000ull /* canonical with 57 bits, not with 48 */

SNIP(divide, "fninit; fldcw (%edi); fld1; fldz; fdivrp; fwait");
SNIP(load_word, "mov (%edi), %eax");

static volatile u32 interrupts, status;

static bool on_irq13(struct kit_frame *f)
{
	u16 sw;

	(void)f;
	__asm__ volatile("fnstsw %0" : "=a"(sw));
	status = sw;
	interrupts++;
	outb(0xf0, 0);
	__asm__ volatile("fnclex");
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	return true;
}

static void pic(u8 master, u8 slave)
{
	outb(0x20, 0x11);
	outb(0x21, PIC);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0xa0, 0x11);
	outb(0xa1, PIC + 8);
	outb(0xa1, 2);
	outb(0xa1, 1);
	outb(0x21, master);
	outb(0xa1, slave);
}

static int run_divide(bool native)
{
	static const u16 unmasked = 0x37b; /* ZM clear */
	struct kit_ctx c = kit_ctx(0, divide);

	wrcr0((rdcr0() & ~(NE | 0xcu)) | 2 | (native ? NE : 0));
	c.edi = (u32)&unmasked;
	c.eflags |= 0x200;
	interrupts = 0;
	return kit_run(&c);
}

static void x87_errors(void)
{
	pic(0xfb, 0xdf);
	kit_handlers[PIC + 13] = on_irq13;
	kit_case("x87 error with CR0.NE clear: no #MF", "SDM 1 8.7.2", DONE, (u32)run_divide(false));
	kit_case("x87 error with CR0.NE clear: IRQ 13", "SDM 1 8.7.2", 1, interrupts);
	kit_case("x87 status in the handler: ZE and ES", "SDM 1 8.1.3", 0x84, status & 0xff);
	kit_case("x87 error with CR0.NE clear, again", "SDM 1 8.7.2", DONE, (u32)run_divide(false));
	kit_case("x87 error with CR0.NE clear: IRQ 13 again", "SDM 1 8.7.2", 1, interrupts);
	kit_case("x87 error with CR0.NE set: #MF", "SDM 1 8.7.1", MF, (u32)run_divide(true));
	kit_case("x87 error with CR0.NE set: no IRQ 13", "SDM 1 8.7.1", 0, interrupts);
	__asm__ volatile("fnclex");
	kit_handlers[PIC + 13] = NULL;
	pic(0xff, 0xff);
}

static void x87_environments(void)
{
	static u32 env[28];
	static float one = 1;
	u32 ip;

	memset(env, 0x55, sizeof(env));
	__asm__ volatile("fninit; 1: flds %2; fnstenv %1; movl $1b, %0" : "=r"(ip), "=m"(env) : "m"(one));
	kit_case("32-bit protected x87 environment: control, status, tags", "SDM 1 8.1.10",
		 0x037full << 32 | 0x38003fff, (u64)(u16)env[0] << 32 | (env[1] & 0xffff) << 16 | (u16)env[2]);
	kit_case("32-bit protected x87 environment: instruction pointer", "SDM 1 8.1.10", ip, env[3]);
	kit_case("32-bit protected x87 environment: data pointer", "SDM 1 8.1.10", (u32)&one, env[5]);
	kit_case("32-bit protected x87 environment: 28 bytes", "SDM 1 8.1.10", 0x55555555, env[7]);
	memset(env, 0x55, sizeof(env));
	__asm__ volatile("fninit; 1: flds %2; data16 fnstenv %1; movl $1b, %0" : "=r"(ip), "=m"(env) : "m"(one));
	kit_case("16-bit protected x87 environment: control, status", "SDM 1 8.1.10", 0x3800037f, env[0]);
	kit_case("16-bit protected x87 environment: tags, instruction pointer", "SDM 1 8.1.10", 0x3fff | ip << 16,
		 env[1]);
	kit_case("16-bit protected x87 environment: data pointer", "SDM 1 8.1.10", (u16)(u32)&one, env[2] >> 16);
	kit_case("16-bit protected x87 environment: 14 bytes", "SDM 1 8.1.10", 0x5555, env[3] >> 16);
	__asm__ volatile("fninit");
}

/* A word through a 4 MiB page: its vector, or 0. */
static u32 large(u32 *dir, u32 pde, u32 *error, u32 *value)
{
	struct kit_ctx c = kit_ctx(0, load_word);
	int v;

	((volatile u32 *)dir)[0x40000000 >> 22] = pde;
	wrcr3((u32)dir);
	c.edi = 0x40000000;
	v = kit_run(&c);
	*error = v == PF ? kit_last.error : 0;
	*value = kit_last.eax;
	return (u32)v;
}

static void pse36(void)
{
	u32 *dir = kit_page(), r[4], width, error, value;
	u32 *here = (u32 *)0xc00000;

	cpuid(1, 0, r);
	if (!(r[3] >> 17 & 1))
		return;
	cpuid(0x80000008, 0, r);
	width = (r[0] & 0xff) < 40 ? r[0] & 0xff : 40;
	for (u32 i = 0; i < 4; i++)
		dir[i] = i << 22 | PS | P | W | A;
	*here = 0x12345678;
	wrcr4(rdcr4() | 0x10);
	wrcr3((u32)dir);
	wrcr0(rdcr0() | 0x80000000);
	kit_case("PSE-36: 4 MiB page below 4 GiB", "SDM 3A 4.3", DONE,
		 large(dir, 0xc00000 | PS | P | A, &error, &value));
	kit_case("PSE-36: what is read there", "SDM 3A 4.3", 0x12345678, value);
	for (u32 bit = 13; bit < 22; bit++) {
		bool valid = bit < 13 + width - 32;

		kit_with("bit %u of the PDE", bit, 0, 0, 0);
		kit_case("PSE-36: 4 MiB page above 4 GiB", "SDM 3A 4.3", valid ? DONE : PF,
			 large(dir, 0xc00000 | 1u << bit | PS | P | A, &error, &value));
		if (valid)
			kit_case("PSE-36: nothing is there", "SDM 3A 4.3", 0xffffffff, value);
		else
			kit_case("PSE-36: reserved bits", "SDM 3A 4.7", 9, error);
	}
	kit_with(NULL, 0, 0, 0, 0);
	wrcr0(rdcr0() & ~0x80000000);
	wrcr4(rdcr4() & ~0x10u);
}

/* In 64-bit code: *(u32 *)FAR_VA to EAX, then 0x600dcafe to the word behind it. */
u32 five_levels(u32 cr3);
__asm__(".pushsection .text; .globl five_levels; five_levels: push %ebx; push %esi; push %edi; mov 16(%esp), %edi;"
	"mov %cr4, %esi; mov %esi, %eax; or $0x1020, %eax; mov %eax, %cr4; mov %edi, %cr3;"
	"mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr; mov %cr0, %eax; bts $31, %eax; mov %eax, %cr0;"
	"ljmp $0x70, $1f; .code64; 1: movabs $0x00ff123456789000, %rbx; mov (%rbx), %edi; movl $0x600dcafe, 4(%rbx);"
	"ljmp *2f(%rip); 2: .long 3f; .word 8; .code32; 3: mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0;"
	"mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr; mov %esi, %cr4; mov %edi, %eax; pop %edi; pop %esi;"
	"pop %ebx; ret; .popsection");

static void la57(void)
{
	u64 *t[5], *low = kit_page(), va = FAR_VA;
	u32 *page = kit_page(), r[4], flags = 0;

	cpuid(7, 0, r);
	if (!(r[2] >> 16 & 1))
		return;
	for (int i = 0; i < 5; i++)
		t[i] = kit_page();
	for (int i = 0; i < 5; i++)
		t[i][va >> (48 - 9 * i) & 511] = (i < 4 ? (u32)t[i + 1] : (u32)page) | P | W;
	/* the first 16 MiB, where this runs, by pages of 2 MiB */
	u64 *l4 = kit_page(), *l3 = kit_page();

	t[0][0] = (u32)l4 | P | W;
	l4[0] = (u32)l3 | P | W;
	l3[0] = (u32)low | P | W;
	for (u32 i = 0; i < 8; i++)
		low[i] = i << 21 | PS | P | W;
	page[0] = 0x57575757;
	kit_gdt[S_CODE64 / 8] = 0x00af9b000000ffffull;
	kit_case("LA57: read through five levels", "SDM 3A 4.5", 0x57575757, five_levels((u32)t[0]));
	kit_case("LA57: write through five levels", "SDM 3A 4.5", 0x600dcafe, page[1]);
	for (int i = 0; i < 5; i++)
		flags |= (u32)(t[i][va >> (48 - 9 * i) & 511] >> 5 & 1) << i;
	kit_case("LA57: accessed at each level", "SDM 3A 4.8", 0x1f, flags);
	kit_case("LA57: dirty at the last", "SDM 3A 4.8", 1, t[4][va >> 12 & 511] >> 6 & 1);
	kit_case("LA57: CR4 keeps it off again", "SDM 3A 4.1.1", 0, rdcr4() & 0x1000);
}

int guest_main(void)
{
	if (!kit_on_tcg()) /* its own assertion ends it */
		x87_errors();
	x87_environments();
	pse36();
	la57();
	return kit_done();
}
