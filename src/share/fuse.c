/* SPDX-License-Identifier: Apache-2.0
 * Requests by their number, and how a session begins.
 */
#include <errno.h>

#include "share/fs.h"

#define MINOR 39u
#define NO_MINOR_BELOW 12u /* structures of before are not known here */
#define TIME_GRAIN 1u
#define DIRECT_IO_ALLOW_MMAP (1ull << 36) /* 7.39; not in every linux/fuse.h */

const void *fs_arg(struct request *r, size_t n)
{
	const void *p = r->at;

	if ((size_t)(r->end - r->at) < n)
		return NULL;
	r->at += n;
	return p;
}

const char *fs_text(struct request *r)
{
	const char *s = (const char *)r->at;
	const u8 *zero = memchr(r->at, 0, (size_t)(r->end - r->at));

	if (!zero)
		return NULL;
	r->at = zero + 1;
	return s;
}

const char *fs_name(struct request *r)
{
	const char *s = fs_text(r);

	return s && name_ok(s) ? s : NULL;
}

/* ---- the session ---------------------------------------------------------------------------------------------------
 */

static u64 wanted_flags(const struct fs *f)
{
	const struct share_spec *s = f->spec;
	u64 want = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS |
		   FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 |
		   FUSE_MAX_PAGES | FUSE_INIT_EXT | FUSE_SETXATTR_EXT;

	if (s->locks)
		want |= FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;
	if (s->cache == SHARE_CACHE_AUTO)
		want |= FUSE_AUTO_INVAL_DATA;
	if (s->cache == SHARE_CACHE_NONE)
		want |= DIRECT_IO_ALLOW_MMAP;
	if (s->cache == SHARE_CACHE_ALWAYS)
		want |= FUSE_CACHE_SYMLINKS;
	if (s->cache == SHARE_CACHE_ALWAYS && s->writeback)
		want |= FUSE_WRITEBACK_CACHE;
	return want;
}

static int fs_begin(struct fs *f, struct request *r)
{
	struct fuse_init_in in = { 0 };
	struct fuse_init_out o = { .major = FUSE_KERNEL_VERSION, .minor = MINOR };
	size_t have = (size_t)(r->end - r->at);

	/* What stands behind max_readahead and flags came later. */
	if (have < 16)
		return -EINVAL;
	memcpy(&in, r->at, MIN(have, sizeof(in)));
	if (in.major < FUSE_KERNEL_VERSION || (in.major == FUSE_KERNEL_VERSION && in.minor < NO_MINOR_BELOW))
		return -EPROTO;
	if (in.major > FUSE_KERNEL_VERSION)
		return fs_reply(r, &o, sizeof(o)); /* it begins again with ours */
	fs_reset(f);
	f->flags = in.flags | (in.flags & FUSE_INIT_EXT ? (u64)in.flags2 << 32 : 0);
	f->flags &= wanted_flags(f);
	f->begun = true;
	o.max_readahead = in.max_readahead;
	o.flags = (u32)f->flags;
	o.flags2 = (u32)(f->flags >> 32);
	o.max_background = 64;
	o.congestion_threshold = 48;
	o.max_write = f->flags & FUSE_MAX_PAGES ? SHARE_DATA_MAX : 32 * (u32)PAGE_SIZE;
	o.max_pages = SHARE_DATA_MAX / PAGE_SIZE;
	o.time_gran = TIME_GRAIN;
	return fs_reply(r, &o, in.minor < 23 ? FUSE_COMPAT_22_INIT_OUT_SIZE : sizeof(o));
}

static int fs_destroy(struct fs *f, struct request *r)
{
	(void)r;
	fs_reset(f);
	return 0;
}

static int fs_forget(struct fs *f, struct request *r)
{
	const struct fuse_forget_in *in = fs_arg(r, sizeof(*in));
	struct node *n = node_find(f, r->h.nodeid);

	if (n && in)
		node_forget(f, n, in->nlookup);
	return 0;
}

static int fs_batch_forget(struct fs *f, struct request *r)
{
	const struct fuse_batch_forget_in *in = fs_arg(r, sizeof(*in));
	const struct fuse_forget_one *one;

	for (u32 i = 0; in && i < in->count && (one = fs_arg(r, sizeof(*one))); i++) {
		struct node *n = node_find(f, one->nodeid);

		if (n)
			node_forget(f, n, one->nlookup);
	}
	return 0;
}

/* What is under way is short. */
/* ---- requests ------------------------------------------------------------------------------------------------------
 */

enum { WRITES = 1, SILENT = 2, EARLY = 4 /* before INIT, too */ };

