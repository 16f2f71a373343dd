/* SPDX-License-Identifier: Apache-2.0
 * Far JMP, CALL, RET and IRET: privilege rules, gates, stack switches, and that a fault leaves no trace.
 */
#include "flat_cpu.h"

/* What a faulting transfer must not change. */
struct trace {
	u64 r[NR_REGS];
	struct seg seg[NR_SEGS];
	u64 flags;
};

static struct trace trace_take(const struct cpu *c)
{
	struct trace t = { .flags = cpu_rflags(c) };

	memcpy(t.r, c->r, sizeof(t.r));
	memcpy(t.seg, c->seg, sizeof(t.seg));
	return t;
}

static void assert_no_trace(const struct cpu *c, const struct trace *t)
{
	assert_memory_equal(t->r, c->r, sizeof(t->r));
	assert_memory_equal(t->seg, c->seg, sizeof(t->seg));
	assert_int_equal(t->flags, cpu_rflags(c));
}

/* jmp sel:9000h in 32-bit code */
static int jump(struct flat *f, u16 sel)
{
	return FLAT_EXEC(f, 0xea, 0x00, 0x90, 0x00, 0x00, (u8)sel, (u8)(sel >> 8));
}

static int call(struct flat *f, u16 sel)
{
	return FLAT_EXEC(f, 0x9a, 0x00, 0x90, 0x00, 0x00, (u8)sel, (u8)(sel >> 8));
}

/* SDM 2 JMP and CALL, direct: type, DPL, RPL, presence, limit. */
static void test_direct(void **state)
{
	const u16 code = SEG_P | SEG_S | SEG_CODE | SEG_D | SEG_G;
	static const u32 big = 0xfffff;
	const struct {
		u32 limit;
		u16 attr;
		u8 rpl, cpl;
		int vector;
		bool zero_error;
	} cases[] = {
		{ big, code, 0, 0, -1, false },
		{ big, code, 3, 0, EXC_GP, false },
		{ big, code, 0, 3, EXC_GP, false },
		{ big, code | SEG_DPL, 3, 3, -1, false },
		{ big, code | SEG_DPL, 0, 3, -1, false },
		{ big, code | SEG_DPL, 0, 0, EXC_GP, false },
		{ big, code | SEG_C, 3, 3, -1, false },
		{ big, code | SEG_C | SEG_DPL, 0, 0, EXC_GP, false },
		{ big, (u16)(code & ~SEG_P), 0, 0, EXC_NP, false },
		{ big, SEG_P | SEG_S | SEG_W, 0, 0, EXC_GP, false },
		{ big, SEG_P | SYS_LDT, 0, 0, EXC_GP, false },
		{ big, SEG_P | SYS_TSS32_BUSY, 0, 0, EXC_GP, false },
		{ 8, code, 0, 0, EXC_GP, true },
	};

	(void)state;
	for (unsigned n = 0; n < 2 * ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(cases[n / 2].cpl);
		u16 sel = SEL_FREE | cases[n / 2].rpl;
		struct trace t;
		u64 sp = f->c->r[RSP];
		int out, vector = cases[n / 2].vector;

		flat_gdt(f, SEL_FREE, flat_desc(0, cases[n / 2].limit, cases[n / 2].attr));
		t = trace_take(f->c);
		out = n & 1 ? call(f, sel) : jump(f, sel);
		if (vector < 0) {
			assert_int_equal(out, OUT_END);
			assert_int_equal(f->c->r[R_RIP], 0x9000);
			assert_int_equal(f->c->seg[SEG_CS].sel, SEL_FREE | cases[n / 2].cpl);
			assert_int_equal(f->c->d.cpl, cases[n / 2].cpl);
			if (n & 1) {
				assert_int_equal(f->c->r[RSP], sp - 8);
				assert_int_equal(flat_get(f, sp - 8, 4), FLAT_CODE + 7);
				assert_int_equal(flat_get(f, sp - 4, 4), t.seg[SEG_CS].sel);
			}
		} else {
			flat_assert_fault(f, out, (u8)vector, cases[n / 2].zero_error ? 0 : sel & 0xfffc);
			assert_no_trace(f->c, &t);
		}
		flat_free(f);
	}
}

