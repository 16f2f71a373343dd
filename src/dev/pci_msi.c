/* SPDX-License-Identifier: Apache-2.0
 * MSI and MSI-X capabilities (PCI Local Bus 3.0, 6.8): masks, pending bits, and messages into the bus's one sink.
 */
#include "dev/pci.h"

enum {
	CAP_MSI = 0x05,
	CAP_MSIX = 0x11,
	MSI_CTL = 2,
	MSI_ADDR = 4,
	MSI_ADDR_HI = 8,
	MSI_DATA = 12,
	MSI_MASK = 16,
	MSI_PENDING = 20,
	MSI_LEN = 24,
	MSI_ENABLE = 0x0001,
	MSIX_CTL = 2,
	MSIX_LEN = 12,
	MSIX_MASK_ALL = 0x4000,
	MSIX_ENABLE = 0x8000,
	VEC_MASKED = 1,
};

static u32 get32(const struct pci_dev *d, unsigned off)
{
	return pci_get16(d, off) | (u32)pci_get16(d, off + 2) << 16;
}

static void send(struct pci_dev *d, u64 addr, u32 data)
{
	const struct msi_sink *s = &d->bus->cfg.msi;

	if (s->send && pci_may_master(d))
		s->send(s->opaque, addr, data);
}

/* ---- MSI ------------------------------------------------------------------------------------------------------ */

int pci_add_msi(struct pci_dev *d, unsigned vectors, struct err *e)
{
	unsigned log2 = 0;
	int at;

	while ((1u << log2) < vectors)
		log2++;
	if (log2 > 5)
		return err_set(e, "MSI has no %u vectors", vectors);
	at = pci_add_capability(d, CAP_MSI, MSI_LEN, e);
	if (at < 0)
		return -1;
	d->msi_cap = (u8)at;
	pci_set16(d, (unsigned)at + MSI_CTL, (u16)(log2 << 1 | 0x180)); /* 64 bits, per-vector masks */
	d->wmask[at + MSI_CTL] = 0x71;
	d->wmask[at + MSI_ADDR] = 0xfc;
	memset(d->wmask + at + MSI_ADDR + 1, 0xff, 7);
	memset(d->wmask + at + MSI_DATA, 0xff, 2);
	for (unsigned v = 0; v < 1u << log2; v++)
		d->wmask[at + MSI_MASK + v / 8] |= (u8)(1u << (v & 7));
	return 0;
}

bool pci_msi_enabled(const struct pci_dev *d)
{
	return d->msi_cap && (d->config[d->msi_cap + MSI_CTL] & MSI_ENABLE);
}

/* The number of vectors the guest granted, as a power of two, no more than the device asked for. */
static unsigned msi_granted_log2(const struct pci_dev *d)
{
	u8 ctl = d->config[d->msi_cap + MSI_CTL];

	return MIN((unsigned)(ctl >> 4 & 7), (unsigned)(ctl >> 1 & 7));
}

static void msi_send(struct pci_dev *d, unsigned vector)
{
	unsigned cap = d->msi_cap;
	u32 low = (1u << msi_granted_log2(d)) - 1;
	u64 addr = get32(d, cap + MSI_ADDR) | (u64)get32(d, cap + MSI_ADDR_HI) << 32;

	send(d, addr, (pci_get16(d, cap + MSI_DATA) & ~low) | (vector & low));
}

static void msi_notify(struct pci_dev *d, unsigned vector)
{
	u32 bit;

	vector &= (1u << msi_granted_log2(d)) - 1;
	bit = 1u << vector;
	if (get32(d, d->msi_cap + MSI_MASK) & bit)
		pci_set32(d, d->msi_cap + MSI_PENDING, get32(d, d->msi_cap + MSI_PENDING) | bit);
	else
		msi_send(d, vector);
}

static void msi_flush(struct pci_dev *d)
{
	u32 ready = get32(d, d->msi_cap + MSI_PENDING) & ~get32(d, d->msi_cap + MSI_MASK);

	if (!ready || !pci_msi_enabled(d))
		return;
	pci_set32(d, d->msi_cap + MSI_PENDING, get32(d, d->msi_cap + MSI_PENDING) & ~ready);
	for (unsigned v = 0; v < PCI_MSI_VECTORS; v++)
		if (ready & (1u << v))
			msi_send(d, v);
}

/* ---- MSI-X ---------------------------------------------------------------------------------------------------- */

static bool ranges_fit(const struct pci_bar *bar, u64 table_off, u64 table_len, u64 pba_off, u64 pba_len)
{
	bool apart = table_off + table_len <= pba_off || pba_off + pba_len <= table_off;

	return apart && table_off + table_len <= bar->size && pba_off + pba_len <= bar->size &&
	       !((table_off | pba_off) & 7);
}

