/* SPDX-License-Identifier: Apache-2.0
 * The 8254 against its data sheet (Intel 231164).
 */
#include "unit/board.h"

#include "dev/i8254.h"

static struct board b;
static struct i8254 *pit;
static u64 tick; /* PIT ticks that have passed */

static int setup(void **state)
{
	(void)state;
	board_init(&b, 0);
	pit = i8254_new(b.mem, &b.clock, &b.q, board_wire(&b, 0), &b.err);
	assert_non_null(pit);
	tick = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	i8254_free(pit);
	board_free(&b);
	return 0;
}

static void run_ticks(u64 n)
{
	tick += n;
	board_run_to(&b, clock_ticks_to_ns(tick, PIT_HZ));
}

static void program(unsigned ch, unsigned mode, u16 count)
{
	outb(&b, 0x43, (u8)(ch << 6 | 0x30 | mode << 1));
	outb(&b, (u16)(0x40 + ch), (u8)count);
	outb(&b, (u16)(0x40 + ch), (u8)(count >> 8));
}

static u16 latched(unsigned ch)
{
	u8 low;

	outb(&b, 0x43, (u8)(ch << 6));
	low = inb(&b, (u16)(0x40 + ch));
	return (u16)(low | inb(&b, (u16)(0x40 + ch)) << 8);
}

static u8 status(unsigned ch)
{
	outb(&b, 0x43, (u8)(0xe0 | 2u << ch));
	return inb(&b, (u16)(0x40 + ch));
}

static void gate2(bool on)
{
	outb(&b, 0x61, on);
}

static void test_mode0(void **state)
{
	(void)state;
	program(0, 0, 1000);
	assert_false(b.wire[0].level);
	assert_int_equal(status(0), 0x70); /* OUT low, null count, both bytes, mode 0 */
	run_ticks(1);
	assert_int_equal(status(0), 0x30);
	assert_int_equal(latched(0), 1000);
	run_ticks(400);
	assert_int_equal(latched(0), 600);
	run_ticks(599);
	assert_false(i8254_out(pit, 0));
	run_ticks(1); /* N + 1 clocks after the write */
	assert_true(i8254_out(pit, 0));
	assert_true(b.wire[0].level);
	assert_int_equal(latched(0), 0);
	run_ticks(3);
	assert_int_equal(latched(0), 0xfffd); /* wraps around and counts on */
	run_ticks(200000);
	assert_int_equal(b.wire[0].rises, 1);
	/* The first byte of a new count drops OUT at once and stops the counting. */
	outb(&b, 0x40, 5);
	assert_false(i8254_out(pit, 0));
	run_ticks(100);
	assert_false(b.wire[0].level);
	outb(&b, 0x40, 0);
	run_ticks(6);
	assert_int_equal(b.wire[0].rises, 2);
}

static void test_mode0_gate(void **state)
{
	(void)state;
	gate2(true);
	program(2, 0, 100);
	run_ticks(11);
	assert_int_equal(latched(2), 90);
	gate2(false);
	run_ticks(50);
	assert_int_equal(latched(2), 90);
	gate2(true);
	run_ticks(90);
	assert_true(inb(&b, 0x61) & 0x20);
}

static void test_mode1(void **state)
{
	(void)state;
	gate2(false);
	program(2, 1, 50);
	assert_true(i8254_out(pit, 2));
	run_ticks(100);
	assert_true(i8254_out(pit, 2)); /* no trigger yet */
	gate2(true);
	run_ticks(1);
	assert_false(i8254_out(pit, 2));
	run_ticks(30);
	assert_int_equal(latched(2), 20);
	gate2(false); /* the level of the gate does not matter */
	gate2(true);  /* a rise triggers again */
	run_ticks(50);
	assert_false(i8254_out(pit, 2));
	run_ticks(1);
	assert_true(i8254_out(pit, 2));
}

