/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/testdev.h"

static u64 scratch_read(void *dev, u64 off, unsigned size)
{
	struct testdev *t = dev;

	return reg_extract(t->scratch, off & 3, size);
}

static void scratch_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct testdev *t = dev;

	t->scratch = (u32)reg_deposit(t->scratch, off & 3, size, val);
}

static u64 zero_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0;
}

static void flush_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct testdev *t = dev;

	(void)size;
	if (off == 0)
		call_make(&t->flush, (u32)val);
}

static void line_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct testdev *t = dev;

	(void)size;
	if (off < TESTDEV_LINES)
		irq_set(&t->lines[off], val != 0);
}

static u64 window_read(void *dev, u64 off, unsigned size)
{
	struct testdev *t = dev;
	u64 v = 0;

	if (off + size <= TESTDEV_WINDOW)
		memcpy(&v, t->window + off, size);
	return v;
}

static void window_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct testdev *t = dev;

	if (off + size <= TESTDEV_WINDOW)
		memcpy(t->window + off, &val, size);
}

static const struct io_ops scratch_ops = { .read = scratch_read, .write = scratch_write, .max_size = 4 };
static const struct io_ops byte_ops = { .read = scratch_read, .write = scratch_write, .max_size = 1 };
static const struct io_ops flush_ops = { .read = zero_read, .write = flush_write, .max_size = 4 };
static const struct io_ops line_ops = { .read = zero_read, .write = line_write, .max_size = 4 };
static const struct io_ops window_ops = { .read = window_read, .write = window_write };

struct testdev *testdev_new(struct mem *m, const struct irq lines[TESTDEV_LINES], struct call flush, struct err *e)
{
	struct testdev *t = dev_alloc(sizeof(*t), e);

	if (!t)
		return NULL;
	memcpy(t->lines, lines, sizeof(t->lines));
	t->flush = flush;
	if (mem_add_ports(m, 0xe0, 4, &scratch_ops, t, e) || mem_add_ports(m, 0xe4, 4, &flush_ops, t, e) ||
	    mem_add_ports(m, 0xe8, 1, &byte_ops, t, e) || mem_add_ports(m, 0x2000, TESTDEV_LINES, &line_ops, t, e) ||
	    mem_add_mmio(m, 0xff000000, TESTDEV_WINDOW, &window_ops, t, e)) {
		free(t);
		return NULL;
	}
	return t;
}

void testdev_free(struct testdev *t)
{
	free(t);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct testdev
static const struct state_field state_fields[] = {
	STATE_UINT(S, scratch),
	STATE_BYTES(S, window),
};
#undef S

const struct state testdev_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
