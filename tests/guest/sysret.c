/* SPDX-License-Identifier: Apache-2.0
 * What SYSRET brings back: TF that it sets traps behind SYSRET itself, as if the SYSCALL had been stepped, before the
 * program goes on; RF stays clear (SDM 2B SYSRET).
 */
#include "kit/kit.h"

enum { P = 1, W = 2, U = 4, DB = 1, GP = 13, INT80 = 0x80 };
enum { TF = 0x100, IOPL = 0x3000, NT = 0x4000, RF = 0x10000, AC = 0x40000, ID = 0x200000 };
#define USER_CODE 0x10000000000ull /* PML4 entry 2 */

extern u8 user_way[], user_end[];
__asm__("user_way: nop; nop; int $0x80; user_end:");

static u64 to, flags;

static void leave_with(void *unused)
{
	register u64 r11 __asm__("r11") = flags;

	(void)unused;
	__asm__ volatile("sysretq" ::"c"(to), "r"(r11) : "memory");
}

static void way(const char *name, u64 r11, u64 vector, u64 offset, u64 seen)
{
	to = USER_CODE;
	flags = r11;
	/* often enough for translated code */
	for (unsigned n = 0; n < 5; n++) {
		kit_case(name, "SDM 2B SYSRET", vector, (u64)(s64)kit_try(leave_with, NULL));
		kit_case(name, "RIP", USER_CODE + offset, kit_last.f.rip);
		kit_case(name, "RFLAGS", seen, kit_last.f.rflags);
		kit_case(name, "CS", 0x2b, kit_last.f.cs);
		kit_case(name, "SS", 0x23, kit_last.f.ss);
	}
	if (vector == DB)
		kit_case(name, "DR6.BS", 0x4000, kit_last.dr6 & 0x4000);
}

int guest_main(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page(), *pt = kit_page(), *page = kit_page();

	memcpy(page, user_way, (size_t)(user_end - user_way));
	pt[0] = (u64)page | P | W | U;
	pd[0] = (u64)pt | P | W | U;
	pdpt[0] = (u64)pd | P | W | U;
	kit_pml4[2] = (u64)pdpt | P | W | U;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, 0x0018000800000000ull);
	way("plain", 2, INT80, 4, 2);
	way("TF", 2 | TF, DB, 0, 2 | TF);
	way("plain again", 2, INT80, 4, 2);
	way("RF", 2 | RF, INT80, 4, 2);
	way("others", 2 | IOPL | NT | ID | AC, INT80, 4, 2 | IOPL | NT | ID | AC);
	way("zeroes", 0, INT80, 4, 2);
	return kit_done();
}
