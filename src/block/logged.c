/* SPDX-License-Identifier: Apache-2.0 */
#include "block/logged.h"

#include <stdlib.h>

struct logged {
	struct block b;
	struct block *inner;
	struct inputs *in;
	u16 source;
};

static struct logged *of(struct block *b)
{
	return container_of(b, struct logged, b);
}

static int logged_read(struct block *b, u64 off, void *buf, u64 len)
{
	struct logged *l = of(b);
	int ret = block_read(l->inner, off, buf, len);

	return inputs_result(l->in, l->source, ret, buf, ret ? 0 : len);
}

static int outcome(struct logged *l, int ret)
{
	return inputs_result(l->in, l->source, ret, NULL, 0);
}

static int logged_write(struct block *b, u64 off, const void *buf, u64 len)
{
	return outcome(of(b), block_write(of(b)->inner, off, buf, len));
}

static int logged_flush(struct block *b)
{
	return outcome(of(b), block_flush(of(b)->inner));
}

static int logged_zero(struct block *b, u64 off, u64 len, bool unmap)
{
	return outcome(of(b), block_zero(of(b)->inner, off, len, unmap));
}

static int logged_discard(struct block *b, u64 off, u64 len)
{
	return outcome(of(b), block_discard(of(b)->inner, off, len));
}

static void logged_free(struct block *b)
{
	block_free(of(b)->inner);
	free(of(b));
}

static const struct block_ops logged_ops = {
	.read = logged_read,
	.write = logged_write,
	.flush = logged_flush,
	.zero = logged_zero,
	.discard = logged_discard,
	.free = logged_free,
};

struct block *block_logged_new(struct block *inner, struct inputs *in, u16 source, struct err *e)
{
	struct logged *l = calloc(1, sizeof(*l));

	if (!l) {
		block_free(inner);
		err_set(e, "out of memory");
		return NULL;
	}
	l->b = (struct block){ .ops = &logged_ops, .size = inner->size, .readonly = inner->readonly };
	l->inner = inner;
	l->in = in;
	l->source = source;
	return &l->b;
}

struct block *block_logged_inner(struct block *b)
{
	return b->ops == &logged_ops ? of(b)->inner : b;
}
