/* SPDX-License-Identifier: Apache-2.0
 * The lookaside against the oracle: a guest with four address spaces, global and large pages changes its tables,
 * invalidates by every means the manual allows for the change (SDM 3A 4.10.4), and accesses memory by every path; each
 * access must end as a fresh walk says. Then the special cases of the slow path, one by one.
 */
#include "unit/mmu_world.h"

#include "cpu/debug.h"
#include "cpu/lapic.h"
#include "unit/walk_oracle.h"

#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull
#define D 0x40ull
#define PS 0x80ull
#define G 0x100ull
#define NX (1ull << 63)
#define ADDR 0x000ffffffffff000ull

#define NR_SPACES 4
#define USER_BASE 0x400000ull
#define KERNEL_BASE 0xffff800000000000ull
#define POOL 0x1000000ull /* frames that pages map: 16 MiB on */
#define POOL_LARGE 8	  /* 2 MiB frames in the pool */
#define MARK 0x5bd1e99500000000ull
#define REGION_PAGES 24 /* pages of each region that are used */

struct guest {
	struct world w;
	struct oracle o;
	struct mem_listener ear;
	u64 seed, told;
	bool pcide, many;
	unsigned space;
	unsigned faults, dones;
};

/* Tables by address: a megabyte a space, the kernel's is the last. */
static u64 pml4_of(unsigned s)
{
	return (u64)(s + 1) << 20;
}

static u64 pdpt_of(unsigned s)
{
	return pml4_of(s) + 0x1000;
}

static u64 pd_of(unsigned s)
{
	return pml4_of(s) + 0x2000;
}

/* The table for region r (the PDE's index in its directory). */
static u64 pt_of(unsigned s, unsigned r)
{
	return pml4_of(s) + 0x3000 + r * 0x1000;
}

static u64 oracle_read(void *opaque, u64 gpa, unsigned size)
{
	return phys_get(opaque, gpa, size);
}

static u64 rnd(struct guest *g, u64 n)
{
	return rng_next(&g->seed) % n;
}

static void told(void *opaque, u64 gpa, unsigned len)
{
	struct guest *g = opaque;

	(void)len;
	g->told++;
	mem_code_leave(g->w.m, gpa);
}

static void sync_oracle(struct guest *g)
{
	struct cpu *c = g->w.c;

	g->o = (struct oracle){ .cr0 = c->cr0,
				.cr3 = c->cr3,
				.cr4 = c->cr4,
				.efer = c->efer,
				.phys_bits = g->w.model.phys_bits,
				.pse36 = true,
				.pdpe1gb = true,
				.cpl = c->d.cpl,
				.ac = c->rflags & FLAG_AC,
				.read = oracle_read,
				.opaque = g->w.m };
	oracle_prepare(&g->o);
}

static void set_mode(struct guest *g, unsigned cpl, bool ac)
{
	world_mode(&g->w, cpl, ac);
	sync_oracle(g);
}

static void guest_init(struct guest *g, u64 seed, bool pcide)
{
	struct cpu *c;

	memset(g, 0, sizeof(*g));
	g->seed = seed;
	g->pcide = pcide;
	world_init(&g->w, NULL, 64 << 20);
	g->ear = (struct mem_listener){ .code_write = told, .opaque = g };
	mem_add_listener(g->w.m, &g->ear);
	for (u64 gpa = POOL; gpa < POOL + (POOL_LARGE << 21); gpa += 8)
		*(u64 *)mem_page(g->w.m, gpa, true) = gpa ^ MARK;
	for (unsigned s = 0; s <= NR_SPACES; s++) {
		phys_put(g->w.m, pml4_of(s), pdpt_of(s) | P | W | U, 8);
		phys_put(g->w.m, pml4_of(s) + 256 * 8, pdpt_of(NR_SPACES) | P | W | U, 8);
		phys_put(g->w.m, pdpt_of(s), pd_of(s) | P | W | U, 8);
		for (unsigned r = 0; r < 6; r++)
			phys_put(g->w.m, pd_of(s) + r * 8, pt_of(s, r) | P | W | U, 8);
	}
	c = g->w.c;
	c->cr0 |= CR0_PG | CR0_WP;
	c->cr4 = CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | (pcide ? CR4_PCIDE : 0);
	c->efer = EFER_LMA | EFER_LME | EFER_NXE;
	c->cr3 = pml4_of(0) | (pcide ? 1 : 0);
	set_mode(g, 0, false);
}

/* ---- changes and the invalidations that go with them --------------------------------------------------------------
 */

static u64 random_flags(struct guest *g, bool kernel)
{
	static const u64 usual[] = {
		P | W | U, P | U, P | W | U | NX, P | W, P | W, P | W | NX, P, 0, P | W | U | D | A
	};

	return usual[rnd(g, ARRAY_SIZE(usual))] | (kernel && rnd(g, 2) ? G : 0);
}

/* Everything of the current space, and maybe more. */
static void flush_space(struct guest *g, unsigned space)
{
	struct cpu *c = g->w.c;

	switch (rnd(g, 8)) {
	case 0:
		c->ops->tlb_flush(c, TLB_ALL, 0, 0);
		break;
	case 1:
		c->ops->tlb_flush(c, TLB_NON_GLOBAL, 0, 0);
		break;
	default:
		c->ops->tlb_flush(c, TLB_PCID, g->pcide ? space + 1 : 0, 0);
	}
}

