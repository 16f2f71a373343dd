/* SPDX-License-Identifier: Apache-2.0
 * The namespace: processors, the PCI root with its ISA devices, the four interrupt links of the PIIX3, soft off.
 * In ASL's words each function makes what its comment shows.
 */
#include <stdio.h>

#include "dev/acpipm.h"
#include "dev/hpet.h"
#include "dev/i440fx.h"
#include "machine/acpi.h"
#include "machine/acpi_aml.h"

/* Name(_HID, EisaId(hid)) Name(_UID, uid) */
static void identity(struct aml *a, const char *hid, unsigned uid)
{
	aml_name_eisaid(a, "_HID", hid);
	aml_name_int(a, "_UID", uid);
}

/* Device(name) { _HID, _UID, _CRS { IO(port, len) [IO(port2, 1)] [IRQNoFlags(){irq}] } } */
static void isa_device(struct aml *a, const char *name, const char *hid, unsigned uid, u16 port, u8 len, u16 port2,
		       int irq)
{
	aml_begin_device(a, name);
	identity(a, hid, uid);
	aml_name(a, "_CRS");
	aml_begin_resources(a);
	if (len)
		aml_io(a, port, len);
	if (port2)
		aml_io(a, port2, 1);
	if (irq >= 0)
		aml_irq(a, (unsigned)irq);
	aml_end_resources(a);
	aml_end(a);
}

/* Device(MBRD) { PNP0C02: ports that belong to the board and to no other device } */
static void motherboard(struct aml *a, const struct acpi_config *cfg)
{
	aml_begin_device(a, "MBRD");
	identity(a, "PNP0C02", 0);
	aml_name(a, "_CRS");
	aml_begin_resources(a);
	aml_io(a, 0x92, 1);
	aml_io(a, ACPIPM_SMI_CMD, 2);
	aml_io(a, 0x4d0, 2);
	if (cfg->pm_base)
		aml_io(a, cfg->pm_base, ACPIPM_SIZE);
	aml_end_resources(a);
	aml_end(a);
}

static void serial_ports(struct aml *a, const struct acpi_config *cfg)
{
	static const u16 port[4] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
	char name[5] = "COM0";

	for (unsigned i = 0; i < 4; i++) {
		name[3] = (char)('1' + i);
		if (cfg->serial[i])
			isa_device(a, name, "PNP0501", i + 1, port[i], 8, 0, i & 1 ? 3 : 4);
	}
}

static void isa_devices(struct aml *a, const struct acpi_config *cfg)
{
	isa_device(a, "PIC", "PNP0000", 0, 0x20, 2, 0, 2);
	isa_device(a, "TMR", "PNP0100", 0, 0x40, 4, 0, 0);
	isa_device(a, "RTC", "PNP0B00", 0, 0x70, 4, 0, 8);
	isa_device(a, "SPKR", "PNP0800", 0, 0x61, 1, 0, -1);
	isa_device(a, "FPU", "PNP0C04", 0, 0xf0, 1, 0, 13);
	if (cfg->i8042) {
		isa_device(a, "KBD", "PNP0303", 0, 0x60, 1, 0x64, 1);
		isa_device(a, "MOU", "PNP0F13", 0, 0, 0, 0, 12);
	}
	serial_ports(a, cfg);
	motherboard(a, cfg);
}

/* Device(HPET) { PNP0103, Memory32Fixed } */
static void hpet_device(struct aml *a)
{
	aml_begin_device(a, "HPET");
	identity(a, "PNP0103", 0);
	aml_name(a, "_CRS");
	aml_begin_resources(a);
	aml_fixed_memory(a, (u32)HPET_BASE, 0x400);
	aml_end_resources(a);
	aml_end(a);
}

/* Package() { slot << 16 | 0xffff, pin, LNKx, 0 } for every slot and pin */
static void routing(struct aml *a)
{
	char link[] = "\\_SB.LNKA";

	aml_name(a, "_PRT");
	aml_begin_package(a, (PCI_SLOTS - 1) * 4);
	for (unsigned i = 4; i < PCI_SLOTS * 4; i++) {
		link[8] = (char)('A' + pci_pirq_of(i / 4, i % 4 + 1));
		aml_begin_package(a, 4);
		aml_int(a, (u64)(i / 4) << 16 | 0xffff);
		aml_int(a, i % 4);
		aml_path(a, link);
		aml_int(a, 0);
		aml_end(a);
	}
	aml_end(a);
}

static void root_resources(struct aml *a, const struct acpi_config *cfg)
{
	aml_name(a, "_CRS");
	aml_begin_resources(a);
	aml_bus_range(a, 0, 0xff);
	aml_io(a, 0xcf8, 8);
	aml_io_range(a, 0, 0xcf7);
	aml_io_range(a, 0xd00, 0xffff);
	aml_memory_range(a, 0xa0000, 0xbffff);
	if (cfg->pci_mem_end > cfg->pci_mem)
		aml_memory_range(a, (u32)cfg->pci_mem, (u32)(cfg->pci_mem_end - 1));
	if (cfg->pci_mem64_end > cfg->pci_mem64)
		aml_memory_range64(a, cfg->pci_mem64, cfg->pci_mem64_end - 1);
	aml_end_resources(a);
}

