/* SPDX-License-Identifier: Apache-2.0
 * The 8259A interrupt controller pair of a PC (Intel 8259A data sheet, 231468; ELCR: 82371SB section 2.8).
 * Machine lock.
 */
#ifndef DEV_I8259_H
#define DEV_I8259_H

#include "base/state.h"
#include "dev/irq.h"
#include "mem/mem.h"

/* One 8259A. */
struct i8259_chip {
	u8 irr, imr, isr;
	u8 lines; /* input levels */
	u8 elcr;  /* 1: level-triggered */
	u8 icw2;  /* vector base */
	u8 icw3;
	u8 icw4;
	u8 init_step; /* the ICW that comes next at A0 = 1; 0: initialised; 1: ICW1 has not come since reset */
	bool need_icw4, single;
	u8 lowest; /* input of lowest priority, 7 after ICW1 */
	bool rotate_aeoi;
	bool special_mask;
	bool poll;     /* the next read is a poll */
	bool read_isr; /* OCW3: RIS */
};

struct i8259 {
	struct i8259_chip chip[2]; /* master, slave */
	struct irq intr;
	bool intr_level;
};

struct i8259 *i8259_new(struct mem *m, struct irq intr, struct err *e);
void i8259_free(struct i8259 *p);
void i8259_reset(struct i8259 *p);
/* struct irq target; input 0 to 15 (2 is the cascade: ignored). */
void i8259_set_irq(void *i8259, unsigned input, bool level);
/* The processor's two INTA cycles: the vector; spurious ones included. */
u8 i8259_ack(struct i8259 *p);
/* INTR as the processor sees it. */
bool i8259_intr(const struct i8259 *p);
/* What firmware does: level-triggered inputs as a mask of 16 (inputs 0, 1, 2, 8, 13 stay edge). */
void i8259_set_elcr(struct i8259 *p, u16 mask);
/* And: vectors 0x08 and 0x70; imr: the mask registers, the slave's above. */
void i8259_post(struct i8259 *p, u16 imr);

extern const struct state i8259_state;

#endif