/* A page of one space, not global; lin is any address of the page, whatever its size. */
static void flush_user_page(struct guest *g, unsigned space, u64 lin)
{
	struct cpu *c = g->w.c;

	if (!g->pcide && space != g->space)
		return;
	if (rnd(g, 4) == 0)
		flush_space(g, space);
	else if (g->pcide && (space != g->space || rnd(g, 2)))
		c->ops->tlb_flush(c, TLB_PCID_PAGE, space + 1, lin);
	else
		c->ops->tlb_page(c, lin);
}

/* A page of the kernel, which stands in every space's tables. */
static void flush_kernel_page(struct guest *g, u64 lin, bool global)
{
	struct cpu *c = g->w.c;

	if (rnd(g, 8) == 0)
		c->ops->tlb_flush(c, TLB_ALL, 0, 0);
	else if ((global && (c->cr4 & CR4_PGE)) || !g->pcide)
		c->ops->tlb_page(c, lin);
	else
		c->ops->tlb_flush(c, TLB_NON_GLOBAL, 0, 0);
}

static void change_pte(struct guest *g)
{
	unsigned space = (unsigned)rnd(g, NR_SPACES + 1), region = rnd(g, 16) ? 2 : 3 + (unsigned)rnd(g, 2);
	bool kernel = space == NR_SPACES;
	unsigned n = (unsigned)rnd(g, REGION_PAGES);
	u64 slot = pt_of(space, region) + n * 8, old = phys_get(g->w.m, slot, 8), e;
	u64 lin = (kernel ? KERNEL_BASE : 0) | (u64)region << 21 | (u64)n << 12;

	e = POOL | rnd(g, POOL_LARGE << 9) << 12 | random_flags(g, kernel);
	if (rnd(g, 4) == 0 && (old & P)) /* give more rights: a walk must find them without an invalidation */
		e = (old | W) & ~NX;
	phys_put(g->w.m, slot, e, 8);
	if (!(old & P) || (e ^ old) == W || (e ^ old) == NX || (e ^ old) == (W | NX) || e == old)
		return;
	lin |= rnd(g, 4096);
	if (kernel)
		flush_kernel_page(g, lin, old & G);
	else
		flush_user_page(g, space, lin);
}

/* A directory entry becomes a large page, another large page, or a table again. */
static void change_pde(struct guest *g)
{
	unsigned space = (unsigned)rnd(g, NR_SPACES + 1), region = 3 + (unsigned)rnd(g, 2);
	bool kernel = space == NR_SPACES;
	u64 slot = pd_of(space) + region * 8, old = phys_get(g->w.m, slot, 8), e;
	u64 lin = (kernel ? KERNEL_BASE : 0) | (u64)region << 21 | rnd(g, 1 << 21);

	e = rnd(g, 2) ? POOL | rnd(g, POOL_LARGE) << 21 | PS | random_flags(g, kernel)
		      : pt_of(space, region) | P | W | U;
	phys_put(g->w.m, slot, e, 8);
	if (!(old & P))
		return;
	if (!(old & PS)) {
		if (kernel)
			g->w.c->ops->tlb_flush(g->w.c, TLB_ALL, 0, 0);
		else if (g->pcide || space == g->space)
			flush_space(g, space);
	} else if (kernel) {
		flush_kernel_page(g, lin, old & G);
	} else {
		flush_user_page(g, space, lin);
	}
}

static void switch_space(struct guest *g)
{
	struct cpu *c = g->w.c;
	bool flush = rnd(g, 2);

	g->space = (unsigned)rnd(g, NR_SPACES);
	c->cr3 = pml4_of(g->space) | (g->pcide ? g->space + 1 : 0);
	if (!g->pcide || flush)
		c->ops->tlb_flush(c, TLB_PCID, c->cr3 & (g->pcide ? 0xfff : 0), 0);
	set_mode(g, c->d.cpl, c->rflags & FLAG_AC);
}

static void change_mode(struct guest *g)
{
	struct cpu *c = g->w.c;

	if (rnd(g, 256) == 0)
		c->cr0 ^= CR0_WP;
	if (rnd(g, 128) == 0)
		c->cr4 ^= rnd(g, 2) ? CR4_SMEP : CR4_SMAP;
	if (rnd(g, 512) == 0)
		c->cr4 ^= CR4_PGE;
	set_mode(g, rnd(g, 2) ? 3 : 0, rnd(g, 2));
}

static void enter_code(struct guest *g)
{
	assert_int_equal(mem_code_enter(g->w.m, POOL | rnd(g, POOL_LARGE << 9) << 12), 0);
}

/* ---- accesses ------------------------------------------------------------------------------------------------------
 */

/* Regions 3 and 4 may be large pages, where one INVLPG costs the lookaside everything; region 2 has none. */
static u64 random_lin(struct guest *g)
{
	u64 region = rnd(g, 2) ? 2 : 3 + rnd(g, 2);

	return (rnd(g, 2) ? KERNEL_BASE : 0) | region << 21 | rnd(g, REGION_PAGES) << 12 | rnd(g, 4096);
}

