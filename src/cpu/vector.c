/* SPDX-License-Identifier: Apache-2.0
 * Data instructions: MMX, SSE and all that followed. Each executes as the very instruction on the host, in a small stub
 * over the saved registers (vec_emit.c), so that every result, rounding and flag is the silicon's. What surrounds the
 * instruction is here: features, mode checks, addresses, memory, alignment, exceptions.
 *
 * Invariants
 *  1. A stub stores nothing when the instruction raised an unmasked SIMD exception (the SIGFPE of vec_code.c); a stub
 *     whose result goes to memory changes no register but MXCSR, which is put back when the store faults.
 *  2. Memory is read into, and written from, a private 64-byte buffer; the stub never sees a guest address.
 *  3. What a stub depends on besides its arguments is in its key: two instructions that differ in registers or address
 *     share one.
 */
#include "cpu/vec.h"

#include "cpu/cpuid.h"
#include "cpu/optab.h"

/* ---- checks ----------------------------------------------------------------------------------------------------- */

bool vec_has(const struct cpu *c, const u16 *feature)
{
	for (unsigned k = 0; k < 4 && feature[k]; k++)
		if (!cpu_has(c, feature[k] - 1))
			return false;
	return true;
}

/* SDM 2, tables 2-16 and on: #UD by CR0.EM, CR4, XCR0; then #NM; then a pending x87 exception for MMX. */
int vec_gate_slow(struct cpu *c, unsigned gate)
{
	bool ok = true;

	switch (gate) {
	case GATE_NONE:
		return OUT_DONE;
	case GATE_X87:
		return c->cr0 & (CR0_EM | CR0_TS) ? cpu_raise(c, EXC_NM) : OUT_DONE;
	case GATE_MMX:
		ok = !(c->cr0 & CR0_EM);
		break;
	case GATE_SSE:
		ok = !(c->cr0 & CR0_EM) && (c->cr4 & CR4_OSFXSR);
		break;
	case GATE_AVX:
		ok = (c->cr4 & CR4_OSXSAVE) && (c->xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX);
		break;
	case GATE_AVX512:
		ok = (c->cr4 & CR4_OSXSAVE) && (c->xcr0 & XCR0_AVX512) == XCR0_AVX512;
		break;
	}
	if (!ok)
		return cpu_ud(c);
	return c->cr0 & CR0_TS ? cpu_raise(c, EXC_NM) : OUT_DONE;
}