static const struct row {
	fs_fn *fn;
	u8 what;
} rows[] = {
	[FUSE_LOOKUP] = { fs_lookup, 0 },
	[FUSE_FORGET] = { fs_forget, SILENT },
	[FUSE_GETATTR] = { fs_getattr, 0 },
	[FUSE_SETATTR] = { fs_setattr, WRITES },
	[FUSE_READLINK] = { fs_readlink, 0 },
	[FUSE_SYMLINK] = { fs_symlink, WRITES },
	[FUSE_MKNOD] = { fs_mknod, WRITES },
	[FUSE_MKDIR] = { fs_mkdir, WRITES },
	[FUSE_UNLINK] = { fs_unlink, WRITES },
	[FUSE_RMDIR] = { fs_rmdir, WRITES },
	[FUSE_RENAME] = { fs_rename, WRITES },
	[FUSE_LINK] = { fs_link, WRITES },
	[FUSE_OPEN] = { fs_open, 0 },
	[FUSE_READ] = { fs_read, 0 },
	[FUSE_WRITE] = { fs_write, WRITES },
	[FUSE_STATFS] = { fs_statfs, 0 },
	[FUSE_RELEASE] = { fs_release, 0 },
	[FUSE_FSYNC] = { fs_fsync, 0 },
	[FUSE_SETXATTR] = { fs_setxattr, WRITES },
	[FUSE_GETXATTR] = { fs_getxattr, 0 },
	[FUSE_LISTXATTR] = { fs_listxattr, 0 },
	[FUSE_REMOVEXATTR] = { fs_removexattr, WRITES },
	[FUSE_FLUSH] = { fs_flush, 0 },
	[FUSE_INIT] = { fs_begin, EARLY },
	[FUSE_OPENDIR] = { fs_opendir, 0 },
	[FUSE_READDIR] = { fs_readdir, 0 },
	[FUSE_RELEASEDIR] = { fs_releasedir, 0 },
	[FUSE_FSYNCDIR] = { fs_fsyncdir, 0 },
	[FUSE_GETLK] = { fs_getlk, 0 },
	[FUSE_SETLK] = { fs_setlk, 0 },
	[FUSE_SETLKW] = { fs_setlk, 0 },
	[FUSE_CREATE] = { fs_create, WRITES },
	[FUSE_INTERRUPT] = { fs_interrupt, SILENT },
	[FUSE_DESTROY] = { fs_destroy, EARLY },
	[FUSE_BATCH_FORGET] = { fs_batch_forget, SILENT },
	[FUSE_FALLOCATE] = { fs_fallocate, WRITES },
	[FUSE_READDIRPLUS] = { fs_readdirplus, 0 },
	[FUSE_RENAME2] = { fs_rename2, WRITES },
	[FUSE_LSEEK] = { fs_lseek, 0 },
	[FUSE_COPY_FILE_RANGE] = { fs_copy, WRITES },
	[FUSE_SYNCFS] = { fs_syncfs, 0 },
	[FUSE_TMPFILE] = { fs_tmpfile, WRITES },
	[52 /* STATX, 7.39 */] = { fs_statx, 0 },
};

static int run(struct fs *f, struct request *r)
{
	const struct row *row = r->h.opcode < ARRAY_SIZE(rows) ? &rows[r->h.opcode] : NULL;
	struct node *n;
	int ret;

	if (!row || !row->fn)
		return -ENOSYS;
	if (!f->begun && !(row->what & EARLY))
		return -EIO;
	if ((row->what & WRITES) && f->spec->readonly)
		return -EROFS;
	/* It stays while it is worked on, whatever becomes of what lies in it. */
	n = row->what & (SILENT | EARLY) ? NULL : node_find(f, r->h.nodeid);
	if (n)
		node_hold(n);
	ret = row->fn(f, r);
	if (n)
		node_release(f, n);
	return ret;
}

static bool is_silent(const struct request *r)
{
	return r->h.opcode < ARRAY_SIZE(rows) && (rows[r->h.opcode].what & SILENT);
}

/* Everything but the data of a WRITE is copied before it is looked at. */
static int take(struct fs *f, struct request *r, const u8 *buf, u32 len)
{
	u32 head = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in), n = len;

	memcpy(&r->h, buf, sizeof(r->h));
	if (r->h.opcode == FUSE_WRITE) {
		n = MIN(len, head);
		r->payload = buf + n;
		r->payload_len = len - n;
	}
	if (n > sizeof(f->in))
		return -E2BIG;
	memcpy(f->in, buf, n);
	r->at = f->in + sizeof(r->h);
	r->end = f->in + n;
	return 0;
}

u32 fs_refuse(u8 *buf, u32 len, u32 room, int error)
{
	struct fuse_out_header o = { .len = sizeof(o), .error = error };
	struct fuse_in_header h;

	if (len < sizeof(h) || room < sizeof(o))
		return 0;
	memcpy(&h, buf, sizeof(h));
	o.unique = h.unique;
	memcpy(buf, &o, sizeof(o));
	return sizeof(o);
}

u32 fs_request(struct fs *f, u8 *buf, u32 len, u32 room)
{
	struct fuse_out_header o = { 0 };
	struct request r = { .data = buf + sizeof(o) };
	int ret;

	if (len < sizeof(r.h))
		return 0;
	r.room = room > sizeof(o) ? room - (u32)sizeof(o) : 0;
	ret = take(f, &r, buf, len);
	f->later = false;
	f->slow.fd = -1;
	if (!ret)
		ret = run(f, &r);
	if (f->later)
		return FS_LATER;
	if (f->slow.fd >= 0)
		return FS_SLOW;
	if (is_silent(&r) || room < sizeof(o))
		return 0;
	o.len = (u32)sizeof(o) + (u32)MAX(ret, 0);
	o.error = MIN(ret, 0);
	o.unique = r.h.unique;
	memcpy(buf, &o, sizeof(o));
	return o.len;
}
