/* SPDX-License-Identifier: Apache-2.0
 * Landing in a code segment and building frames on a stack that is not yet current.
 */
#include "cpu/xfer.h"

int code_present(struct cpu *c, u16 sel, const struct desc *d)
{
	u16 attr = desc_attr(d);

	if (c->d.lma && (attr & SEG_L) && (attr & SEG_D))
		return seg_fault(c, EXC_GP, sel);
	if (!(attr & SEG_P))
		return seg_fault(c, EXC_NP, sel);
	return OUT_DONE;
}

int code_land(struct cpu *c, u16 sel, struct desc *d, unsigned cpl, u64 rip, struct landing *l)
{
	int out;

	l->long64 = c->d.lma && (desc_attr(d) & SEG_L);
	if (l->long64 ? !cpu_canonical(c, rip) : rip > desc_limit(d))
		return cpu_gp(c, 0);
	out = desc_set_accessed(c, d);
	l->cs = seg_from_desc((u16)((sel & ~3u) | cpl), d);
	l->rip = rip;
	return out;
}

struct xstack xstack_current(const struct cpu *c)
{
	return (struct xstack){ .ss = c->seg[SEG_SS],
				.sp = c->r[RSP],
				.mask = c->d.sp_mask,
				.long64 = c->d.long64,
				.legacy = !c->d.pe || c->d.vm86,
				.cpl = c->d.cpl };
}

struct xstack xstack_inner(const struct seg *ss, u64 sp, unsigned cpl)
{
	return (struct xstack){ .ss = *ss, .sp = sp, .mask = seg_sp_mask(ss, false), .cpl = cpl };
}

struct xstack xstack_inner64(u64 sp, unsigned cpl)
{
	return (struct xstack){ .ss = { .sel = (u16)cpl, .attr = (u16)(cpl << SEG_DPL_SHIFT) },
				.sp = sp,
				.mask = ~0ull,
				.long64 = true,
				.cpl = cpl };
}

int xstack_from_tss(struct cpu *c, unsigned cpl, struct xstack *x)
{
	struct seg ss;
	u16 sel = 0;
	u64 sp = 0;
	int out;

	if (c->d.lma) {
		out = tss_stack64(c, cpl, &sp);
		*x = xstack_inner64(sp, cpl);
		return out;
	}
	out = tss_stack(c, cpl, &sel, &sp);
	if (out)
		return out;
	out = seg_check_ss(c, sel, cpl, EXC_TS, &ss);
	if (!out)
		*x = xstack_inner(&ss, sp, cpl);
	return out;
}

/* Stores with the rights of the level that the stack belongs to. */
static int xstack_store(struct cpu *c, const struct xstack *x, u64 off, const void *buf, unsigned size, u16 sel)
{
	u64 lin = x->long64 ? off : (x->ss.base + off) & 0xffffffff;

	if (!x->long64 && !seg_allows(&x->ss, off, size, ACC_W, x->legacy))
		return seg_fault(c, EXC_SS, sel);
	if (x->cpl < 3 && c->d.cpl == 3)
		return c->ops->store(c, lin, buf, size, ACC_W | ACC_SS | ACC_SYS | ACC_NOALIGN);
	return cpu_st(c, lin, buf, size, ACC_SS);
}

static bool align_checked(const struct cpu *c, const struct xstack *x)
{
	return x->cpl == 3 && (c->rflags & FLAG_AC) && (c->cr0 & CR0_AM);
}

/* One store for the whole frame when it stays in one page and does not wrap, so that a fault leaves nothing behind. */
static int push_whole(struct cpu *c, const struct xstack *x, u64 off, const u64 *item, unsigned n, unsigned size,
		      u16 sel)
{
	u8 buf[64];
	u64 top = (x->long64 ? 0 : x->ss.base) + off + (n - 1) * size;
	int out;

	for (unsigned k = 0; k < n; k++)
		memcpy(buf + (n - 1 - k) * size, &item[k], size);
	out = xstack_store(c, x, off, buf, n * size, sel);
	/* The processor pushes downwards: the first item is the one that meets the fault. */
	if (out && c->exc.vector == EXC_PF)
		c->exc.payload = x->long64 ? top : top & 0xffffffff;
	return out;
}

int xstack_push(struct cpu *c, struct xstack *x, const u64 *item, unsigned n, unsigned size, u16 sel)
{
	u64 total = (u64)n * size, off = (x->sp - total) & x->mask;
	u64 lin = x->long64 ? off : x->ss.base + off;
	bool whole = total <= 64 && off <= x->mask - (total - 1) && (lin & ~PAGE_MASK) + total <= PAGE_SIZE &&
		     !align_checked(c, x);
	u64 sp = x->sp;
	int out = OUT_DONE;

	if (whole) {
		out = push_whole(c, x, off, item, n, size, sel);
		sp = (sp & ~x->mask) | off;
	}
	for (unsigned k = 0; !whole && !out && k < n; k++) {
		off = (sp - size) & x->mask;
		out = xstack_store(c, x, off, &item[k], size, sel);
		sp = (sp & ~x->mask) | off;
	}
	if (!out)
		x->sp = sp;
	return out;
}

void xstack_commit(struct cpu *c, const struct xstack *x)
{
	c->seg[SEG_SS] = x->ss;
	c->r[RSP] = x->mask == 0xffff ? (c->r[RSP] & ~0xffffull) | (x->sp & 0xffff) : x->sp & x->mask;
}
