/* SPDX-License-Identifier: Apache-2.0
 * What the translator tells of its work: which instructions go to the library, guest and host code side by side, names
 * for perf and gdb.
 */
#ifndef ENGINE_TRANSLATE_REPORT_H
#define ENGINE_TRANSLATE_REPORT_H

#include <stdio.h>

#include "engine/engine.h"
#include "engine/interp/interp.h"

struct translate;
struct report;

/* NULL with a sentence if a file cannot be written. */
struct report *report_new(struct translate *t, const struct engine_options *o, struct err *e);
/* The code memory is there: for what names it by address. */
int report_code(struct report *r, const struct engine_options *o, struct err *e);
/* All code is gone but that of report_thunk(). */
void report_flushed(struct report *r);
void report_free(struct report *r);
/* The library executes i, from translated code. */
void report_handed(struct report *r, const struct insn *i);
/* engine_ops.report */
void report_list(const struct report *r, engine_report_fn *fn, void *opaque);

/* Host code for b is at [start, end); at[k] is where instruction k begins, at[n] where the rarely taken paths do. */
void report_block(struct report *r, const struct block *b, u8 *const *at, const u8 *start, const u8 *end);
/* Code that serves all blocks. */
void report_thunk(struct report *r, const char *name, const u8 *start, const u8 *end);

#endif
