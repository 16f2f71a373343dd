/* SPDX-License-Identifier: Apache-2.0
 * Power management: the PM block, reset control, and the small ports.
 */
#include "unit/board.h"

#include "chardev/chardev.h"
#include "dev/acpipm.h"
#include "dev/debugexit.h"
#include "dev/debugport.h"
#include "dev/ferr.h"
#include "dev/resetctl.h"
#include "dev/testdev.h"

#define PM ACPIPM_BASE

static struct board b;
static struct acpipm *pm;

static int setup(void **state)
{
	(void)state;
	board_init(&b, 0);
	pm = acpipm_new(b.mem, &b.clock, &b.q, false, board_wire(&b, 9), board_call(&b), &b.err);
	assert_non_null(pm);
	acpipm_set_base(pm, PM);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	acpipm_free(pm);
	board_free(&b);
	return 0;
}

static void test_timer(void **state)
{
	u64 half = BIT(23);

	(void)state;
	assert_int_equal(inl(&b, PM + 8), 0);
	board_run(&b, NS_PER_SEC);
	assert_int_equal(inl(&b, PM + 8), 3579545);
	assert_int_equal(inb(&b, PM + 9), 3579545 >> 8 & 0xff);
	outl(&b, PM + 8, 0);
	assert_int_equal(inl(&b, PM + 8), 3579545);
	assert_int_equal(inw(&b, PM) & 1, 0);
	board_run_to(&b, clock_ticks_to_ns(half, PM_TIMER_HZ));
	assert_int_equal(inl(&b, PM + 8), half);
	assert_int_equal(inw(&b, PM) & 1, 1);
	board_run_to(&b, clock_ticks_to_ns(2 * half, PM_TIMER_HZ));
	assert_int_equal(inl(&b, PM + 8), 0); /* 24 bits */
}

static void test_timer_interrupt(void **state)
{
	(void)state;
	outb(&b, ACPIPM_SMI_CMD, ACPIPM_ENABLE);
	outw(&b, PM + 2, 1);
	board_run_to(&b, clock_ticks_to_ns(BIT(23), PM_TIMER_HZ) - 1);
	assert_false(b.wire[9].level);
	board_run(&b, 1);
	assert_true(b.wire[9].level);
	outw(&b, PM, 1);
	assert_false(b.wire[9].level);
	board_run(&b, clock_ticks_to_ns(BIT(23), PM_TIMER_HZ));
	assert_int_equal(b.wire[9].rises, 2);
}

static void test_power_button(void **state)
{
	(void)state;
	outw(&b, PM + 2, 0x100);
	acpipm_press_power(pm);
	assert_false(b.wire[9].level); /* legacy mode */
	outb(&b, ACPIPM_SMI_CMD, ACPIPM_ENABLE);
	assert_int_equal(inw(&b, PM + 4), 1);
	assert_true(b.wire[9].level);
	assert_int_equal(inw(&b, PM), 0x100);
	outb(&b, PM + 1, 0x01); /* a byte clears its half only */
	assert_int_equal(inw(&b, PM), 0);
	assert_false(b.wire[9].level);
	outb(&b, ACPIPM_SMI_CMD, ACPIPM_DISABLE);
	assert_int_equal(inw(&b, PM + 4), 0);
}

static void test_soft_off(void **state)
{
	(void)state;
	outw(&b, PM + 4, 0x0001);
	assert_int_equal(b.calls, 0);
	outw(&b, PM + 4, ACPIPM_SLP_S5 << 10 | 0x2001);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.call_arg, ACPIPM_SLP_S5);
	assert_int_equal(inw(&b, PM + 4) & 0x2000, 0);
}

static void test_gpe(void **state)
{
	(void)state;
	outb(&b, ACPIPM_SMI_CMD, ACPIPM_ENABLE);
	acpipm_set_gpe(pm, 3, true);
	assert_int_equal(inw(&b, PM + 12), 8);
	assert_false(b.wire[9].level);
	outb(&b, PM + 14, 8);
	assert_true(b.wire[9].level);
	outb(&b, PM + 12, 8);
	assert_true(b.wire[9].level); /* the level stands */
	acpipm_set_gpe(pm, 3, false);
	outb(&b, PM + 12, 8);
	assert_false(b.wire[9].level);
}

