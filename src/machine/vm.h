/* SPDX-License-Identifier: Apache-2.0
 * One virtual machine from power-on to its end: memory, clock, board, vCPUs and their threads, the I/O thread.
 *
 * Threads and locks
 *  - Each vCPU has a host thread. The thread that calls vm_run() is the I/O thread: timers, chardevs, resets.
 *  - vm->lock, the machine lock, is held around each device access (mem's bus lock), by the I/O thread while it runs
 *    timers and chardevs, and for nothing that waits.
 *  - vm->park guards who may run guest code (running, hold, exclusive). It is taken with the machine lock held or not,
 *    never the other way round, and vm_pause() and exclusive execution are asked for without the machine lock.
 *  - The local APICs need no lock: posted words, attention and a kick.
 */
#ifndef MACHINE_VM_H
#define MACHINE_VM_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/inputs.h"
#include "base/loop.h"
#include "block/block.h"
#include "block/pool.h"
#include "boot/boot.h"
#include "chardev/chardev.h"
#include "cpu/cpuid.h"
#include "engine/engine.h"
#include "net/net.h"
#include "share/share.h"

#define VM_CPUS_MAX 64
#define VM_SERIAL_MAX 4
#define VM_DISKS_MAX 16
#define VM_PORTS_MAX 8
#define VM_NETS_MAX 4
#define VM_SHARES_MAX 7

enum vm_status { VM_STATUS_TRIPLE_FAULT = 124, VM_STATUS_FAILURE = 125 };

struct vm;
struct pc;
struct mmu;

/* Somebody who lives beside the machine, in its I/O thread and under its lock. */
struct vm_companion {
	/* Makes the character devices whose specs begin with '@'. */
	struct chardev *(*chardev)(void *opaque, const char *spec, struct loop *loop, struct err *e);
	void (*poll)(void *opaque, struct vm *vm);	/* once in each round of the I/O thread */
	void *opaque;
};

struct vm_config {
	u64 memory;			/* bytes, a multiple of 4 KiB */
	unsigned cpus;
	const char *cpu_model;
	u32 apic_bus_hz;		/* the APIC timer's clock that the guest was told, by a snapshot; 0: the engine's */
	u64 tsc_hz;			/* of this host, known from earlier in its boot; 0: measured */
	const struct engine_ops *engine;
	struct engine_options engine_options;
	const struct engine_ops *other_engine;	/* takes turns with it, or NULL */
	u64 switch_every;		/* ... every so many instructions */
	u64 switch_ns;			/* ... or nanoseconds, if the engine is timed */
	bool deterministic;		/* det.h: one thread, time by instructions */
	struct inputs *inputs;		/* of a deterministic run: recorded or replayed; or NULL */
	const struct vm *lead;		/* lockstep: the machine that makes each turn before this one; or NULL */
	struct boot_request boot;
	const char *serial[VM_SERIAL_MAX];	/* chardev specs for COM1 .. COM4; NULL: no such port */
	const char *debugcon;		/* chardev spec for port 0xe9; NULL: none */
	u16 debugcon_port;
	int debug_exit;			/* port, or -1 */
	bool testdev;
	struct block_spec disk[VM_DISKS_MAX];
	unsigned nr_disks;
	struct {
		char where[512];	/* chardev spec */
		char name[64];		/* "": a console */
	} port[VM_PORTS_MAX];		/* of the virtio console */
	unsigned nr_ports;
	struct net_spec net[VM_NETS_MAX];
	unsigned nr_nets;
	struct share_spec share[VM_SHARES_MAX];
	unsigned nr_shares;
	bool rng, balloon;
	u64 balloon_target;		/* bytes the guest is asked to give back */
	bool loaded;			/* state comes from a snapshot: boot.kernel may be NULL, then a reset is the end */
	bool no_reboot;
	/* No guest instruction has run, and all threads are there: the process takes from itself what it has no more use for.
	 * May be NULL. */
	int (*seal)(void *opaque, struct err *e);
	void *seal_opaque;
	bool paused;			/* begin held; vm_resume() lets it go */
	u64 timeout_ns;			/* 0: none */
	struct chardev_keys keys;
	void (*trace)(struct cpu *c, enum trace_kind kind, u64 a, u64 b, u64 x);	/* struct cpu_ops.trace */
	void *trace_opaque;
	u32 trace_mask;
	struct vm_companion companion;	/* members may be NULL */
	/* A vCPU stopped with EXIT_DEBUG; all are held. Called in that vCPU's thread. */
	void (*debug_stop)(void *opaque, struct vm *vm, unsigned vcpu);
	void *debug_opaque;
};

