/* SPDX-License-Identifier: Apache-2.0
 * Several processors: IPIs of every mode, TLB shootdowns, locked operations however they lie, memory order, code that
 * others change, accessed and dirty bits under races (SDM 3A chapters 8 and 11, 4.10.5). Runs on any number of
 * processors.
 */
#include "kit/smp.h"

#define VEC 0x40
#define VEC_SYNC 0x50

static volatile u64 got[KIT_CPUS_MAX], nmis[KIT_CPUS_MAX], total, synced;

static bool on_ipi(struct frame *f)
{
	(void)f;
	got[kit_cpu()]++;
	lock_add(&total, 1);
	APIC(APIC_EOI) = 0;
	return true;
}

static bool on_nmi(struct frame *f)
{
	(void)f;
	nmis[kit_cpu()]++;
	lock_add(&total, 1);
	return true;
}

static bool on_sync(struct frame *f)
{
	(void)f;
	lock_add(&synced, 1); /* IRET serializes */
	APIC(APIC_EOI) = 0;
	return true;
}

/* All others run through an interrupt: what Linux calls sync_core(). */
static void sync_others(void)
{
	synced = 0;
	kit_ipi(0, 3 << 18 | 0x4000 | VEC_SYNC);
	kit_case("every other processor takes the broadcast", "SDM 3A 11.6.1", 1, kit_wait(&synced, kit_cpus - 1));
}

/* ---- IPIs ------------------------------------------------------------------------------------------------------- */

static void clear(void)
{
	for (unsigned i = 0; i < KIT_CPUS_MAX; i++)
		got[i] = nmis[i] = 0;
	total = 0;
}

static void settle(u64 want)
{
	kit_wait(&total, want);
	for (unsigned i = 0; i < 300; i++)
		pause();
}

static u64 ones(u64 mask)
{
	u64 n = 0;

	for (; mask; mask &= mask - 1)
		n++;
	return n;
}

/* After a message: processors of the mask, and no others, took it once. */
static void expect(const char *name, u64 mask, volatile u64 *counts)
{
	settle(ones(mask));
	for (unsigned i = 0; i < kit_cpus; i++) {
		kit_with("processor %u of %u", i, kit_cpus, 0, 0);
		kit_case(name, "SDM 3A 11.6", mask >> i & 1, counts[i]);
	}
	kit_with(NULL, 0, 0, 0, 0);
	clear();
}

static u64 all_mask(void)
{
	return kit_cpus == 64 ? ~0ull : (1ull << kit_cpus) - 1;
}

static void set_logical(unsigned cpu, void *cluster)
{
	APIC(APIC_DFR) = cluster ? 0x0fffffff : 0xffffffff;
	APIC(APIC_LDR) = (cluster ? (cpu / 4 & 15) << 4 | 1u << (cpu & 3) : cpu < 8 ? 1u << cpu : 0) << 24;
}

static void test_lowest(u32 dest, const char *name)
{
	u64 n = 0, which = 0;

	kit_ipi(dest, 0x4900 | VEC);
	settle(1);
	for (unsigned i = 0; i < kit_cpus; i++) {
		n += got[i];
		if (got[i])
			which = i;
	}
	kit_case(name, "SDM 3A 11.6.2.4", 1, n);
	kit_case("lowest priority goes to an addressed processor", "SDM 3A 11.6.2.4", 1, which < 8);
	clear();
}

/* Arbitration looks at the task priorities: the processor that raised its own is spared. */
static void test_lowest_spares(void)
{
	if (kit_cpus < 2 || kit_on_tcg())
		return;
	APIC(APIC_TPR) = 0x10;
	for (unsigned k = 0; k < 4; k++) {
		kit_ipi(3, 0x4900 | VEC);
		settle(k + 1); /* or they become one */
	}
	kit_case("lowest priority spares the higher TPR", "SDM 3A 11.6.2.4", 0, got[0]);
	APIC(APIC_TPR) = 0;
	clear();
}

