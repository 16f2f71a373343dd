/* SPDX-License-Identifier: Apache-2.0
 * Life cycle and the I/O thread.
 *
 * The I/O thread sleeps until the earliest of: a device timer, a running vCPU's APIC deadline, the end of --timeout;
 * and wakes early when a descriptor is ready or somebody calls loop_wake(). It publishes how long it means to sleep
 * before it looks at the deadlines a last time, so a vCPU that arms an earlier one either is seen or sees that it must
 * wake us. While it is awake it publishes "never": whoever arms a timer then makes the coming sleep end at once.
 */
#include "machine/vm.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "block/logged.h"
#include "chardev/logged.h"
#include "machine/det.h"
#include "machine/pc.h"
#include "mmu/mmu.h"

#define TIMER_SLACK_NS 1000ul /* the kernel's default of 50 us would show in every guest timer */

/* ---- the end ---------------------------------------------------------------------------------------------------- */

void vm_end(struct vm *vm, int status, const char *why, ...)
{
	va_list ap;

	pthread_mutex_lock(&vm->end_lock);
	if (!atomic_load(&vm->ended)) {
		va_start(ap, why);
		vsnprintf(vm->why, sizeof(vm->why), why, ap);
		va_end(ap);
		atomic_store(&vm->status, status);
		atomic_store(&vm->ended, true);
	}
	pthread_mutex_unlock(&vm->end_lock);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_post(vm->vcpu[i], ATT_KICK);
	loop_wake(vm->loop);
}

void vm_signal(struct vm *vm, int sig)
{
	atomic_store(&vm->signal_seen, sig);
	loop_wake(vm->loop);
}

void vm_resized(struct vm *vm)
{
	atomic_store(&vm->resized, true);
	loop_wake(vm->loop);
}

void vm_request_reset(struct vm *vm)
{
	if (vm->cfg.no_reboot) {
		vm_end(vm, 0, "the guest asked for a reset (--no-reboot)");
		return;
	}
	if (vm->cfg.loaded && !vm->boot) {
		vm_end(vm, VM_STATUS_FAILURE,
		       "the guest asked for a reset, and a snapshot has no kernel to start: give --kernel "
		       "with --load");
		return;
	}
	atomic_store(&vm->reset_wanted, true);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_post(vm->vcpu[i], ATT_KICK);
	loop_wake(vm->loop);
}

/* ---- what the board asks for (machine lock) -----------------------------------------------------------------------
 */

static void on_reset(void *opaque, unsigned kind)
{
	(void)kind;
	vm_request_reset(opaque);
}

static void on_power_off(void *opaque, unsigned arg)
{
	(void)arg;
	vm_end(opaque, 0, "the guest switched the machine off");
}

static void on_leave(void *opaque, unsigned value)
{
	vm_end(opaque, (int)((value << 1 | 1) & 0xff), "the guest wrote %u to the debug-exit port", value);
}

static void on_earlier_timer(void *opaque)
{
	struct vm *vm = opaque;

	if (!vm->cfg.deterministic && timerq_next(&vm->timers) < atomic_load(&vm->sleep_until))
		loop_wake(vm->loop);
}

/* Who reads a chip sees it as of now: what is due is done first, for the thread that runs timers may be late. */
static void bus_lock(void *opaque)
{
	struct vm *vm = opaque;
	u64 now;

	pthread_mutex_lock(&vm->lock);
	if (vm->cfg.deterministic) {
		det_access(vm);
		return;
	}
	now = clock_ns(&vm->clock);
	if (unlikely(timerq_next(&vm->timers) <= now))
		timerq_run(&vm->timers, now);
}

static void bus_unlock(void *opaque)
{
	pthread_mutex_unlock(&((struct vm *)opaque)->lock);
}

/* ---- power-on --------------------------------------------------------------------------------------------------- */

/* n counts them, as det.c does. */
static struct chardev *vm_chardev(struct vm *vm, const char *spec, unsigned n, struct err *e)
{
	const struct vm_companion *other = &vm->cfg.companion;
	struct chardev *c = *spec == '@' && other->chardev ? other->chardev(other->opaque, spec, vm->loop, e)
							   : chardev_new(spec, vm->loop, &vm->cfg.keys, e);

	return c && vm->cfg.deterministic ? logged_new(c, vm->cfg.inputs, (u16)n, e) : c;
}

