/* SPDX-License-Identifier: Apache-2.0
 * What the options of `doppel boot` come to.
 */
#ifndef CLI_BOOT_H
#define CLI_BOOT_H

#include "cli/cli.h"
#include "cli/sandbox.h"
#include "machine/vm.h"

enum stats_form { STATS_NONE, STATS_TEXT, STATS_JSON };

struct boot_options {
	struct vm_config vm;
	const char *engine, *name, *image;
	struct err passed; /* why auto passed over an engine */
	bool named; /* --name was given: a control socket */
	char debugcon[512];
	unsigned nr_serial;
	struct net_spec forwards; /* of -p; only these of it */
	enum stats_form stats;
	bool no_sandbox, quiet, help, wait, audit_tlb, audit_blocks;
	int verbose;
	const char *trace, *trace_file, *symbols;
	int gdb_port;		     /* 0: no gdb */
	const char *load;	     /* a snapshot */
	const u64 *features;	     /* of its CPU, NULL without one */
	u64 given;		     /* options that were given, by number */
	const char *record, *replay; /* files */
	const char *lockstep;	     /* A,B[,N] */
	const struct engine_ops *follower; /* of the two engines the one that stops exactly */
	u64 lockstep_every;
};

/* -1 with a sentence. */
int boot_options_parse(struct boot_options *o, int argc, char **argv, struct err *e);
/* repeat.c: what --record, --replay and --engine-switch-every come to. -1 with a sentence. */
int repeat_check(const struct boot_options *o, struct err *e);
int repeat_open(struct boot_options *o, struct err *e); /* chooses the engine, too */
void repeat_tell(const struct boot_options *o, const struct vm *vm);
int repeat_close(struct boot_options *o, struct err *e);
/* --load: what the snapshot says of the machine, where no option does. */
void boot_options_take_shape(struct boot_options *o, const struct vm_config *shape);
/* All counters of a machine that has ended. */
void stats_print(const struct vm *vm, enum stats_form form, FILE *f);

#endif
