/* SPDX-License-Identifier: Apache-2.0
 * Copy on write: reads come from the base until a grain was written; written grains lie at the same offset of a sparse
 * temporary file without a name. A bit a grain says where it is. A write of part of a grain copies the rest first. One
 * lock around every request, for the bits.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block/block.h"

#define GRAIN ((u64)OVERLAY_GRAIN)

struct overlay {
	struct block b;
	struct block *base;
	pthread_mutex_t lock;
	int fd;
	u64 *own; /* by grain: it is in fd */
};

static struct overlay *overlay_of(struct block *b)
{
	return container_of(b, struct overlay, b);
}

static bool owned(const struct overlay *o, u64 grain)
{
	return o->own[grain / 64] & BIT(grain & 63);
}

/* One pread or pwrite of all; beyond what was written the file reads as zero. */
static int file_io(int fd, u64 off, u8 *buf, u64 len, bool write)
{
	while (len) {
		ssize_t n = write ? pwrite(fd, buf, len, (off_t)off) : pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buf += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

/* How many of the bytes at off lie on the same side as the first one. */
static u64 run_length(const struct overlay *o, u64 off, u64 len)
{
	u64 grain = off / GRAIN, end = ALIGN_DOWN(off, GRAIN) + GRAIN;

	while (end < off + len && owned(o, end / GRAIN) == owned(o, grain))
		end += GRAIN;
	return MIN(len, end - off);
}

static int read_pieces(struct overlay *o, u64 off, void *buf, u64 len)
{
	u8 *to = buf;
	int ret = 0;

	for (u64 n; len && !ret; off += n, to += n, len -= n) {
		n = run_length(o, off, len);
		ret = owned(o, off / GRAIN) ? file_io(o->fd, off, to, n, false) : block_read(o->base, off, to, n);
	}
	return ret;
}

static int overlay_read(struct block *b, u64 off, void *buf, u64 len)
{
	struct overlay *o = overlay_of(b);
	int ret;

	pthread_mutex_lock(&o->lock);
	ret = read_pieces(o, off, buf, len);
	pthread_mutex_unlock(&o->lock);
	return ret;
}

/* Only what is on one side. */
static int overlay_read_now(struct block *b, u64 off, void *buf, u64 len)
{
	struct overlay *o = overlay_of(b);
	struct iovec v = { buf, len };
	int ret = -EAGAIN;

	if (!len || pthread_mutex_trylock(&o->lock))
		return -EAGAIN;
	if (run_length(o, off, len) == len) {
		if (!owned(o, off / GRAIN))
			ret = block_read_now(o->base, off, buf, len);
		else if (preadv2(o->fd, &v, 1, (off_t)off, RWF_NOWAIT) == (ssize_t)len)
			ret = 0;
	}
	pthread_mutex_unlock(&o->lock);
	return ret;
}

/* Makes the grain at off our own, with the base's bytes. */
static int copy_up(struct overlay *o, u64 off)
{
	u64 at = ALIGN_DOWN(off, GRAIN), n = MIN(GRAIN, o->b.size - at);
	u8 bytes[GRAIN];
	int ret;

	if (owned(o, at / GRAIN))
		return 0;
	ret = block_read(o->base, at, bytes, n);
	if (!ret)
		ret = file_io(o->fd, at, bytes, n, true);
	if (!ret)
		o->own[at / GRAIN / 64] |= BIT(at / GRAIN & 63);
	return ret;
}

static int write_grains(struct overlay *o, u64 off, const void *buf, u64 len)
{
	u64 end = off + len;
	int ret = 0;

	if (!len)
		return 0;
	if (off % GRAIN)
		ret = copy_up(o, off);
	if (!ret && end % GRAIN && end != o->b.size)
		ret = copy_up(o, end);
	if (!ret)
		ret = file_io(o->fd, off, (u8 *)(uintptr_t)buf, len, true);
	if (ret)
		return ret;
	for (u64 g = off / GRAIN; g <= (end - 1) / GRAIN; g++)
		o->own[g / 64] |= BIT(g & 63);
	return 0;
}

static int overlay_write(struct block *b, u64 off, const void *buf, u64 len)
{
	struct overlay *o = overlay_of(b);
	int ret;

	pthread_mutex_lock(&o->lock);
	ret = write_grains(o, off, buf, len);
	pthread_mutex_unlock(&o->lock);
	return ret;
}

/* Nothing here outlives the process. */
static int overlay_flush(struct block *b)
{
	(void)b;
	return 0;
}

static int overlay_zero(struct block *b, u64 off, u64 len, bool unmap)
{
	static const u8 zeros[65536];
	int ret = 0;

	(void)unmap;
	for (u64 n; len && !ret; off += n, len -= n) {
		n = MIN(len, (u64)sizeof(zeros));
		ret = overlay_write(b, off, zeros, n);
	}
	return ret;
}

/* Space of grains that are wholly in the range is given back; they go on reading as our own, as zeros. */
static int overlay_discard(struct block *b, u64 off, u64 len)
{
	struct overlay *o = overlay_of(b);
	u64 first = ALIGN_UP(off, GRAIN), end = ALIGN_DOWN(off + len, GRAIN);

	if (first >= end)
		return 0;
	pthread_mutex_lock(&o->lock);
	if (!fallocate(o->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first, (off_t)(end - first)))
		for (u64 g = first / GRAIN; g < end / GRAIN; g++)
			o->own[g / 64] |= BIT(g & 63);
	pthread_mutex_unlock(&o->lock);
	return 0;
}

static void overlay_free(struct block *b)
{
	struct overlay *o = overlay_of(b);

	block_free(o->base);
	if (o->fd >= 0)
		close(o->fd);
	pthread_mutex_destroy(&o->lock);
	free(o->own);
	free(o);
}

static const struct block_ops overlay_ops = {
	.read = overlay_read,
	.write = overlay_write,
	.read_now = overlay_read_now,
	.flush = overlay_flush,
	.zero = overlay_zero,
	.discard = overlay_discard,
	.free = overlay_free,
};

u64 overlay_written(struct block *b, u64 *off, u64 max)
{
	struct overlay *o = overlay_of(b);
	u64 grain = *off / GRAIN, n = 0, grains = (b->size + GRAIN - 1) / GRAIN;

	if (b->ops != &overlay_ops)
		return 0;
	pthread_mutex_lock(&o->lock);
	while (grain < grains && !owned(o, grain))
		grain += !(grain & 63) && !o->own[grain / 64] ? 64 : 1;
	while (grain + n < grains && (n + 1) * GRAIN <= max && owned(o, grain + n))
		n++;
	pthread_mutex_unlock(&o->lock);
	*off = grain * GRAIN;
	return n * GRAIN;
}

/* In TMPDIR, without a name, so that it goes with the process however that ends. */
static int temporary_file(struct err *e)
{
	const char *dir = getenv("TMPDIR");
	char name[512];
	int fd;

	if (!dir || !*dir)
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	snprintf(name, sizeof(name), "%.400s/doppel-overlay-XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, "cannot make a temporary file for a disk's overlay in '%.200s'", dir);
	unlink(name);
	return fd;
}

struct block *overlay_new(struct block *base, struct err *e)
{
	struct overlay *o = calloc(1, sizeof(*o));

	if (!o) {
		err_set(e, "out of memory");
		block_free(base);
		return NULL;
	}
	*o = (struct overlay){ .b = { .ops = &overlay_ops, .size = base->size },
			       .base = base,
			       .fd = temporary_file(e) };
	pthread_mutex_init(&o->lock, NULL);
	o->own = calloc(base->size / GRAIN / 64 + 1, sizeof(*o->own));
	if (o->fd >= 0 && o->own && !ftruncate(o->fd, (off_t)base->size))
		return &o->b;
	if (o->fd >= 0)
		err_errno(e, "cannot make a disk's overlay of %llu MiB", (unsigned long long)(base->size >> 20));
	overlay_free(&o->b);
	return NULL;
}
