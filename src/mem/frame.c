/* SPDX-License-Identifier: Apache-2.0
 * Frames: filling the table, the DATA and CODE states, and copies into and out of guest memory. Locking is told in
 * frame.h.
 */
#include "mem/frame.h"

#include <sched.h>

static atomic_flag *stripe_of(struct mem *m, u64 gpa)
{
	return &m->stripe[(gpa >> PAGE_SHIFT) % FRAME_STRIPES];
}

void mem_stripe_lock(struct mem *m, u64 gpa)
{
	while (atomic_flag_test_and_set_explicit(stripe_of(m, gpa), memory_order_acquire))
		sched_yield();
}

void mem_stripe_unlock(struct mem *m, u64 gpa)
{
	atomic_flag_clear_explicit(stripe_of(m, gpa), memory_order_release);
}

u64 mem_frame_fill(struct mem *m, u64 gpa)
{
	frame_word *slot = mem_frame_slot(m, gpa);
	u64 word, seen;
	struct region r;

	if (!mem_region(m, gpa, &r) || !r.hva)
		return 0;
	word = ((u64)(uintptr_t)r.hva + ((gpa & PAGE_MASK) - r.gpa)) | (r.kind == REGION_RAM ? FW_RAM : FW_ROM);
	seen = atomic_load(slot);
	do
		if (seen & (FW_RAM | FW_ROM))
			return seen;
	while (!atomic_compare_exchange_weak(slot, &seen, word | (seen & FW_STATE)));
	return word | (seen & FW_STATE);
}

u8 *mem_page(struct mem *m, u64 gpa, bool write)
{
	u64 w = mem_frame(m, gpa);

	if (!w || (write && !(w & FW_RAM)))
		return NULL;
	return frame_host(w) + (gpa & ~PAGE_MASK);
}

enum frame_state mem_frame_state(struct mem *m, u64 gpa)
{
	return mem_frame(m, gpa) & FW_CODE ? FRAME_CODE : FRAME_DATA;
}

/* The word of a frame with one holder more, or less. */
static u64 held(u64 w)
{
	if (!(w & FW_CODE) && (w & FW_RAM))
		w |= FW_FRESH;
	if ((w & FW_HOLDS) != FW_HOLDS)
		w += FW_HOLD;
	return (w | FW_CODE) & ~(u64)FW_WRITER;
}

static u64 released(u64 w)
{
	if ((w & FW_HOLDS) == FW_HOLDS)
		return w;
	if (w & FW_HOLDS)
		w -= FW_HOLD;
	return w & FW_HOLDS ? w : w & ~(u64)(FW_CODE | FW_FRESH);
}

int mem_code_enter(struct mem *m, u64 gpa)
{
	u64 w = mem_frame(m, gpa);
	frame_word *slot = mem_frame_slot(m, gpa);

	if (!w)
		return -1;
	mem_stripe_lock(m, gpa);
	while (!atomic_compare_exchange_weak(slot, &w, held(w)))
		;
	if (w & FW_WRITER)
		for (struct mem_listener *l = m->listeners; l; l = l->next) {
			if (l->revoke_write)
				l->revoke_write(l->opaque, gpa & PAGE_MASK);
			if (l->revoke_maps)
				l->revoke_maps(l->opaque, gpa & PAGE_MASK);
		}
	mem_stripe_unlock(m, gpa);
	return 0;
}

void mem_code_leave(struct mem *m, u64 gpa)
{
	u64 w = mem_frame(m, gpa);

	if (w)
		while (!atomic_compare_exchange_weak(mem_frame_slot(m, gpa), &w, released(w)))
			;
}

u64 mem_code_settle(struct mem *m, u64 gpa)
{
	u64 epoch;

	if (m->n_writers <= 1 || !(mem_frame(m, gpa) & FW_FRESH))
		return 0;
	epoch = atomic_fetch_add(&m->epoch, 1) + 1;
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->want_safepoint)
			l->want_safepoint(l->opaque);
	return epoch;
}

bool mem_code_settled(struct mem *m, u64 gpa, u64 epoch)
{
	if (!epoch)
		return true;
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->passed_safepoint && !l->passed_safepoint(l->opaque, epoch))
			return false;
	atomic_fetch_and(mem_frame_slot(m, gpa), ~(u64)FW_FRESH);
	return true;
}

static void tell_code_write(struct mem *m, u64 gpa, unsigned len)
{
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->code_write)
			l->code_write(l->opaque, gpa, len);
}

void mem_before_write(struct mem *m, u64 gpa, unsigned len)
{
	mem_mark_dirty(m, gpa, len);
	while (len) {
		unsigned n = (unsigned)MIN((u64)len, PAGE_SIZE - (gpa & ~PAGE_MASK));

		if (mem_frame(m, gpa) & FW_CODE)
			tell_code_write(m, gpa, n);
		gpa += n;
		len -= n;
	}
}

int mem_read(struct mem *m, u64 gpa, void *buf, u64 len)
{
	u8 *to = buf;
	int ret = 0;

	while (len) {
		u64 n = MIN(len, PAGE_SIZE - (gpa & ~PAGE_MASK));
		const u8 *from = mem_page(m, gpa, false);

		if (from) {
			memcpy(to, from, n);
		} else {
			memset(to, 0xff, n);
			ret = -1;
		}
		to += n;
		gpa += n;
		len -= n;
	}
	return ret;
}

/* n bytes inside one RAM page. The lock keeps code_enter() away while the bytes land. */
static void write_page(struct mem *m, u64 gpa, const u8 *from, u64 n)
{
	bool code = mem_frame(m, gpa) & FW_CODE;
	u64 w;

	if (code)
		tell_code_write(m, gpa, (unsigned)n);
	mem_stripe_lock(m, gpa);
	w = mem_frame(m, gpa);
	if (w & FW_RAM) /* a switched range may have become something else */
		memcpy(frame_host(w) + (gpa & ~PAGE_MASK), from, n);
	mem_stripe_unlock(m, gpa);
	/* The frame may have become code, or new blocks may have been made, since it was asked. */
	mem_before_write(m, gpa, (unsigned)n);
}

int mem_write(struct mem *m, u64 gpa, const void *buf, u64 len)
{
	const u8 *from = buf;
	int ret = 0;

	while (len) {
		u64 n = MIN(len, PAGE_SIZE - (gpa & ~PAGE_MASK));

		if (mem_frame(m, gpa) & FW_RAM)
			write_page(m, gpa, from, n);
		else if (!mem_frame(m, gpa))
			ret = -1;
		from += n;
		gpa += n;
		len -= n;
	}
	return ret;
}
