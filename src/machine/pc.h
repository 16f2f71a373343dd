/* SPDX-License-Identifier: Apache-2.0
 * The board: an i440FX/PIIX3 PC with its chips, wired in power-on order. Only this file knows both the chips and what
 * they are wired to. Machine lock.
 */
#ifndef MACHINE_PC_H
#define MACHINE_PC_H

#include "base/clock.h"
#include "boot/boot.h"
#include "chardev/chardev.h"
#include "dev/dev.h"
#include "dev/irq.h"
#include "machine/pcvirtio.h"
#include "mem/mem.h"

#define PC_LOW_RAM_MAX 0xc0000000ull	/* RAM below 4 GiB ends here at most: PCI devices above */
#define PC_SERIAL_MAX 4

struct pc;

struct pc_config {
	struct mem *mem;
	const struct clock *clock;
	struct timerq *timers;
	u64 utc_ns;			/* when the clock shows 0 */
	u64 memory;			/* bytes in all */
	unsigned cpus;
	struct chardev *serial[PC_SERIAL_MAX];	/* backends of COM1 .. COM4 */
	bool has_serial[PC_SERIAL_MAX];
	struct chardev *debugcon; /* NULL: nobody listens at port 0xe9 */
	int debug_exit;		  /* port, or -1 */
	u16 debugcon_port;
	bool testdev;
	const u8 *rom; /* firmware, which then does what doppel does for kernels; NULL: none */
	u64 rom_size;
	bool bios; /* the kernel begins in real mode, with the BIOS's services (boot_bios()) */
	struct pc_virtio_config virtio;
	struct counters *counters;	/* of the board, may be NULL */
	struct irq intr;		/* the 8259's INTR */
	struct msi_sink msi;
	struct call reset;		/* arg: enum reset_kind */
	struct call power_off;
	struct call leave;		/* arg: the value written to the debug-exit port */
	struct call flush;		/* arg: a page; see testdev.h */
};

/* RAM too. */
struct pc *pc_new(const struct pc_config *cfg, struct err *e);
void pc_free(struct pc *pc);
/* RESET# to every chip; without firmware, its tables written afresh. */
int pc_reset(struct pc *pc, struct err *e);
/* What a kernel loader needs to tell: the memory map and where the ACPI tables begin. Without firmware only. */
void pc_memory_map(const struct pc *pc, struct boot_map *map);
u64 pc_rsdp(const struct pc *pc);
u8 pc_ack_intr(struct pc *pc);		/* INTA: the vector */
void pc_eoi(struct pc *pc, u8 vector);	/* a local APIC's EOI broadcast */
bool pc_ferr(struct pc *pc, bool asserted);	/* the bootstrap processor's FERR#; answers IGNNE# */
/* Every chip's state, part by part (base/state.h). */
int pc_each_state(struct pc *pc, state_fn *fn, void *opaque);
void pc_press_power(struct pc *pc); /* the power button */
/* What the balloon is asked for, and has; false without a balloon. */
bool pc_balloon_set(struct pc *pc, u64 bytes);
bool pc_balloon_get(const struct pc *pc, u64 *bytes);
struct virtio_balloon *pc_balloon(const struct pc *pc); /* or NULL */
/* The terminal of a port of the virtio console. */
void pc_console_resize(struct pc *pc, unsigned port, u16 cols, u16 rows);

#endif
