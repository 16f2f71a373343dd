/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on the file server: a session of requests from bytes, on a small tree that they change. Numbers of nodes
 * and handles are mostly those that the server gave. Outside the tree nothing may change or be read: beside it lies a
 * file that is looked at after each session, and a link in the tree leads there.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "share/fs.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define BUFFER (1u << 17)
#define REQUESTS_MAX 64
#define GIVEN 16

struct session {
	struct fs fs;
	const u8 *at, *end;
	u64 given[GIVEN]; /* numbers from replies */
	unsigned n_given;
	u8 *buf;
};

static int drop_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

static void make_tree(const char *top)
{
	char path[128];

	nftw(top, drop_one, 16, FTW_DEPTH | FTW_PHYS);
	snprintf(path, sizeof(path), "%s/tree/d", top);
	mkdir(top, 0755);
	path[strlen(path) - 2] = 0;
	mkdir(path, 0755);
	strcat(path, "/d");
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/outside", top);
	put(path, "outside");
	snprintf(path, sizeof(path), "%s/tree/a", top);
	put(path, "text of a");
	snprintf(path, sizeof(path), "%s/tree/d/l", top);
	if (symlink("../../outside", path))
		abort();
}

static void check_outside(const char *top)
{
	char path[128], text[16] = "";
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/outside", top);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text)) != 7 || memcmp(text, "outside", 7) || fstat(fd, &st) ||
	    st.st_nlink != 1 || st.st_mode != (S_IFREG | 0644))
		abort();
	close(fd);
}

static u8 next(struct session *s)
{
	return s->at < s->end ? *s->at++ : 0;
}

static u64 some_number(struct session *s)
{
	u8 b = next(s);

	return b < 0x40 ? 1 : b < 0xf0 ? s->given[b % GIVEN] : (u64)b << 56 | b;
}

/* Names that meet, now and then one that must not be. */
static u32 put_name(struct session *s, u8 *to)
{
	static const char *const names[] = { "a", "b", "d", "l", "a", "b", "d", "..", "l/x", "user.x", "e", "" };
	const char *name = names[next(s) % ARRAY_SIZE(names)];

	memcpy(to, name, strlen(name) + 1);
	return (u32)strlen(name) + 1;
}

static void remember(struct session *s, u32 op, u32 len)
{
	u64 number;

	if (len < sizeof(struct fuse_out_header) + 16)
		return;
	memcpy(&number, s->buf + sizeof(struct fuse_out_header), 8);
	if (op == FUSE_LOOKUP || op == FUSE_OPEN || op == FUSE_OPENDIR || op == FUSE_MKDIR || op == FUSE_LINK)
		s->given[s->n_given++ % GIVEN] = number;
	if (op != FUSE_CREATE && op != FUSE_TMPFILE)
		return;
	s->given[s->n_given++ % GIVEN] = number;
	memcpy(&number, s->buf + sizeof(struct fuse_out_header) + sizeof(struct fuse_entry_out), 8);
	s->given[s->n_given++ % GIVEN] = number;
}

/* Opcode, node, how many bytes of structure (their first eight a number), names. */
static void one(struct session *s)
{
	struct fuse_in_header h = { .opcode = next(s) % 56, .nodeid = some_number(s) };
	u32 n = next(s) % 80, names = next(s) % 3, at = sizeof(h), len;
	u64 number = some_number(s);

	if (h.opcode == FUSE_SYNCFS || h.opcode == FUSE_FSYNC || h.opcode == FUSE_FSYNCDIR)
		return;
	for (u32 i = 0; i < n; i++)
		s->buf[at + i] = i < 8 ? (u8)(number >> 8 * i) : next(s);
	if (h.opcode == FUSE_SETATTR && n >= 32) /* no files of terabytes */
		memset(s->buf + at + 27, 0, 5);
	if ((h.opcode == FUSE_WRITE || h.opcode == FUSE_FALLOCATE) && n >= 24)
		memset(s->buf + at + 10, 0, h.opcode == FUSE_WRITE ? 6 : 14);
	at += n;
	while (names--)
		at += put_name(s, s->buf + at);
	h.len = at;
	memcpy(s->buf, &h, sizeof(h));
	len = fs_request(&s->fs, s->buf, at, next(s) & 1 ? 4096 : 200);
	if (len == FS_LATER) /* a lock */
		return;
	if (len > 4096)
		abort();
	remember(s, h.opcode, len);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const struct share_spec spec;
	struct session s = { .at = data, .end = data + size };
	struct fuse_in_header h = { .opcode = FUSE_INIT };
	struct fuse_init_in in = { .major = 7, .minor = 38, .flags = ~0u };
	int here = open(".", O_PATH | O_DIRECTORY);
	char top[64], tree[80];

	snprintf(top, sizeof(top), "/tmp/lf_fuse.%d", (int)getpid());
	snprintf(tree, sizeof(tree), "%s/tree", top);
	make_tree(top);
	s.buf = calloc(1, BUFFER);
	s.fs.max_fds = 4;
	if (fs_init(&s.fs, &spec, open(tree, O_PATH | O_DIRECTORY), open("/proc/self/fd", O_PATH | O_DIRECTORY)) ||
	    fchdir(s.fs.proc))
		abort();
	memcpy(s.buf, &h, sizeof(h));
	memcpy(s.buf + sizeof(h), &in, sizeof(in));
	fs_request(&s.fs, s.buf, sizeof(h) + sizeof(in), 4096);
	for (unsigned i = 0; i < REQUESTS_MAX && s.at < s.end; i++)
		one(&s);
	fs_deinit(&s.fs);
	close(s.fs.proc);
	if (fchdir(here))
		abort();
	close(here);
	free(s.buf);
	check_outside(top);
	nftw(top, drop_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
