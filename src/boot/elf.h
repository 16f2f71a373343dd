/* SPDX-License-Identifier: Apache-2.0
 * ELF executables, 32 and 64 bit, little-endian, x86: checked once, then placed by physical address.
 */
#ifndef BOOT_ELF_H
#define BOOT_ELF_H

#include "boot/load.h"

#define ELF_SEGMENTS_MAX 128

struct elf_segment {
	u64 off, vaddr, paddr, filesz, memsz;
};

struct elf {
	bool is64;
	u64 entry;  /* as in the header */
	unsigned n; /* PT_LOAD segments with memsz > 0 */
	struct elf_segment load[ELF_SEGMENTS_MAX];
	unsigned nr_notes;
	struct elf_segment note[ELF_SEGMENTS_MAX];
	u64 shoff; /* section headers, checked to lie in the file; 0 if none */
	u32 shnum, shentsize, shstrndx;
};

bool elf_is(const struct blob *k);
/* 0, or -1 with a sentence for a file that is no x86 executable, is truncated or contradicts itself. */
int elf_parse(const struct blob *k, struct elf *f, struct err *e);
/* Copies every segment and zeroes the rest of it. */
int elf_place(const struct blob *k, const struct elf *f, struct mem *m, struct err *e);
/* [*lo, *hi) covers all segments, physically. */
void elf_extent(const struct elf *f, u64 *lo, u64 *hi);
/* The entry as a physical address: translated if it lies in a segment's virtual range. */
u64 elf_entry_phys(const struct elf *f);

#endif
