/* SPDX-License-Identifier: Apache-2.0
 * Task switches between 16- and 32-bit TSSs (SDM 3A 7.3).
 *
 * Until the commit everything is read and each write is probed, so that a fault belongs to the old task and has changed
 * nothing. From then on the new task is current, its segment registers hold selectors with invalid caches, and each
 * load that fails is a fault of the new task.
 */
#include "cpu/debug.h"
#include "cpu/sys.h"
#include "cpu/xfer.h"

#define TASK_FLAGS 0x3f7fd5u /* every defined bit of EFLAGS */
#define DR7_LOCAL 0x155ull   /* L0..L3 and LE: cleared by every switch */

struct task_image {
	u32 cr3, eip, eflags, reg[8];
	u16 seg[NR_SEGS], ldt;
	bool wide, trap;
};

/* Offsets in the two formats. */
enum {
	TSS32_CR3 = 0x1c,
	TSS32_EIP = 0x20,
	TSS32_SAVED = 64,
	TSS32_GS = 0x5c,
	TSS32_LIMIT = 0x67,
	TSS16_IP = 0x0e,
	TSS16_SAVED = 28,
	TSS16_LIMIT = 0x2b,
};

static u64 lin32(u64 base, u32 off)
{
	return (base + off) & 0xffffffff;
}

/* Reads size bytes and makes sure that they can be written later. */
static int probe_write(struct cpu *c, u64 lin, void *buf, unsigned size)
{
	return c->ops->load(c, lin, buf, size, ACC_SYS | ACC_RMW | ACC_NOALIGN);
}

int task_fetch(struct cpu *c, u16 sel, bool busy, u8 vector, struct desc *d)
{
	unsigned type, want = busy ? SYS_TSS16_BUSY : SYS_TSS16_AVAIL;
	int out;

	if ((sel & 4) || !(sel & 0xfffc))
		return seg_fault(c, vector, sel);
	out = desc_fetch(c, sel, d, vector);
	if (out)
		return out;
	type = desc_attr(d) & (SEG_S | SEG_TYPE);
	if ((type & ~8u) != want)
		return seg_fault(c, vector, sel);
	return desc_attr(d) & SEG_P ? OUT_DONE : seg_fault(c, EXC_NP, sel);
}

/* ---- reading the new task --------------------------------------------------------------------------------------- */

static int read_wide(struct cpu *c, u64 base, struct task_image *t)
{
	static const u8 order[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS };
	u32 a[16], b[3];
	int out = sys_load(c, lin32(base, TSS32_CR3), a, sizeof(a));

	if (!out)
		out = sys_load(c, lin32(base, TSS32_GS), b, sizeof(b));
	if (out)
		return out;
	t->cr3 = a[0];
	t->eip = a[1];
	t->eflags = a[2];
	memcpy(t->reg, a + 3, sizeof(t->reg));
	for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
		t->seg[order[n]] = (u16)a[11 + n];
	t->seg[SEG_GS] = (u16)b[0];
	t->ldt = (u16)b[1];
	t->trap = b[2] & 1;
	return OUT_DONE;
}

static int read_narrow(struct cpu *c, u64 base, struct task_image *t)
{
	static const u8 order[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS };
	u16 a[15];
	int out = sys_load(c, lin32(base, TSS16_IP), a, sizeof(a));

	if (out)
		return out;
	t->eip = a[0];
	t->eflags = a[1];
	for (unsigned n = 0; n < 8; n++)
		t->reg[n] = 0xffff0000 | a[2 + n];
	for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
		t->seg[order[n]] = a[10 + n];
	t->ldt = a[14];
	return OUT_DONE;
}

/* ---- saving the old one -------------------------------------------------------------------------------------------
 */

/* The part of the TSS that a switch writes, as read by probe_old(). */
union saved {
	u32 d[TSS32_SAVED / 4];
	u16 w[TSS32_SAVED / 2];
};

static int probe_old(struct cpu *c, union saved *s)
{
	bool wide = c->tr.attr & 8;

	if (c->tr.limit < (wide ? TSS32_EIP + TSS32_SAVED - 1u : TSS16_IP + TSS16_SAVED - 1u))
		return seg_fault(c, EXC_TS, c->tr.sel);
	return probe_write(c, lin32(c->tr.base, wide ? TSS32_EIP : TSS16_IP), s, wide ? TSS32_SAVED : TSS16_SAVED);
}

