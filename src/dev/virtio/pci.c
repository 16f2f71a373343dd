/* SPDX-License-Identifier: Apache-2.0
 * The PCI transport (virtio 1.2, 4.1): one memory window with the common structure, the notification, ISR and device
 * structures and the MSI-X table; the window into them through configuration space; MSI-X or INTx.
 */
#include "dev/virtio/virtio.h"

enum {
	WINDOW_BAR = 0,
	WINDOW_SIZE = 0x8000,
	AT_COMMON = 0x0000,
	AT_ISR = 0x1000,
	AT_DEVICE = 0x2000,
	AT_NOTIFY = 0x3000,
	AT_MSIX = 0x4000,
	AT_PENDING = 0x6000,
	PART = 0x1000,
	NOTIFY_STEP = 4, /* queue n is notified at AT_NOTIFY + 4n */

	CAP_VENDOR = 0x09,
	CAP_LEN = 16,
	CAP_LEN_LONG = 20,
	CAP_TYPE_COMMON = 1,
	CAP_TYPE_NOTIFY = 2,
	CAP_TYPE_ISR = 3,
	CAP_TYPE_DEVICE = 4,
	CAP_TYPE_PCI = 5,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_DATA = 16,

	ISR_QUEUE = 1,
	ISR_CONFIG = 2,
};

/* ---- the common structure -----------------------------------------------------------------------------------------
 */

enum common {
	DEVICE_FEATURE_SELECT,
	DEVICE_FEATURE,
	DRIVER_FEATURE_SELECT,
	DRIVER_FEATURE,
	CONFIG_VECTOR,
	NUM_QUEUES,
	STATUS,
	GENERATION,
	QUEUE_SELECT,
	QUEUE_SIZE,
	QUEUE_VECTOR,
	QUEUE_ENABLE,
	QUEUE_NOTIFY_OFF,
	QUEUE_DESC,
	QUEUE_DRIVER,
	QUEUE_DEVICE,
	QUEUE_NOTIFY_DATA,
	QUEUE_RESET,
	NR_COMMON
};

static const struct {
	u8 at, size;
} fields[NR_COMMON] = {
	[DEVICE_FEATURE_SELECT] = { 0, 4 },
	[DEVICE_FEATURE] = { 4, 4 },
	[DRIVER_FEATURE_SELECT] = { 8, 4 },
	[DRIVER_FEATURE] = { 12, 4 },
	[CONFIG_VECTOR] = { 16, 2 },
	[NUM_QUEUES] = { 18, 2 },
	[STATUS] = { 20, 1 },
	[GENERATION] = { 21, 1 },
	[QUEUE_SELECT] = { 22, 2 },
	[QUEUE_SIZE] = { 24, 2 },
	[QUEUE_VECTOR] = { 26, 2 },
	[QUEUE_ENABLE] = { 28, 2 },
	[QUEUE_NOTIFY_OFF] = { 30, 2 },
	[QUEUE_DESC] = { 32, 8 },
	[QUEUE_DRIVER] = { 40, 8 },
	[QUEUE_DEVICE] = { 48, 8 },
	[QUEUE_NOTIFY_DATA] = { 56, 2 },
	[QUEUE_RESET] = { 58, 2 },
};

enum { COMMON_LEN = 60 };

static struct virtq *selected(struct virtio_dev *d)
{
	return d->queue_select < d->n_queues ? &d->queue[d->queue_select] : NULL;
}

/* Of the selected queue; one that is not there has size 0. */
static u64 queue_get(struct virtio_dev *d, enum common field)
{
	struct virtq *q = selected(d);

	if (!q)
		return field == QUEUE_VECTOR ? VIRTIO_NO_VECTOR : 0;
	switch (field) {
	case QUEUE_SIZE:
		return q->size;
	case QUEUE_VECTOR:
		return d->vector[d->queue_select];
	case QUEUE_ENABLE:
		return q->enabled;
	case QUEUE_NOTIFY_OFF:
	case QUEUE_NOTIFY_DATA:
		return d->queue_select;
	case QUEUE_DESC:
		return q->desc;
	case QUEUE_DRIVER:
		return q->driver;
	case QUEUE_DEVICE:
		return q->device;
	default:
		return 0; /* a reset is over when its write returns */
	}
}

