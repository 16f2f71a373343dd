/* SPDX-License-Identifier: Apache-2.0
 * Guest-physical space: RAM by frames, ROM, device windows, ports; the state of each frame; the view DMA has of it.
 *
 * Invariants
 *  1. RAM is gpa -> (fd, offset) by the frame table, never assumed linear; a host address from mem_page() is valid to
 *     the next safepoint of the caller (DMA pins instead).
 *  2. A frame is FRAME_DATA (writable) or FRAME_CODE (some engine keeps decoded or translated copies of bytes in it),
 *     never both. mem_code_enter() revokes every write path; copies of the bytes may be kept only once that is settled.
 *     A write to a code frame first tells the code listeners, then lands.
 *  3. Regions do not overlap; the table changes only under exclusive execution.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "base/base.h"
#include "base/err.h"

struct mem;

enum frame_state { FRAME_DATA, FRAME_CODE };

/* What the owner of a write path that asks nobody does for the log of written frames (dirty.c): before any answer, no such
 * path is left. */
enum mem_dirty_step {
	MEM_DIRTY_BEGIN,	/* every frame counts as not written: drop cached write access */
	MEM_DIRTY_COLLECT,	/* mark what was written since, and the same */
	MEM_DIRTY_END,		/* nobody will ask any more */
};

/* A device window or port range. size is 1, 2, 4 or 8 (ports: 1, 2, 4); off is relative to the start of the range.
 * Accesses wider than max_size or not aligned to a supported size are split by the bus, little-endian. */
struct io_ops {
	u64 (*read)(void *dev, u64 off, unsigned size);
	void (*write)(void *dev, u64 off, u64 val, unsigned size);
	u8 min_size, max_size;		/* 0 means 1 and 8 */
};

/* Who must hear that code bytes are about to change (engines), and that write paths must go (vCPU TLBs). */
struct mem_listener {
	void (*code_write)(void *opaque, u64 gpa, unsigned len);	/* bytes of a code frame are about to change */
	void (*revoke_write)(void *opaque, u64 gpa);			/* drop cached write access to this frame */
	void (*revoke_maps)(void *opaque, u64 gpa);			/* the same, of who is no vCPU; before guest code runs again */
	void (*map_changed)(void *opaque);				/* RAM, ROM or A20 changed: drop every cached translation */
	void (*dirty_log)(void *opaque, enum mem_dirty_step step);	/* nothing runs; marks with mem_mark_dirty() */
	void *opaque;
	struct mem_listener *next;
	/* From any thread: pass a safepoint soon; has one been passed since the epoch was this, or is nothing running? */
	void (*want_safepoint)(void *opaque);
	bool (*passed_safepoint)(void *opaque, u64 epoch);
};

struct mem *mem_new(struct err *e);
/* At set-up, before there is RAM: it is kept in this process's own memory, in large pages where the host has them, and not
 * in the memfd that other processes can be given. */
void mem_keep_private(struct mem *m);
void mem_free(struct mem *m);
int mem_add_ram(struct mem *m, u64 gpa, u64 size, struct err *e);	/* page-aligned; zero-filled, lazily allocated */
int mem_add_rom(struct mem *m, u64 gpa, const void *bytes, u64 size, struct err *e);	/* writes are dropped */
int mem_add_mmio(struct mem *m, u64 gpa, u64 size, const struct io_ops *ops, void *dev, struct err *e);
int mem_add_ports(struct mem *m, u16 port, unsigned n, const struct io_ops *ops, void *dev, struct err *e);
void mem_remove(struct mem *m, u64 gpa);		/* the RAM, ROM or device range that starts at gpa */
void mem_remove_ports(struct mem *m, u16 port);	/* the range that begins there */
/* Ranges whose content is switched while the machine runs (shadow RAM behind a chipset's registers) show a part of a
 * bank: memory of its own, zero at first, that is nowhere in guest-physical space by itself and lives as long as m. */
struct mem_bank {
	u8 *hva;
	u64 size, offset; /* bytes; in the memfd */
};
int mem_add_bank(struct mem *m, u64 size, struct mem_bank *b, struct err *e); /* whole pages */
int mem_add_switched(struct mem *m, u64 gpa, u64 size, struct err *e);	      /* shows nothing yet: reads all ones */
/* The switched range that starts at gpa shows bank b from off on. At set-up, or with the bus locked: other vCPUs see it
 * at their next safepoint. */