int pci_add_msix(struct pci_dev *d, unsigned bar, unsigned vectors, u32 table_off, u32 pba_off, struct err *e)
{
	unsigned words = (vectors + 63) / 64;
	u32 *table;
	u64 *pending;
	int at;

	if (!vectors || vectors > PCI_MSIX_VECTORS || bar >= PCI_BARS || d->bar[bar].kind < PCI_BAR_MEM32 ||
	    !ranges_fit(&d->bar[bar], table_off, vectors * 16, pba_off, words * 8))
		return err_set(e, "MSI-X with %u vectors does not fit BAR %u", vectors, bar);
	table = dev_alloc(vectors * 16, e);
	pending = dev_alloc(words * 8, e);
	at = table && pending ? pci_add_capability(d, CAP_MSIX, MSIX_LEN, e) : -1;
	if (at < 0) {
		free(table);
		free(pending);
		return -1;
	}
	d->msix = (struct pci_msix){
		.cap = (u8)at,
		.bar = (u8)bar,
		.vectors = (u16)vectors,
		.table_off = table_off,
		.pba_off = pba_off,
		.table = table,
		.pending = pending,
	};
	pci_set16(d, (unsigned)at + MSIX_CTL, (u16)(vectors - 1));
	pci_set32(d, (unsigned)at + 4, table_off | bar);
	pci_set32(d, (unsigned)at + 8, pba_off | bar);
	d->wmask[at + MSIX_CTL + 1] = (MSIX_ENABLE | MSIX_MASK_ALL) >> 8;
	pci_msi_reset(d);
	return 0;
}

bool pci_msix_enabled(const struct pci_dev *d)
{
	return d->msix.cap && (pci_get16(d, d->msix.cap + MSIX_CTL) & MSIX_ENABLE);
}

static bool msix_masked(const struct pci_dev *d, unsigned v)
{
	return (pci_get16(d, d->msix.cap + MSIX_CTL) & MSIX_MASK_ALL) || (d->msix.table[v * 4 + 3] & VEC_MASKED);
}

static void msix_send(struct pci_dev *d, unsigned v)
{
	const u32 *t = d->msix.table + v * 4;

	send(d, t[0] | (u64)t[1] << 32, t[2]);
}

static void msix_notify(struct pci_dev *d, unsigned v)
{
	if (v >= d->msix.vectors)
		return;
	if (msix_masked(d, v))
		d->msix.pending[v / 64] |= BIT(v & 63);
	else
		msix_send(d, v);
}

static void msix_flush_vector(struct pci_dev *d, unsigned v)
{
	if (!(d->msix.pending[v / 64] & BIT(v & 63)) || !pci_msix_enabled(d) || msix_masked(d, v))
		return;
	d->msix.pending[v / 64] &= ~BIT(v & 63);
	msix_send(d, v);
}

static void table_write(struct pci_dev *d, u64 off, unsigned size, u64 val)
{
	unsigned word = (unsigned)(off / 4);
	/* Address bits 1..0 and all of control but the mask bit are 0. */
	static const u32 writable[4] = { 0xfffffffc, 0xffffffff, 0xffffffff, VEC_MASKED };

	for (unsigned done = 0; done < size; done += 4, word++) {
		unsigned part = MIN(size - done, 4u);
		u64 v = reg_deposit(d->msix.table[word], off & 3, part, val >> (done * 8));

		d->msix.table[word] = (u32)v & writable[word & 3];
		msix_flush_vector(d, word / 4);
	}
}

static u64 table_read(const struct pci_dev *d, u64 off, unsigned size)
{
	u64 v = d->msix.table[off / 4];

	if (size == 8)
		return v | (u64)d->msix.table[off / 4 + 1] << 32;
	return reg_extract(v, off & 3, size);
}

bool pci_msix_access(struct pci_bar *bar, u64 off, unsigned size, u64 *val, bool write)
{
	struct pci_dev *d = bar->dev;
	u64 in_table = off - d->msix.table_off, in_pba = off - d->msix.pba_off;

	if (!d->msix.cap || &d->bar[d->msix.bar] != bar || (off & (size - 1)))
		return false;
	if (in_table < d->msix.vectors * 16u) {
		if (write)
			table_write(d, in_table, size, *val);
		else
			*val = table_read(d, in_table, size);
		return true;
	}
	if (in_pba >= (d->msix.vectors + 63u) / 64 * 8)
		return false;
	if (!write)
		*val = reg_extract(d->msix.pending[in_pba / 8], in_pba & 7, size);
	return true;
}

/* ---- both ----------------------------------------------------------------------------------------------------- */

bool pci_notify(struct pci_dev *d, unsigned vector)
{
	if (pci_msix_enabled(d))
		msix_notify(d, vector);
	else if (pci_msi_enabled(d))
		msi_notify(d, vector);
	else
		return false;
	return true;
}

void pci_msi_written(struct pci_dev *d, unsigned off, unsigned size)
{
	if (d->msi_cap && off < d->msi_cap + (unsigned)MSI_LEN && off + size > d->msi_cap)
		msi_flush(d);
	if (!d->msix.cap || off >= d->msix.cap + (unsigned)MSIX_LEN || off + size <= d->msix.cap)
		return;
	for (unsigned v = 0; v < d->msix.vectors; v++)
		msix_flush_vector(d, v);
}

void pci_msi_reset(struct pci_dev *d)
{
	if (!d->msix.cap)
		return;
	memset(d->msix.table, 0, d->msix.vectors * 16u);
	memset(d->msix.pending, 0, (d->msix.vectors + 63u) / 64 * 8);
	for (unsigned v = 0; v < d->msix.vectors; v++)
		d->msix.table[v * 4 + 3] = VEC_MASKED;
}
