/* SPDX-License-Identifier: Apache-2.0
 * The leaves of a CPU model besides its feature bits: identity, caches, topology, state sizes, address widths, the KVM
 * leaves. SDM 2A "CPUID", APM 3 appendix E.4, Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "cpu/cpuid_build.h"
#include "cpu/lapic.h"

#include <cpuid.h>
#include <stdlib.h>

/* A generic family 6 processor: model 18H stands for no product, so that no quirk table of a guest knows it. */
#define GENERIC_SIGNATURE 0x00010681u
#define GENERIC_PHYS_BITS 46

/* IA32_ARCH_CAPABILITIES: every "not affected" bit (SDM 4 table 2-2). There is no speculation over the guest's rights
 * in an interpreter or translator; bit 1 says that IBRS, once set, needs no further writes. */
#define ARCH_CAPS                                                                                                  \
	(BIT(0) /* RDCL_NO */ | BIT(1) /* IBRS_ALL */ | BIT(3) /* SKIP_L1DFL */ | BIT(4) /* SSB_NO */ |            \
	 BIT(5) /* MDS_NO */ | BIT(6) /* IF_PSCHANGE_MC_NO */ | BIT(8) /* TAA_NO */ | BIT(13) /* SBDR_SSDP_NO */ | \
	 BIT(14) /* FBSDP_NO */ | BIT(15) /* PSDP_NO */ | BIT(20) /* BHI_NO */ | BIT(24) /* PBRSB_NO */ |          \
	 BIT(26) /* GDS_NO */ | BIT(27) /* RFDS_NO */ | BIT(62) /* ITS_NO */)

static struct cpuid_leaf *add(struct cpuid_model *m, u32 leaf, u32 sub, u32 a, u32 b, u32 c, u32 d)
{
	struct cpuid_leaf *l = &m->leaf[m->n];

	if (m->n == ARRAY_SIZE(m->leaf))
		abort();
	m->n++;
	*l = (struct cpuid_leaf){ .leaf = leaf, .sub = sub, .eax = a, .ebx = b, .ecx = c, .edx = d };
	return l;
}

static struct cpuid_leaf *get(struct cpuid_model *m, u32 leaf, u32 sub)
{
	for (size_t k = 0; k < m->n; k++)
		if (m->leaf[k].leaf == leaf && m->leaf[k].sub == sub)
			return &m->leaf[k];
	return add(m, leaf, sub, 0, 0, 0, 0);
}

void cpuid_set_bit(struct cpuid_model *m, u32 leaf, u32 sub, unsigned reg, unsigned bit)
{
	struct cpuid_leaf *l = get(m, leaf, sub);
	u32 *r[4] = { &l->eax, &l->ebx, &l->ecx, &l->edx };

	*r[reg] |= 1u << bit;
}

void cpuid_build_mirror(struct cpuid_model *m)
{
	if (m->amd)
		get(m, 0x80000001, 0)->edx |= get(m, 1, 0)->edx & 0x0183f3ff;
}

/* The host's answer, or zeros past its maximum. */
static struct cpuid_leaf host_leaf(u32 leaf, u32 sub)
{
	struct cpuid_leaf l = { .leaf = leaf, .sub = sub };

	if ((u32)__get_cpuid_max(leaf & 0x80000000, NULL) >= leaf)
		__cpuid_count(leaf, sub, l.eax, l.ebx, l.ecx, l.edx);
	return l;
}

void cpuid_host_vendor(char v[13])
{
	struct cpuid_leaf l = host_leaf(0, 0);

	memcpy(v, &l.ebx, 4);
	memcpy(v + 4, &l.edx, 4);
	memcpy(v + 8, &l.ecx, 4);
	v[12] = 0;
}

static void add_vendor(struct cpuid_model *m, u32 leaf, u32 max, const char *v)
{
	u32 w[3];

	memcpy(w, v, sizeof(w));
	add(m, leaf, 0, max, w[0], w[2], w[1]);
}

