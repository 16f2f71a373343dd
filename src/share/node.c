/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "share/fs.h"

#define STAT_MASK (STATX_BASIC_STATS | STATX_BTIME)

/* Those that linux/magic.h has no names for everywhere. */
enum { CONFIGFS = 0x62656570, FUSECTL = 0x65735543, MQUEUE = 0x19800202, RPC_PIPE = 0x67596969 };

struct fd_name fd_name(int fd)
{
	struct fd_name n;

	snprintf(n.text, sizeof(n.text), "%d", fd);
	return n;
}

int stat_fd(int fd, struct statx *st)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STAT_MASK, st) ? -errno : 0;
}

int stat_at(int dir, const char *name, struct statx *st)
{
	return statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STAT_MASK, st) ? -errno : 0;
}

static int open_below(int dir, const char *name, int flags)
{
	struct open_how how = { .flags = (u64)(flags | O_NOFOLLOW | O_CLOEXEC),
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS };
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* ---- devices of the host -------------------------------------------------------------------------------------------
 */

static bool keeps_births(u64 type)
{
	return type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC || type == BTRFS_SUPER_MAGIC || type == TMPFS_MAGIC;
}

/* What they show is the host's processes and settings, not files. */
static bool is_pseudo(u64 type)
{
	static const u64 types[] = { PROC_SUPER_MAGIC,
				     SYSFS_MAGIC,
				     DEBUGFS_MAGIC,
				     TRACEFS_MAGIC,
				     SECURITYFS_MAGIC,
				     CGROUP_SUPER_MAGIC,
				     CGROUP2_SUPER_MAGIC,
				     BPF_FS_MAGIC,
				     DEVPTS_SUPER_MAGIC,
				     PSTOREFS_MAGIC,
				     EFIVARFS_MAGIC,
				     BINFMTFS_MAGIC,
				     SELINUX_MAGIC,
				     SMACK_MAGIC,
				     NSFS_MAGIC,
				     CONFIGFS,
				     FUSECTL,
				     MQUEUE,
				     RPC_PIPE };

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i] == type)
			return true;
	return false;
}

/* Its index, or -errno. fd, name: something on it, as for openat(2). */
static int device_of(struct fs *f, int dir, const char *name, const struct statx *st)
{
	struct fs_device *d = f->device;
	struct statfs s;
	int fd, ret;

	for (u32 i = 0; i < f->n_devices; i++)
		if (d[i].major == st->stx_dev_major && d[i].minor == st->stx_dev_minor)
			return (int)i;
	if (f->n_devices == FS_DEVICES_MAX)
		return -EXDEV;
	fd = *name ? open_below(dir, name, O_PATH) : dir;
	if (fd < 0)
		return fd;
	ret = fstatfs(fd, &s) ? -errno : 0;
	if (fd != dir)
		close(fd);
	if (ret)
		return ret;
	d[f->n_devices] = (struct fs_device){ st->stx_dev_major, st->stx_dev_minor, keeps_births((u64)s.f_type),
					      is_pseudo((u64)s.f_type) };
	return (int)f->n_devices++;
}

/* ---- who is who ----------------------------------------------------------------------------------------------------
 */

static u64 birth_of(const struct fs *f, u32 device, const struct statx *st)
{
	if (!f->device[device].births || !(st->stx_mask & STATX_BTIME))
		return 0;
	return (u64)st->stx_btime.tv_sec * 1000000000 + st->stx_btime.tv_nsec;
}

bool node_is(struct fs *f, const struct node *n, const struct statx *st)
{
	const struct fs_device *d = &f->device[n->device];

	return n->ino == st->stx_ino && d->major == st->stx_dev_major && d->minor == st->stx_dev_minor &&
	       n->type == (st->stx_mode & S_IFMT) && n->birth == birth_of(f, n->device, st);
}

static u32 bucket(const struct fs *f, u32 device, u64 ino)
{
	return (u32)((ino * 0x9e3779b97f4a7c15ull + device) >> 32) & (f->hash_size - 1);
}

