/* SPDX-License-Identifier: Apache-2.0
 * A request is 16 bytes of header, data, and one byte of status at the end of the writable part. Data goes through a
 * buffer of BUFFER bytes, so that a guest's request never makes the host allocate.
 */
#include "dev/virtio/blk.h"

#define QUEUE_SIZE 256
#define QUEUES_MAX 16
#define SEGS_MAX 254		     /* of data in a request */
#define SEG_MAX_BYTES (1u << 20)     /* a segment */
#define REQUEST_MAX (SEGS_MAX << 20) /* bytes in a request */
#define BUFFER (256u << 10)
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

struct virtio_blk {
	struct virtio_dev d;
	struct block *image;
	char serial[ID_LEN];
	u8 buffer[BUFFER];
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

static enum status do_in(struct virtio_blk *v, struct virtq_chain *c, u64 sector, u32 *written)
{
	u32 len = c->in_len - 1, done = 0;
	u64 off;

	if (len > REQUEST_MAX || !on_disk(v, sector, len, &off))
		return S_IOERR;
	for (u32 n; done < len; done += n) {
		n = MIN(len - done, BUFFER);
		if (block_read(v->image, off + done, v->buffer, n))
			return S_IOERR;
		virtq_put(c, done, v->buffer, n);
	}
	*written = len;
	counter_add(v->d.board.counters, CNT_DISK_READ, len);
	return S_OK;
}

static enum status do_out(struct virtio_blk *v, struct virtq_chain *c, u64 sector)
{
	u32 len = c->out_len - (u32)sizeof(struct header), done = 0;
	u64 off;

	if (len > REQUEST_MAX || !on_disk(v, sector, len, &off))
		return S_IOERR;
	for (u32 n; done < len; done += n) {
		n = MIN(len - done, BUFFER);
		virtq_get(c, (u32)sizeof(struct header) + done, v->buffer, n);
		if (block_write(v->image, off + done, v->buffer, n))
			return S_IOERR;
	}
	counter_add(v->d.board.counters, CNT_DISK_WRITTEN, len);
	return writes_through(&v->d) && block_flush(v->image) ? S_IOERR : S_OK;
}

static enum status do_range(struct virtio_blk *v, const struct range *r, bool discard)
{
	u64 off, len = (u64)r->count * BLOCK_SECTOR;
	int ret;

	if (r->count > RANGE_SECTORS || !on_disk(v, r->sector, len, &off))
		return S_IOERR;
	ret = discard ? block_discard(v->image, off, len) : block_zero(v->image, off, len, r->flags & UNMAP);
	return ret ? S_IOERR : S_OK;
}

/* 5.2.6.2: flags that are not known, and unmap for a discard, are unsupported. */
static enum status do_ranges(struct virtio_blk *v, struct virtq_chain *c, bool discard)
{
	struct range ranges[RANGES_MAX];
	u32 len = c->out_len - (u32)sizeof(struct header);
	enum status status = S_OK;

	if (!len || len > sizeof(ranges) || len % sizeof(ranges[0]) || v->image->readonly)
		return S_IOERR;
	virtq_get(c, (u32)sizeof(struct header), ranges, len);
	for (unsigned i = 0; i < len / sizeof(ranges[0]); i++)
		if (ranges[i].flags & ~(discard ? 0u : UNMAP))
			return S_UNSUPP;
	for (unsigned i = 0; i < len / sizeof(ranges[0]) && status == S_OK; i++)
		status = do_range(v, &ranges[i], discard);
	if (status == S_OK && writes_through(&v->d) && block_flush(v->image))
		status = S_IOERR;
	return status;
}

static enum status do_id(struct virtio_blk *v, struct virtq_chain *c, u32 *written)
{
	*written = virtq_put(c, 0, v->serial, MIN(c->in_len - 1, (u32)ID_LEN));
	return S_OK;
}

static enum status execute(struct virtio_blk *v, struct virtq_chain *c, const struct header *h, u32 *written)
{
	switch (h->type) {
	case T_IN:
		return do_in(v, c, h->sector, written);
	case T_OUT:
		return do_out(v, c, h->sector);
	case T_FLUSH:
		return block_flush(v->image) ? S_IOERR : S_OK;
	case T_GET_ID:
		return do_id(v, c, written);
	case T_DISCARD:
		return virtio_has(&v->d, F_DISCARD) ? do_ranges(v, c, true) : S_UNSUPP;
	case T_WRITE_ZEROES:
		return virtio_has(&v->d, F_WRITE_ZEROES) ? do_ranges(v, c, false) : S_UNSUPP;
	}
	return S_UNSUPP;
}

static bool blk_request(struct virtio_dev *d, unsigned n, struct virtq_chain *c)
{
	struct virtio_blk *v = container_of(d, struct virtio_blk, d);
	struct header h;
	u32 written = 0;
	u8 status;

	(void)n;
	if (!c->in_len || virtq_get(c, 0, &h, sizeof(h)) != sizeof(h)) {
		virtio_fail(d, c, "a disk request without a header or a status byte");
		return true;
	}
	status = (u8)execute(v, c, &h, &written);
	if (status != S_OK)
		counter_inc(d->board.counters, CNT_DISK_ERRORS);
	virtq_put(c, c->in_len - 1, &status, 1);
	/* The status byte is behind all data: only if all of it is written is the length up to it true. */
	virtio_complete(d, c, written == c->in_len - 1 ? c->in_len : written);
	return true;
}

/* Any value but 0 is write-back. */
static void blk_config_written(struct virtio_dev *d, unsigned off, unsigned size)
{
	struct virtio_blk *v = container_of(d, struct virtio_blk, d);

	if (off > CFG_WRITEBACK || off + size <= CFG_WRITEBACK)
		return;
	d->config[CFG_WRITEBACK] = d->config[CFG_WRITEBACK] != 0;
	if (!d->config[CFG_WRITEBACK])
		block_flush(v->image);
}

static void blk_reset(struct virtio_dev *d)
{
	if (!d->status)
		d->config[CFG_WRITEBACK] = 1;
}

static const struct virtio_ops blk_ops = {
	.name = "virtio-blk",
	.type = VIRTIO_BLK,
	.class_code = 0x018000,
	.request = blk_request,
	.config_written = blk_config_written,
	.reset = blk_reset,
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
	virtio_deinit(&v->d);
	free(v);
}
