/* SPDX-License-Identifier: Apache-2.0
 * x87 beyond user mode: environments in all four formats, #NM, #MF, FERR# and IGNNE#, stores that an exception holds
 * back, pointers. SDM 1, chapter 8.
 */
#include "unit/vec_world.h"

#include "cpu/x87.h"

static void test_gates(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	c->cr0 |= CR0_TS;
	flat_assert_fault(f, FLAT_EXEC(f, 0x9b), EXC_NM, 0);
	c->cr0 &= ~CR0_MP;
	assert_int_equal(FLAT_EXEC(f, 0x9b), OUT_DONE);
	flat_assert_fault(f, FLAT_EXEC(f, 0xdb, 0xe3), EXC_NM, 0);
	c->cr0 = (c->cr0 & ~CR0_TS) | CR0_EM;
	flat_assert_fault(f, FLAT_EXEC(f, 0xdb, 0xe3), EXC_NM, 0);
	assert_int_equal(FLAT_EXEC(f, 0x9b), OUT_DONE);
	flat_free(f);
}

static int run_at(struct flat *f, const u8 *code, size_t n)
{
	f->c->r[R_RIP] = FLAT_CODE;
	flat_code(f, code, n);
	return flat_exec(f);
}
#define RUN(f, ...) run_at(f, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

/* Unmasked divide by zero: quiet, then #MF at the next waiting instruction, FNSTSW and FNCLEX pass. */
static void test_deferred_exception(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	c->x87.fcw = 0x37b;
	assert_int_equal(RUN(f, 0xd9, 0xe8), OUT_DONE); /* fld1 */
	assert_int_equal(RUN(f, 0xd9, 0xee), OUT_DONE); /* fldz */
	assert_int_equal(RUN(f, 0xd8, 0xf9), OUT_DONE); /* fdivr st(0), st(1): 1 / 0 */
	assert_int_equal(c->x87.fsw & 0x80ff, 0x8084);
	assert_int_equal(c->x87.fip, FLAT_CODE);
	assert_int_equal(c->x87.fop, 0x0f9);
	flat_assert_fault(f, RUN(f, 0xd9, 0xe8), EXC_MF, 0);
	flat_assert_fault(f, RUN(f, 0x9b), EXC_MF, 0);
	assert_int_equal(RUN(f, 0xdf, 0xe0), OUT_DONE);
	assert_int_equal(c->r[RAX] & 0xffff, c->x87.fsw);
	assert_int_equal(RUN(f, 0xdb, 0xe2), OUT_DONE);
	assert_int_equal(c->x87.fsw & 0x80ff, 0);
	assert_int_equal(RUN(f, 0xd9, 0xe8), OUT_DONE);
	flat_free(f);
}

static bool ferr_line, ignne_line;

static bool ferr(struct cpu *c, bool asserted)
{
	(void)c;
	ferr_line = asserted;
	return ignne_line;
}

/* NE = 0: FERR# at the exception, waiting instructions freeze; with IGNNE# they go on and the flag stays. */
static void test_ferr(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	f->ops.ferr = ferr;
	c->cr0 &= ~CR0_NE;
	c->x87.fcw = 0x37b;
	ignne_line = false;
	assert_int_equal(RUN(f, 0xd9, 0xe8), OUT_DONE);
	assert_int_equal(RUN(f, 0xd9, 0xee), OUT_DONE);
	assert_int_equal(RUN(f, 0xd8, 0xf9), OUT_DONE);
	assert_true(ferr_line);
	assert_int_equal(RUN(f, 0xd9, 0xe8), OUT_AGAIN);
	ignne_line = true;
	assert_int_equal(RUN(f, 0xd9, 0xe8), OUT_DONE);
	assert_int_equal(c->x87.fsw & 0x80ff, 0x8084);
	assert_int_equal(RUN(f, 0xdb, 0xe2), OUT_DONE);
	assert_false(ferr_line);
	flat_free(f);
}