static void rehash(struct fs *f)
{
	u32 old = f->hash_size;
	struct node **was = f->hash, **now = calloc(2 * (size_t)old, sizeof(*now));

	if (!now)
		return;
	f->hash = now;
	f->hash_size = 2 * old;
	for (u32 i = 0; i < old; i++)
		for (struct node *n = was[i], *next; n; n = next) {
			u32 b = bucket(f, n->device, n->ino);

			next = n->next;
			n->next = now[b];
			now[b] = n;
		}
	free(was);
}

static void hash_add(struct fs *f, struct node *n)
{
	u32 b;

	if (f->n_nodes > f->hash_size)
		rehash(f);
	b = bucket(f, n->device, n->ino);
	n->next = f->hash[b];
	f->hash[b] = n;
	n->hashed = true;
}

static void hash_remove(struct fs *f, struct node *n)
{
	struct node **p = &f->hash[bucket(f, n->device, n->ino)];

	if (!n->hashed)
		return;
	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	n->hashed = false;
}

struct node *node_known(struct fs *f, const struct statx *st)
{
	for (u32 d = 0; d < f->n_devices; d++) {
		struct node *n;

		if (f->device[d].major != st->stx_dev_major || f->device[d].minor != st->stx_dev_minor)
			continue;
		for (n = f->hash[bucket(f, d, st->stx_ino)]; n; n = n->next)
			if (n->ino == st->stx_ino && n->device == d)
				return node_is(f, n, st) ? n : NULL;
	}
	return NULL;
}

struct node *node_find(struct fs *f, u64 id)
{
	return ids_find(&f->nodes, id);
}

/* ---- descriptors ---------------------------------------------------------------------------------------------------
 */

static void lru_remove(struct fs *f, struct node *n)
{
	*(n->newer ? &n->newer->older : &f->newest) = n->older;
	*(n->older ? &n->older->newer : &f->oldest) = n->newer;
	n->newer = n->older = NULL;
	f->n_fds--;
}

static void lru_add(struct fs *f, struct node *n)
{
	n->older = f->newest;
	n->newer = NULL;
	*(f->newest ? &f->newest->newer : &f->oldest) = n;
	f->newest = n;
	f->n_fds++;
}

static void close_oldest(struct fs *f)
{
	struct node *n = f->oldest;

	lru_remove(f, n);
	close(n->fd);
	n->fd = -1;
}

/* One of many that may be closed again. */
static void keep_fd(struct fs *f, struct node *n, int fd)
{
	n->fd = fd;
	while (f->n_fds >= f->max_fds)
		close_oldest(f);
	lru_add(f, n);
}

/* From the nearest one above that has a descriptor, one step down. */
static int open_step(struct fs *f, struct node *n)
{
	struct node *up = n;
	struct statx st;
	int fd, ret;

	for (unsigned depth = 0; up->fd < 0; up = up->parent, depth++) {
		if (!up->parent || depth > FS_DEPTH_MAX)
			return -ESTALE;
		n = up;
	}
	fd = open_below(up->fd, n->name, O_PATH);
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	ret = stat_fd(fd, &st);
	if (!ret && !node_is(f, n, &st))
		ret = -ESTALE;
	if (ret) {
		close(fd);
		return ret;
	}
	keep_fd(f, n, fd);
	return 0;
}

int node_fd(struct fs *f, struct node *n)
{
	for (unsigned i = 0; n->fd < 0; i++) {
		int ret = i > FS_DEPTH_MAX ? -ESTALE : open_step(f, n);

		if (ret)
			return ret;
	}
	if (!n->pinned && f->newest != n) {
		lru_remove(f, n);
		lru_add(f, n);
	}
	return n->fd;
}

bool node_pin(struct fs *f, struct node *n)
{
	if (n->pinned || node_fd(f, n) < 0)
		return false;
	lru_remove(f, n);
	n->pinned = true;
	return true;
}

static void unpin(struct fs *f, struct node *n)
{
	if (!n->pinned || n == f->root)
		return;
	n->pinned = false;
	lru_add(f, n);
}

void node_unpin(struct fs *f, struct node *n)
{
	unpin(f, n);
}

