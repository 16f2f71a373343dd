/* SPDX-License-Identifier: Apache-2.0
 * A fixed amount of work, divided among all processors, with phases in which the others wait for one: in loops of
 * PAUSE, as kernels wait for locks and for answers. crowd.sh looks at what host CPU it takes with more processors than
 * the host has. `phases=N` and `parallel=1` (everybody all the work, no phase of one alone) on the command line.
 */
#include "kit/smp.h"

#define TURNS 400000u /* of the work of one phase */

static u64 phases = 20;
static bool only_parallel;
static volatile u64 sums[KIT_CPUS_MAX][8], serial;

static u64 work(u64 seed, u64 turns)
{
	for (u64 k = 0; k < turns; k++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
	}
	return seed;
}

static void run(unsigned cpu, void *arg)
{
	(void)arg;
	if (only_parallel) {
		sums[cpu][0] = work(cpu + 1, phases * TURNS);
		return;
	}
	for (u64 i = 0; i < phases; i++) {
		sums[cpu][0] += work(cpu + 1, TURNS / kit_cpus);
		kit_barrier();
		if (!cpu)
			serial += work(i + 1, TURNS);
		kit_barrier();
	}
}

static u64 option(const char *name, u64 missing)
{
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *s = info[0] & 4 ? (const char *)(u64)info[4] : "", *p;
	u64 n = 0;

	for (; *s; s++) {
		for (p = name; *p && *p == s[p - name]; p++)
			;
		if (*p)
			continue;
		for (s += p - name; *s >= '0' && *s <= '9'; s++)
			n = n * 10 + (u64)(*s - '0');
		return n;
	}
	return missing;
}

int guest_main(void);
int guest_main(void)
{
	u64 want = 0;

	phases = option("phases=", phases);
	only_parallel = option("parallel=", 0);
	kit_smp_start();
	kit_printf("%u processors, %u phases\n", kit_cpus, (u32)phases);
	__asm__ volatile("sti");
	kit_smp_run(run, NULL);
	__asm__ volatile("cli");
	for (u64 i = 0; i < phases && !only_parallel; i++)
		want += work(i + 1, TURNS);
	kit_case("what one did alone", "", want, serial);
	want = work(kit_cpus, TURNS / kit_cpus) * phases;
	kit_case("what the last one did", "", only_parallel ? sums[kit_cpus - 1][0] : want, sums[kit_cpus - 1][0]);
	return kit_done();
}
