/* SPDX-License-Identifier: Apache-2.0
 * virtio entropy device (virtio 1.2, 5.4), from the host kernel's generator. Machine lock.
 */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

#include "base/inputs.h"
#include "dev/virtio/virtio.h"

struct virtio_rng;

/* inputs: of a deterministic run; NULL for an ordinary one. */
struct virtio_rng *virtio_rng_new(const struct virtio_board *b, struct inputs *inputs, struct err *e);
void virtio_rng_free(struct virtio_rng *v);
int virtio_rng_each_state(struct virtio_rng *v, state_fn *fn, void *opaque);

#endif
