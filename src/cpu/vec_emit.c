/* SPDX-License-Identifier: Apache-2.0
 * Makes the stub of a data instruction: the instruction re-encoded for 64-bit mode with its registers renamed and its
 * memory operand at [rsi], between loads of its inputs and stores of its outputs.
 *
 * Renaming (host register by place in the encoding; the stub's arguments point to the guest's registers):
 *
 *	place		argument	vector, MMX	mask	general
 *	ModRM.reg	rdx		1		k1	r10
 *	ModRM.rm	rcx		2		k2	r11
 *	vvvv		r8		3		k3	-
 *	is4 / aaa	r9		4		k4	-
 *	implied XMM0	[rdi + zmm]	0
 *
 * rdi is the struct cpu. A legacy SSE form loads and stores 16 bytes, which leaves the rest of the guest's register
 * alone; a VEX or EVEX form stores the whole host register, whose upper part the instruction has zeroed.
 */
#include "cpu/vec.h"

#include "cpu/optab.h"

struct emit {
	u8 *b;
	unsigned n;
};

enum { ARG_REG = 2, ARG_RM = 1, ARG_VVVV = 8, ARG_AUX = 9, ARG_MEM = 6, ARG_CPU = 7 }; /* host register numbers */

static void put(struct emit *e, u8 v)
{
	e->b[e->n++] = v;
}

static void put32(struct emit *e, u32 v)
{
	memcpy(e->b + e->n, &v, 4);
	e->n += 4;
}

static void put_bytes(struct emit *e, const void *p, unsigned n)
{
	memcpy(e->b + e->n, p, n);
	e->n += n;
}

static bool host_has_zmm(void)
{
	return __builtin_cpu_supports("avx512f");
}

/* ---- operands in and out ----------------------------------------------------------------------------------------- */

/* [base] or [base + off]; base has no special encoding among the arguments. */
static void put_mem(struct emit *e, unsigned reg, unsigned base, u32 off)
{
	put(e, (u8)((off ? 0x80 : 0) | (reg & 7) << 3 | (base & 7)));
	if (off)
		put32(e, off);
}

/* movups/vmovups between a vector register (0..7) and memory of 16, 32, 64 bytes; 16 in the legacy form unless vex. */
static void put_vmov(struct emit *e, unsigned reg, unsigned base, u32 off, unsigned size, bool vex, bool store)
{
	if (size == 64) {
		put(e, 0x62);
		put(e, base >= 8 ? 0xd1 : 0xf1);
		put(e, 0x7c);
		put(e, 0x48);
	} else if (vex) {
		put(e, 0xc4);
		put(e, base >= 8 ? 0xc1 : 0xe1);
		put(e, size == 32 ? 0x7c : 0x78);
	} else {
		if (base >= 8)
			put(e, 0x41);
		put(e, 0x0f);
	}
	put(e, store ? 0x11 : 0x10);
	put_mem(e, reg, base, off);
}

/* movq mm, m64 and back */
static void put_mmov(struct emit *e, unsigned reg, unsigned base, bool store)
{
	put(e, 0x0f);
	put(e, store ? 0x7f : 0x6f);
	put_mem(e, reg, base, 0);
}

/* kmovq (kmovw where the host has no AVX512BW) k, mem and back */
static void put_kmov(struct emit *e, unsigned k, unsigned base, bool store)
{
	put(e, 0xc4);
	put(e, base >= 8 ? 0xc1 : 0xe1);
	put(e, __builtin_cpu_supports("avx512bw") ? 0xf8 : 0x78);
	put(e, store ? 0x91 : 0x90);
	put_mem(e, k, base, 0);
}

/* mov r64 (r10, r11), [base] and back */
static void put_gmov(struct emit *e, unsigned reg, unsigned base, bool store)
{
	put(e, 0x4c);
	put(e, store ? 0x89 : 0x8b);
	put_mem(e, reg, base, 0);
}

static unsigned place_arg(u8 enc)
{
	return enc == OPE_REG ? ARG_REG : enc == OPE_RM ? ARG_RM : enc == OPE_VVVV ? ARG_VVVV : ARG_AUX;
}

static unsigned place_reg(u8 kind, u8 enc)
{
	if (kind == OPK_GPR)
		return enc == OPE_REG ? 10 : 11;
	return enc == OPE_REG ? 1 : enc == OPE_RM ? 2 : enc == OPE_VVVV ? 3 : 4;
}

