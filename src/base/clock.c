/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static u64 host_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

u64 clock_host_ns(void)
{
	return host_ns(CLOCK_MONOTONIC);
}

void clock_init(struct clock *c)
{
	*c = (struct clock){ .base_ns = host_ns(CLOCK_MONOTONIC) };
}

u64 clock_ns(const struct clock *c)
{
	if (c->virtual_time)
		return atomic_load_explicit(&c->virtual_ns, memory_order_relaxed);
	return host_ns(CLOCK_MONOTONIC) - c->base_ns;
}

/* The base may lie before the host's own beginning: differences wrap around and come out right. */
void clock_set(struct clock *c, u64 ns)
{
	if (c->virtual_time)
		atomic_store_explicit(&c->virtual_ns, ns, memory_order_relaxed);
	else
		c->base_ns = host_ns(CLOCK_MONOTONIC) - ns;
}

void clock_advance(struct clock *c, u64 ns)
{
	atomic_fetch_add_explicit(&c->virtual_ns, ns, memory_order_relaxed);
}

u64 clock_wall_ns(void)
{
	return host_ns(CLOCK_REALTIME);
}

u64 clock_ns_to_ticks(u64 ns, u64 hz)
{
	return (u64)((u128)ns * hz / NS_PER_SEC);
}

u64 clock_ticks_to_ns(u64 ticks, u64 hz)
{
	u128 ns = ((u128)ticks * NS_PER_SEC + hz - 1) / hz;

	return ns > CLOCK_NEVER - 1 ? CLOCK_NEVER - 1 : (u64)ns;
}

/* ---- timers --------------------------------------------------------------------------------------------------- */

void timer_init(struct timer *t, struct timerq *q, void (*fire)(void *opaque, u64 now_ns), void *opaque)
{
	*t = (struct timer){ .deadline_ns = CLOCK_NEVER, .fire = fire, .opaque = opaque, .q = q };
}

static void timer_unlink(struct timer *t)
{
	for (struct timer **p = &t->q->head; *p; p = &(*p)->next) {
		if (*p != t)
			continue;
		*p = t->next;
		t->next = NULL;
		return;
	}
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
	struct timerq *q = t->q;
	struct timer **p = &q->head;
	u64 before = timerq_next(q);

	if (t->deadline_ns != CLOCK_NEVER)
		timer_unlink(t);
	t->deadline_ns = deadline_ns;
	if (deadline_ns == CLOCK_NEVER)
		return;
	while (*p && (*p)->deadline_ns <= deadline_ns)
		p = &(*p)->next;
	t->next = *p;
	*p = t;
	if (deadline_ns < before && q->earlier)
		q->earlier(q->opaque);
}

/* A timer that re-arms itself into the past is still due; `run` tells that it had its turn in this call. */
static struct timer *timerq_first_due(struct timerq *q, u64 now_ns)
{
	for (struct timer *t = q->head; t && t->deadline_ns <= now_ns; t = t->next)
		if (t->run != q->run)
			return t;
	return NULL;
}

void timerq_run(struct timerq *q, u64 now_ns)
{
	struct timer *t;

	q->run++;
	while ((t = timerq_first_due(q, now_ns))) {
		timer_unlink(t);
		t->deadline_ns = CLOCK_NEVER;
		t->run = q->run;
		t->fire(t->opaque, now_ns);
	}
}

u64 timerq_next(const struct timerq *q)
{
	return q->head ? q->head->deadline_ns : CLOCK_NEVER;
}