int vec_simd_fault(struct cpu *c, u32 mxcsr)
{
	if (mxcsr == STUB_ILLEGAL)
		return cpu_ud(c);
	c->mxcsr = (c->mxcsr & ~MXCSR_FLAGS) | (mxcsr & MXCSR_FLAGS) | (c->mxcsr & MXCSR_FLAGS);
	return cpu_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

static inline int vec_checks(struct cpu *c, const struct vop *v)
{
	int out;

	if (unlikely(!vec_has(c, v->feature)))
		return cpu_ud(c);
	out = vec_gate(c, v->gate);
	if (unlikely(v->mmx) && likely(!out))
		out = x87_pending(c);
	return out;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Sizes that have an accessor of their own are one access, hence atomic where the hardware's would be. */
int vec_load(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc)
{
	switch (size) {
	case 1:
		return cpu_ld8(c, lin, buf, acc);
	case 2:
		return cpu_ld16(c, lin, buf, acc);
	case 4:
		return cpu_ld32(c, lin, buf, acc);
	case 8:
		return cpu_ld64(c, lin, buf, acc);
	case 16:
		return cpu_ld(c, lin, buf, 16, acc);
	default:
		return cpu_ld(c, lin, buf, size, acc);
	}
}

int vec_store(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc)
{
	u64 v = 0;

	if (size <= 8)
		memcpy(&v, buf, size);
	switch (size) {
	case 1:
		return cpu_st8(c, lin, (u8)v, acc);
	case 2:
		return cpu_st16(c, lin, (u16)v, acc);
	case 4:
		return cpu_st32(c, lin, (u32)v, acc);
	case 8:
		return cpu_st64(c, lin, v, acc);
	case 16:
		return cpu_st(c, lin, buf, 16, acc);
	default:
		return cpu_st(c, lin, buf, size, acc);
	}
}

int vec_aligned_first(struct cpu *c, const struct insn *i, unsigned align, int out)
{
	bool misaligned = align && ((c->seg[i->seg].base + insn_ea(c, i)) & (align - 1));

	return misaligned && !c->d.long64 && c->exc.vector == EXC_SS ? cpu_gp(c, 0) : out;
}

static int vec_address(struct cpu *c, const struct insn *i, const struct vop *v, u64 *lin)
{
	int out = insn_linear(c, i, v->mem_size, v->mem_written ? ACC_W : ACC_R, lin);

	bool lax = !v->align_explicit && !v->mem_written &&
		   ((c->mxcsr & MXCSR_MM) || (v->unaligned_on_amd && cpu_is_amd(c)));

	if (unlikely(out))
		return lax ? out : vec_aligned_first(c, i, v->align, out);
	if (likely(!v->align || !(*lin & (v->align - 1u))) || lax)
		return OUT_DONE;
	return cpu_gp(c, 0);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static inline void *reg_ptr(struct cpu *c, u8 kind, unsigned n)
{
	switch (kind) {
	case OPK_XMM:
		return &c->zmm[n];
	case OPK_MASK:
		return &c->k[n & 7];
	case OPK_MMX:
		return mmx_reg(c, n & 7);
	case OPK_GPR:
		return &c->r[n & 15];
	default:
		return NULL;
	}
}

/* The upper 16 bits of the x87 register behind a written MMX register become ones (SDM 1, 9.6.2). A conversion that
 * raises a SIMD exception has left x87 mode all the same (observed on Zen 4). */
static void mmx_finish(struct cpu *c, const struct insn *i, const struct vop *v, int out)
{
	u8 *st;

	if (v->mmx_written && !out) {
		st = mmx_reg(c, (v->mmx_written == OPE_REG ? i->reg : i->rm) & 7);
		st[8] = st[9] = 0xff;
	}
	mmx_commit(c);
}

/* Calls the stub with the instruction's registers; OUT_DONE or the SIMD fault. */
int vec_run(struct cpu *c, const struct insn *i, const struct vop *v, void *mem)
{
	unsigned aux = v->aux_kind == OPK_MASK ? i->reg8 : i->rm8;
	u32 fault;

	if (unlikely(v->mxcsr && (c->mxcsr & MXCSR_MASKS) != MXCSR_MASKS))
		vec_expect_fault();
	fault = v->run(c, mem, reg_ptr(c, v->reg_kind, i->reg), reg_ptr(c, v->rm_kind, i->rm),
		       reg_ptr(c, v->vvvv_kind, i->vvvv), reg_ptr(c, v->aux_kind, aux));
	if (unlikely(fault))
		return vec_simd_fault(c, fault);
	if (unlikely(!v->proven))
		((struct vop *)v)->proven = true;
	return OUT_DONE;
}

int exec_vec_reg(struct cpu *c, const struct insn *i)
{
	const struct vop *v = i->stub;
	int out = vec_checks(c, v);

	if (unlikely(out))
		return out;
	out = vec_run(c, i, v, NULL);
	if (unlikely(v->mmx))
		mmx_finish(c, i, v, out);
	return out;
}

int exec_vec_mem(struct cpu *c, const struct insn *i)
{
	_Alignas(64) u8 buf[64];
	const struct vop *v = i->stub;
	u32 mxcsr = c->mxcsr;
	u64 lin;
	int out = vec_checks(c, v);

	if (unlikely(out))
		return out;
	if (unlikely(v->masking != VM_PLAIN))
		return vec_masked(c, i, v);
	out = vec_address(c, i, v, &lin);
	if (likely(!out) && v->mem_read)
		out = vec_load(c, lin, buf, v->mem_size, insn_acc(i, 0));
	else if (unlikely(v->mxcsr) && !out && v->mem_written) /* a page fault comes before a SIMD exception */
		out = vec_load(c, lin, buf, v->mem_size, insn_acc(i, ACC_RMW));
	if (unlikely(out))
		return out;
	out = vec_run(c, i, v, buf);
	if (likely(!out) && v->mem_written) {
		out = vec_store(c, lin, buf, v->mem_size, insn_acc(i, 0));
		if (unlikely(out)) {
			c->mxcsr = mxcsr;
			return out;
		}
	}
	if (unlikely(v->mmx))
		mmx_finish(c, i, v, out);
	return out;
}

/* ---- binding ----------------------------------------------------------------------------------------------------- */

/* Bits of W that 64-bit mode alone knows: the size of a general register operand (SDM 2, 2.3.5.2 and the WIG notes). */
static bool w_is_gpr_size(const struct vparse *p)
{
	if (p->map == 3)
		return p->opcode == 0x16 || p->opcode == 0x22 || p->opcode == 0x60 || p->opcode == 0x61;
	if (p->map == 2)
		return p->enc == ENC_EVEX && p->opcode == 0x7c;
	if (p->map != 1)
		return false;
	if (p->opcode == 0x92 || p->opcode == 0x93)
		return p->enc == ENC_VEX && p->pp == PFX_F2;
	if (p->opcode == 0x6e || p->opcode == 0x7e)
		return p->pp == PFX_66;
	return (p->opcode == 0x2a || p->opcode == 0x2c || p->opcode == 0x2d || p->opcode == 0x78 || p->opcode == 0x79 ||
		p->opcode == 0x7b) &&
	       p->pp >= PFX_F3;
}

static bool names_is4(const struct vparse *p)
{
	return p->enc == ENC_VEX && p->map == 3 &&
	       ((p->opcode >= 0x4a && p->opcode <= 0x4c) || (p->opcode >= 0x5c && p->opcode <= 0x5f) ||
		(p->opcode >= 0x68 && p->opcode <= 0x7f) || p->opcode == 0x48 || p->opcode == 0x49);
}

/* Everything that the stub depends on: the encoding without register numbers and addresses. Registers count where they
 * are part of the opcode (groups), where mod = 3 or not decides, and as "some mask" or "no mask". */
static unsigned make_key(const struct vparse *p, enum cpu_code code, u8 *key)
{
	unsigned n = 0;
	bool ext = p->map == 1 && ((p->opcode >= 0x71 && p->opcode <= 0x73) || p->opcode == 0x78);

	key[n++] = (u8)(p->enc | p->map << 2 | (code == CODE64) << 7);
	key[n++] = (u8)(p->pp | p->w << 2 | p->ll << 3 | p->b << 5 | p->z << 6 | (p->aaa != 0) << 7);
	key[n++] = p->opcode;
	key[n++] = (u8)(p->mem | (ext ? (p->reg & 7) << 1 : 0) | p->nimm << 5);
	for (unsigned k = 0; k < p->nimm; k++)
		key[n++] = names_is4(p) ? p->imm[k] & 15 : p->imm[k];
	return n;
}

/* The cache cannot take more: the instruction is made anew each time. */
static int exec_vec_overflow(struct cpu *c, const struct insn *i)
{
	u8 code[VEC_CODE_MAX];
	struct vop v = { .key_len = 0 };
	struct vparse p;
	unsigned n;

	if (!vec_parse(i, c->d.code, &p))
		return OUT_UNIMPL;
	if (c->d.code != CODE64 && w_is_gpr_size(&p))
		p.w = 0;
	n = vec_emit(&p, i, c->d.code, &v, code);
	return n ? vec_scratch_exec(c, i, &v, code, n) : OUT_UNIMPL;
}

static bool bind_stub(struct insn *i, enum cpu_code code, const struct vparse *p)
{
	u8 text[VEC_CODE_MAX];
	struct vop v = { .key_len = 0 };
	const struct vop *found;
	unsigned n;

	v.key_len = (u8)make_key(p, code, v.key);
	found = vec_cache_find(v.key, v.key_len);
	if (!found) {
		n = vec_emit(p, i, code, &v, text);
		if (!n)
			return false;
		found = vec_cache_add(&v, text, n);
	}
	i->stub = found;
	i->exec = found ? found->exec : exec_vec_overflow;
	return true;
}

/* What vec_fast.c does in C has a stub all the same, made here. */
static const struct vop *describe_fast(const struct insn *i, enum cpu_code code, const struct vparse *p)
{
	struct insn copy = *i;

	return bind_stub(&copy, code, p) && copy.exec != exec_vec_overflow ? copy.stub : NULL;
}

const struct vop *vec_describe(const struct insn *i, enum cpu_code code, struct vparse *p)
{
	const struct vop *v = i->stub;

	if (i->exec == exec_x87_reg || i->exec == exec_x87_mem)
		return v;
	if (i->map == MAP_1 || !vec_parse(i, code, p))
		return NULL;
	if (code != CODE64 && w_is_gpr_size(p))
		p->w = 0;
	if (i->exec == exec_vec_reg || i->exec == exec_vec_mem)
		return v->proven ? v : NULL;
	return i->exec == vec_fast_find(p) ? describe_fast(i, code, p) : NULL;
}

static bool is_x87(const struct vparse *p)
{
	return !p->map && p->enc == ENC_LEGACY && ((p->opcode & 0xf8) == 0xd8 || p->opcode == 0x9b);
}

bool vector_bind(struct insn *i, enum cpu_code code)
{
	struct vparse p;
	exec_fn *fast;

	if (!vec_parse(i, code, &p))
		return false;
	if (is_x87(&p))
		return x87_bind(i);
	if (p.map < 1 || p.map > 6)
		return false;
	if (code != CODE64 && w_is_gpr_size(&p))
		p.w = 0;
	i->reg = p.reg;
	i->vvvv = p.vvvv;
	i->rm = p.mem ? p.vindex : p.rm;
	i->reg8 = p.aaa;
	i->rm8 = p.is4;
	if (vec_state_bind(i, &p))
		return true;
	fast = vec_fast_find(&p);
	if (fast) {
		i->exec = fast;
		return true;
	}
	return bind_stub(i, code, &p);
}
