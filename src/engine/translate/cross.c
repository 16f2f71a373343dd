/* SPDX-License-Identifier: Apache-2.0
 * SYSCALL and SYSRET between 64-bit user code and a 64-bit kernel: the registers that change, nothing derived anew but
 * the privilege level, and on to the target by the recent jumps. sys_call.c is the whole of it.
 */
#include "engine/translate/cross.h"

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/event.h"
#include "cpu/segment.h"
#include "cpu/sys.h"
#include "mmu/mmu.h"

/* Nothing but the instruction itself: no trace, no trap, no level that waits for a change of flags. */
static bool plain(const struct translate *t, const struct cpu *c)
{
	return (c->efer & EFER_SCE) && !c->trace && !(c->rflags & (FLAG_TF | FLAG_RF)) && !t->in.ignored;
}

/* Could an event be taken, or is one in the APIC, whatever its priority? As gen_sti() asks. */
static bool quiet(const struct cpu *c)
{
	u64 irr[4];

	memcpy(irr, c->lapic.irr, sizeof(irr));
	return !(irr[0] | irr[1] | irr[2] | irr[3] | c->pending_db) && c->injected.type == EV_NONE &&
	       !atomic_load_explicit(&c->attention, memory_order_relaxed);
}

/* CS and SS are flat as SYSCALL and SYSRET leave them; the mode but for the level is what it was. */
static void change_level(struct cpu *c, u16 cs, u16 ss, unsigned cpl)
{
	c->seg[SEG_CS] = (struct seg){ .sel = cs, .limit = 0xffffffff, .attr = ATTR_CODE64(cpl) };
	if (!cpl || !cpu_is_amd(c))
		c->seg[SEG_SS] = (struct seg){ .sel = ss, .limit = 0xffffffff, .attr = ATTR_DATA32(cpl) };
	else
		c->seg[SEG_SS] = (struct seg){ .sel = ss,
					       .base = c->seg[SEG_SS].base,
					       .limit = c->seg[SEG_SS].limit,
					       .attr = c->seg[SEG_SS].attr | SEG_DPL };
	c->d.cpl = (u8)cpl;
	c->ops->mode_changed(c);
}

/* The instruction has retired; the next block looks at attention and count. */
static struct left go(struct translate *t, struct cpu *c, u64 at)
{
	u64 lin = c->r[R_RIP];
	const struct jump *j = &t->jumps[jump_slot(lin)];

	c->icount += (at & 63) + 1;
	if (unlikely(t->in.native && c->d.cpl == 3))
		return (struct left){ LEAVE_NEXT, 0 };
	if (unlikely(j->tag != (lin ^ ((const struct mmu_hot *)c->mmu)->salt)))
		return (struct left){ LEAVE_NEXT, 0 };
	c->r[R_RIP] = lin & PAGE_MASK;
	return (struct left){ LEAVE_GO, (u64)(uintptr_t)j->code };
}

static struct left cross_syscall(struct cpu *c, u64 at)
{
	struct translate *t = c->engine;
	u64 flags = cpu_rflags(c);
	u16 cs = (u16)(c->star >> 32) & 0xfffc;

	if (unlikely(!plain(t, c)))
		return hand_over(c, at);
	c->r[RCX] = c->r[R_RIP];
	c->r[R11] = flags;
	c->r[R_RIP] = c->lstar;
	c->no_step = false;
	cpu_set_rflags_raw(c, flags & ~c->sfmask);
	change_level(c, cs, (u16)(cs + 8), 0);
	counter_inc(c->counters, CNT_SYSCALLS);
	return go(t, c, at);
}

static struct left cross_sysret(struct cpu *c, u64 at)
{
	const struct insn *i = (const struct insn *)(at & ~63ull);
	struct translate *t = c->engine;
	u64 flags = c->r[R11] & SYSRET_FLAGS;
	u16 base = (u16)(c->star >> 48);

	if (unlikely(i->osz != 8 || c->d.cpl || !plain(t, c) || (flags & FLAG_TF) ||
		     (!cpu_is_amd(c) && !cpu_canonical(c, c->r[RCX])) || ((flags & FLAG_IF) && !quiet(c))))
		return hand_over(c, at);
	c->r[R_RIP] = c->r[RCX];
	cpu_set_rflags_raw(c, flags);
	change_level(c, (u16)((base + 16) | 3), (u16)((base + 8) | 3), 3);
	return go(t, c, at);
}

cross_fn *const cross_functions[NR_CROSS] = { [CROSS_SYSCALL] = cross_syscall, [CROSS_SYSRET] = cross_sysret };

int cross_find(const struct translate *t, const struct insn *i)
{
	static exec_fn *const exec[NR_CROSS] = { [CROSS_SYSCALL] = sys_syscall, [CROSS_SYSRET] = sys_sysret };

	for (int n = 0; opt(t, OPT_FAST) && n < NR_CROSS; n++)
		if (i->exec == exec[n])
			return n;
	return -1;
}
