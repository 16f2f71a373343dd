/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/debugexit.h"

static u64 port_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0;
}

static void port_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct debugexit *d = dev;

	(void)off;
	(void)size;
	call_make(&d->leave, (unsigned)val);
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 4 };

struct debugexit *debugexit_new(struct mem *m, u16 port, struct call leave, struct err *e)
{
	struct debugexit *d = dev_alloc(sizeof(*d), e);

	if (!d)
		return NULL;
	d->leave = leave;
	if (mem_add_ports(m, port, 4, &port_ops, d, e)) {
		free(d);
		return NULL;
	}
	return d;
}

void debugexit_free(struct debugexit *d)
{
	free(d);
}
