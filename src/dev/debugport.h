/* SPDX-License-Identifier: Apache-2.0
 * The debug console at port 0xe9 (Bochs's) or another (SeaBIOS's is 0x402): a byte written goes to the backend, a read
 * gives 0xe9, by which guests know that somebody listens. Machine lock.
 */
#ifndef DEV_DEBUGPORT_H
#define DEV_DEBUGPORT_H

#include "chardev/chardev.h"
#include "mem/mem.h"

struct debugport {
	struct chardev *backend;
};

#define DEBUGPORT 0xe9

struct debugport *debugport_new(struct mem *m, u16 port, struct chardev *backend, struct err *e);
void debugport_free(struct debugport *d);

#endif
