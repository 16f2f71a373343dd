/* SPDX-License-Identifier: Apache-2.0
 * A virtqueue as its device sees it: split and packed rings (virtio 1.2, 2.7 and 2.8), indirect tables, event index.
 *
 * Everything that a driver writes is checked here and nowhere else. Invariants:
 *  1. A descriptor, index or event word is read once into a copy; what is checked is what is used.
 *  2. A chain that virtq_pop() returns has at most VIRTQ_SEGS_MAX segments, readable ones first, all of it in RAM, less
 *     than 4 GiB in each direction. No more descriptors are in flight than the ring has.
 *  3. What breaks the rules leaves the queue `broken`, with the reason; nothing is taken from it or put into it until
 * it is reset. No work is done in a loop that the driver can make longer than these bounds.
 *  4. A chain outlives a reset of its queue: it is then stale, its buffers are not touched, and giving it back frees
 * it.
 *
 * Machine lock, but for the driver's own accesses, which run at the same time.
 */
#ifndef DEV_VIRTIO_QUEUE_H
#define DEV_VIRTIO_QUEUE_H

#include "mem/mem.h"

#define VIRTQ_SIZE_MAX 1024
#define VIRTQ_SEGS_MAX 1024

struct virtq {
	struct mem *mem;
	/* As the driver sets them before it enables the queue. */
	u64 desc, driver, device; /* split: descriptor table, available ring, used ring */
	u16 size, size_max;
	bool packed, indirect, event_idx;

	bool enabled;
	const char *broken; /* NULL, or why */
	bool was_broken;    /* for snapshots */
	u32 generation;	    /* counts resets */
	unsigned in_flight; /* descriptors of the ring (split: chains) that the device has */
	u32 fresh;	    /* entries used since virtq_wants_signal() was asked */
	u16 last_avail, used_idx;
	bool avail_wrap, used_wrap; /* packed */
	struct virtq_chain *spare;
};

struct virtq_seg {
	u64 gpa;
	u32 len;
};

struct virtq_chain {
	struct virtq *q;
	u32 generation;
	u16 id, slots; /* what the ring wants back, and how many of its entries */
	u16 at;	       /* where it was taken from */
	bool at_wrap;
	unsigned n_out, n_in; /* readable segments, then writable ones */
	u32 out_len, in_len;
	struct virtq_seg seg[VIRTQ_SEGS_MAX];
};

void virtq_init(struct virtq *q, struct mem *m, u16 size_max);
void virtq_free(struct virtq *q);
/* As at power-on; chains that are out become stale. */
void virtq_reset(struct virtq *q);
/* Checks size and addresses and starts; a queue that cannot start is broken. */
void virtq_enable(struct virtq *q);
/* The rules were broken, in a way that only the device can see (a request without a header). */
void virtq_break(struct virtq *q, const char *why);

/* The next available chain, or NULL: nothing there, or broken. It is the caller's until pushed or unpopped. */
struct virtq_chain *virtq_pop(struct virtq *q);
/* Puts the chain that was popped last back, as if it had not been taken. */
void virtq_unpop(struct virtq_chain *c);
/* Done: `written` bytes of the writable part are valid. Frees the chain. */
void virtq_push(struct virtq_chain *c, u32 written);
/* After pushes: does the driver want an interrupt for them? */
bool virtq_wants_signal(struct virtq *q);
/* Asks the driver to notify about the next chain; true if one is there already. */
bool virtq_rearm(struct virtq *q);

static inline bool virtq_stale(const struct virtq_chain *c)
{
	return c->generation != c->q->generation;
}

/* Copies from the readable part or to the writable part at byte `off` of it; how many bytes there were. */
u32 virtq_get(const struct virtq_chain *c, u32 off, void *buf, u32 len);
u32 virtq_put(const struct virtq_chain *c, u32 off, const void *buf, u32 len);

#endif
