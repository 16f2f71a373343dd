/* SPDX-License-Identifier: Apache-2.0
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT. The vendors differ: Intel has SYSCALL in 64-bit mode only and SYSENTER
 * everywhere, AMD SYSCALL everywhere and SYSENTER outside long mode only; Intel checks RCX in SYSRET before it leaves
 * CPL 0, AMD never; AMD's SYSRET leaves the stack segment's cache as it was (SDM 2B, APM 3).
 */
#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/event.h"
#include "cpu/segment.h"
#include "cpu/sys.h"

static bool syscall_enabled(const struct cpu *c)
{
	if (!(c->efer & EFER_SCE) || !c->d.pe || c->d.vm86)
		return false;
	return cpu_is_amd(c) || c->d.long64;
}

/* Flat CS and SS at privilege level dpl from the selector of CS. */
static void set_flat(struct cpu *c, u16 cs, u16 ss, unsigned dpl, bool code64)
{
	seg_set(c, SEG_CS, cs, 0, 0xffffffff, code64 ? ATTR_CODE64(dpl) : ATTR_CODE32(dpl));
	seg_set(c, SEG_SS, ss, 0, 0xffffffff, ATTR_DATA32(dpl));
}

/* No single-step trap comes of a SYSCALL that masked TF. */
static int enter_kernel(struct cpu *c, u64 flags)
{
	u32 before = c->rflags;

	c->no_step = (before & FLAG_TF) && !(flags & FLAG_TF);
	cpu_set_rflags_raw(c, flags);
	cpu_update_mode(c);
	event_flags_changed(c, before);
	counter_inc(c->counters, CNT_SYSCALLS);
	cpu_trace(c, TRACE_SYSCALL, c->r[RAX], c->r[RDI], c->r[RSI]);
	return OUT_END;
}

/* ---- 64-bit user code and a 64-bit kernel, almost all there is ----------------------------------------------------
 */

/* Neither trapped nor traced: nothing but the registers that the instructions name. */
static bool plain(const struct cpu *c)
{
	return c->d.long64 && (c->efer & EFER_SCE) && !c->trace && !(c->rflags & (FLAG_TF | FLAG_RF));
}

/* As set_flat() and cpu_update_mode(), where both sides are 64-bit code: of all that is derived only the level differs.
 * AMD's SS takes the level alone when it leaves the kernel. */
static void change_level(struct cpu *c, u16 cs, u16 ss, unsigned cpl)
{
	c->seg[SEG_CS] = (struct seg){ .sel = cs, .limit = 0xffffffff, .attr = ATTR_CODE64(cpl) };
	if (!cpl || !cpu_is_amd(c))
		c->seg[SEG_SS] = (struct seg){ .limit = 0xffffffff, .attr = ATTR_DATA32(cpl) };
	else
		c->seg[SEG_SS].attr |= SEG_DPL;
	c->seg[SEG_SS].sel = ss;
	c->d.cpl = (u8)cpl;
	c->ops->mode_changed(c);
}

bool sys_syscall_plain(struct cpu *c)
{
	u64 flags = cpu_rflags(c);
	u16 cs = (u16)(c->star >> 32) & 0xfffc;

	if (unlikely(!plain(c)))
		return false;
	c->r[RCX] = c->r[R_RIP];
	c->r[R11] = flags;
	c->r[R_RIP] = c->lstar;
	c->no_step = false;
	cpu_set_rflags_raw(c, flags & ~c->sfmask);
	change_level(c, cs, (u16)(cs + 8), 0);
	counter_inc(c->counters, CNT_SYSCALLS);
	return true;
}

bool sys_sysret_plain(struct cpu *c, const struct insn *i)
{
	u64 flags = c->r[R11] & SYSRET_FLAGS;
	u16 base = (u16)(c->star >> 48);
	u32 before = c->rflags;

	if (unlikely(i->osz != 8 || c->d.cpl || !plain(c) || (flags & FLAG_TF) ||
		     (!cpu_is_amd(c) && !cpu_canonical(c, c->r[RCX]))))
		return false;
	c->r[R_RIP] = c->r[RCX];
	cpu_set_rflags_raw(c, flags);
	change_level(c, (u16)((base + 16) | 3), (u16)((base + 8) | 3), 3);
	event_flags_changed(c, before);
	return true;
}

/* ---- in general ----------------------------------------------------------------------------------------------- */

