/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/translate/opts.h"

static const struct {
	const char *name;
	bool on;
	const char *text;
} rows[NR_OPTS] = {
#define OPT(id, name, on, text) [OPT_##id] = { name, on, text },
#include "engine/translate/opts.def"
#undef OPT
};

u64 opts_default(void)
{
	u64 opts = 0;

	for (unsigned n = 0; n < NR_OPTS; n++)
		opts |= (u64)rows[n].on << n;
	return opts;
}

static bool is(const char *word, size_t len, const char *name)
{
	return strlen(name) == len && !memcmp(word, name, len);
}

/* The bits that a word without its dash stands for; 0 if it is unknown. */
static u64 bits_of(const char *word, size_t len)
{
	if (is(word, len, "all"))
		return BIT(NR_OPTS) - 1;
	for (unsigned n = 0; n < NR_OPTS; n++)
		if (is(word, len, rows[n].name))
			return BIT(n);
	return 0;
}

int opts_parse(const char *list, u64 *opts, struct err *e)
{
	*opts = opts_default();
	for (const char *p = list;; p++) {
		size_t len = strcspn(p, ","), off = *p == '-';
		u64 b = bits_of(p + off, len - off);

		if (is(p, len, "none"))
			*opts = 0;
		else if (!b)
			return err_set(e,
				       "-O does not know '%.*s' in '%.60s': it takes none, all and the names that "
				       "'doppel help boot' lists",
				       (int)MIN(len, 60u), p, list);
		else
			*opts = off ? *opts & ~b : *opts | b;
		p += len;
		if (!*p)
			return 0;
	}
}

void opts_help(FILE *f)
{
	fputs("\nOptimisations of the engine translate, for -O ('-' in front of a name switches it off):\n", f);
	for (unsigned n = 0; n < NR_OPTS; n++)
		fprintf(f, "  %-12s%s%s\n", rows[n].name, rows[n].text, rows[n].on ? "" : " (off by default)");
}
