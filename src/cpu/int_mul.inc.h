/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_mul.c.
 */
#include "cpu/int_width.inc.h"

/* rAX and rDX as the host instruction needs and leaves them; a byte operation uses AX alone. The guest's flags are
 * loaded because only CF and OF of a product are defined, and nothing of a quotient's. */
#define MUL_OP(name)                                                                               \
	static inline void H(host_##name)(struct cpu * c, T b)                                     \
	{                                                                                          \
		u64 lo = c->r[RAX], hi = c->r[RDX];                                                \
		u16 f = c->aflags;                                                                 \
		asm(FLAGS_LOAD "mov %[lo], %%rax\n\t" #name " %[b]\n\tmov %%rax, %[lo]" FLAGS_SAVE \
		    : [lo] "+&r"(lo), "+&d"(hi), "+a"(f)                                           \
		    : [b] "r"(b)                                                                   \
		    : "cc");                                                                       \
		c->r[RAX] = lo;                                                                    \
		c->r[RDX] = hi;                                                                    \
		c->aflags = f;                                                                     \
	}
MUL_OP(mul)
MUL_OP(imul)
MUL_OP(div)
MUL_OP(idiv)
#undef MUL_OP

#if W == 8
static inline bool H(div_fits)(const struct cpu *c, T b)
{
	return b && (u8)(c->r[RAX] >> 8) < b;
}

static inline bool H(idiv_fits)(const struct cpu *c, S b)
{
	int q;

	if (!b)
		return false;
	q = (s16)c->r[RAX] / b;
	return q == (s8)q;
}
#elif W == 64
static inline bool H(div_fits)(const struct cpu *c, T b)
{
	return c->r[RDX] < b;
}

/* On magnitudes: the quotient fits if it is at most 2^63 when negative, less otherwise. */
static inline bool H(idiv_fits)(const struct cpu *c, S b)
{
	u128 n = (u128)c->r[RDX] << 64 | c->r[RAX];
	bool neg = ((s64)c->r[RDX] < 0) != (b < 0);
	u64 d = b < 0 ? -(u64)b : (u64)b;

	if ((s64)c->r[RDX] < 0)
		n = -n;
	if ((u64)(n >> 64) >= d)
		return false;
	if (likely(!(n >> 64)))
		return (u64)n / d < BIT(63) + neg;
	return (u64)(n / d) < BIT(63) + neg;
}
#else
static inline bool H(div_fits)(const struct cpu *c, T b)
{
	return (T)c->r[RDX] < b;
}

static inline bool H(idiv_fits)(const struct cpu *c, S b)
{
	s64 n = (s64)((u64)(T)c->r[RDX] << W | (T)c->r[RAX]), q;

#if W == 16
	n = (s32)n;
#endif
	if (!b || (b == -1 && n == INT64_MIN))
		return false;
	q = n / b;
	return q == (S)q;
}
#endif

static inline int H(do_mul)(struct cpu *c, T b)
{
	H(host_mul)(c, b);
	return OUT_DONE;
}

static inline int H(do_imul)(struct cpu *c, T b)
{
	H(host_imul)(c, b);
	return OUT_DONE;
}

static inline int H(do_div)(struct cpu *c, T b)
{
	if (unlikely(!H(div_fits)(c, b)))
		return cpu_raise(c, EXC_DE);
	H(host_div)(c, b);
	return OUT_DONE;
}

static inline int H(do_idiv)(struct cpu *c, T b)
{
	if (unlikely(!H(idiv_fits)(c, (S)b)))
		return cpu_raise(c, EXC_DE);
	H(host_idiv)(c, b);
	return OUT_DONE;
}

#define MUL_FORMS(name)                                       \
	LOAD_INSN(name##_m, H(do_##name)(c, v))               \
	int X(name##_r)(struct cpu * c, const struct insn *i) \
	{                                                     \
		return H(do_##name)(c, H(get)(c, RM(i)));     \
	}
MUL_FORMS(mul)
MUL_FORMS(imul)
MUL_FORMS(div)
MUL_FORMS(idiv)
#undef MUL_FORMS

#if W != 8
static inline int H(imul2)(struct cpu *c, const struct insn *i, T a, T b)
{
	u16 f = c->aflags;

	asm(FLAGS_LOAD "imul %[b], %[a]" FLAGS_SAVE : [a] "+r"(a), "+a"(f) : [b] "r"(b) : "cc");
	c->aflags = f;
	H(set)(c, REG(i), a);
	return OUT_DONE;
}

LOAD_INSN(imul_rm, H(imul2)(c, i, H(get)(c, REG(i)), v))

int X(imul_rr)(struct cpu *c, const struct insn *i)
{
	return H(imul2)(c, i, H(get)(c, REG(i)), H(get)(c, RM(i)));
}

LOAD_INSN(imul_rmi, H(imul2)(c, i, v, (T)i->imm))

int X(imul_rri)(struct cpu *c, const struct insn *i)
{
	return H(imul2)(c, i, H(get)(c, RM(i)), (T)i->imm);
}
#endif

#include "cpu/int_width_end.inc.h"
