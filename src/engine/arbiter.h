/* SPDX-License-Identifier: Apache-2.0
 * Which engine runs a vCPU, and why.
 */
#ifndef ENGINE_ARBITER_H
#define ENGINE_ARBITER_H

#include "engine/engine.h"

/* The engine called name, or for "auto" (and NULL) the best one whose probe succeeds. NULL with one sentence in e when
 * there is no such engine or it does not work here. */
const struct engine_ops *arbiter_choose(const char *name, struct err *e);
/* The n-th engine of this build, best first; NULL past the last. */
const struct engine_ops *arbiter_engine(unsigned n);

#endif