struct vcpu {
	struct vm *vm;
	struct cpu *cpu;
	struct mmu *mmu;
	struct counters counters;
	pthread_t thread;
	const struct engine_ops *engine;	/* cfg.engine, or cfg.other_engine in its turn */
	void *other_engine;		/* the private state of the engine whose turn it is not */
	void *first_state;		/* the private state of cfg.engine */
	u64 switch_left;		/* instructions or nanoseconds to the next change */
	bool started;
	u64 cpu_ns;			/* the thread's CPU time, once it has ended */
	bool running;			/* in engine->run(); vm->park */
	bool resting;			/* asleep or about to be; vm->park */
	bool midway;			/* not running, but inside an instruction: its turn to be exclusive comes; vm->park */
	atomic_uint wakes;		/* counts posts to a sleeper */
	u64 spin_icount;		/* where it last gave way to others */
	unsigned spins;			/* times it did so without much between */
	bool doze;			/* behind run(): leave the host's CPU for a while */
	int schedstat;			/* the thread's /proc file, or -1 */
	atomic_bool asleep;		/* in the futex on wakes, or about to be; no neighbour of what others read at once */
	u64 steal_seen, steal_looked;	/* its run delay, and VM clock, when last looked at */
	_Atomic u64 deadline_ns;	/* when the I/O thread must post ATT_TIMER; CLOCK_NEVER while asleep */
};

/* A deterministic run's own (det.h). */
struct det {
	u64 turn;
	u64 tsc;			/* the last value that anybody saw */
	u64 tsc_hz;
	u64 wall_ns;			/* UTC at VM time 0 */
	struct cpu *running;		/* a vCPU in its slice */
	struct clock real;		/* the host's time since the run began */
	bool outside;			/* ended by somebody, not by the guest */
	struct hash state;		/* at the end */
};

struct vm {
	struct vm_config cfg;
	pthread_mutex_t lock;		/* the machine lock */
	struct clock clock;
	struct det det;
	struct timerq timers;
	struct loop *loop;
	struct mem *mem;
	struct cpuid_model *model;
	struct cpu_ops ops;
	struct boot *boot;
	struct pc *pc;
	struct chardev *serial[VM_SERIAL_MAX], *debugcon, *port[VM_PORTS_MAX];
	struct block *disk[VM_DISKS_MAX];
	struct net *net[VM_NETS_MAX];
	struct share *share[VM_SHARES_MAX];
	/* Threads for disks that wait; NULL without disks. They go on while vCPUs are held: after vm_pause(), and without
	 * the machine lock, block_pool_drain() waits until no request is under way. */
	struct block_pool *disk_pool;
	struct counters counters;	/* of devices; the machine lock */
	void *engine_machine;		/* what an engine has for all vCPUs together, or NULL */
	unsigned nr_vcpus;
	bool crowded;			/* more vCPUs than CPUs of the host that may run them */
	struct vcpu *vcpu[VM_CPUS_MAX];

	int tasks;			/* /proc/self/task until all threads are there; then -1 */
	unsigned begun;			/* vCPU threads that have opened what they need; vm->park */
	pthread_mutex_t park;
	pthread_cond_t parked;		/* a vCPU stopped running, or may again */
	unsigned hold;			/* nobody may run while > 0 */
	struct vcpu *exclusive;		/* only this one may */
	unsigned exclusive_depth;

