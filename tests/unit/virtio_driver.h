/* SPDX-License-Identifier: Apache-2.0
 * A virtio driver as small as it can be, written from the specification: its side of a split or packed ring in guest
 * memory, and of the PCI transport. RAM of the board begins at 0 and is linear on the host.
 */
#ifndef TESTS_VIRTIO_DRIVER_H
#define TESTS_VIRTIO_DRIVER_H

#include "unit/board.h"

#include "dev/virtio/virtio.h"

#define DRV_SIZE_MAX 256

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4, D_AVAIL = 0x80, D_USED = 0x8000 };

struct drv_seg {
	u64 gpa;
	u32 len;
	bool write;
};

struct drv_queue {
	u8 *ram;
	bool packed, event_idx;
	u64 desc, driver, device;
	u16 size;
	u64 offered, seen;	    /* chains given and taken back, ever */
	u16 avail, used;	    /* packed: positions */
	bool avail_wrap, used_wrap; /* packed */
	u16 n_free;
	bool busy[DRV_SIZE_MAX];	/* split: descriptors; packed: ids */
	u16 slots[DRV_SIZE_MAX];	/* by head or id */
	u16 chain[DRV_SIZE_MAX][16]; /* split: descriptors of a chain */
};

static inline void put16(struct drv_queue *q, u64 gpa, u16 v)
{
	memcpy(q->ram + gpa, &v, 2);
}

static inline u16 get16(struct drv_queue *q, u64 gpa)
{
	u16 v;

	memcpy(&v, q->ram + gpa, 2);
	return v;
}

static inline u32 get32(struct drv_queue *q, u64 gpa)
{
	u32 v;

	memcpy(&v, q->ram + gpa, 4);
	return v;
}

/* id_or_next: split: next; packed: the buffer's id. */
static inline void put_desc(struct drv_queue *q, u64 at, const struct drv_seg *s, u16 flags, u16 id_or_next)
{
	u16 words[2] = { q->packed ? id_or_next : flags, q->packed ? flags : id_or_next };

	memcpy(q->ram + at, &s->gpa, 8);
	memcpy(q->ram + at + 8, &s->len, 4);
	memcpy(q->ram + at + 12, words, 4);
}

static inline void drv_init(struct drv_queue *q, u8 *ram, bool packed, bool event_idx, u16 size, u64 at)
{
	*q = (struct drv_queue){ .ram = ram,
				 .packed = packed,
				 .event_idx = event_idx,
				 .size = size,
				 .desc = at,
				 .driver = at + 0x4000,
				 .device = at + 0x6000,
				 .avail_wrap = true,
				 .used_wrap = true,
				 .n_free = size };
	memset(ram + at, 0, 0x9000);
}

static inline u16 drv_take_free(struct drv_queue *q)
{
	u16 i = 0;

	while (q->busy[i])
		i++;
	q->busy[i] = true;
	return i;
}

/* The id (split: head) of the chain, or -1 when there is no room. table: where to put an indirect table, or 0. */
static inline int drv_offer_split(struct drv_queue *q, const struct drv_seg *s, unsigned n, u64 table)
{
	struct drv_seg t = { table, n * 16, false };
	unsigned slots = table ? 1 : n;
	u16 head;

	if (q->n_free < slots)
		return -1;
	q->n_free -= (u16)slots;
	head = drv_take_free(q);
	q->slots[head] = (u16)slots;
	q->chain[head][0] = head;
	for (unsigned i = 1; i < slots; i++)
		q->chain[head][i] = drv_take_free(q);
	for (unsigned i = 0; i < n; i++) {
		u16 flags = (u16)((s[i].write ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0));
		u64 at = table ? table + i * 16 : q->desc + q->chain[head][i] * 16ull;

		put_desc(q, at, &s[i], flags, (u16)(i + 1 == n ? 0 : table ? i + 1 : q->chain[head][i + 1]));
	}
	if (table)
		put_desc(q, q->desc + head * 16ull, &t, D_INDIRECT, 0);
	put16(q, q->driver + 4 + 2 * (q->offered % q->size), head);
	q->offered++;
	put16(q, q->driver + 2, (u16)q->offered);
	return head;
}

static inline u16 drv_packed_flags(const struct drv_queue *q)
{
	return q->avail_wrap ? D_AVAIL : D_USED;
}

