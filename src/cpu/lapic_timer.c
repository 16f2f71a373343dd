/* SPDX-License-Identifier: Apache-2.0
 * The local APIC's timer (SDM 3A 11.5.4): one-shot and periodic by the VM clock, TSC-deadline by the guest's TSC. No
 * host timer is owned here: timer_deadline_ns says when to look again, and lapic_timer_run() does what is due, at most
 * one interrupt a call, whatever period the guest chose.
 */
#include "cpu/cpuid.h"
#include "cpu/lapic_parts.h"
#include "cpu/msr.h"

static unsigned mode(const struct cpu *c)
{
	return LVT_TIMER_MODE(c->lapic.lvt[LVT_TIMER]);
}

/* log2 of the divider: the configuration register's bits 3, 1 and 0 are 000 for 2 … 110 for 128, 111 for 1. */
static unsigned div_shift(const struct lapic *a)
{
	return ((a->timer_div & 3) + (a->timer_div >> 1 & 4) + 1) & 7;
}

static u64 tick_ns(const struct cpu *c)
{
	_Static_assert(NS_PER_SEC % APIC_BUS_HZ == 0 && NS_PER_SEC % APIC_BUS_HZ_KVM == 0,
		       "a tick is a whole number of nanoseconds");
	return NS_PER_SEC / cpuid_apic_bus_hz(c->model) << div_shift(&c->lapic);
}

static u64 period_ns(const struct cpu *c)
{
	return c->lapic.timer_init * tick_ns(c);
}

static void set_deadline(struct cpu *c, u64 ns)
{
	c->lapic.timer_deadline_ns = ns;
	if (c->ops->timer_changed)
		c->ops->timer_changed(c);
}

void lapic_timer_reset(struct cpu *c)
{
	c->lapic.timer_init = c->lapic.timer_div = 0;
	c->lapic.timer_start_ns = c->lapic.tsc_deadline = 0;
	c->lapic.timer_deadline_ns = CLOCK_NEVER;
}

/* ---- TSC deadline -------------------------------------------------------------------------------------------------
 */

static void arm_tsc(struct cpu *c)
{
	u64 tsc = cpu_guest_tsc(c), until = c->lapic.tsc_deadline, now = c->ops->now_ns(c), ns = 0;

	if (!until) {
		set_deadline(c, CLOCK_NEVER);
		return;
	}
	if (until > tsc)
		ns = clock_ticks_to_ns(until - tsc, cpuid_tsc_hz(c->model));
	set_deadline(c, ns < CLOCK_NEVER - 1 - now ? now + ns : CLOCK_NEVER - 1);
}

u64 lapic_tsc_deadline_read(struct cpu *c)
{
	lapic_timer_run(c);
	return mode(c) == TIMER_DEADLINE ? c->lapic.tsc_deadline : 0;
}

void lapic_tsc_deadline_write(struct cpu *c, u64 val)
{
	if (mode(c) != TIMER_DEADLINE || !lapic_hw_enabled(c))
		return;
	c->lapic.tsc_deadline = val;
	arm_tsc(c);
	lapic_timer_run(c);
}

void lapic_tsc_changed(struct cpu *c)
{
	if (mode(c) == TIMER_DEADLINE && c->lapic.tsc_deadline)
		arm_tsc(c);
}

/* ---- counting -----------------------------------------------------------------------------------------------------
 */

/* The deadline that follows from start, count and mode. */
static void arm_count(struct cpu *c)
{
	set_deadline(c, c->lapic.timer_init ? c->lapic.timer_start_ns + period_ns(c) : CLOCK_NEVER);
}

void lapic_timer_resume(struct cpu *c, u32 left)
{
	if (mode(c) == TIMER_DEADLINE) {
		arm_tsc(c);
	} else if (left && left <= c->lapic.timer_init) {
		c->lapic.timer_start_ns = c->ops->now_ns(c) - (c->lapic.timer_init - left) * tick_ns(c);
		arm_count(c);
	} else {
		set_deadline(c, CLOCK_NEVER);
	}
}

