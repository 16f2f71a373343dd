/* SPDX-License-Identifier: Apache-2.0
 * The CPU models. Features fall into four sets:
 *  - base: what every x86-64 processor has;
 *  - system: paging, interrupts, MSRs, state management. They are this library's own work, so a model offers them
 * whether or not the host has them;
 *  - data: instructions that run as themselves on the host. A model may promise one only if the host executes it;
 *  - optional: system features that work but that no model offers unless "+name" asks.
 * A feature in none of them is known by name and never offered. x86-64-v2, v3 and v4 are the levels of the psABI for a
 * generic Intel processor; "host" is the host's own identity with every data feature it has.
 */
#include "cpu/cpuid.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/cpuid_build.h"
#include "cpu/lapic.h"

static const u16 base_features[] = {
	FEAT_FPU,   FEAT_DE,  FEAT_PSE,	 FEAT_TSC, FEAT_MSR,  FEAT_PAE,	    FEAT_MCE, FEAT_CX8,
	FEAT_APIC,  FEAT_SEP, FEAT_MTRR, FEAT_PGE, FEAT_MCA,  FEAT_CMOV,    FEAT_PAT, FEAT_PSE36,
	FEAT_CLFSH, FEAT_MMX, FEAT_FXSR, FEAT_SSE, FEAT_SSE2, FEAT_SYSCALL, FEAT_NX,  FEAT_LM,
};

static const u16 system_features[] = {
	FEAT_VME,
	FEAT_PCID,
	FEAT_INVPCID,
	FEAT_SMEP,
	FEAT_SMAP,
	FEAT_UMIP,
	FEAT_FSGSBASE,
	FEAT_PDPE1GB,
	FEAT_RDTSCP,
	FEAT_X2APIC,
	FEAT_TSC_DEADLINE,
	FEAT_TSC_ADJUST,
	FEAT_XSAVE,
	FEAT_XSAVEOPT,
	FEAT_XSAVEC,
	FEAT_XGETBV1,
	FEAT_XSAVES,
	FEAT_RDRAND,
	FEAT_RDSEED,
	FEAT_HYPERVISOR,
	FEAT_ARCH_CAPABILITIES,
	FEAT_ERMS,
	FEAT_FSRM,
	FEAT_ARAT,
	FEAT_INVTSC,
	FEAT_RDPID,
	FEAT_CLFLUSHOPT,
	FEAT_CLWB,
	FEAT_PREFETCHW,
	FEAT_CX16,
	FEAT_LAHF_LM,
	FEAT_WBNOINVD,
	FEAT_SELFSNOOP,
	FEAT_KVM_CLOCKSOURCE,
	FEAT_KVM_NOP_IO_DELAY,
	FEAT_KVM_CLOCKSOURCE2,
	FEAT_KVM_PV_EOI,
	FEAT_KVM_STEAL_TIME,
	FEAT_KVM_PV_UNHALT,
	FEAT_KVM_PV_TLB_FLUSH,
	FEAT_KVM_PV_SEND_IPI,
	FEAT_KVM_PV_SCHED_YIELD,
	FEAT_KVM_CLOCKSOURCE_STABLE,
};

/* BHI_CTRL: Linux clears the branch history in software on each system call unless SPEC_CTRL can do without. */
static const u16 intel_features[] = { FEAT_SPEC_CTRL, FEAT_BHI_CTRL, FEAT_MCDT_NO };

static const u16 amd_features[] = {
	FEAT_MMXEXT,	 FEAT_CLZERO,  FEAT_TOPOEXT,	  FEAT_XSAVEERPTR,   FEAT_AMD_IBPB,
	FEAT_AMD_SSB_NO, FEAT_BTC_NO,  FEAT_AMD_IBPB_RET, FEAT_LFENCE_RDTSC, FEAT_NULL_SEL_CLR_BASE,
	FEAT_AUTOIBRS,	 FEAT_SRSO_NO, FEAT_TSA_SQ_NO,	  FEAT_TSA_L1_NO,
};

static const u16 optional_features[] = { FEAT_LA57, FEAT_MONITOR,	   FEAT_STIBP,
					 FEAT_SSBD, FEAT_KVM_POLL_CONTROL, FEAT_SERIALIZE };

static const u16 v2_features[] = { FEAT_SSE3, FEAT_SSSE3, FEAT_SSE41, FEAT_SSE42, FEAT_POPCNT };

