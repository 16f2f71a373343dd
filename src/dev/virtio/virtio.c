/* SPDX-License-Identifier: Apache-2.0
 * Status, features, and the running of queues.
 *
 * A queue is run in the thread that notified: at most as many chains as it has entries and for RUN_NS, then the rest is
 * left to a timer that is due at once, so that neither that vCPU nor the machine lock is held for long.
 */
#include "dev/virtio/virtio.h"

#include "base/log.h"

#define RUN_NS 5000000u

static void count(struct virtio_dev *d, enum counter id)
{
	counter_inc(d->board.counters, id);
}

static void signal_queue(struct virtio_dev *d, unsigned n)
{
	if (!(d->unsignalled & BIT(n)))
		return;
	d->unsignalled &= ~BIT(n);
	if (virtq_wants_signal(&d->queue[n])) {
		count(d, CNT_VIRTIO_IRQ);
		virtio_pci_interrupt_queue(d, n);
	}
}

/* A broken queue takes the device down (virtio 1.2, 2.1.2). */
static void check_queue(struct virtio_dev *d, unsigned n)
{
	struct virtq *q = &d->queue[n];

	if (!q->broken || (d->status & VIRTIO_NEEDS_RESET))
		return;
	count(d, CNT_VIRTIO_BROKEN);
	log_guest("%s, queue %u: %s; the driver must reset the device", d->ops->name, n, q->broken);
	d->status |= VIRTIO_NEEDS_RESET;
	if (d->status & VIRTIO_DRIVER_OK)
		virtio_config_changed(d);
}

static void run_later(struct virtio_dev *d, unsigned n)
{
	d->again_mask |= BIT(n);
	timer_arm(&d->again, clock_ns(d->board.clock));
}

/* Chains until there is none (true), or the device or the bounds say stop (false). */
static bool run_portion(struct virtio_dev *d, unsigned n, unsigned *left, u64 until_ns)
{
	struct virtq *q = &d->queue[n];
	struct virtq_chain *c;

	while ((c = virtq_pop(q))) {
		if (!*left || clock_ns(d->board.clock) > until_ns) {
			virtq_unpop(c);
			run_later(d, n);
			return false;
		}
		count(d, CNT_VIRTIO_REQUESTS);
		if (!d->ops->request(d, n, c)) {
			virtq_unpop(c);
			return false;
		}
		--*left;
	}
	return true;
}

void virtio_run(struct virtio_dev *d, unsigned n)
{
	struct virtq *q = &d->queue[n];
	unsigned left = q->size;
	u64 until_ns;

	if (!virtio_live(d) || !pci_may_master(&d->pci) || (d->running & BIT(n)))
		return;
	d->running |= BIT(n);
	until_ns = clock_ns(d->board.clock) + RUN_NS;
	while (run_portion(d, n, &left, until_ns) && virtq_rearm(q))
		;
	d->running &= ~BIT(n);
	signal_queue(d, n);
	check_queue(d, n);
}

void virtio_complete_quietly(struct virtio_dev *d, struct virtq_chain *c, u32 written)
{
	unsigned n = (unsigned)(c->q - d->queue);
	bool stale = virtq_stale(c);

	virtq_push(c, written);
	if (!stale)
		d->unsignalled |= BIT(n);
}

void virtio_complete(struct virtio_dev *d, struct virtq_chain *c, u32 written)
{
	unsigned n = (unsigned)(c->q - d->queue);
	bool stale = virtq_stale(c);

	virtio_complete_quietly(d, c, written);
	if (stale || (d->running & BIT(n)))
		return;
	signal_queue(d, n);
	check_queue(d, n);
}

void virtio_fail(struct virtio_dev *d, struct virtq_chain *c, const char *why)
{
	virtq_break(c->q, why);
	virtio_complete(d, c, 0);
}

void virtio_config_changed(struct virtio_dev *d)
{
	d->config_generation++;
	if (d->status & VIRTIO_DRIVER_OK)
		virtio_pci_interrupt_config(d);
}

static void on_again(void *opaque, u64 now_ns)
{
	struct virtio_dev *d = opaque;
	u64 mask = d->again_mask;

	(void)now_ns;
	d->again_mask = 0;
	for (unsigned n = 0; n < d->n_queues; n++)
		if (mask & BIT(n))
			virtio_run(d, n);
}

void virtio_notify(struct virtio_dev *d, unsigned n)
{
	count(d, CNT_VIRTIO_NOTIFY);
	if (n < d->n_queues)
		virtio_run(d, n);
}

/* ---- status -------------------------------------------------------------------------------------------------------
 */

void virtio_reset(struct virtio_dev *d)
{
	d->status = 0;
	d->accepted = 0;
	d->again_mask = d->unsignalled = 0;
	timer_arm(&d->again, CLOCK_NEVER);
	for (unsigned n = 0; n < d->n_queues; n++)
		virtq_reset(&d->queue[n]);
	virtio_pci_reset(d);
	if (d->ops->reset)
		d->ops->reset(d);
}

void virtio_reset_queue(struct virtio_dev *d, unsigned n)
{
	virtq_reset(&d->queue[n]);
	d->again_mask &= ~BIT(n);
	d->unsignalled &= ~BIT(n);
	if (d->ops->reset)
		d->ops->reset(d);
}

/* Bits are only ever added; 0 resets. FEATURES_OK stays clear if the choice cannot be (3.1.1). */
void virtio_set_status(struct virtio_dev *d, u8 status)
{
	u8 before = d->status;

	if (!status) {
		virtio_reset(d);
		return;
	}
	status &= (u8)~VIRTIO_NEEDS_RESET;
	if (!(before & VIRTIO_FEATURES_OK) && (d->accepted & ~d->offered || !virtio_has(d, VIRTIO_F_VERSION_1)))
		status &= (u8)~VIRTIO_FEATURES_OK;
	d->status |= status;
	if (!virtio_live(d) || (before & VIRTIO_DRIVER_OK))
		return;
	if (d->ops->started)
		d->ops->started(d);
	for (unsigned n = 0; n < d->n_queues; n++)
		virtio_run(d, n);
}

void virtio_enable_queue(struct virtio_dev *d, unsigned n)
{
	struct virtq *q = &d->queue[n];

	if (q->enabled || !(d->status & VIRTIO_FEATURES_OK))
		return;
	q->packed = virtio_has(d, VIRTIO_F_RING_PACKED);
	q->indirect = virtio_has(d, VIRTIO_F_INDIRECT_DESC);
	q->event_idx = virtio_has(d, VIRTIO_F_EVENT_IDX);
	virtq_enable(q);
	check_queue(d, n);
}

/* ---- life ---------------------------------------------------------------------------------------------------------
 */

int virtio_init(struct virtio_dev *d, const struct virtio_board *b, const struct virtio_ops *ops, unsigned n_queues,
		u16 queue_size, struct err *e)
{
	d->board = *b;
	d->ops = ops;
	d->n_queues = n_queues;
	d->offered |= BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) |
		      BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_RING_RESET);
	for (unsigned n = 0; n < n_queues; n++)
		virtq_init(&d->queue[n], b->mem, queue_size);
	timer_init(&d->again, b->timers, on_again, d);
	return virtio_pci_init(d, e);
}

void virtio_deinit(struct virtio_dev *d)
{
	if (!d->ops)
		return;
	if (d->pci.bus)
		virtio_reset(d);
	pci_unregister_device(&d->pci);
	for (unsigned n = 0; n < d->n_queues; n++)
		virtq_free(&d->queue[n]);
}

_Static_assert(VIRTIO_QUEUES_MAX <= 64, "queues are bits of a u64");
