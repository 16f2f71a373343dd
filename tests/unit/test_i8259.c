/* SPDX-License-Identifier: Apache-2.0
 * The 8259A pair against its data sheet (Intel 231468).
 */
#include "unit/board.h"

#include "dev/i8259.h"

static struct board b;
static struct i8259 *pic;

static void irq(unsigned n, bool level)
{
	i8259_set_irq(pic, n, level);
}

static void init_pair(u8 icw4)
{
	outb(&b, 0x20, 0x11);
	outb(&b, 0x21, 0x30);
	outb(&b, 0x21, 0x04);
	outb(&b, 0x21, icw4);
	outb(&b, 0xa0, 0x11);
	outb(&b, 0xa1, 0x38);
	outb(&b, 0xa1, 0x02);
	outb(&b, 0xa1, icw4 & ~0x10);
}

static int setup(void **state)
{
	(void)state;
	board_init(&b, 0);
	pic = i8259_new(b.mem, board_wire(&b, 0), &b.err);
	assert_non_null(pic);
	init_pair(0x01);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	i8259_free(pic);
	board_free(&b);
	return 0;
}

static void eoi(void)
{
	outb(&b, 0x20, 0x20);
}

static u8 isr(u16 port)
{
	outb(&b, port, 0x0b);
	return inb(&b, port);
}

static u8 irr(u16 port)
{
	outb(&b, port, 0x0a);
	return inb(&b, port);
}

static void test_edge_and_eoi(void **state)
{
	(void)state;
	assert_false(b.wire[0].level);
	irq(3, true);
	assert_true(b.wire[0].level);
	assert_int_equal(irr(0x20), 0x08);
	assert_int_equal(i8259_ack(pic), 0x33);
	assert_false(b.wire[0].level);
	assert_int_equal(irr(0x20), 0);
	assert_int_equal(isr(0x20), 0x08);
	/* The line is still high: no second edge. */
	eoi();
	assert_int_equal(isr(0x20), 0);
	assert_false(b.wire[0].level);
	irq(3, false);
	irq(3, true);
	assert_true(b.wire[0].level);
}

static void test_priorities_and_nesting(void **state)
{
	(void)state;
	irq(5, true);
	irq(4, true);
	assert_int_equal(i8259_ack(pic), 0x34);
	assert_false(b.wire[0].level); /* 5 is lower */
	irq(1, true);
	assert_true(b.wire[0].level);
	assert_int_equal(i8259_ack(pic), 0x31);
	assert_int_equal(isr(0x20), 0x12);
	eoi();
	assert_int_equal(isr(0x20), 0x10);
	eoi();
	assert_true(b.wire[0].level);
	assert_int_equal(i8259_ack(pic), 0x35);
}

static void test_mask(void **state)
{
	(void)state;
	outb(&b, 0x21, 0x08);
	irq(3, true);
	assert_false(b.wire[0].level);
	outb(&b, 0x21, 0x00);
	assert_true(b.wire[0].level);
	assert_int_equal(inb(&b, 0x21), 0);
}

static void test_spurious(void **state)
{
	(void)state;
	/* An edge input that falls before the acknowledge. */
	irq(3, true);
	irq(3, false);
	assert_false(b.wire[0].level);
	assert_int_equal(i8259_ack(pic), 0x37);
	assert_int_equal(isr(0x20), 0);
	/* The slave's: the master's cascade bit is set, the slave's is not. */
	irq(10, true);
	outb(&b, 0x21, 0x00);
	assert_true(b.wire[0].level);
	pic->chip[1].irr = 0; /* gone between the two INTA cycles */
	assert_int_equal(i8259_ack(pic), 0x3f);
	assert_int_equal(isr(0x20), 0x04);
	assert_int_equal(isr(0xa0), 0);
}

static void test_cascade(void **state)
{
	(void)state;
	irq(12, true);
	irq(9, true);
	assert_true(b.wire[0].level);
	assert_int_equal(i8259_ack(pic), 0x39);
	assert_int_equal(isr(0x20), 0x04);
	assert_int_equal(isr(0xa0), 0x02);
	/* Fully nested: 8 is above 9 in the slave, but the master has the cascade in service. */
	irq(8, true);
	assert_false(b.wire[0].level);
	outb(&b, 0xa0, 0x20);
	eoi();
	assert_int_equal(i8259_ack(pic), 0x38);
	outb(&b, 0xa0, 0x20);
	eoi();
	assert_int_equal(i8259_ack(pic), 0x3c);
}

static void test_special_fully_nested(void **state)
{
	(void)state;
	init_pair(0x11);
	irq(9, true);
	assert_int_equal(i8259_ack(pic), 0x39);
	irq(8, true);
	assert_true(b.wire[0].level);
	assert_int_equal(i8259_ack(pic), 0x38);
	assert_int_equal(isr(0xa0), 0x03);
}

static void test_level(void **state)
{
	(void)state;
	outb(&b, 0x4d1, 0x0c);
	assert_int_equal(inb(&b, 0x4d1), 0x0c);
	outb(&b, 0x4d0, 0xff);
	assert_int_equal(inb(&b, 0x4d0), 0xf8); /* 0, 1, 2 are edges for ever */
	outb(&b, 0x4d0, 0);
	irq(10, true);
	assert_int_equal(i8259_ack(pic), 0x3a);
	assert_int_equal(irr(0xa0), 0x04); /* the level still shows */
	outb(&b, 0xa0, 0x20);
	eoi();
	assert_true(b.wire[0].level);
	irq(10, false);
	assert_false(b.wire[0].level);
	assert_int_equal(irr(0xa0), 0);
}

