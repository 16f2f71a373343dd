/* SPDX-License-Identifier: Apache-2.0
 * What a module needs is read from the module itself (`depends=` in its section .modinfo): modules.dep is made when a
 * kernel package is installed, and a kernel that was only unpacked has none. The tree is walked once for names.
 */
#include "boot/modules.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define UNPACKED_MAX (64ull << 20)
#define DEPTH_MAX 16u

struct entry {
	char *name, *path;
	bool done;
};

struct modules {
	struct entry *e;
	size_t n, room;
};

/* "virtio-rng.ko.xz" -> "virtio_rng"; NULL if it is no module. */
static char *module_name(const char *file)
{
	const char *dot = strstr(file, ".ko");
	char *name;

	if (!dot || (dot[3] && strcmp(dot + 3, ".xz") && strcmp(dot + 3, ".zst") && strcmp(dot + 3, ".gz")))
		return NULL;
	name = strndup(file, (size_t)(dot - file));
	for (char *p = name; p && *p; p++)
		if (*p == '-')
			*p = '_';
	return name;
}

static int remember(struct modules *m, const char *file, const char *path)
{
	char *name = module_name(file);

	if (!name)
		return 0;
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 1024;
		struct entry *e = realloc(m->e, room * sizeof(*e));

		if (!e) {
			free(name);
			return -1;
		}
		m->e = e;
		m->room = room;
	}
	m->e[m->n] = (struct entry){ .name = name, .path = strdup(path) };
	return m->e[m->n++].path ? 0 : -1;
}

struct modules *modules_open(const char *dir, struct err *e)
{
	char *const roots[] = { (char *)dir, NULL };
	struct modules *m = calloc(1, sizeof(*m));
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, NULL);
	int bad = !m || !fts;
	FTSENT *t;

	while (!bad && (t = fts_read(fts))) {
		/* build and source are links to other places. */
		if (t->fts_info == FTS_DNR || t->fts_info == FTS_ERR || (t->fts_info == FTS_NS && !t->fts_level))
			bad = 1;
		else if (t->fts_info == FTS_F || t->fts_info == FTS_NSOK)
			bad = remember(m, t->fts_name, t->fts_path);
	}
	if (bad)
		err_errno(e, "cannot read the kernel's modules in '%.200s'", dir);
	if (fts)
		fts_close(fts);
	if (!bad)
		return m;
	modules_free(m);
	return NULL;
}

void modules_free(struct modules *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		free(m->e[i].name);
		free(m->e[i].path);
	}
	free(m->e);
	free(m);
}

static struct entry *find(const struct modules *m, const char *name, size_t len)
{
	for (size_t i = 0; i < m->n; i++)
		if (!strncmp(m->e[i].name, name, len) && !m->e[i].name[len])
			return &m->e[i];
	return NULL;
}

/* ---- contents ---------------------------------------------------------------------------------------------------- */

static u8 *read_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t got = 0;
	ssize_t n = 1;
	u8 *p;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) || (u64)st.st_size > UNPACKED_MAX) {
		close(fd);
		return NULL;
	}
	p = malloc((size_t)st.st_size + 1);
	while (p && n > 0 && got < (size_t)st.st_size) {
		n = read(fd, p + got, (size_t)st.st_size - got);
		got += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	*len = got;
	return p;
}

static bool unpack_xz(const u8 *in, size_t n, u8 *out, size_t room, size_t *len)
{
	uint64_t limit = 256ull << 20;
	size_t in_at = 0;

	*len = 0;
	return lzma_stream_buffer_decode(&limit, 0, NULL, in, &in_at, n, out, len, room) == LZMA_OK;
}

static bool unpack_zstd(const u8 *in, size_t n, u8 *out, size_t room, size_t *len)
{
	*len = ZSTD_decompress(out, room, in, n);
	return !ZSTD_isError(*len);
}

static bool unpack_gzip(const u8 *in, size_t n, u8 *out, size_t room, size_t *len)
{
	z_stream z = { .next_in = (u8 *)in, .avail_in = (unsigned)n, .next_out = out, .avail_out = (unsigned)room };
	int ret;

	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return false;
	ret = inflate(&z, Z_FINISH);
	*len = z.total_out;
	inflateEnd(&z);
	return ret == Z_STREAM_END;
}

