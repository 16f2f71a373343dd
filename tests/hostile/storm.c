/* SPDX-License-Identifier: Apache-2.0
 * A guest that means harm: --append "SCENARIO SEED" chooses what it does to the machine. It ends by itself where it
 * can; where it destroys itself, the machine's triple fault or clock ends it.
 */
#include "kit/kit.h"

int guest_main(void);

static u64 rng;

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull >> 16;
}

static u64 value(void)
{
	static const u64 odd[] = { 0,	   1,	       2,	   0x7f,       0x80,	   0xff,
				   0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 63, ~0ull };

	return rnd() & 1 ? odd[rnd() % (sizeof(odd) / sizeof(odd[0]))] : rnd() ^ rnd() << 32;
}

/* ---- ports and MSRs -----------------------------------------------------------------------------------------------
 */

/* Ports whose values end the machine or take its memory away: 8042, A20 and reset, power, the debug exit. */
static bool ends(unsigned first, unsigned size, u64 v)
{
	for (unsigned p = first; p < first + size; p++, v >>= 8) {
		if ((p & 0xffff) == 0x60 || (p & 0xffff) == 0x64 || (p & 0xffff) == 0x92 || (p & 0xffff) == 0xcf9)
			return true;
		if ((p & 0xffff) >= 0xf4 && (p & 0xffff) < 0xf8)
			return true;
		if ((p & 0xffff) >= 0x5f0 && (p & 0xffff) < 0x640)
			return true;
	}
	return false;
}

static u64 ticks;

static bool on_tick(struct frame *f)
{
	(void)f;
	ticks++;
	outb(0x20, 0x20);
	outb(0xa0, 0x20);
	*(volatile u32 *)0xfee000b0 = 0;
	outb(0x70, 0x0c);
	inb(0x71);
	return true;
}

static void one_port(void)
{
	u16 port = (u16)(rnd() & 3 ? rnd() % 0x1000 : rnd());
	unsigned size = 1u << rnd() % 3;
	u64 v = value();

	if (ends(port, size, v) || rnd() & 1) {
		size == 1 ? (void)inb(port) : size == 2 ? (void)inw(port) : (void)inl(port);
		return;
	}
	size == 1 ? outb(port, (u8)v) : size == 2 ? outw(port, (u16)v) : outl(port, (u32)v);
}

static void ports(void)
{
	for (unsigned p = 0; p < 0x10000; p++) {
		u64 v = value();

		inb((u16)p);
		inw((u16)p);
		inl((u16)p);
		if (ends(p, 4, v))
			continue;
		outb((u16)p, (u8)v);
		outw((u16)p, (u16)v);
		outl((u16)p, (u32)v);
	}
	for (unsigned i = 0; i < 300000; i++)
		one_port();
}

static u32 the_msr;
static u64 the_value;

static void write_msr(void *arg)
{
	(void)arg;
	wrmsr(the_msr, the_value);
}

static void read_msr(void *arg)
{
	(void)arg;
	the_value = rdmsr(the_msr);
}

static void one_msr(u32 msr)
{
	u64 was;

	the_msr = msr;
	the_value = 0;
	if (kit_try(read_msr, NULL) != -1) {
		the_value = value();
		kit_try(write_msr, NULL);
		return;
	}
	was = the_value;
	the_value = rnd() & 1 ? value() : was ^ 1ull << rnd() % 64;
	/* What moves memory under our feet is put back: EFER, the APIC's base. */
	kit_try(write_msr, NULL);
	if (msr == 0xc0000080 || msr == 0x1b) {
		the_value = was;
		kit_try(write_msr, NULL);
	}
}

static void msrs(void)
{
	static const u32 from[] = { 0, 0xc0000000, 0xc0010000, 0x4b564d00, 0x40000000, 0xc0011000 };

	for (unsigned k = 0; k < 6; k++)
		for (u32 i = 0; i < 0x1000; i++)
			one_msr(from[k] + i);
	for (unsigned i = 0; i < 50000; i++)
		one_msr(rnd() & 1 ? (u32)rnd() : from[rnd() % 6] + (u32)(rnd() & 0x1fff));
}

/* ---- memory that is none ------------------------------------------------------------------------------------------
 */

static u64 the_address;

