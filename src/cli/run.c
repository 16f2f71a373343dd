/* SPDX-License-Identifier: Apache-2.0
 * doppel run
 */
#include "cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "base/signals.h"
#include "cli/run_control.h"

/* A machine of one use: nothing is waited for that is not there, the clock is not measured, and the guest's kernel does
 * not guard against the only user that it has. */
#define COMMAND_LINE                                                                                                   \
	"console=ttyS0 rdinit=/init panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr random.trust_cpu=on " \
	"cryptomgr.notests rcupdate.rcu_expedited=1 i8042.nokbd i8042.noaux 8250.nr_uarts=1 audit=0 "                  \
	"selinux=0 apparmor=0 net.ifnames=0"

struct run {
	struct run_options o;
	struct boot_options boot;
	struct guest_kernel kernel;
	struct session *session;
	struct run_control *control;
	struct vm *vm;
	char append[2048], initrd[64];
	int initrd_fd;
	struct sandbox sandbox;
	struct warm warm;
	bool is_warm;
	u64 began_ns, built_ns; /* CLOCK_MONOTONIC */
};

static u64 monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec;
}

/* ---- the machine ------------------------------------------------------------------------------------------------- */

static int default_memory(struct run *r, struct err *e)
{
	u64 half = (u64)sysconf(_SC_PHYS_PAGES) * (u64)sysconf(_SC_PAGESIZE) / 2;
	char *word;

	if (r->o.memory)
		return 0;
	if (asprintf(&word, "--memory=%lluM", (unsigned long long)(MIN(half, 1ull << 30) >> 20)) < 0)
		return err_set(e, "out of memory");
	r->o.boot[r->o.nr_boot++] = word;
	return 0;
}

static void add_shares(struct run *r, struct vm_config *vm)
{
	const struct run_options *o = &r->o;

	if (!o->copy) {
		struct share_spec *root = &vm->share[vm->nr_shares++];

		snprintf(root->dir, sizeof(root->dir), "%s", o->root);
		strcpy(root->tag, "root");
		root->readonly = true;
		root->root_owned = o->root_owned;
	}
	for (unsigned i = 0; i < o->nr_shares; i++) {
		struct share_spec *s = &vm->share[vm->nr_shares++];

		snprintf(s->dir, sizeof(s->dir), "%s", o->share[i].dir);
		snprintf(s->tag, sizeof(s->tag), "share%u", i);
		s->readonly = o->share[i].readonly;
	}
}

static void add_ports(struct run *r, struct vm_config *vm)
{
	static const char *const names[AGENT_PORTS] = { "doppel.control", "doppel.in", "doppel.out", "doppel.err" };

	for (unsigned i = 0; i < AGENT_PORTS; i++) {
		snprintf(vm->port[i].where, sizeof(vm->port[i].where), SESSION_PORT "%u", i);
		snprintf(vm->port[i].name, sizeof(vm->port[i].name), "%s", names[i]);
	}
	vm->nr_ports = AGENT_PORTS;
	vm->serial[0] = SESSION_LOG;
	vm->companion = (struct vm_companion){ session_chardev, session_poll, r->session };
}

/* Everything as `doppel boot` has it, but for what the command needs. */
static int configure(struct run *r, struct err *e)
{
	struct vm_config *vm = &r->boot.vm;
	char *kernel;

	if (default_memory(r, e))
		return -1;
	if (asprintf(&kernel, "--kernel=%s", r->kernel.image) < 0)
		return err_set(e, "out of memory");
	r->o.boot[r->o.nr_boot++] = kernel;
	if (boot_options_parse(&r->boot, (int)r->o.nr_boot, r->o.boot, e))
		return -1;
	snprintf(r->append, sizeof(r->append), "%s loglevel=%d %s", COMMAND_LINE, r->o.verbose ? 7 : 1,
		 r->o.append ? r->o.append : "");
	vm->boot.append = r->append;
	vm->no_reboot = true;
	vm->rng = vm->balloon = false;
	add_shares(r, vm);
	add_ports(r, vm);
	r->boot.quiet = true;
	r->boot.no_sandbox |= !sandbox_possible();
	if (!r->boot.no_sandbox) {
		vm->seal = sandbox_seal;
		vm->seal_opaque = &r->sandbox;
	}
	return repeat_open(&r->boot, e);
}

static void on_listens(void *opaque, struct vm *vm)
{
	warm_save(opaque, vm);
}

