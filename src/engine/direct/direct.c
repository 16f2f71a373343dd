/* SPDX-License-Identifier: Apache-2.0
 * The engine `direct`: when `translate` is about to run user code, the vCPU's state goes to the mirror of its address
 * space and runs there until it traps. What trapped was not carried out: the state comes back as it stood before the
 * instruction, and `translate` executes that, with the guest's own exceptions and system calls. So nothing here knows
 * what any of them means.
 */
#include "engine/direct/direct.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/segment.h"
#include "engine/interp/interp.h"
#include "engine/translate/opts.h"
#include "mem/frame.h"

#define NT_X86_XSTATE 0x202 /* <elf.h> */
#define KICK_SIGNAL SIGUSR1
#define GOOD_STAY_NS 1000000
#define HOLD_INSNS 20000ull
#define MAX_HOLDOFF 12u
#define SYSCALL_STOP (SIGTRAP | 0x80)

static struct direct *of(struct interp *in)
{
	return in->native_opaque;
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

static void regs_from(struct user_regs_struct *u, const struct cpu *c)
{
	*u = (struct user_regs_struct){
		.rax = c->r[RAX],
		.rcx = c->r[RCX],
		.rdx = c->r[RDX],
		.rbx = c->r[RBX],
		.rsp = c->r[RSP],
		.rbp = c->r[RBP],
		.rsi = c->r[RSI],
		.rdi = c->r[RDI],
		.r8 = c->r[R8],
		.r9 = c->r[R9],
		.r10 = c->r[R10],
		.r11 = c->r[R11],
		.r12 = c->r[R12],
		.r13 = c->r[R13],
		.r14 = c->r[R14],
		.r15 = c->r[R15],
		.rip = c->r[R_RIP],
		.eflags = cpu_rflags(c) & ~(u64)FLAG_RF,
		.orig_rax = ~0ull,
		.cs = c->seg[SEG_CS].sel,
		.ss = c->seg[SEG_SS].sel,
		.ds = c->seg[SEG_DS].sel,
		.es = c->seg[SEG_ES].sel,
		.fs = c->seg[SEG_FS].sel,
		.gs = c->seg[SEG_GS].sel,
		.fs_base = c->seg[SEG_FS].base,
		.gs_base = c->seg[SEG_GS].base,
	};
}

/* A selector that user code loaded itself: the descriptor is the guest's, and the same as the host's (tier.c). */
static void take_selector(struct cpu *c, unsigned n, u64 sel)
{
	struct desc desc;

	if (likely(c->seg[n].sel == sel))
		return;
	if (!(sel & ~3ull))
		seg_set_null(c, n, (u16)sel);
	else if (!desc_fetch(c, (u16)sel, &desc, EXC_GP))
		c->seg[n] = seg_from_desc((u16)sel, &desc);
}

static void regs_to(struct cpu *c, const struct user_regs_struct *u)
{
	const u64 r[16] = { u->rax, u->rcx, u->rdx, u->rbx, u->rsp, u->rbp, u->rsi, u->rdi,
			    u->r8,  u->r9,  u->r10, u->r11, u->r12, u->r13, u->r14, u->r15 };

	memcpy(c->r, r, sizeof(r));
	c->r[R_RIP] = u->rip;
	cpu_set_rflags_raw(c, u->eflags & ~(u64)FLAG_RF);
	take_selector(c, SEG_CS, u->cs);
	take_selector(c, SEG_SS, u->ss);
	take_selector(c, SEG_DS, u->ds);
	take_selector(c, SEG_ES, u->es);
	take_selector(c, SEG_FS, u->fs);
	take_selector(c, SEG_GS, u->gs);
	c->seg[SEG_FS].base = u->fs_base;
	c->seg[SEG_GS].base = u->gs_base;
	cpu_update_mode(c);
}

static bool state_in(struct direct *d, struct mirror *m)
{
	_Alignas(64) u8 now[XSTATE_MAX];
	struct iovec v = { .iov_base = now, .iov_len = d->x.size };

	regs_from(&m->regs, d->c);
	m->regs_known = false;
	if (ptrace(PTRACE_SETREGS, m->tid, NULL, &m->regs))
		return false;
	xstate_from(&d->x, now, d->c);
	if (m->xstate_known && !memcmp(now, m->xstate, d->x.size))
		return true;
	m->xstate_known = true;
	memcpy(m->xstate, now, d->x.size);
	return !ptrace(PTRACE_SETREGSET, m->tid, NT_X86_XSTATE, &v);
}

/* Since its last stop. */
static bool regs_get(struct mirror *m)
{
	if (!m->regs_known)
		m->regs_known = !ptrace(PTRACE_GETREGS, m->tid, NULL, &m->regs);
	return m->regs_known;
}

/* back: bytes of the instruction that trapped behind itself. */
static bool state_out(struct direct *d, struct mirror *m, bool syscall_stop, unsigned back)
{
	_Alignas(64) u8 area[XSTATE_MAX];
	struct iovec v = { .iov_base = area, .iov_len = d->x.size };

	if (!regs_get(m) || ptrace(PTRACE_GETREGSET, m->tid, NT_X86_XSTATE, &v))
		return false;
	if (syscall_stop)
		m->regs.rax = m->regs.orig_rax;
	m->regs.rip -= back;
	xstate_to(&d->x, d->c, area);
	xstate_from(&d->x, m->xstate, d->c);
	m->xstate_known = true;
	regs_to(d->c, &m->regs);
	return true;
}

/* ---- mirrors ---------------------------------------------------------------------------------------------------- */

/* At birth, since a machine in its sandbox makes no sockets: the host's CPU of the number that Linux will have for this
 * vCPU. Another machine may have claimed it; all of them at one CPU would be worse than what is gained. */
static int claim_socket(unsigned cpu)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "doppel-direct-cpu-%u", cpu);
	if (fd < 0 || !bind(fd, (struct sockaddr *)&name, sizeof(name)))
		return fd;
	close(fd);
	return -1;
}

