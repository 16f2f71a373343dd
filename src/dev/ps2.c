/* SPDX-License-Identifier: Apache-2.0
 * PS/2 keyboard and mouse (IBM PS/2 Technical Reference, "Keyboards" and "Mouse"; the wheel as in Microsoft's
 * IntelliMouse: sample rates 200, 100, 80, then 200, 200, 80 ask for it).
 */
#include "dev/ps2.h"

enum { ACK = 0xfa, RESEND = 0xfe, BAT_OK = 0xaa, ECHO = 0xee };

void ps2_push(struct ps2_queue *q, u8 v)
{
	if (q->count >= PS2_QUEUE)
		return;
	q->byte[(q->head + q->count) % PS2_QUEUE] = v;
	q->count++;
}

bool ps2_pop(struct ps2_queue *q, u8 *v)
{
	if (!q->count)
		return false;
	*v = q->last = q->byte[q->head];
	q->head = (q->head + 1) % PS2_QUEUE;
	q->count--;
	return true;
}

u8 ps2_set1(u8 set2)
{
	static const u8 table[0x85] = {
		0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, 0x65,
		0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e,
		0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, 0x69, 0x31, 0x30,
		0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17,
		0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a,
		0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a,
		0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01,
		0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
	};

	return set2 < sizeof(table) ? table[set2] : set2;
}

static void queue_clear(struct ps2_queue *q)
{
	q->head = q->count = 0;
}

/* ---- keyboard ------------------------------------------------------------------------------------------------- */

static void kbd_defaults(struct ps2_kbd *k)
{
	k->scan_set = 2;
	k->typematic = 0x2b;
	k->pending = 0;
}

void ps2_kbd_reset(struct ps2_kbd *k)
{
	memset(k, 0, sizeof(*k));
	kbd_defaults(k);
	k->scanning = true;
}

static void kbd_argument(struct ps2_kbd *k, u8 cmd, u8 v)
{
	switch (cmd) {
	case 0xed:
		k->leds = v & 7;
		break;
	case 0xf3:
		k->typematic = v & 0x7f;
		break;
	case 0xf0:
		if (v > 3) {
			ps2_push(&k->q, RESEND);
			k->pending = cmd;
			return;
		}
		ps2_push(&k->q, ACK);
		if (v == 0)
			ps2_push(&k->q, k->scan_set);
		else
			k->scan_set = v;
		return;
	}
	ps2_push(&k->q, ACK); /* 0xfb to 0xfd: a key's type in set 3 */
}

static void kbd_identify(struct ps2_kbd *k)
{
	ps2_push(&k->q, ACK);
	ps2_push(&k->q, 0xab);
	ps2_push(&k->q, 0x83);
}

static void kbd_self_test(struct ps2_kbd *k)
{
	queue_clear(&k->q);
	kbd_defaults(k);
	k->leds = 0;
	k->scanning = true;
	ps2_push(&k->q, ACK);
	ps2_push(&k->q, BAT_OK);
}

void ps2_kbd_write(struct ps2_kbd *k, u8 v)
{
	u8 cmd = k->pending;

	k->pending = 0;
	/* Instead of an argument a command may come: it cancels the first. */
	if (cmd && v < 0xed) {
		kbd_argument(k, cmd, v);
		return;
	}
	switch (v) {
	case 0xed:
	case 0xf0:
	case 0xf3:
	case 0xfb ... 0xfd:
		k->pending = v;
		ps2_push(&k->q, ACK);
		break;
	case 0xee:
		ps2_push(&k->q, ECHO);
		break;
	case 0xf2:
		kbd_identify(k);
		break;
	case 0xf4:
		queue_clear(&k->q);
		k->scanning = true;
		ps2_push(&k->q, ACK);
		break;
	case 0xf5:
	case 0xf6:
		queue_clear(&k->q);
		kbd_defaults(k);
		k->scanning = v == 0xf6;
		ps2_push(&k->q, ACK);
		break;
	case 0xf7 ... 0xfa: /* all keys' types in set 3 */
		ps2_push(&k->q, ACK);
		break;
	case 0xfe:
		ps2_push(&k->q, k->q.last);
		break;
	case 0xff:
		kbd_self_test(k);
		break;
	default:
		ps2_push(&k->q, RESEND);
	}
}

/* ---- mouse ---------------------------------------------------------------------------------------------------- */

static void mouse_defaults(struct ps2_mouse *m)
{
	m->rate = 100;
	m->resolution = 2; /* 4 counts a millimetre */
	m->scaling = m->remote = m->wrap = m->reporting = false;
	m->dx = m->dy = m->dz = 0;
	m->pending = 0;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
	memset(m, 0, sizeof(*m));
	mouse_defaults(m);
}