static void test_ipis(void)
{
	u64 all = all_mask(), eight = all & 0xff;

	for (unsigned i = 0; i < kit_cpus; i++) {
		kit_ipi(i, 0x4000 | VEC);
		expect("fixed, physical", 1ull << i, got);
	}
	kit_ipi(0xff, 0x4000 | VEC);
	expect("fixed, physical broadcast", all, got);
	kit_ipi(0, 1 << 18 | 0x4000 | VEC);
	expect("shorthand self", 1, got);
	kit_ipi(0, 2 << 18 | 0x4000 | VEC);
	expect("shorthand all", all, got);
	kit_ipi(0, 3 << 18 | 0x4000 | VEC);
	expect("shorthand all but self", all & ~1ull, got);
	kit_ipi(0, 3 << 18 | 0x4400);
	expect("NMI, all but self", all & ~1ull, nmis);
	kit_ipi(kit_cpus - 1, 0x4400);
	expect("NMI, physical", 1ull << (kit_cpus - 1), nmis);
	kit_ipi(kit_cpus - 1, 0x4300 | VEC);
	expect("reserved mode 3 delivers nothing", 0, got);
	kit_smp_run(set_logical, NULL);
	kit_ipi(0x55, 0x4800 | VEC);
	expect("fixed, logical flat", eight & 0x55, got);
	kit_ipi(0xff, 0x4800 | VEC);
	expect("fixed, logical broadcast", all, got);
	test_lowest(0xfe & (u32)eight ? 0xff : 1, "lowest priority takes one, flat");
	test_lowest_spares();
	kit_smp_run(set_logical, (void *)1);
	for (unsigned k = 0; k < kit_cpus && k < 60; k += 4) { /* 15 clusters; the 16th address means all */
		kit_ipi(k / 4 << 4 | 0x6, 0x4800 | VEC);
		expect("fixed, logical cluster", (6ull << k) & all, got);
	}
	test_lowest(0x0f, "lowest priority takes one, cluster");
	kit_smp_run(set_logical, NULL);
}

static void halt_once(unsigned cpu, void *arg)
{
	volatile u64 *at = arg;

	if (cpu) {
		__asm__ volatile("cli");
		lock_add(at, 1);
		__asm__ volatile("sti; hlt");
		return;
	}
	kit_wait(at, kit_cpus - 1);
	for (unsigned i = 0; i < 3000; i++)
		pause();
	for (unsigned i = 1; i < kit_cpus; i++)
		kit_ipi(i, 0x4000 | VEC);
}

static void test_halted(void)
{
	for (unsigned k = 0; k < 8; k++) {
		volatile u64 at = 0;

		kit_smp_run(halt_once, (void *)&at);
		expect("a fixed IPI wakes from HLT", all_mask() & ~1ull, got);
	}
}

/* The last processor halts; an NMI or INIT would wake it. It has said that it is done. */
static void halt_for_good(unsigned cpu, void *arg)
{
	(void)arg;
	if (!cpu || cpu != kit_cpus - 1)
		return;
	kit_done_early();
	__asm__ volatile("cli; hlt");
}

static void test_restart(void)
{
	if (kit_cpus < 2)
		return;
	for (unsigned k = 0; k < 3; k++)
		kit_smp_restart(kit_cpus - 1);
	kit_ipi(kit_cpus - 1, 0x4000 | VEC);
	expect("after INIT and SIPI", 1ull << (kit_cpus - 1), got);
	kit_ipi(kit_cpus - 1, 0x4600 | 0x99);
	kit_ipi(kit_cpus - 1, 0x4000 | VEC);
	expect("a running processor ignores SIPI", 1ull << (kit_cpus - 1), got);
	kit_smp_run(halt_for_good, NULL);
	kit_ipi(kit_cpus - 1, 0x4600 | 0x99);
	for (unsigned i = 0; i < 3000; i++)
		pause();
	kit_smp_restart(kit_cpus - 1);
	kit_ipi(kit_cpus - 1, 0x4000 | VEC);
	expect("a halted processor ignores SIPI too", 1ull << (kit_cpus - 1), got);
}

static volatile u64 bad_answers;

/* ---- KVM_HC_KICK_CPU --------------------------------------------------------------------------------------------- */

#define KICKS 300

static volatile u64 waits_for, granted, satisfied;

static bool has_kicks(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	if (!(r[2] >> 31))
		return false;
	cpuid(0x40000000, 0, r);
	if (r[1] != 0x4b4d564b) /* "KVMK" */
		return false;
	cpuid(0x40000001, 0, r);
	return r[0] >> 7 & 1;
}

