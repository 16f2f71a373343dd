/* SPDX-License-Identifier: Apache-2.0
 * The log of written frames, for whoever copies memory while the machine runs.
 *
 * Invariant: while the log is on, a write path that asks nobody (a vCPU's write tag, a mapping that hardware writes
 * through) exists only if its frame is marked, or if its owner will mark it when it is asked to
 * (mem_listener.dirty_log). Everything else that writes comes through mem_write(), mem_before_write() or
 * mem_note_writer(), which mark.
 *
 * Two maps, one bit a frame: `now` is marked by any thread; `fetched` is what a fetch took, and belongs to who fetched.
 */
#include <stdlib.h>

#include "mem/frame.h"

#define GIB_WORDS (FRAME_TABLE_SIZE / 64)

struct mem_dirty {
	u64 gpa_end;
	size_t words;
	u64 *fetched;
	_Atomic u64 now[];
};

static void tell(struct mem *m, enum mem_dirty_step step)
{
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->dirty_log)
			l->dirty_log(l->opaque, step);
}

static int make_maps(struct mem *m, struct err *e)
{
	size_t words = (size_t)m->dir_used * GIB_WORDS;
	struct mem_dirty *d = calloc(1, sizeof(*d) + words * sizeof(u64));

	if (d)
		d->fetched = calloc(words, sizeof(u64));
	if (!d || !d->fetched) {
		free(d);
		return err_set(e, "out of memory for the log of written memory");
	}
	d->words = words;
	d->gpa_end = (u64)m->dir_used << FRAME_DIR_SHIFT;
	m->dirty = d;
	return 0;
}

/* The maps stay until the end of m: a thread that saw the log on may still be about to mark. */
int mem_dirty_begin(struct mem *m, struct err *e)
{
	if (atomic_load(&m->dirty_on))
		return err_set(e, "somebody else copies the machine's memory already");
	if (!m->dirty && make_maps(m, e))
		return -1;
	for (size_t i = 0; i < m->dirty->words; i++)
		atomic_store_explicit(&m->dirty->now[i], 0, memory_order_relaxed);
	atomic_store(&m->dirty_on, true);
	tell(m, MEM_DIRTY_BEGIN);
	return 0;
}

void mem_dirty_fetch(struct mem *m)
{
	struct mem_dirty *d = m->dirty;

	tell(m, MEM_DIRTY_COLLECT);
	for (size_t i = 0; i < d->words; i++)
		d->fetched[i] = atomic_load_explicit(&d->now[i], memory_order_relaxed) ? atomic_exchange(&d->now[i], 0)
										       : 0;
}

bool mem_dirty_fetched(const struct mem *m, u64 gpa)
{
	u64 n = gpa >> PAGE_SHIFT;

	return gpa < m->dirty->gpa_end && m->dirty->fetched[n / 64] >> (n % 64) & 1;
}

void mem_dirty_end(struct mem *m)
{
	atomic_store(&m->dirty_on, false);
	tell(m, MEM_DIRTY_END);
}

void mem_mark_dirty_range(struct mem *m, u64 gpa, u64 len)
{
	struct mem_dirty *d = m->dirty;
	u64 end = MIN(gpa + len, d->gpa_end);

	for (u64 at = gpa & PAGE_MASK; at < end; at += PAGE_SIZE) {
		u64 n = at >> PAGE_SHIFT;

		atomic_fetch_or_explicit(&d->now[n / 64], BIT(n % 64), memory_order_relaxed);
	}
}

void mem_dirty_free(struct mem *m)
{
	if (m->dirty)
		free(m->dirty->fetched);
	free(m->dirty);
}
