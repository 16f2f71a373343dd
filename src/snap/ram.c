/* SPDX-License-Identifier: Apache-2.0 */
#include "snap/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#define RUN_PAGES 256u
#define RUN_BYTES (RUN_PAGES << PAGE_SHIFT)
#define LEVEL 1

enum method { PAGES_RAW, PAGES_ZSTD };

struct lead {
	u64 at;
	u32 pages;
	u32 method;
};

_Static_assert(sizeof(struct lead) == 16, "as it lies in the file");

struct ram_out {
	int (*put)(struct ram_out *r, u32 pages);
	struct snap_out *o; /* of a snapshot */
	int fd;		    /* of an image, in which RAM begins at start */
	u64 start, before;  /* bytes of RAM in ranges before this one */
	struct mem *m;
	enum snap_ram which;
	u64 written;
	u64 gpa, first;		  /* of the run; of the range */
	u32 pages;		  /* in it */
	u64 known_from, known_to; /* of the memory's file: all of this is a hole, or all is not */
	bool hole;
	u8 run[RUN_BYTES];
	u8 packed[sizeof(struct lead) + RUN_BYTES];
};

/* ---- saving ---------------------------------------------------------------------------------------------------------
 */

/* packed: room for the lead and the pages. */
static int put_pages(struct snap_out *o, const char *name, u64 at, const u8 *run, u32 pages, u8 *packed)
{
	struct lead lead = { .at = at, .pages = pages, .method = PAGES_ZSTD };
	size_t bytes = (size_t)pages << PAGE_SHIFT, n;

	n = ZSTD_compress(packed + sizeof(lead), bytes, run, bytes, LEVEL);
	if (ZSTD_isError(n)) { /* it would not get smaller */
		lead.method = PAGES_RAW;
		n = bytes;
		memcpy(packed + sizeof(lead), run, bytes);
	}
	memcpy(packed, &lead, sizeof(lead));
	return snap_put(o, name, packed, (u32)(sizeof(lead) + n));
}

static int put_packed(struct ram_out *r, u32 pages)
{
	return put_pages(r->o, "ram", r->gpa, r->run, pages, r->packed);
}

