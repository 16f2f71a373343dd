/* SPDX-License-Identifier: Apache-2.0
 * The MC146818 (Motorola data sheet, 1988; 82371SB for the PC's index and NMI mask).
 *
 * The calendar is the VM clock plus an offset, split into fields when read. Flags of register C are made when somebody
 * looks: from the seconds and periods that ended since the last look; timers run only while an interrupt waits.
 * The update takes place at the end of the update cycle, so UIP is set for the 2228 us (244 + 1984) before a second.
 */
#include "dev/mc146818.h"

#include <time.h>

#include "dev/dev.h"

enum {
	R_SEC = 0,
	R_SEC_ALARM,
	R_MIN,
	R_MIN_ALARM,
	R_HOUR,
	R_HOUR_ALARM,
	R_WDAY,
	R_MDAY,
	R_MONTH,
	R_YEAR,
	R_A,
	R_B,
	R_C,
	R_D,
	R_CENTURY = 0x32,
	A_UIP = 0x80,
	B_SET = 0x80,
	B_PIE = 0x40,
	B_AIE = 0x20,
	B_UIE = 0x10,
	B_SQWE = 0x08,
	B_DM = 0x04, /* binary */
	B_24H = 0x02,
	C_IRQF = 0x80,
	C_PF = 0x40,
	C_AF = 0x20,
	C_UF = 0x10,
	D_VRT = 0x80,
	HOUR_PM = 0x80,
};

#define UPDATE_NS 2228000ull

/* The divider chain runs (DV = 0, 1, 2: time bases of 4.19, 1.05 MHz, 32 kHz); 11x holds it in reset. */
static bool running(const struct mc146818 *r)
{
	return (r->ram[R_A] & 0x60) != 0x60 && !(r->ram[R_B] & B_SET);
}

/* The calendar's second since 1970, and how far it has gone. */
static u64 calendar(const struct mc146818 *r, u64 now)
{
	return (now + r->offset_ns) / NS_PER_SEC + (u64)r->offset_s;
}

static u32 fraction(const struct mc146818 *r, u64 now)
{
	return (u32)((now + r->offset_ns) % NS_PER_SEC);
}

/* At now, the calendar stands at second s and ns. */
static void set_calendar(struct mc146818 *r, u64 now, u64 s, u32 ns)
{
	r->offset_ns = (u32)((ns + NS_PER_SEC - now % NS_PER_SEC) % NS_PER_SEC);
	r->offset_s = (s64)(s - (now + r->offset_ns) / NS_PER_SEC);
	r->seen_second = s;
}

static u8 encode(const struct mc146818 *r, unsigned v)
{
	return (u8)(r->ram[R_B] & B_DM ? v : v / 10 % 10 << 4 | v % 10);
}

static unsigned decode(const struct mc146818 *r, u8 v)
{
	return r->ram[R_B] & B_DM ? v : (v >> 4) * 10u + (v & 15);
}

