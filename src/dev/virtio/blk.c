/* SPDX-License-Identifier: Apache-2.0
 * A request is 16 bytes of header, data, and one byte of status at the end of the writable part. Data goes through one
 * of REQUESTS buffers, so that a guest's request never makes the host allocate.
 *
 * A request is a row of steps. A step that can be done without waiting is done in the thread that asks, with the
 * machine lock held; any other goes to a thread of the pool, which sees only the buffer and the image: guest memory is
 * touched with the machine lock alone, and not at all once the chain is stale. A write that was under way at a reset
 * still reaches the image, so nothing new is taken until it has: it must not come after what the next driver writes.
 */
#include "dev/virtio/blk.h"

#include <errno.h>
#include <stdio.h>

#define QUEUE_SIZE 256
#define QUEUES_MAX 16
#define SEGS_MAX 254		     /* of data in a request */
#define SEG_MAX_BYTES (1u << 20)     /* a segment */
#define REQUEST_MAX (SEGS_MAX << 20) /* bytes in a request */
#define BUFFER (128u << 10)
#define REQUESTS 8		  /* under way at once; more stay in the queue */
#define STEPS_NOW 8		  /* of a request, in the thread that asks, if none has to wait */
#define RANGE_SECTORS (32u << 11) /* of a discard or a write of zeros: 32 MiB */
#define RANGES_MAX 16

enum feature {
	F_SIZE_MAX = 1,
	F_SEG_MAX = 2,
	F_RO = 5,
	F_BLK_SIZE = 6,
	F_FLUSH = 9,
	F_TOPOLOGY = 10,
	F_CONFIG_WCE = 11,
	F_MQ = 12,
	F_DISCARD = 13,
	F_WRITE_ZEROES = 14,
};

enum config {
	CFG_CAPACITY = 0,
	CFG_SIZE_MAX = 8,
	CFG_SEG_MAX = 12,
	CFG_BLK_SIZE = 20,
	CFG_PHYSICAL_EXP = 24,
	CFG_MIN_IO = 26,
	CFG_WRITEBACK = 32,
	CFG_NUM_QUEUES = 34,
	CFG_MAX_DISCARD = 36,
	CFG_MAX_DISCARD_SEG = 40,
	CFG_DISCARD_ALIGN = 44,
	CFG_MAX_ZEROES = 48,
	CFG_MAX_ZEROES_SEG = 52,
	CFG_ZEROES_MAY_UNMAP = 56,
	CFG_LEN = 60,
};

