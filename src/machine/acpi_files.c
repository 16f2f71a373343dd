/* SPDX-License-Identifier: Apache-2.0
 * ACPI tables for firmware: two files, and the program by which firmware allocates them, adds addresses to pointers and
 * makes checksums (QEMU's table loader; the format is that of SeaBIOS's romfile_loader.h). An entry has 128 bytes: a
 * command word and its arguments, little-endian.
 */
#include <stdlib.h>

#include "dev/fwcfg.h"
#include "machine/acpi.h"
#include "machine/acpi_aml.h"

enum {
	ENTRY = 128,
	NAME = 56,
	ALLOCATE = 1,
	ADD_POINTER = 2,
	ADD_CHECKSUM = 3,
	ZONE_HIGH = 1,
	ZONE_FSEG = 2,
	SUM_OF_HEADER = 9,
	ENTRIES_MAX = 48,
};

#define TABLES "etc/acpi/tables"
#define RSDP "etc/acpi/rsdp"

/* RSDP's fields: ACPI 6.3, 5.2.5.3. */
enum { RSDP_SUM = 8, RSDP_RSDT = 16, RSDP_XSDT = 24, RSDP_SUM2 = 32, RSDP_SIZE1 = 20 };

static void add_name(struct aml *a, const char *name)
{
	char field[NAME] = { 0 };

	memcpy(field, name, strlen(name));
	aml_bytes(a, field, NAME);
}

static void end_entry(struct aml *a)
{
	while (a->len % ENTRY && !a->overflow)
		aml_byte(a, 0);
}

static void allocate(struct aml *a, const char *file, u32 align, u8 zone)
{
	aml_le(a, ALLOCATE, 4);
	add_name(a, file);
	aml_le(a, align, 4);
	aml_byte(a, zone);
	end_entry(a);
}

/* The field of size bytes at off of file `in` gets the address of TABLES added. */
static void add_pointer(struct aml *a, const char *in, u32 off, u8 size)
{
	aml_le(a, ADD_POINTER, 4);
	add_name(a, in);
	add_name(a, TABLES);
	aml_le(a, off, 4);
	aml_byte(a, size);
	end_entry(a);
}

static void add_checksum(struct aml *a, const char *in, u32 at, u32 start, u32 len)
{
	aml_le(a, ADD_CHECKSUM, 4);
	add_name(a, in);
	aml_le(a, at, 4);
	aml_le(a, start, 4);
	aml_le(a, len, 4);
	end_entry(a);
}

static int give_loader(struct fwcfg *f, struct acpi_layout *l, struct err *e)
{
	u8 buf[ENTRY * ENTRIES_MAX];
	struct aml a;

	aml_init(&a, buf, sizeof(buf));
	allocate(&a, TABLES, 64, ZONE_HIGH);
	allocate(&a, RSDP, 16, ZONE_FSEG);
	for (unsigned i = 0; i < l->links; i++)
		add_pointer(&a, TABLES, l->link[i].at, l->link[i].size);
	for (unsigned i = 0; i < l->sums; i++) {
		l->buf[l->sum[i].at + SUM_OF_HEADER] = 0;
		add_checksum(&a, TABLES, l->sum[i].at + SUM_OF_HEADER, l->sum[i].at, l->sum[i].len);
	}
	add_pointer(&a, RSDP, RSDP_RSDT, 4);
	add_pointer(&a, RSDP, RSDP_XSDT, 8);
	l->rsdp[RSDP_SUM] = l->rsdp[RSDP_SUM2] = 0;
	add_checksum(&a, RSDP, RSDP_SUM, 0, RSDP_SIZE1);
	add_checksum(&a, RSDP, RSDP_SUM2, 0, ACPI_RSDP_SIZE);
	return fwcfg_set_file(f, "etc/table-loader", buf, (u32)a.len, false, e);
}

int acpi_give(struct fwcfg *f, const struct acpi_config *cfg, struct err *e)
{
	struct acpi_layout l = { .base = 0 };
	int rc = acpi_lay_out(&l, cfg, e);

	if (!rc)
		rc = give_loader(f, &l, e) || fwcfg_set_file(f, RSDP, l.rsdp, ACPI_RSDP_SIZE, false, e) ||
			     fwcfg_set_file(f, TABLES, l.buf, (u32)ALIGN_UP(l.len, PAGE_SIZE), false, e)
			 ? -1
			 : 0;
	free(l.buf);
	return rc;
}
