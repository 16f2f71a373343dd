/* SPDX-License-Identifier: Apache-2.0 */
#include "base/counter.h"

static const struct {
	const char *name, *text;
} table[NR_COUNTERS] = {
#define COUNTER(id, name, text) [CNT_##id] = { name, text },
#include "base/counters.def"
#undef COUNTER
};

const char *counter_name(enum counter id)
{
	return id < NR_COUNTERS ? table[id].name : "?";
}

const char *counter_text(enum counter id)
{
	return id < NR_COUNTERS ? table[id].text : "";
}
