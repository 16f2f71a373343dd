/* SPDX-License-Identifier: Apache-2.0
 * The cache of decoded blocks: one pool that is filled from the bottom and emptied as a whole, a hash by (gpa, key),
 * and a list of blocks for each frame, so that a write to code finds what it hits.
 */
#include "engine/interp/interp.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "mem/frame.h"

#define BLOCK_ROOM (sizeof(struct block) + BLOCK_INSNS * sizeof(struct insn))

int blocks_init(struct interp *in, size_t pool_size, struct err *e)
{
	in->pool_size = pool_size;
	in->pool = mmap(NULL, pool_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (in->pool == MAP_FAILED) {
		in->pool = NULL;
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
}

static int go_nowhere(struct cpu *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return OUT_AGAIN;
}

/* What a link leads to that leads nowhere: at the address of no frame. A guest that jumps to just where that address
 * would be, as its code's frame is mapped, gets here all the same: the instruction of no length ends the chain. */
static const struct block nowhere = { .gpa = ~0ull, .insn = { { .exec = go_nowhere } } };

void block_unlink(struct block *b)
{
	b->succ[0] = b->succ[1] = (struct block *)&nowhere;
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

struct block *blocks_room(struct interp *in)
{
	if (in->pool_used + BLOCK_ROOM + 64 > in->pool_size)
		blocks_flush(in);
	return (struct block *)(void *)(in->pool + in->pool_used);
}

static struct frame *frame_make(struct interp *in, u64 gpa)
{
	struct frame **slot = frame_slot(in, gpa), *f = in->free_frames;

	if (f)
		in->free_frames = f->next;
	else
		f = pool_take(in, sizeof(*f));
	*f = (struct frame){ .gpa = gpa & PAGE_MASK, .next = *slot };
	return *slot = f;
}

/* The granules that [gpa, gpa + len) touches; len >= 1, all in one page. */
static u64 granules_of(u64 gpa, unsigned len)
{
	unsigned first = gpa >> 6 & 63, last = (gpa + len - 1) >> 6 & 63;

	return bits(~0ull, last, first) << first;
}

void blocks_add(struct interp *in, struct block *b)
{
	struct block **slot = hash_slot(in, b->gpa, b->key);
	struct frame *f;

	pool_take(in, sizeof(*b) + b->n * sizeof(struct insn));
	f = frame_find(in, b->gpa);
	if (!f)
		f = frame_make(in, b->gpa);
	b->hash_next = *slot;
	*slot = b;
	b->frame_next = f->blocks;
	f->blocks = b;
	f->granules |= granules_of(b->gpa, b->bytes);
	counter_inc(in->cpu->counters, CNT_BLOCKS_MADE);
}

/* ---- loss ----------------------------------------------------------------------------------------------------- */

/* The block being executed must not go on past the current instruction. */
static void stop_if_running(struct interp *in, const struct block *b)
{
	const void *end = in->cpu->block_end;

	if (end > (const void *)b->insn && end <= (const void *)(b->insn + b->n))
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
	block_unlink(b);
	counter_inc(in->cpu->counters, CNT_BLOCKS_DROPPED);
}

static void frame_drop_range(struct interp *in, struct frame *f, u64 gpa, unsigned len)
{
	struct block **p = &f->blocks, *b;

	f->granules = 0;
	while ((b = *p)) {
		if (b->gpa < gpa + len && gpa < b->gpa + b->bytes) {
			*p = b->frame_next;
			block_drop(in, b);
			continue;
		}
		block_unlink(b);
		f->granules |= granules_of(b->gpa, b->bytes);
		p = &b->frame_next;
	}
}

/* Writes to the frame need no longer be told. While other vCPUs keep blocks too, only they together could say so. */
static void frame_leave(struct interp *in, struct frame *f)
{
	struct frame **p = frame_slot(in, f->gpa);

	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
	f->next = in->free_frames;
	in->free_frames = f;
	if (in->mem->n_writers <= 1)
		mem_code_leave(in->mem, f->gpa);
}

static void write_hits(struct interp *in, u64 gpa, unsigned len)
{
	struct frame *f = frame_find(in, gpa);

	if (!f || !(f->granules & granules_of(gpa, len)))
		return;
	frame_drop_range(in, f, gpa, len);
	if (!f->blocks)
		frame_leave(in, f);
}

void blocks_flush(struct interp *in)
{
	in->flush_wanted = false;
	in->flushes++;
	if (in->mem->n_writers <= 1)
		for (unsigned k = 0; k < FRAME_HASH; k++)
			for (struct frame *f = in->frames[k]; f; f = f->next)
				mem_code_leave(in->mem, f->gpa);
	memset(in->frames, 0, sizeof(in->frames));
	memset(in->hash, 0, sizeof(in->hash));
	memset(in->recent, 0, sizeof(in->recent));
	in->free_frames = NULL;
	in->pool_used = 0;
	counter_inc(in->cpu->counters, CNT_CACHE_FLUSHES);
}

/* ---- listeners ------------------------------------------------------------------------------------------------ */

static bool own_thread(const struct interp *in)
{
	return !in->running || pthread_equal(in->thread, pthread_self());
}

/* x86 promises other agents' code writes to a CPU only after it serialized, so the next block boundary is in time. */
static void foreign_write(struct interp *in, u64 gpa, unsigned len)
{
	pthread_mutex_lock(&in->lock);
	if (in->nr_foreign < FOREIGN_WRITES)
		in->foreign[in->nr_foreign++] = (struct foreign_write){ gpa, len };
	else
		in->foreign_lost = true;
	pthread_mutex_unlock(&in->lock);
	cpu_post(in->cpu, ATT_EXCL);
}

void blocks_drain_foreign(struct interp *in)
{
	pthread_mutex_lock(&in->lock);
	if (in->foreign_lost)
		in->flush_wanted = true;
	else
		for (unsigned k = 0; k < in->nr_foreign; k++)
			write_hits(in, in->foreign[k].gpa, in->foreign[k].len);
	in->nr_foreign = 0;
	in->foreign_lost = false;
	pthread_mutex_unlock(&in->lock);
}

void blocks_code_write(void *opaque, u64 gpa, unsigned len)
{
	struct interp *in = opaque;

	if (!len)
		return;
	if (own_thread(in))
		write_hits(in, gpa, len);
	else
		foreign_write(in, gpa, len);
}

/* Under exclusive execution: the vCPU is between blocks, or this is its own thread. */
void blocks_map_changed(void *opaque)
{
	struct interp *in = opaque;

	in->flush_wanted = true;
	in->cpu->block_end = NULL;
	cpu_post(in->cpu, ATT_EXCL);
}
