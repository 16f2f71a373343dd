/* SPDX-License-Identifier: Apache-2.0
 * Reads of a share's file that is not in the host's memory are for another thread; others are answered at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "share/fs.h"
#include "share/ring.h"

#define MIB (1u << 20)
#define PAGES 4096u

struct world {
	struct fs fs;
	struct share_spec spec;
	char dir[64];
	u8 *buf, *data; /* of a request or its reply; of a reply, behind its header */
	unsigned slow;	/* requests that were for another thread */
};

static int ask(struct world *w, u32 op, u64 node, const void *p, u32 n)
{
	struct fuse_in_header h = { .len = (u32)sizeof(h) + n, .opcode = op, .unique = 7, .nodeid = node };
	struct fuse_out_header o;
	u32 len;

	memcpy(w->buf, &h, sizeof(h));
	memcpy(w->buf + sizeof(h), p, n);
	len = fs_request(&w->fs, w->buf, h.len, RING_BUFFER);
	if (len == FS_SLOW) {
		w->slow++;
		len = fs_do_slow(&w->fs.slow, w->buf, RING_BUFFER);
	}
	memcpy(&o, w->buf, sizeof(o));
	assert_int_equal(o.len, len);
	assert_int_equal(o.unique, 7);
	return o.error ? o.error : (int)(len - sizeof(o));
}

static int read_at(struct world *w, u64 node, u64 fh, u64 off, u32 size)
{
	struct fuse_read_in in = { .fh = fh, .offset = off, .size = size };

	return ask(w, FUSE_READ, node, &in, sizeof(in));
}

static u64 open_file(struct world *w, const char *name, u64 *node)
{
	struct fuse_open_in in = { .flags = O_RDONLY };

	assert_true(ask(w, FUSE_LOOKUP, 1, name, (u32)strlen(name) + 1) > 0);
	*node = ((struct fuse_entry_out *)(void *)w->data)->nodeid;
	assert_true(ask(w, FUSE_OPEN, *node, &in, sizeof(in)) > 0);
	return ((struct fuse_open_out *)(void *)w->data)->fh;
}

/* A file whose pages are on the disk only, if there is one. */
static int make(const struct world *w, const char *name)
{
	char path[128];
	u64 page[512] = { 0 };
	int fd;

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	for (; page[0] < PAGES; page[0]++)
		assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return fd;
}

static bool is_cold(int fd)
{
	char byte;
	struct iovec v = { &byte, 1 };

	return preadv2(fd, &v, 1, 8 * MIB, RWF_NOWAIT) < 0 && errno == EAGAIN;
}

static void drop(const struct world *w)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/probe", w->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/f", w->dir);
	unlink(path);
	rmdir(w->dir);
}

/* A server ends with its process only, so nothing frees what it has. */
static struct world *volatile served;

static void test_cold_read(void **state)
{
	struct fuse_init_in init = { .major = 7, .minor = 38, .max_readahead = MIB };
	struct world *w = calloc(1, sizeof(*w));
	int proc = open("/proc/self/fd", O_PATH | O_DIRECTORY), probe, f;
	u64 fh, n;
	bool cold;

	(void)state;
	served = w;
	snprintf(w->dir, sizeof(w->dir), "/var/tmp/test_share_cold.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->buf = calloc(1, RING_BUFFER);
	w->data = w->buf + sizeof(struct fuse_out_header);
	w->fs.max_fds = 8;
	assert_int_equal(fs_init(&w->fs, &w->spec, open(w->dir, O_PATH | O_DIRECTORY), proc), 0);
	assert_true(ask(w, FUSE_INIT, 0, &init, sizeof(init)) > 0);
	w->fs.defers = true;
	probe = make(w, "probe");
	cold = is_cold(probe);
	f = make(w, "f");
	fh = open_file(w, "f", &n);
	assert_int_equal(read_at(w, n, fh, 8 * MIB, 8192), 8192);
	if (cold)
		assert_int_equal(w->slow, 1);
	assert_int_equal(*(u64 *)(void *)w->data, 2048);
	assert_int_equal(*(u64 *)(void *)(w->data + 4096), 2049);
	w->slow = 0;
	assert_int_equal(read_at(w, n, fh, 8 * MIB, 8192), 8192);
	assert_int_equal(*(u64 *)(void *)(w->data + 4096), 2049);
	assert_int_equal(pread(f, &(u64){ 0 }, 8, (off_t)(PAGES - 1) * 4096), 8);
	assert_int_equal(read_at(w, n, fh, (PAGES - 1) * 4096, 8192), 4096);
	assert_int_equal(*(u64 *)(void *)w->data, PAGES - 1);
	assert_int_equal(read_at(w, n, fh, PAGES * 4096, 8192), 0);
	assert_int_equal(read_at(w, n, fh, ~0ull, 1), -EINVAL);
	assert_int_equal(w->slow, 0);
	drop(w);
	close(probe);
	close(f);
	if (!cold)
		skip(); /* a file system that cannot tell */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cold_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
