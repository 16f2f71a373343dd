/* SPDX-License-Identifier: Apache-2.0
 * Loads of segment registers, limits, questions about selectors, table registers: each check with its error code.
 */
#include "flat_cpu.h"

/* mov ds, ax */
static int load_ds(struct flat *f, u16 sel)
{
	f->c->r[RAX] = sel;
	return FLAT_EXEC(f, 0x8e, 0xd8);
}

static int load_ss(struct flat *f, u16 sel)
{
	f->c->r[RAX] = sel;
	return FLAT_EXEC(f, 0x8e, 0xd0);
}

/* SDM 2 MOV: DS, ES, FS, GS. */
static void test_data_loads(void **state)
{
	static const struct {
		u16 attr;
		u8 rpl, cpl;
		int vector; /* -1: loads */
	} cases[] = {
		{ SEG_P | SEG_S | SEG_W, 0, 0, -1 },
		{ SEG_P | SEG_S, 0, 0, -1 },
		{ SEG_P | SEG_S | SEG_CODE | SEG_R, 0, 0, -1 },
		{ SEG_P | SEG_S | SEG_CODE, 0, 0, EXC_GP }, /* execute-only */
		{ SEG_P | SYS_LDT, 0, 0, EXC_GP },	    /* system */
		{ SEG_S | SEG_W, 0, 0, EXC_NP },
		{ SEG_S | SEG_CODE, 0, 0, EXC_GP },	 /* type before presence */
		{ SEG_P | SEG_S | SEG_W, 3, 0, EXC_GP }, /* RPL > DPL */
		{ SEG_P | SEG_S | SEG_W, 0, 3, EXC_GP }, /* CPL > DPL */
		{ SEG_P | SEG_S | SEG_W | SEG_DPL, 3, 3, -1 },
		{ SEG_P | SEG_S | SEG_CODE | SEG_R | SEG_C, 3, 3, -1 }, /* conforming: any level */
		{ SEG_P | SEG_S | SEG_CODE | SEG_R, 3, 3, EXC_GP },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(cases[n].cpl);
		u16 sel = SEL_FREE | cases[n].rpl;
		int out;

		flat_gdt(f, SEL_FREE, flat_desc(0x12345, 0xff, cases[n].attr));
		out = load_ds(f, sel);
		if (cases[n].vector < 0) {
			assert_int_equal(out & ~OUT_END, OUT_DONE);
			assert_int_equal(f->c->seg[SEG_DS].base, 0x12345);
			assert_int_equal(f->c->seg[SEG_DS].limit, 0xff);
			assert_true(flat_get(f, FLAT_GDT + SEL_FREE + 5, 1) & SEG_A);
		} else {
			flat_assert_fault(f, out, (u8)cases[n].vector, sel & 0xfffc);
			assert_int_equal(f->c->seg[SEG_DS].sel, cases[n].cpl ? SEL_DATA3 : SEL_DATA0);
			assert_false(flat_get(f, FLAT_GDT + SEL_FREE + 5, 1) & SEG_A);
		}
		flat_free(f);
	}
}

static void test_stack_loads(void **state)
{
	static const struct {
		u16 attr;
		u8 rpl;
		int vector;
	} cases[] = {
		{ SEG_P | SEG_S | SEG_W, 0, -1 },     { SEG_P | SEG_S | SEG_W | SEG_E, 0, -1 },
		{ SEG_P | SEG_S, 0, EXC_GP },	      { SEG_P | SEG_S | SEG_CODE | SEG_R, 0, EXC_GP },
		{ SEG_P | SEG_S | SEG_W, 3, EXC_GP }, { SEG_P | SEG_S | SEG_W | SEG_DPL, 0, EXC_GP },
		{ SEG_S | SEG_W, 0, EXC_SS },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(0);
		u16 sel = SEL_FREE | cases[n].rpl;
		int out;

		flat_gdt(f, SEL_FREE, flat_desc(0, 0xff, cases[n].attr));
		out = load_ss(f, sel);
		if (cases[n].vector < 0) {
			assert_int_equal(out, OUT_END);
			assert_int_equal(f->c->int_shadow, 2);
			assert_int_equal(f->c->d.sp_mask, 0xffff);
		} else {
			flat_assert_fault(f, out, (u8)cases[n].vector, sel & 0xfffc);
		}
		flat_free(f);
	}
}

