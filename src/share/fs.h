/* SPDX-License-Identifier: Apache-2.0
 * The FUSE server (linux/fuse.h, protocol 7.39): a tree of the host, seen through requests. One thread, but for what
 * struct fs_slow says.
 *
 * A node is a file that the guest knows: device, inode number and, where the host's file system has it, time of birth,
 * with the place where it was last seen. Descriptors are opened when they are needed: most files are only looked at.
 * Invariants:
 *  1. A name is one component, checked by name_ok(); what is opened by it is opened below a descriptor of its
 * directory, without following a link, and found to be the node before it is used. So nothing leads out of the shared
 * tree.
 *  2. A node whose name goes away keeps a descriptor for as long as the guest knows it ("pinned"): its inode number is
 *     not used anew, and it can be used without a name.
 *  3. A node stands as long as the guest has looked it up more often than it forgot it, or other nodes lie in it, it
 *     is open, or worked on. The
 *     chain of parents ends at the root, node 1.
 *  4. Numbers of nodes and handles are never used again; a number that is not known is ENOENT or EBADF, nothing else.
 *  5. Of proc, sysfs and the like only the empty directory is shown, on which a guest mounts its own.
 */
#ifndef SHARE_FS_H
#define SHARE_FS_H

#include <linux/fuse.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "share/share.h"

#define FS_NODES_MAX (2u << 20)
#define FS_DEPTH_MAX 2048u
#define FS_DEVICES_MAX 64u
#define FS_REQUEST_MAX (80u << 10) /* but for WRITE's data */
#define FS_DIR_BUFFER (32u << 10)
#define FS_BUFFERS_MAX 256u /* that stay between requests */

struct node {
	u64 id, lookups;
	u64 ino, birth; /* ns */
	u32 device;	/* index */
	u32 kids;	/* nodes whose parent it is, and holds */
	u32 type;	/* S_IFMT */
	int fd;		/* O_PATH, or -1 */
	bool pinned, sealed, hashed;
	struct node *parent; /* NULL: it has no place */
	char *name;
	struct node *next;	    /* in the hash */
	struct node *newer, *older; /* of those with a descriptor that may be closed */
	s64 mtime_ns, ctime_ns;	    /* when it was last opened */
	u64 size;
};

struct handle {
	u64 id;
	struct node *node;
	int fd;
	bool directory, writable;
	/* Directories: what getdents64 gave, and where in it the next entry stands. */
	u8 *buf;
	u32 len, at;
	s64 next; /* the cookie that the entry at `at` follows */
};

struct fs_device {
	u32 major, minor;
	bool births; /* times of birth stay */
	bool sealed;
};

struct ids {
	void **row;
	u32 *gen;
	u32 n, room, free; /* free: index + 1 of the first, in a chain through row */
};

/* What is waited for in another thread, with a descriptor of its own; fd -1: nothing. */
struct fs_slow {
	int fd;
	enum { SLOW_FSYNC, SLOW_FDATASYNC, SLOW_SYNCFS, SLOW_READ } what;
	u64 unique;
	u64 offset; /* SLOW_READ */
	u32 len;
};

struct fs {
	const struct share_spec *spec;
	int proc;  /* /proc/self/fd */
	bool owns; /* may give files away: new ones belong to who made them */
	uid_t uid; /* the server's own */
	gid_t gid;
	struct node *root;
	struct ids nodes, handles;
	u32 n_buffers;
	struct node **hash;
	u32 hash_size, n_nodes;
	struct node *newest, *oldest;
	u32 n_fds, max_fds;
	struct fs_device device[FS_DEVICES_MAX];
	u32 n_devices;
	u64 flags; /* as INIT settled them */
	bool begun;
	bool later;  /* the request under way waits for a lock */
	bool defers; /* fs_request() may return FS_SLOW */
	struct fs_slow slow;
	u64 interrupted; /* a request that shall not wait any longer; 0: none */
	u8 in[FS_REQUEST_MAX] __attribute__((aligned(8)));
};

/* A request: its header, a cursor in what follows it, and where the reply goes. */
struct request {
	struct fuse_in_header h;
	const u8 *at, *end;
	u8 *data; /* of the reply, behind its header */
	u32 room;
	const u8 *payload; /* WRITE's data, which the other process can change */
	u32 payload_len;
};

/* Bytes of the reply's data, or -errno. */
typedef int fs_fn(struct fs *f, struct request *r);

#define FS_LATER (~0u)
#define FS_SLOW (~0u - 1)

/* fuse.c. One request of `len` bytes at buf, the reply to the same place: its length; 0: none is wanted; FS_LATER: it
 * waits for a lock, is where it was, and wants to be asked again; FS_SLOW: f->slow is to be done. */
