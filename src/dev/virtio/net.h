/* SPDX-License-Identifier: Apache-2.0
 * virtio network card (virtio 1.2, 5.1) with one pair of queues and a control queue. Machine lock.
 */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "dev/virtio/virtio.h"
#include "net/net.h"

struct virtio_net;

/* The network stays its owner's. */
struct virtio_net *virtio_net_new(const struct virtio_board *b, struct net *net, const u8 mac[6], struct err *e);
void virtio_net_free(struct virtio_net *v);
/* Its parts; index tells one card from another. */
int virtio_net_each_state(struct virtio_net *v, unsigned index, state_fn *fn, void *opaque);

#endif
