/* SPDX-License-Identifier: Apache-2.0
 * The file server on a tree of its own: requests as a guest sends them, and what the host does meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "share/fs.h"
#include "share/ring.h"

#define ROOT 1ull

struct world {
	struct fs fs;
	struct share_spec spec;
	char dir[64];
	u8 *buf;
	u64 unique;
};

/* ---- a guest -------------------------------------------------------------------------------------------------------
 */

struct part {
	const void *p;
	size_t n;
};
#define PART(x) ((struct part){ &(x), sizeof(x) })
#define NAME(s) ((struct part){ (s), strlen(s) + 1 })
#define NONE ((struct part){ NULL, 0 })

/* Bytes of the reply's data, behind 16 of header at w->buf; or -errno. */
static int ask3(struct world *w, u32 op, u64 node, struct part a, struct part b, struct part c)
{
	const struct part part[3] = { a, b, c };
	struct fuse_in_header h = { .opcode = op, .unique = ++w->unique, .nodeid = node };
	struct fuse_out_header o;
	u32 at = sizeof(h), len;

	for (int i = 0; i < 3; i++) {
		if (part[i].n)
			memcpy(w->buf + at, part[i].p, part[i].n);
		at += (u32)part[i].n;
	}
	h.len = at;
	memcpy(w->buf, &h, sizeof(h));
	len = fs_request(&w->fs, w->buf, at, RING_BUFFER);
	if (!len)
		return 0;
	memcpy(&o, w->buf, sizeof(o));
	assert_int_equal(o.len, len);
	assert_int_equal(o.unique, w->unique);
	assert_true(o.error <= 0 && len >= sizeof(o) && (!o.error || len == sizeof(o)));
	return o.error ? o.error : (int)(len - sizeof(o));
}

static int ask(struct world *w, u32 op, u64 node, struct part a, struct part b)
{
	return ask3(w, op, node, a, b, NONE);
}

#define REPLY(w, type) (*(type *)(void *)((w)->buf + sizeof(struct fuse_out_header)))

static u64 lookup(struct world *w, u64 dir, const char *name)
{
	int n = ask(w, FUSE_LOOKUP, dir, NAME(name), NONE);

	if (n < 0)
		return 0;
	assert_int_equal(n, sizeof(struct fuse_entry_out));
	return REPLY(w, struct fuse_entry_out).nodeid;
}

static int getattr(struct world *w, u64 node, struct fuse_attr *a)
{
	struct fuse_getattr_in in = { 0 };
	int n = ask(w, FUSE_GETATTR, node, PART(in), NONE);

	if (n > 0 && a)
		*a = REPLY(w, struct fuse_attr_out).attr;
	return n;
}

static int open_node(struct world *w, u32 op, u64 node, u32 flags, u64 *fh)
{
	struct fuse_open_in in = { .flags = flags };
	int n = ask(w, op, node, PART(in), NONE);

	*fh = n > 0 ? REPLY(w, struct fuse_open_out).fh : 0;
	return n;
}

