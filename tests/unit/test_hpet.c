/* SPDX-License-Identifier: Apache-2.0
 * The HPET against the IA-PC HPET Specification 1.0a.
 */
#include "unit/board.h"

#include "dev/hpet.h"

enum { CONF = 0x10, ISR = 0x20, COUNTER = 0xf0 };
#define T(n, reg) (0x100 + (n)*0x20 + (reg))

static struct board b;
static struct hpet *hpet;

static int setup(void **state)
{
	struct hpet_config cfg;

	(void)state;
	board_init(&b, 0);
	cfg.irq0 = board_wire(&b, 0);
	cfg.irq8 = board_wire(&b, 8);
	cfg.msi = board_msi(&b);
	for (unsigned i = 0; i < 24; i++)
		cfg.gsi[i] = board_wire(&b, i);
	hpet = hpet_new(b.mem, &b.clock, &b.q, &cfg, &b.err);
	assert_non_null(hpet);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hpet_free(hpet);
	board_free(&b);
	return 0;
}

static u64 get(unsigned reg, unsigned size)
{
	return mem_mmio_read(b.mem, HPET_BASE + reg, size, NULL);
}

static void put(unsigned reg, u64 v, unsigned size)
{
	mem_mmio_write(b.mem, HPET_BASE + reg, v, size, NULL);
}

static void test_counter(void **state)
{
	(void)state;
	assert_int_equal(get(0, 8), HPET_ID | (u64)HPET_PERIOD_FS << 32);
	assert_int_equal(get(4, 4), HPET_PERIOD_FS);
	board_run(&b, 1000);
	assert_int_equal(get(COUNTER, 8), 0);
	put(CONF, 1, 4);
	board_run(&b, 1000);
	assert_int_equal(get(COUNTER, 8), 100);
	put(CONF, 0, 4);
	board_run(&b, 1000);
	assert_int_equal(get(COUNTER, 8), 100); /* it keeps its value */
	put(COUNTER, 0xfffffff0, 4);
	put(COUNTER + 4, 0x1, 4);
	assert_int_equal(get(COUNTER, 8), 0x1fffffff0);
	put(CONF, 1, 4);
	board_run(&b, 160);
	assert_int_equal(get(COUNTER, 4), 0);
	assert_int_equal(get(COUNTER + 4, 4), 2);
}

static void test_one_shot(void **state)
{
	(void)state;
	assert_int_equal(get(T(0, 0), 8) & 0xffff, 0x8030);
	assert_int_equal(get(T(0, 4), 4), HPET_ROUTES);
	put(CONF, 1, 8);
	put(T(0, 0), 20 << 9 | 0x4, 8);
	put(T(0, 8), 1000, 8);
	board_run_to(&b, 9999);
	assert_false(b.wire[20].level);
	board_run_to(&b, 10000);
	assert_true(b.wire[20].level);
	assert_int_equal(b.wire[20].rises, 1);
	board_run(&b, NS_PER_SEC);
	assert_int_equal(b.wire[20].rises, 1);
	/* A comparator that the counter has passed waits for the wrap of 32 bits. */
	put(T(0, 0), 20 << 9 | 0x104, 8);
	put(T(0, 8), 500, 8);
	board_run_to(&b, (BIT(32) + 499) * 10);
	assert_int_equal(b.wire[20].rises, 1);
	board_run_to(&b, (BIT(32) + 500) * 10);
	assert_int_equal(b.wire[20].rises, 2);
}

static void test_level(void **state)
{
	(void)state;
	put(CONF, 1, 8);
	put(T(1, 0), 21 << 9 | 0x6, 8);
	put(T(1, 8), 100, 8);
	board_run_to(&b, 2000);
	assert_true(b.wire[21].level);
	assert_int_equal(get(ISR, 8), 2);
	put(ISR, 1, 4);
	assert_true(b.wire[21].level);
	put(ISR, 2, 4);
	assert_false(b.wire[21].level);
	assert_int_equal(get(ISR, 8), 0);
}

