/* SPDX-License-Identifier: Apache-2.0
 * System instructions that translated code calls past hand_over(): the frequent case of each, without the checks that
 * 64-bit mode and a quiet machine make needless. Whatever is not that case goes to hand_over().
 */
#ifndef ENGINE_CROSS_H
#define ENGINE_CROSS_H

#include "engine/translate/translate.h"

enum cross { CROSS_SYSCALL, CROSS_SYSRET, NR_CROSS };
_Static_assert(NR_CROSS <= MAX_CROSS, "translate.h keeps their thunks");

typedef struct left cross_fn(struct cpu *c, u64 at);

/* As hand_over(), in 64-bit mode. */
extern cross_fn *const cross_functions[NR_CROSS];

/* Which of them executes i, or -1. */
int cross_find(const struct translate *t, const struct insn *i);

#endif