u32 lapic_timer_count(struct cpu *c)
{
	struct lapic *a = &c->lapic;
	u64 ticks;

	/* a one-shot count that ended stays at 0, even when the mode becomes periodic */
	if (mode(c) == TIMER_DEADLINE || !a->timer_init || a->timer_deadline_ns == CLOCK_NEVER)
		return 0;
	ticks = (c->ops->now_ns(c) - a->timer_start_ns) / tick_ns(c);
	if (mode(c) == TIMER_PERIODIC)
		return (u32)(a->timer_init - ticks % a->timer_init);
	return ticks >= a->timer_init ? 0 : (u32)(a->timer_init - ticks);
}

void lapic_timer_set_init(struct cpu *c, u32 val)
{
	lapic_timer_run(c);
	if (mode(c) == TIMER_DEADLINE)
		return;
	c->lapic.timer_init = val;
	c->lapic.timer_start_ns = c->ops->now_ns(c);
	arm_count(c);
}

/* The divider changes under a running count: what was left stays left, in the new unit. */
void lapic_timer_set_div(struct cpu *c, u32 val)
{
	struct lapic *a = &c->lapic;
	u32 left;

	lapic_timer_run(c);
	left = lapic_timer_count(c);
	a->timer_div = val & 0xb;
	if (!left)
		return;
	a->timer_start_ns = c->ops->now_ns(c) - (a->timer_init - left) * tick_ns(c);
	arm_count(c);
}

/* A change to or from TSC-deadline mode disarms the timer (SDM 3A 11.5.4.1). */
void lapic_timer_set_lvt(struct cpu *c, u32 val)
{
	struct lapic *a = &c->lapic;
	unsigned old = mode(c);
	u32 left;

	lapic_timer_run(c);
	left = lapic_timer_count(c);
	a->lvt[LVT_TIMER] = val;
	if ((old == TIMER_DEADLINE) != (mode(c) == TIMER_DEADLINE)) {
		a->timer_init = 0;
		a->tsc_deadline = 0;
		set_deadline(c, CLOCK_NEVER);
	} else if (old != TIMER_DEADLINE && left) {
		a->timer_start_ns = c->ops->now_ns(c) - (a->timer_init - left) * tick_ns(c);
		arm_count(c);
	} else {
		set_deadline(c, a->timer_deadline_ns);
	}
}

/* ---- firing -------------------------------------------------------------------------------------------------------
 */

static void fire_tsc(struct cpu *c)
{
	/* the VM clock and the TSC may differ by parts in a million: the TSC decides */
	if (cpu_guest_tsc(c) < c->lapic.tsc_deadline) {
		arm_tsc(c);
		return;
	}
	c->lapic.tsc_deadline = 0;
	set_deadline(c, CLOCK_NEVER);
	lapic_deliver_local(c, LVT_TIMER);
}

static void fire_count(struct cpu *c, u64 now)
{
	struct lapic *a = &c->lapic;
	u64 period = period_ns(c);

	if (mode(c) == TIMER_PERIODIC && period) {
		/* periods that passed unseen are lost, as on a processor that was held up */
		a->timer_start_ns += (now - a->timer_start_ns) / period * period;
		arm_count(c);
	} else {
		set_deadline(c, CLOCK_NEVER);
	}
	lapic_deliver_local(c, LVT_TIMER);
}

void lapic_timer_run(struct cpu *c)
{
	u64 now;

	if (c->lapic.timer_deadline_ns == CLOCK_NEVER)
		return;
	now = c->ops->now_ns(c);
	if (now < c->lapic.timer_deadline_ns)
		return;
	if (mode(c) == TIMER_DEADLINE)
		fire_tsc(c);
	else
		fire_count(c, now);
}

u64 lapic_next_deadline(struct cpu *c)
{
	return c->lapic.lvt[LVT_TIMER] & LVT_MASKED ? CLOCK_NEVER : c->lapic.timer_deadline_ns;
}
