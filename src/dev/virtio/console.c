/* SPDX-License-Identifier: Apache-2.0
 * Input waits in a small buffer a port until the driver offers one of its own; output that the far side does not take
 * stays in the driver's buffer, and its queue with it. Messages to the driver wait in a bounded queue: what a driver
 * does not fetch is dropped.
 */
#include "dev/virtio/console.h"

#define IN_SIZE 4096u
#define CHUNK 4096u
#define MESSAGES 64u
#define NAME_MAX_LEN 64u

enum feature { F_SIZE = 0, F_MULTIPORT = 1, F_EMERG_WRITE = 2 };
enum config { CFG_COLS = 0, CFG_ROWS = 2, CFG_PORTS = 4, CFG_EMERG = 8, CFG_LEN = 12 };
enum event { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };
/* Port 0's queues are 0 and 1, the control queues 2 and 3, port n's 2n + 2 and 2n + 3. */
enum queue { Q_CONTROL_RX = 2, Q_CONTROL_TX = 3 };

struct control {
	u32 id;
	u16 event, value;
};

struct port {
	struct virtio_console *console;
	struct virtio_port_config cfg;
	u16 cols, rows;
	bool open; /* by the guest; a driver without multiport has port 0 open always */
	u32 head, tail;
	u8 in[IN_SIZE];
	struct virtq_chain *out; /* not all of it has been taken */
	u32 out_done;		 /* of it, or (snapshots) of the next chain */
};

struct virtio_console {
	struct virtio_dev d;
	unsigned n_ports;
	struct port port[VIRTIO_PORTS_MAX];
	u32 head, tail;
	struct control message[MESSAGES];
};

_Static_assert(sizeof(struct control) == 8, "as it lies in guest memory");