static int vm_add_chardevs(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < VM_SERIAL_MAX; i++) {
		if (!vm->cfg.serial[i])
			continue;
		vm->serial[i] = vm_chardev(vm, vm->cfg.serial[i], i, e);
		if (!vm->serial[i])
			return -1;
	}
	if (vm->cfg.debugcon)
		vm->debugcon = vm_chardev(vm, vm->cfg.debugcon, VM_SERIAL_MAX, e);
	return vm->cfg.debugcon && !vm->debugcon ? -1 : 0;
}

static int vm_add_disks(struct vm *vm, struct err *e)
{
	struct block_pool_lock lock = { bus_lock, bus_unlock, vm };

	if (vm->cfg.nr_disks)
		vm->disk_pool = block_pool_new(vm->cfg.deterministic ? 0 : BLOCK_POOL_THREADS, &lock, e);
	if (vm->cfg.nr_disks && !vm->disk_pool)
		return -1;
	for (unsigned i = 0; i < vm->cfg.nr_disks; i++) {
		vm->disk[i] = block_open(&vm->cfg.disk[i], e);
		if (vm->disk[i] && vm->cfg.deterministic)
			vm->disk[i] = block_logged_new(vm->disk[i], vm->cfg.inputs, (u16)i, e);
		if (!vm->disk[i])
			return -1;
	}
	for (unsigned i = 0; i < vm->cfg.nr_ports; i++) {
		vm->port[i] = vm_chardev(vm, vm->cfg.port[i].where, VM_SERIAL_MAX + 1 + i, e);
		if (!vm->port[i])
			return -1;
	}
	return 0;
}

/* Before all else that has threads or guest memory: these may begin processes. */
static int vm_add_nets(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->cfg.nr_nets; i++) {
		vm->net[i] = net_new(&vm->cfg.net[i], vm->loop, e);
		if (!vm->net[i])
			return -1;
	}
	return 0;
}

/* The same. */
static int vm_add_shares(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->cfg.nr_shares; i++) {
		vm->share[i] = share_new(&vm->cfg.share[i], vm->loop, e);
		if (!vm->share[i])
			return -1;
	}
	return 0;
}

static void vm_give_virtio(struct vm *vm, struct pc_virtio_config *v)
{
	const struct vm_config *cfg = &vm->cfg;

	v->inputs = cfg->inputs;
	v->rng = cfg->rng;
	v->balloon = cfg->balloon;
	v->balloon_target = cfg->balloon_target;
	v->n_ports = cfg->nr_ports;
	for (unsigned i = 0; i < cfg->nr_ports; i++) {
		v->port[i].chr = vm->port[i];
		v->port[i].name = cfg->port[i].name[0] ? cfg->port[i].name : NULL;
	}
	v->n_disks = cfg->nr_disks;
	v->disk_queues = cfg->cpus;
	v->disk_pool = vm->disk_pool;
	for (unsigned i = 0; i < cfg->nr_disks; i++) {
		v->disk[i].image = vm->disk[i];
		v->disk[i].serial = cfg->disk[i].serial;
	}
	v->n_nets = cfg->nr_nets;
	for (unsigned i = 0; i < cfg->nr_nets; i++) {
		v->net[i].net = vm->net[i];
		v->net[i].mac = cfg->net[i].mac;
	}
	v->n_shares = cfg->nr_shares;
	for (unsigned i = 0; i < cfg->nr_shares; i++)
		v->share[i] = vm->share[i];
}

static int vm_add_board(struct vm *vm, struct err *e)
{
	struct pc_config pc = {
		.mem = vm->mem,
		.clock = &vm->clock,
		.utc_ns = vm->cfg.deterministic ? vm->det.wall_ns : clock_wall_ns(),
		.timers = &vm->timers,
		.memory = vm->cfg.memory,
		.cpus = vm->cfg.cpus,
		.debugcon = vm->debugcon,
		.debugcon_port = vm->cfg.debugcon_port,
		.debug_exit = vm->cfg.debug_exit,
		.testdev = vm->cfg.testdev,
		.intr = { .set = vm_intr, .chip = vm },
		.msi = { .send = vm_msi, .opaque = vm },
		.reset = { on_reset, vm },
		.power_off = { on_power_off, vm },
		.leave = { on_leave, vm },
	};

	for (unsigned i = 0; i < VM_SERIAL_MAX; i++) {
		pc.serial[i] = vm->serial[i];
		pc.has_serial[i] = vm->cfg.serial[i] != NULL;
	}
	pc.rom = vm->boot ? boot_rom(vm->boot, &pc.rom_size) : NULL;
	pc.bios = vm->boot && boot_bios(vm->boot);
	pc.counters = &vm->counters;
	vm_give_virtio(vm, &pc.virtio);
	mem_set_bus_lock(vm->mem, bus_lock, bus_unlock, vm);
	vm->pc = pc_new(&pc, e);
	return vm->pc ? 0 : -1;
}

