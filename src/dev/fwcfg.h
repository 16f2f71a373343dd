/* SPDX-License-Identifier: Apache-2.0
 * The fw_cfg device (QEMU's docs/specs/fw_cfg): items that firmware reads by selector, files by name, by port or DMA.
 * Ports 0x510 (selector), 0x511 (data), 0x514 (DMA address, big-endian). Machine lock.
 */
#ifndef DEV_FWCFG_H
#define DEV_FWCFG_H

#include "base/state.h"
#include "dev/dev.h"
#include "mem/mem.h"

#define FWCFG_FILES 64
#define FWCFG_FIRST_FILE 0x20

enum fwcfg_key {
	FWCFG_SIGNATURE = 0x00,
	FWCFG_ID = 0x01,
	FWCFG_UUID = 0x02,
	FWCFG_RAM_SIZE = 0x03,
	FWCFG_NOGRAPHIC = 0x04,
	FWCFG_NB_CPUS = 0x05,
	FWCFG_BOOT_MENU = 0x0e,
	FWCFG_MAX_CPUS = 0x0f,
	FWCFG_FILE_DIR = 0x19,
	FWCFG_ITEMS = FWCFG_FIRST_FILE + FWCFG_FILES,
};

struct fwcfg_item {
	u8 *data;
	u32 len;
	bool writable; /* by DMA */
	bool fresh;    /* made anew whenever it is selected */
};

struct fwcfg {
	struct mem *mem;
	struct fwcfg_item item[FWCFG_ITEMS];
	unsigned files;
	u16 selector;
	u32 offset; /* into the selected item */
	u32 dma_high;
	struct call refresh; /* an item marked fresh is being selected: set it again, of the same length */
};

struct fwcfg *fwcfg_new(struct mem *m, u64 ram_size, unsigned cpus, struct err *e);
void fwcfg_free(struct fwcfg *f);
void fwcfg_reset(struct fwcfg *f);
/* Copies. Replaces what the key or the file had. */
int fwcfg_set(struct fwcfg *f, enum fwcfg_key key, const void *data, u32 len, struct err *e);
int fwcfg_set_file(struct fwcfg *f, const char *name, const void *data, u32 len, bool writable, struct err *e);
/* The file is asked for by `refresh` whenever the guest selects it. */
void fwcfg_mark_fresh(struct fwcfg *f, const char *name);

extern const struct state fwcfg_state;

#endif