static void test_mode2(void **state)
{
	(void)state;
	program(0, 2, 1000);
	run_ticks(1);
	assert_int_equal(latched(0), 1000);
	run_ticks(999);
	assert_int_equal(latched(0), 1);
	assert_false(i8254_out(pit, 0));      /* low for the one clock of count 1 */
	assert_int_equal(b.wire[0].rises, 1); /* the control word set OUT high */
	run_ticks(1);
	assert_true(i8254_out(pit, 0));
	assert_int_equal(latched(0), 1000);
	assert_int_equal(b.wire[0].rises, 2);
	run_ticks(10000);
	assert_int_equal(b.wire[0].rises, 12);
	/* A new count takes over at the end of the cycle. */
	run_ticks(500);
	outb(&b, 0x40, 100);
	outb(&b, 0x40, 0);
	assert_int_equal(status(0) & 0x40, 0x40);
	assert_int_equal(latched(0), 500);
	run_ticks(500);
	assert_int_equal(status(0) & 0x40, 0);
	assert_int_equal(latched(0), 100);
	assert_int_equal(b.wire[0].rises, 13);
	run_ticks(100);
	assert_int_equal(b.wire[0].rises, 14);
}

static void test_mode3(void **state)
{
	(void)state;
	program(0, 3, 7); /* odd: high for 4, low for 3 */
	run_ticks(1);
	for (unsigned i = 0; i < 70; i++) {
		assert_int_equal(i8254_out(pit, 0), i % 7 < 4);
		assert_int_equal(latched(0) & 1, 0); /* counts by two */
		run_ticks(1);
	}
	assert_int_equal(b.wire[0].rises, 11);
	program(0, 3, 1000);
	run_ticks(1);
	run_ticks(100);
	assert_int_equal(latched(0), 800);
	run_ticks(500);
	assert_int_equal(latched(0), 800);
	assert_false(i8254_out(pit, 0));
}

static void test_mode3_new_count(void **state)
{
	(void)state;
	program(0, 3, 1000);
	run_ticks(1 + 100);
	outb(&b, 0x40, 200); /* takes over at the half cycle, for the low half */
	outb(&b, 0x40, 0);
	run_ticks(399);
	assert_true(i8254_out(pit, 0));
	run_ticks(1);
	assert_false(i8254_out(pit, 0));
	run_ticks(99);
	assert_false(i8254_out(pit, 0));
	run_ticks(1);
	assert_true(i8254_out(pit, 0));
	assert_int_equal(b.wire[0].rises, 2);
	run_ticks(200);
	assert_int_equal(b.wire[0].rises, 3);
}

/* The gate stops and restarts the periodic modes; OUT is high while it is low. */
static void test_periodic_gate(void **state)
{
	(void)state;
	gate2(true);
	program(2, 2, 100);
	run_ticks(31);
	assert_int_equal(latched(2), 70);
	gate2(false);
	run_ticks(75);
	assert_int_equal(latched(2), 70);
	assert_true(i8254_out(pit, 2));
	gate2(true);
	run_ticks(1);
	assert_int_equal(latched(2), 100);
	run_ticks(99);
	assert_false(i8254_out(pit, 2));
	program(2, 3, 100);
	run_ticks(61);
	assert_false(i8254_out(pit, 2));
	gate2(false);
	assert_true(i8254_out(pit, 2));
	/* A count written meanwhile is what the gate loads. */
	outb(&b, 0x42, 10);
	outb(&b, 0x42, 0);
	gate2(true);
	run_ticks(1 + 5);
	assert_false(i8254_out(pit, 2));
	run_ticks(5);
	assert_true(i8254_out(pit, 2));
}

static void test_mode4(void **state)
{
	(void)state;
	program(0, 4, 100);
	run_ticks(1);
	assert_true(i8254_out(pit, 0));
	run_ticks(100);
	assert_false(i8254_out(pit, 0)); /* the strobe: one clock */
	run_ticks(1);
	assert_true(i8254_out(pit, 0));
	assert_true(b.wire[0].level);
	assert_int_equal(b.wire[0].rises, 2);
	run_ticks(100000);
	assert_int_equal(b.wire[0].rises, 2);
}