static const u16 v3_features[] = { FEAT_AVX,  FEAT_AVX2, FEAT_BMI1,  FEAT_BMI2,
				   FEAT_F16C, FEAT_FMA,	 FEAT_LZCNT, FEAT_MOVBE };

static const u16 v4_features[] = { FEAT_AVX512F, FEAT_AVX512BW, FEAT_AVX512CD, FEAT_AVX512DQ, FEAT_AVX512VL };

static const u16 data_features[] = {
	FEAT_SSE3,
	FEAT_PCLMULQDQ,
	FEAT_SSSE3,
	FEAT_FMA,
	FEAT_SSE41,
	FEAT_SSE42,
	FEAT_MOVBE,
	FEAT_POPCNT,
	FEAT_AES,
	FEAT_AVX,
	FEAT_F16C,
	FEAT_BMI1,
	FEAT_AVX2,
	FEAT_BMI2,
	FEAT_ADX,
	FEAT_SHA,
	FEAT_GFNI,
	FEAT_VAES,
	FEAT_VPCLMULQDQ,
	FEAT_LZCNT,
	FEAT_SSE4A,
	FEAT_AVX_VNNI,
	FEAT_AVX_IFMA,
	FEAT_AVX512F,
	FEAT_AVX512DQ,
	FEAT_AVX512IFMA,
	FEAT_AVX512CD,
	FEAT_AVX512BW,
	FEAT_AVX512VL,
	FEAT_AVX512VBMI,
	FEAT_AVX512VBMI2,
	FEAT_AVX512VNNI,
	FEAT_AVX512BITALG,
	FEAT_AVX512VPOPCNTDQ,
	FEAT_AVX512BF16,
	FEAT_AVX512FP16,
	FEAT_AVX512VP2INTERSECT,
};

/* What makes no sense, or has no register state, without something else. In an order that one pass settles. */
static const struct {
	u16 feature, needs;
} dependencies[] = {
	{ FEAT_XSAVEOPT, FEAT_XSAVE },
	{ FEAT_XSAVEC, FEAT_XSAVE },
	{ FEAT_XGETBV1, FEAT_XSAVE },
	{ FEAT_XSAVES, FEAT_XSAVE },
	{ FEAT_AVX, FEAT_XSAVE },
	{ FEAT_SSSE3, FEAT_SSE3 },
	{ FEAT_SSE41, FEAT_SSSE3 },
	{ FEAT_SSE42, FEAT_SSE41 },
	{ FEAT_AVX, FEAT_SSE42 },
	{ FEAT_F16C, FEAT_AVX },
	{ FEAT_FMA, FEAT_AVX },
	{ FEAT_AVX2, FEAT_AVX },
	{ FEAT_VAES, FEAT_AVX },
	{ FEAT_VAES, FEAT_AES },
	{ FEAT_VPCLMULQDQ, FEAT_AVX },
	{ FEAT_VPCLMULQDQ, FEAT_PCLMULQDQ },
	{ FEAT_AVX_VNNI, FEAT_AVX2 },
	{ FEAT_AVX_IFMA, FEAT_AVX2 },
	{ FEAT_AVX512F, FEAT_AVX2 },
	{ FEAT_AVX512F, FEAT_FMA },
	{ FEAT_AVX512F, FEAT_F16C },
	{ FEAT_AVX512DQ, FEAT_AVX512F },
	{ FEAT_AVX512IFMA, FEAT_AVX512F },
	{ FEAT_AVX512CD, FEAT_AVX512F },
	{ FEAT_AVX512BW, FEAT_AVX512F },
	{ FEAT_AVX512VL, FEAT_AVX512F },
	{ FEAT_AVX512VBMI, FEAT_AVX512BW },
	{ FEAT_AVX512VBMI2, FEAT_AVX512BW },
	{ FEAT_AVX512VNNI, FEAT_AVX512F },
	{ FEAT_AVX512BITALG, FEAT_AVX512BW },
	{ FEAT_AVX512VPOPCNTDQ, FEAT_AVX512F },
	{ FEAT_AVX512BF16, FEAT_AVX512BW },
	{ FEAT_AVX512FP16, FEAT_AVX512BW },
	{ FEAT_AVX512VP2INTERSECT, FEAT_AVX512F },
	{ FEAT_INVPCID, FEAT_PCID },
	{ FEAT_BHI_CTRL, FEAT_SPEC_CTRL },
	{ FEAT_LA57, FEAT_LM },
	{ FEAT_X2APIC, FEAT_APIC },
	{ FEAT_TSC_DEADLINE, FEAT_APIC },
	{ FEAT_RDTSCP, FEAT_TSC },
	{ FEAT_KVM_CLOCKSOURCE, FEAT_HYPERVISOR },
	{ FEAT_KVM_NOP_IO_DELAY, FEAT_HYPERVISOR },
	{ FEAT_KVM_CLOCKSOURCE2, FEAT_HYPERVISOR },
	{ FEAT_KVM_PV_EOI, FEAT_HYPERVISOR },
	{ FEAT_KVM_STEAL_TIME, FEAT_HYPERVISOR },
	{ FEAT_KVM_PV_UNHALT, FEAT_HYPERVISOR },
	{ FEAT_KVM_PV_TLB_FLUSH, FEAT_KVM_STEAL_TIME },
	{ FEAT_KVM_PV_SEND_IPI, FEAT_HYPERVISOR },
	{ FEAT_KVM_PV_SCHED_YIELD, FEAT_KVM_STEAL_TIME },
	{ FEAT_KVM_POLL_CONTROL, FEAT_HYPERVISOR },
	{ FEAT_KVM_CLOCKSOURCE_STABLE, FEAT_KVM_CLOCKSOURCE2 },
};

