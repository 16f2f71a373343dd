/* SPDX-License-Identifier: Apache-2.0
 * Segmentation's common ground: limit and type checks, descriptor fetches, loads of data and stack segments, reads of
 * the TSS. SDM 3A chapters 3, 5 and 7.
 */
#include "cpu/segment.h"

#include "cpu/cpuid.h"

/* ---- checks of an access ------------------------------------------------------------------------------------ */

static bool type_allows(u16 attr, unsigned acc)
{
	if (!(attr & SEG_P))
		return false;
	if (acc & (ACC_W | ACC_RMW))
		return !(attr & SEG_CODE) && (attr & SEG_W);
	return !(attr & SEG_CODE) || (attr & SEG_R) || (acc & ACC_X);
}

static bool limit_allows(const struct seg *s, u64 off, u64 size)
{
	u64 last = off + size - 1, top = s->attr & SEG_D ? 0xffffffff : 0xffff;

	if ((s->attr & (SEG_CODE | SEG_E)) == SEG_E)
		return off > s->limit && last <= top;
	return last <= s->limit || s->limit == 0xffffffff;
}

bool seg_allows(const struct seg *s, u64 off, u64 size, unsigned acc, bool legacy)
{
	return (legacy || type_allows(s->attr, acc)) && limit_allows(s, off, size);
}

