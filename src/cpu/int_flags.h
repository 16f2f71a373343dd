/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic flags between guest and host. An integer instruction runs its operation as the very host instruction,
 * so that every flag, also one the manual calls undefined, is what this silicon gives.
 *
 * AX holds cpu->aflags: AH is what LAHF left, AL is OF. SAVE follows the operation; LOAD precedes operations that read
 * or keep flags (the ADD sets OF from AL, SAHF sets the other five); LOAD_CF is enough where only CF is read or kept.
 */
#ifndef CPU_INT_FLAGS_H
#define CPU_INT_FLAGS_H

#include "cpu/cpu.h"

#define FLAGS_LOAD "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_LOAD_CF "sahf\n\t"
#define FLAGS_SAVE "\n\tlahf\n\tseto %%al"

/* The sixteen conditions in the order of their encoding (SDM 2, B.1.4.7). */
#define CONDITIONS(X)                                                                                               \
	X(o, 0)                                                                                                     \
	X(no, 1)                                                                                                    \
	X(b, 2) X(nb, 3) X(z, 4) X(nz, 5) X(be, 6) X(nbe, 7) X(s, 8) X(ns, 9) X(p, 10) X(np, 11) X(l, 12) X(nl, 13) \
	    X(le, 14) X(nle, 15)

/* Whether condition cc holds; cc is a constant at every call. */
static inline __attribute__((always_inline)) bool flags_cond(unsigned cc, unsigned f)
{
	bool v = false;

	switch (cc >> 1) {
	case 0:
		v = f & AF_OF;
		break;
	case 1:
		v = f & AF_CF;
		break;
	case 2:
		v = f & AF_ZF;
		break;
	case 3:
		v = f & (AF_CF | AF_ZF);
		break;
	case 4:
		v = f & AF_SF;
		break;
	case 5:
		v = f & AF_PF;
		break;
	case 6:
		v = ((f >> 15) ^ f) & 1;
		break;
	case 7:
		v = (((f >> 15) ^ f) & 1) | (f & AF_ZF);
		break;
	}
	return v ^ (cc & 1);
}

_Static_assert(AF_SF == 1 << 15 && AF_OF == 1, "the signed conditions compare bit 15 with bit 0");

#endif
