/* SPDX-License-Identifier: Apache-2.0
 * How translated blocks lead to each other.
 *
 * Inside a frame by links: jumps that are patched. They need no check, as blocks.c unlinks all blocks of a frame when
 * one of them is dropped. Everywhere else in flat code by a table of recent jumps, looked up by linear address, space
 * and privilege. An entry stays right while the translation may be used, which the MMU tells, and the block stands:
 * the entry of a dropped one's code is overwritten with a way out.
 */
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/translate/translate.h"
#include "mmu/mmu.h"

static struct translate *of(struct interp *in)
{
	return (struct translate *)in;
}

static const struct code_head *head_of(const struct translate *t, const struct block *b)
{
	return (const struct code_head *)(const void *)(t->rw + ((const u8 *)b->code - t->rx)) - 1;
}

static void jumps_clear(struct translate *t)
{
	for (unsigned n = 0; n < JUMPS; n++)
		t->jumps[n].tag = NO_JUMP;
	memset(t->jump_page, 0, sizeof(t->jump_page));
}

static void fetch_dropped(void *opaque, u64 lin)
{
	struct translate *t = opaque;

	if (lin == ~0ull || t->jump_page[(lin >> PAGE_SHIFT) % JUMP_PAGES])
		jumps_clear(t);
}

int links_init(struct translate *t)
{
	struct mmu_hot *hot = t->in.cpu->mmu;

	jumps_clear(t);
	t->links = mmap(NULL, MAX_LINKS * sizeof(*t->links), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->links == MAP_FAILED) {
		t->links = NULL;
		return -1;
	}
	hot->opaque = t;
	hot->fetch_dropped = fetch_dropped;
	return 0;
}

void links_free(struct translate *t)
{
	struct mmu_hot *hot = t->in.cpu->mmu;

	if (hot)
		hot->fetch_dropped = NULL;
	if (t->links)
		munmap(t->links, MAX_LINKS * sizeof(*t->links));
}

void links_flushed(struct interp *in)
{
	struct translate *t = of(in);

	t->n_links = 0;
	t->left = NULL;
	jumps_clear(t);
}

void links_unlinked(struct interp *in, struct block *b)
{
	struct translate *t = of(in);
	const struct code_head *h;

	if (b->code == in->no_code)
		return;
	h = head_of(t, b);
	for (u32 n = h->first; n < h->first + h->n; n++)
		emit_patch(t->rw + t->links[n].site, t->rw + t->links[n].stub);
}

void links_dropped(struct interp *in, struct block *b)
{
	struct translate *t = of(in);
	struct emit e = { .p = t->rw + ((const u8 *)b->code - t->rx) };

	if (b->code != in->no_code)
		emit_jump(&e, CC_ALWAYS, t->rw + head_of(t, b)->gone);
}

void links_set(struct translate *t, struct link *l, const struct block *b)
{
	u8 *code = t->rw + ((const u8 *)b->code - t->rx);

	if (b->code == t->in.no_code || b->key != l->from->key || (b->gpa ^ l->from->gpa) >> PAGE_SHIFT ||
	    (b->gpa & (PAGE_SIZE - 1)) != l->to)
		return;
	counter_inc(t->in.cpu->counters, CNT_TRANSLATED_LINKS);
	emit_patch(t->rw + l->site, l->forward && opt(t, OPT_FORWARD) ? code + t->look : code);
}

void links_note_jump(struct translate *t, u64 lin, const struct block *b)
{
	const struct cpu *c = t->in.cpu;
	u64 tag = lin ^ ((const struct mmu_hot *)c->mmu)->salt;

	if (c->d.long64 ? c->cr4 & CR4_LA57 : b->key != CODE32 || lin >= BIT(32) - PAGE_SIZE)
		return;
	if (b->code == t->in.no_code)
		return;
	t->jumps[jump_slot(lin)] = (struct jump){ c->d.long64 ? tag : tag | BIT(JUMP_32), b->code };
	t->jump_page[(lin >> PAGE_SHIFT) % JUMP_PAGES] = true;
}
