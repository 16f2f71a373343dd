/* SPDX-License-Identifier: Apache-2.0
 * A guest that depends on everything a run does not determine by itself: TSC, time of day, RDRAND, the places where
 * timer interrupts come, console input. It prints a digest of it all; tests/guest/replay.sh compares digests.
 */
#include "kit/kit.h"

#define PIC 0x40
#define COM1 0x3f8
#define TICKS 40

static volatile unsigned ticks;
static u64 digest = 0xcbf29ce484222325;

static void mix(u64 v)
{
	digest = (digest ^ v) * 0x100000001b3;
	digest ^= digest >> 31;
}

/* Where it came is part of it: the interrupted RIP, and RCX, which counts the loop. */
static bool on_tick(struct frame *f)
{
	ticks++;
	mix(f->rip);
	mix(f->rcx);
	outb(0x20, 0x20);
	return true;
}

static u64 tsc(void)
{
	u32 a, d;

	__asm__ volatile("rdtsc" : "=a"(a), "=d"(d));
	return (u64)d << 32 | a;
}

static bool have_rdrand(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	return r[2] >> 30 & 1;
}

static u64 rdrand(void)
{
	u64 v;
	u8 ok;

	do
		__asm__ volatile("rdrand %0; setc %1" : "=r"(v), "=qm"(ok)::"cc");
	while (!ok);
	return v;
}

static void start_timer(void)
{
	static const u8 words[] = { 0x11, PIC, 4, 1 };

	for (unsigned i = 0; i < sizeof(words); i++)
		outb(i ? 0x21 : 0x20, words[i]);
	outb(0x21, 0xfe);
	kit_handlers[PIC] = on_tick;
	outb(0x43, 0x34);
	outb(0x40, 1193 & 0xff);
	outb(0x40, 1193 >> 8);
}

/* Bytes that are there now. */
static unsigned read_console(void)
{
	unsigned n = 0;

	while (inb(COM1 + 5) & 1) {
		u8 byte = inb(COM1);

		mix(byte);
		kit_printf("got %02x\n", byte);
		n++;
	}
	return n;
}

static void work(void)
{
	__asm__ volatile(
	    "mov $20000, %%rcx; sti; 1: lea 7(%%rcx,%%rcx,2), %%rax; xor %%rax, %%rdx; dec %%rcx; jnz 1b; cli" ::
		: "rax", "rcx", "rdx", "memory", "cc");
}

static void time_of_day(void)
{
	for (u8 reg = 0; reg < 10; reg++) {
		outb(0x70, reg);
		mix(inb(0x71));
	}
}

int guest_main(void)
{
	unsigned n = 0;
	u64 last = tsc();

	start_timer();
	time_of_day();
	for (unsigned turns = 0; ticks < TICKS && turns < 100000; turns++) {
		u64 now = tsc();

		kit_case("the TSC goes forward", "SDM 3B 18.17", 1, now > last);
		last = now;
		mix(now);
		if (have_rdrand())
			mix(rdrand());
		n += read_console();
		work();
		if (turns % 8 == 0)
			__asm__ volatile("sti; hlt; cli" ::: "memory");
	}
	kit_case("timer interrupts come", "8254", 1, ticks >= TICKS);
	kit_printf("%u bytes of input, digest %08x%08x\n", n, (u32)(digest >> 32), (u32)digest);
	return kit_done();
}