/* Where another run's guest stood when it had booted. */
static int build_warm(struct run *r, struct err *e)
{
	struct vm_config shape, *vm = &r->boot.vm;
	const char *kernel = vm->boot.kernel;

	snap_shape(r->warm.snap, &shape);
	vm->apic_bus_hz = shape.apic_bus_hz;
	vm->tsc_hz = snap_tsc_hz(r->warm.snap);
	vm->loaded = true;
	vm->boot.kernel = NULL;
	r->vm = vm_new(vm, e);
	r->is_warm = r->vm && !snap_load(r->warm.snap, r->vm, e);
	if (r->is_warm) {
		snap_close(r->warm.snap);
		r->warm.snap = NULL;
		return 0;
	}
	vm_free(r->vm);
	r->vm = NULL;
	vm->loaded = false;
	vm->tsc_hz = 0;
	vm->boot.kernel = kernel;
	return -1;
}

static int build_cold(struct run *r, struct err *e)
{
	r->initrd_fd = initramfs_make(&r->kernel, &r->o, &r->warm, e);
	if (r->initrd_fd < 0)
		return -1;
	snprintf(r->initrd, sizeof(r->initrd), "/proc/self/fd/%d", r->initrd_fd);
	r->boot.vm.boot.initrd = r->initrd;
	warm_prepare(&r->warm);
	r->vm = vm_new(&r->boot.vm, e);
	return r->vm ? 0 : -1;
}

static int build_vm(struct run *r, struct err *e)
{
	struct err why = { "" };

	warm_find(&r->warm, &r->o, &r->kernel, &r->boot.vm);
	if (r->warm.snap && !build_warm(r, &why))
		return 0;
	if (r->warm.snap)
		warm_drop(&r->warm, &why);
	return build_cold(r, e);
}

