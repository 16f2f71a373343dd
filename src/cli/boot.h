/* SPDX-License-Identifier: Apache-2.0
 * What the options of `doppel boot` come to.
 */
#ifndef CLI_BOOT_H
#define CLI_BOOT_H

#include "cli/cli.h"
#include "machine/vm.h"

enum stats_form { STATS_NONE, STATS_TEXT, STATS_JSON };

struct boot_options {
	struct vm_config vm;
	const char *engine, *name, *image;
	char debugcon[512];
	unsigned nr_serial;
	enum stats_form stats;
	bool quiet, help, wait, audit_tlb;
	int verbose;
	const char *trace, *trace_file, *symbols;
	int gdb_port;	/* 0: no gdb */
};

/* -1 with a sentence. */
int boot_options_parse(struct boot_options *o, int argc, char **argv, struct err *e);
/* All counters of a machine that has ended. */
void stats_print(const struct vm *vm, enum stats_form form, FILE *f);

#endif
