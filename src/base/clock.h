/* SPDX-License-Identifier: Apache-2.0
 * The VM clock and its timers. Every guest clock is a function of this one; devices own no host timer. The clock runs
 * from the host's monotonic clock, or is advanced by instruction counts (deterministic runs).
 * Locking: a timerq is used under its owner's lock (the machine lock); clock_ns() may be called from any thread.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdatomic.h>

#include "base/base.h"

#define NS_PER_SEC 1000000000ull
#define CLOCK_NEVER (~0ull)

struct clock {
	u64 base_ns;			/* host monotonic time that is VM time 0 */
	bool virtual_time;		/* driven by clock_advance() */
	_Atomic u64 virtual_ns;
};

/* The host's time from anywhere, to measure how long something takes: tens of nanoseconds a call. */
u64 clock_host_ns(void);

void clock_init(struct clock *c);
u64 clock_ns(const struct clock *c);			/* nanoseconds since the VM began */
void clock_set(struct clock *c, u64 ns);		/* it is that late now */
void clock_advance(struct clock *c, u64 ns);		/* virtual time only */
u64 clock_wall_ns(void);				/* host UTC, nanoseconds since 1970 */
/* floor(ns * hz / 10^9) and back, without overflow. */
u64 clock_ns_to_ticks(u64 ns, u64 hz);
u64 clock_ticks_to_ns(u64 ticks, u64 hz);		/* rounds up: the first ns at which that many ticks have passed */

struct timer {
	u64 deadline_ns;		/* CLOCK_NEVER when not armed */
	void (*fire)(void *opaque, u64 now_ns);
	void *opaque;
	struct timer *next;
	struct timerq *q;
	u64 run;			/* the timerq_run() in which it fired last */
};

struct timerq {
	struct timer *head;		/* by deadline */
	void (*earlier)(void *opaque);	/* told when the head became earlier, so that a sleeper wakes in time */
	void *opaque;
	u64 run;			/* counts calls of timerq_run() */
};

void timer_init(struct timer *t, struct timerq *q, void (*fire)(void *opaque, u64 now_ns), void *opaque);
void timer_arm(struct timer *t, u64 deadline_ns);	/* re-arms; CLOCK_NEVER disarms */
void timerq_run(struct timerq *q, u64 now_ns);		/* fires all that are due; bounded: a timer fires once a call */
u64 timerq_next(const struct timerq *q);		/* the earliest deadline, or CLOCK_NEVER */

#endif
