/* SPDX-License-Identifier: Apache-2.0
 * A 128-bit hash of a sequence of bytes, for comparing states and files with themselves. Not against an adversary.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/base.h"

struct hash {
	u64 a, b;
};

#define HASH_TEXT 33 /* 32 digits and the end */

void hash_init(struct hash *h);
/* The cuts between calls count: adding "ab" is not adding "a" and then "b". */
void hash_add(struct hash *h, const void *p, size_t n);
void hash_add_u64(struct hash *h, u64 val);
const char *hash_text(const struct hash *h, char text[HASH_TEXT]);

static inline bool hash_equal(const struct hash *x, const struct hash *y)
{
	return x->a == y->a && x->b == y->b;
}

#endif
