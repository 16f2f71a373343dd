/* SPDX-License-Identifier: Apache-2.0
 * The engine `direct`: guest user mode runs natively, in ring 3 of the host, in a process of its own for each address
 * space, a mirror; everything else is `translate`, which this engine is built on (docs/direct.md).
 *
 * Invariants
 *  1. A mirror's mappings are a cache of the guest's page tables: each was right when it was made, accessed and dirty
 *     bits set as a TLB would have, and is compared again before guest code runs behind any flush by the guest.
 *  2. A frame is executable in mirrors only while this engine holds it as code (mem.h) and its bytes were scanned
 *     behind that, and where that found something, only while breakpoints stand before it (guard.c); a writable mapping
 * exists only of a frame whose write tag mem_note_writer() allowed.
 *  3. The thread that runs guest code makes no system call: each stops it before it begins (PTRACE_SYSEMU), and behind
 * that stands a filter that lets none through. What it may touch: guest frames, the stub (code without data), requests
 * (read-only).
 *  4. Only the vCPU's thread touches mirrors; other threads put frames into `dropped` and kick.
 */
#ifndef ENGINE_DIRECT_H
#define ENGINE_DIRECT_H

#include <pthread.h>
#include <sched.h>
#include <sys/types.h>
#include <sys/user.h>
#undef PAGE_SIZE /* base.h's are meant */
#undef PAGE_MASK
#undef PAGE_SHIFT

#include "engine/direct/stub.h"
#include "engine/engine.h"
#include "mmu/mmu.h"

#define MIRRORS 12
#define XSTATE_MAX 4096
#define REQUESTS_SIZE (4 * PAGE_SIZE)
#define MAX_REQUESTS (REQUESTS_SIZE / sizeof(struct request) - 1)
#define USER_END 0x7ffffffff000ull
#define RAM_FD 3

/* A system call that the mapper makes; nr -1 ends the list. stub.c knows the layout. */
struct request {
	s64 nr;
	u64 arg[6];
};
_Static_assert(sizeof(struct request) == 56, "the stub's step");

/* What a page of a mirror is; 0: not there. */
enum { PAGE_R = 1, PAGE_W = 2, PAGE_X = 4, PAGE_REFUSED = 8, PAGE_GUARDED = 16 };
#define GUARDS 4      /* breakpoints */
#define GUARD_TRIES 4 /* mirrors that are asked whether there are such */
#define START_TRIES 4 /* mirrors that may be killed at birth before none is made any more */

/* 2 MiB of a mirror. */
struct group {
	u64 lin;   /* of the first byte */
	u64 table; /* what the guest's upper tables lead to: page table or large page | rights, as path_of() gives it */
	u64 entry[512];
	u8 page[512];
	unsigned n; /* pages there */
	struct group *hash_next, *next;
};

#define GROUP_HASH 1024

/* One mapping of a frame. */
struct user_page {
	u32 next; /* of the same frame; 0 ends */
	u16 mirror;
	u64 lin;
};

struct mirror {
	bool alive;
	pid_t pid, tid; /* the mapper; the thread that runs guest code */
	bool tsc_traps; /* RDTSC there, since the guest's is not the host's */
	struct request *requests;
	unsigned n_requests;
	bool batch_next; /* the mapper goes on with the next batch */
	u64 root;	 /* the guest's top page table; ~0: none */
	u64 last_used;	 /* counts entries */
	u64 all_seen, pages_seen;
	u64 hold_until;	  /* instruction count of translate before which it is not entered */
	unsigned holdoff; /* doublings of that distance */
	unsigned n_maps;
	struct group *groups, *hash[GROUP_HASH];
	struct user_regs_struct regs;
	bool regs_known;		    /* regs is what the thread has at this stop */
	_Alignas(64) u8 xstate[XSTATE_MAX]; /* as the thread has it */
	bool xstate_known;
	unsigned stays; /* since cpu_ns was read, */
	u64 stays_ns;	/* how long they were */
	u64 faults_ns;	/* and their faults */
	u64 cpu_ns;
	/* guard.c: addresses that stop the thread before it executes them, 0: none; what it was told */
	u64 guard[GUARDS], guard_there[GUARDS];
	u64 guard_dice, guard_dr7;
	bool faulted; /* the last stay ended with a fault of the guest's, at: */
	u64 fault_lin, fault_rip;
	u64 fetch_at;  /* RIP at the fault that pages_fault() is about */
	bool replaced; /* its pages were found to be another process's: promote_forget() */
};

