/* SPDX-License-Identifier: Apache-2.0
 * The PCI bus: configuration mechanism 1, sizing, windows, INTx routing, MSI and MSI-X; the board's bridges.
 */
#include "unit/board.h"

#include "dev/i440fx.h"
#include "dev/pci.h"

static struct board b;
static struct resetctl resetctl;
static struct pci_bus *bus;
static struct i440fx *bridges;
static struct acpipm *pm;
static struct pci_dev card;
static u64 card_reg;

#define CARD PCI_DEVFN(3, 0)

static u64 card_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)size;
	return card_reg + off;
}

static void card_write(void *dev, u64 off, u64 val, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	card_reg = val;
}

static const struct io_ops card_ops = { .read = card_read, .write = card_write };

static void add_card(void)
{
	static const struct pci_ident id = { 0x1af4, 0x1042, 0x1af4, 2, 0x018000, 1, 1, false };

	assert_int_equal(pci_register_device(bus, &card, CARD, &id, NULL, NULL, &b.err), 0);
	assert_int_equal(pci_add_bar(&card, 0, PCI_BAR_IO, false, 64, &card_ops, NULL, &b.err), 0);
	assert_int_equal(pci_add_bar(&card, 1, PCI_BAR_MEM32, false, 0x2000, NULL, NULL, &b.err), 0);
	assert_int_equal(pci_add_bar(&card, 2, PCI_BAR_MEM64, true, 0x10000, &card_ops, NULL, &b.err), 0);
	assert_int_equal(pci_add_bar(&card, 3, PCI_BAR_MEM32, true, 0x10000, &card_ops, NULL, &b.err), -1);
	assert_int_equal(pci_add_msix(&card, 1, 4, 0, 0x1000, &b.err), 0);
	assert_int_equal(pci_add_msi(&card, 4, &b.err), 0);
	assert_int_equal(pci_add_capability(&card, 0x09, 16, &b.err), 0x40 + 12 + 24);
}

static int setup(void **state)
{
	struct pci_config cfg = { .resetctl = &resetctl };

	(void)state;
	board_init(&b, 1 << 20);
	cfg.msi = board_msi(&b);
	for (unsigned i = 0; i < 16; i++)
		cfg.isa_irq[i] = board_wire(&b, i);
	resetctl_init(&resetctl, board_call(&b));
	bus = pci_new(b.mem, &cfg, &b.err);
	pm = acpipm_new(b.mem, &b.clock, &b.q, true, board_wire(&b, 9), board_call(&b), &b.err);
	bridges = i440fx_new(bus, pm, &b.err);
	assert_non_null(bridges);
	add_card();
	pci_reset(bus);
	i440fx_post(bridges);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pci_unregister_device(&card);
	i440fx_free(bridges);
	acpipm_free(pm);
	pci_free(bus);
	board_free(&b);
	return 0;
}

static u32 cfg_get(u8 devfn, u8 off, unsigned size)
{
	outl(&b, 0xcf8, 0x80000000u | (u32)devfn << 8 | (off & 0xfc));
	return mem_port_read(b.mem, (u16)(0xcfc + (off & 3)), size);
}

static void cfg_put(u8 devfn, u8 off, u32 v, unsigned size)
{
	outl(&b, 0xcf8, 0x80000000u | (u32)devfn << 8 | (off & 0xfc));
	mem_port_write(b.mem, (u16)(0xcfc + (off & 3)), v, size);
}