enum type { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum status { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { ID_LEN = 20, UNMAP = 1 };

struct header {
	u32 type, reserved;
	u64 sector;
};

struct range {
	u64 sector;
	u32 count, flags;
};

struct virtio_blk;

/* A request that is under way. One step of it is at most BUFFER bytes, or all ranges. */
struct request {
	struct block_job job;
	struct virtio_blk *v;
	struct virtq_chain *chain; /* NULL: the slot is free */
	u32 type;
	u64 off;
	u32 len, done, now; /* bytes of data: in all, finished, in this step */
	u32 in_len;	    /* bytes that the guest gets, before the status */
	unsigned n_ranges;
	struct range range[RANGES_MAX];
	bool through;  /* stable before it ends */
	bool finished; /* no step is left */
	bool failed;   /* the host's answer to the step */
	enum status status;
	u8 buffer[BUFFER];
};

struct virtio_blk {
	struct virtio_dev d;
	struct block *image;
	struct block_client client;
	char serial[ID_LEN];
	unsigned stale;		/* requests under way from before a reset: nothing new is taken until they are gone */
	struct block_job flush; /* write-back was switched off; nothing new is taken either */
	bool flushing;
	struct request request[REQUESTS];
};

_Static_assert(sizeof(struct header) == 16 && sizeof(struct range) == 16, "as they lie in guest memory");

static void set_config(struct virtio_dev *d, unsigned at, u64 val, unsigned size)
{
	memcpy(d->config + at, &val, size);
}

/* The driver cannot flush, or asked for it: what is written must be stable before the request ends (5.2.6.2). */
static bool writes_through(const struct virtio_dev *d)
{
	return !virtio_has(d, F_FLUSH) || (virtio_has(d, F_CONFIG_WCE) && !d->config[CFG_WRITEBACK]);
}

/* In bytes; false if they are not whole sectors on the disk. */
static bool on_disk(const struct virtio_blk *v, u64 sector, u64 len, u64 *off)
{
	if (len % BLOCK_SECTOR || sector > v->image->size / BLOCK_SECTOR)
		return false;
	*off = sector * BLOCK_SECTOR;
	return len <= v->image->size - *off;
}

/* ---- a step: what may run in any thread -----------------------------------------------------------------------------
 */

static int do_ranges(const struct request *r)
{
	struct block *image = r->v->image;
	int ret = 0;

	for (unsigned i = 0; i < r->n_ranges && !ret; i++) {
		u64 off = r->range[i].sector * BLOCK_SECTOR, len = (u64)r->range[i].count * BLOCK_SECTOR;

		ret = r->type == T_DISCARD ? block_discard(image, off, len)
					   : block_zero(image, off, len, r->range[i].flags & UNMAP);
	}
	return ret;
}

static bool is_last_step(const struct request *r)
{
	return r->done + r->now == r->len;
}

static void work(struct block_job *job)
{
	struct request *r = container_of(job, struct request, job);
	struct block *image = r->v->image;
	int ret = 0;

	switch (r->type) {
	case T_IN:
		ret = block_read(image, r->off + r->done, r->buffer, r->now);
		break;
	case T_OUT:
		ret = block_write(image, r->off + r->done, r->buffer, r->now);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		ret = do_ranges(r);
		break;
	}
	if (!ret && r->through && is_last_step(r))
		ret = block_flush(image);
	r->failed = ret;
}

/* False: it has to wait. */
static bool work_now(struct request *r)
{
	struct block *image = r->v->image;
	int ret = -EAGAIN;

	if (r->type == T_IN)
		ret = block_read_now(image, r->off + r->done, r->buffer, r->now);
	else if (r->type == T_OUT && !(r->through && is_last_step(r)))
		ret = block_write_now(image, r->off + r->done, r->buffer, r->now);
	else if (r->type == T_FLUSH && image->readonly)
		ret = 0;
	r->failed = ret;
	return ret != -EAGAIN;
}

/* ---- from the guest to steps and back (machine lock) --------------------------------------------------------------
 */

static enum status take_ranges(struct request *r)
{
	struct virtio_blk *v = r->v;
	bool discard = r->type == T_DISCARD;
	u32 len = r->chain->out_len - (u32)sizeof(struct header);
	u64 off;

	if (!virtio_has(&v->d, discard ? F_DISCARD : F_WRITE_ZEROES))
		return S_UNSUPP;
	if (!len || len > sizeof(r->range) || len % sizeof(r->range[0]) || v->image->readonly)
		return S_IOERR;
	virtq_get(r->chain, (u32)sizeof(struct header), r->range, len);
	r->n_ranges = len / (u32)sizeof(r->range[0]);
	/* 5.2.6.2: flags that are not known, and unmap for a discard, are unsupported. */
	for (unsigned i = 0; i < r->n_ranges; i++)
		if (r->range[i].flags & ~(discard ? 0u : UNMAP))
			return S_UNSUPP;
	for (unsigned i = 0; i < r->n_ranges; i++)
		if (r->range[i].count > RANGE_SECTORS ||
		    !on_disk(v, r->range[i].sector, (u64)r->range[i].count * BLOCK_SECTOR, &off))
			return S_IOERR;
	return S_OK;
}

static enum status take_data(struct request *r, u64 sector, u32 len)
{
	if (len > REQUEST_MAX || !on_disk(r->v, sector, len, &r->off))
		return S_IOERR;
	if (r->type == T_OUT && r->v->image->readonly)
		return S_IOERR;
	r->len = len;
	r->finished = !len && !r->through;
	return S_OK;
}

/* Checks it, once; anything but S_OK is its end. */
static enum status take(struct request *r, const struct header *h)
{
	struct virtq_chain *c = r->chain;

