/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_bmi.c: 32 and 64 bits.
 */
#include "cpu/int_width.inc.h"

#define BMI_FORMS(name, feature)                                                                     \
	int X(name##_m)(struct cpu * c, const struct insn *i)                                        \
	{                                                                                            \
		T v;                                                                                 \
		int out;                                                                             \
		if (unlikely(!cpu_has(c, feature)))                                                  \
			return cpu_ud(c);                                                            \
		out = H(load)(c, i, &v);                                                             \
		return unlikely(out) ? out : H(name)(c, i, v);                                       \
	}                                                                                            \
	int X(name##_r)(struct cpu * c, const struct insn *i)                                        \
	{                                                                                            \
		return unlikely(!cpu_has(c, feature)) ? cpu_ud(c) : H(name)(c, i, H(get)(c, i->rm)); \
	}

/* Destination reg; the host instruction's operands in AT&T order: v is the r/m operand, x the VEX.vvvv register. */
#define BMI_FLAGS_OP(name, operands, feature)                                                                          \
	static inline int H(name)(struct cpu * c, const struct insn *i, T v)                                           \
	{                                                                                                              \
		u16 f = c->aflags;                                                                                     \
		T x = H(get)(c, i->vvvv), d;                                                                           \
		asm(FLAGS_LOAD #name " " operands FLAGS_SAVE : [d] "=&r"(d), "+a"(f) : [v] "r"(v), [x] "r"(x) : "cc"); \
		c->aflags = f;                                                                                         \
		H(set)(c, i->reg, d);                                                                                  \
		return OUT_DONE;                                                                                       \
	}                                                                                                              \
	BMI_FORMS(name, feature)
#define BMI_OP(name, operands)                                                  \
	static inline int H(name)(struct cpu * c, const struct insn *i, T v)    \
	{                                                                       \
		T x = H(get)(c, i->vvvv), d;                                    \
		asm(#name " " operands : [d] "=r"(d) : [v] "r"(v), [x] "r"(x)); \
		H(set)(c, i->reg, d);                                           \
		return OUT_DONE;                                                \
	}                                                                       \
	BMI_FORMS(name, FEAT_BMI2)
/* Destination VEX.vvvv. */
#define BMI_GROUP_OP(name)                                                                                  \
	static inline int H(name)(struct cpu * c, const struct insn *i, T v)                                \
	{                                                                                                   \
		u16 f = c->aflags;                                                                          \
		T d;                                                                                        \
		asm(FLAGS_LOAD #name " %[v], %[d]" FLAGS_SAVE : [d] "=&r"(d), "+a"(f) : [v] "r"(v) : "cc"); \
		c->aflags = f;                                                                              \
		H(set)(c, i->vvvv, d);                                                                      \
		return OUT_DONE;                                                                            \
	}                                                                                                   \
	BMI_FORMS(name, FEAT_BMI1)
#define ADX_OP(name)                                                                                       \
	static inline int H(name)(struct cpu * c, const struct insn *i, T v)                               \
	{                                                                                                  \
		u16 f = c->aflags;                                                                         \
		T a = H(get)(c, i->reg);                                                                   \
		asm(FLAGS_LOAD #name " %[v], %[a]" FLAGS_SAVE : [a] "+r"(a), "+a"(f) : [v] "r"(v) : "cc"); \
		c->aflags = f;                                                                             \
		H(set)(c, i->reg, a);                                                                      \
		return OUT_DONE;                                                                           \
	}                                                                                                  \
	BMI_FORMS(name, FEAT_ADX)

BMI_FLAGS_OP(andn, "%[v], %[x], %[d]", FEAT_BMI1)
BMI_FLAGS_OP(bextr, "%[x], %[v], %[d]", FEAT_BMI1)
BMI_FLAGS_OP(bzhi, "%[x], %[v], %[d]", FEAT_BMI2)
BMI_OP(pdep, "%[v], %[x], %[d]")
BMI_OP(pext, "%[v], %[x], %[d]")
BMI_OP(sarx, "%[x], %[v], %[d]")
BMI_OP(shlx, "%[x], %[v], %[d]")
BMI_OP(shrx, "%[x], %[v], %[d]")
BMI_GROUP_OP(blsr)
BMI_GROUP_OP(blsmsk)
BMI_GROUP_OP(blsi)
ADX_OP(adcx)
ADX_OP(adox)

/* If both destinations are one register, it gets the upper half. */
static inline int H(mulx)(struct cpu *c, const struct insn *i, T v)
{
	u128 p = (u128)v * (T)c->r[RDX];

	H(set)(c, i->vvvv, (T)p);
	H(set)(c, i->reg, (T)(p >> W));
	return OUT_DONE;
}
BMI_FORMS(mulx, FEAT_BMI2)

static inline int H(rorx)(struct cpu *c, const struct insn *i, T v)
{
	unsigned n = i->imm & (W - 1);

	H(set)(c, i->reg, (T)(v >> n | v << (-n & (W - 1))));
	return OUT_DONE;
}
BMI_FORMS(rorx, FEAT_BMI2)

#undef BMI_FORMS
#undef BMI_FLAGS_OP
#undef BMI_OP
#undef BMI_GROUP_OP
#undef ADX_OP
#include "cpu/int_width_end.inc.h"
