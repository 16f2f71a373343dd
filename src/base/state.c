/* SPDX-License-Identifier: Apache-2.0 */
#include "base/state.h"

static u8 *element(const struct state_field *f, const void *object, u32 i)
{
	return (u8 *)(uintptr_t)object + f->offset + (size_t)i * f->stride;
}

void state_get(const struct state_field *f, const void *object, u32 i, u8 *out)
{
	const u8 *p = element(f, object, i);

	if (f->kind == STATE_KIND_TIMER)
		memcpy(out, &((const struct timer *)(const void *)p)->deadline_ns, 8);
	else
		memcpy(out, p, f->size);
}

int state_set(const struct state_field *f, void *object, u32 i, const u8 *in)
{
	u8 *p = element(f, object, i);
	u64 val = 0;

	if (f->kind == STATE_KIND_BYTES) {
		memcpy(p, in, f->size);
		return 0;
	}
	memcpy(&val, in, f->size);
	if (val < f->min || val > f->max)
		return -1;
	if (f->kind == STATE_KIND_TIMER)
		timer_arm((struct timer *)(void *)p, val);
	else
		memcpy(p, &val, f->size);
	return 0;
}

const struct state_field *state_find(const struct state *s, const char *name, size_t len)
{
	for (unsigned i = 0; i < s->n; i++)
		if (strlen(s->field[i].name) == len && !memcmp(s->field[i].name, name, len))
			return &s->field[i];
	return NULL;
}

_Static_assert(sizeof(bool) == 1, "a bool is saved as one byte");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "integers are saved as they lie");
