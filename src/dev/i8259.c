/* SPDX-License-Identifier: Apache-2.0
 * The 8259A pair. Priorities are kept by the name of the lowest one: input lowest + 1 (mod 8) is the highest.
 *
 * Edge inputs follow the data sheet: a rising edge sets IRR, and the input must stay high to the first INTA; when it
 * falls earlier IRR falls too, and the acknowledge finds nothing: a spurious IR7.
 */
#include "dev/i8259.h"
#include "dev/dev.h"

enum {
	ICW1_IC4 = 0x01,
	ICW1_SNGL = 0x02,
	ICW1_INIT = 0x10,
	OCW3_SELECT = 0x08,
	ICW4_AEOI = 0x02,
	ICW4_SFNM = 0x10,
	CASCADE = 2,
};

static unsigned rank_of(const struct i8259_chip *c, unsigned input)
{
	return (input - c->lowest - 1) & 7;
}

/* The input of highest priority in mask, or -1. */
static int highest(const struct i8259_chip *c, u8 mask)
{
	for (unsigned r = 0; r < 8; r++) {
		unsigned input = (c->lowest + 1 + r) & 7;

		if (mask & (1u << input))
			return (int)input;
	}
	return -1;
}

/* The input this chip asks service for now, or -1. */
static int requested(const struct i8259_chip *c, bool master)
{
	/* Special mask mode: a masked input in service no longer holds off the lower ones. */
	u8 isr = c->special_mask ? c->isr & ~c->imr : c->isr;
	int in_service, input = highest(c, c->irr & ~c->imr);

	if (input < 0)
		return -1;
	in_service = highest(c, isr);
	if (in_service < 0 || rank_of(c, (unsigned)input) < rank_of(c, (unsigned)in_service))
		return input;
	/* Special fully nested mode: further requests of the slave in service get through. */
	if (master && (c->icw4 & ICW4_SFNM) && input == CASCADE && in_service == CASCADE)
		return input;
	return -1;
}

static void chip_line(struct i8259_chip *c, unsigned input, bool level)
{
	u8 bit = (u8)(1u << input);

	if (!level)
		c->irr &= ~bit;
	else if ((c->elcr & bit) || !(c->lines & bit))
		c->irr |= bit;
	c->lines = level ? c->lines | bit : c->lines & ~bit;
}

static void update(struct i8259 *p)
{
	bool slave = !p->chip[1].init_step && requested(&p->chip[1], false) >= 0;
	bool intr;

	chip_line(&p->chip[0], CASCADE, slave);
	intr = !p->chip[0].init_step && requested(&p->chip[0], true) >= 0;
	if (intr != p->intr_level) {
		p->intr_level = intr;
		irq_set(&p->intr, intr);
	}
}

void i8259_set_irq(void *i8259, unsigned input, bool level)
{
	struct i8259 *p = i8259;

	input &= 15;
	if (input == CASCADE)
		return;
	chip_line(&p->chip[input >> 3], input & 7, level);
	update(p);
}

bool i8259_intr(const struct i8259 *p)
{
	return p->intr_level;
}

/* The end of INTA: the request becomes service; edges are consumed. */
static void chip_serve(struct i8259_chip *c, unsigned input)
{
	u8 bit = (u8)(1u << input);

	if (!(c->elcr & bit))
		c->irr &= ~bit;
	if (!(c->icw4 & ICW4_AEOI)) {
		c->isr |= bit;
		return;
	}
	if (c->rotate_aeoi)
		c->lowest = (u8)input;
}

u8 i8259_ack(struct i8259 *p)
{
	struct i8259_chip *m = &p->chip[0], *s = &p->chip[1];
	int input = requested(m, true), sub;
	u8 vector;

	if (input < 0) {
		vector = m->icw2 | 7;
	} else if (input == CASCADE && !m->single) {
		chip_serve(m, CASCADE);
		/* The cascade line is a level: it must be able to rise again for the slave's next request. */
		sub = requested(s, false);
		if (sub >= 0)
			chip_serve(s, (unsigned)sub);
		vector = s->icw2 | (u8)(sub >= 0 ? sub : 7);
		m->lines &= ~(1u << CASCADE);
	} else {
		chip_serve(m, (unsigned)input);
		vector = m->icw2 | (u8)input;
	}
	update(p);
	return vector;
}

