/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu/xarea.h"

#include <string.h>

enum {
	FX_FCW = 0,
	FX_FSW = 2,
	FX_FTW = 4,
	FX_FOP = 6,
	FX_FIP = 8,
	FX_FDP = 16,
	FX_MXCSR = 24,
	FX_ST = 32,
	FX_XMM = 160
};

void xarea_legacy_from(u8 *a, const struct cpu *c)
{
	const struct x87 *x = &c->x87;

	memcpy(a + FX_FCW, &x->fcw, 2);
	memcpy(a + FX_FSW, &x->fsw, 2);
	a[FX_FTW] = x->ftw;
	memcpy(a + FX_FOP, &x->fop, 2);
	memcpy(a + FX_FIP, &x->fip, 8);
	memcpy(a + FX_FDP, &x->fdp, 8);
	memcpy(a + FX_MXCSR, &c->mxcsr, 4);
	for (unsigned k = 0; k < 8; k++)
		memcpy(a + FX_ST + 16 * k, x->st[k], 10);
	for (unsigned k = 0; k < 16; k++)
		memcpy(a + FX_XMM + 16 * k, c->zmm[k].b, 16);
}

void xarea_legacy_to(struct cpu *c, const u8 *a, u64 in_use)
{
	struct x87 *x = &c->x87;

	if (in_use & XC_X87) {
		memcpy(&x->fcw, a + FX_FCW, 2);
		memcpy(&x->fsw, a + FX_FSW, 2);
		x->ftw = a[FX_FTW];
		memcpy(&x->fop, a + FX_FOP, 2);
		memcpy(&x->fip, a + FX_FIP, 8);
		memcpy(&x->fdp, a + FX_FDP, 8);
		for (unsigned k = 0; k < 8; k++) {
			memset(x->st[k], 0, 16);
			memcpy(x->st[k], a + FX_ST + 16 * k, 10);
		}
	} else {
		*x = (struct x87){ .fcw = 0x37f };
	}
	memcpy(&c->mxcsr, a + FX_MXCSR, 4);
	for (unsigned k = 0; k < 16; k++)
		if (in_use & XC_SSE)
			memcpy(c->zmm[k].b, a + FX_XMM + 16 * k, 16);
		else
			memset(c->zmm[k].b, 0, 16);
}