static void wrong(struct guest *g, const char *what, u64 lin, unsigned acc, const struct oracle_result *r)
{
	print_error("%s at %llx acc %u cpl %u cr3 %llx: manual %s %x gpa %llx\n", what, (unsigned long long)lin, acc,
		    g->o.cpl, (unsigned long long)g->o.cr3, r->fault ? "#PF" : "ok", r->error,
		    (unsigned long long)r->gpa);
	fail();
}

/* The outcome, then A and D as the manual wants them after a success. (A global page's translation may come from
 * another space, through other tables.) */
static bool agree(struct guest *g, int out, u64 lin, unsigned acc, const struct oracle_result *r)
{
	const struct event *x = &g->w.c->exc;

	if ((out != OUT_DONE) != r->fault)
		wrong(g, out ? "unexpected fault" : "missing fault", lin, acc, r);
	if (r->fault) {
		if (x->vector != EXC_PF || x->error != r->error || x->payload != lin)
			wrong(g, "wrong fault", lin, acc, r);
		g->faults++;
		return false;
	}
	g->dones++;
	for (unsigned i = r->global ? r->n - 1 : 0; i < r->n; i++)
		if (r->marked[i] & ~phys_get(g->w.m, r->entry[i], 8) & (A | D))
			wrong(g, "A or D missing", r->entry[i], acc, r);
	return true;
}

static void do_load(struct guest *g)
{
	static const unsigned kinds[] = { ACC_R, ACC_R, ACC_R | ACC_RMW, ACC_R | ACC_SYS };
	u64 lin = random_lin(g) & ~7ull, v = 0;
	unsigned acc = kinds[rnd(g, 4)];
	struct oracle_result r = oracle_walk(&g->o, lin, acc);
	int out;

	if (rnd(g, 2) && !(acc & ACC_SYS))
		mmu_refill(g->w.c, lin, acc & ACC_RMW);
	out = cpu_ld64(g->w.c, lin, &v, acc);
	if (agree(g, out, lin, acc, &r) && v != phys_get(g->w.m, r.gpa, 8))
		wrong(g, "wrong bytes", lin, acc, &r);
}

static void do_store(struct guest *g)
{
	u64 lin = random_lin(g) & ~7ull, told_before = g->told;
	unsigned acc = ACC_W | (rnd(g, 4) ? 0 : ACC_SYS);
	struct oracle_result r = oracle_walk(&g->o, lin, acc);
	bool code = !r.fault && mem_frame_state(g->w.m, r.gpa) == FRAME_CODE;
	u64 v = rng_next(&g->seed);
	int out;

	if (rnd(g, 2) && !(acc & ACC_SYS))
		mmu_refill(g->w.c, lin, true);
	out = cpu_st64(g->w.c, lin, v, acc);
	if (!agree(g, out, lin, acc, &r))
		return;
	if (v != phys_get(g->w.m, r.gpa, 8))
		wrong(g, "store went elsewhere", lin, acc, &r);
	if (g->told - told_before != code)
		wrong(g, "code write told wrongly", lin, acc, &r);
	phys_put(g->w.m, r.gpa, r.gpa ^ MARK, 8);
}

static void do_fetch(struct guest *g)
{
	u64 lin = random_lin(g), gpa = 0;
	struct oracle_result r = oracle_walk(&g->o, lin, ACC_X);
	const u8 *host = NULL;
	int out = OUT_DONE;

	if (!mmu_fetch_hit(g->w.c, lin, &host, &gpa))
		out = mmu_fetch_page(g->w.c, lin, &host, &gpa);
	if (agree(g, out, lin, ACC_X, &r) && (gpa != r.gpa || host != mem_page(g->w.m, gpa, false)))
		wrong(g, "fetch from elsewhere", lin, ACC_X, &r);
}

static void do_locked(struct guest *g)
{
	u64 lin = random_lin(g) & ~7ull, old, val = rng_next(&g->seed), seen = 0;
	struct oracle_result r = oracle_walk(&g->o, lin, ACC_W);
	int out;
	u64 *p = g->w.c->ops->pin(g->w.c, lin, 8, ACC_RMW, &out);

	if (!agree(g, out, lin, ACC_W, &r))
		return;
	if (p) {
		if ((u8 *)p != mem_page(g->w.m, r.gpa, true) || mem_frame_state(g->w.m, r.gpa) == FRAME_CODE)
			wrong(g, "pin elsewhere", lin, ACC_W, &r);
		return;
	}
	old = phys_get(g->w.m, r.gpa, 8);
	assert_int_equal(g->w.c->ops->cmpxchg(g->w.c, lin, &old, &val, &seen, 8), OUT_DONE);
	if (seen != old || phys_get(g->w.m, r.gpa, 8) != val)
		wrong(g, "cmpxchg", lin, ACC_W, &r);
	phys_put(g->w.m, r.gpa, old, 8);
}