/* An address space, natively run or not (promote.c). */
struct space {
	u64 root;
	s64 credit;
	bool hot;
	u8 demotions;
};
#define SPACES 512
#define ROOT_MASK 0x000ffffffffff000ull

/* Where the host keeps what XSAVE saves. */
struct xlayout {
	size_t size;
	u32 avx, k, zmm_hi, hi16;
	u64 xcr0;
};

#define DROPS 512

struct direct {
	struct cpu *c;
	struct mem *m;
	struct interp *in; /* translate's state, of which this is a part: cpu->engine, unless another engine has its turn */
	struct mem_listener listener;
	struct xlayout x;
	struct mirror mirror[MIRRORS];
	u64 entries;
	int exec_fd; /* the program a mirror starts as */
	bool fsgsbase;
	bool failed; /* a mirror died with the guest in it, and its registers with it */
	bool always; /* every space is hot */
	struct space space[SPACES];
	u64 look_ns, look_root, look_entries; /* at the last look */
	u64 shortest_ns;		      /* of all stays */
	u64 fault_ns;			      /* of this stay, in faults that mapped something */
	bool off;			      /* mirrors cannot be made here */
	unsigned starts_failed;		      /* in a row */
	struct mirror *serving;		      /* the one whose fault is looked at */
	bool guards;			      /* breakpoints stop a mirror */
	unsigned guard_tries;		      /* it did not, or was killed meanwhile */
	u64 gdt_seen[16];		      /* compared and found equal to what the host shows */
	u8 host_access[16];		      /* by entry: access byte of what user mode sees in the host's GDT */
	u8 host_flags[16];		      /* bits 52..55 */
	u32 host_limit[16];		      /* in bytes, of the CPU that the vCPU is pinned to */
	u32 host_aux;			      /* that CPU's TSC_AUX */
	unsigned host_vouch;		      /* VOUCH_* that are the host's alone to say */
	unsigned vouched;		      /* what the frames in mirrors were scanned for */
	bool limits_equal;		      /* of all visible segments in gdt_seen[] */
	_Atomic u64 inside;		      /* who runs guest code now: process << 32 | thread; 0: nobody */
	_Atomic u64 outs;		      /* how often that has come to an end */
	bool alone;			      /* all other vCPUs stand still */
	int cpu_pinned, cpu_claim;	      /* -1; a socket whose name says that the CPU is taken */
	u64 crowd_stays_ns;		      /* of stays since the CPU was last judged, hand-overs left out, */
	u64 crowd_used_ns;		      /* and the CPU time that the mirrors had in them */
	cpu_set_t cpus;			      /* that were ours before */
	unsigned moves;			      /* in a row to another CPU */
	u64 away_ns, away_lost; /* stays on another CPU than the guest's, and guards lost, since last judged */
	u64 unguarded;		/* pages that lost their breakpoints to others */

	/* reverse map */
	u32 *frames; /* by gpa >> PAGE_SHIFT: the first of the mappings, index into maps[] */
	_Atomic u64 n_frames;
	struct user_page *maps;
	u32 n_maps, cap_maps, free_maps;

	pthread_mutex_t lock; /* guards what follows */
	u64 dropped[DROPS];   /* frames that must leave all mirrors */
	unsigned n_dropped;
	atomic_bool drop_some, drop_all;
	_Atomic u64 taking; /* | 1: a frame that becomes code in a mirror, and is not in frames[] yet */
};

/* Instructions that the first tier vouches for only under conditions of their own (tier.c). Without them a frame with
 * such bytes is refused. */
enum {
	VOUCH_LSL = 1,
	VOUCH_AUX = 2,	     /* RDTSCP, RDPID */
	VOUCH_UMIP = 4,	     /* SGDT, SIDT */
	VOUCH_CPUID = 8,     /* traps */
	VOUCH_SYSENTER = 16, /* #UD */
	VOUCH_PKRU = 32,     /* #UD */
};

/* ---- scan.c: the second tier ---- */
/* Could some instruction that begins at any of these bytes and lies in them see what differs between guest and host?
 * vouched: VOUCH_*. */
bool direct_scan(const u8 *p, size_t n, unsigned vouched);
/* Could the one that begins with p[0], or a prefix before it? */
bool direct_site(const u8 *p, size_t n, unsigned vouched);
/* The same for instructions that begin in a, whose last bytes are given, and end in b behind it. */
bool direct_scan_seam(const u8 *a_end, const u8 *b, unsigned vouched);
#define SEAM 4 /* longest sequence that direct_scan() looks for */

