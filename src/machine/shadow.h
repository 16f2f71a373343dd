/* SPDX-License-Identifier: Apache-2.0
 * A machine with firmware in ROM: the chip below 4 GiB, its last 128 KiB again below 1 MiB, and the RAM behind
 * 0xc0000 to 0xfffff that the host bridge's PAM registers put in its place, for reads and writes apart
 * (82441FX, 3.2.17). Machine lock.
 */
#ifndef MACHINE_SHADOW_H
#define MACHINE_SHADOW_H

#include "base/state.h"
#include "mem/mem.h"

#define SHADOW_GPA 0xc0000u
#define SHADOW_SIZE 0x40000u
#define SHADOW_SEGMENTS 13 /* twelve of 16 KiB, one of 64 KiB */

struct shadow;

struct shadow_segment {
	struct shadow *shadow;
	u64 gpa, size;
};

struct shadow {
	struct mem *mem;
	struct mem_bank ram, rom;
	u64 rom_size;
	struct shadow_segment segment[SHADOW_SEGMENTS];
};

/* size: a multiple of 64 KiB, at most 16 MiB. The ROM shows everywhere, as after RESET#. */
int shadow_init(struct shadow *s, struct mem *m, const void *rom, u64 size, struct err *e);
/* i440fx.pam_written: what the registers 0x59 to 0x5f say from now on. opaque: the struct shadow. */
void shadow_set_pam(void *opaque, const u8 pam[7]);

/* Its object is the shadow RAM itself (ram.hva). */
extern const struct state shadow_state;

#endif