/* 2 to 64 bytes across a page end: both pages are checked, the lower one first, before a byte moves. */
static void do_crossing(struct guest *g)
{
	unsigned size = 2 + (unsigned)rnd(g, 63), first = 1 + (unsigned)rnd(g, size - 1),
		 acc = rnd(g, 2) ? ACC_W : ACC_R;
	u64 lin = (random_lin(g) & PAGE_MASK) + 4096 - first, second = (lin + size) & PAGE_MASK;
	struct oracle_result r1 = oracle_walk(&g->o, lin, acc), r2 = oracle_walk(&g->o, second, acc);
	u8 buf[64], lo[64], hi[64];
	int out;

	memset(buf, 0xa5, sizeof(buf));
	mem_read(g->w.m, r1.gpa, lo, first);
	mem_read(g->w.m, r2.gpa, hi, size - first);
	out = acc == ACC_W ? cpu_st(g->w.c, lin, buf, size, acc) : cpu_ld(g->w.c, lin, buf, size, acc);
	if (!(r1.fault ? agree(g, out, lin, acc, &r1) : agree(g, out, second, acc, &r2))) {
		u8 now[64];

		mem_read(g->w.m, r1.gpa, now, first);
		if (!r1.fault && memcmp(now, lo, first))
			wrong(g, "half a store", lin, acc, &r1);
		return;
	}
	if (acc == ACC_R && (memcmp(buf, lo, first) || memcmp(buf + first, hi, size - first)))
		wrong(g, "wrong bytes across pages", lin, acc, &r1);
	if (acc == ACC_W) {
		mem_write(g->w.m, r2.gpa, hi, size - first);
		mem_write(g->w.m, r1.gpa, lo, first);
	}
}

static void step(struct guest *g)
{
	unsigned n = (unsigned)rnd(g, 1024);

	if (n < 10)
		change_pte(g);
	else if (n < 11)
		change_pde(g);
	else if (n < 20)
		switch_space(g);
	else if (n < 60)
		change_mode(g);
	else if (n < 70)
		enter_code(g);
	else if (n < 450)
		do_load(g);
	else if (n < 750)
		do_store(g);
	else if (n < 900)
		do_fetch(g);
	else if (n < 950)
		do_locked(g);
	else
		do_crossing(g);
}

static void run(u64 seed, bool pcide)
{
	struct guest g;

	guest_init(&g, seed, pcide);
	print_message("seed %llx\n", (unsigned long long)seed);
	for (unsigned i = 0; i < 1500000; i++) {
		step(&g);
		if (i % 10000 == 0)
			assert_int_equal(mmu_audit(g.w.c), 0);
	}
	print_message("%u accesses done, %u faulted, %llu walks, %llu read misses\n", g.dones, g.faults,
		      (unsigned long long)g.w.counters.n[CNT_PAGE_WALKS],
		      (unsigned long long)g.w.counters.n[CNT_TLB_MISS_R]);
	world_free(&g.w, true);
}

static void test_random_pcid(void **state)
{
	(void)state;
	run(0x1234567, true);
}

static void test_random_plain(void **state)
{
	(void)state;
	run(0x7654321, false);
}

