/* SPDX-License-Identifier: Apache-2.0
 * Corners that need a 64-bit system: translations under PCIDs and INVPCID, alignment checks for each kind of operand,
 * and what no local APIC delivers.
 */
#include "kit/kit.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, G = 0x100, GP = 13, PF = 14, AC = 17 };
#define AC_FLAG 0x40000ull
#define WINDOW 0x40000000ull /* what the kit maps there is not used */

/* ---- translations ---------------------------------------------------------------------------------------------- */

static u64 *root[2], *window[2];

static u64 seen(void)
{
	return *(volatile u64 *)WINDOW;
}

static void invpcid(u64 type, u64 pcid, u64 address)
{
	u64 d[2] = { pcid, address };

	__asm__ volatile("invpcid %0, %1" ::"m"(d), "r"(type) : "memory");
}

/* A copy of the kit's tables whose window has a table of its own. */
static void space(unsigned n)
{
	u64 *pdpt = kit_page(), *pd = kit_page();

	root[n] = kit_page();
	window[n] = kit_page();
	memcpy(root[n], kit_pml4, 4096);
	memcpy(pdpt, kit_pdpt, 4096);
	memcpy(pd, kit_pd[1], 4096);
	root[n][0] = (u64)pdpt | P | W;
	pdpt[1] = (u64)pd | P | W;
	pd[0] = (u64)window[n] | P | W;
}

static void enter(unsigned n, bool keep)
{
	wrcr3((u64)root[n] | (n + 1) | (keep ? 1ull << 63 : 0));
}

static void stale(const char *name, const char *manual, u64 *to, u64 flags, u64 want, void (*drop)(void))
{
	*(volatile u64 *)window[0] = (u64)to | P | W | flags;
	drop();
	kit_case(name, manual, want, seen());
}

static void by_address(void)
{
	invpcid(0, 1, WINDOW);
}
static void by_pcid(void)
{
	invpcid(1, 1, 0);
}
static void by_all_global(void)
{
	invpcid(2, 0, 0);
}
static void by_all(void)
{
	invpcid(3, 0, 0);
}
static void by_invlpg(void)
{
	invlpg((void *)WINDOW);
}
static void by_cr3(void)
{
	enter(0, false);
}
static void by_pge(void)
{
	wrcr4(rdcr4() ^ 0x80);
	wrcr4(rdcr4() ^ 0x80);
}
static void by_pcide(void)
{
	wrcr3((u64)root[0]);
	wrcr4(rdcr4() & ~(1ull << 17));
	wrcr4(rdcr4() | 1ull << 17);
	wrcr3((u64)root[0] | 1 | 1ull << 63);
}

static void pcids(void)
{
	u64 *page[3], cr3 = rdcr3(), cr4 = rdcr4();
	u32 r[4], ebx;

	cpuid(7, 0, r);
	ebx = r[1];
	cpuid(1, 0, r);
	if (!(r[2] >> 17 & 1))
		return;
	for (unsigned i = 0; i < 3; i++) {
		page[i] = kit_page();
		page[i][0] = 0x100 + i;
	}
	space(0);
	space(1);
	wrcr4((cr4 | 0x80) | 1ull << 17);
	window[0][0] = (u64)page[0] | P | W;
	window[1][0] = (u64)page[1] | P | W;
	for (unsigned i = 0; i < 6; i++) {
		enter(i & 1, true);
		kit_case("each PCID has its translations", "SDM 3A 4.10.1", 0x100 + (i & 1), seen());
	}
	enter(0, true);
	stale("MOV to CR3 drops its PCID's", "SDM 3A 4.10.4.1", page[2], 0, 0x102, by_cr3);
	stale("INVLPG under a PCID", "SDM 3A 4.10.4.1", page[0], 0, 0x100, by_invlpg);
	stale("CR4.PGE toggled drops every PCID's", "SDM 3A 4.10.4.1", page[2], 0, 0x102, by_pge);
	stale("CR4.PCIDE cleared drops every PCID's", "SDM 3A 4.10.4.1", page[0], 0, 0x100, by_pcide);
	if (ebx >> 10 & 1) {
		stale("INVPCID of an address", "SDM 2A INVPCID", page[2], 0, 0x102, by_address);
		stale("INVPCID of a PCID", "SDM 2A INVPCID", page[0], 0, 0x100, by_pcid);
		stale("INVPCID of all", "SDM 2A INVPCID", page[2], 0, 0x102, by_all);
		stale("INVPCID of all with global ones", "SDM 2A INVPCID", page[0], G, 0x100, by_all_global);
		stale("INVPCID of all with global ones, of a global one", "SDM 2A INVPCID", page[2], G, 0x102,
		      by_all_global);
		stale("INVLPG of a global one", "SDM 3A 4.10.4.1", page[0], 0, 0x100, by_invlpg);
		/* another PCID's translation, dropped from outside */
		enter(1, true);
		seen();
		window[1][0] = (u64)page[2] | P | W;
		enter(0, true);
		invpcid(0, 2, WINDOW);
		enter(1, true);
		kit_case("INVPCID of another PCID's address", "SDM 2A INVPCID", 0x102, seen());
	}
	wrcr3((u64)root[0]);
	wrcr4(cr4);
	wrcr3(cr3);
}

