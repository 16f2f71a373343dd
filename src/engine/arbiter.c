/* SPDX-License-Identifier: Apache-2.0
 * Which engine runs a vCPU, and why.
 */
#include "engine/arbiter.h"

#include <stdio.h>
#include <string.h>

#include "cpu/cpuid.h"

/* "auto" takes the first one that works and gains something. */
static const struct engine_ops *const engines[] = { &engine_kvm, &engine_direct, &engine_translate, &engine_interp };

const struct engine_ops *arbiter_engine(unsigned n)
{
	return n < ARRAY_SIZE(engines) ? engines[n] : NULL;
}

/* Can it keep the CPU model that is asked for? */
static int keeps_model(const struct engine_ops *ops, const struct arbiter_needs *needs, struct err *e)
{
	struct cpuid_model *m;
	struct cpuid_limits l;
	bool same;

	if (!ops->limits || !needs->cpu_model)
		return 0;
	if (ops->limits(needs->options, &l, e))
		return -1;
	if (needs->apic_bus_hz && l.apic_bus_hz && l.apic_bus_hz != needs->apic_bus_hz)
		return err_set(e, "the snapshot's APIC timers count with another clock than those of %s", l.who);
	m = cpuid_model_new_within(needs->cpu_model, needs->cpus, &l, e);
	if (!m)
		return -1;
	same = !needs->features || !memcmp(needs->features, m->features, sizeof(m->features));
	cpuid_model_free(m);
	return same ? 0 : err_set(e, "the snapshot's CPU has other features than %s gives it", l.who);
}

static int refused(const struct engine_ops *ops, const struct arbiter_needs *needs, struct err *e)
{
	return needs->counting && (ops->timed || ops->uncounted)
		   ? err_set(e, "the engine %s does not count instructions, and what is asked for builds on that",
			     ops->name)
		   : 0;
}

static const struct engine_ops *choose_auto(const struct arbiter_needs *needs, struct err *passed, struct err *e)
{
	passed->text[0] = 0;
	for (unsigned n = 0; n < ARRAY_SIZE(engines); n++) {
		if (refused(engines[n], needs, e))
			continue;
		if (!engines[n]->probe(e) && !keeps_model(engines[n], needs, e))
			return engines[n];
		if (!passed->text[0])
			err_set(passed, "not %s: %.360s", engines[n]->name, e->text);
	}
	return NULL;
}

static const struct engine_ops *fail_unknown(const char *name, struct err *e)
{
	char list[100] = "auto";
	size_t at = 4;

	for (unsigned n = 0; n < ARRAY_SIZE(engines) && at < sizeof(list); n++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, ", %s", engines[n]->name);
	err_set(e, "there is no engine \"%.40s\"; this doppel has: %s", name, list);
	return NULL;
}

const struct engine_ops *arbiter_choose_for(const char *name, const struct arbiter_needs *needs, struct err *passed,
					    struct err *e)
{
	passed->text[0] = 0;
	if (!name || !strcmp(name, "auto"))
		return choose_auto(needs, passed, e);
	for (unsigned n = 0; n < ARRAY_SIZE(engines); n++)
		if (!strcmp(engines[n]->name, name))
			return refused(engines[n], needs, e) || engines[n]->probe(e) ? NULL : engines[n];
	return fail_unknown(name, e);
}

const struct engine_ops *arbiter_choose(const char *name, struct err *e)
{
	const struct arbiter_needs none = { 0 };
	struct err passed;

	return arbiter_choose_for(name, &none, &passed, e);
}
