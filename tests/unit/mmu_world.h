/* SPDX-License-Identifier: Apache-2.0
 * A vCPU with nothing but memory, for tests of mem/ and mmu/.
 */
#ifndef TESTS_MMU_WORLD_H
#define TESTS_MMU_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/event.h"
#include "cpu/lapic.h"
#include "mem/mem.h"
#include "mmu/mmu.h"

struct world {
	struct mem *m;
	struct cpu *c;
	struct mmu *u;
	struct cpuid_model model;
	struct cpu_ops ops;
	struct counters counters;
};

static inline void model_set(struct cpuid_model *m, enum feature f, bool on)
{
	m->features[f / 64] &= ~(1ull << (f % 64));
	m->features[f / 64] |= (u64)on << (f % 64);
}

/* A cpu in flat 64-bit supervisor mode, paging off; RAM 0 to ram bytes, unless m is given. */
static inline void world_init(struct world *w, struct mem *m, u64 ram)
{
	memset(w, 0, sizeof(*w));
	w->m = m ? m : mem_new(NULL);
	assert_non_null(w->m);
	if (!m)
		assert_int_equal(mem_add_ram(w->m, 0, ram, NULL), 0);
	w->model.phys_bits = 40;
	w->model.lin_bits = 48;
	w->model.apic_bus_hz = APIC_BUS_HZ;
	model_set(&w->model, FEAT_PSE36, true);
	model_set(&w->model, FEAT_PDPE1GB, true);
	mmu_ops(&w->ops);
	assert_int_equal(posix_memalign((void **)&w->c, 64, sizeof(struct cpu)), 0);
	memset(w->c, 0, sizeof(struct cpu));
	w->c->model = &w->model;
	w->c->ops = &w->ops;
	w->c->counters = &w->counters;
	w->c->rflags = 2;
	w->c->cr0 = CR0_PE;
	w->c->d.pe = true;
	w->c->d.lin_mask = 0xffffffff;
	w->u = mmu_new(w->c, w->m);
	assert_non_null(w->u);
}

static inline void world_free(struct world *w, bool with_mem)
{
	mmu_free(w->u);
	free(w->c);
	if (with_mem)
		mem_free(w->m);
}

/* What cpu_update_mode() would do for the few fields that memory accesses depend on. */
static inline void world_mode(struct world *w, unsigned cpl, bool ac)
{
	struct cpu *c = w->c;

	c->d.cpl = (u8)cpl;
	c->d.lma = c->d.long64 = c->efer & EFER_LMA;
	c->d.lin_mask = c->d.long64 ? ~0ull : 0xffffffff;
	c->rflags = (c->rflags & ~(u32)FLAG_AC) | (ac ? FLAG_AC : 0);
	c->ops->mode_changed(c);
}

static inline u64 rng_next(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x2545f4914f6cdd1dull;
}

static inline u64 phys_get(struct mem *m, u64 gpa, unsigned size)
{
	u64 v = 0;

	mem_read(m, gpa, &v, size);
	return v & bytes_mask(size);
}

static inline void phys_put(struct mem *m, u64 gpa, u64 v, unsigned size)
{
	mem_write(m, gpa, &v, size);
}

#endif
