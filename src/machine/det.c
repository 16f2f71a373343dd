/* SPDX-License-Identifier: Apache-2.0
 * The deterministic mode: what a guest does is a function of its start and of the inputs that base/inputs.h lists.
 *
 * One thread goes round in turns. A turn: what has arrived is handed over; device timers that are due run; every vCPU
 * in order runs up to as many instructions as lie before the next deadline, QUANTUM at most; the VM clock moves on by
 * as many nanoseconds as the busiest of them ran instructions. Within a turn only accesses to devices move it, so that
 * a run means the same however an engine cuts its blocks. When all vCPUs wait, the clock jumps to the next deadline.
 *
 * While recording, a machine that waits does not run ahead of the host's clock: what a user types comes when the guest
 * expects it. One that was busy may catch up. A replay never waits.
 *
 * Invariants
 *  1. While a vCPU runs, only device accesses move the clock, ACCESS_NS each; each look at the TSC is one more than the
 * last one, on whatever vCPU.
 *  2. An arrival takes effect at the beginning of a turn, and is logged with the turn's number and clock. A wait cut
 *     short by an arrival ends at that clock in the replay too.
 *  3. The host is looked at (consoles, signals, --timeout) between turns only.
 */
#include "machine/det.h"

#include <stdio.h>
#include <time.h>

#include "chardev/logged.h"
#include "cpu/lapic.h"
#include "machine/pc.h"

#define QUANTUM 32768 /* instructions: a translator needs room to be worth it, and a timer may be so much late */
#define QUANTUM_MIN 2048
#define ACCESS_NS 1000 /* of a device register: what one on an ISA bus takes */
#define LOOK_EVERY 16  /* turns */
#define BEHIND_WAIT_NS 100000000

/* ---- time ---------------------------------------------------------------------------------------------------------
 */

u64 det_tsc(struct vm *vm)
{
	u64 ticks = clock_ns(&vm->clock);

	if (unlikely(vm->det.tsc_hz != NS_PER_SEC))
		ticks = clock_ns_to_ticks(ticks, vm->det.tsc_hz);
	vm->det.tsc = MAX(ticks, vm->det.tsc + 1);
	return vm->det.tsc;
}

u64 det_wall_ns(struct vm *vm)
{
	return vm->det.wall_ns + clock_ns(&vm->clock);
}

/* A timer that fires may make an interrupt: the engine has to look behind this very instruction, not where it happens
 * to end a block. */
void det_access(struct vm *vm)
{
	u64 now;

	if (!vm->det.running)
		return;
	clock_advance(&vm->clock, ACCESS_NS);
	now = clock_ns(&vm->clock);
	if (timerq_next(&vm->timers) > now)
		return;
	timerq_run(&vm->timers, now);
	vm->det.running->block_end = NULL;
}

static u64 next_deadline(struct vm *vm)
{
	u64 next = timerq_next(&vm->timers);

	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		next = MIN(next, lapic_next_deadline(vm->vcpu[i]->cpu));
	return next;
}

/* ---- the consoles -------------------------------------------------------------------------------------------------
 */

/* The k-th character device there may be: serial ports, debug console, ports of the virtio console. */
static struct chardev *console(struct vm *vm, unsigned k)
{
	if (k < VM_SERIAL_MAX)
		return vm->serial[k];
	return k == VM_SERIAL_MAX ? vm->debugcon : vm->port[k - VM_SERIAL_MAX - 1];
}

#define CONSOLES (VM_SERIAL_MAX + 1 + VM_PORTS_MAX)

static bool any_console(struct vm *vm, bool (*is)(struct chardev *c))
{
	for (unsigned k = 0; k < CONSOLES; k++)
		if (console(vm, k) && is(console(vm, k)))
			return true;
	return false;
}

/* ---- the host -----------------------------------------------------------------------------------------------------
 */

