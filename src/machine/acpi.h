/* SPDX-License-Identifier: Apache-2.0
 * The tables that a PC's firmware leaves in memory, made by doppel for loaders without firmware: ACPI (6.3), the MP
 * table (MultiProcessor Specification 1.4), SMBIOS (2.8). All lie in 0xe0000 to 0xfffff, where kernels search.
 */
#ifndef MACHINE_ACPI_H
#define MACHINE_ACPI_H

#include "base/err.h"
#include "mem/mem.h"

#define ACPI_TABLES_GPA 0xe0000u
#define ACPI_TABLES_SIZE 0x10000u
#define SMBIOS_GPA 0xf0000u
#define SMBIOS_SIZE 0x8000u
#define MPTABLE_GPA 0xf8000u
#define MPTABLE_SIZE 0x8000u

struct acpi_config {
	unsigned cpus; /* APIC IDs are 0 to cpus - 1 */
	bool pci;      /* bus 0 with the PIIX3 ISA bridge at 00:01.0 */
	bool hpet;     /* at 0xfed00000 */
	bool i8042;
	bool serial[4];		      /* COM1 to COM4 */
	u16 pm_base;		      /* the PM block (dev/acpipm.h) */
	bool pm_wide;		      /* its timer has 32 bits */
	u64 pci_mem, pci_mem_end;     /* the bridge's window below 4 GiB; end excluded */
	u64 pci_mem64, pci_mem64_end; /* and above; both 0: none */
	u64 ram_size;		      /* bytes, for SMBIOS */
};

/* Writes the ACPI tables; *rsdp_gpa is where they begin. May be called again (reset). */
int acpi_build(struct mem *m, const struct acpi_config *cfg, u64 *rsdp_gpa, struct err *e);
int mptable_build(struct mem *m, const struct acpi_config *cfg, struct err *e);
int smbios_build(struct mem *m, const struct acpi_config *cfg, struct err *e);

/* ---- the same for firmware, which places them itself: files of fw_cfg ---- */

#define ACPI_RSDP_SIZE 36

struct fwcfg;
/* Puts etc/acpi/tables, etc/acpi/rsdp and etc/table-loader there. May be called again: the sizes stay. */
int acpi_give(struct fwcfg *f, const struct acpi_config *cfg, struct err *e);
/* etc/smbios/smbios-anchor and etc/smbios/smbios-tables, without the BIOS's own structure, which is the firmware's. */
int smbios_give(struct fwcfg *f, const struct acpi_config *cfg, struct err *e);

/* For acpi.c and acpi_files.c: tables in a buffer that stands for memory at base, and what depends on base in them. */
struct acpi_link {
	u32 at; /* a pointer to a table is here */
	u8 size;
};

struct acpi_sum {
	u32 at, len; /* a table with a checksum in its header */
};

struct acpi_layout {
	u64 base;
	u8 *buf; /* the caller frees it, after a failure too */
	size_t len, facs, dsdt, fadt, madt, hpet, rsdt, xsdt;
	u8 rsdp[ACPI_RSDP_SIZE];
	struct acpi_link link[16];
	struct acpi_sum sum[16];
	unsigned links, sums;
};
int acpi_lay_out(struct acpi_layout *l, const struct acpi_config *cfg, struct err *e);

/* The DSDT's body (AML without the table header) into buf; its length, or 0 when it does not fit. */
struct aml;
void acpi_dsdt(struct aml *a, const struct acpi_config *cfg);

#endif