/* ---- places --------------------------------------------------------------------------------------------------------
 */

static void drop(struct fs *f, struct node *n)
{
	if (n->fd >= 0) {
		if (!n->pinned)
			lru_remove(f, n);
		close(n->fd);
	}
	hash_remove(f, n);
	ids_free(&f->nodes, n->id);
	free(n->name);
	free(n);
	f->n_nodes--;
}

/* Nobody needs it: and then perhaps nobody its parent, and so on. */
static void drop_unused(struct fs *f, struct node *n)
{
	while (n && n != f->root && !n->lookups && !n->kids) {
		struct node *parent = n->parent;

		drop(f, n);
		if (parent)
			parent->kids--;
		n = parent;
	}
}

void node_displace(struct fs *f, struct node *n)
{
	struct node *parent = n->parent;

	if (!parent)
		return;
	free(n->name);
	n->name = NULL;
	n->parent = NULL;
	parent->kids--;
	drop_unused(f, parent);
	if (!n->pinned)
		hash_remove(f, n);
}

bool node_is_at(const struct node *n, const struct node *parent, const char *name)
{
	return n->parent == parent && n->name && !strcmp(n->name, name);
}

/* A directory does not lie in itself, whatever the host's mounts say. */
static bool is_above(const struct node *n, const struct node *below)
{
	for (unsigned depth = 0; below && depth < FS_DEPTH_MAX; below = below->parent, depth++)
		if (below == n)
			return true;
	return below != NULL;
}

int node_place(struct fs *f, struct node *n, struct node *parent, const char *name)
{
	struct node *before = n->parent;
	char *copy;

	if (node_is_at(n, parent, name))
		return 0;
	if (n == f->root || (n->type == S_IFDIR && is_above(n, parent)))
		return -ELOOP;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	free(n->name);
	n->name = copy;
	n->parent = parent;
	parent->kids++;
	if (before) {
		before->kids--;
		drop_unused(f, before);
	}
	unpin(f, n);
	return 0;
}

/* ---- life ----------------------------------------------------------------------------------------------------------
 */

static int make(struct fs *f, u32 device, const struct statx *st, struct node **node)
{
	struct node *n = f->n_nodes < FS_NODES_MAX ? calloc(1, sizeof(*n)) : NULL;

	if (!n)
		return -ENOMEM;
	n->id = ids_new(&f->nodes, n);
	if (!n->id) {
		free(n);
		return -ENOMEM;
	}
	n->device = device;
	n->ino = st->stx_ino;
	n->birth = birth_of(f, device, st);
	n->type = st->stx_mode & S_IFMT;
	n->sealed = f->device[device].sealed;
	n->fd = -1;
	n->mtime_ns = INT64_MIN;
	f->n_nodes++;
	hash_add(f, n);
	*node = n;
	return 0;
}

/* The inode number has another file now. */
static void unhash_other(struct fs *f, u32 device, const struct statx *st)
{
	struct node *n = f->hash[bucket(f, device, st->stx_ino)];

	while (n && (n->ino != st->stx_ino || n->device != device))
		n = n->next;
	if (n && n != f->root)
		hash_remove(f, n);
}

int node_see(struct fs *f, struct node *parent, const char *name, const struct statx *st, bool count,
	     struct node **node)
{
	struct node *n = node_known(f, st);
	int ret, dir, device;

	if (!n) {
		dir = node_fd(f, parent);
		device = dir < 0 ? dir : device_of(f, dir, name, st);
		if (device < 0)
			return device;
		unhash_other(f, (u32)device, st);
		ret = make(f, (u32)device, st, &n);
		if (ret)
			return ret;
		/* Of another kind than directories nothing is shown there. */
		ret = n->sealed && n->type != S_IFDIR ? -ENOENT : 0;
	} else {
		ret = 0;
	}
	if (!ret)
		ret = node_place(f, n, parent, name);
	if (ret) {
		drop_unused(f, n);
		return ret;
	}
	n->lookups += count;
	*node = n;
	return 0;
}

