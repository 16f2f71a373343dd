/* SPDX-License-Identifier: Apache-2.0
 * Memory order between processors, as litmus tests: each is a few instructions a processor, run in step a great many
 * times, and a set of outcomes that x86 forbids (SDM 3A 8.2.2 and 8.2.3). Outcomes that only a store buffer explains
 * are allowed, and counted: an emulator that never shows them runs its processors one at a time.
 * Behind them, what processors promise each other about page tables, code, NMI, INIT and wake-ups.
 *
 * `rounds=N` on the command line is how often each is run; 400 without.
 */
#include "kit/smp.h"

#define VEC_WAKE 0x61
#define VEC_MASKED 0x41
#define VEC_SHOOT 0x62
#define WINDOW 0x40000000000ull /* an address of its own: PML4 entry 8 */
#define NR_CELLS 128

static u64 rounds = 400;

/* ---- in step ---------------------------------------------------------------------------------------------------- */

struct cell {
	volatile u64 x __attribute__((aligned(64)));
	volatile u64 y __attribute__((aligned(64)));
	volatile u64 gate __attribute__((aligned(64)));
	volatile u64 r[4] __attribute__((aligned(64)));
} __attribute__((aligned(64)));

static struct cell cells[NR_CELLS];

/* Until all of n have come: most of the time within a few dozen cycles. False: somebody never came. */
static bool meet(volatile u64 *gate, u64 n)
{
	lock_add(gate, 1);
	for (u64 k = 0; k < 100000000; k++) {
		if (*gate >= n)
			return true;
		if (k > 100)
			pause();
	}
	return false;
}

static inline u64 get(volatile u64 *p)
{
	u64 v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p) : "memory");
	return v;
}

static inline void put(volatile u64 *p, u64 v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*p) : "r"(v) : "memory");
}

static inline u64 swap(volatile u64 *p, u64 v)
{
	__asm__ volatile("xchgq %0, %1" : "+r"(v), "+m"(*p)::"memory");
	return v;
}

/* ---- the tests -------------------------------------------------------------------------------------------------- */

typedef void part_fn(unsigned t, struct cell *c);

static void store_buffering(unsigned t, struct cell *c)
{
	put(t ? &c->y : &c->x, 1);
	c->r[t] = get(t ? &c->x : &c->y);
}

static void buffering_mfence(unsigned t, struct cell *c)
{
	put(t ? &c->y : &c->x, 1);
	__asm__ volatile("mfence" ::: "memory");
	c->r[t] = get(t ? &c->x : &c->y);
}

static void buffering_xchg(unsigned t, struct cell *c)
{
	swap(t ? &c->y : &c->x, 1);
	c->r[t] = get(t ? &c->x : &c->y);
}

static void buffering_locked(unsigned t, struct cell *c)
{
	static u64 elsewhere[4][8];

	put(t ? &c->y : &c->x, 1);
	lock_add(&elsewhere[t][0], 1);
	c->r[t] = get(t ? &c->x : &c->y);
}

static void buffering_cpuid(unsigned t, struct cell *c)
{
	put(t ? &c->y : &c->x, 1);
	serialize();
	c->r[t] = get(t ? &c->x : &c->y);
}

/* Locked, across two cache lines: orders as any other locked operation does. */
static void buffering_split(unsigned t, struct cell *c)
{
	static u8 lines[4][128] __attribute__((aligned(64)));

	put(t ? &c->y : &c->x, 1);
	lock_add((u64 *)(lines[t] + 61), 1);
	c->r[t] = get(t ? &c->x : &c->y);
}

static bool both_zero(const struct cell *c)
{
	return !c->r[0] && !c->r[1];
}

static void message_passing(unsigned t, struct cell *c)
{
	if (!t) {
		put(&c->x, 1);
		put(&c->y, 1);
	} else {
		c->r[0] = get(&c->y);
		c->r[1] = get(&c->x);
	}
}

/* The data by a string store, the flag by a plain one. */
static void passing_string(unsigned t, struct cell *c)
{
	if (!t) {
		void *to = (void *)&c->x;
		u64 n = 1;

		__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(1ull) : "memory");
		put(&c->y, 1);
	} else {
		c->r[0] = get(&c->y);
		c->r[1] = get(&c->x);
	}
}

