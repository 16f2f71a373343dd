/* SPDX-License-Identifier: Apache-2.0
 * PC16550D (National Semiconductor data sheet, section 8). The interrupt is gated by MCR.OUT2 as on a PC's card.
 */
#include "dev/ns16550.h"
#include "dev/dev.h"

enum {
	IER_RDA = 0x01,
	IER_THRE = 0x02,
	IER_RLS = 0x04,
	IER_MS = 0x08,
	IIR_NONE = 0x01,
	IIR_MS = 0x00,
	IIR_THRE = 0x02,
	IIR_RDA = 0x04,
	IIR_RLS = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFOS = 0xc0,
	FCR_ENABLE = 0x01,
	FCR_RX_RESET = 0x02,
	FCR_TX_RESET = 0x04,
	LCR_BREAK = 0x40,
	LCR_DLAB = 0x80,
	MCR_OUT2 = 0x08,
	MCR_LOOP = 0x10,
	LSR_DR = 0x01,
	LSR_OE = 0x02,
	LSR_PE = 0x04,
	LSR_FE = 0x08,
	LSR_BI = 0x10,
	LSR_THRE = 0x20,
	LSR_TEMT = 0x40,
	LSR_FIFO_ERR = 0x80,
	LSR_INT = LSR_OE | LSR_PE | LSR_FE | LSR_BI,
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
};

/* So many reads of LSR with nothing to wait for but input mean that the guest polls for it. */
#define POLLS 64

static bool fifos(const struct ns16550 *u)
{
	return u->fcr & FCR_ENABLE;
}

static unsigned rx_depth(const struct ns16550 *u)
{
	return fifos(u) ? UART_FIFO : 1;
}

static unsigned rx_trigger(const struct ns16550 *u)
{
	static const u8 level[4] = { 1, 4, 8, 14 };

	return fifos(u) ? level[u->fcr >> 6] : 1;
}

/* The source of highest priority (data sheet table III). */
static u8 iir_source(const struct ns16550 *u)
{
	if ((u->ier & IER_RLS) && (u->lsr & LSR_INT))
		return IIR_RLS;
	if ((u->ier & IER_RDA) && u->rx_count >= rx_trigger(u))
		return IIR_RDA;
	if ((u->ier & IER_RDA) && u->timeout)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MS) && (u->msr & 0x0f))
		return IIR_MS;
	return IIR_NONE;
}

static void update_irq(struct ns16550 *u)
{
	irq_set(&u->irq, iir_source(u) != IIR_NONE && (u->mcr & MCR_OUT2) && !(u->mcr & MCR_LOOP));
}

/* Four character times at the programmed speed. */
static u64 timeout_ns(const struct ns16550 *u)
{
	u64 bit_count = 1 + 5 + (u->lcr & 3) + !!(u->lcr & 8) + 1 + !!(u->lcr & 4);
	u64 divisor = u->divisor ? u->divisor : 1;

	return 4 * bit_count * divisor * NS_PER_SEC / 115200;
}

/* The timeout counts from the last byte that came in or was read. */
static void restart_timeout(struct ns16550 *u)
{
	u->timeout = false;
	timer_arm(&u->timer, fifos(u) && u->rx_count ? clock_ns(u->clock) + timeout_ns(u) : CLOCK_NEVER);
}

static void timeout_fire(void *opaque, u64 now_ns)
{
	struct ns16550 *u = opaque;

	(void)now_ns;
	u->timeout = u->rx_count != 0;
	update_irq(u);
}

/* The errors of the byte at the head show in LSR when it gets there. */
static void show_head(struct ns16550 *u)
{
	bool err = false;

	u->lsr &= ~(LSR_DR | LSR_FIFO_ERR);
	if (u->rx_count) {
		u->lsr |= LSR_DR | u->rx_errors[u->rx_head];
		u->rx_errors[u->rx_head] = 0;
	}
	for (unsigned i = 0; i < u->rx_count; i++)
		err |= u->rx_errors[(u->rx_head + i) % UART_FIFO] != 0;
	if (fifos(u) && (err || (u->rx_count && (u->lsr & (LSR_PE | LSR_FE | LSR_BI)))))
		u->lsr |= LSR_FIFO_ERR;
}