static inline int drv_offer_packed(struct drv_queue *q, const struct drv_seg *s, unsigned n, u64 table)
{
	struct drv_seg t = { table, n * 16, false };
	unsigned slots = table ? 1 : n;
	u16 id, first = 0;
	u64 first_at = 0;

	if (q->n_free < slots)
		return -1;
	q->n_free -= (u16)slots;
	id = drv_take_free(q);
	q->slots[id] = (u16)slots;
	for (unsigned i = 0; table && i < n; i++)
		put_desc(q, table + i * 16, &s[i], s[i].write ? D_WRITE : 0, 0);
	for (unsigned i = 0; i < slots; i++) {
		u16 flags = (u16)(drv_packed_flags(q) | (table ? D_INDIRECT : s[i].write ? D_WRITE : 0) |
				  (i + 1 < slots ? D_NEXT : 0));
		u64 at = q->desc + q->avail * 16ull;

		/* The first one's flags come last. */
		put_desc(q, at, table ? &t : &s[i], i ? flags : get16(q, at + 14), id);
		if (!i) {
			first = flags;
			first_at = at;
		}
		if (++q->avail == q->size) {
			q->avail = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	put16(q, first_at + 14, first);
	q->offered++;
	return id;
}

static inline int drv_offer(struct drv_queue *q, const struct drv_seg *s, unsigned n, u64 table)
{
	return q->packed ? drv_offer_packed(q, s, n, table) : drv_offer_split(q, s, n, table);
}

static inline int drv_take_split(struct drv_queue *q, u32 *len)
{
	u64 at = q->device + 4 + 8 * (q->seen % q->size);
	u32 id;

	if (get16(q, q->device + 2) == (u16)q->seen)
		return -1;
	id = get32(q, at);
	*len = get32(q, at + 4);
	assert_true(id < q->size && q->slots[id]);
	for (unsigned i = 0; i < q->slots[id]; i++)
		q->busy[q->chain[id][i]] = false;
	return (int)id;
}

static inline int drv_take_packed(struct drv_queue *q, u32 *len)
{
	u64 at = q->desc + q->used * 16ull;
	u16 flags = get16(q, at + 14), id;

	if (!!(flags & D_AVAIL) != q->used_wrap || !!(flags & D_USED) != q->used_wrap)
		return -1;
	id = get16(q, at + 12);
	*len = flags & D_WRITE ? get32(q, at + 8) : 0;
	assert_true(id < q->size && q->slots[id]);
	q->used += q->slots[id];
	if (q->used >= q->size) {
		q->used -= q->size;
		q->used_wrap = !q->used_wrap;
	}
	q->busy[id] = false;
	return (int)id;
}

/* The id of the next used chain, or -1. */
static inline int drv_take(struct drv_queue *q, u32 *len)
{
	int id = q->packed ? drv_take_packed(q, len) : drv_take_split(q, len);

	if (id < 0)
		return -1;
	q->n_free += q->slots[id];
	q->slots[id] = 0;
	q->seen++;
	return id;
}

/* Event index: a signal is wanted for the next chain to be taken. */
static inline void drv_want_next(struct drv_queue *q)
{
	if (!q->packed) {
		put16(q, q->driver + 4 + 2ull * q->size, (u16)q->seen);
		return;
	}
	put16(q, q->driver, (u16)(q->used | q->used_wrap << 15));
	put16(q, q->driver + 2, 2);
}

/* ---- the PCI transport ---------------------------------------------------------------------------------------- */

struct drv_dev {
	struct board b;
	struct resetctl resetctl;
	struct pci_bus *bus;
	u8 devfn;
	u64 window, notify, device;
	u8 *ram;
	u64 features;
	struct counters counters;
};

enum { COMMON_STATUS = 20, COMMON_QUEUE_SELECT = 22, COMMON_QUEUE_ENABLE = 28 };

static inline struct virtio_board drv_board_init(struct drv_dev *d, u64 ram)
{
	struct pci_config cfg = { .resetctl = &d->resetctl };

	memset(d, 0, sizeof(*d));
	board_init(&d->b, ram);
	d->ram = mem_page(d->b.mem, 0, true);
	cfg.msi = board_msi(&d->b);
	for (unsigned i = 0; i < 16; i++)
		cfg.isa_irq[i] = board_wire(&d->b, i);
	d->bus = pci_new(d->b.mem, &cfg, &d->b.err);
	for (unsigned i = 0; i < 4; i++)
		pci_route_pirq(d->bus, i, 10);
	d->devfn = PCI_DEVFN(4, 0);
	return (struct virtio_board){ .mem = d->b.mem,
				      .bus = d->bus,
				      .clock = &d->b.clock,
				      .timers = &d->b.q,
				      .counters = &d->counters,
				      .devfn = d->devfn };
}

static inline u32 drv_cfg(struct drv_dev *d, unsigned off, unsigned size)
{
	return pci_config_get(d->bus, d->devfn, off, size);
}

/* The capabilities say where things are. */
static inline void drv_find(struct drv_dev *d)
{
	u64 base = 0xe0000000;
	unsigned cap = 0;

	pci_reset(d->bus);
	assert_int_equal(pci_assign(d->bus, base, base + (1 << 20), 0xc000, 0xd000, &d->b.err), 0);
	pci_config_put(d->bus, d->devfn, PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER, 2);
	base = drv_cfg(d, PCI_BAR0, 4) & ~15u;
	for (cap = drv_cfg(d, PCI_CAP_PTR, 1); cap; cap = drv_cfg(d, cap + 1, 1)) {
		if (drv_cfg(d, cap, 1) != 9)
			continue;
		assert_int_equal(drv_cfg(d, cap + 4, 1), 0);
		if (drv_cfg(d, cap + 3, 1) == 1)
			d->window = base + drv_cfg(d, cap + 8, 4);
		if (drv_cfg(d, cap + 3, 1) == 2)
			d->notify = base + drv_cfg(d, cap + 8, 4);
		if (drv_cfg(d, cap + 3, 1) == 4)
			d->device = base + drv_cfg(d, cap + 8, 4);
	}
}

static inline u64 drv_get(struct drv_dev *d, u64 off, unsigned size)
{
	return mem_mmio_read(d->b.mem, d->window + off, size, NULL);
}

static inline void drv_put(struct drv_dev *d, u64 off, u64 v, unsigned size)
{
	mem_mmio_write(d->b.mem, d->window + off, v, size, NULL);
}

static inline u64 drv_offered_features(struct drv_dev *d)
{
	u64 v;

	drv_put(d, 0, 0, 4);
	v = drv_get(d, 4, 4);
	drv_put(d, 0, 1, 4);
	return v | drv_get(d, 4, 4) << 32;
}

/* Reset, acknowledge, features; true if the device agrees. */
static inline bool drv_negotiate(struct drv_dev *d, u64 features)
{
	drv_put(d, COMMON_STATUS, 0, 1);
	assert_int_equal(drv_get(d, COMMON_STATUS, 1), 0);
	drv_put(d, COMMON_STATUS, 1, 1);
	drv_put(d, COMMON_STATUS, 3, 1);
	for (unsigned i = 0; i < 2; i++) {
		drv_put(d, 8, i, 4);
		drv_put(d, 12, (u32)(features >> (32 * i)), 4);
	}
	d->features = features;
	drv_put(d, COMMON_STATUS, 11, 1);
	return drv_get(d, COMMON_STATUS, 1) & VIRTIO_FEATURES_OK;
}

/* Queue n of the device at `at`, in the format that was negotiated. */
static inline void drv_add_queue(struct drv_dev *d, unsigned n, struct drv_queue *q, u16 size, u64 at)
{
	drv_init(q, d->ram, d->features & BIT(VIRTIO_F_RING_PACKED), d->features & BIT(VIRTIO_F_EVENT_IDX), size, at);
	drv_put(d, COMMON_QUEUE_SELECT, n, 2);
	drv_put(d, 24, size, 2);
	drv_put(d, 26, n + 1, 2);
	drv_put(d, 32, q->desc, 8);
	drv_put(d, 40, (u32)q->driver, 4);
	drv_put(d, 44, q->driver >> 32, 4);
	drv_put(d, 48, q->device, 8);
	drv_put(d, COMMON_QUEUE_ENABLE, 1, 2);
	assert_int_equal(drv_get(d, COMMON_QUEUE_ENABLE, 2), 1);
}

static inline void drv_go(struct drv_dev *d)
{
	drv_put(d, COMMON_STATUS, 15, 1);
}

static inline void drv_kick(struct drv_dev *d, unsigned n)
{
	mem_mmio_write(d->b.mem, d->notify + 4 * n, n, 2, NULL);
}

static inline u8 drv_status(struct drv_dev *d)
{
	return (u8)drv_get(d, COMMON_STATUS, 1);
}

#endif
