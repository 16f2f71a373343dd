/* SPDX-License-Identifier: Apache-2.0
 * Host code for one block: its entry, its instructions one after the other, and behind the last the paths that are
 * rarely taken.
 */
#include "engine/translate/cross.h"
#include "engine/translate/gen.h"
#include "engine/translate/report.h"

#define AHEAD 1024 /* bytes that code may leave out */

void gen_cold_if(struct gen *g, unsigned cc)
{
	struct cold *c = &g->cold[g->n_cold++];

	*c = (struct cold){
		.from = emit_forward(&g->e, cc), .k = (u8)g->k, .off = g->next, .bias = g->bias, .x87 = g->x87
	};
	if (g->flags == FLAGS_NONE)
		c->again = g->again;
}

void gen_call_thunk(struct gen *g, const u8 *to)
{
	g->e.r14++;
	emit8(&g->e, 0xe8);
	g->e.p += 4;
	emit_patch(g->e.p - 4, to);
}

/* The library executes instruction k; r[R_RIP] is ahead by bias and has to be by off, and is so afterwards. */
static void emit_call(struct gen *g, unsigned k, unsigned off, unsigned bias)
{
	int fast = gen_long64(g) ? cross_find(g->t, g->insn[k]) : -1;

	emit_alu_imm(&g->e, 8, ALU_ADD, guest_at(R_RIP), (s32)(off - bias));
	emit_mov_imm(&g->e, H_R14, (u64)(uintptr_t)g->insn[k] | k);
	gen_call_thunk(g, fast < 0 ? g->t->hand_over : g->t->cross[fast]);
}
_Static_assert(sizeof(struct insn) == 64 && CODE_INSNS <= 64, "an instruction's number fits below its address");

static void gen_call(struct gen *g)
{
	gen_flags_save(g);
	gen_x87_flush(g);
	gen_share_drop(g);
	emit_call(g, g->k, g->next, g->bias);
	g->live = 0;
	g->flags = FLAGS_MEM;
	if (g->i->flags & INSN_END) {
		gen_count(g, g->k + 1);
		gen_lookup(g);
		g->ended = true;
	} else {
		emit_alu_imm(&g->e, 8, ALU_SUB, guest_at(R_RIP), (s32)(g->next - g->bias));
	}
	counter_inc(g->t->in.cpu->counters, CNT_TRANSLATED_CALLS);
}

/* By kind, as far as the kind is switched on. */
static bool gen_inline(struct gen *g)
{
	bool vex = g->i->flags & INSN_VEX;

	return (gen_opt(g, OPT_INTEGER) && !vex && gen_integer(g)) || (gen_opt(g, OPT_BITS) && gen_bits(g)) ||
	       (gen_opt(g, OPT_ATOMIC) && !vex && gen_atomic(g)) || (gen_opt(g, OPT_MISC) && !vex && gen_misc(g)) ||
	       (gen_opt(g, OPT_SYSTEM) && !vex && gen_system(g)) || (gen_opt(g, OPT_STACK) && !vex && gen_stack(g)) ||
	       (gen_opt(g, OPT_BRANCH) && !vex && gen_flow(g)) || (gen_opt(g, OPT_X87) && gen_x87(g)) ||
	       (gen_opt(g, OPT_STRING) && !vex && gen_string(g)) || (gen_opt(g, OPT_VECTOR) && gen_vector(g));
}

static void gen_insn(struct gen *g)
{
	unsigned n = g->n_cold;
	const struct insn *i = g->i;

	if (i->flags & INSN_END)
		gen_x87_flush(g);
	if (i->exec == exec_ud || i->exec == exec_unimpl || i->asz == 2 || !gen_inline(g)) {
		gen_call(g);
		g->again.how = AGAIN_NOT;
		return;
	}
	gen_flags_behind(g);
	counter_inc(g->t->in.cpu->counters, CNT_TRANSLATED);
	if (!gen_opt(g, OPT_FLAGS) && !g->ended) {
		gen_flags_save(g);
		g->flags = FLAGS_MEM;
	}
	for (; n < g->n_cold && !g->ended && !(i->flags & INSN_END); n++) {
		if (g->cold[n].load || g->cold[n].wide)
			continue;
		g->cold[n].leave = gen_share_pending(g);
		g->cold[n].back = g->e.p;
		g->cold[n].live = (u8)g->live;
		g->cold[n].host_flags = g->flags == FLAGS_HOST || g->flags == FLAGS_BOTH;
	}
}

/* The block is left behind instruction k. */
static void gen_leave_behind(struct gen *g, unsigned k)
{
	emit_alu_imm(&g->e, 8, ALU_ADD, CPU(icount), (s32)k + 1);
	gen_lookup(g);
}

