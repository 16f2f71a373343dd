/* SPDX-License-Identifier: Apache-2.0
 * virtio balloon (virtio 1.2, 5.5): memory that the guest lends goes back to the host, with statistics and free page
 * reporting. Machine lock.
 */
#ifndef DEV_VIRTIO_BALLOON_H
#define DEV_VIRTIO_BALLOON_H

#include "dev/virtio/virtio.h"

struct virtio_balloon;

/* 5.5.6.3.1; ~0 where the guest has said nothing. */
enum balloon_stat {
	BALLOON_SWAP_IN,
	BALLOON_SWAP_OUT,
	BALLOON_MAJOR_FAULTS,
	BALLOON_MINOR_FAULTS,
	BALLOON_FREE,
	BALLOON_TOTAL,
	BALLOON_AVAILABLE,
	BALLOON_CACHES,
	BALLOON_HUGE_ALLOCATED,
	BALLOON_HUGE_FAILED,
	NR_BALLOON_STATS
};

/* target: bytes that the guest shall give back from the start. */
struct virtio_balloon *virtio_balloon_new(const struct virtio_board *b, u64 target, struct err *e);
void virtio_balloon_free(struct virtio_balloon *v);
/* The guest is asked to lend so many bytes in all. */
void virtio_balloon_set_target(struct virtio_balloon *v, u64 bytes);
/* Bytes it says it has lent. */
u64 virtio_balloon_actual(const struct virtio_balloon *v);
/* Asks for new statistics, if the guest has a buffer for them here; how often some came; what came last. */
void virtio_balloon_ask_stats(struct virtio_balloon *v);
u64 virtio_balloon_answers(const struct virtio_balloon *v);
u64 virtio_balloon_stat(const struct virtio_balloon *v, enum balloon_stat stat);
/* Its parts. */
int virtio_balloon_each_state(struct virtio_balloon *v, state_fn *fn, void *opaque);

#endif
