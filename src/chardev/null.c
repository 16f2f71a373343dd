/* SPDX-License-Identifier: Apache-2.0
 * Takes all, gives nothing.
 */
#include <stdlib.h>

#include "chardev/backends.h"

static size_t null_write(struct chardev *c, const u8 *p, size_t n)
{
	(void)c;
	(void)p;
	return n;
}

static void null_free(struct chardev *c)
{
	free(c);
}

static const struct chardev_ops null_ops = { .write = null_write, .free = null_free };

struct chardev *null_new(struct err *e)
{
	struct chardev *c = calloc(1, sizeof(*c));

	if (c)
		c->ops = &null_ops;
	else
		err_set(e, "out of memory");
	return c;
}