static void test_aeoi_and_rotation(void **state)
{
	(void)state;
	init_pair(0x03);
	irq(3, true);
	assert_int_equal(i8259_ack(pic), 0x33);
	assert_int_equal(isr(0x20), 0);
	outb(&b, 0x20, 0x80); /* rotate in AEOI mode */
	irq(3, false);
	irq(3, true);
	assert_int_equal(i8259_ack(pic), 0x33); /* 3 is now the lowest */
	irq(3, false);
	irq(3, true);
	irq(6, true);
	assert_int_equal(i8259_ack(pic), 0x36);
}

static void test_rotate_on_eoi(void **state)
{
	(void)state;
	irq(3, true);
	assert_int_equal(i8259_ack(pic), 0x33);
	outb(&b, 0x20, 0xa0); /* rotate on non-specific EOI */
	irq(3, false);
	irq(3, true);
	irq(4, true);
	assert_int_equal(i8259_ack(pic), 0x34);
	outb(&b, 0x20, 0x64); /* specific EOI of 4 */
	assert_int_equal(isr(0x20), 0);
	outb(&b, 0x20, 0xc2); /* set priority: 2 is the lowest, 3 the highest */
	irq(1, true);
	assert_int_equal(i8259_ack(pic), 0x33);
	outb(&b, 0x20, 0xe3); /* rotate on specific EOI of 3 */
	assert_int_equal(isr(0x20), 0);
	assert_int_equal(pic->chip[0].lowest, 3);
}

static void test_special_mask(void **state)
{
	(void)state;
	irq(3, true);
	assert_int_equal(i8259_ack(pic), 0x33);
	outb(&b, 0x21, 0x08);
	outb(&b, 0x20, 0x68); /* special mask mode */
	irq(6, true);
	assert_true(b.wire[0].level);
	assert_int_equal(i8259_ack(pic), 0x36);
	assert_int_equal(isr(0x20), 0x48);
	eoi(); /* a masked input in service is not cleared by a non-specific EOI */
	assert_int_equal(isr(0x20), 0x08);
	outb(&b, 0x20, 0x48); /* leave special mask mode */
	eoi();
	assert_int_equal(isr(0x20), 0);
}

static void test_poll(void **state)
{
	(void)state;
	outb(&b, 0x20, 0x0c);
	assert_int_equal(inb(&b, 0x20), 0);
	irq(5, true);
	outb(&b, 0x20, 0x0c);
	assert_int_equal(inb(&b, 0x20), 0x85);
	assert_int_equal(isr(0x20), 0x20);
	assert_int_equal(inb(&b, 0x20), 0x20); /* only one read was a poll */
	eoi();
	irq(9, true);
	outb(&b, 0x20, 0x0c);
	assert_int_equal(inb(&b, 0x21), 0x82); /* at either address */
	outb(&b, 0xa0, 0x0c);
	assert_int_equal(inb(&b, 0xa0), 0x81);
}

static void test_icw1_clears(void **state)
{
	(void)state;
	irq(3, true);
	outb(&b, 0x21, 0xff);
	outb(&b, 0x20, 0x11);
	assert_false(b.wire[0].level);
	outb(&b, 0x21, 0x30);
	outb(&b, 0x21, 0x04);
	outb(&b, 0x21, 0x01);
	assert_int_equal(inb(&b, 0x21), 0); /* IMR is cleared */
	assert_int_equal(irr(0x20), 0);	    /* and the edge forgotten, though the line is high */
	irq(3, false);
	irq(3, true);
	assert_int_equal(i8259_ack(pic), 0x33);
}

static void test_single_without_icw4(void **state)
{
	(void)state;
	outb(&b, 0x20, 0x12); /* SNGL, no ICW4 */
	outb(&b, 0x21, 0x47);
	irq(1, true);
	assert_int_equal(i8259_ack(pic), 0x41);
	assert_int_equal(isr(0x20), 0x02);
}

static void test_reset_and_post(void **state)
{
	(void)state;
	i8259_reset(pic);
	irq(3, true);
	assert_false(b.wire[0].level); /* not initialised */
	outb(&b, 0x21, 0x5a);
	assert_int_equal(inb(&b, 0x21), 0x5a);
	i8259_post(pic, 0xffff);
	i8259_set_elcr(pic, 0x0e20);
	assert_int_equal(inw(&b, 0x4d0), 0x0e20);
	assert_int_equal(inb(&b, 0x21), 0xff);
	assert_int_equal(inb(&b, 0xa1), 0xff);
	outb(&b, 0x21, 0);
	assert_false(i8259_intr(pic));
	irq(3, false);
	irq(3, true);
	assert_true(i8259_intr(pic));
	assert_int_equal(i8259_ack(pic), 0x0b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_edge_and_eoi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_priorities_and_nesting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mask, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spurious, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cascade, setup, teardown),
		cmocka_unit_test_setup_teardown(test_special_fully_nested, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_aeoi_and_rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rotate_on_eoi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_special_mask, setup, teardown),
		cmocka_unit_test_setup_teardown(test_poll, setup, teardown),
		cmocka_unit_test_setup_teardown(test_icw1_clears, setup, teardown),
		cmocka_unit_test_setup_teardown(test_single_without_icw4, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_and_post, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
