/* SPDX-License-Identifier: Apache-2.0
 * The emulator's device that kernel test suites expect (pc-testdev), --testdev. Machine lock.
 *
 *	0xe0 to 0xe3	scratch: a 32-bit register, in accesses of 1, 2 or 4 bytes
 *	0xe4		page flush: a 32-bit write of an address asks that nothing cached about its page is used further
 *	0xe8		the low byte of the scratch register
 *	0x2000 + n	interrupt line n, 0 to 23: level 1 for a value that is not 0
 *	0xff000000	64 KiB of memory behind a device
 */
#ifndef DEV_TESTDEV_H
#define DEV_TESTDEV_H

#include "base/state.h"
#include "dev/dev.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define TESTDEV_LINES 24
#define TESTDEV_WINDOW 0x10000u

struct testdev {
	u32 scratch;
	struct irq lines[TESTDEV_LINES];
	struct call flush; /* arg: the page's guest-physical address; may do nothing where caches cannot be stale */
	u8 window[TESTDEV_WINDOW];
};

struct testdev *testdev_new(struct mem *m, const struct irq lines[TESTDEV_LINES], struct call flush, struct err *e);
void testdev_free(struct testdev *t);

extern const struct state testdev_state;

#endif
