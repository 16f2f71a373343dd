/* SPDX-License-Identifier: Apache-2.0
 * Deterministic runs: all vCPUs in turn on one thread, time by instruction counts (vm_config.deterministic).
 */
#ifndef MACHINE_DET_H
#define MACHINE_DET_H

#include "base/hash.h"
#include "machine/vm.h"

/* The TSC of such a machine ticks with the VM clock, once a nanosecond; an instruction takes one. */
#define DET_TSC_HZ NS_PER_SEC

/* Before the machine is built: the setup is written or compared. */
int det_begin(struct vm *vm, struct err *e);
/* When it is built: the state before the first instruction likewise. */
int det_built(struct vm *vm, struct err *e);
/* Instead of threads: to the end. */
void det_run(struct vm *vm, struct err *e);
/* One turn of every vCPU, and what comes before it; false when the machine has ended. */
bool det_turn(struct vm *vm, struct err *e);
/* vCPU v runs at most budget instructions; how many it ran, 0 if it waits. */
u64 det_slice(struct vcpu *v, u64 budget);

/* Own vCPU's thread. */
u64 det_tsc(struct vm *vm);
u64 det_wall_ns(struct vm *vm);
/* A device is going to be accessed, which takes its time; what was due by then comes first. Machine lock. */
void det_access(struct vm *vm);

/* All vCPUs' fields and all RAM. Nothing may be running. */
void vm_state_hash(struct vm *vm, struct hash *h);

#endif
