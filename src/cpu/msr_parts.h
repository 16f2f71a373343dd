/* SPDX-License-Identifier: Apache-2.0
 * Handlers that msr.c's table names and other files implement. False is #GP(0).
 */
#ifndef CPU_MSR_PARTS_H
#define CPU_MSR_PARTS_H

#include "cpu/msr.h"

typedef bool msr_read_fn(struct cpu *c, u32 idx, u64 *val);
typedef bool msr_write_fn(struct cpu *c, u32 idx, u64 val);

msr_read_fn msr_kvm_clock_read;
msr_write_fn msr_kvm_clock_write, msr_kvm_pv_eoi_write;

#endif
