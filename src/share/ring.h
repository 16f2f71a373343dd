/* SPDX-License-Identifier: Apache-2.0
 * The memory that the machine and a file server share. Neither side trusts the other: every word is read once, and
 * checked; what a request says is copied before it is looked at.
 *
 * A slot's state: FREE -> WAITED or ASYNC (the machine) -> DONE (the server) -> FREE (the machine). WAITED becomes
 * ASYNC when the one that waits gives up. Whoever the server finds there when it writes DONE it tells: by the futex on
 * the state, or by the event descriptor.
 */
#ifndef SHARE_RING_H
#define SHARE_RING_H

#include <stdatomic.h>

#include "share/share.h"

#define RING_TOLD 1024u /* a power of two */

enum slot_state { SLOT_FREE, SLOT_WAITED, SLOT_ASYNC, SLOT_DONE };

/* How many lookups of a node are forgotten; or: */
#define TOLD_CLOSE (1ull << 63)	    /* a handle is closed */
#define TOLD_RESET (TOLD_CLOSE + 1) /* everything is */

struct told {
	u64 id, what;
};

struct ring_slot {
	_Atomic u32 state;
	u32 len, room, reply;
};

struct ring {
	_Atomic u32 bell;	  /* counts what was posted or told; the server sleeps on it */
	_Atomic u32 asleep;	  /* it does, or is about to */
	_Atomic u32 posted, told; /* the machine's: entries written so far */
	_Atomic u32 told_done;	  /* the server's */
	u32 post[SHARE_SLOTS];
	struct told tell[RING_TOLD];
	struct ring_slot slot[SHARE_SLOTS];
};

#define RING_BUFFER (SHARE_HEAD_MAX + SHARE_DATA_MAX)
#define RING_HEAD (ALIGN_UP(sizeof(struct ring), PAGE_SIZE))
#define RING_BYTES (RING_HEAD + (u64)SHARE_SLOTS * RING_BUFFER)

static inline u8 *ring_buffer(struct ring *r, unsigned slot)
{
	return (u8 *)r + RING_HEAD + (u64)slot * RING_BUFFER;
}

/* Futexes between processes; timeout_ns 0: none. */
void ring_wait(_Atomic u32 *word, u32 seen, u64 timeout_ns);
void ring_wake(_Atomic u32 *word);

#endif