static int build(struct run *r, struct err *e)
{
	struct session_config cfg = { .tty = r->o.tty,
				      .tty_err = r->o.tty_err,
				      .tell = r->o.verbose,
				      .listens = on_listens,
				      .opaque = &r->warm };

	r->warm.began_ns = r->began_ns;
	if (kernel_find(&r->kernel, r->o.kernel, r->o.modules, e))
		return -1;
	r->session = session_new(&cfg, e);
	if (!r->session || configure(r, e) || run_command_say(r->session, &r->o, &r->boot.vm, e) ||
	    run_control_new(&r->control, &r->boot, e) || build_vm(r, e) ||
	    run_control_open(r->control, r->vm, r->session, e))
		return -1;
	session_attach(r->session, r->vm, r->is_warm);
	if (!r->boot.no_sandbox) {
		sandbox_init(&r->sandbox, r->vm);
		r->sandbox.listens |= r->control != NULL;
		sandbox_enter(&r->sandbox);
	}
	r->built_ns = monotonic();
	return 0;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void tell_start(const struct run *r, const struct session_end *end)
{
	double ms = 1e6, build_ms = (double)(r->built_ns - r->began_ns) / ms;
	double command_ms = build_ms + (double)(end->started_ns - r->vm->began_ns) / ms;
	bool json = r->boot.stats == STATS_JSON;

	if (!r->boot.stats || !end->started_ns)
		return;
	if (r->is_warm)
		fprintf(
		    stderr,
		    json ? "{\"start\": {\"warm\": true, \"build_ms\": %.1f, \"command_ms\": %.1f, \"cold_agent_ms\": "
			   "%.1f}}\n"
			 : "start: warm, machine built %.1f ms, command starts %.1f ms after doppel; cold, its agent "
			   "had listened after %.1f ms\n",
		    build_ms, command_ms, (double)r->warm.image.made_ns / ms);
	else
		fprintf(stderr,
			json
			    ? "{\"start\": {\"warm\": false, \"build_ms\": %.1f, \"agent_ms\": %.1f, \"command_ms\": "
			      "%.1f}}\n"
			    : "start: cold, machine built %.1f ms, agent listens %.1f ms, command starts %.1f ms after "
			      "doppel\n",
			build_ms, build_ms + (double)(end->hello_ns - r->vm->began_ns) / ms, command_ms);
}

/* Control characters, also those of Unicode from U+0080, whose first byte is lead. */
static bool is_control(u8 byte, u8 lead)
{
	return (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f ||
	       (lead == 0xc2 && byte >= 0x80 && byte < 0xa0);
}

/* What a guest wrote, without what a terminal would obey. */
static void make_plain(char *to, size_t len, const char *from)
{
	size_t i = 0;

	for (; from[i] && i + 1 < len; i++) {
		to[i] = from[i];
		if (!is_control((u8)from[i], i ? (u8)from[i - 1] : 0))
			continue;
		to[i] = ' ';
		if ((u8)from[i] >= 0x80)
			to[i - 1] = ' ';
	}
	to[i] = 0;
}

static int failed(const struct run *r, const struct session_end *end)
{
	char why[400], text[4200];

	make_plain(why, sizeof(why), end->why);
	make_plain(text, sizeof(text), end->log);
	if (end->why[0])
		log_msg(LOG_ERROR, "%s", why);
	else
		log_msg(LOG_ERROR, "the command has not ended: %s", r->vm->why);
	if (end->log[0] && !r->o.verbose)
		log_msg(LOG_ERROR, "the guest's kernel said at last:\n%s", text);
	return STATUS_FAILURE;
}

/* A command whose files have failed did not get what it was promised, whatever it made of that. */
static bool lost_files(const struct vm *vm)
{
	bool lost = false;

	for (unsigned i = 0; i < vm->cfg.nr_shares; i++)
		lost = lost || (vm->share[i] && share_has_died(vm->share[i]));
	return lost;
}

static int result(const struct run *r, int status)
{
	struct session_end end;

	session_result(r->session, &end);
	tell_start(r, &end);
	if (r->boot.stats)
		stats_print(r->vm, r->boot.stats, stderr);
	if (end.ended)
		return lost_files(r->vm) ? STATUS_FAILURE : end.status;
	if (status > 128 && !end.why[0])
		return status; /* a signal, before there was a command or when it did not listen */
	return failed(r, &end);
}

/* ---- from start to end ------------------------------------------------------------------------------------------- */

/* The guest's own terminal does what a terminal does: this one only passes bytes. */
static int make_raw(struct err *e)
{
	struct termios cooked, raw;

	if (tcgetattr(STDIN_FILENO, &cooked))
		return err_errno(e, "cannot read the terminal's settings");
	raw = cooked;
	cfmakeraw(&raw);
	signals_guard_terminal(STDIN_FILENO, &cooked, &raw);
	return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) ? err_errno(e, "cannot put the terminal into raw mode") : 0;
}

static int run_vm(struct run *r, struct err *e)
{
	int status;

	if (r->o.verbose)
		fprintf(stderr, "doppel: engine %s, %llu MiB, %u vCPU%s, kernel %s\n", r->vm->cfg.engine->name,
			(unsigned long long)(r->vm->cfg.memory >> 20), r->vm->cfg.cpus, r->vm->cfg.cpus == 1 ? "" : "s",
			r->kernel.image);
	if (run_control_start(r->control, e) || (r->o.tty && make_raw(e)))
		return cli_fail(e);
	signals_on_any(session_signal, r->session);
	signals_on_resize(session_resized, r->session);
	status = vm_run(r->vm, e);
	run_control_stop(r->control);
	signals_on_resize(NULL, NULL);
	signals_on_any(NULL, NULL);
	if (r->o.tty)
		signals_guard_terminal(STDIN_FILENO, NULL, NULL);
	return result(r, status);
}

int run_main(int argc, char **argv)
{
	struct run *r = calloc(1, sizeof(*r));
	struct err e = { "" };
	int status;

	if (!r)
		return STATUS_FAILURE;
	r->began_ns = monotonic();
	r->initrd_fd = -1;
	sandbox_note_inherited(&r->sandbox);
	if (run_options_parse(&r->o, argc, argv, &e)) {
		status = cli_fail(&e);
	} else if (r->o.help) {
		run_help(stdout);
		status = 0;
	} else {
		log_set_level(r->o.quiet ? LOG_ERROR : r->o.verbose ? LOG_INFO : LOG_WARN);
		signals_init();
		status = build(r, &e) ? cli_fail(&e) : run_vm(r, &e);
	}
	run_control_stop(r->control);
	vm_free(r->vm);
	run_control_free(r->control);
	session_free(r->session);
	warm_end(&r->warm);
	if (r->initrd_fd >= 0)
		close(r->initrd_fd);
	for (unsigned i = 0; i < r->o.nr_boot; i++)
		free(r->o.boot[i]);
	for (unsigned i = 0; i < r->o.nr_env; i++)
		free(r->o.env[i]);
	free(r);
	return status;
}
