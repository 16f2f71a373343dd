/* SPDX-License-Identifier: Apache-2.0
 * Configuration space, windows and interrupt wires of a PCI bus. A window decodes when its command bit is set and its
 * address is neither 0 nor the all-ones of sizing; one that would overlap something else stays unmapped until the
 * guest moves it (real hardware would let both answer).
 */
#include "dev/pci.h"

enum { OFF_ADDRESS = 0, OFF_RESET = 1, OFF_DATA = 4 };

void pci_set16(struct pci_dev *d, unsigned off, u16 v)
{
	d->config[off] = (u8)v;
	d->config[off + 1] = (u8)(v >> 8);
}

void pci_set32(struct pci_dev *d, unsigned off, u32 v)
{
	pci_set16(d, off, (u16)v);
	pci_set16(d, off + 2, (u16)(v >> 16));
}

static u32 get32(const struct pci_dev *d, unsigned off)
{
	return pci_get16(d, off) | (u32)pci_get16(d, off + 2) << 16;
}

bool pci_may_master(const struct pci_dev *d)
{
	return pci_get16(d, PCI_COMMAND) & PCI_CMD_MASTER;
}

/* ---- windows -------------------------------------------------------------------------------------------------- */

static u64 bar_read(void *dev, u64 off, unsigned size)
{
	struct pci_bar *bar = dev;
	u64 val = 0;

	if (pci_msix_access(bar, off, size, &val, false))
		return val;
	return bar->ops && bar->ops->read ? bar->ops->read(bar->opaque, off, size) : bytes_mask(size);
}

static void bar_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct pci_bar *bar = dev;

	if (!pci_msix_access(bar, off, size, &val, true) && bar->ops && bar->ops->write)
		bar->ops->write(bar->opaque, off, val, size);
}

/* Where a BAR asks to decode, or PCI_UNMAPPED. */
static u64 bar_wanted(const struct pci_dev *d, unsigned n)
{
	const struct pci_bar *bar = &d->bar[n];
	u16 command = pci_get16(d, PCI_COMMAND);
	u64 at = get32(d, PCI_BAR0 + n * 4), top = BIT(32);

	if (!(command & (bar->kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM)))
		return PCI_UNMAPPED;
	if (bar->kind == PCI_BAR_IO)
		top = BIT(16);
	if (bar->kind == PCI_BAR_MEM64) {
		at |= (u64)get32(d, PCI_BAR0 + n * 4 + 4) << 32;
		top = BIT(52);
	}
	at &= ~(bar->size - 1);
	/* The last window below 4 GiB is what sizing leaves behind. */
	if (!at || at >= top || bar->size > top - at || (at + bar->size == BIT(32) && bar->kind != PCI_BAR_IO))
		return PCI_UNMAPPED;
	return at;
}

static void bar_unmap(struct pci_bar *bar)
{
	struct mem *m = bar->dev->bus->mem;

	if (bar->mapped == PCI_UNMAPPED)
		return;
	if (bar->kind == PCI_BAR_IO)
		mem_remove_ports(m, (u16)bar->mapped);
	else
		mem_remove(m, bar->mapped);
	bar->mapped = PCI_UNMAPPED;
}

static void bar_map(struct pci_bar *bar, u64 at)
{
	struct mem *m = bar->dev->bus->mem;
	int rc;

	if (at == PCI_UNMAPPED)
		return;
	if (bar->kind == PCI_BAR_IO)
		rc = mem_add_ports(m, (u16)at, (unsigned)bar->size, &bar->bus_ops, bar, NULL);
	else
		rc = mem_add_mmio(m, at, bar->size, &bar->bus_ops, bar, NULL);
	if (!rc)
		bar->mapped = at;
}

static void update_bars(struct pci_dev *d)
{
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (d->bar[n].kind && d->bar[n].mapped != bar_wanted(d, n))
			bar_unmap(&d->bar[n]);
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (d->bar[n].kind && d->bar[n].mapped == PCI_UNMAPPED)
			bar_map(&d->bar[n], bar_wanted(d, n));
}

/* A window that stood in another's way may have gone: all get their chance. */
static void update_all_bars(struct pci_bus *b)
{
	for (unsigned i = 0; i < ARRAY_SIZE(b->dev); i++)
		if (b->dev[i])
			update_bars(b->dev[i]);
}

