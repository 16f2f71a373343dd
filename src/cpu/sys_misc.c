/* SPDX-License-Identifier: Apache-2.0
 * HLT, MONITOR and MWAIT, KVM's hypercalls, CLAC and STAC, SERIALIZE.
 */
#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/lapic.h"
#include "cpu/sys.h"

/* Linux Documentation/virt/kvm/x86/hypercalls.rst; error numbers are the ABI's own. */
#define KVM_HC_VAPIC_POLL_IRQ 1
#define KVM_HC_KICK_CPU 5
#define KVM_HC_SEND_IPI 10
#define KVM_HC_SCHED_YIELD 11
#define KVM_ENOSYS 1000
#define KVM_EINVAL 22
#define KVM_EPERM 1

int sys_hlt(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (sys_user(c))
		return cpu_gp(c, 0);
	counter_inc(c->counters, CNT_HALTS);
	if (__atomic_exchange_n(&c->kvm_unhalted, 0, __ATOMIC_ACQUIRE))
		return OUT_END;
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

/* IPIs to the bits of a0 and, from 64-bit mode, a1, which begin at APIC id a2; a3 is the low half of an ICR. Returns
 * how many there were. */
static s64 hypercall_send_ipi(struct cpu *c, const u64 a[4])
{
	unsigned bits_each = c->d.long64 ? 64 : 32;
	s64 n = 0;

	if ((a[3] >> 18 & 3) || !c->ops->send_ipi)
		return -KVM_EINVAL;
	for (unsigned k = 0; k < 2 * bits_each; k++) {
		u64 id = a[2] + k;

		if (!(a[k / bits_each] >> (k % bits_each) & 1) || id >= c->model->cpus)
			continue;
		c->ops->send_ipi(c, (a[3] & 0xc7ff) | id << 32);
		n++;
	}
	return n;
}

static s64 hypercall(struct cpu *c, u64 nr, const u64 a[4])
{
	switch (nr) {
	case KVM_HC_VAPIC_POLL_IRQ:
		return 0;
	case KVM_HC_KICK_CPU:
		if (!cpu_has(c, FEAT_KVM_PV_UNHALT))
			break;
		if (c->ops->unhalt)
			c->ops->unhalt(c, (u32)a[1]);
		return 0;
	case KVM_HC_SEND_IPI:
		if (!cpu_has(c, FEAT_KVM_PV_SEND_IPI))
			break;
		return hypercall_send_ipi(c, a);
	case KVM_HC_SCHED_YIELD:
		if (!cpu_has(c, FEAT_KVM_PV_SCHED_YIELD))
			break;
		if (c->ops->relax)
			c->ops->relax(c);
		return 0;
	}
	return -KVM_ENOSYS;
}

/* VMCALL and VMMCALL: number in RAX, arguments in RBX RCX RDX RSI, result in RAX. Only what the CPUID leaf offers is
 * known. */
int sys_hypercall(struct cpu *c, const struct insn *i)
{
	u64 mask = c->d.long64 ? ~0ull : 0xffffffff;
	const u64 a[4] = { c->r[RBX] & mask, c->r[RCX] & mask, c->r[RDX] & mask, c->r[RSI] & mask };
	s64 ret = -KVM_EPERM;

	(void)i;
	if (!cpu_has(c, FEAT_HYPERVISOR))
		return cpu_ud(c);
	if (!c->d.cpl)
		ret = hypercall(c, c->r[RAX] & mask, a);
	c->r[RAX] = (u64)ret & mask;
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