static u8 encode_hour(const struct mc146818 *r, unsigned hour)
{
	if (r->ram[R_B] & B_24H)
		return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct mc146818 *r, u8 v)
{
	if (r->ram[R_B] & B_24H)
		return decode(r, v) % 24;
	return decode(r, v & 0x7f) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* Puts second s of the calendar into the time registers. */
static void store_time(struct mc146818 *r, u64 s)
{
	time_t t = (time_t)s;
	struct tm tm;

	if (!gmtime_r(&t, &tm))
		return;
	r->ram[R_SEC] = encode(r, (unsigned)tm.tm_sec);
	r->ram[R_MIN] = encode(r, (unsigned)tm.tm_min);
	r->ram[R_HOUR] = encode_hour(r, (unsigned)tm.tm_hour);
	r->ram[R_WDAY] = encode(r, (unsigned)tm.tm_wday + 1);
	r->ram[R_MDAY] = encode(r, (unsigned)tm.tm_mday);
	r->ram[R_MONTH] = encode(r, (unsigned)tm.tm_mon + 1);
	r->ram[R_YEAR] = encode(r, (unsigned)(tm.tm_year % 100));
	r->ram[R_CENTURY] = encode(r, (unsigned)(tm.tm_year + 1900) / 100);
}

/* The second that the time registers name; a value out of range runs over into the next field. */
static u64 load_time(const struct mc146818 *r)
{
	unsigned mday = decode(r, r->ram[R_MDAY]), mon = decode(r, r->ram[R_MONTH]);
	struct tm tm = {
		.tm_sec = (int)decode(r, r->ram[R_SEC]),
		.tm_min = (int)decode(r, r->ram[R_MIN]),
		.tm_hour = (int)decode_hour(r, r->ram[R_HOUR]),
		.tm_mday = mday ? (int)mday : 1,
		.tm_mon = mon ? (int)mon - 1 : 0,
		.tm_year = (int)(decode(r, r->ram[R_CENTURY]) * 100 + decode(r, r->ram[R_YEAR]) % 100) - 1900,
	};
	time_t t = timegm(&tm);

	return t < 0 ? 0 : (u64)t;
}

/* Updates in progress: the registers follow the clock. */
static void refresh(struct mc146818 *r, u64 now)
{
	if (running(r))
		store_time(r, calendar(r, now));
}

/* The clock follows the registers; the fraction of the second stays. */
static void set_clock(struct mc146818 *r, u64 now, u32 ns)
{
	set_calendar(r, now, load_time(r), ns);
}

static u64 period_ns(const struct mc146818 *r)
{
	static const u16 ticks[16] = { 0, 128, 256, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384 };

	/* In ticks of 32,768 Hz (data sheet table 5). */
	return ticks[r->ram[R_A] & 15] * NS_PER_SEC / 32768;
}

static bool alarm_field(const struct mc146818 *r, unsigned reg)
{
	u8 alarm = r->ram[reg + 1];

	return alarm >= 0xc0 || alarm == r->ram[reg];
}

static bool alarm_matches(struct mc146818 *r, u64 second)
{
	store_time(r, second);
	return alarm_field(r, R_SEC) && alarm_field(r, R_MIN) && alarm_field(r, R_HOUR);
}

/* Sets the flags of all that happened up to now. */
static void collect(struct mc146818 *r, u64 now)
{
	u64 second = calendar(r, now), period = period_ns(r), k;
	u64 from;

	if (period && (r->ram[R_A] & 0x60) != 0x60) {
		k = (now - r->div_start_ns) / period;
		if (k != r->seen_period)
			r->ram[R_C] |= C_PF;
		r->seen_period = k;
	}
	if (!running(r) || second <= r->seen_second)
		return;
	r->ram[R_C] |= C_UF;
	/* Every time of day is met within a day. */
	from = second - r->seen_second > 86400 ? second - 86400 : r->seen_second;
	for (u64 s = from + 1; s <= second && !(r->ram[R_C] & C_AF); s++)
		if (alarm_matches(r, s))
			r->ram[R_C] |= C_AF;
	r->seen_second = second;
	refresh(r, now);
}

/* IRQF and the line; the flags and enables stand at the same bits of C and B. */
static void update_irq(struct mc146818 *r)
{
	bool irqf = r->ram[R_C] & r->ram[R_B] & (B_PIE | B_AIE | B_UIE);

	r->ram[R_C] = (u8)((r->ram[R_C] & 0x7f) | irqf << 7);
	irq_set(&r->irq8, irqf);
}

static void arm(struct mc146818 *r, u64 now)
{
	u64 period = period_ns(r), at = CLOCK_NEVER;
	u8 b = r->ram[R_B];

	if ((b & B_PIE) && period && (r->ram[R_A] & 0x60) != 0x60 && !(r->ram[R_C] & C_PF))
		at = r->div_start_ns + ((now - r->div_start_ns) / period + 1) * period;
	timer_arm(&r->periodic, at);
	at = CLOCK_NEVER;
	if ((b & (B_UIE | B_AIE)) && running(r))
		at = now + NS_PER_SEC - fraction(r, now);
	timer_arm(&r->update, at);
}

static void fire(void *opaque, u64 now_ns)
{
	struct mc146818 *r = opaque;

	collect(r, now_ns);
	update_irq(r);
	arm(r, now_ns);
}

static u8 read_c(struct mc146818 *r)
{
	u8 v = r->ram[R_C];

	r->ram[R_C] = 0;
	return v;
}

static u8 read_a(const struct mc146818 *r, u64 now)
{
	bool uip = running(r) && fraction(r, now) >= NS_PER_SEC - UPDATE_NS;

	return r->ram[R_A] | (uip ? A_UIP : 0);
}

static u8 cmos_read(struct mc146818 *r, u8 index)
{
	u64 now = clock_ns(r->clock);
	u8 v;

	collect(r, now);
	update_irq(r);
	refresh(r, now);
	v = r->ram[index];
	if (index == R_A)
		v = read_a(r, now);
	else if (index == R_C)
		v = read_c(r);
	update_irq(r);
	arm(r, now);
	return v;
}

static void write_a(struct mc146818 *r, u8 v, u64 now)
{
	bool was_held = (r->ram[R_A] & 0x60) == 0x60;

	r->ram[R_A] = v & 0x7f;
	/* Out of reset the first update comes half a second later (data sheet, "Divider control"). */
	if (was_held && (v & 0x60) != 0x60) {
		r->div_start_ns = now;
		set_clock(r, now, NS_PER_SEC / 2);
	}
	r->seen_period = period_ns(r) ? (now - r->div_start_ns) / period_ns(r) : 0;
}

static void write_b(struct mc146818 *r, u8 v, u64 now)
{
	u32 ns = fraction(r, now);
	u8 was = r->ram[R_B];

	if (v & B_SET)
		v &= ~B_UIE; /* SET clears UIE */
	r->ram[R_B] = v;
	if ((was & B_SET) && !(v & B_SET))
		set_clock(r, now, ns);
}

static bool is_time(u8 index)
{
	return index == R_CENTURY || (index <= R_YEAR && (index > R_HOUR_ALARM || !(index & 1)));
}

static void cmos_write(struct mc146818 *r, u8 index, u8 v)
{
	u64 now = clock_ns(r->clock);

	collect(r, now);
	refresh(r, now);
	if (index == R_A)
		write_a(r, v, now);
	else if (index == R_B)
		write_b(r, v, now);
	else if (index != R_C && index != R_D)
		r->ram[index] = v;
	if (is_time(index) && running(r))
		set_clock(r, now, fraction(r, now));
	update_irq(r);
	arm(r, now);
}

/* 0x70 and 0x72 are the indices (write-only), 0x71 and 0x73 the data. */
static u64 port_read(void *dev, u64 off, unsigned size)
{
	struct mc146818 *r = dev;

	(void)size;
	if (off == 1)
		return cmos_read(r, r->index);
	if (off == 3)
		return r->ram[0x80 | r->index_hi];
	return 0xff;
}

static void port_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct mc146818 *r = dev;

	(void)size;
	switch (off) {
	case 0:
		r->index = val & 0x7f;
		r->nmi_masked = val & 0x80;
		break;
	case 1:
		cmos_write(r, r->index, (u8)val);
		break;
	case 2:
		r->index_hi = val & 0x7f;
		break;
	case 3:
		r->ram[0x80 | r->index_hi] = (u8)val;
		break;
	}
}

