/* SPDX-License-Identifier: Apache-2.0
 * One decoded instruction: a cache line that an engine keeps, and the contract of the functions that execute it.
 *
 * An exec function is entered with r[R_RIP] already past the instruction. It works on copies and commits once: when it
 * returns OUT_FAULT nothing architectural has changed. It owns its own segment, privilege, CR0/CR4 and mode checks;
 * encoding checks (illegal LOCK, invalid in this mode, VEX rules) were made by the decoder, which binds exec_ud().
 */
#ifndef CPU_INSN_H
#define CPU_INSN_H

#include "cpu/access.h"
#include "cpu/cpu.h"

typedef int exec_fn(struct cpu *c, const struct insn *i);

enum insn_flags {
	INSN_MEM = 1 << 0,	/* ModRM (or moffs, string) names memory: mod != 3 */
	INSN_LOCK = 1 << 1,
	INSN_REP = 1 << 2,	/* F3 used as a repeat prefix or hint */
	INSN_REPNE = 1 << 3,	/* F2 likewise */
	INSN_OSZ = 1 << 4,	/* a 66 prefix is present */
	INSN_REXW = 1 << 5,
	INSN_END = 1 << 6,	/* ends a block: branches, system instructions, whatever may change mode or code */
	INSN_VEX = 1 << 7,	/* VEX or EVEX */
	INSN_REX = 1 << 8,
};

struct insn {
	exec_fn *exec;
	union {
		u64 imm;	/* immediate or branch displacement, extended to 64 bits as the opcode says; moffs; far offset;
				 * ENTER: size | level << 16; far pointer: offset | selector << 32 */
		const void *stub; /* data instructions: the cached host stub (imm8 is in raw[]) */
	};
	u64 amask;		/* address-size mask of the effective address */
	s32 disp;
	u8 len;
	u8 reg, rm;		/* ModRM.reg and .rm with REX; rm is meaningful when mod == 3 (or opcode+r forms) */
	u8 reg8, rm8;		/* the same as byte offsets into cpu->r[] for 8-bit operands (AH..BH resolved) */
	u8 base, index, scale;	/* R_ZERO where absent; base may be R_RIP; scale is a shift */
	u8 seg;			/* effective segment, overrides applied; SEG_* */
	u8 osz, asz;		/* effective operand and address size in bytes: 1 2 4 8, 2 4 8 */
	u8 map, opcode;		/* MAP_* and the opcode byte */
	u8 modrm;
	u8 vvvv;		/* VEX.vvvv/EVEX, already inverted: a register number */
	u8 pfx;			/* mandatory-prefix view: PFX_* (last of 66, F2, F3) */
	u16 flags;		/* INSN_* */
	u8 raw[15];		/* the bytes */
};

_Static_assert(sizeof(struct insn) == 64, "one cache line an instruction");

/* Effective address, before the segment base. */
static inline u64 insn_ea(const struct cpu *c, const struct insn *i)
{
	return (c->r[i->base] + (c->r[i->index] << i->scale) + (u64)(s64)i->disp) & i->amask;
}

/* Segmentation's slow half (segment.c): limit, type and wrap checks of a legacy-mode access. */
int seg_check(struct cpu *c, unsigned seg, u64 off, unsigned size, unsigned acc, u64 *lin);

/* off in segment seg to a linear address, with every check segmentation makes; acc gains ACC_SS where due. */
static inline int seg_linear(struct cpu *c, unsigned seg, u64 off, unsigned size, unsigned acc, u64 *lin)
{
	if (unlikely(c->d.seg_check & (1u << seg))) {
		u64 slow = 0;
		int out = seg_check(c, seg, off, size, acc, &slow);

		if (!out)
			*lin = slow;
		return out;
	}
	*lin = (c->d.ebase[seg] + off) & c->d.lin_mask;
	return OUT_DONE;
}

static inline unsigned insn_acc(const struct insn *i, unsigned acc)
{
	return acc | (i->seg == SEG_SS ? ACC_SS : 0);
}

/* The linear address of the memory operand of size bytes; OUT_DONE or OUT_FAULT. */
static inline int insn_linear(struct cpu *c, const struct insn *i, unsigned size, unsigned acc, u64 *lin)
{
	return seg_linear(c, i->seg, insn_ea(c, i), size, insn_acc(i, acc), lin);
}

/* Hit paths of a memory operand: true with its host address where segmentation needs no look and the lookaside has it.
 * Else the caller starts again with insn_linear() and the accessors, out of line. */
static inline bool insn_hit(const struct cpu *c, const struct insn *i, u64 *lin)
{
	if (unlikely(c->d.seg_check & (1u << i->seg)))
		return false;
	*lin = (c->d.ebase[i->seg] + insn_ea(c, i)) & c->d.lin_mask;
	return true;
}

static inline bool insn_hit_r(const struct cpu *c, const struct insn *i, unsigned size, void **p)
{
	const struct tlbe *e;
	u64 lin;

	if (unlikely(!insn_hit(c, i, &lin)))
		return false;
	e = tlb_slot(c, lin);
	*p = (void *)(lin + e->add);
	return likely(e->r == tlb_tag(c, lin, size));
}

static inline bool insn_hit_w(const struct cpu *c, const struct insn *i, unsigned size, void **p)
{
	const struct tlbe *e;
	u64 lin;

	if (unlikely(!insn_hit(c, i, &lin)))
		return false;
	e = tlb_slot(c, lin);
	*p = (void *)(lin + e->add);
	return likely(tlb_write_tag(e) == tlb_tag(c, lin, size));
}

/* Executes one decoded instruction by the library, as any engine's fallback does: adds the length, runs exec, takes
 * the length off again unless the instruction retired. Delivers nothing. (exec.c) */
int cpu_exec(struct cpu *c, const struct insn *i);

exec_fn exec_ud, exec_unimpl;

#endif
