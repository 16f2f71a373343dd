/* SPDX-License-Identifier: Apache-2.0
 * The tables are laid one behind the other in a host buffer that stands for guest memory from `base` on: at
 * ACPI_TABLES_GPA, or wherever firmware puts them, which then adds that address to every pointer and makes the
 * checksums (acpi_files.c); so the places of both are noted on the way. FADT is of revision 5; what it says of legacy
 * hardware is what the board has.
 */
#include "machine/acpi.h"

#include <stdlib.h>

#include "dev/acpipm.h"
#include "dev/hpet.h"
#include "dev/i440fx.h"
#include "dev/ioapic.h"
#include "machine/acpi_aml.h"

enum {
	HEADER = 36,
	HEADER_LEN = 4,
	HEADER_SUM = 9,
	SCI = 9,
	LAPIC_BASE = 0xfee00000,
	ISO_LEVEL_HIGH = 0x000d,
};

/* A pointer to the table at off. */
static void pointer(struct aml *a, struct acpi_layout *l, size_t off, u8 width)
{
	l->link[l->links++] = (struct acpi_link){ (u32)a->len, width };
	aml_le(a, l->base + off, width);
}

static void begin_table(struct aml *a, const char *signature, u8 revision, size_t *at)
{
	while (a->len & 15 && !a->overflow)
		aml_byte(a, 0);
	*at = a->len;
	aml_bytes(a, signature, 4);
	aml_le(a, 0, 4);
	aml_byte(a, revision);
	aml_byte(a, 0);
	aml_bytes(a, "DOPPELDOPPELPC", 14);
	aml_le(a, 1, 4);
	aml_bytes(a, "DPPL", 4);
	aml_le(a, 1, 4);
}

static u8 checksum(const u8 *p, size_t n)
{
	u8 sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += p[i];
	return (u8)-sum;
}

static void end_table(struct aml *a, struct acpi_layout *l, size_t at)
{
	u32 len = (u32)(a->len - at);

	if (a->overflow)
		return;
	memcpy(a->buf + at + HEADER_LEN, &len, 4);
	l->sum[l->sums++] = (struct acpi_sum){ (u32)at, len };
	a->buf[at + HEADER_SUM] = checksum(a->buf + at, len);
}

/* Generic address structure: I/O space, bits wide, accessed in units of unit (1: byte, 2: word, 3: dword). */
static void gas_io(struct aml *a, u16 port, u8 bit_width, u8 unit)
{
	aml_byte(a, port ? 1 : 0);
	aml_byte(a, port ? bit_width : 0);
	aml_byte(a, 0);
	aml_byte(a, port ? unit : 0);
	aml_le(a, port, 8);
}

static void build_facs(struct aml *a, struct acpi_layout *l)
{
	while (a->len & 63 && !a->overflow)
		aml_byte(a, 0);
	l->facs = a->len;
	aml_bytes(a, "FACS", 4);
	aml_le(a, 64, 4);
	for (unsigned i = 8; i < 32; i++)
		aml_byte(a, 0);
	aml_byte(a, 2);
	for (unsigned i = 33; i < 64; i++)
		aml_byte(a, 0);
}

static void build_dsdt(struct aml *a, struct acpi_layout *l, const struct acpi_config *cfg)
{
	begin_table(a, "DSDT", 2, &l->dsdt);
	acpi_dsdt(a, cfg);
	end_table(a, l, l->dsdt);
}