static const struct level {
	const char *name, *brand;
	unsigned level; /* 0: the host */
} levels[] = {
	{ "x86-64-v2", "doppel x86-64-v2", 2 },
	{ "x86-64-v3", "doppel x86-64-v3", 3 },
	{ "x86-64-v4", "doppel x86-64-v4", 4 },
	{ "host", "", 0 },
};

static const char *const feature_names[] = {
#define FEATURE(id, name, leaf, sub, reg, bit) name,
#include "cpu/features.def"
#undef FEATURE
};

static const struct feature_place {
	u32 leaf, sub;
	u8 reg, bit;
} places[] = {
#define EAX 0
#define EBX 1
#define ECX 2
#define EDX 3
#define FEATURE(id, name, leaf, sub, reg, bit) { leaf, sub, reg, bit },
#include "cpu/features.def"
#undef FEATURE
};

const char *cpuid_feature_name(enum feature f)
{
	return feature_names[f];
}

static void set(struct cpuid_model *m, unsigned f, bool on)
{
	if (on)
		m->features[f / 64] |= BIT(f % 64);
	else
		m->features[f / 64] &= ~BIT(f % 64);
}

static void set_all(struct cpuid_model *m, const u16 *f, size_t n)
{
	for (size_t k = 0; k < n; k++)
		set(m, f[k], true);
}

static bool in(const u16 *set_of, size_t n, unsigned f)
{
	for (size_t k = 0; k < n; k++)
		if (set_of[k] == f)
			return true;
	return false;
}

/* The register state a data feature lives in must be switched on by the host's kernel too. */
static u64 state_needed(unsigned f)
{
	static const u16 avx[] = { FEAT_AVX,  FEAT_AVX2,       FEAT_FMA,      FEAT_F16C,
				   FEAT_VAES, FEAT_VPCLMULQDQ, FEAT_AVX_VNNI, FEAT_AVX_IFMA };

	if (!strncmp(feature_names[f], "avx512", 6))
		return 0xe6;
	return in(avx, ARRAY_SIZE(avx), f) ? 6 : 0;
}

static u64 host_xcr0(void)
{
	u32 a, b, c, d, lo, hi;

	__cpuid_count(1, 0, a, b, c, d);
	if (!(c >> 27 & 1))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (u64)hi << 32 | lo;
}

static bool host_has(unsigned f)
{
	const struct feature_place *p = &places[f];
	u32 r[4], need = p->leaf;
	u64 state = state_needed(f);

	if ((u32)__get_cpuid_max(p->leaf & 0x80000000, NULL) < need)
		return false;
	if (p->leaf == 7 && p->sub) {
		__cpuid_count(7, 0, r[0], r[1], r[2], r[3]);
		if (r[0] < p->sub)
			return false;
	}
	__cpuid_count(p->leaf, p->sub, r[0], r[1], r[2], r[3]);
	return r[p->reg] >> p->bit & 1 && (host_xcr0() & state) == state;
}