/* Device(PCI0) { …, Device(ISA) { OperationRegion over PIRQRC, the ISA devices } } */
static void pci_root(struct aml *a, const struct acpi_config *cfg)
{
	aml_begin_device(a, "PCI0");
	identity(a, "PNP0A03", 0);
	aml_name_int(a, "_ADR", 0);
	root_resources(a, cfg);
	routing(a);
	aml_begin_device(a, "ISA");
	aml_name_int(a, "_ADR", 0x00010000);
	aml_pci_region(a, "PIRQ", 0x60, 4);
	aml_byte_fields(a, "PIRQ", "PRQ", 4);
	isa_devices(a, cfg);
	aml_end(a);
	aml_end(a);
}

/* Method(_STA) { If (PRQn & 0x80) { Return(9) } Return(11) } */
static void link_sta(struct aml *a, const char *reg)
{
	aml_begin_method(a, "_STA", 0);
	aml_begin_if(a);
	aml_and(a);
	aml_path(a, reg);
	aml_int(a, 0x80);
	aml_no_target(a);
	aml_return(a);
	aml_int(a, 9);
	aml_end(a);
	aml_return(a);
	aml_int(a, 11);
	aml_end(a);
}

/* Name(_PRS, ResourceTemplate() { Interrupt(, Level, ActiveHigh, Shared) { 5, 10, 11 } }) */
static void link_prs(struct aml *a)
{
	static const u32 possible[] = { 5, 10, 11 };

	aml_name(a, "_PRS");
	aml_begin_resources(a);
	aml_interrupts(a, possible, ARRAY_SIZE(possible));
	aml_end_resources(a);
}

/* Method(_DIS) { Or(PRQn, 0x80, PRQn) } */
static void link_dis(struct aml *a, const char *reg)
{
	aml_begin_method(a, "_DIS", 0);
	aml_or(a);
	aml_path(a, reg);
	aml_int(a, 0x80);
	aml_path(a, reg);
	aml_end(a);
}

/* Method(_CRS) { Name(BUF, Interrupt(){0}) CreateDWordField(BUF, 5, IRQ) And(PRQn, 15, IRQ) Return(BUF) } */
static void link_crs(struct aml *a, const char *reg)
{
	static const u32 none;

	aml_begin_method(a, "_CRS", 0);
	aml_name(a, "BUF");
	aml_begin_resources(a);
	aml_interrupts(a, &none, 1);
	aml_end_resources(a);
	aml_create_dword_field(a);
	aml_path(a, "BUF");
	aml_int(a, 5);
	aml_path(a, "IRQ");
	aml_and(a);
	aml_path(a, reg);
	aml_int(a, 15);
	aml_path(a, "IRQ");
	aml_return(a);
	aml_path(a, "BUF");
	aml_end(a);
}

/* Method(_SRS, 1) { CreateDWordField(Arg0, 5, IRQ) Store(IRQ, PRQn) } */
static void link_srs(struct aml *a, const char *reg)
{
	aml_begin_method(a, "_SRS", 1);
	aml_create_dword_field(a);
	aml_arg(a, 0);
	aml_int(a, 5);
	aml_path(a, "IRQ");
	aml_store(a);
	aml_path(a, "IRQ");
	aml_path(a, reg);
	aml_end(a);
}

static void interrupt_link(struct aml *a, unsigned n)
{
	char name[] = "LNKA", reg[] = "\\_SB.PCI0.ISA.PRQ0";

	name[3] = (char)('A' + n);
	reg[sizeof(reg) - 2] = (char)('0' + n);
	aml_begin_device(a, name);
	identity(a, "PNP0C0F", n);
	link_prs(a);
	link_sta(a, reg);
	link_dis(a, reg);
	link_crs(a, reg);
	link_srs(a, reg);
	aml_end(a);
}

/* Device(Cnnn) { Name(_HID, "ACPI0007") Name(_UID, n) } */
static void processors(struct aml *a, unsigned cpus)
{
	char name[8];

	for (unsigned i = 0; i < cpus; i++) {
		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		aml_begin_device(a, name);
		aml_name(a, "_HID");
		aml_byte(a, 0x0d);
		aml_bytes(a, "ACPI0007", 9);
		aml_name_int(a, "_UID", i);
		aml_end(a);
	}
}

/* Name(name, Package(4) { type, type, 0, 0 }) */
static void sleep_state(struct aml *a, const char *name, u8 type)
{
	aml_name(a, name);
	aml_begin_package(a, 4);
	aml_int(a, type);
	aml_int(a, type);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a);
}

void acpi_dsdt(struct aml *a, const struct acpi_config *cfg)
{
	aml_begin_scope(a, "\\_SB");
	processors(a, cfg->cpus);
	if (cfg->pci) {
		pci_root(a, cfg);
		for (unsigned n = 0; n < 4; n++)
			interrupt_link(a, n);
	} else {
		isa_devices(a, cfg);
	}
	if (cfg->hpet)
		hpet_device(a);
	aml_end(a);
	/* Method(\_PIC, 1) {}: both interrupt models use the same numbers. */
	aml_begin_method(a, "\\_PIC", 1);
	aml_end(a);
	sleep_state(a, "\\_S5", ACPIPM_SLP_S5);
}
