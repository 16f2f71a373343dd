/* SPDX-License-Identifier: Apache-2.0
 * The 8254. A channel is not stepped: its count and OUT are functions of the ticks since its counting element was
 * loaded, so that a read costs the same whatever time has passed. "Tick" is the VM clock in units of 1/1193182 s.
 *
 * IRQ0 follows OUT 0 by its rising edges: it is driven low just before each rise (and while OUT is low for longer than
 * the pulse of modes 2, 4 and 5), because a host that schedules the vCPU late would otherwise lose the edge that real
 * hardware holds for many cycles. A second rise before the first was seen is one interrupt, as on hardware.
 */
#include "dev/i8254.h"
#include "dev/dev.h"

enum { CTL_BCD = 1, RW_LOW = 1, RW_HIGH = 2, RW_BOTH = 3 };

/* The tick at VM time 0: far enough from 0 that a start can lie before it. */
#define TICK_BIAS (1ull << 20)

static u64 tick_of(u64 ns)
{
	return clock_ns_to_ticks(ns, PIT_HZ) + TICK_BIAS;
}

static u64 now_tick(const struct i8254 *p)
{
	return tick_of(clock_ns(p->clock));
}

static unsigned mode_of(const struct i8254_channel *c)
{
	unsigned m = (c->control >> 1) & 7;

	return m >= 6 ? m - 4 : m;
}

static unsigned rw_of(const struct i8254_channel *c)
{
	return (c->control >> 4) & 3;
}

static bool periodic(const struct i8254_channel *c)
{
	unsigned m = mode_of(c);

	return m == 2 || m == 3;
}

static bool by_trigger(const struct i8254_channel *c)
{
	unsigned m = mode_of(c);

	return m == 1 || m == 5;
}

/* A count of 1 is illegal in modes 2 and 3: it is taken for 2, so that OUT still moves. */
static u32 period_of(const struct i8254_channel *c)
{
	return periodic(c) ? MAX(c->count, 2u) : c->count;
}

/* The tick at which the period (mode 2) or half period (mode 3) that runs at tick t ends. */
static u64 period_end(const struct i8254_channel *c, u64 t)
{
	u64 n = period_of(c), high = (n + 1) / 2, into;

	if (t < c->start)
		return c->start;
	into = (t - c->start) % n;
	if (mode_of(c) == 3 && into < high)
		return t - into + high;
	return t - into + n;
}

/* Lets a count written in modes 2 and 3 take over when its time has come. */
static void sync_channel(struct i8254_channel *c, u64 t)
{
	u64 into;

	if (!c->null_count || !c->counting || (c->frozen && periodic(c)))
		return;
	if (t < c->switch_at)
		return;
	if (periodic(c)) {
		/* In mode 3 the new count may begin with the low half. */
		into = (c->switch_at - c->start) % period_of(c);
		c->count = c->reload;
		c->start = c->switch_at;
		if (mode_of(c) == 3 && into)
			c->start -= (period_of(c) + 1) / 2;
	}
	c->null_count = false;
}

/* Ticks since the counting element was loaded; 0 on the very load clock. */
static u64 elapsed(const struct i8254_channel *c, u64 t)
{
	if (c->frozen)
		return c->elapsed;
	return t > c->start ? t - c->start : 0;
}

static bool out_at(const struct i8254_channel *c, u64 t)
{
	u64 e = elapsed(c, t), n = period_of(c);

	switch (mode_of(c)) {
	case 0:
		return c->counting && e >= n;
	case 1:
		return !c->counting || t < c->start || e >= n;
	case 2:
		return !c->counting || !c->gate || e % n != n - 1;
	case 3:
		return !c->counting || !c->gate || e % n < (n + 1) / 2;
	default:
		return !c->counting || e != n;
	}
}

