/* SPDX-License-Identifier: Apache-2.0
 * run(): in and out of the guest, attention, and interrupts from the chips that are ours.
 *
 * Kicks. The signal is blocked except inside KVM_RUN. The vCPU sets in_run and then looks at its attention bits once
 * more; a poster sets bits and then looks at in_run. One of the two sees the other, and a signal that comes before
 * KVM_RUN has begun waits, and ends it at once.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cpu/event.h"
#include "cpu/lapic.h"
#include "engine/kvm/kvm.h"
#include "mmu/mmu.h"

#define BUDGET_NS_MIN 50000ull /* a shorter one is not worth the way in and out */

static const struct timespec at_once = { 0 };

void kvm_kick(struct cpu *c)
{
	struct kvm_vcpu *v = kvm_vcpu_of(c);
	pid_t tid = v ? atomic_load(&v->in_run) : 0;

	if (tid)
		tgkill(getpid(), tid, KVM_KICK_SIGNAL);
}

static void block_kicks(sigset_t *kick)
{
	sigemptyset(kick);
	sigaddset(kick, KVM_KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, kick, NULL);
}

static void take_kicks(void)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KVM_KICK_SIGNAL);
	while (sigtimedwait(&kick, NULL, &at_once) > 0)
		;
}

/* A signal that is there before KVM_RUN has it deal with events and come back without running guest code. Twice,
 * because a vCPU that was halted only wakes up at first. */
int kvm_nudge(struct kvm_vcpu *v)
{
	sigset_t kick, old;
	int ret = 0;

	sigemptyset(&kick);
	sigaddset(&kick, KVM_KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, &old); /* whoever settles may be another thread */
	for (unsigned k = 0; k < 2 && !ret; k++) {
		tgkill(getpid(), gettid(), KVM_KICK_SIGNAL);
		ret = !ioctl(v->fd, KVM_RUN, 0) || errno != EINTR ? -1 : 0;
		take_kicks();
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	v->handed = false;
	return ret;
}

/* ---- budget: instructions are not counted, so a nanosecond stands for one --------------------------------------- */

static int arm(struct kvm_vcpu *v, u64 ns)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KVM_KICK_SIGNAL };
	struct itimerspec when = { 0 };

	ns = MIN(MAX(ns, BUDGET_NS_MIN), 1000 * NS_PER_SEC);
	when.it_value = (struct timespec){ (time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC) };
	ev._sigev_un._tid = gettid();
	if (!v->has_timer && timer_create(CLOCK_MONOTONIC, &ev, &v->timer))
		return -1;
	v->has_timer = true;
	return timer_settime(v->timer, 0, &when, NULL);
}

static bool budget_over(struct kvm_vcpu *v)
{
	struct itimerspec left;

	return timer_gettime(v->timer, &left) || (!left.it_value.tv_sec && !left.it_value.tv_nsec);
}

static void disarm(struct kvm_vcpu *v)
{
	if (v->has_timer)
		timer_delete(v->timer);
	v->has_timer = false;
}

/* ---- the debugger ------------------------------------------------------------------------------------------------
 */

static u64 linear_pc(const struct cpu *c)
{
	return (c->d.ebase[SEG_CS] + c->r[R_RIP]) & c->d.lin_mask;
}

/* With complete state: true when run() is over. A step is the interpreter's, and so is the way over a breakpoint that
 * was told already. */
static bool debugger_first(struct kvm_vcpu *v)
{
	const struct debug_wishes *w = v->cpu->wishes;
	u64 pc = linear_pc(v->cpu), told = v->debug_rip;
	bool here = false;

	v->debug_rip = ~0ull;
	for (unsigned k = 0; w && k < w->n && k < ARRAY_SIZE(w->addr); k++)
		here |= w->addr[k] == pc;
	if (!w || v->cpu->activity != ACT_RUNNING)
		return false;
	v->why = EXIT_DEBUG;
	if (here && told != pc) {
		v->debug_rip = pc;
		return true;
	}
	if (!w->step && !here)
		return false;
	if (kvm_interpret(v, 1))
		v->why = EXIT_FATAL;
	else if (!w->step)
		return false;
	pc = linear_pc(v->cpu);
	for (unsigned k = 0; k < w->n && k < ARRAY_SIZE(w->addr); k++)
		if (w->addr[k] == pc)
			v->debug_rip = pc; /* told with this step */
	return true;
}

static bool fatal(struct kvm_vcpu *v, const char *what)
{
	log_msg(LOG_ERROR, "vCPU %u: KVM %s: %s", v->cpu->index, what, strerror(errno));
	v->why = EXIT_FATAL;
	return false;
}

