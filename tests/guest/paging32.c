/* SPDX-License-Identifier: Apache-2.0
 * 32-bit and PAE paging: every combination of rights at both levels for each kind of access, at CPL 0 and 3, with
 * CR0.WP, CR4.SMEP and CR4.SMAP; large pages, reserved bits, the PDPTEs, and accesses across pages. SDM 3A 4.3, 4.4,
 * 4.6 to 4.8.
 */
#include "kit32/kit.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, PF = 14, GP = 13 };
enum { READ, WRITE, EXEC };
#define TEST_VA 0x40000000u
#define USER_VA 0x50000000u
#define NX (1ull << 63)
#define AC 0x40000u

SNIP(do_read, "movb (%edi), %al");
SNIP(do_write, "movb %al, (%edi)");
SNIP(do_exec, "jmp *%edi");
SNIP(read4, "movl (%edi), %eax");
SNIP(write4, "movl %eax, (%edi)");
SNIP(rmw4, "lock addl %eax, (%edi)");
SNIP(push4, "movl %edi, %esp; pushl %eax");
SNIP(do_cr3, "mov %eax, %cr3");
SNIP(do_cr4, "mov %eax, %cr4");

static bool pae, smep_ok, smap_ok;
static u64 *pdpt;
static void *dir, *test_dir, *test_pt;
static u8 *page, *page2, *user;

static u64 get(void *table, unsigned i)
{
	return pae ? ((u64 *)table)[i] : ((u32 *)table)[i];
}

static void set(void *table, unsigned i, u64 v)
{
	if (pae)
		((volatile u64 *)table)[i] = v;
	else
		((volatile u32 *)table)[i] = (u32)v;
}

/* The slots of TEST_VA. */
static void set_pde(u64 v)
{
	set(test_dir, pae ? 0 : TEST_VA >> 22, v);
}
static u64 get_pde(void)
{
	return get(test_dir, pae ? 0 : TEST_VA >> 22);
}
static void set_pte(unsigned i, u64 v)
{
	set(test_pt, i, v);
	invlpg((void *)(TEST_VA + 4096 * i));
}

static void paging_on(void)
{
	void *pt = kit_page(), *upt = kit_page();

	test_pt = kit_page();
	dir = test_dir = kit_page();
	for (unsigned i = 0; i < (pae ? 512u : 1024u); i++)
		set(pt, i, (u64)i << 12 | P | W);
	set(dir, 0, (u32)pt | P | W);
	if (pae) {
		void *more = kit_page();

		set(dir, 1, 0x200000 | PS | P | W);
		pdpt = kit_page();
		test_dir = kit_page();
		pdpt[0] = (u32)dir | P;
		pdpt[1] = (u32)test_dir | P;
		set(test_dir, (USER_VA >> 21) & 511, (u32)upt | P | W | U);
		(void)more;
	} else {
		set(dir, USER_VA >> 22, (u32)upt | P | W | U);
	}
	set(upt, 0, (u32)user | P | W | U);
	wrcr4(pae ? 0x20 : 0);
	wrcr3(pae ? (u32)pdpt : (u32)dir);
	if (pae)
		wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	wrcr0(rdcr0() | 0x80010000);
	*(u32 *)(kit_df_tss + 28) = rdcr3();
}

static void paging_off(void)
{
	wrcr0(rdcr0() & ~0x80000000u);
	wrcr4(0);
}

static int expected(u64 pde, u64 pte, int kind, bool user_mode, bool wp, bool smep, bool smap, bool ac)
{
	int base = (kind == WRITE ? 2 : 0) | (user_mode ? 4 : 0) | (kind == EXEC && (pae || smep) ? 16 : 0);
	bool w = pde & pte & W, u = pde & pte & U, nx = (pde | pte) >> 63, bad;

	if (!(pde & P) || !(pte & P))
		return base;
	if (user_mode)
		bad = !u || (kind == WRITE && !w) || (kind == EXEC && nx);
	else if (kind == EXEC)
		bad = nx || (u && smep);
	else
		bad = (kind == WRITE && wp && !w) || (u && smap && !ac);
	return bad ? base | 1 : -1;
}

static int access_at(const u8 *code, u32 va, bool user_mode, bool ac)
{
	struct kit_ctx c = kit_ctx(user_mode ? 3 : 0, code);
	int v;

	if (user_mode)
		c.eip = USER_VA + (u32)(code - do_read);
	c.edi = va;
	c.eax = 0xcd;
	c.eflags |= ac ? AC : 0;
	v = kit_run(&c);
	return v == PF ? (int)kit_last.error : v == DONE ? -1 : 1000 + v;
}

