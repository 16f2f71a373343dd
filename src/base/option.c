/* SPDX-License-Identifier: Apache-2.0 */
#include "base/option.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

struct parse {
	const struct option_row *rows;
	size_t n;
	const char *command;
	option_fn *fn;
	void *opaque;
	int argc;
	char **argv;
	int at;
};

static const struct option_row *find_row(const struct parse *p, const char *name, size_t len)
{
	for (size_t i = 0; i < p->n; i++)
		if (strlen(p->rows[i].name) == len && !memcmp(p->rows[i].name, name, len))
			return &p->rows[i];
	return NULL;
}

static int unknown_option(const struct parse *p, const char *word, struct err *e)
{
	return err_set(e, "unknown option '%.100s': 'doppel help %s' lists them", word, p->command);
}

static int take(struct parse *p, const struct option_row *row, const char *attached, struct err *e)
{
	const char *dash = row->name[1] ? "--" : "-", *val = attached;

	if (row->arg == ARG_NONE && attached)
		return err_set(e, "%s%s takes no value, but was given '%.100s'", dash, row->name, attached);
	if (row->arg == ARG_REQUIRED && !val) {
		if (p->at + 1 >= p->argc)
			return err_set(e, "%s%s needs a value: %s%s %s", dash, row->name, dash, row->name, row->value);
		val = p->argv[++p->at];
	}
	return p->fn(p->opaque, row->id, row->name, val, e);
}

static int parse_long(struct parse *p, char *word, struct err *e)
{
	char *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;
	const struct option_row *row = len > 1 ? find_row(p, word + 2, len) : NULL;

	return row ? take(p, row, equals ? equals + 1 : NULL, e) : unknown_option(p, word, e);
}

static int parse_short(struct parse *p, char *word, struct err *e)
{
	for (char *c = word + 1; *c; c++) {
		const struct option_row *row = find_row(p, c, 1);

		if (!row)
			return unknown_option(p, word, e);
		if (row->arg == ARG_REQUIRED)
			return take(p, row, c[1] ? c + 1 : NULL, e);
		if (take(p, row, NULL, e))
			return -1;
	}
	return 0;
}

int option_parse(const struct option_row *rows, size_t n, const char *command, int argc, char **argv, option_fn *fn,
		 void *opaque, struct err *e)
{
	struct parse p = { rows, n, command, fn, opaque, argc, argv, 0 };
	bool words_only = false;

	for (; p.at < argc; p.at++) {
		char *word = argv[p.at];
		int ret;

		if (!words_only && !strcmp(word, "--")) {
			words_only = true;
			continue;
		}
		if (words_only || word[0] != '-' || !word[1])
			ret = fn(opaque, OPTION_POSITIONAL, NULL, word, e);
		else if (word[1] == '-')
			ret = parse_long(&p, word, e);
		else
			ret = parse_short(&p, word, e);
		if (ret)
			return -1;
	}
	return 0;
}

/* ---- help ------------------------------------------------------------------------------------------------------- */

#define HELP_INDENT 26
#define HELP_WIDTH 100

/* Words of text, broken at HELP_WIDTH, every line from HELP_INDENT on; the cursor stands there. */
static void print_wrapped(const char *text, FILE *f)
{
	int column = HELP_INDENT;

	while (*text) {
		int len = (int)strcspn(text, " ");

		if (column > HELP_INDENT && column + len + 1 > HELP_WIDTH) {
			fprintf(f, "\n%*s", HELP_INDENT, "");
			column = HELP_INDENT;
		}
		column += fprintf(f, "%s%.*s", column > HELP_INDENT ? " " : "", len, text);
		text += len + (text[len] == ' ');
	}
	fputc('\n', f);
}

void option_help(const struct option_row *rows, size_t n, FILE *f)
{
	for (size_t i = 0; i < n; i++) {
		const struct option_row *r = &rows[i];
		int used = fprintf(f, "  %s%s", r->name[1] ? "--" : "-", r->name);

		if (r->arg == ARG_REQUIRED)
			used += fprintf(f, " %s", r->value);
		if (r->arg == ARG_OPTIONAL)
			used += fprintf(f, "[=%s]", r->value);
		if (used >= HELP_INDENT) {
			fputc('\n', f);
			used = 0;
		}
		fprintf(f, "%*s", HELP_INDENT - used, "");
		print_wrapped(r->help, f);
	}
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* Digits (decimal or 0x) into *v; *end behind them. */
static bool parse_number(const char *val, u64 *v, char **end)
{
	bool hex = val[0] == '0' && (val[1] | 0x20) == 'x';

	if (!isxdigit((u8)val[hex ? 2 : 0]) || (!hex && !isdigit((u8)val[0])))
		return false;
	errno = 0;
	*v = strtoull(val, end, hex ? 16 : 10);
	return errno == 0;
}

int option_u64(const char *name, const char *val, u64 min, u64 max, u64 *out, struct err *e)
{
	char *end = NULL;

	if (parse_number(val, out, &end) && !*end && *out >= min && *out <= max)
		return 0;
	return err_set(e, "--%s does not take '%.100s': give a number from %llu to %llu", name, val,
		       (unsigned long long)min, (unsigned long long)max);
}

static void size_text(u64 size, char *buf, size_t n)
{
	static const char suffix[] = " kMGT";
	unsigned i = 0;

	while (i < 4 && size && !(size & 1023)) {
		size >>= 10;
		i++;
	}
	snprintf(buf, n, i ? "%llu%c" : "%llu", (unsigned long long)size, suffix[i]);
}

int option_size(const char *name, const char *val, u64 min, u64 max, u64 *out, struct err *e)
{
	static const char suffixes[] = "kmgt";
	char *end = NULL, low[32], high[32];
	const char *s;
	unsigned shift = 0;

	if (parse_number(val, out, &end)) {
		if (*end && (s = strchr(suffixes, tolower((u8)*end)))) {
			shift = 10 * (unsigned)(s - suffixes + 1);
			end++;
		}
		if (!*end && *out <= max >> shift && *out << shift >= min) {
			*out <<= shift;
			return 0;
		}
	}
	size_text(min, low, sizeof(low));
	size_text(max, high, sizeof(high));
	return err_set(e, "--%s does not take '%.100s': give a size from %s to %s, such as 512M or 2G", name, val, low,
		       high);
}
