/* SPDX-License-Identifier: Apache-2.0
 * A flat vCPU in 64-bit mode whose model has every feature and whose system has enabled every vector state. For the
 * tests of data instructions; what silicon shows in user mode is tests/isa's business, the rest is here.
 */
#ifndef TESTS_VEC_WORLD_H
#define TESTS_VEC_WORLD_H

#include "unit/flat_cpu.h"

#include "cpu/vec.h"

static inline void vec_enable(struct flat *f)
{
	static const u16 off[8] = { 0, 0, 576, 0, 0, 832, 896, 1408 }, size[8] = { 0, 0, 256, 0, 0, 64, 512, 1024 };
	struct cpu *c = f->c;

	memset(f->model.features, 0xff, sizeof(f->model.features));
	f->model.features[FEAT_ZERO_FCS_FDS / 64] &= ~BIT(FEAT_ZERO_FCS_FDS % 64);
	f->model.xcr0_mask = 0xe7;
	memcpy(f->model.xsave_offset, off, sizeof(off));
	memcpy(f->model.xsave_size, size, sizeof(size));
	c->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	c->cr0 = (c->cr0 | CR0_NE | CR0_MP) & ~(CR0_EM | CR0_TS);
	c->xcr0 = 0xe7;
	c->mxcsr = 0x1f80;
	x87_init(&c->x87);
	c->r[RDI] = FLAT_DATA;
	c->r[RSI] = FLAT_DATA + 0x1000;
	cpu_update_mode(c);
}

static inline struct flat *vec_world(unsigned cpl)
{
	struct flat *f = flat_long(cpl);

	vec_enable(f);
	return f;
}

static inline void vec_drop_feature(struct flat *f, enum feature x)
{
	f->model.features[x / 64] &= ~BIT(x % 64);
}

#endif
