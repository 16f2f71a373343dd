/* SPDX-License-Identifier: Apache-2.0
 * The 8042 (IBM PS/2 Technical Reference, "Keyboard and auxiliary device controller"). The output buffer holds one
 * byte; while it is full, devices keep theirs. The keyboard speaks first when both wait.
 */
#include "dev/i8042.h"

#include "dev/ps2.h"

enum {
	ST_OBF = 0x01,
	ST_SYS = 0x04,
	ST_CMD = 0x08,
	ST_UNLOCKED = 0x10,
	ST_AUX = 0x20,
	CFG_KBD_INT = 0x01,
	CFG_AUX_INT = 0x02,
	CFG_SYS = 0x04,
	CFG_KBD_OFF = 0x10,
	CFG_AUX_OFF = 0x20,
	CFG_XLATE = 0x40,
	OUT_RESET = 0x01, /* active low */
	OUT_A20 = 0x02,
	OUT_KBD_OBF = 0x10,
	OUT_AUX_OBF = 0x20,
};

static void update_irqs(struct i8042 *k)
{
	bool full = k->status & ST_OBF, aux = k->status & ST_AUX;
	bool kbd_irq = full && !aux && (k->config & CFG_KBD_INT);
	bool aux_irq = full && aux && (k->config & CFG_AUX_INT);

	k->outport &= ~(OUT_KBD_OBF | OUT_AUX_OBF);
	k->outport |= (kbd_irq ? OUT_KBD_OBF : 0) | (aux_irq ? OUT_AUX_OBF : 0);
	irq_set(&k->irq1, kbd_irq);
	irq_set(&k->irq12, aux_irq);
}

static void put_obuf(struct i8042 *k, u8 v, bool aux)
{
	k->obuf = v;
	k->status = (u8)((k->status & ~ST_AUX) | ST_OBF | (aux ? ST_AUX : 0));
	update_irqs(k);
}

/* A byte of the keyboard, translated to set 1; false when it is only half of a key (0xf0). */
static bool translate(struct i8042 *k, u8 *v)
{
	if (!(k->config & CFG_XLATE))
		return true;
	if (*v == 0xf0) {
		k->break_next = true;
		return false;
	}
	*v = ps2_set1(*v) | (k->break_next ? 0x80 : 0);
	k->break_next = false;
	return true;
}

/* Takes the next byte from the devices that may speak. */
static void fetch(struct i8042 *k)
{
	u8 v;

	if (k->status & ST_OBF)
		return;
	while (!(k->config & CFG_KBD_OFF) && ps2_pop(&k->kbd.q, &v)) {
		if (!translate(k, &v))
			continue;
		put_obuf(k, v, false);
		return;
	}
	if (!(k->config & CFG_AUX_OFF) && ps2_pop(&k->mouse.q, &v))
		put_obuf(k, v, true);
}

static void write_outport(struct i8042 *k, u8 v)
{
	k->outport = v;
	irq_set(&k->a20, v & OUT_A20);
	if (!(v & OUT_RESET))
		call_make(&k->reset, RESET_INIT);
	k->outport |= OUT_RESET;
}

static void write_config(struct i8042 *k, u8 v)
{
	k->config = v & 0x7f;
	k->ram[0] = k->config;
	k->status = (u8)((k->status & ~ST_SYS) | (v & CFG_SYS));
	update_irqs(k);
}

/* Commands that only answer, and those of a byte to come; false for the others. */
static bool command_io(struct i8042 *k, u8 v)
{
	switch (v) {
	case 0x60 ... 0x7f: /* write controller RAM */
	case 0xd1 ... 0xd4: /* output port, keyboard's and mouse's output, to the mouse */
		k->pending = v;
		return true;
	case 0x20 ... 0x3f:
		put_obuf(k, v == 0x20 ? k->config : k->ram[v & 31], false);
		return true;
	case 0xa4: /* password installed? no */
		put_obuf(k, 0xf1, false);
		return true;
	case 0xa9: /* test the mouse's wire */
	case 0xab: /* test the keyboard's */
		put_obuf(k, 0x00, false);
		return true;
	case 0xc0: /* input port: keyboard not inhibited, manufacturing jumper not installed */
		put_obuf(k, 0xa0, false);
		return true;
	case 0xd0:
		put_obuf(k, k->outport, false);
		return true;
	case 0xe0: /* test inputs: both clocks follow the enables */
		put_obuf(k, (k->config & CFG_KBD_OFF ? 0 : 1) | (k->config & CFG_AUX_OFF ? 0 : 2), false);
		return true;
	}
	return false;
}