/* fistp of a NaN with #I unmasked: memory and stack stay; with #P alone it is stored. */
static void test_store_held_back(void **state)
{
	struct flat *f = vec_world(0);
	struct cpu *c = f->c;

	(void)state;
	flat_put(f, FLAT_DATA, 0x1122334455667788, 8);
	c->x87.fcw = 0x37e;
	c->x87.ftw = 1;
	memset(c->x87.st[0], 0xff, 10);
	assert_int_equal(RUN(f, 0xdb, 0x1f), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA, 8), 0x1122334455667788);
	assert_int_equal(c->x87.fsw & 0x80ff, 0x8081);
	assert_int_equal(c->x87.ftw, 1);
	assert_int_equal(RUN(f, 0xdb, 0xe3), OUT_DONE);
	c->x87.fcw = 0x35f;
	assert_int_equal(RUN(f, 0xd9, 0xeb), OUT_DONE); /* fldpi */
	assert_int_equal(RUN(f, 0xdb, 0x1f), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA, 8), 0x1122334400000003);
	assert_int_equal(c->x87.fsw & 0x80a0, 0x80a0);
	flat_free(f);
}

static void set_env(struct cpu *c)
{
	c->x87.fcw = 0x37f;
	c->x87.fsw = 0x3800;
	c->x87.ftw = 0x80;
	memset(c->x87.st, 0, sizeof(c->x87.st));
	c->x87.st[0][9] = 0x3f;
	c->x87.st[0][8] = 0xff;
	c->x87.st[0][7] = 0x80;
	c->x87.fop = 0x1e8;
	c->x87.fip = 0x12345;
	c->x87.fcs = 0x8;
	c->x87.fdp = 0x23456;
	c->x87.fds = 0x10;
}

static void test_protected_formats(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	vec_enable(f);
	set_env(c);
	assert_int_equal(RUN(f, 0xd9, 0x37), OUT_DONE); /* fnstenv [edi] */
	assert_int_equal(flat_get(f, FLAT_DATA, 4), 0xffff037f);
	assert_int_equal(flat_get(f, FLAT_DATA + 4, 4), 0xffff3800);
	assert_int_equal(flat_get(f, FLAT_DATA + 8, 4), 0xffff3fff);
	assert_int_equal(flat_get(f, FLAT_DATA + 12, 4), 0x12345);
	assert_int_equal(flat_get(f, FLAT_DATA + 16, 4), 0x01e80008);
	assert_int_equal(flat_get(f, FLAT_DATA + 20, 4), 0x23456);
	assert_int_equal(flat_get(f, FLAT_DATA + 24, 4), 0xffff0010);
	assert_int_equal(c->x87.fcw, 0x37f);
	x87_init(&c->x87);
	assert_int_equal(RUN(f, 0xd9, 0x27), OUT_DONE);
	assert_int_equal(c->x87.fsw, 0x3800);
	assert_int_equal(c->x87.ftw, 0x80);
	assert_int_equal(c->x87.fip, 0x12345);
	assert_int_equal(c->x87.fds, 0x10);
	set_env(c);
	assert_int_equal(RUN(f, 0x66, 0xd9, 0x37), OUT_DONE);
	assert_int_equal(flat_get(f, FLAT_DATA + 4, 2), 0x3fff);
	assert_int_equal(flat_get(f, FLAT_DATA + 6, 2), 0x2345);
	assert_int_equal(flat_get(f, FLAT_DATA + 8, 2), 0x8);
	assert_int_equal(flat_get(f, FLAT_DATA + 12, 2), 0x10);
	flat_free(f);
}

