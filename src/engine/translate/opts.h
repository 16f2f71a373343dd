/* SPDX-License-Identifier: Apache-2.0
 * The optimisations of the engine `translate` by name: what -O takes.
 */
#ifndef ENGINE_TRANSLATE_OPTS_H
#define ENGINE_TRANSLATE_OPTS_H

#include <stdio.h>

#include "base/err.h"

enum opt {
#define OPT(id, name, on, text) OPT_##id,
#include "engine/translate/opts.def"
#undef OPT
	NR_OPTS
};
_Static_assert(NR_OPTS <= 64, "one bit each");

/* A bit for each that is on by default. */
u64 opts_default(void);
/* LIST: "none", "all" or names, each with '-' in front to switch it off; from left to right, on top of the default. -1
 * with a sentence that names what is not known. */
int opts_parse(const char *list, u64 *opts, struct err *e);
/* One line each. */
void opts_help(FILE *f);

#endif
