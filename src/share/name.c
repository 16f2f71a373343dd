/* SPDX-License-Identifier: Apache-2.0
 * Names: found, made, moved and removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "share/fs.h"

#define RENAME_KNOWN (1u | 2u) /* RENAME_NOREPLACE, RENAME_EXCHANGE */

static int find_entry(struct fs *f, struct node *parent, const char *name, struct fuse_entry_out *o)
{
	int dir = node_fd(f, parent), ret;
	struct statx st;
	struct node *n;

	ret = dir < 0 ? dir : stat_at(dir, name, &st);
	if (!ret)
		ret = node_see(f, parent, name, &st, true, &n);
	if (!ret)
		entry_fill(f, n, &st, o);
	return ret;
}

static int reply_entry(struct fs *f, struct request *r, struct node *parent, const char *name)
{
	struct fuse_entry_out o;
	int ret = r->room < sizeof(o) ? -EINVAL : find_entry(f, parent, name, &o);

	return ret ? ret : fs_reply(r, &o, sizeof(o));
}

/* That there is nothing is worth knowing for as long as what there is. */
static int reply_nothing(struct fs *f, struct request *r)
{
	struct fuse_entry_out o = { 0 };

	attr_valid(f, &o.entry_valid, &o.entry_valid_nsec);
	return o.entry_valid ? fs_reply(r, &o, sizeof(o)) : -ENOENT;
}

/* The directory of the request and its descriptor; -errno. */
static int parent_of(struct fs *f, u64 id, struct node **parent)
{
	struct node *n = node_find(f, id);

	*parent = n;
	if (!n)
		return -ENOENT;
	if (n->type != S_IFDIR)
		return -ENOTDIR;
	return n->sealed ? -EACCES : node_fd(f, n);
}

int fs_lookup(struct fs *f, struct request *r)
{
	const char *name = fs_name(r);
	struct node *parent;
	int dir = parent_of(f, r->h.nodeid, &parent), ret;

	if (dir == -EACCES && parent && parent->sealed)
		return -ENOENT;
	if (dir < 0)
		return dir;
	if (!name)
		return -EINVAL;
	ret = reply_entry(f, r, parent, name);
	return ret == -ENOENT ? reply_nothing(f, r) : ret;
}

int fs_readlink(struct fs *f, struct request *r)
{
	struct node *n = node_find(f, r->h.nodeid);
	u32 room = MIN(r->room, (u32)PAGE_SIZE);
	int fd = n ? node_fd(f, n) : -ENOENT;
	ssize_t len;

	if (fd < 0)
		return fd;
	if (n->type != S_IFLNK || !room)
		return -EINVAL;
	len = readlinkat(fd, "", (char *)r->data, room);
	return len < 0 ? -errno : (int)len;
}

/* ---- making --------------------------------------------------------------------------------------------------------
 */

/* A file that root's machine made belongs to who made it in the guest; the group may be the directory's. */
static void give_away(struct fs *f, const struct request *r, struct node *parent, int dir, const char *name)
{
	struct statx st, up;
	gid_t gid = r->h.gid;
	int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);

	if (!f->owns || (!r->h.uid && !gid))
		return;
	if (parent && !node_stat(f, parent, &up) && (up.stx_mode & S_ISGID))
		gid = (gid_t)-1;
	if (statx(dir, name, flags, STATX_MODE, &st) || fchownat(dir, name, r->h.uid, gid, flags))
		return;
	/* A change of owner takes these away. */
	if (S_ISREG(st.stx_mode) && (st.stx_mode & (S_ISUID | S_ISGID)) && *name)
		fchmodat(dir, name, st.stx_mode & 07777, 0);
}

static int made(struct fs *f, struct request *r, struct node *parent, int dir, const char *name, int ret)
{
	if (ret)
		return -errno;
	give_away(f, r, parent, dir, name);
	return reply_entry(f, r, parent, name);
}

int fs_mkdir(struct fs *f, struct request *r)
{
	const struct fuse_mkdir_in *in = fs_arg(r, sizeof(*in));
	const char *name = fs_name(r);
	struct node *parent;
	int dir = parent_of(f, r->h.nodeid, &parent);

	if (dir < 0 || !in || !name)
		return dir < 0 ? dir : -EINVAL;
	return made(f, r, parent, dir, name, mkdirat(dir, name, in->mode & 07777));
}

