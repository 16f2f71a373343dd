/* SPDX-License-Identifier: Apache-2.0
 * Delivery of exceptions and interrupts, and what happens at an instruction boundary (SDM 3A chapter 6).
 *
 * The engine's side of a boundary. Let shadow, tf, rf be int_shadow, FLAG_TF and FLAG_RF of rflags before an
 * instruction. When it has retired (OUT_DONE, OUT_END, OUT_HALT):
 *   1. if shadow: event_shadow_end(c)       (the STI or MOV SS before it no longer blocks)
 *   2. if rf: c->rflags &= ~FLAG_RF         (not after IRET, which may have set it afresh)
 *   3. if tf: event_step(c)                 (#DB after it, unless it is of the kind that takes none; with
 *                                            DEBUGCTL.BTF only after a branch)
 *   4. if attention: event_poll(c)
 * event_retire() does 1 to 3. Instructions may run back to back without it while shadow, tf and rf are all clear: what
 * sets them (STI, MOV SS, POPF, IRET, delivery …) returns OUT_END and posts ATT_EVENTS.
 * On OUT_FAULT: event_deliver(c, &c->exc), then attention.
 */
#ifndef CPU_EVENT_H
#define CPU_EVENT_H

#include "cpu/insn.h"

enum { DEBUGCTL_LBR = 1, DEBUGCTL_BTF = 2 };

/* Delivers e through the IDT or IVT. r[R_RIP] is the instruction to return to; for EV_SOFT_INT, EV_SOFT_EXC and
 * EV_PRIV_SW it is the instruction itself, and insn_len is added. Faults on the way are handled inside: afterwards the
 * state is at a handler's first instruction (OUT_DONE), or activity is ACT_SHUTDOWN (OUT_HALT). */
int event_deliver(struct cpu *c, const struct event *e);

/* At a boundary with attention != 0: takes the highest pending event if it is deliverable (SDM 3A table 6-2) and
 * delivers it; wakes a halted vCPU; obeys INIT and SIPI. True when state changed. ATT_KICK and ATT_EXCL are left to the
 * engine. */
bool event_poll(struct cpu *c);
/* Would event_poll() take something now? For a halted vCPU about to sleep. */
bool event_deliverable(struct cpu *c);

/* The instruction that retired was begun with TF set: a single-step trap becomes pending. */
void event_step(struct cpu *c);
/* Did i at RIP at transfer control? What TF asks for while DEBUGCTL.BTF is set (SDM 3B 17.4.3). A conditional branch to
 * the next instruction counts as not taken. */
bool event_branched(struct cpu *c, const struct insn *i, u64 at);

/* Is there anything that event_poll() could take now, or once something stops blocking it? */
bool event_waiting(struct cpu *c);

/* The instruction after STI or MOV SS has retired. */
static inline void event_shadow_end(struct cpu *c)
{
	c->int_shadow = 0;
	if (event_waiting(c))
		cpu_post(c, ATT_EVENTS);
}

/* Some iterations of a repeated string instruction are done, and an event may come before the rest: RF tells that the
 * instruction has begun, and is what the event pushes (SDM 3B 17.3.1.1). What only the host attends to is no event. */
static inline void event_between_iterations(struct cpu *c, const struct insn *i)
{
	if ((i->flags & (INSN_REP | INSN_REPNE)) &&
	    (atomic_load_explicit(&c->attention, memory_order_relaxed) & ~(unsigned)ATT_EXCL))
		c->rflags |= FLAG_RF;
}

/* The retirement rules above; MOV SS behind STI, or STI behind MOV SS, opens a shadow of its own. rflags and shadow as
 * they were before the instruction, at: RIP then. */
static inline void event_retire(struct cpu *c, u32 rflags, u8 shadow, const struct insn *i, u64 at)
{
	if (shadow && c->int_shadow == shadow)
		event_shadow_end(c);
	if ((rflags & FLAG_RF) && !(i->map == 0 && i->opcode == 0xcf))
		c->rflags &= ~(u32)FLAG_RF;
	if ((rflags & FLAG_TF) && (!(c->debugctl & DEBUGCTL_BTF) || event_branched(c, i, at)))
		event_step(c);
}

/* True when the instruction at r[R_RIP] must be run alone, with event_retire() after it. */
static inline bool event_step_needed(const struct cpu *c)
{
	return c->int_shadow || (c->rflags & (FLAG_TF | FLAG_RF));
}

/* Posts ATT_EVENTS when RFLAGS, formerly `before`, now may let something in. Call after changing IF, TF or RF. */
static inline void event_flags_changed(struct cpu *c, u32 before)
{
	if ((c->rflags & (FLAG_TF | FLAG_RF)) || ((c->rflags & ~before & FLAG_IF) && event_waiting(c)))
		cpu_post(c, ATT_EVENTS);
}

#endif
