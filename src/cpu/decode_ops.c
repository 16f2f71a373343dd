/* SPDX-License-Identifier: Apache-2.0
 * The operand lists of data instructions: what decode_insn() leaves out because only the makers of host stubs ask for
 * it, once a stub. Features by the manual's "CPUID Feature Flag" column, alignment and fault suppression by its
 * exception types (SDM 2, 2.4 "AVX and SSE instruction exception classification" and 2.7 "EVEX").
 */
#include "cpu/decode.h"

#include <Zydis/Zydis.h>

#include "cpu/cpuid.h"

#define F(x) (FEAT_##x + 1)

struct set_features {
	u16 set, f[3];
};

/* The sets of the AVX-512 families by vector length: 128 and 256 also need VL. */
#define SET512(name, ...)                                                 \
	{ ZYDIS_ISA_SET_##name##_128, { F(AVX512VL), __VA_ARGS__ } },     \
	    { ZYDIS_ISA_SET_##name##_256, { F(AVX512VL), __VA_ARGS__ } }, \
	{                                                                 \
		ZYDIS_ISA_SET_##name##_512,                               \
		{                                                         \
			F(AVX512F), __VA_ARGS__                           \
		}                                                         \
	}

static const struct set_features set_features[] = {
	{ ZYDIS_ISA_SET_X87, { F(FPU) } },
	{ ZYDIS_ISA_SET_FCMOV, { F(FPU), F(CMOV) } },
	{ ZYDIS_ISA_SET_SSE3X87, { F(FPU), F(SSE3) } },
	{ ZYDIS_ISA_SET_PENTIUMMMX, { F(MMX) } },
	{ ZYDIS_ISA_SET_SSE, { F(SSE) } },
	{ ZYDIS_ISA_SET_SSEMXCSR, { F(SSE) } },
	{ ZYDIS_ISA_SET_SSE2, { F(SSE2) } },
	{ ZYDIS_ISA_SET_SSE2MMX, { F(SSE2) } },
	{ ZYDIS_ISA_SET_SSE3, { F(SSE3) } },
	{ ZYDIS_ISA_SET_SSSE3, { F(SSSE3) } },
	{ ZYDIS_ISA_SET_SSSE3MMX, { F(SSSE3) } },
	{ ZYDIS_ISA_SET_SSE4, { F(SSE41) } },
	{ ZYDIS_ISA_SET_SSE42, { F(SSE42) } },
	{ ZYDIS_ISA_SET_SSE4A, { F(SSE4A) } },
	{ ZYDIS_ISA_SET_AES, { F(AES) } },
	{ ZYDIS_ISA_SET_PCLMULQDQ, { F(PCLMULQDQ) } },
	{ ZYDIS_ISA_SET_SHA, { F(SHA) } },
	{ ZYDIS_ISA_SET_GFNI, { F(GFNI) } },
	{ ZYDIS_ISA_SET_AVX, { F(AVX) } },
	{ ZYDIS_ISA_SET_AVXAES, { F(AVX), F(AES) } },
	{ ZYDIS_ISA_SET_AVX_GFNI, { F(AVX), F(GFNI) } },
	{ ZYDIS_ISA_SET_AVX_VNNI, { F(AVX_VNNI) } },
	{ ZYDIS_ISA_SET_AVX2, { F(AVX2) } },
	{ ZYDIS_ISA_SET_AVX2GATHER, { F(AVX2) } },
	{ ZYDIS_ISA_SET_F16C, { F(AVX), F(F16C) } },
	{ ZYDIS_ISA_SET_FMA, { F(AVX), F(FMA) } },
	{ ZYDIS_ISA_SET_VAES, { F(AVX), F(VAES) } },
	{ ZYDIS_ISA_SET_VPCLMULQDQ, { F(AVX), F(VPCLMULQDQ) } },
	{ ZYDIS_ISA_SET_FXSAVE, { F(FXSR) } },
	{ ZYDIS_ISA_SET_FXSAVE64, { F(FXSR) } },
	{ ZYDIS_ISA_SET_XSAVE, { F(XSAVE) } },
	{ ZYDIS_ISA_SET_XSAVEC, { F(XSAVEC) } },
	{ ZYDIS_ISA_SET_XSAVEOPT, { F(XSAVEOPT) } },
	{ ZYDIS_ISA_SET_XSAVES, { F(XSAVES) } },
	SET512(AVX512F, F(AVX512F)),
	SET512(AVX512BW, F(AVX512BW)),
	SET512(AVX512CD, F(AVX512CD)),
	SET512(AVX512DQ, F(AVX512DQ)),
	SET512(AVX512_BF16, F(AVX512BF16)),
	SET512(AVX512_BITALG, F(AVX512BITALG)),
	SET512(AVX512_FP16, F(AVX512FP16)),
	SET512(AVX512_GFNI, F(AVX512F), F(GFNI)),
	SET512(AVX512_IFMA, F(AVX512IFMA)),
	SET512(AVX512_VAES, F(AVX512F), F(VAES)),
	SET512(AVX512_VBMI, F(AVX512VBMI)),
	SET512(AVX512_VBMI2, F(AVX512VBMI2)),
	SET512(AVX512_VNNI, F(AVX512VNNI)),
	SET512(AVX512_VP2INTERSECT, F(AVX512VP2INTERSECT)),
	SET512(AVX512_VPCLMULQDQ, F(AVX512F), F(VPCLMULQDQ)),
	SET512(AVX512_VPOPCNTDQ, F(AVX512VPOPCNTDQ)),
	{ ZYDIS_ISA_SET_AVX512F_128N, { F(AVX512F) } },
	{ ZYDIS_ISA_SET_AVX512F_SCALAR, { F(AVX512F) } },
	{ ZYDIS_ISA_SET_AVX512F_KOP, { F(AVX512F) } },
	{ ZYDIS_ISA_SET_AVX512BW_128N, { F(AVX512BW) } },
	{ ZYDIS_ISA_SET_AVX512BW_KOP, { F(AVX512BW) } },
	{ ZYDIS_ISA_SET_AVX512DQ_128N, { F(AVX512DQ) } },
	{ ZYDIS_ISA_SET_AVX512DQ_SCALAR, { F(AVX512DQ) } },
	{ ZYDIS_ISA_SET_AVX512DQ_KOP, { F(AVX512DQ) } },
	{ ZYDIS_ISA_SET_AVX512ER_512, { F(AVX512ER) } },
	{ ZYDIS_ISA_SET_AVX512ER_SCALAR, { F(AVX512ER) } },
	{ ZYDIS_ISA_SET_AVX512PF_512, { F(AVX512PF) } },
	{ ZYDIS_ISA_SET_AVX512_4FMAPS_512, { F(AVX512_4FMAPS) } },
	{ ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR, { F(AVX512_4FMAPS) } },
	{ ZYDIS_ISA_SET_AVX512_4VNNIW_512, { F(AVX512_4VNNIW) } },
	{ ZYDIS_ISA_SET_AVX512_FP16_128N, { F(AVX512FP16) } },
	{ ZYDIS_ISA_SET_AVX512_FP16_SCALAR, { F(AVX512FP16) } },
};

static bool find_features(const ZydisDecodedInstruction *z, struct operands *o)
{
	for (size_t k = 0; k < ARRAY_SIZE(set_features); k++) {
		if (set_features[k].set != z->meta.isa_set)
			continue;
		memcpy(o->feature, set_features[k].f, sizeof(set_features[k].f));
		return true;
	}
	return false;
}

static bool convert_reg(ZydisRegister r, struct operand *p)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		p->kind = OPK_GPR;
		break;
	case ZYDIS_REGCLASS_MMX:
		p->kind = OPK_MMX;
		break;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		p->kind = OPK_XMM;
		p->size = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r) / 8;
		break;
	case ZYDIS_REGCLASS_MASK:
		p->kind = OPK_MASK;
		break;
	case ZYDIS_REGCLASS_X87:
		p->kind = OPK_ST;
		break;
	default:
		return false;
	}
	p->reg = (u8)ZydisRegisterGetId(r);
	return true;
}

