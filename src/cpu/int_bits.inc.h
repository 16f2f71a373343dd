/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_bits.c.
 */
#include "cpu/int_width.inc.h"

/* A register names a bit of the string that begins at the effective address, up to 2^(W-1) bits to either side; the
 * operand is the naturally aligned-in-string unit that holds it (SDM 2, 3.1.1.9 "Bit(BitBase, BitOffset)"). */
static inline int H(bit_linear)(struct cpu *c, const struct insn *i, S bit, unsigned acc, u64 *lin)
{
	s64 unit = (s64)bit >> (W == 16 ? 4 : W == 32 ? 5 : 6);
	u64 off = (insn_ea(c, i) + (u64)(unit * BYTES)) & i->amask;

	return seg_linear(c, i->seg, off, BYTES, insn_acc(i, acc), lin);
}

#define BIT_OP(name)                                                                                        \
	static inline T H(name)(u16 * f, T a, T b, T k)                                                     \
	{                                                                                                   \
		(void)k;                                                                                    \
		asm(FLAGS_LOAD #name " %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "+a"(*f) : [b] "r"(b) : "cc"); \
		return a;                                                                                   \
	}                                                                                                   \
	int X(name##_rr)(struct cpu * c, const struct insn *i)                                              \
	{                                                                                                   \
		return H(rmr)(c, RM(i), H(name), H(get)(c, REG(i)), 0);                                     \
	}                                                                                                   \
	int X(name##_ri)(struct cpu * c, const struct insn *i)                                              \
	{                                                                                                   \
		return H(rmr)(c, RM(i), H(name), (T)i->imm, 0);                                             \
	}

#define BIT_OP_MEM(name)                                                                                              \
	int X(name##_mr)(struct cpu * c, const struct insn *i)                                                        \
	{                                                                                                             \
		u64 lin;                                                                                              \
		u16 f = c->aflags;                                                                                    \
		T bit = H(get)(c, REG(i)), old;                                                                       \
		int out = H(bit_linear)(c, i, (S)bit, ACC_W, &lin);                                                   \
		if (likely(!out))                                                                                     \
			out = H(rmw_at)(c, lin, insn_acc(i, ACC_W), i->flags & INSN_LOCK, H(name), bit, 0, &old, &f); \
		if (likely(!out))                                                                                     \
			c->aflags = f;                                                                                \
		return out;                                                                                           \
	}                                                                                                             \
	RMW_INSN(name##_mi, H(name), (T)i->imm, 0)

BIT_OP(bts)
BIT_OP(btr)
BIT_OP(btc)
BIT_OP_MEM(bts)
BIT_OP_MEM(btr)
BIT_OP_MEM(btc)

static inline int H(bt)(struct cpu *c, T a, T b)
{
	u16 f = c->aflags;

	asm(FLAGS_LOAD "bt %[b], %[a]" FLAGS_SAVE : "+a"(f) : [a] "r"(a), [b] "r"(b) : "cc");
	c->aflags = f;
	return OUT_DONE;
}

int X(bt_rr)(struct cpu *c, const struct insn *i)
{
	return H(bt)(c, H(get)(c, RM(i)), H(get)(c, REG(i)));
}

int X(bt_ri)(struct cpu *c, const struct insn *i)
{
	return H(bt)(c, H(get)(c, RM(i)), (T)i->imm);
}

int X(bt_mr)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	T v, bit = H(get)(c, REG(i));
	int out = H(bit_linear)(c, i, (S)bit, ACC_R, &lin);

	if (likely(!out))
		out = LD(c, lin, &v, insn_acc(i, ACC_R));
	return unlikely(out) ? out : H(bt)(c, v, bit);
}

LOAD_INSN(bt_mi, H(bt)(c, v, (T)i->imm))

/* The destination goes in and out with its whole register: a zero source leaves what this silicon leaves. */
#define SCAN_OP(name)                                                                 \
	static inline int H(name)(struct cpu * c, const struct insn *i, T b)          \
	{                                                                             \
		u16 f = c->aflags;                                                    \
		u64 a = c->r[i->reg], src = b;                                        \
		asm(FLAGS_LOAD #name " %" SCAN_MOD "[b], %" SCAN_MOD "[a]" FLAGS_SAVE \
		    : [a] "+r"(a), "+a"(f)                                            \
		    : [b] "r"(src)                                                    \
		    : "cc");                                                          \
		c->r[i->reg] = a;                                                     \
		c->aflags = f;                                                        \
		return OUT_DONE;                                                      \
	}
#if W == 16
#define SCAN_MOD "w"
#elif W == 32
#define SCAN_MOD "k"
#else
#define SCAN_MOD "q"
#endif
SCAN_OP(bsf)
SCAN_OP(bsr)
SCAN_OP(tzcnt)
SCAN_OP(lzcnt)
SCAN_OP(popcnt)
#undef SCAN_OP
#undef SCAN_MOD

#define SCAN_FORMS(name, run)                                 \
	LOAD_INSN(name##_m, run(c, i, v))                     \
	int X(name##_r)(struct cpu * c, const struct insn *i) \
	{                                                     \
		return run(c, i, H(get)(c, RM(i)));           \
	}

/* On a processor without them, F3 is ignored before BSF and BSR. */
static inline int H(tzcnt_or_bsf)(struct cpu *c, const struct insn *i, T b)
{
	return likely(cpu_has(c, FEAT_BMI1)) ? H(tzcnt)(c, i, b) : H(bsf)(c, i, b);
}

static inline int H(lzcnt_or_bsr)(struct cpu *c, const struct insn *i, T b)
{
	return likely(cpu_has(c, FEAT_LZCNT)) ? H(lzcnt)(c, i, b) : H(bsr)(c, i, b);
}

SCAN_FORMS(bsf, H(bsf))
SCAN_FORMS(bsr, H(bsr))
SCAN_FORMS(tzcnt, H(tzcnt_or_bsf))
SCAN_FORMS(lzcnt, H(lzcnt_or_bsr))

int X(popcnt_m)(struct cpu *c, const struct insn *i)
{
	T v;
	int out;

	if (unlikely(!cpu_has(c, FEAT_POPCNT)))
		return cpu_ud(c);
	out = H(load)(c, i, &v);
	return unlikely(out) ? out : H(popcnt)(c, i, v);
}

int X(popcnt_r)(struct cpu *c, const struct insn *i)
{
	return unlikely(!cpu_has(c, FEAT_POPCNT)) ? cpu_ud(c) : H(popcnt)(c, i, H(get)(c, RM(i)));
}

#undef BIT_OP
#undef BIT_OP_MEM
#undef SCAN_FORMS
#include "cpu/int_width_end.inc.h"
