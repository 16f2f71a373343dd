/* SPDX-License-Identifier: Apache-2.0
 * The commands of commands.def. Whatever looks at vCPUs or devices holds the machine while it does.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/control.h"
#include "base/option.h"
#include "base/state.h"
#include "cpu/fields.h"
#include "machine/pc.h"

/* A guest that is not asleep answers within milliseconds; one without the driver never does. */
#define BALLOON_TRIES 25
#define BALLOON_WAIT_US 10000

typedef int command_fn(struct monitor *m, const char *arg, FILE *out, struct err *e);

#define COMMAND(name, arg, help) static command_fn do_##name;
#include "api/commands.def"
#undef COMMAND

static const struct command {
	const char *name, *arg, *help;
	command_fn *run;
} commands[] = {
#define COMMAND(name, arg, help) { #name, arg, help, do_##name },
#include "api/commands.def"
#undef COMMAND
};

/* ---- the machine stands still while it is looked at
 * ------------------------------------------------------------------ */

static void enter(struct vm *vm)
{
	vm_pause(vm);
	pthread_mutex_lock(&vm->lock);
}

static void leave(struct vm *vm)
{
	pthread_mutex_unlock(&vm->lock);
	vm_resume(vm);
}

/* ---- info
 * ------------------------------------------------------------------------------------------------------------ */

static void info_registers(struct vm *vm, FILE *out)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		cpu_dump(vm->vcpu[i]->cpu, out);
}

static void info_cpus(struct vm *vm, FILE *out)
{
	static const char *const activity[] = { "running", "halted", "shut down", "waiting for SIPI" };

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		const struct cpu *c = vm->vcpu[i]->cpu;

		fprintf(out, "cpu%u  %-16s  APIC id %u  rip %016llx  %.3f s of host CPU\n", i,
			activity[c->activity & 3], c->lapic.id, (unsigned long long)c->r[R_RIP],
			(double)vcpu_cpu_ns(vm->vcpu[i]) / 1e9);
	}
}

struct walk {
	FILE *out;
	const char *want; /* a part to print, or NULL for names */
	bool found;
};

static void print_field(const struct state_field *f, const void *object, FILE *out)
{
	u8 bytes[4096], *p = f->size <= sizeof(bytes) ? bytes : malloc(f->size);

	if (!p)
		return;
	fprintf(out, "%-24s", f->name);
	for (u32 i = 0; i < f->count; i++) {
		state_get(f, object, i, p);
		fputc(' ', out);
		/* Integers with the most significant byte first, others as they lie. */
		for (u32 k = 0; k < f->size; k++)
			fprintf(out, "%02x", p[f->kind == STATE_KIND_BYTES ? k : f->size - 1 - k]);
	}
	fputc('\n', out);
	if (p != bytes)
		free(p);
}

static int print_part(void *opaque, const char *name, const struct state *s, void *object)
{
	struct walk *w = opaque;

	if (!w->want) {
		fprintf(w->out, "%s\n", name);
		return 0;
	}
	if (strcmp(name, w->want))
		return 0;
	w->found = true;
	for (unsigned i = 0; i < s->n; i++)
		print_field(&s->field[i], object, w->out);
	return 0;
}

static void print_cpu(struct vm *vm, struct walk *w)
{
	char name[16];

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		snprintf(name, sizeof(name), "cpu%u", i);
		print_part(w, name, &cpu_state, vm->vcpu[i]->cpu);
	}
}

/* Bytes of PCI config space, by the table. */
static int print_pci(void *opaque, const char *name, const struct state *s, void *object)
{
	FILE *out = opaque;
	u8 c[256];

	if (strncmp(name, "pci", 3) || !s->n || strcmp(s->field[0].name, "config"))
		return 0;
	state_get(&s->field[0], object, 0, c);
	fprintf(out, "%s  %02x%02x:%02x%02x  class %02x%02x%02x  command %02x%02x ", name + 3, c[1], c[0], c[3], c[2],
		c[11], c[10], c[9], c[5], c[4]);
	for (unsigned b = 0x10; b < 0x28; b += 4)
		if (c[b] || c[b + 1] || c[b + 2] || c[b + 3])
			fprintf(out, " BAR%u %02x%02x%02x%02x", (b - 0x10) / 4, c[b + 3], c[b + 2], c[b + 1], c[b]);
	fputc('\n', out);
	return 0;
}

