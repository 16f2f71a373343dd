/* SPDX-License-Identifier: Apache-2.0
 * The flat CPU of flat_cpu.h with a real CPU model, clocks that a test turns by hand, and a record of what the library
 * asked of the world. For the tests of system instructions, MSRs and the local APIC.
 */
#ifndef TESTS_SYS_WORLD_H
#define TESTS_SYS_WORLD_H

#include "flat_cpu.h"

#include "cpu/lapic.h"
#include "cpu/msr.h"

/* One test at a time: the record of the vCPU under test. */
static struct world {
	u64 tsc, now, wall, ipi;
	unsigned ipis, eois, flushes, timer_changes;
	u8 eoi_vector;
	enum tlb_scope scope;
	u32 pcid;
	u64 lin;
	bool random_fails;
} world;

static u64 world_tsc(struct cpu *c)
{
	(void)c;
	return world.tsc;
}

static u64 world_now(struct cpu *c)
{
	(void)c;
	return world.now;
}

static u64 world_wall(struct cpu *c)
{
	(void)c;
	return world.wall;
}

static bool world_random(struct cpu *c, void *buf, unsigned size)
{
	(void)c;
	memset(buf, 0x5a, size);
	return !world.random_fails;
}

static void world_eoi(struct cpu *c, u8 vector)
{
	(void)c;
	world.eois++;
	world.eoi_vector = vector;
}

static void world_ipi(struct cpu *c, u64 icr)
{
	(void)c;
	world.ipis++;
	world.ipi = icr;
}

static void world_timer(struct cpu *c)
{
	(void)c;
	world.timer_changes++;
}

static void world_flush(struct cpu *c, enum tlb_scope scope, u32 pcid, u64 lin)
{
	(void)c;
	world.flushes++;
	world.scope = scope;
	world.pcid = pcid;
	world.lin = lin;
}

/* Gives f the named model, power-on MSRs and APIC state included; the segments and mode stay. */
static struct flat *world_enter(struct flat *f, const char *model, bool amd)
{
	struct err e;
	struct cpuid_model *m = cpuid_model_new(model, 1, &e);

	assert_non_null(m);
	f->model = *m;
	f->model.amd = amd;
	f->model.tsc_hz = 2000000000;
	cpuid_model_free(m);
	memset(&world, 0, sizeof(world));
	world.tsc = 1000000;
	f->ops.host_tsc = world_tsc;
	f->ops.now_ns = world_now;
	f->ops.wall_ns = world_wall;
	f->ops.random = world_random;
	f->ops.ioapic_eoi = world_eoi;
	f->ops.send_ipi = world_ipi;
	f->ops.timer_changed = world_timer;
	f->ops.tlb_flush = world_flush;
	lapic_reset(f->c, false);
	return f;
}

static inline void set_bit_of_model(struct cpuid_model *m, enum feature f, bool on)
{
	m->features[f / 64] = (m->features[f / 64] & ~BIT(f % 64)) | (on ? BIT(f % 64) : 0);
}

#endif