static void passing_nontemporal(unsigned t, struct cell *c)
{
	if (!t) {
		__asm__ volatile("movntiq %1, %0; sfence" : "=m"(c->x) : "r"(1ull) : "memory");
		put(&c->y, 1);
	} else {
		c->r[0] = get(&c->y);
		c->r[1] = get(&c->x);
	}
}

static bool flag_not_data(const struct cell *c)
{
	return c->r[0] && !c->r[1];
}

static void load_buffering(unsigned t, struct cell *c)
{
	c->r[t] = get(t ? &c->y : &c->x);
	put(t ? &c->x : &c->y, 1);
}

static bool both_one(const struct cell *c)
{
	return c->r[0] && c->r[1];
}

static void same_place_reads(unsigned t, struct cell *c)
{
	if (!t) {
		put(&c->x, 1);
		put(&c->x, 2);
	} else {
		c->r[0] = get(&c->x);
		c->r[1] = get(&c->x);
	}
}

static bool backwards(const struct cell *c)
{
	return c->r[0] > c->r[1] || c->x != 2;
}

static void two_plus_two(unsigned t, struct cell *c)
{
	put(t ? &c->y : &c->x, 1);
	put(t ? &c->x : &c->y, 2);
}

static bool first_stores_last(const struct cell *c)
{
	return c->x == 1 && c->y == 1;
}

static void shape_s(unsigned t, struct cell *c)
{
	if (!t) {
		put(&c->x, 2);
		put(&c->y, 1);
	} else {
		c->r[0] = get(&c->y);
		put(&c->x, 1);
	}
}

static bool s_forbidden(const struct cell *c)
{
	return c->r[0] == 1 && c->x == 2;
}

static void shape_r(unsigned t, struct cell *c)
{
	if (!t) {
		put(&c->x, 1);
		put(&c->y, 1);
	} else {
		put(&c->y, 2);
		c->r[0] = get(&c->x);
	}
}

static bool r_weak(const struct cell *c)
{
	return c->y == 2 && !c->r[0];
}

/* Each sees its own store at once, and the other's not yet. */
static void forwarding(unsigned t, struct cell *c)
{
	volatile u64 *own = t ? &c->y : &c->x;

	put(own, 1);
	c->r[t + 2] = get(own);
	c->r[t] = get(t ? &c->x : &c->y);
}

static bool own_not_seen(const struct cell *c)
{
	return c->r[2] != 1 || c->r[3] != 1;
}

static void causality(unsigned t, struct cell *c)
{
	if (t == 0) {
		put(&c->x, 1);
	} else if (t == 1) {
		c->r[0] = get(&c->x);
		put(&c->y, c->r[0]);
	} else {
		c->r[1] = get(&c->y);
		c->r[2] = get(&c->x);
	}
}

static bool not_transitive(const struct cell *c)
{
	return c->r[1] && !c->r[2];
}

static void independent(unsigned t, struct cell *c)
{
	if (t < 2) {
		put(t ? &c->y : &c->x, 1);
	} else if (t == 2) {
		c->r[0] = get(&c->x);
		c->r[1] = get(&c->y);
	} else {
		c->r[2] = get(&c->y);
		c->r[3] = get(&c->x);
	}
}

static bool two_orders(const struct cell *c)
{
	return c->r[0] && !c->r[1] && c->r[2] && !c->r[3];
}

/* One of them wins, and all else follows that. */
static void exchanges(unsigned t, struct cell *c)
{
	c->r[t] = swap(&c->x, t + 1);
}

static bool no_single_order(const struct cell *c)
{
	return !((c->r[0] == 0 && c->r[1] == 1 && c->x == 2) || (c->r[1] == 0 && c->r[0] == 2 && c->x == 1));
}