/* p as it is, or unpacked into a larger buffer of its own. */
static u8 *unpack(u8 *p, size_t *len)
{
	static const struct {
		u8 magic[4];
		unsigned bytes;
		bool (*unpack)(const u8 *in, size_t n, u8 *out, size_t room, size_t *len);
	} form[] = { { { 0xfd, '7', 'z', 'X' }, 4, unpack_xz },
		     { { 0x28, 0xb5, 0x2f, 0xfd }, 4, unpack_zstd },
		     { { 0x1f, 0x8b }, 2, unpack_gzip } };

	for (unsigned i = 0; i < ARRAY_SIZE(form); i++) {
		u8 *out;
		bool ok;

		if (*len < 4 || memcmp(p, form[i].magic, form[i].bytes))
			continue;
		out = malloc(UNPACKED_MAX);
		ok = out && form[i].unpack(p, *len, out, UNPACKED_MAX, len);
		free(p);
		if (ok)
			return out;
		free(out);
		return NULL;
	}
	return p;
}

/* ---- dependencies ------------------------------------------------------------------------------------------------ */

/* The value of `depends=`, bounded by *end; NULL if p is no module. */
static const char *depends(const u8 *p, size_t len, const char **end)
{
	const Elf64_Ehdr *h = (const void *)p;
	const Elf64_Shdr *s;

	if (len < sizeof(*h) || memcmp(h->e_ident, ELFMAG "\2\1", 6) || h->e_shoff > len || h->e_shoff & 7 ||
	    h->e_shnum > (len - h->e_shoff) / sizeof(*s) || h->e_shentsize != sizeof(*s))
		return NULL;
	s = (const void *)(p + h->e_shoff);
	for (unsigned i = 0; i < h->e_shnum; i++) {
		const char *at = (const char *)p + s[i].sh_offset;

		if (s[i].sh_type != SHT_PROGBITS || s[i].sh_offset > len || s[i].sh_size > len - s[i].sh_offset ||
		    s[i].sh_size > 65536 || !(at = memmem(at, s[i].sh_size, "\0depends=", 9)))
			continue;
		*end = (const char *)p + s[i].sh_offset + s[i].sh_size;
		return at + 9;
	}
	return NULL;
}

struct need {
	struct modules *m;
	int (*fn)(void *opaque, const struct module_file *f);
	void *opaque;
	unsigned depth;
	struct err *e;
};

static int need(struct need *n, const char *name, size_t name_len, bool *missing);

static int need_others(struct need *n, const u8 *p, size_t len)
{
	const char *end = NULL, *at = depends(p, len, &end);
	int ret = 0;

	while (!ret && at && at < end && *at) {
		const char *stop = at;
		bool missing;

		while (stop < end && *stop && *stop != ',')
			stop++;
		n->depth++;
		ret = need(n, at, (size_t)(stop - at), &missing);
		n->depth--;
		at = stop < end && *stop ? stop + 1 : NULL;
	}
	return ret;
}

static int need(struct need *n, const char *name, size_t name_len, bool *missing)
{
	struct entry *t = find(n->m, name, name_len);
	struct module_file f;
	size_t len = 0;
	u8 *p;
	int ret;

	*missing = !t;
	if (!t || t->done)
		return 0;
	if (n->depth > DEPTH_MAX)
		return err_set(n->e, "'%.200s' depends on too many modules", t->path);
	t->done = true;
	p = read_file(t->path, &len);
	p = p ? unpack(p, &len) : NULL;
	if (!p)
		return err_set(n->e, "cannot read the module '%.200s'", t->path);
	ret = need_others(n, p, len);
	f = (struct module_file){ t->name, t->path, p, len };
	if (!ret)
		ret = n->fn(n->opaque, &f);
	free(p);
	return ret;
}

int modules_need(struct modules *m, const char *wanted, int (*fn)(void *opaque, const struct module_file *f),
		 void *opaque, bool *missing, struct err *e)
{
	struct need n = { .m = m, .fn = fn, .opaque = opaque, .e = e };

	return need(&n, wanted, strlen(wanted), missing);
}
