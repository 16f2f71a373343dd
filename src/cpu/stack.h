/* SPDX-License-Identifier: Apache-2.0
 * The stack as instructions use it: every function works on a copy of the stack pointer, so that an instruction that
 * faults on its last push has changed nothing; stack_commit() ends it. SDM 1, 6.2.3 (stack address size).
 */
#ifndef CPU_STACK_H
#define CPU_STACK_H

#include "cpu/insn.h"

static inline u64 stack_ptr(const struct cpu *c)
{
	return c->r[RSP];
}

/* Stores a working copy back: SP only, ESP (upper half cleared), or RSP. */
static inline void stack_commit(struct cpu *c, u64 sp)
{
	c->r[RSP] = c->d.sp_mask == 0xffff ? (c->r[RSP] & ~0xffffull) | (sp & 0xffff) : sp & c->d.sp_mask;
}

/* Pushes the low size (2, 4, 8) bytes of v below *sp. */
static inline int stack_push(struct cpu *c, u64 *sp, u64 v, unsigned size)
{
	u64 off = (*sp - size) & c->d.sp_mask, lin;
	int out = seg_linear(c, SEG_SS, off, size, ACC_W | ACC_SS, &lin);

	if (unlikely(out))
		return out;
	if (size == 8)
		out = cpu_st64(c, lin, v, ACC_SS);
	else if (size == 4)
		out = cpu_st32(c, lin, (u32)v, ACC_SS);
	else
		out = cpu_st16(c, lin, (u16)v, ACC_SS);
	if (likely(!out))
		*sp = (*sp & ~c->d.sp_mask) | off;
	return out;
}

/* Pops size (2, 4, 8) bytes at *sp, zero-extended. */
static inline int stack_pop(struct cpu *c, u64 *sp, u64 *v, unsigned size)
{
	u64 off = *sp & c->d.sp_mask, lin;
	int out = seg_linear(c, SEG_SS, off, size, ACC_R | ACC_SS, &lin);

	if (unlikely(out))
		return out;
	if (size == 8) {
		out = cpu_ld64(c, lin, v, ACC_SS);
	} else if (size == 4) {
		u32 x = 0;
		out = cpu_ld32(c, lin, &x, ACC_SS);
		*v = x;
	} else {
		u16 x = 0;
		out = cpu_ld16(c, lin, &x, ACC_SS);
		*v = x;
	}
	if (likely(!out))
		*sp = (*sp & ~c->d.sp_mask) | ((off + size) & c->d.sp_mask);
	return out;
}

#endif
