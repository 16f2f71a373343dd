/* SPDX-License-Identifier: Apache-2.0
 * Loaders: take a kernel file apart, put it and what it is told into guest memory, set the bootstrap processor's state
 * as the kernel's boot protocol says. Files are read once, when opened; loading can be repeated (a machine reset).
 * Firmware is loaded by nobody: the board has its ROM, and the processor begins at the reset vector.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "base/err.h"
#include "cpu/cpu.h"
#include "mem/mem.h"

enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };
#define BOOT_MAP_MAX 32

struct boot_map {
	unsigned n;
	struct {
		u64 addr, size;
		u32 type;
	} e[BOOT_MAP_MAX];
};

struct boot_request {
	const char *kernel;   /* file; NULL with firmware */
	const char *firmware; /* file: a ROM image to be started instead of a kernel; NULL: none */
	const char *initrd;   /* file, or for multiboot "file args,file args"; NULL: none */
	const char *append;   /* command line; NULL: empty */
	unsigned linux_entry; /* of a bzImage: 64, 32, 16; 0: the best it has */
	u64 memory;	      /* the machine's: no longer file is read to its end; 0: a few GiB */
};

struct boot;

/* Reads and checks the files. NULL and one sentence when the kernel is none we know, is truncated, or lies. */
struct boot *boot_open(const struct boot_request *r, struct err *e);
void boot_free(struct boot *b);
/* "Linux bzImage, 64-bit protocol" and the like. */
const char *boot_kind(const struct boot *b);
/* The ROM image; NULL if a kernel is loaded. */
const u8 *boot_rom(const struct boot *b, u64 *size);
/* The kernel begins in real mode and may call the BIOS. */
bool boot_bios(const struct boot *b);
/* Into memory and cpu (fresh from reset; its cpu_update_mode() is called). rsdp: where the ACPI tables are, or 0. */
int boot_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp, struct err *e);

#endif
