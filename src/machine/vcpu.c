/* SPDX-License-Identifier: Apache-2.0
 * A vCPU's thread: run, sleep when halted, stand still when somebody needs the others to.
 *
 * Sleeping. The sleeper sets `asleep`; then, each time, it reads `wakes`, looks at what is posted, and waits for that
 * very value of `wakes` to change. A poster posts first, then looks at `asleep`, and counts `wakes` up. One of the two
 * sees the other (all sequentially consistent), so no wake-up is lost. attention could not be that word: a look takes
 * bits out of it, and the next post may bring back the very value that the sleeper saw (docs/smp.md,
 * tests/model/sleep.pml).
 *
 * Standing still. A thread is `running` from vcpu_enter() to vcpu_leave(). Whoever wants the others still forbids entry
 * (hold, exclusive), posts ATT_KICK, and waits until nobody is running. A sleeper is `resting`: it runs no guest code,
 * so exclusive execution leaves it alone, but it looks at its own APIC, so a hold waits for it too.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/event.h"
#include "cpu/fields.h"
#include "cpu/lapic.h"
#include "cpu/msr.h"
#include "machine/vm.h"
#include "mmu/mmu.h"

#define STEAL_EVERY_NS 4000000
enum { KVM_PREEMPTED = 1, KVM_FLUSH_TLB = 2 };

enum {
	SPIN_INSNS = 1024, /* fewer instructions for 32 times PAUSE are a loop that waits */
	SPINS_ALONE = 4,   /* nothing is done so often */
	SPINS_YIELD = 8,   /* crowded: the scheduler is asked until then */
	SPINS_APART = 16,  /* not crowded: it is asked every so many times */
	DOZE_NS = 25000,
	DOZE_LONGEST = 5 /* DOZE_NS << 5: 0.8 ms */
};

#define POLL_NS 20000 /* a halted vCPU looks about for this long: less than a wake-up costs */

/* ---- engines ------------------------------------------------------------------------------------------------------
 */

static u64 turn_of(const struct vcpu *v)
{
	return v->engine->timed ? v->vm->cfg.switch_ns : v->vm->cfg.switch_every;
}

static void change_engine(struct vcpu *v)
{
	const struct vm_config *cfg = &v->vm->cfg;
	void *state = v->cpu->engine;

	v->cpu->engine = v->other_engine;
	v->other_engine = state;
	v->engine = v->engine == cfg->engine ? cfg->other_engine : cfg->engine;
}

/* An engine that writes to memory unseen by others has all vCPUs or none. Own thread, in its turn: all others stand
 * still and change with it; those that sleep wake up in the new engine. */
static void change_all(struct vcpu *v)
{
	struct vm *vm = v->vm;
	const struct engine_ops *from = v->engine;

	vcpu_exclusive_begin(v);
	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->nr_vcpus && v->engine == from; i++)
		if (from->settle)
			from->settle(vm->vcpu[i]->cpu);
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *w = vm->vcpu[i];

		if (w->engine != from) /* another vCPU was first */
			break;
		change_engine(w);
		mmu_reset(w->cpu);
		w->engine->invalidate(w->cpu, INVALIDATE_ALL, 0);
		w->switch_left = turn_of(w);
		vcpu_post(w, ATT_KICK);
	}
	pthread_mutex_unlock(&vm->lock);
	vcpu_exclusive_end(v);
	vcpu_publish_deadline(v);
}

static int attach_engines(struct vcpu *v, struct err *e)
{
	const struct vm_config *cfg = &v->vm->cfg;

	v->engine = cfg->engine;
	v->switch_left = turn_of(v);
	if (v->engine->attach(v->cpu, v->vm->mem, e))
		return -1;
	v->first_state = v->cpu->engine;
	if (!cfg->other_engine)
		return 0;
	change_engine(v);
	if (!v->engine->attach(v->cpu, v->vm->mem, e)) {
		change_engine(v);
		return 0;
	}
	change_engine(v);
	v->engine->detach(v->cpu);
	return -1;
}