static unsigned vector_size(const struct vparse *p, const struct operand *o)
{
	if (p->enc == ENC_LEGACY || o->size <= 16)
		return 16;
	return o->size <= 32 ? 32 : 64;
}

static void put_input(struct emit *e, const struct vparse *p, const struct operand *o)
{
	unsigned reg = place_reg(o->kind, o->enc), arg = place_arg(o->enc);

	if (o->kind == OPK_XMM && o->enc == OPE_IMPLICIT)
		put_vmov(e, 0, ARG_CPU, offsetof(struct cpu, zmm), 16, p->enc != ENC_LEGACY, false);
	else if (o->kind == OPK_XMM)
		put_vmov(e, reg, arg, 0, vector_size(p, o), p->enc != ENC_LEGACY, false);
	else if (o->kind == OPK_MMX)
		put_mmov(e, reg, arg, false);
	else if (o->kind == OPK_MASK)
		put_kmov(e, reg, arg, false);
	else if (o->kind == OPK_GPR && o->enc != OPE_IMPLICIT)
		put_gmov(e, reg, arg, false);
}

static void put_output(struct emit *e, const struct vparse *p, const struct operand *o)
{
	unsigned reg = place_reg(o->kind, o->enc), arg = place_arg(o->enc);
	unsigned full = p->enc == ENC_LEGACY ? 16 : host_has_zmm() ? 64 : 32;

	if (o->kind == OPK_XMM && o->enc == OPE_IMPLICIT)
		put_vmov(e, 0, ARG_CPU, offsetof(struct cpu, zmm), full, p->enc != ENC_LEGACY, true);
	else if (o->kind == OPK_XMM)
		put_vmov(e, reg, arg, 0, full, p->enc != ENC_LEGACY, true);
	else if (o->kind == OPK_MMX)
		put_mmov(e, reg, arg, true);
	else if (o->kind == OPK_MASK)
		put_kmov(e, reg, arg, true);
	else if (o->kind == OPK_GPR && o->enc != OPE_IMPLICIT)
		put_gmov(e, reg, arg, true);
}

/* The implied general registers of PCMPESTRx: RAX and RDX in, RCX out. They come last in and first out, because the
 * arguments stand in RDX and RCX. */
static void put_implied_gpr(struct emit *e, const struct operands *o, bool out)
{
	for (unsigned k = 0; k < o->n; k++) {
		const struct operand *p = &o->op[k];

		if (p->kind != OPK_GPR || p->enc != OPE_IMPLICIT || !(out ? p->written : p->read))
			continue;
		put(e, 0x48);
		put(e, out ? 0x89 : 0x8b);
		put_mem(e, p->reg, ARG_CPU, (u32)(offsetof(struct cpu, r) + 8u * p->reg));
	}
}

_Static_assert(offsetof(struct cpu, r) == 0 && RCX == 1 && RDX == 2, "put_implied_gpr: RAX at [rdi] needs no offset");

/* ---- the instruction itself ----------------------------------------------------------------------------------------
 */

static bool is_group(const struct vparse *p)
{
	return p->map == 1 && ((p->opcode >= 0x71 && p->opcode <= 0x73) ||
			       (p->opcode == 0x78 && p->enc == ENC_LEGACY && p->pp == PFX_66));
}

static const struct operand *by_place(const struct operands *o, u8 enc)
{
	for (unsigned k = 0; k < o->n; k++)
		if (o->op[k].enc == enc && o->op[k].kind != OPK_MEM && o->op[k].kind != OPK_IMM)
			return &o->op[k];
	return NULL;
}

static unsigned new_reg(const struct operands *o, u8 enc, unsigned absent)
{
	const struct operand *p = by_place(o, enc);

	return p ? place_reg(p->kind, enc) : absent;
}

static void put_legacy_prefixes(struct emit *e, const struct vparse *p, unsigned reg, unsigned rm)
{
	static const u8 byte[] = { [PFX_66] = 0x66, [PFX_F3] = 0xf3, [PFX_F2] = 0xf2 };
	u8 rex = (u8)(p->w << 3 | (reg >> 3 & 1) << 2 | (rm >> 3 & 1));

	if (p->pp)
		put(e, byte[p->pp]);
	if (rex || reg == 10 || rm == 11)
		put(e, 0x40 | rex);
	put(e, 0x0f);
	if (p->map > 1)
		put(e, p->map == 2 ? 0x38 : 0x3a);
}

