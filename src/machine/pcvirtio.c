/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/pcvirtio.h"

#define FIRST_SLOT 2

int pc_virtio_init(struct pc_virtio *v, const struct virtio_board *board, const struct pc_virtio_config *cfg,
		   struct err *e)
{
	struct virtio_board b = *board;
	unsigned slot = FIRST_SLOT;

	b.devfn = PCI_DEVFN(slot++, 0);
	if (cfg->rng && !(v->rng = virtio_rng_new(&b, cfg->inputs, e)))
		return -1;
	b.devfn = PCI_DEVFN(slot++, 0);
	if (cfg->balloon && !(v->balloon = virtio_balloon_new(&b, cfg->balloon_target, e)))
		return -1;
	b.devfn = PCI_DEVFN(slot++, 0);
	if (cfg->n_ports && !(v->console = virtio_console_new(&b, cfg->port, cfg->n_ports, e)))
		return -1;
	b.disk_pool = cfg->disk_pool;
	for (unsigned i = 0; i < cfg->n_disks; i++) {
		b.devfn = PCI_DEVFN(slot++, 0);
		v->disk[i] = virtio_blk_new(&b, cfg->disk[i].image, cfg->disk[i].serial, cfg->disk_queues, e);
		if (!v->disk[i])
			return -1;
	}
	for (unsigned i = 0; i < cfg->n_nets; i++) {
		b.devfn = PCI_DEVFN(PC_NET_SLOT + i, 0);
		v->net[i] = virtio_net_new(&b, cfg->net[i].net, cfg->net[i].mac, e);
		if (!v->net[i])
			return -1;
	}
	for (unsigned i = 0; i < cfg->n_shares; i++) {
		b.devfn = PCI_DEVFN(PC_SHARE_SLOT + i, 0);
		v->share[i] = virtio_fs_new(&b, cfg->share[i], e);
		if (!v->share[i])
			return -1;
	}
	return 0;
}

void pc_virtio_deinit(struct pc_virtio *v)
{
	for (unsigned i = 0; i < PC_SHARES_MAX; i++)
		virtio_fs_free(v->share[i]);
	for (unsigned i = 0; i < PC_NETS_MAX; i++)
		virtio_net_free(v->net[i]);
	for (unsigned i = 0; i < PC_DISKS_MAX; i++)
		virtio_blk_free(v->disk[i]);
	virtio_console_free(v->console);
	virtio_balloon_free(v->balloon);
	virtio_rng_free(v->rng);
}

int pc_virtio_each_state(struct pc_virtio *v, state_fn *fn, void *opaque)
{
	if ((v->rng && virtio_rng_each_state(v->rng, fn, opaque)) ||
	    (v->balloon && virtio_balloon_each_state(v->balloon, fn, opaque)) ||
	    (v->console && virtio_console_each_state(v->console, fn, opaque)))
		return -1;
	for (unsigned i = 0; i < PC_DISKS_MAX; i++)
		if (v->disk[i] && virtio_blk_each_state(v->disk[i], i, fn, opaque))
			return -1;
	for (unsigned i = 0; i < PC_NETS_MAX; i++)
		if (v->net[i] && virtio_net_each_state(v->net[i], i, fn, opaque))
			return -1;
	for (unsigned i = 0; i < PC_SHARES_MAX; i++)
		if (v->share[i] && virtio_fs_each_state(v->share[i], i, fn, opaque))
			return -1;
	return 0;
}

_Static_assert(FIRST_SLOT + 3 == PC_DISK_SLOT, "rng, balloon and console stand before the disks");
_Static_assert(PC_SHARE_SLOT + PC_SHARES_MAX <= PCI_SLOTS, "every device finds a slot");