static void test_null_and_limits(void **state)
{
	struct flat *f = flat_protected(0);

	(void)state;
	flat_assert_fault(f, load_ss(f, 0), EXC_GP, 0);
	assert_int_equal(load_ds(f, 3) & ~OUT_END, OUT_DONE);
	f->c->r[RBX] = 0;
	flat_assert_fault(f, FLAT_EXEC(f, 0x8b, 0x03), EXC_GP, 0); /* mov eax, [ebx] through a null DS */
	flat_assert_fault(f, load_ds(f, 0x400), EXC_GP, 0x400);	   /* beyond the GDT */
	flat_assert_fault(f, load_ds(f, 0x14), EXC_GP, 0x14);	   /* no LDT */
	flat_assert_fault(f, FLAT_EXEC(f, 0x8e, 0xc8), EXC_UD, 0); /* mov cs, ax */
	flat_assert_fault(f, FLAT_EXEC(f, 0x8e, 0xf0), EXC_UD, 0); /* no such register */
	flat_free(f);
}

/* A fault while the accessed bit is set belongs to the load. */
static void test_accessed_bit_fault(void **state)
{
	struct flat *f = flat_protected(0);

	(void)state;
	flat_gdt(f, SEL_FREE, flat_desc(0, 0xff, SEG_P | SEG_S | SEG_W));
	f->ro_lo = FLAT_GDT;
	f->ro_hi = FLAT_GDT + 0x1000;
	flat_assert_fault(f, load_ds(f, SEL_FREE), EXC_PF, PF_P | PF_W);
	assert_int_equal(f->c->seg[SEG_DS].sel, SEL_DATA0);
	flat_free(f);
}

/* mov al, [ebx]; mov ax/eax at a segment's edges; expand-down. */
static void test_access_limits(void **state)
{
	static const struct {
		u32 limit;
		u16 attr;
		u32 off;
		bool ok;
	} cases[] = {
		{ 0xff, SEG_W, 0xfc, true },
		{ 0xff, SEG_W, 0xfd, false },
		{ 0xff, SEG_W, 0x100, false },
		{ 0xff, SEG_W, 0xffffffff, false },
		{ 0xff, SEG_W | SEG_E, 0xff, false },
		{ 0xff, SEG_W | SEG_E, 0x100, true },
		{ 0xff, SEG_W | SEG_E, 0xfffc, true },
		{ 0xff, SEG_W | SEG_E, 0xfffd, false }, /* B = 0: top is FFFFH */
		{ 0xff, SEG_W | SEG_E | SEG_D, 0xffff, true },
		{ 0x3, SEG_W, 0, true },
		{ 0x2, SEG_W, 0, false },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = flat_protected(0);
		int out;

		flat_gdt(f, SEL_FREE, flat_desc(0x1000, cases[n].limit, SEG_P | SEG_S | cases[n].attr));
		load_ds(f, SEL_FREE);
		f->c->r[RBX] = cases[n].off;
		out = FLAT_EXEC(f, 0x8b, 0x03);
		if (cases[n].ok)
			assert_int_equal(out, OUT_DONE);
		else
			flat_assert_fault(f, out, EXC_GP, 0);
		flat_free(f);
	}
}

static void test_type_checks(void **state)
{
	struct flat *f = flat_protected(0);

	(void)state;
	f->c->r[RBX] = 0x9000;
	flat_assert_fault(f, FLAT_EXEC(f, 0x2e, 0x89, 0x03), EXC_GP, 0); /* mov cs:[ebx], eax */
	assert_int_equal(FLAT_EXEC(f, 0x2e, 0x8b, 0x03), OUT_DONE);	 /* mov eax, cs:[ebx] */
	flat_gdt(f, SEL_FREE, flat_desc(0, 0xfffff, SEG_P | SEG_S | SEG_G));
	load_ds(f, SEL_FREE);
	flat_assert_fault(f, FLAT_EXEC(f, 0x89, 0x03), EXC_GP, 0); /* read-only */
	assert_int_equal(FLAT_EXEC(f, 0x8b, 0x03), OUT_DONE);
	flat_assert_fault(f, FLAT_EXEC(f, 0x36, 0x89, 0x05, 0xfe, 0xff, 0xff, 0xff), EXC_PF, PF_W);
	flat_free(f);
}