static void detach_engines(struct vcpu *v)
{
	v->engine->detach(v->cpu);
	if (!v->vm->cfg.other_engine)
		return;
	change_engine(v);
	v->engine->detach(v->cpu);
}

void vcpu_invalidate_all(struct vcpu *v)
{
	v->engine->invalidate(v->cpu, INVALIDATE_ALL, 0);
	if (!v->vm->cfg.other_engine)
		return;
	change_engine(v);
	v->engine->invalidate(v->cpu, INVALIDATE_ALL, 0);
	change_engine(v);
}

static unsigned audit_one(const struct vcpu *v)
{
	return v->engine->audit ? v->engine->audit(v->cpu) : 0;
}

unsigned vcpu_audit(struct vcpu *v)
{
	unsigned wrong = audit_one(v);

	if (!v->vm->cfg.other_engine)
		return wrong;
	change_engine(v);
	wrong += audit_one(v);
	change_engine(v);
	return wrong;
}

void vcpu_report(const struct vcpu *v, engine_report_fn *fn, void *opaque)
{
	const struct engine_ops *engine = v->vm->cfg.engine;

	if (engine->report)
		engine->report(v->first_state, fn, opaque);
}

/* What a run came to, in what the engine counts. */
static u64 progress(const struct vcpu *v)
{
	return v->engine->timed ? clock_host_ns() : v->cpu->icount + v->cpu->unretired;
}

enum engine_exit vcpu_run(struct vcpu *v, u64 budget)
{
	struct cpu *c = v->cpu;
	enum engine_exit why;

	if (!v->vm->cfg.other_engine)
		return v->engine->run(c, budget);
	for (u64 left = budget ? budget : ~0ull;;) {
		u64 before = progress(v), used;

		why = v->engine->run(c, MIN(left, v->switch_left));
		used = progress(v) - before;
		left -= MIN(used, left);
		v->switch_left -= MIN(used, v->switch_left);
		if (!v->switch_left) {
			if (v->vm->engine_machine)
				change_all(v);
			else
				change_engine(v);
			counter_inc(&v->counters, CNT_ENGINE_SWITCHES);
			v->switch_left = turn_of(v);
		}
		if (why != EXIT_BUDGET || !left)
			return why;
	}
}

/* ---- life cycle ---------------------------------------------------------------------------------------------------
 */

struct vcpu *vcpu_new(struct vm *vm, unsigned index, struct err *e)
{
	struct vcpu *v = calloc(1, sizeof(*v));

	if (v)
		v->cpu = cpu_new(index, vm->model, &vm->ops);
	if (!v || !v->cpu) {
		free(v);
		err_set(e, "out of memory for vCPU %u", index);
		return NULL;
	}
	v->cpu->free_running = !vm->cfg.deterministic;
	v->vm = vm;
	v->schedstat = -1;
	v->cpu->vm = v;
	v->cpu->counters = &v->counters;
	v->cpu->trace = vm->cfg.trace_mask;
	v->cpu->engine_options = &vm->cfg.engine_options;
	v->cpu->engine_machine = vm->engine_machine;
	atomic_store(&v->deadline_ns, CLOCK_NEVER);
	v->mmu = mmu_new(v->cpu, vm->mem);
	if (!v->mmu) {
		err_set(e, "out of memory for the MMU of vCPU %u", index);
		goto fail;
	}
	if (attach_engines(v, e)) {
		mmu_free(v->mmu);
		goto fail;
	}
	vcpu_reset(v);
	if (vm->engine_machine)
		vcpu_invalidate_all(v);
	return v;
fail:
	cpu_free(v->cpu);
	free(v);
	return NULL;
}

/* What firmware leaves in the MTRRs: memory write-back, the display window and everything from the PCI windows up to
 * 4 GiB uncached, the BIOS's range write-protected (SDM 3A 12.11). */
