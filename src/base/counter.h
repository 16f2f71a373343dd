/* SPDX-License-Identifier: Apache-2.0
 * Every exit, trap, miss and device access is counted, from one list (counters.def), the same for every engine. A vCPU
 * has its own block, written by its own thread only, without an atomic operation: readers add them up by counter_read(),
 * and may see a thread that runs one step late.
 */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include "base/base.h"

enum counter {
#define COUNTER(id, name, text) CNT_##id,
#include "base/counters.def"
#undef COUNTER
	NR_COUNTERS
};

struct counters {
	u64 n[NR_COUNTERS];
};

const char *counter_name(enum counter id);
const char *counter_text(enum counter id);

static inline void counter_add(struct counters *s, enum counter id, u64 n)
{
	if (s)
		s->n[id] += n;
}

static inline u64 counter_read(const struct counters *s, enum counter id)
{
	return __atomic_load_n(&s->n[id], __ATOMIC_RELAXED);
}

static inline void counter_inc(struct counters *s, enum counter id)
{
	counter_add(s, id, 1);
}

/* One of `every` things took ns: estimates the time of all in counter time, and in counter spread keeps what the standard
 * error of that follows from, which is `every` times the root of it. What took longer than a millisecond was interrupted and counts for that much. */
static inline void counter_sampled(struct counters *c, enum counter time, enum counter spread, u64 ns, u64 every)
{
	ns = MIN(ns, 1000000ull);
	counter_add(c, time, ns * every);
	counter_add(c, spread, ns * ns);
}

#endif
