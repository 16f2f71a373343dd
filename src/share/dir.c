/* SPDX-License-Identifier: Apache-2.0
 * What lies in a directory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "share/fs.h"

struct entry {
	u64 ino;
	s64 next; /* the cookie behind it */
	u16 len;
	u8 type;
	char name[];
} __attribute__((packed));

static struct handle *handle_of(struct fs *f, const struct request *r, u64 id)
{
	struct handle *h = handle_find(f, id, true);

	return h && h->node->id == r->h.nodeid ? h : NULL;
}

int fs_opendir(struct fs *f, struct request *r)
{
	const struct fuse_open_in *in = fs_arg(r, sizeof(*in));
	struct node *n = node_find(f, r->h.nodeid);
	struct fuse_open_out o = { 0 };
	struct handle *h;
	int fd;

	if (!n || !in)
		return n ? -EINVAL : -ENOENT;
	if (n->type != S_IFDIR)
		return -ENOTDIR;
	/* An empty one is read without the host. */
	fd = n->sealed ? fcntl(f->proc, F_DUPFD_CLOEXEC, 0) : node_open(f, n, O_RDONLY);
	if (fd < 0)
		return fd;
	h = handle_new(f, n, fd, true);
	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	o.fh = h->id;
	if (f->spec->cache == SHARE_CACHE_ALWAYS)
		o.open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
	return fs_reply(r, &o, sizeof(o));
}

int fs_releasedir(struct fs *f, struct request *r)
{
	const struct fuse_release_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;

	if (h)
		handle_free(f, h);
	return 0;
}

int fs_fsyncdir(struct fs *f, struct request *r)
{
	const struct fuse_fsync_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;

	if (!h)
		return -EBADF;
	return file_sync(f, r, h->fd, SLOW_FSYNC);
}

/* The entry that the guest reads next; 0 at the end, -errno. */
static int next_entry(struct fs *f, struct handle *h, const struct entry **e)
{
	long n;

	if (h->at == h->len) {
		if (!h->buf) {
			h->buf = malloc(FS_DIR_BUFFER);
			if (!h->buf)
				return -ENOMEM;
			f->n_buffers++;
		}
		n = syscall(SYS_getdents64, h->fd, h->buf, FS_DIR_BUFFER);
		h->at = h->len = 0;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		h->len = (u32)n;
	}
	*e = (const struct entry *)(h->buf + h->at);
	return 1;
}

static void pass_entry(struct handle *h, const struct entry *e)
{
	h->next = e->next;
	h->at += e->len;
}

/* From the cookie on, which is where the guest stopped; else it has gone back. */
static int seek_to(struct handle *h, s64 cookie)
{
	if (cookie == h->next)
		return 0;
	h->at = h->len = 0;
	if (lseek(h->fd, cookie, SEEK_SET) < 0)
		return -errno;
	h->next = cookie;
	return 0;
}

/* A guest can have as many directories open as there are descriptors: one that has many gets them without buffers,
 * which are filled again from where it stopped. */
static void keep_few(struct fs *f, struct handle *h)
{
	if (!h->buf || f->n_buffers <= FS_BUFFERS_MAX || (h->at < h->len && lseek(h->fd, h->next, SEEK_SET) < 0))
		return;
	free(h->buf);
	h->buf = NULL;
	h->at = h->len = 0;
	f->n_buffers--;
}

/* The directory and the one above: attributes are not asked for. */
static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static void see_entry(struct fs *f, struct handle *h, const char *name, struct fuse_entry_out *o)
{
	struct statx st;
	struct node *n;

	memset(o, 0, sizeof(*o));
	if (is_dots(name) || stat_at(h->fd, name, &st) || node_see(f, h->node, name, &st, true, &n))
		return;
	entry_fill(f, n, &st, o);
}

static void put_dirent(u8 *to, const struct entry *e, u32 len)
{
	struct fuse_dirent d = { .ino = e->ino, .off = (u64)e->next, .namelen = len, .type = e->type };
	u32 size = (u32)FUSE_NAME_OFFSET + len;

	memcpy(to, &d, FUSE_NAME_OFFSET);
	memcpy(to + FUSE_NAME_OFFSET, e->name, len);
	memset(to + size, 0, FUSE_DIRENT_ALIGN(size) - size);
}

static int list(struct fs *f, struct request *r, struct handle *h, u32 room, bool plus)
{
	u32 done = 0, before = plus ? (u32)sizeof(struct fuse_entry_out) : 0;
	const struct entry *e = NULL;
	int ret;

	while ((ret = next_entry(f, h, &e)) > 0) {
		u32 len = (u32)strlen(e->name), size = (u32)FUSE_DIRENT_ALIGN(before + FUSE_NAME_OFFSET + len);
		struct fuse_entry_out o;

		if (size > room - done)
			break;
		if (plus) {
			see_entry(f, h, e->name, &o);
			memcpy(r->data + done, &o, sizeof(o));
		}
		put_dirent(r->data + done + before, e, len);
		done += size;
		pass_entry(h, e);
	}
	return done || ret > 0 ? (int)done : ret;
}

static int read_dir(struct fs *f, struct request *r, bool plus)
{
	const struct fuse_read_in *in = fs_arg(r, sizeof(*in));
	struct handle *h = in ? handle_of(f, r, in->fh) : NULL;
	int ret;

	if (!h)
		return -EBADF;
	if (h->node->sealed)
		return 0;
	ret = seek_to(h, (s64)in->offset);
	if (!ret)
		ret = list(f, r, h, MIN(in->size, r->room), plus);
	keep_few(f, h);
	return ret;
}

int fs_readdir(struct fs *f, struct request *r)
{
	return read_dir(f, r, false);
}

int fs_readdirplus(struct fs *f, struct request *r)
{
	return read_dir(f, r, true);
}
