/* SPDX-License-Identifier: Apache-2.0
 * x87: what its files share. SDM 1, chapter 8.
 */
#ifndef CPU_X87_H
#define CPU_X87_H

#include "cpu/vec.h"

enum {
	X87_PE = 0x20,
	X87_FLAGS = 0x3f,
	X87_SF = 0x40,
	X87_ES = 0x80,
	X87_TOP = 7 << 11,
	X87_B = 0x8000,
};

/* FCW as a load leaves it: bit 6 reads as 1, the reserved bits 7 and 13..15 as 0 (observed on Zen 4). */
static inline u16 x87_fcw(u16 v)
{
	return (v & 0x1f3f) | 0x40;
}

/* Control instructions and FWAIT: binds and answers true. */
bool x87_ctl_bind(struct insn *i);

#endif
