/* SPDX-License-Identifier: Apache-2.0
 * What the board tells its firmware, as files of fw_cfg: memory, processors, what to boot from, the console, tables.
 */
#ifndef MACHINE_PCFIRMWARE_H
#define MACHINE_PCFIRMWARE_H

#include "dev/fwcfg.h"
#include "machine/acpi.h"

struct pc_firmware_info {
	u64 ram_low, ram_high; /* bytes below and above 4 GiB */
	u16 console;	       /* I/O port of the UART that the user looks at; 0: none */
	unsigned disks;	       /* virtio disks, in the slots from first_disk on; booted from in this order */
	u8 first_disk;
};

int pc_firmware_give(struct fwcfg *f, const struct pc_firmware_info *info, const struct acpi_config *acpi,
		     struct err *e);

#endif
