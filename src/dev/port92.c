/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/port92.h"

enum { FAST_INIT = 0x01, FAST_A20 = 0x02 };

static u64 port_read(void *dev, u64 off, unsigned size)
{
	struct port92 *p = dev;

	(void)off;
	(void)size;
	return p->value;
}

static void port_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct port92 *p = dev;
	bool rise = (val & FAST_INIT) && !(p->value & FAST_INIT);

	(void)off;
	(void)size;
	p->value = val & (FAST_A20 | FAST_INIT);
	irq_set(&p->a20, p->value & FAST_A20);
	if (rise)
		call_make(&p->reset, RESET_INIT);
}

void port92_reset(struct port92 *p)
{
	p->value = 0;
	irq_set(&p->a20, false);
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 1 };

struct port92 *port92_new(struct mem *m, struct irq a20, struct call reset, struct err *e)
{
	struct port92 *p = dev_alloc(sizeof(*p), e);

	if (!p)
		return NULL;
	p->a20 = a20;
	p->reset = reset;
	port92_reset(p);
	if (mem_add_ports(m, 0x92, 1, &port_ops, p, e)) {
		free(p);
		return NULL;
	}
	return p;
}

void port92_free(struct port92 *p)
{
	free(p);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct port92
static const struct state_field state_fields[] = {
	STATE_UINT(S, value),
};
#undef S

const struct state port92_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