int node_adopt(struct fs *f, int fd, const struct statx *st, struct node **node)
{
	int device = device_of(f, fd, "", st), ret;

	if (device < 0)
		return device;
	unhash_other(f, (u32)device, st);
	ret = make(f, (u32)device, st, node);
	if (ret)
		return ret;
	(*node)->fd = fd;
	(*node)->pinned = true;
	(*node)->lookups = 1;
	return 0;
}

void node_forget(struct fs *f, struct node *n, u64 lookups)
{
	if (n == f->root)
		return;
	n->lookups -= MIN(lookups, n->lookups);
	drop_unused(f, n);
}

void node_hold(struct node *n)
{
	n->kids++;
}

void node_release(struct fs *f, struct node *n)
{
	n->kids--;
	drop_unused(f, n);
}

/* ---- use -----------------------------------------------------------------------------------------------------------
 */

int node_stat(struct fs *f, struct node *n, struct statx *st)
{
	int dir, ret;

	if (n->fd >= 0)
		return stat_fd(n->fd, st);
	if (!n->parent)
		return -ESTALE;
	dir = node_fd(f, n->parent);
	ret = dir < 0 ? dir : stat_at(dir, n->name, st);
	if (ret)
		return ret == -ENOENT ? -ESTALE : ret;
	return node_is(f, n, st) ? 0 : -ESTALE;
}

/* By its descriptor if it has one, else by its place; then it has to be the right one, and is emptied only after that.
 */
int node_open(struct fs *f, struct node *n, int flags)
{
	int dir, fd, ret, truncate = flags & O_TRUNC;
	struct statx st;

	if (n->sealed || (n->type != S_IFREG && n->type != S_IFDIR))
		return n->sealed ? -EACCES : -ENXIO;
	flags = (flags & ~O_TRUNC) | O_NONBLOCK | O_NOCTTY | (n->type == S_IFDIR ? O_DIRECTORY : 0);
	if (n->fd >= 0) {
		fd = openat(f->proc, fd_name(n->fd).text, flags | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	} else {
		dir = n->parent ? node_fd(f, n->parent) : -ESTALE;
		fd = dir < 0 ? dir : open_below(dir, n->name, flags);
	}
	if (fd == -EPERM && (flags & O_NOATIME))
		return node_open(f, n, (flags & ~O_NOATIME) | truncate);
	if (fd < 0)
		return fd == -ENOENT || fd == -ELOOP ? -ESTALE : fd;
	ret = stat_fd(fd, &st);
	if (!ret && !node_is(f, n, &st))
		ret = -ESTALE;
	if (!ret && truncate && ftruncate(fd, 0))
		ret = -errno;
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

static int make_root(struct fs *f, int fd)
{
	struct statx st;
	int ret = stat_fd(fd, &st), device;

	if (ret)
		return ret;
	device = device_of(f, fd, "", &st);
	if (device < 0)
		return device;
	ret = make(f, (u32)device, &st, &f->root);
	if (ret)
		return ret;
	f->root->fd = fd;
	f->root->pinned = true;
	f->root->lookups = 1;
	return f->root->sealed ? -EINVAL : 0;
}

int fs_init(struct fs *f, const struct share_spec *spec, int fd, int proc)
{
	f->spec = spec;
	f->proc = proc;
	f->hash_size = 1024;
	f->hash = calloc(f->hash_size, sizeof(*f->hash));
	if (!f->max_fds)
		f->max_fds = 256;
	return f->hash ? make_root(f, fd) : -ENOMEM;
}

void fs_reset(struct fs *f)
{
	for (u32 i = 0; i < f->handles.n; i++)
		if (!((uintptr_t)f->handles.row[i] & 1))
			handle_free(f, f->handles.row[i]);
	for (u32 i = 0; i < f->nodes.n; i++) {
		struct node *n = f->nodes.row[i];

		if (((uintptr_t)n & 1) || n == f->root)
			continue;
		drop(f, n);
	}
	f->root->kids = 0;
	f->begun = false;
}

void fs_deinit(struct fs *f)
{
	fs_reset(f);
	drop(f, f->root);
	ids_deinit(&f->nodes);
	ids_deinit(&f->handles);
	free(f->hash);
}