static void test_mechanism(void **state)
{
	(void)state;
	assert_int_equal(cfg_get(0, 0, 4), 0x12378086);
	assert_int_equal(cfg_get(0, 2, 2), 0x1237);
	assert_int_equal(cfg_get(0, 0x0b, 1), 0x06);
	assert_int_equal(cfg_get(PCI_DEVFN(1, 0), 0, 4), 0x70008086);
	assert_int_equal(cfg_get(PCI_DEVFN(1, 0), 0x0e, 1), 0x80);
	assert_int_equal(cfg_get(PCI_DEVFN(1, 3), 0, 4), 0x71138086);
	assert_int_equal(cfg_get(PCI_DEVFN(2, 0), 0, 4), 0xffffffff);
	cfg_put(0, 0, 0, 4);
	assert_int_equal(cfg_get(0, 0, 4), 0x12378086);
	outl(&b, 0xcf8, 0x80010000); /* another bus */
	assert_int_equal(inl(&b, 0xcfc), 0xffffffff);
	assert_int_equal(inl(&b, 0xcf8), 0x80010000);
	outl(&b, 0xcf8, 0x00000000); /* off */
	assert_int_equal(inl(&b, 0xcfc), 0xffffffff);
	outl(&b, 0xcf8, 0x80000000);
	outb(&b, 0xcfb, 1); /* what probes of mechanism 2 do */
	assert_int_equal(inl(&b, 0xcf8), 0x80000000);
	outb(&b, 0xcf9, 0x02);
	outb(&b, 0xcf9, 0x06);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.call_arg, RESET_HARD);
}

static void test_sizing(void **state)
{
	(void)state;
	cfg_put(CARD, PCI_COMMAND, 3, 2); /* even while it decodes */
	for (u8 off = PCI_BAR0; off < PCI_BAR0 + 24; off += 4)
		cfg_put(CARD, off, 0xffffffff, 4);
	assert_int_equal(cfg_get(CARD, 0x10, 4), 0xffffffc1);
	assert_int_equal(cfg_get(CARD, 0x14, 4), 0xffffe000);
	assert_int_equal(cfg_get(CARD, 0x18, 4), 0xffff000c);
	assert_int_equal(cfg_get(CARD, 0x1c, 4), 0xffffffff);
	assert_int_equal(cfg_get(CARD, 0x20, 4), 0);
}

static void test_windows(void **state)
{
	bool claimed;

	(void)state;
	cfg_put(CARD, 0x10, 0xc000, 4);
	cfg_put(CARD, 0x18, 0xe0000000, 4);
	assert_int_equal(inb(&b, 0xc000), 0xff);
	cfg_put(CARD, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MEM, 2);
	card_reg = 0x40;
	assert_int_equal(inb(&b, 0xc003), 0x43);
	assert_int_equal(mem_mmio_read(b.mem, 0xe0000008, 4, &claimed), 0x48);
	assert_true(claimed);
	/* Moved by halves of a 64-bit address. */
	cfg_put(CARD, 0x1c, 1, 4);
	mem_mmio_read(b.mem, 0xe0000008, 4, &claimed);
	assert_false(claimed);
	assert_int_equal(mem_mmio_read(b.mem, 0x1e0000008, 4, &claimed), 0x48);
	/* On top of RAM or of the I/O APIC's like, it does not decode. */
	cfg_put(CARD, 0x1c, 0, 4);
	cfg_put(CARD, 0x18, 0x00010000, 4);
	mem_mmio_read(b.mem, 0x1e0000008, 4, &claimed);
	assert_false(claimed);
	assert_int_equal(card.bar[2].mapped, PCI_UNMAPPED);
	cfg_put(CARD, PCI_COMMAND, 0, 2);
	assert_int_equal(inb(&b, 0xc003), 0xff);
}

/* Two windows in one place: the second shows when the first has gone. */
static void test_overlap(void **state)
{
	(void)state;
	cfg_put(CARD, 0x14, 0xe0000000, 4);
	cfg_put(CARD, 0x18, 0xe0000000, 4);
	cfg_put(CARD, PCI_COMMAND, PCI_CMD_MEM, 2);
	assert_int_equal(card.bar[1].mapped, 0xe0000000);
	assert_int_equal(card.bar[2].mapped, PCI_UNMAPPED);
	cfg_put(CARD, 0x14, 0xf0000000, 4);
	assert_int_equal(card.bar[2].mapped, 0xe0000000);
}

