/* SPDX-License-Identifier: Apache-2.0
 * Memory map
 *	0		640 KiB of RAM; the last KiB of it is the EBDA
 *	0xa0000		nothing (display memory)
 *	0xc0000		RAM behind the option ROMs' and the BIOS's addresses: doppel's tables lie here; with firmware
 *			what the PAM registers say (shadow.h)
 *	0x100000	RAM to at most 3 GiB
 *	0xfec00000	I/O APIC, 0xfee00000 local APICs; firmware's ROM, or pcreset.c's page, ends at 4 GiB
 *	0x100000000	the rest of the RAM
 *
 * Interrupt lines 0 to 15 reach the 8259 pair and the I/O APIC alike (line 0 at its pin 2), 16 to 23 the I/O APIC only.
 */
#include "machine/pc.h"

#include <stdio.h>
#include <stdlib.h>

#include "dev/acpipm.h"
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
#include "dev/irqor.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/pci.h"
#include "dev/port92.h"
#include "dev/resetctl.h"
#include "dev/testdev.h"
#include "machine/acpi.h"
#include "machine/pcfirmware.h"
#include "machine/pcreset.h"
#include "machine/shadow.h"

#define LINES 24
#define KIB_640 0xa0000u
#define EBDA 0x9fc00u
#define SHADOW 0xc0000u
#define MIB_1 0x100000u
#define GIB_2 0x80000000ull
#define GIB_4 0x100000000ull
#define PCI_MEM_END 0xfec00000ull
#define PCI_IO 0xc000u
#define PCI_IO_END 0x10000u

enum { A20_KBC, A20_PORT92 };
enum { COM_IRQ_4, COM_IRQ_3 };

struct pc {
	struct pc_config cfg;
	u64 ram_low, ram_high; /* below and above 4 GiB */
	u64 rsdp;
	struct shadow shadow; /* with firmware */
	struct irqor a20, com_irq[2];
	struct i8259 *pic;
	struct ioapic *ioapic;
	struct hpet *hpet;
	struct i8254 *pit;
	struct mc146818 *rtc;
	struct i8042 *kbc;
	struct port92 *port92;
	struct ferr *ferr;
	struct acpipm *pm;
	struct resetctl resetctl;
	struct pci_bus *pci;
	struct i440fx *chipset;
	struct fwcfg *fwcfg;
	struct ns16550 *com[PC_SERIAL_MAX];
	struct debugport *debugport;
	struct debugexit *debugexit;
	struct testdev *testdev;
	struct pc_virtio virtio;
};

static const struct {
	u16 port;
	u8 irq;
} com_ports[PC_SERIAL_MAX] = { { 0x3f8, COM_IRQ_4 }, { 0x2f8, COM_IRQ_3 }, { 0x3e8, COM_IRQ_4 }, { 0x2e8, COM_IRQ_3 } };

/* ---- wires ------------------------------------------------------------------------------------------------------ */

static void pc_set_line(void *opaque, unsigned line, bool level)
{
	struct pc *pc = opaque;

	if (line < 16)
		i8259_set_irq(pc->pic, line, level);
	ioapic_set_irq(pc->ioapic, line == 0 ? 2 : line, level);
}

static struct irq pc_line(struct pc *pc, unsigned line)
{
	return (struct irq){ .set = pc_set_line, .chip = pc, .input = line };
}

static void pc_set_a20(void *opaque, unsigned input, bool level)
{
	struct pc *pc = opaque;

	(void)input;
	mem_set_a20(pc->cfg.mem, level);
}

u8 pc_ack_intr(struct pc *pc)
{
	return i8259_ack(pc->pic);
}

void pc_eoi(struct pc *pc, u8 vector)
{
	ioapic_eoi(pc->ioapic, vector);
}

bool pc_ferr(struct pc *pc, bool asserted)
{
	return ferr_set(pc->ferr, asserted);
}

/* ---- birth ------------------------------------------------------------------------------------------------------ */

