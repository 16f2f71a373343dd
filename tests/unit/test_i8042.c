/* SPDX-License-Identifier: Apache-2.0
 * The keyboard controller, the keyboard and the mouse; port 0x92.
 */
#include "unit/board.h"

#include "dev/i8042.h"
#include "dev/irqor.h"
#include "dev/port92.h"

static struct board b;
static struct i8042 *kbc;
static struct port92 *port92;
static struct irqor a20;

static int setup(void **state)
{
	(void)state;
	board_init(&b, 0);
	a20 = (struct irqor){ .out = board_wire(&b, 20) };
	kbc = i8042_new(b.mem, board_wire(&b, 1), board_wire(&b, 12), irqor_input(&a20, 0), board_call(&b), &b.err);
	port92 = port92_new(b.mem, irqor_input(&a20, 1), board_call(&b), &b.err);
	assert_non_null(kbc);
	assert_non_null(port92);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	i8042_free(kbc);
	port92_free(port92);
	board_free(&b);
	return 0;
}

static void cmd(u8 v)
{
	outb(&b, 0x64, v);
}

static void data(u8 v)
{
	outb(&b, 0x60, v);
}

static void mouse(u8 v)
{
	cmd(0xd4);
	data(v);
}

/* The next byte; asserts that it is there and whose it is. */
static u8 next(bool aux)
{
	u8 st = inb(&b, 0x64);

	assert_true(st & 0x01);
	assert_int_equal(!!(st & 0x20), aux);
	return inb(&b, 0x60);
}

static void assert_empty(void)
{
	assert_int_equal(inb(&b, 0x64) & 0x01, 0);
}

static void test_controller(void **state)
{
	(void)state;
	assert_int_equal(inb(&b, 0x64), 0x18);
	cmd(0xaa);
	assert_int_equal(next(false), 0x55);
	assert_true(inb(&b, 0x64) & 0x04);
	cmd(0xab);
	assert_int_equal(next(false), 0);
	cmd(0xa9);
	assert_int_equal(next(false), 0);
	cmd(0x60);
	assert_true(inb(&b, 0x64) & 0x08);
	data(0x65);
	cmd(0x20);
	assert_int_equal(next(false), 0x65);
	cmd(0xa7);
	cmd(0xad);
	cmd(0x20);
	assert_int_equal(next(false), 0x75);
	cmd(0xa8);
	cmd(0xae);
	cmd(0x20);
	assert_int_equal(next(false), 0x45);
	cmd(0x6a);
	data(0x99);
	cmd(0x2a);
	assert_int_equal(next(false), 0x99);
	cmd(0xd2);
	data(0x12);
	assert_int_equal(next(false), 0x12);
	cmd(0xd3);
	data(0x34);
	assert_int_equal(next(true), 0x34);
	assert_empty();
}

static void test_a20_and_reset(void **state)
{
	(void)state;
	assert_true(b.wire[20].level);
	cmd(0xd1);
	data(0xdd);
	assert_false(b.wire[20].level);
	cmd(0xd0);
	assert_int_equal(next(false) & 0x03, 0x01);
	outb(&b, 0x92, 0x02);
	assert_true(b.wire[20].level);
	assert_int_equal(inb(&b, 0x92), 0x02);
	cmd(0xdf);
	outb(&b, 0x92, 0x00);
	assert_true(b.wire[20].level); /* either opens the gate */
	cmd(0xdd);
	assert_false(b.wire[20].level);
	assert_int_equal(b.calls, 0);
	cmd(0xff);
	assert_int_equal(b.calls, 0);
	cmd(0xfe);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.call_arg, RESET_INIT);
	outb(&b, 0x92, 0x01);
	assert_int_equal(b.calls, 2);
	outb(&b, 0x92, 0x01); /* no second rise */
	assert_int_equal(b.calls, 2);
	cmd(0xd1);
	data(0xfe);
	assert_int_equal(b.calls, 3);
}

static void test_keyboard(void **state)
{
	(void)state;
	data(0xff);
	assert_true(b.wire[1].level);
	assert_int_equal(next(false), 0xfa);
	assert_int_equal(next(false), 0xaa);
	assert_empty();
	assert_false(b.wire[1].level);
	assert_int_equal(b.wire[1].rises, 2); /* an edge for each byte */
	data(0xf2);
	assert_int_equal(next(false), 0xfa);
	assert_int_equal(next(false), 0xab);
	assert_int_equal(next(false), 0x83);
	data(0xed);
	assert_int_equal(next(false), 0xfa);
	data(0x05);
	assert_int_equal(next(false), 0xfa);
	assert_int_equal(kbc->kbd.leds, 5);
	data(0xf0);
	next(false);
	data(0x00);
	assert_int_equal(next(false), 0xfa);
	assert_int_equal(next(false), 0x02);
	data(0xee);
	assert_int_equal(next(false), 0xee);
	data(0x77);
	assert_int_equal(next(false), 0xfe);
	data(0xf5);
	assert_int_equal(next(false), 0xfa);
	assert_false(i8042_key(kbc, (const u8 *)"\x1c", 1));
	data(0xf4);
	assert_int_equal(next(false), 0xfa);
}