static void touch(void *arg)
{
	volatile u8 *p = (volatile u8 *)the_address;
	u64 v = value();

	(void)arg;
	switch (rnd() % 11) {
	case 0:
		*p = (u8)v;
		break;
	case 1:
		*(volatile u16 *)p = (u16)v;
		break;
	case 2:
		*(volatile u32 *)p = (u32)v;
		break;
	case 3:
		*(volatile u64 *)p = v;
		break;
	case 4:
		(void)*p;
		break;
	case 5:
		(void)*(volatile u16 *)p;
		break;
	case 6:
		(void)*(volatile u32 *)p;
		break;
	case 7:
		(void)*(volatile u64 *)p;
		break;
	case 8:
		__asm__ volatile("lock xaddq %0, (%1)" : "+r"(v) : "r"(p) : "memory");
		break;
	case 9:
		__asm__ volatile("lock cmpxchg16b (%0)" ::"r"(p), "a"(v), "d"(v), "b"(v), "c"(v) : "memory", "cc");
		break;
	default:
		__asm__ volatile("btsq %0, (%1)" ::"r"((u64)(rnd() & 0xfff)), "r"(p) : "memory", "cc");
		break;
	}
}

static u64 window(void)
{
	static const u64 w[] = { 0xfee00000, 0xfec00000, 0xfed00000, 0xff000000, 0xfffff000, 0xa0000,
				 0xbf000,    0x1fff000,	 0x2000000,  0xc0000000, 0xe0000000, 0xfebff000,
				 0xfee01000, 0x7ffff000, 0xfffe0000, 0xfecff000 };

	return w[rnd() % 16];
}

static void mmio(void)
{
	for (unsigned i = 0; i < 400000; i++) {
		the_address = window() + (rnd() & 1 ? rnd() & 0xfff : (rnd() & 0x3ff) << 2);
		/* No INIT or NMI to ourselves, no reset of our own mode: the rest of the ICR is fair game. */
		kit_try(touch, NULL);
	}
}

/* Every register of the local APIC by both interfaces, random IPIs included. */
static void apic(void)
{
	volatile u32 *a = (volatile u32 *)0xfee00000;

	kit_handlers[2] = on_tick;
	for (unsigned i = 0; i < 100000; i++)
		a[(rnd() & 0x3f) << 2] = (u32)value();
	wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
	for (unsigned i = 0; i < 100000; i++)
		one_msr(0x800 + (u32)(rnd() & 0xff));
}

/* ---- tables, stacks and code where none belong --------------------------------------------------------------------
 */

static u64 odd_page(void)
{
	static const u64 p[] = { 0xfee00000,  0xfec00000,      0xfed00000, 0xfffff000, 0xa0000, 0x1fff000, 0x2000000,
				 0xffffff000, 0xffffffffff000, 0x1f00000,  0xc0000,    0,	0xf0000,   0xff000000 };

	return p[rnd() % 14];
}

static void walk_there(void *arg)
{
	(void)arg;
	(void)*(volatile u64 *)the_address;
	*(volatile u64 *)the_address = 1;
}

static void call_there(void *arg)
{
	(void)arg;
	((void (*)(void))the_address)();
}

static void tables(void)
{
	u64 *pd = kit_page(), *pt = kit_page();

	for (unsigned i = 0; i < 20000; i++) {
		unsigned slot = 256 + rnd() % 255;
		u64 flags = rnd() & 0x1ff & ~0x80ull;

		kit_pml4[slot] = (rnd() & 1 ? odd_page() : (u64)kit_pml4) | flags | 1;
		pd[rnd() & 511] = odd_page() | (rnd() & 0x1ff);
		pt[rnd() & 511] = value();
		if (rnd() & 1)
			kit_pml4[slot] = (rnd() & 1 ? (u64)pd : (u64)pt) | 7;
		invlpg((void *)0);
		wrcr3(rdcr3());
		the_address = 0xffff000000000000ull | (u64)slot << 39 | (rnd() & 0x7fffffffff);
		kit_try(rnd() & 3 ? walk_there : call_there, NULL);
	}
}

static void load_tables(void *arg)
{
	struct kit_dt dt = { (u16)value(), rnd() & 1 ? odd_page() + (rnd() & 0xfff) : value() };

	(void)arg;
	if (rnd() & 1)
		__asm__ volatile("lgdt %0" ::"m"(dt));
	else
		__asm__ volatile("lldt %w0" ::"r"(8 * (rnd() & 15)));
	__asm__ volatile("mov %w0, %%fs" ::"r"(rnd()));
	__asm__ volatile("lar %w1, %w0" : "=r"(dt.base) : "r"(rnd()));
	__asm__ volatile("ltr %w0" ::"r"(rnd() & 0xfff8));
}

static void descriptors(void)
{
	for (unsigned i = 0; i < 50000; i++) {
		kit_try(load_tables, NULL);
		__asm__ volatile("lgdt %0" ::"m"(kit_gdtr));
	}
	/* At the end: interrupts through a table in a device, which is the end of us. */
	kit_idtr.base = odd_page();
	__asm__ volatile("lidt %0; int3" ::"m"(kit_idtr));
}