static void test_mode5(void **state)
{
	(void)state;
	gate2(false);
	program(2, 5, 10);
	run_ticks(100);
	assert_true(i8254_out(pit, 2));
	gate2(true);
	run_ticks(1 + 10);
	assert_false(i8254_out(pit, 2));
	run_ticks(1);
	assert_true(i8254_out(pit, 2));
}

static void test_bcd(void **state)
{
	(void)state;
	outb(&b, 0x43, 0x31); /* mode 0, BCD */
	outb(&b, 0x40, 0x00);
	outb(&b, 0x40, 0x10);
	run_ticks(2);
	assert_int_equal(latched(0), 0x0999);
	run_ticks(1000);
	assert_int_equal(latched(0), 0x9999);
	/* 0 is 10,000. */
	outb(&b, 0x40, 0);
	outb(&b, 0x40, 0);
	run_ticks(2);
	assert_int_equal(latched(0), 0x9999);
	assert_false(i8254_out(pit, 0));
}

static void test_access_modes(void **state)
{
	(void)state;
	outb(&b, 0x43, 0x14); /* low byte only, mode 2 */
	outb(&b, 0x40, 100);
	run_ticks(1);
	assert_int_equal(inb(&b, 0x40), 100);
	assert_int_equal(inb(&b, 0x40), 100);
	outb(&b, 0x43, 0x24); /* high byte only */
	outb(&b, 0x40, 0x12);
	run_ticks(2);
	assert_int_equal(inb(&b, 0x40), 0x11);
	/* 0 is 65,536. */
	program(0, 2, 0);
	run_ticks(2);
	assert_int_equal(latched(0), 0xffff);
}

static void test_latches(void **state)
{
	(void)state;
	program(0, 2, 1000);
	run_ticks(11);
	outb(&b, 0x43, 0xc2); /* read-back: status and count of channel 0 */
	run_ticks(100);
	outb(&b, 0x43, 0xc2); /* ignored until read */
	assert_int_equal(inb(&b, 0x40), 0xb4);
	assert_int_equal(inb(&b, 0x40), 990 & 0xff);
	assert_int_equal(inb(&b, 0x40), 990 >> 8);
	assert_int_equal(inb(&b, 0x40), 890 & 0xff); /* unlatched */
	assert_int_equal(inb(&b, 0x40), 890 >> 8);
	assert_int_equal(inb(&b, 0x43), 0xff);
}

static void test_post(void **state)
{
	(void)state;
	i8254_post(pit);
	run_ticks(65536 * 10 + 1);
	assert_int_equal(b.wire[0].rises, 11);
	assert_int_equal(latched(0), 0); /* 65,536 */
}

static void test_port61(void **state)
{
	u8 first;

	(void)state;
	outb(&b, 0x61, 0xff);
	assert_int_equal(inb(&b, 0x61) & 0x0f, 0x0f);
	first = inb(&b, 0x61) & 0x10;
	board_run(&b, 15085);
	assert_int_not_equal(inb(&b, 0x61) & 0x10, first);
}

/* A host that is late loses edges, never the rhythm. */
static void test_late_timer(void **state)
{
	(void)state;
	program(0, 2, 1193);
	clock_advance(&b.clock, 10500000); /* ten periods and a half */
	timerq_run(&b.q, clock_ns(&b.clock));
	assert_int_equal(b.wire[0].rises, 2);
	board_run(&b, 600000);
	assert_int_equal(b.wire[0].rises, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_mode0, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode0_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode3, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode3_new_count, setup, teardown),
		cmocka_unit_test_setup_teardown(test_periodic_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode4, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode5, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bcd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_access_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_latches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_post, setup, teardown),
		cmocka_unit_test_setup_teardown(test_port61, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_timer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
