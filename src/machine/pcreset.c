/* SPDX-License-Identifier: Apache-2.0
 * The reset vector of a board without firmware (SDM 3A 10.1.4: 0xfffffff0). After a reset of the machine nobody comes
 * here, since a loader starts the kernel; but INIT sends the boot processor here, and what a PC's BIOS then does is
 * looked for: with shutdown code 0AH in the CMOS (MultiProcessor Specification B.4) it jumps through 40:67, else the
 * machine begins anew.
 */
#include "machine/pcreset.h"

#include <string.h>

#include "base/base.h"

#define ROM_GPA 0xfffff000u
#define ENTRY 0xf00u
#define VECTOR 0xff0u

/* 16-bit code. */
static const u8 entry[] = {
	0xb0, 0x8f, 0xe6, 0x70,		    /*	mov al, 8fh; out 70h, al */
	0xe4, 0x71, 0x88, 0xc4,		    /*	in al, 71h; mov ah, al */
	0x30, 0xc0, 0xe6, 0x71,		    /*	xor al, al; out 71h, al */
	0x80, 0xfc, 0x0a, 0x74, 0x09,	    /*	cmp ah, 0ah; je warm */
	0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, /*	mov dx, 0cf9h; mov al, 6; out dx, al */
	0xf4, 0xeb, 0xfd,		    /* stop: hlt; jmp stop */
	0x31, 0xc0, 0x8e, 0xd8,		    /* warm: xor ax, ax; mov ds, ax */
	0xff, 0x2e, 0x67, 0x04,		    /*	jmp far [467h] */
};

static const u8 vector[] = { 0xe9, (u8)(ENTRY - VECTOR - 3), (u8)((ENTRY - VECTOR - 3) >> 8) }; /* jmp ENTRY */

_Static_assert(ENTRY + sizeof(entry) <= VECTOR && VECTOR + sizeof(vector) <= PAGE_SIZE, "one page");

int pc_add_reset_rom(struct mem *m, struct err *e)
{
	u8 page[PAGE_SIZE];

	memset(page, 0, sizeof(page));
	memcpy(page + ENTRY, entry, sizeof(entry));
	memcpy(page + VECTOR, vector, sizeof(vector));
	return mem_add_rom(m, ROM_GPA, page, sizeof(page), e);
}
