/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on the devices of a whole board: the input is a list of port and memory accesses, DMA blocks for fw_cfg,
 * PCI configuration cycles and steps of time.
 */
#include <stdlib.h>

#include "machine/pc.h"
#include "chardev/chardev.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define RAM (4u << 20)

static struct clock now = { .virtual_time = true };
static struct timerq timers;
static struct mem *m;
static struct pc *pc;
/* One for kernels, one with firmware in ROM and shadow RAM. */
static struct {
	struct mem *mem;
	struct pc *pc;
} boards[2];

static void nothing(void *opaque, unsigned arg)
{
	(void)opaque;
	(void)arg;
}

static void no_line(void *opaque, unsigned input, bool level)
{
	(void)opaque;
	(void)input;
	(void)level;
}

static void no_message(void *opaque, u64 addr, u32 data)
{
	(void)opaque;
	(void)addr;
	(void)data;
}

static void make_board(bool firmware)
{
	static const u8 rom[0x20000];
	struct call call = { nothing, NULL };
	struct pc_config cfg = { .clock = &now,
				 .timers = &timers,
				 .memory = RAM,
				 .cpus = 4,
				 .debug_exit = 0xf4,
				 .debugcon_port = 0xe9,
				 .rom = firmware ? rom : NULL,
				 .rom_size = sizeof(rom),
				 .testdev = true,
				 .intr = { .set = no_line },
				 .msi = { .send = no_message },
				 .reset = call,
				 .power_off = call,
				 .leave = call,
				 .flush = call };
	struct err e = { "" };

	m = mem_new(&e);
	for (unsigned i = 0; i < 2; i++) {
		cfg.serial[i] = chardev_new("none", NULL, NULL, &e);
		cfg.has_serial[i] = true;
	}
	cfg.debugcon = chardev_new("none", NULL, NULL, &e);
	cfg.mem = m;
	pc = m ? pc_new(&cfg, &e) : NULL;
	if (!pc)
		abort();
	boards[firmware].mem = m;
	boards[firmware].pc = pc;
}

static u64 take(const u8 **p, const u8 *end, unsigned n)
{
	u64 v = 0;

	n = (unsigned)MIN((size_t)n, (size_t)(end - *p));
	memcpy(&v, *p, n);
	*p += n;
	return v;
}

static void pci_cycle(u8 op, const u8 **p, const u8 *end)
{
	u32 where = (u32)take(p, end, 2);

	mem_port_write(m, 0xcf8, 0x80000000u | (where & 0xfffc), 4);
	if (op & 8)
		mem_port_write(m, (u16)(0xcfc + (where & 3)), (u32)take(p, end, 4), 1u << (op >> 4) % 3);
	else
		mem_port_read(m, (u16)(0xcfc + (where & 3)), 1u << (op >> 4) % 3);
}

static void dma(const u8 **p, const u8 *end)
{
	struct {
		u32 control, len;
		u64 addr;
	} block = { (u32)take(p, end, 4), (u32)take(p, end, 4), take(p, end, 8) };
	u64 at = take(p, end, 3);

	mem_write(m, at, &block, sizeof(block));
	mem_port_write(m, 0x514, 0, 4);
	mem_port_write(m, 0x518, __builtin_bswap32((u32)at), 4);
}

static u64 window(u8 which)
{
	static const u64 at[] = { 0xfec00000, 0xfed00000, 0xff000000, 0xe0000000,
				  0xc0000000, 0xe0000,	  RAM - 8,    0xfffff000 };

	return at[which & 7];
}

static void one(u8 op, const u8 **p, const u8 *end)
{
	u64 at;

	switch (op & 7) {
	case 0:
	case 1:
		mem_port_read(m, (u16)take(p, end, 2), 1u << (op >> 4) % 3);
		break;
	case 2:
	case 3:
		at = take(p, end, 2);
		mem_port_write(m, (u16)at, (u32)take(p, end, 4), 1u << (op >> 4) % 3);
		break;
	case 4:
		at = window(op >> 3) + take(p, end, 2) % 0x1000;
		if (op & 0x80)
			mem_mmio_read(m, at, 1u << (op >> 5 & 3), NULL);
		else
			mem_mmio_write(m, at, take(p, end, 8), 1u << (op >> 5 & 3), NULL);
		break;
	case 5:
		pci_cycle(op, p, end);
		break;
	case 6:
		dma(p, end);
		break;
	default:
		clock_advance(&now, take(p, end, 4));
		timerq_run(&timers, clock_ns(&now));
		if (op & 8)
			pc_eoi(pc, (u8)take(p, end, 1));
		if (op & 16)
			pc_ack_intr(pc);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const u8 *p = data, *end = data + size;
	struct err e;

	if (!pc) {
		make_board(false);
		make_board(true);
	}
	if (!size)
		return 0;
	m = boards[*p & 1].mem;
	pc = boards[*p++ & 1].pc;
	for (unsigned n = 0; p < end && n < 2000; n++)
		one(*p++, &p, end);
	mem_set_a20(m, true);
	if (pc_reset(pc, &e))
		abort();
	return 0;
}
