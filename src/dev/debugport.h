/* SPDX-License-Identifier: Apache-2.0
 * The debug console at port 0xe9 (Bochs's): a byte written goes to the backend, a read gives 0xe9. Machine lock.
 */
#ifndef DEV_DEBUGPORT_H
#define DEV_DEBUGPORT_H

#include "chardev/chardev.h"
#include "mem/mem.h"

struct debugport {
	struct chardev *backend;
};

struct debugport *debugport_new(struct mem *m, struct chardev *backend, struct err *e);
void debugport_free(struct debugport *d);

#endif