static void choose_features(struct cpuid_model *m, const struct level *l)
{
	set_all(m, base_features, ARRAY_SIZE(base_features));
	set_all(m, system_features, ARRAY_SIZE(system_features));
	if (m->amd)
		set_all(m, amd_features, ARRAY_SIZE(amd_features));
	else
		set_all(m, intel_features, ARRAY_SIZE(intel_features));
	if (l->level >= 2)
		set_all(m, v2_features, ARRAY_SIZE(v2_features));
	if (l->level >= 3)
		set_all(m, v3_features, ARRAY_SIZE(v3_features));
	if (l->level >= 4)
		set_all(m, v4_features, ARRAY_SIZE(v4_features));
	for (size_t k = 0; !l->level && k < ARRAY_SIZE(data_features); k++)
		set(m, data_features[k], host_has(data_features[k]));
	if (m->cpus > 1) {
		set(m, FEAT_HTT, true);
		set(m, FEAT_CMP_LEGACY, m->amd);
	}
}

static bool may_offer(const struct cpuid_model *m, unsigned f)
{
	return model_has(m, f) || in(data_features, ARRAY_SIZE(data_features), f) ||
	       in(optional_features, ARRAY_SIZE(optional_features), f) ||
	       in(system_features, ARRAY_SIZE(system_features), f);
}

static int find_feature(const char *name, size_t len)
{
	for (int f = 0; f < NR_FEATURES; f++)
		if (strlen(feature_names[f]) == len && !strncmp(feature_names[f], name, len))
			return f;
	return -1;
}

/* One "+name" or "-name". A base feature cannot go: no model is made for a processor without it. */
static int apply_wish(struct cpuid_model *m, u64 *wished, const char *s, size_t len, struct err *e)
{
	int f;

	if (len < 2 || (*s != '+' && *s != '-'))
		return err_set(e, "CPU model: \"%.*s\" should be +feature or -feature", (int)len, s);
	f = find_feature(s + 1, len - 1);
	if (f < 0)
		return err_set(e, "CPU model: no feature is called \"%.*s\"", (int)len - 1, s + 1);
	if (*s == '+' && !may_offer(m, (unsigned)f))
		return err_set(e, "CPU model: doppel does not implement %s", feature_names[f]);
	if (*s == '-' && in(base_features, ARRAY_SIZE(base_features), (unsigned)f))
		return err_set(e, "CPU model: %s cannot be taken away, every x86-64 processor has it",
			       feature_names[f]);
	set(m, (unsigned)f, *s == '+');
	if (*s == '+')
		wished[f / 64] |= BIT(f % 64);
	return 0;
}

static int apply_wishes(struct cpuid_model *m, u64 *wished, const char *s, struct err *e)
{
	while (*s == ',') {
		size_t len = strcspn(++s, ",");

		if (apply_wish(m, wished, s, len, e))
			return -1;
		s += len;
	}
	return 0;
}

/* Drops what lost its foundation; what was asked for by name is refused instead. */
static int settle(struct cpuid_model *m, const u64 *wished, struct err *e)
{
	for (size_t k = 0; k < ARRAY_SIZE(dependencies); k++) {
		unsigned f = dependencies[k].feature, needs = dependencies[k].needs;

		if (!model_has(m, f) || model_has(m, needs))
			continue;
		if (wished[f / 64] >> (f % 64) & 1)
			return err_set(e, "CPU model %s: %s needs %s", m->name, feature_names[f], feature_names[needs]);
		set(m, f, false);
	}
	return 0;
}

static int check_host(const struct cpuid_model *m, struct err *e)
{
	for (size_t k = 0; k < ARRAY_SIZE(data_features); k++) {
		unsigned f = data_features[k];

		if (model_has(m, f) && !host_has(f))
			return err_set(e, "CPU model %s needs %s, which this host's processor does not have", m->name,
				       feature_names[f]);
	}
	return 0;
}

/* ---- limits --------------------------------------------------------------------------------------------------- */

void cpuid_limits_of_leaves(struct cpuid_limits *l, const struct cpuid_leaf *leaf, size_t n)
{
	for (unsigned f = 0; f < NR_FEATURES; f++) {
		const struct feature_place *p = &places[f];

		for (size_t k = 0; k < n; k++) {
			const u32 r[4] = { leaf[k].eax, leaf[k].ebx, leaf[k].ecx, leaf[k].edx };

			if (leaf[k].leaf == p->leaf && leaf[k].sub == p->sub && (r[p->reg] >> p->bit & 1))
				cpuid_limits_allow(l, f, true);
		}
	}
}

