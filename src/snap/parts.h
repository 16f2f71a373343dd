/* SPDX-License-Identifier: Apache-2.0
 * All parts of a machine in one list: the clock, the vCPUs, every chip. A walk of it saves, loads or prints them.
 */
#ifndef SNAP_PARTS_H
#define SNAP_PARTS_H

#include "base/state.h"
#include "machine/vm.h"

struct snap_part {
	char name[40];
	struct state state;
	struct state_field *field; /* the copy that state.field points to */
	void *object;
	bool seen; /* loading: its section was there */
};

/* The VM clock and the host's TSC at one moment. */
struct snap_clock {
	struct vm *vm;
	u64 now_ns, host_tsc;
	u64 wall_ns; /* UTC then; for the reader */
};

struct snap_parts {
	struct snap_clock clock;
	struct snap_part *part;
	unsigned n, room;
};

/* Loading and saving fill the clock at their own time. */
int snap_parts_init(struct snap_parts *p, struct vm *vm, struct err *e);
void snap_parts_free(struct snap_parts *p);
struct snap_part *snap_parts_find(struct snap_parts *p, const char *name);

#endif
