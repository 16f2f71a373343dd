/* SPDX-License-Identifier: Apache-2.0
 * XCHG, XADD, CMPXCHG, CMPXCHG16B and bit strings in memory. Locked operations are the host's on the host's address of
 * what is aligned, hence in one cache line; the rest is the library's.
 */
#include "cpu/cpuid.h"
#include "cpu/optab.h"
#include "engine/translate/gen.h"

void gen_aligned(struct gen *g, unsigned size)
{
	if (size == 1)
		return;
	emit_rm(&g->e, 1, 0xf6, 0, reg(H_R14)); /* test r14b, size - 1 */
	emit8(&g->e, size - 1);
	gen_cold_if(g, CC_NE);
	g->flags = FLAGS_MEM;
}

/* R14 = host address of the memory operand, aligned if the host's instruction will be locked. */
static void gen_atomic_operand(struct gen *g, unsigned size, bool lock)
{
	gen_flags_save(g);
	gen_linear(g);
	if (lock)
		gen_aligned(g, size);
	gen_probe(g, size, true);
}

/* [lock] op [r14], reg where reg is read and written. */
static void gen_exchange(struct gen *g, unsigned op, bool lock)
{
	const struct insn *i = g->i;
	unsigned r = gen_read(g, i->reg, H_R15);

	if (lock)
		emit8(&g->e, 0xf0);
	emit_rm(&g->e, i->osz, op, r, mem(H_R14, 0));
	if (r == H_R15)
		emit_store(&g->e, guest_at(i->reg), H_R15);
}

static bool gen_xchg(struct gen *g)
{
	gen_atomic_operand(g, g->i->osz, true);
	gen_exchange(g, g->i->opcode, false);
	return true;
}

static bool gen_xadd(struct gen *g)
{
	bool lock = g->i->flags & INSN_LOCK;

	gen_atomic_operand(g, g->i->osz, lock);
	gen_exchange(g, 0x0f00 | g->i->opcode, lock);
	g->flags = FLAGS_HOST;
	return true;
}

/* RAX changes only if the comparison fails, whatever the host does with its upper half otherwise. */
static bool gen_cmpxchg(struct gen *g)
{
	const struct insn *i = g->i;
	bool lock = i->flags & INSN_LOCK;
	unsigned r;

	gen_atomic_operand(g, i->osz, lock);
	r = gen_read(g, i->reg, H_R15);
	emit_mov(&g->e, H_RAX, host_of[RAX]);
	if (lock)
		emit8(&g->e, 0xf0);
	emit_rm(&g->e, i->osz, 0x0f00 | i->opcode, r, mem(H_R14, 0));
	emit_rm(&g->e, 8, 0x0f45, host_of[RAX], reg(H_RAX)); /* cmovne */
	g->flags = FLAGS_HOST;
	return true;
}

/* Atomic with or without LOCK; not aligned: #GP by the library. */
static bool gen_cmpxchg16b(struct gen *g)
{
	if (g->i->osz != 8 || (g->i->modrm >> 3 & 7) != 1 || !cpu_has(g->t->in.cpu, FEAT_CX16))
		return false;
	gen_atomic_operand(g, 16, true);
	gen_flags_load(g);
	emit_mov(&g->e, H_RAX, host_of[RAX]);
	emit8(&g->e, 0xf0);
	emit_rm(&g->e, 8, 0x0fc7, 1, mem(H_R14, 0));
	emit_mov(&g->e, host_of[RAX], H_RAX);
	g->flags = FLAGS_HOST;
	return true;
}

/* R15 = the bit offset, sign extended. */
static void gen_bit_offset(struct gen *g)
{
	unsigned r = gen_read(g, g->i->reg, H_R15);

	if (g->i->osz == 2)
		emit_rm(&g->e, 8, 0x0fbf, H_R15, reg(r));
	else
		emit_rm(&g->e, 8, g->i->osz == 4 ? 0x63 : 0x8b, H_R15, reg(r));
}

/* BT and kin with an offset in a register: R14 += what the offset's upper part is worth. */
static bool gen_bit_string(struct gen *g)
{
	const struct insn *i = g->i;
	bool write = i->opcode != 0xa3, lock = i->flags & INSN_LOCK;
	unsigned log = i->osz == 8 ? 3 : i->osz == 4 ? 2 : 1;

	if (i->asz != gen_width(g))
		return false;
	gen_flags_save(g);
	gen_linear(g);
	gen_bit_offset(g);
	emit_rm(&g->e, 8, 0xc1, 7, reg(H_R15)); /* sar r15, 4..6 */
	emit8(&g->e, log + 3);
	emit_rm(&g->e, gen_width(g), 0x8d, H_R14, (struct opnd){ .base = H_R14, .index = H_R15, .scale = (u8)log });
	g->flags = FLAGS_MEM;
	if (lock)
		gen_aligned(g, i->osz);
	gen_probe(g, i->osz, write);
	gen_bit_offset(g);
	emit_alu_imm(&g->e, 4, ALU_AND, reg(H_R15), i->osz * 8 - 1);
	gen_flags_load(g);
	if (lock)
		emit8(&g->e, 0xf0);
	emit_rm(&g->e, i->osz, 0x0f00 | i->opcode, H_R15, mem(H_R14, 0));
	g->flags = FLAGS_HOST;
	return true;
}

bool gen_atomic(struct gen *g)
{
	const struct insn *i = g->i;

	if (!(i->flags & INSN_MEM) || !gen_can_address(g) || (i->osz == 1 && (i->reg8 & 7)))
		return false;
	if (i->map == MAP_1)
		return (i->opcode & 0xfe) == 0x86 && gen_xchg(g);
	if (i->map != MAP_0F)
		return false;
	switch (i->opcode) {
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
		return gen_bit_string(g);
	case 0xb0:
	case 0xb1:
		return gen_cmpxchg(g);
	case 0xc0:
	case 0xc1:
		return gen_xadd(g);
	case 0xc7:
		return gen_cmpxchg16b(g);
	default:
		return false;
	}
}
