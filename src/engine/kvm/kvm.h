/* SPDX-License-Identifier: Apache-2.0
 * The engine `kvm`: guest code runs on the host's virtualization hardware through /dev/kvm (Linux
 * Documentation/virt/kvm/api.rst). Private parts.
 *
 * Who owns what while a vCPU is in run()
 *  - KVM: general, segment, control, debug and vector registers, XCR0, and the MSRs that kvm_msrs.c lists. struct cpu
 *    is stale in these until kvm_export().
 *  - struct cpu: every other MSR (the filter sends those here, so that all engines answer alike), the TSC's offset,
 *    paravirtual clocks, and, with all chips ours (`user_apic`), the local APIC.
 *
 * Invariants
 *  1. When run() is not executing, struct cpu is complete, and `shadow` is what it was when KVM last had the same: what
 *     differs at the next entry is what somebody else changed, and only that is written back.
 *  2. An exit whose instruction KVM has yet to complete (port, device memory, MSR) is completed before anything is read
 *     back: kvm_finish().
 *  3. State that KVM has no place for (a #DB held back, an event whose delivery was interrupted) never enters it: the
 *     interpreter runs until it is gone.
 *  4. With the APIC in the kernel, interrupts for a vCPU that is out of run() wait in the kernel's APIC or in the
 * posted words; kvm_settle() and the next entry take them along, so that writing an APIC back overwrites none.
 */
#ifndef ENGINE_KVM_H
#define ENGINE_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/counter.h"
#include "cpu/cpuid.h"
#include "engine/engine.h"
#include "mem/frame.h"

#define KVM_KICK_SIGNAL SIGUSR1 /* blocked but while the guest runs */
#define KVM_ROUTES 64		/* level-triggered messages whose end the kernel tells */
#define KVM_VCPUS_MAX 64

struct kvm_slot {
	u64 gpa, size;
	u8 *hva;
	u32 flags;
};

struct kvm_vcpu;

struct kvm_machine {
	int sys, fd;
	struct mem *mem;
	struct mem_listener listener;
	bool user_apic;	 /* all chips ours */
	bool gone_wrong; /* a slot could not be set: said in the log */
	size_t run_size, xsave_size;
	pthread_mutex_t lock;		       /* what follows */
	struct kvm_slot slot[MEM_MAX_REGIONS]; /* size 0: not in use */
	bool logging;			       /* dirty pages */
	unsigned n_routes, next_route;
	struct kvm_irq_routing_entry route[KVM_ROUTES];
	struct kvm_vcpu *vcpu[KVM_VCPUS_MAX];
};

/* An APIC page as KVM_GET_LAPIC has it, by registers. */
struct kvm_apic_page {
	u32 reg[256]; /* offset / 4 */
};
_Static_assert(sizeof(struct kvm_apic_page) == KVM_APIC_REG_SIZE, "one is copied onto the other");

struct kvm_vcpu {
	struct kvm_machine *m;
	struct cpu *cpu;
	int fd;
	struct kvm_run *run;
	struct kvm_xsave *xsave; /* m->xsave_size bytes */
	struct cpu *shadow;
	void *interp;	      /* engine_interp's private state, NULL until it is needed */
	bool fresh;	      /* KVM has never had a state, or another one than shadow: write everything */
	bool unfinished;      /* the last exit's instruction waits for KVM_RUN */
	bool debugging;	      /* KVM_SET_GUEST_DEBUG is in force */
	u64 debug_rip;	      /* of the last EXIT_DEBUG; ~0: none */
	bool window_known;    /* run->ready_for_interrupt_injection is of the state that KVM has */
	bool handed;	      /* a vector of the 8259's is with KVM, which does not show it before it is injected */
	bool complete;	      /* struct cpu is newer than what KVM has: no export at the end of run() */
	pid_t tid;	      /* of the thread in run(), for kicks */
	_Atomic pid_t in_run; /* that thread while in KVM_RUN, else 0 */
	timer_t timer;	      /* budget */
	bool has_timer;
	enum engine_exit why; /* of run(), once an exit has decided it */
};

/* ---- host.c: the node and what it can do ---- */

/* Opens /dev/kvm and makes a VM: *sys and *vm. -1 with one sentence, nothing left open. */
int kvm_open(int *sys, int *vm, struct err *e);
/* Is there everything that the engine builds on? */
int kvm_check_caps(int sys, struct err *e);

/* In KVM_RUN, and only there, this vCPU's thread gets KVM_KICK_SIGNAL. */
int kvm_admit_kicks(int vcpu);