int pci_add_bar(struct pci_dev *d, unsigned n, enum pci_bar_kind kind, bool prefetchable, u64 size,
		const struct io_ops *ops, void *opaque, struct err *e)
{
	bool io = kind == PCI_BAR_IO, wide = kind == PCI_BAR_MEM64;
	unsigned reg = PCI_BAR0 + n * 4;
	u64 mask = ~(size - 1);
	struct pci_bar *bar;

	if (n + wide >= PCI_BARS || kind == PCI_BAR_NONE || d->bar[n].kind ||
	    (n && d->bar[n - 1].kind == PCI_BAR_MEM64))
		return err_set(e, "PCI device %02x has no free BAR %u", d->devfn, n);
	if ((size & (size - 1)) || size < (io ? 4 : PAGE_SIZE) || size > (io ? 256 : wide ? BIT(40) : BIT(31)))
		return err_set(e, "a PCI BAR cannot have %llu bytes", (unsigned long long)size);
	bar = &d->bar[n];
	*bar = (struct pci_bar){
		.dev = d,
		.kind = kind,
		.prefetchable = prefetchable,
		.size = size,
		.ops = ops,
		.opaque = opaque,
		.bus_ops = { .read = bar_read, .write = bar_write },
		.mapped = PCI_UNMAPPED,
	};
	if (ops) {
		bar->bus_ops.min_size = ops->min_size;
		bar->bus_ops.max_size = ops->max_size;
	}
	pci_set32(d, reg, io ? 1 : (wide ? 4 : 0) | (prefetchable ? 8 : 0));
	for (unsigned i = 0; i < (wide ? 8 : 4); i++)
		d->wmask[reg + i] = (u8)(mask >> (i * 8));
	return 0;
}

int pci_add_capability(struct pci_dev *d, u8 id, unsigned len, struct err *e)
{
	unsigned at = ALIGN_UP((unsigned)d->cap_end, 4u);

	if (len < 2 || at + len > 256 || d->cap_end == 0)
		return err_set(e, "PCI device %02x has no room for capability %02x", d->devfn, id);
	d->config[at] = id;
	d->config[at + 1] = 0;
	d->config[d->cap_last ? d->cap_last + 1 : PCI_CAP_PTR] = (u8)at;
	d->config[PCI_STATUS] |= PCI_STS_CAPS;
	d->cap_last = (u8)at;
	d->cap_end = (u8)(at + len); /* 0 when full */
	return (int)at;
}

/* ---- interrupt wires ------------------------------------------------------------------------------------------ */

static void update_isa(struct pci_bus *b)
{
	u16 levels = 0, changed;

	for (unsigned p = 0; p < 4; p++)
		if (b->pirq_count[p] && !(b->pirq_route[p] & 0x80))
			levels |= (u16)(1u << (b->pirq_route[p] & 15));
	changed = levels ^ b->isa_levels;
	b->isa_levels = levels;
	for (unsigned i = 0; i < 16; i++)
		if (changed & (1u << i))
			irq_set(&b->cfg.isa_irq[i], levels & (1u << i));
}

void pci_route_pirq(struct pci_bus *b, unsigned pirq, u8 route)
{
	b->pirq_route[pirq & 3] = route;
	update_isa(b);
}

static void update_intx(struct pci_dev *d)
{
	bool level = d->intx && d->config[PCI_INT_PIN] && !(pci_get16(d, PCI_COMMAND) & PCI_CMD_INTX_OFF);
	unsigned pirq = pci_pirq_of(d->devfn >> 3, d->config[PCI_INT_PIN]);

	d->config[PCI_STATUS] = (u8)((d->config[PCI_STATUS] & ~PCI_STS_INTX) | (d->intx ? PCI_STS_INTX : 0));
	if (level == d->intx_driven)
		return;
	d->intx_driven = level;
	d->bus->pirq_count[pirq] += level ? 1 : -1;
	update_isa(d->bus);
}

void pci_set_irq(struct pci_dev *d, bool level)
{
	d->intx = level;
	update_intx(d);
}

/* ---- configuration space -------------------------------------------------------------------------------------- */