static void firmware_mtrrs(struct cpu *c)
{
	static const u64 write_back = 0x0606060606060606, write_protect = 0x0505050505050505;

	c->mtrr_def_type = BIT(11) | BIT(10) | 6;
	c->mtrr_physbase[0] = 0xc0000000;
	c->mtrr_physmask[0] = ((BIT(c->model->phys_bits) - 1) & ~0x3fffffffull) | BIT(11);
	for (unsigned i = 0; i < ARRAY_SIZE(c->mtrr_fixed); i++)
		c->mtrr_fixed[i] = i < 2 ? write_back : i == 2 ? 0 : write_protect;
}

void vcpu_reset(struct vcpu *v)
{
	cpu_reset(v->cpu, false);
	if (!v->vm->cfg.boot.firmware)
		firmware_mtrrs(v->cpu);
	mmu_reset(v->cpu);
}

void vcpu_free(struct vcpu *v)
{
	if (!v)
		return;
	detach_engines(v);
	mmu_free(v->mmu);
	cpu_free(v->cpu);
	free(v);
}

/* ---- steal time ------------------------------------------------------------------------------------------------- */

/* /proc/self/task/TID/schedstat: time on a CPU, time spent waiting for one, and turns. */
static void steal_open(struct vcpu *v)
{
	char name[40];

	snprintf(name, sizeof(name), "%d/schedstat", (int)gettid());
	v->schedstat = v->vm->tasks < 0 ? -1 : openat(v->vm->tasks, name, O_RDONLY | O_CLOEXEC);
}

static void steal_close(struct vcpu *v)
{
	if (v->schedstat >= 0)
		close(v->schedstat);
}

void vcpu_tell_steal(struct vcpu *v)
{
	unsigned long long ran, waited;
	char text[64];
	ssize_t n;
	u64 now;

	if (!(v->cpu->kvm_steal_time & 1) || v->schedstat < 0)
		return;
	now = clock_ns(&v->vm->clock);
	if (now - v->steal_looked < STEAL_EVERY_NS)
		return;
	v->steal_looked = now;
	n = pread(v->schedstat, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return;
	text[n] = 0;
	if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
		return;
	if (waited > v->steal_seen)
		kvm_steal_add(v->cpu, waited - v->steal_seen);
	v->steal_seen = waited;
}

/* Writes the page's `preempted` byte; what stood there. Other vCPUs set its bit 1 instead of sending an IPI. */
static u8 preempted_swap(struct vcpu *v, u8 val)
{
	u64 gpa = kvm_preempted_gpa(v->cpu);
	u8 *p = gpa ? mem_page(v->vm->mem, gpa, true) : NULL, old;

	if (!p)
		return 0;
	mem_before_write(v->vm->mem, gpa, 1);
	old = __atomic_exchange_n(p, val, __ATOMIC_SEQ_CST);
	mem_before_write(v->vm->mem, gpa, 1);
	return old;
}

/* ---- attention -------------------------------------------------------------------------------------------------- */

static void futex_wake_one(atomic_uint *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until *word is no longer val, or the host's monotonic clock passes deadline. */
static void futex_wait_until(atomic_uint *word, unsigned val, u64 deadline)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline / NS_PER_SEC), .tv_nsec = (long)(deadline % NS_PER_SEC) };

	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, val, deadline == CLOCK_NEVER ? NULL : &ts, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

/* Whose turn it is may change at this moment. */
static void kick_engines(struct vcpu *v)
{
	const struct vm_config *cfg = &v->vm->cfg;

	cfg->engine->kick(v->cpu);
	if (cfg->other_engine)
		cfg->other_engine->kick(v->cpu);
}

void vcpu_post(struct vcpu *v, unsigned att)
{
	cpu_post(v->cpu, att);
	if (atomic_load(&v->asleep)) {
		atomic_fetch_add(&v->wakes, 1);
		futex_wake_one(&v->wakes);
	} else {
		kick_engines(v);
	}
}

