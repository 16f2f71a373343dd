/* SPDX-License-Identifier: Apache-2.0
 * Files that are open, and their bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "share/fs.h"

#define COPY_MAX (8u << 20) /* at once: others wait */

static struct handle *handle_of(struct fs *f, const struct request *r, u64 id)
{
	struct handle *h = handle_find(f, id, false);

	return h && h->node->id == r->h.nodeid ? h : NULL;
}

/* What of a guest's flags is for the host's open(2). Where the guest writes back what it has cached it reads, too, and
 * knows where the end is. */
int file_flags(const struct fs *f, u32 flags)
{
	int keep = (int)flags & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME), mode = keep & O_ACCMODE;

	if ((mode == O_WRONLY && (f->flags & FUSE_WRITEBACK_CACHE)) || mode == O_ACCMODE ||
	    ((keep & O_TRUNC) && mode == O_RDONLY))
		keep = (keep & ~O_ACCMODE) | O_RDWR;
	return keep;
}

/* The descriptor becomes the handle's, or is closed. */
int file_reply_open(struct fs *f, struct request *r, struct node *n, int fd, const struct statx *st,
		    struct fuse_open_out *o)
{
	struct handle *h = handle_new(f, n, fd, false);
	bool same = attr_same(n, st);

	(void)r;
	*o = (struct fuse_open_out){ 0 };
	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	o->fh = h->id;
	if (f->spec->cache == SHARE_CACHE_NONE)
		o->open_flags = FOPEN_DIRECT_IO;
	else if (same || f->spec->cache == SHARE_CACHE_ALWAYS)
		o->open_flags = FOPEN_KEEP_CACHE;
	return 0;
}

void file_strip(const struct fs *f, int fd)
{
	struct stat st;
	mode_t bits = S_ISUID;

	if (!f->owns || fstat(fd, &st) || !(st.st_mode & (S_ISUID | S_ISGID)))
		return;
	if (st.st_mode & S_IXGRP)
		bits |= S_ISGID;
	if (st.st_mode & bits)
		fchmod(fd, st.st_mode & 07777 & ~bits);
}

int fs_open(struct fs *f, struct request *r)
{
	const struct fuse_open_in *in = fs_arg(r, sizeof(*in));
	struct node *n = node_find(f, r->h.nodeid);
	struct fuse_open_out o;
	struct statx st;
	int flags, fd, ret;

	if (!n || !in)
		return n ? -EINVAL : -ENOENT;
	flags = file_flags(f, in->flags);
	if (f->spec->readonly && ((in->flags & O_ACCMODE) != O_RDONLY || (in->flags & O_TRUNC)))
		return -EROFS;
	if (n->type != S_IFREG)
		return n->type == S_IFDIR ? -EISDIR : -ENXIO;
	fd = node_open(f, n, flags);
	if (fd == -EACCES && (flags & O_ACCMODE) == O_RDWR && (in->flags & O_ACCMODE) == O_WRONLY)
		fd = node_open(f, n, (flags & ~O_ACCMODE) | O_WRONLY);
	if (fd >= 0 && (in->flags & O_TRUNC) && (in->open_flags & FUSE_OPEN_KILL_SUIDGID))
		file_strip(f, fd);
	ret = fd < 0 ? fd : stat_fd(fd, &st);
	if (!ret)
		ret = file_reply_open(f, r, n, fd, &st, &o);
	else if (fd >= 0)
		close(fd);
	return ret ? ret : fs_reply(r, &o, sizeof(o));
}

int fs_release(struct fs *f, struct request *r)
{
	const struct fuse_release_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;

	if (h)
		handle_free(f, h);
	return 0;
}

/* Later, by another thread, with a descriptor of its own. False: there is none. */
static bool defer(struct fs *f, int fd, const struct fs_slow *slow)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own < 0)
		return false;
	f->slow = *slow;
	f->slow.fd = own;
	return true;
}