static void add_brand(struct cpuid_model *m, const char *brand)
{
	char text[48] = "";

	if (brand)
		strncpy(text, brand, sizeof(text) - 1);
	for (u32 k = 0; k < 3; k++) {
		struct cpuid_leaf l = host_leaf(0x80000002 + k, 0);
		u32 w[4];

		memcpy(w, text + 16 * k, sizeof(w));
		if (brand)
			add(m, l.leaf, 0, w[0], w[1], w[2], w[3]);
		else
			add(m, l.leaf, 0, l.eax, l.ebx, l.ecx, l.edx);
	}
}

/* The smallest n with 2^n >= cpus: the width of the APIC id's core field. */
static u32 id_bits(const struct cpuid_model *m)
{
	u32 n = 0;

	while ((1u << n) < m->cpus)
		n++;
	return n;
}

void cpuid_build_identity(struct cpuid_model *m, const char *brand)
{
	char vendor[13] = "GenuineIntel";
	u32 signature = GENERIC_SIGNATURE, width = host_leaf(0x80000008, 0).eax;

	m->phys_bits = GENERIC_PHYS_BITS;
	m->microcode = 1;
	if (!brand) {
		cpuid_host_vendor(vendor);
		signature = host_leaf(1, 0).eax;
		m->phys_bits = (u8)MIN(MAX(width & 0xff, 36u), 52u);
		m->microcode = m->amd ? 0x01000065 : 1;
	}
	m->lin_bits = model_has(m, FEAT_LA57) ? 57 : 48;
	m->arch_capabilities = model_has(m, FEAT_ARCH_CAPABILITIES) ? ARCH_CAPS : 0;
	m->max_basic = m->amd ? 0xd : 0x16;
	m->max_extended = m->amd ? 0x80000021 : 0x80000008;
	add_vendor(m, 0, m->max_basic, vendor);
	/* Intel leaves the vendor out of the extended maximum's leaf */
	add(m, 0x80000000, 0, m->max_extended, 0, 0, 0);
	if (m->amd) {
		struct cpuid_leaf *l = get(m, 0x80000000, 0), *v = get(m, 0, 0);

		l->ebx = v->ebx;
		l->ecx = v->ecx;
		l->edx = v->edx;
	}
	add(m, 1, 0, signature, 8u << 8 | (m->cpus > 1 ? 1u << id_bits(m) << 16 : 0), 0, 0);
	add(m, 0x80000001, 0, m->amd ? signature : 0, 0, 0, 0);
	add_brand(m, brand);
}

/* One cache in leaf 4 / 8000001DH form (SDM 2A "INPUT EAX = 04H"). type 1 data, 2 code, 3 unified. */
static void add_cache(struct cpuid_model *m, u32 sub, u32 type, u32 level, u32 ways, u32 sets, u32 sharing)
{
	u32 cores = (1u << id_bits(m)) - 1;

	add(m, 4, sub, type | level << 5 | 1u << 8 | (sharing - 1) << 14 | (m->amd ? 0 : cores << 26),
	    (ways - 1) << 22 | 63, sets - 1, 0);
}

static void intel_caches(struct cpuid_model *m)
{
	u32 all = 1u << id_bits(m);

	/* TLB descriptors and "see leaf 4" (FFH): SDM 2A table 3-12 */
	add(m, 2, 0, 0x76036301, 0x00f0b5ff, 0, 0x00c30000);
	add_cache(m, 0, 1, 1, 8, 64, 1);
	add_cache(m, 1, 2, 1, 8, 64, 1);
	add_cache(m, 2, 3, 2, 16, 1024, 1);
	add_cache(m, 3, 3, 3, 16, 16384, all);
	add(m, 0x80000006, 0, 0, 0, 0x04008040, 0);
}

static void amd_caches(struct cpuid_model *m)
{
	for (u32 leaf = 0x80000005; leaf <= 0x80000006; leaf++) {
		struct cpuid_leaf l = host_leaf(leaf, 0);

		add(m, leaf, 0, l.eax, l.ebx, l.ecx, l.edx);
	}
	for (u32 sub = 0; sub < 4; sub++) {
		struct cpuid_leaf l = host_leaf(0x8000001d, sub);
		u32 sharing = (l.eax >> 5 & 7) == 3 ? m->cpus - 1 : 0;

		if (l.eax & 0x1f)
			add(m, 0x8000001d, sub, (l.eax & 0x3fff) | sharing << 14, l.ebx, l.ecx, l.edx);
	}
}