/* The CPU of this host that has the number of the guest's: there, what shows numbers shows the same ones. False: it is
 * not ours. */
static bool has_cpu(const struct direct *d)
{
	unsigned cpu = d->c->tsc_aux & 0xfff; /* as Linux writes it, whose GDT the tier asks for */

	return d->cpu_claim >= 0 && cpu == d->c->index && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &d->cpus);
}

static bool pin_to(struct direct *d, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return false;
	d->cpu_pinned = cpu;
	for (struct mirror *m = d->mirror; m < d->mirror + MIRRORS; m++)
		if (m->alive)
			mirror_pin(m, cpu);
	tier_pinned(d);
	return true;
}

/* Of the CPUs that are ours the one of the vCPU's index, counted around; one vCPU stays where it is. */
static int place_of(const struct direct *d)
{
	unsigned n = (unsigned)CPU_COUNT(&d->cpus), nth = n ? d->c->index % n : 0;
	int cpu = 0;

	if (d->m->n_writers < 2 || !n)
		return sched_getcpu();
	while (!CPU_ISSET(cpu, &d->cpus) || nth--)
		cpu++;
	return cpu;
}

static void pin_here(struct direct *d)
{
	if (d->cpu_pinned < 0) {
		sched_getaffinity(0, sizeof(d->cpus), &d->cpus);
		pin_to(d, has_cpu(d) ? (int)(d->c->tsc_aux & 0xfff) : place_of(d));
	}
}

/* Others want this CPU, too, and a thread that is pinned there cannot be moved by the host: the next one that was ours
 * to begin with. */
static void move_on(struct direct *d)
{
	int cpu = d->cpu_pinned;

	for (unsigned k = 0; k < CPU_SETSIZE; k++) {
		cpu = (cpu + 1) % CPU_SETSIZE;
		if (CPU_ISSET(cpu, &d->cpus) && cpu != d->cpu_pinned && pin_to(d, cpu)) {
			counter_inc(d->c->counters, CNT_DIRECT_MOVES);
			return;
		}
	}
}