static void check_timeout(struct vm *vm)
{
	if (vm->cfg.timeout_ns && clock_ns(&vm->det.real) >= vm->cfg.timeout_ns)
		vm_end(vm, VM_STATUS_FAILURE, "--timeout: the guest had not ended after %llu seconds",
		       (unsigned long long)(vm->cfg.timeout_ns / NS_PER_SEC));
}

/* Waits so long at most for something to happen outside. */
static void look_at_host(struct vm *vm, u64 wait_ns)
{
	u64 now = clock_ns(&vm->det.real);

	if (vm->cfg.timeout_ns)
		wait_ns = MIN(wait_ns, vm->cfg.timeout_ns > now ? vm->cfg.timeout_ns - now : 0);
	loop_wait(vm->loop, wait_ns);
	pthread_mutex_lock(&vm->lock);
	loop_dispatch(vm->loop);
	pthread_mutex_unlock(&vm->lock);
	vm_check_signal(vm);
	check_timeout(vm);
}

static void look_now_and_then(struct vm *vm)
{
	vm_check_signal(vm);
	if (vm->det.turn % LOOK_EVERY)
		return;
	look_at_host(vm, 0);
	while (!atomic_load(&vm->ended) && any_console(vm, logged_is_behind))
		look_at_host(vm, BEHIND_WAIT_NS);
}

/* ---- arrivals -----------------------------------------------------------------------------------------------------
 */

static void record_arrivals(struct vm *vm)
{
	for (unsigned k = 0; k < CONSOLES; k++)
		if (console(vm, k) && logged_waits(console(vm, k)))
			logged_deliver(console(vm, k));
}

static void replay_end(struct vm *vm, const struct input *i)
{
	struct input_end end;

	memcpy(&end, i->data, sizeof(end));
	if (end.outside)
		vm_end(vm, (int)(end.status & 0xff), "the recording was ended here from outside");
}

/* A guest's own end is looked at behind its last turn. */
static void replay_arrival(struct vm *vm, const struct input *i)
{
	struct chardev *c = i->source < CONSOLES ? console(vm, i->source) : NULL;

	if (i->clock_ns != clock_ns(&vm->clock)) {
		inputs_diverge(vm->cfg.inputs, "the clock shows another time than in the recording");
	} else if (i->kind == INPUT_END) {
		replay_end(vm, i);
	} else if (!c) {
		inputs_diverge(vm->cfg.inputs, "the recording has input for console %u, which this machine has not",
			       i->source);
	} else {
		inputs_take(vm->cfg.inputs);
		logged_give(c, i);
	}
}

static void replay_arrivals(struct vm *vm)
{
	struct input i;

	while (inputs_peek(vm->cfg.inputs, &i) && i.turn <= vm->det.turn) {
		if (i.turn < vm->det.turn)
			inputs_diverge(vm->cfg.inputs, "the guest runs on where the recording has %s",
				       i.kind == INPUT_END ? "its end" : "input");
		else
			replay_arrival(vm, &i);
		if (i.kind == INPUT_END)
			return;
	}
}

