/* SPDX-License-Identifier: Apache-2.0
 * A branch to another page that has run many times leads to what is there now: after the page is mapped elsewhere (by
 * INVLPG, by CR3, in several address spaces), rewritten (at once, through an alias, by another processor), taken away,
 * or followed from another linear address. SDM 3A 4.10.4 and 8.1.3. An engine that links blocks of different pages has
 * to unset the links.
 */
#include "kit/smp.h"

enum { P = 1, W = 2, PF = 14 };
enum { CR4_PGE = 1 << 7, CR4_PCIDE = 1 << 17, CR4_SMEP = 1 << 20 };
#define NX (1ull << 63)
/* PML4 entry 1, pages 0 to 7 as each test maps them. Not at a large page's place in a gigabyte: INVLPG of what may be
 * one drops everything. */
#define VA (0x8000000000ull + AT_PD * 0x200000ull)
#define AT_PD 100
#define HOT 100 /* runs until whatever links blocks has linked them */
#define VEC 0x51

static u64 *pt, *space[2]; /* a PML4 each, whose entry 1 leads to tables of its own */
static u64 *space_pt[2];
static bool pcids;
static u8 *frame[8];

/* How page 0 gets to page 1 and returns with its constant. */
enum { JUMP, CONDITION, CALL, FALL, KINDS };

static void map(unsigned n, u64 entry)
{
	pt[n] = entry;
	invlpg((void *)(VA + 4096 * n));
}

static void put_target(u8 *page, unsigned at, u32 v)
{
	page[at] = 0xb8; /* mov $v, %eax; ret */
	memcpy(page + at + 1, &v, 4);
	page[at + 5] = 0xc3;
}

/* The place in page 1 that page 0 leads to. */
static unsigned put_source(u8 *page, unsigned kind)
{
	static const u8 code[KINDS][16] = {
		[JUMP] = { 0xe9, 0x3b, 0x10, 0, 0 },				   /* jmp page 1 + 0x40 */
		[CONDITION] = { 0x31, 0xc0, 0x0f, 0x84, 0x38, 0x10, 0, 0 },	   /* xor; jz page 1 + 0x40 */
		[CALL] = { 0xe8, 0x3b, 0x10, 0, 0, 0xff, 0xc0, 0xff, 0xc8, 0xc3 }, /* call; inc; dec; ret */
	};

	if (kind == FALL) {
		memset(page, 0x90, 4096);
		return 0;
	}
	memcpy(page, code[kind], 16);
	return 0x40;
}

static u64 call(u64 at)
{
	return ((u32(*)(void))at)();
}

static u64 hot(u64 at, u64 want)
{
	u64 wrong = 0;

	for (unsigned i = 0; i < HOT; i++)
		wrong += call(at) != want;
	return wrong;
}

static u64 entry_of(unsigned kind)
{
	return kind == FALL ? VA + 4000 : VA;
}

static void map_all(void)
{
	for (unsigned n = 0; n < 8; n++)
		map(n, (u64)frame[n] | P | W);
}

static void remapped(unsigned kind)
{
	unsigned at = put_source(frame[0], kind);
	u64 go = entry_of(kind);
	int v;

	map_all();
	for (unsigned n = 1; n < 4; n++)
		put_target(frame[n], at, n);
	for (unsigned i = 0; i < 9; i++) {
		unsigned n = 1 + i % 3;

		map(1, (u64)frame[n] | P | W);
		kit_case("another frame by INVLPG", "SDM 3A 4.10.4", 0, hot(go, n));
		pt[1] = (u64)frame[1 + (i + 1) % 3] | P | W;
		wrcr3(rdcr3());
		kit_case("another frame by CR3", "SDM 3A 4.10.4", 0, hot(go, 1 + (i + 1) % 3));
	}
	map(1, 0);
	v = kit_try((void (*)(void *))go, NULL);
	kit_case("a target that is gone", "SDM 3A 4.7", PF, (u64)v);
	kit_case("where it is", "SDM 3A 6.15 #PF", VA + 4096 + at, kit_last.cr2);
	map(1, (u64)frame[1] | P | NX);
	v = kit_try((void (*)(void *))go, NULL);
	kit_case("a target that may not be executed", "SDM 3A 4.6", PF, (u64)v);
	map(1, (u64)frame[1] | P | W);
	kit_case("and again", "SDM 3A 4.10.4", 0, hot(go, 1));
}

