/* SPDX-License-Identifier: Apache-2.0
 * From a linear address to a block: the lookaside of fetches, the block hash, and at last the decoder.
 */
#include "engine/interp/interp.h"

#include <time.h>

#include "mem/frame.h"
#include "mmu/mmu.h"

#define DECODE_SAMPLE 64 /* every so many blocks the decoder is timed */

static u64 clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

/* Decodes from host bytes p, which end with the page, into b. */
static void decode_block(struct block *b, const struct cpu *c, const u8 *p, unsigned rest)
{
	unsigned how = interp_how(c);
	u8 bytes[15];

	b->n = 0;
	b->bytes = 0;
	while (b->n < BLOCK_INSNS && b->bytes < rest) {
		struct insn *i = &b->insn[b->n];
		unsigned n = MIN(15u, rest - b->bytes);

		memcpy(bytes, p + b->bytes, n);
		if (decode_insn(i, bytes, n, c->d.code, how) != DECODE_OK)
			break;
		b->bytes = (u16)(b->bytes + i->len);
		b->n++;
		if (i->flags & INSN_END)
			return;
	}
	if (!b->n)
		b->bytes = (u16)rest;
}

static void decode_sampled(struct interp *in, struct block *b, const u8 *p, unsigned rest)
{
	struct cpu *c = in->cpu;
	u64 start;

	if (++in->sample % DECODE_SAMPLE) {
		decode_block(b, c, p, rest);
	} else {
		start = clock_now();
		decode_block(b, c, p, rest);
		counter_add(c->counters, CNT_DECODE_NS, (clock_now() - start) * DECODE_SAMPLE);
	}
	counter_add(c->counters, CNT_DECODED, b->n);
}

static struct block *block_make(struct interp *in, const u8 *host, u64 gpa)
{
	struct block *b = blocks_begin(in, gpa);

	if (!b)
		return NULL;
	*b = (struct block){ .gpa = gpa, .key = (u16)in->cpu->d.block_key, .code = in->no_code };
	block_unlink(in, b);
	decode_sampled(in, b, host, (unsigned)(PAGE_SIZE - (gpa & ~PAGE_MASK)));
	b->end = b->insn + b->n;
	b->cover = b->bytes;
	blocks_add(in, b);
	return b;
}

/* The block at gpa, whose bytes stand at host. */
static struct block *find_slow(struct interp *in, const u8 *host, u64 gpa)
{
	struct block *b = blocks_find(in, gpa, in->cpu->d.block_key);

	return b ? b : block_make(in, host, gpa);
}

struct block *build_behind(struct interp *in, u64 gpa)
{
	struct block *b = blocks_find(in, gpa, in->cpu->d.block_key);
	u64 frame = mem_frame(in->mem, gpa);

	if (b || !frame || !blocks_room(in))
		return b;
	return block_make(in, frame_host(frame) + (gpa & ~PAGE_MASK), gpa);
}

int build_find(struct interp *in, u64 lin, struct block **b)
{
	struct cpu *c = in->cpu;
	struct block **recent;
	const u8 *host;
	u64 gpa;

	if (unlikely(!mmu_fetch_hit(c, lin, &host, &gpa)) && mmu_fetch_page(c, lin, &host, &gpa))
		return OUT_FAULT;
	recent = &in->recent[(gpa ^ gpa >> 12) & (RECENT - 1)];
	*b = *recent;
	if (likely(*b && (*b)->gpa == gpa && (*b)->key == c->d.block_key))
		return OUT_DONE;
	*b = host ? find_slow(in, host, gpa) : NULL;
	if (*b)
		*recent = *b;
	return OUT_DONE;
}