/* To where fewer frames need guards. */
static void move_home(struct direct *d)
{
	int cpu = (int)(d->c->tsc_aux & 0xfff);

	if (has_cpu(d) && cpu != d->cpu_pinned && pin_to(d, cpu))
		counter_inc(d->c->counters, CNT_DIRECT_MOVES);
}

/* Behind a stay. Several vCPUs stay apart, each where it was put. */
static void settle_down(struct direct *d)
{
	if (d->m->n_writers > 1)
		return;
	if (unlikely(promote_crowded(d)))
		move_on(d);
	else if (unlikely(promote_homesick(d)))
		move_home(d);
}

/* RDTSC reads the host's counter there, or traps. */
static bool tsc_fits(const struct direct *d, const struct mirror *m)
{
	return !d->c->tsc_offset || m->tsc_traps;
}

static bool mirror_ready(struct direct *d, struct mirror *m)
{
	struct err e = { .text = "no memory" };

	if (m->alive)
		return true;
	pages_clear(d, m);
	if (d->exec_fd < 0)
		d->exec_fd = stub_open();
	if (d->exec_fd < 0 || (!d->frames && pages_init(d)) || mirror_start(d, m, &e)) {
		if (++d->starts_failed == START_TRIES)
			log_msg(LOG_WARN, "direct: no user code runs natively: %s", e.text);
		d->off = d->starts_failed >= START_TRIES;
		return false;
	}
	d->starts_failed = 0;
	if (!tsc_fits(d, m)) {
		log_msg(LOG_WARN, "direct: no user code runs natively: this host cannot make RDTSC trap");
		d->off = true;
		return false;
	}
	pin_here(d);
	mirror_pin(m, d->cpu_pinned);
	if (!d->guards && d->guard_tries < GUARD_TRIES) {
		d->guard_tries++;
		d->guards = guard_works(m);
	}
	return true;
}

/* The mirror of the address space in force; NULL: there is none to be had. */
static struct mirror *mirror_of(struct direct *d)
{
	u64 root = d->c->cr3 & ROOT_MASK;
	struct mirror *m = d->mirror, *oldest = m;

	for (; m < d->mirror + MIRRORS; m++) {
		if (m->alive && m->root == root && tsc_fits(d, m))
			break;
		if (m->last_used < oldest->last_used)
			oldest = m;
	}
	if (m == d->mirror + MIRRORS) {
		m = oldest;
		if (m->alive && !tsc_fits(d, m))
			mirror_stop(m); /* made before the guest's TSC went its own way */
		if (!mirror_ready(d, m))
			return NULL;
		pages_clear(d, m);
		m->root = root;
		m->hold_until = 0;
		m->holdoff = 0;
		counter_inc(d->c->counters, CNT_DIRECT_MIRRORS);
	}
	m->last_used = ++d->entries;
	return m;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* What the guest did; nothing that anybody has to know; the mirror is gone, before it was entered, with its registers
 * saved, or without. */
enum stop { STOP_GUEST, STOP_AGAIN, STOP_NOT_IN, STOP_DIED, STOP_LOST };

static unsigned pressing(const struct interp *in)
{
	return atomic_load(&in->cpu->attention) & ~in->ignored;
}

static int byte_at(struct direct *d, u64 lin)
{
	const u8 *p;
	u64 gpa;

	return mmu_probe(d->c, lin, &gpa) && (p = mem_page(d->m, gpa, false)) ? *p : -1;
}

/* The length of the instruction that trapped and that RIP is behind: INT3, INT1, INT 3 or INT 4 by CD; else 0. Another
 * vCPU may have put something else there since, which is executed instead, as if it had been there before. */
static unsigned trap_length(struct direct *d, struct mirror *m, const siginfo_t *si)
{
	u64 rip = m->regs.rip;
	int last = byte_at(d, rip - 1), first = byte_at(d, rip - 2);

	if (si->si_signo == SIGSEGV)
		return first == 0xcd && last == 4 ? 2 : 0;
	if (si->si_code == TRAP_BRKPT)
		return 1;
	if (si->si_code != SI_KERNEL)
		return 0;
	return first == 0xcd && last == 3 ? 2 : 1;
}

/* Whoever is killed stops once more before it is gone (PTRACE_O_TRACEEXIT), with its registers as they were. */
static bool dying(int status)
{
	return status >= 0 && status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
}

static enum stop leave(struct direct *d, struct mirror *m, bool syscall_stop, unsigned back)
{
	if (state_out(d, m, syscall_stop, back))
		return STOP_GUEST;
	return dying(mirror_wait(m, m->tid)) && state_out(d, m, syscall_stop, back) ? STOP_DIED : STOP_LOST;
}

/* It was killed anywhere, perhaps on the way into a system call. */
static enum stop on_death(struct direct *d, struct mirror *m)
{
	bool in_call = ptrace(PTRACE_PEEKUSER, m->tid, offsetof(struct user_regs_struct, orig_rax), NULL) != -1;