int kvm_set_debug(struct kvm_vcpu *v)
{
	const struct debug_wishes *w = v->cpu->wishes;
	struct kvm_guest_debug d = { 0 };

	if (!v->debugging && (!w || !w->n))
		return 0;
	v->debugging = w && w->n;
	if (v->debugging && w->n <= 4) {
		d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
		d.arch.debugreg[7] = 0x600;
		for (unsigned k = 0; k < w->n; k++) {
			d.arch.debugreg[k] = w->addr[k];
			d.arch.debugreg[7] |= 2ull << (2 * k);
		}
	} else if (v->debugging) {
		d.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	}
	if (!ioctl(v->fd, KVM_SET_GUEST_DEBUG, &d))
		return 0;
	fatal(v, "takes no breakpoints");
	return -1;
}

/* ---- interrupts --------------------------------------------------------------------------------------------------
 */

/* Is there one that must go in by hand: the 8259's, or with all chips ours any. */
static bool interrupt_waits(struct kvm_vcpu *v, unsigned att)
{
	if (v->m->user_apic)
		return ((att & ATT_EXTINT) && lapic_accepts_extint(v->cpu)) || lapic_pending_vector(v->cpu) >= 0;
	return att & ATT_EXTINT;
}

/* KVM says at each exit whether it could take one; asked right behind an import it has not said yet. */
static int refresh_window(struct kvm_vcpu *v)
{
	int ret;

	if (v->window_known)
		return 0;
	v->run->immediate_exit = 1;
	ret = ioctl(v->fd, KVM_RUN, 0);
	v->run->immediate_exit = 0;
	v->window_known = true;
	return ret && errno == EINTR ? 0 : -1;
}

static int inject(struct kvm_vcpu *v, unsigned att)
{
	struct cpu *c = v->cpu;
	struct kvm_interrupt irq;

	v->run->request_interrupt_window = 0;
	if (!interrupt_waits(v, att))
		return 0;
	if (v->unfinished ? kvm_finish(v) : refresh_window(v))
		return -1;
	if (!v->run->ready_for_interrupt_injection) {
		v->run->request_interrupt_window = 1;
		return 0;
	}
	if ((att & ATT_EXTINT) && (!v->m->user_apic || lapic_accepts_extint(c)))
		irq.irq = c->ops->ack_extint(c);
	else
		irq.irq = lapic_ack(c);
	if (ioctl(v->fd, KVM_INTERRUPT, &irq))
		return -1;
	c->activity = ACT_RUNNING;
	counter_inc(c->counters, CNT_INTERRUPTS);
	v->handed = !v->m->user_apic;
	v->run->ready_for_interrupt_injection = 0;
	v->run->request_interrupt_window = interrupt_waits(v, atomic_load(&c->attention));
	return 0;
}

static int inject_nmi(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;
	unsigned att = atomic_fetch_and(&c->attention, ~(unsigned)(ATT_NMI | ATT_NMI2));

	if (kvm_finish(v))
		return -1;
	for (unsigned bit = ATT_NMI; bit; bit = bit == ATT_NMI ? ATT_NMI2 : 0)
		if ((att & bit) && ioctl(v->fd, KVM_NMI, 0))
			return -1;
	if (v->m->user_apic)
		c->activity = ACT_RUNNING;
	counter_inc(c->counters, CNT_NMIS);
	return 0;
}

bool kvm_reenter(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;

	v->complete = true;
	v->why = EXIT_FATAL;
	if (kvm_resolve(v))
		return false;
	v->why = EXIT_KICK; /* kvm_resolve() left it for the next run() */
	if (atomic_load(&c->attention) & ATT_KICK)
		return false;
	v->why = EXIT_SHUTDOWN;
	if (c->activity == ACT_SHUTDOWN)
		return false;
	if (v->m->user_apic && c->activity != ACT_RUNNING) {
		mmu_reset(c);
		v->why = EXIT_HALT;
		if (!event_poll(c) || c->activity != ACT_RUNNING)
			return false;
	}
	v->why = EXIT_FATAL;
	v->complete = kvm_import(v) != 0;
	return !v->complete;
}

/* What is the interpreter's, on complete state: INIT and SIPI that were posted here, code while A20 is off. */
static bool take_aside(struct kvm_vcpu *v)
{
	return kvm_export(v) ? fatal(v, "does not show its state") : kvm_reenter(v);
}

/* ---- attention ---------------------------------------------------------------------------------------------------
 */

