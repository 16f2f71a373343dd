/* SPDX-License-Identifier: Apache-2.0
 * The CPU models: what CPUID says, and what the library therefore executes. One table of leaves a model; feature tests
 * elsewhere go through cpu_has(), never through the host's CPUID.
 */
#ifndef CPU_CPUID_H
#define CPU_CPUID_H

#include "base/err.h"
#include "cpu/cpu.h"

/* FEATURE(id, "name", leaf, subleaf, register, bit): every feature bit doppel knows, one list. */
enum feature {
#define FEATURE(id, name, leaf, sub, reg, bit) FEAT_##id,
#include "cpu/features.def"
#undef FEATURE
	NR_FEATURES
};

struct cpuid_leaf {
	u32 leaf, sub;
	u32 eax, ebx, ecx, edx;
};

struct cpuid_model {
	const char *name;
	bool amd; /* vendor is AMD: follow the APM where the manuals differ */
	u64 features[(NR_FEATURES + 63) / 64];
	u64 xcr0_mask, xss_mask;
	u8 phys_bits, lin_bits;
	u16 xsave_offset[20], xsave_size[20]; /* by component, as CPUID.0DH tells: standard format */
	u32 cpus;
	u32 apic_bus_hz;       /* the APIC timer's clock, before the divider */
	u64 tsc_hz;	       /* of the host's TSC, which the guest's runs with */
	u64 arch_capabilities; /* IA32_ARCH_CAPABILITIES */
	u32 microcode;	       /* revision as the vendor's MSR shows it */
	u32 max_basic, max_extended;
	char text[256]; /* name's storage */
	size_t n;
	struct cpuid_leaf leaf[96];
};

/* What whoever executes the guest can keep of a model; all ones where there is no limit. */
struct cpuid_limits {
	const char *who; /* in sentences: "KVM on this host" */
	u64 features[(NR_FEATURES + 63) / 64];
	u64 arch_capabilities;
	u32 apic_bus_hz; /* the APIC timer's clock; 0: any */
	u64 tsc_hz;	 /* known already; 0: to be measured */
};

/* The features whose bits are set in these leaves. */
void cpuid_limits_of_leaves(struct cpuid_limits *l, const struct cpuid_leaf *leaf, size_t n);
static inline void cpuid_limits_allow(struct cpuid_limits *l, enum feature f, bool on)
{
	l->features[f / 64] = on ? l->features[f / 64] | BIT(f % 64) : l->features[f / 64] & ~BIT(f % 64);
}

/* Builds the model called name ("x86-64-v2", "-v3", "-v4", "host", with "+feat" or "-feat" appended after commas) for a
 * machine of cpus vCPUs; fails with a sentence when the host cannot run what it promises. */
struct cpuid_model *cpuid_model_new(const char *name, unsigned cpus, struct err *e);
/* The same within limits (NULL: none): "host" then has what it can have, any other model is refused if it promises
 * more. */
struct cpuid_model *cpuid_model_new_within(const char *name, unsigned cpus, const struct cpuid_limits *l,
					   struct err *e);
void cpuid_model_free(struct cpuid_model *m);

/* Ticks a second of the guest's TSC: from the host's CPUID, else measured once when the model was made. */
u64 cpuid_tsc_hz(const struct cpuid_model *m);
static inline u64 cpuid_apic_bus_hz(const struct cpuid_model *m)
{
	return m->apic_bus_hz;
}
/* For a machine whose TSC is not the host's. Before any vCPU has it. */
void cpuid_model_set_tsc_hz(struct cpuid_model *m, u64 hz);
/* The host's TSC frequency: CPUID 15H or 40000010H, else measured against CLOCK_MONOTONIC for some 20 ms (tsc.c). */
u64 tsc_measure_hz(void);
/* The name of a feature as features.def has it. */
const char *cpuid_feature_name(enum feature f);

static inline bool model_has(const struct cpuid_model *m, enum feature f)
{
	return m->features[f / 64] >> (f % 64) & 1;
}

static inline bool cpu_has(const struct cpu *c, enum feature f)
{
	return c->model->features[f / 64] >> (f % 64) & 1;
}

static inline bool cpu_is_amd(const struct cpu *c)
{
	return c->model->amd;
}

/* CPUID as this vCPU answers it now (OSXSAVE, APIC id, XCR0-dependent sizes filled in). */
void cpuid_query(struct cpu *c, u32 leaf, u32 sub, u32 out[4]);

#endif
