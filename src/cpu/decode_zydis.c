/* SPDX-License-Identifier: Apache-2.0
 * Zydis as the judge of encodings and as the disassembler.
 */
#include "cpu/decode_parts.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

static bool decoder_init(ZydisDecoder *d, enum cpu_code code, bool legacy)
{
	if (code == CODE64)
		return ZYAN_SUCCESS(ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64));
	if (code == CODE32)
		return ZYAN_SUCCESS(ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32));
	return ZYAN_SUCCESS(ZydisDecoderInit(d, legacy ? ZYDIS_MACHINE_MODE_REAL_16 : ZYDIS_MACHINE_MODE_LEGACY_16,
					     ZYDIS_STACK_WIDTH_16));
}

/* Extensions that no model offers (README, QUIRKS): their opcodes are #UD without a word, as on a CPU without them. */
static bool not_offered(ZydisISAExt ext)
{
	switch (ext) {
	case ZYDIS_ISA_EXT_AMD3DNOW:
	case ZYDIS_ISA_EXT_AMD_INVLPGB:
	case ZYDIS_ISA_EXT_AMX_BF16:
	case ZYDIS_ISA_EXT_AMX_INT8:
	case ZYDIS_ISA_EXT_AMX_TILE:
	case ZYDIS_ISA_EXT_CET:
	case ZYDIS_ISA_EXT_ENQCMD:
	case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_HRESET:
	case ZYDIS_ISA_EXT_KEYLOCKER:
	case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
	case ZYDIS_ISA_EXT_KNC:
	case ZYDIS_ISA_EXT_KNCE:
	case ZYDIS_ISA_EXT_KNCV:
	case ZYDIS_ISA_EXT_MCOMMIT:
	case ZYDIS_ISA_EXT_MPX:
	case ZYDIS_ISA_EXT_PADLOCK:
	case ZYDIS_ISA_EXT_PCONFIG:
	case ZYDIS_ISA_EXT_PKU:
	case ZYDIS_ISA_EXT_PT:
	case ZYDIS_ISA_EXT_RTM:
	case ZYDIS_ISA_EXT_SGX:
	case ZYDIS_ISA_EXT_SGX_ENCLV:
	case ZYDIS_ISA_EXT_SMX:
	case ZYDIS_ISA_EXT_SNP:
	case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_TBM:
	case ZYDIS_ISA_EXT_TDX:
	case ZYDIS_ISA_EXT_TSX_LDTRK:
	case ZYDIS_ISA_EXT_UINTR:
	case ZYDIS_ISA_EXT_VMFUNC:
	case ZYDIS_ISA_EXT_VTX:
	case ZYDIS_ISA_EXT_WAITPKG:
	case ZYDIS_ISA_EXT_XOP:
		return true;
	default:
		return false;
	}
}

/* VPINSRD and VPEXTRD with VEX.W set outside 64-bit mode: silicon raises #UD, where the manual has W ignored in places.
 */
static bool w_is_undefined(const ZydisDecodedInstruction *z)
{
	return z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && z->raw.vex.W && z->raw.vex.m_mmmm == 3 &&
	       (z->opcode == 0x16 || z->opcode == 0x22);
}

enum validity decode_validate(const struct insn *i, const struct encoding *e, unsigned *disp8_scale)
{
	ZydisDecoder d;
	ZydisDecoderContext ctx;
	ZydisDecodedInstruction z;

	*disp8_scale = 1;
	if (!decoder_init(&d, e->code, e->legacy))
		return ENC_INVALID;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, &ctx, i->raw, i->len, &z)) || z.length != i->len)
		return ENC_INVALID;
	if (e->code != CODE64 && w_is_undefined(&z))
		return ENC_INVALID;
	if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && ctx.cd8_scale)
		*disp8_scale = ctx.cd8_scale;
	return not_offered(z.meta.isa_ext) ? ENC_NOT_OFFERED : ENC_VALID;
}

static void bytes_text(const u8 *bytes, unsigned n, char *buf, size_t size)
{
	size_t at = (size_t)snprintf(buf, size, "(bad)");

	for (unsigned k = 0; k < n && k < INSN_MAX && at < size; k++)
		at += (size_t)snprintf(buf + at, size - at, " %02x", bytes[k]);
}

const char *decode_text(const u8 *bytes, unsigned n, enum cpu_code code, u64 pc, char *buf, size_t size)
{
	ZydisDecoder d;
	ZydisFormatter f;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];

	if (!size)
		return buf;
	if (decoder_init(&d, code, false) && ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, bytes, n, &z, op)) &&
	    ZYAN_SUCCESS(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)) &&
	    ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, &z, op, z.operand_count_visible, buf, size, pc, NULL)))
		return buf;
	bytes_text(bytes, n, buf, size);
	return buf;
}