/* The audit finds what was not invalidated. */
static void test_audit(void **state)
{
	struct guest g;
	u64 v, lin = USER_BASE, slot = pt_of(0, 2);

	(void)state;
	guest_init(&g, 1, true);
	set_mode(&g, 3, false);
	phys_put(g.w.m, slot, POOL | P | W | U, 8);
	assert_int_equal(cpu_ld64(g.w.c, lin, &v, ACC_R), OUT_DONE);
	assert_int_equal(mmu_audit(g.w.c), 0);
	phys_put(g.w.m, slot, (POOL + 4096) | P | W | U, 8);
	assert_int_equal(mmu_audit(g.w.c), 2); /* both levels */
	g.w.c->ops->tlb_page(g.w.c, lin + 77);
	assert_int_equal(mmu_audit(g.w.c), 0);
	assert_int_equal(cpu_ld64(g.w.c, lin, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, (POOL + 4096) ^ MARK);
	world_free(&g.w, true);
}

/* Global pages survive CR3 loads without a walk; others survive NOFLUSH loads only. */
static void test_kept(void **state)
{
	struct guest g;
	struct cpu *c;
	u64 v, walks;

	(void)state;
	guest_init(&g, 1, true);
	c = g.w.c;
	phys_put(g.w.m, pt_of(NR_SPACES, 2), POOL | P | W | G, 8);
	phys_put(g.w.m, pt_of(0, 2), POOL | P | W, 8);
	assert_int_equal(cpu_ld64(c, KERNEL_BASE + USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(cpu_ld64(c, USER_BASE, &v, ACC_R), OUT_DONE);
	walks = g.w.counters.n[CNT_PAGE_WALKS];
	c->cr3 = pml4_of(1) | 2;
	c->ops->mode_changed(c);
	assert_int_equal(cpu_ld64(c, KERNEL_BASE + USER_BASE, &v, ACC_R), OUT_DONE);
	c->cr3 = pml4_of(0) | 1;
	c->ops->mode_changed(c);
	assert_int_equal(cpu_ld64(c, USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(g.w.counters.n[CNT_PAGE_WALKS], walks);
	c->ops->tlb_flush(c, TLB_PCID, 1, 0);
	assert_int_equal(cpu_ld64(c, KERNEL_BASE + USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(g.w.counters.n[CNT_PAGE_WALKS], walks);
	assert_int_equal(cpu_ld64(c, USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(g.w.counters.n[CNT_PAGE_WALKS], walks + 1);
	c->ops->tlb_flush(c, TLB_ALL, 0, 0);
	assert_int_equal(cpu_ld64(c, KERNEL_BASE + USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(g.w.counters.n[CNT_PAGE_WALKS], walks + 2);
	world_free(&g.w, true);
}

/* Two pages that want one place of the first level change places there, and both go where one is dropped or becomes
 * code. */
static void test_victims(void **state)
{
	const u64 lin[2] = { USER_BASE, KERNEL_BASE + USER_BASE };
	struct guest g;
	struct cpu *c;

	(void)state;
	guest_init(&g, 1, true);
	c = g.w.c;
	phys_put(g.w.m, pt_of(0, 2), POOL | P | W | D, 8);
	phys_put(g.w.m, pt_of(NR_SPACES, 2), (POOL + 4096) | P | W | D, 8);
	for (unsigned k = 0; k < 10; k++) {
		mmu_refill(c, lin[k & 1], true);
		assert_ptr_equal(tlb_hit_w(c, lin[k & 1], 8), mem_page(g.w.m, POOL + (k & 1) * 4096, true));
		assert_null(tlb_hit_r(c, lin[~k & 1], 8));
	}
	assert_int_equal(g.w.counters.n[CNT_TLB_MISS_W], 2);
	assert_int_equal(mmu_audit(c), 0);
	mem_code_enter(g.w.m, POOL); /* of the page that was displaced */
	mmu_refill(c, lin[0], true);
	assert_null(tlb_hit_w(c, lin[0], 8));
	mem_code_leave(g.w.m, POOL);
	phys_put(g.w.m, pt_of(NR_SPACES, 2), (POOL + 8192) | P | W | D, 8);
	c->ops->tlb_page(c, lin[1]);
	mmu_refill(c, lin[1], false);
	assert_ptr_equal(tlb_hit_r(c, lin[1], 8), mem_page(g.w.m, POOL + 8192, false));
	assert_int_equal(mmu_audit(c), 0);
	world_free(&g.w, true);
}

static bool hit(const struct cpu *c, u64 lin)
{
	u64 gpa;
	const u8 *host;

	return tlb_hit_r(c, lin, 8) && mmu_fetch_hit(c, lin, &host, &gpa);
}

/* Loads and fetches at a kernel address, then changes to another space. */
static bool survives(struct guest *g, u64 flags)
{
	struct cpu *c = g->w.c;
	const u64 lin = KERNEL_BASE + USER_BASE;
	const u8 *host;
	u64 v;

	phys_put(g->w.m, pt_of(NR_SPACES, 2), POOL | flags, 8);
	c->ops->tlb_page(c, lin);
	mmu_refill(c, lin, false);
	assert_non_null(tlb_hit_r(c, lin, 8));
	assert_int_equal(cpu_ld64(c, lin, &v, ACC_R), OUT_DONE);
	assert_int_equal(mmu_fetch_page(c, lin, &host, &v), OUT_DONE);
	for (unsigned k = 1; g->many && k <= 20; k++) {
		phys_put(g->w.m, pt_of(NR_SPACES, 2) + k * 8, POOL | P | W, 8);
		assert_int_equal(cpu_ld64(c, lin + k * PAGE_SIZE, &v, ACC_R), OUT_DONE);
	}
	assert_true(hit(c, lin));
	g->space ^= 1;
	c->cr3 = pml4_of(g->space) | (g->space + 1);
	c->ops->mode_changed(c);
	return hit(c, lin);
}

/* The kernel's global pages stand in the first level whatever the space; others do not, and not only the first time. */
static void test_shared(void **state)
{
	struct guest g;

	(void)state;
	guest_init(&g, 1, true);
	for (unsigned k = 0; k < 20; k++) {
		assert_true(survives(&g, P | W | G));
		assert_true(survives(&g, P | W | G));
		assert_false(survives(&g, P | W));
	}
	for (unsigned k = 0; k < 100; k++) /* a few pages of its own cost the space nothing else */
		assert_false(survives(&g, P | W));
	assert_true(survives(&g, P | W | G));
	g.many = true;
	for (unsigned k = 0; k < 100; k++) /* where they are many, each space keeps its own */
		assert_false(survives(&g, P | W));
	assert_false(survives(&g, P | W | G));
	world_free(&g.w, true);
}

/* ---- the slow path's corners ---------------------------------------------------------------------------------------
 */

static void expect_fault(struct guest *g, int out, u8 vector)
{
	assert_int_equal(out, OUT_FAULT);
	assert_int_equal(g->w.c->exc.vector, vector);
	if (vector != EXC_PF) {
		assert_true(g->w.c->exc.has_error);
		assert_int_equal(g->w.c->exc.error, 0);
	}
}

static void test_canonical(void **state)
{
	static const u64 bad[] = { 0x800000000000ull, 0x7ffffffffffdull, 0xffff7fffffffffffull, 1ull << 63 };
	struct guest g;
	const u8 *host;
	u64 v, gpa;

	(void)state;
	guest_init(&g, 1, true);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		expect_fault(&g, cpu_ld64(g.w.c, bad[i], &v, ACC_R), EXC_GP);
		expect_fault(&g, cpu_st64(g.w.c, bad[i], 0, ACC_SS), EXC_SS);
	}
	expect_fault(&g, mmu_fetch_page(g.w.c, bad[0], &host, &gpa), EXC_GP);
	expect_fault(&g, cpu_ld64(g.w.c, 0x7ffffffffff8, &v, ACC_R), EXC_PF);
	/* with 57 bits the first is canonical */
	g.w.c->cr4 |= CR4_LA57;
	set_mode(&g, 0, false);
	expect_fault(&g, cpu_ld64(g.w.c, bad[0], &v, ACC_R), EXC_PF);
	expect_fault(&g, cpu_ld64(g.w.c, 1ull << 56, &v, ACC_R), EXC_GP);
	world_free(&g.w, true);
}

static void test_alignment(void **state)
{
	struct guest g;
	u64 v;
	u8 buf[32];
	int out;

	(void)state;
	guest_init(&g, 1, true);
	g.w.c->cr0 |= CR0_AM;
	phys_put(g.w.m, pt_of(0, 2), POOL | P | W | U, 8);
	set_mode(&g, 3, true);
	assert_int_equal(cpu_ld64(g.w.c, USER_BASE + 8, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, (POOL + 8) ^ MARK);
	expect_fault(&g, cpu_ld64(g.w.c, USER_BASE + 4, &v, ACC_R), EXC_AC);
	expect_fault(&g, cpu_st16(g.w.c, USER_BASE + 1, 0, ACC_W), EXC_AC);
	expect_fault(&g, cpu_ld64(g.w.c, 0x300000004, &v, ACC_R), EXC_AC); /* before #PF */
	assert_null(g.w.c->ops->pin(g.w.c, USER_BASE + 2, 4, ACC_RMW, &out));
	expect_fault(&g, out, EXC_AC);
	assert_int_equal(cpu_ld64(g.w.c, USER_BASE + 4, &v, ACC_NOALIGN), OUT_DONE);
	assert_int_equal(cpu_ld64(g.w.c, USER_BASE + 4, &v, ACC_SYS) ? g.w.c->exc.vector : 0, EXC_PF); /* SMAP */
	assert_int_equal(cpu_ld(g.w.c, USER_BASE + 4, buf, 16, ACC_R), OUT_DONE);
	set_mode(&g, 3, false);
	assert_int_equal(cpu_ld64(g.w.c, USER_BASE + 4, &v, ACC_R), OUT_DONE);
	world_free(&g.w, true);
}

static void test_breakpoints(void **state)
{
	struct guest g;
	struct cpu *c;
	u64 v;

	(void)state;
	guest_init(&g, 1, true);
	c = g.w.c;
	phys_put(g.w.m, pt_of(0, 2), POOL | P | W, 8);
	assert_int_equal(cpu_ld64(c, USER_BASE, &v, ACC_R), OUT_DONE);
	c->dr[0] = USER_BASE + 4;
	c->dr[7] = 0x1 | 3 << 16 | 3 << 18; /* L0, read or write, 4 bytes */
	set_mode(&g, 0, false);
	assert_int_equal(cpu_ld32(c, USER_BASE, (u32 *)&v, ACC_R), OUT_DONE);
	assert_int_equal(c->pending_db, 0);
	assert_int_equal(cpu_ld64(c, USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(c->pending_db & DR6_B, 1);
	c->pending_db = 0;
	assert_int_equal(cpu_st8(c, USER_BASE + 7, 0, ACC_W), OUT_DONE);
	assert_int_equal(c->pending_db & DR6_B, 1);
	c->pending_db = 0;
	c->dr[7] = 0;
	set_mode(&g, 0, false);
	assert_int_equal(cpu_ld64(c, USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(c->pending_db, 0);
	world_free(&g.w, true);
}

/* Paging off: linear is physical; 32 bits wrap; the A20 gate. */
static void test_real(void **state)
{
	struct world w;
	u64 v;
	u32 d;

	(void)state;
	world_init(&w, NULL, 4 << 20);
	assert_int_equal(mem_add_ram(w.m, 0xfffff000, 0x1000, NULL), 0);
	w.c->cr0 = 0;
	world_mode(&w, 0, false);
	phys_put(w.m, 0x1000, 0x1111, 8);
	phys_put(w.m, 0x101000, 0x2222, 8);
	assert_int_equal(cpu_ld64(w.c, 0x101000, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, 0x2222);
	mem_set_a20(w.m, false);
	assert_int_equal(cpu_ld64(w.c, 0x101000, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, 0x1111);
	assert_int_equal(cpu_st64(w.c, 0x101000, 0x3333, ACC_W), OUT_DONE);
	assert_int_equal(phys_get(w.m, 0x1000, 8), 0x3333);
	mem_set_a20(w.m, true);
	assert_int_equal(cpu_ld64(w.c, 0x101000, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, 0x2222);
	phys_put(w.m, 0xfffffffe, 0xbbaa, 2);
	phys_put(w.m, 0, 0xddcc, 2);
	assert_int_equal(cpu_ld32(w.c, 0xfffffffe, &d, ACC_R), OUT_DONE);
	assert_int_equal(d, 0xddccbbaa);
	assert_int_equal(mmu_audit(w.c), 0);
	assert_int_equal(w.counters.n[CNT_PAGE_WALKS], 0);
	world_free(&w, true);
}

static u64 ones_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	return size << 4 | off;
}

static void sum_write(void *dev, u64 off, u64 val, unsigned size)
{
	*(u64 *)dev += val + off + size;
}

static u64 no_time(struct cpu *c)
{
	(void)c;
	return 0;
}

/* Devices, holes, ROM, the APIC's window: never in the lookaside. */
static void test_windows(void **state)
{
	static const struct io_ops ops = { .read = ones_read, .write = sum_write, .max_size = 4 };
	struct world w;
	const u8 *host = (const u8 *)1;
	u64 sum = 0, v, gpa;
	u8 rom[4096] = { 0x90 }, buf[64];
	int out;

	(void)state;
	world_init(&w, NULL, 4 << 20);
	assert_int_equal(mem_add_mmio(w.m, 0xe0000000, 0x1000, &ops, &sum, NULL), 0);
	assert_int_equal(mem_add_rom(w.m, 0xfffff000, rom, sizeof(rom), NULL), 0);
	w.ops.now_ns = no_time;
	assert_int_equal(cpu_ld64(w.c, 0xe0000008, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, 0x4c00000048ull);
	assert_int_equal(cpu_ld(w.c, 0xe0000010, buf, 64, ACC_R), OUT_DONE);
	assert_int_equal(w.counters.n[CNT_MMIO_READ], 9);
	assert_int_equal(cpu_st32(w.c, 0xe0000004, 5, ACC_W), OUT_DONE);
	assert_int_equal(sum, 5 + 4 + 4);
	assert_int_equal(mmu_fetch_page(w.c, 0xe0000000, &host, &gpa), OUT_DONE);
	assert_null(host);
	assert_null(w.c->ops->pin(w.c, 0xe0000000, 4, ACC_RMW, &out));
	assert_int_equal(out, OUT_DONE);
	assert_int_equal(cpu_st8(w.c, 0xfffff000, 1, ACC_W), OUT_DONE);
	assert_int_equal(cpu_ld64(w.c, 0xfffff000, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, 0x90);
	assert_int_equal(mmu_fetch_page(w.c, 0xfffff000, &host, &gpa), OUT_DONE);
	assert_int_equal(*host, 0x90);
	assert_int_equal(cpu_ld64(w.c, 0xd0000000, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, ~0ull);
	/* the APIC shadows RAM, for this vCPU, while it is enabled in xAPIC mode */
	phys_put(w.m, 0x3000, 0x77, 8);
	phys_put(w.m, 0x3080, 0x66, 8);
	assert_int_equal(cpu_ld64(w.c, 0x3000, &v, ACC_R), OUT_DONE);
	w.c->apic_base = 0x3000 | APIC_BASE_EN;
	world_mode(&w, 0, false);
	assert_int_equal(cpu_st32(w.c, 0x3080, 0x20, ACC_W), OUT_DONE);
	assert_int_equal(w.c->lapic.tpr, 0x20);
	assert_int_equal(phys_get(w.m, 0x3080, 8), 0x66);
	w.c->apic_base = 0x3000 | APIC_BASE_EN | APIC_BASE_X2;
	world_mode(&w, 0, false);
	assert_int_equal(cpu_ld64(w.c, 0x3080, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, 0x66);
	world_free(&w, true);
}

static unsigned exclusive;

static void count_exclusive(struct cpu *c)
{
	(void)c;
	exclusive++;
}

static void test_cmpxchg(void **state)
{
	static const unsigned sizes[] = { 1, 2, 4, 8, 16 };
	struct guest g;
	struct cpu *c;

	(void)state;
	guest_init(&g, 1, true);
	c = g.w.c;
	g.w.ops.exclusive_begin = g.w.ops.exclusive_end = count_exclusive;
	phys_put(g.w.m, pt_of(0, 2), POOL | P | W, 8);
	phys_put(g.w.m, pt_of(0, 2) + 8, (POOL + 0x5000) | P | W, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		static const u64 at[] = { 0, 0x40 - 1, 0x1000 - 1 };
		unsigned n = sizes[i];

		for (unsigned k = 0; k < 3; k++) {
			bool crosses = k && n > 1;
			u8 old[16], val[16], seen[16];

			exclusive = 0;
			memset(val, 0xee, sizeof(val));
			assert_int_equal(cpu_ld(c, USER_BASE + at[k], old, n, ACC_R), OUT_DONE);
			assert_int_equal(c->ops->cmpxchg(c, USER_BASE + at[k], old, val, seen, n), OUT_DONE);
			assert_memory_equal(seen, old, n);
			assert_int_equal(exclusive, crosses ? 2 : 0);
			assert_int_equal(c->ops->cmpxchg(c, USER_BASE + at[k], old, old, seen, n), OUT_DONE);
			assert_memory_equal(seen, val, n);
			assert_int_equal(cpu_ld(c, USER_BASE + at[k], seen, n, ACC_R), OUT_DONE);
			assert_memory_equal(seen, val, n);
			assert_int_equal(cpu_st(c, USER_BASE + at[k], old, n, ACC_W), OUT_DONE);
		}
	}
	phys_put(g.w.m, pt_of(0, 2) + 8, 0, 8);
	c->ops->tlb_page(c, USER_BASE + 0x1000);
	u64 a = 0, b = 0, s;
	expect_fault(&g, c->ops->cmpxchg(c, USER_BASE + 0xffc, &a, &b, &s, 8), EXC_PF);
	assert_int_equal(c->exc.payload, USER_BASE + 0x1000);
	assert_int_equal(c->exc.error, PF_W);
	world_free(&g.w, true);
}

/* Code entered by one vCPU: the other's write tag is gone, its next write is told and lands. */
static void test_two_cpus(void **state)
{
	struct guest g;
	struct world other;
	struct cpu *c;
	u64 v;

	(void)state;
	guest_init(&g, 1, true);
	world_init(&other, g.w.m, 0);
	c = other.c;
	c->ops->tlb_flush(c, TLB_ALL, 0, 0);
	assert_int_equal(cpu_st64(c, POOL, 1, ACC_W), OUT_DONE);
	assert_non_null(tlb_hit_w(c, POOL, 8));
	assert_int_equal(mem_code_enter(g.w.m, POOL), 0);
	assert_null(tlb_hit_w(c, POOL, 8));
	assert_non_null(tlb_hit_r(c, POOL, 8));
	g.told = 0;
	assert_int_equal(cpu_st64(c, POOL, 2, ACC_W), OUT_DONE);
	assert_int_equal(g.told, 1);
	assert_int_equal(cpu_ld64(c, POOL, &v, ACC_R), OUT_DONE);
	assert_int_equal(v, 2);
	assert_int_equal(cpu_st64(c, POOL, 3, ACC_W), OUT_DONE); /* told() has left code: direct again */
	assert_int_equal(g.told, 1);
	assert_non_null(tlb_hit_w(c, POOL, 8));
	world_free(&other, false);
	world_free(&g.w, true);
}

/* The log of written frames sees stores whose write tag was there before it began, the accessed and dirty bits of
 * walks, and nothing of what is only read. */
static void test_dirty_log(void **state)
{
	struct guest g;
	struct cpu *c;
	struct err e;
	u64 v;

	(void)state;
	guest_init(&g, 1, true);
	set_mode(&g, 0, false);
	c = g.w.c;
	phys_put(g.w.m, pt_of(0, 2), POOL | P | W, 8);
	phys_put(g.w.m, pt_of(0, 2) + 8, (POOL + PAGE_SIZE) | P | W, 8);
	assert_int_equal(cpu_st64(c, USER_BASE, 1, ACC_W), OUT_DONE);
	assert_non_null(tlb_hit_w(c, USER_BASE, 8));
	assert_int_equal(mem_dirty_begin(g.w.m, &e), 0);
	assert_null(tlb_hit_w(c, USER_BASE, 8));
	assert_int_equal(cpu_ld64(c, USER_BASE, &v, ACC_R), OUT_DONE);
	assert_int_equal(cpu_ld64(c, USER_BASE + PAGE_SIZE, &v, ACC_R), OUT_DONE);
	mem_dirty_fetch(g.w.m);
	assert_false(mem_dirty_fetched(g.w.m, POOL));
	assert_false(mem_dirty_fetched(g.w.m, POOL + PAGE_SIZE));
	assert_true(mem_dirty_fetched(g.w.m, pt_of(0, 2)));
	assert_int_equal(cpu_st64(c, USER_BASE, 2, ACC_W), OUT_DONE);
	mem_dirty_fetch(g.w.m);
	assert_true(mem_dirty_fetched(g.w.m, POOL));
	assert_int_equal(cpu_st64(c, USER_BASE, 3, ACC_W), OUT_DONE);
	mem_dirty_fetch(g.w.m);
	assert_true(mem_dirty_fetched(g.w.m, POOL));
	mem_dirty_end(g.w.m);
	world_free(&g.w, true);
}

/* Probing has no side effects and ignores rights. */
static void test_probe(void **state)
{
	struct guest g;
	u64 gpa;

	(void)state;
	guest_init(&g, 1, true);
	set_mode(&g, 3, false);
	phys_put(g.w.m, pt_of(0, 2), POOL | P, 8);
	assert_true(mmu_probe(g.w.c, USER_BASE + 5, &gpa));
	assert_int_equal(gpa, POOL + 5);
	assert_int_equal(phys_get(g.w.m, pt_of(0, 2), 8), POOL | P);
	assert_false(mmu_probe(g.w.c, USER_BASE + 4096, &gpa));
	assert_false(mmu_probe(g.w.c, 1ull << 50, &gpa));
	world_free(&g.w, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_pcid), cmocka_unit_test(test_random_plain),
		cmocka_unit_test(test_dirty_log),   cmocka_unit_test(test_audit),
		cmocka_unit_test(test_shared),	    cmocka_unit_test(test_kept),
		cmocka_unit_test(test_canonical),   cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_breakpoints), cmocka_unit_test(test_real),
		cmocka_unit_test(test_windows),	    cmocka_unit_test(test_cmpxchg),
		cmocka_unit_test(test_probe),	    cmocka_unit_test(test_two_cpus),
		cmocka_unit_test(test_victims),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