static void test_gate_checks(void **state)
{
	static const struct {
		u16 target;
		u8 dpl, rpl, cpl;
		bool absent;
		int vector;
		u16 error;
		u8 cpl_after;
	} cases[] = {
		{ SEL_CODE0, 3, 3, 3, false, -1, 0, 0 },
		{ SEL_CODE1, 3, 3, 3, false, -1, 0, 1 },
		{ SEL_CODE0, 0, 0, 0, false, -1, 0, 0 },
		{ SEL_CONFORM, 3, 3, 3, false, -1, 0, 3 },
		{ SEL_CODE0, 2, 3, 3, false, EXC_GP, SEL_FREE, 0 },
		{ SEL_CODE0, 2, 3, 0, false, EXC_GP, SEL_FREE, 0 },
		{ SEL_CODE0, 3, 3, 3, true, EXC_NP, SEL_FREE, 0 },
		{ SEL_CODE3, 3, 0, 0, false, EXC_GP, SEL_CODE3 & ~3, 0 },
		{ SEL_DATA0, 3, 3, 3, false, EXC_GP, SEL_DATA0, 0 },
		{ 0, 3, 3, 3, false, EXC_GP, 0, 0 },
		{ 0x400, 3, 3, 3, false, EXC_GP, 0x400, 0 },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(cases[n].cpl);
		u64 gate = flat_gate(cases[n].target, 0xa000, SYS_CALL32, cases[n].dpl);
		struct trace t = trace_take(f->c);
		int out;

		flat_gdt(f, SEL_FREE, cases[n].absent ? gate & ~BIT(47) : gate);
		out = call(f, SEL_FREE | cases[n].rpl);
		if (cases[n].vector < 0) {
			assert_int_equal(out, OUT_END);
			assert_int_equal(f->c->r[R_RIP], 0xa000);
			assert_int_equal(f->c->d.cpl, cases[n].cpl_after);
			assert_int_equal(f->c->seg[SEG_CS].sel & 3, cases[n].cpl_after);
		} else {
			flat_assert_fault(f, out, (u8)cases[n].vector, cases[n].error);
			assert_no_trace(f->c, &t);
		}
		flat_free(f);
	}
}

/* Parameters travel to the inner stack and RETF n takes them off both (SDM 3A 5.8.5). */
static void test_gate_parameters(void **state)
{
	struct flat *f = flat_protected(3);
	struct cpu *c = f->c;
	u64 sp = c->r[RSP] - 12;

	(void)state;
	c->r[RSP] = sp;
	flat_put(f, sp, 0x11, 4);
	flat_put(f, sp + 4, 0x22, 4);
	flat_put(f, sp + 8, 0x33, 4);
	flat_gdt(f, SEL_FREE, flat_gate(SEL_CODE0, 0xa000, SYS_CALL32, 3) | 3ull << 32);
	assert_int_equal(call(f, SEL_FREE | 3), OUT_END);
	assert_int_equal(c->r[RSP], FLAT_STACK0 - 7 * 4);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 4, 4), SEL_DATA3);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 8, 4), sp);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 12, 4), 0x33);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 20, 4), 0x11);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 24, 4), SEL_CODE3);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 28, 4), FLAT_CODE + 7);
	assert_int_equal(c->seg[SEG_SS].sel, SEL_DATA0);
	flat_load_seg(f, SEG_DS, SEL_DATA0);
	assert_int_equal(FLAT_EXEC(f, 0xca, 12, 0), OUT_END);
	assert_int_equal(c->r[RSP], sp + 12);
	assert_int_equal(c->d.cpl, 3);
	assert_int_equal(c->seg[SEG_SS].sel, SEL_DATA3);
	assert_int_equal(c->seg[SEG_DS].sel, 0); /* inner data segments become null */
	assert_int_equal(c->seg[SEG_ES].sel, SEL_DATA3);
	flat_free(f);
}

