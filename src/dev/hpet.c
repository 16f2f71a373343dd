/* SPDX-License-Identifier: Apache-2.0
 * The HPET. The counter is a function of the VM clock; each comparator arms one timer at its next match and looks, when
 * it fires, at all matches since the last look: they make one interrupt.
 *
 * A comparator whose matches nobody sees, edge-triggered with its interrupt off, as Linux leaves one that it has used
 * at the start, arms no timer: catch_up() moves it when somebody looks.
 *
 * Edge interrupts leave the line high until just before the next one, so that a slow receiver does not miss them.
 */
#include "dev/hpet.h"
#include "dev/dev.h"

enum {
	REG_CAP = 0x000,
	REG_CONF = 0x010,
	REG_ISR = 0x020,
	REG_COUNTER = 0x0f0,
	REG_TIMERS = 0x100,
	TIMER_STRIDE = 0x20,
	T_CONF = 0x00,
	T_CMP = 0x08,
	T_FSB = 0x10,
	CONF_ENABLE = 0x1,
	CONF_LEGACY = 0x2,
	TN_LEVEL = 0x0002,
	TN_INT_ENABLE = 0x0004,
	TN_PERIODIC = 0x0008,
	TN_PER_CAP = 0x0010,
	TN_SIZE_CAP = 0x0020,
	TN_VAL_SET = 0x0040,
	TN_32BIT = 0x0100,
	TN_ROUTE = 0x3e00,
	TN_FSB_ENABLE = 0x4000,
	TN_FSB_CAP = 0x8000,
	TN_WRITABLE = TN_LEVEL | TN_INT_ENABLE | TN_PERIODIC | TN_VAL_SET | TN_32BIT | TN_ROUTE | TN_FSB_ENABLE,
};

static bool enabled(const struct hpet *h)
{
	return h->config & CONF_ENABLE;
}

static u64 counter_at(const struct hpet *h, u64 now)
{
	if (!enabled(h))
		return h->stopped_at;
	return h->stopped_at + clock_ns_to_ticks(now - h->base_ns, HPET_HZ);
}

static unsigned number_of(const struct hpet_timer *t)
{
	return (unsigned)(t - t->hpet->t);
}

static u64 width_mask(const struct hpet_timer *t)
{
	return t->config & TN_32BIT ? 0xffffffff : ~0ull;
}

/* Timers 0 and 1 take over IRQ 0 and 8 in legacy replacement. */
static const struct irq *line_of(const struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	unsigned route = (unsigned)bits(t->config, 13, 9);

	if ((h->config & CONF_LEGACY) && number_of(t) < 2)
		return number_of(t) == 0 ? &h->irq0 : &h->irq8;
	return route < ARRAY_SIZE(h->gsi) && (HPET_ROUTES & (1u << route)) ? &h->gsi[route] : NULL;
}

static void drive(const struct hpet_timer *t, bool level)
{
	const struct irq *line = line_of(t);

	if (line)
		irq_set(line, level);
}

static void raise(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	u64 bit = BIT(number_of(t));

	if (t->config & TN_LEVEL)
		h->isr |= bit; /* set even while the interrupt is disabled */
	if (!(t->config & TN_INT_ENABLE))
		return;
	if (t->config & TN_FSB_ENABLE) {
		if (h->msi.send)
			h->msi.send(h->msi.opaque, t->fsb >> 32, (u32)t->fsb);
		return;
	}
	if (!(t->config & TN_LEVEL))
		drive(t, false);
	drive(t, true);
}

/* Beyond some centuries is never. */
#define NEVER BIT(59)

/* Ticks from counter value `from` to the next match, which is not now: 1 to 2^width, or NEVER and more. */
static u64 ticks_to_match(const struct hpet_timer *t, u64 from)
{
	u64 d = (t->comparator - from) & width_mask(t);

	if (d)
		return d;
	return t->config & TN_32BIT ? BIT(32) : ~0ull;
}

static bool silent(const struct hpet_timer *t)
{
	return !(t->config & (TN_INT_ENABLE | TN_LEVEL));
}

/* A silent comparator, as if it had matched all the while. */
static void catch_up(struct hpet_timer *t, u64 now)
{
	u64 count = counter_at(t->hpet, now), due = ticks_to_match(t, t->armed_from), gone = count - t->armed_from;
	u64 mask = width_mask(t), period = t->period & mask;

	if (!silent(t))
		return;
	if (gone >= due && (t->config & TN_PERIODIC) && period)
		t->comparator = (t->comparator + ((gone - due) / period + 1) * period) & mask;
	t->armed_from = count;
}

static void catch_all_up(struct hpet *h, u64 now)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		catch_up(&h->t[i], now);
}

