/* SPDX-License-Identifier: Apache-2.0 */
#include "dev/virtio/queue.h"

#include <stdlib.h>

enum {
	DESC_NEXT = 1 << 0,
	DESC_WRITE = 1 << 1,
	DESC_INDIRECT = 1 << 2,
	DESC_AVAIL = 1 << 7, /* packed */
	DESC_USED = 1 << 15,
	DESC_SIZE = 16,
	AVAIL_IDX = 2, /* split: offsets in the available and the used ring */
	AVAIL_RING = 4,
	USED_IDX = 2,
	USED_RING = 4,
	USED_ELEM = 8,
	AVAIL_NO_INTERRUPT = 1,
	EVENT_DISABLE = 1, /* packed: flags of the event suppression structures */
	EVENT_DESC = 2,
};

/* Both formats have 16 bytes: in a packed ring `next` is the buffer's id, and it stands before the flags. */
struct desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};

/* ---- words of the rings -------------------------------------------------------------------------------------------
 */

static int fail(struct virtq *q, const char *why)
{
	virtq_break(q, why);
	return -1;
}

void virtq_break(struct virtq *q, const char *why)
{
	if (!q->broken)
		q->broken = why;
}

/* Aligned, so never across a page; acquire: what the driver wrote before is seen. */
static int load16(struct virtq *q, u64 gpa, u16 *v)
{
	u8 *p = mem_page(q->mem, gpa, false);

	if (!p)
		return fail(q, "a ring is not in RAM");
	*v = __atomic_load_n((u16 *)(void *)p, __ATOMIC_ACQUIRE);
	return 0;
}

static int load32(struct virtq *q, u64 gpa, u32 *v)
{
	u8 *p = mem_page(q->mem, gpa, false);

	if (!p)
		return fail(q, "a ring is not in RAM");
	*v = __atomic_load_n((u32 *)(void *)p, __ATOMIC_ACQUIRE);
	return 0;
}

/* One store cannot be half done, so it needs no stripe lock (frame.h); code listeners hear of it as of any write. */
static int store(struct virtq *q, u64 gpa, u32 v, unsigned size)
{
	u8 *p = mem_page(q->mem, gpa, true);

	if (!p)
		return fail(q, "a ring is not in RAM");
	mem_before_write(q->mem, gpa, size);
	if (size == 2)
		__atomic_store_n((u16 *)(void *)p, (u16)v, __ATOMIC_RELEASE);
	else
		__atomic_store_n((u32 *)(void *)p, v, __ATOMIC_RELEASE);
	mem_before_write(q->mem, gpa, size);
	return 0;
}

static int read_desc(struct virtq *q, u64 gpa, bool packed, struct desc *d)
{
	u8 raw[DESC_SIZE];
	u16 words[2];

	if (gpa > ~0ull - DESC_SIZE || mem_read(q->mem, gpa, raw, sizeof(raw)))
		return fail(q, "a descriptor is not in RAM");
	memcpy(&d->addr, raw, 8);
	memcpy(&d->len, raw + 8, 4);
	memcpy(words, raw + 12, 4);
	d->flags = words[packed];
	d->next = words[!packed];
	return 0;
}

/* ---- life ---------------------------------------------------------------------------------------------------------
 */

void virtq_init(struct virtq *q, struct mem *m, u16 size_max)
{
	*q = (struct virtq){ .mem = m, .size_max = size_max };
	virtq_reset(q);
}

void virtq_free(struct virtq *q)
{
	free(q->spare);
	q->spare = NULL;
}

void virtq_reset(struct virtq *q)
{
	struct virtq born = { .mem = q->mem,
			      .size_max = q->size_max,
			      .size = q->size_max,
			      .generation = q->generation + 1,
			      .spare = q->spare,
			      .avail_wrap = true,
			      .used_wrap = true };

	*q = born;
}

static bool ring_ok(struct virtq *q, u64 gpa, u64 len, u64 align)
{
	return !(gpa & (align - 1)) && mem_is_ram(q->mem, gpa, len);
}

