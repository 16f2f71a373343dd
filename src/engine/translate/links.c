/* SPDX-License-Identifier: Apache-2.0
 * How translated blocks lead to each other.
 *
 * Inside a frame by links: jumps that are patched. They need no check, as blocks.c unlinks all blocks of a frame when
 * one of them is dropped.
 *
 * From frame to frame, where the distance is known, by far links: jumps behind a guard, which compares the linear
 * address that the code runs at, with space and privilege, to those that the link was set for. So the target's linear
 * address is the one that was looked up then. A far link stays right while the translation may be used, which the MMU
 * tells, and the block stands: then it gets a tag that nothing equals.
 *
 * Everywhere else in flat code by a table of recent jumps, looked up by linear address, space and privilege. An entry
 * stays right as long as a far link; the entry of a dropped block's code is overwritten with a way out.
 */
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/segment.h"
#include "engine/translate/translate.h"
#include "mmu/mmu.h"

#define LINKS_SIZE (MAX_LINKS * sizeof(struct link))
#define PLACES_SIZE (MAX_FAR * sizeof(struct far_place))
#define TO_PAGE_SIZE (JUMP_PAGES * sizeof(u32))

static struct translate *of(struct interp *in)
{
	return (struct translate *)in;
}

static struct code_head *head_of(const struct translate *t, const struct block *b)
{
	return (struct code_head *)(void *)(t->rw + ((const u8 *)b->code - t->rx)) - 1;
}

static unsigned page_of(u64 lin)
{
	return (lin >> PAGE_SHIFT) % JUMP_PAGES;
}

static void note_page(struct translate *t, u64 lin)
{
	t->low->page[page_of(lin)] = true;
	t->low->any = true;
}

/* ---- far links ----------------------------------------------------------------------------------------------------
 */

static struct far_guard *guard_of(struct translate *t, const struct link *l)
{
	return &t->low->far[l->far - 1];
}

static void far_list(struct translate *t, const struct link *l)
{
	u32 *first = &t->to_page[page_of(l->lin)];

	t->place[l->far - 1] = (struct far_place){ .next = *first };
	if (*first)
		t->place[*first - 1].prev = l->far;
	*first = l->far;
}

static void far_unlist(struct translate *t, const struct link *l)
{
	struct far_place p = t->place[l->far - 1];

	if (p.next)
		t->place[p.next - 1].prev = p.prev;
	if (p.prev)
		t->place[p.prev - 1].next = p.next;
	else
		t->to_page[page_of(l->lin)] = p.next;
}

/* l leads nowhere. */
static void far_unset(struct translate *t, struct link *l)
{
	if (!l->target)
		return;
	*guard_of(t, l) = (struct far_guard){ .tag = NO_TAG };
	far_unlist(t, l);
	if (l->next)
		t->links[l->next - 1].prev = l->prev;
	if (l->prev)
		t->links[l->prev - 1].next = l->next;
	else
		head_of(t, l->target)->incoming = l->next;
	l->target = NULL;
	l->next = l->prev = 0;
}

static void far_enlist(struct translate *t, struct link *l, struct block *b)
{
	struct code_head *h = head_of(t, b);
	u32 number = (u32)(l - t->links) + 1;

	l->target = b;
	l->prev = 0;
	l->next = h->incoming;
	if (l->next)
		t->links[l->next - 1].prev = number;
	h->incoming = number;
}

/* Addresses of 57 bits leave no room for the salt; where EIP wraps, the distance is another one. */
static bool far_fits(const struct cpu *c, const struct link *l, const struct block *b)
{
	u64 lin = c->r[R_RIP], from = (lin & PAGE_MASK) - (u64)(s64)l->pages;

	if (b->key != l->from->key || ((lin ^ l->to) & ~PAGE_MASK) || ((b->gpa ^ lin) & ~PAGE_MASK))
		return false;
	return c->d.long64 ? !(c->cr4 & CR4_LA57) && cpu_canonical(c, from) : lin < BIT(32) && from < BIT(32);
}

static void far_set(struct translate *t, struct link *l, struct block *b)
{
	const struct cpu *c = t->in.cpu;
	struct far_guard *f = guard_of(t, l);

	far_unset(t, l);
	if (b->code == t->in.no_code)
		return;
	if (!far_fits(c, l, b)) {
		f->left = FAR_TRIES;
		return;
	}
	l->lin = c->r[R_RIP] & PAGE_MASK;
	*f = (struct far_guard){ .tag = (l->lin - (u64)(s64)l->pages) ^ c->salt,
				 .left = FAR_TRIES,
				 .link = (u32)(l - t->links) + 1 };
	far_list(t, l);
	note_page(t, l->lin);
	far_enlist(t, l, b);
	counter_inc(c->counters, CNT_TRANSLATED_LINKS);
	emit_patch(t->rw + l->site, t->rw + ((const u8 *)b->code - t->rx));
}

static void far_drop(struct translate *t, u64 lin)
{
	const u32 *first = &t->to_page[page_of(lin)];

	while (*first)
		far_unset(t, &t->links[t->low->far[*first - 1].link - 1]);
}

