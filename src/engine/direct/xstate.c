/* SPDX-License-Identifier: Apache-2.0
 * x87 and vector state between struct cpu and the XSAVE area in standard format that the host's kernel shows of a
 * thread (SDM 1, 13.4).
 */
#include "engine/direct/direct.h"

#include <cpuid.h>

#include "cpu/xarea.h"

#define XC_512 (XC_K | XC_ZMM_HI | XC_HI16)

static u32 offset_of(unsigned n)
{
	u32 a, b, c, d;

	__cpuid_count(0xd, n, a, b, c, d);
	return b;
}

bool xstate_layout(struct xlayout *x)
{
	u32 a, b, c, d;

	if (__get_cpuid_max(0, NULL) < 0xd || !__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT(27)))
		return false;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	x->xcr0 = a | (u64)d << 32;
	__cpuid_count(0xd, 0, a, b, c, d);
	x->size = b;
	if (x->size > XSTATE_MAX || (x->xcr0 & ~(u64)(XC_X87 | XC_SSE | XC_AVX | XC_512)))
		return false;
	x->avx = x->xcr0 & XC_AVX ? offset_of(2) : 0;
	if ((x->xcr0 & XC_512) == XC_512) {
		x->k = offset_of(5);
		x->zmm_hi = offset_of(6);
		x->hi16 = offset_of(7);
	}
	return true;
}

static bool any(const void *p, size_t n)
{
	const u64 *q = p;
	u64 all = 0;

	for (size_t k = 0; k < n / 8; k++)
		all |= q[k];
	return all;
}

/* By values, as the library sees it (xsave.c). */
static u64 in_use(const struct cpu *c)
{
	static const struct x87 init = { .fcw = 0x37f };
	u64 sse = 0, avx = 0, zmm_hi = 0;

	for (unsigned k = 0; k < 16; k++) {
		const u64 *q = c->zmm[k].q;

		sse |= q[0] | q[1];
		avx |= q[2] | q[3];
		zmm_hi |= q[4] | q[5] | q[6] | q[7];
	}
	return (memcmp(&c->x87, &init, sizeof(init)) ? XC_X87 : 0) | (sse ? XC_SSE : 0) | (avx ? XC_AVX : 0) |
	       (zmm_hi ? XC_ZMM_HI : 0) | (any(c->zmm[16].b, 16 * 64) ? XC_HI16 : 0) | (any(c->k, 64) ? XC_K : 0);
}

void xstate_from(const struct xlayout *x, u8 *area, const struct cpu *c)
{
	u64 bv = in_use(c) & x->xcr0;

	memset(area, 0, x->size);
	xarea_legacy_from(area, c);
	for (unsigned k = 0; k < 16; k++) {
		if (bv & XC_AVX)
			memcpy(area + x->avx + 16 * k, c->zmm[k].b + 16, 16);
		if (bv & XC_ZMM_HI)
			memcpy(area + x->zmm_hi + 32 * k, c->zmm[k].b + 32, 32);
		if (bv & XC_HI16)
			memcpy(area + x->hi16 + 64 * k, c->zmm[16 + k].b, 64);
	}
	if (bv & XC_K)
		memcpy(area + x->k, c->k, 64);
	memcpy(area + XAREA_HEADER, &bv, 8);
}

static void part(void *to, const u8 *area, u32 at, size_t n, bool in_use)
{
	if (in_use && at)
		memcpy(to, area + at, n);
	else
		memset(to, 0, n);
}

void xstate_to(const struct xlayout *x, struct cpu *c, const u8 *area)
{
	u64 bv;

	memcpy(&bv, area + XAREA_HEADER, 8);
	xarea_legacy_to(c, area, bv);
	for (unsigned k = 0; k < 16; k++) {
		part(c->zmm[k].b + 16, area, x->avx ? x->avx + 16 * k : 0, 16, bv & XC_AVX);
		part(c->zmm[k].b + 32, area, x->zmm_hi ? x->zmm_hi + 32 * k : 0, 32, bv & XC_ZMM_HI);
		part(c->zmm[16 + k].b, area, x->hi16 ? x->hi16 + 64 * k : 0, 64, bv & XC_HI16);
	}
	part(c->k, area, x->k, 64, bv & XC_K);
	c->xinuse = bv;
}
