/* SPDX-License-Identifier: Apache-2.0
 * The PM block. TMR_STS is set when the top bit of the timer changes; it is made when somebody looks, and a timer runs
 * only while TMR_EN waits for it. The power button is an event even before ACPI mode is on, as SCI_EN only chooses
 * between SCI and SMI; there is no SMM here, so without SCI_EN it stays a status bit.
 */
#include "dev/acpipm.h"

enum {
	PM1_TMR = 0x0001,
	PM1_GBL = 0x0020,
	PM1_PWRBTN = 0x0100,
	PM1_SLPBTN = 0x0200,
	PM1_RTC = 0x0400,
	PM1_WAK = 0x8000,
	STS_BITS = PM1_TMR | 0x0010 | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK,
	EN_BITS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC,
	CNT_SCI_EN = 0x0001,
	CNT_GBL_RLS = 0x0004,
	CNT_SLP_TYP = 0x1c00,
	CNT_SLP_EN = 0x2000,
};

static unsigned timer_bits(const struct acpipm *p)
{
	return p->wide ? 32 : 24;
}

static u64 timer_ticks(const struct acpipm *p)
{
	return clock_ns_to_ticks(clock_ns(p->clock), PM_TIMER_HZ);
}

static void collect_overflow(struct acpipm *p)
{
	u64 half = timer_ticks(p) >> (timer_bits(p) - 1);

	if (half != p->overflow_seen)
		p->pm1_sts |= PM1_TMR;
	p->overflow_seen = half;
}

static void update_sci(struct acpipm *p)
{
	bool event = (p->pm1_sts & p->pm1_en) || (p->gpe_sts & p->gpe_en);
	u64 at = CLOCK_NEVER;

	irq_set(&p->sci, event && (p->pm1_cnt & CNT_SCI_EN));
	if ((p->pm1_en & PM1_TMR) && !(p->pm1_sts & PM1_TMR))
		at = clock_ticks_to_ns((p->overflow_seen + 1) << (timer_bits(p) - 1), PM_TIMER_HZ);
	timer_arm(&p->timer, at);
}

static void timer_fire(void *opaque, u64 now_ns)
{
	struct acpipm *p = opaque;

	(void)now_ns;
	collect_overflow(p);
	update_sci(p);
}

void acpipm_press_power(struct acpipm *p)
{
	p->pm1_sts |= PM1_PWRBTN;
	update_sci(p);
}

void acpipm_set_gpe(void *acpipm, unsigned input, bool level)
{
	struct acpipm *p = acpipm;
	u16 bit = (u16)(1u << (input & 15));

	if (level)
		p->gpe_sts |= bit;
	p->gpe_lines = level ? p->gpe_lines | bit : p->gpe_lines & ~bit;
	update_sci(p);
}

static void write_control(struct acpipm *p, u16 v)
{
	/* GBL_RLS would raise an SMI; SLP_EN reads as 0. SCI_EN belongs to SMI_CMD, but is writable as in PIIX4. */
	p->pm1_cnt = v & ~(CNT_SLP_EN | CNT_GBL_RLS);
	if (v & CNT_SLP_EN)
		call_make(&p->power_off, (v & CNT_SLP_TYP) >> 10);
}

/* The block as 16-bit registers. */
static u16 word_read(struct acpipm *p, unsigned off)
{
	switch (off) {
	case 0:
		collect_overflow(p);
		return p->pm1_sts;
	case 2:
		return p->pm1_en;
	case 4:
		return p->pm1_cnt;
	case ACPIPM_GPE0:
		return p->gpe_sts;
	case ACPIPM_GPE0 + 2:
		return p->gpe_en;
	}
	return 0;
}

static void word_write(struct acpipm *p, unsigned off, u16 v)
{
	switch (off) {
	case 0:
		collect_overflow(p);
		p->pm1_sts &= ~(v & STS_BITS);
		break;
	case 2:
		p->pm1_en = v & EN_BITS;
		break;
	case 4:
		write_control(p, v);
		break;
	case ACPIPM_GPE0:
		/* A level that still stands sets its status again. */
		p->gpe_sts = (p->gpe_sts & ~v) | p->gpe_lines;
		break;
	case ACPIPM_GPE0 + 2:
		p->gpe_en = v;
		break;
	}
	update_sci(p);
}