static void kick(u64 cpu)
{
	u64 ret = 5;
	u32 r[4];

	cpuid(0, 0, r);
	if (r[1] == 0x68747541) /* "Auth" */
		__asm__ volatile("vmmcall" : "+a"(ret) : "b"(0ull), "c"(cpu) : "memory");
	else
		__asm__ volatile("vmcall" : "+a"(ret) : "b"(0ull), "c"(cpu) : "memory");
	if (ret)
		bad_answers++;
}

/* A kick is kept for the next HLT if none is being executed, so none is lost wherever it comes. */
static void kick_run(unsigned cpu, void *arg)
{
	(void)arg;
	if (cpu > 1)
		return;
	__asm__ volatile("cli");
	for (u64 k = 1; k <= KICKS; k++) {
		if (cpu) {
			waits_for = k;
			while (granted < k)
				__asm__ volatile("hlt" ::: "memory");
			satisfied = k;
			continue;
		}
		kit_wait(&waits_for, k);
		for (u64 i = k % 64; i; i--)
			pause();
		granted = k;
		kick(1);
		if (!kit_wait(&satisfied, k)) {
			bad_answers++;
			kit_ipi(1, 0x4400); /* NMI: it would sleep for good */
		}
	}
	__asm__ volatile("sti");
}

static void test_kicks(void)
{
	if (kit_cpus < 2 || !has_kicks())
		return;
	bad_answers = 0;
	kit_smp_run(kick_run, NULL);
	kit_case("KVM_HC_KICK_CPU ends the HLT, or the next one", "Linux, virt/kvm/x86/hypercalls", 0, bad_answers);
	bad_answers = 0;
}

/* ---- x2APIC ------------------------------------------------------------------------------------------------------ */

static bool on_x2_ipi(struct frame *f)
{
	(void)f;
	got[rdmsr(0x802)]++;
	lock_add(&total, 1);
	wrmsr(0x80b, 0);
	return true;
}

static void enter_x2(unsigned cpu, void *arg)
{
	(void)arg;
	wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
	if (rdmsr(0x802) != cpu || rdmsr(0x80d) != ((cpu >> 4) << 16 | 1u << (cpu & 15)))
		bad_answers++;
}

static void x2_send(u64 dest, u32 lo)
{
	wrmsr(0x830, dest << 32 | lo);
}

/* Called on the boot processor while all others wait with interrupts enabled. kit_cpu() does not work here. */
static void test_x2apic(void)
{
	u64 all = all_mask();
	u32 r[4];

	cpuid(1, 0, r);
	if (!(r[2] >> 21 & 1))
		return;
	kit_handlers[VEC] = on_x2_ipi;
	kit_smp_run(enter_x2, NULL);
	kit_case("x2APIC id and logical id", "SDM 3A 11.12.10.2", 0, bad_answers);
	for (unsigned i = 0; i < kit_cpus; i++) {
		x2_send(i, VEC);
		expect("x2APIC physical", 1ull << i, got);
	}
	for (unsigned k = 0; k < kit_cpus; k += 16) {
		x2_send((u64)(k / 16) << 16 | 0x5a5a, 0x800 | VEC);
		expect("x2APIC logical cluster", (0x5a5aull << k) & all, got);
	}
	x2_send(0xffffffff, VEC);
	expect("x2APIC broadcast", all, got);
	x2_send(0, 3 << 18 | VEC);
	expect("x2APIC all but self", all & ~1ull, got);
	wrmsr(0x83f, VEC);
	expect("x2APIC self IPI", 1, got);
	kit_handlers[VEC] = on_ipi;
}

/* ---- locked operations ------------------------------------------------------------------------------------------- */

static u8 arena[3 * 4096] __attribute__((aligned(4096)));

struct counting {
	u64 *at;
	unsigned rounds;
};