static void put16(struct mc146818 *r, unsigned at, u64 v)
{
	r->ram[at] = (u8)v;
	r->ram[at + 1] = (u8)(v >> 8);
}

/* The bytes that firmware reads, as PC firmware and QEMU's machine lay them out. */
static void fill_cmos(struct mc146818 *r, const struct mc146818_config *cfg)
{
	u64 ext_kb = cfg->ram_below > BIT(20) ? (cfg->ram_below - BIT(20)) >> 10 : 0;
	u64 ext_64k = cfg->ram_below > BIT(24) ? (cfg->ram_below - BIT(24)) >> 16 : 0;
	u64 above = cfg->ram_above >> 16;
	u16 sum = 0;

	put16(r, 0x15, 640);
	put16(r, 0x17, MIN(ext_kb, 65535u));
	put16(r, 0x30, MIN(ext_kb, 65535u));
	put16(r, 0x34, MIN(ext_64k, 65535u));
	r->ram[0x5b] = (u8)above;
	r->ram[0x5c] = (u8)(above >> 8);
	r->ram[0x5d] = (u8)(above >> 16);
	r->ram[0x5f] = (u8)(cfg->cpus ? cfg->cpus - 1 : 0);
	r->ram[0x14] = 0x06; /* equipment: FPU and mouse, no floppy */
	r->ram[0x3d] = 0x02; /* boot from the first hard disk */
	for (unsigned i = 0x10; i < 0x2e; i++)
		sum += r->ram[i];
	r->ram[0x2e] = (u8)(sum >> 8);
	r->ram[0x2f] = (u8)sum;
}

