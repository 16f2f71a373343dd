/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer on virtio: rings and the transport of a disk, a console with two ports, entropy, balloon and a network card
 * whose frames come back. The input is a
 * list of: devices brought up with features and ring formats of its choice, writes into rings and descriptor tables,
 * plausible buffers, register accesses, notifications, time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "machine/pcvirtio.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define RAM (2u << 20)
#define DEVICES 5
#define WINDOW 0x8000
#define BASE 0xe0000000ull
#define RING(n) (0x10000ull * ((n) % 8) + 0x10000) /* devices share them: worse than any driver */
#define ENTRIES 8

static struct clock now = { .virtual_time = true };
static struct timerq timers;
static struct resetctl resetctl;
static struct mem *m;
static struct pci_bus *bus;
static struct pc_virtio devices;

/* A wire that brings back the last frame, several times. */
static struct {
	struct net net;
	struct net_offload offload;
	u8 frame[NET_FRAME_MAX];
	u32 len;
	unsigned left;
} wire;

static bool wire_send(struct net *n, const struct net_frame *f)
{
	(void)n;
	if (f->offload.csum_start == 0x77)
		return false;
	memcpy(wire.frame, f->bytes, f->len);
	wire.len = f->len;
	wire.offload = f->offload;
	wire.left = f->len & 7;
	return true;
}

static bool wire_peek(struct net *n, struct net_frame *f)
{
	(void)n;
	*f = (struct net_frame){ wire.offload, wire.frame, wire.len };
	return wire.left;
}

static void wire_take(struct net *n)
{
	(void)n;
	wire.left--;
}

static const struct net_ops wire_ops = { .send = wire_send, .peek = wire_peek, .take = wire_take };

static u8 devfn_of(unsigned dev)
{
	return (u8)(dev == 4 ? PCI_DEVFN(PC_NET_SLOT, 0) : PCI_DEVFN(2 + dev, 0));
}

static struct block *make_image(struct err *e)
{
	struct block_spec spec = { .overlay = true };
	int fd = memfd_create("disk", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 1 << 20))
		abort();
	snprintf(spec.path, sizeof(spec.path), "/proc/self/fd/%d", fd);
	return block_open(&spec, e);
}

static void make_devices(void)
{
	struct err e = { "" };
	struct pci_config pci = { .resetctl = &resetctl };
	struct pc_virtio_config cfg = { .rng = true, .balloon = true, .n_ports = 2, .n_disks = 1, .disk_queues = 2 };
	struct virtio_board board = { .clock = &now, .timers = &timers };

	log_set_level(LOG_ERROR);
	m = mem_new(&e);
	if (!m || mem_add_ram(m, 0, RAM, &e))
		abort();
	board.mem = m;
	board.bus = bus = pci_new(m, &pci, &e);
	cfg.port[0].chr = chardev_new("none", NULL, NULL, &e);
	cfg.port[1] = (struct virtio_port_config){ chardev_new("none", NULL, NULL, &e), "port" };
	cfg.disk[0].image = make_image(&e);
	cfg.disk[0].serial = "fuzz";
	wire.net = (struct net){ .ops = &wire_ops, .mtu = 1500, .up = true, .finishes = true };
	cfg.n_nets = 1;
	cfg.net[0].net = &wire.net;
	cfg.net[0].mac = (const u8 *)"\x52\x54\0\0\0\1";
	if (!bus || !cfg.disk[0].image || pc_virtio_init(&devices, &board, &cfg, &e))
		abort();
}

static u64 take(const u8 **p, const u8 *end, unsigned n)
{
	u64 v = 0;

	n = (unsigned)MIN((size_t)n, (size_t)(end - *p));
	memcpy(&v, *p, n);
	*p += n;
	return v;
}

static void reg(unsigned dev, unsigned off, u64 v, unsigned size)
{
	mem_mmio_write(m, BASE + dev * WINDOW + off, v, size, NULL);
}

static void enable_queue(unsigned dev, unsigned n)
{
	reg(dev, 22, n, 2);
	reg(dev, 24, ENTRIES, 2);
	reg(dev, 32, RING(n), 8);
	reg(dev, 40, RING(n) + 0x100, 8);
	reg(dev, 48, RING(n) + 0x200, 8);
	reg(dev, 28, 1, 2);
}