void vcpu_publish_deadline(struct vcpu *v)
{
	u64 deadline = lapic_next_deadline(v->cpu);

	if (v->vm->cfg.deterministic)
		return;
	atomic_store(&v->deadline_ns, deadline);
	if (deadline < atomic_load(&v->vm->sleep_until))
		loop_wake(v->vm->loop);
}

static bool vcpu_has_work(const struct vcpu *v, unsigned att)
{
	return (att & (ATT_KICK | ATT_EXCL)) || event_deliverable(v->cpu);
}

/* Own thread, nothing deliverable: until attention changes or the APIC timer is due. */
static void vcpu_sleep(struct vcpu *v)
{
	u64 began = clock_ns(&v->vm->clock), deadline = lapic_next_deadline(v->cpu), now = began;
	unsigned att = atomic_load(&v->cpu->attention);

	while (now < deadline && now - began < POLL_NS && !vcpu_has_work(v, att)) {
		for (unsigned i = 0; i < 16; i++)
			__builtin_ia32_pause();
		att = atomic_load(&v->cpu->attention);
		now = clock_ns(&v->vm->clock);
	}
	preempted_swap(v, KVM_PREEMPTED);
	atomic_store(&v->asleep, true);
	for (;;) {
		unsigned wakes = atomic_load(&v->wakes);

		att = atomic_load(&v->cpu->attention);
		now = clock_ns(&v->vm->clock);
		if (now >= deadline || vcpu_has_work(v, att) || atomic_load(&v->vm->ended))
			break;
		/* A guest may name a deadline past the end of the host's clock. base_ns may have wrapped (clock_set).
		 */
		futex_wait_until(&v->wakes, wakes,
				 deadline - now >= CLOCK_NEVER / 4 ? CLOCK_NEVER : v->vm->clock.base_ns + deadline);
	}
	atomic_store(&v->asleep, false);
	if (now >= deadline)
		cpu_post(v->cpu, ATT_TIMER);
	counter_add(&v->counters, CNT_HALT_NS, now - began);
}

/* ---- waiting in a loop --------------------------------------------------------------------------------------------
 *
 * A vCPU that spins keeps the host's CPU from the one it waits for. PAUSE tells (every 32nd gets here): at first
 * nothing is done, since what it waits for is most often near; then the host's scheduler is asked (now and then, where
 * the awaited one should have a CPU of its own); and where there are more vCPUs than CPUs the thread sleeps, each time
 * longer, up to about as long as the loop has lasted.
 */

bool vcpu_should_doze(struct vcpu *v)
{
	u64 now = v->cpu->icount;

	if (now - v->spin_icount > SPIN_INSNS)
		v->spins = 0;
	v->spin_icount = now;
	if (++v->spins <= SPINS_ALONE)
		return false;
	if (!v->vm->crowded) {
		if (v->spins % SPINS_APART == 0)
			sched_yield();
		return false;
	}
	if (v->spins <= SPINS_YIELD) {
		sched_yield();
		return false;
	}
	v->doze = true;
	return true;
}

/* Own thread, not running. A post ends it; the APIC's state is not looked at. */
static void vcpu_doze(struct vcpu *v)
{
	unsigned wakes = atomic_load(&v->wakes), longer = MIN(v->spins - SPINS_YIELD, (unsigned)DOZE_LONGEST);
	u64 now = clock_ns(&v->vm->clock), until = now + (DOZE_NS << longer), deadline = lapic_next_deadline(v->cpu);

	atomic_store(&v->asleep, true);
	if (!atomic_load(&v->cpu->attention) && deadline > now)
		futex_wait_until(&v->wakes, wakes, v->vm->clock.base_ns + MIN(until, deadline));
	atomic_store(&v->asleep, false);
	counter_inc(&v->counters, CNT_DOZES);
}

/* ---- who may run ------------------------------------------------------------------------------------------------ */

static bool vcpu_must_wait(const struct vcpu *v)
{
	const struct vm *vm = v->vm;

	return !atomic_load(&vm->ended) &&
	       (vm->hold || atomic_load(&vm->reset_wanted) || (vm->exclusive && vm->exclusive != v));
}

