/* SPDX-License-Identifier: Apache-2.0
 * A hostile guest: random accesses of every size to every register of every chip, random time, random wires. Nothing
 * may crash, hang or trip a sanitizer; the chips must work afterwards. The seed is printed; argument 1 repeats it.
 */
#include "unit/board.h"

#include <stdio.h>
#include <time.h>

#include "chardev/chardev.h"
#include "dev/debugexit.h"
#include "dev/debugport.h"
#include "dev/ferr.h"
#include "dev/fwcfg.h"
#include "dev/hpet.h"
#include "dev/i440fx.h"
#include "dev/i8042.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/port92.h"
#include "dev/testdev.h"

#define ROUNDS 200000

static struct board b;
static u64 seed, rng;
static struct resetctl resetctl;
static struct i8259 *pic;
static struct ioapic *ioapic;
static struct i8254 *pit;
static struct mc146818 *rtc;
static struct i8042 *kbc;
static struct port92 *port92;
static struct acpipm *pm;
static struct hpet *hpet;
static struct pci_bus *pci;
static struct i440fx *bridges;
static struct pci_dev card;
static struct ns16550 *uart;
static struct fwcfg *fw;
static struct ferr *ferr;
static struct debugport *debugport;
static struct debugexit *debugexit;
static struct testdev *testdev;

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1d >> 16;
}

/* Often a number near an edge. */
static u64 value(void)
{
	static const u64 edges[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0xffffffff, ~0ull };

	return rnd() & 1 ? edges[rnd() % ARRAY_SIZE(edges)] : rnd() ^ rnd() << 32;
}

static size_t far_write(struct chardev *c, const u8 *p, size_t n)
{
	(void)c;
	(void)p;
	return rnd() % (n + 1);
}

static void far_kick(struct chardev *c)
{
	(void)c;
}

static const struct chardev_ops far_ops = { .write = far_write, .kick_input = far_kick };
static struct chardev far_end = { .ops = &far_ops };

static u64 card_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)size;
	assert_true(off < 0x10000);
	return off;
}

static void card_write(void *dev, u64 off, u64 val, unsigned size)
{
	(void)dev;
	(void)val;
	(void)size;
	assert_true(off < 0x10000);
	pci_notify(&card, (unsigned)rnd());
}

static const struct io_ops card_ops = { .read = card_read, .write = card_write };

static void make_card(void)
{
	static const struct pci_ident id = { 0x1af4, 0x1042, 0, 0, 0x018000, 0, 1, false };

	assert_int_equal(pci_register_device(pci, &card, PCI_DEVFN(2, 0), &id, NULL, NULL, &b.err), 0);
	assert_int_equal(pci_add_bar(&card, 0, PCI_BAR_IO, false, 32, &card_ops, NULL, &b.err), 0);
	assert_int_equal(pci_add_bar(&card, 1, PCI_BAR_MEM32, false, 0x4000, &card_ops, NULL, &b.err), 0);
	assert_int_equal(pci_add_bar(&card, 4, PCI_BAR_MEM64, true, 0x10000, &card_ops, NULL, &b.err), 0);
	assert_int_equal(pci_add_msi(&card, 32, &b.err), 0);
	assert_int_equal(pci_add_msix(&card, 1, 33, 0x1000, 0x2000, &b.err), 0);
}

static void make_bus(void)
{
	struct pci_config cfg = { .msi = board_msi(&b), .resetctl = &resetctl };

	for (unsigned i = 0; i < 16; i++)
		cfg.isa_irq[i] = (struct irq){ .set = i8259_set_irq, .chip = pic, .input = i };
	resetctl_init(&resetctl, board_call(&b));
	pci = pci_new(b.mem, &cfg, &b.err);
	bridges = i440fx_new(pci, pm, &b.err);
	make_card();
	pci_reset(pci);
	i440fx_post(bridges);
	assert_int_equal(pci_assign(pci, 0xe0000000, 0xfec00000, 0xc000, 0x10000, &b.err), 0);
}

static struct irq pic_line(unsigned n)
{
	return (struct irq){ .set = i8259_set_irq, .chip = pic, .input = n };
}

