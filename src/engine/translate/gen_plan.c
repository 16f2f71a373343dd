/* SPDX-License-Identifier: Apache-2.0
 * What a block's instructions access, found before code is made for any of them: so that accesses near each other by
 * one register can share a probe (gen_share.c).
 *
 * Each general register is a symbol, something not known, and an offset to it. An instruction whose effect on
 * registers is told below makes new symbols for what it writes, but for additions of constants and copies of whole
 * registers; any other makes all of them new. A place is where a memory operand lies: equal symbols and segment, so
 * that the offsets of two places differ as their addresses do.
 *
 * Sizes and directions are for the choice of what to probe only. What is relied on is given by who accesses.
 */
#include "cpu/int.h"
#include "cpu/optab.h"
#include "cpu/vec.h"
#include "engine/translate/gen.h"

struct value {
	u32 symbol;
	s64 off;
};

enum { SYMBOL_NONE, SYMBOL_RIP, SYMBOL_FIRST };

struct plan {
	struct gen *g;
	u32 next_symbol;
	struct value r[16];
};

static void forget(struct plan *p, unsigned r)
{
	p->r[r & 15] = (struct value){ .symbol = p->next_symbol++ };
}

static void forget_all(struct plan *p)
{
	for (unsigned r = 0; r < 16; r++)
		forget(p, r);
}

/* ---- effects on registers ------------------------------------------------------------------------------------- */

static bool whole(const struct plan *p, const struct insn *i)
{
	return i->osz == gen_width(p->g);
}

/* ModRM.rm, if it is a register, is written. */
static void write_rm(struct plan *p, const struct insn *i)
{
	if (!(i->flags & INSN_MEM))
		forget(p, i->osz == 1 ? i->rm8 >> 3 : i->rm);
}

static void write_reg(struct plan *p, const struct insn *i)
{
	forget(p, i->osz == 1 ? i->reg8 >> 3 : i->reg);
}

/* r += d, of the operand's size. */
static void add(struct plan *p, const struct insn *i, unsigned r, s64 d)
{
	if (whole(p, i))
		p->r[r & 15].off += d;
	else
		forget(p, i->osz == 1 ? i->rm8 >> 3 : r);
}

static void copy(struct plan *p, const struct insn *i, unsigned to, unsigned from)
{
	if (whole(p, i))
		p->r[to & 15] = p->r[from & 15];
	else
		forget(p, to);
}

static void move_sp(struct plan *p, s64 d)
{
	p->r[RSP].off += d;
}

static void effect_lea(struct plan *p, const struct insn *i)
{
	struct value v;

	if (!whole(p, i) || i->asz != i->osz || i->index != R_ZERO || i->base == R_ZERO || i->base == R_RIP) {
		forget(p, i->reg);
		return;
	}
	v = p->r[i->base];
	v.off += i->disp;
	p->r[i->reg & 15] = v;
}

/* The first quarter of the one-byte opcodes; false: not told. */
static bool effect_alu(struct plan *p, const struct insn *i)
{
	unsigned how = i->opcode & 7;
	bool compare = i->opcode >= 0x38;

	if (how >= 6)
		return false;
	if (compare)
		return true;
	if (how < 2)
		write_rm(p, i);
	else if (how < 4)
		write_reg(p, i);
	else
		forget(p, RAX);
	return true;
}

static void effect_group1(struct plan *p, const struct insn *i)
{
	unsigned n = i->modrm >> 3 & 7;

	if (n == 7 || (i->flags & INSN_MEM))
		return;
	if (n == 0 || n == 5)
		add(p, i, i->rm, n ? -(s64)i->imm : (s64)i->imm);
	else
		write_rm(p, i);
}

static void effect_group3(struct plan *p, const struct insn *i)
{
	unsigned n = i->modrm >> 3 & 7;

	if (n == 2 || n == 3)
		write_rm(p, i);
	if (n < 4)
		return;
	forget(p, RAX);
	forget(p, RDX);
}

static bool effect_group5(struct plan *p, const struct insn *i)
{
	unsigned n = i->modrm >> 3 & 7;

	if (n < 2 && !(i->flags & INSN_MEM))
		add(p, i, i->rm, n ? -1 : 1);
	if (n == 6 && i->opcode == 0xff)
		move_sp(p, -(s64)gen_width(p->g));
	return n < 2 || (n == 6 && i->opcode == 0xff && whole(p, i));
}

