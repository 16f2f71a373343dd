/* SPDX-License-Identifier: Apache-2.0
 * What a chip is tested on: a memory with some RAM, a clock that only moves when told, a timer queue, wires that
 * remember.
 */
#ifndef TESTS_BOARD_H
#define TESTS_BOARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "dev/dev.h"
#include "dev/irq.h"
#include "mem/mem.h"

#define BOARD_WIRES 32

struct board {
	struct mem *mem;
	struct clock clock;
	struct timerq q;
	struct err err;
	struct {
		bool level;
		unsigned rises, falls;
	} wire[BOARD_WIRES];
	unsigned calls, call_arg;
	unsigned messages;
	u64 msi_addr;
	u32 msi_data;
};

static inline void board_init(struct board *b, u64 ram)
{
	memset(b, 0, sizeof(*b));
	clock_init(&b->clock);
	b->clock.virtual_time = true;
	b->mem = mem_new(&b->err);
	assert_non_null(b->mem);
	if (ram)
		assert_int_equal(mem_add_ram(b->mem, 0, ram, &b->err), 0);
}

static inline void board_free(struct board *b)
{
	mem_free(b->mem);
}

/* Lets time pass, timers fire at their deadlines. Bounded: at most a million firings. */
static inline void board_run_to(struct board *b, u64 ns)
{
	for (unsigned i = 0; i < 1000000; i++) {
		u64 next = timerq_next(&b->q), now = clock_ns(&b->clock);

		if (next > ns)
			break;
		if (next > now)
			clock_advance(&b->clock, next - now);
		timerq_run(&b->q, clock_ns(&b->clock));
	}
	if (ns > clock_ns(&b->clock))
		clock_advance(&b->clock, ns - clock_ns(&b->clock));
}

static inline void board_run(struct board *b, u64 ns)
{
	board_run_to(b, clock_ns(&b->clock) + ns);
}

static inline void board_wire_set(void *opaque, unsigned input, bool level)
{
	struct board *b = opaque;

	b->wire[input].rises += level && !b->wire[input].level;
	b->wire[input].falls += !level && b->wire[input].level;
	b->wire[input].level = level;
}

static inline struct irq board_wire(struct board *b, unsigned n)
{
	return (struct irq){ .set = board_wire_set, .chip = b, .input = n };
}

static inline void board_call_fn(void *opaque, unsigned arg)
{
	struct board *b = opaque;

	b->calls++;
	b->call_arg = arg;
}

static inline struct call board_call(struct board *b)
{
	return (struct call){ .fn = board_call_fn, .opaque = b };
}

static inline void board_msi_send(void *opaque, u64 addr, u32 data)
{
	struct board *b = opaque;

	b->messages++;
	b->msi_addr = addr;
	b->msi_data = data;
}

static inline struct msi_sink board_msi(struct board *b)
{
	return (struct msi_sink){ .send = board_msi_send, .opaque = b };
}

static inline void outb(struct board *b, u16 port, u8 v)
{
	mem_port_write(b->mem, port, v, 1);
}

static inline void outw(struct board *b, u16 port, u16 v)
{
	mem_port_write(b->mem, port, v, 2);
}

static inline void outl(struct board *b, u16 port, u32 v)
{
	mem_port_write(b->mem, port, v, 4);
}

static inline u8 inb(struct board *b, u16 port)
{
	return (u8)mem_port_read(b->mem, port, 1);
}

static inline u16 inw(struct board *b, u16 port)
{
	return (u16)mem_port_read(b->mem, port, 2);
}

static inline u32 inl(struct board *b, u16 port)
{
	return mem_port_read(b->mem, port, 4);
}

#endif