static void bring_up(unsigned dev, u32 low, u32 high)
{
	reg(dev, 20, 0, 1);
	reg(dev, 20, 3, 1);
	reg(dev, 0, 0, 4);
	reg(dev, 8, 0, 4);
	reg(dev, 12, low & (u32)mem_mmio_read(m, BASE + dev * WINDOW + 4, 4, NULL), 4);
	reg(dev, 8, 1, 4);
	reg(dev, 12, high | 1, 4);
	reg(dev, 20, 11, 1);
	for (unsigned n = 0; n < 6; n++)
		enable_queue(dev, n);
	reg(dev, 20, 15, 1);
}

/* A chain of one or two buffers that both formats understand. */
static void offer(unsigned queue, unsigned shape, const u8 **p, const u8 *end)
{
	u64 desc = RING(queue);
	u16 head = shape & 7, idx = 0;

	for (unsigned i = 0; i <= (shape >> 3 & 1); i++) {
		u64 at = desc + (head + i) % ENTRIES * 16ull, gpa = take(p, end, 3);
		u32 len = (u32)take(p, end, 2);
		u16 words[2] = { (u16)take(p, end, 2), (u16)take(p, end, 2) };

		mem_write(m, at, &gpa, 8);
		mem_write(m, at + 8, &len, 4);
		mem_write(m, at + 12, words, 4);
	}
	mem_read(m, desc + 0x102, &idx, 2);
	mem_write(m, desc + 0x104 + idx % ENTRIES * 2, &head, 2);
	idx++;
	mem_write(m, desc + 0x102, &idx, 2);
}

static void one(u8 op, const u8 **p, const u8 *end)
{
	unsigned dev = op >> 3 & 3, n = op >> 5;
	u64 at, v;

	if (dev == 3 && (n & 4))
		dev = 4;
	switch (op & 7) {
	case 0:
		v = take(p, end, 4);
		wire.left = 0;
		bring_up(dev, (u32)v, (u32)take(p, end, 2) & 0x105);
		break;
	case 1:
		offer(n, (unsigned)take(p, end, 1), p, end);
		reg(dev, 0x3000 + 4 * n, n, 2);
		break;
	case 2:
		at = RING(n) + take(p, end, 2) % 0x300;
		v = take(p, end, 8);
		mem_write(m, at, &v, 8);
		break;
	case 3:
		at = take(p, end, 2) % WINDOW;
		reg(dev, (unsigned)at, take(p, end, 8), 1u << (n & 3));
		break;
	case 4:
		mem_mmio_read(m, BASE + dev * WINDOW + take(p, end, 2) % WINDOW, 1u << (n & 3), NULL);
		break;
	case 5:
		at = take(p, end, 1);
		pci_config_put(bus, devfn_of(dev), at & 0xfc, (u32)take(p, end, 4), 4);
		pci_config_get(bus, devfn_of(dev), at & 0xfc, 4);
		break;
	case 6:
		reg(dev, 0x3000 + 4 * n, n, 2);
		break;
	default:
		clock_advance(&now, 1 + take(p, end, 1));
		timerq_run(&timers, clock_ns(&now));
		if (op & 64)
			wire.net.user.arrived(wire.net.user.opaque);
		if (op & 128)
			wire.net.user.drained(wire.net.user.opaque);
		if (op & 8)
			virtio_console_resize(devices.console, n & 1, op, 25);
		if (op & 16)
			virtio_balloon_ask_stats(devices.balloon);
		if (op & 32)
			virtio_balloon_set_target(devices.balloon, op * 4096ull);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const u8 *p = data, *end = data + size;
	struct err e;

	if (!bus)
		make_devices();
	mem_discard(m, 0, RAM);
	pci_reset(bus);
	if (pci_assign(bus, BASE, BASE + DEVICES * WINDOW, 0xc000, 0xd000, &e))
		abort();
	for (unsigned i = 0; i < DEVICES; i++)
		pci_config_put(bus, devfn_of(i), PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER, 2);
	for (unsigned n = 0; p < end && n < 1000; n++)
		one(*p++, &p, end);
	return 0;
}