static void on_odd_stack(void *arg)
{
	(void)arg;
	__asm__ volatile("mov %0, %%rsp; push %%rax; pushf; call 1f; 1: ud2" ::"r"(odd_page() + (rnd() & 0xff8)));
}

/* The stack of the handler itself is sound (IST), then no more. */
static void stacks(void)
{
	static u8 sound[8192] __attribute__((aligned(16)));

	*(u64 *)(kit_tss + 36) = (u64)sound + sizeof(sound);
	for (unsigned v = 0; v < 32; v++)
		kit_set_gate(v, kit_stubs + 16 * v, 0x8e, 1);
	for (unsigned i = 0; i < 20000; i++)
		kit_try(on_odd_stack, NULL);
	for (unsigned v = 0; v < 32; v++)
		kit_set_gate(v, kit_stubs + 16 * v, 0x8e, 0);
	kit_try(on_odd_stack, NULL);
}

static void fetch(void)
{
	for (unsigned i = 0; i < 100000; i++) {
		the_address = window() + (rnd() & 0xfff);
		kit_try(call_there, NULL);
	}
}

static void long_string(void *arg)
{
	u64 n = rnd() & 1 ? 1ull << 63 : value(), to = window() + (rnd() & 0xfff), from = window() - (rnd() & 0xfff),
	    port = 0x3fd;

	(void)arg;
	if (rnd() & 1)
		__asm__ volatile("std");
	switch (rnd() % 8) {
	case 0:
		__asm__ volatile("rep movsb" : "+c"(n), "+D"(to), "+S"(from)::"memory");
		break;
	case 1:
		__asm__ volatile("rep stosq" : "+c"(n), "+D"(to) : "a"(from) : "memory");
		break;
	case 2:
		__asm__ volatile("rep lodsb" : "+c"(n), "+S"(from)::"rax");
		break;
	case 3:
		__asm__ volatile("repne scasb" : "+c"(n), "+D"(to) : "a"(0x5a) : "cc");
		break;
	case 4:
		__asm__ volatile("repe cmpsb" : "+c"(n), "+D"(to), "+S"(from)::"cc");
		break;
	case 5:
		__asm__ volatile("rep insb" : "+c"(n), "+D"(to) : "d"(port) : "memory");
		break;
	case 6:
		__asm__ volatile("rep outsb" : "+c"(n), "+S"(from) : "d"(port) : "memory");
		break;
	default:
		__asm__ volatile("addr32 rep stosl" : "+c"(n), "+D"(to) : "a"(from) : "memory");
		break;
	}
	__asm__ volatile("cld");
}

static void strings(void)
{
	for (;;)
		kit_try(long_string, NULL);
}

/* ---- devices ------------------------------------------------------------------------------------------------------
 */

/* Everything that can interrupt does so as often as it can. */
static void timers(void)
{
	volatile u32 *a = (volatile u32 *)0xfee00000;

	for (unsigned v = 0x20; v < 0x100; v++)
		kit_handlers[v] = on_tick;
	outb(0x20, 0x11), outb(0x21, 0x20), outb(0x21, 4), outb(0x21, 1), outb(0x21, 0);
	outb(0xa0, 0x11), outb(0xa1, 0x28), outb(0xa1, 2), outb(0xa1, 1), outb(0xa1, 0);
	outb(0x43, 0x34), outb(0x40, 2), outb(0x40, 0);
	outb(0x70, 0x0a), outb(0x71, 0x23);
	outb(0x70, 0x0b), outb(0x71, 0x72);
	a[0xf0 / 4] = 0x1ff;
	a[0x3e0 / 4] = 0xb;
	a[0x320 / 4] = 0x20040;
	a[0x380 / 4] = 1;
	__asm__ volatile("sti");
	for (unsigned i = 0; i < 2000000; i++)
		if (!(i & 0xffff))
			__asm__ volatile("hlt");
	a[0x320 / 4] = 0x40040;
	for (unsigned i = 0; i < 200000; i++)
		wrmsr(0x6e0, rnd() & 1 ? 1 : rnd());
	for (;;)
		__asm__ volatile("hlt");
}

static void hpet(void)
{
	volatile u64 *h = (volatile u64 *)0xfed00000;

	for (unsigned v = 0x20; v < 0x100; v++)
		kit_handlers[v] = on_tick;
	*(volatile u32 *)0xfee000f0 = 0x1ff;
	for (unsigned t = 0; t < 3; t++) {
		h[(0x100 + t * 0x20) / 8] = 0x4c | (t == 2 ? 0x100 : 0) | 0x4000;
		h[(0x110 + t * 0x20) / 8] = 0xfee0000000000040ull | t;
		h[(0x108 + t * 0x20) / 8] = 1;
		h[(0x108 + t * 0x20) / 8] = 1;
	}
	h[2] = 1;
	__asm__ volatile("sti");
	for (unsigned i = 0; i < 3000000; i++)
		if (!(i & 0xfff))
			h[rnd() % 0x80] = value();
}