static int pc_add_memory(struct pc *pc, struct err *e)
{
	struct mem *m = pc->cfg.mem;
	u64 size = pc->cfg.memory;

	pc->ram_low = MIN(size, PC_LOW_RAM_MAX);
	pc->ram_high = size - pc->ram_low;
	if (mem_add_ram(m, 0, KIB_640, e))
		return -1;
	if (pc->cfg.rom) {
		if ((pc->ram_low > MIB_1 && mem_add_ram(m, MIB_1, pc->ram_low - MIB_1, e)) ||
		    shadow_init(&pc->shadow, m, pc->cfg.rom, pc->cfg.rom_size, e))
			return -1;
	} else if (mem_add_ram(m, SHADOW, pc->ram_low - SHADOW, e) || pc_add_reset_rom(m, e)) {
		return -1;
	}
	return pc->ram_high ? mem_add_ram(m, GIB_4, pc->ram_high, e) : 0;
}

static int pc_add_interrupts(struct pc *pc, struct err *e)
{
	struct mem *m = pc->cfg.mem;

	pc->pic = i8259_new(m, pc->cfg.intr, e);
	pc->ioapic = pc->pic ? ioapic_new(m, IOAPIC_BASE, pc->cfg.msi, e) : NULL;
	return pc->ioapic ? 0 : -1;
}

static struct hpet *pc_new_hpet(struct pc *pc, struct err *e)
{
	struct hpet_config hpet = { .irq0 = pc_line(pc, 0), .irq8 = pc_line(pc, 8), .msi = pc->cfg.msi };

	for (unsigned i = 0; i < LINES; i++)
		hpet.gsi[i] = pc_line(pc, i);
	return hpet_new(pc->cfg.mem, pc->cfg.clock, pc->cfg.timers, &hpet, e);
}

/* The PIT's and the RTC's outputs go through the HPET, which can take their place. */
static struct irq pc_legacy_line(struct pc *pc, unsigned input)
{
	return (struct irq){ .set = hpet_legacy_irq, .chip = pc->hpet, .input = input };
}

static int pc_add_clocks(struct pc *pc, struct err *e)
{
	struct pc_config *cfg = &pc->cfg;
	struct mc146818_config rtc = {
		.utc_ns = cfg->utc_ns, .ram_below = pc->ram_low, .ram_above = pc->ram_high, .cpus = cfg->cpus
	};

	pc->hpet = pc_new_hpet(pc, e);
	if (!pc->hpet)
		return -1;
	rtc.irq8 = pc_legacy_line(pc, HPET_IN_RTC);
	pc->pit = i8254_new(cfg->mem, cfg->clock, cfg->timers, pc_legacy_line(pc, HPET_IN_PIT), e);
	pc->rtc = pc->pit ? mc146818_new(cfg->mem, cfg->clock, cfg->timers, &rtc, e) : NULL;
	pc->pm = pc->rtc ? acpipm_new(cfg->mem, cfg->clock, cfg->timers, true, pc_line(pc, 9), cfg->power_off, e)
			 : NULL;
	return pc->pm ? 0 : -1;
}

static int pc_add_control(struct pc *pc, struct err *e)
{
	struct pc_config *cfg = &pc->cfg;

	pc->a20.out = (struct irq){ .set = pc_set_a20, .chip = pc };
	pc->kbc = i8042_new(cfg->mem, pc_line(pc, 1), pc_line(pc, 12), irqor_input(&pc->a20, A20_KBC), cfg->reset, e);
	pc->port92 = pc->kbc ? port92_new(cfg->mem, irqor_input(&pc->a20, A20_PORT92), cfg->reset, e) : NULL;
	pc->ferr = pc->port92 ? ferr_new(cfg->mem, pc_line(pc, 13), e) : NULL;
	return pc->ferr ? 0 : -1;
}

static int pc_add_pci(struct pc *pc, struct err *e)
{
	struct pci_config pci = { .msi = pc->cfg.msi, .resetctl = &pc->resetctl };

	resetctl_init(&pc->resetctl, pc->cfg.reset);
	for (unsigned i = 0; i < 16; i++)
		pci.isa_irq[i] = pc_line(pc, i);
	pc->pci = pci_new(pc->cfg.mem, &pci, e);
	pc->chipset = pc->pci ? i440fx_new(pc->pci, pc->pm, e) : NULL;
	pc->fwcfg = pc->chipset ? fwcfg_new(pc->cfg.mem, pc->cfg.memory, pc->cfg.cpus, e) : NULL;
	if (pc->chipset && pc->cfg.rom) {
		pc->chipset->pam_written = shadow_set_pam;
		pc->chipset->pam_opaque = &pc->shadow;
	}
	return pc->fwcfg ? 0 : -1;
}

