/* SPDX-License-Identifier: Apache-2.0
 * doppel help
 */
#include "cli/cli.h"

void help_help(FILE *f)
{
	fputs("doppel boots unmodified x86 operating systems in user space.\n\n", f);
	for (unsigned i = 0; verb_get(i); i++)
		fprintf(f, "  %-34s%s\n", verb_get(i)->usage, verb_get(i)->summary);
	fputs("  doppel --version\n\n"
	      "'doppel help VERB' lists a verb's options.\n",
	      f);
}

int help_main(int argc, char **argv)
{
	struct err e;

	if (argc < 1) {
		help_help(stdout);
		return 0;
	}
	for (unsigned i = 0; verb_get(i); i++) {
		if (strcmp(argv[0], verb_get(i)->name))
			continue;
		verb_get(i)->help(stdout);
		return 0;
	}
	err_set(&e, "there is no command '%.100s' to help with: 'doppel help' lists what there is", argv[0]);
	return cli_fail(&e);
}
