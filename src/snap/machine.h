/* SPDX-License-Identifier: Apache-2.0
 * The first section of a snapshot: what machine it is of. Every option that shapes the guest's view is in it; a machine
 * that shall take the rest of the file must be of the same shape.
 */
#ifndef SNAP_MACHINE_H
#define SNAP_MACHINE_H

#include "base/state.h"
#include "cpu/cpuid.h"
#include "machine/vm.h"

#define SNAP_MODEL_MAX 256

struct snap_machine {
	u64 memory;
	u32 cpus;
	char model[SNAP_MODEL_MAX]; /* --cpu */
	u64 features[(NR_FEATURES + 63) / 64];
	u64 tsc_hz, xcr0_mask, xss_mask;
	u32 phys_bits, lin_bits;
	u32 apic_bus_hz;
	bool serial[VM_SERIAL_MAX], debugcon, testdev, rng, balloon;
	u32 debug_exit; /* port + 1; 0: none */
	u32 debugcon_port;
	u32 rom_bytes, rom_crc; /* firmware; 0: none */
	u32 nr_disks, nr_ports, nr_nets;
	struct {
		bool readonly, overlay;
		u64 bytes;
		char serial[24];
	} disk[VM_DISKS_MAX];
	struct {
		char name[64]; /* "": a console */
	} port[VM_PORTS_MAX];
};

extern const struct state snap_machine_state;

void snap_machine_of(const struct vm *vm, struct snap_machine *m);
/* Strings end, numbers are in range: -1 and the sentence if not. */
int snap_machine_check(const struct snap_machine *m, struct err *e);
/* Does vm, which is to take the state, have this shape? */
int snap_machine_compare(const struct snap_machine *m, const struct vm *vm, struct err *e);

#endif
