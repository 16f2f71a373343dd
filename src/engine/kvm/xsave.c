/* SPDX-License-Identifier: Apache-2.0
 * Vector and x87 state between struct cpu and the XSAVE area that KVM shows: always the standard format, with the
 * host's offsets (Documentation/virt/kvm/api.rst, KVM_GET_XSAVE), whatever layout the guest was promised.
 */
#include <cpuid.h>
#include <string.h>

#include "engine/kvm/kvm.h"

enum { XC_X87 = 1, XC_SSE = 2, XC_AVX = 4, XC_K = 0x20, XC_ZMM_HI = 0x40, XC_HI16 = 0x80 };

/* FXSAVE64's layout (SDM 1, 10.5.1). */
enum {
	FX_FCW = 0,
	FX_FSW = 2,
	FX_FTW = 4,
	FX_FOP = 6,
	FX_FIP = 8,
	FX_FDP = 16,
	FX_MXCSR = 24,
	FX_ST = 32,
	FX_XMM = 160,
	HEADER = 512
};

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

static void fx_from(u8 *a, const struct cpu *c)
{
	const struct x87 *x = &c->x87;

	memcpy(a + FX_FCW, &x->fcw, 2);
	memcpy(a + FX_FSW, &x->fsw, 2);
	a[FX_FTW] = x->ftw;
	memcpy(a + FX_FOP, &x->fop, 2);
	memcpy(a + FX_FIP, &x->fip, 8);
	memcpy(a + FX_FDP, &x->fdp, 8);
	memcpy(a + FX_MXCSR, &c->mxcsr, 4);
	for (unsigned k = 0; k < 8; k++)
		memcpy(a + FX_ST + 16 * k, x->st[k], 10);
	for (unsigned k = 0; k < 16; k++)
		memcpy(a + FX_XMM + 16 * k, c->zmm[k].b, 16);
}

void kvm_xsave_from(void *area, size_t size, const struct cpu *c)
{
	u64 in_use = XC_X87 | XC_SSE;
	u8 *at;

	memset(area, 0, size);
	fx_from(area, c);
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
	memcpy((u8 *)area + HEADER, &in_use, sizeof(in_use));
}

static void fx_to(struct cpu *c, const u8 *a, u64 in_use)
{
	struct x87 *x = &c->x87;

	if (in_use & XC_X87) {
		memcpy(&x->fcw, a + FX_FCW, 2);
		memcpy(&x->fsw, a + FX_FSW, 2);
		x->ftw = a[FX_FTW];
		memcpy(&x->fop, a + FX_FOP, 2);
		memcpy(&x->fip, a + FX_FIP, 8);
		memcpy(&x->fdp, a + FX_FDP, 8);
		for (unsigned k = 0; k < 8; k++) {
			memset(x->st[k], 0, 16);
			memcpy(x->st[k], a + FX_ST + 16 * k, 10);
		}
	} else {
		*x = (struct x87){ .fcw = 0x37f };
	}
	memcpy(&c->mxcsr, a + FX_MXCSR, 4);
	for (unsigned k = 0; k < 16; k++)
		if (in_use & XC_SSE)
			memcpy(c->zmm[k].b, a + FX_XMM + 16 * k, 16);
		else
			memset(c->zmm[k].b, 0, 16);
}

void kvm_xsave_to(struct cpu *c, const void *area, size_t size)
{
	const u8 *at;
	u64 in_use;

	memcpy(&in_use, (const u8 *)area + HEADER, sizeof(in_use));
	fx_to(c, area, in_use);
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