static void vcpu_enter(struct vcpu *v)
{
	struct vm *vm = v->vm;

	pthread_mutex_lock(&vm->park);
	while (vcpu_must_wait(v))
		pthread_cond_wait(&vm->parked, &vm->park);
	v->running = true;
	pthread_mutex_unlock(&vm->park);
	if (preempted_swap(v, 0) & KVM_FLUSH_TLB)
		v->cpu->ops->tlb_flush(v->cpu, TLB_ALL, 0, 0);
	vcpu_publish_deadline(v);
}

/* resting: the thread goes on to vcpu_sleep(), which still looks at its APIC. */
static void vcpu_leave(struct vcpu *v, bool resting)
{
	struct vm *vm = v->vm;

	pthread_mutex_lock(&vm->park);
	v->running = false;
	v->resting = resting;
	if (vm->hold || vm->exclusive)
		pthread_cond_broadcast(&vm->parked);
	pthread_mutex_unlock(&vm->park);
	atomic_store(&v->deadline_ns, CLOCK_NEVER);
}

static void vcpu_rested(struct vcpu *v)
{
	struct vm *vm = v->vm;

	pthread_mutex_lock(&vm->park);
	v->resting = false;
	if (vm->hold)
		pthread_cond_broadcast(&vm->parked);
	pthread_mutex_unlock(&vm->park);
}

/* With vm->park and a hold: the state of sleeping vCPUs is nobody's but the holder's when this returns. */
static void wake_the_resting(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i]->resting)
			vcpu_post(vm->vcpu[i], ATT_KICK);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		while (vm->vcpu[i]->resting)
			pthread_cond_wait(&vm->parked, &vm->park);
}

/* With vm->park held. */
static void stop_all_but(struct vm *vm, const struct vcpu *self)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i] != self && vm->vcpu[i]->running)
			vcpu_post(vm->vcpu[i], ATT_KICK);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		while (vm->vcpu[i] != self && vm->vcpu[i]->running)
			pthread_cond_wait(&vm->parked, &vm->park);
}

/* With vm->park held and a hold: also those that wait, in the middle of an instruction, for their turn to be exclusive.
 */
static void stop_for_hold(struct vm *vm, const struct vcpu *self)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i] != self && (vm->vcpu[i]->running || vm->vcpu[i]->midway))
			vcpu_post(vm->vcpu[i], ATT_KICK);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		while (vm->vcpu[i] != self && (vm->vcpu[i]->running || vm->vcpu[i]->midway))
			pthread_cond_wait(&vm->parked, &vm->park);
	wake_the_resting(vm);
}

void vcpu_exclusive_begin(struct vcpu *v)
{
	struct vm *vm = v->vm;

	if (vm->cfg.deterministic)
		return; /* nobody else ever runs */
	pthread_mutex_lock(&vm->park);
	if (vm->exclusive == v) {
		vm->exclusive_depth++;
		pthread_mutex_unlock(&vm->park);
		return;
	}
	v->running = false;
	v->midway = true;
	pthread_cond_broadcast(&vm->parked);
	/* Not for a hold or a reset: those wait for the end of this instruction. */
	while (vm->exclusive)
		pthread_cond_wait(&vm->parked, &vm->park);
	v->running = true;
	v->midway = false;
	vm->exclusive = v;
	vm->exclusive_depth = 1;
	stop_all_but(vm, v);
	pthread_mutex_unlock(&vm->park);
}

void vcpu_exclusive_end(struct vcpu *v)
{
	struct vm *vm = v->vm;

	if (vm->cfg.deterministic)
		return;
	pthread_mutex_lock(&vm->park);
	if (!--vm->exclusive_depth) {
		vm->exclusive = NULL;
		pthread_cond_broadcast(&vm->parked);
	}
	pthread_mutex_unlock(&vm->park);
}

