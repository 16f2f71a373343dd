/* SPDX-License-Identifier: Apache-2.0
 * The board's virtio devices, in the PCI slots from 2 on: entropy, balloon, console, the disks, then the network cards and
 * the shared directories.
 * Machine lock.
 */
#ifndef MACHINE_PCVIRTIO_H
#define MACHINE_PCVIRTIO_H

#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/fs.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"

#define PC_DISKS_MAX 16
#define PC_DISK_SLOT 5 /* of the first disk; the others follow */
#define PC_NETS_MAX 4
#define PC_NET_SLOT (PC_DISK_SLOT + PC_DISKS_MAX) /* of the first network card */
#define PC_SHARES_MAX 7
#define PC_SHARE_SLOT (PC_NET_SLOT + PC_NETS_MAX) /* of the first shared directory */

struct pc_virtio_config {
	struct inputs *inputs; /* where entropy comes from */
	bool rng, balloon;
	u64 balloon_target; /* bytes the guest shall give back from the start */
	unsigned n_ports;   /* of the console; 0: none */
	struct virtio_port_config port[VIRTIO_PORTS_MAX];
	unsigned n_disks, disk_queues;
	struct block_pool *disk_pool; /* may be NULL */
	struct {
		struct block *image;
		const char *serial;
	} disk[PC_DISKS_MAX];
	unsigned n_nets;
	struct {
		struct net *net;
		const u8 *mac;
	} net[PC_NETS_MAX];
	unsigned n_shares;
	struct share *share[PC_SHARES_MAX];
};

struct pc_virtio {
	struct virtio_rng *rng;
	struct virtio_balloon *balloon;
	struct virtio_console *console;
	struct virtio_blk *disk[PC_DISKS_MAX];
	struct virtio_net *net[PC_NETS_MAX];
	struct virtio_fs *share[PC_SHARES_MAX];
};

/* board->devfn is chosen here. */
int pc_virtio_init(struct pc_virtio *v, const struct virtio_board *board, const struct pc_virtio_config *cfg,
		   struct err *e);
void pc_virtio_deinit(struct pc_virtio *v);
int pc_virtio_each_state(struct pc_virtio *v, state_fn *fn, void *opaque);

#endif
