/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/newc.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HEAD 110u /* 6 digits of magic, 13 fields of 8 */

static void put(struct newc *n, const void *p, size_t len)
{
	size_t need = n->len + len + 4;

	if (n->failed || !len)
		return;
	if (need > n->room) {
		size_t room = MAX(need + (1u << 20), n->room + n->room / 2);
		u8 *data = realloc(n->data, room);

		n->failed = !data;
		if (!data)
			return;
		n->data = data;
		n->room = room;
	}
	memcpy(n->data + n->len, p, len);
	n->len += len;
}

static void pad(struct newc *n)
{
	put(n, "\0\0\0", -n->len & 3);
}

void newc_add(struct newc *n, const struct newc_file *f)
{
	size_t name = strlen(f->path) + 1;
	char head[HEAD + 1];

	snprintf(head, sizeof(head), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ++n->inodes,
		 (unsigned)f->mode, (unsigned)f->uid, (unsigned)f->gid, 1u, f->mtime, (unsigned)f->len, 0u, 0u,
		 major(f->device), minor(f->device), (unsigned)name, 0u);
	put(n, head, HEAD);
	put(n, f->path, name);
	pad(n);
	put(n, f->data, f->len);
	pad(n);
}

void newc_add_dir(struct newc *n, const char *path)
{
	const struct newc_file f = { .path = path, .mode = S_IFDIR | 0755, .data = "" };

	newc_add(n, &f);
}

/* ---- a tree of the host ------------------------------------------------------------------------------------------
 */

static int add_contents(struct newc *n, struct newc_file *f, const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	void *p = MAP_FAILED;

	if (fd >= 0 && f->len)
		p = mmap(NULL, f->len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd < 0 || (f->len && p == MAP_FAILED)) {
		err_errno(e, "cannot read '%.200s'", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	f->data = p;
	newc_add(n, f);
	if (f->len)
		munmap(p, f->len);
	close(fd);
	return 0;
}

static int add_entry(struct newc *n, const FTSENT *t, const char *path, struct err *e)
{
	const struct stat *st = t->fts_statp;
	struct newc_file f = {
		.path = path, .mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid, .mtime = (u32)st->st_mtime
	};
	char target[4096];
	ssize_t len;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		if (st->st_size >> 32)
			return err_set(e, "'%.200s' is too long for an initramfs", t->fts_accpath);
		f.len = (size_t)st->st_size;
		return add_contents(n, &f, t->fts_accpath, e);
	case S_IFLNK:
		len = readlink(t->fts_accpath, target, sizeof(target));
		f.data = target;
		f.len = len > 0 ? (size_t)len : 0;
		break;
	case S_IFCHR:
	case S_IFBLK:
		f.device = st->st_rdev;
		break;
	}
	newc_add(n, &f);
	return 0;
}

int newc_add_tree(struct newc *n, const char *dir, struct err *e)
{
	char *const roots[] = { (char *)dir, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	size_t skip = strcmp(dir, "/") ? strlen(dir) + 1 : 1;
	int ret = 0;
	FTSENT *t;

	if (!fts)
		return err_errno(e, "cannot read '%.200s'", dir);
	while (!ret && (t = fts_read(fts))) {
		if (t->fts_info == FTS_DP || !t->fts_level)
			continue;
		if (t->fts_info == FTS_DNR || t->fts_info == FTS_ERR || t->fts_info == FTS_NS) {
			errno = t->fts_errno;
			ret = err_errno(e, "cannot read '%.200s'", t->fts_path);
			break;
		}
		ret = add_entry(n, t, t->fts_path + skip, e);
	}
	fts_close(fts);
	return ret;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static int as_file(const struct newc *n, struct err *e)
{
	int fd = memfd_create("initramfs", MFD_CLOEXEC);

	for (size_t done = 0; fd >= 0 && done < n->len;) {
		ssize_t part = write(fd, n->data + done, n->len - done);

		if (part <= 0 && errno != EINTR) {
			close(fd);
			return err_errno(e, "cannot make the initramfs");
		}
		done += part > 0 ? (size_t)part : 0;
	}
	return fd >= 0 ? fd : err_errno(e, "cannot make the initramfs");
}

int newc_finish(struct newc *n, struct err *e)
{
	const struct newc_file trailer = { .path = "TRAILER!!!", .data = "" };
	int fd;

	newc_add(n, &trailer);
	fd = n->failed ? err_set(e, "no memory for the initramfs") : as_file(n, e);
	free(n->data);
	*n = (struct newc){ 0 };
	return fd;
}