/* The guest's own account of its memory; without lines that it does not tell. */
static void info_balloon_stats(const struct virtio_balloon *v, FILE *out)
{
	static const char *const name[NR_BALLOON_STATS] = {
		[BALLOON_SWAP_IN] = "swapped in",
		[BALLOON_SWAP_OUT] = "swapped out",
		[BALLOON_MAJOR_FAULTS] = "major faults",
		[BALLOON_MINOR_FAULTS] = "minor faults",
		[BALLOON_FREE] = "free",
		[BALLOON_TOTAL] = "total",
		[BALLOON_AVAILABLE] = "available",
		[BALLOON_CACHES] = "caches",
		[BALLOON_HUGE_ALLOCATED] = "huge pages",
		[BALLOON_HUGE_FAILED] = "huge pages failed",
	};

	for (unsigned i = 0; i < NR_BALLOON_STATS; i++) {
		u64 n = virtio_balloon_stat(v, i);
		bool count = i == BALLOON_MAJOR_FAULTS || i == BALLOON_MINOR_FAULTS || i >= BALLOON_HUGE_ALLOCATED;

		if (n != ~0ull)
			fprintf(out, "%s: %llu%s\n", name[i], (unsigned long long)(count ? n : n >> 10),
				count ? "" : " KiB");
	}
}

static int info_balloon(struct vm *vm, FILE *out)
{
	u64 bytes;

	if (!pc_balloon_get(vm->pc, &bytes))
		return -1;
	fprintf(out, "the guest has given back %llu KiB\n", (unsigned long long)bytes >> 10);
	info_balloon_stats(pc_balloon(vm->pc), out);
	return 0;
}

/* Lets the guest tell its statistics anew, for so long as a driver that runs needs; what came last stands otherwise. */
static void refresh_balloon(struct monitor *m)
{
	struct vm *vm = m->cfg.vm;
	struct virtio_balloon *v;
	u64 before, now;

	enter(vm);
	v = pc_balloon(vm->pc);
	before = now = v ? virtio_balloon_answers(v) : 0;
	if (v)
		virtio_balloon_ask_stats(v);
	leave(vm);
	for (unsigned i = 0; v && !m->held && now == before && i < BALLOON_TRIES; i++) {
		usleep(BALLOON_WAIT_US);
		pthread_mutex_lock(&vm->lock);
		now = virtio_balloon_answers(v);
		pthread_mutex_unlock(&vm->lock);
	}
}

static int info(struct vm *vm, const char *what, FILE *out, struct err *e)
{
	struct walk w = { .out = out, .want = what };

	if (!*what || !strcmp(what, "devices")) {
		w.want = NULL;
		print_cpu(vm, &w);
		pc_each_state(vm->pc, print_part, &w);
	} else if (!strcmp(what, "registers")) {
		info_registers(vm, out);
	} else if (!strcmp(what, "cpus")) {
		info_cpus(vm, out);
	} else if (!strcmp(what, "pci")) {
		pc_each_state(vm->pc, print_pci, out);
	} else if (!strcmp(what, "balloon")) {
		return info_balloon(vm, out) ? err_set(e, "the machine has no balloon") : 0;
	} else {
		print_cpu(vm, &w);
		pc_each_state(vm->pc, print_part, &w);
		if (!w.found)
			return err_set(e,
				       "there is no info about '%.60s': 'info devices' lists names, and there are "
				       "registers, cpus, pci and balloon",
				       what);
	}
	return 0;
}

static int do_info(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	int ret;

	if (!strcmp(arg, "balloon"))
		refresh_balloon(m);
	enter(m->cfg.vm);
	ret = info(m->cfg.vm, arg, out, e);
	leave(m->cfg.vm);
	return ret;
}

/* ---- the others
 * ------------------------------------------------------------------------------------------------------ */

static void print_command(const struct command *c, FILE *out)
{
	char name[32];

	snprintf(name, sizeof(name), "%s", c->name);
	for (char *p = name; *p; p++)
		if (*p == '_')
			*p = '-';
	fprintf(out, "%-14s %-8s %s\n", name, c->arg, c->help);
}

static int do_help(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	(void)m;
	(void)arg;
	(void)e;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		print_command(&commands[i], out);
	return 0;
}

static int do_status(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	const struct vm *vm = m->cfg.vm;

	(void)arg;
	(void)e;
	fprintf(out, "%s: %s, engine %s, %llu MiB, %u vCPU%s, up %.1f s, process %d", m->cfg.name,
		m->held ? "held" : "running", vm->cfg.engine->name, (unsigned long long)vm->cfg.memory >> 20,
		vm->nr_vcpus, vm->nr_vcpus == 1 ? "" : "s", (double)clock_ns(&vm->clock) / 1e9, (int)getpid());
	return 0;
}

static int do_stat(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	(void)arg;
	(void)e;
	m->cfg.stats(m->cfg.opaque, out);
	return 0;
}

static int do_stop(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	(void)arg;
	if (m->held)
		return err_set(e, "the machine is held already: 'cont' lets it go on");
	vm_pause(m->cfg.vm);
	m->held = true;
	fputs("the machine is held", out);
	return 0;
}

void monitor_release(struct monitor *m)
{
	if (m->held)
		vm_resume(m->cfg.vm);
	m->held = false;
}