static void arm(struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	u64 due = ticks_to_match(t, t->armed_from), at = CLOCK_NEVER;

	if (enabled(h) && due < NEVER && !silent(t))
		at = h->base_ns + clock_ticks_to_ns(due + (t->armed_from - h->stopped_at), HPET_HZ);
	timer_arm(&t->timer, at);
}

/* Moves a periodic comparator past what has gone by. */
static void advance(struct hpet_timer *t, u64 now_count)
{
	u64 mask = width_mask(t), period = t->period & mask, behind;

	if (!(t->config & TN_PERIODIC) || !period)
		return;
	behind = (now_count - t->comparator) & mask;
	t->comparator = (t->comparator + (behind / period + 1) * period) & mask;
}

static void fire(void *opaque, u64 now_ns)
{
	struct hpet_timer *t = opaque;
	u64 count = counter_at(t->hpet, now_ns), due = ticks_to_match(t, t->armed_from);
	bool match = count - t->armed_from >= due;

	if (match)
		advance(t, count);
	t->armed_from = count;
	if (match)
		raise(t);
	arm(t);
}

/* Begins to wait anew from the counter's present value. */
static void rearm(struct hpet_timer *t, u64 now)
{
	t->armed_from = counter_at(t->hpet, now);
	arm(t);
}

/* The PIT and the RTC have their lines unless legacy replacement is on. */
static void update_legacy(struct hpet *h)
{
	if (h->config & CONF_LEGACY)
		return;
	irq_set(&h->irq0, h->pit_level);
	irq_set(&h->irq8, h->rtc_level);
}

void hpet_legacy_irq(void *hpet, unsigned input, bool level)
{
	struct hpet *h = hpet;
	bool *kept = input == HPET_IN_PIT ? &h->pit_level : &h->rtc_level;

	*kept = level;
	if (!(h->config & CONF_LEGACY))
		irq_set(input == HPET_IN_PIT ? &h->irq0 : &h->irq8, level);
}

static void write_conf(struct hpet *h, u64 v, u64 now)
{
	u64 was = h->config, count = counter_at(h, now);

	catch_all_up(h, now);
	if ((was ^ v) & CONF_LEGACY)
		for (unsigned i = 0; i < HPET_TIMERS; i++)
			drive(&h->t[i], false);
	h->config = v & (CONF_ENABLE | CONF_LEGACY);
	if ((was ^ v) & CONF_ENABLE) {
		h->stopped_at = count;
		h->base_ns = now;
		for (unsigned i = 0; i < HPET_TIMERS; i++)
			rearm(&h->t[i], now);
	}
	if ((was ^ v) & CONF_LEGACY) {
		irq_set(&h->irq0, false);
		irq_set(&h->irq8, false);
		update_legacy(h);
	}
}

static void write_isr(struct hpet *h, u64 v)
{
	u64 cleared = h->isr & v;

	h->isr &= ~v;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		if (cleared & BIT(i))
			drive(&h->t[i], false);
}

static void write_counter(struct hpet *h, u64 v, u64 now)
{
	catch_all_up(h, now);
	h->stopped_at = v;
	h->base_ns = now;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		rearm(&h->t[i], now);
}

static void write_timer_conf(struct hpet_timer *t, u64 v, u64 now)
{
	catch_up(t, now);
	/* What no longer interrupts this way lets go of its line. */
	drive(t, false);
	t->config = v & TN_WRITABLE;
	if (t->config & TN_32BIT) {
		t->comparator = (u32)t->comparator;
		t->period = (u32)t->period;
	}
	if (!(t->config & TN_LEVEL))
		t->hpet->isr &= ~BIT(number_of(t));
	else if ((t->hpet->isr & BIT(number_of(t))) && (t->config & TN_INT_ENABLE))
		drive(t, true);
	rearm(t, now);
}

/* In periodic mode the register holds the period, unless VAL_SET asked for the accumulator too (spec 2.3.9.2.2). */
static void write_comparator(struct hpet_timer *t, unsigned off, unsigned size, u64 v, u64 now)
{
	bool periodic = t->config & TN_PERIODIC;

	catch_up(t, now);
	if (!periodic || (t->config & TN_VAL_SET))
		t->comparator = reg_deposit(t->comparator, off, size, v) & width_mask(t);
	if (periodic)
		t->period = reg_deposit(t->period, off, size, v) & width_mask(t);
	t->config &= ~(u64)TN_VAL_SET;
	rearm(t, now);
}

static u64 timer_reg(const struct hpet_timer *t, unsigned reg)
{
	switch (reg) {
	case T_CONF:
		return t->config | TN_PER_CAP | TN_SIZE_CAP | TN_FSB_CAP | (u64)HPET_ROUTES << 32;
	case T_CMP:
		return t->comparator;
	case T_FSB:
		return t->fsb;
	}
	return 0;
}

