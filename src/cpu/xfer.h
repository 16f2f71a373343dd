/* SPDX-License-Identifier: Apache-2.0
 * What far transfers, IRET, event delivery and task switches share: a code segment about to be entered, a stack about
 * to become current, and task switches. Everything works on copies; the _commit functions end it and cannot fail.
 */
#ifndef CPU_XFER_H
#define CPU_XFER_H

#include "cpu/event.h"
#include "cpu/segment.h"

/* Where a transfer lands. */
struct landing {
	struct seg cs;
	u64 rip;
	bool long64;
};

static inline bool desc_is_code(const struct desc *d)
{
	return (desc_attr(d) & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}

static inline bool desc_conforms(const struct desc *d)
{
	return desc_attr(d) & SEG_C;
}

/* L with D in long mode: #GP(sel); not present: #NP(sel). */
int code_present(struct cpu *c, u16 sel, const struct desc *d);
/* The offset lies in the segment (else #GP(0)); sets the accessed bit; *l has RPL = cpl. */
int code_land(struct cpu *c, u16 sel, struct desc *d, unsigned cpl, u64 rip, struct landing *l);

static inline void landing_commit(struct cpu *c, const struct landing *l)
{
	c->seg[SEG_CS] = l->cs;
	c->r[R_RIP] = l->rip;
}

/* A stack and the rules it is used by. */
struct xstack {
	struct seg ss;
	u64 sp, mask;
	bool long64, legacy; /* legacy: real or virtual-8086 mode, no type checks */
	unsigned cpl;
};

/* The stack in force. */
struct xstack xstack_current(const struct cpu *c);
/* One for privilege level cpl: protected mode with a loaded SS, and long mode with a null SS. */
struct xstack xstack_inner(const struct seg *ss, u64 sp, unsigned cpl);
struct xstack xstack_inner64(u64 sp, unsigned cpl);
/* The stack that entry to level cpl uses, from the TSS in force (legacy or long mode): #TS, #SS or #PF. */
int xstack_from_tss(struct cpu *c, unsigned cpl, struct xstack *x);
/* Pushes item[0] first, each of size bytes. Limit faults are #SS(sel). Registers are not touched. */
int xstack_push(struct cpu *c, struct xstack *x, const u64 *item, unsigned n, unsigned size, u16 sel);
void xstack_commit(struct cpu *c, const struct xstack *x);

/* ---- task switches (task.c, SDM 3A 7.3) ---------------------------------------------------------------------- */

enum task_cause { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };

/* What the switch came to. After TASK_ENTERED_FAULT the new task is current and cpu->exc is to be delivered in it. */
enum task_result { TASK_DONE, TASK_FAULT, TASK_ENTERED_FAULT };

/* Switches to the task whose TSS descriptor (checked for privilege, type and presence) is d. r[R_RIP] and flags (RFLAGS
 * as to be saved) are the old task's. Ends with cpu_update_mode(). */
enum task_result task_switch(struct cpu *c, u16 sel, const struct desc *d, enum task_cause cause, u64 flags);
/* Fetches sel's TSS descriptor from the GDT: available (or, for IRET, busy) and present, else the fault. */
int task_fetch(struct cpu *c, u16 sel, bool busy, u8 vector, struct desc *d);
/* JMP, CALL and IRET end a switch here: delivers a fault of the new task; the outcome of the instruction. */
int task_finish(struct cpu *c, enum task_result r);

#endif