static const struct test {
	const char *name, *manual;
	unsigned threads;
	part_fn *part;
	bool (*forbidden)(const struct cell *c);
	bool (*weak)(const struct cell *c);
} tests[] = {
	{ "store buffering", "SDM 3A 8.2.3.4", 2, store_buffering, NULL, both_zero },
	{ "store buffering, MFENCE", "SDM 3A 8.2.5", 2, buffering_mfence, both_zero, NULL },
	{ "store buffering, XCHG", "SDM 3A 8.2.3.9", 2, buffering_xchg, both_zero, NULL },
	{ "store buffering, locked elsewhere", "SDM 3A 8.2.3.9", 2, buffering_locked, both_zero, NULL },
	{ "store buffering, CPUID", "SDM 3A 8.3", 2, buffering_cpuid, both_zero, NULL },
	{ "store buffering, locked across lines", "SDM 3A 8.2.3.9", 2, buffering_split, both_zero, NULL },
	{ "message passing", "SDM 3A 8.2.3.2", 2, message_passing, flag_not_data, NULL },
	{ "message passing, string store", "SDM 3A 8.2.4", 2, passing_string, flag_not_data, NULL },
	{ "message passing, MOVNTI and SFENCE", "SDM 3A 8.2.5", 2, passing_nontemporal, flag_not_data, NULL },
	{ "load buffering", "SDM 3A 8.2.3.3", 2, load_buffering, both_one, NULL },
	{ "coherence of one place", "SDM 3A 8.2.3.6", 2, same_place_reads, backwards, NULL },
	{ "2+2W", "SDM 3A 8.2.2", 2, two_plus_two, first_stores_last, NULL },
	{ "S", "SDM 3A 8.2.2", 2, shape_s, s_forbidden, NULL },
	{ "R", "SDM 3A 8.2.2", 2, shape_r, NULL, r_weak },
	{ "forwarding", "SDM 3A 8.2.3.5", 2, forwarding, own_not_seen, both_zero },
	{ "exchanges have one order", "SDM 3A 8.2.3.8", 2, exchanges, no_single_order, NULL },
	{ "causality", "SDM 3A 8.2.3.6", 3, causality, not_transitive, NULL },
	{ "independent reads, independent writes", "SDM 3A 8.2.3.7", 4, independent, two_orders, NULL },
};

static struct {
	const struct test *test;
	volatile u64 gate, forbidden, weak, late;
} run;

/* Delays that differ from round to round, so that the parts meet in every way. */
static void stagger(unsigned t, u64 i)
{
	for (volatile u64 k = (i * (2 * t + 1)) % 7; k; k--)
		;
}

static void batch_begin(void)
{
	for (unsigned k = 0; k < NR_CELLS; k++)
		cells[k] = (struct cell){ .x = 0 };
}

static void batch_end(const struct test *test, u64 n)
{
	for (unsigned k = 0; k < n; k++) {
		run.forbidden += test->forbidden && test->forbidden(&cells[k]);
		run.weak += test->weak && test->weak(&cells[k]);
	}
}

static void run_test(unsigned cpu, void *arg)
{
	const struct test *test = arg;
	u64 meeting = 0;

	if (cpu >= test->threads)
		return;
	for (u64 first = 0; first < rounds && !run.late; first += NR_CELLS) {
		u64 n = rounds - first < NR_CELLS ? rounds - first : NR_CELLS;

		if (!cpu)
			batch_begin();
		if (!meet(&run.gate, ++meeting * test->threads))
			run.late = 1;
		for (u64 k = 0; k < n && !run.late; k++) {
			if (!meet(&cells[k].gate, test->threads))
				run.late = 1;
			stagger(cpu, first + k);
			test->part(cpu, &cells[k]);
		}
		if (!meet(&run.gate, ++meeting * test->threads))
			run.late = 1;
		if (!cpu)
			batch_end(test, n);
	}
}

static void test_order(void)
{
	for (const struct test *t = tests; t < tests + sizeof(tests) / sizeof(tests[0]); t++) {
		if (t->threads > kit_cpus)
			continue;
		run.gate = run.forbidden = run.weak = run.late = 0;
		kit_smp_run(run_test, (void *)t);
		kit_case(t->name, t->manual, 0, run.forbidden);
		kit_case("all parts come to every round", t->name, 0, run.late);
		if (t->weak)
			kit_printf("%s: %u of %u rounds showed the store buffer\n", t->name, (u32)run.weak,
				   (u32)rounds);
	}
}

/* ---- what is one access ----------------------------------------------------------------------------------------- */

static u8 arena[2 * 4096] __attribute__((aligned(4096)));
static volatile u64 torn;

struct place {
	const char *name;
	unsigned offset;
	bool locked; /* the reader as well: across lines only locked accesses are one */
};

/* One writes all zeros and all ones in turn, the others may see nothing else. */
static void tear(unsigned cpu, void *arg)
{
	const struct place *p = arg;
	u64 *at = (u64 *)(arena + p->offset), n = p->locked && (p->offset & 63) > 56 ? rounds / 8 : rounds * 8, v;

	for (u64 i = 0; i < n; i++) {
		if (!cpu) {
			if (p->locked)
				swap(at, i & 1 ? ~0ull : 0);
			else
				put(at, i & 1 ? ~0ull : 0);
			continue;
		}
		v = p->locked ? lock_add(at, 0) : get(at);
		if (v && v + 1)
			lock_add(&torn, 1);
	}
}

