/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_shift.c. A count of zero leaves the loaded flags as they are, by the host's own doing.
 */
#include "cpu/int_width.inc.h"

#define SHIFT_OP(name)                                                                                      \
	static inline T H(name)(u16 * f, T a, T b, T k)                                                     \
	{                                                                                                   \
		(void)k;                                                                                    \
		asm(FLAGS_LOAD #name " %%cl, %[a]" FLAGS_SAVE : [a] "+r"(a), "+a"(*f) : "c"((u8)b) : "cc"); \
		return a;                                                                                   \
	}                                                                                                   \
	RMW_INSN(name##_m1, H(name), 1, 0)                                                                  \
	int X(name##_r1)(struct cpu * c, const struct insn *i)                                              \
	{                                                                                                   \
		return H(rmr)(c, RM(i), H(name), 1, 0);                                                     \
	}                                                                                                   \
	RMW_INSN(name##_mc, H(name), (u8)c->r[RCX], 0)                                                      \
	int X(name##_rc)(struct cpu * c, const struct insn *i)                                              \
	{                                                                                                   \
		return H(rmr)(c, RM(i), H(name), (u8)c->r[RCX], 0);                                         \
	}                                                                                                   \
	RMW_INSN(name##_mi, H(name), (u8)i->imm, 0)                                                         \
	int X(name##_ri)(struct cpu * c, const struct insn *i)                                              \
	{                                                                                                   \
		return H(rmr)(c, RM(i), H(name), (u8)i->imm, 0);                                            \
	}

SHIFT_OP(rol)
SHIFT_OP(ror)
SHIFT_OP(rcl)
SHIFT_OP(rcr)
SHIFT_OP(shl)
SHIFT_OP(shr)
SHIFT_OP(sar)

#if W != 8
#define SHIFT_DOUBLE_OP(name)                                                       \
	static inline T H(name)(u16 * f, T a, T b, T k)                             \
	{                                                                           \
		asm(FLAGS_LOAD #name " %%cl, %[b], %[a]" FLAGS_SAVE                 \
		    : [a] "+r"(a), "+a"(*f)                                         \
		    : [b] "r"(b), "c"((u8)k)                                        \
		    : "cc");                                                        \
		return a;                                                           \
	}                                                                           \
	RMW_INSN(name##_mc, H(name), H(get)(c, REG(i)), (u8)c->r[RCX])              \
	int X(name##_rc)(struct cpu * c, const struct insn *i)                      \
	{                                                                           \
		return H(rmr)(c, RM(i), H(name), H(get)(c, REG(i)), (u8)c->r[RCX]); \
	}                                                                           \
	RMW_INSN(name##_mi, H(name), H(get)(c, REG(i)), (u8)i->imm)                 \
	int X(name##_ri)(struct cpu * c, const struct insn *i)                      \
	{                                                                           \
		return H(rmr)(c, RM(i), H(name), H(get)(c, REG(i)), (u8)i->imm);    \
	}

SHIFT_DOUBLE_OP(shld)
SHIFT_DOUBLE_OP(shrd)
#undef SHIFT_DOUBLE_OP
#endif

#undef SHIFT_OP
#include "cpu/int_width_end.inc.h"
