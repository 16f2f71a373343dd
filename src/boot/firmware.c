/* SPDX-License-Identifier: Apache-2.0
 * Firmware: a ROM image that ends at 4 GiB, where the processor begins (SDM 3A 10.1.4: 0xfffffff0).
 */
#include "boot/load.h"

#define UNIT 0x10000u
/* The image lies between the local APICs' window and 4 GiB. */
#define SIZE_MAX_ROM (16u << 20)

static int firmware_load(struct boot *b, struct mem *m, struct cpu *c, const struct boot_map *map, u64 rsdp,
			 struct err *e)
{
	(void)b;
	(void)m;
	(void)c;
	(void)map;
	(void)rsdp;
	(void)e;
	return 0;
}

int firmware_check(struct boot *b, struct err *e)
{
	const struct blob *k = &b->kernel;

	if (k->size % UNIT || k->size > SIZE_MAX_ROM)
		return err_set(
		    e,
		    "'%.200s' is no firmware image: it has %llu bytes; a ROM has a multiple of 64 KiB, at most 16 MiB",
		    k->name, (unsigned long long)k->size);
	b->firmware = true;
	b->kind = "firmware";
	b->load = firmware_load;
	return 0;
}
