/* SPDX-License-Identifier: Apache-2.0
 * The opcode tables: one row an encoding, in the manual's letters. Each family of instructions has its rows at the end
 * of its own source file (or in FAMILY.def beside it) and exports them as one struct optab; decode.c joins them.
 */
#ifndef CPU_OPTAB_H
#define CPU_OPTAB_H

#include "cpu/insn.h"

/* Opcode maps. The VEX maps hold VEX- and EVEX-encoded instructions. */
enum { MAP_1, MAP_0F, MAP_0F38, MAP_0F3A, MAP_VEX_0F, MAP_VEX_0F38, MAP_VEX_0F3A, NR_MAPS };

enum { PFX_ANY = 0xff, PFX_NONE = 0, PFX_66 = 1, PFX_F3 = 2, PFX_F2 = 3 };
#define EXT_ANY 0xff

enum optab_flags {
	OP_BYTE = 1 << 0,	/* operand size 1, whatever the prefixes */
	OP_DEF64 = 1 << 1,	/* 64-bit operand size by default in 64-bit mode (push, pop, near branches) */
	OP_PLUS_R = 1 << 2,	/* register in the opcode's low three bits: eight opcodes from `opcode` on */
	OP_END = 1 << 3,	/* ends a block */
	OP_STRING = 1 << 4,	/* memory by rSI/rDI; rep prefixes count */
	OP_NO64 = 1 << 5,	/* #UD in 64-bit mode */
	OP_ONLY64 = 1 << 6,	/* #UD outside it */
	OP_SIZE_Y = 1 << 7,	/* operand is 4 or 8 bytes (8 only with REX.W/VEX.W); 66 is no size prefix */
	OP_PROT = 1 << 8,	/* #UD in real and virtual-8086 mode */
};

struct optab_row {
	u8 map, opcode, ext, pfx;	/* ext: ModRM.reg demanded, or EXT_ANY; */
	u16 flags;
	u16 modrm;			/* 0, or 0x100 | the exact ModRM byte this row is for (0F 01 D0 and kin) */
	exec_fn *mem[4], *reg[4];	/* by operand size 1, 2, 4, 8; NULL is #UD */
};

struct optab {
	const char *name;
	const struct optab_row *rows;
	size_t n;
};

/* Row makers: A takes the same function for all sizes, S takes name_8 … name_64 per size for memory and register. */
#define OPFN_ALL(f) { f, f, f, f }
#define OPFN_SZ(f) { NULL, f##_16, f##_32, f##_64 }
#define OPFN_B(f) { f##_8, NULL, NULL, NULL }
#define OPFN_NONE { NULL, NULL, NULL, NULL }

extern const struct optab optab_integer, optab_string, optab_control, optab_segment, optab_system;

/* x87, MMX, SSE and up (vector.c): binds i->exec, and i->stub where it has one, for an instruction that no row of the
 * tables above matched. False: not a data instruction that this library knows; the decoder binds exec_ud/exec_unimpl. */
bool vector_bind(struct insn *i, enum cpu_code code);

#endif
