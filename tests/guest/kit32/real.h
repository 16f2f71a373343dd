/* SPDX-License-Identifier: Apache-2.0
 * To real mode and back; see real.S. The IVT lies at 0, stubs and registers below 64 KiB.
 */
#ifndef GUEST_REAL_H
#define GUEST_REAL_H

#define REAL_BASE 0x8000
#define REAL_REGS 0x7000
#define REAL_STUBS 0x9000

#ifndef __ASSEMBLER__
#include "kit32/kit.h"

/* In and out. fs_limit: a data selector whose limit FS is to keep in real mode, K_DATA16 for the usual one. */
struct real_regs {
	u32 eax, ecx, edx, ebx, ebp, esi, edi, esp, unused[2];
	u16 ds, es, fs, gs, ss, unused2, cs, ip, flags, vector, fs_limit;
};
_Static_assert(offsetof(struct real_regs, ds) == 40 && offsetof(struct real_regs, fs_limit) == 60, "as real.S has it");

void real_run(void);
extern const u8 real_begin[], real_end[], real_common[];
#endif

#endif
