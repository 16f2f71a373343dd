/* SPDX-License-Identifier: Apache-2.0
 * The guest's arithmetic flags: where they are, and how they are saved, loaded or made again.
 *
 * They are kept in EFLAGS from the instruction that made them to the first that loses them. Before anything that may
 * fault, leave or lose them they are saved in the form of cpu->aflags. So a fault, an interrupt and whoever compares
 * see them exactly.
 *
 * A probe loses EFLAGS. Where the next instructions overwrite all flags before anything reads them, and what made them
 * can be done once more from registers that still hold its operands (gen.again), nothing is saved (FLAGS_NONE): only
 * the rarely taken path, where the library may see them, makes them again.
 *
 * Invariant: while flags are nowhere, gen.again makes them, until instructions that neither access memory nor can be
 * the library's lead to the one that overwrites them.
 */
#include "cpu/int.h"
#include "cpu/optab.h"
#include "engine/translate/gen.h"

static void save(struct emit *e)
{
	emit8(e, 0x9f);				 /* lahf */
	emit_rm(e, 1, 0x0f90, 0, reg(H_RAX));	 /* seto al */
	emit_rm(e, 2, 0x89, H_RAX, CPU(aflags)); /* mov aflags, ax */
}

static void make_again(struct gen *g, const struct again *a)
{
	struct emit *e = &g->e;
	unsigned to, from = a->from;

	if (a->how == AGAIN_TEST) {
		to = gen_read(g, a->to, H_R14);
		emit_rm(e, a->size, a->size == 1 ? 0x84 : 0x85, to, reg(to));
		return;
	}
	to = gen_read(g, a->to, H_R14);
	if (a->how != AGAIN_SAME && to != H_R14) {
		emit_mov(e, H_R14, to);
		to = H_R14;
	}
	if (a->has_reg)
		from = gen_read(g, a->from, H_R15);
	for (unsigned n = a->how == AGAIN_SAME; n < 2; n++) {
		unsigned op = a->op, f = from;

		if (a->how == AGAIN_UNDO && !n) { /* ADD for SUB, SUB for ADD */
			op ^= a->has_reg ? 0x28 : 0;
			f ^= a->has_reg ? 0 : 5;
		}
		emit_rm(e, a->size, op, f, reg(to));
		emit_bytes(e, a->imm, a->n_imm);
	}
}

void gen_flags_save(struct gen *g)
{
	if (g->flags == FLAGS_NONE) {
		make_again(g, &g->again);
		g->flags = FLAGS_HOST;
	}
	if (g->flags != FLAGS_HOST)
		return;
	save(&g->e);
	g->flags = FLAGS_BOTH;
}

void gen_flags_restore(struct gen *g, const struct again *a)
{
	if (a->how == AGAIN_NOT)
		return;
	make_again(g, a);
	save(&g->e);
}

void gen_flags_load_now(struct gen *g)
{
	struct emit *e = &g->e;

	emit_rm(e, 4, 0x0fb7, H_RAX, CPU(aflags)); /* movzx eax, aflags */
	emit8(e, 0x04);				   /* add al, 0x7f */
	emit8(e, 0x7f);
	emit8(e, 0x9e); /* sahf */
}

void gen_flags_load(struct gen *g)
{
	if (g->flags == FLAGS_NONE) {
		make_again(g, &g->again);
		g->flags = FLAGS_HOST;
	}
	if (g->flags != FLAGS_MEM)
		return;
	gen_flags_load_now(g);
	g->flags = FLAGS_BOTH;
}

/* ---- what is ahead -------------------------------------------------------------------------------------------- */

static bool ordinary(const struct insn *i)
{
	return (i->map == MAP_1 || i->map == MAP_0F) && !(i->flags & (INSN_VEX | INSN_LOCK | INSN_END)) &&
	       i->exec != exec_ud && i->exec != exec_unimpl;
}

static bool compares(const struct insn *i)
{
	unsigned op = i->opcode;

	if (i->map != MAP_1)
		return false;
	if (op < 0x40)
		return op >= 0x38 && (op & 7) < 6;
	return op == 0x84 || op == 0x85 || op == 0xa8 || op == 0xa9 ||
	       ((op & 0xfe) == 0xf6 && (i->modrm >> 3 & 7) < 2) ||
	       (op >= 0x80 && op <= 0x83 && (i->modrm >> 3 & 7) == 7);
}

/* Writes all flags and reads none. */
static bool overwrites(const struct insn *i)
{
	unsigned op = i->opcode, n = op < 0x40 ? op >> 3 : i->modrm >> 3 & 7;

	if (!ordinary(i) || i->map != MAP_1)
		return false;
	if (op < 0x40 ? (op & 7) < 6 : op >= 0x80 && op <= 0x83)
		return n != 2 && n != 3;
	return compares(i);
}

/* Leaves the flags alone and does not read them. */
static bool ignores(const struct gen *g, const struct insn *i)
{
	unsigned op = i->opcode;

	if (gen_is_jmp(g, i))
		return true;
	if (!ordinary(i))
		return false;
	if (i->map == MAP_0F)
		return (op & 0xf6) == 0xb6 || (op & 0xf8) == 0xc8;
	switch (op) {
	case 0x50 ... 0x5f:
	case 0x68:
	case 0x6a:
	case 0x88 ... 0x8b:
	case 0x8d:
	case 0x98:
	case 0x99:
	case 0xb0 ... 0xbf:
		return true;
	case 0x63:
		return gen_long64(g);
	case 0xc6:
	case 0xc7:
		return !(i->modrm & 0x38);
	default:
		return i->exec == x86_nop;
	}
}

/* On registers only, and surely translated. */
static bool quiet(const struct gen *g, const struct insn *i)
{
	bool lea = i->map == MAP_1 && i->opcode == 0x8d;

	if (i->asz == 2 || ((i->flags & INSN_MEM) && !lea) || (lea && i->base == R_RIP))
		return false;
	if (overwrites(i))
		return i->osz != 1 || compares(i);
	return ignores(g, i) && i->osz >= 4 && i->opcode >= 0x80 && (i->opcode & 0xf8) != 0xc8;
}

static bool dead(const struct gen *g)
{
	bool changed = false;

	if (!gen_opt(g, OPT_DEAD) || !gen_opt(g, OPT_FLAGS) || !gen_opt(g, OPT_INTEGER) || g->again.how == AGAIN_NOT ||
	    g->alone)
		return false;
	for (unsigned k = g->k; k < g->n_insns; k++) {
		const struct insn *i = g->insn[k];

		if (changed && !quiet(g, i))
			return false;
		if (overwrites(i))
			return true;
		if (!ignores(g, i))
			return false;
		changed |= g->wrote[k] & g->again.regs;
	}
	return false;
}

void gen_flags_lose(struct gen *g)
{
	if (g->flags == FLAGS_NONE || (g->flags == FLAGS_HOST && dead(g)))
		g->flags = FLAGS_NONE;
	else
		gen_flags_save(g);
}

void gen_flags_behind(struct gen *g)
{
	const struct insn *i = g->insn[g->k];

	if (g->again.k == g->k + 1)
		return; /* it made them */
	if (!(ignores(g, i) || gen_is_jcc(g, i)) || (g->wrote[g->k] & g->again.regs))
		g->again.how = AGAIN_NOT;
}