static int do_cont(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	(void)arg;
	if (!m->held)
		return err_set(e, "the machine is running");
	monitor_release(m);
	fputs("the machine goes on", out);
	return 0;
}

static int do_save(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	if (!*arg)
		return err_set(e, "save where? give a FILE");
	if (m->cfg.save(m->cfg.opaque, arg, m->file, e))
		return -1;
	fprintf(out, "saved to '%s'", arg);
	return 0;
}

/* Nothing that happened after the save may be on a disk: the machine stays where it was saved. */
static int do_save_and_quit(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	int ret;

	vm_pause(m->cfg.vm);
	ret = do_save(m, arg, out, e);
	if (!ret)
		vm_end(m->cfg.vm, 0, "saved, and ended by its control socket");
	vm_resume(m->cfg.vm);
	return ret;
}

static int do_power(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	struct vm *vm = m->cfg.vm;

	(void)arg;
	(void)e;
	pthread_mutex_lock(&vm->lock);
	pc_press_power(vm->pc);
	pthread_mutex_unlock(&vm->lock);
	fputs("the power button was pressed", out);
	return 0;
}

static int do_reset(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	(void)arg;
	(void)e;
	vm_request_reset(m->cfg.vm);
	fputs("the machine is reset", out);
	return 0;
}

static int do_nmi(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	(void)arg;
	(void)e;
	cpu_post_nmi(m->cfg.vm->vcpu[0]->cpu);
	vcpu_post(m->cfg.vm->vcpu[0], 0);
	fputs("an NMI was sent", out);
	return 0;
}

static int do_balloon(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	struct vm *vm = m->cfg.vm;
	u64 bytes = 0;
	bool there;

	if (*arg && option_size("balloon", arg, 0, vm->cfg.memory, &bytes, NULL))
		return err_set(e, "balloon '%.40s' is no size from 0 to the machine's %llu MiB", arg,
			       (unsigned long long)vm->cfg.memory >> 20);
	if (!*arg)
		refresh_balloon(m);
	enter(vm);
	there = *arg ? pc_balloon_set(vm->pc, bytes) : !info_balloon(vm, out);
	leave(vm);
	if (!there)
		return err_set(e, "the machine has no balloon");
	if (*arg)
		fprintf(out, "the guest is asked for %llu KiB", (unsigned long long)bytes >> 10);
	return 0;
}

static int do_exec(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	int fd, ret;

	(void)arg;
	(void)out;
	if (!m->cfg.exec)
		return err_set(e, "no agent of doppel's is in that machine: 'doppel run --name NAME' has one");
	fd = m->file >= 0 ? fcntl(m->file, F_DUPFD_CLOEXEC, 3) : -1;
	if (fd < 0)
		return err_set(e, "'exec' is what 'doppel exec' says: it needs a socket along with it");
	pthread_mutex_lock(&m->cfg.vm->lock);
	ret = m->cfg.exec(m->cfg.opaque, fd, e);
	pthread_mutex_unlock(&m->cfg.vm->lock);
	if (ret)
		close(fd);
	return ret;
}

static int do_quit(struct monitor *m, const char *arg, FILE *out, struct err *e)
{
	(void)arg;
	(void)e;
	vm_end(m->cfg.vm, 0, "ended by its control socket");
	fputs("the machine ends", out);
	return 0;
}

/* ---- a command and its answer
 * ---------------------------------------------------------------------------------------- */

static json_t *failed(const struct err *e)
{
	json_t *a = json_pack("{s:b}", "ok", 0);

	json_object_set_new(a, "error", json_string_nocheck(e->text));
	return a;
}

static json_t *run(struct monitor *m, const struct command *cmd, const char *arg)
{
	struct err e = { "" };
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	json_t *a;
	int ret;

	if (!out) {
		err_set(&e, "out of memory");
		return failed(&e);
	}
	ret = cmd->run(m, arg, out, &e);
	fclose(out);
	if (ret) {
		a = failed(&e);
	} else {
		a = json_pack("{s:b}", "ok", 1);
		json_object_set_new(a, "text", json_string_nocheck(text));
	}
	free(text);
	return a;
}

/* In C a '-' is written '_'. */
static bool same_name(const char *said, const char *name)
{
	while (*said && (*said == *name || (*said == '-' && *name == '_'))) {
		said++;
		name++;
	}
	return !*said && !*name;
}

json_t *monitor_do(struct monitor *m, const char *command, const char *arg)
{
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!same_name(command, commands[i].name))
			continue;
		if (*arg && !*commands[i].arg) {
			err_set(&e, "'%s' takes no '%.60s'", command, arg);
			return failed(&e);
		}
		return run(m, &commands[i], arg);
	}
	err_set(&e, "there is no command '%.60s': 'help' lists what there is", command);
	return failed(&e);
}