static u8 convert_encoding(const ZydisDecodedOperand *op)
{
	switch (op->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG:
		return OPE_REG;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM:
		return OPE_RM;
	case ZYDIS_OPERAND_ENCODING_NDSNDD:
		return OPE_VVVV;
	case ZYDIS_OPERAND_ENCODING_IS4:
		return OPE_IS4;
	case ZYDIS_OPERAND_ENCODING_MASK:
		return OPE_MASK;
	case ZYDIS_OPERAND_ENCODING_NONE:
		return OPE_IMPLICIT;
	default:
		return OPE_OTHER;
	}
}

/* Flags, MXCSR and instruction pointer operands have no place in the list. */
static bool convert(const ZydisDecodedOperand *op, struct operand *p)
{
	*p = (struct operand){ .size = op->size / 8,
			       .elem_size = (u8)(op->element_size / 8),
			       .enc = convert_encoding(op),
			       .read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ,
			       .written = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE };
	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return convert_reg(op->reg.value, p);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		p->kind = op->mem.type == ZYDIS_MEMOP_TYPE_VSIB ? OPK_VSIB : OPK_MEM;
		return true;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		p->kind = OPK_IMM;
		return true;
	default:
		return false;
	}
}

/* Moves that fault on a misaligned operand whatever MXCSR.MM says: exception type 1. */
static bool is_aligned_move(ZydisExceptionClass c)
{
	return c == ZYDIS_EXCEPTION_CLASS_SSE1 || c == ZYDIS_EXCEPTION_CLASS_AVX1 || c == ZYDIS_EXCEPTION_CLASS_E1 ||
	       c == ZYDIS_EXCEPTION_CLASS_E1NF;
}