static void rx_push(struct ns16550 *u, u8 v, u8 errors)
{
	unsigned at;

	if (u->rx_count >= rx_depth(u)) {
		u->lsr |= LSR_OE; /* only loopback can get here */
		if (fifos(u))
			return;
		u->rx_count = 0;
	}
	at = (u->rx_head + u->rx_count) % UART_FIFO;
	u->rx[at] = v;
	u->rx_errors[at] = errors;
	u->rx_count++;
	show_head(u);
	restart_timeout(u);
}

static bool listening(const struct ns16550 *u)
{
	if (u->mcr & MCR_LOOP)
		return false;
	return u->open || u->polls >= POLLS;
}

static size_t backend_room(void *opaque)
{
	struct ns16550 *u = opaque;

	return !listening(u) ? 0 : rx_depth(u) - MIN(u->rx_count, rx_depth(u));
}

static void backend_rx(void *opaque, const u8 *p, size_t n)
{
	struct ns16550 *u = opaque;

	for (size_t i = 0; i < n; i++)
		rx_push(u, p[i], 0);
	update_irq(u);
}

static void backend_break(void *opaque)
{
	struct ns16550 *u = opaque;

	if (!backend_room(u))
		return;
	rx_push(u, 0, LSR_BI);
	update_irq(u);
}

static void tx_emptied(struct ns16550 *u)
{
	u->lsr |= LSR_THRE | LSR_TEMT;
	u->thre_pending = true;
}

/* Gives the backend what waits; the transmitter is empty when all of it is gone. */
static void tx_drain(struct ns16550 *u)
{
	size_t n;

	if (!u->tx_count)
		return;
	n = chardev_write(u->backend, u->tx, u->tx_count);
	n = MIN(n, u->tx_count);
	memmove(u->tx, u->tx + n, u->tx_count - n);
	u->tx_count -= (u8)n;
	if (!u->tx_count)
		tx_emptied(u);
}

static void backend_drained(void *opaque)
{
	struct ns16550 *u = opaque;

	tx_drain(u);
	update_irq(u);
}

static void write_thr(struct ns16550 *u, u8 v)
{
	u->thre_pending = false;
	if (u->polls < POLLS)
		u->polls = 0;
	if (u->mcr & MCR_LOOP) {
		rx_push(u, v & (0xff >> (3 - (u->lcr & 3))), 0);
		tx_emptied(u);
		return;
	}
	u->lsr &= ~(LSR_THRE | LSR_TEMT);
	/* A byte written into a full transmitter is lost, as THRE was not waited for. */
	if (u->tx_count < (fifos(u) ? UART_FIFO : 1))
		u->tx[u->tx_count++] = v;
	tx_drain(u);
}

static u8 read_rbr(struct ns16550 *u)
{
	u8 v = u->rx[u->rx_head];

	if (!u->rx_count)
		return v;
	u->rx_head = (u->rx_head + 1) % UART_FIFO;
	u->rx_count--;
	show_head(u);
	restart_timeout(u);
	if (backend_room(u))
		chardev_kick_input(u->backend);
	return v;
}

static void rx_reset(struct ns16550 *u)
{
	u->rx_count = u->rx_head = 0;
	memset(u->rx_errors, 0, sizeof(u->rx_errors));
	show_head(u);
	restart_timeout(u);
}

static void write_fcr(struct ns16550 *u, u8 v)
{
	bool toggled = (u->fcr ^ v) & FCR_ENABLE;

	if (toggled || ((v & FCR_ENABLE) && (v & FCR_RX_RESET)))
		rx_reset(u);
	if (toggled || ((v & FCR_ENABLE) && (v & FCR_TX_RESET))) {
		u->tx_count = 0;
		tx_emptied(u);
	}
	u->fcr = v & FCR_ENABLE ? v & 0xc9 : 0;
	chardev_kick_input(u->backend);
}