static void make_hpet(void)
{
	struct hpet_config cfg = { .irq0 = pic_line(0), .irq8 = pic_line(8), .msi = board_msi(&b) };

	for (unsigned i = 0; i < 24; i++)
		cfg.gsi[i] = (struct irq){ .set = ioapic_set_irq, .chip = ioapic, .input = i };
	hpet = hpet_new(b.mem, &b.clock, &b.q, &cfg, &b.err);
}

static int setup(void **state)
{
	struct mc146818_config rtc_cfg = { .utc_ns = 1709164797ull * NS_PER_SEC, .cpus = 1 };
	struct irq lines[TESTDEV_LINES];

	(void)state;
	rng = seed | 1;
	board_init(&b, 1 << 20);
	pic = i8259_new(b.mem, board_wire(&b, 31), &b.err);
	ioapic = ioapic_new(b.mem, IOAPIC_BASE, board_msi(&b), &b.err);
	make_hpet();
	pit = i8254_new(b.mem, &b.clock, &b.q, (struct irq){ hpet_legacy_irq, hpet, HPET_IN_PIT }, &b.err);
	rtc_cfg.irq8 = (struct irq){ hpet_legacy_irq, hpet, HPET_IN_RTC };
	rtc = mc146818_new(b.mem, &b.clock, &b.q, &rtc_cfg, &b.err);
	kbc = i8042_new(b.mem, pic_line(1), pic_line(12), board_wire(&b, 20), board_call(&b), &b.err);
	port92 = port92_new(b.mem, board_wire(&b, 21), board_call(&b), &b.err);
	pm = acpipm_new(b.mem, &b.clock, &b.q, false, pic_line(9), board_call(&b), &b.err);
	make_bus();
	uart = ns16550_new(b.mem, 0x3f8, &b.clock, &b.q, pic_line(4), &far_end, &b.err);
	fw = fwcfg_new(b.mem, 1 << 20, 1, &b.err);
	assert_int_equal(fwcfg_set_file(fw, "rw", &rng, 8, true, &b.err), 0);
	ferr = ferr_new(b.mem, pic_line(13), &b.err);
	debugport = debugport_new(b.mem, DEBUGPORT, &far_end, &b.err);
	debugexit = debugexit_new(b.mem, DEBUGEXIT_PORT, board_call(&b), &b.err);
	for (unsigned i = 0; i < TESTDEV_LINES; i++)
		lines[i] = (struct irq){ .set = ioapic_set_irq, .chip = ioapic, .input = i };
	testdev = testdev_new(b.mem, lines, board_call(&b), &b.err);
	assert_non_null(testdev);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	testdev_free(testdev);
	debugexit_free(debugexit);
	debugport_free(debugport);
	ferr_free(ferr);
	fwcfg_free(fw);
	ns16550_free(uart);
	pci_unregister_device(&card);
	i440fx_free(bridges);
	pci_free(pci);
	acpipm_free(pm);
	port92_free(port92);
	i8042_free(kbc);
	mc146818_free(rtc);
	i8254_free(pit);
	hpet_free(hpet);
	ioapic_free(ioapic);
	i8259_free(pic);
	board_free(&b);
	return 0;
}

static void random_port(void)
{
	static const struct {
		u16 port, n;
	} range[] = {
		{ 0x20, 2 },	{ 0xa0, 2 },	{ 0x4d0, 2 },	 { 0x40, 4 },  { 0x60, 5 },  { 0x70, 4 },
		{ 0x92, 1 },	{ 0xb2, 2 },	{ 0x3f8, 8 },	 { 0xcf8, 8 }, { 0xcfc, 4 }, { 0x600, 64 },
		{ 0x510, 2 },	{ 0x514, 8 },	{ 0xe0, 12 },	 { 0xf0, 2 },  { 0xf4, 4 },  { 0x2000, 24 },
		{ 0xc000, 64 }, { 0xb000, 64 }, { 0x0, 0xffff },
	};
	unsigned i = (unsigned)(rnd() % ARRAY_SIZE(range)), size = 1u << rnd() % 3;
	u16 port = (u16)(range[i].port + rnd() % range[i].n);

	if (rnd() & 1)
		mem_port_read(b.mem, port, size);
	else
		mem_port_write(b.mem, port, (u32)value(), size);
}