static void topology(struct cpuid_model *m)
{
	add(m, 0xb, 0, 0, 1, 1u << 8, 0);
	add(m, 0xb, 1, id_bits(m), m->cpus, 2u << 8, 0);
	if (!m->amd)
		return;
	add(m, 0x8000001e, 0, 0, 0, 0, 0);
	for (u32 leaf = 0x80000019; leaf <= 0x8000001a; leaf++) {
		struct cpuid_leaf l = host_leaf(leaf, 0);

		add(m, leaf, 0, l.eax, l.ebx, l.ecx, l.edx);
	}
}

/* Offsets and sizes of the state components: Intel's standard ones for the generic models; the host's for "host", so
 * that its own XSAVE area and the guest's have one shape. */
static void state_layout(struct cpuid_model *m, bool generic)
{
	static const struct {
		u8 component;
		u16 offset, size;
	} standard[] = { { 2, 576, 256 }, { 5, 1088, 64 }, { 6, 1152, 512 }, { 7, 1664, 1024 } };
	u32 size = 576;

	m->xcr0_mask = 0;
	if (!model_has(m, FEAT_XSAVE))
		return;
	m->xcr0_mask = 3 | (model_has(m, FEAT_AVX) ? 4 : 0) | (model_has(m, FEAT_AVX512F) ? 0xe0 : 0);
	for (size_t k = 0; k < ARRAY_SIZE(standard); k++) {
		struct cpuid_leaf h = host_leaf(0xd, standard[k].component);
		unsigned n = standard[k].component;
		bool host = !generic && h.eax == standard[k].size && h.ebx >= 576 && h.ebx < 0x2000;

		if (!(m->xcr0_mask >> n & 1))
			continue;
		m->xsave_offset[n] = host ? (u16)h.ebx : standard[k].offset;
		m->xsave_size[n] = standard[k].size;
		size = MAX(size, (u32)m->xsave_offset[n] + m->xsave_size[n]);
		add(m, 0xd, n, m->xsave_size[n], m->xsave_offset[n], 0, 0);
	}
	add(m, 0xd, 0, (u32)m->xcr0_mask, 0, size, (u32)(m->xcr0_mask >> 32));
	add(m, 0xd, 1, 0, 0, (u32)m->xss_mask, (u32)(m->xss_mask >> 32));
}

static void kvm_leaves(struct cpuid_model *m)
{
	if (!model_has(m, FEAT_HYPERVISOR))
		return;
	add_vendor(m, 0x40000000, 0x40000010, "KVMKVMKVM\0\0\0");
	/* the signature is in EBX ECX EDX order here */
	struct cpuid_leaf *l = get(m, 0x40000000, 0);
	u32 t = l->ecx;

	l->ecx = l->edx;
	l->edx = t;
	add(m, 0x40000001, 0, 0, 0, 0, 0);
	add(m, 0x40000010, 0, (u32)(m->tsc_hz / 1000), m->apic_bus_hz / 1000, 0, 0);
}

/* The crystal is told as the TSC itself over an exact ratio is not (the APIC timer counts another clock): only the base
 * frequency stands in leaf 16H; leaf 15H is all zeros, "not enumerated". */
static void frequency(struct cpuid_model *m)
{
	u32 mhz = (u32)(m->tsc_hz / 1000000);

	if (!m->amd)
		add(m, 0x16, 0, mhz, mhz, 0, 0);
}

static void widths(struct cpuid_model *m)
{
	u32 topology_word = m->amd ? (m->cpus - 1) | id_bits(m) << 12 : 0;

	add(m, 0x80000008, 0, m->phys_bits | (u32)m->lin_bits << 8, 0, topology_word, 0);
}

void cpuid_build_leaves(struct cpuid_model *m)
{
	if (m->amd)
		amd_caches(m);
	else
		intel_caches(m);
	if (model_has(m, FEAT_MONITOR))
		add(m, 5, 0, 64, 64, 3, 0);
	add(m, 7, 0, m->amd ? 1 : 2, 0, 0, 0);
	topology(m);
	state_layout(m, strncmp(m->name, "host", 4) != 0);
	kvm_leaves(m);
	frequency(m);
	widths(m);
}
