/* SPDX-License-Identifier: Apache-2.0
 * Vector and x87 state between struct cpu and the XSAVE area that KVM shows: always the standard format, with the
 * host's offsets (Documentation/virt/kvm/api.rst, KVM_GET_XSAVE), whatever layout the guest was promised.
 */
#include <cpuid.h>
#include <string.h>

#include "cpu/xarea.h"
#include "engine/kvm/kvm.h"

u32 kvm_xsave_offset(unsigned n)
{
	u32 a, b, c, d;

	if (__get_cpuid_max(0, NULL) < 0xd)
		return 0;
	__cpuid_count(0xd, n, a, b, c, d);
	return a ? b : 0;
}

/* One extended component: size bytes a register, from the byte `at` of zmm[first] on. */
struct part {
	u64 mask;
	u8 component, first, count, at, size;
};

static const struct part parts[] = {
	{ XC_AVX, 2, 0, 16, 16, 16 },
	{ XC_ZMM_HI, 6, 0, 16, 32, 32 },
	{ XC_HI16, 7, 16, 16, 0, 64 },
};

/* Where a part stands in an area of size bytes; NULL: the host has no place for it. */
static u8 *place(const void *area, size_t size, unsigned component, size_t len)
{
	u32 off = kvm_xsave_offset(component);

	return off && off + len <= size ? (u8 *)(uintptr_t)area + off : NULL;
}

void kvm_xsave_from(void *area, size_t size, const struct cpu *c)
{
	u64 in_use = XC_X87 | XC_SSE;
	u8 *at;

	memset(area, 0, size);
	xarea_legacy_from(area, c);
	for (size_t p = 0; p < ARRAY_SIZE(parts); p++) {
		at = place(area, size, parts[p].component, (size_t)parts[p].count * parts[p].size);
		for (unsigned k = 0; at && k < parts[p].count; k++)
			memcpy(at + k * parts[p].size, c->zmm[parts[p].first + k].b + parts[p].at, parts[p].size);
		if (at)
			in_use |= parts[p].mask;
	}
	at = place(area, size, 5, 64);
	if (at) {
		memcpy(at, c->k, 64);
		in_use |= XC_K;
	}
	in_use &= c->model->xcr0_mask | XC_X87 | XC_SSE;
	memcpy((u8 *)area + XAREA_HEADER, &in_use, sizeof(in_use));
}

void kvm_xsave_to(struct cpu *c, const void *area, size_t size)
{
	const u8 *at;
	u64 in_use;

	memcpy(&in_use, (const u8 *)area + XAREA_HEADER, sizeof(in_use));
	xarea_legacy_to(c, area, in_use);
	for (size_t p = 0; p < ARRAY_SIZE(parts); p++) {
		at = place(area, size, parts[p].component, (size_t)parts[p].count * parts[p].size);
		for (unsigned k = 0; k < parts[p].count; k++) {
			u8 *reg = c->zmm[parts[p].first + k].b + parts[p].at;

			if (at && (in_use & parts[p].mask))
				memcpy(reg, at + k * parts[p].size, parts[p].size);
			else
				memset(reg, 0, parts[p].size);
		}
	}
	at = place(area, size, 5, 64);
	if (at && (in_use & XC_K))
		memcpy(c->k, at, 64);
	else
		memset(c->k, 0, 64);
	c->xinuse = in_use;
}
