/* SPDX-License-Identifier: Apache-2.0
 * The MC146818 against its data sheet.
 */
#include "unit/board.h"

#include "dev/mc146818.h"

/* 2024-02-28 23:59:57.5 UTC, a Wednesday before a leap day. */
#define BIRTH_S 1709164797ull
#define MS 1000000ull

static struct board b;
static struct mc146818 *rtc;

static int setup(void **state)
{
	struct mc146818_config cfg = {
		.utc_ns = BIRTH_S * NS_PER_SEC + 500 * MS,
		.ram_below = 3ull << 30,
		.ram_above = 5ull << 30,
		.cpus = 4,
	};

	(void)state;
	board_init(&b, 0);
	cfg.irq8 = board_wire(&b, 8);
	rtc = mc146818_new(b.mem, &b.clock, &b.q, &cfg, &b.err);
	assert_non_null(rtc);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mc146818_free(rtc);
	board_free(&b);
	return 0;
}

static u8 get(u8 reg)
{
	outb(&b, 0x70, reg);
	return inb(&b, 0x71);
}

static void put(u8 reg, u8 v)
{
	outb(&b, 0x70, reg);
	outb(&b, 0x71, v);
}

static void assert_time(u8 hour, u8 min, u8 sec)
{
	assert_int_equal(get(4), hour);
	assert_int_equal(get(2), min);
	assert_int_equal(get(0), sec);
}

static void test_calendar(void **state)
{
	(void)state;
	assert_time(0x23, 0x59, 0x57);
	assert_int_equal(get(6), 4); /* Wednesday: Sunday is 1 */
	assert_int_equal(get(7), 0x28);
	assert_int_equal(get(8), 0x02);
	assert_int_equal(get(9), 0x24);
	assert_int_equal(get(0x32), 0x20);
	board_run(&b, 500 * MS - 1);
	assert_int_equal(get(0), 0x57);
	board_run(&b, 1);
	assert_int_equal(get(0), 0x58);
	board_run(&b, 2 * NS_PER_SEC);
	assert_time(0, 0, 0);
	assert_int_equal(get(7), 0x29);
	assert_int_equal(get(0x0d), 0x80);
}

static void test_formats(void **state)
{
	(void)state;
	put(0x0b, 0x06); /* binary, 24 hours */
	assert_time(23, 59, 57);
	put(0x0b, 0x04); /* binary, 12 hours: 11 pm */
	assert_int_equal(get(4), 0x8b);
	put(0x0b, 0x00);
	assert_int_equal(get(4), 0x91);
	board_run(&b, 3 * NS_PER_SEC);
	assert_int_equal(get(4), 0x12); /* midnight is 12 am */
}

static void test_set(void **state)
{
	(void)state;
	put(0x0b, 0x82);
	put(0, 0x30);
	put(2, 0x15);
	put(4, 0x12);
	put(7, 0x01);
	put(8, 0x01);
	put(9, 0x99);
	put(0x32, 0x19);
	board_run(&b, 5 * NS_PER_SEC);
	assert_int_equal(get(0), 0x30); /* updates are inhibited */
	put(0x0b, 0x02);
	assert_time(0x12, 0x15, 0x30);
	board_run(&b, 5 * NS_PER_SEC);
	assert_time(0x12, 0x15, 0x35);
	assert_int_equal(get(6), 6); /* 1999-01-01 was a Friday */
	/* Out of the divider's reset, the first update comes after half a second. */
	put(0x0a, 0x66);
	put(0, 0x10);
	board_run(&b, 10 * NS_PER_SEC);
	assert_int_equal(get(0), 0x10);
	put(0x0a, 0x26);
	board_run(&b, 499 * MS);
	assert_int_equal(get(0), 0x10);
	board_run(&b, 1 * MS);
	assert_int_equal(get(0), 0x11);
}

/* Written while it runs, a register takes effect and the second goes on. */
static void test_write_while_running(void **state)
{
	(void)state;
	board_run(&b, 100 * MS); /* 57.6 */
	put(4, 0x08);
	assert_time(0x08, 0x59, 0x57);
	board_run(&b, 400 * MS);
	assert_time(0x08, 0x59, 0x58);
	put(0x0b, 0x80); /* 12 hours */
	put(4, 0x92);	 /* 12 pm: noon */
	put(0x0b, 0x02);
	put(0x0b, 0x82);
	assert_int_equal(get(0x0b), 0x82);
	put(4, 0x12);
	put(0x0b, 0x00);
	assert_int_equal(get(4), 0x12); /* 12 am: hours were read as 12-hour when SET fell */
}

