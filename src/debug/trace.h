/* SPDX-License-Identifier: Apache-2.0
 * --trace: one line an event, with the place in symbols where they are known.
 */
#ifndef DEBUG_TRACE_H
#define DEBUG_TRACE_H

#include <stdio.h>

#include "base/err.h"
#include "cpu/cpu.h"
#include "debug/symbols.h"

struct trace;

/* Turns "exceptions,cr,…" or "all" into a mask of 1 << enum trace_kind; -1 with a sentence for an unknown name. */
int trace_parse(const char *list, u32 *mask, struct err *e);
/* Lines go to file (stderr when NULL); symbols may be NULL and stay the caller's. */
struct trace *trace_new(const char *file, const struct symbols *syms, struct err *e);
void trace_free(struct trace *t);
/* What struct cpu_ops.trace should call; any vCPU's thread. Lines of different vCPUs do not mix. */
void trace_event(struct trace *t, const struct cpu *c, enum trace_kind kind, u64 a, u64 b, u64 x);

#endif