static bool effect_stack(struct plan *p, const struct insn *i)
{
	s64 word = (s64)gen_width(p->g);

	if (!whole(p, i))
		return false;
	switch (i->opcode) {
	case 0x50 ... 0x57:
	case 0x68:
	case 0x6a:
		move_sp(p, -word);
		return true;
	case 0x58 ... 0x5f:
		move_sp(p, word);
		forget(p, i->rm);
		return true;
	default: /* LEAVE */
		p->r[RSP] = p->r[RBP];
		move_sp(p, word);
		forget(p, RBP);
		return true;
	}
}

static bool effect_map_1(struct plan *p, const struct insn *i)
{
	unsigned op = i->opcode;

	if (op < 0x40)
		return effect_alu(p, i);
	switch (op) {
	case 0x40 ... 0x4f:
		add(p, i, i->rm, op & 8 ? -1 : 1);
		return true;
	case 0x50 ... 0x5f:
	case 0x68:
	case 0x6a:
	case 0xc9:
		return effect_stack(p, i);
	case 0x63: /* MOVSXD; else ARPL */
		write_reg(p, i);
		return gen_long64(p->g);
	case 0x69:
	case 0x6b:
	case 0x8a:
		write_reg(p, i);
		return true;
	case 0x80 ... 0x83:
		effect_group1(p, i);
		return true;
	case 0x70 ... 0x7f:
	case 0x84:
	case 0x85:
	case 0xa8:
	case 0xa9:
	case 0xe9:
	case 0xeb:
		return true;
	case 0x88:
	case 0xb0 ... 0xbf:
	case 0xc0:
	case 0xc1:
	case 0xd0 ... 0xd3:
		if (op >= 0xb0 && op <= 0xbf)
			forget(p, op < 0xb8 ? i->rm8 >> 3 : i->rm);
		else
			write_rm(p, i);
		return true;
	case 0x89:
		if (!(i->flags & INSN_MEM))
			copy(p, i, i->rm, i->reg);
		return true;
	case 0x8b:
		if (i->flags & INSN_MEM)
			forget(p, i->reg);
		else
			copy(p, i, i->reg, i->rm);
		return true;
	case 0x8d:
		effect_lea(p, i);
		return true;
	case 0x98:
	case 0x99:
		forget(p, op & 1 ? RDX : RAX);
		return true;
	case 0xc6:
	case 0xc7:
		write_rm(p, i);
		return !(i->modrm & 0x38);
	case 0xd8 ... 0xdf: /* FNSTSW AX */
		forget(p, RAX);
		return true;
	case 0xf6:
	case 0xf7:
		effect_group3(p, i);
		return true;
	case 0xfe:
	case 0xff:
		return effect_group5(p, i);
	default:
		return false;
	}
}

static bool effect_map_0f(struct plan *p, const struct insn *i)
{
	switch (i->opcode) {
	case 0x1f:
	case 0x80 ... 0x8f:
	case 0xa3:
		return true;
	case 0x40 ... 0x4f:
	case 0xaf:
	case 0xb6:
	case 0xb7:
	case 0xb8:
	case 0xbc ... 0xbf:
		forget(p, i->reg);
		return true;
	case 0x90 ... 0x9f:
		if (!(i->flags & INSN_MEM))
			forget(p, i->rm8 >> 3);
		return true;
	case 0xa4:
	case 0xa5:
	case 0xac:
	case 0xad:
	case 0xab:
	case 0xb3:
	case 0xba:
	case 0xbb:
		write_rm(p, i);
		return true;
	case 0xc8 ... 0xcf:
		forget(p, i->rm);
		return true;
	default:
		return false;
	}
}

/* The VEX-encoded integer instructions. */
static bool effect_bmi(struct plan *p, const struct insn *i)
{
	if (!(i->map == MAP_VEX_0F38 && i->opcode >= 0xf2 && i->opcode <= 0xf7) &&
	    !(i->map == MAP_VEX_0F3A && i->opcode == 0xf0))
		return false;
	forget(p, i->reg);
	forget(p, i->vvvv);
	return true;
}

static bool effect_vector(struct plan *p, const struct insn *i)
{
	const struct vop *v;
	struct vparse at;

	v = vec_describe(i, (enum cpu_code)(p->g->b->key & 3), &at);
	if (!v || v->gpr_implied)
		return false;
	if (v->gpr_reg_written)
		forget(p, at.reg);
	if (v->gpr_rm_written && !at.mem)
		forget(p, at.rm);
	return true;
}