void mem_switch(struct mem *m, u64 gpa, const struct mem_bank *b, u64 off, bool writable);
/* It shows a device; ops NULL: nothing. */
void mem_switch_io(struct mem *m, u64 gpa, const struct io_ops *ops, void *dev);
/* RAM that stays in its place: what mem_ram_range() lists. */
u64 mem_ram_size(const struct mem *m);
/* The i-th RAM range; false past the last. Switched ranges are none. */
bool mem_ram_range(const struct mem *m, unsigned i, u64 *gpa, u64 *size);
#define MEM_LAY_STEP (64ull << 10)
/* A part of a RAM range, whole steps from its beginning on (or to its end), has the content of fd from offset (page-aligned)
 * on, which is not read before it is touched, and not written; nobody may change it meanwhile. At set-up. */
int mem_lay(struct mem *m, u64 gpa, u64 len, int fd, u64 offset, struct err *e);
bool mem_is_laid(const struct mem *m, u64 gpa);
/* The step around gpa is in the memfd from now on, as it is. Under exclusive execution, without the bus lock. -1: it stays. */
int mem_own(struct mem *m, u64 gpa);
/* Where a RAM or ROM byte is kept: the memfd and *offset in it; -1 for devices and holes, for what is still as mem_lay()
 * laid it, and for what is kept privately. */
int mem_where(struct mem *m, u64 gpa, u64 *offset);
void mem_add_listener(struct mem *m, struct mem_listener *l);
void mem_remove_listener(struct mem *m, struct mem_listener *l);
/* The A20 gate: while off, bit 20 of every physical address that a CPU puts out is 0 (DMA is not affected). On at first. */
void mem_set_a20(struct mem *m, bool on);
bool mem_get_a20(const struct mem *m);

/* What stands at a page: host address for RAM (and ROM unless write), NULL for devices and holes. */
u8 *mem_page(struct mem *m, u64 gpa, bool write);
enum frame_state mem_frame_state(struct mem *m, u64 gpa);
/* Takes a hold on a frame as code; 0, or -1 when the page is not RAM or ROM. The last hold given back makes it data. */
int mem_code_enter(struct mem *m, u64 gpa);
void mem_code_leave(struct mem *m, u64 gpa);
/* With a hold. Other vCPUs may have compared a write tag before it was revoked, and store only now: asks them to pass a
 * safepoint and returns what mem_code_settled() wants to be asked with; 0 if the frame is settled already. Nobody waits:
 * until then the bytes may be used, but no copy of them kept. The caller must be at a safepoint itself. */
u64 mem_code_settle(struct mem *m, u64 gpa);
bool mem_code_settled(struct mem *m, u64 gpa, u64 epoch);
/* Before a write by whatever means (CPU, DMA, debugger) that does not come through a revocable tag. */
void mem_before_write(struct mem *m, u64 gpa, unsigned len);

/* Copies that keep every invariant; any length, across pages. Return 0, or -1 if some byte is not RAM or ROM
 * (reads of holes give all ones, writes are dropped). */
int mem_read(struct mem *m, u64 gpa, void *buf, u64 len);
int mem_write(struct mem *m, u64 gpa, const void *buf, u64 len);

/* Every byte is RAM. An empty range is. Where the table may change: under the bus lock. */
bool mem_is_ram(const struct mem *m, u64 gpa, u64 len);
/* The whole pages [gpa, gpa + len) go back to the host and read as zero from now on, until they are written again. -1 if
 * they are not whole pages of RAM. */
int mem_discard(struct mem *m, u64 gpa, u64 len);

/* Which frames are written while somebody copies memory of a machine that runs: one at a time. To begin, fetch and end,
 * everything stands still (vCPUs at an instruction boundary, no DMA under way) and the bus lock is held. */
int mem_dirty_begin(struct mem *m, struct err *e);
/* Takes what was written since the begin, or the last fetch, and clears it. */
void mem_dirty_fetch(struct mem *m);
/* Was it in the last fetch? To be asked by who fetched, between begin and end, at any time. */
bool mem_dirty_fetched(const struct mem *m, u64 gpa);
void mem_dirty_end(struct mem *m);

/* The lock that is held around each access to a device (the machine lock); none until given. At set-up. */
void mem_set_bus_lock(struct mem *m, void (*lock)(void *opaque), void (*unlock)(void *opaque), void *opaque);

/* Device accesses. Unclaimed: reads all ones, writes ignored; *claimed (may be NULL) tells. */
u64 mem_mmio_read(struct mem *m, u64 gpa, unsigned size, bool *claimed);
void mem_mmio_write(struct mem *m, u64 gpa, u64 val, unsigned size, bool *claimed);
u32 mem_port_read(struct mem *m, u16 port, unsigned size);
void mem_port_write(struct mem *m, u16 port, u32 val, unsigned size);

#endif