/* ---- probe.c ---- */
int kvm_probe(struct err *e);

/* ---- state.c: between struct cpu and KVM's structures; pure functions ---- */
void kvm_regs_from(struct kvm_regs *r, const struct cpu *c);
void kvm_regs_to(struct cpu *c, const struct kvm_regs *r);
void kvm_sregs_from(struct kvm_sregs2 *s, const struct cpu *c);
/* apic_base and CR8 too if with_apic. */
void kvm_sregs_to(struct cpu *c, const struct kvm_sregs2 *s, bool with_apic);
void kvm_debugregs_from(struct kvm_debugregs *d, const struct cpu *c);
void kvm_debugregs_to(struct cpu *c, const struct kvm_debugregs *d);
void kvm_events_from(struct kvm_vcpu_events *v, const struct cpu *c);
void kvm_events_to(struct cpu *c, const struct kvm_vcpu_events *v);

/* ---- xsave.c ---- */
/* Where the host keeps component n of a standard-format XSAVE area; 0: it has none. */
u32 kvm_xsave_offset(unsigned n);
void kvm_xsave_from(void *area, size_t size, const struct cpu *c);
void kvm_xsave_to(struct cpu *c, const void *area, size_t size);

/* ---- msrs.c ---- */
/* Up to KVM_MSRS_MAX entries into list; how many. */
#define KVM_MSRS_MAX 24
unsigned kvm_msrs_from(struct kvm_msr_entry *list, const struct cpu *c, bool user_apic);
void kvm_msrs_to(struct cpu *c, const struct kvm_msr_entry *list, unsigned n);
/* Which MSRs the guest reaches without an exit. */
int kvm_msr_filter(struct kvm_machine *m, const struct cpuid_model *model, struct err *e);

/* ---- apic.c ---- */
void kvm_apic_from(struct kvm_apic_page *p, struct cpu *c);
void kvm_apic_to(struct cpu *c, const struct kvm_apic_page *p);
/* Posted words go to the kernel's APIC of this vCPU. */
void kvm_forward_posted(struct kvm_vcpu *v);
/* A kick that no HLT has used up goes to the kernel's vCPU. */
void kvm_forward_kick(struct kvm_vcpu *v);
bool kvm_msi(void *machine, u64 addr, u32 data);

/* ---- sync.c ---- */
int kvm_import(struct kvm_vcpu *v);
int kvm_export(struct kvm_vcpu *v);
void kvm_settle(struct cpu *c);

/* ---- cpuid.c ---- */
int kvm_give_cpuid(struct kvm_vcpu *v, struct err *e);
/* Before there are vCPUs: the APIC timers count as the model says. */
int kvm_set_apic_bus(struct kvm_machine *m, const struct cpuid_model *model, struct err *e);
/* What KVM can keep of a CPU model. */
int kvm_limits(bool user_apic, struct cpuid_limits *l, struct err *e);

/* ---- slots.c ---- */
int kvm_slots_init(struct kvm_machine *m, struct err *e);
void kvm_slots_fini(struct kvm_machine *m);
int kvm_dirty_log(void *machine, bool on, engine_dirty_fn *fn, void *opaque, struct err *e);

/* ---- exits.c ---- */
/* Deals with the exit that v->run describes. False: run() returns v->why. */
bool kvm_exit(struct kvm_vcpu *v);
/* Has KVM complete the last exit's instruction. */
int kvm_finish(struct kvm_vcpu *v);

/* ---- run.c ---- */
enum engine_exit kvm_run_loop(struct cpu *c, u64 budget);
void kvm_kick(struct cpu *c);
/* From struct cpu, complete, into KVM. False: run() is over for the reason v->why, and struct cpu is complete. */
bool kvm_reenter(struct kvm_vcpu *v);
/* The debugger's breakpoints, or steps if they are too many, into KVM; logs a refusal. */
int kvm_set_debug(struct kvm_vcpu *v);
/* Has KVM inject what it was handed, which it then shows. */
int kvm_nudge(struct kvm_vcpu *v);

/* ---- aside.c: the interpreter, for what KVM cannot ---- */
/* n instructions at most; struct cpu must be complete, and is afterwards. */
int kvm_interpret(struct kvm_vcpu *v, unsigned n);
/* Runs until nothing is left that invariant 3 speaks of. */
int kvm_resolve(struct kvm_vcpu *v);
void kvm_aside_fini(struct kvm_vcpu *v);

static inline struct kvm_vcpu *kvm_vcpu_of(const struct cpu *c)
{
	return ((struct kvm_machine *)c->engine_machine)->vcpu[c->index];
}

#endif