static void listen_fire(void *opaque, u64 now_ns)
{
	struct ns16550 *u = opaque;

	(void)now_ns;
	u->open = true;
	chardev_kick_input(u->backend);
}

/* After a change of what enables receive interrupts. Who turns to or from them has not polled. */
static void update_listening(struct ns16550 *u)
{
	bool enabled = (u->ier & IER_RDA) && (u->mcr & MCR_OUT2);

	if (enabled == u->enabled)
		return;
	u->enabled = enabled;
	u->open = false;
	u->polls = 0;
	timer_arm(&u->listen, enabled ? clock_ns(u->clock) + UART_LISTEN_NS : CLOCK_NEVER);
}

static void write_ier(struct ns16550 *u, u8 v)
{
	/* Enabling THRE with an empty transmitter interrupts at once. */
	if ((v & IER_THRE) && !(u->ier & IER_THRE) && (u->lsr & LSR_THRE))
		u->thre_pending = true;
	u->ier = v & 0x0f;
	update_listening(u);
}

/* The modem inputs: of a connected null modem, or of our own outputs in loopback. */
static void update_msr(struct ns16550 *u)
{
	u8 in = MSR_CTS | MSR_DSR | MSR_DCD, was = u->msr & 0xf0, delta;

	if (u->mcr & MCR_LOOP)
		in = (u8)(!!(u->mcr & 2) * MSR_CTS | !!(u->mcr & 1) * MSR_DSR | !!(u->mcr & 4) * MSR_RI |
			  !!(u->mcr & 8) * MSR_DCD);
	delta = (in ^ was) >> 4;
	/* RI counts by its trailing edge. */
	if (!(was & MSR_RI) || (in & MSR_RI))
		delta &= ~4;
	u->msr = (u8)(in | (u->msr & 0x0f) | delta);
}

static void write_mcr(struct ns16550 *u, u8 v)
{
	u->mcr = v & 0x1f;
	update_msr(u);
	update_listening(u);
	chardev_kick_input(u->backend);
}

/* A break sent in loopback arrives as one. */
static void write_lcr(struct ns16550 *u, u8 v)
{
	bool began = (v & LCR_BREAK) && !(u->lcr & LCR_BREAK);

	u->lcr = v;
	if (began && (u->mcr & MCR_LOOP))
		rx_push(u, 0, LSR_BI);
}

static u8 read_iir(struct ns16550 *u)
{
	u8 id = iir_source(u);

	if (id == IIR_THRE)
		u->thre_pending = false;
	return id | (fifos(u) ? IIR_FIFOS : 0);
}

static u8 read_lsr(struct ns16550 *u)
{
	u8 v = u->lsr;

	u->lsr &= ~LSR_INT;
	show_head(u);
	if ((v & (LSR_THRE | LSR_DR)) == LSR_THRE && !(u->mcr & MCR_LOOP) && !listening(u) && ++u->polls == POLLS)
		chardev_kick_input(u->backend);
	return v;
}

static u8 read_msr(struct ns16550 *u)
{
	u8 v = u->msr;

	u->msr &= 0xf0;
	return v;
}

static u64 uart_read(void *dev, u64 off, unsigned size)
{
	struct ns16550 *u = dev;
	bool dlab = u->lcr & LCR_DLAB;
	u8 v = 0;

	(void)size;
	switch (off) {
	case 0:
		v = dlab ? (u8)u->divisor : read_rbr(u);
		break;
	case 1:
		v = dlab ? (u8)(u->divisor >> 8) : u->ier;
		break;
	case 2:
		v = read_iir(u);
		break;
	case 3:
		return u->lcr;
	case 4:
		return u->mcr;
	case 5:
		v = read_lsr(u);
		break;
	case 6:
		v = read_msr(u);
		break;
	case 7:
		return u->scr;
	}
	update_irq(u);
	return v;
}

