/* SPDX-License-Identifier: Apache-2.0
 * Linux bzImage by the 64-bit boot protocol, or by the 32-bit one where the kernel has no 64-bit entry, or by the
 * 16-bit one (bzimage16.c) where it is too old for that or the user wants it. Source: the kernel's
 * Documentation/arch/x86/boot.rst and zero-page.rst; field names are theirs.
 *
 * Low memory as the kernel finds it:
 *   0x10000 boot_params   0x11000 GDT   0x12000 page tables (4 GiB identity, 2 MiB pages)   0x20000 command line
 */
#include <stdio.h>

#include "boot/bzimage.h"

enum {
	BP_ACPI_RSDP_ADDR = 0x70,
	BP_E820_ENTRIES = 0x1e8,
	BP_E820_TABLE = 0x2d0,
};

#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define GPA_PARAMS 0x10000u
#define GPA_GDT 0x11000u
#define GPA_TABLES 0x12000u
#define GPA_CMDLINE 0x20000u
#define CMDLINE_ROOM 0x10000u

static int bzimage_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp,
			struct err *e);

static void bz_read(const struct blob *k, struct bz *z)
{
	unsigned sects = blob_has(k, HDR_SETUP_SECTS, 1) ? k->data[HDR_SETUP_SECTS] : 0;

	z->setup_size = ((sects ? sects : 4) + 1) * 512ull;
	z->version = blob_u16(k, HDR_VERSION);
	z->has64 = z->version >= 0x20c && (blob_u16(k, HDR_XLOADFLAGS) & XLF_KERNEL_64);
	z->has32 = z->version >= 0x202 && blob_has(k, 0, z->setup_size) && (k->data[HDR_LOADFLAGS] & LOADED_HIGH);
}

/* The entry that is used: 64, 32 or 16; 0 with a sentence if the kernel has not the one that was asked for. */
static unsigned bz_entry(const struct boot *b, const struct bz *z, struct err *e)
{
	/* Programs in a kernel's clothes (iPXE, MEMDISK) tell an old protocol and have no code at 32-bit kernels'
	 * entry. */
	if (!b->entry)
		return z->has64 ? 64 : z->has32 && z->version >= 0x208 ? 32 : 16;
	if ((b->entry == 64 && !z->has64) || (b->entry == 32 && !z->has32)) {
		err_set(e, "the Linux kernel '%.200s' (boot protocol %u.%02u) has no %u-bit entry", b->kernel.name,
			z->version >> 8, z->version & 0xff, b->entry);
		return 0;
	}
	return b->entry;
}

int bzimage_probe(struct boot *b, struct err *e)
{
	const struct blob *k = &b->kernel;
	struct bz z;

	if (blob_u16(k, HDR_BOOT_FLAG) != 0xaa55 || blob_u32(k, HDR_MAGIC) != MAGIC_HDRS)
		return 0;
	bz_read(k, &z);
	if (z.version < 0x200)
		return err_set(e, "'%.200s' speaks Linux boot protocol %u.%02u; doppel needs 2.00 or later", k->name,
			       z.version >> 8, z.version & 0xff);
	if (!blob_has(k, 0, z.setup_size + 1) || (z.has32 && !blob_has(k, 0, z.setup_size + 0x400)))
		return err_set(e, "the Linux kernel '%.200s' is truncated: %llu bytes, shorter than its own setup code",
			       k->name, (unsigned long long)k->size);
	/* syssize counts 16-byte paragraphs; the file may be longer (signatures), never much shorter. */
	if (z.version >= 0x204 && blob_u32(k, HDR_SYSSIZE) * 16ull > k->size - z.setup_size + 512)
		return err_set(e, "the Linux kernel '%.200s' is truncated: %llu bytes of %llu", k->name,
			       (unsigned long long)k->size,
			       (unsigned long long)(z.setup_size + blob_u32(k, HDR_SYSSIZE) * 16ull));
	z.entry = bz_entry(b, &z, e);
	if (!z.entry)
		return -1;
	b->kind = z.entry == 64	  ? "Linux bzImage, 64-bit entry"
		  : z.entry == 32 ? "Linux bzImage, 32-bit entry"
				  : "Linux kernel, 16-bit entry";
	b->real_mode = z.entry == 16;
	b->load = bzimage_load;
	return 1;
}

/* Relocatable kernels go where they prefer, if there is memory, else to the first aligned place above 1 MiB. */
int bzimage_place(const struct blob *k, struct mem *m, struct bz *z, struct err *e)
{
	u64 size = k->size - z->setup_size, align, pref;

	z->init_size = size;
	z->load = blob_u32(k, HDR_CODE32_START);
	if (!z->load)
		z->load = 0x100000;
	if (z->version >= 0x20a) {
		z->init_size = MAX(size, (u64)blob_u32(k, HDR_INIT_SIZE));
		pref = blob_u64(k, HDR_PREF_ADDRESS);
		align = blob_u32(k, HDR_KERNEL_ALIGNMENT);
		if (k->data[HDR_RELOCATABLE] && align && !(align & (align - 1))) {
			z->load = ALIGN_UP((u64)0x100000, align);
			if (pref >= 0x100000 && pref < 1ull << 32 && load_fits(m, pref, z->init_size))
				z->load = pref;
		}
	}
	if (z->load < 0x100000 || !load_fits(m, z->load, z->init_size))
		return err_set(
		    e, "the kernel '%.200s' needs memory from 0x%llx to 0x%llx: give the machine more with --memory",
		    k->name, (unsigned long long)z->load, (unsigned long long)(z->load + z->init_size));
	return 0;
}