int sys_syscall(struct cpu *c, const struct insn *i)
{
	u64 flags = cpu_rflags(c) & ~(u64)FLAG_RF;
	u16 cs = (u16)(c->star >> 32) & 0xfffc;
	bool from64 = c->d.long64, lma = c->d.lma;

	(void)i;
	if (sys_syscall_plain(c))
		return OUT_END;
	if (!syscall_enabled(c))
		return cpu_ud(c);
	set_flat(c, cs, (u16)(cs + 8), 0, lma);
	c->r[RCX] = c->r[R_RIP];
	if (lma) {
		c->r[R11] = flags;
		c->r[R_RIP] = from64 ? c->lstar : c->cstar;
		return enter_kernel(c, flags & ~c->sfmask);
	}
	c->r[R_RIP] = (u32)c->star;
	return enter_kernel(c, flags & ~(u64)(FLAG_VM | FLAG_IF));
}

/* SYSRET is stepped by the TF that it leaves, not by the one that it finds: a program whose SYSCALL is stepped stops
 * behind it, before its next instruction. */
static void step_by_new_flags(struct cpu *c, u32 before)
{
	c->no_step = (before & FLAG_TF) && !(c->rflags & FLAG_TF);
	if (!(before & FLAG_TF) && (c->rflags & FLAG_TF))
		event_step(c);
}

static int leave_kernel(struct cpu *c, u32 flags_before)
{
	step_by_new_flags(c, flags_before);
	cpu_update_mode(c);
	event_flags_changed(c, flags_before);
	return OUT_END;
}

int sys_sysret(struct cpu *c, const struct insn *i)
{
	bool wide = i->osz == 8, from64 = c->d.long64;
	u16 base = (u16)(c->star >> 48);
	u32 before = c->rflags;
	struct seg ss = c->seg[SEG_SS];

	if (sys_sysret_plain(c, i))
		return OUT_END;
	if (!(c->efer & EFER_SCE) || (!from64 && !cpu_is_amd(c)))
		return cpu_ud(c);
	if (!c->d.pe || sys_user(c))
		return cpu_gp(c, 0);
	if (wide && !cpu_is_amd(c) && !cpu_canonical(c, c->r[RCX]))
		return cpu_gp(c, 0);
	set_flat(c, (u16)((base + (wide ? 16 : 0)) | 3), (u16)((base + 8) | 3), 3, wide);
	if (cpu_is_amd(c)) {
		/* only the privilege level, which this library keeps in SS.DPL, follows the selector */
		c->seg[SEG_SS].base = ss.base;
		c->seg[SEG_SS].limit = ss.limit;
		c->seg[SEG_SS].attr = ss.attr | SEG_DPL;
	}
	c->r[R_RIP] = wide ? c->r[RCX] : (u32)c->r[RCX];
	if (from64)
		cpu_set_rflags_raw(c, c->r[R11] & SYSRET_FLAGS);
	else
		c->rflags |= FLAG_IF;
	return leave_kernel(c, before);
}

static bool sysenter_there(const struct cpu *c)
{
	return cpu_has(c, FEAT_SEP) && !(cpu_is_amd(c) && c->d.lma);
}

int sys_sysenter(struct cpu *c, const struct insn *i)
{
	u16 cs = (u16)c->sysenter_cs & 0xfffc;
	bool lma = c->d.lma;

	(void)i;
	if (!sysenter_there(c))
		return cpu_ud(c);
	if (!c->d.pe || !cs)
		return cpu_gp(c, 0);
	set_flat(c, cs, (u16)(cs + 8), 0, lma);
	c->r[RSP] = lma ? c->sysenter_esp : (u32)c->sysenter_esp;
	c->r[R_RIP] = lma ? c->sysenter_eip : (u32)c->sysenter_eip;
	return enter_kernel(c, cpu_rflags(c) & ~(u64)(FLAG_VM | FLAG_IF | FLAG_RF));
}

int sys_sysexit(struct cpu *c, const struct insn *i)
{
	u16 base = (u16)c->sysenter_cs & 0xfffc, cs;
	bool wide = i->osz == 8;

	if (!sysenter_there(c))
		return cpu_ud(c);
	if (!c->d.pe || sys_user(c) || !base)
		return cpu_gp(c, 0);
	if (wide && !(cpu_canonical(c, c->r[RCX]) && cpu_canonical(c, c->r[RDX])))
		return cpu_gp(c, 0);
	cs = (u16)((base + (wide ? 32 : 16)) | 3);
	set_flat(c, cs, (u16)(cs + 8), 3, wide);
	c->r[RSP] = wide ? c->r[RCX] : (u32)c->r[RCX];
	c->r[R_RIP] = wide ? c->r[RDX] : (u32)c->r[RDX];
	return leave_kernel(c, c->rflags);
}