static void test_uip(void **state)
{
	(void)state;
	assert_int_equal(get(0x0a) & 0x80, 0);
	board_run(&b, 500 * MS - 2228001);
	assert_int_equal(get(0x0a) & 0x80, 0);
	board_run(&b, 1);
	assert_int_equal(get(0x0a) & 0x80, 0x80);
	board_run(&b, 2228000);
	assert_int_equal(get(0x0a) & 0x80, 0);
	board_run(&b, NS_PER_SEC - 1);
	put(0x0b, 0x82);
	assert_int_equal(get(0x0a) & 0x80, 0); /* SET ends it */
}

static void test_update_interrupt(void **state)
{
	(void)state;
	put(0x0b, 0x12);
	board_run(&b, 499 * MS);
	assert_false(b.wire[8].level);
	board_run(&b, 1 * MS);
	assert_true(b.wire[8].level);
	assert_int_equal(get(0x0c), 0xd0); /* PF too, which nobody enabled */
	assert_false(b.wire[8].level);	   /* reading C lets go of the line */
	assert_int_equal(get(0x0c), 0);
	board_run(&b, NS_PER_SEC);
	assert_int_equal(b.wire[8].rises, 2);
	put(0x0b, 0x92);
	assert_int_equal(get(0x0b), 0x82); /* SET clears UIE */
}

static void test_alarm(void **state)
{
	(void)state;
	put(1, 0x02);
	put(3, 0x00);
	put(5, 0x00);
	put(0x0b, 0x22);
	board_run(&b, 4400 * MS); /* 00:00:01.9 */
	assert_false(b.wire[8].level);
	board_run(&b, 100 * MS);
	assert_true(b.wire[8].level);
	assert_int_equal(get(0x0c) & 0xa0, 0xa0);
	/* Any hour, any minute. */
	put(3, 0xc0);
	put(5, 0xff);
	board_run(&b, 60 * NS_PER_SEC);
	assert_int_equal(b.wire[8].rises, 2);
	/* The flag is set without the interrupt too, even when nobody looked for long. */
	put(0x0b, 0x02);
	get(0x0c);
	board_run(&b, 3600 * NS_PER_SEC);
	assert_int_equal(get(0x0c), 0x70);
}

static void test_periodic(void **state)
{
	(void)state;
	put(0x0a, 0x26); /* 1024 Hz */
	put(0x0b, 0x42);
	for (unsigned i = 1; i <= 1024; i++) {
		board_run_to(&b, i * NS_PER_SEC / 1024 + 100);
		assert_true(b.wire[8].level);
		assert_int_equal(get(0x0c) & 0xc0, 0xc0);
	}
	assert_int_equal(b.wire[8].rises, 1024);
	/* Not read, it interrupts once. */
	board_run(&b, NS_PER_SEC);
	assert_int_equal(b.wire[8].rises, 1025);
	get(0x0c);
	put(0x0a, 0x20); /* none */
	board_run(&b, NS_PER_SEC);
	assert_int_equal(b.wire[8].rises, 1025);
	put(0x0a, 0x2f); /* 2 Hz */
	board_run(&b, NS_PER_SEC / 2);
	assert_int_equal(b.wire[8].rises, 1026);
}

static void test_cmos(void **state)
{
	u16 sum = 0;

	(void)state;
	assert_int_equal(get(0x15) | get(0x16) << 8, 640);
	assert_int_equal(get(0x17) | get(0x18) << 8, 65535);
	assert_int_equal(get(0x30) | get(0x31) << 8, 65535);
	assert_int_equal(get(0x34) | get(0x35) << 8, ((3u << 30) - (16u << 20)) >> 16);
	assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, (int)((5ull << 30) >> 16));
	assert_int_equal(get(0x5f), 3);
	for (u8 i = 0x10; i < 0x2e; i++)
		sum += get(i);
	assert_int_equal(get(0x2e) << 8 | get(0x2f), sum);
	put(0x0f, 0x0a);
	mc146818_reset(rtc);
	assert_int_equal(get(0x0f), 0x0a); /* the shutdown byte survives */
	outb(&b, 0x70, 0x8f);
	assert_true(mc146818_nmi_masked(rtc));
	assert_int_equal(inb(&b, 0x71), 0x0a);
	outb(&b, 0x70, 0x0f);
	assert_false(mc146818_nmi_masked(rtc));
	assert_int_equal(inb(&b, 0x70), 0xff);
	outb(&b, 0x72, 0x11);
	outb(&b, 0x73, 0x5a);
	assert_int_equal(inb(&b, 0x73), 0x5a);
	assert_int_not_equal(get(0x11), 0x5a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_calendar, setup, teardown),
		cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_while_running, setup, teardown),
		cmocka_unit_test_setup_teardown(test_uip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_update_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alarm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cmos, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