static void test_tearing(void)
{
	static const struct place places[] = {
		{ "eight aligned bytes are one access", 64, false },
		{ "eight bytes within a line are one access", 64 + 13, false },
		{ "locked, within a line", 64 + 13, true },
		{ "locked, across lines", 64 + 59, true },
		{ "locked, across pages", 4093, true },
	};

	for (unsigned k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
		torn = 0;
		memset(arena, 0, sizeof(arena));
		kit_smp_run(tear, (void *)&places[k]);
		kit_case(places[k].name, "SDM 3A 8.1.1, 8.1.2.2", 0, torn);
	}
}

/* ---- page tables ------------------------------------------------------------------------------------------------ */

static volatile u64 *window_pte, *window_pde;
static volatile u64 *frame[2];
static u64 table[2];

static void make_window(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page();

	for (unsigned i = 0; i < 2; i++) {
		table[i] = (u64)kit_page();
		frame[i] = kit_page();
		((u64 *)table[i])[1] = (u64)frame[i] | 7;
		frame[i][0] = i;
	}
	kit_pml4[WINDOW >> 39] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	pd[0] = table[0] | 7;
	window_pde = pd;
	window_pte = (u64 *)table[0];
}

static volatile u64 over, shot, landed, lost_dirty;

/* The page is gone: drop what this processor knows, leave the loop's instruction undone this time. */
static bool on_fault(struct frame *f)
{
	u64 at = rdcr2();

	if (at != WINDOW)
		return false;
	invlpg((void *)WINDOW);
	f->rip = f->r15; /* behind the store */
	f->r14 = 0;
	return true;
}

/* *WINDOW += 1 by the translation there is; whether it was done. */
static bool try_add(void)
{
	u64 done;

	__asm__ volatile("lea 1f(%%rip), %%r15; mov $1, %%r14; lock addq $1, (%1); 1: mov %%r14, %0"
			 : "=r"(done)
			 : "r"(WINDOW)
			 : "r14", "r15", "memory", "cc");
	return done;
}

/* A store needs D set in the entry, which the processor sets in memory only while the entry is present: who takes an
 * entry away and finds D clear knows, without asking anybody, that no store was made and none will be (4.8). */
static void dirty_run(unsigned cpu, void *arg)
{
	(void)arg;
	if (cpu) {
		while (!over)
			if (try_add())
				lock_add(&landed, 1);
		return;
	}
	for (u64 i = 0; i < rounds; i++) {
		u64 before = *frame[0], old;

		put(window_pte, (u64)frame[0] | 7);
		stagger(1, i);
		old = swap(window_pte, 0);
		if (!(old & 0x40)) {
			stagger(3, i);
			lost_dirty += *frame[0] != before;
			continue;
		}
		/* somebody has it: nobody may keep it */
		shot = 0;
		kit_ipi(0, 3 << 18 | 0x4000 | VEC_SHOOT);
		if (!kit_wait(&shot, kit_cpus - 1))
			lost_dirty += 1000000;
	}
	over = 1;
}

static bool on_shoot(struct frame *f)
{
	(void)f;
	invlpg((void *)WINDOW);
	lock_add(&shot, 1);
	APIC(APIC_EOI) = 0;
	return true;
}

static volatile u64 turn, stale;

static bool on_shoot_table(struct frame *f)
{
	(void)f;
	invlpg((void *)(WINDOW + 0x1000));
	lock_add(&shot, 1);
	APIC(APIC_EOI) = 0;
	return true;
}

/* A table is exchanged while others walk through it. */
static void table_run(unsigned cpu, void *arg)
{
	(void)arg;
	while (cpu && !over) {
		u64 before = turn, v = get((u64 *)(WINDOW + 0x1000)), after = turn;

		if (v > 1 || (before == after && !(before & 1) && v != (before / 2 & 1)))
			lock_add(&stale, 1);
		if (v & 1)
			invlpg((void *)(WINDOW + 0x1000)); /* so that there are walks */
	}
	for (u64 i = 1; !cpu && i <= rounds / 8; i++) {
		shot = 0;
		turn++;
		put(window_pde, table[i & 1] | 7);
		kit_ipi(0, 3 << 18 | 0x4000 | (VEC_SHOOT + 1));
		if (!kit_wait(&shot, kit_cpus - 1))
			stale += 1000000;
		turn++;
	}
	if (!cpu)
		over = 1;
}