static int save_old(struct cpu *c, union saved *s, u64 flags)
{
	if (!(c->tr.attr & 8)) {
		static const u8 order[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS };

		s->w[0] = (u16)c->r[R_RIP];
		s->w[1] = (u16)flags;
		for (unsigned n = 0; n < 8; n++)
			s->w[2 + n] = (u16)c->r[n];
		for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
			s->w[10 + n] = c->seg[order[n]].sel;
		return sys_store(c, lin32(c->tr.base, TSS16_IP), s, TSS16_SAVED);
	}
	s->d[0] = (u32)c->r[R_RIP];
	s->d[1] = (u32)flags;
	for (unsigned n = 0; n < 8; n++)
		s->d[2 + n] = (u32)c->r[n];
	for (unsigned n = 0; n < NR_SEGS; n++) /* only the selector's half is written */
		s->w[20 + 2 * n] = c->seg[n].sel;
	return sys_store(c, lin32(c->tr.base, TSS32_EIP), s, TSS32_SAVED);
}

/* ---- loading the new one's segments, in the new task's context ------------------------------------------------------
 */

static int load_ldt(struct cpu *c, u16 sel)
{
	struct desc d;
	int out;

	if (!(sel & 0xfffc))
		return OUT_DONE;
	if (sel & 4)
		return seg_fault(c, EXC_TS, sel);
	out = desc_fetch(c, sel, &d, EXC_TS);
	if (out)
		return out;
	if ((desc_attr(&d) & (SEG_P | SEG_S | SEG_TYPE)) != (SEG_P | SYS_LDT))
		return seg_fault(c, EXC_TS, sel);
	c->ldtr = seg_from_desc(sel, &d);
	return OUT_DONE;
}