int bzimage_initrd(struct boot *b, struct mem *m, const struct bz *z, u8 *params, struct err *e)
{
	const struct blob *rd = &b->module[0].file;
	u64 top, max = z->version >= 0x203 ? blob_u32(&b->kernel, HDR_INITRD_ADDR_MAX) : 0x37ffffff, at;

	if (!b->nr_modules)
		return 0;
	top = MIN(load_low_top(m), max + 1);
	at = rd->size <= top ? ALIGN_DOWN(top - rd->size, PAGE_SIZE) : 0;
	if (at < z->load + z->init_size)
		return err_set(
		    e,
		    "the initrd '%.200s' (%llu bytes) does not fit between the kernel's end at 0x%llx and 0x%llx: "
		    "give the machine more memory with --memory",
		    rd->name, (unsigned long long)rd->size, (unsigned long long)(z->load + z->init_size),
		    (unsigned long long)top);
	bz_put(params, HDR_RAMDISK_IMAGE, at, 4);
	bz_put(params, HDR_RAMDISK_SIZE, rd->size, 4);
	return load_bytes(m, at, rd->data, rd->size, "the initrd", e);
}

static int bz_cmdline(struct boot *b, struct mem *m, const struct bz *z, u8 *params, struct err *e)
{
	u64 len = strlen(b->append), max = z->version >= 0x206 ? blob_u32(&b->kernel, HDR_CMDLINE_SIZE) : 255;

	if (len > MIN(max, CMDLINE_ROOM - 1))
		return err_set(e, "--append is %llu characters long; this kernel takes %llu", (unsigned long long)len,
			       (unsigned long long)MIN(max, CMDLINE_ROOM - 1));
	bz_put(params, HDR_CMD_LINE_PTR, GPA_CMDLINE, 4);
	return load_bytes(m, GPA_CMDLINE, b->append, len + 1, "the command line", e);
}

static void bz_map(const struct boot_map *map, u8 *params)
{
	params[BP_E820_ENTRIES] = (u8)map->n;
	for (unsigned i = 0; i < map->n; i++) {
		bz_put(params, BP_E820_TABLE + i * 20, map->e[i].addr, 8);
		bz_put(params, BP_E820_TABLE + i * 20 + 8, map->e[i].size, 8);
		bz_put(params, BP_E820_TABLE + i * 20 + 16, map->e[i].type, 4);
	}
}

static int bz_params(struct boot *b, struct mem *m, const struct bz *z, const struct boot_map *map, u64 rsdp,
		     struct err *e)
{
	unsigned hdr_end = HDR_MAGIC + b->kernel.data[HDR_JUMP];
	u8 params[4096] = { 0 };

	memcpy(params + HDR_SETUP_SECTS, b->kernel.data + HDR_SETUP_SECTS, MIN(hdr_end, 0x290u) - HDR_SETUP_SECTS);
	params[HDR_TYPE_OF_LOADER] = 0xff; /* undefined loader */
	bz_put(params, HDR_CODE32_START, z->load, 4);
	bz_put(params, BP_ACPI_RSDP_ADDR, rsdp, 8);
	bz_map(map, params);
	if (bz_cmdline(b, m, z, params, e) || bzimage_initrd(b, m, z, params, e))
		return -1;
	return load_bytes(m, GPA_PARAMS, params, sizeof(params), "boot_params", e);
}

/* A GDT with the selectors the protocol names, and page tables that map the low 4 GiB onto themselves. */
static int bz_tables(struct mem *m, struct err *e)
{
	static const u64 gdt[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
	static const u64 gdt32[] = { 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
	u64 table[512] = { 0 };

	if (load_bytes(m, GPA_GDT, gdt, sizeof(gdt), "the boot GDT", e) ||
	    load_bytes(m, GPA_GDT + sizeof(gdt), gdt32, sizeof(gdt32), "the boot GDT", e))
		return -1;
	table[0] = (GPA_TABLES + 0x1000) | 3;
	if (load_bytes(m, GPA_TABLES, table, sizeof(table), "page tables", e))
		return -1;
	for (unsigned i = 0; i < 4; i++)
		table[i] = (GPA_TABLES + 0x2000 + i * 0x1000) | 3;
	if (load_bytes(m, GPA_TABLES + 0x1000, table, sizeof(table), "page tables", e))
		return -1;
	for (u64 i = 0; i < 4; i++) {
		for (u64 j = 0; j < 512; j++)
			table[j] = (i << 30 | j << 21) | 0x83;
		if (load_bytes(m, GPA_TABLES + 0x2000 + i * 0x1000, table, sizeof(table), "page tables", e))
			return -1;
	}
	return 0;
}

static int bzimage_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp,
			struct err *e)
{
	struct bz z;

	bz_read(&b->kernel, &z);
	z.entry = bz_entry(b, &z, e);
	if (z.entry == 16)
		return bzimage_load16(b, m, c, &z, e);
	if (!z.entry || bzimage_place(&b->kernel, m, &z, e) || bz_params(b, m, &z, map, rsdp, e) || bz_tables(m, e) ||
	    load_bytes(m, z.load, b->kernel.data + z.setup_size, b->kernel.size - z.setup_size, "the kernel", e))
		return -1;
	if (z.entry == 64)
		state_flat64(c, BOOT_CS, BOOT_DS, GPA_TABLES, z.load + 0x200);
	else
		state_flat32(c, BOOT_CS, BOOT_DS, z.load);
	c->gdtr = (struct dtable){ GPA_GDT + (z.entry == 64 ? 0 : 32), 31 };
	c->r[RSI] = GPA_PARAMS;
	return 0;
}