	return state_out(d, m, in_call, in_call ? 2 : 0) ? STOP_DIED : STOP_LOST;
}

/* A fault puts RF into the flags that it saves (SDM 3A 6.8.3); the trap of INT 4, which looks like #GP, does not. */
static bool is_trap(struct mirror *m, const siginfo_t *si)
{
	return si->si_signo == SIGSEGV && si->si_code == SI_KERNEL && !(m->regs.eflags & FLAG_RF);
}

static enum stop on_fault(struct direct *d, struct mirror *m, const siginfo_t *si)
{
	u64 rip = m->regs.rip;

	if (si->si_signo == SIGSEGV && (si->si_code == SEGV_MAPERR || si->si_code == SEGV_ACCERR)) {
		u64 start = clock_host_ns();
		bool done = pages_fault(d, m, (u64)(uintptr_t)si->si_addr, rip);

		d->fault_ns += clock_host_ns() - start;
		if (done)
			return guard_covers(m, rip) ? leave(d, m, false, 0) : STOP_AGAIN;
		m->faulted = true;
		m->fault_lin = (u64)(uintptr_t)si->si_addr;
		m->fault_rip = rip;
	}
	counter_inc(d->c->counters, CNT_DIRECT_FAULTS);
	return leave(d, m, false, is_trap(m, si) ? trap_length(d, m, si) : 0);
}

/* The single-step trap of a flag that user code set itself: the instruction behind POPF is done. */
static enum stop on_trap(struct direct *d, struct mirror *m, const siginfo_t *si)
{
	enum stop s = leave(d, m, false, trap_length(d, m, si));

	counter_inc(d->c->counters, si->si_code == TRAP_HWBKPT ? CNT_DIRECT_BREAKS : CNT_DIRECT_FAULTS);
	if (s == STOP_GUEST && si->si_code == TRAP_TRACE) {
		d->c->pending_db |= BIT(14);
		cpu_post(d->c, ATT_EVENTS);
	}
	return s;
}

/* A call through the host's vsyscall page, which the filter stopped halfway: as if it had not been fetched yet. */
static enum stop on_filter(struct direct *d, struct mirror *m, const siginfo_t *si)
{
	enum stop s = leave(d, m, false, 0);

	if (s == STOP_GUEST && (u64)(uintptr_t)si->si_call_addr >> 63) {
		d->c->r[R_RIP] = (u64)(uintptr_t)si->si_call_addr;
		d->c->r[RSP] -= 8;
	}
	return s;
}

static enum stop on_stop(struct direct *d, struct mirror *m, struct interp *in, int status)
{
	siginfo_t si;