static void test_translation(void **state)
{
	(void)state;
	cmd(0x60);
	data(0x47);
	data(0xf2);
	assert_int_equal(next(false), 0xfa);
	assert_int_equal(next(false), 0xab);
	assert_int_equal(next(false), 0x41); /* 0x83 in set 1 */
	assert_true(i8042_key(kbc, (const u8 *)"\x1c\xf0\x1c\xe0\x75", 5));
	assert_int_equal(next(false), 0x1e);
	assert_int_equal(next(false), 0x9e);
	assert_int_equal(next(false), 0xe0);
	assert_int_equal(next(false), 0x48);
	assert_empty();
}

static void test_disabled_keyboard_waits(void **state)
{
	(void)state;
	cmd(0xad);
	i8042_key(kbc, (const u8 *)"\x1c", 1);
	assert_empty();
	cmd(0xae);
	assert_int_equal(next(false), 0x1c);
}

static void test_mouse(void **state)
{
	(void)state;
	mouse(0xff);
	assert_true(b.wire[12].level);
	assert_int_equal(next(true), 0xfa);
	assert_int_equal(next(true), 0xaa);
	assert_int_equal(next(true), 0x00);
	mouse(0xf2);
	assert_int_equal(next(true), 0xfa);
	assert_int_equal(next(true), 0x00);
	i8042_mouse_move(kbc, 3, 4, 0, 1);
	assert_empty(); /* reporting is off */
	mouse(0xf4);
	assert_int_equal(next(true), 0xfa);
	i8042_mouse_move(kbc, 2, -10, 0, 1);
	assert_int_equal(next(true), 0x29);
	assert_int_equal(next(true), 5);
	assert_int_equal(next(true), (u8)-6);
	assert_empty();
	mouse(0xe9);
	assert_int_equal(next(true), 0xfa);
	assert_int_equal(next(true), 0x24);
	assert_int_equal(next(true), 2);
	assert_int_equal(next(true), 100);
}

static void test_mouse_modes(void **state)
{
	(void)state;
	mouse(0xe8);
	next(true);
	mouse(0x03);
	next(true);
	mouse(0xe7);
	next(true);
	mouse(0xf0); /* remote: only on demand */
	next(true);
	mouse(0xf4);
	next(true);
	i8042_mouse_move(kbc, 300, -300, 0, 4);
	assert_empty();
	mouse(0xeb);
	assert_int_equal(next(true), 0xfa);
	assert_int_equal(next(true), 0x2c);
	assert_int_equal(next(true), 255);
	assert_int_equal(next(true), 1);
	mouse(0xe9);
	assert_int_equal(next(true), 0xfa);
	assert_int_equal(next(true), 0x72);
	assert_int_equal(next(true), 3);
	assert_int_equal(next(true), 100);
	mouse(0xfe);
	assert_int_equal(next(true), 100); /* the last byte again */
	mouse(0x11);
	assert_int_equal(next(true), 0xfe);
	mouse(0xf6);
	next(true);
	mouse(0xe9);
	next(true);
	assert_int_equal(next(true), 0x02);
}

static void test_post(void **state)
{
	(void)state;
	i8042_post(kbc);
	cmd(0x20);
	assert_int_equal(next(false), 0x47);
	assert_int_equal(inb(&b, 0x64) & 0x04, 0x04);
	cmd(0xa4);
	assert_int_equal(next(false), 0xf1);
	cmd(0xc0);
	assert_int_equal(next(false) & 0x80, 0x80);
	cmd(0xe0);
	assert_int_equal(next(false), 3);
	data(0xf0);
	assert_int_equal(next(false), 0xfa);
	data(0x09);
	assert_int_equal(next(false), 0xfe);
	data(0x01);
	assert_int_equal(next(false), 0xfa);
	data(0xf3);
	next(false);
	data(0x20);
	assert_int_equal(next(false), 0xfa);
	data(0xfe);
	assert_int_equal(next(false), 0xfa);
}

static void test_wheel(void **state)
{
	static const u8 rates[] = { 200, 100, 80 };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		mouse(0xf3);
		next(true);
		mouse(rates[i]);
		next(true);
	}
	mouse(0xf2);
	next(true);
	assert_int_equal(next(true), 3);
	mouse(0xf4);
	next(true);
	i8042_mouse_move(kbc, 0, 0, 1, 0);
	assert_int_equal(next(true), 0x08);
	assert_int_equal(next(true), 0);
	assert_int_equal(next(true), 0);
	assert_int_equal(next(true), 0xff);
	/* Wrap mode echoes all but its end and reset. */
	mouse(0xee);
	next(true);
	mouse(0xe9);
	assert_int_equal(next(true), 0xe9);
	mouse(0xec);
	assert_int_equal(next(true), 0xfa);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_controller, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a20_and_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyboard, setup, teardown),
		cmocka_unit_test_setup_teardown(test_translation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disabled_keyboard_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mouse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mouse_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_post, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wheel, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