static void arrivals(struct vm *vm)
{
	inputs_at(vm->cfg.inputs, vm->det.turn, clock_ns(&vm->clock));
	pthread_mutex_lock(&vm->lock);
	if (inputs_replaying(vm->cfg.inputs))
		replay_arrivals(vm);
	else
		record_arrivals(vm);
	pthread_mutex_unlock(&vm->lock);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------
 */

/* To when the replay's wait goes. */
static u64 replayed_wait(struct vm *vm, u64 now, u64 next)
{
	struct input i;

	if (inputs_peek(vm->cfg.inputs, &i) && i.turn == vm->det.turn + 1 && i.clock_ns >= now && i.clock_ns <= next)
		return i.clock_ns;
	if (next == CLOCK_NEVER)
		inputs_diverge(vm->cfg.inputs, "the guest waits for input that the recording has not");
	return next == CLOCK_NEVER ? now : next;
}

static u64 waited(struct vm *vm, u64 now, u64 next)
{
	for (;;) {
		u64 real = clock_ns(&vm->det.real);

		if (next != CLOCK_NEVER && real >= next)
			return next;
		if (atomic_load(&vm->ended) || any_console(vm, logged_waits))
			return MAX(real, now);
		look_at_host(vm, next == CLOCK_NEVER ? CLOCK_NEVER : next - real);
	}
}

static void wait_for_something(struct vm *vm)
{
	u64 now = clock_ns(&vm->clock), next = MAX(next_deadline(vm), now + 1);

	if (vm->cfg.lead) /* its wait is over, and the arrival that may have ended it is not logged yet */
		next = clock_ns(&vm->cfg.lead->clock);
	else
		next = inputs_replaying(vm->cfg.inputs) ? replayed_wait(vm, now, next) : waited(vm, now, next);
	clock_advance(&vm->clock, next - now);
}

/* ---- turns --------------------------------------------------------------------------------------------------------
 */

u64 det_slice(struct vcpu *v, u64 budget, enum engine_exit *why)
{
	struct cpu *c = v->cpu;
	u64 before = c->icount + c->unretired;

	if (lapic_next_deadline(c) <= clock_ns(&v->vm->clock))
		cpu_post(c, ATT_TIMER);
	v->vm->det.running = c;
	*why = vcpu_run(v, budget);
	v->vm->det.running = NULL;
	if (*why == EXIT_SHUTDOWN || *why == EXIT_FATAL)
		vcpu_handle(v, *why);
	return c->icount + c->unretired - before;
}

u64 det_progress(u64 ran, enum engine_exit why)
{
	return why == EXIT_HALT ? ran : MAX(ran, 1ull);
}

u64 det_budget(struct vm *vm)
{
	u64 now = clock_ns(&vm->clock), next = next_deadline(vm);

	return next <= now ? QUANTUM_MIN : MIN(MAX(next - now, (u64)QUANTUM_MIN), (u64)QUANTUM);
}

static u64 run_all(struct vm *vm)
{
	u64 budget = det_budget(vm), most = 0;

	for (unsigned i = 0; i < vm->nr_vcpus && !atomic_load(&vm->ended); i++) {
		enum engine_exit why;
		u64 ran = det_slice(vm->vcpu[i], budget, &why);

		ran = det_progress(ran, why);
		most = MAX(most, ran);
	}
	return most;
}

static bool check_wrong(struct vm *vm)
{
	const char *wrong = inputs_wrong(vm->cfg.inputs);

	if (wrong)
		vm_end(vm, VM_STATUS_FAILURE, "%s: %s, at %llu ns",
		       inputs_replaying(vm->cfg.inputs) ? "this is not the recorded run" : "the recording failed",
		       wrong, (unsigned long long)clock_ns(&vm->clock));
	return wrong;
}

bool det_turn_begin(struct vm *vm)
{
	look_now_and_then(vm);
	arrivals(vm);
	vm->det.outside = atomic_load(&vm->ended);
	if (check_wrong(vm) || vm->det.outside)
		return false;
	pthread_mutex_lock(&vm->lock);
	timerq_run(&vm->timers, clock_ns(&vm->clock));
	pthread_mutex_unlock(&vm->lock);
	return true;
}

bool det_turn_end(struct vm *vm, u64 ran, struct err *e)
{
	if (check_wrong(vm) || atomic_load(&vm->ended))
		return false;
	clock_advance(&vm->clock, ran);
	if (atomic_load(&vm->reset_wanted) && vm_reset(vm, e)) {
		vm_end(vm, VM_STATUS_FAILURE, "%s", e->text);
		return false;
	}
	if (!ran)
		wait_for_something(vm);
	vm->det.turn++;
	return true;
}

/* ---- from start to end --------------------------------------------------------------------------------------------
 */

int det_begin(struct vm *vm, struct err *e)
{
	struct inputs_setup s = { .memory = vm->cfg.memory, .cpus = vm->cfg.cpus };

	snprintf(s.engine, sizeof(s.engine), "%s", vm->cfg.engine->name);
	snprintf(s.model, sizeof(s.model), "%s", vm->model->name);
	vm->clock.virtual_time = true;
	vm->det.tsc_hz = DET_TSC_HZ;
	cpuid_model_set_tsc_hz(vm->model, DET_TSC_HZ);
	clock_init(&vm->det.real);
	if (vm->cfg.inputs && inputs_begin(vm->cfg.inputs, &s, e))
		return -1;
	vm->det.wall_ns = inputs_wall_ns(vm->cfg.inputs);
	return 0;
}

static void hash_model(const struct cpuid_model *m, struct hash *h)
{
	for (size_t i = 0; i < m->n; i++)
		hash_add(h, &m->leaf[i], sizeof(m->leaf[i]));
}

int det_built(struct vm *vm, struct err *e)
{
	struct hash h;

	if (!vm->cfg.inputs)
		return 0;
	vm_state_hash(vm, &h);
	hash_model(vm->model, &h);
	return inputs_start(vm->cfg.inputs, &h, e);
}

void det_take_tsc(struct vm *vm, u64 hz)
{
	vm->det.tsc_hz = hz;
	cpuid_model_set_tsc_hz(vm->model, hz);
}

/* The guest's clock goes on where it was saved; the host's, the calendar and --timeout begin here. */
int det_loaded(struct vm *vm, struct err *e)
{
	u64 now = clock_ns(&vm->clock);

	clock_set(&vm->det.real, now);
	vm->det.wall_ns -= now;
	if (vm->cfg.timeout_ns)
		vm->cfg.timeout_ns += now;
	return det_built(vm, e);
}

/* Stamped with the beginning of the turn in which it came. */
static void record_end(struct vm *vm)
{
	struct input_end end = { .status = (u32)atomic_load(&vm->status),
				 .outside = vm->det.outside,
				 .state = vm->det.state };

	inputs_arrive(vm->cfg.inputs, INPUT_END, 0, &end, sizeof(end));
}

/* Not after vm_end(): the first reason given there stays, and this one is worse. */
static void fail(struct vm *vm, const char *why)
{
	snprintf(vm->why, sizeof(vm->why), "%s", why);
	atomic_store(&vm->status, VM_STATUS_FAILURE);
}

static void compare_end(struct vm *vm)
{
	char have[HASH_TEXT], had[HASH_TEXT];
	struct input_end end;
	char text[200];
	struct input i;

	if (!inputs_peek(vm->cfg.inputs, &i) || i.kind != INPUT_END) {
		if (!vm->det.outside)
			fail(vm, "this is not the recorded run: the guest ended, and the recording goes on");
		return; /* ended from outside, before the recording's end */
	}
	memcpy(&end, i.data, sizeof(end));
	if (i.turn != vm->det.turn || end.outside != vm->det.outside) {
		if (!vm->det.outside)
			fail(vm, "this is not the recorded run: the guest ended elsewhere than in the recording");
	} else if (!hash_equal(&end.state, &vm->det.state)) {
		snprintf(text, sizeof(text),
			 "this is not the recorded run: it ended with state %s, the recording with %s",
			 hash_text(&vm->det.state, have), hash_text(&end.state, had));
		fail(vm, text);
	}
}

void det_end(struct vm *vm)
{
	vm_state_hash(vm, &vm->det.state);
	if (!vm->cfg.inputs || inputs_wrong(vm->cfg.inputs))
		return;
	if (inputs_replaying(vm->cfg.inputs))
		compare_end(vm);
	else
		record_end(vm);
}

void det_run(struct vm *vm, struct err *e)
{
	struct timespec ts;

	while (det_turn_begin(vm) && det_turn_end(vm, run_all(vm), e))
		;
	if (!clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) && vm->nr_vcpus)
		vm->vcpu[0]->cpu_ns = (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
	det_end(vm);
}
