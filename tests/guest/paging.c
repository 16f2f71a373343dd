/* SPDX-License-Identifier: Apache-2.0
 * 4-level paging: every combination of present, writable, user and no-execute at two levels, for each kind of access,
 * at CPL 0 and 3, with CR0.WP, CR4.SMEP, CR4.SMAP and RFLAGS.AC on and off; the error code, CR2, and what became of the
 * accessed and dirty bits. SDM 3A 4.6 (access rights), 4.7 (error codes), 4.8 (accessed and dirty).
 */
#include "kit/kit.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (1ull << 63)

enum { READ, WRITE, EXEC };

#define TEST_VA 0x8000000000ull	   /* PML4 entry 1 */
#define USER_CODE 0x10000000000ull /* PML4 entry 2 */

static u64 *pdpt, *pd, *pt, *page;
static bool smep_ok, smap_ok;

extern u8 user_read[], user_write[], user_exec[], user_end[];
__asm__("user_read: mov (%rdi), %al; int $0x80\n"
	"user_write: mov %al, (%rdi); int $0x80\n"
	"user_exec: jmp *%rdi\n"
	"user_end:");

static void do_read(void *p)
{
	(void)*(volatile u8 *)p;
}

static void do_write(void *p)
{
	*(volatile u8 *)p = 0xcd;
}

static void do_exec(void *p)
{
	((void (*)(void))p)();
}

static void set_ac(bool on)
{
	if (!smap_ok)
		return;
	if (on)
		__asm__ volatile("stac" ::: "cc");
	else
		__asm__ volatile("clac" ::: "cc");
}

/* -1 when the access is good, else the error code. */
static int expected(u64 pde, u64 pte, int kind, bool user, bool wp, bool smep, bool smap, bool ac)
{
	int base = (kind == WRITE ? 2 : 0) | (user ? 4 : 0) | (kind == EXEC ? 16 : 0);
	bool w = pde & pte & W, u = pde & pte & U, nx = (pde | pte) >> 63;
	bool bad;

	if (!(pde & P) || !(pte & P))
		return base;
	if (user)
		bad = !u || (kind == WRITE && !w) || (kind == EXEC && nx);
	else if (kind == EXEC)
		bad = nx || (u && smep);
	else
		bad = (kind == WRITE && wp && !w) || (u && smap && !ac);
	return bad ? base | 1 : -1;
}

static int access_once(int kind, bool user, bool ac)
{
	static void (*const fn[])(void *) = { do_read, do_write, do_exec };
	u8 *const stub[] = { user_read, user_write, user_exec };
	int v;

	if (user)
		return kit_try_user((void *)(USER_CODE + (u64)(stub[kind] - user_read)), (void *)0, (void *)TEST_VA, 2);
	set_ac(ac);
	v = kit_try(fn[kind], (void *)TEST_VA);
	set_ac(false);
	return v;
}

static void one(u64 pde, u64 pte, int kind, bool user, bool wp, bool smep, bool smap, bool ac)
{
	int want = expected(pde, pte, kind, user, wp, smep, smap, ac), v, got;

	pd[0] = (u64)pt | pde;
	pt[0] = (u64)page | pte;
	page[0] = 0x80cd; /* int $0x80, which a write has changed */
	invlpg((void *)TEST_VA);
	v = access_once(kind, user, ac);
	got = v == 14 ? (int)KIT_ERR : v == 0x80 || v == -1 ? -1 : 1000 + v;
	kit_with("pde %x pte %x user/kind %x wp/smep/smap/ac %x", (u32)(pde | pde >> 32), (u32)(pte | pte >> 32),
		 (u32)user << 4 | (u32)kind, (u32)wp << 12 | (u32)smep << 8 | (u32)smap << 4 | ac);
	kit_case("rights and error code", "SDM 3A 4.6, 4.7", (u64)(s64)want, (u64)(s64)got);
	if (got >= 0)
		kit_case("CR2", "SDM 3A 4.7", TEST_VA, kit_last.cr2);
	if (want < 0) {
		kit_case("accessed in the PDE", "SDM 3A 4.8", A, pd[0] & A);
		kit_case("accessed in the PTE", "SDM 3A 4.8", A, pt[0] & A);
	}
	kit_case("dirty", "SDM 3A 4.8", want < 0 && kind == WRITE ? D : 0, pt[0] & D);
}

static u64 entry(unsigned n)
{
	return (n & 1 ? P : 0) | (n & 2 ? W : 0) | (n & 4 ? U : 0) | (n & 8 ? NX : 0);
}

