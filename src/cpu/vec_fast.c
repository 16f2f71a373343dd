/* SPDX-License-Identifier: Apache-2.0
 * The handful of SSE moves that guests spend their time in, in C: what they do is a copy, so that the host's own
 * instruction could give no other result.
 */
#include "cpu/vec.h"

#include "cpu/cpuid.h"
#include "cpu/optab.h"

static inline int fast_checks(struct cpu *c, enum feature f)
{
	if (unlikely(!cpu_has(c, f)))
		return cpu_ud(c);
	return vec_gate(c, GATE_SSE);
}

static inline int load16(struct cpu *c, const struct insn *i, enum feature f, bool aligned)
{
	u8 buf[16];
	u64 lin;
	int out = fast_checks(c, f);

	if (unlikely(out))
		return out;
	out = insn_linear(c, i, 16, ACC_R, &lin);
	if (unlikely(out))
		return vec_aligned_first(c, i, aligned ? 16 : 0, out);
	if (aligned && unlikely(lin & 15))
		return cpu_gp(c, 0);
	out = cpu_ld(c, lin, buf, 16, insn_acc(i, 0));
	if (likely(!out))
		memcpy(c->zmm[i->reg].b, buf, 16);
	return out;
}

static inline int store16(struct cpu *c, const struct insn *i, enum feature f, bool aligned)
{
	u64 lin;
	int out = fast_checks(c, f);

	if (unlikely(out))
		return out;
	out = insn_linear(c, i, 16, ACC_W, &lin);
	if (unlikely(out))
		return vec_aligned_first(c, i, aligned ? 16 : 0, out);
	if (aligned && unlikely(lin & 15))
		return cpu_gp(c, 0);
	return cpu_st(c, lin, c->zmm[i->reg].b, 16, insn_acc(i, 0));
}

static inline int copy16(struct cpu *c, enum feature f, unsigned to, unsigned from)
{
	int out = fast_checks(c, f);

	if (likely(!out))
		memmove(c->zmm[to].b, c->zmm[from].b, 16);
	return out;
}

#define MOVES(name, f, aligned)                                              \
	static int exec_##name##_load(struct cpu *c, const struct insn *i)   \
	{                                                                    \
		return load16(c, i, f, aligned);                             \
	}                                                                    \
	static int exec_##name##_store(struct cpu *c, const struct insn *i)  \
	{                                                                    \
		return store16(c, i, f, aligned);                            \
	}                                                                    \
	static int exec_##name##_to_reg(struct cpu *c, const struct insn *i) \
	{                                                                    \
		return copy16(c, f, i->reg, i->rm);                          \
	}                                                                    \
	static int exec_##name##_to_rm(struct cpu *c, const struct insn *i)  \
	{                                                                    \
		return copy16(c, f, i->rm, i->reg);                          \
	}

MOVES(movups, FEAT_SSE, false)
MOVES(movaps, FEAT_SSE, true)
MOVES(movdqu, FEAT_SSE2, false)
MOVES(movdqa, FEAT_SSE2, true)

/* MOVQ xmm, xmm/m64 (F3 0F 7E), MOVQ xmm/m64, xmm (66 0F D6): the upper half of a register becomes zero. */
static int exec_movq_load(struct cpu *c, const struct insn *i)
{
	u64 lin, v = 0;
	int out = fast_checks(c, FEAT_SSE2);

	if (likely(!out))
		out = insn_linear(c, i, 8, ACC_R, &lin);
	if (likely(!out))
		out = cpu_ld64(c, lin, &v, insn_acc(i, 0));
	if (unlikely(out))
		return out;
	c->zmm[i->reg].q[0] = v;
	c->zmm[i->reg].q[1] = 0;
	return OUT_DONE;
}

static int exec_movq_store(struct cpu *c, const struct insn *i)
{
	u64 lin;
	int out = fast_checks(c, FEAT_SSE2);

	if (likely(!out))
		out = insn_linear(c, i, 8, ACC_W, &lin);
	return unlikely(out) ? out : cpu_st64(c, lin, c->zmm[i->reg].q[0], insn_acc(i, 0));
}

static int exec_pxor_reg(struct cpu *c, const struct insn *i)
{
	int out = fast_checks(c, FEAT_SSE2);

	if (unlikely(out))
		return out;
	c->zmm[i->reg].q[0] ^= c->zmm[i->rm].q[0];
	c->zmm[i->reg].q[1] ^= c->zmm[i->rm].q[1];
	return OUT_DONE;
}

static int exec_xorps_reg(struct cpu *c, const struct insn *i)
{
	int out = fast_checks(c, FEAT_SSE);

	if (unlikely(out))
		return out;
	c->zmm[i->reg].q[0] ^= c->zmm[i->rm].q[0];
	c->zmm[i->reg].q[1] ^= c->zmm[i->rm].q[1];
	return OUT_DONE;
}

struct fast_row {
	u8 opcode, pp;
	exec_fn *mem, *reg;
};

static const struct fast_row rows[] = {
	{ 0x10, PFX_NONE, exec_movups_load, exec_movups_to_reg },
	{ 0x11, PFX_NONE, exec_movups_store, exec_movups_to_rm },
	{ 0x10, PFX_66, exec_movdqu_load, exec_movdqu_to_reg }, /* MOVUPD */
	{ 0x11, PFX_66, exec_movdqu_store, exec_movdqu_to_rm },
	{ 0x28, PFX_NONE, exec_movaps_load, exec_movaps_to_reg },
	{ 0x29, PFX_NONE, exec_movaps_store, exec_movaps_to_rm },
	{ 0x28, PFX_66, exec_movdqa_load, exec_movdqa_to_reg }, /* MOVAPD */
	{ 0x29, PFX_66, exec_movdqa_store, exec_movdqa_to_rm },
	{ 0x6f, PFX_F3, exec_movdqu_load, exec_movdqu_to_reg },
	{ 0x7f, PFX_F3, exec_movdqu_store, exec_movdqu_to_rm },
	{ 0x6f, PFX_66, exec_movdqa_load, exec_movdqa_to_reg },
	{ 0x7f, PFX_66, exec_movdqa_store, exec_movdqa_to_rm },
	{ 0x2b, PFX_NONE, exec_movaps_store, NULL }, /* MOVNTPS */
	{ 0x2b, PFX_66, exec_movdqa_store, NULL },   /* MOVNTPD */
	{ 0xe7, PFX_66, exec_movdqa_store, NULL },   /* MOVNTDQ */
	{ 0x7e, PFX_F3, exec_movq_load, NULL },
	{ 0xd6, PFX_66, exec_movq_store, NULL },
	{ 0xef, PFX_66, NULL, exec_pxor_reg },
	{ 0x57, PFX_NONE, NULL, exec_xorps_reg },
};

/* The C function for a legacy-encoded move, or NULL: it goes the general way. */
exec_fn *vec_fast_find(const struct vparse *p)
{
	if (p->enc != ENC_LEGACY || p->map != 1)
		return NULL;
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++)
		if (rows[k].opcode == p->opcode && rows[k].pp == p->pp)
			return p->mem ? rows[k].mem : rows[k].reg;
	return NULL;
}