/* What is in memory: its length, up to the end; -EAGAIN: a disk has to be waited for; or another error. */
static int read_at_hand(int fd, u8 *data, u32 len, u64 offset)
{
	u32 n = 0;

	while (n < len) {
		struct iovec v = { data + n, len - n };
		ssize_t got = preadv2(fd, &v, 1, (off_t)(offset + n), RWF_NOWAIT);

		if (got < 0)
			return -errno;
		if (!got)
			break;
		n += (u32)got;
	}
	return (int)n;
}

int fs_read(struct fs *f, struct request *r)
{
	const struct fuse_read_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;
	u32 len;
	int ret;

	if (!h)
		return -EBADF;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	len = MIN(in->size, r->room);
	ret = f->defers ? read_at_hand(h->fd, r->data, len, in->offset) : -EOPNOTSUPP;
	if (ret == -EAGAIN && defer(f, h->fd, &(struct fs_slow){ -1, SLOW_READ, r->h.unique, in->offset, len }))
		return 0;
	if (ret >= 0)
		return ret;
	ret = (int)pread(h->fd, r->data, len, (off_t)in->offset);
	return ret < 0 ? -errno : ret;
}

int fs_write(struct fs *f, struct request *r)
{
	const struct fuse_write_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;
	struct fuse_write_out o = { 0 };
	struct iovec v;
	ssize_t n;

	if (!h)
		return -EBADF;
	if (in->size > r->payload_len)
		return -EINVAL;
	v = (struct iovec){ (void *)(uintptr_t)r->payload, in->size };
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		file_strip(f, h->fd);
	/* The guest can change this flag of an open file. */
	if ((in->flags & O_APPEND) && !(f->flags & FUSE_WRITEBACK_CACHE))
		n = pwritev2(h->fd, &v, 1, (off_t)in->offset, RWF_APPEND);
	else
		n = pwritev(h->fd, &v, 1, (off_t)in->offset);
	if (n < 0)
		return -errno;
	o.size = (u32)n;
	return fs_reply(r, &o, sizeof(o));
}

static int sync_now(int fd, int what)
{
	int ret = what == SLOW_FSYNC ? fsync(fd) : what == SLOW_FDATASYNC ? fdatasync(fd) : syncfs(fd);

	return ret ? -errno : 0;
}

/* A disk takes milliseconds, in which others can be served; what is in memory does not. */
int file_sync(struct fs *f, const struct request *r, int fd, int what)
{
	struct statfs s;

	if (!f->defers || fstatfs(fd, &s) || s.f_type == TMPFS_MAGIC || s.f_type == RAMFS_MAGIC)
		return sync_now(fd, what);
	return defer(f, fd, &(struct fs_slow){ .what = (u32)what, .unique = r->h.unique }) ? 0 : sync_now(fd, what);
}

static int read_now(const struct fs_slow *slow, u8 *data, u32 room, u32 *n)
{
	ssize_t ret = pread(slow->fd, data, MIN(slow->len, room), (off_t)slow->offset);

	*n = (u32)MAX(ret, 0);
	return ret < 0 ? -errno : 0;
}

u32 fs_do_slow(const struct fs_slow *slow, u8 *buf, u32 room)
{
	struct fuse_out_header o = { .unique = slow->unique };
	u32 n = 0;

	if (slow->what == SLOW_READ)
		o.error = read_now(slow, buf + sizeof(o), room > sizeof(o) ? room - (u32)sizeof(o) : 0, &n);
	else
		o.error = sync_now(slow->fd, (int)slow->what);
	close(slow->fd);
	if (room < sizeof(o))
		return 0;
	o.len = (u32)sizeof(o) + n;
	memcpy(buf, &o, sizeof(o));
	return o.len;
}

int fs_fsync(struct fs *f, struct request *r)
{
	const struct fuse_fsync_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;

	if (!h)
		return -EBADF;
	return file_sync(f, r, h->fd, in->fsync_flags & FUSE_FSYNC_FDATASYNC ? SLOW_FDATASYNC : SLOW_FSYNC);
}

/* Nothing is kept back here; with locks those of the one that closes go. */
int fs_flush(struct fs *f, struct request *r)
{
	const struct fuse_flush_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;
	struct flock l = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (!f->spec->locks)
		return -ENOSYS;
	if (!h)
		return -EBADF;
	return fcntl(h->fd, F_OFD_SETLK, &l) ? -errno : 0;
}