static int pc_add_serial(struct pc *pc, struct err *e)
{
	struct pc_config *cfg = &pc->cfg;

	pc->com_irq[COM_IRQ_4].out = pc_line(pc, 4);
	pc->com_irq[COM_IRQ_3].out = pc_line(pc, 3);
	for (unsigned i = 0; i < PC_SERIAL_MAX; i++) {
		struct irq irq = irqor_input(&pc->com_irq[com_ports[i].irq], i);

		if (!cfg->has_serial[i])
			continue;
		pc->com[i] = ns16550_new(cfg->mem, com_ports[i].port, cfg->clock, cfg->timers, irq, cfg->serial[i], e);
		if (!pc->com[i])
			return -1;
	}
	return 0;
}

static int pc_add_virtio(struct pc *pc, struct err *e)
{
	struct pc_config *cfg = &pc->cfg;
	struct virtio_board board = {
		.mem = cfg->mem, .bus = pc->pci, .clock = cfg->clock, .timers = cfg->timers, .counters = cfg->counters
	};

	return pc_virtio_init(&pc->virtio, &board, &cfg->virtio, e);
}

static int pc_add_debugging(struct pc *pc, struct err *e)
{
	struct pc_config *cfg = &pc->cfg;
	struct irq lines[TESTDEV_LINES];

	if (cfg->debugcon && !(pc->debugport = debugport_new(cfg->mem, cfg->debugcon_port, cfg->debugcon, e)))
		return -1;
	if (cfg->debug_exit >= 0 && !(pc->debugexit = debugexit_new(cfg->mem, (u16)cfg->debug_exit, cfg->leave, NULL)))
		return err_set(e, "--debug-exit=0x%x: a port from there to 0x%x has another device, give another",
			       (unsigned)cfg->debug_exit, (unsigned)cfg->debug_exit + 3);
	for (unsigned i = 0; i < TESTDEV_LINES; i++)
		lines[i] = pc_line(pc, i);
	if (cfg->testdev && !(pc->testdev = testdev_new(cfg->mem, lines, cfg->flush, e)))
		return -1;
	return 0;
}

/* What firmware finds out or has chosen: it may have moved the power management ports. */
static struct acpi_config pc_acpi(const struct pc *pc)
{
	struct acpi_config acpi = {
		.cpus = pc->cfg.cpus,
		.pci = true,
		.hpet = true,
		.i8042 = true,
		.pm_base = pc->pm->base ? pc->pm->base : ACPIPM_BASE,
		.pm_wide = true,
		.pci_mem = PC_LOW_RAM_MAX,
		.pci_mem_end = PCI_MEM_END,
		.ram_size = pc->cfg.memory,
	};

	for (unsigned i = 0; i < PC_SERIAL_MAX; i++)
		acpi.serial[i] = pc->com[i] != NULL;
	if (pc->cfg.rom && pc->ram_low <= GIB_2)
		acpi.pci_mem = GIB_2; /* where SeaBIOS begins then */
	return acpi;
}

static void pc_refresh_tables(void *opaque, unsigned key)
{
	struct pc *pc = opaque;
	struct acpi_config acpi = pc_acpi(pc);

	(void)key;
	acpi_give(pc->fwcfg, &acpi, NULL);
}

static int pc_add_firmware(struct pc *pc, struct err *e)
{
	struct acpi_config acpi = pc_acpi(pc);
	struct pc_firmware_info info = { .ram_low = pc->ram_low,
					 .ram_high = pc->ram_high,
					 .console = pc->com[0] ? com_ports[0].port : 0,
					 .disks = pc->cfg.virtio.n_disks,
					 .first_disk = PC_DISK_SLOT };

	if (!pc->cfg.rom)
		return 0;
	pc->fwcfg->refresh = (struct call){ pc_refresh_tables, pc };
	return pc_firmware_give(pc->fwcfg, &info, &acpi, e);
}

struct pc *pc_new(const struct pc_config *cfg, struct err *e)
{
	struct pc *pc = calloc(1, sizeof(*pc));