void virtq_enable(struct virtq *q)
{
	u64 n = q->size;
	u64 driver_len = q->packed ? 4 : 6 + 2 * n, device_len = q->packed ? 4 : 6 + USED_ELEM * n;

	q->enabled = true;
	if (!n || n > q->size_max || (!q->packed && (n & (n - 1))))
		virtq_break(q, "a queue has a size that cannot be");
	else if (!ring_ok(q, q->desc, DESC_SIZE * n, DESC_SIZE) ||
		 !ring_ok(q, q->driver, driver_len, q->packed ? 4 : 2) || !ring_ok(q, q->device, device_len, 4))
		virtq_break(q, "a ring is misaligned or not in RAM");
}

/* ---- chains -------------------------------------------------------------------------------------------------------
 */

static struct virtq_chain *chain_new(struct virtq *q)
{
	struct virtq_chain *c = q->spare ? q->spare : malloc(sizeof(*c));

	if (!c) {
		virtq_break(q, "the host is out of memory");
		return NULL;
	}
	q->spare = NULL;
	c->q = q;
	c->generation = q->generation;
	c->at = q->last_avail;
	c->at_wrap = q->avail_wrap;
	c->n_out = c->n_in = 0;
	c->out_len = c->in_len = 0;
	return c;
}

static void chain_free(struct virtq_chain *c)
{
	if (c->q->spare)
		free(c);
	else
		c->q->spare = c;
}

static int add_seg(struct virtq_chain *c, const struct desc *d)
{
	bool write = d->flags & DESC_WRITE;
	u32 *total = write ? &c->in_len : &c->out_len;

	if (c->n_out + c->n_in == VIRTQ_SEGS_MAX)
		return fail(c->q, "a chain is too long");
	if (!write && c->n_in)
		return fail(c->q, "a chain has a readable part behind a writable one");
	if (d->len > ~0u - *total)
		return fail(c->q, "a chain has 4 GiB or more");
	if (!mem_is_ram(c->q->mem, d->addr, d->len))
		return fail(c->q, "a buffer is not in RAM");
	c->seg[c->n_out + c->n_in] = (struct virtq_seg){ d->addr, d->len };
	*total += d->len;
	if (write)
		c->n_in++;
	else
		c->n_out++;
	return 0;
}

static int check_indirect(struct virtq *q, const struct desc *d)
{
	if (!q->indirect)
		return fail(q, "an indirect table, which was not negotiated");
	if ((d->flags & DESC_NEXT) || !d->len || d->len % DESC_SIZE)
		return fail(q, "an indirect table that cannot be");
	return 0;
}

/* From entry i of a table of n on. A chain of more than n entries has a cycle. */
static int walk_split(struct virtq_chain *c, u64 table, u32 n, u32 i, bool in_table)
{
	struct virtq *q = c->q;
	struct desc d;

	for (u32 left = n; left; left--, i = d.next) {
		if (i >= n)
			return fail(q, "a descriptor's number is too large");
		if (read_desc(q, table + (u64)i * DESC_SIZE, false, &d))
			return -1;
		if (d.flags & DESC_INDIRECT) {
			if (in_table)
				return fail(q, "an indirect table in an indirect table");
			return check_indirect(q, &d) ? -1 : walk_split(c, d.addr, d.len / DESC_SIZE, 0, true);
		}
		if (add_seg(c, &d))
			return -1;
		if (!(d.flags & DESC_NEXT))
			return 0;
	}
	return fail(q, "a chain is cyclic");
}

/* 1: a chain, 0: none, -1: broken. */
static int split_available(struct virtq *q)
{
	u16 idx;

	if (load16(q, q->driver + AVAIL_IDX, &idx))
		return -1;
	if ((u16)(idx - q->last_avail) > q->size)
		return fail(q, "the available index runs ahead of the ring");
	return idx != q->last_avail;
}

static int pop_split(struct virtq_chain *c)
{
	struct virtq *q = c->q;
	int ret = split_available(q);
	u16 head;

	if (ret <= 0)
		return ret;
	if (load16(q, q->driver + AVAIL_RING + 2ull * (q->last_avail & (q->size - 1)), &head) ||
	    walk_split(c, q->desc, q->size, head, false))
		return -1;
	c->id = head;
	c->slots = 1;
	q->last_avail++;
	return 1;
}

