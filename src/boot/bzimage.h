/* SPDX-License-Identifier: Apache-2.0
 * The setup header of a Linux kernel, and what its three entries have in common.
 */
#ifndef BOOT_BZIMAGE_H
#define BOOT_BZIMAGE_H

#include "boot/load.h"

enum {
	HDR_CMDLINE_MAGIC = 0x20, /* before protocol 2.02 */
	HDR_CMDLINE_OFFSET = 0x22,
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP = 0x201,
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_TYPE_OF_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_SETUP_MOVE_SIZE = 0x212,
	HDR_CODE32_START = 0x214,
	HDR_RAMDISK_IMAGE = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_HEAP_END_PTR = 0x224,
	HDR_CMD_LINE_PTR = 0x228,
	HDR_INITRD_ADDR_MAX = 0x22c,
	HDR_KERNEL_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
};

#define MAGIC_HDRS 0x53726448 /* "HdrS" */
#define LOADED_HIGH 1
#define CAN_USE_HEAP 0x80
#define XLF_KERNEL_64 1

struct bz {
	u64 setup_size; /* bytes before the protected-mode part */
	u16 version;
	bool has64, has32;
	unsigned entry;	     /* 64, 32, 16 */
	u64 load, init_size; /* where it goes, and how much from there on it needs at once */
};

static inline void bz_put(u8 *page, unsigned off, u64 val, unsigned size)
{
	memcpy(page + off, &val, size);
}

int bzimage_place(const struct blob *k, struct mem *m, struct bz *z, struct err *e);
/* Places the initrd and writes its fields in the header's copy. */
int bzimage_initrd(struct boot *b, struct mem *m, const struct bz *z, u8 *params, struct err *e);
int bzimage_load16(struct boot *b, struct mem *m, struct cpu *c, struct bz *z, struct err *e);

#endif