/* "host" is what this host can do: what it cannot under these limits is not in it. */
static void narrow(struct cpuid_model *m, const struct cpuid_limits *l)
{
	for (size_t k = 0; k < ARRAY_SIZE(m->features); k++)
		m->features[k] &= l->features[k];
}

static int check_features(const struct cpuid_model *m, const struct cpuid_limits *l, struct err *e)
{
	char missing[240], without[400];
	size_t at = 0, to = 0;

	for (unsigned f = 0; f < NR_FEATURES; f++) {
		if (!model_has(m, f) || (l->features[f / 64] >> (f % 64) & 1))
			continue;
		if (at < sizeof(missing))
			at += (size_t)snprintf(missing + at, sizeof(missing) - at, "%s%s", at ? ", " : "",
					       feature_names[f]);
		if (to < sizeof(without))
			to += (size_t)snprintf(without + to, sizeof(without) - to, ",-%s", feature_names[f]);
	}
	return at ? err_set(e, "CPU model %s has %s, which %s does not offer: give --cpu %s%s, or another engine",
			    m->name, missing, l->who, m->name, without)
		  : 0;
}

static int check_limits(const struct cpuid_model *m, const struct cpuid_limits *l, struct err *e)
{
	if (l && m->arch_capabilities & ~l->arch_capabilities)
		return err_set(e,
			       "CPU model %s promises the guest that it is not affected by what this host's processor "
			       "may be affected by (IA32_ARCH_CAPABILITIES, bits %llx), and under %s nothing stands in "
			       "between: give --cpu %s,-arch_capabilities, or another engine",
			       m->name, (unsigned long long)(m->arch_capabilities & ~l->arch_capabilities), l->who,
			       m->name);
	return 0;
}

static bool host_is_amd(void)
{
	char v[13] = "";

	cpuid_host_vendor(v);
	return !strcmp(v, "AuthenticAMD") || !strcmp(v, "HygonGenuine");
}

static const struct level *find_level(const char *name, size_t len)
{
	for (size_t k = 0; k < ARRAY_SIZE(levels); k++)
		if (strlen(levels[k].name) == len && !strncmp(levels[k].name, name, len))
			return &levels[k];
	return NULL;
}

static int build(struct cpuid_model *m, const struct level *l, const char *wishes, const struct cpuid_limits *limits,
		 struct err *e)
{
	u64 wished[ARRAY_SIZE(m->features)] = { 0 };

	m->amd = !l->level && host_is_amd();
	choose_features(m, l);
	if (limits && !l->level)
		narrow(m, limits);
	if (apply_wishes(m, wished, wishes, e) || settle(m, wished, e) || check_host(m, e) ||
	    (limits && check_features(m, limits, e)))
		return -1;
	m->apic_bus_hz = limits && limits->apic_bus_hz ? limits->apic_bus_hz : APIC_BUS_HZ;
	m->tsc_hz = limits && limits->tsc_hz ? limits->tsc_hz : tsc_measure_hz();
	cpuid_build_identity(m, l->level ? l->brand : NULL);
	if (limits && !l->level)
		m->arch_capabilities &= limits->arch_capabilities;
	cpuid_build_leaves(m);
	for (unsigned f = 0; f < NR_FEATURES; f++)
		if (model_has(m, f))
			cpuid_set_bit(m, places[f].leaf, places[f].sub, places[f].reg, places[f].bit);
	cpuid_build_mirror(m);
	return check_limits(m, limits, e);
}

struct cpuid_model *cpuid_model_new(const char *name, unsigned cpus, struct err *e)
{
	return cpuid_model_new_within(name, cpus, NULL, e);
}

struct cpuid_model *cpuid_model_new_within(const char *name, unsigned cpus, const struct cpuid_limits *limits,
					   struct err *e)
{
	size_t len = strcspn(name, ",");
	const struct level *l = find_level(name, len);
	struct cpuid_model *m;

	if (!l) {
		err_set(e, "--cpu: no CPU model is called \"%.*s\"; there are x86-64-v2, x86-64-v3, x86-64-v4 and host",
			(int)len, name);
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		err_set(e, "no memory for the CPU model");
		return NULL;
	}
	strncpy(m->text, name, sizeof(m->text) - 1);
	m->name = m->text;
	m->cpus = MAX(cpus, 1u);
	if (build(m, l, name + len, limits, e)) {
		cpuid_model_free(m);
		return NULL;
	}
	return m;
}