static u16 to_bcd(u32 v)
{
	return (u16)((v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10);
}

static u32 from_bcd(u16 v)
{
	return (v >> 12) * 1000u + ((v >> 8) & 15) * 100u + ((v >> 4) & 15) * 10u + (v & 15);
}

static u16 count_at(const struct i8254_channel *c, u64 t)
{
	u64 e = elapsed(c, t), n = period_of(c), half = (n + 1) / 2;
	u32 wrap = c->control & CTL_BCD ? 10000 : 65536;
	u32 v;

	if (!c->counting) {
		v = c->count % wrap;
	} else if (mode_of(c) == 3) {
		e %= n;
		/* Down by two in each half, from an even number. */
		v = (u32)((n & ~1ull) - 2 * (e < half ? e : e - half)) % wrap;
	} else if (mode_of(c) == 2) {
		v = (u32)(n - e % n) % wrap;
	} else {
		/* The one-shot modes wrap around and count on. */
		v = (u32)((n % wrap + wrap - e % wrap) % wrap);
	}
	return c->control & CTL_BCD ? to_bcd(v) : (u16)v;
}

/* The first tick after t at which OUT rises, or CLOCK_NEVER. */
static u64 next_rise(const struct i8254_channel *c, u64 t)
{
	u64 n = period_of(c), rise;

	if (!c->counting || c->frozen)
		return CLOCK_NEVER;
	if (periodic(c)) {
		rise = t < c->start ? c->start + n : t + n - (t - c->start) % n;
		/* A new count moves the rise: look again when it takes over. */
		return c->null_count && c->switch_at > c->start && c->switch_at > t && c->switch_at < rise
			   ? c->switch_at
			   : rise;
	}
	rise = c->start + n + (mode_of(c) >= 4);
	return rise > t ? rise : CLOCK_NEVER;
}

static void arm(struct i8254 *p, u64 t)
{
	u64 rise = next_rise(&p->ch[0], t);

	timer_arm(&p->timer, rise == CLOCK_NEVER ? CLOCK_NEVER : clock_ticks_to_ns(rise - TICK_BIAS, PIT_HZ));
}

static void fire(void *opaque, u64 now_ns)
{
	struct i8254 *p = opaque;
	struct i8254_channel *c = &p->ch[0];
	u64 t = tick_of(now_ns);
	/* A new count that begins with the low half of mode 3 is not a rise. */
	bool low_half = mode_of(c) == 3 && c->null_count && c->switch_at > c->start &&
			(c->switch_at - c->start) % period_of(c);

	sync_channel(c, t);
	if (!low_half || t >= c->start + period_of(c)) {
		irq_set(&p->irq0, false);
		irq_set(&p->irq0, true);
	}
	arm(p, t);
}

/* After anything that may have changed OUT 0 or its future. */
static void update_irq0(struct i8254 *p, u64 t)
{
	struct i8254_channel *c = &p->ch[0];

	/* OUT does not know the pulses of modes 2 and 3 here: it is high between the edges. */
	if (mode_of(c) == 0 || mode_of(c) == 1)
		irq_set(&p->irq0, out_at(c, t));
	arm(p, t);
}

static void load(struct i8254_channel *c, u64 t)
{
	c->count = c->reload;
	c->start = t + 1;
	c->switch_at = t + 1;
	c->elapsed = 0;
	c->counting = true;
	c->null_count = true; /* until the next clock */
}

static void write_count(struct i8254_channel *c, u16 raw, u64 t)
{
	u32 wrap = c->control & CTL_BCD ? 10000 : 65536;
	u32 v = c->control & CTL_BCD ? from_bcd(raw) % wrap : raw;

	sync_channel(c, t);
	c->reload = v ? v : wrap;
	if (by_trigger(c)) {
		c->null_count = true;
		c->switch_at = CLOCK_NEVER;
	} else if (periodic(c) && c->counting) {
		c->null_count = true;
		c->switch_at = c->frozen ? 0 : period_end(c, t);
	} else {
		load(c, t);
		c->frozen = !c->gate;
	}
}

/* Mode 0: the first byte of two stops the counting and drops OUT. */
static void write_low(struct i8254_channel *c, u8 v)
{
	c->write_low = v;
	c->write_high = true;
	if (mode_of(c) == 0)
		c->counting = false;
}

static void channel_write(struct i8254_channel *c, u8 v, u64 t)
{
	switch (rw_of(c)) {
	case RW_LOW:
		write_count(c, v, t);
		break;
	case RW_HIGH:
		write_count(c, (u16)(v << 8), t);
		break;
	case RW_BOTH:
		if (!c->write_high) {
			write_low(c, v);
			break;
		}
		c->write_high = false;
		write_count(c, (u16)(v << 8 | c->write_low), t);
		break;
	}
}

static void latch_count(struct i8254_channel *c, u64 t)
{
	sync_channel(c, t);
	if (c->count_latched)
		return;
	c->count_latched = true;
	c->latch = count_at(c, t);
}

static void latch_status(struct i8254_channel *c, u64 t)
{
	sync_channel(c, t);
	if (c->status_latched)
		return;
	c->status_latched = true;
	c->latched_status = (u8)(out_at(c, t) << 7 | c->null_count << 6 | c->control);
}

static u8 channel_read(struct i8254_channel *c, u64 t)
{
	u16 v;
	bool high;

	if (c->status_latched) {
		c->status_latched = false;
		return c->latched_status;
	}
	sync_channel(c, t);
	v = c->count_latched ? c->latch : count_at(c, t);
	high = rw_of(c) == RW_HIGH;
	if (rw_of(c) == RW_BOTH) {
		high = c->read_high;
		c->read_high = !c->read_high;
	}
	if (rw_of(c) != RW_BOTH || high)
		c->count_latched = false;
	return (u8)(high ? v >> 8 : v);
}

static void read_back(struct i8254 *p, u8 v, u64 t)
{
	for (unsigned n = 0; n < 3; n++) {
		if (!(v & (2u << n)))
			continue;
		if (!(v & 0x20))
			latch_count(&p->ch[n], t);
		if (!(v & 0x10))
			latch_status(&p->ch[n], t);
	}
}

static void write_control(struct i8254 *p, u8 v, u64 t)
{
	struct i8254_channel *c;
	bool gate;

	if (v >> 6 == 3) {
		read_back(p, v, t);
		return;
	}
	c = &p->ch[v >> 6];
	if (!(v & 0x30)) {
		latch_count(c, t);
		return;
	}
	gate = c->gate;
	*c = (struct i8254_channel){
		.control = v & 0x3f,
		.gate = gate,
		.programmed = true,
		.null_count = true,
		.switch_at = CLOCK_NEVER,
		.count = c->count ? c->count : 65536,
		.reload = c->reload ? c->reload : 65536,
	};
	/* The initial OUT: low in mode 0, high in all others. */
	if (c == &p->ch[0])
		irq_set(&p->irq0, mode_of(c) != 0);
}

static void set_gate(struct i8254_channel *c, bool gate, u64 t)
{
	bool rise = gate && !c->gate, fall = !gate && c->gate;

	sync_channel(c, t);
	if (by_trigger(c)) {
		c->gate = gate;
		if (rise && c->reload && c->programmed)
			load(c, t);
		return;
	}
	if (fall) {
		c->elapsed = elapsed(c, t);
		c->frozen = true;
	} else if (rise) {
		c->frozen = false;
		if (periodic(c) && c->counting)
			load(c, t); /* the gate also synchronises */
		else
			c->start = t - MIN(c->elapsed, t);
	}
	c->gate = gate;
}

static u64 pit_read(void *dev, u64 off, unsigned size)
{
	struct i8254 *p = dev;

	(void)size;
	if (off >= 3)
		return 0xff; /* the control word cannot be read */
	return channel_read(&p->ch[off], now_tick(p));
}

static void pit_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct i8254 *p = dev;
	u64 t = now_tick(p);

	(void)size;
	if (off == 3)
		write_control(p, (u8)val, t);
	else
		channel_write(&p->ch[off & 3], (u8)val, t);
	update_irq0(p, t);
}