int seg_check(struct cpu *c, unsigned seg, u64 off, unsigned size, unsigned acc, u64 *lin)
{
	if (unlikely(!seg_allows(&c->seg[seg], off, size, acc, !c->d.pe || c->d.vm86)))
		return cpu_raise_error(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
	*lin = (c->seg[seg].base + off) & c->d.lin_mask;
	return OUT_DONE;
}

/* ---- implicit supervisor accesses --------------------------------------------------------------------------- */

/* The lookaside in force serves supervisor accesses only at CPL < 3 and without AC's licence to touch user pages. */
static bool lookaside_serves(const struct cpu *c)
{
	return c->d.cpl != 3 && !(c->rflags & FLAG_AC);
}

int sys_load(struct cpu *c, u64 lin, void *buf, unsigned size)
{
	if (lookaside_serves(c))
		return cpu_ld(c, lin, buf, size, ACC_SYS | ACC_NOALIGN);
	return c->ops->load(c, lin, buf, size, ACC_SYS | ACC_NOALIGN);
}

int sys_store(struct cpu *c, u64 lin, const void *buf, unsigned size)
{
	if (lookaside_serves(c))
		return cpu_st(c, lin, buf, size, ACC_SYS | ACC_NOALIGN);
	return c->ops->store(c, lin, buf, size, ACC_W | ACC_SYS | ACC_NOALIGN);
}

/* A byte that has no host address (code frame, device): alone in the machine instead of a host atomic. */
static int update_byte_exclusive(struct cpu *c, u64 lin, u8 clear, u8 set, u8 *old)
{
	u8 now;
	int out;

	c->ops->exclusive_begin(c);
	out = c->ops->load(c, lin, old, 1, ACC_SYS | ACC_RMW | ACC_NOALIGN);
	now = (u8)((*old & ~clear) | set);
	if (!out)
		out = c->ops->store(c, lin, &now, 1, ACC_W | ACC_SYS | ACC_NOALIGN);
	c->ops->exclusive_end(c);
	return out;
}

int sys_update_byte(struct cpu *c, u64 lin, u8 clear, u8 set, u8 *old)
{
	int out = OUT_DONE;
	u8 *p = c->ops->pin(c, lin, 1, ACC_W | ACC_RMW | ACC_SYS | ACC_NOALIGN, &out), was = 0;

	if (!p && !out)
		out = update_byte_exclusive(c, lin, clear, set, &was);
	else if (p && !out) {
		was = __atomic_load_n(p, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(p, &was, (u8)((was & ~clear) | set), false, __ATOMIC_SEQ_CST,
						    __ATOMIC_RELAXED))
			;
	}
	if (old)
		*old = was;
	return out;
}

/* ---- descriptors -------------------------------------------------------------------------------------------- */

static u64 table_mask(const struct cpu *c)
{
	return c->d.lma ? ~0ull : 0xffffffffull;
}

/* Linear address of sel's descriptor if size bytes of it lie inside its table. */
static bool desc_locate(struct cpu *c, u16 sel, unsigned size, u64 *addr)
{
	unsigned off = sel & 0xfff8u;
	bool ldt = sel & 4;
	u64 base = ldt ? c->ldtr.base : c->gdtr.base;
	u32 limit = ldt ? c->ldtr.limit : c->gdtr.limit;

	if ((ldt && !(c->ldtr.attr & SEG_P)) || off + size - 1 > limit)
		return false;
	*addr = (base + off) & table_mask(c);
	return true;
}

int desc_fetch(struct cpu *c, u16 sel, struct desc *d, u8 vector)
{
	d->hi = 0;
	if (!desc_locate(c, sel, 8, &d->addr))
		return seg_fault(c, vector, sel);
	return sys_load(c, d->addr, &d->lo, 8);
}

int desc_fetch_system(struct cpu *c, u16 sel, struct desc *d, u8 vector)
{
	int out = desc_fetch(c, sel, d, vector);

	if (out || !c->d.lma || (desc_attr(d) & SEG_S))
		return out;
	if (!desc_locate(c, sel, 16, &d->addr))
		return seg_fault(c, vector, sel);
	out = sys_load(c, (d->addr + 8) & table_mask(c), &d->hi, 8);
	if (!out && bits(d->hi, 44, 40))
		return seg_fault(c, vector, sel);
	return out;
}

int desc_set_accessed(struct cpu *c, struct desc *d)
{
	int out;

	if (desc_attr(d) & SEG_A)
		return OUT_DONE;
	out = sys_update_byte(c, (d->addr + 5) & table_mask(c), 0, SEG_A, NULL);
	if (!out)
		d->lo |= BIT(40);
	return out;
}

/* ---- loads of segment registers ----------------------------------------------------------------------------- */

void seg_set(struct cpu *c, unsigned seg, u16 sel, u64 base, u32 limit, u16 attr)
{
	c->seg[seg] = (struct seg){ .sel = sel, .attr = attr, .limit = limit, .base = base };
}

void seg_load_legacy(struct cpu *c, unsigned seg, u16 sel)
{
	const u16 data = SEG_P | SEG_S | SEG_W | SEG_A;
	struct seg *s = &c->seg[seg];

	if (c->rflags & FLAG_VM) {
		seg_set(c, seg, sel, (u64)sel << 4, 0xffff, data | 3 << SEG_DPL_SHIFT);
		return;
	}
	/* Limit and size survive (big-real mode); what was unusable becomes an ordinary real-mode segment. */
	if (!(s->attr & SEG_P))
		seg_set(c, seg, sel, 0, 0xffff, data);
	if (seg == SEG_CS)
		s->attr = data | (s->attr & SEG_D);
	s->sel = sel;
	s->base = (u64)sel << 4;
}

/* On AMD a null selector leaves base and limit of FS and GS as they were, unless CPUID says otherwise (APM 2, 4.5.3).
 */
void seg_set_null(struct cpu *c, unsigned seg, u16 sel)
{
	struct seg *s = &c->seg[seg];

	s->sel = sel;
	s->attr = 0;
	if (!cpu_is_amd(c) || !c->d.lma || cpu_has(c, FEAT_NULL_SEL_CLR_BASE)) {
		s->base = 0;
		s->limit = 0;
	}
}

int seg_check_ss(struct cpu *c, u16 sel, unsigned cpl, u8 vector, struct seg *out)
{
	struct desc d;
	int res;

	if (!(sel & 0xfffc))
		return cpu_raise_error(c, vector, 0);
	res = desc_fetch(c, sel, &d, vector);
	if (res)
		return res;
	if ((sel & 3u) != cpl || desc_dpl(&d) != cpl || (desc_attr(&d) & (SEG_S | SEG_CODE | SEG_W)) != (SEG_S | SEG_W))
		return seg_fault(c, vector, sel);
	if (!(desc_attr(&d) & SEG_P))
		return seg_fault(c, EXC_SS, sel);
	res = desc_set_accessed(c, &d);
	*out = seg_from_desc(sel, &d);
	return res;
}

static int load_ss(struct cpu *c, u16 sel)
{
	struct seg ss;
	int out;

	if (!(sel & 0xfffc) && c->d.long64 && c->d.cpl != 3 && (sel & 3) == c->d.cpl) {
		seg_set(c, SEG_SS, sel, 0, 0, (u16)(c->d.cpl << SEG_DPL_SHIFT));
		return OUT_DONE;
	}
	out = seg_check_ss(c, sel, c->d.cpl, EXC_GP, &ss);
	if (!out)
		c->seg[SEG_SS] = ss;
	return out;
}

static int load_data(struct cpu *c, unsigned seg, u16 sel)
{
	struct desc d;
	int out = desc_fetch(c, sel, &d, EXC_GP);
	u16 attr;

	if (out)
		return out;
	attr = desc_attr(&d);
	if (!(attr & SEG_S) || (attr & (SEG_CODE | SEG_R)) == SEG_CODE)
		return seg_fault(c, EXC_GP, sel);
	if ((attr & (SEG_CODE | SEG_C)) != (SEG_CODE | SEG_C) && ((sel & 3u) > desc_dpl(&d) || c->d.cpl > desc_dpl(&d)))
		return seg_fault(c, EXC_GP, sel);
	if (!(attr & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	out = desc_set_accessed(c, &d);
	if (!out)
		c->seg[seg] = seg_from_desc(sel, &d);
	return out;
}

int seg_load(struct cpu *c, unsigned seg, u16 sel)
{
	int out = OUT_DONE;

	if (!c->d.pe || c->d.vm86)
		seg_load_legacy(c, seg, sel);
	else if (seg == SEG_SS)
		out = load_ss(c, sel);
	else if (!(sel & 0xfffc))
		seg_set_null(c, seg, sel);
	else
		out = load_data(c, seg, sel);
	if (!out)
		cpu_update_mode(c);
	return out;
}

void seg_drop_inner(struct cpu *c, unsigned cpl)
{
	static const u8 data_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned n = 0; n < ARRAY_SIZE(data_segs); n++) {
		struct seg *s = &c->seg[data_segs[n]];

		if (s->attr & SEG_P) {
			if ((s->attr & (SEG_CODE | SEG_C)) == (SEG_CODE | SEG_C) || seg_dpl(s) >= cpl)
				continue;
			s->attr = 0;
		}
		s->sel = 0; /* a null selector's RPL goes, too; the base stays, as 64-bit mode can see */
	}
}

/* ---- the task-state segment in force ------------------------------------------------------------------------ */

int tss_stack(struct cpu *c, unsigned level, u16 *ss, u64 *sp)
{
	bool wide = c->tr.attr & 8;
	u32 off = wide ? 4 + 8 * level : 2 + 4 * level, need = wide ? 6 : 4;
	u64 mask = table_mask(c);
	u8 raw[6];
	int out;

	if (off + need - 1 > c->tr.limit)
		return seg_fault(c, EXC_TS, c->tr.sel);
	out = sys_load(c, (c->tr.base + off) & mask, raw, need);
	if (out)
		return out;
	*sp = raw[0] | (u64)raw[1] << 8;
	if (wide)
		*sp |= (u64)raw[2] << 16 | (u64)raw[3] << 24;
	*ss = (u16)(raw[need - 2] | raw[need - 1] << 8);
	return OUT_DONE;
}

int tss_stack64(struct cpu *c, unsigned slot, u64 *sp)
{
	u32 off = 4 + 8 * slot;

	if (off + 7 > c->tr.limit)
		return seg_fault(c, EXC_TS, c->tr.sel);
	return sys_load(c, c->tr.base + off, sp, 8);
}

/* SDM 1, 19.5.2: two bytes are read, so that the bitmap must end in a byte of ones. */
static int io_bitmap_check(struct cpu *c, u16 port, unsigned size)
{
	u16 map, bytes;
	int out;

	if (!(c->tr.attr & SEG_P) || (c->tr.attr & 0xd) != SYS_TSS32_AVAIL || c->tr.limit < 0x67)
		return cpu_gp(c, 0);
	out = sys_load(c, (c->tr.base + 0x66) & table_mask(c), &map, 2);
	if (out)
		return out;
	if ((u32)map + port / 8 + 1 > c->tr.limit)
		return cpu_gp(c, 0);
	out = sys_load(c, (c->tr.base + map + port / 8) & table_mask(c), &bytes, 2);
	if (out)
		return out;
	return bytes >> (port & 7) & ((1u << size) - 1) ? cpu_gp(c, 0) : OUT_DONE;
}

int io_check(struct cpu *c, u16 port, unsigned size)
{
	if (likely(!c->d.pe || (!c->d.vm86 && c->d.cpl <= (c->rflags & FLAG_IOPL) >> 12)))
		return OUT_DONE;
	return io_bitmap_check(c, port, size);
}
