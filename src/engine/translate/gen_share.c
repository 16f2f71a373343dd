/* SPDX-License-Identifier: Apache-2.0
 * Accesses that share a probe: struct fields by one register, words of a stack frame. The first probes for all that lie
 * within SPAN bytes of it, and keeps the host address in the frame on the private stack; the others load that.
 *
 * Invariants
 *  1. A group holds from its probe to the end of the code, or to what may change a translation, a right or a
 *     segment: a call of the library, STAC, CLAC, SWAPGS. Where a rarely taken path has called the library, the code
 *     behind it is left as long as a group is in use.
 *  2. All accesses of a group lie in one page, which was probed for writing if one of them writes. A place is told by
 *     registers' values at the block's start (gen_plan.c), so that none is changed unseen in between.
 *  3. Where the probe fails although the access by itself may not, for it lies close to another page or is only read,
 *     the instruction is done again by itself, and the code left behind it: nothing faults, or sets a dirty bit, before
 *     its time.
 */
#include "engine/translate/gen.h"

#define SPAN 256

static bool alike(const struct place *a, const struct place *b)
{
	return a->known && b->known && a->base == b->base && a->index == b->index && a->scale == b->scale &&
	       a->seg == b->seg && a->asz == b->asz;
}

bool gen_shared(struct gen *g, unsigned which, unsigned size, bool write)
{
	const struct place *at = &g->place[g->k][which];

	if (g->alone || !at->known)
		return false;
	for (unsigned n = 0; n < GROUPS; n++) {
		struct group *s = &g->group[n];

		if (!s->used || g->k > s->last || !alike(&s->at, at) || at->off < s->lo ||
		    at->off + (s64)size > s->hi || (write && !s->write))
			continue;
		if (s->held != g->e.r14)
			emit_load(&g->e, H_R14, mem(H_RSP, frame_group(n)));
		s->held = g->e.r14;
		g->at = (s32)(at->off - s->origin);
		return true;
	}
	return false;
}

/* [lo, hi) grows by an access, if it stays within SPAN. */
static bool grow(s64 *lo, s64 *hi, const struct place *at)
{
	s64 l = at->off < *lo ? at->off : *lo, h = at->off + at->size > *hi ? at->off + at->size : *hi;

	if (h - l > SPAN)
		return false;
	*lo = l;
	*hi = h;
	return true;
}

static bool is_end(const struct gen *g, unsigned k)
{
	return g->insn[k]->flags & INSN_END;
}

/* Is there a write to the place before code can branch? */
static bool written_soon(const struct gen *g, unsigned which, const struct place *at)
{
	for (unsigned k = g->k; k < g->n_insns; k++) {
		for (unsigned w = k == g->k ? which + 1 : 0; w < PLACES; w++) {
			const struct place *p = &g->place[k][w];
			s64 lo = at->off, hi = at->off + at->size;

			if (p->write && alike(p, at) && grow(&lo, &hi, p))
				return true;
		}
		if (is_end(g, k))
			return false;
	}
	return false;
}

bool gen_share_range(const struct gen *g, unsigned which, unsigned size, bool write, struct range *r)
{
	struct place at = g->place[g->k][which];
	s64 lo = at.off, hi = at.off + (s64)size;
	bool any = false;

	if (g->alone || !at.known || !gen_opt(g, OPT_GROUP) || !gen_opt(g, OPT_TLB) || size > SPAN / 2)
		return false;
	at.size = (u8)size;
	r->write = write || written_soon(g, which, &at);
	for (unsigned k = g->k; k < g->n_insns; k++) {
		for (unsigned w = k == g->k ? which + 1 : 0; w < PLACES; w++) {
			const struct place *p = &g->place[k][w];

			if (!alike(p, &at) || (p->write && !r->write) || !grow(&lo, &hi, p))
				continue;
			any = true;
			r->last = k;
		}
	}
	r->below = (unsigned)(at.off - lo);
	r->beyond = (unsigned)(hi - at.off) - 1;
	return any;
}

void gen_share_keep(struct gen *g, unsigned which, const struct range *r)
{
	unsigned n = g->next_group++ % GROUPS;
	const struct place *at = &g->place[g->k][which];

	emit_store(&g->e, mem(H_RSP, frame_group(n)), H_R14);
	g->group[n] = (struct group){ .used = true,
				      .write = r->write,
				      .at = *at,
				      .lo = at->off - r->below,
				      .hi = at->off + r->beyond + 1,
				      .origin = at->off,
				      .last = r->last,
				      .held = g->e.r14 };
}

void gen_share_drop(struct gen *g)
{
	for (unsigned n = 0; n < GROUPS; n++)
		g->group[n].used = false;
}

bool gen_share_pending(const struct gen *g)
{
	for (unsigned n = 0; n < GROUPS; n++)
		if (g->group[n].used && g->group[n].last > g->k)
			return true;
	return false;
}