static void test_capabilities(void **state)
{
	u8 at = (u8)cfg_get(CARD, PCI_CAP_PTR, 1);

	(void)state;
	assert_int_equal(cfg_get(CARD, PCI_STATUS, 2) & PCI_STS_CAPS, PCI_STS_CAPS);
	assert_int_equal(cfg_get(CARD, at, 1), 0x11);
	at = (u8)cfg_get(CARD, (u8)(at + 1), 1);
	assert_int_equal(cfg_get(CARD, at, 1), 0x05);
	at = (u8)cfg_get(CARD, (u8)(at + 1), 1);
	assert_int_equal(cfg_get(CARD, at, 1), 0x09);
	assert_int_equal(cfg_get(CARD, (u8)(at + 1), 1), 0);
	assert_int_equal(pci_add_capability(&card, 0x09, 200, &b.err), -1);
}

static void test_intx(void **state)
{
	(void)state;
	/* Slot 3, INTA: PIRQC, routed to 11. */
	pci_set_irq(&card, true);
	assert_true(b.wire[11].level);
	assert_true(cfg_get(CARD, PCI_STATUS, 2) & PCI_STS_INTX);
	cfg_put(CARD, PCI_COMMAND, PCI_CMD_INTX_OFF, 2);
	assert_false(b.wire[11].level);
	cfg_put(CARD, PCI_COMMAND, 0, 2);
	assert_true(b.wire[11].level);
	cfg_put(PCI_DEVFN(1, 0), 0x62, 0x05, 1); /* the route moves */
	assert_false(b.wire[11].level);
	assert_true(b.wire[5].level);
	cfg_put(PCI_DEVFN(1, 0), 0x62, 0x80, 1);
	assert_false(b.wire[5].level);
	pci_set_irq(&card, false);
	assert_false(cfg_get(CARD, PCI_STATUS, 2) & PCI_STS_INTX);
}

static void test_msi(void **state)
{
	u8 cap = card.msi_cap;

	(void)state;
	assert_false(pci_notify(&card, 0));
	assert_int_equal(cfg_get(CARD, (u8)(cap + 2), 2), 0x0184); /* 64 bits, masks, four vectors */
	cfg_put(CARD, (u8)(cap + 4), 0xfee01003, 4);
	cfg_put(CARD, (u8)(cap + 12), 0x4043, 2);
	cfg_put(CARD, (u8)(cap + 2), 0x0021, 2); /* enable, four vectors */
	assert_true(pci_notify(&card, 1));
	assert_int_equal(b.messages, 0); /* not a bus master */
	cfg_put(CARD, PCI_COMMAND, PCI_CMD_MASTER, 2);
	assert_true(pci_notify(&card, 1));
	assert_int_equal(b.messages, 1);
	assert_int_equal(b.msi_addr, 0xfee01000);
	assert_int_equal(b.msi_data, 0x4041);
	cfg_put(CARD, (u8)(cap + 16), 0xff, 4);
	assert_int_equal(cfg_get(CARD, (u8)(cap + 16), 4), 0x0f);
	pci_notify(&card, 2);
	assert_int_equal(b.messages, 1);
	assert_int_equal(cfg_get(CARD, (u8)(cap + 20), 4), 0x04);
	cfg_put(CARD, (u8)(cap + 16), 0, 4);
	assert_int_equal(b.messages, 2);
	assert_int_equal(b.msi_data, 0x4042);
	assert_int_equal(cfg_get(CARD, (u8)(cap + 20), 4), 0);
}

static void msix_entry(unsigned v, u64 addr, u32 data, u32 control)
{
	u64 at = 0xe0100000 + v * 16;

	mem_mmio_write(b.mem, at, addr, 8, NULL);
	mem_mmio_write(b.mem, at + 8, data, 4, NULL);
	mem_mmio_write(b.mem, at + 12, control, 4, NULL);
}

