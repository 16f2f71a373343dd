// SPDX-License-Identifier: Apache-2.0
/* MOV, the extending and conditional moves, SETcc, LEA, MOVBE, BSWAP, MOVNTI, XLAT and the conversions of rAX. */
#include "cpu/cpuid.h"
#include "cpu/int.h"

#define W 8
#include "cpu/int_move.inc.h"
#define W 16
#include "cpu/int_move.inc.h"
#define W 32
#include "cpu/int_move.inc.h"
#define W 64
#include "cpu/int_move.inc.h"

#define SETCC(name, cc)                                              \
	int x86_set##name##_m_8(struct cpu *c, const struct insn *i) \
	{                                                            \
		return store_8(c, i, flags_cond(cc, c->aflags));     \
	}                                                            \
	int x86_set##name##_r_8(struct cpu *c, const struct insn *i) \
	{                                                            \
		set_8(c, i->rm8, flags_cond(cc, c->aflags));         \
		return OUT_DONE;                                     \
	}
CONDITIONS(SETCC)
#undef SETCC

/* MOVSXD: with operand size 16 or 32 nothing is extended. */
int x86_movsxd_r_64(struct cpu *c, const struct insn *i)
{
	c->r[i->reg] = (u64)(s64)(s32)c->r[i->rm];
	return OUT_DONE;
}

int x86_movsxd_m_32(struct cpu *c, const struct insn *i)
{
	return x86_mov_rm_32(c, i);
}

int x86_movsxd_r_32(struct cpu *c, const struct insn *i)
{
	return x86_mov_rr2_32(c, i);
}

int x86_movsxd_m_16(struct cpu *c, const struct insn *i)
{
	return x86_mov_rm_16(c, i);
}

int x86_movsxd_r_16(struct cpu *c, const struct insn *i)
{
	return x86_mov_rr2_16(c, i);
}

/* Undefined by the manual: what this silicon does. */
int x86_bswap_16(struct cpu *c, const struct insn *i)
{
	u64 v = c->r[i->rm];

	asm("mov %0, %%rax\n\t.byte 0x66, 0x0f, 0xc8\n\tmov %%rax, %0" : "+r"(v) : : "rax", "cc");
	c->r[i->rm] = v;
	return OUT_DONE;
}

int x86_xlat_8(struct cpu *c, const struct insn *i)
{
	u64 lin;
	u8 v;
	int out = seg_linear(c, i->seg, (c->r[RBX] + (u8)c->r[RAX]) & i->amask, 1, insn_acc(i, ACC_R), &lin);

	if (likely(!out))
		out = cpu_ld8(c, lin, &v, insn_acc(i, ACC_R));
	if (likely(!out))
		set_8(c, RAX, v);
	return out;
}

int x86_cbw_16(struct cpu *c, const struct insn *i)
{
	(void)i;
	set_16(c, RAX, (u16)(s8)c->r[RAX]);
	return OUT_DONE;
}

int x86_cbw_32(struct cpu *c, const struct insn *i)
{
	(void)i;
	set_32(c, RAX, (u32)(s16)c->r[RAX]);
	return OUT_DONE;
}

int x86_cbw_64(struct cpu *c, const struct insn *i)
{
	(void)i;
	c->r[RAX] = (u64)(s64)(s32)c->r[RAX];
	return OUT_DONE;
}

int x86_cwd_16(struct cpu *c, const struct insn *i)
{
	(void)i;
	set_16(c, RDX, (u16)((s16)c->r[RAX] >> 15));
	return OUT_DONE;
}

int x86_cwd_32(struct cpu *c, const struct insn *i)
{
	(void)i;
	set_32(c, RDX, (u32)((s32)c->r[RAX] >> 31));
	return OUT_DONE;
}

int x86_cwd_64(struct cpu *c, const struct insn *i)
{
	(void)i;
	c->r[RDX] = (u64)((s64)c->r[RAX] >> 63);
	return OUT_DONE;
}