static void rewritten(unsigned kind)
{
	unsigned at = put_source(frame[0], kind);
	u64 go = entry_of(kind);

	map_all();
	map(5, (u64)frame[1] | P | W);
	for (u32 i = 0; i < 9; i++) {
		put_target((u8 *)VA + 4096, at, 3 * i);
		kit_case("rewritten in place", "SDM 3A 8.1.3", 0, hot(go, 3 * i));
		put_target((u8 *)VA + 0x5000, at, 3 * i + 1);
		kit_case("rewritten through an alias", "SDM 3A 8.1.3", 0, hot(go, 3 * i + 1));
		((volatile u8 *)VA)[4096 + at + 1] = 0x77;
		kit_case("one byte of it", "SDM 3A 8.1.3", 0x77, call(go) & 0xff);
	}
	/* the source leads elsewhere, or is somewhere else */
	put_target(frame[1], at, 1);
	put_target(frame[3], at, 3);
	kit_case("before it moves", "SDM 3A 4.10.4", 0, hot(go, 1));
	map(2, (u64)frame[0] | P | W);
	for (unsigned i = 0; i < 8; i++) {
		kit_case("the same frame at another address", "SDM 3A 4.10.4", 0, hot(go + 0x2000, 3));
		kit_case("and at the first", "SDM 3A 4.10.4", 0, hot(go, 1));
	}
	map(2, (u64)frame[2] | P | W);
}

/* keep: what is cached of it stays, if there are PCIDs. */
static void load_space(unsigned n, bool keep)
{
	wrcr3((u64)space[n] | (pcids ? (n + 1) | (keep ? 1ull << 63 : 0) : 0));
}

/* The tags of doppel's lookaside are this many; then they start over. Whatever was linked under the old ones must go.
 */
#define TAGS 4092

static void tags_again(u64 go)
{
	load_space(0, false);
	kit_case("under a tag", "SDM 3A 4.10.4", 0, hot(go, 11));
	for (unsigned i = 1; i < TAGS + 6; i++) {
		load_space(1, false);
		if (i >= TAGS - 6)
			kit_case("under the same tag", "SDM 3A 4.10.4", 22, call(go));
	}
}

/* Two address spaces with the same page 0 and different pages 1. */
static void spaces(unsigned kind)
{
	unsigned at = put_source(frame[0], kind);
	u64 go = entry_of(kind), home = rdcr3();

	put_target(frame[1], at, 11);
	put_target(frame[2], at, 22);
	put_target(frame[3], at, 33);
	for (unsigned n = 0; n < 2; n++) {
		memcpy(space[n], kit_pml4, 4096);
		space[n][1] = (u64)space_pt[n] | P | W;
		space_pt[n][0] = (u64)(space_pt[n] + 512) | P | W;
		space_pt[n][512 + AT_PD] = (u64)(space_pt[n] + 1024) | P | W;
		space_pt[n][1024] = (u64)frame[0] | P | W;
		space_pt[n][1025] = (u64)frame[1 + n] | P | W;
	}
	load_space(0, false);
	load_space(1, false);
	for (unsigned i = 0; i < 16; i++) {
		load_space(i & 1, true);
		kit_case("an address space of its own", "SDM 3A 4.10.4", 0, hot(go, i & 1 ? 22 : 11));
	}
	for (unsigned i = 0; i < 300; i++) {
		load_space(i & 1, i % 5);
		kit_case("spaces in turns", "SDM 3A 4.10.4", i & 1 ? 22 : 11, call(go));
	}
	if (kind == JUMP)
		tags_again(go);
	space_pt[0][1025] = (u64)frame[3] | P | W; /* while the other is loaded */
	load_space(0, false);
	kit_case("changed from another space", "SDM 3A 4.10.4", 0, hot(go, 33));
	wrcr3(home);
}

