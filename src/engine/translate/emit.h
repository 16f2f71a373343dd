/* SPDX-License-Identifier: Apache-2.0
 * Host instructions, one call each: emit_rm(e, 8, 0x8b, H_RAX, mem(H_R14, 0)) is `mov rax, [r14]`.
 *
 * An opcode is given as the manual prints it: 0x8b, 0x0fb6. Sizes are operand sizes in bytes; REX, the 66 prefix, SIB
 * and displacement forms are worked out here. The vCPU's struct cpu is at the base of GS.
 */
#ifndef ENGINE_EMIT_H
#define ENGINE_EMIT_H

#include "base/base.h"

enum host_reg {
	H_RAX,
	H_RCX,
	H_RDX,
	H_RBX,
	H_RSP,
	H_RBP,
	H_RSI,
	H_RDI,
	H_R8,
	H_R9,
	H_R10,
	H_R11,
	H_R12,
	H_R13,
	H_R14,
	H_R15,
	H_NONE = 0xff
};

struct emit {
	u8 *p;
	unsigned r14; /* counts instructions that may have changed R14 */
};

struct opnd {
	bool is_reg, is_cpu;
	u8 base, index, scale; /* scale is a shift */
	s32 disp;
};

static inline struct opnd reg(unsigned r)
{
	return (struct opnd){ .is_reg = true, .base = (u8)r };
}

static inline struct opnd mem(unsigned base, s32 disp)
{
	return (struct opnd){ .base = (u8)base, .index = H_NONE, .disp = disp };
}

/* A field of struct cpu. */
static inline struct opnd cpu_at(size_t offset)
{
	return (struct opnd){ .is_cpu = true, .base = H_NONE, .index = H_NONE, .disp = (s32)offset };
}

static inline void emit8(struct emit *e, unsigned v)
{
	*e->p++ = (u8)v;
}

static inline void emit_bytes(struct emit *e, u64 v, unsigned n)
{
	memcpy(e->p, &v, n);
	e->p += n;
}

/* Any instruction with a ModRM byte; r is a register or the opcode's extension. */
void emit_rm(struct emit *e, unsigned size, unsigned op, unsigned r, struct opnd rm);

/* mov r, imm, in the shortest form. */
void emit_mov_imm(struct emit *e, unsigned r, u64 v);

static inline void emit_mov(struct emit *e, unsigned to, unsigned from)
{
	emit_rm(e, 8, 0x8b, to, reg(from));
}

static inline void emit_load(struct emit *e, unsigned to, struct opnd from)
{
	emit_rm(e, 8, 0x8b, to, from);
}

static inline void emit_store(struct emit *e, struct opnd to, unsigned from)
{
	emit_rm(e, 8, 0x89, from, to);
}

/* The two-operand group: ext 0 ADD 1 OR 4 AND 5 SUB 7 CMP, with a sign-extended immediate. */
enum { ALU_ADD = 0, ALU_OR = 1, ALU_AND = 4, ALU_SUB = 5, ALU_CMP = 7 };
void emit_alu_imm(struct emit *e, unsigned size, unsigned ext, struct opnd rm, s32 imm);

/* Jumps: to a known place, or forward, where the caller patches the returned place with emit_patch(). */
enum { CC_AE = 3, CC_E = 4, CC_NE = 5, CC_A = 7, CC_S = 8, CC_ALWAYS = 16 };
void emit_jump(struct emit *e, unsigned cc, const u8 *to);
u8 *emit_forward(struct emit *e, unsigned cc);
void emit_patch(u8 *at, const u8 *to);

#endif