/* Limits loaded in protected mode survive the return to real mode (big-real mode). */
static void test_big_real(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	c->cr0 &= ~CR0_PE;
	cpu_update_mode(c);
	c->r[RAX] = 0x100;
	assert_int_equal(FLAT_EXEC(f, 0x8e, 0xd8) & ~OUT_END, OUT_DONE); /* mov ds, ax */
	assert_int_equal(c->seg[SEG_DS].base, 0x1000);
	assert_int_equal(c->seg[SEG_DS].limit, 0xffffffff);
	flat_put(f, 0x51000, 0xabcd, 2);
	c->r[RBX] = 0x50000;
	assert_int_equal(FLAT_EXEC(f, 0x66, 0x67, 0x8b, 0x03) & ~OUT_END, OUT_DONE);
	flat_free(f);

	f = flat_real();
	f->c->r[RBX] = 0xffff;
	flat_assert_fault(f, FLAT_EXEC(f, 0x8b, 0x07), EXC_GP, 0); /* mov ax, [bx] at FFFFH */
	f->c->r[RBP] = 0xffff;
	flat_assert_fault(f, FLAT_EXEC(f, 0x8b, 0x46, 0x00), EXC_SS, 0);
	flat_free(f);
}

static void test_push_pop(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;
	u64 sp = c->r[RSP];

	(void)state;
	flat_put(f, sp - 4, 0xaaaaaaaa, 4);
	assert_int_equal(FLAT_EXEC(f, 0x1e), OUT_DONE); /* push ds: 16 bits of a 32-bit slot */
	assert_int_equal(c->r[RSP], sp - 4);
	assert_int_equal(flat_get(f, sp - 4, 4), 0xaaaa0000 | SEL_DATA0);
	assert_int_equal(FLAT_EXEC(f, 0x07), OUT_DONE); /* pop es */
	assert_int_equal(c->r[RSP], sp);
	flat_put(f, sp, SEL_CODE3, 4);
	flat_assert_fault(f, FLAT_EXEC(f, 0x17), EXC_GP, SEL_CODE3 & ~3u); /* pop ss */
	assert_int_equal(c->r[RSP], sp);
	flat_put(f, sp, SEL_DATA0, 4);
	assert_int_equal(FLAT_EXEC(f, 0x17), OUT_END);
	assert_int_equal(c->int_shadow, 2);
	c->r[RBX] = FLAT_DATA;
	flat_put(f, FLAT_DATA, 0x11223344, 4);
	flat_put(f, FLAT_DATA + 4, SEL_DATA3, 2);
	assert_int_equal(FLAT_EXEC(f, 0xc4, 0x0b) & ~OUT_END, OUT_DONE); /* les ecx, [ebx] */
	assert_int_equal(c->r[RCX], 0x11223344);
	assert_int_equal(c->seg[SEG_ES].sel, SEL_DATA3);
	flat_put(f, FLAT_DATA + 4, SEL_DATA3 & ~3u, 2);
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0xb2, 0x0b), EXC_GP, SEL_DATA3 & ~3u); /* lss */
	flat_free(f);
}

static bool zf(const struct flat *f)
{
	return f->c->aflags & AF_ZF;
}