/* The faults of a stack switch: nothing changes, the error code names the right selector. */
static void test_gate_stack_faults(void **state)
{
	static const struct {
		u16 ss;
		u32 esp;
		u32 tss_limit;
		int vector;
		u32 error;
	} cases[] = {
		{ 0, FLAT_STACK0, 0x67, EXC_TS, 0 },
		{ SEL_DATA3, FLAT_STACK0, 0x67, EXC_TS, SEL_DATA3 & ~3 },
		{ SEL_DATA0 | 1, FLAT_STACK0, 0x67, EXC_TS, SEL_DATA0 },
		{ SEL_CODE0, FLAT_STACK0, 0x67, EXC_TS, SEL_CODE0 },
		{ 0x400, FLAT_STACK0, 0x67, EXC_TS, 0x400 },
		{ SEL_DATA0, FLAT_STACK0, 8, EXC_TS, SEL_TSS },
		{ SEL_FREE + 8, 0x1000, 0x67, EXC_SS, SEL_FREE + 8 },  /* not present */
		{ SEL_FREE + 16, 0x104, 0x67, EXC_SS, SEL_FREE + 16 }, /* outside its limit */
		{ SEL_DATA0, 0x60004, 0x67, EXC_PF, PF_W },	       /* page fault on the second push */
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(3);
		struct trace t = trace_take(f->c);

		f->hole_lo = 0x5f000;
		f->hole_hi = 0x60000;
		flat_gdt(f, SEL_FREE, flat_gate(SEL_CODE0, 0xa000, SYS_CALL32, 3));
		flat_gdt(f, SEL_FREE + 8, flat_desc(0, 0xfffff, SEG_S | SEG_W | SEG_D | SEG_G));
		flat_gdt(f, SEL_FREE + 16, flat_desc(0, 0xff, SEG_P | SEG_S | SEG_W | SEG_D));
		flat_put(f, FLAT_TSS + 4, cases[n].esp, 4);
		flat_put(f, FLAT_TSS + 8, cases[n].ss, 2);
		f->c->tr.limit = cases[n].tss_limit;
		flat_assert_fault(f, call(f, SEL_FREE | 3), (u8)cases[n].vector, cases[n].error);
		assert_no_trace(f->c, &t);
		if (cases[n].vector == EXC_PF)
			assert_int_equal(f->c->exc.payload, 0x5fffc);
		flat_free(f);
	}
}

