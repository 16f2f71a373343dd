/* SPDX-License-Identifier: Apache-2.0
 * Names of translated code for a debugger that is attached to doppel itself, by gdb's JIT interface.
 */
#ifndef ENGINE_TRANSLATE_CODENAMES_H
#define ENGINE_TRANSLATE_CODENAMES_H

#include "base/base.h"

struct codenames;

/* For code at [code, code + size); NULL without memory. From any thread, as codenames_free(). */
struct codenames *codenames_new(const void *code, size_t size);
void codenames_free(struct codenames *s);
/* The code at [start, start + size) is called name. What is more than there is room for has no name. */
void codenames_add(struct codenames *s, const char *name, const void *start, size_t size);
/* From now on only the first symbols, to the last keep(), are right. */
void codenames_drop(struct codenames *s);
void codenames_keep(struct codenames *s);

#endif