static int clamp(s32 v, int lo, int hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* One movement packet; what does not fit into nine bits stays for the next. */
static void mouse_packet(struct ps2_mouse *m)
{
	int dx = clamp(m->dx, -255, 255), dy = clamp(m->dy, -255, 255);
	int dz = clamp(m->dz, m->id == 4 ? -8 : -127, m->id == 4 ? 7 : 127);

	ps2_push(&m->q, (u8)(0x08 | (m->buttons & 7) | (dx < 0) << 4 | (dy < 0) << 5));
	ps2_push(&m->q, (u8)dx);
	ps2_push(&m->q, (u8)dy);
	if (m->id == 3)
		ps2_push(&m->q, (u8)dz);
	else if (m->id == 4)
		ps2_push(&m->q, (u8)((dz & 15) | (m->buttons & 0x18) << 1));
	m->dx -= dx;
	m->dy -= dy;
	m->dz -= dz;
}

void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, unsigned buttons)
{
	m->dx = clamp(m->dx + clamp(dx, -32768, 32767), -32768, 32767);
	m->dy = clamp(m->dy + clamp(dy, -32768, 32767), -32768, 32767);
	/* A wheel turned away from the user counts down on the wire. */
	m->dz = clamp(m->dz - clamp(dz, -32768, 32767), -32768, 32767);
	m->buttons = buttons & 0x1f;
	if (m->remote || !m->reporting)
		return;
	/* Room for a packet and for an answer besides; else the movement adds up. */
	do {
		if (m->q.count > PS2_QUEUE - 16)
			return;
		mouse_packet(m);
	} while (m->dx || m->dy || (m->id && m->dz));
}

static void mouse_set_rate(struct ps2_mouse *m, u8 rate)
{
	m->rate = rate;
	m->history[0] = m->history[1];
	m->history[1] = m->history[2];
	m->history[2] = rate;
	if (m->history[0] != 200 || m->history[2] != 80)
		return;
	if (m->history[1] == 100)
		m->id = 3;
	else if (m->history[1] == 200 && m->id == 3)
		m->id = 4;
}

static void mouse_status(struct ps2_mouse *m)
{
	u8 b = (u8)((m->buttons & 1) << 2 | (m->buttons & 4) >> 1 | (m->buttons & 2) >> 1);

	ps2_push(&m->q, (u8)(m->remote << 6 | m->reporting << 5 | m->scaling << 4 | b));
	ps2_push(&m->q, m->resolution);
	ps2_push(&m->q, m->rate);
}

static void mouse_argument(struct ps2_mouse *m, u8 cmd, u8 v)
{
	if (cmd == 0xf3)
		mouse_set_rate(m, v);
	else
		m->resolution = v & 3;
	ps2_push(&m->q, ACK);
}

static void mouse_answer(struct ps2_mouse *m, u8 v)
{
	switch (v) {
	case 0xe9:
		mouse_status(m);
		break;
	case 0xeb:
		mouse_packet(m);
		break;
	case 0xf2:
		ps2_push(&m->q, m->id);
		break;
	case 0xff:
		m->id = 0;
		mouse_defaults(m);
		ps2_push(&m->q, BAT_OK);
		ps2_push(&m->q, 0x00);
		break;
	}
}

static void mouse_command(struct ps2_mouse *m, u8 v)
{
	switch (v) {
	case 0xe6:
	case 0xe7:
		m->scaling = v == 0xe7;
		break;
	case 0xe8:
	case 0xf3:
		m->pending = v;
		break;
	case 0xea:
	case 0xf0:
		m->remote = v == 0xf0;
		break;
	case 0xec:
	case 0xee:
		m->wrap = v == 0xee;
		break;
	case 0xf4:
	case 0xf5:
		m->reporting = v == 0xf4;
		break;
	case 0xf6:
		mouse_defaults(m);
		break;
	case 0xe9:
	case 0xeb:
	case 0xf2:
	case 0xff:
		break;
	default:
		ps2_push(&m->q, RESEND);
		return;
	}
	ps2_push(&m->q, ACK);
	mouse_answer(m, v);
}

void ps2_mouse_write(struct ps2_mouse *m, u8 v)
{
	u8 cmd = m->pending;

	if (m->wrap && v != 0xec && v != 0xff) {
		ps2_push(&m->q, v);
		return;
	}
	m->pending = 0;
	if (v == 0xfe) {
		ps2_push(&m->q, m->q.last);
		return;
	}
	/* A command drops what was not yet sent. */
	queue_clear(&m->q);
	if (cmd)
		mouse_argument(m, cmd, v);
	else
		mouse_command(m, v);
}
