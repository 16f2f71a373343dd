/* SPDX-License-Identifier: Apache-2.0
 * Names and forms of the files: QEMU's docs/specs/fw_cfg, SeaBIOS's docs/Runtime_config.
 */
#include "machine/pcfirmware.h"

#include <stdio.h>

#define GIB_4 0x100000000ull

/* Address, size, type (1: RAM), 20 bytes each. */
static int give_memory(struct fwcfg *f, const struct pc_firmware_info *info, struct err *e)
{
	struct {
		u64 addr, size;
		u32 type;
	} __attribute__((packed)) map[2] = { { 0, info->ram_low, 1 }, { GIB_4, info->ram_high, 1 } };

	return fwcfg_set_file(f, "etc/e820", map, info->ram_high ? sizeof(map) : sizeof(map[0]), false, e);
}

/* A number is read as little-endian, whatever its length. */
static int give_number(struct fwcfg *f, const char *name, u64 v, u32 len, struct err *e)
{
	return fwcfg_set_file(f, name, &v, len, false, e);
}

static int give_order(struct fwcfg *f, const struct pc_firmware_info *info, struct err *e)
{
	char text[2048] = "";
	size_t len = 0;

	for (unsigned i = 0; i < info->disks; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "/pci@i0cf8/scsi@%x/disk@0,0\n",
					info->first_disk + i);
	return len ? fwcfg_set_file(f, "bootorder", text, (u32)len + 1, false, e) : 0;
}

int pc_firmware_give(struct fwcfg *f, const struct pc_firmware_info *info, const struct acpi_config *acpi,
		     struct err *e)
{
	/* S0 to S5: bit 7 says that the state exists. */
	static const u8 sleep_states[6] = { 0x80, 0, 0, 0, 0, 0x80 };

	if (give_memory(f, info, e) || give_order(f, info, e) || give_number(f, "etc/boot-cpus", acpi->cpus, 2, e) ||
	    give_number(f, "etc/irq0-override", 1, 1, e) || /* the timer is at pin 2 of the I/O APIC */
	    fwcfg_set_file(f, "etc/system-states", sleep_states, sizeof(sleep_states), false, e))
		return -1;
	if (info->console && give_number(f, "etc/sercon-port", info->console, 2, e))
		return -1;
	if (acpi_give(f, acpi, e) || smbios_give(f, acpi, e))
		return -1;
	fwcfg_mark_fresh(f, "etc/acpi/tables");
	return 0;
}
