/* SPDX-License-Identifier: Apache-2.0
 * The MP configuration table (MultiProcessor Specification 1.4, chapter 4): processors, a PCI and an ISA bus, the I/O
 * APIC, and which interrupt reaches which of its pins.
 */
#include <stdlib.h>

#include "dev/i440fx.h"
#include "dev/ioapic.h"
#include "machine/acpi.h"
#include "machine/acpi_aml.h"

enum {
	FLOATING = 16,
	TABLE = 16, /* where the table begins behind the floating pointer */
	TABLE_LEN = 4,
	TABLE_SUM = 7,
	TABLE_COUNT = 34,
	BUS_PCI = 0,
	BUS_ISA = 1,
	IOAPIC_ID = 0,
	TYPE_INT = 0,
	TYPE_NMI = 1,
	TYPE_EXTINT = 3,
	CONFORMS = 0,
	LEVEL_HIGH = 0x000d,
	LEVEL_HIGH_PCI = 0x000d,
};

struct mp {
	struct aml a; /* as a plain byte buffer */
	u16 entries;
};

static void add_processor(struct mp *t, u8 id)
{
	aml_byte(&t->a, 0);
	aml_byte(&t->a, id);
	aml_byte(&t->a, 0x14);
	aml_byte(&t->a, id == 0 ? 0x03 : 0x01); /* usable, the first is the bootstrap processor */
	aml_le(&t->a, 0x0600, 4);
	aml_le(&t->a, 0x0201, 4); /* APIC, FPU */
	aml_le(&t->a, 0, 8);
	t->entries++;
}

static void add_bus(struct mp *t, u8 id, const char *type)
{
	aml_byte(&t->a, 1);
	aml_byte(&t->a, id);
	aml_bytes(&t->a, type, 6);
	t->entries++;
}

static void add_ioapic(struct mp *t)
{
	aml_byte(&t->a, 2);
	aml_byte(&t->a, IOAPIC_ID);
	aml_byte(&t->a, 0x20);
	aml_byte(&t->a, 1);
	aml_le(&t->a, IOAPIC_BASE, 4);
	t->entries++;
}

/* Entry types 3 (I/O APIC input) and 4 (local APIC LINT) have one shape. */
static void add_interrupt(struct mp *t, u8 entry, u8 type, u16 flags, u8 bus, u8 source, u8 apic, u8 pin)
{
	aml_byte(&t->a, entry);
	aml_byte(&t->a, type);
	aml_le(&t->a, flags, 2);
	aml_byte(&t->a, bus);
	aml_byte(&t->a, source);
	aml_byte(&t->a, apic);
	aml_byte(&t->a, pin);
	t->entries++;
}

static void add_isa_interrupts(struct mp *t)
{
	for (u8 irq = 0; irq < 16; irq++) {
		bool level = PIIX_LEVEL_IRQS & (1u << irq);

		if (irq == 2)
			continue; /* the cascade */
		add_interrupt(t, 3, TYPE_INT, level ? LEVEL_HIGH : CONFORMS, BUS_ISA, irq, IOAPIC_ID, irq ? irq : 2);
	}
}

/* Sources of a PCI bus are slot << 2 | pin - 1; pins reach the I/O APIC through the PIIX3's routes. */
static void add_pci_interrupts(struct mp *t)
{
	static const u8 routes[4] = PIIX_PIRQ_ROUTES;

	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		for (unsigned pin = 1; pin <= 4; pin++)
			add_interrupt(t, 3, TYPE_INT, LEVEL_HIGH_PCI, BUS_PCI, (u8)(slot << 2 | (pin - 1)), IOAPIC_ID,
				      routes[pci_pirq_of(slot, pin)]);
}

static void build(struct mp *t, const struct acpi_config *cfg)
{
	for (u8 pad = 0; pad < FLOATING; pad++)
		aml_byte(&t->a, 0);
	aml_bytes(&t->a, "PCMP\0\0\4\0", 8); /* length and checksum follow at the end */
	aml_bytes(&t->a, "DOPPEL  DOPPELPC    ", 20);
	aml_le(&t->a, 0, 8); /* no OEM table, entry count */
	aml_le(&t->a, 0xfee00000, 4);
	aml_le(&t->a, 0, 4);
	for (unsigned i = 0; i < MIN(cfg->cpus, 254u); i++)
		add_processor(t, (u8)i);
	if (cfg->pci)
		add_bus(t, BUS_PCI, "PCI   ");
	add_bus(t, BUS_ISA, "ISA   ");
	add_ioapic(t);
	add_isa_interrupts(t);
	if (cfg->pci)
		add_pci_interrupts(t);
	add_interrupt(t, 4, TYPE_EXTINT, CONFORMS, BUS_ISA, 0, 0xff, 0);
	add_interrupt(t, 4, TYPE_NMI, CONFORMS, BUS_ISA, 0, 0xff, 1);
}

static u8 checksum(const u8 *p, size_t n)
{
	u8 sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += p[i];
	return (u8)-sum;
}

/* The floating pointer of 16 bytes and the lengths and sums of both. */
static void finish(struct mp *t)
{
	u8 *p = t->a.buf, *table = p + TABLE;
	u16 len = (u16)(t->a.len - TABLE);
	u32 at = MPTABLE_GPA + TABLE;

	memcpy(table + TABLE_LEN, &len, 2);
	memcpy(table + TABLE_COUNT, &t->entries, 2);
	table[TABLE_SUM] = checksum(table, len);
	memcpy(p, "_MP_", 4);
	memcpy(p + 4, &at, 4);
	p[8] = 1; /* length in paragraphs */
	p[9] = 4; /* specification 1.4 */
	p[10] = checksum(p, FLOATING);
}

int mptable_build(struct mem *m, const struct acpi_config *cfg, struct err *e)
{
	u8 *buf = calloc(1, MPTABLE_SIZE);
	struct mp t = { .entries = 0 };
	int rc = 0;

	if (!buf)
		return err_set(e, "out of memory for the MP table");
	aml_init(&t.a, buf, MPTABLE_SIZE);
	build(&t, cfg);
	finish(&t);
	if (!aml_ok(&t.a))
		rc = err_set(e, "the MP table of %u processors does not fit", cfg->cpus);
	else if (mem_write(m, MPTABLE_GPA, buf, MPTABLE_SIZE))
		rc = err_set(e, "there is no memory for the MP table at 0x%x", MPTABLE_GPA);
	free(buf);
	return rc;
}
