/* SPDX-License-Identifier: Apache-2.0
 * Runs that can be repeated, and runs that change engines: --record, --replay, --engine-switch-every.
 */
#include <string.h>

#include "base/log.h"
#include "cli/boot.h"
#include "engine/arbiter.h"

int repeat_check(const struct boot_options *o, struct err *e)
{
	const char *what = o->record ? "--record" : "--replay";

	if (o->record && o->replay)
		return err_set(e, "--record and --replay: a run is recorded or repeated, choose one");
	if ((o->record || o->replay) && o->gdb_port)
		return err_set(e, "%s and --gdb do not go together in this version", what);
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

/* The first engine that is not ops. */
static const struct engine_ops *another_engine(const struct engine_ops *ops)
{
	for (unsigned n = 0; arbiter_engine(n); n++)
		if (arbiter_engine(n) != ops)
			return arbiter_engine(n);
	return NULL;
}

int repeat_open(struct boot_options *o, struct err *e)
{
	if (open_inputs(o, e))
		return -1;
	o->vm.engine = arbiter_choose(o->engine, e);
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
