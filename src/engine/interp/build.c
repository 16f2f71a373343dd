/* SPDX-License-Identifier: Apache-2.0
 * From a linear address to a block: the jump cache, the page walk, the block hash, and at last the decoder.
 */
#include "engine/interp/interp.h"

#include <time.h>

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
	bool legacy = !c->d.pe || c->d.vm86;
	u8 bytes[15];

	b->n = 0;
	b->bytes = 0;
	while (b->n < BLOCK_INSNS && b->bytes < rest) {
		struct insn *i = &b->insn[b->n];
		unsigned n = MIN(15u, rest - b->bytes);

		memcpy(bytes, p + b->bytes, n);
		if (decode_insn(i, bytes, n, c->d.code, legacy) != DECODE_OK)
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

static struct block *block_make(struct interp *in, const u8 *page, u64 gpa)
{
	struct block *b;
	unsigned off = gpa & ~PAGE_MASK;

	b = blocks_room(in);
	if (mem_code_enter(in->mem, gpa))
		return NULL;
	*b = (struct block){ .gpa = gpa, .key = in->cpu->d.block_key };
	decode_sampled(in, b, page + off, (unsigned)PAGE_SIZE - off);
	blocks_add(in, b);
	return b;
}

static u64 jump_tag(const struct cpu *c)
{
	return (u64)c->fetch_gen << 32 | (u64)c->ctx << 16 | c->d.block_key << 2 | c->d.cpl;
}

int build_find(struct interp *in, u64 lin, struct block **b)
{
	struct cpu *c = in->cpu;
	struct jump *j = &in->jump[(lin ^ lin >> 12) & (JUMP_CACHE - 1)];
	u64 tag = jump_tag(c), gpa;
	const u8 *host;

	if (likely(j->lin == lin && j->tag == tag && j->b && j->b->key == c->d.block_key)) {
		*b = j->b;
		return OUT_DONE;
	}
	if (mmu_fetch_page(c, lin, &host, &gpa))
		return OUT_FAULT;
	gpa = (gpa & PAGE_MASK) | (lin & ~PAGE_MASK);
	*b = NULL;
	if (!host)
		return OUT_DONE;
	*b = blocks_find(in, gpa, c->d.block_key);
	if (!*b)
		*b = block_make(in, (const u8 *)((uintptr_t)host & PAGE_MASK), gpa);
	if (*b)
		*j = (struct jump){ lin, jump_tag(c), *b };
	return OUT_DONE;
}