/* The last processor runs the branch all the time; the first moves and rewrites what it leads to, and tells it. */
static volatile u64 phase, seen, wrong;
static volatile u32 want;
static u64 run_at;

static bool on_ipi(struct frame *f)
{
	(void)f;
	invlpg((void *)(VA + 4096));
	APIC(APIC_EOI) = 0;
	lock_add(&seen, 1);
	return true;
}

static void change(unsigned at, u64 i)
{
	u32 v = (u32)i * 5 + 2;

	if (i & 1) {
		put_target(frame[1 + (i >> 1) % 3], at, v);
		pt[1] = (u64)frame[1 + (i >> 1) % 3] | P | W;
	} else {
		put_target((u8 *)(pt[1] & 0xfffffff000), at, v);
	}
	want = v;
}

static void other_run(unsigned cpu, void *arg)
{
	unsigned at = (unsigned)(size_t)arg;

	for (u64 i = 1; i <= 60; i++) {
		if (!cpu) {
			u64 before = seen;

			change(at, i);
			if (i & 1) {
				kit_ipi(kit_cpus - 1, VEC);
				kit_wait(&seen, before + 1);
			}
			phase = i;
		} else if (cpu == kit_cpus - 1) {
			while (phase < i)
				call(run_at);
			serialize();
			lock_add(&wrong, hot(run_at, want));
		}
		kit_barrier();
	}
}

static void others(unsigned kind)
{
	unsigned at = put_source(frame[0], kind);

	if (kit_cpus < 2)
		return;
	map_all();
	put_target(frame[1], at, 1);
	run_at = entry_of(kind);
	phase = seen = wrong = 0;
	kit_smp_run(other_run, (void *)(size_t)at);
	kit_case("moved and rewritten by another processor", "SDM 3A 8.1.3", 0, wrong);
}

static void make_tables(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page();

	pt = kit_page();
	for (unsigned n = 0; n < 8; n++)
		frame[n] = kit_page();
	for (unsigned n = 0; n < 2; n++) {
		space[n] = kit_page();
		space_pt[n] = kit_page();
		kit_page(); /* behind each other: three tables */
		kit_page();
	}
	kit_pml4[1] = (u64)pdpt | P | W;
	pdpt[0] = (u64)pd | P | W;
	pd[AT_PD] = (u64)pt | P | W;
	map_all();
}

static void all_kinds(const char *how)
{
	kit_printf("%s\n", how);
	for (unsigned kind = 0; kind < KINDS; kind++) {
		kit_with("kind %u", kind, 0, 0, 0);
		remapped(kind);
		rewritten(kind);
		spaces(kind);
		others(kind);
	}
}

static void cr4_run(unsigned cpu, void *arg)
{
	(void)cpu;
	wrcr4(rdcr4() | (u64)(size_t)arg);
}

static void change_cr4(u64 bits)
{
	kit_smp_run(cr4_run, (void *)(size_t)bits);
}

int guest_main(void);
int guest_main(void)
{
	u32 r[4];

	kit_handlers[VEC] = on_ipi;
	make_tables();
	cpuid(7, 0, r);
	kit_smp_start();
	kit_printf("%u processors\n", kit_cpus);
	__asm__ volatile("sti");
	all_kinds("plain");
	change_cr4(CR4_PGE | (r[1] & 1u << 7 ? CR4_SMEP : 0));
	all_kinds("global pages, SMEP");
	cpuid(1, 0, r);
	if (r[2] & 1u << 17) {
		change_cr4(CR4_PCIDE);
		pcids = true;
		all_kinds("PCIDs");
	}
	__asm__ volatile("cli");
	return kit_done();
}