static void rights(bool wp, bool smep, bool smap, bool ac)
{
	wrcr0(wp ? rdcr0() | 0x10000 : rdcr0() & ~0x10000ull);
	wrcr4((rdcr4() & ~0x300000ull) | (smep ? 0x100000 : 0) | (smap ? 0x200000 : 0));
	for (unsigned n = 0; n < 256; n++)
		for (int kind = READ; kind <= EXEC; kind++)
			for (unsigned user = 0; user < 2; user++)
				one(entry(n & 15), entry(n >> 4), kind, user, wp, smep, smap, ac);
	wrcr4(rdcr4() & ~0x300000ull);
	wrcr0(rdcr0() | 0x10000);
}

static void reserved_case(const char *name, u64 *slot, u64 value, int want)
{
	u64 old = *slot;
	int v;

	*slot = value;
	wrcr3(rdcr3());
	v = kit_try(do_read, (void *)TEST_VA);
	kit_case(name, "SDM 3A 4.5, 4.7 (reserved bits)", (u64)(s64)want, (u64)(s64)(v == 14 ? (int)KIT_ERR : v));
	*slot = old;
	wrcr3(rdcr3());
}

static void reserved(void)
{
	u32 r[4];
	u64 high;

	cpuid(0x80000008, 0, r);
	high = 1ull << (r[0] & 0xff);
	pd[0] = (u64)pt | 7;
	pt[0] = (u64)page | 7;
	reserved_case("physical address bit past MAXPHYADDR in a PTE", &pt[0], pt[0] | high, 9);
	reserved_case("physical address bit past MAXPHYADDR in a PDE", &pd[0], pd[0] | high, 9);
	reserved_case("physical address bit past MAXPHYADDR in a PDPTE", &pdpt[0], pdpt[0] | high, 9);
	reserved_case("PS in a PML4E", &kit_pml4[1], kit_pml4[1] | PS, 9);
	reserved_case("bit 13 of a 2 MiB page", &pd[0], 0x2000 | PS | 3, 9);
	reserved_case("bit 20 of a 1 GiB page", &pdpt[0], 0x100000 | PS | 3, 9);
	reserved_case("bit 12 of a 2 MiB page is PAT", &pd[0], 0x1000 | PS | 3, -1);
	reserved_case("a 1 GiB page", &pdpt[0], PS | 3, -1);
	reserved_case("ignored bits 52 to 58 and 9 to 11", &pt[0], pt[0] | 0x07f0000000000e00, -1);
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
	reserved_case("NX without EFER.NXE", &pt[0], pt[0] | NX, 9);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
}

/* A translation may stay cached until INVLPG; after it, never. Global ones survive a CR3 load. */
static void caching(void)
{
	u64 *other = kit_page();

	*(volatile u64 *)page = 0x1111;
	*(volatile u64 *)other = 0x2222;
	pd[0] = (u64)pt | 7;
	pt[0] = (u64)page | 3;
	invlpg((void *)TEST_VA);
	kit_case("first translation", "SDM 3A 4.10", 0x1111, *(volatile u64 *)TEST_VA);
	pt[0] = (u64)other | 3;
	invlpg((void *)TEST_VA);
	kit_case("after INVLPG", "SDM 3A 4.10.4.1", 0x2222, *(volatile u64 *)TEST_VA);
	pt[0] = (u64)page | 3;
	wrcr3(rdcr3());
	kit_case("after MOV to CR3", "SDM 3A 4.10.4.1", 0x1111, *(volatile u64 *)TEST_VA);
	pt[0] = (u64)other | 3 | G;
	wrcr3(rdcr3());
	kit_case("global translation", "SDM 3A 4.10.2.4", 0x2222, *(volatile u64 *)TEST_VA);
	pt[0] = (u64)page | 3;
	wrcr4(rdcr4() ^ 0x80);
	wrcr4(rdcr4() ^ 0x80);
	kit_case("CR4.PGE toggled drops global ones", "SDM 3A 4.10.4.1", 0x1111, *(volatile u64 *)TEST_VA);
	*(volatile u64 *)page = 0x80cd;
}

int guest_main(void)
{
	u64 *updpt = kit_page(), *upd = kit_page(), *upt = kit_page(), *code = kit_page();
	u32 r[4];

	cpuid(7, 0, r);
	smep_ok = r[1] >> 7 & 1;
	smap_ok = r[1] >> 20 & 1;
	pdpt = kit_page();
	pd = kit_page();
	pt = kit_page();
	page = kit_page();
	page[0] = 0x80cd; /* int $0x80 */
	memcpy(code, user_read, (size_t)(user_end - user_read));
	kit_pml4[1] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	kit_pml4[2] = (u64)updpt | 7;
	updpt[0] = (u64)upd | 7;
	upd[0] = (u64)upt | 7;
	upt[0] = (u64)code | 7;
	for (unsigned wp = 0; wp < 2; wp++) {
		rights(wp, false, false, false);
		if (smep_ok)
			rights(wp, true, false, false);
		if (smap_ok) {
			rights(wp, false, true, false);
			rights(wp, false, true, true);
		}
	}
	kit_with(NULL, 0, 0, 0, 0);
	reserved();
	caching();
	return kit_done();
}
