/* SPDX-License-Identifier: Apache-2.0
 * Field tables: what of a chip's structure is its state, by name. A snapshot saves and loads it, the monitor prints it,
 * from the one table that stands beside the chip. A field's name is for ever; later versions only add rows.
 *
 * What a loader stores into a field has been compared with the row's range first, so that no value that the chip could
 * not hold is ever in it; what one field alone cannot say is checked by `loaded`.
 */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include "base/clock.h"
#include "base/err.h"

enum state_kind {
	STATE_KIND_UINT, /* an integer of 1, 2, 4 or 8 bytes */
	STATE_KIND_BOOL,
	STATE_KIND_BYTES, /* as they lie in memory */
	STATE_KIND_TIMER, /* a struct timer: its deadline, 8 bytes of VM time; storing arms it */
	NR_STATE_KINDS
};

struct state_field {
	const char *name;
	u32 offset, stride, count; /* elements, so far apart */
	u32 size;		   /* of an element as it is saved */
	u8 kind;
	u16 since;    /* format version that introduced it */
	u64 min, max; /* of an integer */
};

struct state {
	const struct state_field *field;
	unsigned n;
	/* All may be NULL; machine lock, vCPUs stopped. Before saving: what is under way is put where the fields show
	 * it. */
	void (*saving)(void *object);
	/* The fields of all parts have been loaded: checks what the ranges do not say, makes what follows from the
	 * fields. */
	int (*loaded)(void *object, struct err *e);
	/* After saving, and after everything was loaded: the outside world is listened to again. */
	void (*go_on)(void *object);
};

/* Called for each part of a machine; a part is a structure and its table. -1 ends the walk. fn copies what it keeps. */
typedef int state_fn(void *opaque, const char *name, const struct state *s, void *object);

#define STATE_ROW(T, nm, at, sz, st, cnt, k, lo, hi)                                                                  \
	{                                                                                                             \
		.name = nm, .offset = offsetof(T, at), .stride = st, .count = cnt, .size = sz, .kind = k, .since = 1, \
		.min = lo, .max = hi                                                                                  \
	}
#define STATE_SIZE(T, m) sizeof(((T *)0)->m)
#define STATE_COUNT(T, m) (STATE_SIZE(T, m) / STATE_SIZE(T, m[0]))

/* A member that is one integer; with the values it can have. */
#define STATE_RANGE(T, m, lo, hi) STATE_ROW(T, #m, m, STATE_SIZE(T, m), STATE_SIZE(T, m), 1, STATE_KIND_UINT, lo, hi)
#define STATE_UINT(T, m) STATE_RANGE(T, m, 0, ~0ull)
#define STATE_BOOL(T, m) STATE_ROW(T, #m, m, 1, 1, 1, STATE_KIND_BOOL, 0, 1)
#define STATE_TIMER(T, m) STATE_ROW(T, #m, m, 8, STATE_SIZE(T, m), 1, STATE_KIND_TIMER, 0, ~0ull)
#define STATE_BYTES(T, m) STATE_ROW(T, #m, m, STATE_SIZE(T, m), STATE_SIZE(T, m), 1, STATE_KIND_BYTES, 0, ~0ull)
/* An array of integers. */
#define STATE_ARRAY(T, m) \
	STATE_ROW(T, #m, m, STATE_SIZE(T, m[0]), STATE_SIZE(T, m[0]), STATE_COUNT(T, m), STATE_KIND_UINT, 0, ~0ull)
/* Member m of each element of the array a. */
#define STATE_EACH_ROW(T, a, m, sz, k, lo, hi) \
	STATE_ROW(T, #a "." #m, a[0].m, sz, STATE_SIZE(T, a[0]), STATE_COUNT(T, a), k, lo, hi)
#define STATE_EACH_RANGE(T, a, m, lo, hi) STATE_EACH_ROW(T, a, m, STATE_SIZE(T, a[0].m), STATE_KIND_UINT, lo, hi)
#define STATE_EACH(T, a, m) STATE_EACH_RANGE(T, a, m, 0, ~0ull)
#define STATE_EACH_BOOL(T, a, m) STATE_EACH_ROW(T, a, m, 1, STATE_KIND_BOOL, 0, 1)
#define STATE_EACH_BYTES(T, a, m) STATE_EACH_ROW(T, a, m, STATE_SIZE(T, a[0].m), STATE_KIND_BYTES, 0, ~0ull)
#define STATE_EACH_TIMER(T, a, m) STATE_EACH_ROW(T, a, m, 8, STATE_KIND_TIMER, 0, ~0ull)

/* Element i as it is saved: size bytes, little-endian. */
void state_get(const struct state_field *f, const void *object, u32 i, u8 *out);
/* The same bytes back; -1 (with nothing changed) if the row's range does not have them. */
int state_set(const struct state_field *f, void *object, u32 i, const u8 *in);
/* By name, or NULL. */
const struct state_field *state_find(const struct state *s, const char *name, size_t len);

#endif
