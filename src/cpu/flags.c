/* SPDX-License-Identifier: Apache-2.0
 * PUSHF, POPF, CLI and STI with their privilege rules, virtual-8086 extensions and protected-mode virtual interrupts.
 * SDM 2 POPF (table 4-16), CLI, STI; SDM 3A 21.3 and 21.4.
 */
#include "cpu/event.h"
#include "cpu/segment.h"
#include "cpu/stack.h"

#define POPF_BASE (FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID)

static unsigned iopl(const struct cpu *c)
{
	return (c->rflags & FLAG_IOPL) >> 12;
}

int exec_pushf(struct cpu *c, const struct insn *i)
{
	u64 sp = stack_ptr(c), image = cpu_rflags(c) & ~(u64)(FLAG_VM | FLAG_RF);
	int out;

	if (c->d.vm86 && iopl(c) != 3) {
		if (i->osz != 2 || !(c->cr4 & CR4_VME))
			return cpu_gp(c, 0);
		image = (image & ~(u64)FLAG_IF) | FLAG_IOPL | (c->rflags & FLAG_VIF ? FLAG_IF : 0);
	}
	out = stack_push(c, &sp, image, i->osz);
	if (!out)
		stack_commit(c, sp);
	return out;
}

static int popf_commit(struct cpu *c, u64 image, u64 mask, unsigned size, u64 sp)
{
	u64 now = cpu_rflags(c) & ~(u64)FLAG_RF;

	if (size == 2)
		mask &= 0xffff;
	stack_commit(c, sp);
	cpu_set_rflags_raw(c, (now & ~mask) | (image & mask));
	if ((now ^ cpu_rflags(c)) & FLAG_AC)
		cpu_update_mode(c);
	event_flags_changed(c, (u32)now);
	return OUT_END;
}

/* Virtual-8086 mode below IOPL 3: IF in the image is VIF. */
static int popf_vme(struct cpu *c, unsigned size)
{
	u64 sp = stack_ptr(c), image = 0;
	int out;

	if (size != 2 || !(c->cr4 & CR4_VME))
		return cpu_gp(c, 0);
	out = stack_pop(c, &sp, &image, size);
	if (out)
		return out;
	if ((image & FLAG_TF) || ((image & FLAG_IF) && (c->rflags & FLAG_VIP)))
		return cpu_gp(c, 0);
	c->rflags = (c->rflags & ~(u32)FLAG_VIF) | (image & FLAG_IF ? FLAG_VIF : 0);
	return popf_commit(c, image, POPF_BASE & 0xffff, size, sp);
}

int exec_popf(struct cpu *c, const struct insn *i)
{
	u64 sp = stack_ptr(c), image = 0, mask = POPF_BASE;
	int out;

	if (c->d.vm86 && iopl(c) != 3)
		return popf_vme(c, i->osz);
	if (c->d.cpl <= iopl(c))
		mask |= FLAG_IF;
	if (!c->d.cpl)
		mask |= FLAG_IOPL;
	out = stack_pop(c, &sp, &image, i->osz);
	return out ? out : popf_commit(c, image, mask, i->osz, sp);
}

/* Which flag CLI and STI work on here: FLAG_IF, FLAG_VIF, or 0 for #GP(0). */
static u32 interrupt_flag(const struct cpu *c)
{
	if (!c->d.pe || c->d.cpl <= iopl(c))
		return FLAG_IF;
	if (c->d.cpl == 3 && (c->cr4 & (c->d.vm86 ? CR4_VME : CR4_PVI)))
		return FLAG_VIF;
	return 0;
}

int exec_cli(struct cpu *c, const struct insn *i)
{
	u32 flag = interrupt_flag(c);

	(void)i;
	if (!flag)
		return cpu_gp(c, 0);
	c->rflags &= ~flag;
	return OUT_DONE;
}

int exec_sti(struct cpu *c, const struct insn *i)
{
	u32 flag = interrupt_flag(c);

	(void)i;
	if (!flag || (flag == FLAG_VIF && (c->rflags & FLAG_VIP)))
		return cpu_gp(c, 0);
	if (flag == FLAG_IF && !(c->rflags & FLAG_IF)) {
		c->int_shadow = 1;
		if (event_waiting(c))
			cpu_post(c, ATT_EVENTS);
	}
	c->rflags |= flag;
	return OUT_END;
}
