/* SPDX-License-Identifier: Apache-2.0
 * What the rest of the library needs to know about the mode in force, computed in one place whenever a register it
 * depends on has changed.
 */
#include "cpu/cpu.h"
#include "cpu/segment.h"

/* May accesses through s go without limit and type checks? A limit of 4 GiB - 1 lets accesses wrap (SDM 3A 5.3 leaves
 * that to the implementation). Code segments never qualify: writes through them must fault. */
static bool seg_is_flat(const struct seg *s)
{
	const u16 type = SEG_P | SEG_S | SEG_CODE | SEG_E | SEG_W;

	return (s->attr & type) == (SEG_P | SEG_S | SEG_W) && s->limit == 0xffffffff;
}

static void derive_segments(struct cpu *c)
{
	struct cpu_derived *d = &c->d;

	d->seg_check = 0;
	for (unsigned i = 0; i < NR_SEGS; i++) {
		d->ebase[i] = c->seg[i].base;
		if (d->long64) {
			if (i < SEG_FS)
				d->ebase[i] = 0;
		} else if (!d->pe || d->vm86 || !seg_is_flat(&c->seg[i])) {
			d->seg_check |= (u8)(1u << i);
		}
	}
}

static u32 block_key(const struct cpu *c)
{
	const struct cpu_derived *d = &c->d;
	u32 key = d->code;

	if (d->long64)
		return key;
	if (!d->pe || d->vm86)
		key |= BLOCK_KEY_LEGACY;
	if (d->seg_check & (1u << SEG_DS | 1u << SEG_ES | 1u << SEG_SS))
		key |= BLOCK_KEY_SEGMENTS;
	if (c->seg[SEG_CS].limit != 0xffffffff)
		key |= BLOCK_KEY_LIMIT;
	if ((d->ebase[SEG_CS] | d->ebase[SEG_DS] | d->ebase[SEG_ES] | d->ebase[SEG_SS]) || d->sp_mask == 0xffff)
		key |= BLOCK_KEY_BASES;
	return key;
}

void cpu_update_mode(struct cpu *c)
{
	struct cpu_derived *d = &c->d;
	u8 code = d->code, cpl = d->cpl;
	bool pe = d->pe;

	d->pe = c->cr0 & CR0_PE;
	d->vm86 = d->pe && (c->rflags & FLAG_VM);
	d->lma = c->efer & EFER_LMA;
	d->long64 = d->lma && (c->seg[SEG_CS].attr & SEG_L);
	d->cpl = !d->pe ? 0 : d->vm86 ? 3 : (u8)seg_dpl(&c->seg[SEG_SS]);
	d->code = d->long64 ? CODE64 : c->seg[SEG_CS].attr & SEG_D ? CODE32 : CODE16;
	d->lin_mask = d->long64 ? ~0ull : 0xffffffffull;
	d->sp_mask = seg_sp_mask(&c->seg[SEG_SS], d->long64);
	derive_segments(c);
	d->block_key = block_key(c);
	if (d->code != code || d->cpl != cpl || d->pe != pe)
		cpu_trace(c, TRACE_MODE, d->code, d->cpl, c->cr0);
	c->ops->mode_changed(c);
}
