/* SPDX-License-Identifier: Apache-2.0
 * The contract of an engine: something that runs a vCPU until an event. State is complete at an instruction boundary
 * whenever run() is not executing, and any other engine can continue.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "cpu/cpu.h"
#include "mem/mem.h"

/* Why run() came back. */
enum engine_exit {
	EXIT_KICK,		/* ATT_KICK was posted (and has been cleared) */
	EXIT_HALT,		/* activity is not ACT_RUNNING and nothing wakes it yet: sleep until attention */
	EXIT_SHUTDOWN,		/* triple fault */
	EXIT_DEBUG,		/* breakpoint or step for the debugger */
	EXIT_BUDGET,		/* the instruction budget is used up (engines that count) */
	EXIT_FATAL,		/* our own error, said in the log */
};

enum tlb_scope_engine { INVALIDATE_PAGE, INVALIDATE_SPACE, INVALIDATE_ALL };

/* What the user asked of the engine, reached by cpu->engine_options before attach() and as long as the engine is attached. An
 * engine takes what it knows and leaves the rest. */
struct engine_options {
	u64 opts;		/* optimisations: a bit for each of enum opt (translate/opts.h) */
	u64 verify;		/* every so many blocks one is run by another engine too and compared; 0: none */
	u64 code_size;		/* bytes of translated code that are kept; 0: as many as are usual */
	const char *dump_blocks; /* file that gets guest and host code of each block; "" is stderr, NULL nothing */
	bool about;		/* a budget may be passed by some instructions, where an engine would have to slow down to stop exactly */
	bool user_apic;		/* kvm: all chips ours, the local APICs too */
	bool perf_map;		/* /tmp/perf-PID.map names translated code */
	bool jit_symbols;	/* a debugger attached to this process gets names of translated code */
};

/* A page of RAM was written to. */
typedef void engine_dirty_fn(void *opaque, u64 gpa);

/* One instruction that an engine left to the library, and how often. */
typedef void engine_report_fn(void *opaque, const char *mnemonic, u64 n);

struct cpuid_limits;
struct cpuid_model;

enum engine_host { ENGINE_HOST_PROCESSES = 1, ENGINE_HOST_KVM = 2 };

struct engine_ops {
	const char *name;
	/* It counts no instructions: a budget is nanoseconds, roughly, and all vCPUs of a machine must have it at the same time,
	 * because others are not told what it writes to memory. Changing to it is: all stand still, then invalidate() with
	 * INVALIDATE_ALL for each; from it: settle() for each, then nothing that was made from memory may be kept. */
	bool timed;
	/* It counts instructions, but not all of them: nothing that builds on their number goes with it. */
	bool uncounted;
	/* What it asks of the host beyond memory and threads (cli/sandbox.h): a mask of enum engine_host. */
	unsigned host;
	/* Probed by running instructions: 0, or -1 with the reason. */
	int (*probe)(struct err *e);
	/* What it can keep of a CPU model; NULL: anything. */
	int (*limits)(const struct engine_options *o, struct cpuid_limits *l, struct err *e);
	/* What it has for the whole machine: cpu->engine_machine before attach(). NULL: nothing. */
	void *(*machine_new)(struct mem *m, const struct cpuid_model *model, const struct engine_options *o, struct err *e);
	void (*machine_free)(void *machine);
	int (*attach)(struct cpu *c, struct mem *m, struct err *e);
	/* Runs until an event; at most budget instructions if the engine counts (0: no limit). */
	enum engine_exit (*run)(struct cpu *c, u64 budget);
	/* From any thread, sticky: pending before entry means immediate return. cpu_post() has been made by the caller. */
	void (*kick)(struct cpu *c);
	/* No vCPU runs: brings into struct cpu what has arrived since run() returned. May be NULL. */
	void (*settle)(struct cpu *c);
	/* While vCPUs may run, machine lock: an interrupt message. False: not taken, cpu/lapic.h delivers it. May be NULL. */
	bool (*msi)(void *machine, u64 addr, u32 data);
	/* Pages that vCPUs have written to since the last call, each once, while `on` was so; fn may be NULL. Writes by devices and
	 * by other engines are not among them. May be NULL. */
	int (*dirty_log)(void *machine, bool on, engine_dirty_fn *fn, void *opaque, struct err *e);
	void (*invalidate)(struct cpu *c, enum tlb_scope_engine scope, u64 gpa);
	void (*detach)(struct cpu *c);
	/* The most frequent of them, most frequent first; state is what attach() left in cpu->engine. From any thread, then as of some
	 * moment ago; may be NULL. */
	void (*report)(const void *state, engine_report_fn *fn, void *opaque);
	/* Compares every block of code that is kept with memory; how many differ, each said in the log. While run() is not executing; may
	 * be NULL. */
	unsigned (*audit)(struct cpu *c);
};

extern const struct engine_ops engine_interp, engine_translate, engine_direct, engine_kvm;

/* The debugger's wishes, reached by cpu->wishes: run() returns EXIT_DEBUG before the instruction at a breakpoint (once:
 * running on from there executes it), or after one instruction. Changed only while run() is not executing. */
struct debug_wishes {
	bool step;		/* stop after one instruction */
	unsigned n;
	u64 addr[64];		/* linear breakpoints */
};

#endif
