/* SPDX-License-Identifier: Apache-2.0
 * Which MSRs are KVM's while the guest runs. They are those that the hardware itself consults; all others, and all that
 * nobody has, exit and get the library's answer, so that no guest can tell engines apart by them.
 */
#include <sys/ioctl.h>

#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

enum owner {
	ALWAYS,
	SPEC,	 /* where the model has SPEC_CTRL, which kvm_limits() allows if the host has it */
	AUX,	 /* where the model has RDTSCP or RDPID */
	IN_APIC, /* with the APIC in the kernel */
};

/* EFER, FS and GS bases, APIC_BASE go by KVM_SET_SREGS2. The TSC deadline is last: the APIC must be there before. */
static const struct {
	u32 index;
	enum owner owner;
	size_t offset;
} rows[] = {
#define ROW(msr, owner, field)                          \
	{                                               \
		msr, owner, offsetof(struct cpu, field) \
	}
	ROW(MSR_SYSENTER_CS, ALWAYS, sysenter_cs),
	ROW(MSR_SYSENTER_ESP, ALWAYS, sysenter_esp),
	ROW(MSR_SYSENTER_EIP, ALWAYS, sysenter_eip),
	ROW(MSR_PAT, ALWAYS, pat),
	ROW(MSR_STAR, ALWAYS, star),
	ROW(MSR_LSTAR, ALWAYS, lstar),
	ROW(MSR_CSTAR, ALWAYS, cstar),
	ROW(MSR_SFMASK, ALWAYS, sfmask),
	ROW(MSR_KERNEL_GS_BASE, ALWAYS, kernel_gs_base),
	ROW(MSR_TSC_AUX, AUX, tsc_aux),
	ROW(MSR_SPEC_CTRL, SPEC, spec_ctrl),
	ROW(MSR_KVM_PV_EOI, IN_APIC, kvm_pv_eoi),
	ROW(MSR_TSC_DEADLINE, IN_APIC, lapic.tsc_deadline),
#undef ROW
};
_Static_assert(ARRAY_SIZE(rows) <= KVM_MSRS_MAX, "callers' arrays");

static bool has_spec_ctrl(const struct cpuid_model *m)
{
	return model_has(m, FEAT_SPEC_CTRL) || model_has(m, FEAT_AMD_IBRS) || model_has(m, FEAT_STIBP) ||
	       model_has(m, FEAT_AMD_STIBP) || model_has(m, FEAT_SSBD) || model_has(m, FEAT_AMD_SSBD);
}

static bool owned(const struct cpuid_model *m, u32 index, enum owner owner, bool user_apic)
{
	switch (owner) {
	case ALWAYS:
		return true;
	case SPEC:
		return has_spec_ctrl(m);
	case AUX:
		return model_has(m, FEAT_RDTSCP) || model_has(m, FEAT_RDPID);
	case IN_APIC:
		return !user_apic && (index == MSR_KVM_PV_EOI	  ? model_has(m, FEAT_KVM_PV_EOI)
				      : index == MSR_TSC_DEADLINE ? model_has(m, FEAT_TSC_DEADLINE)
								  : true);
	}
	return false;
}

unsigned kvm_msrs_from(struct kvm_msr_entry *list, const struct cpu *c, bool user_apic)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (owned(c->model, rows[i].index, rows[i].owner, user_apic))
			list[n++] = (struct kvm_msr_entry){ .index = rows[i].index,
							    .data = *(const u64 *)((const char *)c + rows[i].offset) };
	return n;
}

void kvm_msrs_to(struct cpu *c, const struct kvm_msr_entry *list, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			if (rows[i].index == list[k].index)
				*(u64 *)((char *)c + rows[i].offset) = list[k].data;
}

/* A bit is 1 where the guest's access goes to KVM. KVM never filters the x2APIC's registers. */
int kvm_msr_filter(struct kvm_machine *m, const struct cpuid_model *model, struct err *e)
{
	static const struct {
		u32 base;
		u8 n; /* up to 8 */
		enum owner owner;
	} through[] = { { MSR_APIC_BASE, 1, IN_APIC }, { MSR_SPEC_CTRL, 1, SPEC },	 { MSR_SYSENTER_CS, 3, ALWAYS },
			{ MSR_PAT, 1, ALWAYS },	       { MSR_TSC_DEADLINE, 1, IN_APIC }, { MSR_KVM_PV_EOI, 1, IN_APIC },
			{ MSR_EFER, 5, ALWAYS },       { MSR_FS_BASE, 3, ALWAYS },	 { MSR_TSC_AUX, 1, AUX } };
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };
	u8 ones = 0xff;
	unsigned n = 0;

	_Static_assert(ARRAY_SIZE(through) <= KVM_MSR_FILTER_MAX_RANGES, "one range each");
	for (size_t i = 0; i < ARRAY_SIZE(through); i++)
		if (owned(model, through[i].base, through[i].owner, m->user_apic))
			f.ranges[n++] = (struct kvm_msr_filter_range){ .flags = KVM_MSR_FILTER_READ |
										KVM_MSR_FILTER_WRITE,
								       .nmsrs = through[i].n,
								       .base = through[i].base,
								       .bitmap = &ones };
	if (ioctl(m->fd, KVM_X86_SET_MSR_FILTER, &f))
		return err_errno(e, "KVM takes no MSR filter");
	return 0;
}