static void effect(struct plan *p, const struct insn *i)
{
	bool vex = i->flags & INSN_VEX, told;

	if (i->exec == exec_ud || i->exec == exec_unimpl || i->asz == 2 || !gen_flat(p->g))
		told = false;
	else if (i->exec == x86_nop)
		told = true;
	else if (i->map == MAP_1)
		told = !vex && effect_map_1(p, i);
	else if (vex && effect_bmi(p, i))
		told = true;
	else
		told = (i->map == MAP_0F && !vex && effect_map_0f(p, i)) || effect_vector(p, i);
	if (!told)
		forget_all(p);
}

/* ---- places ---------------------------------------------------------------------------------------------------- */

static bool writes_memory(const struct insn *i)
{
	unsigned op = i->opcode, n = i->modrm >> 3 & 7;

	if (i->map == MAP_0F)
		return (op & 0xf0) == 0x90 || op == 0x11 || op == 0x29 || op == 0x7f || op == 0x13 || op == 0x17;
	if (i->map != MAP_1)
		return false;
	if (op < 0x40)
		return op < 0x38 && (op & 7) < 2;
	switch (op) {
	case 0x80 ... 0x83:
		return n != 7;
	case 0x88:
	case 0x89:
	case 0xc0:
	case 0xc1:
	case 0xc6:
	case 0xc7:
	case 0xd0 ... 0xd3:
		return true;
	case 0xf6:
	case 0xf7:
		return n == 2 || n == 3;
	case 0xfe:
	case 0xff:
		return n < 2;
	default:
		return false;
	}
}

static struct place explicit_place(const struct plan *p, const struct insn *i, unsigned next)
{
	struct place at = { .known = true, .seg = i->seg, .asz = i->asz, .off = i->disp, .write = writes_memory(i) };

	at.size = i->map == MAP_1 || (i->map == MAP_0F && (i->opcode & 0xf0) >= 0x40) ? i->osz : 16;
	if (gen_flat(p->g) && i->seg < SEG_FS)
		at.seg = 0;
	if (i->base == R_RIP) {
		at.base = SYMBOL_RIP;
		at.off += next;
	} else if (i->base != R_ZERO) {
		at.base = p->r[i->base & 15].symbol;
		at.off += p->r[i->base & 15].off;
	}
	if (i->index != R_ZERO) {
		at.index = p->r[i->index & 15].symbol;
		at.off += (s64)((u64)p->r[i->index & 15].off << i->scale);
		at.scale = i->scale;
	}
	return at;
}

/* What PUSH, POP, LEAVE, calls and returns access; unknown if nothing. */
static struct place stack_place(const struct plan *p, const struct insn *i)
{
	struct place at = { .asz = (u8)gen_width(p->g), .size = (u8)gen_width(p->g) };
	unsigned op = i->opcode, r = op == 0xc9 ? RBP : RSP;
	bool pop = op == 0xc9 || (op >= 0x58 && op <= 0x5f) || op == 0xc2 || op == 0xc3;
	bool push = (op >= 0x50 && op <= 0x57) || op == 0x68 || op == 0x6a || op == 0xe8 || op == 0x9c ||
		    (op == 0xff && ((i->modrm & 0x38) == 0x10 || (i->modrm & 0x38) == 0x30));

	if (i->map != MAP_1 || !(pop || push) || !gen_flat(p->g))
		return at;
	at.known = true;
	at.write = push;
	at.base = p->r[r].symbol;
	at.off = p->r[r].off - (push ? at.size : 0);
	return at;
}

/* The registers that have another value now, or may have. */
static u16 changed(const struct plan *a, const struct plan *b)
{
	unsigned set = 0;

	for (unsigned r = 0; r < 16; r++)
		set |= (unsigned)(a->r[r].symbol != b->r[r].symbol || a->r[r].off != b->r[r].off) << r;
	return (u16)set;
}

void gen_plan(struct gen *g, unsigned n)
{
	struct plan p = { .g = g, .next_symbol = SYMBOL_FIRST }, before;

	forget_all(&p);
	for (unsigned k = 0; k < n; k++) {
		const struct insn *i = g->insn[k];
		bool lea = i->map == MAP_1 && i->opcode == 0x8d;

		g->place[k][PLACE_EXPLICIT] = (struct place){ .known = false };
		if ((i->flags & INSN_MEM) && !lea && i->asz != 2)
			g->place[k][PLACE_EXPLICIT] = explicit_place(&p, i, g->next_of[k]);
		g->place[k][PLACE_STACK] = stack_place(&p, i);
		before = p;
		effect(&p, i);
		g->wrote[k] = changed(&before, &p);
	}
}
