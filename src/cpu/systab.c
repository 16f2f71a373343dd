/* SPDX-License-Identifier: Apache-2.0
 * Instructions on the descriptor-table and task registers, and the ones that ask about selectors without loading them:
 * SLDT to LIDT with UMIP, LAR, LSL, VERR, VERW, ARPL. SDM 3A 5.10, SDM 2.
 */
#include "cpu/segment.h"

/* ---- SLDT, STR, LLDT, LTR ---------------------------------------------------------------------------------------- */

static bool umip_forbids(const struct cpu *c)
{
	return c->d.cpl && (c->cr4 & CR4_UMIP);
}

static int store_selector(struct cpu *c, const struct insn *i, u16 sel)
{
	u64 lin;
	int out;

	if (umip_forbids(c))
		return cpu_gp(c, 0);
	if (!(i->flags & INSN_MEM)) {
		gpr_write(c, i->rm, i->osz, sel);
		return OUT_DONE;
	}
	out = insn_linear(c, i, 2, ACC_W, &lin);
	return out ? out : cpu_st16(c, lin, sel, insn_acc(i, ACC_W));
}

int exec_sldt(struct cpu *c, const struct insn *i)
{
	return store_selector(c, i, c->ldtr.sel);
}

int exec_str(struct cpu *c, const struct insn *i)
{
	return store_selector(c, i, c->tr.sel);
}

/* The selector operand of the instructions below, from r/m16. */
static int load_selector(struct cpu *c, const struct insn *i, u16 *sel)
{
	u64 lin;
	int out;

	if (!(i->flags & INSN_MEM)) {
		*sel = (u16)c->r[i->rm];
		return OUT_DONE;
	}
	*sel = 0;
	out = insn_linear(c, i, 2, ACC_R, &lin);
	return out ? out : cpu_ld16(c, lin, sel, insn_acc(i, ACC_R));
}