static u64 common_get(struct virtio_dev *d, enum common field)
{
	switch (field) {
	case DEVICE_FEATURE_SELECT:
		return d->device_select;
	case DEVICE_FEATURE:
		return d->device_select < 2 ? (u32)(d->offered >> (32 * d->device_select)) : 0;
	case DRIVER_FEATURE_SELECT:
		return d->driver_select;
	case DRIVER_FEATURE:
		return d->driver_select < 2 ? (u32)(d->accepted >> (32 * d->driver_select)) : 0;
	case CONFIG_VECTOR:
		return d->config_vector;
	case NUM_QUEUES:
		return d->n_queues;
	case STATUS:
		return d->status;
	case GENERATION:
		return d->config_generation;
	case QUEUE_SELECT:
		return d->queue_select;
	default:
		return queue_get(d, field);
	}
}

static void set_features(struct virtio_dev *d, u32 val)
{
	unsigned shift = 32 * d->driver_select;

	if (d->driver_select < 2 && !(d->status & VIRTIO_FEATURES_OK))
		d->accepted = (d->accepted & ~(0xffffffffull << shift)) | (u64)val << shift;
}

static u16 vector_or_none(const struct virtio_dev *d, u64 val)
{
	return val < d->pci.msix.vectors ? (u16)val : VIRTIO_NO_VECTOR;
}

/* Size and addresses are the driver's until it enables the queue. */
static void queue_set(struct virtio_dev *d, enum common field, u64 val)
{
	struct virtq *q = selected(d);

	if (!q)
		return;
	if (field == QUEUE_VECTOR)
		d->vector[d->queue_select] = vector_or_none(d, val);
	if (field == QUEUE_RESET && val == 1 && virtio_has(d, VIRTIO_F_RING_RESET))
		virtio_reset_queue(d, d->queue_select);
	if (q->enabled)
		return;
	if (field == QUEUE_SIZE && val && val <= q->size_max)
		q->size = (u16)val;
	if (field == QUEUE_DESC)
		q->desc = val;
	if (field == QUEUE_DRIVER)
		q->driver = val;
	if (field == QUEUE_DEVICE)
		q->device = val;
	if (field == QUEUE_ENABLE && val == 1)
		virtio_enable_queue(d, d->queue_select);
}

static void common_set(struct virtio_dev *d, enum common field, u64 val)
{
	switch (field) {
	case DEVICE_FEATURE_SELECT:
		d->device_select = (u32)val;
		break;
	case DRIVER_FEATURE_SELECT:
		d->driver_select = (u32)val;
		break;
	case DRIVER_FEATURE:
		set_features(d, (u32)val);
		break;
	case CONFIG_VECTOR:
		d->config_vector = vector_or_none(d, val);
		break;
	case STATUS:
		virtio_set_status(d, (u8)val);
		break;
	case QUEUE_SELECT:
		d->queue_select = (u16)val;
		break;
	default:
		queue_set(d, field, val);
	}
}

/* Any access: the bytes of each field that it covers. */
static u64 common_read(struct virtio_dev *d, unsigned off, unsigned size)
{
	u64 val = 0;

	for (unsigned f = 0; f < NR_COMMON; f++) {
		unsigned lo = MAX(off, (unsigned)fields[f].at);
		unsigned hi = MIN(off + size, (unsigned)fields[f].at + fields[f].size);

		if (lo < hi)
			val |= reg_extract(common_get(d, f), lo - fields[f].at, hi - lo) << ((lo - off) * 8);
	}
	return val;
}

