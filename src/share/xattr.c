/* SPDX-License-Identifier: Apache-2.0
 * Extended attributes. There are no calls for them by descriptor of a path; the working directory is /proc/self/fd,
 * where each descriptor has a name that leads to its file and to nothing else.
 */
#include <errno.h>
#include <sys/xattr.h>

#include "share/fs.h"

/* A node and its descriptor; ENOSYS tells the guest never to ask again. */
static int fd_of(struct fs *f, const struct request *r)
{
	struct node *n = node_find(f, r->h.nodeid);

	if (f->spec->no_xattr)
		return -ENOSYS;
	if (!n)
		return -ENOENT;
	return n->sealed ? -EOPNOTSUPP : node_fd(f, n);
}

/* Old ones have no flags behind the size. */
int fs_setxattr(struct fs *f, struct request *r)
{
	size_t head = f->flags & FUSE_SETXATTR_EXT ? sizeof(struct fuse_setxattr_in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
	const struct fuse_setxattr_in *in = fs_arg(r, head);
	const char *name = in ? fs_text(r) : NULL;
	const void *value = name ? fs_arg(r, in->size) : NULL;
	int fd = fd_of(f, r);

	if (fd < 0 || !value)
		return fd < 0 ? fd : -EINVAL;
	return setxattr(fd_name(fd).text, name, value, in->size, (int)in->flags) ? -errno : 0;
}

int fs_removexattr(struct fs *f, struct request *r)
{
	const char *name = fs_text(r);
	int fd = fd_of(f, r);

	if (fd < 0 || !name)
		return fd < 0 ? fd : -EINVAL;
	return removexattr(fd_name(fd).text, name) ? -errno : 0;
}

/* How long it is, if the guest gives no room; else what it is. */
static int reply(struct request *r, u32 size, ssize_t n)
{
	struct fuse_getxattr_out o = { 0 };

	if (n < 0)
		return -errno;
	if (size)
		return (int)n;
	o.size = (u32)n;
	return fs_reply(r, &o, sizeof(o));
}

int fs_getxattr(struct fs *f, struct request *r)
{
	const struct fuse_getxattr_in *in = fs_arg(r, sizeof(*in));
	const char *name = in ? fs_text(r) : NULL;
	int fd = fd_of(f, r);

	if (fd < 0 || !name)
		return fd < 0 ? fd : -EINVAL;
	if (in->size > r->room)
		return -EINVAL;
	return reply(r, in->size, getxattr(fd_name(fd).text, name, in->size ? r->data : NULL, in->size));
}

int fs_listxattr(struct fs *f, struct request *r)
{
	const struct fuse_getxattr_in *in = fs_arg(r, sizeof(*in));
	int fd = fd_of(f, r);

	if (fd < 0 || !in)
		return fd < 0 ? fd : -EINVAL;
	if (in->size > r->room)
		return -EINVAL;
	return reply(r, in->size, listxattr(fd_name(fd).text, in->size ? (char *)r->data : NULL, in->size));
}
