/* SPDX-License-Identifier: Apache-2.0
 * CPUID as one vCPU answers it now: the model's table, plus the few fields that depend on the vCPU's state. SDM 2A
 * "CPUID", APM 3 appendix E.
 */
#include "cpu/cpuid.h"

#include <stdlib.h>

#include "cpu/lapic.h"

enum { EAX, EBX, ECX, EDX };

void cpuid_model_set_tsc_hz(struct cpuid_model *m, u64 hz)
{
	m->tsc_hz = hz;
	for (size_t i = 0; i < m->n; i++) {
		struct cpuid_leaf *l = &m->leaf[i];

		if (l->leaf == 0x40000010)
			l->eax = (u32)(hz / 1000);
		if (l->leaf == 0x16)
			l->eax = l->ebx = (u32)(hz / 1000000);
	}
}

u64 cpuid_tsc_hz(const struct cpuid_model *m)
{
	return m->tsc_hz;
}

void cpuid_model_free(struct cpuid_model *m)
{
	free(m);
}

/* Leaves whose answer depends on ECX; all others ignore it. */
static bool has_subleaves(u32 leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

/* The manuals differ on leaves past the maximum: Intel answers as for the highest basic leaf, AMD with zeros. */
static u32 in_range(const struct cpuid_model *m, u32 leaf)
{
	u32 max = m->max_basic;

	if (leaf >> 28 == 4)
		max = model_has(m, FEAT_HYPERVISOR) ? 0x40000010 : 0;
	else if (leaf >= 0x80000000)
		max = m->max_extended;
	return leaf <= max || m->amd ? leaf : m->max_basic;
}

static const struct cpuid_leaf *find(const struct cpuid_model *m, u32 leaf, u32 sub)
{
	for (size_t k = 0; k < m->n; k++) {
		const struct cpuid_leaf *l = &m->leaf[k];

		if (l->leaf == leaf && (l->sub == sub || !has_subleaves(leaf)))
			return l;
	}
	return NULL;
}

/* Bytes of the standard-format XSAVE area for the components in mask (SDM 1, 13.4). */
static u32 xsave_standard(const struct cpuid_model *m, u64 mask)
{
	u32 size = 576;

	for (unsigned k = 2; k < ARRAY_SIZE(m->xsave_size); k++)
		if (mask >> k & 1)
			size = MAX(size, (u32)m->xsave_offset[k] + m->xsave_size[k]);
	return size;
}

static u32 xsave_compacted(const struct cpuid_model *m, u64 mask)
{
	u32 size = 576;

	for (unsigned k = 2; k < ARRAY_SIZE(m->xsave_size); k++)
		if (mask >> k & 1)
			size += m->xsave_size[k];
	return size;
}

/* Topology leaf: every sub-leaf names itself in ECX and the x2APIC id in EDX, the invalid ones too. */
static void fill_topology(const struct cpu *c, u32 sub, u32 out[4])
{
	out[ECX] |= sub & 0xff;
	out[EDX] = c->index;
}

static void fill_dynamic(const struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
	switch (leaf) {
	case 1:
		out[EBX] |= c->index << 24;
		if (c->cr4 & CR4_OSXSAVE)
			out[ECX] |= 1u << 27;
		if (!(c->apic_base & APIC_BASE_EN))
			out[EDX] &= ~(1u << 9);
		break;
	case 7:
		if (!sub && (c->cr4 & CR4_PKE))
			out[ECX] |= 1u << 4;
		break;
	case 0xb:
		fill_topology(c, sub, out);
		break;
	case 0xd:
		if (!sub && model_has(c->model, FEAT_XSAVE))
			out[EBX] = xsave_standard(c->model, c->xcr0);
		else if (sub == 1 && (model_has(c->model, FEAT_XSAVEC) || model_has(c->model, FEAT_XSAVES)))
			out[EBX] = xsave_compacted(c->model, c->xcr0 | c->xss);
		break;
	case 0x80000001: /* AMD repeats the APIC bit */
		if (c->model->amd && !(c->apic_base & APIC_BASE_EN))
			out[EDX] &= ~(1u << 9);
		/* Intel shows SYSCALL in 64-bit mode only */
		if (!c->model->amd && !c->d.long64)
			out[EDX] &= ~(1u << 11);
		break;
	case 0x8000001e:
		out[EAX] = c->index;
		out[EBX] |= c->index & 0xff;
		break;
	}
}

void cpuid_query(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
	const struct cpuid_leaf *l;

	leaf = in_range(c->model, leaf);
	l = find(c->model, leaf, sub);
	memset(out, 0, 4 * sizeof(out[0]));
	if (l) {
		out[EAX] = l->eax;
		out[EBX] = l->ebx;
		out[ECX] = l->ecx;
		out[EDX] = l->edx;
	}
	fill_dynamic(c, leaf, sub, out);
}
