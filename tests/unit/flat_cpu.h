/* SPDX-License-Identifier: Apache-2.0
 * A vCPU over one flat array of memory, without paging, devices or TLB: linear address = array index. For unit tests of
 * cpu/. Two windows of addresses can be made to fault. flat_step() runs one instruction the way an engine does.
 */
#ifndef TESTS_FLAT_CPU_H
#define TESTS_FLAT_CPU_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/debug.h"
#include "cpu/decode.h"
#include "cpu/event.h"
#include "cpu/segment.h"

#define FLAT_SIZE (1u << 20)

/* Where flat_protected() and flat_long() put things. */
enum {
	FLAT_GDT = 0x1000,
	FLAT_IDT = 0x2000,
	FLAT_TSS = 0x3000,
	FLAT_CODE = 0x8000,
	FLAT_HANDLERS = 0x10000,
	FLAT_STACK0 = 0x20000,
	FLAT_STACK1 = 0x28000,
	FLAT_STACK3 = 0x30000,
	FLAT_IST = 0x38000,
	FLAT_DATA = 0x40000,
};

/* Selectors of their GDT. From SEL_FREE on the slots are the test's. */
enum {
	SEL_CODE0 = 0x08,
	SEL_DATA0 = 0x10,
	SEL_CODE3 = 0x18 | 3,
	SEL_DATA3 = 0x20 | 3,
	SEL_TSS = 0x28,
	SEL_CODE16 = 0x38,
	SEL_DATA16 = 0x40,
	SEL_CODE64 = 0x48,
	SEL_CODE64_3 = 0x50 | 3,
	SEL_CONFORM = 0x58,
	SEL_DATA1 = 0x60 | 1,
	SEL_CODE1 = 0x68 | 1,
	SEL_FREE = 0x80,
	SEL_LIMIT = 0x3ff,
};

struct flat {
	struct cpu *c;
	u8 *mem;
	struct cpuid_model model;
	struct cpu_ops ops;
	struct counters counters;
	u64 hole_lo, hole_hi; /* any access: #PF */
	u64 ro_lo, ro_hi;     /* writes: #PF */
	u8 extint;
	u32 port_value;
	unsigned flushes, acks;
};

static inline struct flat *flat_of(struct cpu *c)
{
	return c->vm;
}

static inline int flat_check(struct cpu *c, u64 lin, unsigned size, unsigned acc)
{
	struct flat *f = flat_of(c);
	bool write = acc & (ACC_W | ACC_RMW), user = c->d.cpl == 3 && !(acc & ACC_SYS);
	u32 error = (write ? PF_W : 0u) | (user ? PF_U : 0u);

	if (c->d.long64 && !cpu_canonical(c, lin))
		return acc & ACC_SS ? cpu_raise_error(c, EXC_SS, 0) : cpu_gp(c, 0);
	for (u64 a = lin; a < lin + size; a++) {
		if (a >= FLAT_SIZE || (a >= f->hole_lo && a < f->hole_hi))
			return cpu_pf(c, a, error);
		if (write && a >= f->ro_lo && a < f->ro_hi)
			return cpu_pf(c, a, error | PF_P);
	}
	return OUT_DONE;
}

static inline int flat_load(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc)
{
	int out = flat_check(c, lin, size, acc & ~(unsigned)ACC_W);

	if (!out)
		memcpy(buf, flat_of(c)->mem + lin, size);
	if (!out && debug_data_armed(c))
		debug_data_access(c, lin, size, acc & ~(unsigned)ACC_W);
	return out;
}

static inline int flat_store(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc)
{
	int out = flat_check(c, lin, size, acc | ACC_W);

	if (!out)
		memcpy(flat_of(c)->mem + lin, buf, size);
	if (!out && debug_data_armed(c))
		debug_data_access(c, lin, size, acc | ACC_W);
	return out;
}

static inline void *flat_pin(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out)
{
	*out = flat_check(c, lin, size, acc | ACC_W);
	return *out ? NULL : flat_of(c)->mem + lin;
}

static inline int flat_cmpxchg(struct cpu *c, u64 lin, const void *old, const void *val, void *seen, unsigned size)
{
	int out = flat_load(c, lin, seen, size, ACC_RMW);

	return out || memcmp(seen, old, size) ? out : flat_store(c, lin, val, size, ACC_W);
}

static inline void flat_tlb_page(struct cpu *c, u64 lin)
{
	(void)lin;
	flat_of(c)->flushes++;
}

