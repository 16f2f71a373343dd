/* SPDX-License-Identifier: Apache-2.0
 * Debug registers at work: instruction, data and I/O breakpoints (SDM 3B chapter 17, sections 17.2 and 17.3).
 */
#ifndef CPU_DEBUG_H
#define CPU_DEBUG_H

#include "cpu/cpu.h"

enum {
	DR6_B = 0xf,
	DR6_BD = 1 << 13,
	DR6_BS = 1 << 14,
	DR6_BT = 1 << 15,
	DR7_ENABLES = 0xff,
	DR7_GD = 1 << 13,
};

/* Kind of breakpoint n: DR7.RWn. */
enum { DR7_EXEC, DR7_WRITE, DR7_IO, DR7_ACCESS };

static inline bool dr7_enabled(const struct cpu *c, unsigned n)
{
	return c->dr[7] >> (2 * n) & 3;
}

static inline unsigned dr7_kind(const struct cpu *c, unsigned n)
{
	return (unsigned)(c->dr[7] >> (16 + 4 * n)) & 3;
}

/* Is any enabled breakpoint of this kind set? data: DR7_WRITE or DR7_ACCESS. */
bool debug_code_armed(const struct cpu *c);
bool debug_data_armed(const struct cpu *c);

/* Instruction breakpoint at r[R_RIP]? Honours RF and the MOV SS shadow. True: cpu->exc is the fault-class #DB, to be
 * delivered instead of executing the instruction. Call only when debug_code_armed(). */
bool debug_code_breakpoint(struct cpu *c);

/* A data access of size bytes at lin is being made by an instruction (acc: ACC_W or read): matching breakpoints become
 * pending, a trap after the instruction. From the MMU's slow path. */
void debug_data_access(struct cpu *c, u64 lin, unsigned size, unsigned acc);
/* The same for IN, OUT, INS, OUTS; needs CR4.DE. */
void debug_io_access(struct cpu *c, u16 port, unsigned size);

#endif