u32 fs_request(struct fs *f, u8 *buf, u32 len, u32 room);
/* After FS_SLOW, with what f->slow was: does it, in any thread; the reply's length. */
u32 fs_do_slow(const struct fs_slow *slow, u8 *buf, u32 room);
/* The same with an error for the answer, whatever it is. */
u32 fs_refuse(u8 *buf, u32 len, u32 room, int error);
/* Root and everything else. fd: the shared directory, O_PATH, which becomes its. */
int fs_init(struct fs *f, const struct share_spec *spec, int fd, int proc);
/* As before the first request. */
void fs_reset(struct fs *f);
void fs_deinit(struct fs *f);
const void *fs_arg(struct request *r, size_t n);
const char *fs_name(struct request *r); /* NULL: not a name that can be */
const char *fs_text(struct request *r); /* any bytes before a zero */
static inline int fs_reply(struct request *r, const void *p, u32 n)
{
	if (n > r->room)
		return -34 /* ERANGE */;
	memcpy(r->data, p, n);
	return (int)n;
}

/* ids.c */
u64 ids_new(struct ids *t, void *p); /* 0: no memory */
void *ids_find(const struct ids *t, u64 id);
void ids_free(struct ids *t, u64 id);
void ids_deinit(struct ids *t);

/* node.c */
struct node *node_find(struct fs *f, u64 id);
/* The node of what stands at (parent, name), new or known, with one more lookup if `count`. */
int node_see(struct fs *f, struct node *parent, const char *name, const struct statx *st, bool count,
	     struct node **node);
/* The known one, or NULL. */
struct node *node_known(struct fs *f, const struct statx *st);
/* One without a place, of which fd (O_PATH) is the only way to it. */
int node_adopt(struct fs *f, int fd, const struct statx *st, struct node **node);
void node_forget(struct fs *f, struct node *n, u64 lookups);
/* It stays until it is released, whatever the guest forgets. */
void node_hold(struct node *n);
void node_release(struct fs *f, struct node *n);
/* An O_PATH descriptor, good until the next call of node_fd(); -errno. */
int node_fd(struct fs *f, struct node *n);
/* Its name (parent, name) goes away, or will: true if it has a descriptor that was not kept before. */
bool node_pin(struct fs *f, struct node *n);
void node_unpin(struct fs *f, struct node *n);
void node_displace(struct fs *f, struct node *n);
int node_place(struct fs *f, struct node *n, struct node *parent, const char *name);
bool node_is_at(const struct node *n, const struct node *parent, const char *name);
/* Attributes of the node, verified. */
int node_stat(struct fs *f, struct node *n, struct statx *st);
int stat_fd(int fd, struct statx *st);
int stat_at(int dir, const char *name, struct statx *st);
bool node_is(struct fs *f, const struct node *n, const struct statx *st);
/* Opens it with these flags of open(2); a regular file or a directory only. */
int node_open(struct fs *f, struct node *n, int flags);
/* "N" for a descriptor: its name in /proc/self/fd, which is the working directory. */
struct fd_name {
	char text[12];
};
struct fd_name fd_name(int fd);

/* handle.c */
struct handle *handle_new(struct fs *f, struct node *n, int fd, bool directory);
struct handle *handle_find(struct fs *f, u64 id, bool directory);
void handle_free(struct fs *f, struct handle *h);

/* attr.c */
void attr_fill(struct fs *f, const struct statx *st, struct fuse_attr *a);
void attr_valid(const struct fs *f, u64 *sec, u32 *nsec);
void entry_fill(struct fs *f, const struct node *n, const struct statx *st, struct fuse_entry_out *o);
/* Is the file as it was when this was last asked? */
bool attr_same(struct node *n, const struct statx *st);

fs_fn fs_lookup, fs_getattr, fs_setattr, fs_statfs, fs_readlink; /* attr.c, name.c */
fs_fn fs_statx;
fs_fn fs_symlink, fs_mknod, fs_mkdir, fs_unlink, fs_rmdir, fs_rename, fs_rename2, fs_link, fs_create,
    fs_tmpfile; /* name.c */
fs_fn fs_open, fs_read, fs_write, fs_release, fs_fsync, fs_fallocate, fs_lseek, fs_copy, fs_syncfs,
    fs_flush;								  /* file.c */
fs_fn fs_opendir, fs_readdir, fs_readdirplus, fs_releasedir, fs_fsyncdir; /* dir.c */
fs_fn fs_setxattr, fs_getxattr, fs_listxattr, fs_removexattr;		  /* xattr.c */
fs_fn fs_getlk, fs_setlk, fs_interrupt;

/* file.c. Now, or by f->slow: 0 or -errno. */
int file_sync(struct fs *f, const struct request *r, int fd, int what);
int file_reply_open(struct fs *f, struct request *r, struct node *n, int fd, const struct statx *st,
		    struct fuse_open_out *o);
int file_flags(const struct fs *f, u32 flags);
/* A change of its data by somebody who is not root takes set-user-ID bits away (FUSE_HANDLE_KILLPRIV_V2). Where the
 * server is not root either, its own kernel does that. */
void file_strip(const struct fs *f, int fd);

/* confine.c: the calling process, for good; threads(opaque) may start some, which are under the same. */
int confine_share(const struct share_spec *s, int dir, void (*threads)(void *opaque), void *opaque, struct err *e);
/* The shared directory, O_PATH; with its own view of files around it where the host allows. */
int confine_root(const struct share_spec *s, int *dir, int *proc, struct err *e);

/* Whether it is too long, the host's file system says. */
static inline bool name_ok(const char *s)
{
	return *s && !strchr(s, '/') && strcmp(s, ".") && strcmp(s, "..");
}

#endif