static void test_questions(void **state)
{
	struct flat *f = flat_protected(3);
	struct cpu *c = f->c;

	(void)state;
	c->r[RAX] = SEL_CODE3;
	c->r[RCX] = 0x5555555555;
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x02, 0xc8), OUT_DONE); /* lar ecx, eax */
	assert_true(zf(f));
	assert_int_equal(c->r[RCX], 0xcffb00);
	FLAT_EXEC(f, 0x0f, 0x03, 0xc8); /* lsl ecx, eax */
	assert_int_equal(c->r[RCX], 0xffffffff);
	c->r[RAX] = SEL_CODE0;
	FLAT_EXEC(f, 0x0f, 0x02, 0xc8);
	assert_false(zf(f));
	assert_int_equal(c->r[RCX], 0xffffffff);
	c->r[RAX] = SEL_CONFORM;
	FLAT_EXEC(f, 0x0f, 0x00, 0xe0); /* verr eax */
	assert_true(zf(f));
	FLAT_EXEC(f, 0x0f, 0x00, 0xe8); /* verw eax */
	assert_false(zf(f));
	c->r[RAX] = SEL_DATA3;
	FLAT_EXEC(f, 0x0f, 0x00, 0xe8);
	assert_true(zf(f));
	c->r[RAX] = 0;
	FLAT_EXEC(f, 0x0f, 0x00, 0xe0);
	assert_false(zf(f));
	c->r[RAX] = SEL_FREE | 1;
	c->r[RCX] = 2;
	FLAT_EXEC(f, 0x63, 0xc8); /* arpl ax, cx */
	assert_true(zf(f));
	assert_int_equal(c->r[RAX] & 0xffff, SEL_FREE | 2);
	FLAT_EXEC(f, 0x63, 0xc8);
	assert_false(zf(f));
	flat_free(f);
}

static void test_system_tables(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	flat_gdt(f, SEL_FREE, flat_desc(0x5000, 0x67, SEG_P | SYS_TSS32_AVAIL));
	c->r[RAX] = SEL_FREE;
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x00, 0xd8), OUT_DONE); /* ltr */
	assert_int_equal(flat_get(f, FLAT_GDT + SEL_FREE + 5, 1), SEG_P | SYS_TSS32_BUSY);
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x00, 0xd8), EXC_GP, SEL_FREE); /* busy */
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x00, 0xd0), EXC_GP, SEL_FREE); /* lldt of a TSS */
	c->r[RAX] = 0;
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x00, 0xd8), EXC_GP, 0);
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x00, 0xd0), OUT_DONE); /* null LDT */
	flat_gdt(f, SEL_FREE, flat_desc(0x6000, 0xf, SYS_LDT));
	c->r[RAX] = SEL_FREE;
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x00, 0xd0), EXC_NP, SEL_FREE);
	flat_gdt(f, SEL_FREE, flat_desc(0x6000, 0xf, SEG_P | SYS_LDT));
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x00, 0xd0), OUT_DONE);
	flat_put(f, 0x6008, flat_desc(0x7000, 0xf, SEG_P | SEG_S | SEG_W), 8);
	assert_int_equal(load_ds(f, 0xc) & ~OUT_END, OUT_DONE); /* through the LDT */
	assert_int_equal(c->seg[SEG_DS].base, 0x7000);
	flat_assert_fault(f, load_ds(f, 0x14), EXC_GP, 0x14);
	flat_free(f);

	f = flat_protected(3);
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x00, 0xc8), OUT_DONE); /* str eax */
	assert_int_equal(f->c->r[RAX], SEL_TSS);
	f->c->cr4 |= CR4_UMIP;
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x00, 0xc8), EXC_GP, 0);
	f->c->r[RBX] = FLAT_DATA;
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x01, 0x03), EXC_GP, 0); /* sgdt */
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x01, 0x13), EXC_GP, 0); /* lgdt */
	flat_free(f);

	f = flat_real();
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x00, 0xc8), EXC_UD, 0);
	flat_put(f, 0x500, 0x12345678abcd, 6);
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x01, 0x16, 0x00, 0x05), OUT_DONE); /* lgdt [500h]: 24-bit base */
	assert_int_equal(f->c->gdtr.base, 0x345678);
	assert_int_equal(f->c->gdtr.limit, 0xabcd);
	flat_free(f);
}