/* ---- guard.c: frames that need not be refused, by breakpoints ---- */
/* Does this host stop a mirror there? Asked of one that has no guest's state in it. */
bool guard_works(struct mirror *m);
/* Offsets in a frame at which to stop; their number, or -1: that would not do. */
int guard_sites(const u8 *page, unsigned vouched, u16 at[GUARDS]);
/* How many more the mirror can have; a page that has some and could give them up, but not that of `except`, or 0; those
 * of a page come and go. */
unsigned guard_free(const struct mirror *m);
u64 guard_victim(struct mirror *m, u64 except);
void guard_set(struct mirror *m, u64 lin, const u16 *at, unsigned n);
void guard_forget(struct mirror *m, u64 lin);
/* Is there one at this very address? */
bool guard_covers(const struct mirror *m, u64 lin);
/* Before the thread goes on: it is told. 0, or -1: it is gone. */
int guard_load(struct mirror *m);

/* ---- tier.c: the first tier ---- */
void tier_probe(struct direct *d);
/* Behind pinning: what differs from CPU to CPU. */
void tier_pinned(struct direct *d);
/* VOUCH_* in the present state, for which tier_ok(). */
unsigned tier_vouched(const struct direct *d);
/* May the vCPU's present state run natively? */
bool tier_ok(struct direct *d);

/* ---- promote.c: all of the address space in force ---- */
bool promote_hot(struct direct *d);
/* `translate` has run until promote_next_look(), an instruction count. */
void promote_look(struct direct *d);
u64 promote_next_look(const struct direct *d);
/* A stay in its mirror took ns by the clock, and fault_ns of that were faults. */
void promote_stayed(struct direct *d, struct mirror *m, u64 ns, u64 fault_ns);
/* It is a new one at the same place, or lost its mirror. */
void promote_forget(struct direct *d);
/* Others have had much of this CPU while mirrors wanted it. Asking begins a new judgement when it has come to one. */
bool promote_crowded(struct direct *d);
/* On this CPU, which has not the number of the guest's, breakpoints cost more than it may gain. Asking, as above. */
bool promote_homesick(struct direct *d);

/* ---- xstate.c ---- */
bool xstate_layout(struct xlayout *x);
void xstate_from(const struct xlayout *x, u8 *area, const struct cpu *c);
void xstate_to(const struct xlayout *x, struct cpu *c, const u8 *area);

/* ---- mirror.c: a process, by ptrace ---- */
int mirror_start(struct direct *d, struct mirror *m, struct err *e);
void mirror_stop(struct mirror *m);
/* Adds a request; runs the batch first when it is full. */
int mirror_request(struct mirror *m, s64 nr, u64 a, u64 b, u64 c, u64 prot, u64 flags, u64 f);
/* 0, or -1: one failed, or the process is gone. */
int mirror_flush(struct mirror *m);
/* Waits for one of the threads; its status, or -1 when it, or the process, is going or gone. */
int mirror_wait(const struct mirror *m, pid_t who);
void mirror_pin(struct mirror *m, int cpu);
/* CPU time that its threads have used; 0: not known. */
u64 mirror_cpu_ns(const struct mirror *m);
/* The base that SGDT gives in user mode here; 0: it is not given. */
u64 mirror_host_sgdt(void);

/* ---- pages.c: what is mapped ---- */
int pages_init(struct direct *d);
void pages_free(struct direct *d);
/* lin: of an access that stopped the mirror. Maps the page, and others that the guest has used, where the guest's
 * tables allow the access; false: they do not, or it cannot be mapped. fetch_at: RIP. */
bool pages_fault(struct direct *d, struct mirror *m, u64 lin, u64 fetch_at);
/* The guest has dealt with that fault, and the same instruction is next: what it has mapped comes in before it stops
 * the mirror once more. False: the mirror cannot be used now. */
bool pages_after_fault(struct direct *d, struct mirror *m, u64 lin, u64 fetch_at);
/* Before guest code runs: what was flushed or dropped since goes. False: the mirror cannot be used. */
bool pages_sync(struct direct *d, struct mirror *m);
/* All of it goes. */
void pages_clear(struct direct *d, struct mirror *m);
/* Was the page that holds lin found not to be executable here? */
bool pages_refused(const struct mirror *m, u64 lin);
/* The guest's top page table holds nothing where the stub is. */
bool pages_stub_free(const struct direct *d);
/* From any thread. */
bool pages_drop_frame(struct direct *d, u64 gpa);

#endif
