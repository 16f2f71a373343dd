/* SPDX-License-Identifier: Apache-2.0
 * SMBIOS 2.8 (DMTF DSP0134): the entry point and the structures that every system must have.
 */
#include <stdlib.h>

#include "dev/fwcfg.h"
#include "machine/acpi.h"
#include "machine/acpi_aml.h"

enum {
	ENTRY = 32, /* the entry point's 31 bytes, padded */
	ENTRY_LEN = 31,
	INTERMEDIATE = 16,
	H_BIOS = 0x0000,
	H_SYSTEM = 0x0100,
	H_CHASSIS = 0x0300,
	H_CPU = 0x0400,
	H_ARRAY = 0x1000,
	H_MEMORY = 0x1100,
	H_MAPPED = 0x1300,
	H_BOOT = 0x2000,
	H_END = 0x7f00,
};

struct smbios {
	struct aml a; /* as a plain byte buffer */
	u16 count, largest;
	size_t first; /* of the structure being made */
};

static void begin(struct smbios *s, u8 type, u8 len, u16 handle)
{
	s->first = s->a.len;
	aml_byte(&s->a, type);
	aml_byte(&s->a, len);
	aml_le(&s->a, handle, 2);
	s->count++;
}

/* The strings, separated by '|', numbered from 1; an empty set is two zero bytes. */
static void end(struct smbios *s, const char *strings)
{
	for (const char *c = strings; *c; c++)
		aml_byte(&s->a, *c == '|' ? 0 : (u8)*c);
	if (*strings)
		aml_byte(&s->a, 0);
	else
		aml_byte(&s->a, 0);
	aml_byte(&s->a, 0);
	s->largest = MAX(s->largest, (u16)(s->a.len - s->first));
}

static void add_bios(struct smbios *s)
{
	begin(s, 0, 24, H_BIOS);
	aml_bytes(&s->a, "\1\2\0\350\3\0", 6); /* vendor, version, segment 0xe800, date, 64 KiB */
	aml_le(&s->a, 0x08, 8);		       /* characteristics are not supported */
	aml_bytes(&s->a, "\0\24", 2);	       /* targeted content; virtual machine */
	aml_bytes(&s->a, "\0\0\377\377", 4);
	end(s, "doppel|1|01/01/2026");
}

static void add_system(struct smbios *s)
{
	begin(s, 1, 27, H_SYSTEM);
	aml_bytes(&s->a, "\1\2\3\0", 4);
	for (unsigned i = 0; i < 16; i++)
		aml_byte(&s->a, 0);    /* no UUID */
	aml_bytes(&s->a, "\6\0\0", 3); /* woken by the power switch */
	end(s, "doppel|PC (i440FX + PIIX3)|1");
}

static void add_chassis(struct smbios *s)
{
	begin(s, 3, 22, H_CHASSIS);
	aml_bytes(&s->a, "\1\1\0\0\0\3\3\3\2", 9); /* other; boot-up, power and thermal state safe; no security */
	aml_le(&s->a, 0, 4);
	aml_bytes(&s->a, "\0\0\0\0\0", 5);
	end(s, "doppel");
}

static void add_processor(struct smbios *s, unsigned n)
{
	begin(s, 4, 42, (u16)(H_CPU + n));
	aml_bytes(&s->a, "\1\3\1\2", 4); /* socket, central processor, family other, manufacturer */
	aml_le(&s->a, 0, 8);
	aml_bytes(&s->a, "\0\0", 2);	  /* version, voltage */
	aml_le(&s->a, 0, 6);		  /* clocks unknown */
	aml_bytes(&s->a, "\101\1", 2);	  /* populated and enabled; upgrade: other */
	aml_le(&s->a, 0xffffffffffff, 6); /* no cache structures */
	aml_bytes(&s->a, "\0\0\0\1\1\1", 6);
	aml_le(&s->a, 0x0004, 2); /* 64-bit capable */
	aml_le(&s->a, 1, 2);
	end(s, "CPU|doppel");
}

