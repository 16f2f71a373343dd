/* SPDX-License-Identifier: Apache-2.0
 * Names for guest addresses, from a System.map (or /proc/kallsyms) or an ELF file's symbol table.
 */
#ifndef DEBUG_SYMBOLS_H
#define DEBUG_SYMBOLS_H

#include "base/err.h"

struct symbols;

/* Reads FILE, whichever of the two it is; NULL with a sentence in e. */
struct symbols *symbols_load(const char *file, struct err *e);
void symbols_free(struct symbols *s);
size_t symbols_count(const struct symbols *s);
/* The name of the symbol that addr lies in and the distance from its start; NULL when none is near. s may be NULL. */
const char *symbols_find(const struct symbols *s, u64 addr, u64 *offset);
bool symbols_lookup(const struct symbols *s, const char *name, u64 *addr);

#endif