/* Type 4 instructions of the legacy encoding whose 16-byte operand may stand anywhere (SDM 2, table 2-21, note). */
static bool is_unaligned_move(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
		return true;
	default:
		return false;
	}
}

static void find_alignment(const ZydisDecodedInstruction *z, struct operands *o)
{
	o->unaligned_on_amd = z->meta.isa_set == ZYDIS_ISA_SET_SHA;
	for (unsigned k = 0; k < o->n; k++) {
		if (o->op[k].kind != OPK_MEM)
			continue;
		o->align_explicit = is_aligned_move(z->meta.exception_class);
		if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
			o->align = o->align_explicit ? (u8)o->op[k].size : 0;
		else if (o->op[k].size == 16 && !is_unaligned_move(z->mnemonic))
			o->align = 16;
	}
}

/* Exception types whose memory faults a zero mask bit suppresses (SDM 2, 2.8: those without NF). */
static bool suppresses(ZydisExceptionClass c)
{
	switch (c) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11:
		return true;
	default:
		return false;
	}
}

/* Rounding, DAZ, FTZ or exceptions: the arithmetic types, conversions, and the estimates, which obey DAZ. */
static bool uses_mxcsr(const ZydisDecodedInstruction *z, const char *name)
{
	switch (z->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_AVX11:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E2NF:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E3NF:
	case ZYDIS_EXCEPTION_CLASS_E11:
	case ZYDIS_EXCEPTION_CLASS_E11NF:
		return true;
	default:
		return strstr(name, "cvt") || strstr(name, "rcp") || strstr(name, "rsqrt") || strstr(name, "fpclass");
	}
}

static bool decode_full(const struct insn *i, enum cpu_code code, ZydisDecodedInstruction *z, ZydisDecodedOperand *op)
{
	ZydisDecoder d;
	ZydisMachineMode mode = code == CODE64	 ? ZYDIS_MACHINE_MODE_LONG_64
				: code == CODE32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
						 : ZYDIS_MACHINE_MODE_LONG_COMPAT_16;
	ZydisStackWidth stack = code == CODE64	 ? ZYDIS_STACK_WIDTH_64
				: code == CODE32 ? ZYDIS_STACK_WIDTH_32
						 : ZYDIS_STACK_WIDTH_16;

	return ZYAN_SUCCESS(ZydisDecoderInit(&d, mode, stack)) &&
	       ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, i->raw, i->len, z, op));
}

static void convert_avx(const ZydisDecodedInstruction *z, struct operands *o)
{
	o->vlen = (u8)(z->avx.vector_length / 8);
	o->zeroing = z->avx.mask.mode == ZYDIS_MASK_MODE_ZEROING || z->avx.mask.mode == ZYDIS_MASK_MODE_CONTROL_ZEROING;
	o->broadcast = !z->avx.broadcast.is_static && z->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID;
	o->rounding = z->avx.rounding.mode != ZYDIS_ROUNDING_MODE_INVALID || z->avx.has_sae;
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		o->mask_reg = z->raw.evex.aaa;
}

bool decode_operands(const struct insn *i, enum cpu_code code, struct operands *o)
{
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	const char *name;

	memset(o, 0, sizeof(*o));
	if (!decode_full(i, code, &z, op) || !find_features(&z, o))
		return false;
	for (unsigned k = 0; k < z.operand_count && o->n < OPERANDS_MAX; k++)
		o->n += convert(&op[k], &o->op[o->n]);
	name = ZydisMnemonicGetString(z.mnemonic);
	for (unsigned k = 0; k + 1 < sizeof(o->mnemonic) && name[k]; k++)
		o->mnemonic[k] = name[k];
	convert_avx(&z, o);
	find_alignment(&z, o);
	/* Two source elements make one under the mask: silicon (Zen 4) suppresses nothing there, whatever Zydis's
	 * class. */
	o->suppress = suppresses(z.meta.exception_class) && z.mnemonic != ZYDIS_MNEMONIC_VCVTNE2PS2BF16;
	o->mxcsr = uses_mxcsr(&z, o->mnemonic);
	o->reads_flags = z.cpu_flags && z.cpu_flags->tested;
	o->writes_flags = z.cpu_flags &&
			  (z.cpu_flags->modified | z.cpu_flags->set_0 | z.cpu_flags->set_1 | z.cpu_flags->undefined);
	return true;
}
