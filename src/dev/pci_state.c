/* SPDX-License-Identifier: Apache-2.0
 * A PCI bus as state: its address register, and of each device config space, the INTx wish, MSI-X's table and pending
 * bits. Where windows decode and what the wires show follow from these.
 */
#include "dev/pci.h"

#include <stdio.h>

enum { MSI_PENDING = 20, MSIX_WORDS = 4, VEC_MASKED = 1 };

#define S struct pci_bus
static const struct state_field bus_fields[] = {
	STATE_RANGE(S, address, 0, 0x80fffffc),
};
#undef S

#define S struct pci_dev
static const struct state_field dev_fields[] = {
	STATE_BYTES(S, config),
	STATE_BOOL(S, intx),
};
#undef S

/* Bits of config space that stay as they were at power-on, whatever guest and device do. */
static u8 fixed_bits(const struct pci_dev *d, unsigned off)
{
	if (d->msi_cap && off - d->msi_cap - MSI_PENDING < 4)
		return 0;
	return (u8) ~(d->wmask[off] | d->w1c[off] | (off == PCI_STATUS ? PCI_STS_INTX : 0));
}

static int dev_loaded(void *object, struct err *e)
{
	struct pci_dev *d = object;

	for (unsigned i = 0; i < sizeof(d->config); i++)
		if ((d->config[i] ^ d->at_reset[i]) & fixed_bits(d, i))
			return err_set(e, "PCI device %02x.%u is another one there: its byte %02x differs",
				       d->devfn >> 3, d->devfn & 7, i);
	for (unsigned w = 0; w < d->msix.vectors * MSIX_WORDS; w++)
		if (d->msix.table[w] & (w % MSIX_WORDS == 0 ? 3 : w % MSIX_WORDS == 3 ? ~VEC_MASKED : 0))
			return err_set(e, "PCI device %02x.%u has a message that cannot be", d->devfn >> 3,
				       d->devfn & 7);
	pci_restored(d);
	return 0;
}

static const struct state bus_state = { .field = bus_fields, .n = ARRAY_SIZE(bus_fields) };
static const struct state dev_state = { .field = dev_fields, .n = ARRAY_SIZE(dev_fields), .loaded = dev_loaded };

static int each_msix(struct pci_dev *d, const char *dev_name, state_fn *fn, void *opaque)
{
	const struct state_field rows[2] = { { .name = "table",
					       .stride = 4,
					       .count = d->msix.vectors * MSIX_WORDS,
					       .size = 4,
					       .kind = STATE_KIND_UINT,
					       .since = 1,
					       .max = ~0u },
					     { .name = "pending",
					       .stride = 8,
					       .count = (d->msix.vectors + 63u) / 64,
					       .size = 8,
					       .kind = STATE_KIND_UINT,
					       .since = 1,
					       .max = ~0ull } };
	const struct state table = { .field = &rows[0], .n = 1 }, pending = { .field = &rows[1], .n = 1 };
	char name[32];

	snprintf(name, sizeof(name), "%.16s.msix", dev_name);
	if (fn(opaque, name, &table, d->msix.table))
		return -1;
	snprintf(name, sizeof(name), "%.16s.pending", dev_name);
	return fn(opaque, name, &pending, d->msix.pending);
}

static int each_dev(struct pci_dev *d, state_fn *fn, void *opaque)
{
	char name[16];

	snprintf(name, sizeof(name), "pci%02x.%u", d->devfn >> 3, d->devfn & 7u);
	if (d->msix.cap && each_msix(d, name, fn, opaque))
		return -1;
	return fn(opaque, name, &dev_state, d);
}

int pci_each_state(struct pci_bus *b, state_fn *fn, void *opaque)
{
	if (fn(opaque, "pci", &bus_state, b))
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(b->dev); i++)
		if (b->dev[i] && each_dev(b->dev[i], fn, opaque))
			return -1;
	return 0;
}