/* On from behind instruction k by a link. */
static void gen_leave_for_next(struct gen *g, unsigned k, unsigned off)
{
	g->k = k;
	g->next = off;
	g->flags = FLAGS_MEM;
	gen_fall_through(g, k + 1);
}

/* The instruction again, sharing nothing, then on by a link. */
static void gen_alone(struct gen *g, const struct cold *c)
{
	unsigned n = g->n_cold, k = c->k, off = c->off;

	g->alone = true;
	g->i = g->insn[k];
	g->k = k;
	g->next = off;
	g->live = c->live;
	g->x87 = c->x87;
	g->flags = FLAGS_MEM;
	gen_flags_restore(g, &c->again);
	g->ended = g->more = g->along = false;
	if (!gen_inline(g))
		gen_call(g);
	for (; n < g->n_cold; n++)
		g->cold[n].leave = !g->cold[n].load && !(g->i->flags & INSN_END);
	if (g->ended)
		return;
	gen_flags_save(g);
	gen_x87_flush(g);
	gen_leave_for_next(g, k, off);
}

/* A lookaside miss: the tag in RAX is not in the slot R15. Goes on if it is there afterwards. */
static void gen_refill(struct gen *g, const struct cold *c)
{
	bool write = c->refill == 2 && !c->upgrade;

	gen_call_thunk(g, g->t->refill[write]);
	if (c->upgrade)
		emit_rm(&g->e, 8, 0x3b, H_RAX, mem(H_R15, offsetof(struct tlbe, w)));
	emit_jump(&g->e, CC_E, c->probed);
}

static void gen_cold(struct gen *g, const struct cold *c)
{
	emit_patch(c->from, g->e.p);
	if (c->jump)
		gen_jump_miss(g, c);
	if (c->refill) {
		gen_refill(g, c);
	}
	if (c->load) {
		gen_live_load(g, c->load);
		emit_jump(&g->e, CC_E, c->back);
	}
	if (c->wide) {
		gen_alone(g, c);
		return;
	}
	gen_flags_restore(g, &c->again);
	gen_x87_pointers(g, &c->x87, c->bias);
	emit_call(g, c->k, c->off, c->bias);
	if (c->load) {
		gen_leave_behind(g, c->k);
		return;
	}
	if (c->back && c->live) {
		u8 *loaded;

		gen_live_load(g, c->live);
		loaded = emit_forward(&g->e, CC_E);
		gen_leave_behind(g, c->k);
		emit_patch(loaded, g->e.p);
	}
	if (c->leave) {
		emit_alu_imm(&g->e, 8, ALU_SUB, guest_at(R_RIP), (s32)(c->off - c->bias));
		gen_leave_for_next(g, c->k, c->off);
		return;
	}
	if (!c->back) {
		gen_count(g, c->k + 1);
		gen_lookup(g);
		return;
	}
	emit_alu_imm(&g->e, 8, ALU_SUB, guest_at(R_RIP), (s32)(c->off - c->bias));
	if (c->host_flags)
		gen_flags_load_now(g);
	emit_jump(&g->e, CC_ALWAYS, c->back);
}

/* Does code go on where m's last instruction, a jump, leads to? A conditional one must have been taken each time. */
static bool goes_along(const struct gen *g, const struct block *m)
{
	const struct insn *last = &m->insn[m->n - 1];
	const struct block *nowhere = g->t->in.nowhere;

	if (!gen_opt(g, OPT_TRACES) || last->imm > AHEAD)
		return false;
	return gen_is_jmp(g, last) ||
	       (gen_is_jcc(g, last) && last->imm && m->succ[1] != nowhere && m->succ[0] == nowhere);
}

static bool goes_on_behind(const struct gen *g, const struct block *m)
{
	const struct insn *last = &m->insn[m->n - 1];

	return gen_is_jcc(g, last) || gen_is_sti(g, last) || (gen_opt(g, OPT_TRACES) && !(last->flags & INSN_END));
}

/* The block that code can go on with behind m, which ends at *next; *next becomes its place, *along tells why. */
static const struct block *following(const struct gen *g, const struct block *m, unsigned *next, bool *along)
{
	const struct block *n;
	u64 gpa;

	if (!gen_opt(g, OPT_SUPER) || !gen_flat(g))
		return NULL;
	*along = goes_along(g, m);
	if (*along)
		*next += (unsigned)m->insn[m->n - 1].imm;
	else if (!goes_on_behind(g, m))
		return NULL;
	gpa = g->b->gpa + *next;
	if ((gpa ^ g->b->gpa) >> PAGE_SHIFT)
		return NULL;
	/* what is surely next is decoded before its time; behind STI the interpreter steps and never does */
	n = gen_is_jcc(g, &m->insn[m->n - 1]) ? blocks_find(&g->t->in, gpa, g->b->key) : build_behind(&g->t->in, gpa);
	return n && n->n && g->n_insns + n->n <= CODE_INSNS ? n : NULL;
}