void mc146818_reset(struct mc146818 *r)
{
	r->ram[R_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	r->ram[R_C] = 0;
	r->index = r->index_hi = 0;
	r->nmi_masked = false;
	update_irq(r);
	arm(r, clock_ns(r->clock));
}

bool mc146818_nmi_masked(const struct mc146818 *r)
{
	return r->nmi_masked;
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 1 };

struct mc146818 *mc146818_new(struct mem *m, const struct clock *clock, struct timerq *q,
			      const struct mc146818_config *cfg, struct err *e)
{
	struct mc146818 *r = dev_alloc(sizeof(*r), e);
	u64 now = clock_ns(clock);

	if (!r)
		return NULL;
	r->clock = clock;
	r->irq8 = cfg->irq8;
	set_calendar(r, now, cfg->utc_ns / NS_PER_SEC, (u32)(cfg->utc_ns % NS_PER_SEC));
	r->div_start_ns = now;
	r->ram[R_A] = 0x26; /* 32,768 Hz, 1024 Hz */
	r->ram[R_B] = B_24H;
	r->ram[R_D] = D_VRT;
	fill_cmos(r, cfg);
	timer_init(&r->update, q, fire, r);
	timer_init(&r->periodic, q, fire, r);
	refresh(r, now);
	mc146818_reset(r);
	if (mem_add_ports(m, 0x70, 4, &port_ops, r, e)) {
		free(r);
		return NULL;
	}
	return r;
}

void mc146818_free(struct mc146818 *r)
{
	if (!r)
		return;
	timer_arm(&r->update, CLOCK_NEVER);
	timer_arm(&r->periodic, CLOCK_NEVER);
	free(r);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct mc146818
static const struct state_field state_fields[] = {
	STATE_BYTES(S, ram),
	STATE_RANGE(S, index, 0, 0x7f),
	STATE_RANGE(S, index_hi, 0, 0x7f),
	STATE_BOOL(S, nmi_masked),
	STATE_UINT(S, offset_s),
	STATE_RANGE(S, offset_ns, 0, NS_PER_SEC - 1),
	STATE_UINT(S, div_start_ns),
	STATE_RANGE(S, seen_second, 0, BIT(40)),
	STATE_UINT(S, seen_period),
	STATE_TIMER(S, update),
	STATE_TIMER(S, periodic),
};
#undef S

/* The calendar of a snapshot is some time in the next millennia, and began to count before now. */
static int state_loaded(void *object, struct err *e)
{
	const struct mc146818 *r = object;
	s64 limit = (s64)BIT(38);

	if (r->offset_s > limit || r->offset_s < -limit || r->div_start_ns > clock_ns(r->clock))
		return err_set(e, "the clock chip's calendar is out of range");
	return 0;
}

const struct state mc146818_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields), .loaded = state_loaded };
