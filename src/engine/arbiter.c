/* SPDX-License-Identifier: Apache-2.0
 * Which engine runs a vCPU, and why.
 */
#include "engine/arbiter.h"

#include <stdio.h>

/* Best first: "auto" takes the first one that works. */
static const struct engine_ops *const engines[] = { &engine_translate, &engine_interp };

const struct engine_ops *arbiter_engine(unsigned n)
{
	return n < ARRAY_SIZE(engines) ? engines[n] : NULL;
}

static const struct engine_ops *choose_auto(struct err *e)
{
	for (unsigned n = 0; n < ARRAY_SIZE(engines); n++)
		if (!engines[n]->probe(e))
			return engines[n];
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

const struct engine_ops *arbiter_choose(const char *name, struct err *e)
{
	if (!name || !strcmp(name, "auto"))
		return choose_auto(e);
	for (unsigned n = 0; n < ARRAY_SIZE(engines); n++)
		if (!strcmp(engines[n]->name, name))
			return engines[n]->probe(e) ? NULL : engines[n];
	return fail_unknown(name, e);
}