static void test_long_mode(void **state)
{
	struct flat *f = flat_long(0);
	struct cpu *c = f->c;

	(void)state;
	assert_int_equal(load_ss(f, 0), OUT_END); /* null SS at CPL 0 */
	assert_int_equal(c->d.cpl, 0);
	flat_assert_fault(f, load_ss(f, 3), EXC_GP, 0);
	flat_gdt(f, SEL_FREE, flat_desc(0x5000, 0x67, SEG_P | SYS_TSS32_AVAIL));
	flat_put(f, FLAT_GDT + SEL_FREE + 8, 0xffff8000, 8);
	c->r[RAX] = SEL_FREE;
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x00, 0xd8), OUT_DONE);
	assert_int_equal(c->tr.base, 0xffff800000005000);
	flat_put(f, FLAT_GDT + SEL_FREE + 8, BIT(40), 8); /* type bits of the upper half */
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x00, 0xd8), EXC_GP, SEL_FREE);
	c->r[RBX] = FLAT_DATA;
	assert_int_equal(FLAT_EXEC(f, 0x0f, 0x01, 0x03), OUT_DONE); /* sgdt: ten bytes */
	assert_int_equal(flat_get(f, FLAT_DATA + 2, 8), FLAT_GDT);
	flat_put(f, FLAT_DATA + 2, BIT(50), 8);
	flat_assert_fault(f, FLAT_EXEC(f, 0x0f, 0x01, 0x1b), EXC_GP, 0); /* lidt: not canonical */
	flat_free(f);
	f = flat_long(3);
	flat_assert_fault(f, load_ss(f, 3), EXC_GP, 0);
	f->c->seg[SEG_FS] = (struct seg){ .base = 0x1234 };
	f->c->r[RAX] = 0;
	assert_int_equal(FLAT_EXEC(f, 0x8e, 0xe0) & ~OUT_END, OUT_DONE); /* mov fs, ax */
	assert_int_equal(f->c->seg[SEG_FS].base, 0);
	f->model.amd = true;
	f->c->seg[SEG_FS].base = 0x1234;
	FLAT_EXEC(f, 0x8e, 0xe0);
	assert_int_equal(f->c->seg[SEG_FS].base, 0x1234);
	flat_free(f);
}

/* SDM 1, 19.5.2. */
static void test_io_permission(void **state)
{
	struct flat *f = flat_protected(3);
	struct cpu *c = f->c;

	(void)state;
	c->tr.limit = 0x68 + 0x10;
	flat_put(f, FLAT_TSS + 0x68, 0, 8);
	flat_put(f, FLAT_TSS + 0x68 + 15, 0xff, 1);
	assert_int_equal(io_check(c, 0x10, 4), OUT_DONE);
	flat_put(f, FLAT_TSS + 0x68 + 2, 0x8, 1);
	assert_int_equal(io_check(c, 0x10, 4), OUT_FAULT);
	assert_int_equal(io_check(c, 0x10, 2), OUT_DONE);
	flat_put(f, FLAT_TSS + 0x68 + 1, 0, 1);
	assert_int_equal(io_check(c, 0x0f, 4), OUT_DONE);      /* crosses a byte: ports 15..18, 19 is denied */
	assert_int_equal(io_check(c, 0x10 * 8, 1), OUT_FAULT); /* no second byte inside the limit */
	c->rflags |= FLAG_IOPL;
	assert_int_equal(io_check(c, 0xffff, 1), OUT_DONE);
	c->rflags |= FLAG_VM;
	cpu_update_mode(c);
	assert_int_equal(io_check(c, 0xffff, 1), OUT_FAULT); /* virtual-8086: the bitmap whatever IOPL */
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data_loads),	cmocka_unit_test(test_stack_loads),
		cmocka_unit_test(test_null_and_limits), cmocka_unit_test(test_accessed_bit_fault),
		cmocka_unit_test(test_access_limits),	cmocka_unit_test(test_type_checks),
		cmocka_unit_test(test_big_real),	cmocka_unit_test(test_push_pop),
		cmocka_unit_test(test_questions),	cmocka_unit_test(test_system_tables),
		cmocka_unit_test(test_long_mode),	cmocka_unit_test(test_io_permission),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
