/* SPDX-License-Identifier: Apache-2.0
 * Deterministic runs: all vCPUs in turn on one thread, time by instruction counts (vm_config.deterministic).
 */
#ifndef MACHINE_DET_H
#define MACHINE_DET_H

#include "base/hash.h"
#include "machine/vm.h"

/* The TSC of such a machine ticks with the VM clock, once a nanosecond; an instruction takes one. A snapshot's has its
 * own rate. */
#define DET_TSC_HZ NS_PER_SEC

/* Before the machine is built: the setup is written or compared. */
int det_begin(struct vm *vm, struct err *e);
/* When it is built: the state before the first instruction likewise. */
int det_built(struct vm *vm, struct err *e);
/* For a snapshot, before it is compared and behind its last section: the rate of its TSC; then what det_built() does.
 */
void det_take_tsc(struct vm *vm, u64 hz);
int det_loaded(struct vm *vm, struct err *e);
/* Instead of threads: to the end. */
void det_run(struct vm *vm, struct err *e);
/* The parts of a turn, for who wants to stand beside it. Before: what has arrived, timers that are due. Both: false
 * when the machine has ended. Behind: the busiest vCPU ran so many instructions. */
bool det_turn_begin(struct vm *vm);
bool det_turn_end(struct vm *vm, u64 ran, struct err *e);
/* How many instructions a vCPU may run in this turn. */
u64 det_budget(struct vm *vm);
/* vCPU v runs at most budget instructions; how many it ran, and why it came back. */
u64 det_slice(struct vcpu *v, u64 budget, enum engine_exit *why);
/* What it counts for where the clock moves on: 0 only if the vCPU waits. */
u64 det_progress(u64 ran, enum engine_exit why);
/* Behind the last turn: the end is hashed, logged or compared. */
void det_end(struct vm *vm);

/* Own vCPU's thread. */
u64 det_tsc(struct vm *vm);
u64 det_wall_ns(struct vm *vm);
/* A device is going to be accessed, which takes its time; what was due by then comes first. Machine lock. */
void det_access(struct vm *vm);

/* The first page of RAM from gpa on that the host keeps anything for, or end: the others are zero. */
u64 vm_next_data(struct vm *vm, u64 gpa, u64 end);
/* All vCPUs' fields and all RAM. Nothing may be running. */
void vm_state_hash(struct vm *vm, struct hash *h);

#endif
