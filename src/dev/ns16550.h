/* SPDX-License-Identifier: Apache-2.0
 * The PC16550D UART. Line speed is not modelled: a byte leaves when the backend takes it and arrives when there is
 * room, so that nothing is lost; overruns do not happen. The far end sends nothing until the guest listens, that is,
 * has had receive interrupts reach the bus for UART_LISTEN_NS, or polls for input: what was typed or piped in before a
 * kernel opens the port (it tries the enables, clears its FIFOs, reads the receiver "for luck") waits with the sender.
 * Machine lock.
 */
#ifndef DEV_NS16550_H
#define DEV_NS16550_H

#include "base/clock.h"
#include "base/state.h"
#include "chardev/chardev.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define UART_FIFO 16
#define UART_LISTEN_NS 20000000ull

struct ns16550 {
	u8 ier, lcr, mcr, lsr, msr, scr, fcr;
	u16 divisor;
	bool thre_pending;	 /* THRE interrupt not yet seen in IIR */
	bool timeout;		 /* character timeout */
	u8 polls;		 /* reads of LSR since the last byte sent, up to where they mean polling for input */
	u8 rx_errors[UART_FIFO]; /* LSR bits that came with each byte */
	u8 rx[UART_FIFO], tx[UART_FIFO];
	u8 rx_head, rx_count, tx_count;
	struct irq irq;
	struct chardev *backend;
	const struct clock *clock;
	struct timer timer;  /* character timeout */
	struct timer listen; /* runs from the enabling of interrupts to when the far end begins */
	bool enabled, open;  /* receive interrupts reach the bus; and have for long enough */
};

/* At ports base to base + 7. The UART takes the backend (may be NULL: nothing attached) as its user. */
struct ns16550 *ns16550_new(struct mem *m, u16 base, const struct clock *clock, struct timerq *q, struct irq irq,
			    struct chardev *backend, struct err *e);
void ns16550_free(struct ns16550 *u);
void ns16550_reset(struct ns16550 *u);

extern const struct state ns16550_state;

#endif