/* A configuration access that means something. */
static void random_config(void)
{
	static const u8 devfn[] = { PCI_DEVFN(0, 0), PCI_DEVFN(1, 0), PCI_DEVFN(1, 3), PCI_DEVFN(2, 0) };

	outl(&b, 0xcf8, 0x80000000u | (u32)devfn[rnd() & 3] << 8 | (rnd() & 0xfc));
	mem_port_write(b.mem, (u16)(0xcfc + (rnd() & 3)), (u32)value(), 1u << rnd() % 3);
}

static void random_mmio(void)
{
	static const u64 base[] = { IOAPIC_BASE, HPET_BASE, 0xe0000000, 0xe0001000, 0xe0010000, 0xff000000 };
	u64 at = base[rnd() % ARRAY_SIZE(base)] + (rnd() & 1 ? rnd() % 0x200 : rnd() % 0x1000);

	if (rnd() & 1)
		mem_mmio_read(b.mem, at, 1u << rnd() % 4, NULL);
	else
		mem_mmio_write(b.mem, at, value(), 1u << rnd() % 4, NULL);
}

/* Time goes on, sometimes by much; timers fire as a busy host would let them. */
static void random_time(void)
{
	clock_advance(&b.clock, rnd() % 50 ? rnd() % 100000 : rnd() % (3 * NS_PER_SEC));
	timerq_run(&b.q, clock_ns(&b.clock));
}

static void random_host(void)
{
	u8 bytes[16] = { 0x1c, 0xf0, 0x1c };
	size_t room = far_end.user.room(far_end.user.opaque);

	if (room)
		far_end.user.rx(far_end.user.opaque, bytes, 1 + rnd() % room);
	far_end.user.drained(far_end.user.opaque);
	far_end.user.brk(far_end.user.opaque);
	i8042_key(kbc, bytes, 3);
	i8042_mouse_move(kbc, (int)value(), (int)value(), (int)value(), (unsigned)value());
	acpipm_set_gpe(pm, (unsigned)rnd(), rnd() & 1);
	acpipm_press_power(pm);
	ioapic_set_irq(ioapic, (unsigned)rnd() % 30, rnd() & 1);
	ioapic_eoi(ioapic, (u8)rnd());
	i8259_set_irq(pic, (unsigned)rnd(), rnd() & 1);
	i8259_ack(pic);
	pci_set_irq(&card, rnd() & 1);
	pci_notify(&card, (unsigned)rnd() % 64);
	ferr_set(ferr, rnd() & 1);
}

static void random_round(void)
{
	switch (rnd() % 16) {
	case 0 ... 7:
		random_port();
		break;
	case 8 ... 10:
		random_config();
		break;
	case 11 ... 13:
		random_mmio();
		break;
	case 14:
		random_time();
		break;
	default:
		random_host();
	}
}

static void test_random_accesses(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++)
		random_round();
	/* After a reset everything is as new. */
	pci_reset(pci);
	i440fx_post(bridges);
	i8259_reset(pic);
	i8254_reset(pit);
	mc146818_reset(rtc);
	i8042_reset(kbc);
	port92_reset(port92);
	acpipm_reset(pm);
	hpet_reset(hpet);
	ioapic_reset(ioapic);
	ns16550_reset(uart);
	fwcfg_reset(fw);
	assert_int_equal(inb(&b, 0x511), 'Q');
	assert_int_equal(inb(&b, 0x64), 0x18);
	assert_int_equal(inb(&b, 0x3f8 + 5) & 0x60, 0x60);
	outl(&b, 0xcf8, 0x80000000);
	assert_int_equal(inl(&b, 0xcfc), 0x12378086);
	assert_int_equal(inw(&b, ACPIPM_BASE + 2), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_accesses, setup, teardown),
	};

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (u64)time(NULL);
	printf("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
