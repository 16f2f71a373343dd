/* SPDX-License-Identifier: Apache-2.0
 * How fast the host's TSC ticks. The guest's runs with it (scale 1), so this is the figure that the CPUID leaves, the
 * kvmclock page and the deadline timer are made from.
 */
#include "cpu/cpuid.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#include "base/clock.h"

/* A machine waits for this when it is made. On a busy host runs of 2 ms and 64 readings differed by a few ppm at most,
 * as do those of 20 ms and 16: a host's clock itself drifts by more. */
#define READINGS 64
#define PAUSE_NS 2000000

static u64 monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec;
}

/* A TSC value and the time at which it was read: the tightest of a few bracketed readings. Both samples are late by the
 * same part of their bracket, so what is left of the error is the brackets' jitter, a few ns. */
static void sample(u64 *tsc, u64 *ns)
{
	u64 best = ~0ull;

	for (int k = 0; k < READINGS; k++) {
		u64 a = __rdtsc(), t = monotonic_ns(), b = __rdtsc();

		if (b - a < best) {
			best = b - a;
			*tsc = a + (b - a) / 2;
			*ns = t;
		}
	}
}

static u64 measure(void)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	u64 tsc0 = 0, ns0 = 0, tsc1 = 0, ns1 = 0;

	sample(&tsc0, &ns0);
	nanosleep(&pause, NULL);
	sample(&tsc1, &ns1);
	if (ns1 <= ns0 || tsc1 <= tsc0)
		return NS_PER_SEC;
	return (u64)((u128)(tsc1 - tsc0) * NS_PER_SEC / (ns1 - ns0));
}

/* CPUID 15H: crystal clock × EBX/EAX; all three are needed (SDM 2A). */
static u64 from_leaf_15(void)
{
	u32 a, b, c, d;

	if ((u32)__get_cpuid_max(0, NULL) < 0x15)
		return 0;
	__cpuid_count(0x15, 0, a, b, c, d);
	return a && b && c ? (u64)c * b / a : 0;
}

/* The hypervisors' timing leaf: EAX is kHz (first defined by VMware, used by KVM). */
static u64 from_leaf_40000010(void)
{
	u32 a, b, c, d;

	__cpuid_count(1, 0, a, b, c, d);
	if (!(c >> 31))
		return 0;
	__cpuid_count(0x40000000, 0, a, b, c, d);
	if (a < 0x40000010 || a > 0x40ffffff)
		return 0;
	__cpuid_count(0x40000010, 0, a, b, c, d);
	return (u64)a * 1000;
}

u64 tsc_measure_hz(void)
{
	u64 hz = from_leaf_40000010();

	if (!hz)
		hz = from_leaf_15();
	return hz ? hz : measure();
}
