/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_alu.c: the eight two-operand operations, TEST, and the one-operand ones.
 */
#include "cpu/int_width.inc.h"

#define ALU_OP(name)                                                                             \
	static inline T H(name)(u16 * f, T a, T b, T k)                                          \
	{                                                                                        \
		(void)k;                                                                         \
		asm(#name " %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "=a"(*f) : [b] "r"(b) : "cc"); \
		return a;                                                                        \
	}

#define ALU_CARRY_OP(name)                                                                                     \
	static inline T H(name)(u16 * f, T a, T b, T k)                                                        \
	{                                                                                                      \
		(void)k;                                                                                       \
		asm(FLAGS_LOAD_CF #name " %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "+a"(*f) : [b] "r"(b) : "cc"); \
		return a;                                                                                      \
	}

#define ALU_UNARY_OP(name, load)                                                     \
	static inline T H(name)(u16 * f, T a, T b, T k)                              \
	{                                                                            \
		(void)b;                                                             \
		(void)k;                                                             \
		asm(load #name " %[a]" FLAGS_SAVE : [a] "+r"(a), "+a"(*f) : : "cc"); \
		return a;                                                            \
	}

/* The forms: m and r are memory and register by ModRM, the destination first; a the accumulator, i an immediate. */
#define ALU_FORMS(name)                                                 \
	ALU_WRITE_MEM(name)                                             \
	int X(name##_rr)(struct cpu * c, const struct insn *i)          \
	{                                                               \
		return H(rmr)(c, RM(i), H(name), H(get)(c, REG(i)), 0); \
	}                                                               \
	LOAD_INSN(name##_rm, H(rmr)(c, REG(i), H(name), v, 0))          \
	int X(name##_rr2)(struct cpu * c, const struct insn *i)         \
	{                                                               \
		return H(rmr)(c, REG(i), H(name), H(get)(c, RM(i)), 0); \
	}                                                               \
	int X(name##_ai)(struct cpu * c, const struct insn *i)          \
	{                                                               \
		return H(rmr)(c, RAX, H(name), (T)i->imm, 0);           \
	}                                                               \
	int X(name##_ri)(struct cpu * c, const struct insn *i)          \
	{                                                               \
		return H(rmr)(c, RM(i), H(name), (T)i->imm, 0);         \
	}

#define ALU_WRITE_MEM(name)                                \
	RMW_INSN(name##_mr, H(name), H(get)(c, REG(i)), 0) \
	RMW_INSN(name##_mi, H(name), (T)i->imm, 0)

/* CMP and TEST write flags only. */
#define ALU_TEST_OP(name)                                                                      \
	static inline int H(name)(struct cpu * c, T a, T b)                                    \
	{                                                                                      \
		u16 f;                                                                         \
		asm(#name " %[b], %[a]" FLAGS_SAVE : "=a"(f) : [a] "r"(a), [b] "r"(b) : "cc"); \
		c->aflags = f;                                                                 \
		return OUT_DONE;                                                               \
	}                                                                                      \
	LOAD_INSN(name##_mr, H(name)(c, v, H(get)(c, REG(i))))                                 \
	int X(name##_rr)(struct cpu * c, const struct insn *i)                                 \
	{                                                                                      \
		return H(name)(c, H(get)(c, RM(i)), H(get)(c, REG(i)));                        \
	}                                                                                      \
	LOAD_INSN(name##_mi, H(name)(c, v, (T)i->imm))                                         \
	int X(name##_ri)(struct cpu * c, const struct insn *i)                                 \
	{                                                                                      \
		return H(name)(c, H(get)(c, RM(i)), (T)i->imm);                                \
	}                                                                                      \
	int X(name##_ai)(struct cpu * c, const struct insn *i)                                 \
	{                                                                                      \
		return H(name)(c, H(get)(c, RAX), (T)i->imm);                                  \
	}

#define ALU_UNARY_FORMS(name)                                 \
	RMW_INSN(name##_m, H(name), 0, 0)                     \
	int X(name##_r)(struct cpu * c, const struct insn *i) \
	{                                                     \
		return H(rmr)(c, RM(i), H(name), 0, 0);       \
	}

ALU_OP(add)
ALU_OP(or)
ALU_OP(and)
ALU_OP(sub)
ALU_OP(xor)
ALU_CARRY_OP(adc)
ALU_CARRY_OP(sbb)
ALU_UNARY_OP(inc, FLAGS_LOAD_CF)
ALU_UNARY_OP(dec, FLAGS_LOAD_CF)
ALU_UNARY_OP(neg, "")

static inline T H(not )(u16 *f, T a, T b, T k)
{
	(void)f;
	(void)b;
	(void)k;
	return (T)~a;
}

ALU_FORMS(add)
ALU_FORMS(or)
ALU_FORMS(adc)
ALU_FORMS(sbb)
ALU_FORMS(and)
ALU_FORMS(sub)
ALU_FORMS(xor)
ALU_TEST_OP(cmp)
ALU_TEST_OP(test)
ALU_UNARY_FORMS(inc)
ALU_UNARY_FORMS(dec)
ALU_UNARY_FORMS(neg)
ALU_UNARY_FORMS(not )

LOAD_INSN(cmp_rm, H(cmp)(c, H(get)(c, REG(i)), v))

int X(cmp_rr2)(struct cpu *c, const struct insn *i)
{
	return H(cmp)(c, H(get)(c, REG(i)), H(get)(c, RM(i)));
}

#undef ALU_OP
#undef ALU_CARRY_OP
#undef ALU_UNARY_OP
#undef ALU_FORMS
#undef ALU_WRITE_MEM
#undef ALU_TEST_OP
#undef ALU_UNARY_FORMS
#include "cpu/int_width_end.inc.h"