static void one(u64 pde, u64 pte, int kind, bool user_mode, bool wp, bool smep, bool smap, bool ac)
{
	static const u8 *const code[] = { do_read, do_write, do_exec };
	int want = expected(pde, pte, kind, user_mode, wp, smep, smap, ac), got;

	kit_with("pde %x pte %x user/kind %x wp/smep/smap/ac %x", (u32)(pde | pde >> 32), (u32)(pte | pte >> 32),
		 (u32)user_mode << 4 | (u32)kind, (u32)wp << 12 | (u32)smep << 8 | (u32)smap << 4 | ac);
	set_pde((u32)test_pt | pde);
	set_pte(0, (u32)page | pte);
	*(u16 *)page = 0x80cd;
	got = access_at(code[kind], TEST_VA, user_mode, ac);
	kit_case("rights and error code", "SDM 3A 4.6, 4.7", (u64)(s64)want, (u64)(s64)got);
	if (got >= 0)
		kit_case("CR2", "SDM 3A 4.7", TEST_VA, kit_cr2);
	if (want < 0) {
		kit_case("accessed in the PDE", "SDM 3A 4.8", A, get_pde() & A);
		kit_case("accessed in the PTE", "SDM 3A 4.8", A, get(test_pt, 0) & A);
	}
	kit_case("dirty", "SDM 3A 4.8", want < 0 && kind == WRITE ? D : 0, get(test_pt, 0) & D);
}

static u64 entry(unsigned n)
{
	return (n & 1 ? P : 0) | (n & 2 ? W : 0) | (n & 4 ? U : 0) | (n & 8 ? NX : 0);
}

/* Where MOV to CR4 loads the PDPTEs: TCG has set A in them, which KVM on top of it finds reserved (tests/ORACLES.md).
 */
static void load_cr4(u32 v)
{
	for (unsigned i = 0; pae && kit_on_tcg() && i < 4; i++)
		pdpt[i] &= ~(u64)A;
	wrcr4(v);
}

static void rights(bool wp, bool smep, bool smap, bool ac)
{
	unsigned many = pae ? 16 : 8;

	wrcr0(wp ? rdcr0() | 0x10000 : rdcr0() & ~0x10000u);
	load_cr4((rdcr4() & ~0x300000u) | (smep ? 0x100000 : 0) | (smap ? 0x200000 : 0));
	for (unsigned n = 0; n < many; n++)
		for (unsigned k = 0; k < many; k++)
			for (int kind = READ; kind <= EXEC; kind++)
				for (unsigned u = 0; u < 2; u++)
					one(entry(n), entry(k), kind, u, wp, smep, smap, ac);
	load_cr4(rdcr4() & ~0x300000u);
	wrcr0(rdcr0() | 0x10000);
	kit_with(NULL, 0, 0, 0, 0);
}

static void reads(const char *name, const char *manual, int want)
{
	wrcr3(rdcr3());
	kit_case(name, manual, (u64)(s64)want, (u64)(s64)access_at(do_read, TEST_VA, false, false));
}

static void reserved(void)
{
	u32 r[4], phys;

	cpuid(0x80000008, 0, r);
	phys = r[0] & 0xff;
	set_pde((u32)test_pt | P | W);
	set_pte(0, (u32)page | P | W);
	if (!pae) {
		set_pde((u32)test_pt | PS | P | W);
		reads("PS without CR4.PSE is ignored", "SDM 3A 4.3", -1);
		wrcr4(rdcr4() | 0x10);
		set_pde(PS | P | W);
		*(volatile u32 *)page = 0x1234567;
		{
			struct kit_ctx c = kit_ctx(0, read4);

			c.edi = TEST_VA + (u32)page;
			kit_run(&c);
			kit_case("a 4 MiB page", "SDM 3A 4.3", 0x1234567, kit_last.eax);
		}
		reads("a 4 MiB page at its start", "SDM 3A 4.3", -1);
		set_pde(PS | P | W | 1 << 21);
		reads("bit 21 of a 4 MiB page", "SDM 3A 4.3", 9);
		set_pde(PS | P | W | 1 << 12);
		reads("PAT of a 4 MiB page", "SDM 3A 4.3", -1);
		set_pde(PS | P | W | 0xe00);
		reads("ignored bits of a 4 MiB page", "SDM 3A 4.3", -1);
		wrcr4(rdcr4() & ~0x10u);
		return;
	}
	for (unsigned bit = phys; bit < 63; bit++) {
		kit_with("bit %u", bit, 0, 0, 0);
		set_pte(0, (u32)page | P | W | 1ull << bit);
		reads("reserved bit of a PTE", "SDM 3A 4.4.2", 9);
		set_pte(0, (u32)page | P | W);
		set_pde((u32)test_pt | P | W | 1ull << bit);
		reads("reserved bit of a PDE", "SDM 3A 4.4.2", 9);
		set_pde((u32)test_pt | P | W);
	}
	for (unsigned bit = 12; bit < 21; bit++) {
		kit_with("bit %u", bit, 0, 0, 0);
		set_pde(PS | P | W | 1u << bit);
		reads("low address bits of a 2 MiB page", "SDM 3A 4.4.2", bit == 12 ? -1 : 9);
	}
	kit_with(NULL, 0, 0, 0, 0);
	set_pde((u32)test_pt | P | W);
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
	set_pte(0, (u32)page | P | W | NX);
	reads("NX without EFER.NXE", "SDM 3A 4.4.2", 9);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	set_pte(0, (u32)page | P | W);
}

