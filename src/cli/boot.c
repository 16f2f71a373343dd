/* SPDX-License-Identifier: Apache-2.0
 * doppel boot
 */
#include "cli/boot.h"

#include <stdlib.h>
#include <unistd.h>

#include "api/control.h"
#include "api/dir.h"
#include "api/keeper.h"
#include "base/log.h"
#include "base/signals.h"
#include "debug/gdb.h"
#include "debug/lockstep.h"
#include "debug/trace.h"
#include "mmu/mmu.h"
#include "snap/snap.h"

struct session {
	struct boot_options o;
	struct symbols *symbols;
	struct trace *trace;
	struct gdb *gdb;
	struct vm *vm;
	struct snap *snap; /* --load */
	struct control *control;
	struct keeper *keeper; /* in the sandbox: of paths */
	struct sandbox sandbox;
	char key_file[64]; /* where the console's key saves to */
};

/* ---- the console's escape keys ------------------------------------------------------------------------------------
 */

static void save_here(struct session *s)
{
	if (s->control)
		control_post(s->control, "save", s->key_file);
	else
		log_msg(LOG_ERROR, "a machine that was started with --name can be saved");
}

static void on_key(void *opaque, char letter)
{
	struct session *s = opaque;

	switch (letter) {
	case 'x':
		vm_end(s->vm, 0, "ended from the console");
		break;
	case 't':
		fputc('\n', stderr);
		stats_print(s->vm, STATS_TEXT, stderr);
		break;
	case 's':
		save_here(s);
		break;
	case 'd':
		log_msg(LOG_ERROR, "detaching is not available in this version; Ctrl-a x ends the machine");
		break;
	case 'c':
		log_msg(LOG_ERROR, "'doppel monitor %s' in another terminal is the monitor%s", s->o.name,
			s->control ? "" : ", for a machine that was started with --name");
		break;
	default:
		fputs("\ndoppel: Ctrl-a and: h this help, x quit, t statistics, b break, a a literal Ctrl-a\n", stderr);
	}
}

static void on_resize(void *opaque)
{
	vm_resized(opaque);
}

static void on_signal(void *opaque, int sig)
{
	vm_signal(opaque, sig);
}

/* ---- tracing ------------------------------------------------------------------------------------------------------
 */

static void on_trace(struct cpu *c, enum trace_kind kind, u64 a, u64 b, u64 x)
{
	trace_event(vcpu_of(c)->vm->cfg.trace_opaque, c, kind, a, b, x);
}

static int open_debugging(struct session *s, struct err *e)
{
	struct boot_options *o = &s->o;

	if (o->gdb_port && !(s->gdb = gdb_new((unsigned)o->gdb_port, o->wait, &o->vm, e)))
		return -1;
	if (o->symbols && !(s->symbols = symbols_load(o->symbols, e)))
		return -1;
	if (!o->trace)
		return 0;
	if (trace_parse(o->trace, &o->vm.trace_mask, e) || !(s->trace = trace_new(o->trace_file, s->symbols, e)))
		return -1;
	o->vm.trace = on_trace;
	o->vm.trace_opaque = s->trace;
	return 0;
}

/* ---- from start to end --------------------------------------------------------------------------------------------
 */

static void say_hello(const struct session *s)
{
	const struct vm *vm = s->vm;

	if (s->o.quiet)
		return;
	fprintf(stderr, "doppel: %s%sengine %s (%s%s%s), %llu MiB, %u vCPU%s, %s; %s; Ctrl-a h for keys\n",
		s->o.name ? s->o.name : "", s->o.name ? ": " : "", vm->cfg.engine->name,
		strcmp(s->o.engine, "auto") ? "as asked" : "by default", s->o.passed.text[0] ? "; " : "",
		s->o.passed.text, (unsigned long long)(vm->cfg.memory >> 20), vm->cfg.cpus,
		vm->cfg.cpus == 1 ? "" : "s", vm->model->name, s->o.load ? "from a snapshot" : boot_kind(vm->boot));
}

