/* SPDX-License-Identifier: Apache-2.0
 * A virtio device (virtio 1.2) on the PCI bus. The device itself is features, config bytes and one request callback;
 * its status, queues, notifications and interrupts are kept here (virtio.c) and in the transport (pci.c). Machine lock.
 */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

#include "base/clock.h"
#include "base/counter.h"
#include "base/state.h"
#include "dev/dev.h"
#include "dev/pci.h"
#include "dev/virtio/queue.h"

#define VIRTIO_CONFIG_MAX 64
#define VIRTIO_QUEUES_MAX 64
#define VIRTIO_NO_VECTOR 0xffff

enum virtio_status {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128,
};

enum virtio_feature {
	VIRTIO_F_INDIRECT_DESC = 28,
	VIRTIO_F_EVENT_IDX = 29,
	VIRTIO_F_VERSION_1 = 32,
	VIRTIO_F_RING_PACKED = 34,
	VIRTIO_F_RING_RESET = 40,
};

enum virtio_type { VIRTIO_NET = 1, VIRTIO_BLK = 2, VIRTIO_CONSOLE = 3, VIRTIO_RNG = 4, VIRTIO_BALLOON = 5, VIRTIO_FS = 26 };

struct virtio_dev;

struct virtio_ops {
	const char *name;
	enum virtio_type type;
	u32 class_code; /* PCI's */
	/* A chain of queue n. True: taken, to be given to virtio_complete() now or later. False: not now, it stays in
	 * the queue until the device calls virtio_run(). */
	bool (*request)(struct virtio_dev *d, unsigned n, struct virtq_chain *c);
	/* Config bytes off to off + size - 1 were written, as far as wmask allows. May be NULL. */
	void (*config_written)(struct virtio_dev *d, unsigned off, unsigned size);
	/* The driver has said that it runs the device (DRIVER_OK). May be NULL. */
	void (*started)(struct virtio_dev *d);
	/* The device, or one of its queues, was reset: chains that are held are stale, complete them. May be NULL. */
	void (*reset)(struct virtio_dev *d);
	/* For snapshots (state.c); may be NULL. Before saving: chains that are held go back into their queues, which
	 * are run again after. After loading: is what was loaded possible? And: the backend may be listened to. */
	void (*hold)(struct virtio_dev *d);
	int (*loaded)(struct virtio_dev *d, struct err *e);
	void (*go_on)(struct virtio_dev *d);
};

/* What every virtio device is born with. */
struct virtio_board {
	struct mem *mem;
	struct pci_bus *bus;
	const struct clock *clock;
	struct timerq *timers;
	struct counters *counters; /* may be NULL */
	struct block_pool *disk_pool; /* may be NULL */
	u8 devfn;
};

struct virtio_dev {
	struct virtio_board board;
	const struct virtio_ops *ops;
	u64 offered, accepted; /* features */
	u8 status;
	u8 config[VIRTIO_CONFIG_MAX], wmask[VIRTIO_CONFIG_MAX];
	unsigned config_len;
	u8 config_generation;
	unsigned n_queues;
	struct virtq queue[VIRTIO_QUEUES_MAX];
	u64 running, unsignalled, again_mask; /* by queue */
	struct timer again;

	/* pci.c */
	struct pci_dev pci;
	u8 isr;
	u8 pci_cfg_cap;
	u32 device_select, driver_select;
	u16 queue_select, config_vector, vector[VIRTIO_QUEUES_MAX];
};

/* d is the first member of the device, zeroed; features, config and wmask may be filled before. sizes: of each queue.
 */
int virtio_init(struct virtio_dev *d, const struct virtio_board *b, const struct virtio_ops *ops, unsigned n_queues,
		u16 queue_size, struct err *e);
void virtio_deinit(struct virtio_dev *d);
/* Takes what is available in queue n, in bounded portions. */
void virtio_run(struct virtio_dev *d, unsigned n);
void virtio_complete(struct virtio_dev *d, struct virtq_chain *c, u32 written);
/* The same, but the driver is told at the end of the next virtio_run() of that queue. */
void virtio_complete_quietly(struct virtio_dev *d, struct virtq_chain *c, u32 written);
/* The driver broke the device's own rules: it must reset the device. */
void virtio_fail(struct virtio_dev *d, struct virtq_chain *c, const char *why);
/* Config bytes were changed by the device. */
void virtio_config_changed(struct virtio_dev *d);

/* The part that all devices have; the device's own is another part. */
extern const struct state virtio_state;

static inline bool virtio_has(const struct virtio_dev *d, unsigned feature)
{
	return d->accepted & BIT(feature);
}

/* The driver is running it. */
static inline bool virtio_live(const struct virtio_dev *d)
{
	u8 want = VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK;

	return (d->status & (want | VIRTIO_NEEDS_RESET | VIRTIO_FAILED)) == want;
}

/* ---- between virtio.c and pci.c ---- */
void virtio_reset(struct virtio_dev *d);
void virtio_reset_queue(struct virtio_dev *d, unsigned n);
void virtio_set_status(struct virtio_dev *d, u8 status);
void virtio_enable_queue(struct virtio_dev *d, unsigned n);
void virtio_notify(struct virtio_dev *d, unsigned n);
int virtio_pci_init(struct virtio_dev *d, struct err *e);
void virtio_pci_reset(struct virtio_dev *d);
void virtio_pci_interrupt_queue(struct virtio_dev *d, unsigned n);
void virtio_pci_interrupt_config(struct virtio_dev *d);

#endif
