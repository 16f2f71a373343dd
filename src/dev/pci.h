/* SPDX-License-Identifier: Apache-2.0
 * One PCI bus (PCI Local Bus 3.0) behind configuration mechanism 1 at ports 0xcf8 to 0xcff. Machine lock; windows move
 * under it too, so the caller of a register access must allow the memory table to change (mem.h, invariant 3).
 *
 * A device: pci_register_device(), then pci_add_bar(), pci_add_capability(), pci_add_msi(), pci_add_msix() in any
 * order; after that config space, sizing, decoding and interrupts are kept here. Everything that a guest writes goes
 * through `wmask` (writable bits) and `w1c` (bits cleared by writing 1).
 */
#ifndef DEV_PCI_H
#define DEV_PCI_H

#include "base/state.h"
#include "dev/irq.h"
#include "dev/resetctl.h"
#include "mem/mem.h"

#define PCI_SLOTS 32
#define PCI_DEVFN(slot, fn) ((u8)((slot) << 3 | (fn)))
#define PCI_BARS 6
#define PCI_MSI_VECTORS 32
#define PCI_MSIX_VECTORS 2048

enum pci_reg {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYS_VENDOR = 0x2c,
	PCI_SUBSYS = 0x2e,
	PCI_CAP_PTR = 0x34,
	PCI_INT_LINE = 0x3c,
	PCI_INT_PIN = 0x3d,
};

enum {
	PCI_CMD_IO = 0x0001,
	PCI_CMD_MEM = 0x0002,
	PCI_CMD_MASTER = 0x0004,
	PCI_CMD_PARITY = 0x0040,
	PCI_CMD_SERR = 0x0100,
	PCI_CMD_INTX_OFF = 0x0400,
	PCI_STS_INTX = 0x0008,
	PCI_STS_CAPS = 0x0010,
};

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bus;
struct pci_dev;

struct pci_bar {
	struct pci_dev *dev;
	enum pci_bar_kind kind;
	bool prefetchable;
	u64 size;
	const struct io_ops *ops; /* the device's; may be NULL for a window that holds only MSI-X */
	void *opaque;
	struct io_ops bus_ops; /* what stands in the memory table */
	u64 mapped;	       /* where it decodes now; PCI_UNMAPPED */
};

#define PCI_UNMAPPED (~0ull)

struct pci_msix {
	u8 cap; /* offset of the capability, 0: none */
	u8 bar;
	u16 vectors;
	u32 table_off, pba_off;
	u32 *table; /* four words a vector: address, address high, data, control */
	u64 *pending;
};

struct pci_dev_ops {
	/* After bytes off to off + size - 1 of config space were written by the guest. May be NULL. */
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned size);
	/* Before they are read, to refresh them. May be NULL. */
	void (*config_read)(struct pci_dev *d, unsigned off, unsigned size);
	/* Bus reset: config space has been put back already. May be NULL. */
	void (*reset)(struct pci_dev *d);
};

struct pci_ident {
	u16 vendor, device, subsys_vendor, subsys;
	u32 class_code; /* base class, subclass, interface: 0xbbssii */
	u8 revision;
	u8 int_pin; /* 1 to 4: INTA to INTD, 0: none */
	bool multifunction;
};

struct pci_dev {
	u8 config[256], wmask[256], w1c[256];
	u8 at_reset[256]; /* what config space is put back to: taken at the first reset */
	const struct pci_dev_ops *ops;
	void *opaque;
	struct pci_bus *bus;
	u8 devfn;
	u8 cap_last, cap_end; /* last capability; first free byte behind it */
	u8 msi_cap;
	bool intx;	  /* the device's wish */
	bool intx_driven; /* what the wire shows */
	bool sealed;	  /* at_reset is valid */
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
};

struct pci_config {
	struct irq isa_irq[16]; /* PIRQ outputs by ISA interrupt; level, active high */
	struct msi_sink msi;
	struct resetctl *resetctl; /* port 0xcf9, may be NULL */
};

