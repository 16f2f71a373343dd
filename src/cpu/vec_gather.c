/* SPDX-License-Identifier: Apache-2.0
 * Gathers and scatters: element by element, lowest first, in C, since every element is an access of its own. A fault
 * keeps what is done: finished elements and their cleared mask bits are architectural then, and the restarted
 * instruction goes on (SDM 2C VGATHERDPS, "if a fault is triggered …"; VSCATTERDPS).
 */
#include "cpu/vec.h"

static int gather_checks(struct cpu *c, const struct vop *v)
{
	return vec_has(c, v->feature) ? vec_gate(c, v->gate) : cpu_ud(c);
}

static u64 element_offset(const struct cpu *c, const struct insn *i, const struct vop *v, unsigned k)
{
	const union vreg *x = &c->zmm[i->rm];
	u64 index = v->index_size == 8 ? x->q[k] : (u64)(s64)(s32)x->d[k];

	return (c->r[i->base] + (index << i->scale) + (u64)(s64)i->disp) & i->amask;
}

static unsigned count(const struct vop *v)
{
	return v->vlen / MAX(v->index_size, v->mem_elem);
}

static void zero_above(union vreg *r, unsigned bytes)
{
	memset(r->b + bytes, 0, sizeof(r->b) - bytes);
}

static int gather_one(struct cpu *c, const struct insn *i, const struct vop *v, unsigned k, union vreg *dst)
{
	u64 lin;
	int out = seg_linear(c, i->seg, element_offset(c, i, v, k), v->mem_elem, insn_acc(i, 0), &lin);

	return out ? out : vec_load(c, lin, dst->b + k * v->mem_elem, v->mem_elem, insn_acc(i, 0));
}

/* AVX2: the mask is the sign bits of vvvv; done elements are cleared to 0, all of the register at the end. */
int exec_gather_vex(struct cpu *c, const struct insn *i)
{
	const struct vop *v = i->stub;
	union vreg *dst = &c->zmm[i->reg], *mask = &c->zmm[i->vvvv];
	unsigned es = v->mem_elem, n = count(v);
	int out = gather_checks(c, v);

	if (!out && (i->reg == i->rm || i->reg == i->vvvv || i->rm == i->vvvv))
		out = cpu_ud(c);
	for (unsigned k = 0; k < n && !out; k++) {
		if (mask->b[(k + 1) * es - 1] & 0x80)
			out = gather_one(c, i, v, k, dst);
		if (!out)
			memset(mask->b + k * es, 0, es);
	}
	if (out)
		return out;
	memset(mask->b, 0, sizeof(mask->b));
	zero_above(dst, n * es);
	return OUT_DONE;
}

int exec_gather_evex(struct cpu *c, const struct insn *i)
{
	const struct vop *v = i->stub;
	u64 *mask = &c->k[i->reg8 & 7];
	unsigned n = count(v);
	int out = gather_checks(c, v);

	if (!out && (!i->reg8 || i->reg == i->rm))
		out = cpu_ud(c);
	for (unsigned k = 0; k < n && !out; k++) {
		if (!(*mask >> k & 1))
			continue;
		out = gather_one(c, i, v, k, &c->zmm[i->reg]);
		if (out)
			return out;
		*mask &= ~BIT(k);
		zero_above(&c->zmm[i->reg], n * v->mem_elem); /* at once, even if a later element faults (Zen 4) */
	}
	if (out)
		return out;
	*mask = 0;
	zero_above(&c->zmm[i->reg], n * v->mem_elem);
	return OUT_DONE;
}

int exec_scatter(struct cpu *c, const struct insn *i)
{
	const struct vop *v = i->stub;
	u64 *mask = &c->k[i->reg8 & 7], lin;
	unsigned n = count(v), acc = insn_acc(i, 0);
	int out = gather_checks(c, v);

	if (!out && !i->reg8)
		out = cpu_ud(c);
	for (unsigned k = 0; k < n && !out; k++) {
		if (!(*mask >> k & 1))
			continue;
		out = seg_linear(c, i->seg, element_offset(c, i, v, k), v->mem_elem, acc | ACC_W, &lin);
		if (!out)
			out = vec_store(c, lin, c->zmm[i->reg].b + k * v->mem_elem, v->mem_elem, acc);
		if (!out)
			*mask &= ~BIT(k);
	}
	if (!out)
		*mask = 0;
	return out;
}
