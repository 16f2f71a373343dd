// SPDX-License-Identifier: Apache-2.0
/* The integer families' rows as one table. */
#include "cpu/int.h"

#define ROW(map, opcode, ext, pfx, flags, mem, reg) { map, opcode, ext, pfx, flags, 0, mem, reg },
#define B(f) OPFN_B(x86_##f)
#define SZ(f) OPFN_SZ(x86_##f)
#define Y(f)                                           \
	{                                              \
		NULL, NULL, x86_##f##_32, x86_##f##_64 \
	}
#define W2(f)                                          \
	{                                              \
		NULL, x86_##f##_16, x86_##f##_32, NULL \
	}
#define ALL(f) OPFN_ALL(x86_##f)
#define NONE OPFN_NONE

static const struct optab_row rows[] = {
#include "cpu/int_rows.def"
	{ MAP_0F, 0x01, EXT_ANY, PFX_ANY, 0, 0x1fc, OPFN_NONE, OPFN_ALL(x86_clzero) },
};

const struct optab optab_integer = { "integer", rows, ARRAY_SIZE(rows) };
