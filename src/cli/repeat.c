/* SPDX-License-Identifier: Apache-2.0
 * Runs that can be repeated, and runs of more than one engine: --record, --replay, --lockstep, --engine-switch-every.
 */
#include <string.h>

#include "base/option.h"
#include "cli/boot.h"
#include "engine/arbiter.h"

int repeat_check(const struct boot_options *o, struct err *e)
{
	const char *what = o->record ? "--record" : "--replay";

	if (o->record && o->replay)
		return err_set(e, "--record and --replay: a run is recorded or repeated, choose one");
	if (o->lockstep && (o->record || o->replay || o->vm.switch_every || o->load))
		return err_set(e, "--lockstep does not go with --record, --replay, --load and --engine-switch-every");
	if ((o->record || o->replay || o->lockstep) && o->vm.nr_nets)
		return err_set(e, "%s and --net do not go together: what a network brings is not recorded",
			       o->lockstep ? "--lockstep" : what);
	if ((o->record || o->replay || o->lockstep) && o->vm.nr_shares)
		return err_set(e, "%s and --share do not go together: what lies in a directory is not recorded",
			       o->lockstep ? "--lockstep" : what);
	if (o->load && o->vm.nr_shares)
		return err_set(e, "--load and --share do not go together: a snapshot has no shared directories");
	if ((o->record || o->replay || o->lockstep) && o->gdb_port)
		return err_set(e, "%s and --gdb do not go together in this version", o->lockstep ? "--lockstep" : what);
	return 0;
}

static int open_inputs(struct boot_options *o, struct err *e)
{
	if (o->record)
		o->vm.inputs = inputs_record(o->record, e);
	if (o->replay)
		o->vm.inputs = inputs_replay(o->replay, e);
	if ((o->record || o->replay) && !o->vm.inputs)
		return -1;
	o->vm.deterministic = o->vm.inputs;
	if (o->replay && !strcmp(o->engine, "auto"))
		o->engine = inputs_setup(o->vm.inputs)->engine;
	return 0;
}

/* The first engine that is not ops and counts. Beside an engine that does not, the interpreter: what it cannot do
 * is the interpreter's, too. */
static const struct engine_ops *another_engine(const struct engine_ops *ops)
{
	if (ops->timed || ops->uncounted)
		return &engine_interp;
	for (unsigned n = 0; arbiter_engine(n); n++)
		if (arbiter_engine(n) != ops && !arbiter_engine(n)->timed && !arbiter_engine(n)->uncounted)
			return arbiter_engine(n);
	return NULL;
}

/* "A,B" or "A,B,N". The interpreter stops exactly, so it follows. */
static int open_lockstep(struct boot_options *o, struct err *e)
{
	size_t first = strcspn(o->lockstep, ","),
	       second = o->lockstep[first] ? strcspn(o->lockstep + first + 1, ",") : 0;
	const char *rest = o->lockstep + first + (second ? 1 + second : 0);
	char name[2][24] = { "", "" };
	const struct engine_ops *engine[2];
	const struct arbiter_needs counting = { .counting = true };
	struct err passed;

	if (!second || first >= sizeof(name[0]) || second >= sizeof(name[1]))
		return err_set(e, "--lockstep does not take '%.100s': give interp,translate or interp,translate,N",
			       o->lockstep);
	memcpy(name[0], o->lockstep, first);
	memcpy(name[1], o->lockstep + first + 1, second);
	o->lockstep_every = 1;
	if (*rest && option_u64("lockstep", rest + 1, 1, 1u << 30, &o->lockstep_every, e))
		return -1;
	for (unsigned k = 0; k < 2; k++)
		if (!(engine[k] = arbiter_choose_for(name[k], &counting, &passed, e)))
			return -1;
	if (engine[0] == engine[1] || (engine[0] != &engine_interp && engine[1] != &engine_interp))
		return err_set(e, "--lockstep compares the engine interp with another one, not '%.100s'", o->lockstep);
	o->follower = &engine_interp;
	o->vm.engine = engine[engine[0] == &engine_interp];
	return 0;
}

/* Is it about what only an engine of this program's own sees or keeps? */
static bool wants_software(const struct boot_options *o)
{
	const struct engine_options *t = &o->vm.engine_options;

	return t->verify || t->dump_blocks || t->perf_map || t->jit_symbols || o->vm.switch_every || o->trace ||
	       o->audit_tlb || o->audit_blocks;
}

/* auto leaves out what cannot do what other options ask for. */
static const struct engine_ops *choose_engine(struct boot_options *o, struct err *e)
{
	const struct engine_options *t = &o->vm.engine_options;
	bool pinned = strcmp(o->engine, "auto");
	struct arbiter_needs needs = { .counting = o->vm.deterministic,
				       .cpu_model = o->vm.cpu_model,
				       .cpus = o->vm.cpus,
				       .features = o->features,
				       .apic_bus_hz = o->vm.apic_bus_hz,
				       .options = t };

	if (!pinned && wants_software(o))
		needs.counting = true;
	return arbiter_choose_for(o->engine, &needs, &o->passed, e);
}

int repeat_open(struct boot_options *o, struct err *e)
{
	if (o->lockstep)
		return open_lockstep(o, e);
	if (open_inputs(o, e))
		return -1;
	o->vm.engine = choose_engine(o, e);
	if (!o->vm.engine)
		return -1;
	if (o->vm.switch_every) {
		o->vm.other_engine = another_engine(o->vm.engine);
		return o->vm.other_engine->probe(e);
	}
	return 0;
}

void repeat_tell(const struct boot_options *o, const struct vm *vm)
{
	char text[HASH_TEXT];
	u64 n = 0;

	if (!o->vm.inputs || o->quiet)
		return;
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		n += vm->vcpu[i]->cpu->icount;
	fprintf(stderr, "doppel: state %s after %llu instructions\n", hash_text(&vm->det.state, text),
		(unsigned long long)n);
}

int repeat_close(struct boot_options *o, struct err *e)
{
	return inputs_close(o->vm.inputs, e);
}
