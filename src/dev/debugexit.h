/* SPDX-License-Identifier: Apache-2.0
 * The exit port of kernel test suites: writing V, in any size, ends the machine with status (V << 1) | 1. Machine lock.
 */
#ifndef DEV_DEBUGEXIT_H
#define DEV_DEBUGEXIT_H

#include "dev/dev.h"
#include "mem/mem.h"

#define DEBUGEXIT_PORT 0xf4

struct debugexit {
	struct call leave; /* arg: V as written */
};

/* Four ports from port on. */
struct debugexit *debugexit_new(struct mem *m, u16 port, struct call leave, struct err *e);
void debugexit_free(struct debugexit *d);

#endif