/* FADT bytes 36 to 111: the fields of ACPI 1.0. */
static void fadt_legacy(struct aml *a, struct acpi_layout *l, const struct acpi_config *cfg)
{
	u16 pm = cfg->pm_base;
	u16 boot_arch = 0x0001 | (cfg->i8042 ? 0x0002 : 0) | 0x0004; /* ISA devices, 8042, no VGA */
	u32 flags = 0x0001 | 0x0004 | 0x0020 | 0x0040 | (cfg->pm_wide ? 0x0100 : 0) | 0x0400;

	pointer(a, l, l->facs, 4);
	pointer(a, l, l->dsdt, 4);
	aml_byte(a, 0);
	aml_byte(a, 0); /* profile: unspecified */
	aml_le(a, SCI, 2);
	aml_le(a, ACPIPM_SMI_CMD, 4);
	aml_byte(a, ACPIPM_ENABLE);
	aml_byte(a, ACPIPM_DISABLE);
	aml_le(a, 0, 2); /* no S4BIOS_REQ, no PSTATE_CNT */
	aml_le(a, pm, 4);
	aml_le(a, 0, 4);
	aml_le(a, pm + 4, 4);
	aml_le(a, 0, 8); /* PM1b_CNT, PM2_CNT */
	aml_le(a, pm + 8, 4);
	aml_le(a, pm + ACPIPM_GPE0, 4);
	aml_le(a, 0, 4);
	aml_bytes(a, "\4\2\0\4\4\0\0\0", 8); /* lengths of PM1_EVT, PM1_CNT, PM2_CNT, PM_TMR, GPE0, GPE1; base; CST */
	aml_le(a, 0x0fff, 2);		     /* no C2 */
	aml_le(a, 0x0fff, 2);		     /* no C3 */
	aml_le(a, 0, 6);		     /* WBINVD works: no flush sizes; no duty cycle */
	aml_le(a, 0, 2);		     /* RTC alarm: day, month */
	aml_byte(a, 0x32);		     /* RTC century */
	aml_le(a, boot_arch, 2);
	aml_byte(a, 0);
	aml_le(a, flags, 4); /* WBINVD, C1, no sleep button, RTC not fixed, TMR_VAL_EXT, RESET_REG */
}

static void build_fadt(struct aml *a, struct acpi_layout *l, const struct acpi_config *cfg)
{
	u16 pm = cfg->pm_base;

	begin_table(a, "FACP", 5, &l->fadt);
	fadt_legacy(a, l, cfg);
	gas_io(a, 0xcf9, 8, 1);
	aml_byte(a, 0x06); /* RESET_VALUE */
	aml_le(a, 0, 2);   /* ARM_BOOT_ARCH */
	aml_byte(a, 1);	   /* minor version */
	aml_le(a, 0, 8);   /* X_FIRMWARE_CTRL: FIRMWARE_CTRL serves */
	pointer(a, l, l->dsdt, 8);
	gas_io(a, pm, 32, 2);
	gas_io(a, 0, 0, 0);
	gas_io(a, pm + 4, 16, 2);
	gas_io(a, 0, 0, 0);
	gas_io(a, 0, 0, 0);
	gas_io(a, pm + 8, 32, 3);
	gas_io(a, pm + ACPIPM_GPE0, 32, 1);
	gas_io(a, 0, 0, 0);
	gas_io(a, 0, 0, 0); /* sleep control and status: not hardware-reduced */
	gas_io(a, 0, 0, 0);
	end_table(a, l, l->fadt);
}

static void madt_processor(struct aml *a, u32 id)
{
	if (id < 255) {
		aml_bytes(a, "\0\10", 2);
		aml_byte(a, (u8)id);
		aml_byte(a, (u8)id);
		aml_le(a, 1, 4);
		return;
	}
	aml_bytes(a, "\11\20\0\0", 4);
	aml_le(a, id, 4);
	aml_le(a, 1, 4);
	aml_le(a, id, 4);
}

/* ISA interrupt `irq` at pin gsi. */
static void madt_override(struct aml *a, u8 irq, u32 gsi, u16 flags)
{
	aml_bytes(a, "\2\12\0", 3);
	aml_byte(a, irq);
	aml_le(a, gsi, 4);
	aml_le(a, flags, 2);
}

