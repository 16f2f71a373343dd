/* SPDX-License-Identifier: Apache-2.0
 * Numbers for things a guest refers to: index + 1, and above it how often the index was used before.
 */
#include <stdlib.h>

#include "share/fs.h"

static bool grow(struct ids *t)
{
	u32 room = t->room ? 2 * t->room : 64;
	void **row = realloc(t->row, room * sizeof(*row));
	u32 *gen;

	if (!row)
		return false;
	t->row = row;
	gen = realloc(t->gen, room * sizeof(*gen));
	if (!gen)
		return false;
	t->gen = gen;
	memset(gen + t->room, 0, (room - t->room) * sizeof(*gen));
	t->room = room;
	return true;
}

/* A free row holds the next free one's index + 1, shifted so that it cannot be a pointer. */
u64 ids_new(struct ids *t, void *p)
{
	u32 i = t->free;

	if (i) {
		t->free = (u32)((uintptr_t)t->row[i - 1] >> 1);
		t->row[i - 1] = p;
		return i | (u64)t->gen[i - 1] << 32;
	}
	if (t->n == t->room && !grow(t))
		return 0;
	t->row[t->n++] = p;
	return t->n | (u64)t->gen[t->n - 1] << 32;
}

void *ids_find(const struct ids *t, u64 id)
{
	u32 i = (u32)id;

	if (!i || i > t->n || t->gen[i - 1] != id >> 32 || ((uintptr_t)t->row[i - 1] & 1))
		return NULL;
	return t->row[i - 1];
}

void ids_free(struct ids *t, u64 id)
{
	u32 i = (u32)id;

	t->gen[i - 1]++;
	t->row[i - 1] = (void *)((uintptr_t)t->free << 1 | 1);
	t->free = i;
}

void ids_deinit(struct ids *t)
{
	free(t->row);
	free(t->gen);
	*t = (struct ids){ 0 };
}
