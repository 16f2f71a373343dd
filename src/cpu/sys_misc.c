/* SPDX-License-Identifier: Apache-2.0
 * HLT, MONITOR and MWAIT, KVM's hypercalls, CLAC and STAC, SERIALIZE.
 */
#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/sys.h"

/* Linux Documentation/virt/kvm/x86/hypercalls.rst; error numbers are the ABI's own. */
#define KVM_HC_VAPIC_POLL_IRQ 1
#define KVM_ENOSYS 1000
#define KVM_EPERM 1

int sys_hlt(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (sys_user(c))
		return cpu_gp(c, 0);
	counter_inc(c->counters, CNT_HALTS);
	c->activity = ACT_HALTED;
	return OUT_HALT;
}

static bool monitor_there(const struct cpu *c)
{
	return cpu_has(c, FEAT_MONITOR) && !sys_user(c);
}

/* A load of one byte for all that paging and segmentation have to say. */
int sys_monitor(struct cpu *c, const struct insn *i)
{
	u64 lin;
	u8 byte;
	int out;

	if (!monitor_there(c))
		return cpu_ud(c);
	if ((u32)c->r[RCX])
		return cpu_gp(c, 0);
	out = seg_linear(c, i->seg, c->r[RAX] & i->amask, 1, insn_acc(i, ACC_R), &lin);
	if (!out)
		out = cpu_ld8(c, lin, &byte, insn_acc(i, ACC_R));
	if (out)
		return out;
	c->monitor_addr = lin;
	c->monitor_armed = true;
	return OUT_DONE;
}

/* MWAIT is a hint that may end at any time for the implementation's own reasons (SDM 2B); here it ends at once. */
int sys_mwait(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (!monitor_there(c))
		return cpu_ud(c);
	if ((u32)c->r[RCX] & ~1u)
		return cpu_gp(c, 0);
	c->monitor_armed = false;
	return OUT_END;
}

/* VMCALL and VMMCALL: number in RAX, result in RAX. Only what the CPUID leaf offers is known. */
int sys_hypercall(struct cpu *c, const struct insn *i)
{
	s64 ret = -KVM_ENOSYS;

	(void)i;
	if (!cpu_has(c, FEAT_HYPERVISOR))
		return cpu_ud(c);
	if (c->d.cpl)
		ret = -KVM_EPERM;
	else if ((u32)c->r[RAX] == KVM_HC_VAPIC_POLL_IRQ)
		ret = 0;
	c->r[RAX] = c->d.long64 ? (u64)ret : (u32)ret;
	return OUT_END;
}

/* RFLAGS.AC decides which lookaside array serves; nothing else of the derived state does. */
static int set_ac(struct cpu *c, u32 ac)
{
	if (!cpu_has(c, FEAT_SMAP) || sys_user(c))
		return cpu_ud(c);
	c->rflags = (c->rflags & ~(u32)FLAG_AC) | ac;
	c->ops->mode_changed(c);
	return OUT_DONE;
}

int sys_clac(struct cpu *c, const struct insn *i)
{
	(void)i;
	return set_ac(c, 0);
}

int sys_stac(struct cpu *c, const struct insn *i)
{
	(void)i;
	return set_ac(c, FLAG_AC);
}

int sys_serialize(struct cpu *c, const struct insn *i)
{
	(void)i;
	return cpu_has(c, FEAT_SERIALIZE) ? OUT_END : cpu_ud(c);
}