bool i8254_out(struct i8254 *p, unsigned channel)
{
	u64 t = now_tick(p);

	sync_channel(&p->ch[channel], t);
	return out_at(&p->ch[channel], t);
}

/* NMI status and control (82371SB 2.5.3.1): GATE 2, speaker, parity enables; refresh toggle, OUT 2. */
static u64 port61_read(void *dev, u64 off, unsigned size)
{
	struct i8254 *p = dev;
	u8 refresh = clock_ns(p->clock) / 15085 & 1;

	(void)off;
	(void)size;
	return p->port61 | refresh << 4 | i8254_out(p, 2) << 5;
}

static void port61_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct i8254 *p = dev;

	(void)off;
	(void)size;
	p->port61 = val & 0x0f;
	set_gate(&p->ch[2], val & 1, now_tick(p));
}

void i8254_reset(struct i8254 *p)
{
	for (unsigned n = 0; n < 3; n++)
		p->ch[n] = (struct i8254_channel){
			.gate = n != 2,
			.control = RW_BOTH << 4,
			.count = 65536,
			.reload = 65536,
		};
	p->port61 = 0;
	irq_set(&p->irq0, false);
	timer_arm(&p->timer, CLOCK_NEVER);
}

void i8254_post(struct i8254 *p)
{
	pit_write(p, 3, RW_BOTH << 4 | 2 << 1, 1);
	pit_write(p, 0, 0, 1);
	pit_write(p, 0, 0, 1);
}