static void write_icw1(struct i8259_chip *c, u8 v)
{
	c->imr = c->isr = 0;
	/* The edge sense circuit is reset: a new low-to-high transition is needed. Levels show again at once. */
	c->irr = c->lines & c->elcr;
	c->lowest = 7;
	c->special_mask = c->read_isr = c->poll = c->rotate_aeoi = false;
	c->icw4 = 0;
	c->need_icw4 = v & ICW1_IC4;
	c->single = v & ICW1_SNGL;
	c->init_step = 2;
}

/* The in-service bit a non-specific EOI ends: the highest, but not one hidden by special mask mode. */
static int eoi_input(const struct i8259_chip *c)
{
	return highest(c, c->special_mask ? c->isr & ~c->imr : c->isr);
}

static void write_ocw2(struct i8259_chip *c, u8 v)
{
	unsigned level = v & 7;
	int input;

	switch (v >> 5) {
	case 0: /* rotate in AEOI mode: clear */
	case 4: /* set */
		c->rotate_aeoi = v >> 5 == 4;
		break;
	case 1: /* non-specific EOI */
	case 5: /* and rotate */
		input = eoi_input(c);
		if (input < 0)
			break;
		c->isr &= ~(1u << input);
		if (v >> 5 == 5)
			c->lowest = (u8)input;
		break;
	case 3: /* specific EOI */
	case 7: /* and rotate */
		c->isr &= ~(1u << level);
		if (v >> 5 == 7)
			c->lowest = (u8)level;
		break;
	case 6: /* set priority */
		c->lowest = (u8)level;
		break;
	}
}

static void write_ocw3(struct i8259_chip *c, u8 v)
{
	if (v & 0x40)
		c->special_mask = v & 0x20;
	c->poll = v & 0x04;
	if (!c->poll && (v & 0x02))
		c->read_isr = v & 0x01;
}

static void write_data(struct i8259_chip *c, u8 v)
{
	switch (c->init_step) {
	case 0:
	case 1:
		c->imr = v;
		break;
	case 2:
		c->icw2 = v & 0xf8;
		c->init_step = c->single ? (c->need_icw4 ? 4 : 0) : 3;
		break;
	case 3:
		c->icw3 = v;
		c->init_step = c->need_icw4 ? 4 : 0;
		break;
	case 4:
		c->icw4 = v;
		c->init_step = 0;
		break;
	}
}

static void chip_write(struct i8259 *p, unsigned n, u64 off, u8 v)
{
	struct i8259_chip *c = &p->chip[n];

	if (off & 1)
		write_data(c, v);
	else if (v & ICW1_INIT)
		write_icw1(c, v);
	else if (v & OCW3_SELECT)
		write_ocw3(c, v);
	else
		write_ocw2(c, v);
	update(p);
}

/* A poll is an INTA without a vector: bit 7 tells whether bits 2..0 are a request. */
static u8 chip_poll(struct i8259 *p, unsigned n)
{
	struct i8259_chip *c = &p->chip[n];
	int input = requested(c, n == 0);

	c->poll = false;
	if (input < 0)
		return 0;
	chip_serve(c, (unsigned)input);
	if (n == 0 && input == CASCADE)
		c->lines &= ~(1u << CASCADE);
	update(p);
	return 0x80 | (u8)input;
}