static int load_cs(struct cpu *c, u16 sel, unsigned cpl)
{
	struct desc d;
	int out;

	if (!(sel & 0xfffc))
		return seg_fault(c, EXC_TS, sel);
	out = desc_fetch(c, sel, &d, EXC_TS);
	if (out)
		return out;
	if (!desc_is_code(&d) || (desc_conforms(&d) ? desc_dpl(&d) > cpl : desc_dpl(&d) != cpl))
		return seg_fault(c, EXC_TS, sel);
	if (!(desc_attr(&d) & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	out = desc_set_accessed(c, &d);
	if (!out)
		c->seg[SEG_CS] = seg_from_desc(sel, &d);
	return out;
}

static int load_data(struct cpu *c, unsigned seg, u16 sel, unsigned cpl)
{
	struct desc d;
	u16 attr;
	int out;

	if (!(sel & 0xfffc))
		return OUT_DONE;
	out = desc_fetch(c, sel, &d, EXC_TS);
	if (out)
		return out;
	attr = desc_attr(&d);
	if (!(attr & SEG_S) || (attr & (SEG_CODE | SEG_R)) == SEG_CODE)
		return seg_fault(c, EXC_TS, sel);
	if ((attr & (SEG_CODE | SEG_C)) != (SEG_CODE | SEG_C) && (desc_dpl(&d) < cpl || desc_dpl(&d) < (sel & 3u)))
		return seg_fault(c, EXC_TS, sel);
	if (!(attr & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	out = desc_set_accessed(c, &d);
	if (!out)
		c->seg[seg] = seg_from_desc(sel, &d);
	return out;
}

static int load_protected(struct cpu *c, const struct task_image *t)
{
	static const u8 data_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	unsigned cpl = t->seg[SEG_CS] & 3;
	struct seg ss;
	int out = load_cs(c, t->seg[SEG_CS], cpl);

	if (!out)
		out = seg_check_ss(c, t->seg[SEG_SS], cpl, EXC_TS, &ss);
	if (!out)
		c->seg[SEG_SS] = ss;
	for (unsigned n = 0; !out && n < ARRAY_SIZE(data_segs); n++)
		out = load_data(c, data_segs[n], t->seg[data_segs[n]], cpl);
	if (!out && t->eip > c->seg[SEG_CS].limit)
		return cpu_gp(c, 0);
	return out;
}

static int load_segments(struct cpu *c, const struct task_image *t)
{
	int out = load_ldt(c, t->ldt);

	if (!out && (c->rflags & FLAG_VM)) {
		for (unsigned n = 0; n < NR_SEGS; n++)
			seg_load_legacy(c, n, t->seg[n]);
		return t->eip > 0xffff ? cpu_gp(c, 0) : OUT_DONE;
	}
	return out ? out : load_protected(c, t);
}

/* ---- the switch
 * ------------------------------------------------------------------------------------------------------ */

/* Makes t the current task, its segments still invalid. */
static int enter(struct cpu *c, u16 sel, const struct desc *d, const struct task_image *t, bool nested)
{
	u32 flags = (t->eflags & TASK_FLAGS) | (nested ? FLAG_NT : 0u);
	unsigned cpl = flags & FLAG_VM ? 3 : t->seg[SEG_CS] & 3;
	int out = OUT_DONE;

	c->tr = seg_from_desc(sel, d);
	c->tr.attr |= SYS_TSS16_BUSY;
	c->cr0 |= CR0_TS;
	c->dr[7] &= ~DR7_LOCAL;
	c->int_shadow = 0;
	cpu_set_rflags_raw(c, flags);
	for (unsigned n = 0; n < 8; n++)
		c->r[n] = t->reg[n];
	c->r[R_RIP] = t->eip;
	for (unsigned n = 0; n < NR_SEGS; n++)
		seg_set(c, n, t->seg[n], 0, 0, n == SEG_SS ? (u16)(cpl << SEG_DPL_SHIFT) : 0);
	c->ldtr = (struct seg){ .sel = t->ldt };
	cpu_update_mode(c);
	if (t->wide && (c->cr0 & CR0_PG) && sys_write_cr3(c, t->cr3) == OUT_FAULT)
		out = OUT_FAULT;
	if (!out)
		out = load_segments(c, t);
	cpu_update_mode(c);
	if (t->trap)
		c->pending_db |= DR6_BT;
	cpu_post(c, ATT_EVENTS);
	return out;
}

/* Reads the new task and makes sure that nothing that the switch writes can fault. */
static int prepare(struct cpu *c, u16 sel, const struct desc *d, enum task_cause cause, struct task_image *t,
		   union saved *s)
{
	u64 old_desc = lin32(c->gdtr.base, (c->tr.sel & 0xfff8u) + 5);
	u16 scratch;
	int out;

	t->wide = desc_attr(d) & 8;
	if (desc_limit(d) < (t->wide ? TSS32_LIMIT : TSS16_LIMIT))
		return seg_fault(c, EXC_TS, sel);
	out = t->wide ? read_wide(c, desc_base(d), t) : read_narrow(c, desc_base(d), t);
	if (!out)
		out = probe_old(c, s);
	if (!out && (cause == TASK_CALL || cause == TASK_EVENT))
		out = probe_write(c, desc_base(d), &scratch, 2);
	if (!out && (cause == TASK_JMP || cause == TASK_IRET))
		out = probe_write(c, old_desc, &scratch, 1);
	return out;
}

enum task_result task_switch(struct cpu *c, u16 sel, const struct desc *d, enum task_cause cause, u64 flags)
{
	bool nested = cause == TASK_CALL || cause == TASK_EVENT;
	struct task_image t = { 0 };
	union saved s;
	u16 link = c->tr.sel;
	int out = prepare(c, sel, d, cause, &t, &s);

	if (!out && cause != TASK_IRET)
		out = sys_update_byte(c, d->addr + 5, 0, 2, NULL);
	if (out)
		return TASK_FAULT;
	if (!nested)
		sys_update_byte(c, lin32(c->gdtr.base, (link & 0xfff8u) + 5), 2, 0, NULL);
	save_old(c, &s, cause == TASK_IRET ? flags & ~(u64)FLAG_NT : flags);
	if (nested)
		sys_store(c, lin32(desc_base(d), 0), &link, 2);
	return enter(c, sel, d, &t, nested) ? TASK_ENTERED_FAULT : TASK_DONE;
}

int task_finish(struct cpu *c, enum task_result r)
{
	if (r == TASK_FAULT)
		return OUT_FAULT;
	if (r == TASK_ENTERED_FAULT)
		event_deliver(c, &c->exc);
	return c->activity == ACT_RUNNING ? OUT_END : OUT_HALT;
}
