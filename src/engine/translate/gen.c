/* SPDX-License-Identifier: Apache-2.0
 * Host code for one block: its entry, its instructions one after the other, and behind the last the paths that are
 * rarely taken.
 *
 * Flags are kept in EFLAGS from the instruction that made them to the first that loses them; before anything that may
 * fault, leave or lose them they are saved in the form of cpu->aflags. That is exact and needs no look ahead.
 */
#include "engine/translate/gen.h"

void gen_flags_save(struct gen *g)
{
	if (g->flags != FLAGS_HOST)
		return;
	emit8(&g->e, 0x9f);			     /* lahf */
	emit_rm(&g->e, 1, 0x0f90, 0, reg(H_RAX));    /* seto al */
	emit_rm(&g->e, 2, 0x89, H_RAX, CPU(aflags)); /* mov aflags, ax */
	g->flags = FLAGS_BOTH;
}

static void load_flags(struct emit *e)
{
	emit_rm(e, 4, 0x0fb7, H_RAX, CPU(aflags)); /* movzx eax, aflags */
	emit8(e, 0x04);				   /* add al, 0x7f */
	emit8(e, 0x7f);
	emit8(e, 0x9e); /* sahf */
}

void gen_flags_load(struct gen *g)
{
	if (g->flags != FLAGS_MEM)
		return;
	load_flags(&g->e);
	g->flags = FLAGS_BOTH;
}

void gen_cold_if(struct gen *g, unsigned cc)
{
	struct cold *c = &g->cold[g->n_cold++];

	*c = (struct cold){
		.from = emit_forward(&g->e, cc), .k = (u8)g->k, .off = g->next, .bias = g->bias, .x87 = g->x87
	};
}

/* The library executes instruction k; r[R_RIP] is ahead by bias and has to be by off. */
static void emit_call(struct gen *g, unsigned k, unsigned off, unsigned bias)
{
	if (off != bias)
		emit_alu_imm(&g->e, 8, ALU_ADD, guest_at(R_RIP), (s32)(off - bias));
	emit_mov_imm(&g->e, H_R14, (u64)(uintptr_t)&g->b->insn[k] | k);
	emit8(&g->e, 0xe8);
	g->e.p += 4;
	emit_patch(g->e.p - 4, g->t->hand_over);
}
_Static_assert(sizeof(struct insn) == 64 && BLOCK_INSNS <= 64, "an instruction's number fits below its address");

static void gen_call(struct gen *g)
{
	gen_flags_save(g);
	gen_x87_flush(g);
	emit_call(g, g->k, g->next, g->bias);
	g->bias = g->next;
	g->live = 0;
	g->flags = FLAGS_MEM;
	if (g->i->flags & INSN_END) {
		gen_count(g);
		gen_lookup(g);
	}
	counter_inc(g->t->in.cpu->counters, CNT_TRANSLATED_CALLS);
}

/* By kind, as far as the kind is switched on. */
static bool gen_inline(struct gen *g)
{
	bool vex = g->i->flags & INSN_VEX;

	return (gen_opt(g, OPT_INTEGER) && !vex && gen_integer(g)) || (gen_opt(g, OPT_STACK) && !vex && gen_stack(g)) ||
	       (gen_opt(g, OPT_BRANCH) && !vex && gen_flow(g)) || (gen_opt(g, OPT_X87) && gen_x87(g)) ||
	       (gen_opt(g, OPT_VECTOR) && gen_vector(g));
}

static void gen_insn(struct gen *g)
{
	unsigned n = g->n_cold;
	const struct insn *i = g->i;

	if (i->flags & INSN_END)
		gen_x87_flush(g);
	if ((i->flags & INSN_LOCK) || i->exec == exec_ud || i->exec == exec_unimpl || i->asz == 2 || !gen_inline(g)) {
		gen_call(g);
		return;
	}
	counter_inc(g->t->in.cpu->counters, CNT_TRANSLATED);
	if (!gen_opt(g, OPT_FLAGS) && !g->ended) {
		gen_flags_save(g);
		g->flags = FLAGS_MEM;
	}
	for (; n < g->n_cold && !g->ended; n++) {
		if (g->cold[n].load)
			continue;
		g->cold[n].back = g->e.p;
		g->cold[n].live = (u8)g->live;
		g->cold[n].host_flags = g->flags != FLAGS_MEM;
	}
}

/* The block is left behind instruction k. */
static void gen_leave_behind(struct gen *g, unsigned k)
{
	emit_alu_imm(&g->e, 8, ALU_ADD, CPU(icount), (s32)k + 1);
	gen_lookup(g);
}

static void gen_cold(struct gen *g, const struct cold *c)
{
	emit_patch(c->from, g->e.p);
	if (c->load) {
		gen_live_load(g, c->load);
		emit_jump(&g->e, CC_E, c->back);
	}
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
	if (!c->back) {
		gen_count(g);
		gen_lookup(g);
		return;
	}
	if (c->off != c->bias)
		emit_alu_imm(&g->e, 8, ALU_SUB, guest_at(R_RIP), (s32)(c->off - c->bias));
	if (c->host_flags)
		load_flags(&g->e);
	emit_jump(&g->e, CC_ALWAYS, c->back);
}

static void gen_end(struct gen *g)
{
	gen_x87_flush(g);
	gen_fall_through(g);
}

void gen_block(struct translate *t, struct block *b)
{
	struct gen g = { .t = t, .b = b, .e = { .p = t->rw + t->used }, .flags = FLAGS_MEM };
	u8 *start = g.e.p;

	thunks_look(t, &g.e);
	for (g.k = 0; g.k < b->n; g.k++) {
		g.i = &b->insn[g.k];
		g.next += g.i->len;
		gen_insn(&g);
	}
	if (!(b->insn[b->n - 1].flags & INSN_END))
		gen_end(&g);
	for (unsigned n = 0; n < g.n_cold; n++)
		gen_cold(&g, &g.cold[n]);
	t->used = ALIGN_UP((size_t)(g.e.p - t->rw), (size_t)16);
	b->code = code_rx(t, start);
	counter_inc(t->in.cpu->counters, CNT_TRANSLATED_BLOCKS);
}
