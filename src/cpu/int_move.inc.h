/* SPDX-License-Identifier: Apache-2.0
 * Width template of int_move.c.
 */
#include "cpu/int_width.inc.h"

STORE_INSN(mov_mr, H(get)(c, REG(i)))

int X(mov_rr)(struct cpu *c, const struct insn *i)
{
	H(set)(c, RM(i), H(get)(c, REG(i)));
	return OUT_DONE;
}

LOAD_INSN(mov_rm, (H(set)(c, REG(i), v), OUT_DONE))

int X(mov_rr2)(struct cpu *c, const struct insn *i)
{
	H(set)(c, REG(i), H(get)(c, RM(i)));
	return OUT_DONE;
}

STORE_INSN(mov_mi, (T)i->imm)

int X(mov_ri)(struct cpu *c, const struct insn *i)
{
	H(set)(c, RM(i), (T)i->imm);
	return OUT_DONE;
}

/* A0 to A3: the immediate is the offset. */
int X(mov_ao)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	T v;
	int out = seg_linear(c, i->seg, i->imm & i->amask, BYTES, insn_acc(i, ACC_R), &lin);

	if (likely(!out))
		out = LD(c, lin, &v, insn_acc(i, ACC_R));
	if (likely(!out))
		H(set)(c, RAX, v);
	return out;
}

int X(mov_oa)(struct cpu *c, const struct insn *i)
{
	u64 lin;
	int out = seg_linear(c, i->seg, i->imm & i->amask, BYTES, insn_acc(i, ACC_W), &lin);

	return unlikely(out) ? out : STO(c, lin, H(get)(c, RAX), insn_acc(i, ACC_W));
}

#if W != 8
int X(lea)(struct cpu *c, const struct insn *i)
{
	H(set)(c, REG(i), (T)insn_ea(c, i));
	return OUT_DONE;
}

/* Into a register of this width from a narrower source. */
#define EXTEND(name, from, src, type)                                             \
	LOAD_INSN_FROM(name##_m, from, (H(set)(c, REG(i), (T)(type)v), OUT_DONE)) \
	int X(name##_r)(struct cpu * c, const struct insn *i)                     \
	{                                                                         \
		H(set)(c, REG(i), (T)(type)get_##from(c, i->src));                \
		return OUT_DONE;                                                  \
	}

EXTEND(movzx8, 8, rm8, u8)
EXTEND(movsx8, 8, rm8, s8)
EXTEND(movzx16, 16, rm, u16)
EXTEND(movsx16, 16, rm, s16)
#undef EXTEND

/* CMOVcc reads its source and writes its destination whatever the condition says. */
#define CMOV(name, cc)                                                                                              \
	LOAD_INSN(cmov##name##_m, (H(set)(c, REG(i), flags_cond(cc, c->aflags) ? v : H(get)(c, REG(i))), OUT_DONE)) \
	int X(cmov##name##_r)(struct cpu * c, const struct insn *i)                                                 \
	{                                                                                                           \
		H(set)(c, REG(i), H(get)(c, flags_cond(cc, c->aflags) ? RM(i) : REG(i)));                           \
		return OUT_DONE;                                                                                    \
	}
CONDITIONS(CMOV)
#undef CMOV

int X(movbe_rm)(struct cpu *c, const struct insn *i)
{
	T v;
	int out;

	if (!cpu_has(c, FEAT_MOVBE))
		return cpu_ud(c);
	out = H(load)(c, i, &v);
	if (likely(!out))
		H(set)(c, REG(i), INT_CAT(__builtin_bswap, W)(v));
	return out;
}

int X(movbe_mr)(struct cpu *c, const struct insn *i)
{
	if (!cpu_has(c, FEAT_MOVBE))
		return cpu_ud(c);
	return H(store)(c, i, INT_CAT(__builtin_bswap, W)(H(get)(c, REG(i))));
}
#endif

#if W == 64
LOAD_INSN_FROM(movsxd_m, 32, (c->r[i->reg] = (u64)(s64)(s32)v, OUT_DONE))
#endif

#if W >= 32
int X(bswap)(struct cpu *c, const struct insn *i)
{
	H(set)(c, RM(i), INT_CAT(__builtin_bswap, W)(H(get)(c, RM(i))));
	return OUT_DONE;
}

int X(movnti)(struct cpu *c, const struct insn *i)
{
	if (!cpu_has(c, FEAT_SSE2))
		return cpu_ud(c);
	return H(store)(c, i, H(get)(c, REG(i)));
}
#endif

#include "cpu/int_width_end.inc.h"
