// SPDX-License-Identifier: Apache-2.0
/* Decimal adjustment, BOUND, SALC, and the instructions on single flags. SDM 2A; flags the manual leaves undefined are
 * those seen on silicon in a 32-bit code segment. */
#include "cpu/cpuid.h"
#include "cpu/int.h"

/* The adjustments are additions and subtractions to this silicon, flags and all: of AL, or of AX before AAA and AAS
 * clear AL's high digit. CF and AF are then as the manual says. */
#define ADJUST(name, bits)                                                                                 \
	static u##bits adjust_##name##_##bits(struct cpu *c, u##bits a, u##bits by)                        \
	{                                                                                                  \
		asm(#name " %[by], %[a]" FLAGS_SAVE : [a] "+r"(a), "=a"(c->aflags) : [by] "r"(by) : "cc"); \
		return a;                                                                                  \
	}
ADJUST(add, 8)
ADJUST(sub, 8)
ADJUST(add, 16)
ADJUST(sub, 16)
#undef ADJUST

static void set_cf_af(struct cpu *c, bool cf, bool af)
{
	c->aflags = (u16)((c->aflags & ~(AF_CF | AF_AF)) | (cf ? AF_CF : 0) | (af ? AF_AF : 0));
}

static void set_al(struct cpu *c, u8 al)
{
	c->r[RAX] = (c->r[RAX] & ~0xffull) | al;
}

static void set_ax(struct cpu *c, unsigned ax)
{
	c->r[RAX] = (c->r[RAX] & ~0xffffull) | (ax & 0xffff);
}

int x86_daa_8(struct cpu *c, const struct insn *i)
{
	u8 al = (u8)c->r[RAX];
	bool af = (al & 15) > 9 || (c->aflags & AF_AF), cf = al > 0x99 || (c->aflags & AF_CF);

	(void)i;
	set_al(c, adjust_add_8(c, al, (u8)((af ? 6 : 0) + (cf ? 0x60 : 0))));
	set_cf_af(c, cf, af);
	return OUT_DONE;
}

/* A borrow from the low digit sets CF, too. */
int x86_das_8(struct cpu *c, const struct insn *i)
{
	u8 al = (u8)c->r[RAX];
	bool af = (al & 15) > 9 || (c->aflags & AF_AF), cf = al > 0x99 || (c->aflags & AF_CF);

	(void)i;
	set_al(c, adjust_sub_8(c, al, (u8)((af ? 6 : 0) + (cf ? 0x60 : 0))));
	set_cf_af(c, cf || (af && al < 6), af);
	return OUT_DONE;
}

int x86_aaa_8(struct cpu *c, const struct insn *i)
{
	u16 ax = (u16)c->r[RAX];
	bool adjust = (ax & 15) > 9 || (c->aflags & AF_AF);

	(void)i;
	ax = adjust_add_16(c, ax, adjust ? 0x106 : 0);
	set_cf_af(c, adjust, adjust);
	set_ax(c, ax & 0xff0f);
	return OUT_DONE;
}

int x86_aas_8(struct cpu *c, const struct insn *i)
{
	u16 ax = (u16)c->r[RAX];
	bool adjust = (ax & 15) > 9 || (c->aflags & AF_AF);

	(void)i;
	ax = adjust_sub_16(c, ax, adjust ? 0x106 : 0);
	set_cf_af(c, adjust, adjust);
	set_ax(c, ax & 0xff0f);
	return OUT_DONE;
}

int x86_aam_8(struct cpu *c, const struct insn *i)
{
	u8 al = (u8)c->r[RAX], base = (u8)i->imm;

	if (!base)
		return cpu_raise(c, EXC_DE);
	set_ax(c, (unsigned)(al / base) << 8 | al % base);
	adjust_add_8(c, al % base, 0);
	return OUT_DONE;
}

int x86_aad_8(struct cpu *c, const struct insn *i)
{
	u8 high = (u8)((u8)(c->r[RAX] >> 8) * (u8)i->imm);

	set_ax(c, adjust_add_8(c, (u8)c->r[RAX], high));
	return OUT_DONE;
}

int x86_salc_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	set_al(c, c->aflags & AF_CF ? 0xff : 0);
	return OUT_DONE;
}

static int bound(struct cpu *c, s64 index, s64 lower, s64 upper)
{
	return index < lower || index > upper ? cpu_raise(c, EXC_BR) : OUT_DONE;
}

int x86_bound_16(struct cpu *c, const struct insn *i)
{
	u64 lin;
	s16 b[2];
	int out = insn_linear(c, i, sizeof(b), ACC_R, &lin);

	if (!out)
		out = cpu_ld(c, lin, b, sizeof(b), insn_acc(i, ACC_R));
	return out ? out : bound(c, (s16)c->r[i->reg], b[0], b[1]);
}

int x86_bound_32(struct cpu *c, const struct insn *i)
{
	u64 lin;
	s32 b[2];
	int out = insn_linear(c, i, sizeof(b), ACC_R, &lin);

	if (!out)
		out = cpu_ld(c, lin, b, sizeof(b), insn_acc(i, ACC_R));
	return out ? out : bound(c, (s32)c->r[i->reg], b[0], b[1]);
}

/* ---- flags -------------------------------------------------------------------------------------------------- */

int x86_lahf_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (c->d.code == CODE64 && !cpu_has(c, FEAT_LAHF_LM))
		return cpu_ud(c);
	((u8 *)c->r)[1] = (u8)(c->aflags >> 8);
	return OUT_DONE;
}

int x86_sahf_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (c->d.code == CODE64 && !cpu_has(c, FEAT_LAHF_LM))
		return cpu_ud(c);
	c->aflags = (u16)((c->r[RAX] & 0xd500) | 0x0200 | (c->aflags & AF_OF));
	return OUT_DONE;
}

int x86_clc_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	c->aflags &= (u16)~AF_CF;
	return OUT_DONE;
}

int x86_stc_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	c->aflags |= AF_CF;
	return OUT_DONE;
}

int x86_cmc_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	c->aflags ^= AF_CF;
	return OUT_DONE;
}

int x86_cld_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	c->rflags &= ~(u32)FLAG_DF;
	return OUT_DONE;
}

int x86_std_8(struct cpu *c, const struct insn *i)
{
	(void)i;
	c->rflags |= FLAG_DF;
	return OUT_DONE;
}
