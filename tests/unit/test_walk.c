/* SPDX-License-Identifier: Apache-2.0
 * The page walk against the oracle: every paging mode, every level, every combination of that level's flags, under
 * every combination of CR0.WP, SMEP, SMAP, AC, NXE and of the rights of the other levels, for every kind of access.
 */
#include "unit/mmu_world.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "unit/walk_oracle.h"

#define GIB (1ull << 30)
#define DATA_4K 0x600000ull
#define P 1ull
#define NX (1ull << 63)

static const u64 table_of[6] = { 0, 0x800000, 0x40000000, 0x3000, 0x2000, 0x1000 }; /* table of level 1 .. 5 */

static const unsigned accesses[] = {
	ACC_R, ACC_W, ACC_X, ACC_R | ACC_RMW, ACC_R | ACC_SYS, ACC_W | ACC_SYS,
};

struct bench {
	struct world w;
	struct oracle o;
	unsigned top;	   /* level of the table in CR3 (PAE: 3, in pdpte[]) */
	unsigned index[6]; /* entry used at each level */
	u64 lin;
	u64 entry[6];
	u64 n;
};

static u64 oracle_read(void *opaque, u64 gpa, unsigned size)
{
	return phys_get(opaque, gpa, size);
}

static void bench_mode(struct bench *b, enum oracle_mode mode)
{
	struct cpu *c = b->w.c;

	c->cr0 = CR0_PE | (mode == OM_NONE ? 0 : CR0_PG);
	c->cr4 = CR4_PGE | (mode >= OM_PAE ? CR4_PAE : CR4_PSE) | (mode == OM_5 ? CR4_LA57 : 0);
	c->efer = mode >= OM_4 ? EFER_LMA | EFER_LME : 0;
	b->top = mode == OM_5 ? 5 : mode == OM_4 ? 4 : mode == OM_PAE ? 3 : 2;
	c->cr3 = table_of[b->top == 3 ? 2 : b->top];
	for (unsigned i = 1; i <= 5; i++)
		b->index[i] = 3 + 2 * i;
	b->index[3] = mode == OM_PAE ? 1 : b->index[3];
	b->lin = 0x123 | (u64)b->index[1] << 12;
	b->lin |= mode == OM_32 ? (u64)b->index[2] << 22 : (u64)b->index[2] << 21 | (u64)b->index[3] << 30;
	if (mode >= OM_4)
		b->lin |= (u64)b->index[4] << 39;
	if (mode == OM_5)
		b->lin |= (u64)b->index[5] << 48;
}

static void bench_entry(struct bench *b, unsigned level, u64 flags)
{
	bool m32 = b->o.mode == OM_32;
	u64 e = flags | (level == 1 ? DATA_4K : table_of[level - 1]);

	if (m32 && level == 2 && !(flags & 0x80))
		e = (flags & 0xfff) | table_of[1];
	b->entry[level] = e;
	if (b->o.mode == OM_PAE && level == 3)
		b->w.c->pdpte[b->index[3]] = b->o.pdpte[b->index[3]] = e;
	else
		phys_put(b->w.m, table_of[level] + b->index[level] * (m32 ? 4 : 8), e, m32 ? 4 : 8);
}

/* Takes the registers over into the oracle. */
static void bench_sync(struct bench *b, unsigned cpl, bool ac)
{
	struct cpu *c = b->w.c;

	world_mode(&b->w, cpl, ac);
	b->o = (struct oracle){ .cr0 = c->cr0,
				.cr3 = c->cr3,
				.cr4 = c->cr4,
				.efer = c->efer,
				.phys_bits = b->w.model.phys_bits,
				.pse36 = cpu_has(c, FEAT_PSE36),
				.pdpe1gb = cpu_has(c, FEAT_PDPE1GB),
				.amd = c->model->amd,
				.cpl = cpl,
				.ac = ac,
				.read = oracle_read,
				.opaque = b->w.m };
	memcpy(b->o.pdpte, c->pdpte, sizeof(c->pdpte));
	oracle_prepare(&b->o);
}

static void complain(const struct bench *b, unsigned acc, const struct oracle_result *r, int out, const struct walk *k)
{
	const struct cpu *c = b->w.c;

	print_error("mode %d cr0 %llx cr4 %llx efer %llx cpl %u ac %d acc %u phys %u: entries", b->o.mode,
		    (unsigned long long)c->cr0, (unsigned long long)c->cr4, (unsigned long long)c->efer, c->d.cpl,
		    !!(c->rflags & FLAG_AC), acc, b->o.phys_bits);
	for (unsigned i = b->top; i; i--)
		print_error(" %llx", (unsigned long long)b->entry[i]);
	print_error("\n  manual: %s %x gpa %llx size %llx; walk: %s %x gpa %llx size %llx\n", r->fault ? "#PF" : "ok",
		    r->error, (unsigned long long)r->gpa, (unsigned long long)r->page_size, out ? "#PF" : "ok",
		    c->exc.error, (unsigned long long)k->gpa, (unsigned long long)k->page_size);
	fail();
}