/* Devices are the host's: they are not made. */
int fs_mknod(struct fs *f, struct request *r)
{
	const struct fuse_mknod_in *in = fs_arg(r, sizeof(*in));
	const char *name = fs_name(r);
	struct node *parent;
	int dir = parent_of(f, r->h.nodeid, &parent);
	u32 type;

	if (dir < 0 || !in || !name)
		return dir < 0 ? dir : -EINVAL;
	type = in->mode & S_IFMT;
	if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && (type != S_IFCHR || in->rdev))
		return -EPERM;
	return made(f, r, parent, dir, name, mknodat(dir, name, in->mode & (S_IFMT | 07777), 0));
}

int fs_symlink(struct fs *f, struct request *r)
{
	const char *name = fs_name(r), *target = fs_text(r);
	struct node *parent;
	int dir = parent_of(f, r->h.nodeid, &parent);

	if (dir < 0 || !name || !target)
		return dir < 0 ? dir : -EINVAL;
	return made(f, r, parent, dir, name, symlinkat(target, dir, name));
}

int fs_link(struct fs *f, struct request *r)
{
	const struct fuse_link_in *in = fs_arg(r, sizeof(*in));
	const char *name = fs_name(r);
	struct node *parent, *n = in ? node_find(f, in->oldnodeid) : NULL;
	int dir, fd, ret;
	bool pinned;

	if (!in || !name)
		return -EINVAL;
	if (!n)
		return -ENOENT;
	if (n->sealed || n->type == S_IFDIR)
		return -EPERM;
	pinned = node_pin(f, n);
	fd = node_fd(f, n);
	dir = fd < 0 ? fd : parent_of(f, r->h.nodeid, &parent);
	ret = dir < 0 ? dir : linkat(f->proc, fd_name(fd).text, dir, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
	if (pinned)
		node_unpin(f, n);
	return ret ? ret : reply_entry(f, r, parent, name);
}

static int reply_created(struct fs *f, struct request *r, struct node *n, const struct statx *st, int fd)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} o;
	int ret;

	entry_fill(f, n, st, &o.entry);
	ret = r->room < sizeof(o) ? -EINVAL : file_reply_open(f, r, n, fd, st, &o.open);
	if (ret) {
		node_forget(f, n, 1);
		return ret;
	}
	return fs_reply(r, &o, sizeof(o));
}

/* There is such a file already, and that is allowed. */
static int create_existing(struct fs *f, struct request *r, struct node *parent, const char *name, u32 flags)
{
	struct fuse_entry_out o;
	struct statx st;
	struct node *n;
	int ret = find_entry(f, parent, name, &o), fd;

	if (ret)
		return ret;
	n = node_find(f, o.nodeid);
	fd = n->type == S_IFREG ? node_open(f, n, file_flags(f, flags)) : -ENXIO;
	ret = fd < 0 ? fd : stat_fd(fd, &st);
	if (!ret)
		return reply_created(f, r, n, &st, fd);
	node_forget(f, n, 1);
	return ret;
}

int fs_create(struct fs *f, struct request *r)
{
	const struct fuse_create_in *in = fs_arg(r, sizeof(*in));
	const char *name = fs_name(r);
	struct node *parent, *n;
	struct statx st;
	int dir = parent_of(f, r->h.nodeid, &parent), fd, ret;

	if (dir < 0 || !in || !name)
		return dir < 0 ? dir : -EINVAL;
	fd = openat(dir, name, (file_flags(f, in->flags) & ~O_TRUNC) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    in->mode & 07777);
	if (fd < 0)
		return errno == EEXIST && !(in->flags & O_EXCL) ? create_existing(f, r, parent, name, in->flags)
								: -errno;
	give_away(f, r, parent, dir, name);
	ret = stat_fd(fd, &st);
	if (!ret)
		ret = node_see(f, parent, name, &st, true, &n);
	if (ret) {
		close(fd);
		return ret;
	}
	return reply_created(f, r, n, &st, fd);
}

int fs_tmpfile(struct fs *f, struct request *r)
{
	const struct fuse_create_in *in = fs_arg(r, sizeof(*in));
	struct node *parent, *n;
	struct statx st;
	int dir = parent_of(f, r->h.nodeid, &parent), fd, path, ret;

	if (dir < 0 || !in)
		return dir < 0 ? dir : -EINVAL;
	fd = openat(dir, ".", (file_flags(f, in->flags) & ~O_TRUNC) | O_TMPFILE | O_CLOEXEC, in->mode & 07777);
	if (fd < 0)
		return -errno;
	if (f->owns && (r->h.uid || r->h.gid) && fchown(fd, r->h.uid, r->h.gid))
		errno = 0; /* as for any file: it is then the server's */
	path = openat(f->proc, fd_name(fd).text, O_PATH | O_CLOEXEC);
	ret = path < 0 ? -errno : stat_fd(fd, &st);
	if (!ret)
		ret = node_adopt(f, path, &st, &n);
	if (!ret)
		return reply_created(f, r, n, &st, fd);
	if (path >= 0)
		close(path);
	close(fd);
	return ret;
}

