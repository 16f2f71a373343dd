/* SPDX-License-Identifier: Apache-2.0
 * The I/O APIC. An edge that comes while its pin is masked is lost; a level is looked at again when the pin is
 * unmasked, when it is rewritten and when remote IRR falls.
 */
#include "dev/ioapic.h"
#include "dev/dev.h"

enum {
	REG_ID = 0x00,
	REG_VER = 0x01,
	REG_ARB = 0x02,
	REG_RTE = 0x10,
	OFF_SELECT = 0x00,
	OFF_WINDOW = 0x10,
	OFF_EOI = 0x40,
	RTE_LOGICAL = 0x800,
	RTE_LOW = 0x2000, /* polarity: active low */
	RTE_REMOTE_IRR = 0x4000,
	RTE_LEVEL = 0x8000,
	RTE_MASKED = 0x10000,
	RTE_WRITABLE = 0x1afff,
};

static bool asserted(const struct ioapic *a, unsigned pin)
{
	return !!(a->lines & (1u << pin)) != !!(a->rte[pin] & RTE_LOW);
}

/* MSI format (SDM 3A 11.11): destination at 19..12 of the address, its extension (entry bits 55..49) at 11..5. */
static void deliver(struct ioapic *a, unsigned pin)
{
	u64 rte = a->rte[pin], addr = 0xfee00000 | bits(rte, 63, 56) << 12 | bits(rte, 55, 49) << 5;
	u32 data = rte & 0x7ff;

	if (rte & RTE_LOGICAL)
		addr |= 4;
	if (rte & RTE_LEVEL)
		data |= 0xc000;
	if (a->out.send)
		a->out.send(a->out.opaque, addr, data);
}

static void service_level(struct ioapic *a, unsigned pin)
{
	u64 rte = a->rte[pin];

	if (!(rte & RTE_LEVEL) || (rte & (RTE_MASKED | RTE_REMOTE_IRR)) || !asserted(a, pin))
		return;
	/* Only the modes that end in an EOI wait for one: fixed and lowest priority. */
	if (bits(rte, 10, 8) <= 1)
		a->rte[pin] |= RTE_REMOTE_IRR;
	deliver(a, pin);
}

void ioapic_set_irq(void *ioapic, unsigned input, bool level)
{
	struct ioapic *a = ioapic;
	bool was;

	if (input >= IOAPIC_PINS)
		return;
	was = asserted(a, input);
	a->lines = level ? a->lines | (1u << input) : a->lines & ~(1u << input);
	if (was || !asserted(a, input))
		return;
	if (a->rte[input] & RTE_LEVEL)
		service_level(a, input);
	else if (!(a->rte[input] & RTE_MASKED))
		deliver(a, input);
}

void ioapic_eoi(struct ioapic *a, u8 vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (!(a->rte[pin] & RTE_REMOTE_IRR) || (u8)a->rte[pin] != vector)
			continue;
		a->rte[pin] &= ~(u64)RTE_REMOTE_IRR;
		service_level(a, pin);
	}
}

static u32 reg_read(const struct ioapic *a)
{
	unsigned n = a->select;

	switch (n) {
	case REG_ID:
	case REG_ARB:
		return (u32)a->id << 24;
	case REG_VER:
		return (IOAPIC_PINS - 1) << 16 | 0x20;
	}
	n -= REG_RTE;
	return n < IOAPIC_PINS * 2 ? (u32)(a->rte[n / 2] >> (n & 1) * 32) : 0;
}

static void rte_write(struct ioapic *a, unsigned pin, bool high, u32 v)
{
	u64 *rte = &a->rte[pin];

	if (high) {
		*rte = (u32)*rte | (u64)(v & 0xfffe0000) << 32;
		return;
	}
	*rte = (*rte & ~(u64)RTE_WRITABLE) | (v & RTE_WRITABLE);
	/* Remote IRR has no meaning for edges; to go through edge mode is how version 0x11 is told an EOI. */
	if (!(v & RTE_LEVEL))
		*rte &= ~(u64)RTE_REMOTE_IRR;
	service_level(a, pin);
}

static void reg_write(struct ioapic *a, u32 v)
{
	unsigned n = a->select;

	if (n == REG_ID)
		a->id = v >> 24 & 0x0f;
	else if (n >= REG_RTE && n < REG_RTE + IOAPIC_PINS * 2)
		rte_write(a, (n - REG_RTE) / 2, n & 1, v);
}

static u64 ioapic_read(void *dev, u64 off, unsigned size)
{
	struct ioapic *a = dev;
	unsigned byte = off & 3;

	switch (off & ~3ull) {
	case OFF_SELECT:
		return reg_extract(a->select, byte, size);
	case OFF_WINDOW:
		return reg_extract(reg_read(a), byte, size);
	}
	return 0;
}

/* Registers are 32 bits wide; a narrower write is what the low bytes of a wide one would be. */
static void ioapic_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct ioapic *a = dev;

	(void)size;
	switch (off) {
	case OFF_SELECT:
		a->select = (u8)val;
		break;
	case OFF_WINDOW:
		reg_write(a, (u32)val);
		break;
	case OFF_EOI:
		ioapic_eoi(a, (u8)val);
		break;
	}
}

void ioapic_reset(struct ioapic *a)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		a->rte[pin] = RTE_MASKED;
	a->select = a->id = 0;
}

static const struct io_ops ioapic_ops = { .read = ioapic_read, .write = ioapic_write, .max_size = 4 };

struct ioapic *ioapic_new(struct mem *m, u64 base, struct msi_sink out, struct err *e)
{
	struct ioapic *a = dev_alloc(sizeof(*a), e);

	if (!a)
		return NULL;
	a->out = out;
	ioapic_reset(a);
	if (mem_add_mmio(m, base, PAGE_SIZE, &ioapic_ops, a, e)) {
		free(a);
		return NULL;
	}
	return a;
}

void ioapic_free(struct ioapic *a)
{
	free(a);
}

/* ---- its state: what a snapshot has and the monitor prints --------------------------------------------------------
 */

#define S struct ioapic
static const struct state_field state_fields[] = {
	STATE_ARRAY(S, rte),
	STATE_RANGE(S, lines, 0, (1u << IOAPIC_PINS) - 1),
	STATE_UINT(S, select),
	STATE_UINT(S, id),
};
#undef S

const struct state ioapic_state = { .field = state_fields, .n = ARRAY_SIZE(state_fields) };