static void common_write(struct virtio_dev *d, unsigned off, u64 val, unsigned size)
{
	for (unsigned f = 0; f < NR_COMMON; f++) {
		unsigned lo = MAX(off, (unsigned)fields[f].at);
		unsigned hi = MIN(off + size, (unsigned)fields[f].at + fields[f].size);
		u64 part;

		if (lo >= hi)
			continue;
		part = (val >> ((lo - off) * 8)) & bytes_mask(hi - lo);
		common_set(d, f, reg_deposit(common_get(d, f), lo - fields[f].at, hi - lo, part));
	}
}

/* ---- the window ---------------------------------------------------------------------------------------------------
 */

static u64 isr_read(struct virtio_dev *d)
{
	u8 isr = d->isr;

	d->isr = 0;
	pci_set_irq(&d->pci, false);
	return isr;
}

static u64 config_read(struct virtio_dev *d, unsigned off, unsigned size)
{
	u64 val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (u64)(off + i < d->config_len ? d->config[off + i] : 0xff) << (i * 8);
	return val;
}

static void config_write(struct virtio_dev *d, unsigned off, u64 val, unsigned size)
{
	for (unsigned i = 0; i < size && off + i < d->config_len; i++) {
		u8 mask = d->wmask[off + i], *at = &d->config[off + i];

		*at = (u8)((*at & ~mask) | ((val >> (i * 8)) & mask));
	}
	if (off < d->config_len && d->ops->config_written)
		d->ops->config_written(d, off, MIN(size, d->config_len - off));
}

static u64 window_read(void *dev, u64 off, unsigned size)
{
	struct virtio_dev *d = dev;
	unsigned at = (unsigned)(off % PART);

	switch (off - at) {
	case AT_COMMON:
		return common_read(d, at, size);
	case AT_ISR:
		return at ? 0 : isr_read(d);
	case AT_DEVICE:
		return config_read(d, at, size);
	}
	return 0;
}

static void window_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct virtio_dev *d = dev;
	unsigned at = (unsigned)(off % PART);

	switch (off - at) {
	case AT_COMMON:
		common_write(d, at, val, size);
		break;
	case AT_DEVICE:
		config_write(d, at, val, size);
		break;
	case AT_NOTIFY:
		virtio_notify(d, at / NOTIFY_STEP);
		break;
	}
}

/* ---- the same window through configuration space (4.1.4.9) --------------------------------------------------------
 */

static u32 cap_get32(const struct virtio_dev *d, unsigned off)
{
	unsigned at = d->pci_cfg_cap + off;

	return pci_get16(&d->pci, at) | (u32)pci_get16(&d->pci, at + 2) << 16;
}

/* The access that the capability describes, if bytes of its data are touched and it is a possible one. */
static bool pci_cfg_target(const struct virtio_dev *d, unsigned off, unsigned size, u32 *at, u32 *len)
{
	unsigned data = d->pci_cfg_cap + CAP_DATA;

	*at = cap_get32(d, CAP_OFFSET);
	*len = cap_get32(d, CAP_LENGTH);
	return off < data + 4 && off + size > data && d->pci.config[d->pci_cfg_cap + CAP_BAR] == WINDOW_BAR &&
	       (*len == 1 || *len == 2 || *len == 4) && *at < WINDOW_SIZE && !(*at & (*len - 1));
}

static void on_config_read(struct pci_dev *p, unsigned off, unsigned size)
{
	struct virtio_dev *d = p->opaque;
	u32 at, len;

	if (pci_cfg_target(d, off, size, &at, &len))
		pci_set32(p, d->pci_cfg_cap + CAP_DATA, (u32)(window_read(d, at, len) & bytes_mask(len)));
}

static void on_config_written(struct pci_dev *p, unsigned off, unsigned size)
{
	struct virtio_dev *d = p->opaque;
	u32 at, len;

	if (pci_cfg_target(d, off, size, &at, &len))
		window_write(d, at, cap_get32(d, CAP_DATA) & bytes_mask(len), len);
}

static void on_reset(struct pci_dev *p)
{
	virtio_reset(p->opaque);
}

/* ---- interrupts ---------------------------------------------------------------------------------------------------
 */

static void interrupt(struct virtio_dev *d, u16 vector, u8 isr)
{
	if (pci_msix_enabled(&d->pci)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_notify(&d->pci, vector);
		return;
	}
	d->isr |= isr;
	pci_set_irq(&d->pci, true);
}