static u8 chip_read(struct i8259 *p, unsigned n, u64 off)
{
	struct i8259_chip *c = &p->chip[n];

	if (c->poll)
		return chip_poll(p, n);
	if (off & 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static u64 master_read(void *dev, u64 off, unsigned size)
{
	(void)size;
	return chip_read(dev, 0, off);
}

static void master_write(void *dev, u64 off, u64 val, unsigned size)
{
	(void)size;
	chip_write(dev, 0, off, (u8)val);
}

static u64 slave_read(void *dev, u64 off, unsigned size)
{
	(void)size;
	return chip_read(dev, 1, off);
}

static void slave_write(void *dev, u64 off, u64 val, unsigned size)
{
	(void)size;
	chip_write(dev, 1, off, (u8)val);
}

static void chip_set_elcr(struct i8259_chip *c, unsigned n, u8 v)
{
	c->elcr = v & (n ? 0xde : 0xf8);
	c->irr |= c->lines & c->elcr;
}

static u64 elcr_read(void *dev, u64 off, unsigned size)
{
	struct i8259 *p = dev;

	(void)size;
	return p->chip[off & 1].elcr;
}

static void elcr_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct i8259 *p = dev;

	(void)size;
	chip_set_elcr(&p->chip[off & 1], off & 1, (u8)val);
	update(p);
}

void i8259_set_elcr(struct i8259 *p, u16 mask)
{
	elcr_write(p, 0, mask & 0xff, 1);
	elcr_write(p, 1, mask >> 8, 1);
}

void i8259_post(struct i8259 *p, u16 imr)
{
	static const u8 icw[2][4] = { { 0x11, 0x08, 0x04, 0x01 }, { 0x11, 0x70, 0x02, 0x01 } };

	for (unsigned n = 0; n < 2; n++) {
		for (unsigned i = 0; i < 4; i++)
			chip_write(p, n, i != 0, icw[n][i]);
		chip_write(p, n, 1, (u8)(imr >> 8 * n));
	}
}

/* Until ICW1 comes the chips are silent, as their vectors and modes are unknown. */
void i8259_reset(struct i8259 *p)
{
	for (unsigned n = 0; n < 2; n++) {
		struct i8259_chip *c = &p->chip[n];

		*c = (struct i8259_chip){ .lines = c->lines, .lowest = 7, .init_step = 1 };
	}
	p->chip[0].lines &= ~(1u << CASCADE);
	update(p);
}

static const struct io_ops master_ops = { .read = master_read, .write = master_write, .max_size = 1 };
static const struct io_ops slave_ops = { .read = slave_read, .write = slave_write, .max_size = 1 };
static const struct io_ops elcr_ops = { .read = elcr_read, .write = elcr_write, .max_size = 1 };

struct i8259 *i8259_new(struct mem *m, struct irq intr, struct err *e)
{
	struct i8259 *p = dev_alloc(sizeof(*p), e);

	if (!p)
		return NULL;
	p->intr = intr;
	i8259_reset(p);
	if (mem_add_ports(m, 0x20, 2, &master_ops, p, e) || mem_add_ports(m, 0xa0, 2, &slave_ops, p, e) ||
	    mem_add_ports(m, 0x4d0, 2, &elcr_ops, p, e)) {
		free(p);
		return NULL;
	}
	return p;
}

void i8259_free(struct i8259 *p)
{
	free(p);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct i8259
static const struct state_field state_fields[] = {
	STATE_EACH(S, chip, irr),
	STATE_EACH(S, chip, imr),
	STATE_EACH(S, chip, isr),
	STATE_EACH(S, chip, lines),
	STATE_EACH(S, chip, elcr),
	STATE_EACH(S, chip, icw2),
	STATE_EACH(S, chip, icw3),
	STATE_EACH(S, chip, icw4),
	STATE_EACH_RANGE(S, chip, init_step, 0, 4),
	STATE_EACH_BOOL(S, chip, need_icw4),
	STATE_EACH_BOOL(S, chip, single),
	STATE_EACH_RANGE(S, chip, lowest, 0, 7),
	STATE_EACH_BOOL(S, chip, rotate_aeoi),
	STATE_EACH_BOOL(S, chip, special_mask),
	STATE_EACH_BOOL(S, chip, poll),
	STATE_EACH_BOOL(S, chip, read_isr),
	STATE_BOOL(S, intr_level),
};
#undef S

const struct state i8259_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