/* The PDPTEs are loaded by MOV to CR3 (and CR0, CR4), which checks them, and only then. SDM 3A 4.4.1. */
static void pdptes(void)
{
	u64 old = pdpt[1];
	u32 r[4], phys;

	cpuid(0x80000008, 0, r);
	phys = r[0] & 0xff;
	for (unsigned bit = 1; bit < 64; bit++) {
		bool bad = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= phys;
		struct kit_ctx c = kit_ctx(0, do_cr3);

		if (bit >= 12 && bit < phys)
			continue;
		kit_with("bit %u", bit, 0, 0, 0);
		c.eax = rdcr3();
		pdpt[2] = 1ull << bit | (u32)test_dir | P;
		kit_case("reserved bit of a PDPTE", "SDM 3A 4.4.1", bad ? GP : DONE, (u32)kit_run(&c));
		c = kit_ctx(0, do_cr4);
		c.eax = rdcr4() ^ 0x80;
		kit_case("MOV to CR4 loads them too", "SDM 3A 4.4.1", bad ? GP : DONE, (u32)kit_run(&c));
		pdpt[2] &= ~1ull;
		c = kit_ctx(0, do_cr3);
		c.eax = rdcr3();
		kit_case("not when it is not present", "SDM 3A 4.4.1", DONE, (u32)kit_run(&c));
	}
	kit_with(NULL, 0, 0, 0, 0);
	pdpt[2] = 0;
	pdpt[1] = 0;
	invlpg((void *)TEST_VA);
	kit_case("a PDPTE changed in memory is not seen", "SDM 3A 4.4.1", (u64)-1,
		 (u64)(s64)access_at(do_read, TEST_VA, false, false));
	reads("until CR3 is loaded", "SDM 3A 4.4.1", 0);
	pdpt[1] = old;
	kit_case("and back", "SDM 3A 4.4.1", 0, (u64)(s64)access_at(do_read, TEST_VA, false, false));
	reads("after CR3 again", "SDM 3A 4.4.1", -1);
}

/* Four bytes across two pages. Nothing is written unless all of it can be. */
static void across(void)
{
	static const u8 *const code[] = { read4, write4, rmw4, push4 };

	set_pde((u32)test_pt | P | W | U);
	for (unsigned how = 0; how < 4; how++) {
		for (unsigned off = 0xffd; off <= 0xfff; off++) {
			for (unsigned n = 0; n < 9; n++) {
				static const u8 e[] = { 0, P, P | W };
				u64 e1 = e[n % 3], e2 = e[n / 3];
				bool write = how > 0;
				u32 err = write ? 2 : 0, where = TEST_VA + off;
				int want = -1, got;

				/* PUSH at ring 0 would lose the stack: at ring 3 */
				bool u = how == 3;
				u64 ub = u ? U : 0;

				memset(page, 0x11, 4096);
				memset(page2, 0x11, 4096);
				set_pte(0, (u32)page | (e1 ? e1 | ub : 0));
				set_pte(1, (u32)page2 | (e2 ? e2 | ub : 0));
				if (!(e1 & P) || (write && !(e1 & W)))
					want = (int)(err | (u ? 4u : 0u) | (e1 & P ? 1u : 0u));
				else if (!(e2 & P) || (write && !(e2 & W)))
					want = (int)(err | (u ? 4u : 0u) | (e2 & P ? 1u : 0u)), where = TEST_VA + 4096;
				kit_with("how %u offset %x entries %x %x", how, off, (u32)e1, (u32)e2);
				got = access_at(code[how], how == 3 ? TEST_VA + off + 4 : TEST_VA + off, u, false);
				kit_case("access across pages", "SDM 3A 4.7", (u64)(s64)want, (u64)(s64)got);
				if (want >= 0) {
					kit_case("CR2 across pages", "SDM 3A 4.7", where, kit_cr2);
					kit_case("nothing of it written", "SDM 3A 6.5", 0x11, page[off]);
					kit_case("nothing of it written", "SDM 3A 6.5", 0x11, page2[0]);
				}
			}
		}
	}
	kit_with(NULL, 0, 0, 0, 0);
}

static void mode(bool want_pae)
{
	pae = want_pae;
	paging_on();
	for (unsigned wp = 0; wp < 2; wp++) {
		rights(wp, false, false, false);
		if (smep_ok)
			rights(wp, true, false, false);
		if (smap_ok) {
			rights(wp, false, true, false);
			rights(wp, false, true, true);
		}
	}
	reserved();
	if (pae)
		pdptes();
	across();
	paging_off();
}

int guest_main(void)
{
	u32 r[4];

	cpuid(7, 0, r);
	smep_ok = r[1] >> 7 & 1;
	smap_ok = r[1] >> 20 & 1;
	page = kit_page();
	page2 = kit_page();
	user = kit_page();
	memcpy(user, do_read, (size_t)(do_cr4 - do_read));
	mode(false);
	mode(true);
	return kit_done();
}