static void add_all(unsigned cpu, void *arg)
{
	struct counting *c = arg;

	for (unsigned i = 0; i < c->rounds; i++) {
		switch ((i + cpu) & 3) {
		case 0:
			__asm__ volatile("lock incq %0" : "+m"(*c->at));
			break;
		case 1: {
			u64 one = 1;
			__asm__ volatile("lock xaddq %1, %0" : "+m"(*c->at), "+r"(one));
			break;
		}
		case 2: {
			u64 old = *(volatile u64 *)c->at, seen;
			do {
				seen = old;
				__asm__ volatile("lock cmpxchgq %2, %1" : "+a"(old), "+m"(*c->at) : "r"(seen + 1));
			} while (old != seen);
			break;
		}
		default:
			__asm__ volatile("lock subq $-1, %0" : "+m"(*c->at));
		}
	}
}

static void add_pair(unsigned cpu, void *arg)
{
	struct counting *c = arg;

	(void)cpu;
	for (unsigned i = 0; i < c->rounds; i++) {
		u64 lo = c->at[0], hi = c->at[1], slo, shi;
		do {
			slo = lo;
			shi = hi;
			__asm__ volatile("lock cmpxchg16b %2"
					 : "+a"(lo), "+d"(hi), "+m"(*(char(*)[16])c->at)
					 : "b"(slo + 1), "c"(shi - 1)
					 : "cc");
		} while (lo != slo || hi != shi);
	}
}

static void swap_bits(unsigned cpu, void *arg)
{
	struct counting *c = arg;

	for (unsigned i = 0; i < c->rounds; i++)
		__asm__ volatile("lock btcq %1, %0" : "+m"(*c->at) : "r"((u64)cpu));
}

static u8 *exec_page;

static void test_locked(void)
{
	static const struct {
		const char *name;
		unsigned offset, rounds;
	} places[] = {
		{ "locked adds, aligned", 0, 20000 },
		{ "locked adds, misaligned in a line", 17, 20000 },
		{ "locked adds across a line", 61, 150 },
		{ "locked adds across a page", 4093, 150 },
	};

	for (unsigned k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
		struct counting c = { (u64 *)(arena + places[k].offset), places[k].rounds };

		memset(arena, 0, sizeof(arena));
		kit_smp_run(add_all, &c);
		kit_case(places[k].name, "SDM 3A 8.1.2", (u64)places[k].rounds * kit_cpus, *c.at);
	}
	struct counting c = { (u64 *)(arena + 64), 5000 };
	memset(arena, 0, sizeof(arena));
	kit_smp_run(add_pair, &c);
	kit_case("CMPXCHG16B, low half", "SDM 3A 8.1.2", 5000ull * kit_cpus, c.at[0]);
	kit_case("CMPXCHG16B, high half", "SDM 3A 8.1.2", -5000ull * kit_cpus, c.at[1]);
	c = (struct counting){ (u64 *)(arena + 128), 5001 };
	kit_smp_run(swap_bits, &c);
	kit_case("locked BTC by all", "SDM 3A 8.1.2", all_mask(), *c.at);
	/* a frame that code was run from: no plain host access there */
	exec_page[0] = 0xc3;
	((void (*)(void))exec_page)();
	c = (struct counting){ (u64 *)(exec_page + 512), 4000 };
	*c.at = 0;
	kit_smp_run(add_all, &c);
	kit_case("locked adds in a page of code", "SDM 3A 8.1.2", 4000ull * kit_cpus, *c.at);
}

/* ---- memory order ------------------------------------------------------------------------------------------------ */

struct litmus {
	volatile u64 x __attribute__((aligned(64)));
	volatile u64 y __attribute__((aligned(64)));
	volatile u64 r[2] __attribute__((aligned(64)));
	u64 passing, buffering;
} __attribute__((aligned(64)));
static struct litmus lit;

static void litmus_run(unsigned cpu, void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 80; i++) {
		if (cpu == 0)
			lit.x = lit.y = 0;
		kit_barrier();
		if (cpu == 0) {
			lit.x = 1;
			__asm__ volatile("mfence" ::: "memory");
			lit.r[0] = lit.y;
		} else if (cpu == 1) {
			lit.y = 1;
			__asm__ volatile("mfence" ::: "memory");
			lit.r[1] = lit.x;
		}
		kit_barrier();
		if (cpu == 0) {
			lit.buffering += kit_cpus > 1 && !lit.r[0] && !lit.r[1];
			lit.x = lit.y = 0;
		}
		kit_barrier();
		if (cpu == 0) {
			lit.x = 1;
			lit.y = 1;
		} else if (cpu == 1) {
			u64 y = lit.y, x;

			__asm__ volatile("" ::: "memory");
			x = lit.x;
			lit.passing += y && !x;
		}
		kit_barrier();
	}
}

