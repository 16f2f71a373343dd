/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/debugport.h"
#include "dev/dev.h"

static u64 port_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0xe9;
}

/* A backend that is full loses the byte: the port has no way to make the guest wait. */
static void port_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct debugport *d = dev;
	u8 v = (u8)val;

	(void)off;
	(void)size;
	chardev_write(d->backend, &v, 1);
}

static const struct io_ops port_ops = { .read = port_read, .write = port_write, .max_size = 1 };

struct debugport *debugport_new(struct mem *m, u16 port, struct chardev *backend, struct err *e)
{
	struct debugport *d = dev_alloc(sizeof(*d), e);

	if (!d)
		return NULL;
	d->backend = backend;
	if (mem_add_ports(m, port, 1, &port_ops, d, e)) {
		free(d);
		return NULL;
	}
	return d;
}

void debugport_free(struct debugport *d)
{
	free(d);
}