static int put_plain(struct ram_out *r, u32 pages)
{
	size_t len = (size_t)pages << PAGE_SHIFT, done = 0;

	while (done < len) {
		ssize_t n = pwrite(r->fd, r->run + done, len - done,
				   (off_t)(r->start + r->before + (r->gpa - r->first) + done));

		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int put_run(struct ram_out *r)
{
	u32 pages = r->pages;

	r->pages = 0;
	r->written += pages;
	return pages ? r->put(r, pages) : 0;
}

/* To read a page that was never touched would make the host allocate it. */
static bool in_hole(struct ram_out *r, int fd, u64 offset)
{
	off_t data, hole;

	if (offset >= r->known_from && offset < r->known_to)
		return r->hole;
	data = lseek(fd, (off_t)offset, SEEK_DATA);
	r->known_from = offset;
	r->hole = data < 0 ? errno == ENXIO : (u64)data > offset;
	if (data >= 0 && (u64)data > offset) {
		r->known_to = (u64)data;
	} else {
		hole = data < 0 ? -1 : lseek(fd, (off_t)offset, SEEK_HOLE);
		r->known_to = hole > 0 ? (u64)hole : r->hole ? ~0ull : offset + PAGE_SIZE;
	}
	return r->hole;
}

static bool is_zero(const u8 *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE_SIZE - 1);
}

/* False: it is zero. */
static bool read_page(struct ram_out *r, u64 gpa, u8 *page)
{
	u64 offset;
	int fd = mem_where(r->m, gpa, &offset);

	if (fd >= 0 && in_hole(r, fd, offset)) {
		memset(page, 0, PAGE_SIZE);
		return false;
	}
	mem_read(r->m, gpa, page, PAGE_SIZE);
	return !is_zero(page);
}

static int put_page(struct ram_out *r, u64 gpa)
{
	u8 *page = r->run + ((size_t)r->pages << PAGE_SHIFT);

	if (r->which == SNAP_RAM_FETCHED && !mem_dirty_fetched(r->m, gpa))
		return put_run(r);
	if (!read_page(r, gpa, page) && r->which == SNAP_RAM_ALL)
		return put_run(r);
	if (!r->pages)
		r->gpa = gpa;
	return ++r->pages == RUN_PAGES ? put_run(r) : 0;
}

static int put_ranges(struct ram_out *r)
{
	u64 size;
	int ret = 0;

	for (unsigned i = 0; !ret && mem_ram_range(r->m, i, &r->first, &size); i++) {
		for (u64 at = 0; at < size && !ret; at += PAGE_SIZE)
			ret = put_page(r, r->first + at);
		if (!ret)
			ret = put_run(r);
		r->before += size;
	}
	return ret;
}

int snap_put_ram(struct snap_out *o, struct mem *m, enum snap_ram which, u64 *pages)
{
	struct ram_out *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -1;
	r->put = put_packed;
	r->o = o;
	r->m = m;
	r->which = which;
	ret = put_ranges(r);
	*pages = r->written;
	free(r);
	return ret;
}

int snap_put_plain(int fd, u64 start, struct mem *m)
{
	struct ram_out *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -1;
	r->put = put_plain;
	r->which = SNAP_RAM_ALL;
	r->fd = fd;
	r->start = start;
	r->m = m;
	ret = put_ranges(r);
	free(r);
	return ret;
}

int snap_put_overlay(struct snap_out *o, const char *name, struct block *b)
{
	struct ram_out *r = calloc(1, sizeof(*r));
	u64 off = 0, n;
	int ret = r ? 0 : -1;

	while (!ret && (n = overlay_written(b, &off, RUN_BYTES))) {
		u64 real = MIN(n, b->size - off); /* the disk's last grain may be cut */

		memset(r->run + real, 0, n - real);
		errno = -block_read(b, off, r->run, real);
		ret = errno ? -1 : put_pages(o, name, off, r->run, (u32)(n >> PAGE_SHIFT), r->packed);
		off += n;
	}
	free(r);
	return ret;
}

/* ---- loading --------------------------------------------------------------------------------------------------------
 */

int snap_clear_ram(struct mem *m, struct err *e)
{
	u64 gpa, size;

	for (unsigned i = 0; mem_ram_range(m, i, &gpa, &size); i++)
		if (mem_discard(m, gpa, size))
			return err_set(e, "the machine's memory cannot be cleared");
	return 0;
}

static int bad(const struct snap_section *sec, struct err *e)
{
	return err_set(e, "the snapshot's section %.40s has pages that cannot be", sec->name);
}

/* The pages of a section; the caller frees *run. */
static int get_pages(const struct snap_section *sec, u64 *at, size_t *bytes, u8 **run, struct err *e)
{
	const u8 *data = sec->data + sizeof(struct lead);
	struct lead lead;
	size_t n;

	if (sec->len < sizeof(lead))
		return bad(sec, e);
	memcpy(&lead, sec->data, sizeof(lead));
	n = sec->len - sizeof(lead);
	*at = lead.at;
	*bytes = (size_t)lead.pages << PAGE_SHIFT;
	if (!lead.pages || lead.pages > RUN_PAGES || (lead.at & ~PAGE_MASK) || lead.at >> 52 ||
	    lead.method > PAGES_ZSTD || (lead.method == PAGES_RAW && n != *bytes))
		return bad(sec, e);
	*run = malloc(*bytes);
	if (!*run)
		return err_set(e, "out of memory for the snapshot's memory");
	if (lead.method == PAGES_RAW) {
		memcpy(*run, data, *bytes);
	} else if (ZSTD_decompress(*run, *bytes, data, n) != *bytes) {
		free(*run);
		return bad(sec, e);
	}
	return 0;
}

int snap_get_ram(const struct snap_section *sec, struct mem *m, struct err *e)
{
	size_t bytes;
	u8 *run;
	u64 gpa;
	int ret;

	if (get_pages(sec, &gpa, &bytes, &run, e))
		return -1;
	ret = mem_is_ram(m, gpa, bytes) && !mem_write(m, gpa, run, bytes) ? 0 : bad(sec, e);
	free(run);
	return ret;
}

int snap_get_overlay(const struct snap_section *sec, struct block *b, struct err *e)
{
	size_t bytes;
	u64 off;
	u8 *run;
	int ret;

	if (get_pages(sec, &off, &bytes, &run, e))
		return -1;
	if (off >= b->size || ALIGN_UP(b->size, PAGE_SIZE) - off < bytes)
		ret = bad(sec, e);
	else if (block_write(b, off, run, MIN(bytes, b->size - off)))
		ret = err_set(e, "the overlay of a disk cannot be written");
	else
		ret = 0;
	free(run);
	return ret;
}

/* ---- an image -------------------------------------------------------------------------------------------------------
 */

/* The next bytes of the file that are no hole, in [from, to): as the steps of a range that begins at start. False:
 * none. */
static bool next_data(int fd, u64 start, u64 *from, u64 *to)
{
	off_t data = lseek(fd, (off_t)*from, SEEK_DATA), hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);

	if (data < 0 && errno == ENXIO)
		return false;
	if (data < 0 || hole < 0) { /* it cannot tell */
		data = (off_t)*from;
		hole = (off_t)*to;
	}
	if ((u64)data >= *to)
		return false;
	*from = MAX(*from, start + ALIGN_DOWN((u64)data - start, MEM_LAY_STEP));
	*to = MIN(*to, start + ALIGN_UP((u64)hole - start, MEM_LAY_STEP));
	return true;
}

/* What is a hole there stays memory of the machine's own. */
static int lay_range(int fd, u64 start, u64 size, struct mem *m, u64 gpa, struct err *e)
{
	u64 from = start, to = start + size;

	for (; from < start + size && next_data(fd, start, &from, &to); from = to, to = start + size)
		if (mem_lay(m, gpa + (from - start), to - from, fd, from, e))
			return -1;
	return 0;
}

int snap_lay_plain(int fd, u64 start, struct mem *m, struct err *e)
{
	u64 gpa, size;

	for (unsigned i = 0; mem_ram_range(m, i, &gpa, &size); i++) {
		if (lay_range(fd, start, size, m, gpa, e))
			return -1;
		start += size;
	}
	return 0;
}