	if (status < 0)
		return STOP_LOST;
	if (dying(status))
		return on_death(d, m);
	if (WSTOPSIG(status) == SYSCALL_STOP) {
		counter_inc(d->c->counters, CNT_DIRECT_SYSCALLS);
		return leave(d, m, true, 2);
	}
	if (ptrace(PTRACE_GETSIGINFO, m->tid, NULL, &si) || !regs_get(m))
		return dying(mirror_wait(m, m->tid)) ? on_death(d, m) : STOP_LOST;
	switch (si.si_signo) {
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGILL:
		return on_fault(d, m, &si);
	case SIGTRAP:
		return on_trap(d, m, &si);
	case SIGSYS:
		return on_filter(d, m, &si);
	default:
		if (!pressing(in))
			return STOP_AGAIN;
		counter_inc(d->c->counters, CNT_DIRECT_KICKS);
		return leave(d, m, false, 0);
	}
}

/* The thread goes on until it stops: waitpid's status, or -1 if it is gone, or ENTRY_BARRED: it was not let. Whoever
 * wants guest code to stand still first says why (attention, drop_some) and looks for `inside` then. */
#define ENTRY_BARRED (-2)
static int go_on(struct direct *d, struct mirror *m, const struct interp *in)
{
	int status = ENTRY_BARRED;

	atomic_store(&d->inside, (u64)(u32)m->pid << 32 | (u32)m->tid);
	if (!pressing(in) && !atomic_load(&d->drop_some) && !atomic_load(&d->drop_all)) {
		m->regs_known = false;
		status = guard_load(m) || ptrace(PTRACE_SYSEMU, m->tid, NULL, NULL) ? ENTRY_BARRED
										    : mirror_wait(m, m->tid);
	}
	atomic_store(&d->inside, 0);
	atomic_fetch_add(&d->outs, 1);
	return status;
}

/* The mirror runs until something of the guest's stops it. */
static enum stop stay(struct direct *d, struct mirror *m, struct interp *in)
{
	bool first = true;
	enum stop s;

