/* SPDX-License-Identifier: Apache-2.0
 * What both multiboot loaders do alike: the kernel's image, as ELF or by addresses in its header; modules; symbols; the
 * block of information that a kernel is given.
 */
#ifndef BOOT_MBIMAGE_H
#define BOOT_MBIMAGE_H

#include "boot/elf.h"

#define MB_INFO_GPA 0x9000u
#define MB_INFO_END 0x9f000u
#define MB_INFO_MAX (MB_INFO_END - MB_INFO_GPA)

/* The address fields of a header ("a.out kludge"); 0xffffffff as load_addr: the file's first byte. */
struct mb_addresses {
	u32 header_addr, load_addr, load_end_addr, bss_end_addr;
};

/* The kernel as it is to be placed. */
struct mb_image {
	u64 lo, hi, entry; /* physical; moved by mb_image_move() */
	u64 slide;	   /* added to every address */
	bool is_elf;
	struct elf elf;
	u64 off, size; /* otherwise: these bytes of the file go to lo, zeros from there to hi */
};

struct mb_span {
	u32 start, end;
};

struct mb_sections {
	u8 *table; /* section headers with the addresses of what was placed; to be freed; NULL: none */
	u32 n, entsize, shndx;
};

int mb_image_elf(const struct boot *b, struct mb_image *i, struct err *e);
/* header: its offset in the file. */
int mb_image_raw(const struct boot *b, u64 header, const struct mb_addresses *a, struct mb_image *i, struct err *e);
void mb_image_move(struct mb_image *i, u64 lo);
int mb_image_place(const struct boot *b, const struct mb_image *i, struct mem *m, struct err *e);
/* Where modules begin: behind the kernel, above 1 MiB if there is memory. */
u64 mb_modules_from(const struct mb_image *i, struct mem *m);
/* Page-aligned from *end on, which is moved behind them. */
int mb_place_modules(const struct boot *b, struct mem *m, u64 *end, struct mb_span *out, struct err *e);
/* Symbols and strings that no segment loads, behind *end. They are extras: what does not fit is left out. */
void mb_place_sections(const struct boot *b, const struct mb_image *i, struct mem *m, u64 *end,
		       struct mb_sections *out);
/* Where the information goes: MB_INFO_GPA, or behind *end if the kernel lies there. */
u32 mb_info_gpa(const struct mb_image *i, u64 end);
/* KiB from 0 on, and from 1 MiB to the first hole. */
void mb_memory_sizes(const struct boot_map *map, u32 *lower, u32 *upper);

#endif
