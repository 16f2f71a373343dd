/* SPDX-License-Identifier: Apache-2.0
 * The keyboard and the mouse at the ends of the i8042's wires. Machine lock.
 */
#ifndef DEV_PS2_H
#define DEV_PS2_H

#include "dev/i8042.h"

/* A byte for the host; dropped when the queue is full (hostile senders only: answers are bounded by commands). */
void ps2_push(struct ps2_queue *q, u8 v);
bool ps2_pop(struct ps2_queue *q, u8 *v);
/* Scan code set 2 to set 1, one byte. */
u8 ps2_set1(u8 set2);

void ps2_kbd_write(struct ps2_kbd *k, u8 v);
void ps2_kbd_reset(struct ps2_kbd *k);
void ps2_mouse_write(struct ps2_mouse *m, u8 v);
void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, unsigned buttons);

#endif
