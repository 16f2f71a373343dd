/* SPDX-License-Identifier: Apache-2.0
 * virtio block device (virtio 1.2, 5.2) over a disk image. Machine lock.
 */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "block/block.h"
#include "block/pool.h"
#include "dev/virtio/virtio.h"

struct virtio_blk;

/* The image stays its owner's, and so does the board's pool, which may be NULL: requests then end where they begin.
 * serial: at most 20 characters. queues: 1 to 16. */
struct virtio_blk *virtio_blk_new(const struct virtio_board *b, struct block *image, const char *serial,
				  unsigned queues, struct err *e);
/* Waits for what is under way: without the machine lock. */
void virtio_blk_free(struct virtio_blk *v);
/* Its part; `n` numbers the disk. What is on the disk is not part of it. */
int virtio_blk_each_state(struct virtio_blk *v, unsigned n, state_fn *fn, void *opaque);

#endif
