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
	bool amd;		/* vendor is AMD: follow the APM where the manuals differ */
	u64 features[(NR_FEATURES + 63) / 64];
	u64 xcr0_mask, xss_mask;
	u8 phys_bits, lin_bits;
	u16 xsave_offset[20], xsave_size[20];	/* by component, as CPUID.0DH tells: standard format */
	u32 cpus;
	size_t n;
	struct cpuid_leaf leaf[96];
};

/* Builds the model called name ("x86-64-v2", "-v3", "-v4", "host", with "+feat" or "-feat" appended after commas) for a
 * machine of cpus vCPUs; fails with a sentence when the host cannot run what it promises. */
struct cpuid_model *cpuid_model_new(const char *name, unsigned cpus, struct err *e);
void cpuid_model_free(struct cpuid_model *m);

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