static bool more_than_host_cpus(unsigned vcpus)
{
	cpu_set_t set;

	return !sched_getaffinity(0, sizeof(set), &set) && vcpus > (unsigned)CPU_COUNT(&set);
}

static int vm_add_vcpus(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->cfg.cpus; i++) {
		vm->vcpu[i] = vcpu_new(vm, i, e);
		if (!vm->vcpu[i])
			return -1;
		vm->nr_vcpus++;
	}
	vm->crowded = more_than_host_cpus(vm->nr_vcpus);
	return 0;
}

static int vm_load(struct vm *vm, struct err *e)
{
	struct boot_map map;

	pc_memory_map(vm->pc, &map);
	if (boot_load(vm->boot, vm->mem, vm->vcpu[0]->cpu, &map, pc_rsdp(vm->pc), e))
		return -1;
	mmu_reset(vm->vcpu[0]->cpu);
	return 0;
}

static void vm_init_locks(struct vm *vm)
{
	pthread_mutexattr_t recursive;

	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&vm->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	pthread_mutex_init(&vm->park, NULL);
	pthread_mutex_init(&vm->end_lock, NULL);
	pthread_cond_init(&vm->parked, NULL);
}

/* The engine that has something for the whole machine; at most one has. */
static const struct engine_ops *machine_engine(const struct vm *vm)
{
	const struct engine_ops *one = vm->cfg.engine, *other = vm->cfg.other_engine;

	return one->machine_new ? one : other && other->machine_new ? other : NULL;
}

static int vm_make_model(struct vm *vm, struct err *e)
{
	const struct engine_ops *ops = machine_engine(vm);
	struct cpuid_limits limits = { .who = "this engine", .arch_capabilities = ~0ull, .tsc_hz = vm->cfg.tsc_hz };
	u32 told = vm->cfg.apic_bus_hz;

	memset(limits.features, 0xff, sizeof(limits.features));
	if (ops && ops->limits && ops->limits(&vm->cfg.engine_options, &limits, e))
		return -1;
	if (told && limits.apic_bus_hz && limits.apic_bus_hz != told)
		return err_set(
		    e,
		    "the guest was told that APIC timers count with %u MHz, and under %s they count with %u: "
		    "give another engine",
		    told / 1000000, limits.who, limits.apic_bus_hz / 1000000);
	limits.apic_bus_hz = told ? told : limits.apic_bus_hz;
	vm->model = cpuid_model_new_within(vm->cfg.cpu_model, vm->cfg.cpus, &limits, e);
	return vm->model ? 0 : -1;
}

/* Where hardware maps guest memory, each page touched first is an exit, and most hosts have large pages for private
 * memory alone. Only processes for guest code are given the memfd. */
static bool memory_is_its_own(const struct vm *vm)
{
	const struct engine_ops *other = vm->cfg.other_engine;
	unsigned hosts = vm->cfg.engine->host | (other ? other->host : 0);

	return (hosts & ENGINE_HOST_KVM) && !(hosts & ENGINE_HOST_PROCESSES);
}

static int vm_make_engine(struct vm *vm, struct err *e)
{
	const struct engine_ops *ops = machine_engine(vm);

	if (!ops)
		return 0;
	vm->engine_machine = ops->machine_new(vm->mem, vm->model, &vm->cfg.engine_options, e);
	return vm->engine_machine ? 0 : -1;
}