static u64 reg_of(const struct hpet *h, unsigned reg, u64 now)
{
	if (reg >= REG_TIMERS) {
		unsigned n = (reg - REG_TIMERS) / TIMER_STRIDE;

		return n < HPET_TIMERS ? timer_reg(&h->t[n], (reg - REG_TIMERS) % TIMER_STRIDE) : 0;
	}
	switch (reg) {
	case REG_CAP:
		return HPET_ID | (u64)HPET_PERIOD_FS << 32;
	case REG_CONF:
		return h->config;
	case REG_ISR:
		return h->isr;
	case REG_COUNTER:
		return counter_at(h, now);
	}
	return 0;
}

static u64 hpet_read(void *dev, u64 off, unsigned size)
{
	struct hpet *h = dev;
	u64 now = clock_ns(h->clock);

	if (off >= REG_TIMERS)
		catch_all_up(h, now);
	return reg_extract(reg_of(h, (unsigned)off & ~7u, now), off & 7, size);
}

static void write_timer(struct hpet_timer *t, unsigned reg, unsigned byte, unsigned size, u64 v, u64 now)
{
	if (reg == T_CONF)
		write_timer_conf(t, reg_deposit(t->config, byte, size, v), now);
	else if (reg == T_CMP)
		write_comparator(t, byte, size, v, now);
	else if (reg == T_FSB)
		t->fsb = reg_deposit(t->fsb, byte, size, v);
}

static void hpet_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct hpet *h = dev;
	unsigned reg = (unsigned)off & ~7u, byte = off & 7, n = (reg - REG_TIMERS) / TIMER_STRIDE;
	u64 now = clock_ns(h->clock);

	if (reg >= REG_TIMERS) {
		if (n < HPET_TIMERS)
			write_timer(&h->t[n], (reg - REG_TIMERS) % TIMER_STRIDE, byte, size, val, now);
		return;
	}
	switch (reg) {
	case REG_CONF:
		write_conf(h, reg_deposit(h->config, byte, size, val), now);
		break;
	case REG_ISR:
		write_isr(h, val << (byte * 8));
		break;
	case REG_COUNTER:
		write_counter(h, reg_deposit(counter_at(h, now), byte, size, val), now);
		break;
	}
}

void hpet_reset(struct hpet *h)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		struct hpet_timer *t = &h->t[i];

		drive(t, false);
		timer_arm(&t->timer, CLOCK_NEVER);
		t->config = t->period = t->fsb = t->armed_from = 0;
		t->comparator = ~0ull;
	}
	h->config = h->isr = h->stopped_at = h->base_ns = 0;
	update_legacy(h);
}

static const struct io_ops hpet_ops = { .read = hpet_read, .write = hpet_write };

struct hpet *hpet_new(struct mem *m, const struct clock *clock, struct timerq *q, const struct hpet_config *cfg,
		      struct err *e)
{
	struct hpet *h = dev_alloc(sizeof(*h), e);

	if (!h)
		return NULL;
	h->clock = clock;
	h->irq0 = cfg->irq0;
	h->irq8 = cfg->irq8;
	memcpy(h->gsi, cfg->gsi, sizeof(h->gsi));
	h->msi = cfg->msi;
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		h->t[i].hpet = h;
		timer_init(&h->t[i].timer, q, fire, &h->t[i]);
	}
	hpet_reset(h);
	if (mem_add_mmio(m, HPET_BASE, PAGE_SIZE, &hpet_ops, h, e)) {
		free(h);
		return NULL;
	}
	return h;
}

void hpet_free(struct hpet *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		timer_arm(&h->t[i].timer, CLOCK_NEVER);
	free(h);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct hpet
static const struct state_field state_fields[] = {
	STATE_RANGE(S, config, 0, CONF_ENABLE | CONF_LEGACY),
	STATE_RANGE(S, isr, 0, BIT(HPET_TIMERS) - 1),
	STATE_UINT(S, stopped_at),
	STATE_UINT(S, base_ns),
	STATE_BOOL(S, pit_level),
	STATE_BOOL(S, rtc_level),
	STATE_EACH(S, t, config),
	STATE_EACH(S, t, comparator),
	STATE_EACH(S, t, period),
	STATE_EACH(S, t, fsb),
	STATE_EACH(S, t, armed_from),
	STATE_EACH_TIMER(S, t, timer),
};
#undef S

static int state_loaded(void *object, struct err *e)
{
	const struct hpet *h = object;

	for (unsigned i = 0; i < HPET_TIMERS; i++)
		if (h->t[i].config & ~(u64)TN_WRITABLE)
			return err_set(e, "HPET timer %u has bits set that cannot be", i);
	if (h->base_ns > clock_ns(h->clock))
		return err_set(e, "the HPET's counter began after now");
	return 0;
}

const struct state hpet_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields), .loaded = state_loaded };
