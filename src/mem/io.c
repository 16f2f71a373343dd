/* SPDX-License-Identifier: Apache-2.0
 * Dispatch of device and port accesses. An access goes to its device in one piece if it lies inside one range, is
 * naturally aligned and no wider than the device takes; everything else is cut into the largest pieces for which that
 * holds, lowest address first, as a bus does for a narrower device. A piece narrower than min_size reads its aligned
 * unit and takes its bytes; written, it arrives as its aligned unit with the other lanes zero. The bus lock, if
 * there is one, is held around each piece, the search for its device included: devices move their own ranges.
 */
#include "mem/frame.h"

/* Largest power of two that divides addr and fits n and the device, down to 1. */
static unsigned piece_size(u64 addr, unsigned n, u64 room, const struct io_ops *ops)
{
	unsigned max = ops->max_size ? ops->max_size : 8, size = 8;

	while (size > 1 && (size > n || size > max || size > room || (addr & (size - 1))))
		size /= 2;
	return size;
}

void mem_set_bus_lock(struct mem *m, void (*lock)(void *opaque), void (*unlock)(void *opaque), void *opaque)
{
	m->bus_lock = lock;
	m->bus_unlock = unlock;
	m->bus_opaque = opaque;
}

void mem_lock_bus(struct mem *m)
{
	if (m->bus_lock)
		m->bus_lock(m->bus_opaque);
}

void mem_unlock_bus(struct mem *m)
{
	if (m->bus_lock)
		m->bus_unlock(m->bus_opaque);
}

static u64 dev_read(const struct io_ops *ops, void *dev, u64 addr, u64 off, unsigned size)
{
	unsigned min = ops->min_size ? ops->min_size : 1, lane = (unsigned)(addr & (min - 1));

	if (!ops->read)
		return bytes_mask(size);
	if (size >= min || lane > off)
		return ops->read(dev, off, size) & bytes_mask(size);
	return ops->read(dev, off - lane, min) >> (lane * 8) & bytes_mask(size);
}

static void dev_write(const struct io_ops *ops, void *dev, u64 addr, u64 off, u64 val, unsigned size)
{
	unsigned min = ops->min_size ? ops->min_size : 1, lane = (unsigned)(addr & (min - 1));

	val &= bytes_mask(size);
	if (!ops->write)
		return;
	if (size >= min || lane > off)
		ops->write(dev, off, val, size);
	else
		ops->write(dev, off - lane, val << (lane * 8), min);
}

/* One piece at gpa, at most n bytes, with the bus locked; returns its size. The region is copied: a device may change
 * the table. */
static unsigned mmio_read_piece(struct mem *m, u64 gpa, unsigned n, u64 *val, bool *claimed)
{
	struct region r;
	unsigned size;

	if (!mem_region(m, gpa, &r)) {
		*val = 0xff;
		*claimed = false;
		return 1;
	}
	if (r.hva) {
		*val = *(volatile u8 *)(r.hva + (gpa - r.gpa));
		return 1;
	}
	size = piece_size(gpa, n, r.gpa + r.size - gpa, r.ops);
	*val = dev_read(r.ops, r.dev, gpa, gpa - r.gpa, size);
	return size;
}

static unsigned mmio_write_piece(struct mem *m, u64 gpa, unsigned n, u64 val, bool *claimed)
{
	struct region r;
	unsigned size;

	if (!mem_region(m, gpa, &r)) {
		*claimed = false;
		return 1;
	}
	if (r.hva) {
		u8 byte = (u8)val;

		mem_write(m, gpa, &byte, 1);
		return 1;
	}
	size = piece_size(gpa, n, r.gpa + r.size - gpa, r.ops);
	dev_write(r.ops, r.dev, gpa, gpa - r.gpa, val, size);
	return size;
}

u64 mem_mmio_read(struct mem *m, u64 gpa, unsigned size, bool *claimed)
{
	bool all = true;
	u64 val = 0, part;

	for (unsigned done = 0; done < size;) {
		unsigned n;

		mem_lock_bus(m);
		n = mmio_read_piece(m, gpa + done, size - done, &part, &all);
		mem_unlock_bus(m);
		val |= part << (done * 8);
		done += n;
	}
	if (claimed)
		*claimed = all;
	return val;
}

void mem_mmio_write(struct mem *m, u64 gpa, u64 val, unsigned size, bool *claimed)
{
	bool all = true;

	for (unsigned done = 0; done < size;) {
		mem_lock_bus(m);
		done += mmio_write_piece(m, gpa + done, size - done, val >> (done * 8), &all);
		mem_unlock_bus(m);
	}
	if (claimed)
		*claimed = all;
}

/* ---- ports ---------------------------------------------------------------------------------------------------- */

int mem_add_ports(struct mem *m, u16 port, unsigned n, const struct io_ops *ops, void *dev, struct err *e)
{
	unsigned i = 0;

	if (!n || n > 65536u - port)
		return err_set(e, "port range 0x%x + 0x%x does not exist", port, n);
	for (unsigned p = port; p < port + n; p++)
		if (m->port_map[p])
			return err_set(e, "port 0x%x is taken twice", p);
	while (i < MEM_MAX_PORT_RANGES && m->ports[i].n)
		i++;
	if (i == MEM_MAX_PORT_RANGES)
		return err_set(e, "more than %d port ranges", MEM_MAX_PORT_RANGES);
	m->ports[i] = (struct port_range){ .first = port, .n = n, .ops = ops, .dev = dev };
	for (unsigned p = port; p < port + n; p++)
		m->port_map[p] = (u16)(i + 1);
	return 0;
}

void mem_remove_ports(struct mem *m, u16 port)
{
	struct port_range *r;

	if (!m->port_map[port] || m->ports[m->port_map[port] - 1].first != port)
		return;
	r = &m->ports[m->port_map[port] - 1];
	memset(&m->port_map[port], 0, r->n * sizeof(m->port_map[0]));
	r->n = 0;
}

/* The range's copy and the size of the piece at port; false: unclaimed, one byte. Addresses wrap at 64 KiB. */
static bool port_piece(const struct mem *m, u16 port, unsigned n, struct port_range *r, unsigned *size)
{
	*size = 1;
	if (!m->port_map[port])
		return false;
	*r = m->ports[m->port_map[port] - 1];
	*size = piece_size(port, n, r->first + r->n - port, r->ops);
	return true;
}

u32 mem_port_read(struct mem *m, u16 port, unsigned size)
{
	u64 val = 0;

	for (unsigned done = 0, n; done < size; done += n) {
		u16 at = (u16)(port + done);
		struct port_range r;
		u64 part = 0xff;

		mem_lock_bus(m);
		if (port_piece(m, at, size - done, &r, &n))
			part = dev_read(r.ops, r.dev, at, (u64)at - r.first, n);
		mem_unlock_bus(m);
		val |= part << (done * 8);
	}
	return (u32)val;
}

void mem_port_write(struct mem *m, u16 port, u32 val, unsigned size)
{
	for (unsigned done = 0, n; done < size; done += n) {
		u16 at = (u16)(port + done);
		struct port_range r;

		mem_lock_bus(m);
		if (port_piece(m, at, size - done, &r, &n))
			dev_write(r.ops, r.dev, at, (u64)at - r.first, (u64)val >> (done * 8), n);
		mem_unlock_bus(m);
	}
}
