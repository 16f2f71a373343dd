/* SPDX-License-Identifier: Apache-2.0
 * A machine at work, for snapshot.sh to save and load: timer ticks by the PIT through the 8259 and by the local APIC, a
 * second processor that adds across a page's end, a pattern in memory, pages that change all the time, values in
 * vector, x87 and debug registers.
 *
 * With "hold" on its command line it goes on until a byte comes by the serial port, else it ends after a few ticks.
 */
#include "kit/kit.h"
#include "kit/smp.h"

#define HZ 50
#define PIT_COUNT (1193182 / HZ)
#define PAGES 1024u
#define TICKS 10u
#define CHURNED 256u
#define TSC_GAP (1ull << 36) /* half a minute or so: what is more is no gap of a busy host, but a clock that jumped */
#define TIMER_VECTOR 0x50

static u8 area[PAGES * 4096] __attribute__((aligned(4096)));
static u64 churned[CHURNED * 512] __attribute__((aligned(4096)));
static u64 expected[CHURNED];
static u64 torn[1024] __attribute__((aligned(4096)));
static volatile u64 pit_ticks, apic_ticks, added[2];

/* Eight bytes at the end of a page, and over it. */
static volatile u64 *across(void)
{
	return (volatile u64 *)((u8 *)torn + 4096 - 3);
}

static u64 pattern(u32 page)
{
	return 0x9e3779b97f4a7c15ull * (page + 1);
}

/* Three pages of four stay zero. */
static void fill(void)
{
	for (u32 p = 0; p < PAGES; p += 4)
		for (u32 k = 0; k < 512; k++)
			((u64 *)area)[p * 512 + k] = pattern(p) + k;
}

static u64 wrong_words(void)
{
	u64 wrong = 0;

	for (u32 p = 0; p < PAGES; p++)
		for (u32 k = 0; k < 512; k++)
			wrong += ((u64 *)area)[p * 512 + k] != (p % 4 ? 0 : pattern(p) + k);
	return wrong;
}

/* A save copies memory while this goes on: each page may be seen old, and must be new in the end, even if it is zero.
 */
static void churn(void)
{
	static u64 round;

	for (u32 k = 0; k < 32; k++, round++) {
		u32 p = round % CHURNED;

		expected[p] = (round / CHURNED + p) & 1 ? round : 0;
		churned[p * 512 + round % 509] = expected[p];
		for (u32 w = 0; w < 512; w++)
			churned[p * 512 + w] = expected[p];
	}
}

static u64 wrong_churn(void)
{
	u64 wrong = 0;

	for (u32 k = 0; k < CHURNED * 512; k++)
		wrong += churned[k] != expected[k / 512];
	return wrong;
}

static bool on_pit(struct frame *f)
{
	(void)f;
	pit_ticks++;
	outb(0x20, 0x20);
	return true;
}

static bool on_apic(struct frame *f)
{
	(void)f;
	apic_ticks++;
	APIC(APIC_EOI) = 0;
	return true;
}

static void start_timers(void)
{
	kit_handlers[0x20] = on_pit;
	kit_handlers[TIMER_VECTOR] = on_apic;
	outb(0x20, 0x11);
	outb(0x21, 0x20);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0x21, 0xfe);
	outb(0xa1, 0xff);
	outb(0x43, 0x34);
	outb(0x40, PIT_COUNT & 0xff);
	outb(0x40, PIT_COUNT >> 8);
	APIC(APIC_SVR) = 0x1ff;
	APIC(0x3e0) = 0xb;
	APIC(0x320) = 0x20000 | TIMER_VECTOR;
	APIC(0x380) = 1000000;
}

/* The second processor never stops. */
static void others(unsigned cpu, void *arg)
{
	(void)arg;
	if (cpu == 0)
		return;
	kit_done_early();
	for (;;) {
		lock_add(&added[1], 1);
		lock_add(across(), 1);
		pause();
	}
}

static const u64 vector[2] = { 0x0123456789abcdef, 0xfedcba9876543210 };

static void set_registers(void)
{
	static const s64 number = 325;
	u64 dr = 0x12345678;

	wrcr4(rdcr4() | 0x600);
	wrcr0((rdcr0() & ~0xcull) | 2);
	__asm__ volatile("fninit; fildll %0; movdqu %1, %%xmm7; mov %2, %%dr1" ::"m"(number), "m"(vector), "r"(dr));
	wrmsr(0xc0000102, 0xffff800012345678ull); /* KERNEL_GS_BASE */
}

static void check_registers(void)
{
	u64 seen[2], dr;
	s64 number;

	__asm__ volatile("fistpll %0; movdqu %%xmm7, %1; mov %%dr1, %2" : "=m"(number), "=m"(seen), "=r"(dr));
	kit_case("x87", "", 325, (u64)number);
	kit_case("xmm7 low", "", vector[0], seen[0]);
	kit_case("xmm7 high", "", vector[1], seen[1]);
	kit_case("dr1", "", 0x12345678, dr);
	kit_case("kernel_gs_base", "", 0xffff800012345678ull, rdmsr(0xc0000102));
}

static bool told_to_hold(void)
{
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *s = (info[0] & 4) ? (const char *)(u64)info[4] : "";

	for (; *s; s++)
		if (s[0] == 'h' && s[1] == 'o' && s[2] == 'l' && s[3] == 'd')
			return true;
	return false;
}

/* Polling for a while is what makes the far end send. */
static bool byte_came(void)
{
	for (int k = 0; k < 100; k++)
		if (inb(0x3fd) & 1)
			return true;
	return false;
}

int guest_main(void)
{
	u64 tsc = rdtsc(), gaps = 0, lost = 0, back = 0, idle = 0, seen = 0, told = 0;
	bool hold = told_to_hold();

	fill();
	set_registers();
	if (kit_smp_start() > 1)
		kit_smp_run(others, 0);
	start_timers();
	while (hold ? !byte_came() : pit_ticks < TICKS) {
		u64 before = pit_ticks, now;

		__asm__ volatile("sti; hlt; cli" ::: "memory");
		churn();
		if (pit_ticks == before)
			continue;
		lost += wrong_churn();
		now = rdtsc();
		back += now <= tsc;
		gaps += now - tsc > TSC_GAP;
		tsc = now;
		idle += kit_cpus > 1 && added[1] == seen;
		seen = added[1];
		if (hold && pit_ticks >= told + HZ / 5)
			kit_printf("ticks %u\n", (u32)(told = pit_ticks));
	}
	kit_case("memory", "", 0, wrong_words());
	kit_case("memory that changes", "", 0, lost);
	kit_case("the TSC went backwards", "", 0, back);
	kit_case("the TSC jumped", "", 0, gaps);
	kit_case("ticks with a second processor that stood", "", 0, idle > pit_ticks / 2);
	kit_case("APIC timer", "", 1, apic_ticks > 1);
	check_registers();
	return kit_done();
}
