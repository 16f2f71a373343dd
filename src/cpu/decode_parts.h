/* SPDX-License-Identifier: Apache-2.0
 * What the files of the decoder share; nothing else includes this.
 */
#ifndef CPU_DECODE_PARTS_H
#define CPU_DECODE_PARTS_H

#include "cpu/decode.h"

#define INSN_MAX 15

/* How an instruction is encoded, as the parser found it; bind and validity depend on it besides struct insn. */
struct encoding {
	enum cpu_code code;
	bool legacy; /* real or virtual-8086 mode */
	bool amd;    /* DECODE_AMD */
	bool modrm;  /* has a ModRM byte */
	bool lock, osz66;
	bool vex, evex;
	bool undefined; /* the parser already knows that no such opcode exists */
};

/* What Zydis makes of the bytes. */
enum validity {
	ENC_INVALID,	 /* no such instruction */
	ENC_NOT_OFFERED, /* of an extension that no model of doppel has: #UD as on a CPU without it */
	ENC_VALID,
};

/* Chooses i->exec (decode_bind.c). i is complete otherwise. */
void decode_bind(struct insn *i, const struct encoding *e);

/* Validity of the bytes of *i; *disp8_scale is EVEX's compressed displacement factor, 1 elsewhere (decode_zydis.c). */
enum validity decode_validate(const struct insn *i, const struct encoding *e, unsigned *disp8_scale);

#endif