static void far_drop_all(struct translate *t)
{
	for (u32 n = 0; n < t->n_far; n++)
		if (t->low->far[n].link)
			far_unset(t, &t->links[t->low->far[n].link - 1]);
}

u32 links_new_far(struct translate *t)
{
	if (t->n_far >= MAX_FAR)
		return 0;
	t->low->far[t->n_far] = (struct far_guard){ .tag = NO_TAG };
	return ++t->n_far;
}

/* ---- recent jumps -------------------------------------------------------------------------------------------------
 */

static void jumps_drop(struct translate *t, u64 lin)
{
	struct jump *j = t->low->jump;

	for (unsigned n = 0; n < JUMPS; n++)
		if (page_of(j[n].lin) == page_of(lin))
			j[n].salt = NO_TAG;
}

static void jumps_drop_all(struct translate *t)
{
	for (unsigned n = 0; n < JUMPS; n++)
		t->low->jump[n].salt = NO_TAG;
}

static void pages_clear(struct translate *t)
{
	memset(t->low->page, 0, sizeof(t->low->page));
	t->low->any = false;
}

/* No translation of lin, of nothing at all if that is ~0, may be used any more. All pages of lin's number go, so that
 * low.page becomes right again: else each page that code was once in, in any process, would be searched for at each
 * change of its data in a later one. */
static void fetch_dropped(void *opaque, u64 lin)
{
	struct translate *t = opaque;

	if (lin != ~0ull) {
		if (!t->low->page[page_of(lin)])
			return;
		far_drop(t, lin);
		jumps_drop(t, lin);
		t->low->page[page_of(lin)] = false;
	} else if (t->low->any) {
		far_drop_all(t);
		jumps_drop_all(t);
		pages_clear(t);
	}
}

void links_note_jump(struct translate *t, u64 lin, const struct block *b)
{
	const struct cpu *c = t->in.cpu;

	if (!c->d.long64 && (b->key != CODE32 || lin >= BIT(32) - PAGE_SIZE))
		return;
	if (b->code == t->in.no_code)
		return;
	t->low->jump[jump_slot(lin)] = (struct jump){ .lin = lin,
						      .salt = c->salt | (c->d.long64 ? 0 : BIT(JUMP_32)),
						      .code = b->code };
	note_page(t, lin);
}

/* ---- links inside a frame, and what becomes of all of them --------------------------------------------------------
 */

static void *map(size_t size, int flags)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int links_init(struct translate *t)
{
	struct mmu_hot *hot = t->in.cpu->mmu;

	t->links = map(LINKS_SIZE, 0);
	t->place = map(PLACES_SIZE, 0);
	t->to_page = map(TO_PAGE_SIZE, 0);
	t->low = map(sizeof(*t->low), MAP_32BIT);
	if (!t->links || !t->place || !t->to_page || !t->low)
		return -1;
	jumps_drop_all(t);
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
		munmap(t->links, LINKS_SIZE);
	if (t->place)
		munmap(t->place, PLACES_SIZE);
	if (t->to_page)
		munmap(t->to_page, TO_PAGE_SIZE);
	if (t->low)
		munmap(t->low, sizeof(*t->low));
}

void links_flushed(struct interp *in)
{
	struct translate *t = of(in);

	t->n_links = t->n_far = 0;
	t->left = NULL;
	if (!t->low->any)
		return;
	jumps_drop_all(t);
	memset(t->to_page, 0, TO_PAGE_SIZE);
	pages_clear(t);
}

void links_unlinked(struct interp *in, struct block *b)
{
	struct translate *t = of(in);
	const struct code_head *h;

	if (b->code == in->no_code)
		return;
	h = head_of(t, b);
	for (u32 n = h->first; n < h->first + h->n; n++)
		if (!t->links[n].far)
			emit_patch(t->rw + t->links[n].site, t->rw + t->links[n].stub);
}

void links_dropped(struct interp *in, struct block *b)
{
	struct translate *t = of(in);
	struct emit e = { .p = t->rw + ((const u8 *)b->code - t->rx) };
	struct code_head *h;

	if (b->code == in->no_code)
		return;
	h = head_of(t, b);
	emit_jump(&e, CC_ALWAYS, t->rw + h->gone);
	while (h->incoming)
		far_unset(t, &t->links[h->incoming - 1]);
}

void links_set(struct translate *t, struct link *l, struct block *b)
{
	u8 *code = t->rw + ((const u8 *)b->code - t->rx);

	if (l->far) {
		far_set(t, l, b);
		return;
	}
	if (b->code == t->in.no_code || b->key != l->from->key || (b->gpa ^ l->from->gpa) >> PAGE_SHIFT ||
	    (b->gpa & (PAGE_SIZE - 1)) != l->to)
		return;
	counter_inc(t->in.cpu->counters, CNT_TRANSLATED_LINKS);
	emit_patch(t->rw + l->site, l->forward && opt(t, OPT_FORWARD) ? code + t->look : code);
}