/* Compares the walk with the manual, and what it wrote; restores the entries. */
static void check(struct bench *b, unsigned acc)
{
	struct oracle_result r = oracle_walk(&b->o, b->lin, acc);
	struct walk k = { 0 };
	int out = mmu_walk(b->w.c, b->lin, acc, true, &k);
	bool bad = (out != OUT_DONE) != r.fault;

	b->n++;
	if (r.fault)
		bad |= b->w.c->exc.error != r.error || b->w.c->exc.payload != b->lin || b->w.c->exc.vector != EXC_PF;
	else
		bad |= k.gpa != r.gpa || k.page_size != r.page_size || k.global != r.global;
	for (unsigned i = 0; i < r.n; i++) {
		u64 now = phys_get(b->w.m, r.entry[i], r.entry_size);
		bool ram = mem_page(b->w.m, r.entry[i], true);

		bad |= now != (ram ? r.marked[i] : r.old[i]);
		if (now != r.old[i])
			phys_put(b->w.m, r.entry[i], r.old[i], r.entry_size);
	}
	if (bad)
		complain(b, acc, &r, out, &k);
}

static void check_all(struct bench *b)
{
	for (unsigned a = 0; a < ARRAY_SIZE(accesses); a++)
		check(b, accesses[a]);
}

/* P W U PS A D G and NX of one level, from eight bits. */
static u64 flags_from(unsigned n)
{
	return (n & 1) | (n & 2) | (n & 4) | (n & 8 ? 0x80 : 0) | (n & 16 ? 0x20 : 0) | (n & 32 ? 0x40 : 0) |
	       (n & 64 ? 0x100 : 0) | (n & 128 ? NX : 0);
}

static void one_level(struct bench *b, unsigned level, bool odd, u64 *seed)
{
	static const unsigned extra[] = { 9, 11, 12, 13, 20, 21, 22, 29, 30, 36, 39, 40, 46, 51, 52, 58, 62 };

	for (unsigned n = 0; n < 256; n++) {
		u64 x = 1ull << extra[rng_next(seed) % ARRAY_SIZE(extra)];

		bench_entry(b, level, flags_from(n));
		check_all(b);
		if (!odd || !(n & 1))
			continue;
		bench_entry(b, level, flags_from(n) | x);
		check_all(b);
	}
}

static void all_flags(struct bench *b, u64 *seed)
{
	for (unsigned level = 1; level <= b->top; level++) {
		for (unsigned others = 0; others < 8; others++) {
			u64 f = P | (others & 1 ? 2 : 0) | (others & 2 ? 4 : 0) | (others & 4 ? NX : 0);

			for (unsigned i = 1; i <= b->top; i++)
				bench_entry(b, i, b->o.mode == OM_PAE && i == 3 ? P : f);
			one_level(b, level, others == 3 || others == 0, seed);
		}
	}
}

static void enumerate(enum oracle_mode mode)
{
	struct bench b = { 0 };
	u64 seed = 0x9e3779b97f4a7c15ull + mode;

	world_init(&b.w, NULL, 2 * GIB);
	bench_mode(&b, mode);
	for (unsigned n = 0; n < 64; n++) {
		struct cpu *c = b.w.c;

		c->cr0 = (c->cr0 & ~CR0_WP) | (n & 1 ? CR0_WP : 0);
		c->cr4 = (c->cr4 & ~(CR4_SMEP | CR4_SMAP)) | (n & 2 ? CR4_SMEP : 0) | (n & 4 ? CR4_SMAP : 0);
		c->efer = (c->efer & ~EFER_NXE) | (n & 8 ? EFER_NXE : 0);
		bench_sync(&b, n & 16 ? 3 : 0, n & 32);
		all_flags(&b, &seed);
	}
	print_message("%llu walks compared\n", (unsigned long long)b.n);
	world_free(&b.w, true);
}

static void test_32(void **state)
{
	(void)state;
	enumerate(OM_32);
}

static void test_pae(void **state)
{
	(void)state;
	enumerate(OM_PAE);
}

static void test_4level(void **state)
{
	(void)state;
	enumerate(OM_4);
}

static void test_5level(void **state)
{
	(void)state;
	enumerate(OM_5);
}

/* Every single bit of every level's entry, page or table, for several physical widths and feature sets. */
static void each_bit(struct bench *b)
{
	for (unsigned level = 1; level <= b->top; level++) {
		for (unsigned n = 0; n < 128; n++) {
			for (unsigned i = 1; i <= b->top; i++)
				bench_entry(b, i, b->o.mode == OM_PAE && i == 3 ? P : P | 6);
			bench_entry(b, level, P | 6 | (n & 64 ? 0x80 : 0) | 1ull << (n & 63));
			check_all(b);
		}
	}
}

