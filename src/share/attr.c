/* SPDX-License-Identifier: Apache-2.0
 * What files are: attributes as the guest gets and sets them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "share/fs.h"

#define ALWAYS_SECONDS 86400u
#define INODE_DEVICE_SHIFT 56 /* other devices' numbers must differ */

/* ---- to the guest --------------------------------------------------------------------------------------------------
 */

static s64 time_ns(const struct statx_timestamp *t)
{
	return t->tv_sec * 1000000000 + t->tv_nsec;
}

static u64 shown_ino(struct fs *f, const struct statx *st)
{
	for (u32 i = 1; i < f->n_devices; i++)
		if (f->device[i].major == st->stx_dev_major && f->device[i].minor == st->stx_dev_minor)
			return st->stx_ino ^ (u64)i << INODE_DEVICE_SHIFT;
	return st->stx_ino;
}

static u32 shown_uid(const struct fs *f, u32 uid)
{
	return f->spec->root_owned && uid == f->uid ? 0 : uid;
}

static u32 shown_gid(const struct fs *f, u32 gid)
{
	return f->spec->root_owned && gid == f->gid ? 0 : gid;
}

void attr_fill(struct fs *f, const struct statx *st, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = shown_ino(f, st),
		.size = st->stx_size,
		.blocks = st->stx_blocks,
		.atime = (u64)st->stx_atime.tv_sec,
		.mtime = (u64)st->stx_mtime.tv_sec,
		.ctime = (u64)st->stx_ctime.tv_sec,
		.atimensec = st->stx_atime.tv_nsec,
		.mtimensec = st->stx_mtime.tv_nsec,
		.ctimensec = st->stx_ctime.tv_nsec,
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.uid = shown_uid(f, st->stx_uid),
		.gid = shown_gid(f, st->stx_gid),
		.rdev = (u32)(st->stx_rdev_minor & 0xff) | st->stx_rdev_major << 8 |
			(st->stx_rdev_minor & ~0xffu) << 12,
		.blksize = st->stx_blksize,
	};
}

void attr_valid(const struct fs *f, u64 *sec, u32 *nsec)
{
	static const u32 seconds[] = {
		[SHARE_CACHE_AUTO] = 1, [SHARE_CACHE_NONE] = 0, [SHARE_CACHE_ALWAYS] = ALWAYS_SECONDS
	};

	*sec = seconds[f->spec->cache];
	*nsec = 0;
}

void entry_fill(struct fs *f, const struct node *n, const struct statx *st, struct fuse_entry_out *o)
{
	*o = (struct fuse_entry_out){ .nodeid = n->id };
	attr_valid(f, &o->entry_valid, &o->entry_valid_nsec);
	attr_valid(f, &o->attr_valid, &o->attr_valid_nsec);
	attr_fill(f, st, &o->attr);
}

bool attr_same(struct node *n, const struct statx *st)
{
	s64 m = time_ns(&st->stx_mtime), c = time_ns(&st->stx_ctime);
	bool same = n->mtime_ns == m && n->ctime_ns == c && n->size == st->stx_size;

	n->mtime_ns = m;
	n->ctime_ns = c;
	n->size = st->stx_size;
	return same;
}

static int reply_attr(struct fs *f, struct request *r, const struct statx *st)
{
	struct fuse_attr_out o = { 0 };

	attr_valid(f, &o.attr_valid, &o.attr_valid_nsec);
	attr_fill(f, st, &o.attr);
	return fs_reply(r, &o, sizeof(o));
}

/* By handle, where one is given: its file may have no name. */
static int stat_of(struct fs *f, struct node *n, bool has_fh, u64 fh, struct statx *st)
{
	struct handle *h = has_fh ? handle_find(f, fh, n->type == S_IFDIR) : NULL;

	return h && h->node == n && !n->sealed ? stat_fd(h->fd, st) : node_stat(f, n, st);
}

int fs_getattr(struct fs *f, struct request *r)
{
	const struct fuse_getattr_in *in = fs_arg(r, sizeof(*in));
	struct node *n = node_find(f, r->h.nodeid);
	struct statx st;
	int ret;

	if (!n || !in)
		return n ? -EINVAL : -ENOENT;
	ret = stat_of(f, n, in->getattr_flags & FUSE_GETATTR_FH, in->fh, &st);
	return ret ? ret : reply_attr(f, r, &st);
}

/* Protocol 7.39; not in every linux/fuse.h. */
struct statx_in {
	u32 getattr_flags, reserved;
	u64 fh;
	u32 sx_flags, sx_mask;
};

struct statx_time {
	s64 sec;
	u32 nsec;
	s32 reserved;
};

struct statx_out {
	u64 attr_valid;
	u32 attr_valid_nsec, flags;
	u64 spare[2];
	u32 mask, blksize;
	u64 attributes;
	u32 nlink, uid, gid;
	u16 mode, spare0;
	u64 ino, size, blocks, attributes_mask;
	struct statx_time atime, btime, ctime, mtime;
	u32 rdev_major, rdev_minor, dev_major, dev_minor;
	u64 spare2[14];
};

_Static_assert(sizeof(struct statx_out) == 32 + 256, "as in linux/fuse.h");

static struct statx_time time_of(const struct statx_timestamp *t)
{
	return (struct statx_time){ t->tv_sec, t->tv_nsec, 0 };
}

