/* SPDX-License-Identifier: Apache-2.0
 * The I/O APIC against the 82093AA data sheet.
 */
#include "unit/board.h"

#include "dev/ioapic.h"

static struct board b;
static struct ioapic *apic;

static int setup(void **state)
{
	(void)state;
	board_init(&b, 0);
	apic = ioapic_new(b.mem, IOAPIC_BASE, board_msi(&b), &b.err);
	assert_non_null(apic);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ioapic_free(apic);
	board_free(&b);
	return 0;
}

static u32 get(u8 reg)
{
	mem_mmio_write(b.mem, IOAPIC_BASE, reg, 4, NULL);
	return (u32)mem_mmio_read(b.mem, IOAPIC_BASE + 0x10, 4, NULL);
}

static void put(u8 reg, u32 v)
{
	mem_mmio_write(b.mem, IOAPIC_BASE, reg, 4, NULL);
	mem_mmio_write(b.mem, IOAPIC_BASE + 0x10, v, 4, NULL);
}

static void program(unsigned pin, u64 rte)
{
	put((u8)(0x11 + pin * 2), (u32)(rte >> 32));
	put((u8)(0x10 + pin * 2), (u32)rte);
}

static void line(unsigned pin, bool level)
{
	ioapic_set_irq(apic, pin, level);
}

static void test_registers(void **state)
{
	(void)state;
	assert_int_equal(get(0x01), 0x00170020);
	assert_int_equal(get(0x00), 0);
	put(0x00, 0xffffffff);
	assert_int_equal(get(0x00), 0x0f000000);
	assert_int_equal(get(0x02), 0x0f000000);
	put(0x01, 0);
	assert_int_equal(get(0x01), 0x00170020);
	for (u8 pin = 0; pin < 24; pin++)
		assert_int_equal(get((u8)(0x10 + pin * 2)), 0x10000);
	put(0x10, 0xffffffff);
	assert_int_equal(get(0x10), 0x1afff); /* delivery status and remote IRR are read-only */
	assert_int_equal(get(0x40), 0);
	assert_int_equal(get(0xff), 0);
	assert_int_equal(mem_mmio_read(b.mem, IOAPIC_BASE, 4, NULL), 0xff);
}

static void test_edge(void **state)
{
	(void)state;
	program(4, 0x0200000000000835ull | 0x100); /* logical, lowest priority, to 2 */
	line(4, true);
	assert_int_equal(b.messages, 1);
	assert_int_equal(b.msi_addr, 0xfee02004);
	assert_int_equal(b.msi_data, 0x135);
	line(4, true);
	assert_int_equal(b.messages, 1);
	line(4, false);
	line(4, true);
	assert_int_equal(b.messages, 2);
	/* Masked, an edge is lost. */
	line(4, false);
	put(0x18, 0x10135);
	line(4, true);
	put(0x18, 0x00135);
	assert_int_equal(b.messages, 2);
}

static void test_level(void **state)
{
	(void)state;
	program(10, 0x8040);
	line(10, true);
	assert_int_equal(b.messages, 1);
	assert_int_equal(b.msi_data, 0xc040);
	assert_int_equal(get(0x24), 0xc040); /* remote IRR */
	line(10, false);
	line(10, true);
	assert_int_equal(b.messages, 1); /* until the EOI */
	ioapic_eoi(apic, 0x41);
	assert_int_equal(b.messages, 1);
	ioapic_eoi(apic, 0x40);
	assert_int_equal(b.messages, 2); /* still asserted */
	line(10, false);
	mem_mmio_write(b.mem, IOAPIC_BASE + 0x40, 0x40, 4, NULL); /* by the EOI register */
	assert_int_equal(b.messages, 2);
	assert_int_equal(get(0x24), 0x8040);
	/* A level that came while masked is delivered when unmasked. */
	put(0x24, 0x18040);
	line(10, true);
	assert_int_equal(b.messages, 2);
	put(0x24, 0x08040);
	assert_int_equal(b.messages, 3);
	/* Through edge mode and back: remote IRR falls. */
	put(0x24, 0x10040);
	assert_int_equal(get(0x24), 0x10040);
	put(0x24, 0x08040);
	assert_int_equal(b.messages, 4);
}

static void test_polarity(void **state)
{
	(void)state;
	line(11, true);
	program(11, 0xa050);
	assert_int_equal(b.messages, 0);
	line(11, false);
	assert_int_equal(b.messages, 1);
	line(11, true);
	ioapic_eoi(apic, 0x50);
	assert_int_equal(b.messages, 1);
	/* Active low, edge: the falling one. */
	program(12, 0x2060);
	line(12, true);
	assert_int_equal(b.messages, 1);
	line(12, false);
	assert_int_equal(b.messages, 2);
}

static void test_delivery_modes(void **state)
{
	(void)state;
	for (u32 mode = 0; mode < 8; mode++) {
		program(5, 0x33 | mode << 8);
		line(5, true);
		line(5, false);
		assert_int_equal(b.msi_data, 0x33 | mode << 8);
	}
	assert_int_equal(b.messages, 8);
	/* NMI has no EOI: no remote IRR. */
	program(6, 0x8400);
	line(6, true);
	assert_int_equal(get(0x1c) & 0x4000, 0);
}

/* Two pins share a vector: one EOI is for both. */
static void test_shared_vector(void **state)
{
	(void)state;
	program(1, 0x8077);
	program(2, 0x8077);
	line(1, true);
	line(2, true);
	assert_int_equal(b.messages, 2);
	ioapic_eoi(apic, 0x77);
	assert_int_equal(b.messages, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_polarity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_delivery_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shared_vector, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
