/* SPDX-License-Identifier: Apache-2.0
 * What every chip shares: its birth, and the wires that are neither interrupts nor backends.
 *
 * Locking: every function of src/dev runs under the machine lock, called by a vCPU's thread (register accesses) or by
 * the I/O thread (timers, backends). No chip takes a lock or owns a thread.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include <stdlib.h>

#include "base/base.h"
#include "base/err.h"

/* An action given to a chip at birth: reset, power off, leave. What arg means is said where it is used. */
struct call {
	void (*fn)(void *opaque, unsigned arg);
	void *opaque;
};

static inline void call_make(const struct call *c, unsigned arg)
{
	if (c->fn)
		c->fn(c->opaque, arg);
}

/* The argument of a reset call. */
enum reset_kind {
	RESET_INIT,  /* processors only: i8042 pulse, port 0x92, 0xcf9 soft reset */
	RESET_HARD,  /* the whole board keeps power: 0xcf9 hard reset */
	RESET_POWER, /* power is cycled: 0xcf9 full reset */
};

/* Zeroed, or NULL with the sentence. */
static inline void *dev_alloc(size_t size, struct err *e)
{
	void *p = calloc(1, size);

	if (!p)
		err_set(e, "out of memory for a device of %zu bytes", size);
	return p;
}

/* Register bytes at off within a 32- or 64-bit register, and a register with some of its bytes replaced. */
static inline u64 reg_extract(u64 reg, unsigned off, unsigned size)
{
	return (reg >> (off * 8)) & bytes_mask(size);
}

static inline u64 reg_deposit(u64 reg, unsigned off, unsigned size, u64 val)
{
	u64 mask = bytes_mask(size) << (off * 8);

	return (reg & ~mask) | ((val << (off * 8)) & mask);
}

#endif
