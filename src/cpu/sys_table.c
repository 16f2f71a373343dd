/* SPDX-License-Identifier: Apache-2.0
 * The rows of the system instructions, and those of extensions that no model offers: they are undefined here because
 * CPUID says so, not because the library forgot them.
 */
#include "cpu/optab.h"
#include "cpu/sys.h"

#define BOTH(map, op, ext, pfx, flags, f) { map, op, ext, pfx, flags, 0, OPFN_ALL(f), OPFN_ALL(f) },
#define MEM(map, op, ext, pfx, flags, f) { map, op, ext, pfx, flags, 0, OPFN_ALL(f), OPFN_NONE },
#define REG(map, op, ext, pfx, flags, f) { map, op, ext, pfx, flags, 0, OPFN_NONE, OPFN_ALL(f) },
#define EXACT(map, op, modrm, pfx, flags, f) { map, op, EXT_ANY, pfx, flags, 0x100 | (modrm), OPFN_NONE, OPFN_ALL(f) },
#define UD_EXACT(modrm) EXACT(MAP_0F, 0x01, modrm, PFX_ANY, OP_END, exec_ud)

static const struct optab_row rows[] = {
#include "cpu/sys.def"
};

const struct optab optab_system = { "system", rows, ARRAY_SIZE(rows) };