static inline void flat_tlb_flush(struct cpu *c, enum tlb_scope scope, u32 pcid, u64 lin)
{
	(void)scope;
	(void)pcid;
	(void)lin;
	flat_of(c)->flushes++;
}

static inline void flat_nothing(struct cpu *c)
{
	(void)c;
}

static inline u32 flat_in(struct cpu *c, u16 port, unsigned size)
{
	(void)port;
	(void)size;
	return flat_of(c)->port_value;
}

static inline void flat_out(struct cpu *c, u16 port, unsigned size, u32 val)
{
	(void)port;
	(void)size;
	flat_of(c)->port_value = val;
}

static inline int flat_phys_read(struct cpu *c, u64 gpa, void *buf, unsigned size)
{
	if (gpa + size > FLAT_SIZE)
		return -1;
	memcpy(buf, flat_of(c)->mem + gpa, size);
	return 0;
}

static inline int flat_phys_write(struct cpu *c, u64 gpa, const void *buf, unsigned size)
{
	if (gpa + size > FLAT_SIZE)
		return -1;
	memcpy(flat_of(c)->mem + gpa, buf, size);
	return 0;
}

static inline u8 flat_ack_extint(struct cpu *c)
{
	flat_of(c)->acks++;
	atomic_fetch_and(&c->attention, ~(unsigned)ATT_EXTINT);
	return flat_of(c)->extint;
}

static inline u64 flat_time(struct cpu *c)
{
	(void)c;
	return 0;
}

/* A vCPU after power-on. */
static inline struct flat *flat_new(void)
{
	static const struct tlbe never[TLB_SIZE] = { [0 ... TLB_SIZE - 1] = { .r = TLB_NO_TAG, .w = TLB_NO_TAG } };
	struct flat *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->mem = calloc(1, FLAT_SIZE + 64);
	assert_non_null(f->mem);
	f->model.lin_bits = 48;
	f->model.phys_bits = 40;
	f->ops = (struct cpu_ops){ .load = flat_load,
				   .store = flat_store,
				   .pin = flat_pin,
				   .cmpxchg = flat_cmpxchg,
				   .tlb_page = flat_tlb_page,
				   .tlb_flush = flat_tlb_flush,
				   .mode_changed = flat_nothing,
				   .in = flat_in,
				   .out = flat_out,
				   .phys_read = flat_phys_read,
				   .phys_write = flat_phys_write,
				   .ack_extint = flat_ack_extint,
				   .host_tsc = flat_time,
				   .now_ns = flat_time,
				   .wall_ns = flat_time,
				   .exclusive_begin = flat_nothing,
				   .exclusive_end = flat_nothing };
	f->c = cpu_new(0, &f->model, &f->ops);
	assert_non_null(f->c);
	f->c->vm = f;
	f->c->counters = &f->counters;
	f->c->tlb = (struct tlbe *)never;
	cpu_reset(f->c, false);
	return f;
}

static inline void flat_free(struct flat *f)
{
	cpu_free(f->c);
	free(f->mem);
	free(f);
}

/* ---- memory and descriptors ------------------------------------------------------------------------------------ */

static inline u64 flat_get(struct flat *f, u64 at, unsigned size)
{
	u64 v = 0;

	memcpy(&v, f->mem + at, size);
	return v;
}

static inline void flat_put(struct flat *f, u64 at, u64 v, unsigned size)
{
	memcpy(f->mem + at, &v, size);
}