static void test_msix(void **state)
{
	u8 cap = card.msix.cap;

	(void)state;
	assert_int_equal(cfg_get(CARD, (u8)(cap + 2), 2), 3);
	assert_int_equal(cfg_get(CARD, (u8)(cap + 4), 4), 1);
	assert_int_equal(cfg_get(CARD, (u8)(cap + 8), 4), 0x1001);
	cfg_put(CARD, 0x14, 0xe0100000, 4);
	cfg_put(CARD, PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER, 2);
	assert_int_equal(mem_mmio_read(b.mem, 0xe010000c, 4, NULL), 1); /* born masked */
	msix_entry(2, 0xfee00000, 0x77, 0);
	cfg_put(CARD, (u8)(cap + 2), 0x8000, 2);
	assert_true(pci_msix_enabled(&card));
	pci_notify(&card, 2);
	assert_int_equal(b.messages, 1);
	assert_int_equal(b.msi_data, 0x77);
	cfg_put(CARD, (u8)(cap + 2), 0xc000, 2); /* all masked */
	pci_notify(&card, 2);
	pci_notify(&card, 3);
	pci_notify(&card, 1000);
	assert_int_equal(b.messages, 1);
	assert_int_equal(mem_mmio_read(b.mem, 0xe0101000, 8, NULL), 0x0c);
	cfg_put(CARD, (u8)(cap + 2), 0x8000, 2);
	assert_int_equal(b.messages, 2);
	msix_entry(3, 0xfee00000, 0x78, 0); /* unmasking sends what waits */
	assert_int_equal(b.messages, 3);
	assert_int_equal(b.msi_data, 0x78);
	assert_int_equal(mem_mmio_read(b.mem, 0xe0101000, 8, NULL), 0);
	mem_mmio_write(b.mem, 0xe0101000, ~0ull, 8, NULL); /* read-only */
	assert_int_equal(mem_mmio_read(b.mem, 0xe0101000, 8, NULL), 0);
}

static void test_reset(void **state)
{
	(void)state;
	cfg_put(CARD, 0x10, 0xc000, 4);
	cfg_put(CARD, PCI_COMMAND, PCI_CMD_IO, 2);
	pci_set_irq(&card, true);
	pci_reset(bus);
	assert_int_equal(cfg_get(CARD, PCI_COMMAND, 2), 0);
	assert_int_equal(cfg_get(CARD, 0x10, 4), 1);
	assert_int_equal(inb(&b, 0xc000), 0xff);
	assert_false(b.wire[11].level);
	assert_int_equal(cfg_get(PCI_DEVFN(1, 0), 0x60, 4), 0x80808080);
}

static void test_assign(void **state)
{
	(void)state;
	assert_int_equal(pci_assign(bus, 0xe0000000, 0xfec00000, 0xc000, 0x10000, &b.err), 0);
	assert_int_equal(card.bar[0].mapped, 0xc000);
	assert_int_equal(card.bar[1].mapped, 0xe0000000);
	assert_int_equal(card.bar[2].mapped, 0xe0010000);
	assert_int_equal(cfg_get(CARD, PCI_INT_LINE, 1), 11);
	assert_int_equal(pci_assign(bus, 0xe0000000, 0xe0001000, 0xc000, 0x10000, &b.err), -1);
}

static void test_pm_function(void **state)
{
	(void)state;
	assert_int_equal(cfg_get(PCI_DEVFN(1, 3), 0x40, 4), ACPIPM_BASE | 1);
	board_run(&b, NS_PER_SEC);
	assert_int_equal(inl(&b, ACPIPM_BASE + 8), 3579545);
	cfg_put(PCI_DEVFN(1, 3), 0x40, 0xb000, 4);
	assert_int_equal(inl(&b, 0xb008), 3579545);
	assert_int_equal(inl(&b, ACPIPM_BASE + 8), 0xffffffff);
	cfg_put(PCI_DEVFN(1, 3), 0x80, 0, 1);
	assert_int_equal(inl(&b, 0xb008), 0xffffffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_mechanism, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_windows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_capabilities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_assign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pm_function, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
