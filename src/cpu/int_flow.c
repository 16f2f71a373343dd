// SPDX-License-Identifier: Apache-2.0
/* Near control transfer: JMP CALL RET Jcc LOOPcc JCXZ. A target outside CS's limit, or not canonical in 64-bit mode, is
 * #GP(0) of the branch itself, with nothing changed. Operand size 16 occurs in 64-bit mode, too: AMD honours 66 there,
 * and the decoder says so (SDM 2, 2.2.1.7 and APM 3, 1.2.7). */
#include "cpu/cpuid.h"
#include "cpu/int.h"
#include "cpu/segment.h"
#include "cpu/stack.h"

/* The ZF for which LOOPE and LOOPNE go on. AMD lets a repeat prefix decide, as for CMPS (seen on Zen 4). */
static bool loop_sense(const struct cpu *c, const struct insn *i, bool opcode)
{
	if (unlikely(i->flags & (INSN_REP | INSN_REPNE)) && cpu_is_amd(c))
		return i->flags & INSN_REP;
	return opcode;
}

#define W 64
#include "cpu/int_flow.inc.h"
#define W 32
#include "cpu/int_flow.inc.h"
#define W 16
#include "cpu/int_flow.inc.h"

#define BRANCH(opcode, ext, mem, reg)                                       \
	{                                                                   \
		MAP_1, opcode, ext, PFX_ANY, OP_DEF64 | OP_END, 0, mem, reg \
	}
#define JCC_ROWS(name, cc)                                                                           \
	{ MAP_1, 0x70 + (cc), EXT_ANY, PFX_ANY, OP_DEF64 | OP_END, 0, OPFN_NONE, OPFN_SZ(j##name) }, \
	    { MAP_0F, 0x80 + (cc), EXT_ANY, PFX_ANY, OP_DEF64 | OP_END, 0, OPFN_NONE, OPFN_SZ(j##name) },

static const struct optab_row rows[] = {
	CONDITIONS(JCC_ROWS) BRANCH(0xe0, EXT_ANY, OPFN_NONE, OPFN_SZ(loopne)),
	BRANCH(0xe1, EXT_ANY, OPFN_NONE, OPFN_SZ(loope)),
	BRANCH(0xe2, EXT_ANY, OPFN_NONE, OPFN_SZ(loop_any)),
	BRANCH(0xe3, EXT_ANY, OPFN_NONE, OPFN_SZ(jcxz)),
	BRANCH(0xe8, EXT_ANY, OPFN_NONE, OPFN_SZ(call_rel)),
	BRANCH(0xe9, EXT_ANY, OPFN_NONE, OPFN_SZ(jmp_rel)),
	BRANCH(0xeb, EXT_ANY, OPFN_NONE, OPFN_SZ(jmp_rel)),
	BRANCH(0xc2, EXT_ANY, OPFN_NONE, OPFN_SZ(ret_imm)),
	BRANCH(0xc3, EXT_ANY, OPFN_NONE, OPFN_SZ(ret_near)),
	BRANCH(0xff, 2, OPFN_SZ(call_m), OPFN_SZ(call_r)),
	BRANCH(0xff, 4, OPFN_SZ(jmp_m), OPFN_SZ(jmp_r)),
};

const struct optab optab_control = { "control", rows, ARRAY_SIZE(rows) };