static void test_order(void)
{
	kit_smp_run(litmus_run, NULL);
	kit_case("store buffering with MFENCE", "SDM 3A 8.2.3.4", 0, lit.buffering);
	kit_case("message passing", "SDM 3A 8.2.3.2", 0, lit.passing);
}

/* ---- TLB shootdowns ---------------------------------------------------------------------------------------------- */

#define WINDOW 0x40000000000ull /* an address of its own: PML4 entry 8 */

static u64 *window_pte;
static u64 *frames[2];
static volatile u64 shoot_round, shot;

static bool on_shoot(struct frame *f)
{
	(void)f;
	invlpg((void *)WINDOW);
	lock_add(&shot, 1);
	APIC(APIC_EOI) = 0;
	return true;
}

static void make_window(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page(), *pt = kit_page();

	kit_pml4[WINDOW >> 39] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	pd[0] = (u64)pt | 7;
	window_pte = pt;
	for (unsigned i = 0; i < 2; i++) {
		frames[i] = kit_page();
		frames[i][0] = i;
	}
}

static volatile u64 stale, shoot_over;

static void shoot_run(unsigned cpu, void *arg)
{
	volatile u64 *w = (u64 *)WINDOW;

	(void)arg;
	if (cpu) {
		while (!shoot_over) {
			u64 before = shoot_round, v = *w, after = shoot_round;

			/* even: the frame is that of round / 2; odd: it is being changed */
			if (before == after && !(before & 1) && v != (before / 2 & 1))
				stale++;
		}
		return;
	}
	for (unsigned i = 1; i < 100; i++) {
		shoot_round++;
		shot = 0;
		*(volatile u64 *)window_pte = (u64)frames[i & 1] | 7;
		invlpg((void *)WINDOW);
		kit_ipi(0, 3 << 18 | 0x4000 | (VEC + 1));
		if (!kit_wait(&shot, kit_cpus - 1))
			stale += 1000000;
		shoot_round++;
	}
	shoot_over = 1;
}

static void test_shootdown(void)
{
	*window_pte = (u64)frames[0] | 7;
	kit_smp_run(shoot_run, NULL);
	kit_case("after a shootdown nobody uses the old translation", "SDM 3A 4.10.5", 0, stale);
}

/* ---- accessed and dirty bits --------------------------------------------------------------------------------------
 */

static void ad_run(unsigned cpu, void *arg)
{
	volatile u64 *w = (u64 *)(WINDOW + 0x1000), *pte = window_pte + 1;

	(void)arg;
	for (unsigned i = 0; i < 2000; i++) {
		if (cpu & 1) {
			lock_add(pte, 1ull << 52);
			lock_add(pte, 1ull << 9);
			__asm__ volatile("lock andq %1, %0" : "+m"(*pte) : "r"(~0xe00ull));
		} else {
			__asm__ volatile("lock andq %1, %0" : "+m"(*pte) : "r"(~0x60ull));
			invlpg((void *)w);
			lock_add(w, 1);
		}
	}
}

static void test_accessed_dirty(void)
{
	unsigned odd = kit_cpus / 2;
	u64 *frame = kit_page();

	window_pte[1] = (u64)frame | 7;
	kit_smp_run(ad_run, NULL);
	kit_case("the processor's A and D updates lose no other bits", "SDM 3A 4.8", 2000u * odd & 0x7f,
		 window_pte[1] >> 52 & 0x7f);
	kit_case("stores all land", "SDM 3A 8.1", 2000ull * (kit_cpus - odd), *frame);
	invlpg((void *)(WINDOW + 0x1000));
	*(volatile u64 *)(WINDOW + 0x1000) = 1;
	kit_case("A and D are set", "SDM 3A 4.8", 0x60, window_pte[1] & 0x60);
}

/* ---- code that others change ---------------------------------------------------------------------------------------
 */

static volatile u64 wanted, wrong, patch_over, traps;

