/* SPDX-License-Identifier: Apache-2.0
 * PUSHF, POPF, CLI, STI in every combination of level, IOPL, mode and extension (SDM 2 POPF, CLI, STI).
 */
#include "flat_cpu.h"

/* Level 0 or 3 of protected mode, or virtual-8086 mode. */
static struct flat *in_mode(unsigned cpl, unsigned iopl, bool vm86, u64 cr4)
{
	struct flat *f = flat_protected(cpl);
	struct cpu *c = f->c;

	c->cr4 |= cr4;
	c->rflags |= iopl << 12;
	if (vm86) {
		c->rflags |= FLAG_VM;
		for (unsigned s = 0; s < NR_SEGS; s++)
			seg_load_legacy(c, s, 0x1000);
		c->r[R_RIP] = 0x100;
		c->r[RSP] = 0x1000;
	}
	cpu_update_mode(c);
	return f;
}

/* What CLI, and STI behind it, do to IF and VIF: 'I', 'V' or '#'. */
static char expected(unsigned cpl, unsigned iopl, bool vm86, u64 cr4)
{
	if (iopl >= cpl)
		return 'I';
	if (vm86)
		return cr4 & CR4_VME ? 'V' : '#';
	return cpl == 3 && (cr4 & CR4_PVI) ? 'V' : '#';
}

static void check_cli_sti(unsigned cpl, unsigned iopl, bool vm86, u64 cr4)
{
	struct flat *f = in_mode(cpl, iopl, vm86, cr4);
	struct cpu *c = f->c;
	char want = expected(cpl, iopl, vm86, cr4);
	u32 flag = want == 'I' ? FLAG_IF : FLAG_VIF;

	c->rflags |= FLAG_IF | FLAG_VIF;
	if (want == '#') {
		flat_assert_fault(f, FLAT_EXEC(f, 0xfa), EXC_GP, 0);
		flat_assert_fault(f, FLAT_EXEC(f, 0xfb), EXC_GP, 0);
	} else {
		assert_int_equal(FLAT_EXEC(f, 0xfa), OUT_DONE);
		assert_int_equal(c->rflags & (FLAG_IF | FLAG_VIF), (FLAG_IF | FLAG_VIF) & ~flag);
		assert_int_equal(FLAT_EXEC(f, 0xfb), OUT_END);
		assert_int_equal(c->rflags & (FLAG_IF | FLAG_VIF), FLAG_IF | FLAG_VIF);
		assert_int_equal(c->int_shadow, want == 'I');
		c->rflags |= FLAG_VIP;
		if (want == 'V')
			flat_assert_fault(f, FLAT_EXEC(f, 0xfb), EXC_GP, 0);
	}
	flat_free(f);
}

static void test_cli_sti(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 64; n++)
		if (!(n & 1) || n & 2) /* virtual-8086 mode is level 3 */
			check_cli_sti(n & 2 ? 3 : 0, n >> 4, n & 1, (n & 4 ? CR4_VME : 0) | (n & 8 ? CR4_PVI : 0));
}

static void test_popf(void **state)
{
	static const struct {
		u8 cpl, iopl;
		bool word;
		u64 before, image, after;
	} cases[] = {
		{ 0, 0, false, 0, 0x3f7fd7, 0x247fd7 },
		{ 0, 0, true, FLAG_AC | FLAG_ID, 0x7fd7, 0x7fd7 | FLAG_AC | FLAG_ID },
		{ 0, 0, false, FLAG_VIF | FLAG_VIP | FLAG_RF, 0, FLAG_VIF | FLAG_VIP },
		{ 3, 3, false, FLAG_IOPL, FLAG_IF, FLAG_IF | FLAG_IOPL },
		{ 3, 0, false, FLAG_IF, FLAG_IOPL | FLAG_DF, FLAG_IF | FLAG_DF },
		{ 3, 2, false, FLAG_IOPL & 0x2000, FLAG_IF, FLAG_IOPL & 0x2000 },
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		struct flat *f = in_mode(cases[n].cpl, 0, false, 0);
		int out;

		cpu_set_rflags_raw(f->c, cases[n].before);
		flat_put(f, f->c->r[RSP], cases[n].image, 4);
		if (cases[n].word)
			out = FLAT_EXEC(f, 0x66, 0x9d);
		else
			out = FLAT_EXEC(f, 0x9d);
		assert_int_equal(out, OUT_END);
		assert_int_equal(cpu_rflags(f->c), cases[n].after | 2);
		flat_free(f);
	}
}

static void test_pushf(void **state)
{
	struct flat *f = in_mode(3, 3, false, 0);
	struct cpu *c = f->c;

	(void)state;
	cpu_set_rflags_raw(c, 0x3d7fd7);
	assert_int_equal(FLAT_EXEC(f, 0x9c), OUT_DONE);
	assert_int_equal(flat_get(f, c->r[RSP], 4), 0x3c7fd7); /* RF and VM read as 0 */
	flat_free(f);
}

static void test_vm86(void **state)
{
	struct flat *f = in_mode(3, 0, true, 0);
	struct cpu *c = f->c;

	(void)state;
	flat_assert_fault(f, FLAT_EXEC(f, 0x9c), EXC_GP, 0);
	flat_assert_fault(f, FLAT_EXEC(f, 0x9d), EXC_GP, 0);
	flat_assert_fault(f, FLAT_EXEC(f, 0xcf), EXC_GP, 0);
	c->cr4 |= CR4_VME;
	flat_assert_fault(f, FLAT_EXEC(f, 0x66, 0x9c), EXC_GP, 0);
	c->rflags |= FLAG_VIF;
	assert_int_equal(FLAT_EXEC(f, 0x9c), OUT_DONE);
	assert_int_equal(flat_get(f, 0x10000 + 0xffe, 2), FLAG_IF | FLAG_IOPL | 2);
	flat_put(f, 0x10000 + 0xffe, FLAG_TF, 2);
	flat_assert_fault(f, FLAT_EXEC(f, 0x9d), EXC_GP, 0);
	flat_put(f, 0x10000 + 0xffe, FLAG_CF, 2);
	assert_int_equal(FLAT_EXEC(f, 0x9d), OUT_END);
	assert_false(c->rflags & FLAG_VIF);
	assert_int_equal(cpu_rflags(c), FLAG_VM | FLAG_CF | 2);
	c->rflags |= FLAG_VIP;
	flat_put(f, 0x10000 + 0x1000, FLAG_IF, 2);
	flat_assert_fault(f, FLAT_EXEC(f, 0x9d), EXC_GP, 0);
	flat_free(f);

	f = in_mode(3, 3, true, 0); /* IOPL 3: as in real mode, but IOPL stays */
	flat_put(f, 0x10000 + 0x1000, FLAG_IF | 0x1000, 2);
	assert_int_equal(FLAT_EXEC(f, 0x9d), OUT_END);
	assert_int_equal(cpu_rflags(f->c), FLAG_VM | FLAG_IOPL | FLAG_IF | 2);
	flat_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cli_sti),
		cmocka_unit_test(test_popf),
		cmocka_unit_test(test_pushf),
		cmocka_unit_test(test_vm86),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
