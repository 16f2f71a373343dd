// SPDX-License-Identifier: Apache-2.0
/* Locked and slow read-modify-write. A locked operation is a compare-exchange loop around the pure operation: on host
 * memory by the host's own LOCK CMPXCHG, elsewhere (code frames, devices, operands across a cache line, where a host
 * may punish or refuse the lock) by cpu->ops->cmpxchg. */
#include "cpu/int.h"

#include "cpu/int_lock.h"

/* A device register may read differently each time: after so many tries the instruction starts over, so that events
 * are taken meanwhile. */
#define RMW_TRIES 16

void *int_pin_locked(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out)
{
	void *p;

	*out = OUT_DONE;
	if (unlikely((lin & 63) + size > 64))
		return NULL;
	p = tlb_hit_w(c, lin, size);
	return likely(p) ? p : c->ops->pin(c, lin, size, acc | ACC_W | ACC_RMW, out);
}

#define W 8
#include "cpu/int_rmw.inc.h"
#define W 16
#include "cpu/int_rmw.inc.h"
#define W 32
#include "cpu/int_rmw.inc.h"
#define W 64
#include "cpu/int_rmw.inc.h"