static int packed_available(struct virtq *q)
{
	u16 flags;

	if (load16(q, q->desc + DESC_SIZE * (u64)q->last_avail + 14, &flags))
		return -1;
	return !!(flags & DESC_AVAIL) == q->avail_wrap && !!(flags & DESC_USED) != q->avail_wrap;
}

static void advance(const struct virtq *q, u16 *idx, bool *wrap, u16 n)
{
	u32 next = (u32)*idx + n;

	if (next >= q->size) {
		next -= q->size;
		*wrap = !*wrap;
	}
	*idx = (u16)next;
}

/* Entries of a packed ring's indirect table follow each other; only WRITE counts (2.8.8). */
static int walk_packed_table(struct virtq_chain *c, u64 table, u32 n)
{
	struct desc d;

	for (u32 i = 0; i < n; i++) {
		if (read_desc(c->q, table + (u64)i * DESC_SIZE, true, &d) || add_seg(c, &d))
			return -1;
	}
	return 0;
}

static int walk_packed(struct virtq_chain *c)
{
	struct virtq *q = c->q;
	u16 at = q->last_avail;
	bool wrap = q->avail_wrap;
	struct desc d;

	for (u16 n = 1; n <= q->size; n++) {
		if (read_desc(q, q->desc + DESC_SIZE * (u64)at, true, &d))
			return -1;
		advance(q, &at, &wrap, 1);
		c->id = d.next;
		c->slots = n;
		if (d.flags & DESC_INDIRECT) {
			if (n > 1)
				return fail(q, "an indirect table behind other descriptors");
			return check_indirect(q, &d) ? -1 : walk_packed_table(c, d.addr, d.len / DESC_SIZE);
		}
		if (add_seg(c, &d))
			return -1;
		if (!(d.flags & DESC_NEXT))
			return 0;
	}
	return fail(q, "a chain is cyclic");
}

static int pop_packed(struct virtq_chain *c)
{
	struct virtq *q = c->q;
	int ret = packed_available(q);

	if (ret <= 0)
		return ret;
	if (walk_packed(c))
		return -1;
	advance(q, &q->last_avail, &q->avail_wrap, c->slots);
	return 1;
}

struct virtq_chain *virtq_pop(struct virtq *q)
{
	struct virtq_chain *c;

	if (!q->enabled || q->broken || !(c = chain_new(q)))
		return NULL;
	if ((q->packed ? pop_packed(c) : pop_split(c)) <= 0) {
		chain_free(c);
		return NULL;
	}
	if (q->in_flight + c->slots > q->size) {
		virtq_break(q, "more buffers are offered than the ring has");
		chain_free(c);
		return NULL;
	}
	q->in_flight += c->slots;
	return c;
}

void virtq_unpop(struct virtq_chain *c)
{
	struct virtq *q = c->q;

	if (!virtq_stale(c)) {
		q->in_flight -= c->slots;
		q->last_avail = c->at;
		q->avail_wrap = c->at_wrap;
	}
	chain_free(c);
}

/* ---- giving back --------------------------------------------------------------------------------------------------
 */

static void push_split(struct virtq *q, u16 id, u32 written)
{
	u32 elem[2] = { id, written };

	if (mem_write(q->mem, q->device + USED_RING + (u64)USED_ELEM * (q->used_idx & (q->size - 1)), elem, 8))
		virtq_break(q, "a ring is not in RAM");
	q->used_idx++;
	q->fresh++;
	store(q, q->device + USED_IDX, q->used_idx, 2);
}

static void push_packed(struct virtq *q, u16 id, u16 slots, u32 written)
{
	u64 at = q->desc + DESC_SIZE * (u64)q->used_idx;
	u16 flags = (u16)((q->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0));
	u8 raw[6];

	memcpy(raw, &written, 4);
	memcpy(raw + 4, &id, 2);
	if (mem_write(q->mem, at + 8, raw, sizeof(raw)))
		virtq_break(q, "a ring is not in RAM");
	store(q, at + 14, flags, 2);
	advance(q, &q->used_idx, &q->used_wrap, slots);
	q->fresh += slots;
}