	if (!state_in(d, m))
		return STOP_NOT_IN;
	do {
		int status = go_on(d, m, in);

		if (status == ENTRY_BARRED)
			return leave(d, m, false, 0); /* as it went in, or as the last fault left it */
		s = status < 0 && first ? STOP_NOT_IN
					: on_stop(d, m, in, status); /* it was dying before: nothing ran */
		first = false;
	} while (s == STOP_AGAIN);
	return s;
}

/* Its registers died with it, and guest code has run since they were put in. */
static bool lost(struct direct *d, struct mirror *m)
{
	log_msg(LOG_WARN, "direct: the process that ran guest code has died, and the guest's registers with it");
	mirror_stop(m);
	pages_clear(d, m);
	d->failed = true;
	cpu_post(d->c, ATT_KICK);
	return true;
}

/* A space whose code keeps coming to refused frames pays two hand-offs each time: the oftener in a row, the longer
 * translate has it. A stay of any length ends the row. */
static void hold_off(struct direct *d, struct mirror *m, u64 ns)
{
	if (ns > GOOD_STAY_NS) {
		m->holdoff = 0;
		return;
	}
	if (!pages_refused(m, d->c->r[R_RIP]))
		return;
	m->hold_until = d->c->icount + (HOLD_INSNS << m->holdoff);
	m->holdoff = MIN(m->holdoff + 1, MAX_HOLDOFF);
}

/* From any thread. */
static void interrupt(struct direct *d)
{
	u64 who = atomic_load(&d->inside);

	if (who)
		syscall(SYS_tgkill, (pid_t)(who >> 32), (pid_t)who, KICK_SIGNAL);
}

/* Until guest code is out of the mirror that has been told to leave. Its vCPU may hold no lock that the caller waits
 * with; while it runs guest code it holds none. */
static void wait_outside(struct direct *d)
{
	u64 outs = atomic_load(&d->outs);

	interrupt(d);
	while (atomic_load(&d->inside) && atomic_load(&d->outs) == outs)
		sched_yield();
}

static void drop_all(struct direct *d)
{
	atomic_store(&d->drop_all, true);
	atomic_store(&d->drop_some, true);
	interrupt(d);
}

/* Its space is for translate from now on; nothing of the guest's is lost. */
static bool died(struct direct *d, struct mirror *m)
{
	log_msg(LOG_INFO, "direct: a process that ran guest code was killed");
	counter_inc(d->c->counters, CNT_DIRECT_DIED);
	mirror_stop(m);
	pages_clear(d, m);
	promote_forget(d);
	return true;
}

/* Is there anything to be done natively? */
static bool wanted(struct direct *d, struct interp *in)
{
	if (d->c->icount >= in->native_look) {
		promote_look(d);
		in->native_look = promote_next_look(d);
	}
	if (d->off || d->c->d.cpl != 3)
		return false;
	if (promote_hot(d)) {
		in->native_cold = ~0ull;
		return true;
	}
	in->native_cold = d->c->cr3;
	return false;
}

/* Most faults of the guest's are followed by the same instruction. */
static bool resolved(struct direct *d, struct mirror *m)
{
	bool again = m->faulted && m->fault_rip == d->c->r[R_RIP];

	m->faulted = false;
	return !again || pages_after_fault(d, m, m->fault_lin, m->fault_rip);
}

static bool direct_native(struct interp *in)
{
	struct direct *d = of(in);
	struct cpu *c = d->c;
	struct mirror *m;
	enum stop s;
	u64 start, ns;

	if (!wanted(d, in))
		return false;
	if (!tier_ok(d)) {
		counter_inc(c->counters, CNT_DIRECT_UNFIT);
		return false;
	}
	m = mirror_of(d);
	if (m && unlikely(d->vouched != tier_vouched(d))) {
		d->vouched = tier_vouched(d);
		drop_all(d);
	}
	if (!m || c->icount < m->hold_until || !pages_sync(d, m))
		return false;
	if (m->replaced) {
		m->replaced = false;
		if (!d->always) {
			counter_inc(c->counters, CNT_DIRECT_REPLACED);
			promote_forget(d);
			return false;
		}
	}
	if (pages_refused(m, c->r[R_RIP])) {
		counter_inc(c->counters, CNT_DIRECT_ASIDE);
		return false;
	}
	d->fault_ns = 0;
	start = clock_host_ns();
	if (!resolved(d, m))
		return false;
	s = stay(d, m, in);
	counter_inc(c->counters, CNT_DIRECT_ENTRIES);
	ns = clock_host_ns() - start;
	counter_add(c->counters, CNT_DIRECT_NS, ns);
	interp_count_unretired(in);
	if (s == STOP_LOST)
		return lost(d, m);
	if (s == STOP_DIED || s == STOP_NOT_IN)
		return died(d, m);
	promote_stayed(d, m, ns, d->fault_ns);
	settle_down(d);
	hold_off(d, m, ns);
	return pressing(in);
}

/* ---- listeners -------------------------------------------------------------------------------------------------- */

/* What is about to be written has not been scanned: nothing of it may run. By the vCPU itself, another, or a device. */
static void code_write(void *opaque, u64 gpa, unsigned len)
{
	(void)len;
	if (pages_drop_frame(opaque, gpa))
		wait_outside(opaque);
}

/* Who takes the frame as code waits for safepoints, or stops all vCPUs; either comes when this one is out. */
static void revoke_maps(void *opaque, u64 gpa)
{
	if (pages_drop_frame(opaque, gpa))
		interrupt(opaque);
}

/* The reason first, then the signal. */
static void want_safepoint(void *opaque)
{
	struct direct *d = opaque;

	blocks_want_safepoint(d->in);
	interrupt(d);
}

static void map_changed(void *opaque)
{
	drop_all(opaque);
}

/* Nothing runs. Every writable mapping was told to the log when it was made. */
static void dirty_log(void *opaque, enum mem_dirty_step step)
{
	if (step != MEM_DIRTY_END)
		drop_all(opaque);
}

/* ---- the contract ----------------------------------------------------------------------------------------------- */

static int direct_probe(struct err *e)
{
	struct direct *d = calloc(1, sizeof(*d));
	struct mem *m = mem_new(e);
	int bad = -1;

	if (!d || !m)
		goto out;
	d->m = m;
	d->exec_fd = stub_open();
	if (!xstate_layout(&d->x))
		err_set(e, "direct: this host's XSAVE state is not what the engine knows");
	else if (d->exec_fd < 0)
		err_set(e, "direct: no file in memory can be made");
	else
		bad = mirror_start(d, &d->mirror[0], e);
	if (!bad)
		mirror_stop(&d->mirror[0]);
	if (d->exec_fd >= 0)
		close(d->exec_fd);
out:
	mem_free(m);
	free(d);
	return bad;
}

static int direct_attach(struct cpu *c, struct mem *m, struct err *e)
{
	struct direct *d = calloc(1, sizeof(*d));
	struct interp *in;

	if (!d)
		return err_set(e, "no memory for the engine direct");
	d->c = c;
	d->m = m;
	d->cpu_pinned = -1;
	d->exec_fd = d->cpu_claim = -1;
	if (!xstate_layout(&d->x)) {
		free(d);
		return err_set(e, "direct: this host's XSAVE state is not what the engine knows");
	}
	if (engine_translate.attach(c, m, e)) {
		free(d);
		return -1;
	}
	d->cpu_claim = claim_socket(c->index);
	pthread_mutex_init(&d->lock, NULL);
	tier_probe(d);
	d->listener = (struct mem_listener){ .code_write = code_write,
					     .revoke_maps = revoke_maps,
					     .want_safepoint = want_safepoint,
					     .map_changed = map_changed,
					     .dirty_log = dirty_log,
					     .opaque = d };
	mem_add_listener(m, &d->listener);
	d->always = c->engine_options && !(c->engine_options->opts & BIT(OPT_PROMOTE));
	in = c->engine;
	in->native_cold = ~0ull;
	in->native_opaque = d;
	in->native = direct_native;
	d->in = in;
	return 0;
}

static void direct_detach(struct cpu *c)
{
	struct direct *d;

	if (!c->engine)
		return;
	d = of(c->engine);
	mem_remove_listener(d->m, &d->listener);
	pages_free(d);
	for (unsigned k = 0; k < MIRRORS; k++)
		mirror_stop(&d->mirror[k]);
	if (d->exec_fd >= 0)
		close(d->exec_fd);
	if (d->cpu_claim >= 0)
		close(d->cpu_claim);
	engine_translate.detach(c);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static enum engine_exit direct_run(struct cpu *c, u64 budget)
{
	struct direct *d = of(c->engine);
	enum engine_exit why;

	d->look_ns = clock_host_ns();
	why = engine_translate.run(c, budget);
	return unlikely(d->failed) ? EXIT_FATAL : why;
}

/* From any thread, also while the vCPU changes engines: the state that it finds may be the other one's. */
static void direct_kick(struct cpu *c)
{
	struct interp *in = c->engine;

	if (in && in->native == direct_native)
		interrupt(of(in));
}

static void direct_invalidate(struct cpu *c, enum tlb_scope_engine scope, u64 gpa)
{
	struct direct *d = of(c->engine);

	engine_translate.invalidate(c, scope, gpa);
	if (scope == INVALIDATE_PAGE)
		pages_drop_frame(d, gpa);
	else
		drop_all(d);
}

static void direct_report(const void *state, engine_report_fn *fn, void *opaque)
{
	engine_translate.report(state, fn, opaque);
}

static unsigned direct_audit(struct cpu *c)
{
	return engine_translate.audit(c);
}

const struct engine_ops engine_direct = {
	.name = "direct",
	.uncounted = true,
	.host = ENGINE_HOST_PROCESSES,
	.probe = direct_probe,
	.attach = direct_attach,
	.run = direct_run,
	.kick = direct_kick,
	.invalidate = direct_invalidate,
	.detach = direct_detach,
	.report = direct_report,
	.audit = direct_audit,
};