static const struct io_ops pit_ops = { .read = pit_read, .write = pit_write, .max_size = 1 };
static const struct io_ops port61_ops = { .read = port61_read, .write = port61_write, .max_size = 1 };

struct i8254 *i8254_new(struct mem *m, const struct clock *clock, struct timerq *q, struct irq irq0, struct err *e)
{
	struct i8254 *p = dev_alloc(sizeof(*p), e);

	if (!p)
		return NULL;
	p->irq0 = irq0;
	p->clock = clock;
	timer_init(&p->timer, q, fire, p);
	i8254_reset(p);
	if (mem_add_ports(m, 0x40, 4, &pit_ops, p, e) || mem_add_ports(m, 0x61, 1, &port61_ops, p, e)) {
		free(p);
		return NULL;
	}
	return p;
}

void i8254_free(struct i8254 *p)
{
	if (!p)
		return;
	timer_arm(&p->timer, CLOCK_NEVER);
	free(p);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct i8254
static const struct state_field state_fields[] = {
	STATE_EACH(S, ch, control),
	STATE_EACH_BOOL(S, ch, gate),
	STATE_EACH_BOOL(S, ch, programmed),
	STATE_EACH_BOOL(S, ch, null_count),
	STATE_EACH_BOOL(S, ch, counting),
	STATE_EACH_BOOL(S, ch, strobed),
	STATE_EACH_BOOL(S, ch, frozen),
	STATE_EACH_BOOL(S, ch, write_high),
	STATE_EACH_BOOL(S, ch, read_high),
	STATE_EACH_BOOL(S, ch, status_latched),
	STATE_EACH_BOOL(S, ch, count_latched),
	STATE_EACH(S, ch, latched_status),
	STATE_EACH(S, ch, write_low),
	STATE_EACH(S, ch, latch),
	STATE_EACH_RANGE(S, ch, count, 1, 65536),
	STATE_EACH_RANGE(S, ch, reload, 1, 65536),
	STATE_EACH_RANGE(S, ch, start, 0, BIT(62)),
	STATE_EACH(S, ch, switch_at),
	STATE_EACH(S, ch, elapsed),
	STATE_RANGE(S, port61, 0, 15),
	STATE_TIMER(S, timer),
};
#undef S

const struct state i8254_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