/* ---- removing ------------------------------------------------------------------------------------------------------
 */

/* The node that is known to stand there, kept usable without the name. *pinned: that was done now. */
static struct node *before_loss(struct fs *f, struct node *parent, int dir, const char *name, bool *pinned)
{
	struct statx st;
	struct node *n = stat_at(dir, name, &st) ? NULL : node_known(f, &st);

	*pinned = false;
	if (!n || !node_is_at(n, parent, name))
		return NULL;
	*pinned = node_pin(f, n);
	return n;
}

static void after_loss(struct fs *f, struct node *n, bool pinned, bool lost)
{
	if (!n)
		return;
	if (lost)
		node_displace(f, n);
	else if (pinned)
		node_unpin(f, n);
	node_forget(f, n, 0);
}

static int remove_name(struct fs *f, struct request *r, int flags)
{
	const char *name = fs_name(r);
	struct node *parent, *n;
	int dir = parent_of(f, r->h.nodeid, &parent), ret;
	bool pinned, pinned_dir;

	if (dir < 0 || !name)
		return dir < 0 ? dir : -EINVAL;
	pinned_dir = node_pin(f, parent);
	n = before_loss(f, parent, dir, name, &pinned);
	ret = unlinkat(dir, name, flags) ? -errno : 0;
	if (pinned_dir)
		node_unpin(f, parent);
	after_loss(f, n, pinned, !ret);
	return ret;
}

int fs_unlink(struct fs *f, struct request *r)
{
	return remove_name(f, r, 0);
}

int fs_rmdir(struct fs *f, struct request *r)
{
	return remove_name(f, r, AT_REMOVEDIR);
}

/* ---- moving --------------------------------------------------------------------------------------------------------
 */

struct place {
	struct node *dir;
	int fd;
	const char *name;
	struct node *node; /* known to stand there */
	bool pinned;
};

static void put_at(struct fs *f, struct place *from, const struct place *to)
{
	if (!from->node || !node_place(f, from->node, to->dir, to->name))
		return;
	node_displace(f, from->node);
	node_forget(f, from->node, 0);
	from->node = NULL;
}

static void moved(struct fs *f, struct place *from, struct place *to, u32 flags)
{
	if (flags & 2) { /* exchanged */
		put_at(f, from, to);
		put_at(f, to, from);
		return;
	}
	after_loss(f, to->node, to->pinned, true);
	to->node = NULL;
	put_at(f, from, to);
}

static int move(struct fs *f, struct place *from, struct place *to, u32 flags)
{
	int ret;

	from->node = before_loss(f, from->dir, from->fd, from->name, &from->pinned);
	to->node = before_loss(f, to->dir, to->fd, to->name, &to->pinned);
	ret = (int)syscall(SYS_renameat2, from->fd, from->name, to->fd, to->name, flags) ? -errno : 0;
	/* Two names of one file: nothing was done. */
	if (!ret && !(from->node && from->node == to->node))
		moved(f, from, to, flags);
	else if (to->node)
		after_loss(f, to->node, to->pinned, false);
	if (from->node && from->pinned)
		node_unpin(f, from->node);
	return ret;
}

static int rename_from_to(struct fs *f, struct request *r, u64 newdir, u32 flags)
{
	struct place from = { .name = fs_name(r) }, to = { .name = fs_name(r) };
	bool pinned, pinned_to = false;
	int ret;

	if (!from.name || !to.name || flags & ~RENAME_KNOWN)
		return -EINVAL;
	from.fd = parent_of(f, r->h.nodeid, &from.dir);
	if (from.fd < 0)
		return from.fd;
	pinned = node_pin(f, from.dir);
	to.fd = parent_of(f, newdir, &to.dir);
	if (to.fd >= 0) {
		pinned_to = node_pin(f, to.dir);
		node_hold(to.dir);
	}
	ret = to.fd < 0 ? to.fd : move(f, &from, &to, flags);
	if (pinned)
		node_unpin(f, from.dir);
	if (pinned_to)
		node_unpin(f, to.dir);
	if (to.fd >= 0)
		node_release(f, to.dir);
	return ret;
}

int fs_rename(struct fs *f, struct request *r)
{
	const struct fuse_rename_in *in = fs_arg(r, sizeof(*in));

	return in ? rename_from_to(f, r, in->newdir, 0) : -EINVAL;
}

int fs_rename2(struct fs *f, struct request *r)
{
	const struct fuse_rename2_in *in = fs_arg(r, sizeof(*in));

	return in ? rename_from_to(f, r, in->newdir, in->flags) : -EINVAL;
}