static void uart_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct ns16550 *u = dev;
	bool dlab = u->lcr & LCR_DLAB;
	u8 v = (u8)val;

	(void)size;
	switch (off) {
	case 0:
		if (dlab)
			u->divisor = (u->divisor & 0xff00) | v;
		else
			write_thr(u, v);
		break;
	case 1:
		if (dlab)
			u->divisor = (u16)((u->divisor & 0x00ff) | v << 8);
		else
			write_ier(u, v);
		break;
	case 2:
		write_fcr(u, v);
		break;
	case 3:
		write_lcr(u, v);
		break;
	case 4:
		write_mcr(u, v);
		break;
	case 7:
		u->scr = v;
		break;
	}
	update_irq(u);
}

void ns16550_reset(struct ns16550 *u)
{
	u->ier = u->lcr = u->mcr = u->fcr = u->scr = 0;
	u->lsr = LSR_THRE | LSR_TEMT;
	u->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	u->divisor = 12;
	u->tx_count = u->polls = 0;
	update_listening(u);
	u->thre_pending = false;
	rx_reset(u);
	update_irq(u);
	chardev_kick_input(u->backend);
}

static const struct io_ops uart_ops = { .read = uart_read, .write = uart_write, .max_size = 1 };

struct ns16550 *ns16550_new(struct mem *m, u16 base, const struct clock *clock, struct timerq *q, struct irq irq,
			    struct chardev *backend, struct err *e)
{
	struct ns16550 *u = dev_alloc(sizeof(*u), e);
	struct chardev_user user = {
		.room = backend_room,
		.rx = backend_rx,
		.drained = backend_drained,
		.brk = backend_break,
		.opaque = u,
	};

	if (!u)
		return NULL;
	u->irq = irq;
	u->clock = clock;
	timer_init(&u->timer, q, timeout_fire, u);
	timer_init(&u->listen, q, listen_fire, u);
	if (mem_add_ports(m, base, 8, &uart_ops, u, e)) {
		free(u);
		return NULL;
	}
	u->backend = backend;
	ns16550_reset(u);
	if (backend)
		chardev_set_user(backend, &user);
	return u;
}

void ns16550_free(struct ns16550 *u)
{
	if (!u)
		return;
	if (u->backend)
		chardev_set_user(u->backend, &(struct chardev_user){ 0 });
	timer_arm(&u->timer, CLOCK_NEVER);
	timer_arm(&u->listen, CLOCK_NEVER);
	free(u);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct ns16550
static const struct state_field state_fields[] = {
	STATE_UINT(S, ier),
	STATE_UINT(S, lcr),
	STATE_UINT(S, mcr),
	STATE_UINT(S, lsr),
	STATE_UINT(S, msr),
	STATE_UINT(S, scr),
	STATE_UINT(S, fcr),
	STATE_UINT(S, divisor),
	STATE_BOOL(S, thre_pending),
	STATE_BOOL(S, timeout),
	STATE_RANGE(S, polls, 0, POLLS),
	STATE_BYTES(S, rx_errors),
	STATE_BYTES(S, rx),
	STATE_BYTES(S, tx),
	STATE_RANGE(S, rx_head, 0, UART_FIFO - 1),
	STATE_RANGE(S, rx_count, 0, UART_FIFO),
	STATE_RANGE(S, tx_count, 0, UART_FIFO),
	STATE_TIMER(S, timer),
	STATE_TIMER(S, listen),
	STATE_BOOL(S, enabled),
	STATE_BOOL(S, open),
};
#undef S

/* What waited for the old far end goes to the new one. */
static void state_go_on(void *object)
{
	struct ns16550 *u = object;

	backend_drained(u);
	chardev_kick_input(u->backend);
}

const struct state ns16550_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields), .go_on = state_go_on };
