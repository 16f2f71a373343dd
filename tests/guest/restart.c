/* SPDX-License-Identifier: Apache-2.0
 * INIT and SIPI, again and again, for processors that run, that halt and that wait for SIPI: each pair starts them
 * anew, in whatever moment of theirs it comes (SDM 3A 8.4.4, 11.4.7.3). Runs on any number of processors.
 */
#include "kit/smp.h"

#define ROUNDS 40

static volatile u64 halted;

static void halt(unsigned cpu, void *arg)
{
	(void)arg;
	if (!cpu)
		return;
	kit_done_early();
	__asm__ volatile("cli");
	lock_add(&halted, 1);
	for (;;)
		__asm__ volatile("hlt");
}

static unsigned count;

static void nothing(unsigned cpu, void *arg)
{
	(void)cpu;
	(void)arg;
}

/* What it does when it is thrown out: a job's waiting loop, or HLT. */
static void rounds(const char *name, bool halts)
{
	unsigned lost = 0;

	for (unsigned k = 0; k < count && kit_cpus > 1; k++) {
		unsigned cpu = 1 + k % (kit_cpus - 1);

		if (halts) {
			halted = 0;
			kit_smp_run(halt, NULL);
			kit_wait(&halted, kit_cpus - 1);
			for (unsigned i = 1; i < kit_cpus; i++)
				if (i != cpu)
					lost += !kit_smp_restart(i);
		}
		lost += !kit_smp_restart(cpu);
		kit_smp_run(nothing, NULL);
	}
	kit_case(name, "SDM 3A 11.4.7.3", 0, lost);
}

/* Two INITs are as one, and what comes between them and SIPI is for nobody. */
static void waiting(void)
{
	unsigned lost = 0;

	for (unsigned k = 0; k < count && kit_cpus > 1; k++) {
		kit_ipi(kit_cpus - 1, 0x4500);
		for (unsigned i = 0; i < 500; i++)
			pause();
		lost += !kit_smp_restart(kit_cpus - 1);
	}
	kit_case("INIT and SIPI start a processor that waits for SIPI", "SDM 3A 8.4.4.1", 0, lost);
}

int guest_main(void);
int guest_main(void)
{
	kit_smp_start();
	kit_printf("%u processors\n", kit_cpus);
	count = kit_on_tcg() ? ROUNDS / 4 : ROUNDS;
	rounds("INIT and SIPI start a processor that runs", false);
	rounds("INIT and SIPI start a processor that halts", true);
	waiting();
	return kit_done();
}