/* As Linux programs it: VAL_SET, the first match, then the period. */
static void test_periodic(void **state)
{
	(void)state;
	put(CONF, 1, 8);
	put(T(0, 0), 22 << 9 | 0x14c, 4);
	put(T(0, 8), 300, 4);
	assert_int_equal(get(T(0, 0), 4) & 0x40, 0);
	put(T(0, 8), 100, 4);
	board_run_to(&b, 2990);
	assert_int_equal(b.wire[22].rises, 0);
	board_run_to(&b, 3000);
	assert_int_equal(b.wire[22].rises, 1);
	assert_int_equal(get(T(0, 8), 8), 400);
	board_run_to(&b, 103000);
	assert_int_equal(b.wire[22].rises, 101);
	/* A late host sees one interrupt for all that it missed. */
	clock_advance(&b.clock, 10500);
	timerq_run(&b.q, clock_ns(&b.clock));
	assert_int_equal(b.wire[22].rises, 102);
	assert_int_equal(get(T(0, 8), 8), 11400);
}

static void test_legacy_replacement(void **state)
{
	(void)state;
	hpet_legacy_irq(hpet, HPET_IN_PIT, true);
	assert_true(b.wire[0].level);
	hpet_legacy_irq(hpet, HPET_IN_RTC, true);
	assert_true(b.wire[8].level);
	put(CONF, 3, 8);
	assert_false(b.wire[0].level);
	assert_false(b.wire[8].level);
	hpet_legacy_irq(hpet, HPET_IN_PIT, false);
	hpet_legacy_irq(hpet, HPET_IN_PIT, true);
	assert_false(b.wire[0].level);
	put(T(0, 0), 20 << 9 | 0x4, 8); /* the route is ignored */
	put(T(0, 8), 100, 8);
	put(T(1, 0), 0x4, 8);
	put(T(1, 8), 200, 8);
	board_run_to(&b, 1000);
	assert_true(b.wire[0].level);
	assert_false(b.wire[20].level);
	assert_false(b.wire[8].level);
	board_run_to(&b, 2000);
	assert_true(b.wire[8].level);
	put(CONF, 1, 8);
	assert_true(b.wire[0].level); /* the PIT's own again */
}

static void test_fsb(void **state)
{
	(void)state;
	put(CONF, 1, 8);
	put(T(2, 0x10), 0xfee0100000000051, 8);
	put(T(2, 0), 0x4004, 8);
	put(T(2, 8), 100, 8);
	board_run_to(&b, 1000);
	assert_int_equal(b.messages, 1);
	assert_int_equal(b.msi_addr, 0xfee01000);
	assert_int_equal(b.msi_data, 0x51);
}

/* As Linux leaves the one it no longer uses: it goes on, costs the host nothing, and is heard again at its next match.
 */
static void test_silent(void **state)
{
	(void)state;
	put(CONF, 1, 8);
	put(T(0, 0), 20 << 9 | 0x4c, 8);
	put(T(0, 8), 1000, 8);
	put(T(0, 8), 1000, 8);
	board_run_to(&b, 10000);
	assert_int_equal(b.wire[20].rises, 1);
	put(T(0, 0), 20 << 9 | 0x8, 8); /* periodic still */
	assert_true(timerq_next(&b.q) == CLOCK_NEVER);
	board_run_to(&b, 123456);
	assert_int_equal(get(T(0, 8), 8), 13000);
	/* Much later than 32 bits count. */
	board_run_to(&b, 70ull * BIT(32));
	assert_int_equal(get(T(0, 8), 8), 7ull * BIT(32) / 1000 * 1000 + 1000);
	put(T(0, 0), 20 << 9 | 0x10c, 8); /* heard again, now of 32 bits */
	assert_int_equal(get(T(0, 8), 8), (u32)(7ull * BIT(32) / 1000 * 1000 + 1000));
	board_run_to(&b, (7ull * BIT(32) / 1000 * 1000 + 1000) * 10 - 1);
	assert_int_equal(b.wire[20].rises, 1);
	board_run(&b, 1);
	assert_int_equal(b.wire[20].rises, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_shot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_legacy_replacement, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fsb, setup, teardown),
		cmocka_unit_test_setup_teardown(test_silent, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
