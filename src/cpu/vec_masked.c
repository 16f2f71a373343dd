/* SPDX-License-Identifier: Apache-2.0
 * Memory operands that a mask selects from, element by element: a masked-off element is neither read nor written, and
 * cannot fault (SDM 1, 15.6.4 "Fault suppression"; SDM 2 VMASKMOV, MASKMOVDQU).
 */
#include "cpu/vec.h"

static u64 whole_quadwords(u64 m)
{
	u64 out = 0;

	for (unsigned k = 0; k < 64; k += 8)
		if (m >> k & 0xff)
			out |= 0xffull << k;
	return out;
}

/* The bytes of the memory operand that the instruction touches, one bit a byte. */
static u64 touched_bytes(const struct vop *v, u64 mask)
{
	u64 n = v->n_elem >= 64 ? mask : mask & (BIT(v->n_elem) - 1), out = 0;
	unsigned count = v->mem_elem ? v->mem_size / v->mem_elem : 1;

	switch (v->masking) {
	case VM_BCAST:
		return n ? bytes_mask(8) >> (64 - v->mem_size) : 0;
	case VM_PACKED:
		n = BIT(0) * (u64)__builtin_popcountll(n);
		return n * v->mem_elem >= 64 ? ~0ull : BIT(n * v->mem_elem) - 1;
	default:
		for (unsigned k = 0; k < v->n_elem; k++)
			if (n >> k & 1)
				out |= (BIT(v->mem_elem) - 1) << (v->masking == VM_TUPLE ? k % count : k) * v->mem_elem;
		return v->masking == VM_QWORDS ? whole_quadwords(out) : out;
	}
}

static u64 sign_mask(const struct vop *v, const union vreg *r)
{
	u64 m = 0;

	for (unsigned k = 0; k < v->n_elem; k++)
		m |= (u64)(r->b[(k + 1) * v->mem_elem - 1] >> 7) << k;
	return m;
}

/* The next run of set bits at or after *at: its length, 0 when there is none. */
static unsigned next_run(u64 m, unsigned *at)
{
	u64 rest = *at < 64 ? m >> *at : 0;

	if (!rest)
		return 0;
	*at += (unsigned)__builtin_ctzll(rest);
	rest = ~(m >> *at);
	return MIN(64 - *at, rest ? (unsigned)__builtin_ctzll(rest) : 64);
}

/* Runs of bytes are no operands: their alignment is not checked. */
static int load_bytes(struct cpu *c, u64 lin, u8 *buf, u64 m, unsigned acc)
{
	unsigned at = 0, n;
	int out = OUT_DONE;

	acc |= ACC_NOALIGN;
	while (!out && (n = next_run(m, &at))) {
		out = vec_load(c, (lin + at) & c->d.lin_mask, buf + at, n, acc);
		at += n;
	}
	return out;
}

/* All or nothing: when there is more than one piece, each is tried for writing before the first is written. */
static int store_bytes(struct cpu *c, u64 lin, const u8 *buf, u64 m, unsigned acc)
{
	unsigned at = 0, n;
	u8 scratch[64];
	int out = OUT_DONE;

	acc |= ACC_NOALIGN;
	if (m & (m + (m & -m)))
		out = load_bytes(c, lin, scratch, m, acc | ACC_RMW);
	while (!out && (n = next_run(m, &at))) {
		out = vec_store(c, (lin + at) & c->d.lin_mask, buf + at, n, acc);
		at += n;
	}
	return out;
}

static int run_masked(struct cpu *c, const struct insn *i, const struct vop *v, u64 lin, u64 m)
{
	_Alignas(64) u8 buf[64] = { 0 };
	unsigned acc = insn_acc(i, 0);
	u32 mxcsr = c->mxcsr;
	int out = OUT_DONE;

	if (v->probe)
		out = vec_load(c, lin, buf, v->mem_size, acc | ACC_RMW);
	else if (v->mem_read || v->mxcsr) /* a page fault comes before a SIMD exception */
		out = load_bytes(c, lin, buf, m, v->mem_read ? acc : acc | ACC_RMW);
	if (!out)
		out = vec_run(c, i, v, buf);
	if (out || !v->mem_written)
		return out;
	out = store_bytes(c, lin, buf, m, acc);
	if (out)
		c->mxcsr = mxcsr;
	return out;
}

int vec_masked(struct cpu *c, const struct insn *i, const struct vop *v)
{
	u64 mask = v->mask_vvvv ? sign_mask(v, &c->zmm[i->vvvv]) : c->k[i->reg8 & 7];
	u64 m = touched_bytes(v, mask), lin = 0;
	int out = OUT_DONE;

	if (m || v->probe)
		out = insn_linear(c, i, v->mem_size, v->mem_written ? ACC_W : ACC_R, &lin);
	if (out)
		return out;
	if (m && v->align && (lin & (v->align - 1u)))
		return cpu_gp(c, 0);
	return run_masked(c, i, v, lin, m);
}

/* MASKMOVQ, MASKMOVDQU and VMASKMOVDQU: bytes of ModRM.reg to DS:rDI where the sign bit of ModRM.rm's byte is set. All
 * of the operand must be writable (observed on Zen 4; the manual leaves it open). i->stub carries the checks. */
int exec_maskmov(struct cpu *c, const struct insn *i)
{
	const struct vop *v = i->stub;
	const u8 *src = v->mmx ? mmx_reg(c, i->reg & 7) : c->zmm[i->reg].b;
	const u8 *sel = v->mmx ? mmx_reg(c, i->rm & 7) : c->zmm[i->rm].b;
	unsigned size = v->mmx ? 8 : 16;
	u8 bytes[16], probe[16];
	u64 m = 0, lin;
	int out = vec_has(c, v->feature) ? vec_gate(c, v->gate) : cpu_ud(c);

	if (!out && v->mmx)
		out = x87_pending(c);
	if (out)
		return out;
	for (unsigned k = 0; k < size; k++)
		m |= (u64)(sel[k] >> 7) << k;
	memcpy(bytes, src, size);
	if (v->mmx)
		mmx_commit(c); /* even when the store faults (observed on Zen 4 and Sapphire Rapids) */
	out = seg_linear(c, i->seg, c->r[RDI] & bytes_mask(i->asz), size, insn_acc(i, ACC_W), &lin);
	if (out)
		return out;
	out = cpu_ld(c, lin, probe, 8, insn_acc(i, ACC_RMW)); /* aligned to 8 bytes (Zen 4 does not ask for 16) */
	if (!out)
		out = cpu_ld(c, lin, probe, size, insn_acc(i, ACC_RMW | ACC_NOALIGN));
	return out ? out : store_bytes(c, lin, bytes, m, insn_acc(i, 0));
}