static int fold_apic(struct kvm_vcpu *v, unsigned att)
{
	if (!v->m->user_apic)
		kvm_forward_kick(v); /* of a vCPU that the interpreter has for a moment */
	if (!(att & (ATT_APIC | ATT_TIMER)))
		return 0;
	atomic_fetch_and(&v->cpu->attention, ~(unsigned)(ATT_APIC | ATT_TIMER));
	if (v->m->user_apic)
		lapic_sync(v->cpu);
	else
		kvm_forward_posted(v);
	return 0;
}

/* False: run() is over. *seen is what has been dealt with. */
static bool attend(struct kvm_vcpu *v, unsigned *seen)
{
	struct cpu *c = v->cpu;
	unsigned att = atomic_fetch_and(&c->attention, ~(unsigned)(ATT_EVENTS | ATT_EXCL));

	if (att & ATT_KICK) {
		atomic_fetch_and(&c->attention, ~(unsigned)ATT_KICK);
		counter_inc(c->counters, CNT_KICKS);
		v->why = EXIT_KICK;
		return false;
	}
	if ((att & (ATT_INIT | ATT_SIPI)) && !take_aside(v))
		return false;
	if (!mem_get_a20(v->m->mem) && c->activity == ACT_RUNNING && !take_aside(v))
		return false;
	fold_apic(v, att);
	if ((att & (ATT_NMI | ATT_NMI2)) && inject_nmi(v))
		return fatal(v, "does not take an NMI");
	if (inject(v, att))
		return fatal(v, "does not take an interrupt");
	if (c->activity != ACT_RUNNING && v->m->user_apic) {
		v->why = c->activity == ACT_SHUTDOWN ? EXIT_SHUTDOWN : EXIT_HALT;
		return false;
	}
	*seen = atomic_load(&c->attention) & (ATT_EXTINT | ATT_NMI | ATT_NMI2);
	return true;
}

/* ---- in and out --------------------------------------------------------------------------------------------------
 */

static int enter(struct kvm_vcpu *v, unsigned seen)
{
	struct cpu *c = v->cpu;
	int ret = 0;

	if (v->m->user_apic)
		v->run->cr8 = c->lapic.tpr >> 4 & 15;
	atomic_store(&v->in_run, v->tid);
	if ((atomic_load(&c->attention) & ~seen) == 0) {
		v->unfinished = false;
		ret = ioctl(v->fd, KVM_RUN, 0);
		v->window_known = true;
		v->handed = v->handed && ret;
		if (ret)
			v->run->exit_reason = KVM_EXIT_INTR;
	} else {
		ret = -1;
		errno = 0;
	}
	atomic_store(&v->in_run, 0);
	if (v->m->user_apic && v->run->cr8 != (c->lapic.tpr >> 4 & 15))
		c->lapic.tpr = (u32)(v->run->cr8 & 15) << 4;
	return ret;
}

/* False: run() is over. */
static bool once(struct kvm_vcpu *v, bool limited)
{
	unsigned seen = 0;

	if (!attend(v, &seen))
		return false;
	if (!enter(v, seen))
		return kvm_exit(v);
	if (!errno)
		return true;
	if (errno != EINTR && errno != EAGAIN)
		return fatal(v, "does not run");
	take_kicks();
	kvm_exit(v);
	if (limited && budget_over(v)) {
		v->why = EXIT_BUDGET;
		return false;
	}
	return true;
}

/* Puts the state into KVM; false: run() is over before that, and struct cpu is complete. */
static bool begin(struct kvm_vcpu *v)
{
	struct cpu *c = v->cpu;

	if (atomic_load(&c->attention) & ATT_KICK) {
		atomic_fetch_and(&c->attention, ~(unsigned)ATT_KICK);
		counter_inc(c->counters, CNT_KICKS);
		v->why = EXIT_KICK;
		return false;
	}
	if (c->wishes && debugger_first(v))
		return false;
	if (!kvm_reenter(v))
		return false;
	return !kvm_set_debug(v);
}

enum engine_exit kvm_run_loop(struct cpu *c, u64 budget)
{
	struct kvm_vcpu *v = c->engine;
	sigset_t kick;

	block_kicks(&kick);
	v->tid = gettid();
	if (!begin(v))
		return v->why;
	if (budget && arm(v, budget))
		fatal(v, "gets no timer");
	else
		while (once(v, budget != 0))
			;
	disarm(v);
	take_kicks();
	if (v->why != EXIT_FATAL && !v->complete && kvm_export(v))
		v->why = EXIT_FATAL;
	if (v->why == EXIT_SHUTDOWN)
		c->activity = ACT_SHUTDOWN;
	return v->why;
}