static u64 create(struct world *w, u64 dir, const char *name, u32 flags, u64 *fh)
{
	struct fuse_create_in in = { .flags = flags, .mode = S_IFREG | 0644 };
	int n = ask(w, FUSE_CREATE, dir, PART(in), NAME(name));

	*fh = 0;
	if (n < 0)
		return 0;
	assert_int_equal(n, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
	*fh = ((struct fuse_open_out *)(void *)(&REPLY(w, struct fuse_entry_out) + 1))->fh;
	return REPLY(w, struct fuse_entry_out).nodeid;
}

static int write_at(struct world *w, u64 node, u64 fh, u64 off, const char *text, u32 flags)
{
	struct fuse_write_in in = { .fh = fh, .offset = off, .size = (u32)strlen(text), .flags = flags };

	return ask(w, FUSE_WRITE, node, PART(in), (struct part){ text, strlen(text) });
}

static int read_at(struct world *w, u64 node, u64 fh, u64 off, u32 size)
{
	struct fuse_read_in in = { .fh = fh, .offset = off, .size = size };

	return ask(w, FUSE_READ, node, PART(in), NONE);
}

static int forget(struct world *w, u64 node, u64 n)
{
	struct fuse_forget_in in = { n };

	return ask(w, FUSE_FORGET, node, PART(in), NONE);
}

static int rename_to(struct world *w, u64 from, const char *a, u64 to, const char *b, u32 flags)
{
	struct fuse_rename2_in in = { .newdir = to, .flags = flags };

	return ask3(w, FUSE_RENAME2, from, PART(in), NAME(a), NAME(b));
}

static int mkdir_at(struct world *w, u64 dir, const char *name)
{
	struct fuse_mkdir_in in = { .mode = 0755 };

	return ask(w, FUSE_MKDIR, dir, PART(in), NAME(name));
}

static void begin_session(struct world *w)
{
	struct fuse_init_in in = { .major = 7, .minor = 38, .max_readahead = 1 << 20, .flags = ~0u, .flags2 = ~0u };

	assert_int_equal(ask(w, FUSE_INIT, 0, PART(in), NONE), sizeof(struct fuse_init_out));
}

/* ---- the host ------------------------------------------------------------------------------------------------------
 */

static char *host(const struct world *w, const char *name, char *path)
{
	snprintf(path, 256, "%s/%s", w->dir, name);
	return path;
}

static void host_write(const struct world *w, const char *name, const char *text)
{
	char path[256];
	FILE *f = fopen(host(w, name, path), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int drop_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void begin_at(struct world *w, const char *dir, u32 max_fds)
{
	int proc = open("/proc/self/fd", O_PATH | O_DIRECTORY);

	w->buf = calloc(1, RING_BUFFER);
	w->fs.max_fds = max_fds;
	assert_int_equal(fchdir(proc), 0);
	assert_int_equal(fs_init(&w->fs, &w->spec, open(dir, O_PATH | O_DIRECTORY), proc), 0);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/test_share.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	begin_at(w, w->dir, 4);
	begin_session(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fs_deinit(&w->fs);
	close(w->fs.proc);
	nftw(w->dir, drop_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w->buf);
	free(w);
	return 0;
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- words ---------------------------------------------------------------------------------------------------------
 */

static void test_spec(void **state)
{
	static const char *const wrong[] = { "",
					     ",ro",
					     "/tmp:",
					     ":x",
					     "/tmp,r",
					     "/tmp,cache=most",
					     "/tmp,writeback",
					     "/tmp,ro,cache=always,writeback",
					     "/tmp:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	struct share_spec s;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(share_parse(&s, wrong[i], &e), -1);
	assert_int_equal(share_parse(&s, "/usr/lib", &e), 0);
	assert_string_equal(s.tag, "lib");
	assert_int_equal(share_parse(&s, "/", &e), 0);
	assert_string_equal(s.tag, "root");
	assert_int_equal(share_parse(&s, "/a,,b:c:d,ro,cache=none,locks", &e), 0);
	assert_string_equal(s.dir, "/a,b:c");
	assert_string_equal(s.tag, "d");
	assert_true(s.readonly && s.locks && s.cache == SHARE_CACHE_NONE);
}

/* ---- sessions and numbers ------------------------------------------------------------------------------------------
 */

static void test_session(void **state)
{
	struct world *w = *state;
	struct fuse_init_in old = { .major = 7, .minor = 11 }, next = { .major = 8 };
	struct fuse_init_in ours = { .major = 7, .minor = 31, .flags = ~(u32)FUSE_INIT_EXT, .flags2 = ~0u };

	ask(w, FUSE_DESTROY, 0, NONE, NONE);
	assert_int_equal(getattr(w, ROOT, NULL), -EIO);
	assert_int_equal(ask(w, FUSE_INIT, 0, PART(old), NONE), -EPROTO);
	assert_int_equal(ask(w, FUSE_INIT, 0, PART(next), NONE), sizeof(struct fuse_init_out));
	assert_int_equal(getattr(w, ROOT, NULL), -EIO);
	assert_int_equal(ask(w, FUSE_INIT, 0, PART(ours), NONE), sizeof(struct fuse_init_out));
	assert_int_equal(REPLY(w, struct fuse_init_out).flags2, 0);
	assert_int_equal(REPLY(w, struct fuse_init_out).max_write, SHARE_DATA_MAX);
	assert_false(REPLY(w, struct fuse_init_out).flags & FUSE_WRITEBACK_CACHE);
	assert_int_equal(getattr(w, ROOT, NULL), sizeof(struct fuse_attr_out));
	assert_int_equal(ask(w, 4095, ROOT, NONE, NONE), -ENOSYS);
	assert_int_equal(ask(w, FUSE_POLL, ROOT, NONE, NONE), -ENOSYS);
	assert_int_equal(ask(w, 0, ROOT, NONE, NONE), -ENOSYS);
}

static void test_numbers(void **state)
{
	struct world *w = *state;
	u64 a, b;

	host_write(w, "a", "text");
	a = lookup(w, ROOT, "a");
	assert_true(a > 1);
	assert_int_equal(lookup(w, ROOT, "a"), a);
	forget(w, a, 1);
	assert_true(getattr(w, a, NULL) > 0);
	forget(w, a, 1);
	assert_int_equal(getattr(w, a, NULL), -ENOENT);
	b = lookup(w, ROOT, "a");
	assert_true(b && b != a);
	forget(w, ROOT, ~0ull);
	assert_true(getattr(w, ROOT, NULL) > 0);
	assert_int_equal(getattr(w, 0, NULL), -ENOENT);
	assert_int_equal(getattr(w, ~0ull, NULL), -ENOENT);
	assert_int_equal(getattr(w, b + (1ull << 32), NULL), -ENOENT);
	forget(w, b, ~0ull);
	assert_int_equal(w->fs.n_nodes, 1);
}

static void test_names(void **state)
{
	struct world *w = *state;
	static const char *const never[] = { "", ".", "..", "a/b", "/", "/etc", "../x" };
	char name[300];

	for (unsigned i = 0; i < ARRAY_SIZE(never); i++) {
		assert_int_equal(ask(w, FUSE_LOOKUP, ROOT, NAME(never[i]), NONE), -EINVAL);
		assert_int_equal(mkdir_at(w, ROOT, never[i]), -EINVAL);
		assert_int_equal(ask(w, FUSE_SYMLINK, ROOT, NAME(never[i]), NAME("x")), -EINVAL);
		assert_int_equal(ask(w, FUSE_RMDIR, ROOT, NAME(never[i]), NONE), -EINVAL);
		assert_int_equal(rename_to(w, ROOT, "x", ROOT, never[i], 0), -EINVAL);
	}
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	assert_int_equal(ask(w, FUSE_LOOKUP, ROOT, NAME(name), NONE), -ENAMETOOLONG);
	assert_int_equal(ask(w, FUSE_LOOKUP, ROOT, ((struct part){ "abc", 3 }), NONE), -EINVAL);
	/* That there is nothing is an answer to keep. */
	assert_int_equal(ask(w, FUSE_LOOKUP, ROOT, NAME("none"), NONE), sizeof(struct fuse_entry_out));
	assert_int_equal(REPLY(w, struct fuse_entry_out).nodeid, 0);
}

/* ---- what the host does meanwhile ----------------------------------------------------------------------------------
 */

static void test_links_stay_inside(void **state)
{
	struct world *w = *state;
	char path[256];
	u64 link, d, fh;

	assert_int_equal(symlink("/etc", host(w, "out", path)), 0);
	link = lookup(w, ROOT, "out");
	assert_true(link);
	assert_int_equal(REPLY(w, struct fuse_entry_out).attr.mode & S_IFMT, S_IFLNK);
	assert_int_equal(ask(w, FUSE_LOOKUP, link, NAME("passwd"), NONE), -ENOTDIR);
	assert_true(open_node(w, FUSE_OPEN, link, O_RDONLY, &fh) < 0);
	assert_true(open_node(w, FUSE_OPENDIR, link, O_RDONLY, &fh) < 0);
	assert_int_equal(ask(w, FUSE_READLINK, link, NONE, NONE), 4);
	/* A directory that the guest knows becomes a link behind its back. */
	assert_true(mkdir_at(w, ROOT, "d") > 0);
	d = REPLY(w, struct fuse_entry_out).nodeid;
	rename(host(w, "d", path), "/tmp/test_share.gone");
	rmdir("/tmp/test_share.gone");
	assert_int_equal(symlink("/etc", path), 0);
	assert_true(ask(w, FUSE_LOOKUP, d, NAME("passwd"), NONE) < 0 || !REPLY(w, struct fuse_entry_out).nodeid);
	assert_true(open_node(w, FUSE_OPENDIR, d, O_RDONLY, &fh) < 0);
}

static void test_replaced(void **state)
{
	struct world *w = *state;
	struct fuse_attr a;
	char path[256];
	u64 n, fh;

	host_write(w, "f", "first");
	host_write(w, "other", "other");
	n = lookup(w, ROOT, "f");
	unlink(host(w, "f", path));
	host_write(w, "f", "second one");
	assert_int_equal(getattr(w, n, NULL), -ESTALE);
	assert_int_equal(open_node(w, FUSE_OPEN, n, O_RDWR | O_TRUNC, &fh), -ESTALE);
	assert_true(lookup(w, ROOT, "f") != n);
	assert_int_equal(getattr(w, lookup(w, ROOT, "f"), &a), sizeof(struct fuse_attr_out));
	assert_int_equal(a.size, 10);
	/* A fifo in place of a file does not make the server wait. */
	n = lookup(w, ROOT, "other");
	unlink(host(w, "other", path));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(open_node(w, FUSE_OPEN, n, O_RDONLY, &fh) < 0);
	assert_int_equal(open_node(w, FUSE_OPEN, lookup(w, ROOT, "other"), O_RDONLY, &fh), -ENXIO);
}

/* ---- names come and go ---------------------------------------------------------------------------------------------
 */

static void test_open_unlinked(void **state)
{
	struct world *w = *state;
	struct fuse_release_in release = { 0 };
	struct fuse_attr a;
	u64 n, fh, fh2, next;

	n = create(w, ROOT, "f", O_RDWR | O_CREAT | O_EXCL, &fh);
	assert_true(n);
	assert_int_equal(write_at(w, n, fh, 0, "hello", 0), sizeof(struct fuse_write_out));
	assert_int_equal(ask(w, FUSE_UNLINK, ROOT, NAME("f"), NONE), 0);
	assert_true(getattr(w, n, &a) > 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(a.size, 5);
	assert_int_equal(read_at(w, n, fh, 0, 100), 5);
	/* Even opened anew, as /proc/self/fd/N of the guest does. */
	assert_true(open_node(w, FUSE_OPEN, n, O_RDONLY, &fh2) > 0);
	assert_int_equal(read_at(w, n, fh2, 1, 100), 4);
	next = create(w, ROOT, "f", O_RDWR | O_CREAT, &fh2);
	assert_true(next && next != n);
	assert_int_equal(create(w, ROOT, "f", O_RDWR | O_CREAT | O_EXCL, &fh2), 0);
	release.fh = fh;
	assert_int_equal(ask(w, FUSE_RELEASE, n, PART(release), NONE), 0);
	assert_int_equal(read_at(w, n, fh, 0, 100), -EBADF);
	assert_true(getattr(w, n, &a) > 0);
}

static void test_rename(void **state)
{
	struct world *w = *state;
	struct fuse_attr a;
	u64 d, x, y;

	assert_true(mkdir_at(w, ROOT, "d") > 0);
	d = REPLY(w, struct fuse_entry_out).nodeid;
	host_write(w, "x", "x");
	host_write(w, "d/y", "yy");
	x = lookup(w, ROOT, "x");
	y = lookup(w, d, "y");
	assert_int_equal(rename_to(w, ROOT, "x", d, "y", 1), -EEXIST);
	assert_int_equal(rename_to(w, ROOT, "x", d, "y", 2), 0);
	assert_int_equal(lookup(w, ROOT, "x"), y);
	assert_int_equal(lookup(w, d, "y"), x);
	assert_int_equal(rename_to(w, d, "y", ROOT, "x", 0), 0);
	assert_int_equal(lookup(w, ROOT, "x"), x);
	assert_true(getattr(w, y, &a) > 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(a.size, 2);
	assert_int_equal(rename_to(w, ROOT, "d", d, "in", 0), -EINVAL);
	assert_int_equal(rename_to(w, ROOT, "x", ROOT, "z", 8), -EINVAL);
	/* The directory moves with what is known in it. */
	assert_true(mkdir_at(w, d, "e") > 0);
	x = REPLY(w, struct fuse_entry_out).nodeid;
	assert_int_equal(rename_to(w, ROOT, "d", ROOT, "moved", 0), 0);
	assert_true(mkdir_at(w, x, "deep") > 0);
	assert_true(getattr(w, REPLY(w, struct fuse_entry_out).nodeid, NULL) > 0);
}

static void test_hard_links(void **state)
{
	struct world *w = *state;
	struct fuse_link_in in;
	struct fuse_attr a;
	u64 n;

	host_write(w, "a", "text");
	n = in.oldnodeid = lookup(w, ROOT, "a");
	assert_true(ask(w, FUSE_LINK, ROOT, PART(in), NAME("b")) > 0);
	assert_int_equal(REPLY(w, struct fuse_entry_out).nodeid, n);
	assert_int_equal(lookup(w, ROOT, "b"), n);
	/* One of them away, whichever was seen last. */
	assert_int_equal(rename_to(w, ROOT, "a", ROOT, "b", 0), 0);
	assert_int_equal(ask(w, FUSE_UNLINK, ROOT, NAME("b"), NONE), 0);
	assert_true(getattr(w, n, &a) > 0);
	assert_int_equal(a.nlink, 1);
	assert_int_equal(lookup(w, ROOT, "a"), n);
}

/* More directories than descriptors, and a parent that is forgotten before what lies in it. */
static void test_deep(void **state)
{
	struct world *w = *state;
	unsigned before = open_files();
	u64 chain[40], fh, f;

	chain[0] = ROOT;
	for (unsigned i = 1; i < ARRAY_SIZE(chain); i++) {
		assert_true(mkdir_at(w, chain[i - 1], "d") > 0);
		chain[i] = REPLY(w, struct fuse_entry_out).nodeid;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(chain); i++) {
		u64 n = chain[(i * 17) % ARRAY_SIZE(chain)];

		f = create(w, n, "f", O_RDWR | O_CREAT, &fh);
		assert_true(f);
		assert_int_equal(write_at(w, f, fh, 0, "x", 0), sizeof(struct fuse_write_out));
		ask(w, FUSE_RELEASE, f, PART(((struct fuse_release_in){ .fh = fh })), NONE);
	}
	assert_true(open_files() <= before + 8);
	assert_int_equal(rename_to(w, chain[39], "f", chain[3], "g", 0), 0);
	for (unsigned i = 1; i < ARRAY_SIZE(chain) - 1; i++)
		forget(w, chain[i], 1);
	assert_true(getattr(w, chain[39], NULL) > 0);
	assert_int_equal(rename_to(w, chain[38], "d", ROOT, "e", 0), 0);
	assert_true(getattr(w, chain[39], NULL) > 0);
	assert_int_equal(lookup(w, ROOT, "e"), chain[39]);
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------
 */

static void test_bytes(void **state)
{
	struct world *w = *state;
	u64 fh, n = create(w, ROOT, "f", O_WRONLY | O_CREAT | O_APPEND, &fh), fh2;
	struct fuse_lseek_in seek = { .whence = SEEK_DATA };
	struct fuse_fallocate_in hole = { .offset = 4096, .length = 4096, .mode = 3 };
	struct fuse_copy_file_range_in copy = { .len = 3, .off_in = 0, .off_out = 100 };
	struct fuse_write_in lie = { .size = 100 };
	struct fuse_setattr_in set = { .valid = FATTR_SIZE | FATTR_MODE | FATTR_MTIME,
				       .size = 12288,
				       .mode = 0600,
				       .mtime = 1234,
				       .mtimensec = 5 };

	assert_int_equal(write_at(w, n, fh, 0, "abc", O_APPEND), sizeof(struct fuse_write_out));
	assert_int_equal(write_at(w, n, fh, 0, "def", O_APPEND), sizeof(struct fuse_write_out));
	/* F_SETFL took the flag away. */
	assert_int_equal(write_at(w, n, fh, 0, "X", 0), sizeof(struct fuse_write_out));
	assert_int_equal(read_at(w, n, fh, 0, 10), -EBADF);
	lie.fh = fh;
	assert_int_equal(ask(w, FUSE_WRITE, n, PART(lie), NAME("short")), -EINVAL);
	assert_true(open_node(w, FUSE_OPEN, n, O_RDWR, &fh2) > 0);
	assert_int_equal(read_at(w, n, fh2, 0, 10), 6);
	assert_memory_equal(w->buf + 16, "Xbcdef", 6);
	assert_int_equal(read_at(w, n, fh2, 1ull << 63, 10), -EINVAL);
	assert_int_equal(ask(w, FUSE_SETATTR, n, PART(set), NONE), sizeof(struct fuse_attr_out));
	assert_int_equal(REPLY(w, struct fuse_attr_out).attr.size, 12288);
	assert_int_equal(REPLY(w, struct fuse_attr_out).attr.mtime, 1234);
	assert_int_equal(REPLY(w, struct fuse_attr_out).attr.mode, S_IFREG | 0600);
	hole.fh = copy.fh_in = copy.fh_out = seek.fh = fh2;
	copy.nodeid_out = n;
	assert_int_equal(write_at(w, n, fh2, 5000, "data", 0), sizeof(struct fuse_write_out));
	assert_int_equal(ask(w, FUSE_FALLOCATE, n, PART(hole), NONE), 0);
	assert_int_equal(read_at(w, n, fh2, 5000, 4), 4);
	assert_memory_equal(w->buf + 16, "\0\0\0\0", 4);
	assert_int_equal(ask(w, FUSE_COPY_FILE_RANGE, n, PART(copy), NONE), sizeof(struct fuse_write_out));
	assert_int_equal(read_at(w, n, fh2, 100, 3), 3);
	assert_memory_equal(w->buf + 16, "Xbc", 3);
	seek.whence = SEEK_END;
	assert_int_equal(ask(w, FUSE_LSEEK, n, PART(seek), NONE), -EINVAL);
	seek.whence = SEEK_HOLE;
	assert_int_equal(ask(w, FUSE_LSEEK, n, PART(seek), NONE), sizeof(struct fuse_lseek_out));
	assert_int_equal(ask(w, FUSE_FSYNC, n, PART(((struct fuse_fsync_in){ .fh = fh2 })), NONE), 0);
}

static void test_xattrs(void **state)
{
	struct world *w = *state;
	struct fuse_setxattr_in set = { .size = 5 };
	struct fuse_getxattr_in get = { .size = 0 };
	u64 fh, n = create(w, ROOT, "f", O_RDWR | O_CREAT, &fh);
	int ret = ask3(w, FUSE_SETXATTR, n, PART(set), NAME("user.k"), (struct part){ "value", 5 });

	if (ret == -EOPNOTSUPP)
		skip();
	assert_int_equal(ret, 0);
	assert_int_equal(ask(w, FUSE_GETXATTR, n, PART(get), NAME("user.k")), sizeof(struct fuse_getxattr_out));
	assert_int_equal(REPLY(w, struct fuse_getxattr_out).size, 5);
	get.size = 100;
	assert_int_equal(ask(w, FUSE_GETXATTR, n, PART(get), NAME("user.k")), 5);
	assert_memory_equal(w->buf + 16, "value", 5);
	assert_true(ask(w, FUSE_LISTXATTR, n, PART(get), NONE) >= 7);
	set.size = 100;
	assert_int_equal(ask3(w, FUSE_SETXATTR, n, PART(set), NAME("user.k"), (struct part){ "value", 5 }), -EINVAL);
	assert_int_equal(ask(w, FUSE_REMOVEXATTR, n, NAME("user.k"), NONE), 0);
	assert_int_equal(ask(w, FUSE_GETXATTR, n, PART(get), NAME("user.k")), -ENODATA);
}

/* ---- directories ---------------------------------------------------------------------------------------------------
 */

static unsigned list_all(struct world *w, u64 dir, u64 fh, u32 size, bool plus, u64 *last)
{
	struct fuse_read_in in = { .fh = fh, .size = size };
	unsigned count = 0;
	int n;

	while ((n = ask(w, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, PART(in), NONE)) > 0) {
		u8 *p = w->buf + sizeof(struct fuse_out_header), *end = p + n;

		assert_true(n <= (int)size);
		while (p < end) {
			struct fuse_dirent *d = (void *)(p + (plus ? sizeof(struct fuse_entry_out) : 0));

			count++;
			in.offset = d->off;
			if (plus && last)
				*last = ((struct fuse_entry_out *)(void *)p)->nodeid;
			p += (plus ? sizeof(struct fuse_entry_out) : 0) + FUSE_DIRENT_SIZE(d);
		}
		assert_ptr_equal(p, end);
	}
	assert_int_equal(n, 0);
	return count;
}

static void test_directories(void **state)
{
	struct world *w = *state;
	char name[32];
	u64 fh, last = 0;

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		host_write(w, name, "");
	}
	assert_true(open_node(w, FUSE_OPENDIR, ROOT, O_RDONLY, &fh) > 0);
	assert_int_equal(list_all(w, ROOT, fh, 4096, true, &last), 302);
	assert_true(last > 1);
	assert_int_equal(list_all(w, ROOT, fh, 4096, false, NULL), 302);
	assert_int_equal(list_all(w, ROOT, fh, 700, true, NULL), 302);
	assert_int_equal(w->fs.n_nodes, 301);
	assert_int_equal(ask(w, FUSE_READDIR, last, PART(((struct fuse_read_in){ .fh = fh, .size = 4096 })), NONE),
			 -EBADF);
	assert_int_equal(read_at(w, ROOT, fh, 0, 10), -EBADF);
	ask(w, FUSE_DESTROY, 0, NONE, NONE);
	assert_int_equal(w->fs.n_nodes, 1);
}

/* A guest that begins to read many directories makes the host keep what a few need, and reads all of each. */
static void test_many_directories(void **state)
{
	struct world *w = *state;
	struct rlimit l;
	u64 fh[400];
	char name[32];

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	if (l.rlim_cur < 1000)
		skip();
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		host_write(w, name, "");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fh); i++) {
		struct fuse_read_in in = { .size = 200 };

		assert_true(open_node(w, FUSE_OPENDIR, ROOT, O_RDONLY, &fh[i]) > 0);
		in.fh = fh[i];
		assert_true(ask(w, FUSE_READDIR, ROOT, PART(in), NONE) > 0);
	}
	assert_true(w->fs.n_buffers <= FS_BUFFERS_MAX);
	for (unsigned i = 0; i < ARRAY_SIZE(fh); i++)
		assert_int_equal(list_all(w, ROOT, fh[i], 200, i & 1, NULL), 42);
	ask(w, FUSE_DESTROY, 0, NONE, NONE);
	assert_int_equal(w->fs.n_buffers, 0);
}

/* The host's processes are not files to share. */
static void test_sealed(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct fuse_attr a;
	u64 proc, fh;

	(void)state;
	w->spec.readonly = true;
	begin_at(w, "/", 8);
	begin_session(w);
	proc = lookup(w, ROOT, "proc");
	assert_true(proc);
	assert_int_equal(ask(w, FUSE_LOOKUP, proc, NAME("self"), NONE), -ENOENT);
	assert_true(open_node(w, FUSE_OPENDIR, proc, O_RDONLY, &fh) > 0);
	assert_int_equal(list_all(w, proc, fh, 4096, true, NULL), 0);
	assert_true(getattr(w, proc, &a) > 0);
	assert_true(S_ISDIR(a.mode));
	assert_int_equal(mkdir_at(w, ROOT, "never-made"), -EROFS);
	assert_int_equal(open_node(w, FUSE_OPEN, lookup(w, lookup(w, ROOT, "etc"), "passwd"), O_WRONLY, &fh), -EROFS);
	assert_true(open_node(w, FUSE_OPEN, lookup(w, lookup(w, ROOT, "etc"), "passwd"), O_RDONLY, &fh) > 0);
	fs_deinit(&w->fs);
	close(w->fs.proc);
	free(w->buf);
	free(w);
}

static void test_no_devices(void **state)
{
	struct world *w = *state;
	struct fuse_mknod_in in = { .mode = S_IFCHR | 0666, .rdev = 0x103 };

	assert_int_equal(ask(w, FUSE_MKNOD, ROOT, PART(in), NAME("null")), -EPERM);
	in.mode = S_IFBLK | 0666;
	assert_int_equal(ask(w, FUSE_MKNOD, ROOT, PART(in), NAME("disk")), -EPERM);
	in.mode = S_IFIFO | 0666;
	assert_true(ask(w, FUSE_MKNOD, ROOT, PART(in), NAME("fifo")) > 0);
}

/* ---- hostile requests ----------------------------------------------------------------------------------------------
 */

/* Every request at every length up to where its fields end, of zeros, ones and noise. */
static void test_truncated(void **state)
{
	struct world *w = *state;
	u64 fh, n = create(w, ROOT, "f", O_RDWR | O_CREAT, &fh);
	u8 bytes[160];

	srandom(1);
	for (u32 op = 0; op < 64; op++)
		for (u32 len = 0; len < sizeof(bytes); len++)
			for (unsigned fill = 0; fill < 4; fill++) {
				for (u32 i = 0; i < len; i++)
					bytes[i] = fill == 3 ? (u8)random() : fill == 2 ? 0xff : (u8)(fill * 'a');
				if (fill == 3 && len > 8)
					memcpy(bytes, &fh, 8);
				if (op == FUSE_INIT || op == FUSE_DESTROY || op == FUSE_SYNCFS)
					continue;
				ask(w, op, fill & 1 ? ROOT : n, ((struct part){ bytes, len }), NONE);
			}
	for (u32 len = 0; len < 40; len++)
		assert_int_equal(fs_request(&w->fs, w->buf, len, 4096), 0);
}

/* ---- the process ---------------------------------------------------------------------------------------------------
 */

struct seen {
	unsigned n, slot;
};

static void on_done(void *opaque, unsigned slot)
{
	struct seen *s = opaque;

	s->n++;
	s->slot = slot;
}

static u32 through(struct share *s, struct loop *l, struct seen *seen, u32 op, u64 node, const void *p, u32 n,
		   struct fuse_out_header *o)
{
	struct fuse_in_header h = { .len = (u32)sizeof(h) + n, .opcode = op, .unique = 7, .nodeid = node };
	int slot = share_take(s);
	u8 *buf = share_buffer(s, (unsigned)slot);
	u32 len;

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), p, n);
	seen->n = 0;
	if (!share_submit(s, (unsigned)slot, h.len, 4096))
		for (int i = 0; i < 100 && !seen->n; i++) {
			loop_wait(l, 100000000);
			loop_dispatch(l);
		}
	len = share_reply(s, (unsigned)slot);
	if (len)
		memcpy(o, buf, sizeof(*o));
	share_release(s, (unsigned)slot);
	return len;
}

static pid_t child_of_this(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "r");
	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

static void test_process(void **state)
{
	struct world *w = *state;
	struct fuse_init_in init = { .major = 7, .minor = 38, .flags = ~0u };
	struct fuse_out_header o;
	struct seen seen = { 0 };
	struct share_spec spec;
	struct err e;
	struct loop *l = loop_new(&e);
	struct share *s;
	pid_t pid;

	assert_int_equal(share_parse(&spec, w->dir, &e), 0);
	s = share_new(&spec, l, &e);
	assert_non_null(s);
	share_set_user(s, &(struct share_user){ on_done, &seen });
	assert_int_equal(through(s, l, &seen, FUSE_INIT, 0, &init, sizeof(init), &o), 80);
	assert_int_equal(o.unique, 7);
	host_write(w, "f", "x");
	assert_int_equal(through(s, l, &seen, FUSE_LOOKUP, 1, "f", 2, &o), 16 + sizeof(struct fuse_entry_out));
	for (u64 i = 0; i < 3000; i++)
		while (!share_forget(s, 2 + i, 1))
			usleep(1000);
	pid = child_of_this();
	assert_true(pid > 0);
	kill(pid, SIGKILL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(through(s, l, &seen, FUSE_LOOKUP, 1, "f", 2, &o), 0);
	share_free(s);
	snprintf(spec.dir, sizeof(spec.dir), "/nonexistent");
	assert_null(share_new(&spec, l, &e));
	assert_non_null(strstr(e.text, "/nonexistent"));
	snprintf(spec.dir, sizeof(spec.dir), "/proc");
	assert_null(share_new(&spec, l, &e));
	loop_free(l);
}

/* ---- waiting for locks ----------------------------------------------------------------------------------------------
 */

struct line {
	struct share *s;
	struct loop *l;
	u32 done; /* a bit a slot */
};

static void on_line(void *opaque, unsigned slot)
{
	((struct line *)opaque)->done |= 1u << slot;
}

static int send_off(struct line *w, u32 op, u64 unique, u64 node, const void *p, u32 n)
{
	struct fuse_in_header h = { .len = (u32)sizeof(h) + n, .opcode = op, .unique = unique, .nodeid = node };
	int slot = share_take(w->s);
	u8 *buf = share_buffer(w->s, (unsigned)slot);

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), p, n);
	if (share_submit(w->s, (unsigned)slot, h.len, 4096))
		w->done |= 1u << slot;
	return slot;
}

/* The error of its reply; 1: none has come within ms. */
static int outcome(struct line *w, int slot, int ms, void *data, size_t n)
{
	struct fuse_out_header o = { .error = 1 };

	for (int i = 0; i < ms / 10 && !(w->done & 1u << slot); i++) {
		loop_wait(w->l, 10000000);
		loop_dispatch(w->l);
	}
	if (!(w->done & 1u << slot))
		return 1;
	w->done &= ~(1u << slot);
	if (share_reply(w->s, (unsigned)slot))
		memcpy(&o, share_buffer(w->s, (unsigned)slot), sizeof(o));
	if (n)
		memcpy(data, (u8 *)share_buffer(w->s, (unsigned)slot) + sizeof(o), n);
	share_release(w->s, (unsigned)slot);
	return o.error;
}

static int now(struct line *w, u32 op, u64 node, const void *p, u32 n)
{
	return outcome(w, send_off(w, op, 5, node, p, n), 5000, NULL, 0);
}

static void test_waiting_locks(void **state)
{
	struct world *w = *state;
	struct fuse_init_in init = { .major = 7, .minor = 39 };
	struct fuse_entry_out entry = { 0 };
	struct fuse_open_in how = { .flags = O_RDWR };
	struct fuse_open_out file[2] = { 0 };
	struct fuse_lk_in lock = { .lk = { 0, 99, F_WRLCK, 1 } }, unlock = { .lk = { 0, 99, F_UNLCK, 1 } };
	struct share_spec spec;
	struct err e = { "" };
	struct line l = { .l = loop_new(&e) };
	int slot[17];

	assert_int_equal(share_parse(&spec, w->dir, &e), 0);
	spec.locks = true;
	l.s = share_new(&spec, l.l, &e);
	assert_non_null(l.s);
	share_set_user(l.s, &(struct share_user){ on_line, &l });
	assert_int_equal(now(&l, FUSE_INIT, 0, &init, sizeof(init)), 0);
	host_write(w, "f", "x");
	assert_int_equal(outcome(&l, send_off(&l, FUSE_LOOKUP, 1, 1, "f", 2), 5000, &entry, sizeof(entry)), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(outcome(&l, send_off(&l, FUSE_OPEN, 1, entry.nodeid, &how, sizeof(how)), 5000,
					 &file[i], sizeof(file[i])),
				 0);
	lock.fh = unlock.fh = file[0].fh;
	assert_int_equal(now(&l, FUSE_SETLKW, entry.nodeid, &lock, sizeof(lock)), 0);
	lock.fh = file[1].fh;
	assert_int_equal(now(&l, FUSE_SETLK, entry.nodeid, &lock, sizeof(lock)), -EAGAIN);
	/* It waits, others do not, and it has it when it is free. */
	slot[0] = send_off(&l, FUSE_SETLKW, 77, entry.nodeid, &lock, sizeof(lock));
	assert_int_equal(outcome(&l, slot[0], 100, NULL, 0), 1);
	assert_int_equal(now(&l, FUSE_SETLK, entry.nodeid, &unlock, sizeof(unlock)), 0);
	assert_int_equal(outcome(&l, slot[0], 5000, NULL, 0), 0);
	/* It is interrupted by its number. */
	lock.fh = file[0].fh;
	slot[0] = send_off(&l, FUSE_SETLKW, 78, entry.nodeid, &lock, sizeof(lock));
	slot[1] = send_off(&l, FUSE_INTERRUPT, 79, 0, &(struct fuse_interrupt_in){ 78 }, 8);
	assert_int_equal(outcome(&l, slot[0], 5000, NULL, 0), -EINTR);
	outcome(&l, slot[1], 5000, NULL, 0);
	/* Too many of them leave room for the one that lets go. */
	for (int i = 0; i < 17; i++)
		slot[i] = send_off(&l, FUSE_SETLKW, 100 + (u64)i, entry.nodeid, &lock, sizeof(lock));
	assert_int_equal(outcome(&l, slot[16], 5000, NULL, 0), -ENOLCK);
	unlock.fh = file[1].fh;
	assert_int_equal(now(&l, FUSE_SETLK, entry.nodeid, &unlock, sizeof(unlock)), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(outcome(&l, slot[i], 5000, NULL, 0), 0);
	share_free(l.s);
	loop_free(l.l);
}

/* ---- what waits for a disk ------------------------------------------------------------------------------------------
 */

static void make_dirty(const struct world *w, const char *name)
{
	static u8 bytes[1 << 20];
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)random();
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(pwrite(fd, bytes, sizeof(bytes), (off_t)i << 20), sizeof(bytes));
	close(fd);
}

/* Others are served meanwhile, and the file may be closed before it is done. */
static void test_sync(void **state)
{
	struct world *w = *state;
	struct fuse_init_in init = { .major = 7, .minor = 39 };
	struct fuse_entry_out entry = { 0 };
	struct fuse_open_in how = { .flags = O_RDWR };
	struct fuse_open_out file = { 0 };
	struct fuse_fsync_in in = { 0 };
	struct fuse_getattr_in get = { 0 };
	struct share_spec spec;
	struct err e = { "" };
	struct line l = { .l = loop_new(&e) };
	struct statfs fs;
	int slot[20];

	if (statfs(w->dir, &fs) || fs.f_type == TMPFS_MAGIC)
		skip();
	assert_int_equal(share_parse(&spec, w->dir, &e), 0);
	l.s = share_new(&spec, l.l, &e);
	assert_non_null(l.s);
	share_set_user(l.s, &(struct share_user){ on_line, &l });
	assert_int_equal(now(&l, FUSE_INIT, 0, &init, sizeof(init)), 0);
	host_write(w, "f", "x");
	assert_int_equal(outcome(&l, send_off(&l, FUSE_LOOKUP, 1, 1, "f", 2), 5000, &entry, sizeof(entry)), 0);
	assert_int_equal(
	    outcome(&l, send_off(&l, FUSE_OPEN, 1, entry.nodeid, &how, sizeof(how)), 5000, &file, sizeof(file)), 0);
	make_dirty(w, "f");
	in.fh = file.fh;
	slot[0] = send_off(&l, FUSE_FSYNC, 9, entry.nodeid, &in, sizeof(in));
	assert_int_equal(now(&l, FUSE_GETATTR, entry.nodeid, &get, sizeof(get)), 0);
	assert_int_equal(outcome(&l, slot[0], 0, NULL, 0), 1); /* not yet */
	for (int i = 1; i < 20; i++)
		slot[i] = send_off(&l, FUSE_FSYNC, 10 + (u64)i, entry.nodeid, &in, sizeof(in));
	assert_true(share_close(l.s, file.fh));
	assert_int_equal(now(&l, FUSE_FSYNC, entry.nodeid, &in, sizeof(in)), -EBADF);
	for (int i = 0; i < 20; i++) /* the close may be heard before what nobody has taken yet */
		assert_int_equal(outcome(&l, slot[i], 60000, NULL, 0) & ~(i ? -EBADF : 0), 0);
	share_free(l.s);
	loop_free(l.l);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),
		T(test_session),
		T(test_waiting_locks),
		T(test_sync),
		T(test_numbers),
		T(test_names),
		T(test_links_stay_inside),
		T(test_replaced),
		T(test_open_unlinked),
		T(test_rename),
		T(test_hard_links),
		T(test_deep),
		T(test_bytes),
		T(test_xattrs),
		T(test_directories),
		T(test_many_directories),
		cmocka_unit_test(test_sealed),
		T(test_no_devices),
		T(test_truncated),
		T(test_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