/* ---- alignment ------------------------------------------------------------------------------------------------- */

#define USER(name, text)      \
	extern u8 u_##name[]; \
	__asm__(".pushsection .text; u_" #name ": " text "; int $0x80; .popsection")

USER(mov1, "mov %al, (%rdi)");
USER(mov2, "mov %ax, (%rdi)");
USER(mov4, "mov %eax, (%rdi)");
USER(mov8, "mov %rax, (%rdi)");
USER(load8, "mov (%rdi), %rax");
USER(add4, "lock addl $1, (%rdi)");
USER(push8, "mov %rdi, %rsp; push %rax");
USER(bts4, "xor %eax, %eax; bts %eax, (%rdi)");
USER(movs4, "mov %rdi, %rsi; movsl");
USER(cmpxchg8b, "cmpxchg8b (%rdi)");
USER(flds, "flds (%rdi); ffree %st(0)");
USER(fldl, "fldl (%rdi); ffree %st(0)");
USER(fldt, "fldt (%rdi); ffree %st(0)");
USER(fldcw, "movw $0x37f, -2(%rsp); mov -2(%rsp), %ax; fnstcw (%rdi)");
USER(fnstenv, "fnstenv (%rdi)");
USER(fstpt, "fldz; fstpt (%rdi)");
USER(fbstp, "fldz; fbstp (%rdi)");
USER(movups, "movups (%rdi), %xmm0");
USER(movdqu, "movdqu %xmm0, (%rdi)");
USER(fnsave, "fnsave (%rdi)");
USER(frstor, "frstor (%rdi); fninit");
USER(maskmov, "pcmpeqd %xmm0, %xmm0; maskmovdqu %xmm0, %xmm0");
USER(movd, "movd (%rdi), %xmm0");
USER(movq, "movq (%rdi), %xmm0");
USER(fxsave, "fxsave (%rdi)");
USER(fxrstor, "fxrstor (%rdi); fninit");
USER(invalid, "xor %ecx, %ecx; mov %ecx, (%rdi)");

static const struct {
	const char *name;
	u8 *code;
	unsigned align;
} operands[] = {
	{ "#AC: a byte", u_mov1, 1 },
	{ "#AC: a word", u_mov2, 2 },
	{ "#AC: a doubleword", u_mov4, 4 },
	{ "#AC: a quadword", u_mov8, 8 },
	{ "#AC: a quadword read", u_load8, 8 },
	{ "#AC: locked", u_add4, 4 },
	{ "#AC: PUSH", u_push8, 8 },
	{ "#AC: bit string", u_bts4, 4 },
	{ "#AC: MOVS", u_movs4, 4 },
	{ "#AC: CMPXCHG8B", u_cmpxchg8b, 8 },
	{ "#AC: single precision", u_flds, 4 },
	{ "#AC: double precision", u_fldl, 8 },
	{ "#AC: double extended precision", u_fldt, 8 },
	{ "#AC: x87 control word", u_fldcw, 2 },
	{ "#AC: x87 environment", u_fnstenv, 4 },
	{ "#AC: MOVD", u_movd, 4 },
	{ "#AC: MOVQ", u_movq, 8 },
	{ "#AC: double extended precision stored", u_fstpt, 8 },
	{ "#AC: packed decimal", u_fbstp, 8 },
	{ "#AC: x87 state stored", u_fnsave, 4 },
	{ "#AC: x87 state", u_frstor, 4 },
	{ "#AC: MASKMOVDQU", u_maskmov, 8 },
	{ "#AC: MOVUPS", u_movups, 16 },
	{ "#AC: MOVDQU", u_movdqu, 16 },
};

static u8 user_memory[4096] __attribute__((aligned(4096)));

static u64 user(u8 *code, u64 offset, u64 flags)
{
	return (u64)(s64)kit_try_user(code, user_memory + 2048, user_memory + 1024 + offset, flags | 2);
}

static void misaligned_at_0(void *arg)
{
	(void)arg;
	__asm__ volatile(
	    "pushfq; orl $0x40000, (%%rsp); popfq; movl $0, 1(%0); pushfq; andl $~0x40000, (%%rsp); popfq" ::"r"(
		user_memory + 1024)
	    : "memory");
}

/* Of 16 bytes Intel's manual leaves the check to the processor, and its own do not; AMD's do (seen on Zen 4). */
static bool is_amd(void)
{
	u32 r[4];

	cpuid(0, 0, r);
	return r[2] == 0x444d4163; /* cAMD */
}

/* #GP unless at a multiple of 16; where #AC is in force Zen 4 gives it first, by doublewords, and Intel may or may not.
 */
static void state_at(unsigned off, unsigned on, bool amd)
{
	static const struct {
		const char *name;
		u8 *code;
	} state[] = { { "#AC: FXSAVE", u_fxsave }, { "#AC: FXRSTOR", u_fxrstor } };
	u64 want = off % 16 == 0 ? 0x80 : on == 3 && off % 4 && amd ? AC : GP;

	for (unsigned i = 0; i < 2; i++) {
		u64 got = user(state[i].code, off, on & 2 ? AC_FLAG : 0);

		if (on == 3 && off % 4 && !amd && got == AC)
			continue;
		kit_case(state[i].name, "SDM 2A FXSAVE, #AC", want, got);
		if (want != 0x80)
			kit_case("#AC, #GP: error code of a state", "SDM 3A 6.15 #AC", 0, KIT_ERR);
	}
}

static void alignment(void)
{
	bool amd = is_amd();
	u64 cr0 = rdcr0(), cr4 = rdcr4();

	wrcr4(cr4 | 0x600);
	__asm__ volatile("fninit");
	kit_pml4[0] |= U;
	kit_pdpt[0] |= U;
	for (unsigned i = 0; i < 16; i++)
		kit_pd[0][i] |= U;
	wrcr3(rdcr3());
	for (unsigned on = 0; on < 4; on++) {
		wrcr0((cr0 & ~(AC_FLAG | 0xcull)) | (on & 1 ? AC_FLAG : 0)); /* CR0.AM is bit 18, too */
		for (unsigned i = 0; i < sizeof(operands) / sizeof(operands[0]); i++) {
			for (unsigned off = 0; off < 16; off++) {
				unsigned align = operands[i].align;
				bool want = on == 3 && off % align && (align <= 8 || amd);

				kit_with("at %u, AM and AC %u", off, on, 0, 0);
				kit_case(operands[i].name, "SDM 3A table 6-7", want ? AC : 0x80,
					 user(operands[i].code, off, on & 2 ? AC_FLAG : 0));
				if (want)
					kit_case("#AC: error code", "SDM 3A 6.15 #AC", 0, KIT_ERR);
			}
		}
		for (unsigned off = 0; off < 32; off++) {
			kit_with("at %u, AM and AC %u", off, on, 0, 0);
			state_at(off, on, amd);
		}
	}
	kit_with(NULL, 0, 0, 0, 0);
	kit_case("no #AC at CPL 0", "SDM 3A 6.15 #AC", (u64)-1, (u64)(s64)kit_try(misaligned_at_0, NULL));
	kit_pd[0][15] &= ~(u64)U;
	invlpg((void *)(15ull << 21));
	kit_case("#AC comes before #PF of a page one may not touch", "SDM 3A table 6-2", AC,
		 (u64)(s64)kit_try_user(u_invalid, user_memory + 2048, (void *)((15ull << 21) + 1), AC_FLAG | 2));
	wrcr0(cr0);
	wrcr4(cr4);
}

int guest_main(void)
{
	pcids();
	alignment();
	return kit_done();
}
