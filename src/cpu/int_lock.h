/* SPDX-License-Identifier: Apache-2.0
 * Where locked operations find their operand.
 */
#ifndef CPU_INT_LOCK_H
#define CPU_INT_LOCK_H

#include "cpu/insn.h"

/* Host address of a locked operand, or NULL: *out says fault, or OUT_DONE when cpu->ops->cmpxchg must be used. */
void *int_pin_locked(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out);

#endif
