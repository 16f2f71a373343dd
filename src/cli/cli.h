/* SPDX-License-Identifier: Apache-2.0
 * The verbs. Each takes its own words (argv[0] is the first one behind the verb) and returns the exit status. cli/ is
 * the only place besides main that prints errors and decides how the process ends.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdio.h>

#include "base/option.h"

#define STATUS_FAILURE 125 /* doppel's own failure, a user's error included */

struct verb {
	const char *name, *usage, *summary;
	int (*run)(int argc, char **argv);
	void (*help)(FILE *f);
};

/* The n-th verb there is, NULL past the last. */
const struct verb *verb_get(unsigned n);

int cli_main(int argc, char **argv);
/* Prints the sentence; returns STATUS_FAILURE. */
int cli_fail(const struct err *e);

int run_main(int argc, char **argv);
void run_help(FILE *f);
int exec_main(int argc, char **argv);
void exec_help(FILE *f);
int fetch_main(int argc, char **argv);
void fetch_help(FILE *f);
int boot_main(int argc, char **argv);
void boot_help(FILE *f);
int doctor_main(int argc, char **argv);
void doctor_help(FILE *f);
int ps_main(int argc, char **argv); /* control.c */
void ps_help(FILE *f);
int stop_main(int argc, char **argv);
void stop_help(FILE *f);
int save_main(int argc, char **argv);
void save_help(FILE *f);
int stat_main(int argc, char **argv);
void stat_help(FILE *f);
int monitor_main(int argc, char **argv);
void monitor_help(FILE *f);
int help_main(int argc, char **argv);
void help_help(FILE *f);

#endif