static void test_moves(void **state)
{
	(void)state;
	acpipm_set_base(pm, 0xb000);
	outw(&b, 0xb002, 0x100);
	assert_int_equal(inw(&b, 0xb002), 0x100);
	assert_int_equal(inw(&b, PM + 2), 0xffff);
	acpipm_set_base(pm, 0);
	assert_int_equal(inw(&b, 0xb002), 0xffff);
}

static void test_reset_control(void **state)
{
	struct resetctl r;

	(void)state;
	resetctl_init(&r, board_call(&b));
	resetctl_write(&r, 0x02);
	assert_int_equal(resetctl_read(&r), 0x02);
	assert_int_equal(b.calls, 0);
	resetctl_write(&r, 0x06);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.call_arg, RESET_HARD);
	resetctl_write(&r, 0x04);
	assert_int_equal(b.call_arg, RESET_INIT);
	resetctl_write(&r, 0x0e);
	assert_int_equal(b.call_arg, RESET_POWER);
	assert_int_equal(b.calls, 3);
}

static void test_coprocessor_error(void **state)
{
	struct ferr *f = ferr_new(b.mem, board_wire(&b, 13), &b.err);

	(void)state;
	assert_false(ferr_set(f, true));
	assert_true(b.wire[13].level);
	outb(&b, 0xf0, 0);
	assert_false(b.wire[13].level);
	assert_true(ferr_set(f, true)); /* IGNNE# until FERR# falls */
	assert_false(b.wire[13].level);
	assert_false(ferr_set(f, false));
	assert_false(ferr_set(f, true));
	assert_int_equal(b.wire[13].rises, 2);
	ferr_free(f);
}

static void test_testdev(void **state)
{
	struct irq lines[TESTDEV_LINES];
	struct testdev *t;

	(void)state;
	for (unsigned i = 0; i < TESTDEV_LINES; i++)
		lines[i] = board_wire(&b, i);
	t = testdev_new(b.mem, lines, board_call(&b), &b.err);
	assert_non_null(t);
	outl(&b, 0xe0, 0x12345678);
	assert_int_equal(inl(&b, 0xe0), 0x12345678);
	outb(&b, 0xe1, 0xaa);
	assert_int_equal(inl(&b, 0xe0), 0x1234aa78);
	assert_int_equal(inw(&b, 0xe2), 0x1234);
	outb(&b, 0xe8, 0x55);
	assert_int_equal(inb(&b, 0xe8), 0x55);
	assert_int_equal(inb(&b, 0xe0), 0x55);
	outl(&b, 0xe4, 0x00123000);
	assert_int_equal(b.call_arg, 0x00123000);
	outb(&b, 0x2000 + 14, 1);
	assert_true(b.wire[14].level);
	outb(&b, 0x2000 + 14, 0);
	assert_false(b.wire[14].level);
	mem_mmio_write(b.mem, 0xff000010, 0x1122334455667788, 8, NULL);
	assert_int_equal(mem_mmio_read(b.mem, 0xff000012, 2, NULL), 0x5566);
	mem_mmio_write(b.mem, 0xff00ffff, 0x5a, 1, NULL);
	assert_int_equal(mem_mmio_read(b.mem, 0xff00ffff, 1, NULL), 0x5a);
	testdev_free(t);
}

static size_t take(struct chardev *c, const u8 *p, size_t n)
{
	(void)c;
	b.call_arg = *p;
	return n;
}

static void test_debug_ports(void **state)
{
	static const struct chardev_ops ops = { .write = take };
	struct chardev dev = { .ops = &ops };
	struct debugport *d = debugport_new(b.mem, DEBUGPORT, &dev, &b.err);
	struct debugexit *x = debugexit_new(b.mem, DEBUGEXIT_PORT, board_call(&b), &b.err);

	(void)state;
	outb(&b, 0xe9, 'x');
	assert_int_equal(b.call_arg, 'x');
	assert_int_equal(inb(&b, 0xe9), 0xe9);
	outl(&b, DEBUGEXIT_PORT, 0x1234);
	assert_int_equal(b.call_arg, 0x1234);
	outw(&b, DEBUGEXIT_PORT, 7);
	outb(&b, DEBUGEXIT_PORT, 8);
	assert_int_equal(b.calls, 3);
	assert_int_equal(b.call_arg, 8);
	debugport_free(d);
	debugexit_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_button, setup, teardown),
		cmocka_unit_test_setup_teardown(test_soft_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gpe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_control, setup, teardown),
		cmocka_unit_test_setup_teardown(test_coprocessor_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_testdev, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debug_ports, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