static const u8 pp_bits[] = { [PFX_NONE] = 0, [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3 };

static u8 vex_rb(unsigned reg, unsigned rm)
{
	return (u8)((~reg >> 3 & 1) << 7 | 0x40 | (~rm >> 3 & 1) << 5);
}

static void put_vex_prefix(struct emit *e, const struct vparse *p, unsigned reg, unsigned rm, unsigned v)
{
	put(e, 0xc4);
	put(e, vex_rb(reg, rm) | p->map);
	put(e, (u8)(p->w << 7 | (~v & 15) << 3 | p->ll << 2 | pp_bits[p->pp]));
}

static void put_evex_prefix(struct emit *e, const struct vparse *p, unsigned reg, unsigned rm, unsigned v)
{
	put(e, 0x62);
	put(e, vex_rb(reg, rm) | 0x10 | p->map);
	put(e, (u8)(p->w << 7 | (~v & 15) << 3 | 4 | pp_bits[p->pp]));
	put(e, (u8)(p->z << 7 | p->ll << 5 | p->b << 4 | 8 | (p->aaa ? 4 : 0)));
}

static void put_instruction(struct emit *e, const struct vparse *p, const struct operands *o)
{
	unsigned reg = is_group(p) ? p->reg & 7 : new_reg(o, OPE_REG, p->modrm >> 3 & 7);
	unsigned rm = p->mem ? ARG_MEM : new_reg(o, OPE_RM, p->modrm & 7), v = new_reg(o, OPE_VVVV, 0);

	if (p->enc == ENC_LEGACY)
		put_legacy_prefixes(e, p, reg, rm);
	else if (p->enc == ENC_VEX)
		put_vex_prefix(e, p, reg, rm, v);
	else
		put_evex_prefix(e, p, reg, rm, v);
	put(e, p->opcode);
	put(e, (u8)((p->mem ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7)));
	if (by_place(o, OPE_IS4))
		put(e, (u8)(4 << 4 | (p->imm[0] & 15)));
	else
		put_bytes(e, p->imm, p->nimm);
}

/* ---- the whole stub
 * --------------------------------------------------------------------------------------------------- */

static bool is_live(const struct operand *o, const struct operands *all)
{
	return !(o->enc == OPE_MASK && !all->mask_reg);
}

static void put_mxcsr_in(struct emit *e)
{
	put_bytes(e, "\x0f\xae\x97", 3); /* ldmxcsr [rdi + mxcsr] */
	put32(e, offsetof(struct cpu, mxcsr));
}

static void put_mxcsr_out(struct emit *e)
{
	put_bytes(e, "\x0f\xae\x9f", 3); /* stmxcsr [rdi + mxcsr] */
	put32(e, offsetof(struct cpu, mxcsr));
	put_bytes(e, "\xc7\x44\x24\xf8\x80\x1f\x00\x00", 8); /* mov dword [rsp - 8], 0x1f80 */
	put_bytes(e, "\x0f\xae\x54\x24\xf8", 5);	     /* ldmxcsr [rsp - 8] */
}

/* lahf; seto al; mov [rdi + aflags], ax */
static void put_flags_out(struct emit *e)
{
	put_bytes(e, "\x9f\x0f\x90\xc0\x66\x89\x87", 7);
	put32(e, offsetof(struct cpu, aflags));
}

static unsigned put_stub(u8 *out, const struct vparse *p, const struct operands *o, const struct vop *v)
{
	struct emit e = { .b = out };

	for (unsigned k = 0; k < o->n; k++)
		if (is_live(&o->op[k], o))
			put_input(&e, p, &o->op[k]);
	put_implied_gpr(&e, o, false);
	if (o->mxcsr)
		put_mxcsr_in(&e);
	put_instruction(&e, p, o);
	put_implied_gpr(&e, o, true);
	for (unsigned k = 0; k < o->n; k++)
		if (is_live(&o->op[k], o) && o->op[k].written)
			put_output(&e, p, &o->op[k]);
	if (o->writes_flags)
		put_flags_out(&e);
	if (o->mxcsr)
		put_mxcsr_out(&e);
	if (v->mmx)
		put_bytes(&e, "\x0f\x77", 2); /* emms */
	if (p->enc != ENC_LEGACY)
		put_bytes(&e, "\xc5\xf8\x77", 3); /* vzeroupper */
	put_bytes(&e, "\x31\xc0\xc3", 3);	  /* xor eax, eax; ret */
	return e.n;
}

/* ---- what the executor must know
 * ------------------------------------------------------------------------------------------ */

static u8 find_gate(const struct vparse *p, const struct operands *o)
{
	bool xmm = false, mmx = false, mask = false;

	for (unsigned k = 0; k < o->n; k++) {
		xmm |= o->op[k].kind == OPK_XMM;
		mmx |= o->op[k].kind == OPK_MMX;
		mask |= o->op[k].kind == OPK_MASK;
	}
	if (p->enc == ENC_EVEX || mask)
		return GATE_AVX512;
	if (p->enc == ENC_VEX)
		return GATE_AVX;
	return xmm ? GATE_SSE : mmx ? GATE_MMX : GATE_NONE;
}

static bool name_starts(const struct operands *o, const char *a)
{
	return !strncmp(o->mnemonic, a, strlen(a));
}

/* VMASKMOVPS/D, VPMASKMOVD/Q: the sign bits of the vvvv operand select elements. */
static bool is_maskmov(const struct vparse *p, const struct operands *o)
{
	return p->enc == ENC_VEX && (name_starts(o, "vmaskmov") || name_starts(o, "vpmaskmov"));
}

static void find_masking(const struct vparse *p, const struct operands *o, const struct operand *mem, struct vop *v)
{
	const struct operand *dst = &o->op[0];
	unsigned n = mem->elem_size ? mem->size / mem->elem_size : 1;
	unsigned nd = dst->kind == OPK_XMM && dst->elem_size ? dst->size / dst->elem_size : n;

	v->masking = VM_PLAIN;
	if (is_maskmov(p, o)) {
		v->masking = VM_ELEMS;
		v->mask_vvvv = true;
	} else if (p->enc != ENC_EVEX || !o->mask_reg) {
		return;
	} else if (strstr(o->mnemonic, "expand") || strstr(o->mnemonic, "compress")) {
		v->masking = VM_PACKED;
	} else if ((!o->suppress && !mem->written) || strstr(o->mnemonic, "dbpsadbw")) {
		return;
	} else if (strstr(o->mnemonic, "affine") && !o->broadcast) {
		v->masking = VM_QWORDS;
		n = nd;
	} else if (o->broadcast) {
		v->masking = VM_BCAST;
	} else {
		v->masking = strstr(o->mnemonic, "broadcast") ? VM_TUPLE : VM_ELEMS;
	}
	v->probe = mem->written && !o->suppress && !v->mask_vvvv;
	v->n_elem = (u8)(v->masking == VM_TUPLE || v->masking == VM_BCAST ? nd : MIN(n, nd));
	v->mem_elem = (u8)(v->masking == VM_ELEMS || v->masking == VM_QWORDS ? mem->size / v->n_elem
			   : v->masking == VM_TUPLE			     ? dst->elem_size
									     : mem->elem_size);
	/* conversions to a smaller type leave the upper half of an XMM register out, and what masks it */
	if (v->masking == VM_BCAST && name_starts(o, "vcvt"))
		v->n_elem = (u8)MIN(nd, o->vlen / MAX(1, mem->elem_size));
	else if (v->masking == VM_BCAST && dst->kind != OPK_XMM)
		v->n_elem = (u8)(o->vlen / MAX(1, mem->elem_size));
}

static void find_memory(const struct vparse *p, const struct operands *o, struct vop *v)
{
	for (unsigned k = 0; k < o->n; k++) {
		const struct operand *m = &o->op[k];

		if (m->kind != OPK_MEM)
			continue;
		v->mem_size = (u8)m->size;
		v->mem_read = m->read;
		v->mem_written = m->written;
		v->align = o->align;
		v->align_explicit = o->align_explicit;
		v->unaligned_on_amd = o->unaligned_on_amd;
		find_masking(p, o, m, v);
	}
}

static void find_places(const struct vparse *p, const struct operands *o, struct vop *v)
{
	for (unsigned k = 0; k < o->n; k++) {
		const struct operand *m = &o->op[k];

		if (m->kind == OPK_MMX) {
			v->mmx = true;
			if (m->written)
				v->mmx_written = m->enc;
		}
		if (m->kind == OPK_IMM || m->kind == OPK_MEM || !is_live(m, o))
			continue;
		if (m->enc == OPE_REG && !is_group(p))
			v->reg_kind = m->kind;
		else if (m->enc == OPE_RM)
			v->rm_kind = m->kind;
		else if (m->enc == OPE_VVVV)
			v->vvvv_kind = m->kind;
		else if (m->enc == OPE_IS4 || m->enc == OPE_MASK)
			v->aux_kind = m->kind;
	}
}

/* Gathers and scatters run element by element in C and have no code. */
static unsigned make_vsib(const struct vparse *p, const struct operands *o, struct vop *v)
{
	for (unsigned k = 0; k < o->n; k++)
		if (o->op[k].kind == OPK_VSIB) {
			bool scatter = o->op[k].written;

			/* map 2, opcodes 90..93 and A0..A3: bit 0 is the index size */
			v->index_size = p->opcode & 1 ? 8 : 4;
			v->mem_elem = p->w ? 8 : 4;
			v->vlen = o->vlen;
			v->exec = p->enc == ENC_VEX ? exec_gather_vex : scatter ? exec_scatter : exec_gather_evex;
			return 1;
		}
	return 0;
}

static bool is_vsib(const struct operands *o)
{
	for (unsigned k = 0; k < o->n; k++)
		if (o->op[k].kind == OPK_VSIB)
			return true;
	return false;
}

static void find_written(const struct operands *o, struct vop *v)
{
	v->writes_flags = o->writes_flags;
	for (unsigned k = 0; k < o->n; k++) {
		if (o->op[k].kind != OPK_GPR)
			continue;
		v->gpr_reg_written |= o->op[k].enc == OPE_REG && o->op[k].written;
		v->gpr_rm_written |= o->op[k].enc == OPE_RM && o->op[k].written;
		v->gpr_implied |= o->op[k].enc != OPE_REG && o->op[k].enc != OPE_RM;
	}
}

unsigned vec_emit(const struct vparse *p, const struct insn *i, enum cpu_code code, struct vop *v, u8 *out)
{
	struct operands o;

	if (!decode_operands(i, code, &o))
		return 0;
	v->gate = find_gate(p, &o);
	v->mxcsr = o.mxcsr;
	v->vlen = o.vlen;
	find_written(&o, v);
	memcpy(v->feature, o.feature, sizeof(v->feature));
	out[0] = 0xc3;
	if (is_vsib(&o))
		return make_vsib(p, &o, v);
	if (p->map == 1 && p->opcode == 0xf7) { /* MASKMOVQ, MASKMOVDQU: C alone */
		find_places(p, &o, v);
		v->exec = exec_maskmov;
		return 1;
	}
	find_memory(p, &o, v);
	find_places(p, &o, v);
	v->exec = p->mem ? exec_vec_mem : exec_vec_reg;
	return put_stub(out, p, &o, v);
}

/* The x87 state in, the instruction, and back: fxrstor64 [rdi]; …; fxsave64 [rdi]; fninit; xor eax, eax;
 * ret. FXSAVE and FNINIT do not wait, so that an unmasked exception stays a bit in the image. */
unsigned x87_emit(u8 opcode, u8 modrm, bool flags_in, bool flags_out, u8 *out)
{
	struct emit e = { .b = out };
	bool mem = modrm < 0xc0;

	put_bytes(&e, "\x49\x89\xd0", 3);     /* mov r8, rdx */
	put_bytes(&e, "\x48\x0f\xae\x0f", 4); /* fxrstor64 [rdi] */
	if (flags_in) {
		put_bytes(&e, "\x66\x41\x8b\x00", 4); /* mov ax, [r8] */
		put_bytes(&e, "\x04\x7f\x9e", 3);     /* add al, 0x7f; sahf */
	}
	put(&e, opcode);
	put(&e, mem ? (modrm & 0x38) | ARG_MEM : modrm);
	if (flags_out) {
		put_bytes(&e, "\x9f\x0f\x90\xc0", 4); /* lahf; seto al */
		put_bytes(&e, "\x66\x41\x89\x00", 4); /* mov [r8], ax */
	}
	put_bytes(&e, "\x48\x0f\xae\x07", 4);	  /* fxsave64 [rdi] */
	put_bytes(&e, "\xdb\xe3\x31\xc0\xc3", 5); /* fninit; xor eax, eax; ret */
	return e.n;
}
