/* SPDX-License-Identifier: Apache-2.0
 * Task switches by JMP, CALL, IRET and through task gates; their flags, links, busy bits and faults (SDM 3A 7.3).
 */
#include "flat_cpu.h"

enum { NEW_TSS = 0x5000, NEW_STACK = 0x48000, NEW_CODE = 0xb000, SEL_NEW = SEL_FREE, SEL_GATE = SEL_FREE + 8 };

/* A second 32-bit task, at level 0 unless changed. */
static void new_task(struct flat *f)
{
	const u16 seg[] = { SEL_DATA0, SEL_CODE0, SEL_DATA0, SEL_DATA0, 0, 0 };

	flat_gdt(f, SEL_NEW, flat_desc(NEW_TSS, 0x67, SEG_P | SYS_TSS32_AVAIL));
	flat_gdt(f, SEL_GATE, flat_gate(SEL_NEW, 0, SYS_TASK_GATE, 0));
	flat_put(f, NEW_TSS + 0x20, NEW_CODE, 4);
	flat_put(f, NEW_TSS + 0x24, 2 | FLAG_CF, 4);
	for (unsigned n = 0; n < 8; n++)
		flat_put(f, NEW_TSS + 0x28 + 4 * n, 0x1000 + n, 4);
	flat_put(f, NEW_TSS + 0x38, NEW_STACK, 4);
	for (unsigned n = 0; n < 6; n++)
		flat_put(f, NEW_TSS + 0x48 + 4 * n, seg[n], 4);
}

static struct flat *two_tasks(void)
{
	struct flat *f = flat_protected(0);

	new_task(f);
	for (unsigned n = 0; n < 8; n++)
		if (n != RSP)
			f->c->r[n] = 0x2000 + n;
	return f;
}

static int jump(struct flat *f, u16 sel)
{
	return FLAT_EXEC(f, 0xea, 0, 0, 0, 0, (u8)sel, (u8)(sel >> 8));
}

static int call(struct flat *f, u16 sel)
{
	return FLAT_EXEC(f, 0x9a, 0, 0, 0, 0, (u8)sel, (u8)(sel >> 8));
}

static bool busy(struct flat *f, u16 sel)
{
	return flat_get(f, FLAT_GDT + sel + 5, 1) & 2;
}

static void assert_in_new_task(struct flat *f)
{
	struct cpu *c = f->c;

	assert_int_equal(c->tr.sel, SEL_NEW);
	assert_int_equal(c->r[R_RIP], NEW_CODE);
	assert_int_equal(c->r[RSP], NEW_STACK);
	assert_int_equal(c->r[RDI], 0x1007);
	assert_int_equal(c->seg[SEG_CS].sel, SEL_CODE0);
	assert_true(c->cr0 & CR0_TS);
	assert_true(busy(f, SEL_NEW));
}

static void test_jump(void **state)
{
	struct flat *f = two_tasks();
	struct cpu *c = f->c;

	(void)state;
	c->dr[7] |= 0xff;
	assert_int_equal(jump(f, SEL_NEW), OUT_END);
	assert_in_new_task(f);
	assert_int_equal(cpu_rflags(c), FLAG_CF | 2);
	assert_false(busy(f, SEL_TSS));
	assert_int_equal(c->dr[7] & 0xff, 0xaa); /* local enables go */
	assert_int_equal(flat_get(f, FLAT_TSS + 0x20, 4), FLAT_CODE + 7);
	assert_int_equal(flat_get(f, FLAT_TSS + 0x2c, 4), 0x2001);
	assert_int_equal(flat_get(f, FLAT_TSS + 0x4c, 4), SEL_CODE0);
	flat_assert_fault(f, jump(f, SEL_NEW), EXC_GP, SEL_NEW); /* busy */
	flat_free(f);
}