static void audit_blocks(const struct vm *vm)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		wrong += vcpu_audit(vm->vcpu[i]);
	log_msg(LOG_ERROR, "audit blocks: %u differ from memory", wrong);
}

static void audit(const struct session *s)
{
	unsigned wrong = 0;

	if (s->o.audit_blocks)
		audit_blocks(s->vm);
	if (!s->o.audit_tlb)
		return;
	for (unsigned i = 0; i < s->vm->nr_vcpus; i++)
		wrong += mmu_audit(s->vm->vcpu[i]->cpu);
	log_msg(LOG_ERROR, "audit tlb: %u entries disagree with the page tables", wrong);
}

/* What machine the snapshot is of, which the choice of the engine depends on. */
static int open_snapshot(struct session *s, struct err *e)
{
	struct vm_config shape;

	if (!s->o.load)
		return 0;
	s->snap = snap_open(s->o.load, e);
	if (!s->snap)
		return -1;
	snap_shape(s->snap, &shape);
	boot_options_take_shape(&s->o, &shape);
	s->o.features = snap_features(s->snap);
	return 0;
}

/* The machine, with the state of the snapshot if there is one. */
static int make_machine(struct session *s, struct err *e)
{
	s->vm = vm_new(&s->o.vm, e);
	return !s->vm || (s->snap && snap_load(s->snap, s->vm, e)) ? -1 : 0;
}

static int save_by_keeper(struct session *s, struct err *e)
{
	struct err ignored;
	int fd = keeper_open(s->keeper, e), ret;

	if (fd < 0)
		return -1;
	ret = snap_save_fd(s->vm, fd, e);
	close(fd);
	if (keeper_commit(s->keeper, !ret, ret ? &ignored : e) < 0)
		ret = -1;
	return ret;
}

static int on_save(void *opaque, const char *path, int fd, struct err *e)
{
	struct session *s = opaque;

	if (fd >= 0)
		return snap_save_fd(s->vm, fd, e);
	if (s->keeper && !strcmp(path, s->key_file))
		return save_by_keeper(s, e);
	if (s->keeper)
		return err_set(e, "this machine is in a sandbox and opens no files: 'doppel save' hands it one");
	return snap_save(s->vm, path, e);
}

static void on_stat(void *opaque, FILE *f)
{
	stats_print(((struct session *)opaque)->vm, STATS_JSON, f);
}

static int open_control(struct session *s, struct err *e)
{
	const struct control_config cfg = {
		.name = s->o.name, .vm = s->vm, .save = on_save, .stats = on_stat, .opaque = s
	};

	s->control = control_new(&cfg, e);
	return s->control ? 0 : -1;
}

/* ---- the sandbox --------------------------------------------------------------------------------------------------
 */

static void add_socket(struct keeper_paths *p, const char *where)
{
	if (where && !strncmp(where, "unix:", 5) && p->nr_sockets < ARRAY_SIZE(p->socket))
		p->socket[p->nr_sockets++] = where + 5;
}

/* Who will take away what the machine makes in directories: before there is a machine. */
static int start_keeper(struct session *s, struct err *e)
{
	struct keeper_paths p = { .snapshot = s->o.named ? s->key_file : NULL };
	struct sockaddr_un addr;

	if (s->o.no_sandbox)
		return 0;
	if (s->o.named && api_address(s->o.name, &addr, e))
		return -1;
	if (s->o.named)
		p.socket[p.nr_sockets++] = addr.sun_path;
	for (unsigned i = 0; i < VM_SERIAL_MAX; i++)
		add_socket(&p, s->o.vm.serial[i]);
	for (unsigned i = 0; i < s->o.vm.nr_ports; i++)
		add_socket(&p, s->o.vm.port[i].where);
	add_socket(&p, s->o.vm.debugcon);
	if (!p.nr_sockets)
		return 0;
	s->keeper = keeper_new(&p, e);
	return s->keeper ? 0 : -1;
}

