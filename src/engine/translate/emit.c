/* SPDX-License-Identifier: Apache-2.0
 * Encoding of host instructions (SDM 2, chapter 2): the oddities live here and nowhere else.
 */
#include "engine/translate/emit.h"

#define GS_PREFIX 0x65

/* Byte registers 4..7 are SPL..DIL only under a REX prefix. */
static bool byte_needs_rex(unsigned size, unsigned op, unsigned r, struct opnd rm)
{
	bool byte_rm = size == 1 || op == 0x0fb6 || op == 0x0fbe;

	return (size == 1 && r >= 4) || (byte_rm && rm.is_reg && rm.base >= 4);
}

static void emit_prefixes(struct emit *e, unsigned size, unsigned op, unsigned r, struct opnd rm)
{
	unsigned rex = (size == 8 ? 8u : 0) | (r & 8) >> 1;

	if (rm.base != H_NONE)
		rex |= (rm.base & 8) >> 3;
	if (!rm.is_reg && rm.index != H_NONE)
		rex |= (rm.index & 8) >> 2;
	if (size == 2)
		emit8(e, 0x66);
	if (rm.is_cpu)
		emit8(e, GS_PREFIX);
	if (rex || byte_needs_rex(size, op, r, rm))
		emit8(e, 0x40 | rex);
	if (op >> 8)
		emit8(e, op >> 8);
	emit8(e, op);
}

/* A base of RSP or R12 needs SIB, one of RBP or R13 a displacement; without a base SIB says so. */
static void emit_memory(struct emit *e, unsigned r, struct opnd m)
{
	bool sib = m.index != H_NONE || m.base == H_NONE || (m.base & 7) == 4;
	unsigned mod = 2;

	if (m.base == H_NONE || (!m.disp && (m.base & 7) != 5))
		mod = 0;
	else if (m.disp == (s8)m.disp)
		mod = 1;
	emit8(e, mod << 6 | (r & 7) << 3 | (sib ? 4u : m.base & 7u));
	if (sib)
		emit8(e, (unsigned)m.scale << 6 | (m.index == H_NONE ? 4u : m.index & 7u) << 3 |
			     (m.base == H_NONE ? 5u : m.base & 7u));
	if (mod == 1)
		emit8(e, (u8)m.disp);
	else if (mod == 2 || m.base == H_NONE)
		emit_bytes(e, (u32)m.disp, 4);
}

void emit_rm(struct emit *e, unsigned size, unsigned op, unsigned r, struct opnd rm)
{
	e->r14 += r == H_R14 || (rm.is_reg && rm.base == H_R14);
	emit_prefixes(e, size, op, r, rm);
	if (rm.is_reg)
		emit8(e, 0xc0 | (r & 7) << 3 | (rm.base & 7u));
	else
		emit_memory(e, r, rm);
}

void emit_mov_imm(struct emit *e, unsigned r, u64 v)
{
	e->r14 += r == H_R14;
	if (v >> 32 == 0) {
		if (r & 8)
			emit8(e, 0x41);
		emit8(e, 0xb8 | (r & 7));
		emit_bytes(e, v, 4);
	} else if ((s64)v == (s32)v) {
		emit_rm(e, 8, 0xc7, 0, reg(r));
		emit_bytes(e, v, 4);
	} else {
		emit8(e, 0x48 | r >> 3);
		emit8(e, 0xb8 | (r & 7));
		emit_bytes(e, v, 8);
	}
}

void emit_alu_imm(struct emit *e, unsigned size, unsigned ext, struct opnd rm, s32 imm)
{
	bool small = imm == (s8)imm;

	emit_rm(e, size, small ? 0x83 : 0x81, ext, rm);
	emit_bytes(e, (u32)imm, small ? 1 : 4);
}

u8 *emit_forward(struct emit *e, unsigned cc)
{
	if (cc == CC_ALWAYS) {
		emit8(e, 0xe9);
	} else {
		emit8(e, 0x0f);
		emit8(e, 0x80 | cc);
	}
	e->p += 4;
	return e->p - 4;
}

void emit_patch(u8 *at, const u8 *to)
{
	s32 rel = (s32)(to - (at + 4));

	memcpy(at, &rel, 4);
}

void emit_jump(struct emit *e, unsigned cc, const u8 *to)
{
	emit_patch(emit_forward(e, cc), to);
}