u32 pci_config_get(struct pci_bus *b, u8 devfn, unsigned off, unsigned size)
{
	struct pci_dev *d = b->dev[devfn];
	u32 v = 0;

	if (!d || off + size > 256)
		return (u32)bytes_mask(size);
	if (d->ops && d->ops->config_read)
		d->ops->config_read(d, off, size);
	for (unsigned i = 0; i < size; i++)
		v |= (u32)d->config[off + i] << (i * 8);
	return v;
}

static bool touches(unsigned off, unsigned size, unsigned first, unsigned end)
{
	return off < end && off + size > first;
}

void pci_config_put(struct pci_bus *b, u8 devfn, unsigned off, u32 val, unsigned size)
{
	struct pci_dev *d = b->dev[devfn];

	if (!d || off + size > 256)
		return;
	for (unsigned i = 0; i < size; i++) {
		u8 v = (u8)(val >> (i * 8)), *c = &d->config[off + i];

		*c = (u8)((*c & ~d->wmask[off + i]) | (v & d->wmask[off + i]));
		*c &= ~(v & d->w1c[off + i]);
	}
	if (touches(off, size, PCI_COMMAND, PCI_COMMAND + 2) || touches(off, size, PCI_BAR0, PCI_BAR0 + PCI_BARS * 4)) {
		update_intx(d);
		update_bars(d);
		update_all_bars(b);
	}
	pci_msi_written(d, off, size);
	if (d->ops && d->ops->config_written)
		d->ops->config_written(d, off, size);
}

void pci_restored(struct pci_dev *d)
{
	update_intx(d);
	update_all_bars(d->bus);
}

int pci_register_device(struct pci_bus *b, struct pci_dev *d, u8 devfn, const struct pci_ident *id,
			const struct pci_dev_ops *ops, void *opaque, struct err *e)
{
	if (b->dev[devfn])
		return err_set(e, "PCI slot %u function %u is taken", devfn >> 3, devfn & 7);
	*d = (struct pci_dev){ .ops = ops, .opaque = opaque, .bus = b, .devfn = devfn, .cap_end = 0x40 };
	pci_set16(d, PCI_VENDOR, id->vendor);
	pci_set16(d, PCI_DEVICE, id->device);
	pci_set32(d, PCI_REVISION, id->class_code << 8 | id->revision);
	pci_set16(d, PCI_SUBSYS_VENDOR, id->subsys_vendor);
	pci_set16(d, PCI_SUBSYS, id->subsys);
	d->config[PCI_HEADER_TYPE] = id->multifunction ? 0x80 : 0;
	d->config[PCI_INT_PIN] = id->int_pin;
	d->wmask[PCI_INT_LINE] = 0xff;
	d->wmask[0x0c] = 0xff; /* cache line size */
	d->wmask[0x0d] = 0xf8; /* latency timer */
	d->wmask[PCI_COMMAND] = PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_PARITY;
	d->wmask[PCI_COMMAND + 1] = (PCI_CMD_SERR | PCI_CMD_INTX_OFF) >> 8;
	d->w1c[PCI_STATUS + 1] = 0xf9;
	b->dev[devfn] = d;
	return 0;
}

void pci_unregister_device(struct pci_dev *d)
{
	if (!d->bus)
		return;
	pci_set_irq(d, false);
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (d->bar[n].kind)
			bar_unmap(&d->bar[n]);
	free(d->msix.table);
	free(d->msix.pending);
	d->msix = (struct pci_msix){ 0 };
	d->bus->dev[d->devfn] = NULL;
	d->bus = NULL;
}

/* ---- the ports ------------------------------------------------------------------------------------------------ */

/* The devfn that 0xcf8 names, or -1: mechanism off, another bus. */
static int selected(const struct pci_bus *b)
{
	return b->address >> 16 == 0x8000 ? (int)(b->address >> 8 & 0xff) : -1;
}

static u64 ports_read(void *dev, u64 off, unsigned size)
{
	struct pci_bus *b = dev;

	if (off == OFF_ADDRESS && size == 4)
		return b->address;
	if (off == OFF_RESET && size == 1 && b->cfg.resetctl)
		return resetctl_read(b->cfg.resetctl);
	if (off < OFF_DATA || selected(b) < 0)
		return bytes_mask(size);
	return pci_config_get(b, (u8)selected(b), (b->address & 0xfc) + (unsigned)(off & 3), size);
}