static void test_each_bit(void **state)
{
	static const u8 width[] = { 32, 36, 39, 40, 46, 52 };
	struct bench b = { 0 };

	(void)state;
	world_init(&b.w, NULL, 2 * GIB);
	for (unsigned n = 0; n < 5 * ARRAY_SIZE(width) * 32; n++) {
		enum oracle_mode mode = OM_32 + n % 4;
		struct cpu *c = b.w.c;

		bench_mode(&b, mode);
		b.w.model.phys_bits = width[n / 4 % ARRAY_SIZE(width)];
		b.w.model.amd = n / 24 & 1;
		model_set(&b.w.model, FEAT_PSE36, n / 24 & 2);
		model_set(&b.w.model, FEAT_PDPE1GB, n / 24 & 4);
		c->efer |= n / 24 & 8 ? EFER_NXE : 0;
		c->cr4 &= n / 24 & 16 ? ~CR4_PSE & ~CR4_PGE : ~0ull;
		mmu_reset(c);
		bench_sync(&b, 0, false);
		each_bit(&b);
	}
	print_message("%llu walks compared\n", (unsigned long long)b.n);
	world_free(&b.w, true);
}

/* Tables in ROM are used as they stand; tables in holes read as ones: reserved bits. */
static void test_odd_tables(void **state)
{
	struct bench b = { 0 };
	struct walk k;
	u64 rom[512] = { 0 };

	(void)state;
	world_init(&b.w, NULL, 2 * GIB);
	bench_mode(&b, OM_4);
	bench_sync(&b, 0, false);
	for (unsigned i = 1; i <= 4; i++)
		bench_entry(&b, i, P | 6);
	rom[b.index[1]] = DATA_4K | P | 6;
	assert_int_equal(mem_add_rom(b.w.m, 0xfffff000, rom, sizeof(rom), NULL), 0);
	phys_put(b.w.m, table_of[2] + b.index[2] * 8, 0xfffff000 | P | 6, 8);
	assert_int_equal(mmu_walk(b.w.c, b.lin, ACC_W, true, &k), OUT_DONE);
	assert_int_equal(k.gpa, DATA_4K | 0x123);
	assert_int_equal(phys_get(b.w.m, 0xfffff000 + b.index[1] * 8, 8), DATA_4K | P | 6);
	phys_put(b.w.m, table_of[2] + b.index[2] * 8, 0xc0000000 | P | 6, 8);
	assert_int_equal(mmu_walk(b.w.c, b.lin, ACC_W, true, &k), OUT_FAULT);
	assert_int_equal(b.w.c->exc.error, PF_P | PF_W | PF_RSVD);
	world_free(&b.w, true);
}

/* ---- A and D against other writers ------------------------------------------------------------------------------ */

#define RACE_ROUNDS 200000

struct racer {
	struct bench b;
	atomic_ulong walks;
	atomic_bool stop;
	pthread_t t;
};

static void *race_walker(void *opaque)
{
	struct racer *r = opaque;
	struct walk k;

	while (!atomic_load(&r->stop)) {
		if (mmu_walk(r->b.w.c, r->b.lin, ACC_W, true, &k) != OUT_DONE || k.gpa != (DATA_4K | 0x123))
			return (void *)1;
		atomic_fetch_add(&r->walks, 1);
	}
	return NULL;
}

/* A walker of its own over the same memory, at work when this returns. */
static void race_start(struct racer *r, struct mem *m)
{
	world_init(&r->b.w, m, 0);
	bench_mode(&r->b, OM_4);
	bench_sync(&r->b, 0, false);
	pthread_create(&r->t, NULL, race_walker, r);
	while (!atomic_load(&r->walks))
		sched_yield();
}

/* The guest counts in the entry's free bits 52..61 and clears A and D; no count may get lost to a walker's marks. */
static void test_race(void **state)
{
	struct bench b = { 0 };
	static struct racer r[2];
	u64 marked = 0;
	void *ret;

	(void)state;
	world_init(&b.w, NULL, 2 * GIB);
	bench_mode(&b, OM_4);
	bench_sync(&b, 0, false);
	for (unsigned i = 1; i <= 4; i++)
		bench_entry(&b, i, P | 6);
	u64 *pte = (u64 *)mem_page(b.w.m, table_of[1] + b.index[1] * 8, true);
	for (unsigned i = 0; i < 2; i++)
		race_start(&r[i], b.w.m);
	/* on a busy host the walkers get their turn late */
	for (u64 i = 0; i < RACE_ROUNDS || !marked; i++) {
		u64 old = __atomic_load_n(pte, __ATOMIC_SEQ_CST), new;

		assert_int_equal(old >> 52 & 0x3ff, i & 0x3ff);
		do {
			u64 count = ((old >> 52) + 1) & 0x3ff;

			new = (old & 0xfffffffffff9full) | count << 52;
		} while (!__atomic_compare_exchange_n(pte, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
		marked += (old & 0x60) == 0x60;
	}
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&r[i].stop, true);
		pthread_join(r[i].t, &ret);
		assert_null(ret);
		world_free(&r[i].b.w, false);
	}
	world_free(&b.w, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_32),     cmocka_unit_test(test_pae),	cmocka_unit_test(test_4level),
		cmocka_unit_test(test_5level), cmocka_unit_test(test_each_bit), cmocka_unit_test(test_odd_tables),
		cmocka_unit_test(test_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
