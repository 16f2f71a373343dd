/* SPDX-License-Identifier: Apache-2.0
 * Far JMP, CALL and RET: direct, through call gates of 16, 32 and 64 bits with the switch to an inner stack, to tasks,
 * and back to outer levels. SDM 3A 5.8; SDM 2 CALL, JMP, RET.
 */
#include "cpu/xfer.h"

#include "cpu/cpuid.h"
#include "cpu/stack.h"

/* Size and target of a call gate. */
struct call_gate {
	unsigned size, params;
	u16 sel;
	u64 off;
};

/* ---- real and virtual-8086 mode ------------------------------------------------------------------------------ */

static int legacy_land(struct cpu *c, u16 sel, u64 off)
{
	seg_load_legacy(c, SEG_CS, sel);
	c->r[R_RIP] = off;
	cpu_update_mode(c);
	return OUT_END;
}

static int legacy_jump(struct cpu *c, u16 sel, u64 off)
{
	return off > c->seg[SEG_CS].limit ? cpu_gp(c, 0) : legacy_land(c, sel, off);
}

static int legacy_call(struct cpu *c, u16 sel, u64 off, unsigned size)
{
	struct xstack x = xstack_current(c);
	const u64 item[] = { c->seg[SEG_CS].sel, c->r[R_RIP] };
	int out;

	if (off > c->seg[SEG_CS].limit)
		return cpu_gp(c, 0);
	out = xstack_push(c, &x, item, 2, size, 0);
	if (out)
		return out;
	xstack_commit(c, &x);
	return legacy_land(c, sel, off);
}

/* ---- tasks --------------------------------------------------------------------------------------------------- */

static int far_task(struct cpu *c, u16 sel, const struct desc *d, bool call)
{
	return task_finish(c, task_switch(c, sel, d, call ? TASK_CALL : TASK_JMP, cpu_rflags(c)));
}

static bool gate_forbidden(const struct cpu *c, u16 sel, const struct desc *d)
{
	return desc_dpl(d) < c->d.cpl || desc_dpl(d) < (sel & 3u);
}

static int far_tss(struct cpu *c, u16 sel, struct desc *d, bool call)
{
	int out;

	if (gate_forbidden(c, sel, d))
		return seg_fault(c, EXC_GP, sel);
	out = task_fetch(c, sel, false, EXC_GP, d);
	return out ? out : far_task(c, sel, d, call);
}

