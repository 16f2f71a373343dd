/* SPDX-License-Identifier: Apache-2.0
 * The 8254 interval timer (Intel 231164) and port 0x61, its PC glue. Machine lock.
 */
#ifndef DEV_I8254_H
#define DEV_I8254_H

#include "base/clock.h"
#include "base/state.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define PIT_HZ 1193182ull

struct i8254_channel {
	u8 control; /* RW1 RW0 M2 M1 M0 BCD, as in the status byte */
	bool gate;
	bool programmed; /* a control word was written */
	bool null_count; /* count register not yet in the counting element */
	bool counting;	 /* the counting element was loaded (and triggered) since the control word */
	bool strobed;	 /* mode 4, 5: the strobe of this load is over or still to come, see out() */
	bool frozen;	 /* gate low in a mode it stops */
	bool write_high; /* the next byte is the high one */
	bool read_high;
	bool status_latched, count_latched;
	u8 latched_status;
	u8 write_low; /* low byte waiting for its high byte */
	u16 latch;
	u32 count;     /* period in the counting element, 1 to 65536 */
	u32 reload;    /* count register */
	u64 start;     /* PIT tick at which count stood in the counting element */
	u64 switch_at; /* modes 2, 3: tick at which reload replaces count */
	u64 elapsed;   /* ticks since start, while frozen */
};

struct i8254 {
	struct i8254_channel ch[3];
	u8 port61; /* bits 3..0 as written */
	struct irq irq0;
	const struct clock *clock;
	struct timer timer; /* next rising edge of OUT 0 */
};

struct i8254 *i8254_new(struct mem *m, const struct clock *clock, struct timerq *q, struct irq irq0, struct err *e);
void i8254_free(struct i8254 *p);
void i8254_reset(struct i8254 *p);
/* What firmware does: channel 0 in mode 2 with the longest period, 18.2 Hz. */
void i8254_post(struct i8254 *p);
/* OUT of a channel as it is now. */
bool i8254_out(struct i8254 *p, unsigned channel);

extern const struct state i8254_state;

#endif
