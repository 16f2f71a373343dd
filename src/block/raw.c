/* SPDX-License-Identifier: Apache-2.0
 * A raw image: a file or a block device of the host, byte for byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block/block.h"

#define ZERO_CHUNK 65536u

struct raw {
	struct block b;
	int fd;
	/* learned: the file system cannot; from any thread */
	atomic_bool no_punch, no_zero_range, no_read_now, no_write_now;
};

static struct raw *raw_of(struct block *b)
{
	return container_of(b, struct raw, b);
}

/* The end of the file where there should be bytes: it was cut since. */
static int raw_read(struct block *b, u64 off, void *buf, u64 len)
{
	u8 *to = buf;

	while (len) {
		ssize_t n = pread(raw_of(b)->fd, to, MIN(len, BIT(30)), (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		to += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

static int raw_write(struct block *b, u64 off, const void *buf, u64 len)
{
	const u8 *from = buf;

	while (len) {
		ssize_t n = pwrite(raw_of(b)->fd, from, MIN(len, BIT(30)), (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		from += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

/* What preadv2() and pwritev2() did with RWF_NOWAIT: all of it, or the rest is left to the one who may wait. */
static int now_result(ssize_t n, u64 len, atomic_bool *cannot)
{
	if (n == (ssize_t)len)
		return 0;
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
		*cannot = true;
	return -EAGAIN;
}

static int raw_read_now(struct block *b, u64 off, void *buf, u64 len)
{
	struct raw *r = raw_of(b);
	struct iovec v = { buf, len };

	if (r->no_read_now)
		return -EAGAIN;
	return now_result(preadv2(r->fd, &v, 1, (off_t)off, RWF_NOWAIT), len, &r->no_read_now);
}

static int raw_write_now(struct block *b, u64 off, const void *buf, u64 len)
{
	struct raw *r = raw_of(b);
	struct iovec v = { (void *)(uintptr_t)buf, len };

	if (r->no_write_now)
		return -EAGAIN;
	return now_result(pwritev2(r->fd, &v, 1, (off_t)off, RWF_NOWAIT), len, &r->no_write_now);
}

static int raw_flush(struct block *b)
{
	return fdatasync(raw_of(b)->fd) ? -errno : 0;
}

static bool unsupported(int code)
{
	return code == EOPNOTSUPP || code == ENOSYS || code == ENODEV || code == EINVAL;
}

/* 1: this file cannot do it, and will not be asked again. */
static int try_fallocate(struct raw *r, int mode, u64 off, u64 len, atomic_bool *cannot)
{
	int ret;

	if (*cannot)
		return 1;
	do {
		ret = fallocate(r->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
	} while (ret && errno == EINTR);
	if (!ret)
		return 0;
	if (!unsupported(errno))
		return -errno;
	*cannot = true;
	return 1;
}

static int write_zeros(struct block *b, u64 off, u64 len)
{
	static const u8 zeros[ZERO_CHUNK];
	int ret = 0;

	for (u64 n; len && !ret; off += n, len -= n) {
		n = MIN(len, (u64)ZERO_CHUNK);
		ret = raw_write(b, off, zeros, n);
	}
	return ret;
}

static int raw_zero(struct block *b, u64 off, u64 len, bool unmap)
{
	struct raw *r = raw_of(b);
	int ret = 1;

	if (!len)
		return 0;
	if (unmap)
		ret = try_fallocate(r, FALLOC_FL_PUNCH_HOLE, off, len, &r->no_punch);
	if (ret == 1)
		ret = try_fallocate(r, FALLOC_FL_ZERO_RANGE, off, len, &r->no_zero_range);
	return ret == 1 ? write_zeros(b, off, len) : ret;
}

static int raw_discard(struct block *b, u64 off, u64 len)
{
	struct raw *r = raw_of(b);
	int ret = len ? try_fallocate(r, FALLOC_FL_PUNCH_HOLE, off, len, &r->no_punch) : 0;

	return ret < 0 ? ret : 0;
}

static void raw_free(struct block *b)
{
	struct raw *r = raw_of(b);

	close(r->fd);
	free(r);
}

static const struct block_ops raw_ops = {
	.read = raw_read,
	.write = raw_write,
	.read_now = raw_read_now,
	.write_now = raw_write_now,
	.flush = raw_flush,
	.zero = raw_zero,
	.discard = raw_discard,
	.free = raw_free,
};

static int cannot_open(const char *path, bool readonly, struct err *e)
{
	if (!readonly && (errno == EACCES || errno == EROFS || errno == EPERM))
		return err_errno(e, "cannot open disk '%.200s' for writing (',readonly' or ',overlay' would do)", path);
	return err_errno(e, "cannot open disk '%.200s'", path);
}

static int raw_prepare(struct raw *r, const char *path, struct err *e)
{
	struct stat st;
	off_t end;

	if (fstat(r->fd, &st))
		return err_errno(e, "cannot look at disk '%.200s'", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, "disk '%.200s' is neither a file nor a block device", path);
	if (flock(r->fd, (r->b.readonly ? LOCK_SH : LOCK_EX) | LOCK_NB)) {
		if (errno == EWOULDBLOCK)
			return err_set(e, "disk '%.200s' is in use by another machine", path);
		return err_errno(e, "cannot lock disk '%.200s'", path);
	}
	end = lseek(r->fd, 0, SEEK_END);
	if (end < 0)
		return err_errno(e, "cannot find the size of disk '%.200s'", path);
	r->b.size = ALIGN_DOWN((u64)end, (u64)BLOCK_SECTOR);
	if (!r->b.size)
		return err_set(e, "disk '%.200s' has less than one sector (%u bytes)", path, BLOCK_SECTOR);
	return 0;
}

struct block *raw_open(const char *path, bool readonly, struct err *e)
{
	/* O_NONBLOCK: opening a pipe must not wait; it means nothing for files and disks. */
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	struct raw *r;

	if (fd < 0) {
		cannot_open(path, readonly, e);
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		close(fd);
		err_set(e, "out of memory");
		return NULL;
	}
	*r = (struct raw){ .b = { .ops = &raw_ops, .readonly = readonly }, .fd = fd };
	if (!raw_prepare(r, path, e))
		return &r->b;
	raw_free(&r->b);
	return NULL;
}
