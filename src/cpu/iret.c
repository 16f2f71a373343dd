/* SPDX-License-Identifier: Apache-2.0
 * IRET in every flavour: real mode, virtual-8086 mode with and without VME, to the same and to an outer level, to
 * virtual-8086 mode, to the previous task, and in long mode. SDM 2 IRET, SDM 3A 21.2.
 */
#include "cpu/stack.h"
#include "cpu/xfer.h"

#define IRET_BASE (FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT)
#define IRET_WIDE (FLAG_RF | FLAG_AC | FLAG_ID)
#define FLAGS_ALL                                                                                                   \
	(FLAGS_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC | FLAG_VIF | \
	 FLAG_VIP | FLAG_ID)

struct frame {
	u64 rip, cs, flags;
	u64 sp; /* the stack pointer behind what was popped */
};

/* Stores the popped image; bits outside mask stay. A 16-bit image has no RF: the completed instruction clears it. */
static void flags_commit(struct cpu *c, u64 image, u64 mask, unsigned size)
{
	u64 now = cpu_rflags(c) & ~(u64)FLAG_RF;

	if (size == 2)
		mask &= 0xffff;
	cpu_set_rflags_raw(c, (now & ~mask) | (image & mask));
}

static int iret_end(struct cpu *c, u32 flags_before)
{
	cpu_update_mode(c);
	event_flags_changed(c, flags_before);
	return OUT_END;
}

static int iret_pop(struct cpu *c, struct frame *f, unsigned size)
{
	int out;

	f->sp = stack_ptr(c);
	out = stack_pop(c, &f->sp, &f->rip, size);
	if (!out)
		out = stack_pop(c, &f->sp, &f->cs, size);
	return out ? out : stack_pop(c, &f->sp, &f->flags, size);
}

/* ---- real and virtual-8086 mode ------------------------------------------------------------------------------ */

static int iret_legacy(struct cpu *c, unsigned size)
{
	bool low_iopl = c->d.vm86 && (c->rflags & FLAG_IOPL) != FLAG_IOPL;
	u64 mask = IRET_BASE | IRET_WIDE | (c->d.vm86 ? FLAG_IF : FLAG_IF | FLAG_IOPL);
	struct frame f = { 0 };
	u32 before = c->rflags;
	int out;

	if (low_iopl && (!(c->cr4 & CR4_VME) || size != 2))
		return cpu_gp(c, 0);
	out = iret_pop(c, &f, size);
	if (out)
		return out;
	if (low_iopl) {
		if ((f.flags & FLAG_TF) || ((f.flags & FLAG_IF) && (c->rflags & FLAG_VIP)))
			return cpu_gp(c, 0);
		mask = IRET_BASE;
	}
	if (f.rip > c->seg[SEG_CS].limit)
		return cpu_gp(c, 0);
	stack_commit(c, f.sp);
	seg_load_legacy(c, SEG_CS, (u16)f.cs);
	c->r[R_RIP] = f.rip;
	flags_commit(c, f.flags, mask, size);
	if (low_iopl)
		c->rflags = (c->rflags & ~(u32)FLAG_VIF) | (f.flags & FLAG_IF ? FLAG_VIF : 0);
	return iret_end(c, before);
}

