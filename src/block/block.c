/* SPDX-License-Identifier: Apache-2.0
 * Options to formats; the checks that all formats share.
 */
#include "block/block.h"

#include <errno.h>
#include <sys/stat.h>

static int parse_word(struct block_spec *s, const char *word, size_t len, const char *text, struct err *e)
{
	size_t serial = len > 7 ? len - 7 : 0;

	if (len == 8 && !memcmp(word, "readonly", 8)) {
		s->readonly = true;
	} else if (len == 7 && !memcmp(word, "overlay", 7)) {
		s->overlay = true;
	} else if (serial && serial < sizeof(s->serial) && !memcmp(word, "serial=", 7)) {
		memcpy(s->serial, word + 7, serial);
		s->serial[serial] = 0;
	} else {
		return err_set(e,
			       "--disk does not know '%.*s' in '%.100s': give FILE, then any of ,readonly ,overlay "
			       ",serial=TEXT (20 characters at most)",
			       (int)MIN(len, 60u), word, text);
	}
	return 0;
}

int block_parse(struct block_spec *s, const char *text, struct err *e)
{
	const char *p = text;
	size_t n = 0;

	memset(s, 0, sizeof(*s));
	for (; *p && (*p != ',' || p[1] == ','); p += 1 + (*p == ',')) {
		if (n + 1 == sizeof(s->path))
			return err_set(e, "--disk '%.60s…' is longer than a path can be", text);
		s->path[n++] = *p;
	}
	if (!n)
		return err_set(e, "--disk '%.100s' names no file", text);
	while (*p) {
		size_t len = strcspn(++p, ",");

		if (parse_word(s, p, len, text, e))
			return -1;
		p += len;
	}
	if (s->readonly && s->overlay)
		return err_set(e, "--disk '%.100s' is read-only and has an overlay for writes: choose one", text);
	return 0;
}

bool block_excludes(const struct block_spec *a, const struct block_spec *b)
{
	struct stat sa, sb;

	if ((a->readonly || a->overlay) && (b->readonly || b->overlay))
		return false;
	return !stat(a->path, &sa) && !stat(b->path, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

struct block *block_open(const struct block_spec *s, struct err *e)
{
	struct block *b = raw_open(s->path, s->readonly || s->overlay, e);

	if (!b || !s->overlay)
		return b;
	return overlay_new(b, e);
}

void block_free(struct block *b)
{
	if (b)
		b->ops->free(b);
}

static int check(const struct block *b, u64 off, u64 len, bool write)
{
	if (write && b->readonly)
		return -EROFS;
	return off > b->size || len > b->size - off ? -EIO : 0;
}

int block_read(struct block *b, u64 off, void *buf, u64 len)
{
	int ret = check(b, off, len, false);

	return ret ? ret : b->ops->read(b, off, buf, len);
}

int block_write(struct block *b, u64 off, const void *buf, u64 len)
{
	int ret = check(b, off, len, true);

	return ret ? ret : b->ops->write(b, off, buf, len);
}

int block_read_now(struct block *b, u64 off, void *buf, u64 len)
{
	int ret = check(b, off, len, false);

	if (ret)
		return ret;
	return b->ops->read_now ? b->ops->read_now(b, off, buf, len) : -EAGAIN;
}

int block_write_now(struct block *b, u64 off, const void *buf, u64 len)
{
	int ret = check(b, off, len, true);

	if (ret)
		return ret;
	return b->ops->write_now ? b->ops->write_now(b, off, buf, len) : -EAGAIN;
}

int block_flush(struct block *b)
{
	return b->readonly ? 0 : b->ops->flush(b);
}

int block_zero(struct block *b, u64 off, u64 len, bool unmap)
{
	int ret = check(b, off, len, true);

	return ret ? ret : b->ops->zero(b, off, len, unmap);
}

int block_discard(struct block *b, u64 off, u64 len)
{
	int ret = check(b, off, len, true);

	return ret ? ret : b->ops->discard(b, off, len);
}