static void test_tables(void)
{
	over = turn = stale = 0;
	kit_smp_run(table_run, NULL);
	kit_case("a table exchanged under walkers", "SDM 3A 4.10.5", 0, stale);
	put(window_pde, table[0] | 7);
	kit_handlers[14] = on_fault;
	over = 0;
	*frame[0] = 0;
	kit_smp_run(dirty_run, NULL);
	kit_handlers[14] = NULL;
	kit_case("no store without D in the entry that was there", "SDM 3A 4.8", 0, lost_dirty);
	kit_case("stores land or fault", "SDM 3A 4.8", landed, *frame[0]);
}

/* ---- code ------------------------------------------------------------------------------------------------------- */

static u8 *code;
static volatile u64 version, old_code;

/* cmp flag; serialize; mov $imm, %eax: what another processor wrote before the flag must be what runs (8.1.3). The
 * instruction stands right behind the serializing one, in one straight line. */
static const u8 reader[] = {
	0x53,			   /* push rbx */
	0x48, 0x39, 0x3e,	   /* 1: cmp %rdi, (%rsi) */
	0x73, 0x04,		   /* jae 2f */
	0xf3, 0x90,		   /* pause */
	0xeb, 0xf7,		   /* jmp 1b */
	0x31, 0xc0, 0x0f, 0xa2,	   /* 2: xor %eax, %eax; cpuid */
	0xb8, 0,    0,	  0,	0, /* mov $imm, %eax */
	0x5b, 0xc3,		   /* pop rbx; ret */
};
#define IMM 15

static void code_run(unsigned cpu, void *arg)
{
	u32 (*fn)(u64 want, volatile u64 * flag) = (u32(*)(u64, volatile u64 *))code;

	(void)arg;
	for (u64 i = 1; i <= rounds / 2; i++) {
		if (!cpu) {
			u32 n = (u32)i;

			memcpy(code + IMM, &n, 4);
			put(&version, i);
		} else if (fn(i, &version) != i) {
			lock_add(&old_code, 1);
		}
		kit_barrier();
	}
}

static void test_code(void)
{
	memcpy(code, reader, sizeof(reader));
	kit_smp_run(code_run, NULL);
	kit_case("code behind a serializing instruction is new", "SDM 3A 8.1.3", 0, old_code);
}

/* ---- wake-ups --------------------------------------------------------------------------------------------------- */

static volatile u64 woken, unheard;

static bool on_wake(struct frame *f)
{
	if (f->vector == VEC_WAKE)
		woken++;
	APIC(APIC_EOI) = 0;
	return true;
}

/* The first message stays pending behind the task priority; the second, close behind it, wakes. */
static void wake_run(unsigned cpu, void *arg)
{
	static volatile u64 asleep;

	(void)arg;
	if (cpu > 1)
		return;
	for (u64 i = 1; i <= rounds / 4 && !unheard; i++) {
		if (cpu) {
			APIC(APIC_TPR) = 0x50;
			__asm__ volatile("cli" ::: "memory");
			asleep = i;
			while (woken < i)
				__asm__ volatile("sti; hlt; cli" ::: "memory");
			APIC(APIC_TPR) = 0;
			__asm__ volatile("sti" ::: "memory");
			continue;
		}
		kit_wait(&asleep, i);
		for (u64 k = (i * 97) % 3000 * (i & 1); k; k--)
			__asm__ volatile("" ::: "memory");
		kit_ipi(1, 0x4000 | VEC_MASKED);
		stagger(1, i);
		kit_ipi(1, 0x4000 | VEC_WAKE);
		if (!kit_wait(&woken, i)) {
			unheard = i;
			kit_ipi(1, 0x4000 | VEC_WAKE);
		}
	}
}

static volatile u64 in_nmi, nested, nmis, nmi_sent;

static bool on_nmi(struct frame *f)
{
	(void)f;
	if (kit_cpu() != 1)
		return true;
	nested += in_nmi;
	in_nmi = 1;
	nmis++;
	for (volatile unsigned k = 0; k < 20; k++)
		;
	in_nmi = 0;
	return true; /* IRET lets the next one in */
}