static void test_call_and_return(void **state)
{
	struct flat *f = two_tasks();
	struct cpu *c = f->c;
	u64 sp = c->r[RSP];

	(void)state;
	assert_int_equal(call(f, SEL_GATE), OUT_END);
	assert_in_new_task(f);
	assert_true(c->rflags & FLAG_NT);
	assert_true(busy(f, SEL_TSS));
	assert_int_equal(flat_get(f, NEW_TSS, 2), SEL_TSS);
	assert_int_equal(FLAT_EXEC(f, 0xcf), OUT_END); /* iret */
	assert_int_equal(c->tr.sel, SEL_TSS);
	assert_int_equal(c->r[R_RIP], FLAT_CODE + 7);
	assert_int_equal(c->r[RSP], sp);
	assert_int_equal(c->r[RCX], 0x2001);
	assert_false(busy(f, SEL_NEW));
	assert_true(busy(f, SEL_TSS));
	assert_false(flat_get(f, NEW_TSS + 0x24, 4) & FLAG_NT);
	assert_int_equal(flat_get(f, NEW_TSS + 0x20, 4), NEW_CODE + 1);
	/* IRET with NT needs a busy TSS behind the link */
	c->rflags |= FLAG_NT;
	flat_put(f, FLAT_TSS, SEL_NEW, 2);
	flat_assert_fault(f, FLAT_EXEC(f, 0xcf), EXC_TS, SEL_NEW);
	flat_put(f, FLAT_TSS, SEL_CODE0, 2);
	flat_assert_fault(f, FLAT_EXEC(f, 0xcf), EXC_TS, SEL_CODE0);
	flat_free(f);
}

/* An exception through a task gate: error code on the new stack, RF in the saved image. */
static void test_exception(void **state)
{
	struct flat *f = two_tasks();
	struct cpu *c = f->c;
	struct event e = { .type = EV_FAULT, .vector = EXC_GP, .has_error = true, .error = 0x77 };

	(void)state;
	flat_idt(f, EXC_GP, SEL_NEW, SYS_TASK_GATE, 0);
	event_deliver(c, &e);
	assert_int_equal(c->tr.sel, SEL_NEW);
	assert_int_equal(c->r[R_RIP], NEW_CODE);
	assert_int_equal(c->r[RSP], NEW_STACK - 4);
	assert_int_equal(flat_get(f, NEW_STACK - 4, 4), 0x77);
	assert_true(c->rflags & FLAG_NT);
	assert_int_equal(flat_get(f, FLAT_TSS + 0x20, 4), FLAT_CODE);
	assert_true(flat_get(f, FLAT_TSS + 0x24, 4) & FLAG_RF);
	flat_free(f);
}

/* Faults before the switch belong to the old task and change nothing. */
static void test_faults_before(void **state)
{
	static const struct {
		u32 limit;
		u16 attr;
		u8 vector;
		u32 error;
	} cases[] = {
		{ 0x66, SEG_P | SYS_TSS32_AVAIL, EXC_TS, SEL_NEW },
		{ 0x2a, SEG_P | SYS_TSS16_AVAIL, EXC_TS, SEL_NEW },
		{ 0x67, SYS_TSS32_AVAIL, EXC_NP, SEL_NEW },
		{ 0x67, SEG_P | SYS_TSS32_BUSY, EXC_GP, SEL_NEW },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = two_tasks();

		flat_gdt(f, SEL_NEW, flat_desc(NEW_TSS, cases[n].limit, cases[n].attr));
		flat_assert_fault(f, jump(f, SEL_NEW), cases[n].vector, cases[n].error);
		assert_int_equal(f->c->tr.sel, SEL_TSS);
		assert_true(busy(f, SEL_TSS));
		flat_free(f);
	}

	struct flat *f = two_tasks(); /* the old TSS cannot be written */

	f->ro_lo = FLAT_TSS;
	f->ro_hi = FLAT_TSS + 0x100;
	flat_assert_fault(f, jump(f, SEL_NEW), EXC_PF, PF_P | PF_W);
	assert_false(busy(f, SEL_NEW));
	flat_free(f);
}

/* Faults behind it are delivered in the new task. */
static void test_faults_after(void **state)
{
	static const struct {
		u32 off, value;
		u8 vector;
		u32 error;
	} cases[] = {
		{ 0x60, SEL_DATA0, EXC_TS, SEL_DATA0 }, /* LDT */
		{ 0x4c, SEL_DATA0, EXC_TS, SEL_DATA0 }, /* CS */
		{ 0x4c, SEL_FREE + 0x20, EXC_NP, SEL_FREE + 0x20 },
		{ 0x58, SEL_FREE + 0x20, EXC_TS, SEL_FREE + 0x20 }, /* FS: execute-only, absent */
		{ 0x5c, SEL_FREE + 0x28, EXC_NP, SEL_FREE + 0x28 }, /* GS */
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = two_tasks();
		struct cpu *c = f->c;

		/* through a gate to a third task, for the new one has no stack yet */
		flat_gdt(f, SEL_FREE + 0x10, flat_desc(0x6000, 0x67, SEG_P | SYS_TSS32_AVAIL));
		memcpy(f->mem + 0x6000, f->mem + NEW_TSS, 0x68);
		flat_put(f, 0x6020, 0xc000, 4);
		flat_idt(f, EXC_TS, SEL_FREE + 0x10, SYS_TASK_GATE, 0);
		flat_idt(f, EXC_NP, SEL_FREE + 0x10, SYS_TASK_GATE, 0);
		flat_gdt(f, SEL_FREE + 0x20, flat_desc(0, 0xfffff, SEG_S | SEG_CODE | SEG_D | SEG_G));
		flat_gdt(f, SEL_FREE + 0x28, flat_desc(0, 0xfffff, SEG_S | SEG_W | SEG_D | SEG_G));
		flat_put(f, NEW_TSS + cases[n].off, cases[n].value, 4);
		assert_int_equal(jump(f, SEL_NEW), OUT_END);
		assert_int_equal(c->r[R_RIP], 0xc000);
		assert_int_equal(flat_get(f, 0x6000, 2), SEL_NEW); /* nested in the new task */
		assert_int_equal(flat_get(f, NEW_STACK - 4, 4), cases[n].error);
		assert_int_equal(flat_get(f, NEW_TSS + 0x20, 4), NEW_CODE);
		assert_false(busy(f, SEL_TSS));
		flat_free(f);
	}
}