static int far_task_gate(struct cpu *c, u16 sel, const struct desc *gate, bool call)
{
	u16 tss = (u16)bits(gate->lo, 31, 16);
	struct desc d;
	int out;

	if (gate_forbidden(c, sel, gate))
		return seg_fault(c, EXC_GP, sel);
	if (!(desc_attr(gate) & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	out = task_fetch(c, tss, false, EXC_GP, &d);
	return out ? out : far_task(c, tss, &d, call);
}

/* ---- code segments ------------------------------------------------------------------------------------------- */

static int far_code(struct cpu *c, u16 sel, struct desc *d, u64 off, unsigned size, bool call)
{
	struct xstack x = xstack_current(c);
	const u64 item[] = { c->seg[SEG_CS].sel, c->r[R_RIP] };
	struct landing l;
	int out;

	if (!desc_is_code(d) ||
	    (desc_conforms(d) ? desc_dpl(d) > c->d.cpl : (sel & 3u) > c->d.cpl || desc_dpl(d) != c->d.cpl))
		return seg_fault(c, EXC_GP, sel);
	out = code_present(c, sel, d);
	if (!out)
		out = code_land(c, sel, d, c->d.cpl, off, &l);
	if (!out && call)
		out = xstack_push(c, &x, item, 2, size, 0);
	if (out)
		return out;
	if (call)
		xstack_commit(c, &x);
	landing_commit(c, &l);
	cpu_update_mode(c);
	return OUT_END;
}

/* ---- call gates ---------------------------------------------------------------------------------------------- */

static struct call_gate gate_parse(const struct cpu *c, const struct desc *d)
{
	bool wide = desc_attr(d) & 8;
	struct call_gate g = { .size = !wide	  ? 2
				       : c->d.lma ? 8
						  : 4,
			       .params = c->d.lma ? 0 : (unsigned)bits(d->lo, 36, 32),
			       .sel = (u16)bits(d->lo, 31, 16),
			       .off = bits(d->lo, 15, 0) };

	if (wide)
		g.off |= bits(d->lo, 63, 48) << 16 | (d->hi & 0xffffffff) << 32;
	return g;
}

/* Copies the parameters from the caller's stack to item[], last one first. */
static int gate_params(struct cpu *c, const struct call_gate *g, u64 *item)
{
	u64 sp = stack_ptr(c);

	for (unsigned k = g->params; k > 0; k--) {
		int out = stack_pop(c, &sp, &item[k - 1], g->size);

		if (out)
			return out;
	}
	return OUT_DONE;
}

static int gate_call_inner(struct cpu *c, const struct call_gate *g, struct desc *code)
{
	u64 item[4 + 31] = { c->seg[SEG_SS].sel, c->r[RSP] };
	unsigned cpl = desc_dpl(code);
	struct landing l;
	struct xstack x;
	int out = xstack_from_tss(c, cpl, &x);

	if (!out)
		out = gate_params(c, g, item + 2);
	item[2 + g->params] = c->seg[SEG_CS].sel;
	item[3 + g->params] = c->r[R_RIP];
	if (!out)
		out = code_land(c, g->sel, code, cpl, g->off, &l);
	if (!out)
		out = xstack_push(c, &x, item, 4 + g->params, g->size, x.ss.sel);
	if (out)
		return out;
	xstack_commit(c, &x);
	landing_commit(c, &l);
	cpu_update_mode(c);
	return OUT_END;
}

static int gate_same(struct cpu *c, const struct call_gate *g, struct desc *code, bool call)
{
	struct xstack x = xstack_current(c);
	const u64 item[] = { c->seg[SEG_CS].sel, c->r[R_RIP] };
	struct landing l;
	int out = code_land(c, g->sel, code, c->d.cpl, g->off, &l);

	if (!out && call)
		out = xstack_push(c, &x, item, 2, g->size, 0);
	if (out)
		return out;
	if (call)
		xstack_commit(c, &x);
	landing_commit(c, &l);
	cpu_update_mode(c);
	return OUT_END;
}

static int far_gate(struct cpu *c, u16 sel, const struct desc *d, bool call)
{
	struct call_gate g = gate_parse(c, d);
	struct desc code;
	unsigned dpl;
	int out;

	if (gate_forbidden(c, sel, d))
		return seg_fault(c, EXC_GP, sel);
	if (!(desc_attr(d) & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	if (!(g.sel & 0xfffc))
		return cpu_gp(c, 0);
	out = desc_fetch(c, g.sel, &code, EXC_GP);
	if (out)
		return out;
	dpl = desc_dpl(&code);
	if (!desc_is_code(&code) || dpl > c->d.cpl || (!call && !desc_conforms(&code) && dpl != c->d.cpl))
		return seg_fault(c, EXC_GP, g.sel);
	if (c->d.lma && (desc_attr(&code) & (SEG_L | SEG_D)) != SEG_L)
		return seg_fault(c, EXC_GP, g.sel);
	out = code_present(c, g.sel, &code);
	if (out)
		return out;
	if (call && !desc_conforms(&code) && dpl < c->d.cpl)
		return gate_call_inner(c, &g, &code);
	return gate_same(c, &g, &code, call);
}

/* ---- the instructions ---------------------------------------------------------------------------------------- */

static int far_system(struct cpu *c, u16 sel, struct desc *d, bool call)
{
	unsigned type = desc_attr(d) & SEG_TYPE;

	if (type == SYS_CALL32 || (type == SYS_CALL16 && !c->d.lma))
		return far_gate(c, sel, d, call);
	if (c->d.lma)
		return seg_fault(c, EXC_GP, sel);
	if (type == SYS_TASK_GATE)
		return far_task_gate(c, sel, d, call);
	if (type == SYS_TSS16_AVAIL || type == SYS_TSS32_AVAIL)
		return far_tss(c, sel, d, call);
	return seg_fault(c, EXC_GP, sel);
}

static int far_transfer(struct cpu *c, u16 sel, u64 off, unsigned size, bool call)
{
	struct desc d;
	int out;

	if (!c->d.pe || c->d.vm86)
		return call ? legacy_call(c, sel, off, size) : legacy_jump(c, sel, off);
	if (!(sel & 0xfffc))
		return cpu_gp(c, 0);
	out = desc_fetch_system(c, sel, &d, EXC_GP);
	if (out)
		return out;
	if (desc_attr(&d) & SEG_S)
		return far_code(c, sel, &d, off, size, call);
	return far_system(c, sel, &d, call);
}

/* m16:64 exists on Intel only; AMD takes REX.W for nothing here (APM 3, JMP far). */
static unsigned far_size(const struct cpu *c, const struct insn *i)
{
	return i->osz == 8 && cpu_is_amd(c) ? 4 : i->osz;
}

static int far_mem(struct cpu *c, const struct insn *i, bool call)
{
	unsigned size = far_size(c, i);
	u64 lin, off = 0;
	u8 raw[10];
	int out = insn_linear(c, i, size + 2, ACC_R, &lin);

	if (!out)
		out = cpu_ld(c, lin, raw, size + 2, insn_acc(i, ACC_R));
	if (out)
		return out;
	memcpy(&off, raw, size);
	return far_transfer(c, (u16)(raw[size] | raw[size + 1] << 8), off, size, call);
}

int exec_jmp_far_imm(struct cpu *c, const struct insn *i)
{
	return far_transfer(c, (u16)(i->imm >> 32), (u32)i->imm, i->osz, false);
}

int exec_call_far_imm(struct cpu *c, const struct insn *i)
{
	return far_transfer(c, (u16)(i->imm >> 32), (u32)i->imm, i->osz, true);
}

int exec_jmp_far_mem(struct cpu *c, const struct insn *i)
{
	return far_mem(c, i, false);
}

int exec_call_far_mem(struct cpu *c, const struct insn *i)
{
	return far_mem(c, i, true);
}

/* ---- RET ------------------------------------------------------------------------------------------------------ */

static u64 sp_add(const struct cpu *c, u64 sp, u64 n)
{
	return (sp & ~c->d.sp_mask) | ((sp + n) & c->d.sp_mask);
}

/* The second half of a return to an outer level: its stack is popped at sp. */
static int ret_outer(struct cpu *c, const struct landing *l, u64 sp, unsigned size, u16 drop)
{
	unsigned cpl = l->cs.sel & 3;
	u64 new_sp = 0, ss_sel = 0;
	struct xstack x;
	struct seg ss;
	int out = stack_pop(c, &sp, &new_sp, size);

	if (!out)
		out = stack_pop(c, &sp, &ss_sel, size);
	if (out)
		return out;
	if (!(ss_sel & 0xfffc) && l->long64 && cpl != 3 && (ss_sel & 3) == cpl) {
		ss = (struct seg){ .sel = (u16)ss_sel, .attr = (u16)(cpl << SEG_DPL_SHIFT) };
	} else {
		out = seg_check_ss(c, (u16)ss_sel, cpl, EXC_GP, &ss);
		if (out)
			return out;
	}
	x = xstack_inner(&ss, 0, cpl);
	if (l->long64)
		x.mask = ~0ull;
	x.sp = new_sp + drop;
	xstack_commit(c, &x);
	landing_commit(c, l);
	seg_drop_inner(c, cpl);
	cpu_update_mode(c);
	return OUT_END;
}

static int ret_protected(struct cpu *c, u16 sel, u64 rip, u64 sp, unsigned size, u16 drop)
{
	unsigned rpl = sel & 3;
	struct landing l;
	struct desc d;
	int out;

	if (!(sel & 0xfffc))
		return cpu_gp(c, 0);
	out = desc_fetch(c, sel, &d, EXC_GP);
	if (out)
		return out;
	if (!desc_is_code(&d) || rpl < c->d.cpl || (desc_conforms(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
		return seg_fault(c, EXC_GP, sel);
	out = code_present(c, sel, &d);
	if (!out)
		out = code_land(c, sel, &d, rpl, rip, &l);
	if (out)
		return out;
	sp = sp_add(c, sp, drop);
	if (rpl > c->d.cpl)
		return ret_outer(c, &l, sp, size, drop);
	stack_commit(c, sp);
	landing_commit(c, &l);
	cpu_update_mode(c);
	return OUT_END;
}

static int ret_far(struct cpu *c, const struct insn *i, u16 drop)
{
	u64 sp = stack_ptr(c), rip = 0, sel = 0;
	int out = stack_pop(c, &sp, &rip, i->osz);

	if (!out)
		out = stack_pop(c, &sp, &sel, i->osz);
	if (out)
		return out;
	if (c->d.pe && !c->d.vm86)
		return ret_protected(c, (u16)sel, rip, sp, i->osz, drop);
	if (rip > c->seg[SEG_CS].limit)
		return cpu_gp(c, 0);
	stack_commit(c, sp_add(c, sp, drop));
	return legacy_land(c, (u16)sel, rip);
}

int exec_retf(struct cpu *c, const struct insn *i)
{
	return ret_far(c, i, 0);
}

int exec_retf_imm(struct cpu *c, const struct insn *i)
{
	return ret_far(c, i, (u16)i->imm);
}
