/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/ferr.h"
#include "dev/dev.h"

bool ferr_set(struct ferr *f, bool asserted)
{
	bool rise = asserted && !f->ferr;

	f->ferr = asserted;
	if (!asserted)
		f->ignne = false;
	if (rise) {
		f->pending = true;
		irq_set(&f->irq13, true);
	}
	return f->ignne;
}

static u64 port_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0xff;
}

/* 0xf0 clears the interrupt; IGNNE# then stays until FERR# falls. 0xf1 was the AT's coprocessor reset. */
static void port_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct ferr *f = dev;

	(void)val;
	(void)size;
	if (off)
		return;
	f->ignne = f->ferr;
	if (f->pending)
		irq_set(&f->irq13, false);
	f->pending = false;
}

void ferr_reset(struct ferr *f)
{
	f->ferr = f->ignne = f->pending = false;
	irq_set(&f->irq13, false);
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 1 };

struct ferr *ferr_new(struct mem *m, struct irq irq13, struct err *e)
{
	struct ferr *f = dev_alloc(sizeof(*f), e);

	if (!f)
		return NULL;
	f->irq13 = irq13;
	if (mem_add_ports(m, 0xf0, 2, &port_ops, f, e)) {
		free(f);
		return NULL;
	}
	return f;
}

void ferr_free(struct ferr *f)
{
	free(f);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct ferr
static const struct state_field state_fields[] = {
	STATE_BOOL(S, ferr),
	STATE_BOOL(S, ignne),
	STATE_BOOL(S, pending),
};
#undef S

const struct state ferr_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