	if (!pc) {
		err_set(e, "out of memory for the board");
		return NULL;
	}
	pc->cfg = *cfg;
	if (pc_add_memory(pc, e) || pc_add_interrupts(pc, e) || pc_add_clocks(pc, e) || pc_add_control(pc, e) ||
	    pc_add_pci(pc, e) || pc_add_serial(pc, e) || pc_add_virtio(pc, e) || pc_add_debugging(pc, e) ||
	    pc_add_firmware(pc, e) || pc_reset(pc, e)) {
		pc_free(pc);
		return NULL;
	}
	return pc;
}

void pc_free(struct pc *pc)
{
	if (!pc)
		return;
	testdev_free(pc->testdev);
	debugexit_free(pc->debugexit);
	debugport_free(pc->debugport);
	pc_virtio_deinit(&pc->virtio);
	for (unsigned i = 0; i < PC_SERIAL_MAX; i++)
		ns16550_free(pc->com[i]);
	fwcfg_free(pc->fwcfg);
	i440fx_free(pc->chipset);
	pci_free(pc->pci);
	ferr_free(pc->ferr);
	port92_free(pc->port92);
	i8042_free(pc->kbc);
	acpipm_free(pc->pm);
	mc146818_free(pc->rtc);
	i8254_free(pc->pit);
	hpet_free(pc->hpet);
	ioapic_free(pc->ioapic);
	i8259_free(pc->pic);
	free(pc);
}

/* ---- reset and firmware's part ------------------------------------------------------------------------------------
 */

void pc_memory_map(const struct pc *pc, struct boot_map *map)
{
	*map = (struct boot_map){ .n = 4,
				  .e = { { 0, EBDA, E820_RAM },
					 { EBDA, KIB_640 - EBDA, E820_RESERVED },
					 { 0xe0000, MIB_1 - 0xe0000, E820_RESERVED },
					 { MIB_1, pc->ram_low - MIB_1, E820_RAM } } };
	if (pc->ram_low == MIB_1)
		map->n--;
	if (!pc->ram_high)
		return;
	map->e[map->n].addr = GIB_4;
	map->e[map->n].size = pc->ram_high;
	map->e[map->n++].type = E820_RAM;
}

u64 pc_rsdp(const struct pc *pc)
{
	return pc->rsdp;
}

/* The BIOS data area, as far as kernels still read it. */
static int pc_write_bda(struct pc *pc, struct err *e)
{
	u8 bda[32] = { 0 };
	u16 word;

	for (unsigned i = 0; i < PC_SERIAL_MAX; i++) {
		word = pc->com[i] ? com_ports[i].port : 0;
		memcpy(bda + 2 * i, &word, 2);
	}
	word = EBDA >> 4;
	memcpy(bda + 0x0e, &word, 2);
	word = EBDA >> 10;
	memcpy(bda + 0x13, &word, 2);
	if (mem_write(pc->cfg.mem, 0x400, bda, sizeof(bda)) || mem_write(pc->cfg.mem, EBDA, "\1", 1))
		return err_set(e, "cannot write the BIOS data area");
	return 0;
}

/* What firmware does before it starts a kernel: routes, windows, tables. */
static int pc_post(struct pc *pc, struct err *e)
{
	struct acpi_config acpi = pc_acpi(pc);

	i8259_set_elcr(pc->pic, PIIX_LEVEL_IRQS);
	/* Who may call a BIOS finds its clock ticking (INT 08H); to others interrupts begin when they ask for them. */
	i8259_post(pc->pic, pc->cfg.bios ? 0xfffe : 0xffff);
	i8254_post(pc->pit);
	i8042_post(pc->kbc);
	i440fx_post(pc->chipset);
	if (pci_assign(pc->pci, PC_LOW_RAM_MAX, PCI_MEM_END, PCI_IO, PCI_IO_END, e) || pc_write_bda(pc, e) ||
	    acpi_build(pc->cfg.mem, &acpi, &pc->rsdp, e))
		return -1;
	return mptable_build(pc->cfg.mem, &acpi, e) || smbios_build(pc->cfg.mem, &acpi, e) ? -1 : 0;
}