/* Messages that an engine took before there was a hold are in struct cpu, too, from now on; later ones go there. */
static void vm_settle(struct vm *vm)
{
	if (!vm->engine_machine)
		return;
	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i]->engine->settle)
			vm->vcpu[i]->engine->settle(vm->vcpu[i]->cpu);
	pthread_mutex_unlock(&vm->lock);
}

void vm_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->park);
	vm->hold++;
	stop_for_hold(vm, NULL);
	pthread_mutex_unlock(&vm->park);
	vm_settle(vm);
}

void vm_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->park);
	if (vm->hold)
		vm->hold--;
	pthread_cond_broadcast(&vm->parked);
	pthread_mutex_unlock(&vm->park);
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

static void vcpu_triple_fault(struct vcpu *v)
{
	if (atomic_load(&v->vm->ended))
		return;
	fprintf(stderr, "\ndoppel: triple fault on vCPU %u; its state:\n", v->cpu->index);
	cpu_dump(v->cpu, stderr);
	fflush(stderr);
	vm_end(v->vm, VM_STATUS_TRIPLE_FAULT, "the guest triple-faulted");
}

static void vcpu_debug_stop(struct vcpu *v)
{
	struct vm *vm = v->vm;

	if (!vm->cfg.debug_stop)
		return;
	pthread_mutex_lock(&vm->park);
	vm->hold++;
	stop_for_hold(vm, v);
	pthread_mutex_unlock(&vm->park);
	vm->cfg.debug_stop(vm->cfg.debug_opaque, vm, v->cpu->index);
}

void vcpu_handle(struct vcpu *v, enum engine_exit why)
{
	switch (why) {
	case EXIT_KICK:
	case EXIT_BUDGET:
		break;
	case EXIT_HALT:
		vcpu_sleep(v);
		break;
	case EXIT_SHUTDOWN:
		vcpu_triple_fault(v);
		break;
	case EXIT_DEBUG:
		vcpu_debug_stop(v);
		break;
	case EXIT_FATAL:
		vm_end(v->vm, VM_STATUS_FAILURE, "engine %s failed on vCPU %u", v->engine->name, v->cpu->index);
		break;
	}
}

static void vcpu_begin(struct vcpu *v)
{
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->cpu->index);
	pthread_setname_np(pthread_self(), name);
	steal_open(v);
	pthread_mutex_lock(&v->vm->park);
	v->vm->begun++;
	pthread_cond_broadcast(&v->vm->parked);
	pthread_mutex_unlock(&v->vm->park);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct vm *vm = v->vm;

	vcpu_begin(v);
	while (!atomic_load(&vm->ended)) {
		enum engine_exit why = EXIT_KICK;

		vcpu_enter(v);
		if (!atomic_load(&vm->ended))
			why = vcpu_run(v, 0);
		if (v->doze)
			preempted_swap(v, KVM_PREEMPTED);
		vcpu_leave(v, why == EXIT_HALT);
		if (!atomic_load(&vm->ended))
			vcpu_handle(v, why);
		if (v->doze && why == EXIT_KICK && !atomic_load(&vm->ended))
			vcpu_doze(v);
		v->doze = false;
		if (why == EXIT_HALT)
			vcpu_rested(v);
	}
	v->cpu_ns = vcpu_cpu_ns(v);
	steal_close(v);
	return NULL;
}

int vcpu_start(struct vcpu *v, struct err *e)
{
	if (pthread_create(&v->thread, NULL, vcpu_main, v))
		return err_errno(e, "cannot start a thread for vCPU %u", v->cpu->index);
	v->started = true;
	return 0;
}

u64 vcpu_cpu_ns(const struct vcpu *v)
{
	struct timespec ts;
	clockid_t id;

	if (!v->started || pthread_getcpuclockid(v->thread, &id) || clock_gettime(id, &ts))
		return v->cpu_ns;
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

void vcpu_join(struct vcpu *v)
{
	if (!v->started)
		return;
	pthread_join(v->thread, NULL);
	v->started = false;
}