static void test_gate16_and_64(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;
	u64 sp = c->r[RSP];

	(void)state;
	flat_gdt(f, SEL_FREE, flat_gate(SEL_CODE16, 0x1234a000, SYS_CALL16, 0) & 0xffffffffffff);
	assert_int_equal(call(f, SEL_FREE), OUT_END);
	assert_int_equal(c->r[R_RIP], 0xa000);
	assert_int_equal(c->d.code, CODE16);
	assert_int_equal(c->r[RSP], sp - 4); /* two words */
	assert_int_equal(flat_get(f, sp - 4, 2), FLAT_CODE + 7);
	flat_free(f);

	f = flat_long(3);
	c = f->c;
	flat_gdt(f, SEL_FREE, flat_gate(SEL_CODE64, 0xa000, SYS_CALL32, 3));
	flat_put(f, FLAT_GDT + SEL_FREE + 8, 0, 8);
	flat_put(f, FLAT_DATA, FLAT_CODE, 4);
	flat_put(f, FLAT_DATA + 4, SEL_FREE | 3, 2);
	c->r[RBX] = FLAT_DATA;
	sp = c->r[RSP];
	assert_int_equal(FLAT_EXEC(f, 0xff, 0x1b), OUT_END); /* call far [rbx] */
	assert_int_equal(c->r[RSP], FLAT_STACK0 - 32);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 8, 8), SEL_DATA3);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 16, 8), sp);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 24, 8), SEL_CODE64_3);
	assert_int_equal(flat_get(f, FLAT_STACK0 - 32, 8), FLAT_CODE + 2);
	assert_int_equal(c->seg[SEG_SS].sel, 0);
	assert_int_equal(c->d.cpl, 0);
	assert_int_equal(FLAT_EXEC(f, 0x48, 0xcb), OUT_END); /* retfq */
	assert_int_equal(c->d.cpl, 3);
	assert_int_equal(c->r[RSP], sp);
	/* gates must lead to 64-bit code, and no task gates or 16-bit gates exist */
	flat_gdt(f, SEL_FREE, flat_gate(SEL_CODE0, 0xa000, SYS_CALL32, 3));
	flat_assert_fault(f, FLAT_EXEC(f, 0xff, 0x1b), EXC_GP, SEL_CODE0);
	flat_gdt(f, SEL_FREE, flat_gate(SEL_CODE64, 0xa000, SYS_CALL16, 3));
	flat_assert_fault(f, FLAT_EXEC(f, 0xff, 0x1b), EXC_GP, SEL_FREE);
	flat_gdt(f, SEL_FREE, flat_gate(SEL_TSS, 0, SYS_TASK_GATE, 3));
	flat_assert_fault(f, FLAT_EXEC(f, 0xff, 0x1b), EXC_GP, SEL_FREE);
	flat_free(f);
}

static void test_mode_jumps(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;

	(void)state;
	c->r[RBX] = FLAT_DATA;
	flat_put(f, FLAT_DATA, 0x9000, 4);
	flat_put(f, FLAT_DATA + 4, SEL_CODE0, 2);
	assert_int_equal(FLAT_EXEC(f, 0xff, 0x2b), OUT_END); /* to compatibility mode */
	assert_int_equal(c->d.code, CODE32);
	assert_false(c->d.long64);
	assert_int_equal(jump(f, SEL_CODE64), OUT_END);
	assert_true(c->d.long64);
	/* L and D together */
	flat_gdt(f, SEL_FREE, flat_desc(0, 0xfffff, SEG_P | SEG_S | SEG_CODE | SEG_L | SEG_D));
	flat_put(f, FLAT_DATA + 4, SEL_FREE, 2);
	flat_assert_fault(f, FLAT_EXEC(f, 0xff, 0x2b), EXC_GP, SEL_FREE);
	/* m16:64 beyond the canonical range */
	flat_put(f, FLAT_DATA, BIT(60), 8);
	flat_put(f, FLAT_DATA + 8, SEL_CODE64, 2);
	flat_assert_fault(f, FLAT_EXEC(f, 0x48, 0xff, 0x2b), EXC_GP, 0);
	flat_free(f);
}

static void test_real_mode(void **state)
{
	struct flat *f = flat_real();
	struct cpu *c = f->c;

	(void)state;
	assert_int_equal(FLAT_EXEC(f, 0x9a, 0x34, 0x12, 0x00, 0x10), OUT_END);
	assert_int_equal(c->seg[SEG_CS].base, 0x10000);
	assert_int_equal(c->r[R_RIP], 0x1234);
	assert_int_equal(c->r[RSP], 0x6ffc);
	assert_int_equal(flat_get(f, 0x6ffc, 4), FLAT_CODE + 5);
	assert_int_equal(FLAT_EXEC(f, 0xcb), OUT_END);
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 5);
	assert_int_equal(c->r[RSP], 0x7000);
	/* 32-bit far jump past the limit */
	flat_assert_fault(f, FLAT_EXEC(f, 0x66, 0xea, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00), EXC_GP, 0);
	/* the stack wraps inside its segment */
	c->r[RSP] = 2;
	assert_int_equal(FLAT_EXEC(f, 0x9a, 0x34, 0x12, 0x00, 0x10), OUT_END);
	assert_int_equal(c->r[RSP], 0xfffe);
	assert_int_equal(flat_get(f, 0, 2), 0);
	assert_int_equal(flat_get(f, 0xfffe, 2), FLAT_CODE + 10);
	flat_free(f);
}