int pc_reset(struct pc *pc, struct err *e)
{
	i8259_reset(pc->pic);
	ioapic_reset(pc->ioapic);
	hpet_reset(pc->hpet);
	i8254_reset(pc->pit);
	mc146818_reset(pc->rtc);
	i8042_reset(pc->kbc);
	port92_reset(pc->port92);
	ferr_reset(pc->ferr);
	acpipm_reset(pc->pm);
	resetctl_reset(&pc->resetctl);
	pci_reset(pc->pci);
	fwcfg_reset(pc->fwcfg);
	for (unsigned i = 0; i < PC_SERIAL_MAX; i++)
		if (pc->com[i])
			ns16550_reset(pc->com[i]);
	return pc->cfg.rom ? 0 : pc_post(pc, e);
}

/* ---- state ------------------------------------------------------------------------------------------------------- */

/* What the gate lets through is memory's state, not the gate's. */
static int a20_loaded(void *object, struct err *e)
{
	struct irqor *gate = object;

	(void)e;
	irq_set(&gate->out, gate->levels != 0);
	return 0;
}

static int pc_each_serial(struct pc *pc, state_fn *fn, void *opaque)
{
	char name[8];

	for (unsigned i = 0; i < PC_SERIAL_MAX; i++) {
		snprintf(name, sizeof(name), "com%u", i + 1);
		if (pc->com[i] && fn(opaque, name, &ns16550_state, pc->com[i]))
			return -1;
	}
	return 0;
}

/* Receivers of lines stand before those who drive them. */
int pc_each_state(struct pc *pc, state_fn *fn, void *opaque)
{
	const struct state a20 = { .field = irqor_state.field, .n = irqor_state.n, .loaded = a20_loaded };

	if (fn(opaque, "i8259", &i8259_state, pc->pic) || fn(opaque, "ioapic", &ioapic_state, pc->ioapic) ||
	    fn(opaque, "a20", &a20, &pc->a20) || fn(opaque, "irq4", &irqor_state, &pc->com_irq[COM_IRQ_4]) ||
	    fn(opaque, "irq3", &irqor_state, &pc->com_irq[COM_IRQ_3]) || fn(opaque, "hpet", &hpet_state, pc->hpet) ||
	    fn(opaque, "i8254", &i8254_state, pc->pit) || fn(opaque, "mc146818", &mc146818_state, pc->rtc) ||
	    fn(opaque, "i8042", &i8042_state, pc->kbc) || fn(opaque, "port92", &port92_state, pc->port92) ||
	    fn(opaque, "ferr", &ferr_state, pc->ferr) || fn(opaque, "acpipm", &acpipm_state, pc->pm) ||
	    fn(opaque, "resetctl", &resetctl_state, &pc->resetctl) || fn(opaque, "fwcfg", &fwcfg_state, pc->fwcfg))
		return -1;
	if (pci_each_state(pc->pci, fn, opaque) ||
	    (pc->cfg.rom && fn(opaque, "shadow", &shadow_state, pc->shadow.ram.hva)) ||
	    fn(opaque, "i440fx", &i440fx_state, pc->chipset) || pc_each_serial(pc, fn, opaque) ||
	    pc_virtio_each_state(&pc->virtio, fn, opaque))
		return -1;
	return pc->testdev ? fn(opaque, "testdev", &testdev_state, pc->testdev) : 0;
}

/* ---- the user's hand --------------------------------------------------------------------------------------------- */

void pc_press_power(struct pc *pc)
{
	acpipm_press_power(pc->pm);
}

bool pc_balloon_set(struct pc *pc, u64 bytes)
{
	if (pc->virtio.balloon)
		virtio_balloon_set_target(pc->virtio.balloon, bytes);
	return pc->virtio.balloon != NULL;
}

bool pc_balloon_get(const struct pc *pc, u64 *bytes)
{
	if (pc->virtio.balloon)
		*bytes = virtio_balloon_actual(pc->virtio.balloon);
	return pc->virtio.balloon != NULL;
}

struct virtio_balloon *pc_balloon(const struct pc *pc)
{
	return pc->virtio.balloon;
}

void pc_console_resize(struct pc *pc, unsigned port, u16 cols, u16 rows)
{
	if (pc->virtio.console)
		virtio_console_resize(pc->virtio.console, port, cols, rows);
}