void virtio_pci_interrupt_queue(struct virtio_dev *d, unsigned n)
{
	interrupt(d, d->vector[n], ISR_QUEUE);
}

void virtio_pci_interrupt_config(struct virtio_dev *d)
{
	interrupt(d, d->config_vector, ISR_CONFIG);
}

/* ---- birth --------------------------------------------------------------------------------------------------------
 */

void virtio_pci_reset(struct virtio_dev *d)
{
	d->isr = 0;
	d->device_select = d->driver_select = 0;
	d->queue_select = 0;
	d->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned n = 0; n < VIRTIO_QUEUES_MAX; n++)
		d->vector[n] = VIRTIO_NO_VECTOR;
	pci_set_irq(&d->pci, false);
}

static int add_cap(struct virtio_dev *d, u8 type, u32 off, u32 len, unsigned cap_len, struct err *e)
{
	int at = pci_add_capability(&d->pci, CAP_VENDOR, cap_len, e);

	if (at < 0)
		return -1;
	d->pci.config[at + 2] = (u8)cap_len;
	d->pci.config[at + 3] = type;
	d->pci.config[at + CAP_BAR] = WINDOW_BAR;
	pci_set32(&d->pci, (unsigned)at + CAP_OFFSET, off);
	pci_set32(&d->pci, (unsigned)at + CAP_LENGTH, len);
	return at;
}

static int add_caps(struct virtio_dev *d, struct err *e)
{
	int notify, cfg;

	if (add_cap(d, CAP_TYPE_COMMON, AT_COMMON, COMMON_LEN, CAP_LEN, e) < 0 ||
	    add_cap(d, CAP_TYPE_ISR, AT_ISR, 1, CAP_LEN, e) < 0 ||
	    (d->config_len && add_cap(d, CAP_TYPE_DEVICE, AT_DEVICE, d->config_len, CAP_LEN, e) < 0))
		return -1;
	notify = add_cap(d, CAP_TYPE_NOTIFY, AT_NOTIFY, d->n_queues * NOTIFY_STEP, CAP_LEN_LONG, e);
	cfg = notify < 0 ? -1 : add_cap(d, CAP_TYPE_PCI, 0, 0, CAP_LEN_LONG, e);
	if (cfg < 0)
		return -1;
	pci_set32(&d->pci, (unsigned)notify + CAP_DATA, NOTIFY_STEP);
	d->pci_cfg_cap = (u8)cfg;
	d->pci.wmask[cfg + CAP_BAR] = 0xff;
	memset(d->pci.wmask + cfg + CAP_OFFSET, 0xff, 12);
	return 0;
}

int virtio_pci_init(struct virtio_dev *d, struct err *e)
{
	static const struct io_ops window_ops = { .read = window_read, .write = window_write };
	static const struct pci_dev_ops pci_ops = { .config_read = on_config_read,
						    .config_written = on_config_written,
						    .reset = on_reset };
	u16 device = (u16)(0x1040 + d->ops->type);
	struct pci_ident id = { 0x1af4, device, 0x1af4, 0x1100, d->ops->class_code, 1, 1, false };

	if (pci_register_device(d->board.bus, &d->pci, d->board.devfn, &id, &pci_ops, d, e) ||
	    pci_add_bar(&d->pci, WINDOW_BAR, PCI_BAR_MEM32, false, WINDOW_SIZE, &window_ops, d, e) ||
	    pci_add_msix(&d->pci, WINDOW_BAR, d->n_queues + 1, AT_MSIX, AT_PENDING, e) || add_caps(d, e))
		return -1;
	virtio_pci_reset(d);
	return 0;
}

_Static_assert(VIRTIO_QUEUES_MAX *NOTIFY_STEP <= PART, "notifications fit their part of the window");
_Static_assert((VIRTIO_QUEUES_MAX + 1) * 16 <= AT_PENDING - AT_MSIX, "so does the MSI-X table");