static int vm_build(struct vm *vm, struct err *e)
{
	vm->cfg.boot.memory = vm->cfg.memory;
	if (!vm->cfg.loaded || vm->cfg.boot.kernel || vm->cfg.boot.firmware) {
		vm->boot = boot_open(&vm->cfg.boot, e);
		if (!vm->boot)
			return -1;
	}
	if (vm_make_model(vm, e))
		return -1;
	vm->loop = loop_new(e);
	if (!vm->loop || vm_add_nets(vm, e) || vm_add_shares(vm, e))
		return -1;
	vm->mem = mem_new(e);
	if (!vm->mem)
		return -1;
	if (memory_is_its_own(vm))
		mem_keep_private(vm->mem);
	clock_init(&vm->clock);
	if (vm->cfg.deterministic && det_begin(vm, e))
		return -1;
	vm->timers = (struct timerq){ .earlier = on_earlier_timer, .opaque = vm };
	vm_fill_ops(vm);
	if (vm_make_engine(vm, e) || vm_add_vcpus(vm, e) || vm_add_chardevs(vm, e) || vm_add_disks(vm, e) ||
	    vm_add_board(vm, e))
		return -1;
	if (!vm->cfg.loaded && vm_load(vm, e))
		return -1;
	return vm->cfg.deterministic && !vm->cfg.loaded ? det_built(vm, e) : 0;
}

struct vm *vm_new(const struct vm_config *cfg, struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm) {
		err_set(e, "out of memory");
		return NULL;
	}
	vm->cfg = *cfg;
	vm->tasks = open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC);
	vm->hold = cfg->paused;
	atomic_store(&vm->sleep_until, CLOCK_NEVER);
	vm_init_locks(vm);
	if (!vm_build(vm, e))
		return vm;
	vm_free(vm);
	return NULL;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	if (vm->tasks >= 0)
		close(vm->tasks);
	pc_free(vm->pc);
	block_pool_free(vm->disk_pool);
	for (unsigned i = 0; i < VM_SERIAL_MAX; i++)
		chardev_free(vm->serial[i]);
	chardev_free(vm->debugcon);
	for (unsigned i = 0; i < VM_PORTS_MAX; i++)
		chardev_free(vm->port[i]);
	for (unsigned i = 0; i < VM_DISKS_MAX; i++)
		block_free(vm->disk[i]);
	for (unsigned i = 0; i < VM_NETS_MAX; i++)
		net_free(vm->net[i]);
	for (unsigned i = 0; i < VM_SHARES_MAX; i++)
		share_free(vm->share[i]);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_free(vm->vcpu[i]);
	if (vm->engine_machine)
		machine_engine(vm)->machine_free(vm->engine_machine);
	mem_free(vm->mem);
	loop_free(vm->loop);
	cpuid_model_free(vm->model);
	boot_free(vm->boot);
	pthread_cond_destroy(&vm->parked);
	pthread_mutex_destroy(&vm->park);
	pthread_mutex_destroy(&vm->end_lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

/* ---- the I/O thread -----------------------------------------------------------------------------------------------
 */

/* The earliest APIC deadline of a running vCPU; those that are due get their ATT_TIMER. */
static u64 vm_apic_timers(struct vm *vm, u64 now)
{
	u64 next = CLOCK_NEVER;

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[i];
		u64 deadline = atomic_load(&v->deadline_ns);

		if (deadline <= now && atomic_compare_exchange_strong(&v->deadline_ns, &deadline, CLOCK_NEVER))
			vcpu_post(v, ATT_TIMER);
		else
			next = MIN(next, deadline);
	}
	return next;
}

/* Runs what is due; the time of the next thing to do. */
static u64 vm_timers(struct vm *vm)
{
	u64 now = clock_ns(&vm->clock), next;

	pthread_mutex_lock(&vm->lock);
	timerq_run(&vm->timers, now);
	next = timerq_next(&vm->timers);
	pthread_mutex_unlock(&vm->lock);
	if (vm->cfg.timeout_ns && now - vm->began_ns >= vm->cfg.timeout_ns)
		vm_end(vm, VM_STATUS_FAILURE, "--timeout: the guest had not ended after %llu seconds",
		       (unsigned long long)(vm->cfg.timeout_ns / NS_PER_SEC));
	if (vm->cfg.timeout_ns)
		next = MIN(next, vm->began_ns + vm->cfg.timeout_ns);
	return next;
}

static void vm_sleep(struct vm *vm, u64 until)
{
	u64 now = clock_ns(&vm->clock), apic;

	atomic_store(&vm->sleep_until, until);
	do {
		apic = vm_apic_timers(vm, now);
		if (apic >= until)
			break;
		until = apic;
		atomic_store(&vm->sleep_until, until);
	} while (apic <= now);
	now = clock_ns(&vm->clock);
	loop_wait(vm->loop, until == CLOCK_NEVER ? CLOCK_NEVER : until > now ? until - now : 0);
	atomic_store(&vm->sleep_until, CLOCK_NEVER);
}

