/* SPDX-License-Identifier: Apache-2.0
 * What every virtio device has as state: its status, features and queues. A device that holds chains while it is saved
 * puts them back into their queues first (virtq_unpop), so none is in flight in a snapshot, and takes them again after.
 */
#include "dev/virtio/virtio.h"

#define S struct virtio_dev
static const struct state_field fields[] = {
	STATE_UINT(S, accepted),
	STATE_UINT(S, status),
	STATE_BYTES(S, config),
	STATE_UINT(S, config_generation),
	STATE_UINT(S, unsignalled),
	STATE_UINT(S, again_mask),
	STATE_TIMER(S, again),
	STATE_UINT(S, isr),
	STATE_UINT(S, device_select),
	STATE_UINT(S, driver_select),
	STATE_UINT(S, queue_select),
	STATE_UINT(S, config_vector),
	STATE_ARRAY(S, vector),
	STATE_EACH(S, queue, desc),
	STATE_EACH(S, queue, driver),
	STATE_EACH(S, queue, device),
	STATE_EACH(S, queue, size),
	STATE_EACH_BOOL(S, queue, packed),
	STATE_EACH_BOOL(S, queue, indirect),
	STATE_EACH_BOOL(S, queue, event_idx),
	STATE_EACH_BOOL(S, queue, enabled),
	STATE_EACH_BOOL(S, queue, was_broken),
	STATE_EACH(S, queue, fresh),
	STATE_EACH(S, queue, last_avail),
	STATE_EACH(S, queue, used_idx),
	STATE_EACH_BOOL(S, queue, avail_wrap),
	STATE_EACH_BOOL(S, queue, used_wrap),
};
#undef S

static void state_saving(void *object)
{
	struct virtio_dev *d = object;

	if (d->ops->hold)
		d->ops->hold(d);
	for (unsigned n = 0; n < VIRTIO_QUEUES_MAX; n++)
		d->queue[n].was_broken = d->queue[n].broken != NULL;
}

/* A queue that runs has what virtq_enable() lets through, and places inside its rings. */
static bool queue_ok(struct virtq *q)
{
	if (q->packed && (q->last_avail >= q->size || q->used_idx >= q->size))
		return false;
	virtq_enable(q);
	return !q->broken;
}

static int state_loaded(void *object, struct err *e)
{
	struct virtio_dev *d = object;

	if (d->accepted & ~d->offered)
		return err_set(e, "%s has accepted features that are not offered here", d->ops->name);
	for (unsigned n = 0; n < VIRTIO_QUEUES_MAX; n++) {
		struct virtq *q = &d->queue[n];

		q->broken = NULL;
		if (q->was_broken)
			virtq_break(q, "it was broken when it was saved");
		else if (q->enabled && (n >= d->n_queues || !queue_ok(q)))
			return err_set(e, "%s has a queue %u that cannot be", d->ops->name, n);
	}
	return d->ops->loaded ? d->ops->loaded(d, e) : 0;
}

static void state_go_on(void *object)
{
	struct virtio_dev *d = object;

	for (unsigned n = 0; n < d->n_queues; n++)
		virtio_run(d, n);
	if (d->ops->go_on)
		d->ops->go_on(d);
}

const struct state virtio_state = {
	.field = fields, .n = ARRAY_SIZE(fields), .saving = state_saving, .loaded = state_loaded, .go_on = state_go_on
};
