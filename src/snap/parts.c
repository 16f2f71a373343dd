/* SPDX-License-Identifier: Apache-2.0 */
#include "snap/parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/fields.h"
#include "machine/pc.h"

#define S struct snap_clock
static const struct state_field clock_fields[] = {
	STATE_RANGE(S, now_ns, 0, BIT(62)),
	STATE_UINT(S, host_tsc),
	STATE_UINT(S, wall_ns),
};
#undef S

/* First of all: other parts compare what they have with now. */
static int clock_loaded(void *object, struct err *e)
{
	struct snap_clock *c = object;

	(void)e;
	clock_set(&c->vm->clock, c->now_ns);
	return 0;
}

static const struct state clock_state = { .field = clock_fields,
					  .n = ARRAY_SIZE(clock_fields),
					  .loaded = clock_loaded };

static int grow(struct snap_parts *p)
{
	unsigned room = p->room ? p->room * 2 : 64;
	struct snap_part *more;

	if (p->n < p->room)
		return 0;
	more = realloc(p->part, room * sizeof(*more));
	if (!more)
		return -1;
	p->part = more;
	p->room = room;
	return 0;
}

static int add(void *opaque, const char *name, const struct state *s, void *object)
{
	struct snap_parts *p = opaque;
	struct snap_part *part;

	if (grow(p))
		return -1;
	part = &p->part[p->n];
	*part = (struct snap_part){ .state = *s, .object = object };
	part->field = malloc((s->n + 1) * sizeof(*part->field));
	if (!part->field)
		return -1;
	if (s->n)
		memcpy(part->field, s->field, s->n * sizeof(*part->field));
	part->state.field = part->field;
	snprintf(part->name, sizeof(part->name), "%s", name);
	p->n++;
	return 0;
}

static int add_cpus(struct snap_parts *p, struct vm *vm)
{
	char name[16];

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		snprintf(name, sizeof(name), "cpu%u", i);
		if (add(p, name, &cpu_state, vm->vcpu[i]->cpu))
			return -1;
	}
	return 0;
}

int snap_parts_init(struct snap_parts *p, struct vm *vm, struct err *e)
{
	*p = (struct snap_parts){ .clock = { .vm = vm } };
	if (!add(p, "clock", &clock_state, &p->clock) && !add_cpus(p, vm) && !pc_each_state(vm->pc, add, p))
		return 0;
	snap_parts_free(p);
	return err_set(e, "out of memory for the list of devices");
}

void snap_parts_free(struct snap_parts *p)
{
	for (unsigned i = 0; i < p->n; i++)
		free(p->part[i].field);
	free(p->part);
	p->part = NULL;
	p->n = p->room = 0;
}

struct snap_part *snap_parts_find(struct snap_parts *p, const char *name)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!strcmp(p->part[i].name, name))
			return &p->part[i];
	return NULL;
}