static void ports_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct pci_bus *b = dev;

	if (off == OFF_ADDRESS && size == 4)
		b->address = val & 0x80fffffc;
	else if (off == OFF_RESET && size == 1 && b->cfg.resetctl)
		resetctl_write(b->cfg.resetctl, (u8)val);
	else if (off >= OFF_DATA && selected(b) >= 0)
		pci_config_put(b, (u8)selected(b), (b->address & 0xfc) + (unsigned)(off & 3), (u32)val, size);
}

/* The first reset, at power-on, takes down what every later one puts back. */
static void reset_device(struct pci_dev *d)
{
	if (!d->sealed)
		memcpy(d->at_reset, d->config, sizeof(d->config));
	d->sealed = true;
	memcpy(d->config, d->at_reset, sizeof(d->config));
	d->intx = false;
	update_intx(d);
	update_bars(d);
	pci_msi_reset(d);
	if (d->ops && d->ops->reset)
		d->ops->reset(d);
}

void pci_reset(struct pci_bus *b)
{
	b->address = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(b->dev); i++)
		if (b->dev[i])
			reset_device(b->dev[i]);
}

static const struct io_ops ports_ops = { .read = ports_read, .write = ports_write, .max_size = 4 };

struct pci_bus *pci_new(struct mem *m, const struct pci_config *cfg, struct err *e)
{
	struct pci_bus *b = dev_alloc(sizeof(*b), e);

	if (!b)
		return NULL;
	b->mem = m;
	b->cfg = *cfg;
	memset(b->pirq_route, 0x80, sizeof(b->pirq_route));
	if (mem_add_ports(m, 0xcf8, 8, &ports_ops, b, e)) {
		free(b);
		return NULL;
	}
	return b;
}

void pci_free(struct pci_bus *b)
{
	free(b);
}

/* ---- what firmware does --------------------------------------------------------------------------------------- */

struct windows {
	u64 mem, mem_end, io, io_end;
};

static int assign_bar(struct pci_dev *d, unsigned n, struct windows *w, struct err *e)
{
	struct pci_bar *bar = &d->bar[n];
	bool io = bar->kind == PCI_BAR_IO;
	u64 *next = io ? &w->io : &w->mem, end = io ? w->io_end : w->mem_end, at = ALIGN_UP(*next, bar->size);

	if (at + bar->size > end)
		return err_set(e, "the PCI windows are full at device %02x, BAR %u", d->devfn, n);
	*next = at + bar->size;
	pci_config_put(d->bus, d->devfn, PCI_BAR0 + n * 4, (u32)at, 4);
	if (bar->kind == PCI_BAR_MEM64)
		pci_config_put(d->bus, d->devfn, PCI_BAR0 + n * 4 + 4, (u32)(at >> 32), 4);
	return 0;
}

static int assign_device(struct pci_dev *d, struct windows *w, struct err *e)
{
	u16 command = 0;
	u8 pin = d->config[PCI_INT_PIN], route;

	for (unsigned n = 0; n < PCI_BARS; n++) {
		if (!d->bar[n].kind)
			continue;
		command |= d->bar[n].kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM;
		if (assign_bar(d, n, w, e))
			return -1;
	}
	route = d->bus->pirq_route[pci_pirq_of(d->devfn >> 3, pin)];
	if (pin && !(route & 0x80))
		pci_config_put(d->bus, d->devfn, PCI_INT_LINE, route & 15, 1);
	pci_config_put(d->bus, d->devfn, PCI_COMMAND, pci_get16(d, PCI_COMMAND) | command, 2);
	return 0;
}

int pci_assign(struct pci_bus *b, u64 mem_base, u64 mem_end, u32 io_base, u32 io_end, struct err *e)
{
	struct windows w = { .mem = mem_base, .mem_end = mem_end, .io = io_base, .io_end = io_end };

	for (unsigned i = 0; i < ARRAY_SIZE(b->dev); i++)
		if (b->dev[i] && assign_device(b->dev[i], &w, e))
			return -1;
	return 0;
}
