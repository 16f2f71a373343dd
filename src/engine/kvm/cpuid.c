/* SPDX-License-Identifier: Apache-2.0
 * The CPU model given to KVM, and what KVM can keep of one.
 *
 * A feature may stand in the guest's CPUID if KVM lists it as supported, or if it is this program's own work under
 * every engine: the TSC's adjustment, the APIC's modes, MSRs and paravirtual interfaces that come here through the MSR
 * filter.
 */
#include "cpu/cpuid.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cpu/lapic.h"
#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

#define KVM_LEAVES 256
#define CAP_APIC_BUS_CYCLES_NS 237 /* KVM_CAP_X86_APIC_BUS_CYCLES_NS, Linux 6.11 */

static bool has_subleaves(u32 leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

/* The model's leaf with this vCPU's own fields. KVM itself keeps OSXSAVE, APIC and the sizes of leaf 0DH up to date. */
static struct kvm_cpuid_entry2 entry_of(const struct cpuid_leaf *l, u32 id)
{
	struct kvm_cpuid_entry2 e = { .function = l->leaf,
				      .index = l->sub,
				      .flags = has_subleaves(l->leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
				      .eax = l->eax,
				      .ebx = l->ebx,
				      .ecx = l->ecx,
				      .edx = l->edx };

	switch (l->leaf) {
	case 1:
		e.ebx |= id << 24;
		break;
	case 0xb:
		e.ecx |= l->sub & 0xff;
		e.edx = id;
		break;
	case 0x8000001e:
		e.eax = id;
		e.ebx |= id & 0xff;
		break;
	}
	return e;
}

int kvm_give_cpuid(struct kvm_vcpu *v, struct err *e)
{
	const struct cpuid_model *m = v->cpu->model;
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[ARRAY_SIZE(m->leaf)];
	} c = { .head.nent = (u32)m->n };

	for (size_t k = 0; k < m->n; k++)
		c.entry[k] = entry_of(&m->leaf[k], v->cpu->index);
	if (ioctl(v->fd, KVM_SET_CPUID2, &c))
		return err_errno(e, "KVM does not take the CPU model %s", m->name);
	return 0;
}

/* ---- limits ------------------------------------------------------------------------------------------------------
 */

static int supported_leaves(int sys, struct cpuid_limits *l, struct err *e)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + KVM_LEAVES * sizeof(c->entries[0]));
	int ret = -1;

	if (c) {
		c->nent = KVM_LEAVES;
		ret = ioctl(sys, KVM_GET_SUPPORTED_CPUID, c);
	}
	for (u32 k = 0; !ret && k < c->nent; k++) {
		const struct kvm_cpuid_entry2 *x = &c->entries[k];
		struct cpuid_leaf leaf = { .leaf = x->function,
					   .sub = x->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX ? x->index : 0,
					   .eax = x->eax,
					   .ebx = x->ebx,
					   .ecx = x->ecx,
					   .edx = x->edx };

		if (x->function >> 28 != 4)
			cpuid_limits_of_leaves(l, &leaf, 1);
	}
	free(c);
	return ret ? err_errno(e, "KVM does not tell what it supports") : 0;
}

/* What this program serves, whatever KVM lists; and what only a kernel's APIC can. */
static void own_features(struct cpuid_limits *l, bool user_apic)
{
	static const u16 ours[] = {
		FEAT_HYPERVISOR,
		FEAT_HTT,
		FEAT_CMP_LEGACY,
		FEAT_TSC_ADJUST,
		FEAT_ARAT,
		FEAT_ARCH_CAPABILITIES,
		FEAT_X2APIC,
		FEAT_TSC_DEADLINE,
		FEAT_KVM_CLOCKSOURCE,
		FEAT_KVM_NOP_IO_DELAY,
		FEAT_KVM_CLOCKSOURCE2,
		FEAT_KVM_STEAL_TIME,
		FEAT_KVM_POLL_CONTROL,
		FEAT_KVM_PV_EOI,
		FEAT_KVM_CLOCKSOURCE_STABLE,
	};
	static const u16 kernels[] = { FEAT_KVM_PV_UNHALT, FEAT_KVM_PV_SEND_IPI, FEAT_KVM_PV_SCHED_YIELD };

	for (size_t k = 0; k < ARRAY_SIZE(ours); k++)
		cpuid_limits_allow(l, ours[k], true);
	for (size_t k = 0; k < ARRAY_SIZE(kernels); k++)
		cpuid_limits_allow(l, kernels[k], !user_apic);
}

static u64 host_arch_capabilities(int sys)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[1];
	} m = { .head.nmsrs = 1, .entry[0].index = MSR_ARCH_CAPABILITIES };

	return ioctl(sys, KVM_GET_MSRS, &m) == 1 ? m.entry[0].data : 0;
}

int kvm_limits(bool user_apic, struct cpuid_limits *l, struct err *e)
{
	int sys, vm = -1;

	*l = (struct cpuid_limits){ .who = "KVM on this host" };
	if (kvm_open(&sys, &vm, e))
		return -1;
	close(vm);
	if (supported_leaves(sys, l, e)) {
		close(sys);
		return -1;
	}
	own_features(l, user_apic);
	l->arch_capabilities = host_arch_capabilities(sys);
	l->apic_bus_hz = user_apic || ioctl(sys, KVM_CHECK_EXTENSION, CAP_APIC_BUS_CYCLES_NS) > 0 ? 0 : APIC_BUS_HZ_KVM;
	close(sys);
	return 0;
}

int kvm_set_apic_bus(struct kvm_machine *m, const struct cpuid_model *model, struct err *e)
{
	struct kvm_enable_cap cap = { .cap = CAP_APIC_BUS_CYCLES_NS,
				      .args[0] = 1000000000ull / cpuid_apic_bus_hz(model) };

	if (m->user_apic || cpuid_apic_bus_hz(model) == APIC_BUS_HZ_KVM)
		return 0;
	if (ioctl(m->fd, KVM_ENABLE_CAP, &cap))
		return err_errno(e, "KVM's APIC timers do not count with %llu MHz",
				 (unsigned long long)cpuid_apic_bus_hz(model) / 1000000);
	return 0;
}
