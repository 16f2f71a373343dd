/* SPDX-License-Identifier: Apache-2.0
 * --verify: now and then a block is run by the interpreter first, its effects are noted and undone, then translated
 * code runs it, and both must agree. For one vCPU; what other agents write meanwhile would count as a difference.
 *
 * Only blocks that can be run twice are looked at: data instructions and branches, RAM, no faults. What translated code
 * writes where the interpreter does not is not seen.
 */
#ifndef ENGINE_TRANSLATE_VERIFY_H
#define ENGINE_TRANSLATE_VERIFY_H

#include "engine/interp/interp.h"

struct verify;

/* Every n-th block that the dispatcher enters. */
struct verify *verify_new(u64 n);
void verify_free(struct verify *v);
/* Is it b's turn, and has the interpreter run it? Then all is as before, and verify_compare() must follow the run of it
 * by translated code. */
bool verify_prepare(struct verify *v, struct cpu *c, struct block *b);
/* True if both agree, or cannot be compared; else the first difference is said in the log. */
bool verify_compare(struct verify *v, struct cpu *c, const struct block *b);

#endif