int fs_statx(struct fs *f, struct request *r)
{
	const struct statx_in *in = fs_arg(r, sizeof(*in));
	struct node *n = node_find(f, r->h.nodeid);
	struct statx_out o = { 0 };
	struct statx st;
	int ret;

	if (!n || !in)
		return n ? -EINVAL : -ENOENT;
	ret = stat_of(f, n, in->getattr_flags & FUSE_GETATTR_FH, in->fh, &st);
	if (ret)
		return ret;
	attr_valid(f, &o.attr_valid, &o.attr_valid_nsec);
	o.mask = st.stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
	o.blksize = st.stx_blksize;
	o.nlink = st.stx_nlink;
	o.uid = shown_uid(f, st.stx_uid);
	o.gid = shown_gid(f, st.stx_gid);
	o.mode = st.stx_mode;
	o.ino = shown_ino(f, &st);
	o.size = st.stx_size;
	o.blocks = st.stx_blocks;
	o.atime = time_of(&st.stx_atime);
	o.btime = time_of(&st.stx_btime);
	o.ctime = time_of(&st.stx_ctime);
	o.mtime = time_of(&st.stx_mtime);
	o.rdev_major = st.stx_rdev_major;
	o.rdev_minor = st.stx_rdev_minor;
	return fs_reply(r, &o, sizeof(o));
}

/* ---- from the guest ------------------------------------------------------------------------------------------------
 */

static int set_mode(struct fs *f, struct node *n, const struct handle *h, u32 mode)
{
	int fd;

	mode &= 07777;
	if (h)
		return fchmod(h->fd, mode) ? -errno : 0;
	if (n->type == S_IFLNK)
		return -EOPNOTSUPP;
	fd = node_fd(f, n);
	if (fd < 0)
		return fd;
	return fchmodat(f->proc, fd_name(fd).text, mode, 0) ? -errno : 0;
}

/* Files belong to whoever runs the machine, unless that is root: a change to what they are is none. */
static int set_owner(struct fs *f, struct node *n, uid_t uid, gid_t gid)
{
	int fd = node_fd(f, n);

	if (fd < 0)
		return fd;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int cut(const struct fs *f, int fd, u64 size, bool strip)
{
	if (strip)
		file_strip(f, fd);
	return ftruncate(fd, (off_t)size) ? -errno : 0;
}

static int set_size(struct fs *f, struct node *n, const struct handle *h, u64 size, bool strip)
{
	int fd, ret;

	if (size > INT64_MAX)
		return -EFBIG;
	if (h && h->writable)
		return cut(f, h->fd, size, strip);
	if (n->type == S_IFDIR)
		return -EISDIR;
	fd = node_open(f, n, O_WRONLY);
	if (fd < 0)
		return fd;
	ret = cut(f, fd, size, strip);
	close(fd);
	return ret;
}

static struct timespec time_to(u32 valid, u32 now, u64 sec, u32 nsec)
{
	if (!valid)
		return (struct timespec){ 0, UTIME_OMIT };
	return now ? (struct timespec){ 0, UTIME_NOW } : (struct timespec){ (time_t)sec, MIN(nsec, 999999999u) };
}

static int set_times(struct fs *f, struct node *n, const struct handle *h, const struct fuse_setattr_in *in)
{
	struct timespec t[2] = {
		time_to(in->valid & FATTR_ATIME, in->valid & FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_to(in->valid & FATTR_MTIME, in->valid & FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};
	int fd;

	if (h)
		return futimens(h->fd, t) ? -errno : 0;
	fd = node_fd(f, n);
	if (fd < 0)
		return fd;
	if (n->type != S_IFLNK)
		return utimensat(f->proc, fd_name(fd).text, t, 0) ? -errno : 0;
	if (!n->parent)
		return -ESTALE;
	fd = node_fd(f, n->parent);
	return fd < 0 ? fd : utimensat(fd, n->name, t, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

#define CHANGES (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME)

static int change(struct fs *f, struct node *n, const struct handle *h, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	int ret = 0;

	/* Nothing to change is a change of owner to who it is. */
	if ((in->valid & (FATTR_UID | FATTR_GID)) || !(in->valid & CHANGES))
		ret = set_owner(f, n, uid, gid);
	if (!ret && (in->valid & FATTR_SIZE))
		ret = set_size(f, n, h, in->size, in->valid & FATTR_KILL_SUIDGID);
	if (!ret && (in->valid & FATTR_MODE))
		ret = set_mode(f, n, h, in->mode);
	if (!ret && (in->valid & (FATTR_ATIME | FATTR_MTIME)))
		ret = set_times(f, n, h, in);
	return ret;
}

int fs_setattr(struct fs *f, struct request *r)
{
	const struct fuse_setattr_in *in = fs_arg(r, sizeof(*in));
	struct node *n = node_find(f, r->h.nodeid);
	struct handle *h = NULL;
	struct statx st;
	int ret;

	if (!n || !in)
		return n ? -EINVAL : -ENOENT;
	if (n->sealed)
		return -EPERM;
	if (in->valid & FATTR_FH)
		h = handle_find(f, in->fh, false);
	if (h && h->node != n)
		h = NULL;
	ret = change(f, n, h, in);
	if (!ret)
		ret = h ? stat_fd(h->fd, &st) : node_stat(f, n, &st);
	return ret ? ret : reply_attr(f, r, &st);
}

int fs_statfs(struct fs *f, struct request *r)
{
	struct node *n = node_find(f, r->h.nodeid);
	struct fuse_statfs_out o = { 0 };
	struct statfs s;
	int fd;

	if (!n)
		return -ENOENT;
	fd = node_fd(f, n);
	if (fd < 0)
		return fd;
	if (fstatfs(fd, &s))
		return -errno;
	o.st = (struct fuse_kstatfs){
		.blocks = s.f_blocks,
		.bfree = s.f_bfree,
		.bavail = s.f_bavail,
		.files = s.f_files,
		.ffree = s.f_ffree,
		.bsize = (u32)s.f_bsize,
		.namelen = (u32)s.f_namelen,
		.frsize = (u32)s.f_frsize,
	};
	return fs_reply(r, &o, sizeof(o));
}