static void build_madt(struct aml *a, struct acpi_layout *l, const struct acpi_config *cfg)
{
	begin_table(a, "APIC", 3, &l->madt);
	aml_le(a, LAPIC_BASE, 4);
	aml_le(a, 1, 4); /* PCAT_COMPAT: the 8259 pair is there */
	for (unsigned i = 0; i < cfg->cpus; i++)
		madt_processor(a, i);
	aml_bytes(a, "\1\14\0\0", 4); /* I/O APIC, ID 0 */
	aml_le(a, IOAPIC_BASE, 4);
	aml_le(a, 0, 4);
	madt_override(a, 0, 2, 0);
	for (u8 irq = 1; irq < 16; irq++)
		if (PIIX_LEVEL_IRQS & (1u << irq))
			madt_override(a, irq, irq, ISO_LEVEL_HIGH);
	aml_bytes(a, "\4\6\377\0\0\1", 6); /* NMI: LINT1 of every processor */
	if (cfg->cpus > 255)
		aml_bytes(a, "\12\14\0\0\377\377\377\377\1\0\0\0", 12);
	end_table(a, l, l->madt);
}

static void build_hpet(struct aml *a, struct acpi_layout *l)
{
	begin_table(a, "HPET", 1, &l->hpet);
	aml_le(a, HPET_ID, 4);
	aml_bytes(a, "\0\100\0\0", 4); /* memory space, 64 bits */
	aml_le(a, HPET_BASE, 8);
	aml_byte(a, 0);
	aml_le(a, 0x80, 2); /* shortest periodic tick */
	aml_byte(a, 0);
	end_table(a, l, l->hpet);
}

/* RSDT or XSDT: the same tables in words of 4 or 8 bytes. */
static void build_root(struct aml *a, struct acpi_layout *l, const char *signature, u8 width, size_t *at)
{
	begin_table(a, signature, 1, at);
	pointer(a, l, l->fadt, width);
	pointer(a, l, l->madt, width);
	if (l->hpet)
		pointer(a, l, l->hpet, width);
	end_table(a, l, *at);
}

/* ACPI 6.3, 5.2.5.3. */
static void build_rsdp(const struct acpi_layout *l, u8 out[ACPI_RSDP_SIZE])
{
	struct aml a;

	aml_init(&a, out, ACPI_RSDP_SIZE);
	aml_bytes(&a, "RSD PTR ", 8);
	aml_byte(&a, 0);
	aml_bytes(&a, "DOPPEL", 6);
	aml_byte(&a, 2);
	aml_le(&a, l->base + l->rsdt, 4);
	aml_le(&a, ACPI_RSDP_SIZE, 4);
	aml_le(&a, l->base + l->xsdt, 8);
	aml_le(&a, 0, 4);
	out[8] = checksum(out, 20);
	out[32] = checksum(out, ACPI_RSDP_SIZE);
}

int acpi_lay_out(struct acpi_layout *l, const struct acpi_config *cfg, struct err *e)
{
	struct aml a;

	l->buf = calloc(1, ACPI_TABLES_SIZE);
	if (!l->buf)
		return err_set(e, "out of memory for the ACPI tables");
	aml_init(&a, l->buf, ACPI_TABLES_SIZE);
	a.len = ALIGN_UP(ACPI_RSDP_SIZE, 16);
	build_facs(&a, l);
	build_dsdt(&a, l, cfg);
	build_fadt(&a, l, cfg);
	build_madt(&a, l, cfg);
	if (cfg->hpet)
		build_hpet(&a, l);
	build_root(&a, l, "RSDT", 4, &l->rsdt);
	build_root(&a, l, "XSDT", 8, &l->xsdt);
	build_rsdp(l, l->rsdp);
	if (!aml_ok(&a))
		return err_set(e, "the ACPI tables of %u processors do not fit %u bytes", cfg->cpus, ACPI_TABLES_SIZE);
	l->len = a.len;
	return 0;
}

int acpi_build(struct mem *m, const struct acpi_config *cfg, u64 *rsdp_gpa, struct err *e)
{
	struct acpi_layout l = { .base = ACPI_TABLES_GPA };
	int rc = acpi_lay_out(&l, cfg, e);

	if (!rc) {
		memcpy(l.buf, l.rsdp, ACPI_RSDP_SIZE);
		if (mem_write(m, ACPI_TABLES_GPA, l.buf, ACPI_TABLES_SIZE))
			rc = err_set(e, "there is no memory for the ACPI tables at 0x%x", ACPI_TABLES_GPA);
	}
	free(l.buf);
	*rsdp_gpa = ACPI_TABLES_GPA;
	return rc;
}