static void write_command(struct i8042 *k, u8 v)
{
	k->status |= ST_CMD;
	k->pending = 0;
	if (command_io(k, v))
		return;
	switch (v) {
	case 0xa7:
		k->config |= CFG_AUX_OFF;
		break;
	case 0xa8:
		k->config &= ~CFG_AUX_OFF;
		break;
	case 0xaa: /* self test */
		k->config |= CFG_SYS;
		k->status |= ST_SYS;
		put_obuf(k, 0x55, false);
		break;
	case 0xad:
		k->config |= CFG_KBD_OFF;
		break;
	case 0xae:
		k->config &= ~CFG_KBD_OFF;
		break;
	case 0xdd:
		write_outport(k, k->outport & ~OUT_A20);
		break;
	case 0xdf:
		write_outport(k, k->outport | OUT_A20);
		break;
	case 0xf0 ... 0xff: /* pulse low the output bits that are 0; only the processor's reset hangs on one */
		if (!(v & 1))
			call_make(&k->reset, RESET_INIT);
		break;
	}
	k->ram[0] = k->config;
	fetch(k);
}

static void write_argument(struct i8042 *k, u8 cmd, u8 v)
{
	switch (cmd) {
	case 0x60:
		write_config(k, v);
		break;
	case 0x61 ... 0x7f:
		k->ram[cmd & 31] = v;
		break;
	case 0xd1:
		write_outport(k, v);
		break;
	case 0xd2:
		put_obuf(k, v, false);
		break;
	case 0xd3:
		put_obuf(k, v, true);
		break;
	case 0xd4:
		k->config &= ~CFG_AUX_OFF;
		ps2_mouse_write(&k->mouse, v);
		break;
	}
}

static void write_data(struct i8042 *k, u8 v)
{
	u8 cmd = k->pending;

	k->status &= ~ST_CMD;
	k->pending = 0;
	if (cmd) {
		write_argument(k, cmd, v);
	} else {
		/* To talk to the keyboard is to enable its clock. */
		k->config &= ~CFG_KBD_OFF;
		ps2_kbd_write(&k->kbd, v);
	}
	fetch(k);
}

static u8 read_data(struct i8042 *k)
{
	u8 v = k->obuf;

	if (!(k->status & ST_OBF))
		return v;
	k->status &= ~(ST_OBF | ST_AUX);
	update_irqs(k);
	fetch(k);
	return v;
}

static u64 data_read(void *dev, u64 off, unsigned size)
{
	(void)off;
	(void)size;
	return read_data(dev);
}

static void data_write(void *dev, u64 off, u64 val, unsigned size)
{
	(void)off;
	(void)size;
	write_data(dev, (u8)val);
}

static u64 status_read(void *dev, u64 off, unsigned size)
{
	struct i8042 *k = dev;

	(void)off;
	(void)size;
	return k->status;
}

static void command_write(void *dev, u64 off, u64 val, unsigned size)
{
	(void)off;
	(void)size;
	write_command(dev, (u8)val);
}

bool i8042_key(struct i8042 *k, const u8 *set2, unsigned n)
{
	if (!k->kbd.scanning || k->kbd.q.count + n > PS2_QUEUE)
		return false;
	for (unsigned i = 0; i < n; i++)
		ps2_push(&k->kbd.q, set2[i]);
	fetch(k);
	return true;
}

void i8042_mouse_move(struct i8042 *k, int dx, int dy, int dz, unsigned buttons)
{
	ps2_mouse_move(&k->mouse, dx, dy, dz, buttons);
	fetch(k);
}

