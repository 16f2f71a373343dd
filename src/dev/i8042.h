/* SPDX-License-Identifier: Apache-2.0
 * The 8042 keyboard controller of a PS/2 with its keyboard and its mouse, ports 0x60 and 0x64. Machine lock.
 */
#ifndef DEV_I8042_H
#define DEV_I8042_H

#include "base/state.h"
#include "dev/dev.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define PS2_QUEUE 64

/* What a device on a PS/2 wire shares: bytes on their way to the controller, a command that waits for its argument. */
struct ps2_queue {
	u8 byte[PS2_QUEUE];
	u8 head, count;
	u8 last; /* for resend */
};

struct ps2_kbd {
	struct ps2_queue q;
	u8 pending; /* command that waits for a byte, or 0 */
	u8 leds, scan_set, typematic;
	bool scanning;
};

struct ps2_mouse {
	struct ps2_queue q;
	u8 pending;
	u8 rate, resolution;
	u8 history[3]; /* the last sample rates: how a wheel is negotiated */
	u8 id;	       /* 0, 3: wheel, 4: five buttons */
	u8 buttons;
	bool scaling, remote, wrap, reporting;
	s32 dx, dy, dz; /* movement not yet reported */
};

struct i8042 {
	u8 status, config, outport;
	u8 ram[32];
	u8 obuf;
	u8 pending; /* controller command that waits for a byte at 0x60, or 0 */
	struct ps2_kbd kbd;
	struct ps2_mouse mouse;
	bool break_next; /* the keyboard's 0xf0 was seen by the translation */
	struct irq irq1, irq12;
	struct irq a20;	   /* level: A20 gate open */
	struct call reset; /* RESET_INIT */
};

struct i8042 *i8042_new(struct mem *m, struct irq irq1, struct irq irq12, struct irq a20, struct call reset,
			struct err *e);
void i8042_free(struct i8042 *k);
void i8042_reset(struct i8042 *k);
/* What firmware does: self test passed, translation to scan code set 1, keyboard interrupt on. */
void i8042_post(struct i8042 *k);
/* A key's bytes in scan code set 2, whole sequences only; false when there is no room or scanning is off. */
bool i8042_key(struct i8042 *k, const u8 *set2, unsigned n);
/* Movement to the right and up, wheel away from the user, buttons: bit 0 left, 1 right, 2 middle, 3 and 4 extra. */
void i8042_mouse_move(struct i8042 *k, int dx, int dy, int dz, unsigned buttons);

extern const struct state i8042_state;

#endif