static void nmi_run(unsigned cpu, void *arg)
{
	(void)arg;
	if (cpu == 1) {
		while (!over)
			__asm__ volatile("int $0x70" ::: "memory");
		return;
	}
	for (u64 i = 0; i < rounds; i++) {
		lock_add(&nmi_sent, 1);
		kit_ipi(1, 0x4400);
		stagger(cpu, i);
	}
	if (!cpu)
		over = 1;
}

static bool on_int(struct frame *f)
{
	(void)f;
	return true;
}

static void test_wakeups(void)
{
	u64 before;

	kit_smp_run(wake_run, NULL);
	kit_case("no wake-up is lost", "SDM 3A 11.8.3.1", 0, unheard);
	over = 0;
	kit_smp_run(nmi_run, NULL);
	kit_case("NMIs do not nest", "SDM 3A 6.7.1", 0, nested);
	kit_case("at least one NMI of a storm comes, and no more than were sent", "SDM 3A 6.7.1", 1,
		 nmis && nmis <= nmi_sent);
	before = nmis;
	kit_ipi(1, 0x4400);
	kit_case("one more comes after a storm", "SDM 3A 6.7.1", 1, kit_wait(&nmis, before + 1));
}

static void noise_run(unsigned cpu, void *arg)
{
	static volatile u64 here;

	(void)arg;
	if (!cpu) {
		kit_wait(&here, 1);
		for (unsigned k = 0; k < 4; k++)
			kit_smp_restart(kit_cpus - 1);
		over = 1;
	} else if (cpu != kit_cpus - 1) {
		while (!over) {
			kit_ipi(kit_cpus - 1, 0x4000 | VEC_WAKE);
			pause();
		}
	} else {
		kit_done_early();
		here = 1;
		for (;;)
			pause();
	}
}

static void hear(unsigned cpu, void *arg)
{
	lock_add((u64 *)arg, 1ull << cpu);
}

/* INIT and SIPI while others send interrupts to the same processor. */
static void test_restarts(void)
{
	u64 heard = 0;

	over = 0;
	kit_smp_run(noise_run, NULL);
	kit_smp_run(hear, &heard);
	kit_case("all processors work after INIT and SIPI under fire", "SDM 3A 8.4",
		 kit_cpus == 64 ? ~0ull : (1ull << kit_cpus) - 1, heard);
}

static bool on_monitor_cpu(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	return r[2] >> 3 & 1;
}

/* MONITOR arms, the look behind it decides, MWAIT waits or not: a store in between is never slept through. */
static void mwait_run(unsigned cpu, void *arg)
{
	static volatile u64 word __attribute__((aligned(64)));

	(void)arg;
	for (u64 i = 1; cpu < 2 && i <= rounds; i++) {
		if (!cpu) {
			stagger(1, i);
			put(&word, i);
		}
		while (cpu && word < i) {
			__asm__ volatile("monitor" ::"a"(&word), "c"(0), "d"(0));
			if (word < i)
				__asm__ volatile("mwait" ::"a"(0), "c"(0));
		}
	}
}

/* ---- */

static bool begins(const char *s, const char *with)
{
	while (*with && *s == *with) {
		s++;
		with++;
	}
	return !*with;
}

static void read_rounds(void)
{
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *s = info[0] & 4 ? (const char *)(u64)info[4] : "";

	for (; *s; s++) {
		if (!begins(s, "rounds="))
			continue;
		rounds = 0;
		for (s += 7; *s >= '0' && *s <= '9'; s++)
			rounds = rounds * 10 + (u64)(*s - '0');
		return;
	}
}

int guest_main(void);
int guest_main(void)
{
	read_rounds();
	kit_handlers[VEC_WAKE] = kit_handlers[VEC_MASKED] = on_wake;
	kit_handlers[VEC_SHOOT] = on_shoot;
	kit_handlers[VEC_SHOOT + 1] = on_shoot_table;
	kit_handlers[2] = on_nmi;
	kit_handlers[0x70] = on_int;
	code = kit_page();
	make_window();
	kit_smp_start();
	kit_printf("%u processors, %u rounds\n", kit_cpus, (u32)rounds);
	__asm__ volatile("sti");
	test_tearing();
	if (kit_cpus > 1) {
		test_order();
		test_tables();
		test_code();
		test_wakeups();
		if (on_monitor_cpu())
			kit_smp_run(mwait_run, NULL);
		test_restarts();
	}
	__asm__ volatile("cli");
	return kit_done();
}