static void add_memory(struct smbios *s, u64 bytes)
{
	u64 kib = bytes >> 10, mib = bytes >> 20;

	begin(s, 16, 23, H_ARRAY);
	aml_bytes(&s->a, "\1\3\3", 3); /* other; system memory; no ECC */
	aml_le(&s->a, kib < BIT(31) ? kib : BIT(31), 4);
	aml_le(&s->a, 0xfffe, 2);
	aml_le(&s->a, 1, 2);
	aml_le(&s->a, kib < BIT(31) ? 0 : bytes, 8);
	end(s, "");
	begin(s, 17, 40, H_MEMORY);
	aml_le(&s->a, H_ARRAY, 2);
	aml_le(&s->a, 0xfffe, 2);
	aml_le(&s->a, 0xffffffff, 4); /* widths unknown */
	aml_le(&s->a, mib < 0x7fff ? mib : 0x7fff, 2);
	aml_bytes(&s->a, "\11\0\1\0\7\2\0", 7); /* DIMM, set, locator, bank, RAM, type detail: other */
	aml_le(&s->a, 0, 2);
	aml_bytes(&s->a, "\2\0\0\0\0", 5);
	aml_le(&s->a, mib < 0x7fff ? 0 : mib, 4);
	aml_le(&s->a, 0, 8);
	end(s, "DIMM 0|doppel");
	begin(s, 19, 31, H_MAPPED);
	aml_le(&s->a, kib <= 0xffffffff ? 0 : 0xffffffff, 4);
	aml_le(&s->a, kib <= 0xffffffff ? kib - 1 : 0xffffffff, 4);
	aml_le(&s->a, H_ARRAY, 2);
	aml_byte(&s->a, 1);
	aml_le(&s->a, 0, 8);
	aml_le(&s->a, kib <= 0xffffffff ? 0 : bytes - 1, 8);
	end(s, "");
}

static void add_boot(struct smbios *s)
{
	begin(s, 32, 11, H_BOOT);
	aml_le(&s->a, 0, 7); /* no errors */
	end(s, "");
	begin(s, 127, 4, H_END);
	end(s, "");
}

static u8 checksum(const u8 *p, size_t n)
{
	u8 sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += p[i];
	return (u8)-sum;
}

static void finish(struct smbios *s, u32 at)
{
	u8 *p = s->a.buf;
	u16 len = (u16)(s->a.len - ENTRY);

	memcpy(p, "_SM_", 4);
	p[5] = ENTRY_LEN;
	p[6] = 2;
	p[7] = 8;
	memcpy(p + 8, &s->largest, 2);
	memcpy(p + 16, "_DMI_", 5);
	memcpy(p + 22, &len, 2);
	memcpy(p + 24, &at, 4);
	memcpy(p + 28, &s->count, 2);
	p[30] = 0x28;
	p[21] = checksum(p + INTERMEDIATE, 15);
	p[4] = checksum(p, ENTRY_LEN);
}

/* The entry point, padded, and the structures behind it, in a buffer of SMBIOS_SIZE bytes; NULL on failure. at: where
 * the structures will stand. */
static u8 *lay_out(struct smbios *s, const struct acpi_config *cfg, bool bios, u32 at, struct err *e)
{
	u8 *buf = calloc(1, SMBIOS_SIZE);

	if (!buf) {
		err_set(e, "out of memory for the SMBIOS tables");
		return NULL;
	}
	*s = (struct smbios){ .count = 0 };
	aml_init(&s->a, buf, SMBIOS_SIZE);
	s->a.len = ENTRY;
	if (bios)
		add_bios(s);
	add_system(s);
	add_chassis(s);
	for (unsigned i = 0; i < MIN(cfg->cpus, 255u); i++)
		add_processor(s, i);
	add_memory(s, cfg->ram_size);
	add_boot(s);
	finish(s, at);
	if (aml_ok(&s->a))
		return buf;
	err_set(e, "the SMBIOS tables of %u processors do not fit", cfg->cpus);
	free(buf);
	return NULL;
}

int smbios_build(struct mem *m, const struct acpi_config *cfg, struct err *e)
{
	struct smbios s;
	u8 *buf = lay_out(&s, cfg, true, SMBIOS_GPA + ENTRY, e);
	int rc = 0;

	if (!buf)
		return -1;
	if (mem_write(m, SMBIOS_GPA, buf, SMBIOS_SIZE))
		rc = err_set(e, "there is no memory for the SMBIOS tables at 0x%x", SMBIOS_GPA);
	free(buf);
	return rc;
}

int smbios_give(struct fwcfg *f, const struct acpi_config *cfg, struct err *e)
{
	struct smbios s;
	u8 *buf = lay_out(&s, cfg, false, 0, e);
	int rc;

	if (!buf)
		return -1;
	rc = fwcfg_set_file(f, "etc/smbios/smbios-anchor", buf, ENTRY_LEN, false, e) ||
		     fwcfg_set_file(f, "etc/smbios/smbios-tables", buf + ENTRY, (u32)s.a.len - ENTRY, false, e)
		 ? -1
		 : 0;
	free(buf);
	return rc;
}