/* Which blocks the code consists of, and what is known of their instructions beforehand. */
static void gen_members(struct gen *g)
{
	const struct block *m = g->b;
	unsigned next = 0;
	bool along = false;

	while (m) {
		g->member[g->n_members++] = m;
		for (unsigned n = 0; n < m->n; n++) {
			next += m->insn[n].len;
			g->next_of[g->n_insns] = (u16)next;
			g->insn[g->n_insns++] = &m->insn[n];
		}
		m = following(g, m, &next, &along);
		if (m && along)
			g->along_of |= BIT(g->n_members - 1);
	}
	gen_plan(g, g->n_insns);
}

/* Instructions of member n. */
static void gen_member(struct gen *g, unsigned n)
{
	const struct block *m = g->member[n];

	g->end = m->insn + m->n;
	for (const struct insn *i = m->insn; i < g->end; i++, g->k++) {
		g->i = i;
		g->host[g->k] = g->e.p;
		g->next = g->next_of[g->k];
		g->more = n + 1 < g->n_members && i == g->end - 1;
		g->along = g->more && (g->along_of >> n & 1);
		gen_insn(g);
	}
}

/* The head is in front of code. */
static void gen_finish(struct gen *g, u8 *code, u8 *gone)
{
	struct code_head *h = (struct code_head *)(void *)code - 1;
	struct translate *t = g->t;

	*h = (struct code_head){ .first = g->first_link, .n = t->n_links - g->first_link, .gone = (u32)(gone - t->rw) };
	g->b->code = code_rx(t, code);
	for (u32 n = g->first_link; n < t->n_links; n++) {
		struct link *l = &t->links[n];
		struct block *to = l->far ? NULL : blocks_find(&t->in, (g->b->gpa & PAGE_MASK) + l->to, g->b->key);

		if (to)
			links_set(t, l, to);
	}
	counter_inc(t->in.cpu->counters, CNT_TRANSLATED_BLOCKS);
}

/* Where attention is not 0 at the start, before anything is changed: *out leads there, and `back` behind the look.
 * Returns what follows if something presses: r[R_RIP] is made whole. */
static u8 *gen_gone(struct gen *g, u8 *back, u8 **out)
{
	u8 *at, *to[2];

	*out = g->e.p;
	if (!g->t->counting) {
		thunks_look_closely(&g->e, to);
		emit_jump(&g->e, CC_ALWAYS, back);
		emit_patch(to[0], g->e.p);
		emit_patch(to[1], g->e.p);
	}
	at = g->e.p;
	emit_alu_imm(&g->e, 8, ALU_SUB, guest_at(R_RIP), (s32)g->bias);
	emit_jump(&g->e, CC_ALWAYS, g->t->cold);
	return at;
}

static void gen_all_members(struct gen *g)
{
	gen_members(g);
	for (unsigned n = 0; n < g->n_members; n++)
		gen_member(g, n);
	if (!g->ended) {
		gen_x87_flush(g);
		gen_fall_through(g, g->k);
	}
	g->b->cover = (u16)g->next;
}

/* The instruction leaves the page: it depends on another, and is looked at afresh each time. */
static void gen_step(struct gen *g)
{
	emit_alu_imm(&g->e, 8, ALU_SUB, guest_at(R_RIP), (s32)g->bias);
	emit_jump(&g->e, CC_ALWAYS, g->t->step);
}

void gen_block(struct translate *t, struct block *b)
{
	struct gen g = { .t = t, .b = b, .flags = FLAGS_MEM, .first_link = t->n_links };
	u8 *gone, *code, *out;

	g.bias = -(unsigned)(b->gpa & (PAGE_SIZE - 1));
	code = t->rw + ALIGN_UP(t->used + sizeof(struct code_head), (size_t)16);
	g.e.p = t->rw + t->used_cold;
	gone = gen_gone(&g, code + t->look, &out);
	t->used_cold = (size_t)(g.e.p - t->rw);
	g.e.p = code;
	thunks_look(t, &g.e, out);
	if (b->n)
		gen_all_members(&g);
	else
		gen_step(&g);
	g.host[g.k] = g.e.p;
	gen_arms(&g);
	report_block(t->report, b, g.host, code, g.e.p);
	t->used = ALIGN_UP((size_t)(g.e.p - t->rw), (size_t)16);
	g.e.p = t->rw + t->used_cold;
	gen_misses(&g);
	for (unsigned n = 0; n < g.n_cold; n++) {
		gen_cold(&g, &g.cold[n]);
		gen_misses(&g);
	}
	gen_link_stubs(&g);
	t->used_cold = (size_t)(g.e.p - t->rw);
	gen_finish(&g, code, gone);
}