static void pci(void)
{
	for (unsigned i = 0; i < 300000; i++) {
		unsigned dev = rnd() & 7 ? (rnd() & 3) << 11 | (rnd() & 7) << 8 : rnd() & 0xff00;
		unsigned off = rnd() & 0xff;
		u64 v = rnd() & 1 ? value() : window() | (rnd() & 15);

		/* The PM block may go anywhere but where our exit port is. */
		outl(0xcf8, 0x80000000u | dev | (off & ~3u));
		if (rnd() & 1)
			outl(0xcfc, (u32)v);
		else if (rnd() & 1)
			outw((u16)(0xcfc + (off & 2)), (u16)v);
		else
			outb((u16)(0xcfc + (off & 3)), (u8)v);
		inl(0xcfc);
		inw((u16)(0x600 + (rnd() & 0x3f)));
	}
}

static void fwcfg(void)
{
	static volatile struct {
		u32 control, len;
		u64 address;
	} block;

	for (unsigned i = 0; i < 3000; i++) {
		u64 at = rnd() & 7 ? (u64)&block : rnd() & 1 ? (u64)&block + 8 : value();

		block.control = __builtin_bswap32((u32)(rnd() & 0xff003f) << 8 * (rnd() & 1));
		block.len = __builtin_bswap32((u32)(rnd() & 3 ? rnd() & 0xffff : value()));
		block.address = __builtin_bswap64(rnd() & 1   ? value()
						  : rnd() & 1 ? (u64)&block - (rnd() & 31)
							      : odd_page());
		outw(0x510, (u16)rnd());
		inb(0x511);
		outl(0x514, __builtin_bswap32((u32)(at >> 32)));
		outl(0x518, __builtin_bswap32((u32)at));
	}
}

static void serial(void)
{
	for (unsigned i = 0; i < 300000; i++) {
		u16 port = (u16)(0x3f8 + (rnd() & 7));

		rnd() & 1 ? (void)inb(port) : outb(port, (u8)value());
	}
}

static void flood(void)
{
	outb(0x3f9, 0);
	for (;;)
		outb(0x3f8, 'x');
}

static void spin(void)
{
	__asm__ volatile("cli; 1: jmp 1b");
}

/* ---- code that changes itself, code that is noise -----------------------------------------------------------------
 */

static void code(void)
{
	u8 *page = kit_page(), *next = kit_page();

	memset(page, 0x90, 4096);

	for (unsigned i = 0; i < 200000; i++) {
		unsigned off = rnd() & 0xfff;

		page[off] = rnd() & 3 ? 0xc3 : 0x90;
		for (unsigned k = 0; k < 8; k++)
			page[rnd() & 0xfff] = 0x90;
		page[0xfff] = 0xc3;
		page[(off + 5) & 0xfff] = 0xc3;
		next[0] = 0xc3;
		((void (*)(void))(page + off))();
	}
}

static u8 *noise;

static void call_noise(void *arg)
{
	(void)arg;
	((void (*)(void))noise)();
}

static void insns(void)
{
	noise = kit_page();
	for (;;) {
		for (unsigned i = 0; i < 64; i++)
			noise[i] = (u8)rnd();
		kit_try(call_noise, NULL);
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{ "ports", ports },   { "msrs", msrs },	    { "mmio", mmio },
	{ "apic", apic },     { "tables", tables }, { "descriptors", descriptors },
	{ "stacks", stacks }, { "fetch", fetch },   { "strings", strings },
	{ "timers", timers }, { "hpet", hpet },	    { "pci", pci },
	{ "fwcfg", fwcfg },   { "serial", serial }, { "flood", flood },
	{ "spin", spin },     { "code", code },	    { "insns", insns },
};

static bool starts(const char *s, const char *word)
{
	while (*word && *s == *word)
		s++, word++;
	return !*word && (*s == ' ' || !*s);
}

int guest_main(void)
{
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *line = info[0] & 4 ? (const char *)(u64)info[4] : "", *word = line;

	/* "FILE SCENARIO SEED" */
	for (unsigned spaces = 0; *line && spaces < 2; line++)
		if (*line == ' ') {
			spaces++;
			if (spaces == 1)
				word = line + 1;
		}
	while (*line >= '0' && *line <= '9')
		rng = rng * 10 + (u64)(*line++ - '0');
	rng = rng * 0x9e3779b97f4a7c15ull | 1;
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (starts(word, scenarios[i].name)) {
			scenarios[i].run();
			return 0;
		}
	return 40;
}