	atomic_uint lowest_turn;	/* whom lowest-priority delivery looks at first */
	pthread_mutex_t end_lock;	/* guards why and the first vm_end() */
	_Atomic u64 sleep_until;	/* when the I/O thread wakes by itself */
	atomic_bool reset_wanted;
	atomic_int signal_seen;
	atomic_bool resized;		/* vm_resized() */
	atomic_bool ended;
	atomic_int status;
	char why[300];			/* the end in words; written once, before ended */
	u64 began_ns;			/* VM clock when vm_run() began: not 0 after a snapshot */
	u64 resets, run_ns;
};

/* Everything up to the first instruction. NULL and a sentence on failure. */
struct vm *vm_new(const struct vm_config *cfg, struct err *e);
void vm_free(struct vm *vm);
/* Runs to the end; the exit status (DESIGN section 5). vm->why says it in words. */
int vm_run(struct vm *vm, struct err *e);

/* From any thread: the machine ends with this status; the first call wins. */
void vm_end(struct vm *vm, int status, const char *why, ...) __attribute__((format(printf, 3, 4)));
/* From any thread, async-signal-safe: the same because of a signal. */
void vm_signal(struct vm *vm, int sig);
/* I/O thread: a signal that vm_signal() was told of ends the machine. */
void vm_check_signal(struct vm *vm);
/* I/O thread: the board, all processors, and the kernel loaded again. */
int vm_reset(struct vm *vm, struct err *e);
/* The same: this process's terminal may have another size, which the virtio console on it passes on. */
void vm_resized(struct vm *vm);
/* From a device: the board is reset, as soon as the vCPU that asked for it has finished its instruction. */
void vm_request_reset(struct vm *vm);

/* Stops all vCPUs at an instruction boundary and returns when they are; nestable. Not from a vCPU's thread. */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/* ---- vcpu.c ---- */
struct vcpu *vcpu_new(struct vm *vm, unsigned index, struct err *e);
void vcpu_free(struct vcpu *v);
/* Power-on state, and what firmware would have done to it. The vCPU must not be running. */
void vcpu_reset(struct vcpu *v);
/* Own thread: the engine whose turn it is, as engine_ops.run(); changes engines where the configuration asks for it. */
enum engine_exit vcpu_run(struct vcpu *v, u64 budget);
/* Own thread, in a loop that waits: gives the host's CPU to others. True: the vCPU has waited for so long, on a host with
 * fewer CPUs, that it should leave run() and will then sleep a little. */
bool vcpu_should_doze(struct vcpu *v);
/* Own thread, after it: what has to be done about why it came back. */
void vcpu_handle(struct vcpu *v, enum engine_exit why);
/* Forgets all that engines made from the guest's code. The vCPU must not be running. */
void vcpu_invalidate_all(struct vcpu *v);
/* Compares what its engines made from the guest's code with memory: how many blocks differ. It must not be running. */
unsigned vcpu_audit(struct vcpu *v);
/* What the engine that was chosen has to report (engine.h), whichever has its turn. From any thread. */
void vcpu_report(const struct vcpu *v, engine_report_fn *fn, void *opaque);
int vcpu_start(struct vcpu *v, struct err *e);
/* Host CPU time of the vCPU's thread so far, nanoseconds. From any thread. */
u64 vcpu_cpu_ns(const struct vcpu *v);
void vcpu_join(struct vcpu *v);
/* From any thread: attention bits, and the vCPU sees them soon. Bits may be 0 if they were posted already. */
void vcpu_post(struct vcpu *v, unsigned att);
/* Own thread: tells the I/O thread when the APIC timer is due. */
void vcpu_publish_deadline(struct vcpu *v);
/* Own thread: adds the time that the host's other work took to the guest's steal time, now and then. */
void vcpu_tell_steal(struct vcpu *v);
/* Own thread: all others have stopped when begin returns. Nestable. The machine lock must not be held. */
void vcpu_exclusive_begin(struct vcpu *v);
void vcpu_exclusive_end(struct vcpu *v);

/* ---- glue.c: the world as a cpu sees it ---- */
void vm_fill_ops(struct vm *vm);
void vm_msi(void *vm, u64 addr, u32 data);	/* struct msi_sink */
void vm_intr(void *vm, unsigned input, bool level);	/* the 8259's INTR */

static inline struct vcpu *vcpu_of(const struct cpu *c)
{
	return c->vm;
}

#endif