void virtq_push(struct virtq_chain *c, u32 written)
{
	struct virtq *q = c->q;

	if (!virtq_stale(c)) {
		q->in_flight -= c->slots;
		if (q->broken)
			; /* the driver was told that the device is gone */
		else if (q->packed)
			push_packed(q, c->id, c->slots, MIN(written, c->in_len));
		else
			push_split(q, c->id, MIN(written, c->in_len));
	}
	chain_free(c);
}

/* ---- who wants to hear of it --------------------------------------------------------------------------------------
 */

/* 2.7.10: the step from old to new passes event. */
static bool passes(u16 event, u16 new, u16 old)
{
	return (u16)(new - event - 1) < (u16)(new - old);
}

static bool split_wants_signal(struct virtq *q, u32 fresh)
{
	u16 word;

	if (!q->event_idx)
		return !load16(q, q->driver, &word) && !(word & AVAIL_NO_INTERRUPT);
	if (load16(q, q->driver + AVAIL_RING + 2ull * q->size, &word))
		return false;
	return passes(word, q->used_idx, (u16)(q->used_idx - fresh));
}

/* Positions of the lap before this one count from -size. A whole lap passes everything. */
static bool packed_wants_signal(struct virtq *q, u32 fresh)
{
	u16 event;
	u32 word;

	if (load32(q, q->driver, &word))
		return false;
	if (!q->event_idx || (word >> 16 & 3) != EVENT_DESC)
		return (word >> 16 & 3) != EVENT_DISABLE;
	event = (u16)((word & 0x7fff) - (!(word & 0x8000) == q->used_wrap ? q->size : 0));
	return fresh >= q->size || passes(event, q->used_idx, (u16)(q->used_idx - fresh));
}

bool virtq_wants_signal(struct virtq *q)
{
	u32 fresh = q->fresh;

	if (!q->enabled || q->broken)
		return false;
	q->fresh = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the driver writes its wish, then looks at the used entries */
	return q->packed ? packed_wants_signal(q, fresh) : split_wants_signal(q, fresh);
}

bool virtq_rearm(struct virtq *q)
{
	u32 event = q->last_avail | (u32)q->avail_wrap << 15 | EVENT_DESC << 16;

	if (!q->enabled || q->broken)
		return false;
	if (q->event_idx && q->packed)
		store(q, q->device, event, 4);
	else if (q->event_idx)
		store(q, q->device + USED_RING + (u64)USED_ELEM * q->size, q->last_avail, 2);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (q->packed ? packed_available(q) : split_available(q)) > 0;
}

/* ---- bytes --------------------------------------------------------------------------------------------------------
 */

typedef void copy_fn(struct mem *m, u64 gpa, u8 *buf, u32 len);

static void copy_from(struct mem *m, u64 gpa, u8 *buf, u32 len)
{
	mem_read(m, gpa, buf, len);
}

static void copy_to(struct mem *m, u64 gpa, u8 *buf, u32 len)
{
	mem_write(m, gpa, buf, len);
}

static u32 copy(const struct virtq_chain *c, unsigned first, unsigned n, u32 off, u8 *buf, u32 len, copy_fn *fn)
{
	u32 done = 0;

	if (virtq_stale(c))
		return 0;
	for (const struct virtq_seg *s = c->seg + first; n && done < len; n--, s++) {
		u32 part;

		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		part = MIN(s->len - off, len - done);
		fn(c->q->mem, s->gpa + off, buf + done, part);
		done += part;
		off = 0;
	}
	return done;
}

u32 virtq_get(const struct virtq_chain *c, u32 off, void *buf, u32 len)
{
	return copy(c, 0, c->n_out, off, buf, len, copy_from);
}

u32 virtq_put(const struct virtq_chain *c, u32 off, const void *buf, u32 len)
{
	return copy(c, c->n_out, c->n_in, off, (u8 *)(uintptr_t)buf, len, copy_to);
}