static void test_real_formats(void **state)
{
	struct flat *f = flat_real();
	struct cpu *c = f->c;

	(void)state;
	vec_enable(f);
	c->r[RDI] = 0x6000;
	set_env(c);
	c->x87.fcs = c->x87.fds = 0x100;		/* linear 0x13345 and 0x24456 */
	assert_int_equal(RUN(f, 0xd9, 0x35), OUT_DONE); /* fnstenv [di] */
	assert_int_equal(flat_get(f, 0x6006, 2), 0x3345);
	assert_int_equal(flat_get(f, 0x6008, 2), 0x11e8);
	assert_int_equal(flat_get(f, 0x600a, 2), 0x4456);
	assert_int_equal(flat_get(f, 0x600c, 2), 0x2000);
	assert_int_equal(RUN(f, 0x66, 0xd9, 0x35), OUT_DONE);
	assert_int_equal(flat_get(f, 0x600c, 4), 0xffff3345);
	assert_int_equal(flat_get(f, 0x6010, 4), 0x11e8);
	assert_int_equal(flat_get(f, 0x6014, 4), 0xffff4456);
	assert_int_equal(flat_get(f, 0x6018, 4), 0x2000);
	flat_free(f);
}

static void test_fnsave_frstor(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;
	u8 st[10];

	(void)state;
	vec_enable(f);
	set_env(c);
	memcpy(st, c->x87.st[0], 10);
	f->ro_lo = FLAT_DATA + 100;
	f->ro_hi = FLAT_DATA + 0x1000;
	assert_int_equal(RUN(f, 0xdd, 0x37), OUT_FAULT);
	assert_int_equal(flat_get(f, FLAT_DATA, 4), 0);
	f->ro_hi = f->ro_lo;
	assert_int_equal(RUN(f, 0xdd, 0x37), OUT_DONE);
	assert_int_equal(c->x87.fsw, 0);
	assert_int_equal(c->x87.ftw, 0);
	assert_memory_equal(f->mem + FLAT_DATA + 28, st, 10);
	assert_memory_equal(c->x87.st[7], st, 10); /* the same physical register under TOP = 0 */
	assert_int_equal(RUN(f, 0xdd, 0x27), OUT_DONE);
	assert_memory_equal(c->x87.st[0], st, 10);
	assert_int_equal(c->x87.fsw, 0x3800);
	flat_free(f);
}

/* fld m64 with a 32-bit ss: override: FDP is the offset, FDS the selector. */
static void test_pointers(void **state)
{
	struct flat *f = flat_protected(0);
	struct cpu *c = f->c;

	(void)state;
	vec_enable(f);
	assert_int_equal(RUN(f, 0x36, 0xdd, 0x07), OUT_DONE);
	assert_int_equal(c->x87.fip, FLAT_CODE);
	assert_int_equal(c->x87.fcs, SEL_CODE0);
	assert_int_equal(c->x87.fdp, FLAT_DATA);
	assert_int_equal(c->x87.fds, SEL_DATA0);
	assert_int_equal(c->x87.fop, 0x507);
	assert_int_equal(RUN(f, 0xd9, 0x2f), OUT_DONE); /* fldcw does not move them */
	assert_int_equal(c->x87.fop, 0x507);
	flat_free(f);
}

static void test_undefined_forms(void **state)
{
	static const u8 ud[][2] = { { 0xd9, 0xd1 }, { 0xd9, 0xe2 }, { 0xd9, 0xef }, { 0xda, 0xe8 }, { 0xda, 0xf0 },
				    { 0xdb, 0xe5 }, { 0xdb, 0xf8 }, { 0xdd, 0xf0 }, { 0xde, 0xd8 }, { 0xdf, 0xe1 },
				    { 0xdf, 0xf8 }, { 0xd9, 0x08 }, { 0xdb, 0x20 }, { 0xdb, 0x30 }, { 0xdd, 0x28 } };
	struct flat *f = vec_world(0);

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(ud); k++)
		flat_assert_fault(f, run_at(f, ud[k], 2), EXC_UD, 0);
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gates),
		cmocka_unit_test(test_deferred_exception),
		cmocka_unit_test(test_ferr),
		cmocka_unit_test(test_store_held_back),
		cmocka_unit_test(test_protected_formats),
		cmocka_unit_test(test_real_formats),
		cmocka_unit_test(test_fnsave_frstor),
		cmocka_unit_test(test_pointers),
		cmocka_unit_test(test_undefined_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
