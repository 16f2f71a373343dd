/* SPDX-License-Identifier: Apache-2.0
 * Starting the other processors (SDM 3A 8.4.4) and giving them work; see smp.h.
 */
#include "kit/smp.h"

#define PATIENCE 20000000ull	   /* turns of a waiting loop, */
#define LONG_WHILE 200000000000ull /* and cycles: a host may let it sleep between them */

extern u8 kit_trampoline[], kit_trampoline_end[];
u8 kit_ap_stacks[KIT_CPUS_MAX << 13] __attribute__((aligned(16)));
unsigned kit_cpus = 1;

static volatile u64 alive, job, done, arrived;
static void (*volatile job_fn)(unsigned cpu, void *arg);
static void *volatile job_arg;

unsigned kit_cpu(void)
{
	return APIC(APIC_ID) >> 24;
}

bool kit_wait(volatile u64 *word, u64 want)
{
	u64 begun = rdtsc();

	for (u64 n = 0; n < PATIENCE && ((n & 0xff) || rdtsc() - begun < LONG_WHILE); n++) {
		if (*word >= want)
			return true;
		pause();
	}
	return false;
}

void kit_ipi(unsigned dest, u32 lo)
{
	APIC(APIC_ICR_HI) = dest << 24;
	APIC(APIC_ICR) = lo;
}

void kit_ap_main(unsigned cpu);
void kit_ap_main(unsigned cpu)
{
	u64 seen = job;

	APIC(APIC_SVR) = 0x1ff;
	lock_add(&alive, 1);
	for (;;) {
		__asm__ volatile("sti");
		while (job == seen)
			pause();
		seen = job;
		job_fn(cpu, job_arg);
		lock_add(&done, 1);
	}
}

static void start(unsigned dest, u32 shorthand)
{
	kit_ipi(dest, 0x4500 | shorthand);
	for (unsigned i = 0; i < 2000; i++)
		pause();
	kit_ipi(dest, 0x4600 | shorthand | KIT_TRAMPOLINE >> 12);
	for (unsigned i = 0; i < 2000; i++)
		pause();
	kit_ipi(dest, 0x4600 | shorthand | KIT_TRAMPOLINE >> 12);
}

/* The number of processors, as fw_cfg tells it (item 5). */
static unsigned count(void)
{
	unsigned n;

	outw(0x510, 5);
	n = inb(0x511);
	return n | (unsigned)inb(0x511) << 8;
}

unsigned kit_smp_start(void)
{
	unsigned n = count();

	memcpy((void *)(u64)KIT_TRAMPOLINE, kit_trampoline, (u64)(kit_trampoline_end - kit_trampoline));
	APIC(APIC_SVR) = 0x1ff;
	if (n > KIT_CPUS_MAX || n < 2)
		return kit_cpus;
	start(0, 3 << 18);
	kit_wait(&alive, n - 1);
	kit_cpus = (unsigned)alive + 1;
	return kit_cpus;
}

bool kit_smp_restart(unsigned cpu)
{
	u64 before = alive;

	start(cpu, 0);
	return kit_wait(&alive, before + 1);
}

void kit_smp_run(void (*fn)(unsigned cpu, void *arg), void *arg)
{
	done = arrived = 0;
	job_fn = fn;
	job_arg = arg;
	lock_add(&job, 1);
	fn(kit_cpu(), arg);
	kit_case("all processors finish the job", "", 1, kit_wait(&done, kit_cpus - 1));
}

void kit_done_early(void)
{
	lock_add(&done, 1);
}

void kit_barrier(void)
{
	u64 n = lock_add(&arrived, 1);

	kit_wait(&arrived, (n / kit_cpus + 1) * kit_cpus);
}