void i8042_reset(struct i8042 *k)
{
	k->status = ST_CMD | ST_UNLOCKED;
	k->config = CFG_KBD_INT | CFG_AUX_INT;
	k->pending = 0;
	k->obuf = 0;
	k->break_next = false;
	memset(k->ram, 0, sizeof(k->ram));
	k->ram[0] = k->config;
	ps2_kbd_reset(&k->kbd);
	ps2_mouse_reset(&k->mouse);
	k->outport = OUT_RESET | OUT_A20;
	irq_set(&k->a20, true);
	update_irqs(k);
}

void i8042_post(struct i8042 *k)
{
	write_config(k, CFG_KBD_INT | CFG_AUX_INT | CFG_SYS | CFG_XLATE);
}

static const struct io_ops data_ops = { .read = data_read, .write = data_write, .max_size = 1 };
static const struct io_ops command_ops = { .read = status_read, .write = command_write, .max_size = 1 };

struct i8042 *i8042_new(struct mem *m, struct irq irq1, struct irq irq12, struct irq a20, struct call reset,
			struct err *e)
{
	struct i8042 *k = dev_alloc(sizeof(*k), e);

	if (!k)
		return NULL;
	k->irq1 = irq1;
	k->irq12 = irq12;
	k->a20 = a20;
	k->reset = reset;
	i8042_reset(k);
	if (mem_add_ports(m, 0x60, 1, &data_ops, k, e) || mem_add_ports(m, 0x64, 1, &command_ops, k, e)) {
		free(k);
		return NULL;
	}
	return k;
}

void i8042_free(struct i8042 *k)
{
	free(k);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct i8042
static const struct state_field state_fields[] = {
	STATE_UINT(S, status),
	STATE_UINT(S, config),
	STATE_UINT(S, outport),
	STATE_BYTES(S, ram),
	STATE_UINT(S, obuf),
	STATE_UINT(S, pending),
	STATE_BYTES(S, kbd.q.byte),
	STATE_RANGE(S, kbd.q.head, 0, PS2_QUEUE - 1),
	STATE_RANGE(S, kbd.q.count, 0, PS2_QUEUE),
	STATE_UINT(S, kbd.q.last),
	STATE_UINT(S, kbd.pending),
	STATE_UINT(S, kbd.leds),
	STATE_UINT(S, kbd.scan_set),
	STATE_UINT(S, kbd.typematic),
	STATE_BOOL(S, kbd.scanning),
	STATE_BYTES(S, mouse.q.byte),
	STATE_RANGE(S, mouse.q.head, 0, PS2_QUEUE - 1),
	STATE_RANGE(S, mouse.q.count, 0, PS2_QUEUE),
	STATE_UINT(S, mouse.q.last),
	STATE_UINT(S, mouse.pending),
	STATE_UINT(S, mouse.rate),
	STATE_UINT(S, mouse.resolution),
	STATE_BYTES(S, mouse.history),
	STATE_RANGE(S, mouse.id, 0, 4),
	STATE_UINT(S, mouse.buttons),
	STATE_BOOL(S, mouse.scaling),
	STATE_BOOL(S, mouse.remote),
	STATE_BOOL(S, mouse.wrap),
	STATE_BOOL(S, mouse.reporting),
	STATE_UINT(S, mouse.dx),
	STATE_UINT(S, mouse.dy),
	STATE_UINT(S, mouse.dz),
	STATE_BOOL(S, break_next),
};
#undef S

/* As ps2_mouse_move() keeps it. */
static bool movement_ok(s32 d)
{
	return d >= -32768 && d <= 32767;
}

static int state_loaded(void *object, struct err *e)
{
	const struct ps2_mouse *m = &((const struct i8042 *)object)->mouse;

	if (!movement_ok(m->dx) || !movement_ok(m->dy) || !movement_ok(m->dz))
		return err_set(e, "the mouse has moved further than it can");
	return 0;
}

const struct state i8042_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields), .loaded = state_loaded };