static unsigned rx_queue(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

static unsigned port_of(unsigned queue)
{
	return queue < 2 ? 0 : queue / 2 - 1;
}

/* ---- control ------------------------------------------------------------------------------------------------------
 */

static void say(struct virtio_console *v, u32 port, enum event event, u16 value)
{
	if (v->head - v->tail < MESSAGES)
		v->message[v->head++ % MESSAGES] = (struct control){ port, (u16)event, value };
}

/* The message with what follows it, as far as the buffer goes. */
static bool control_out(struct virtio_console *v, struct virtq_chain *c)
{
	const struct control *m = &v->message[v->tail % MESSAGES];
	const struct port *p = &v->port[m->id];
	u32 len = sizeof(*m);

	if (v->head == v->tail)
		return false;
	virtq_put(c, 0, m, sizeof(*m));
	if (m->event == RESIZE) {
		u16 size[2] = { p->cols, p->rows };

		len += virtq_put(c, len, size, sizeof(size));
	}
	if (m->event == PORT_NAME)
		len += virtq_put(c, len, p->cfg.name, (u32)strnlen(p->cfg.name, NAME_MAX_LEN));
	v->tail++;
	virtio_complete(&v->d, c, len);
	return true;
}

static void port_ready(struct virtio_console *v, u32 n)
{
	const struct port *p = &v->port[n];

	if (p->cfg.name) {
		say(v, n, PORT_NAME, 1);
	} else {
		say(v, n, CONSOLE_PORT, 1);
		if (p->cols)
			say(v, n, RESIZE, 0);
	}
	say(v, n, PORT_OPEN, 1);
}

static void port_opened(struct port *p, bool open)
{
	p->open = open;
	if (open)
		chardev_kick_input(p->cfg.chr);
}

static bool control_in(struct virtio_console *v, struct virtq_chain *c)
{
	struct control m;

	if (virtq_get(c, 0, &m, sizeof(m)) != sizeof(m)) {
		virtio_fail(&v->d, c, "a console message that is too short");
		return true;
	}
	if (m.event == DEVICE_READY && m.value)
		for (u32 i = 0; i < v->n_ports; i++)
			say(v, i, DEVICE_ADD, 1);
	else if (m.event == PORT_READY && m.id < v->n_ports && m.value)
		port_ready(v, m.id);
	else if (m.event == PORT_OPEN && m.id < v->n_ports)
		port_opened(&v->port[m.id], m.value);
	virtio_complete(&v->d, c, 0);
	virtio_run(&v->d, Q_CONTROL_RX);
	return true;
}

/* ---- data ---------------------------------------------------------------------------------------------------------
 */

static bool give_input(struct port *p, struct virtq_chain *c)
{
	u32 done = 0;

	if (p->head == p->tail)
		chardev_kick_input(p->cfg.chr); /* it may have waited for the driver */
	if (p->head == p->tail)
		return false;
	while (p->tail != p->head) {
		u32 at = p->tail % IN_SIZE, n = MIN(p->head - p->tail, IN_SIZE - at);
		u32 put = virtq_put(c, done, p->in + at, n);

		p->tail += put;
		done += put;
		if (put < n)
			break;
	}
	virtio_complete(&p->console->d, c, done);
	chardev_kick_input(p->cfg.chr);
	return true;
}

/* The rest of p->out; true when it is done with. */
static bool write_out(struct port *p)
{
	u8 bytes[CHUNK];
	struct virtq_chain *c = p->out;
	u32 n;

	while ((n = virtq_get(c, p->out_done, bytes, sizeof(bytes)))) {
		size_t taken = chardev_write(p->cfg.chr, bytes, n);

		p->out_done += (u32)taken;
		if (taken < n)
			return false;
	}
	p->out = NULL;
	p->out_done = 0;
	virtio_complete(&p->console->d, c, 0);
	return true;
}

static bool take_output(struct port *p, struct virtq_chain *c)
{
	if (p->out)
		return false;
	p->out = c;
	write_out(p);
	return true;
}

static bool console_request(struct virtio_dev *d, unsigned n, struct virtq_chain *c)
{
	struct virtio_console *v = container_of(d, struct virtio_console, d);

	if (n == Q_CONTROL_RX)
		return control_out(v, c);
	if (n == Q_CONTROL_TX)
		return control_in(v, c);
	return n & 1 ? take_output(&v->port[port_of(n)], c) : give_input(&v->port[port_of(n)], c);
}

/* ---- the character device's side ----------------------------------------------------------------------------------
 */

static size_t port_room(void *opaque)
{
	struct port *p = opaque;
	const struct virtio_dev *d = &p->console->d;

	if (!virtio_live(d) || (virtio_has(d, F_MULTIPORT) && !p->open))
		return 0;
	return IN_SIZE - (p->head - p->tail);
}

static void port_rx(void *opaque, const u8 *bytes, size_t n)
{
	struct port *p = opaque;

	for (size_t i = 0; i < n && p->head - p->tail < IN_SIZE; i++)
		p->in[p->head++ % IN_SIZE] = bytes[i];
	virtio_run(&p->console->d, rx_queue((unsigned)(p - p->console->port)));
}

static void port_drained(void *opaque)
{
	struct port *p = opaque;

	if (p->out && write_out(p))
		virtio_run(&p->console->d, rx_queue((unsigned)(p - p->console->port)) + 1);
}

/* ---- the device ---------------------------------------------------------------------------------------------------
 */

/* 5.3.4: a character for the console, before any queue works. */
static void console_config_written(struct virtio_dev *d, unsigned off, unsigned size)
{
	struct virtio_console *v = container_of(d, struct virtio_console, d);

	if (off <= CFG_EMERG && off + size > CFG_EMERG)
		chardev_write(v->port[0].cfg.chr, d->config + CFG_EMERG, 1);
}

static void console_reset(struct virtio_dev *d)
{
	struct virtio_console *v = container_of(d, struct virtio_console, d);

	for (unsigned i = 0; i < v->n_ports; i++) {
		struct port *p = &v->port[i];

		if (p->out && virtq_stale(p->out)) {
			virtio_complete(d, p->out, 0);
			p->out = NULL;
			p->out_done = 0;
		}
		if (d->status)
			continue;
		p->open = false;
		p->head = p->tail = p->out_done = 0;
	}
	if (!d->status)
		v->head = v->tail = 0;
}

/* ---- snapshots ----------------------------------------------------------------------------------------------------
 */

/* What the far side has not taken is the driver's again; the part that it has is not written twice. */
static void console_hold(struct virtio_dev *d)
{
	struct virtio_console *v = container_of(d, struct virtio_console, d);

	for (unsigned i = 0; i < v->n_ports; i++) {
		if (v->port[i].out)
			virtq_unpop(v->port[i].out);
		v->port[i].out = NULL;
	}
}

static int console_loaded(struct virtio_dev *d, struct err *e)
{
	struct virtio_console *v = container_of(d, struct virtio_console, d);
	u32 ports;

	memcpy(&ports, d->config + CFG_PORTS, sizeof(ports));
	if (ports != v->n_ports)
		return err_set(e, "the virtio console has %u ports, had %u", v->n_ports, ports);
	if (v->head - v->tail > MESSAGES)
		return err_set(e, "the virtio console has more messages than it can hold");
	for (u32 i = v->tail; i != v->head; i++)
		if (v->message[i % MESSAGES].id >= v->n_ports)
			return err_set(e, "the virtio console has a message for a port that is not there");
	for (unsigned i = 0; i < v->n_ports; i++)
		if (v->port[i].head - v->port[i].tail > IN_SIZE)
			return err_set(e, "port %u of the virtio console has more input than it can hold", i);
	for (u32 i = v->tail; i != v->head; i++)
		if (v->message[i % MESSAGES].event == PORT_NAME && !v->port[v->message[i % MESSAGES].id].cfg.name)
			return err_set(e, "the virtio console has a name for a port that has none");
	return 0;
}

static void console_go_on(struct virtio_dev *d)
{
	struct virtio_console *v = container_of(d, struct virtio_console, d);

	for (unsigned i = 0; i < v->n_ports; i++)
		chardev_kick_input(v->port[i].cfg.chr);
}

#define S struct virtio_console
static const struct state_field own_fields[] = {
	STATE_UINT(S, head),	       STATE_UINT(S, tail),
	STATE_BYTES(S, message),       STATE_EACH_BOOL(S, port, open),
	STATE_EACH(S, port, cols),     STATE_EACH(S, port, rows),
	STATE_EACH(S, port, head),     STATE_EACH(S, port, tail),
	STATE_EACH_BYTES(S, port, in), STATE_EACH(S, port, out_done),
};
#undef S
static const struct state own_state = { .field = own_fields, .n = ARRAY_SIZE(own_fields) };

int virtio_console_each_state(struct virtio_console *v, state_fn *fn, void *opaque)
{
	return fn(opaque, "virtio-console.own", &own_state, v) || fn(opaque, "virtio-console", &virtio_state, &v->d)
		   ? -1
		   : 0;
}

static const struct virtio_ops console_ops = {
	.name = "virtio-console",
	.type = VIRTIO_CONSOLE,
	.class_code = 0x078000,
	.request = console_request,
	.config_written = console_config_written,
	.reset = console_reset,
	.hold = console_hold,
	.loaded = console_loaded,
	.go_on = console_go_on,
};

void virtio_console_resize(struct virtio_console *v, unsigned n, u16 cols, u16 rows)
{
	struct port *p = &v->port[n];

	p->cols = cols;
	p->rows = rows;
	if (!virtio_has(&v->d, F_MULTIPORT) && n == 0) {
		memcpy(v->d.config + CFG_COLS, &cols, 2);
		memcpy(v->d.config + CFG_ROWS, &rows, 2);
		virtio_config_changed(&v->d);
	}
	if (virtio_has(&v->d, F_MULTIPORT) && !p->cfg.name) {
		say(v, n, RESIZE, 0);
		virtio_run(&v->d, Q_CONTROL_RX);
	}
}

static void attach(struct virtio_console *v, unsigned n, const struct virtio_port_config *cfg)
{
	struct port *p = &v->port[n];
	struct chardev_user user = { .room = port_room, .rx = port_rx, .drained = port_drained, .opaque = p };

	p->console = v;
	p->cfg = *cfg;
	chardev_set_user(cfg->chr, &user);
}

struct virtio_console *virtio_console_new(const struct virtio_board *b, const struct virtio_port_config *ports,
					  unsigned n_ports, struct err *e)
{
	struct virtio_console *v = dev_alloc(sizeof(*v), e);
	u32 n = n_ports;

	if (!v)
		return NULL;
	v->n_ports = n_ports;
	v->d.offered = BIT(F_SIZE) | BIT(F_MULTIPORT) | BIT(F_EMERG_WRITE);
	v->d.config_len = CFG_LEN;
	memcpy(v->d.config + CFG_PORTS, &n, 4);
	memset(v->d.wmask + CFG_EMERG, 0xff, 4);
	for (unsigned i = 0; i < n_ports; i++)
		attach(v, i, &ports[i]);
	if (!virtio_init(&v->d, b, &console_ops, 2 * (n_ports + 1), 128, e))
		return v;
	virtio_console_free(v);
	return NULL;
}

void virtio_console_free(struct virtio_console *v)
{
	static const struct chardev_user nobody = { 0 };

	if (!v)
		return;
	virtio_deinit(&v->d);
	for (unsigned i = 0; i < v->n_ports; i++)
		chardev_set_user(v->port[i].cfg.chr, &nobody);
	free(v);
}
