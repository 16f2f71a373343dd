/* SPDX-License-Identifier: Apache-2.0
 * --lockstep: one machine under each of two engines, compared as they go.
 */
#ifndef DEBUG_LOCKSTEP_H
#define DEBUG_LOCKSTEP_H

#include "machine/vm.h"

struct lockstep;

/* cfg is what the user asked for; follow runs what cfg->engine ran before it, about `every` instructions at a time. cfg's
 * inputs are not used. NULL with a sentence. */
struct lockstep *lockstep_new(const struct vm_config *cfg, const struct engine_ops *follow, u64 every, struct err *e);
void lockstep_free(struct lockstep *l);
/* To the end of the guest, or to the first difference, which is told on stderr; the exit status. */
int lockstep_run(struct lockstep *l, struct err *e);
/* The machine that leads: for signals and for what it says at its end. */
struct vm *lockstep_lead(struct lockstep *l);

#endif