static inline u64 flat_desc(u32 base, u32 limit20, u16 attr)
{
	return (limit20 & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
	       (u64)(limit20 >> 16 & 0xf) << 48 | (u64)(attr >> 8 & 0xf) << 52 | (u64)(base >> 24) << 56;
}

static inline u64 flat_gate(u16 sel, u32 off, unsigned type, unsigned dpl)
{
	return (off & 0xffff) | (u64)sel << 16 | (u64)(type | dpl << 5 | 0x80) << 40 | (u64)(off >> 16) << 48;
}

static inline void flat_gdt(struct flat *f, u16 sel, u64 desc)
{
	flat_put(f, FLAT_GDT + (sel & 0xfff8u), desc, 8);
}

/* Vector's gate, in the format of the mode in force; handlers stand at FLAT_HANDLERS + 16 * vector. */
static inline void flat_idt(struct flat *f, u8 vector, u16 sel, unsigned type, unsigned dpl)
{
	u64 gate = flat_gate(sel, FLAT_HANDLERS + 16u * vector, type, dpl);

	if (f->c->d.lma) {
		flat_put(f, FLAT_IDT + 16u * vector, gate, 8);
		flat_put(f, FLAT_IDT + 16u * vector + 8, 0, 8);
	} else {
		flat_put(f, FLAT_IDT + 8u * vector, gate, 8);
	}
}

/* ---- modes ------------------------------------------------------------------------------------------------------- */

static inline void flat_load_seg(struct flat *f, unsigned seg, u16 sel)
{
	struct desc d = { .lo = sel & 0xfffc ? flat_get(f, FLAT_GDT + (sel & 0xfff8u), 8) : 0 };

	f->c->seg[seg] = sel & 0xfffc ? seg_from_desc(sel, &d) : (struct seg){ .sel = sel };
}

static inline void flat_tables(struct flat *f)
{
	const u16 code = SEG_CODE | SEG_R | SEG_A | SEG_S | SEG_P, data = SEG_W | SEG_A | SEG_S | SEG_P;

	flat_gdt(f, SEL_CODE0, flat_desc(0, 0xfffff, code | SEG_D | SEG_G));
	flat_gdt(f, SEL_DATA0, flat_desc(0, 0xfffff, data | SEG_D | SEG_G));
	flat_gdt(f, SEL_CODE3, flat_desc(0, 0xfffff, code | SEG_D | SEG_G | SEG_DPL));
	flat_gdt(f, SEL_DATA3, flat_desc(0, 0xfffff, data | SEG_D | SEG_G | SEG_DPL));
	flat_gdt(f, SEL_CODE16, flat_desc(0, 0xffff, code));
	flat_gdt(f, SEL_DATA16, flat_desc(0, 0xffff, data));
	flat_gdt(f, SEL_CODE64, flat_desc(0, 0xfffff, code | SEG_L | SEG_G));
	flat_gdt(f, SEL_CODE64_3, flat_desc(0, 0xfffff, code | SEG_L | SEG_G | SEG_DPL));
	flat_gdt(f, SEL_CONFORM, flat_desc(0, 0xfffff, code | SEG_C | SEG_D | SEG_G));
	flat_gdt(f, SEL_DATA1, flat_desc(0, 0xfffff, data | SEG_D | SEG_G | 1 << SEG_DPL_SHIFT));
	flat_gdt(f, SEL_CODE1, flat_desc(0, 0xfffff, code | SEG_D | SEG_G | 1 << SEG_DPL_SHIFT));
	f->c->gdtr = (struct dtable){ .base = FLAT_GDT, .limit = SEL_LIMIT };
	f->c->idtr = (struct dtable){ .base = FLAT_IDT, .limit = 0xfff };
}

static inline void flat_enter(struct flat *f, u16 cs, u16 ss, u64 sp)
{
	struct cpu *c = f->c;

	flat_load_seg(f, SEG_CS, cs);
	flat_load_seg(f, SEG_SS, ss);
	flat_load_seg(f, SEG_DS, ss);
	flat_load_seg(f, SEG_ES, ss);
	flat_load_seg(f, SEG_FS, 0);
	flat_load_seg(f, SEG_GS, 0);
	c->r[RSP] = sp;
	c->r[R_RIP] = FLAT_CODE;
	cpu_update_mode(c);
}

/* 32-bit protected mode at level 0 or 3; a 32-bit TSS with stacks for levels 0 and 1; interrupt gates for 0..31. */
static inline struct flat *flat_protected(unsigned cpl)
{
	struct flat *f = flat_new();
	struct cpu *c = f->c;

	flat_tables(f);
	c->cr0 |= CR0_PE;
	flat_gdt(f, SEL_TSS, flat_desc(FLAT_TSS, 0x67, SEG_P | SYS_TSS32_BUSY));
	c->tr = (struct seg){ .sel = SEL_TSS, .base = FLAT_TSS, .limit = 0x67, .attr = SEG_P | SYS_TSS32_BUSY };
	flat_put(f, FLAT_TSS + 4, FLAT_STACK0, 4);
	flat_put(f, FLAT_TSS + 8, SEL_DATA0, 4);
	flat_put(f, FLAT_TSS + 12, FLAT_STACK1, 4);
	flat_put(f, FLAT_TSS + 16, SEL_DATA1, 4);
	flat_put(f, FLAT_TSS + 0x66, 0x68, 2);
	for (unsigned v = 0; v < 32; v++)
		flat_idt(f, (u8)v, SEL_CODE0, SYS_INT32, 0);
	if (cpl)
		flat_enter(f, SEL_CODE3, SEL_DATA3, FLAT_STACK3);
	else
		flat_enter(f, SEL_CODE0, SEL_DATA0, FLAT_STACK0 - 0x1000);
	return f;
}

/* 64-bit mode at level 0 or 3, likewise; IST1 is FLAT_IST. */
static inline struct flat *flat_long(unsigned cpl)
{
	struct flat *f = flat_new();
	struct cpu *c = f->c;

	flat_tables(f);
	c->cr0 |= CR0_PE | CR0_PG;
	c->cr4 |= CR4_PAE;
	c->efer |= EFER_LME | EFER_LMA;
	c->tr = (struct seg){ .sel = SEL_TSS, .base = FLAT_TSS, .limit = 0x67, .attr = SEG_P | SYS_TSS32_BUSY };
	flat_gdt(f, SEL_TSS, flat_desc(FLAT_TSS, 0x67, SEG_P | SYS_TSS32_BUSY));
	flat_gdt(f, SEL_TSS + 8, 0);
	flat_put(f, FLAT_TSS + 4, FLAT_STACK0, 8);
	flat_put(f, FLAT_TSS + 36, FLAT_IST, 8);
	cpu_update_mode(c);
	for (unsigned v = 0; v < 32; v++)
		flat_idt(f, (u8)v, SEL_CODE64, SYS_INT32, 0);
	if (cpl)
		flat_enter(f, SEL_CODE64_3, SEL_DATA3, FLAT_STACK3);
	else
		flat_enter(f, SEL_CODE64, SEL_DATA0, FLAT_STACK0 - 0x1000);
	return f;
}

/* Real mode at 0:FLAT_CODE with a stack below 0x7000; vector v is at 0:FLAT_HANDLERS / 2 + v. */
static inline struct flat *flat_real(void)
{
	struct flat *f = flat_new();
	struct cpu *c = f->c;

	for (unsigned v = 0; v < 256; v++)
		flat_put(f, 4u * v, 0x9000 + v, 4);
	seg_load_legacy(c, SEG_CS, 0);
	c->idtr.limit = 0x3ff;
	c->r[R_RIP] = FLAT_CODE;
	c->r[RSP] = 0x7000;
	cpu_update_mode(c);
	return f;
}

/* ---- running ------------------------------------------------------------------------------------------------------
 */

static inline void flat_code(struct flat *f, const void *bytes, size_t n)
{
	memcpy(f->mem + f->c->seg[SEG_CS].base + f->c->r[R_RIP], bytes, n);
}

#define FLAT_BYTES(f, ...)                            \
	do {                                          \
		const u8 bytes_[] = { __VA_ARGS__ };  \
		flat_code(f, bytes_, sizeof(bytes_)); \
	} while (0)

/* One instruction, its fault not delivered. */
static inline int flat_exec(struct flat *f)
{
	struct cpu *c = f->c;
	u64 at = (c->d.ebase[SEG_CS] + c->r[R_RIP]) & c->d.lin_mask;
	struct insn i = { 0 };

	assert_true(at + 15 < FLAT_SIZE);
	assert_int_equal(decode_insn(&i, f->mem + at, 15, c->d.code, !c->d.pe || c->d.vm86), DECODE_OK);
	u32 rflags = c->rflags;
	u8 shadow = c->int_shadow;
	u64 rip = c->r[R_RIP];
	int out = cpu_exec(c, &i);

	if (out == OUT_DONE || out == OUT_END || out == OUT_HALT)
		event_retire(c, rflags, shadow, &i, rip);
	return out;
}

/* One instruction and what follows it at the boundary. */
static inline int flat_step(struct flat *f)
{
	struct cpu *c = f->c;
	int out = OUT_FAULT;

	if (!debug_code_armed(c) || !debug_code_breakpoint(c))
		out = flat_exec(f);
	if (out == OUT_FAULT)
		event_deliver(c, &c->exc);
	event_poll(c);
	return out;
}

/* Runs the given bytes as one instruction; its fault is in c->exc. */
#define FLAT_EXEC(f, ...)                   \
	({                                  \
		FLAT_BYTES(f, __VA_ARGS__); \
		flat_exec(f);               \
	})
#define FLAT_STEP(f, ...)                   \
	({                                  \
		FLAT_BYTES(f, __VA_ARGS__); \
		flat_step(f);               \
	})

static inline u64 flat_handler(u8 vector)
{
	return FLAT_HANDLERS + 16u * vector;
}

static inline void flat_assert_fault(struct flat *f, int out, u8 vector, u32 error)
{
	assert_int_equal(out, OUT_FAULT);
	assert_int_equal(f->c->exc.vector, vector);
	assert_int_equal(f->c->exc.error, error);
}

#endif
