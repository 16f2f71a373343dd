/* SPDX-License-Identifier: Apache-2.0
 * One vCPU with memory, MMU and the interpreter, for tests of engines: 64-bit mode at level 0, 4 MiB mapped one to one
 * by 4 KiB pages, all exceptions and interrupts go to a HLT each.
 */
#ifndef TESTS_INTERP_WORLD_H
#define TESTS_INTERP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "engine/engine.h"
#include "engine/interp/interp.h"
#include "mmu/mmu.h"

enum {
	W_GDT = 0x1000,
	W_IDT = 0x2000,
	W_CODE = 0x8000,
	W_HANDLERS = 0x10000,
	W_STACK = 0x20000,
	W_DATA = 0x40000,
	W_TABLES = 0x100000,
	W_RAM = 4 << 20,
};

struct world {
	struct mem *m;
	struct cpu *c;
	struct mmu *u;
	struct cpuid_model *model;
	struct cpu_ops ops;
	struct counters counters;
	u8 extint;
};

static inline u8 world_ack(struct cpu *c)
{
	struct world *w = c->vm;

	atomic_fetch_and(&c->attention, ~(unsigned)ATT_EXTINT);
	return w->extint;
}

static inline u64 world_time(struct cpu *c)
{
	(void)c;
	return 0;
}

static inline void world_nothing(struct cpu *c)
{
	(void)c;
}

static inline void put(struct world *w, u64 gpa, u64 v, unsigned size)
{
	assert_int_equal(mem_write(w->m, gpa, &v, size), 0);
}

static inline u64 get(struct world *w, u64 gpa, unsigned size)
{
	u64 v = 0;

	assert_int_equal(mem_read(w->m, gpa, &v, size), 0);
	return v;
}

/* The entry of linear page lin. */
static inline u64 pte_at(u64 lin)
{
	return W_TABLES + 0x3000 + (lin >> 12) * 8;
}

static inline void world_tables(struct world *w)
{
	put(w, W_TABLES, (W_TABLES + 0x1000) | 7, 8);
	put(w, W_TABLES + 0x1000, (W_TABLES + 0x2000) | 7, 8);
	put(w, W_TABLES + 0x2000, (W_TABLES + 0x3000) | 7, 8);
	put(w, W_TABLES + 0x2008, (W_TABLES + 0x4000) | 7, 8);
	for (u64 lin = 0; lin < W_RAM; lin += PAGE_SIZE)
		put(w, pte_at(lin), lin | 7, 8);
	put(w, W_GDT + 8, 0x00af9b000000ffff, 8);  /* 64-bit code */
	put(w, W_GDT + 16, 0x00cf93000000ffff, 8); /* data */
	put(w, W_GDT + 24, 0x00cf9b000000ffff, 8); /* 32-bit code */
	for (unsigned v = 0; v < 256; v++) {
		u64 h = W_HANDLERS + 16 * v;

		put(w, W_IDT + 16 * v, (h & 0xffff) | 8ull << 16 | 0x8e00ull << 32 | (h >> 16) << 48, 8);
		put(w, W_IDT + 16 * v + 8, 0, 8);
		put(w, h, 0xf4, 1);
	}
}

static inline void world_registers(struct world *w)
{
	struct cpu *c = w->c;

	c->cr0 |= CR0_PE | CR0_PG;
	c->cr0 &= ~(CR0_CD | CR0_NW);
	c->cr4 |= CR4_PAE;
	c->cr3 = W_TABLES;
	c->efer |= EFER_LME | EFER_LMA;
	c->gdtr = (struct dtable){ .base = W_GDT, .limit = 31 };
	c->idtr = (struct dtable){ .base = W_IDT, .limit = 0xfff };
	c->seg[SEG_CS] = (struct seg){ .sel = 8, .attr = 0xa9b, .limit = ~0u };
	for (unsigned s = 0; s < NR_SEGS; s++)
		if (s != SEG_CS)
			c->seg[s] = (struct seg){ .sel = 16, .attr = 0xc93, .limit = ~0u };
	c->r[RSP] = W_STACK;
	c->r[R_RIP] = W_CODE;
	cpu_update_mode(c);
	mmu_reset(c);
}

static inline void world_ops(struct world *w)
{
	mmu_ops(&w->ops);
	w->ops.ack_extint = world_ack;
	w->ops.host_tsc = world_time;
	w->ops.now_ns = world_time;
	w->ops.wall_ns = world_time;
	w->ops.exclusive_begin = world_nothing;
	w->ops.exclusive_end = world_nothing;
}

static inline struct world *world_new_model(const char *model)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err e;

	assert_non_null(w);
	w->model = cpuid_model_new(model, 1, &e);
	assert_non_null(w->model);
	w->m = mem_new(&e);
	assert_non_null(w->m);
	assert_int_equal(mem_add_ram(w->m, 0, W_RAM, &e), 0);
	world_ops(w);
	w->c = cpu_new(0, w->model, &w->ops);
	assert_non_null(w->c);
	w->c->vm = w;
	w->c->counters = &w->counters;
	w->u = mmu_new(w->c, w->m);
	assert_non_null(w->u);
	assert_int_equal(engine_interp.attach(w->c, w->m, &e), 0);
	cpu_reset(w->c, false);
	world_tables(w);
	world_registers(w);
	return w;
}

static inline struct world *world_new(void)
{
	return world_new_model("x86-64-v2");
}

static inline void world_free(struct world *w)
{
	engine_interp.detach(w->c);
	mmu_free(w->u);
	cpu_free(w->c);
	mem_free(w->m);
	cpuid_model_free(w->model);
	free(w);
}

/* Back to W_CODE with the CPU as world_new() made it, memory as it is. */
static inline void world_restart(struct world *w)
{
	cpu_reset(w->c, false);
	world_registers(w);
	w->c->icount = 0;
}

static inline void code_at(struct world *w, u64 gpa, const void *bytes, size_t n)
{
	assert_int_equal(mem_write(w->m, gpa, bytes, n), 0);
}

#define CODE(w, gpa, ...)                                \
	do {                                             \
		const u8 bytes_[] = { __VA_ARGS__ };     \
		code_at(w, gpa, bytes_, sizeof(bytes_)); \
	} while (0)

/* Runs until halted. */
static inline void run_to_halt(struct world *w)
{
	assert_int_equal(engine_interp.run(w->c, 0), EXIT_HALT);
}

/* The vector whose handler the vCPU halted in, or -1. */
static inline int halted_in(const struct world *w)
{
	u64 at = w->c->r[R_RIP] - 1 - W_HANDLERS;

	return at < 16 * 256 && at % 16 == 0 ? (int)(at / 16) : -1;
}

#endif
