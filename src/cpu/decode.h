/* SPDX-License-Identifier: Apache-2.0
 * Bytes to struct insn. Zydis stands behind this header and nowhere else.
 */
#ifndef CPU_DECODE_H
#define CPU_DECODE_H

#include "cpu/insn.h"

enum decode_result {
	DECODE_OK,	 /* *i is complete (maybe bound to exec_ud or exec_unimpl) */
	DECODE_MORE,	 /* the bytes end before the instruction does */
	DECODE_TOO_LONG, /* over 15 bytes: #GP(0) */
};

enum decode_how {
	DECODE_LEGACY = 1, /* real or virtual-8086 mode: no VEX, no EVEX, no protected-mode instructions */
	DECODE_AMD = 2,	   /* where the vendors differ, as AMD: 66 makes near branches 16 bits wide in 64-bit mode */
};

/* Decodes at most n (1..15) bytes for code size `code`; how: DECODE_*. SDM 2, chapter 2; APM 3, 1.2. */
enum decode_result decode_insn(struct insn *i, const u8 *bytes, unsigned n, enum cpu_code code, unsigned how);

/* Intel-syntax text of the instruction at address pc, for traces and dumps; returns buf. */
const char *decode_text(const u8 *bytes, unsigned n, enum cpu_code code, u64 pc, char *buf, size_t size);

/* One operand as a data instruction names it, for the makers of host stubs. */
struct operand {
	u8 kind; /* OPK_* */
	u8 reg;	 /* register number in its file */
	bool read, written;
	u16 size;     /* bytes */
	u8 elem_size; /* bytes of an element */
	u8 enc;	      /* OPE_*: where the encoding names it */
};
enum { OPK_NONE, OPK_GPR, OPK_MMX, OPK_XMM /* xmm, ymm, zmm by size */, OPK_MASK, OPK_MEM, OPK_IMM, OPK_ST, OPK_VSIB };

enum { OPE_IMPLICIT, OPE_REG, OPE_RM, OPE_VVVV, OPE_IS4, OPE_MASK, OPE_OTHER };

#define OPERANDS_MAX 10
struct operands {
	struct operand op[OPERANDS_MAX];
	u8 n;
	u8 mask_reg; /* EVEX.aaa, 0 none */
	bool zeroing, broadcast, rounding;
	u8 vlen; /* bytes: 16, 32, 64 */
	bool reads_flags, writes_flags;
	bool mxcsr;	     /* reads or writes MXCSR */
	bool suppress;	     /* faults of masked-off elements are suppressed (EVEX exception types without NF) */
	u8 align;	     /* the alignment that the memory operand must have, 0 for none */
	bool align_explicit; /* ... whatever MXCSR.MM says (MOVAPS, MOVNTPS and kin, VEX and EVEX) */
	bool unaligned_on_amd;	/* AMD's silicon does not check (SHA, observed on Zen 4) */
	u16 feature[4];	     /* 1 + FEAT_*: all must be offered; 0 ends the list */
	char mnemonic[24];
};

/* The full operand list of an instruction that decode_insn() accepted. Slow: once per made stub. */
bool decode_operands(const struct insn *i, enum cpu_code code, struct operands *o);

#endif