int exec_lldt(struct cpu *c, const struct insn *i)
{
	struct desc d;
	u16 sel;
	int out;

	if (c->d.cpl)
		return cpu_gp(c, 0);
	out = load_selector(c, i, &sel);
	if (out)
		return out;
	if (!(sel & 0xfffc)) {
		c->ldtr.sel = sel;
		c->ldtr.attr = 0;
		return OUT_DONE;
	}
	if (sel & 4)
		return seg_fault(c, EXC_GP, sel);
	out = desc_fetch_system(c, sel, &d, EXC_GP);
	if (out)
		return out;
	if ((desc_attr(&d) & (SEG_S | SEG_TYPE)) != SYS_LDT)
		return seg_fault(c, EXC_GP, sel);
	if (!(desc_attr(&d) & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	if (!cpu_canonical(c, desc_base(&d)))
		return seg_fault(c, EXC_GP, sel);
	c->ldtr = seg_from_desc(sel, &d);
	return OUT_DONE;
}

int exec_ltr(struct cpu *c, const struct insn *i)
{
	unsigned type;
	struct desc d;
	u16 sel;
	int out;

	if (c->d.cpl)
		return cpu_gp(c, 0);
	out = load_selector(c, i, &sel);
	if (out)
		return out;
	if (!(sel & 0xfffc))
		return cpu_gp(c, 0);
	if (sel & 4)
		return seg_fault(c, EXC_GP, sel);
	out = desc_fetch_system(c, sel, &d, EXC_GP);
	if (out)
		return out;
	type = desc_attr(&d) & (SEG_S | SEG_TYPE);
	if (type != SYS_TSS32_AVAIL && (type != SYS_TSS16_AVAIL || c->d.lma))
		return seg_fault(c, EXC_GP, sel);
	if (!(desc_attr(&d) & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	if (!cpu_canonical(c, desc_base(&d)))
		return seg_fault(c, EXC_GP, sel);
	out = sys_update_byte(c, d.addr + 5, 0, 2, NULL);
	if (out)
		return out;
	c->tr = seg_from_desc(sel, &d);
	c->tr.attr |= 2;
	return OUT_DONE;
}

/* ---- SGDT, SIDT, LGDT, LIDT ----------------------------------------------------------------------------------------
 */

static int store_table(struct cpu *c, const struct insn *i, const struct dtable *t)
{
	unsigned size = c->d.long64 ? 10 : 6;
	u16 limit = (u16)t->limit;
	u8 raw[10];
	u64 lin;
	int out;

	if (umip_forbids(c))
		return cpu_gp(c, 0);
	memcpy(raw, &limit, 2);
	memcpy(raw + 2, &t->base, 8);
	out = insn_linear(c, i, size, ACC_W, &lin);
	return out ? out : cpu_st(c, lin, raw, size, insn_acc(i, ACC_W | ACC_NOALIGN));
}

int exec_sgdt(struct cpu *c, const struct insn *i)
{
	return store_table(c, i, &c->gdtr);
}

int exec_sidt(struct cpu *c, const struct insn *i)
{
	return store_table(c, i, &c->idtr);
}

static int load_table(struct cpu *c, const struct insn *i, struct dtable *t)
{
	unsigned size = c->d.long64 ? 10 : 6;
	u64 lin, base = 0;
	u16 limit;
	u8 raw[10];
	int out;

	if (c->d.cpl)
		return cpu_gp(c, 0);
	out = insn_linear(c, i, size, ACC_R, &lin);
	if (!out)
		out = cpu_ld(c, lin, raw, size, insn_acc(i, ACC_R | ACC_NOALIGN));
	if (out)
		return out;
	memcpy(&limit, raw, 2);
	memcpy(&base, raw + 2, size - 2);
	if (c->d.long64 && !cpu_canonical(c, base))
		return cpu_gp(c, 0);
	if (!c->d.long64 && i->osz == 2)
		base &= 0xffffff;
	*t = (struct dtable){ .base = base, .limit = limit };
	return OUT_DONE;
}

int exec_lgdt(struct cpu *c, const struct insn *i)
{
	return load_table(c, i, &c->gdtr);
}

int exec_lidt(struct cpu *c, const struct insn *i)
{
	return load_table(c, i, &c->idtr);
}

/* ---- LAR, LSL, VERR, VERW
 * -------------------------------------------------------------------------------------------- */

static void set_zf(struct cpu *c, bool zf)
{
	c->aflags = (u16)((c->aflags & ~AF_ZF) | (zf ? AF_ZF : 0));
}

/* Fetches a descriptor for inspection: *ok false when the selector names none. Only a page fault is a fault. */
static int inspect(struct cpu *c, u16 sel, struct desc *d, bool *ok)
{
	int out = sel & 0xfffc ? desc_fetch_system(c, sel, d, EXC_GP) : cpu_gp(c, 0);

	*ok = !out;
	return out && c->exc.vector != EXC_GP ? out : OUT_DONE;
}

static bool level_allows(const struct cpu *c, u16 sel, const struct desc *d)
{
	u16 attr = desc_attr(d);

	if ((attr & (SEG_S | SEG_CODE | SEG_C)) == (SEG_S | SEG_CODE | SEG_C))
		return true;
	return c->d.cpl <= desc_dpl(d) && (sel & 3u) <= desc_dpl(d);
}

#define TYPES(t) (1u << (t))
#define LSL_LONG (TYPES(SYS_LDT) | TYPES(SYS_TSS32_AVAIL) | TYPES(SYS_TSS32_BUSY))
#define LSL_LEGACY (LSL_LONG | TYPES(SYS_TSS16_AVAIL) | TYPES(SYS_TSS16_BUSY))
#define LAR_LONG (LSL_LONG | TYPES(SYS_CALL32))
#define LAR_LEGACY (LSL_LEGACY | TYPES(SYS_CALL16) | TYPES(SYS_CALL32) | TYPES(SYS_TASK_GATE))

static bool system_type_in(const struct desc *d, unsigned set)
{
	return (desc_attr(d) & SEG_S) || (set >> (desc_attr(d) & SEG_TYPE) & 1);
}

int exec_lar(struct cpu *c, const struct insn *i)
{
	struct desc d;
	bool ok = false;
	u16 sel;
	int out = load_selector(c, i, &sel);

	if (!out)
		out = inspect(c, sel, &d, &ok);
	if (out)
		return out;
	ok = ok && system_type_in(&d, c->d.lma ? LAR_LONG : LAR_LEGACY) && level_allows(c, sel, &d);
	set_zf(c, ok);
	if (ok)
		gpr_write(c, i->reg, i->osz, d.lo >> 32 & 0xffff00);
	return OUT_DONE;
}

int exec_lsl(struct cpu *c, const struct insn *i)
{
	struct desc d;
	bool ok = false;
	u16 sel;
	int out = load_selector(c, i, &sel);

	if (!out)
		out = inspect(c, sel, &d, &ok);
	if (out)
		return out;
	ok = ok && system_type_in(&d, c->d.lma ? LSL_LONG : LSL_LEGACY) && level_allows(c, sel, &d);
	set_zf(c, ok);
	if (ok)
		gpr_write(c, i->reg, i->osz, desc_limit(&d));
	return OUT_DONE;
}

static int verify(struct cpu *c, const struct insn *i, bool write)
{
	struct desc d;
	bool ok = false;
	u16 sel, attr;
	int out = load_selector(c, i, &sel);

	if (!out)
		out = inspect(c, sel, &d, &ok);
	if (out)
		return out;
	attr = ok ? desc_attr(&d) : 0;
	ok = ok && (attr & SEG_S) && level_allows(c, sel, &d);
	if (write)
		ok = ok && (attr & (SEG_CODE | SEG_W)) == SEG_W;
	else
		ok = ok && (attr & (SEG_CODE | SEG_R)) != SEG_CODE;
	set_zf(c, ok);
	return OUT_DONE;
}

int exec_verr(struct cpu *c, const struct insn *i)
{
	return verify(c, i, false);
}

int exec_verw(struct cpu *c, const struct insn *i)
{
	return verify(c, i, true);
}

int exec_arpl(struct cpu *c, const struct insn *i)
{
	u16 dst = (u16)c->r[i->rm & 15], rpl = c->r[i->reg & 15] & 3;
	bool raise;
	u64 lin = 0;
	int out = OUT_DONE;

	if (i->flags & INSN_MEM) {
		out = insn_linear(c, i, 2, ACC_W, &lin);
		if (!out)
			out = cpu_ld16(c, lin, &dst, insn_acc(i, ACC_RMW));
		if (out)
			return out;
	}
	raise = (dst & 3) < rpl;
	dst = (u16)((dst & ~3u) | rpl);
	if (raise && (i->flags & INSN_MEM))
		out = cpu_st16(c, lin, dst, insn_acc(i, ACC_W));
	else if (raise)
		gpr_write(c, i->rm, 2, dst);
	if (!out)
		set_zf(c, raise);
	return out;
}