static int iret_to_vm86(struct cpu *c, struct frame *f)
{
	static const u8 order[] = { SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	u64 esp = 0, sel[ARRAY_SIZE(order)] = { 0 };
	u32 before = c->rflags;
	int out = stack_pop(c, &f->sp, &esp, 4);

	for (unsigned n = 0; !out && n < ARRAY_SIZE(order); n++)
		out = stack_pop(c, &f->sp, &sel[n], 4);
	if (out)
		return out;
	if (f->rip > 0xffff)
		return cpu_gp(c, 0);
	flags_commit(c, f->flags, FLAGS_ALL, 4);
	for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
		seg_load_legacy(c, order[n], (u16)sel[n]);
	seg_load_legacy(c, SEG_CS, (u16)f->cs);
	c->r[R_RIP] = f->rip;
	c->r[RSP] = esp;
	return iret_end(c, before);
}

/* ---- protected and long mode ---------------------------------------------------------------------------------- */

static int iret_task(struct cpu *c)
{
	struct desc d;
	u16 link = 0;
	int out = sys_load(c, c->tr.base, &link, 2);

	if (!out)
		out = task_fetch(c, link, true, EXC_TS, &d);
	if (out)
		return out;
	return task_finish(c, task_switch(c, link, &d, TASK_IRET, cpu_rflags(c)));
}

static u64 iret_mask(const struct cpu *c)
{
	unsigned iopl = (c->rflags & FLAG_IOPL) >> 12;
	u64 mask = IRET_BASE | IRET_WIDE;

	if (c->d.cpl <= iopl)
		mask |= FLAG_IF;
	if (!c->d.cpl)
		mask |= FLAG_IOPL | FLAG_VIF | FLAG_VIP;
	return mask;
}

/* Pops SS:rSP and checks it for the level of l; *x is the stack to commit. */
static int iret_pop_stack(struct cpu *c, struct frame *f, const struct landing *l, unsigned size, struct xstack *x)
{
	unsigned cpl = l->cs.sel & 3;
	u64 new_sp = 0, sel = 0;
	struct seg ss;
	int out = stack_pop(c, &f->sp, &new_sp, size);

	if (!out)
		out = stack_pop(c, &f->sp, &sel, size);
	if (out)
		return out;
	if (!(sel & 0xfffc) && l->long64 && cpl != 3 && (sel & 3) == cpl)
		ss = (struct seg){ .sel = (u16)sel, .attr = (u16)(cpl << SEG_DPL_SHIFT) };
	else
		out = seg_check_ss(c, (u16)sel, cpl, EXC_GP, &ss);
	if (out)
		return out;
	*x = xstack_inner(&ss, new_sp, cpl);
	if (l->long64)
		x->mask = ~0ull;
	return OUT_DONE;
}

/* Checks the popped CS and where it lands. */
static int iret_land(struct cpu *c, const struct frame *f, struct landing *l)
{
	u16 sel = (u16)f->cs;
	unsigned rpl = sel & 3;
	struct desc d;
	int out;

	if (!(sel & 0xfffc))
		return cpu_gp(c, 0);
	out = desc_fetch(c, sel, &d, EXC_GP);
	if (out)
		return out;
	if (!desc_is_code(&d) || rpl < c->d.cpl || (desc_conforms(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
		return seg_fault(c, EXC_GP, sel);
	out = code_present(c, sel, &d);
	return out ? out : code_land(c, sel, &d, rpl, f->rip, l);
}

static int iret_protected(struct cpu *c, unsigned size)
{
	struct frame f = { 0 };
	struct landing l;
	struct xstack x;
	u64 mask = iret_mask(c);
	u32 before = c->rflags;
	int out = iret_pop(c, &f, size);
	bool outer, pops_stack;

	if (out)
		return out;
	if (!c->d.lma && size == 4 && (f.flags & FLAG_VM) && !c->d.cpl)
		return iret_to_vm86(c, &f);
	out = iret_land(c, &f, &l);
	if (out)
		return out;
	outer = (l.cs.sel & 3u) > c->d.cpl;
	pops_stack = outer || c->d.long64;
	if (pops_stack)
		out = iret_pop_stack(c, &f, &l, size, &x);
	if (out)
		return out;
	if (pops_stack)
		xstack_commit(c, &x);
	else
		stack_commit(c, f.sp);
	landing_commit(c, &l);
	flags_commit(c, f.flags, mask, size);
	if (outer)
		seg_drop_inner(c, l.cs.sel & 3);
	return iret_end(c, before);
}

int exec_iret(struct cpu *c, const struct insn *i)
{
	/* NMIs are let in again even when this IRET faults (SDM 3A 6.7.1, 3C 28.2.3). */
	if (c->nmi_blocked) {
		c->nmi_blocked = false;
		if (atomic_fetch_and(&c->attention, ~(unsigned)ATT_NMI2) & ATT_NMI2)
			cpu_post(c, ATT_NMI); /* of those that came meanwhile, one was latched */
		cpu_post(c, ATT_EVENTS);
	}
	if (!c->d.pe || c->d.vm86)
		return iret_legacy(c, i->osz);
	if (!(c->rflags & FLAG_NT))
		return iret_protected(c, i->osz);
	return c->d.lma ? cpu_gp(c, 0) : iret_task(c);
}