static u32 read_timer(const struct acpipm *p)
{
	return (u32)(timer_ticks(p) & (BIT(timer_bits(p)) - 1));
}

static u64 pm_read(void *dev, u64 off, unsigned size)
{
	struct acpipm *p = dev;
	u64 v;

	if ((off & ~3ull) == 8)
		return reg_extract(read_timer(p), off & 3, size);
	v = word_read(p, (unsigned)(off & ~1ull));
	if (size == 4)
		v |= (u64)word_read(p, (unsigned)(off & ~1ull) + 2) << 16;
	return reg_extract(v, off & 1, size);
}

/* Bytes of a word that are not written count as zeros in a status (nothing cleared) and keep their value elsewhere. */
static void pm_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct acpipm *p = dev;
	unsigned at = (unsigned)(off & ~1ull);
	bool status = at == 0 || at == ACPIPM_GPE0;

	if ((off & ~3ull) == 8)
		return;
	if (size == 1) {
		word_write(p, at, (u16)reg_deposit(status ? 0 : word_read(p, at), off & 1, 1, val));
		return;
	}
	word_write(p, at, (u16)val);
	if (size == 4)
		word_write(p, at + 2, (u16)(val >> 16));
}

/* SMI_CMD (APMC) and APMS: firmware's SMI handler would do this. */
static u64 apm_read(void *dev, u64 off, unsigned size)
{
	struct acpipm *p = dev;

	(void)size;
	return off ? p->apm_sts : p->apm_cmd;
}

static void apm_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct acpipm *p = dev;

	(void)size;
	if (off) {
		p->apm_sts = (u8)val;
		return;
	}
	p->apm_cmd = (u8)val;
	if (p->apm_cmd == ACPIPM_ENABLE)
		p->pm1_cnt |= CNT_SCI_EN;
	else if (p->apm_cmd == ACPIPM_DISABLE)
		p->pm1_cnt &= ~CNT_SCI_EN;
	update_sci(p);
}

void acpipm_reset(struct acpipm *p)
{
	p->pm1_sts = p->pm1_en = p->pm1_cnt = 0;
	p->gpe_en = 0;
	p->gpe_sts = p->gpe_lines;
	p->apm_cmd = p->apm_sts = 0;
	collect_overflow(p);
	p->pm1_sts = 0;
	update_sci(p);
}

static const struct io_ops pm_ops = { .read = pm_read, .write = pm_write, .max_size = 4 };
static const struct io_ops apm_ops = { .read = apm_read, .write = apm_write, .max_size = 1 };

void acpipm_set_base(struct acpipm *p, u16 base)
{
	base &= 0xffc0;
	if (base == p->base)
		return;
	if (p->base)
		mem_remove_ports(p->mem, p->base);
	p->base = 0;
	if (base && !mem_add_ports(p->mem, base, ACPIPM_SIZE, &pm_ops, p, NULL))
		p->base = base;
}

struct acpipm *acpipm_new(struct mem *m, const struct clock *clock, struct timerq *q, bool wide, struct irq sci,
			  struct call power_off, struct err *e)
{
	struct acpipm *p = dev_alloc(sizeof(*p), e);

	if (!p)
		return NULL;
	p->mem = m;
	p->clock = clock;
	p->wide = wide;
	p->sci = sci;
	p->power_off = power_off;
	timer_init(&p->timer, q, timer_fire, p);
	acpipm_reset(p);
	if (mem_add_ports(m, ACPIPM_SMI_CMD, 2, &apm_ops, p, e)) {
		free(p);
		return NULL;
	}
	return p;
}

void acpipm_free(struct acpipm *p)
{
	if (!p)
		return;
	timer_arm(&p->timer, CLOCK_NEVER);
	free(p);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct acpipm
static const struct state_field state_fields[] = {
	STATE_UINT(S, pm1_sts),	      STATE_UINT(S, pm1_en),	STATE_UINT(S, pm1_cnt), STATE_UINT(S, gpe_sts),
	STATE_UINT(S, gpe_en),	      STATE_UINT(S, gpe_lines), STATE_UINT(S, apm_cmd), STATE_UINT(S, apm_sts),
	STATE_UINT(S, overflow_seen), STATE_TIMER(S, timer),
};
#undef S

const struct state acpipm_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
