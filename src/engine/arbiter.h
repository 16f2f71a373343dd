/* SPDX-License-Identifier: Apache-2.0
 * Which engine runs a vCPU, and why.
 */
#ifndef ENGINE_ARBITER_H
#define ENGINE_ARBITER_H

#include "engine/engine.h"

/* What the choice of "auto" depends on besides the host. */
struct arbiter_needs {
	bool counting;	       /* instructions must be counted: no engine that is timed */
	const char *cpu_model; /* which the engine must be able to keep; NULL: any */
	unsigned cpus;
	const u64 *features; /* a snapshot's CPU, which the model must come to; NULL: any */
	u32 apic_bus_hz;     /* what its guest was told of the APIC timers; 0: nothing */
	const struct engine_options *options; /* may be NULL */
};

/* The engine called name, or for "auto" (and NULL) the best one whose probe succeeds. NULL with one sentence in e when
 * there is no such engine or it does not work here. */
const struct engine_ops *arbiter_choose(const char *name, struct err *e);
/* The same with needs; passed->text says why "auto" passed over the best engine, or is empty. */
const struct engine_ops *arbiter_choose_for(const char *name, const struct arbiter_needs *needs, struct err *passed,
					    struct err *e);
/* The n-th engine of this build, best first; NULL past the last. */
const struct engine_ops *arbiter_engine(unsigned n);

#endif
