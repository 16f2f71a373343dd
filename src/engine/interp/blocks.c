/* SPDX-License-Identifier: Apache-2.0
 * The cache of decoded blocks: one pool that is filled from the bottom and emptied as a whole, a hash by (gpa, key),
 * and a list of blocks for each frame, so that a write to code finds what it hits.
 */
#include "engine/interp/interp.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "mem/frame.h"

#define BLOCK_ROOM (sizeof(struct block) + BLOCK_INSNS * sizeof(struct insn))

static int go_nowhere(struct cpu *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return OUT_AGAIN;
}

/* What a link leads to that leads nowhere: at the address of no frame. A guest that jumps to just where that address
 * would be, as its code's frame is mapped, gets here all the same: the instruction of no length ends the chain. */
static struct block *make_nowhere(void)
{
	struct block *b = aligned_alloc(64, sizeof(*b) + sizeof(struct insn));

	if (!b)
		return NULL;
	*b = (struct block){ .gpa = ~0ull };
	b->insn[0] = (struct insn){ .exec = go_nowhere };
	return b;
}

int blocks_init(struct interp *in, size_t pool_size, struct err *e)
{
	in->nowhere = make_nowhere();
	if (!in->nowhere)
		return err_set(e, "no memory for decoded blocks");
	in->pool_size = pool_size;
	in->pool = mmap(NULL, pool_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (in->pool == MAP_FAILED) {
		in->pool = NULL;
		free(in->nowhere);
		return err_errno(e, "cannot map %zu MiB for decoded instructions", pool_size >> 20);
	}
	madvise(in->pool, pool_size, MADV_HUGEPAGE);
	return 0;
}

void blocks_free(struct interp *in)
{
	if (!in->pool)
		return;
	blocks_flush(in);
	munmap(in->pool, in->pool_size);
	free(in->nowhere);
}

void block_unlink(struct interp *in, struct block *b)
{
	b->succ[0] = b->succ[1] = in->nowhere;
	if (in->hooks)
		in->hooks->unlinked(in, b);
}

/* ---- lookup --------------------------------------------------------------------------------------------------- */

static struct block **hash_slot(struct interp *in, u64 gpa, u32 key)
{
	u64 h = (gpa ^ (u64)key << 40) * 0x9e3779b97f4a7c15ull;

	return &in->hash[h >> 48];
}
_Static_assert(BLOCK_HASH == 1u << 16, "hash_slot() takes the top 16 bits");

struct block *blocks_find(struct interp *in, u64 gpa, u32 key)
{
	struct block *b = *hash_slot(in, gpa, key);

	while (b && (b->gpa != gpa || b->key != key))
		b = b->hash_next;
	return b;
}

static struct frame **frame_slot(struct interp *in, u64 gpa)
{
	return &in->frames[(gpa >> PAGE_SHIFT) & (FRAME_HASH - 1)];
}

static struct frame *frame_find(struct interp *in, u64 gpa)
{
	struct frame *f = *frame_slot(in, gpa);

	while (f && f->gpa != (gpa & PAGE_MASK))
		f = f->next;
	return f;
}

/* ---- growth --------------------------------------------------------------------------------------------------- */

static void *pool_take(struct interp *in, size_t size)
{
	void *p = in->pool + in->pool_used;

	in->pool_used += ALIGN_UP(size, (size_t)64);
	return p;
}

static struct frame *frame_make(struct interp *in, u64 gpa)
{
	struct frame **slot = frame_slot(in, gpa), *f = in->free_frames;

	if (mem_code_enter(in->mem, gpa))
		return NULL;
	if (f)
		in->free_frames = f->next;
	else
		f = pool_take(in, sizeof(*f));
	*f = (struct frame){ .gpa = gpa & PAGE_MASK, .next = *slot };
	*slot = f;
	f->settles = mem_code_settle(in->mem, gpa);
	atomic_store(&in->seen, atomic_load(&in->mem->epoch));
	return f;
}

/* The granules that [gpa, gpa + len) touches; len >= 1, all in one page. */
static u64 granules_of(u64 gpa, unsigned len)
{
	unsigned first = gpa >> 6 & 63, last = (gpa + len - 1) >> 6 & 63;

	return bits(~0ull, last, first) << first;
}

/* The frame of gpa with the bytes that a block there may take reserved, so that a write to them from now on is told. */
static struct frame *frame_reserve(struct interp *in, u64 gpa)
{
	struct frame *f = frame_find(in, gpa);
	u64 rest = PAGE_SIZE - (gpa & ~PAGE_MASK);

	if (!f)
		f = frame_make(in, gpa);
	if (!f || !mem_code_settled(in->mem, gpa, f->settles))
		return NULL;
	f->settles = 0;
	in->granules = f->granules;
	f->granules |= granules_of(gpa, (unsigned)MIN(rest, 15ull * BLOCK_INSNS));
	return f;
}

bool blocks_room(const struct interp *in)
{
	return in->pool_used + BLOCK_ROOM + 64 <= in->pool_size;
}

struct block *blocks_begin(struct interp *in, u64 gpa)
{
	struct frame *f;

	if (!blocks_room(in))
		blocks_flush(in);
	pthread_mutex_lock(&in->lock);
	f = frame_reserve(in, gpa);
	pthread_mutex_unlock(&in->lock);
	return f ? (struct block *)(void *)(in->pool + in->pool_used) : NULL;
}

void blocks_add(struct interp *in, struct block *b)
{
	struct block **slot = hash_slot(in, b->gpa, b->key);
	struct frame *f;

	pool_take(in, sizeof(*b) + b->n * sizeof(struct insn));
	b->hash_next = *slot;
	*slot = b;
	pthread_mutex_lock(&in->lock);
	f = frame_find(in, b->gpa);
	b->frame_next = f->blocks;
	f->blocks = b;
	f->granules = in->granules | granules_of(b->gpa, b->bytes);
	pthread_mutex_unlock(&in->lock);
	counter_inc(in->cpu->counters, CNT_BLOCKS_MADE);
}

/* ---- loss ----------------------------------------------------------------------------------------------------- */

/* The block being executed must not go on past the current instruction. One that covers others may be what runs while
 * one of these is at work. */
static void stop_if_running(struct interp *in, const struct block *b)
{
	const void *end = in->cpu->block_end;

	if (b->cover > b->bytes || (end > (const void *)b->insn && end <= (const void *)(b->insn + b->n)))
		in->cpu->block_end = NULL;
}

static void unhash(struct interp *in, struct block *b)
{
	struct block **p = hash_slot(in, b->gpa, b->key);

	while (*p != b)
		p = &(*p)->hash_next;
	*p = b->hash_next;
}

static void block_drop(struct interp *in, struct block *b)
{
	stop_if_running(in, b);
	unhash(in, b);
	b->key = KEY_DEAD;
	block_unlink(in, b);
	if (in->hooks)
		in->hooks->dropped(in, b);
	counter_inc(in->cpu->counters, CNT_BLOCKS_DROPPED);
}

/* Drops the blocks that bytes [gpa, gpa + len) are in or, if len is 0, one of the granules. */
static void frame_drop(struct interp *in, struct frame *f, u64 gpa, unsigned len, u64 granules)
{
	struct block **p = &f->blocks, *b;

	f->granules = 0;
	while ((b = *p)) {
		u64 own = granules_of(b->gpa, b->cover);

		if (len ? b->gpa < gpa + len && gpa < b->gpa + b->cover : own & granules) {
			*p = b->frame_next;
			block_drop(in, b);
			continue;
		}
		block_unlink(in, b);
		f->granules |= own;
		p = &b->frame_next;
	}
}

static void undirty(struct interp *in, struct frame *f)
{
	struct frame **p = &in->dirty;

	if (!f->dirty)
		return;
	while (*p != f)
		p = &(*p)->dirty_next;
	*p = f->dirty_next;
	f->dirty = 0;
}

/* No blocks are left: gives the hold on the frame back. */
static void frame_leave(struct interp *in, struct frame *f)
{
	struct frame **p = frame_slot(in, f->gpa);

	undirty(in, f);
	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
	f->next = in->free_frames;
	in->free_frames = f;
	mem_code_leave(in->mem, f->gpa);
}

/* With the lock, on the vCPU's thread or while it does not run. */
static void write_hits(struct interp *in, struct frame *f, u64 gpa, unsigned len)
{
	if (f->granules & granules_of(gpa, len))
		frame_drop(in, f, gpa, len, 0);
	if (!f->blocks)
		frame_leave(in, f);
}

void blocks_flush(struct interp *in)
{
	atomic_store(&in->flush_wanted, false);
	in->flushes++;
	pthread_mutex_lock(&in->lock);
	for (unsigned k = 0; k < FRAME_HASH; k++)
		for (struct frame *f = in->frames[k]; f; f = f->next)
			mem_code_leave(in->mem, f->gpa);
	memset(in->frames, 0, sizeof(in->frames));
	in->free_frames = in->dirty = NULL;
	pthread_mutex_unlock(&in->lock);
	memset(in->hash, 0, sizeof(in->hash));
	memset(in->recent, 0, sizeof(in->recent));
	in->pool_used = 0;
	if (in->hooks)
		in->hooks->flushed(in);
	counter_inc(in->cpu->counters, CNT_CACHE_FLUSHES);
}

/* ---- listeners ------------------------------------------------------------------------------------------------ */

/* With the lock. */
static bool may_change(const struct interp *in)
{
	return !atomic_load(&in->running) || pthread_equal(in->thread, pthread_self());
}

/* x86 promises other agents' code writes to a CPU only after it serialized, so the next block boundary is in time: the
 * attention is posted before the writer goes on. */
static void make_dirty(struct interp *in, struct frame *f, u64 granules)
{
	if (!granules)
		return;
	if (!f->dirty) {
		f->dirty_next = in->dirty;
		in->dirty = f;
	}
	f->dirty |= granules;
	cpu_post(in->cpu, ATT_EXCL);
}

void blocks_drain(struct interp *in)
{
	struct frame *f;

	pthread_mutex_lock(&in->lock);
	while ((f = in->dirty)) {
		frame_drop(in, f, 0, 0, f->dirty);
		undirty(in, f);
		if (!f->blocks)
			frame_leave(in, f);
	}
	pthread_mutex_unlock(&in->lock);
}

void blocks_code_write(void *opaque, u64 gpa, unsigned len)
{
	struct interp *in = opaque;
	struct frame *f;

	if (!len)
		return;
	pthread_mutex_lock(&in->lock);
	f = frame_find(in, gpa);
	if (f && may_change(in))
		write_hits(in, f, gpa, len);
	else if (f)
		make_dirty(in, f, f->granules & granules_of(gpa, len));
	pthread_mutex_unlock(&in->lock);
}

void blocks_want_safepoint(void *opaque)
{
	struct interp *in = opaque;

	if (atomic_load(&in->running))
		cpu_post(in->cpu, ATT_EXCL);
}

bool blocks_passed_safepoint(void *opaque, u64 epoch)
{
	struct interp *in = opaque;

	return !atomic_load(&in->running) || atomic_load(&in->seen) >= epoch;
}

/* From any thread: nothing of the code is known to stand where it did. */
void blocks_map_changed(void *opaque)
{
	struct interp *in = opaque;

	atomic_store(&in->flush_wanted, true);
	cpu_post(in->cpu, ATT_EXCL);
	pthread_mutex_lock(&in->lock);
	if (may_change(in))
		in->cpu->block_end = NULL;
	pthread_mutex_unlock(&in->lock);
}
