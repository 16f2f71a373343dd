/* SPDX-License-Identifier: Apache-2.0 */
#include "snap/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

#define RUN_PAGES 256u
#define RUN_BYTES (RUN_PAGES << PAGE_SHIFT)
#define LEVEL 1

enum method { RAM_RAW, RAM_ZSTD };

struct lead {
	u64 gpa;
	u32 pages;
	u32 method;
};

_Static_assert(sizeof(struct lead) == 16, "as it lies in the file");

struct ram_out {
	struct snap_out *o;
	struct mem *m;
	u64 gpa;		  /* of the run */
	u32 pages;		  /* in it */
	u64 known_from, known_to; /* of the memory's file: all of this is a hole, or all is not */
	bool hole;
	u8 run[RUN_BYTES];
	u8 packed[sizeof(struct lead) + RUN_BYTES];
};

/* ---- saving ---------------------------------------------------------------------------------------------------------
 */

static int put_run(struct ram_out *r)
{
	struct lead lead = { .gpa = r->gpa, .pages = r->pages, .method = RAM_ZSTD };
	size_t bytes = (size_t)r->pages << PAGE_SHIFT, n;

	if (!r->pages)
		return 0;
	n = ZSTD_compress(r->packed + sizeof(lead), bytes, r->run, bytes, LEVEL);
	if (ZSTD_isError(n)) { /* it would not get smaller */
		lead.method = RAM_RAW;
		n = bytes;
		memcpy(r->packed + sizeof(lead), r->run, bytes);
	}
	memcpy(r->packed, &lead, sizeof(lead));
	r->pages = 0;
	return snap_put(r->o, "ram", r->packed, (u32)(sizeof(lead) + n));
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

static int put_page(struct ram_out *r, u64 gpa)
{
	u8 *page = r->run + ((size_t)r->pages << PAGE_SHIFT);
	u64 offset;
	int fd = mem_where(r->m, gpa, &offset);

	if (fd >= 0 && in_hole(r, fd, offset))
		return put_run(r);
	mem_read(r->m, gpa, page, PAGE_SIZE);
	if (is_zero(page))
		return put_run(r);
	if (!r->pages)
		r->gpa = gpa;
	return ++r->pages == RUN_PAGES ? put_run(r) : 0;
}

int snap_put_ram(struct snap_out *o, struct mem *m)
{
	struct ram_out *r = calloc(1, sizeof(*r));
	u64 gpa, size;
	int ret = r ? 0 : -1;

	if (!r)
		return -1;
	r->o = o;
	r->m = m;
	for (unsigned i = 0; !ret && mem_ram_range(m, i, &gpa, &size); i++) {
		for (u64 at = 0; at < size && !ret; at += PAGE_SIZE)
			ret = put_page(r, gpa + at);
		if (!ret)
			ret = put_run(r);
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

static int bad(struct err *e)
{
	return err_set(e, "the snapshot has memory that cannot be");
}

int snap_get_ram(const struct snap_section *sec, struct mem *m, struct err *e)
{
	const u8 *data = sec->data + sizeof(struct lead);
	struct lead lead;
	size_t bytes, n;
	u8 *run;
	int ret;

	if (sec->len < sizeof(lead))
		return bad(e);
	memcpy(&lead, sec->data, sizeof(lead));
	n = sec->len - sizeof(lead);
	bytes = (size_t)lead.pages << PAGE_SHIFT;
	if (!lead.pages || lead.pages > RUN_PAGES || (lead.gpa & ~PAGE_MASK) || lead.gpa >> 52 ||
	    lead.method > RAM_ZSTD || (lead.method == RAM_RAW && n != bytes) || !mem_is_ram(m, lead.gpa, bytes))
		return bad(e);
	if (lead.method == RAM_RAW)
		return mem_write(m, lead.gpa, data, bytes) ? bad(e) : 0;
	run = malloc(bytes);
	if (!run)
		return err_set(e, "out of memory for the snapshot's memory");
	ret = ZSTD_decompress(run, bytes, data, n) == bytes && !mem_write(m, lead.gpa, run, bytes) ? 0 : bad(e);
	free(run);
	return ret;
}