/* ---- IRET -------------------------------------------------------------------------------------------------------- */

static void push_frame(struct flat *f, const u64 *item, unsigned n, unsigned size)
{
	while (n) {
		f->c->r[RSP] -= size;
		flat_put(f, f->c->r[RSP], item[--n], size);
	}
}

static void test_iret_flags(void **state)
{
	static const struct {
		u8 cpl, iopl, size;
		u64 image, before, after;
	} cases[] = {
		{ 0, 0, 4, 0x3f7fd7 & ~FLAG_VM & ~FLAG_NT, 2, 0x3f7fd7 & ~FLAG_VM & ~FLAG_NT },
		{ 0, 0, 2, 0x3d7, FLAG_AC | 2, 0x3d7 | FLAG_AC },
		{ 3, 0, 4, FLAG_IF | FLAG_IOPL | FLAG_CF, 2, FLAG_CF | 2 },
		{ 3, 3, 4, FLAG_IF | FLAG_CF, 2 | FLAG_IOPL, FLAG_CF | FLAG_IF | FLAG_IOPL | 2 },
		{ 3, 3, 4, FLAG_VIF | FLAG_VIP, 2 | FLAG_IOPL, FLAG_IOPL | 2 },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(cases[n].cpl);
		const u64 item[] = { 0x9000, cases[n].cpl ? SEL_CODE3 : SEL_CODE0, cases[n].image };
		int out;

		cpu_set_rflags_raw(f->c, cases[n].before);
		push_frame(f, item, 3, cases[n].size);
		if (cases[n].size == 4)
			out = FLAT_EXEC(f, 0xcf);
		else
			out = FLAT_EXEC(f, 0x66, 0xcf);
		assert_int_equal(out, OUT_END);
		assert_int_equal(f->c->r[R_RIP], 0x9000);
		assert_int_equal(cpu_rflags(f->c), cases[n].after);
		flat_free(f);
	}
}

static void test_iret_outer(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;
	u64 item[] = { 0x9000, SEL_CODE3, FLAG_IF | 2, FLAT_STACK3, SEL_DATA3 };
	struct trace t;

	(void)state;
	push_frame(f, item, 5, 4);
	c->nmi_blocked = true;
	assert_int_equal(FLAT_EXEC(f, 0xcf), OUT_END);
	assert_false(c->nmi_blocked);
	assert_int_equal(c->d.cpl, 3);
	assert_int_equal(c->r[RSP], FLAT_STACK3);
	assert_int_equal(c->seg[SEG_DS].sel, 0);
	assert_true(c->rflags & FLAG_IF);
	flat_free(f);

	f = flat_protected(0);
	item[4] = SEL_DATA0;
	push_frame(f, item, 5, 4);
	t = trace_take(f->c);
	flat_assert_fault(f, FLAT_EXEC(f, 0xcf), EXC_GP, SEL_DATA0);
	assert_no_trace(f->c, &t);
	flat_free(f);

	f = flat_protected(3); /* never inwards */
	item[1] = SEL_CODE0;
	push_frame(f, item, 5, 4);
	flat_assert_fault(f, FLAT_EXEC(f, 0xcf), EXC_GP, SEL_CODE0);
	flat_free(f);
}