struct pci_bus {
	struct mem *mem;
	struct pci_config cfg;
	u32 address;		  /* 0xcf8 */
	struct pci_dev *dev[256]; /* by devfn */
	u16 pirq_count[4];	  /* devices that drive PIRQA to PIRQD */
	u8 pirq_route[4];	  /* bit 7: not routed; bits 3..0 ISA interrupt */
	u16 isa_levels;		  /* as driven */
};

struct pci_bus *pci_new(struct mem *m, const struct pci_config *cfg, struct err *e);
void pci_free(struct pci_bus *b); /* devices are their owners' */
void pci_reset(struct pci_bus *b);

/* Clears *d, gives it an identity and a place. d, ops and opaque must live as long as the bus. */
int pci_register_device(struct pci_bus *b, struct pci_dev *d, u8 devfn, const struct pci_ident *id,
			const struct pci_dev_ops *ops, void *opaque, struct err *e);
void pci_unregister_device(struct pci_dev *d);
/* size: a power of two, at least 4 (I/O) or a page (memory). A 64-bit BAR takes n and n + 1. */
int pci_add_bar(struct pci_dev *d, unsigned n, enum pci_bar_kind kind, bool prefetchable, u64 size,
		const struct io_ops *ops, void *opaque, struct err *e);
/* Appends a capability of len bytes (id and next included), zero, read-only; its offset, or -1. */
int pci_add_capability(struct pci_dev *d, u8 id, unsigned len, struct err *e);
/* MSI with 2^n vectors up to 32, 64-bit addresses and per-vector masks. */
int pci_add_msi(struct pci_dev *d, unsigned vectors, struct err *e);
/* MSI-X with table and pending bits at these offsets of a memory BAR that was added before. */
int pci_add_msix(struct pci_dev *d, unsigned bar, unsigned vectors, u32 table_off, u32 pba_off, struct err *e);

/* INTx as the device wants it; the bus adds the disable bit and the routing. */
void pci_set_irq(struct pci_dev *d, bool level);
bool pci_msi_enabled(const struct pci_dev *d);
bool pci_msix_enabled(const struct pci_dev *d);
/* Sends or, if masked, remembers message `vector` of whichever of MSI-X and MSI is enabled; false if none is. */
bool pci_notify(struct pci_dev *d, unsigned vector);
/* The device may master the bus (DMA, messages). */
bool pci_may_master(const struct pci_dev *d);

u32 pci_config_get(struct pci_bus *b, u8 devfn, unsigned off, unsigned size);
void pci_config_put(struct pci_bus *b, u8 devfn, unsigned off, u32 val, unsigned size);
static inline u16 pci_get16(const struct pci_dev *d, unsigned off)
{
	return (u16)(d->config[off] | d->config[off + 1] << 8);
}
void pci_set16(struct pci_dev *d, unsigned off, u16 v);
void pci_set32(struct pci_dev *d, unsigned off, u32 v);
/* The ISA bridge's PIRQRC registers. */
void pci_route_pirq(struct pci_bus *b, unsigned pirq, u8 route);
/* PIRQ (0 to 3) of an interrupt pin (1 to 4) of a slot, as this board is wired. */
static inline unsigned pci_pirq_of(unsigned slot, unsigned pin)
{
	return (slot + pin - 2) & 3;
}
/* What firmware does: places every BAR in the two windows, writes interrupt lines, enables decoding. */
int pci_assign(struct pci_bus *b, u64 mem_base, u64 mem_end, u32 io_base, u32 io_end, struct err *e);

/* For pci.c: MSI-X's part of a BAR, and the state of pending messages after a write to either capability. */
bool pci_msix_access(struct pci_bar *bar, u64 off, unsigned size, u64 *val, bool write);
void pci_msi_written(struct pci_dev *d, unsigned off, unsigned size);
void pci_msi_reset(struct pci_dev *d);

/* pci_state.c: the parts of the bus and its devices. */
int pci_each_state(struct pci_bus *b, state_fn *fn, void *opaque);
/* For it: config space was put back; wires and windows follow. */
void pci_restored(struct pci_dev *d);

#endif
