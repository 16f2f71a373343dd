/* SPDX-License-Identifier: Apache-2.0
 * Each segment is a switched range (mem.h). Three of the four settings are plain: nothing but ROM, RAM, RAM that cannot
 * be written. "Read ROM, write RAM", with which old firmware copies itself in place, shows a device that does both.
 */
#include "machine/shadow.h"

enum { PAM_READ = 1, PAM_WRITE = 2 };

#define GIB_4 0x100000000ull
#define MIB_1 0x100000u
#define BELOW_MIB_1 0x20000u /* of the ROM */
#define F_SEGMENT 0xf0000u

static bool in_rom(const struct shadow *s, u64 gpa)
{
	return gpa >= MIB_1 - MIN(s->rom_size, (u64)BELOW_MIB_1);
}

static u64 rom_offset(const struct shadow *s, u64 gpa)
{
	return s->rom_size - (MIB_1 - gpa);
}

static u64 through_read(void *dev, u64 off, unsigned size)
{
	const struct shadow_segment *g = dev;
	const struct shadow *s = g->shadow;
	u64 v = ~0ull;

	if (in_rom(s, g->gpa))
		memcpy(&v, s->rom.hva + rom_offset(s, g->gpa + off), size);
	return v;
}

static void through_write(void *dev, u64 off, u64 val, unsigned size)
{
	const struct shadow_segment *g = dev;

	memcpy(g->shadow->ram.hva + (g->gpa - SHADOW_GPA) + off, &val, size);
}

static const struct io_ops through_ops = { .read = through_read, .write = through_write };

static void show(struct shadow_segment *g, unsigned pam)
{
	struct shadow *s = g->shadow;

	if (pam & PAM_READ)
		mem_switch(s->mem, g->gpa, &s->ram, g->gpa - SHADOW_GPA, pam & PAM_WRITE);
	else if (pam & PAM_WRITE)
		mem_switch_io(s->mem, g->gpa, &through_ops, g);
	else if (in_rom(s, g->gpa))
		mem_switch(s->mem, g->gpa, &s->rom, rom_offset(s, g->gpa), false);
	else
		mem_switch_io(s->mem, g->gpa, NULL, NULL);
}

void shadow_set_pam(void *opaque, const u8 pam[7])
{
	struct shadow *s = opaque;

	for (unsigned i = 0; i < 12; i++)
		show(&s->segment[i], pam[1 + i / 2] >> (i & 1) * 4 & 3);
	show(&s->segment[12], pam[0] >> 4 & 3);
}

static int add_segments(struct shadow *s, struct err *e)
{
	for (unsigned i = 0; i < SHADOW_SEGMENTS; i++) {
		struct shadow_segment *g = &s->segment[i];

		*g = (struct shadow_segment){ s, SHADOW_GPA + i * 0x4000, 0x4000 };
		if (g->gpa == F_SEGMENT)
			g->size = MIB_1 - F_SEGMENT;
		if (mem_add_switched(s->mem, g->gpa, g->size, e))
			return -1;
	}
	return 0;
}

int shadow_init(struct shadow *s, struct mem *m, const void *rom, u64 size, struct err *e)
{
	static const u8 after_reset[7];

	s->mem = m;
	s->rom_size = size;
	if (mem_add_bank(m, SHADOW_SIZE, &s->ram, e) || mem_add_bank(m, size, &s->rom, e) || add_segments(s, e) ||
	    mem_add_switched(m, GIB_4 - size, size, e))
		return -1;
	memcpy(s->rom.hva, rom, size);
	mem_switch(m, GIB_4 - size, &s->rom, 0, false);
	shadow_set_pam(s, after_reset);
	return 0;
}

static const struct state_field state_fields[] = {
	{ .name = "ram", .stride = SHADOW_SIZE, .count = 1, .size = SHADOW_SIZE, .kind = STATE_KIND_BYTES, .since = 1 },
};

const struct state shadow_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };

_Static_assert(SHADOW_GPA + 12 * 0x4000 == F_SEGMENT, "PAM1 to PAM6, then PAM0");