/* The board, all processors, and the kernel loaded again. */
int vm_reset(struct vm *vm, struct err *e)
{
	int ret;

	vm_pause(vm);
	atomic_store(&vm->reset_wanted, false);
	pthread_mutex_lock(&vm->lock);
	ret = pc_reset(vm->pc, e);
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		vcpu_reset(vm->vcpu[i]);
		vcpu_invalidate_all(vm->vcpu[i]);
	}
	if (!ret)
		ret = vm_load(vm, e);
	vm->resets++;
	pthread_mutex_unlock(&vm->lock); /* who else paused the machine to look at it saw it before or after */
	vm_resume(vm);
	return ret;
}

void vm_check_signal(struct vm *vm)
{
	int sig = atomic_load(&vm->signal_seen);

	if (sig)
		vm_end(vm, 128 + sig, "ended by signal %d (%s)", sig, strsignal(sig));
}

/* Machine lock. */
static void vm_tell_size(struct vm *vm)
{
	struct winsize size;

	if (!atomic_exchange(&vm->resized, false) || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return;
	for (unsigned i = 0; i < vm->cfg.nr_ports; i++)
		if (!strcmp(vm->cfg.port[i].where, "stdio"))
			pc_console_resize(vm->pc, i, size.ws_col, size.ws_row);
}

static void vm_io_loop(struct vm *vm, struct err *e)
{
	while (!atomic_load(&vm->ended)) {
		vm_sleep(vm, vm_timers(vm));
		pthread_mutex_lock(&vm->lock);
		loop_dispatch(vm->loop);
		vm_tell_size(vm);
		if (vm->cfg.companion.poll)
			vm->cfg.companion.poll(vm->cfg.companion.opaque, vm);
		pthread_mutex_unlock(&vm->lock);
		vm_check_signal(vm);
		if (atomic_load(&vm->reset_wanted) && vm_reset(vm, e))
			vm_end(vm, VM_STATUS_FAILURE, "%s", e->text);
	}
}

/* From here on the process opens nothing any more. */
static int vm_seal(struct vm *vm, struct err *e)
{
	if (vm->tasks >= 0)
		close(vm->tasks);
	vm->tasks = -1;
	return vm->cfg.seal ? vm->cfg.seal(vm->cfg.seal_opaque, e) : 0;
}

static int vm_run_deterministic(struct vm *vm, struct err *e)
{
	if (vm_seal(vm, e)) {
		vm_end(vm, VM_STATUS_FAILURE, "%s", e->text);
		return VM_STATUS_FAILURE;
	}
	vm->began_ns = clock_ns(&vm->clock);
	det_run(vm, e);
	vm->run_ns = clock_ns(&vm->det.real);
	return atomic_load(&vm->status);
}

/* They are held until the process is sealed. */
static void start_vcpus(struct vm *vm, struct err *e)
{
	unsigned started = 0;
	int ret = 0;

	pthread_mutex_lock(&vm->park);
	vm->hold++;
	pthread_mutex_unlock(&vm->park);
	for (; started < vm->nr_vcpus && !ret; started += !ret)
		ret = vcpu_start(vm->vcpu[started], e);
	pthread_mutex_lock(&vm->park);
	while (vm->begun < started)
		pthread_cond_wait(&vm->parked, &vm->park);
	pthread_mutex_unlock(&vm->park);
	if (ret || vm_seal(vm, e))
		vm_end(vm, VM_STATUS_FAILURE, "%s", e->text);
	vm_resume(vm);
}

int vm_run(struct vm *vm, struct err *e)
{

	if (vm->cfg.deterministic)
		return vm_run_deterministic(vm, e);
	vm->began_ns = clock_ns(&vm->clock);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0); /* the vCPU threads inherit it */
	start_vcpus(vm, e);
	vm_io_loop(vm, e);
	pthread_mutex_lock(&vm->park);
	pthread_cond_broadcast(&vm->parked);
	pthread_mutex_unlock(&vm->park);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vcpu_join(vm->vcpu[i]);
	vm->run_ns = clock_ns(&vm->clock) - vm->began_ns;
	return atomic_load(&vm->status);
}

_Static_assert(VM_DISKS_MAX == PC_DISKS_MAX && VM_PORTS_MAX == VIRTIO_PORTS_MAX && VM_NETS_MAX == PC_NETS_MAX,
	       "one list of devices");
