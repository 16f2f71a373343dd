/* SPDX-License-Identifier: Apache-2.0
 * Command lines from one table: parsing, help and manual text.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdio.h>

#include "base/err.h"

enum option_arg { ARG_NONE, ARG_REQUIRED, ARG_OPTIONAL /* only as --name=VALUE */ };

struct option_row {
	const char *name;	/* without dashes; one letter means -x */
	const char *value;	/* what help calls the value: "FILE" */
	enum option_arg arg;
	int id;
	const char *help;
};

/* Called for each option (val NULL if it has none) and, with id OPTION_POSITIONAL, for each other word. */
#define OPTION_POSITIONAL -1
typedef int option_fn(void *opaque, int id, const char *name, const char *val, struct err *e);

/* --name VALUE, --name=VALUE, -x VALUE, -xVALUE; "--" ends options. command is named in the sentence of an error. */
int option_parse(const struct option_row *rows, size_t n, const char *command, int argc, char **argv, option_fn *fn,
		 void *opaque, struct err *e);
/* One paragraph a row. */
void option_help(const struct option_row *rows, size_t n, FILE *f);

/* Values. Each fails with a sentence that names the option, the value and what would be right. */
int option_u64(const char *name, const char *val, u64 min, u64 max, u64 *out, struct err *e);
/* Bytes with an optional suffix k, M, G or T (powers of 1024). */
int option_size(const char *name, const char *val, u64 min, u64 max, u64 *out, struct err *e);

#endif