static void test_iret_vm86(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;
	const u64 item[] = {
		0x1234, 0x1000, FLAG_VM | FLAG_IF | FLAG_IOPL | 2, 0xfff0, 0x2000, 0x11, 0x22, 0x33, 0x44
	};

	(void)state;
	push_frame(f, item, 9, 4);
	assert_int_equal(FLAT_EXEC(f, 0xcf), OUT_END);
	assert_true(c->d.vm86);
	assert_int_equal(c->d.cpl, 3);
	assert_int_equal(c->d.code, CODE16);
	assert_int_equal(c->seg[SEG_CS].base, 0x10000);
	assert_int_equal(c->seg[SEG_SS].base, 0x20000);
	assert_int_equal(c->seg[SEG_ES].base, 0x110);
	assert_int_equal(c->seg[SEG_DS].base, 0x220);
	assert_int_equal(c->seg[SEG_GS].base, 0x440);
	assert_int_equal(c->r[RSP], 0xfff0);
	flat_free(f);
}

static void test_iret_long(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;
	u64 item[] = { 0x9000, SEL_CODE64, FLAG_VM | 2, FLAT_STACK1, SEL_DATA0 };

	(void)state;
	push_frame(f, item, 5, 8);
	assert_int_equal(FLAT_EXEC(f, 0x48, 0xcf), OUT_END); /* SS:RSP popped even to the same level; VM ignored */
	assert_int_equal(c->r[RSP], FLAT_STACK1);
	assert_int_equal(c->seg[SEG_SS].sel, SEL_DATA0);
	assert_false(c->rflags & FLAG_VM);
	item[4] = 0;
	push_frame(f, item, 5, 8);
	assert_int_equal(FLAT_EXEC(f, 0x48, 0xcf), OUT_END); /* null SS */
	item[4] = 3;
	item[1] = SEL_CODE64_3;
	push_frame(f, item, 5, 8);
	flat_assert_fault(f, FLAT_EXEC(f, 0x48, 0xcf), EXC_GP, 0);
	item[4] = SEL_DATA3;
	item[0] = BIT(55);
	push_frame(f, item, 5, 8);
	flat_assert_fault(f, FLAT_EXEC(f, 0x48, 0xcf), EXC_GP, 0);
	c->rflags |= FLAG_NT;
	flat_assert_fault(f, FLAT_EXEC(f, 0x48, 0xcf), EXC_GP, 0);
	c->rflags &= ~(u32)FLAG_NT;
	item[0] = 0x9000;
	item[1] = SEL_CODE3;
	push_frame(f, item, 5, 8);
	assert_int_equal(FLAT_EXEC(f, 0x48, 0xcf), OUT_END); /* to compatibility mode */
	assert_int_equal(c->d.code, CODE32);
	assert_int_equal(c->d.cpl, 3);
	flat_free(f);
}

/* A 16-bit stack segment takes only SP. */
static void test_iret_to_16bit_stack(void **state)
{
	struct flat *f = flat_protected(0);
	const u64 item[] = { 0x9000, SEL_CODE3, 2, 0x5678, SEL_FREE | 3 };

	(void)state;
	flat_gdt(f, SEL_FREE, flat_desc(0, 0xffff, SEG_P | SEG_S | SEG_W | SEG_DPL));
	push_frame(f, item, 5, 4);
	f->c->r[RSP] |= 0;
	u64 high = f->c->r[RSP] & ~0xffffull;

	assert_int_equal(FLAT_EXEC(f, 0xcf), OUT_END);
	assert_int_equal(f->c->r[RSP], high | 0x5678);
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_direct),		cmocka_unit_test(test_gate_checks),
		cmocka_unit_test(test_gate_parameters), cmocka_unit_test(test_gate_stack_faults),
		cmocka_unit_test(test_gate16_and_64),	cmocka_unit_test(test_mode_jumps),
		cmocka_unit_test(test_real_mode),	cmocka_unit_test(test_iret_flags),
		cmocka_unit_test(test_iret_outer),	cmocka_unit_test(test_iret_vm86),
		cmocka_unit_test(test_iret_long),	cmocka_unit_test(test_iret_to_16bit_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