/* INT3 stands where an instruction is being changed: go on behind it as if it had given 0. */
static bool on_int3(struct frame *f)
{
	if (f->rip - 1 != (u64)exec_page)
		return false;
	lock_add(&traps, 1);
	f->rip = (u64)exec_page + 5;
	f->rax = 0;
	return true;
}

/* mov $n, %eax; ret */
static void put_code(u32 n)
{
	exec_page[0] = 0xb8;
	memcpy(exec_page + 1, &n, 4);
	exec_page[5] = 0xc3;
}

static void patch_run(unsigned cpu, void *arg)
{
	u32 (*fn)(void) = (u32(*)(void))exec_page;

	(void)arg;
	if (cpu) {
		while (!patch_over) {
			u64 before = wanted, v, after;

			v = fn();
			after = wanted;
			if (v && (v < before || v > after + 1))
				wrong++;
		}
		return;
	}
	for (u32 i = 2; i < 60; i++) {
		*(volatile u8 *)exec_page = 0xcc;
		sync_others();
		for (unsigned k = 0; k < 4; k++)
			*(volatile u8 *)(exec_page + 1 + k) = (u8)(i >> 8 * k);
		sync_others();
		*(volatile u8 *)exec_page = 0xb8;
		sync_others();
		wanted = i;
	}
	patch_over = 1;
}

static void test_patching(void)
{
	put_code(1);
	wanted = 1;
	kit_smp_run(patch_run, NULL);
	kit_case("code changed under INT3 is old, new, or INT3", "SDM 3A 8.1.3", 0, wrong);
}

/* Each in turn writes the whole function; all run it after a serializing instruction. */
static void rewrite_run(unsigned cpu, void *arg)
{
	u32 (*fn)(void) = (u32(*)(void))exec_page;

	(void)arg;
	for (u32 i = 0; i < 120; i++) {
		if (i % kit_cpus == cpu)
			put_code(1000 + i);
		kit_barrier();
		serialize();
		if (fn() != 1000 + i)
			lock_add(&wrong, 1);
		kit_barrier();
	}
}

static void test_rewriting(void)
{
	wrong = 0;
	kit_smp_run(rewrite_run, NULL);
	kit_case("code written by another processor, after serializing", "SDM 3A 8.1.3", 0, wrong);
}

/* Pages become code for the first time while others still write beside it. */
static void fresh_run(unsigned cpu, void *arg)
{
	static u8 *volatile page;

	(void)arg;
	for (u32 i = 0; i < 24; i++) {
		u32 n = i * 64 + cpu, v;
		u8 *p;

		if (!cpu) {
			page = kit_page();
			memset(page, 0x90, 4096);
		}
		kit_barrier();
		p = page + cpu * 64;
		for (unsigned k = 0; k < 8; k++) {
			p[0] = 0xb8;
			v = n + (k << 16);
			memcpy(p + 1, &v, 4);
			p[5] = 0xc3;
			if (((u32(*)(void))p)() != v) /* own writes: a jump is enough */
				lock_add(&wrong, 1);
		}
		kit_barrier();
		serialize();
		for (unsigned k = 0; k < kit_cpus; k++)
			if (((u32(*)(void))(page + k * 64))() != i * 64 + k + (7u << 16))
				lock_add(&wrong, 1);
		kit_barrier();
	}
}

static void test_fresh(void)
{
	wrong = 0;
	kit_smp_run(fresh_run, NULL);
	kit_case("code made in one page by all at once", "SDM 3A 8.1.3", 0, wrong);
}

int guest_main(void);
int guest_main(void)
{
	kit_handlers[VEC] = on_ipi;
	kit_handlers[VEC + 1] = on_shoot;
	kit_handlers[VEC_SYNC] = on_sync;
	kit_handlers[2] = on_nmi;
	kit_handlers[3] = on_int3;
	exec_page = kit_page();
	make_window();
	kit_smp_start();
	kit_printf("%u processors\n", kit_cpus);
	__asm__ volatile("sti");
	test_ipis();
	test_halted();
	test_kicks();
	test_locked();
	test_order();
	test_shootdown();
	test_accessed_dirty();
	test_patching();
	test_rewriting();
	test_fresh();
	test_restart();
	test_x2apic();
	__asm__ volatile("cli");
	return kit_done();
}
