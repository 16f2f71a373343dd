/* SPDX-License-Identifier: Apache-2.0
 * The host's XSAVE area in standard format, as its kernel shows it of a thread or a vCPU (SDM 1, 13.4): for engines
 * whose guest code runs on the host's own registers. What a guest was promised may be laid out otherwise (xsave.c).
 */
#ifndef CPU_XAREA_H
#define CPU_XAREA_H

#include "cpu/cpu.h"

enum { XC_X87 = 1, XC_SSE = 2, XC_AVX = 4, XC_K = 0x20, XC_ZMM_HI = 0x40, XC_HI16 = 0x80 };

/* The bytes of the legacy region, behind which XSTATE_BV stands. */
#define XAREA_HEADER 512

/* x87, MXCSR and the lower halves, to and from the legacy region at `area` (FXSAVE64's layout, SDM 1, 10.5.1). in_use
 * is XSTATE_BV: what is not in it gets its initial value, but for MXCSR. */
void xarea_legacy_from(u8 *area, const struct cpu *c);
void xarea_legacy_to(struct cpu *c, const u8 *area, u64 in_use);

#endif
