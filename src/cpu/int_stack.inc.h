/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_stack.c: 16, 32 and 64 bits.
 */
#include "cpu/int_width.inc.h"

SLOW_HALF H(push_slow)(struct cpu *c, u64 v)
{
	u64 sp = c->r[RSP];
	int out = stack_push(c, &sp, v, BYTES);

	if (likely(!out))
		stack_commit(c, sp);
	return out;
}

/* Operand size 64 exists in 64-bit mode only, where the stack is flat. */
static inline int H(push)(struct cpu *c, u64 v)
{
#if W == 64
	u64 sp = c->r[RSP] - 8;
	volatile guest_64 *p = tlb_hit_w(c, sp, 8);

	if (likely(p)) {
		*p = v;
		c->r[RSP] = sp;
		return OUT_DONE;
	}
#endif
	return H(push_slow)(c, v);
}

int X(push_r)(struct cpu *c, const struct insn *i)
{
	return H(push)(c, c->r[i->rm]);
}

int X(push_i)(struct cpu *c, const struct insn *i)
{
	return H(push)(c, i->imm);
}

LOAD_INSN(push_m, H(push)(c, v))

SLOW_HALF H(pop_slow)(struct cpu *c, const struct insn *i)
{
	u64 sp = c->r[RSP], v;
	int out = stack_pop(c, &sp, &v, BYTES);

	if (unlikely(out))
		return out;
	stack_commit(c, sp);
	H(set)(c, i->rm, (T)v);
	return OUT_DONE;
}

/* POP rSP keeps the popped value: the pointer is committed first. */
int X(pop_r)(struct cpu *c, const struct insn *i)
{
#if W == 64
	volatile guest_64 *p = tlb_hit_r(c, c->r[RSP], 8);

	if (likely(p)) {
		c->r[RSP] += 8;
		c->r[i->rm] = *p;
		return OUT_DONE;
	}
#endif
	return H(pop_slow)(c, i);
}

/* An address by rSP is computed after the increment (SDM 2B, POP). */
int X(pop_m)(struct cpu *c, const struct insn *i)
{
	u64 old = c->r[RSP], sp = old, v;
	int out = stack_pop(c, &sp, &v, BYTES);

	if (unlikely(out))
		return out;
	stack_commit(c, sp);
	out = H(store)(c, i, (T)v);
	if (unlikely(out))
		c->r[RSP] = old;
	return out;
}

int X(leave)(struct cpu *c, const struct insn *i)
{
	u64 sp = c->r[RBP], v;
	int out = stack_pop(c, &sp, &v, BYTES);

	(void)i;
	if (unlikely(out))
		return out;
	stack_commit(c, sp);
	H(set)(c, RBP, (T)v);
	return OUT_DONE;
}

/* The frame pointers of the enclosing levels, then the new one: what ENTER pushes for level > 0. */
static int H(enter_display)(struct cpu *c, unsigned level, u64 frame, u64 *sp)
{
	u64 bp = c->r[RBP], v;
	int out = OUT_DONE;

	for (unsigned n = 1; n < level && !out; n++) {
		u64 from = bp = bp - BYTES;

		out = stack_pop(c, &from, &v, BYTES);
		if (!out)
			out = stack_push(c, sp, v, BYTES);
	}
	return out ? out : stack_push(c, sp, frame, BYTES);
}

/* SDM 2A, ENTER: also faults if a write at the final stack pointer would. */
int X(enter)(struct cpu *c, const struct insn *i)
{
	unsigned level = (i->imm >> 16) & 31;
	u64 sp = c->r[RSP], frame, lin;
	T probe;
	int out = stack_push(c, &sp, c->r[RBP], BYTES);

	if (out)
		return out;
	frame = sp;
	if (level)
		out = H(enter_display)(c, level, frame, &sp);
	sp -= i->imm & 0xffff;
	if (!out)
		out = seg_linear(c, SEG_SS, sp & c->d.sp_mask, BYTES, ACC_W | ACC_SS, &lin);
	if (!out && !tlb_hit_w(c, lin, BYTES))
		out = c->ops->load(c, lin, &probe, BYTES, ACC_RMW | ACC_SS);
	if (out)
		return out;
	H(set)(c, RBP, (T)frame);
	stack_commit(c, sp);
	return OUT_DONE;
}

#if W != 64
int X(pusha)(struct cpu *c, const struct insn *i)
{
	u64 sp = c->r[RSP];
	int out = OUT_DONE;

	(void)i;
	for (unsigned r = RAX; r <= RDI && !out; r++)
		out = stack_push(c, &sp, c->r[r], BYTES);
	if (!out)
		stack_commit(c, sp);
	return out;
}

int X(popa)(struct cpu *c, const struct insn *i)
{
	u64 sp = c->r[RSP], v[8];
	int out = OUT_DONE;

	(void)i;
	for (unsigned r = 0; r < 8 && !out; r++)
		out = stack_pop(c, &sp, &v[r], BYTES);
	if (out)
		return out;
	stack_commit(c, sp);
	for (unsigned r = RAX; r <= RDI; r++)
		if (r != RSP)
			H(set)(c, r, (T)v[RDI - r]);
	return OUT_DONE;
}
#endif

#include "cpu/int_width_end.inc.h"
