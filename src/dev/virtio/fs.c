/* SPDX-License-Identifier: Apache-2.0
 * FUSE requests between rings and a file server (share/share.h). Of what they say only the header is looked at here:
 * forgetting and closing, for whose reply nobody waits, are told to the server and answered at once.
 *
 * A request is copied out of guest memory before the server sees it, and its reply into guest memory by this device:
 * the server has no guest memory.
 */
#include "dev/virtio/fs.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>

#define QUEUE_SIZE 1024
#define TOLD_NS 10000000u /* may wait for the next request for so long */

enum queue { Q_HIPRIO, Q_REQUEST, QUEUES };
enum config { CFG_TAG = 0, CFG_QUEUES = SHARE_TAG_MAX, CFG_LEN = SHARE_TAG_MAX + 4 };

struct virtio_fs {
	struct virtio_dev d; /* first */
	struct share *share;
	struct timer hurry;
	struct virtq_chain *chain[SHARE_SLOTS];
	u64 unique[SHARE_SLOTS];
};

static struct virtio_fs *of(struct virtio_dev *d)
{
	return container_of(d, struct virtio_fs, d);
}

static void count(struct virtio_fs *v, enum counter id, u64 n)
{
	counter_add(v->d.board.counters, id, n);
}

/* ---- what is told --------------------------------------------------------------------------------------------------
 */

static void hurry_later(struct virtio_fs *v)
{
	timer_arm(&v->hurry, clock_ns(v->d.board.clock) + TOLD_NS);
}

/* The queue that waits for room is not marked: both are looked at. */
static void on_hurry(void *opaque, u64 now_ns)
{
	struct virtio_fs *v = opaque;

	(void)now_ns;
	if (share_waits(v->share))
		share_hurry(v->share);
	for (unsigned n = 0; n < QUEUES; n++)
		virtio_run(&v->d, n);
}

static bool forget(struct virtio_fs *v, struct virtq_chain *c, const struct fuse_in_header *h)
{
	struct fuse_forget_in in;

	if (virtq_get(c, sizeof(*h), &in, sizeof(in)) != sizeof(in)) {
		virtio_fail(&v->d, c, "a request to forget that is too short");
		return true;
	}
	if (!share_forget(v->share, h->nodeid, in.nlookup))
		return false;
	virtio_complete_quietly(&v->d, c, 0);
	return true;
}

static u32 put_header(struct virtq_chain *c, u64 unique, int error)
{
	struct fuse_out_header o = { .len = sizeof(o), .error = error, .unique = unique };

	return virtq_put(c, 0, &o, sizeof(o));
}

static bool close_handle(struct virtio_fs *v, struct virtq_chain *c, const struct fuse_in_header *h)
{
	struct fuse_release_in in;
	bool there = virtq_get(c, sizeof(*h), &in, sizeof(in)) == sizeof(in);

	if (there && !share_close(v->share, in.fh))
		return false;
	virtio_complete_quietly(&v->d, c, put_header(c, h->unique, there ? 0 : -EINVAL));
	return true;
}

/* ---- requests ------------------------------------------------------------------------------------------------------
 */

static void finish(struct virtio_fs *v, unsigned slot)
{
	struct virtq_chain *c = v->chain[slot];
	u32 n = share_reply(v->share, slot);

	if (n)
		n = virtq_put(c, 0, share_buffer(v->share, slot), n);
	else if (c->in_len)
		n = put_header(c, v->unique[slot], -EIO);
	count(v, CNT_SHARE_OUT, n);
	v->chain[slot] = NULL;
	share_release(v->share, slot);
	virtio_complete_quietly(&v->d, c, n);
}

static void on_done(void *opaque, unsigned slot)
{
	struct virtio_fs *v = opaque;

	finish(v, slot);
	for (unsigned n = 0; n < QUEUES; n++)
		virtio_run(&v->d, n);
}

static bool pass_on(struct virtio_fs *v, struct virtq_chain *c, const struct fuse_in_header *h)
{
	int slot = share_take(v->share);

	if (slot < 0)
		return false;
	v->chain[slot] = c;
	v->unique[slot] = h->unique;
	virtq_get(c, 0, share_buffer(v->share, (unsigned)slot), c->out_len);
	count(v, CNT_SHARE_IN, c->out_len);
	if (share_submit(v->share, (unsigned)slot, c->out_len, MIN(c->in_len, SHARE_HEAD_MAX + SHARE_DATA_MAX)))
		finish(v, (unsigned)slot);
	else
		count(v, CNT_SHARE_WAITED, 1);
	return true;
}

static bool fs_request_chain(struct virtio_dev *d, unsigned n, struct virtq_chain *c)
{
	struct virtio_fs *v = of(d);
	struct fuse_in_header h;

	(void)n;
	if (virtq_get(c, 0, &h, sizeof(h)) != sizeof(h) || c->out_len > SHARE_HEAD_MAX + SHARE_DATA_MAX ||
	    (c->in_len && c->in_len < sizeof(struct fuse_out_header))) {
		virtio_fail(d, c, "a FUSE request that is too short or too long, or has no room for its reply");
		return true;
	}
	if (h.opcode != FUSE_FORGET && h.opcode != FUSE_RELEASE && h.opcode != FUSE_RELEASEDIR)
		return pass_on(v, c, &h);
	hurry_later(v);
	return h.opcode == FUSE_FORGET ? forget(v, c, &h) : close_handle(v, c, &h);
}

/* ---- the device ----------------------------------------------------------------------------------------------------
 */

/* The driver begins anew, with a session of its own. */
static void fs_reset_device(struct virtio_dev *d)
{
	if (!d->status)
		share_reset(of(d)->share);
}

static const struct virtio_ops fs_ops = {
	.name = "virtio-fs",
	.type = VIRTIO_FS,
	.class_code = 0x018000,
	.request = fs_request_chain,
	.reset = fs_reset_device,
};

int virtio_fs_each_state(struct virtio_fs *v, unsigned n, state_fn *fn, void *opaque)
{
	char name[24];

	snprintf(name, sizeof(name), "virtio-fs%u", n);
	return fn(opaque, name, &virtio_state, &v->d);
}

struct virtio_fs *virtio_fs_new(const struct virtio_board *b, struct share *s, struct err *e)
{
	struct virtio_fs *v = dev_alloc(sizeof(*v), e);
	const char *tag = share_spec_of(s)->tag;
	u32 queues = 1;

	if (!v)
		return NULL;
	v->share = s;
	v->d.config_len = CFG_LEN;
	memcpy(v->d.config + CFG_TAG, tag, strnlen(tag, SHARE_TAG_MAX));
	memcpy(v->d.config + CFG_QUEUES, &queues, sizeof(queues));
	timer_init(&v->hurry, b->timers, on_hurry, v);
	share_set_user(s, &(struct share_user){ on_done, v });
	if (!virtio_init(&v->d, b, &fs_ops, QUEUES, QUEUE_SIZE, e))
		return v;
	virtio_fs_free(v);
	return NULL;
}

void virtio_fs_free(struct virtio_fs *v)
{
	if (!v)
		return;
	share_set_user(v->share, NULL);
	timer_arm(&v->hurry, CLOCK_NEVER);
	for (unsigned i = 0; i < SHARE_SLOTS; i++)
		if (v->chain[i])
			virtq_push(v->chain[i], 0);
	virtio_deinit(&v->d);
	free(v);
}
