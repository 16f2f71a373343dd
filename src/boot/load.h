/* SPDX-License-Identifier: Apache-2.0
 * What the loaders share: file contents, placing bytes in guest memory, processor states.
 */
#ifndef BOOT_LOAD_H
#define BOOT_LOAD_H

#include "boot/boot.h"

struct blob {
	u8 *data;
	u64 size;
	char name[256];
};

#define BOOT_MODULES_MAX 64

struct module {
	struct blob file;
	char *cmdline;
};

struct boot {
	const char *kind;
	int (*load)(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp, struct err *e);
	struct blob kernel; /* or firmware */
	bool firmware;
	bool real_mode; /* entered in real mode */
	unsigned entry; /* boot_request.linux_entry */
	char *append;
	struct module module[BOOT_MODULES_MAX];
	unsigned nr_modules;
	bool many_modules; /* --initrd is a list (multiboot) */
	u64 header;	   /* file offset of the multiboot header */
};

/* Each tries to recognise the kernel: 1 if it is one of its kind and sound (kind and load are set), 0 if it is another
 * kind, -1 with a sentence if it is of this kind but unusable. */
int bzimage_probe(struct boot *b, struct err *e);
int multiboot_probe(struct boot *b, struct err *e);
int multiboot2_probe(struct boot *b, struct err *e);
/* Takes b->kernel as a ROM image: 0, or -1 with a sentence. */
int firmware_check(struct boot *b, struct err *e);
int pvh_probe(struct boot *b, struct err *e);

/* Reads a file or pipe of at most max bytes; what is "kernel" or "initrd". */
int blob_read(struct blob *f, const char *path, const char *what, u64 max, struct err *e);
void blob_free(struct blob *f);
/* Little-endian fields at a file offset; 0 outside the file. */
u16 blob_u16(const struct blob *f, u64 off);
u32 blob_u32(const struct blob *f, u64 off);
u64 blob_u64(const struct blob *f, u64 off);
/* [off, off + len) lies inside the file. */
bool blob_has(const struct blob *f, u64 off, u64 len);

/* The BIOS's services for real mode and their vectors, in page 0 and the last page below 1 MiB, if that is memory. */
int services_place(struct mem *m, const struct boot_map *map, struct err *e);

/* All of [gpa, gpa + len) is one RAM range. */
bool load_fits(struct mem *m, u64 gpa, u64 len);
/* First address past the RAM range that begins at or below 1 MiB and holds it: what lies below 4 GiB. */
u64 load_low_top(struct mem *m);
int load_bytes(struct mem *m, u64 gpa, const void *p, u64 len, const char *what, struct err *e);
int load_zero(struct mem *m, u64 gpa, u64 len, const char *what, struct err *e);

/* Protected mode without paging, flat 4 GiB segments with these selectors, interrupts off, all registers 0. */
void state_flat32(struct cpu *c, u16 code_sel, u16 data_sel, u64 entry);
/* Real mode: CS as said, all other segments base, interrupts off. */
void state_real(struct cpu *c, u16 cs, u16 ip, u16 data_seg, u16 sp);
/* Long mode at CPL 0 with these page tables. */
void state_flat64(struct cpu *c, u16 code_sel, u16 data_sel, u64 cr3, u64 entry);

#endif