static void test_levels_and_vm86(void **state)
{
	struct flat *f = two_tasks();
	struct cpu *c = f->c;

	(void)state;
	flat_put(f, NEW_TSS + 0x4c, SEL_CODE3, 2);
	flat_put(f, NEW_TSS + 0x50, SEL_DATA3, 2);
	flat_put(f, NEW_TSS + 0x48, SEL_DATA3, 2);
	flat_put(f, NEW_TSS + 0x54, SEL_DATA3, 2);
	assert_int_equal(jump(f, SEL_NEW), OUT_END);
	assert_int_equal(c->d.cpl, 3);
	assert_int_equal(c->seg[SEG_DS].sel, SEL_DATA3);
	flat_free(f);

	f = two_tasks();
	c = f->c;
	flat_put(f, NEW_TSS + 0x24, FLAG_VM | 2, 4);
	assert_int_equal(jump(f, SEL_NEW), OUT_END);
	assert_true(c->d.vm86);
	assert_int_equal(c->seg[SEG_CS].base, SEL_CODE0 << 4);
	assert_int_equal(c->d.cpl, 3);
	flat_free(f);
}

/* The T bit: #DB with DR6.BT before the task's first instruction. */
static void test_trap_bit(void **state)
{
	struct flat *f = two_tasks();
	struct cpu *c = f->c;

	(void)state;
	flat_put(f, NEW_TSS + 0x64, 1, 1);
	FLAT_STEP(f, 0xea, 0, 0, 0, 0, SEL_NEW, 0);
	assert_int_equal(c->r[R_RIP], flat_handler(EXC_DB));
	assert_int_equal(c->dr[6], 0xffff0ff0 | DR6_BT);
	assert_int_equal(flat_get(f, c->r[RSP], 4), NEW_CODE);
	flat_free(f);
}

static void test_tss16(void **state)
{
	struct flat *f = two_tasks();
	struct cpu *c = f->c;
	const u16 image[] = {
		0xb000, 2, 1, 2, 3, 4, 0x7000, 6, 7, 8, SEL_DATA16, SEL_CODE16, SEL_DATA16, SEL_DATA16, 0
	};

	(void)state;
	memcpy(f->mem + NEW_TSS + 0xe, image, sizeof(image));
	flat_gdt(f, SEL_NEW, flat_desc(NEW_TSS, 0x2b, SEG_P | SYS_TSS16_AVAIL));
	assert_int_equal(call(f, SEL_NEW), OUT_END);
	assert_int_equal(c->r[R_RIP], 0xb000);
	assert_int_equal(c->r[RAX] & 0xffff, 1);
	assert_int_equal(c->d.code, CODE16);
	assert_int_equal(flat_get(f, NEW_TSS, 2), SEL_TSS);
	assert_int_equal(FLAT_EXEC(f, 0xcf), OUT_END);
	assert_int_equal(c->tr.sel, SEL_TSS);
	assert_int_equal(flat_get(f, NEW_TSS + 0x0e, 2), 0xb001);
	assert_int_equal(flat_get(f, NEW_TSS + 0x24, 2), SEL_CODE16);
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jump),	     cmocka_unit_test(test_call_and_return),
		cmocka_unit_test(test_exception),    cmocka_unit_test(test_faults_before),
		cmocka_unit_test(test_faults_after), cmocka_unit_test(test_levels_and_vm86),
		cmocka_unit_test(test_trap_bit),     cmocka_unit_test(test_tss16),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