int fs_fallocate(struct fs *f, struct request *r)
{
	const struct fuse_fallocate_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;

	if (!h)
		return -EBADF;
	if (r->h.uid)
		file_strip(f, h->fd);
	return fallocate(h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) ? -errno : 0;
}

int fs_lseek(struct fs *f, struct request *r)
{
	const struct fuse_lseek_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;
	struct fuse_lseek_out o = { 0 };
	off_t at;

	if (!h)
		return -EBADF;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	o.offset = (u64)at;
	return fs_reply(r, &o, sizeof(o));
}

int fs_copy(struct fs *f, struct request *r)
{
	const struct fuse_copy_file_range_in *in = fs_arg(r, sizeof(*in));
	struct handle *from = in ? handle_of(f, r, in->fh_in) : NULL,
		      *to = in ? handle_find(f, in->fh_out, false) : NULL;
	struct fuse_write_out o = { 0 };
	off_t off_in, off_out;
	ssize_t n;

	if (!from || !to)
		return -EBADF;
	off_in = (off_t)in->off_in;
	off_out = (off_t)in->off_out;
	n = copy_file_range(from->fd, &off_in, to->fd, &off_out, MIN(in->len, COPY_MAX), 0);
	if (n < 0)
		return -errno;
	o.size = (u32)n;
	return fs_reply(r, &o, sizeof(o));
}

int fs_syncfs(struct fs *f, struct request *r)
{
	int fd = openat(f->root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = file_sync(f, r, fd, SLOW_SYNCFS);
	close(fd);
	return ret;
}

/* ---- locks ---------------------------------------------------------------------------------------------------------
 * Those of a handle: two processes of the guest have two, and two openings of one process also.
 */

static struct flock lock_of(const struct fuse_file_lock *l)
{
	return (struct flock){ .l_type = (short)l->type,
			       .l_whence = SEEK_SET,
			       .l_start = (off_t)l->start,
			       .l_len = l->end >= INT64_MAX ? 0 : (off_t)(l->end - l->start + 1) };
}

static bool lock_ok(const struct fuse_file_lock *l)
{
	return (l->type == F_RDLCK || l->type == F_WRLCK || l->type == F_UNLCK) && l->start <= l->end &&
	       l->start <= INT64_MAX;
}

int fs_getlk(struct fs *f, struct request *r)
{
	const struct fuse_lk_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;
	struct fuse_lk_out o = { 0 };
	struct flock l;

	if (!f->spec->locks)
		return -ENOSYS;
	if (!h || !lock_ok(&in->lk))
		return h ? -EINVAL : -EBADF;
	l = lock_of(&in->lk);
	if (fcntl(h->fd, F_OFD_GETLK, &l))
		return -errno;
	o.lk.type = (u32)l.l_type;
	o.lk.start = (u64)l.l_start;
	o.lk.end = l.l_len ? (u64)(l.l_start + l.l_len - 1) : INT64_MAX;
	return fs_reply(r, &o, sizeof(o));
}

int fs_setlk(struct fs *f, struct request *r)
{
	static const int whole[] = { [F_RDLCK] = LOCK_SH, [F_WRLCK] = LOCK_EX, [F_UNLCK] = LOCK_UN };
	const struct fuse_lk_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;
	struct flock l;
	int ret;

	if (!f->spec->locks)
		return -ENOSYS;
	if (!h || !lock_ok(&in->lk))
		return h ? -EINVAL : -EBADF;
	l = lock_of(&in->lk);
	if (in->lk_flags & FUSE_LK_FLOCK)
		ret = flock(h->fd, whole[in->lk.type] | LOCK_NB) ? -errno : 0;
	else
		ret = fcntl(h->fd, F_OFD_SETLK, &l) ? -errno : 0;
	f->later = r->h.opcode == FUSE_SETLKW && (ret == -EAGAIN || ret == -EACCES);
	return ret;
}

int fs_interrupt(struct fs *f, struct request *r)
{
	const struct fuse_interrupt_in *in = fs_arg(r, sizeof(*in));

	f->interrupted = in ? in->unique : 0;
	return 0;
}