static int enter_sandbox(struct session *s, struct err *e)
{
	char text[200];

	if (s->o.no_sandbox)
		return 0;
	if (s->keeper && keeper_arm(s->keeper, e))
		return -1;
	sandbox_init(&s->sandbox, s->vm);
	s->sandbox.gdb = s->gdb;
	s->sandbox.listens |= s->control != NULL;
	sandbox_enter(&s->sandbox);
	sandbox_text(&s->sandbox, text, sizeof(text));
	log_msg(LOG_DEBUG, "sandbox: %s", text);
	return 0;
}

static int run_lockstep(struct session *s, struct err *e)
{
	struct lockstep *l = lockstep_new(&s->o.vm, s->o.follower, s->o.lockstep_every, e);
	int status;

	if (!l)
		return cli_fail(e);
	s->vm = lockstep_lead(l);
	if (enter_sandbox(s, e) || (!s->o.no_sandbox && sandbox_seal(&s->sandbox, e)))
		return cli_fail(e);
	say_hello(s);
	signals_on_stop(on_signal, s->vm);
	status = lockstep_run(l, e);
	signals_on_stop(NULL, NULL);
	s->vm = lockstep_lead(l);
	if (s->vm && s->o.stats)
		stats_print(s->vm, s->o.stats, stderr);
	if (s->vm && s->vm->why[0])
		log_msg(status == STATUS_FAILURE ? LOG_ERROR : LOG_INFO, "%s", s->vm->why);
	s->vm = NULL;
	lockstep_free(l);
	return status;
}

static int run(struct session *s, struct err *e)
{
	int status;

	if (s->o.lockstep)
		return run_lockstep(s, e);
	if (start_keeper(s, e) || make_machine(s, e))
		return cli_fail(e);
	if (s->o.named && !s->o.vm.deterministic && open_control(s, e))
		return cli_fail(e);
	if (enter_sandbox(s, e))
		return cli_fail(e);
	if ((s->gdb && gdb_start(s->gdb, s->vm, e)) || (s->control && control_start(s->control, e)))
		return cli_fail(e);
	say_hello(s);
	signals_on_stop(on_signal, s->vm);
	signals_on_resize(on_resize, s->vm);
	vm_resized(s->vm);
	status = vm_run(s->vm, e);
	signals_on_resize(NULL, NULL);
	signals_on_stop(NULL, NULL);
	control_stop(s->control);
	repeat_tell(&s->o, s->vm);
	audit(s);
	if (status == STATUS_FAILURE)
		log_msg(LOG_ERROR, "%s", s->vm->why);
	else if (!s->o.quiet)
		log_msg(LOG_INFO, "%s", s->vm->why);
	return status;
}

int boot_main(int argc, char **argv)
{
	struct session s = { 0 };
	int status = STATUS_FAILURE;
	struct err e = { "" };

	sandbox_note_inherited(&s.sandbox);
	if (boot_options_parse(&s.o, argc, argv, &e))
		return cli_fail(&e);
	if (s.o.help) {
		boot_help(stdout);
		return 0;
	}
	log_set_level(s.o.quiet ? LOG_ERROR : s.o.verbose > 1 ? LOG_DEBUG : s.o.verbose ? LOG_INFO : LOG_WARN);
	s.o.no_sandbox |= !sandbox_possible();
	if (!s.o.no_sandbox) {
		s.o.vm.seal = sandbox_seal;
		s.o.vm.seal_opaque = &s.sandbox;
	}
	snprintf(s.key_file, sizeof(s.key_file), "%s.snap", s.o.named ? s.o.name : "doppel");
	s.o.vm.keys = (struct chardev_keys){ on_key, &s };
	signals_init();
	if (open_snapshot(&s, &e) || repeat_open(&s.o, &e) || open_debugging(&s, &e))
		cli_fail(&e);
	else
		status = run(&s, &e);
	if (s.vm && s.o.stats)
		stats_print(s.vm, s.o.stats, stderr);
	gdb_free(s.gdb, status);
	vm_free(s.vm);
	keeper_free(s.keeper);
	snap_close(s.snap);
	if (repeat_close(&s.o, &e))
		status = cli_fail(&e);
	trace_free(s.trace);
	symbols_free(s.symbols);
	return status;
}
