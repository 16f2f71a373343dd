/* SPDX-License-Identifier: Apache-2.0
 * What the integer families share: the functions named in their rows (int_*.def), and locked memory operations.
 *
 * A row is ROW(map, opcode, ext, pfx, flags, memory form, register form); the forms name the functions by operand size:
 * B(f) is f_8, SZ(f) f_16 f_32 f_64, Y(f) f_32 f_64, W2(f) f_16 f_32, ALL(f) one for all sizes, NONE is #UD.
 */
#ifndef CPU_INT_H
#define CPU_INT_H

#include "cpu/insn.h"
#include "cpu/int_flags.h"
#include "cpu/optab.h"

#define ROW(map, opcode, ext, pfx, flags, mem, reg) mem reg
#define B(f) exec_fn x86_##f##_8;
#define SZ(f) exec_fn x86_##f##_16, x86_##f##_32, x86_##f##_64;
#define Y(f) exec_fn x86_##f##_32, x86_##f##_64;
#define W2(f) exec_fn x86_##f##_16, x86_##f##_32;
#define ALL(f) exec_fn x86_##f;
#define NONE
#include "cpu/int_rows.def"
#undef ROW
#undef B
#undef SZ
#undef Y
#undef W2
#undef ALL
#undef NONE
exec_fn x86_clzero;
#define EXEC_IO(f) exec_fn x86_##f##_8, x86_##f##_16, x86_##f##_32
EXEC_IO(in_imm);
EXEC_IO(in_dx);
EXEC_IO(out_imm);
EXEC_IO(out_dx);
EXEC_IO(ins);
EXEC_IO(outs);
#undef EXEC_IO

/* Computes what replaces a from a, operands b and k, and *f (cpu->aflags), which it updates. Pure otherwise. */
typedef u8 rmw_fn_8(u16 *f, u8 a, u8 b, u8 k);
typedef u16 rmw_fn_16(u16 *f, u16 a, u16 b, u16 k);
typedef u32 rmw_fn_32(u16 *f, u32 a, u32 b, u32 k);
typedef u64 rmw_fn_64(u16 *f, u64 a, u64 b, u64 k);

/* Read-modify-write that missed the TLB or is locked: OUT_DONE with *old and *f set and memory written, OUT_FAULT, or
 * OUT_AGAIN with nothing changed. lin is a checked linear address, acc as from insn_acc(). (int_rmw.c) */
int int_rmw_slow_8(struct cpu *c, u64 lin, unsigned acc, bool lock, rmw_fn_8 *op, u8 b, u8 k, u8 *old, u16 *f);
int int_rmw_slow_16(struct cpu *c, u64 lin, unsigned acc, bool lock, rmw_fn_16 *op, u16 b, u16 k, u16 *old, u16 *f);
int int_rmw_slow_32(struct cpu *c, u64 lin, unsigned acc, bool lock, rmw_fn_32 *op, u32 b, u32 k, u32 *old, u16 *f);
int int_rmw_slow_64(struct cpu *c, u64 lin, unsigned acc, bool lock, rmw_fn_64 *op, u64 b, u64 k, u64 *old, u16 *f);

#endif
