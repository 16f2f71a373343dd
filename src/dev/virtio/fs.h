/* SPDX-License-Identifier: Apache-2.0
 * virtio file system device (virtio 1.2, 5.11) over a shared directory of the host. Machine lock.
 */
#ifndef DEV_VIRTIO_FS_H
#define DEV_VIRTIO_FS_H

#include "dev/virtio/virtio.h"
#include "share/share.h"

struct virtio_fs;

/* The share stays its owner's. */
struct virtio_fs *virtio_fs_new(const struct virtio_board *b, struct share *s, struct err *e);
void virtio_fs_free(struct virtio_fs *v);
/* Its part; `n` numbers the device. What the file server knows is not in it: such a machine cannot be saved. */
int virtio_fs_each_state(struct virtio_fs *v, unsigned n, state_fn *fn, void *opaque);

#endif