	r->type = h->type;
	r->through = writes_through(&r->v->d) && h->type != T_IN;
	switch (h->type) {
	case T_IN:
		return take_data(r, h->sector, c->in_len - 1);
	case T_OUT:
		return take_data(r, h->sector, c->out_len - (u32)sizeof(struct header));
	case T_FLUSH:
		r->through = true;
		return S_OK;
	case T_GET_ID:
		r->in_len = virtq_put(c, 0, r->v->serial, MIN(c->in_len - 1, (u32)ID_LEN));
		r->finished = true;
		return S_OK;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return take_ranges(r);
	}
	return S_UNSUPP;
}

static void begin_step(struct request *r)
{
	r->now = MIN(r->len - r->done, BUFFER);
	if (r->type == T_OUT)
		virtq_get(r->chain, (u32)sizeof(struct header) + r->done, r->buffer, r->now);
}

static void end_step(struct request *r)
{
	struct counters *n = r->v->d.board.counters;

	if (r->failed) {
		r->status = S_IOERR;
		return;
	}
	if (r->type == T_IN)
		virtq_put(r->chain, r->done, r->buffer, r->now);
	counter_add(n, r->type == T_IN ? CNT_DISK_READ : CNT_DISK_WRITTEN, r->now);
	r->done += r->now;
	r->finished = r->done == r->len;
	if (r->type == T_IN)
		r->in_len = r->done;
}

/* Gives it back to the driver and frees the slot. */
static void finish(struct request *r)
{
	struct virtio_blk *v = r->v;
	struct virtq_chain *c = r->chain;
	bool stale = virtq_stale(c);
	u8 status = (u8)r->status;
	u32 written = r->status == S_OK ? r->in_len : 0;

	if (r->status != S_OK)
		counter_inc(v->d.board.counters, CNT_DISK_ERRORS);
	virtq_put(c, c->in_len - 1, &status, 1);
	v->stale -= stale;
	r->chain = NULL;
	/* The status byte is behind all data: only if all of it is written is the length up to it true. */
	virtio_complete_quietly(&v->d, c, written == c->in_len - 1 ? c->in_len : written);
}

/* Steps until it has ended, or one of them is in the pool. */
static void go_on(struct request *r, unsigned now)
{
	while (!r->finished && r->status == S_OK && !virtq_stale(r->chain)) {
		begin_step(r);
		if (!now || !work_now(r)) {
			if (block_submit(&r->v->client, &r->job)) {
				counter_inc(r->v->d.board.counters, CNT_DISK_WAITED);
				return;
			}
			work(&r->job);
		} else {
			now--;
		}
		end_step(r);
	}
	finish(r);
}

static void on_done(struct block_client *client, struct block_job *job)
{
	struct virtio_blk *v = container_of(client, struct virtio_blk, client);
	struct request *r = container_of(job, struct request, job);

	if (job == &v->flush) {
		v->flushing = false;
		return;
	}
	end_step(r);
	go_on(r, 0);
}

/* The queues that wait for a slot are not marked anywhere: all are looked at. */
static void on_settle(struct block_client *client)
{
	struct virtio_blk *v = container_of(client, struct virtio_blk, client);

	for (unsigned n = 0; n < v->d.n_queues; n++)
		virtio_run(&v->d, n);
}

static struct request *free_slot(struct virtio_blk *v)
{
	for (unsigned i = 0; i < REQUESTS; i++)
		if (!v->request[i].chain)
			return &v->request[i];
	return NULL;
}

static bool blk_request(struct virtio_dev *d, unsigned n, struct virtq_chain *c)
{
	struct virtio_blk *v = container_of(d, struct virtio_blk, d);
	struct request *r = v->stale || v->flushing ? NULL : free_slot(v);
	struct header h;

	(void)n;
	if (!r)
		return false;
	if (!c->in_len || virtq_get(c, 0, &h, sizeof(h)) != sizeof(h)) {
		virtio_fail(d, c, "a disk request without a header or a status byte");
		return true;
	}
	r->chain = c;
	r->off = r->len = r->done = r->now = r->in_len = r->n_ranges = 0;
	r->finished = r->failed = false;
	r->status = S_OK;
	r->status = take(r, &h);
	go_on(r, STEPS_NOW);
	return true;
}

/* Any value but 0 is write-back. */
static void blk_config_written(struct virtio_dev *d, unsigned off, unsigned size)
{
	struct virtio_blk *v = container_of(d, struct virtio_blk, d);

	if (off > CFG_WRITEBACK || off + size <= CFG_WRITEBACK)
		return;
	d->config[CFG_WRITEBACK] = d->config[CFG_WRITEBACK] != 0;
	if (d->config[CFG_WRITEBACK] || v->flushing)
		return;
	v->flushing = block_submit(&v->client, &v->flush);
	if (!v->flushing)
		block_flush(v->image);
}

static void flush_work(struct block_job *job)
{
	block_flush(container_of(job, struct virtio_blk, flush)->image);
}

static void blk_reset(struct virtio_dev *d)
{
	struct virtio_blk *v = container_of(d, struct virtio_blk, d);

	v->stale = 0;
	for (unsigned i = 0; i < REQUESTS; i++)
		v->stale += v->request[i].chain && virtq_stale(v->request[i].chain);
	if (!d->status)
		d->config[CFG_WRITEBACK] = 1;
}

/* What was written before must not be lost with this process. */
static void blk_hold(struct virtio_dev *d)
{
	block_flush(container_of(d, struct virtio_blk, d)->image);
}

static int blk_loaded(struct virtio_dev *d, struct err *e)
{
	struct virtio_blk *v = container_of(d, struct virtio_blk, d);
	u64 sectors;

	memcpy(&sectors, d->config + CFG_CAPACITY, sizeof(sectors));
	if (sectors == v->image->size / BLOCK_SECTOR)
		return 0;
	return err_set(e, "a disk is not the one that was saved: it has %llu sectors, had %llu",
		       (unsigned long long)(v->image->size / BLOCK_SECTOR), (unsigned long long)sectors);
}

static const struct virtio_ops blk_ops = {
	.name = "virtio-blk",
	.type = VIRTIO_BLK,
	.class_code = 0x018000,
	.request = blk_request,
	.config_written = blk_config_written,
	.reset = blk_reset,
	.hold = blk_hold,
	.loaded = blk_loaded,
};

static void fill_config(struct virtio_blk *v, unsigned queues)
{
	struct virtio_dev *d = &v->d;

	d->offered = BIT(F_SIZE_MAX) | BIT(F_SEG_MAX) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_TOPOLOGY) |
		     BIT(F_CONFIG_WCE) | BIT(F_MQ);
	d->offered |= v->image->readonly ? BIT(F_RO) : BIT(F_DISCARD) | BIT(F_WRITE_ZEROES);
	d->config_len = CFG_LEN;
	set_config(d, CFG_CAPACITY, v->image->size / BLOCK_SECTOR, 8);
	set_config(d, CFG_SIZE_MAX, SEG_MAX_BYTES, 4);
	set_config(d, CFG_SEG_MAX, SEGS_MAX, 4);
	set_config(d, CFG_BLK_SIZE, BLOCK_SECTOR, 4);
	set_config(d, CFG_PHYSICAL_EXP, 3, 1); /* 4 KiB */
	set_config(d, CFG_MIN_IO, 8, 2);
	set_config(d, CFG_WRITEBACK, 1, 1);
	d->wmask[CFG_WRITEBACK] = 0xff;
	set_config(d, CFG_NUM_QUEUES, queues, 2);
	if (v->image->readonly)
		return;
	set_config(d, CFG_MAX_DISCARD, RANGE_SECTORS, 4);
	set_config(d, CFG_MAX_DISCARD_SEG, RANGES_MAX, 4);
	set_config(d, CFG_DISCARD_ALIGN, 8, 4);
	set_config(d, CFG_MAX_ZEROES, RANGE_SECTORS, 4);
	set_config(d, CFG_MAX_ZEROES_SEG, RANGES_MAX, 4);
	set_config(d, CFG_ZEROES_MAY_UNMAP, 1, 1);
}

struct virtio_blk *virtio_blk_new(const struct virtio_board *b, struct block *image, const char *serial,
				  unsigned queues, struct err *e)
{
	struct virtio_blk *v = dev_alloc(sizeof(*v), e);

	if (!v)
		return NULL;
	v->image = image;
	v->client = (struct block_client){ .pool = b->disk_pool, .done = on_done, .settle = on_settle };
	v->flush.work = flush_work;
	for (unsigned i = 0; i < REQUESTS; i++) {
		v->request[i].v = v;
		v->request[i].job.work = work;
	}
	memcpy(v->serial, serial, strnlen(serial, ID_LEN));
	queues = MAX(1u, MIN(queues, (unsigned)QUEUES_MAX));
	fill_config(v, queues);
	if (!virtio_init(&v->d, b, &blk_ops, queues, QUEUE_SIZE, e))
		return v;
	virtio_blk_free(v);
	return NULL;
}

void virtio_blk_free(struct virtio_blk *v)
{
	if (!v)
		return;
	block_client_drain(&v->client);
	virtio_deinit(&v->d);
	free(v);
}

int virtio_blk_each_state(struct virtio_blk *v, unsigned n, state_fn *fn, void *opaque)
{
	char name[24];

	snprintf(name, sizeof(name), "virtio-blk%u", n);
	return fn(opaque, name, &virtio_state, &v->d);
}
