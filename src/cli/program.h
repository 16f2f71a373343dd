/* SPDX-License-Identifier: Apache-2.0
 * Programs of the host that doppel waits for.
 */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include "base/base.h"

/* Runs a program without input, its output on standard error; its status as waitpid(2) has it, or -1. A signal that is
 * meant to end doppel goes to it and all that it began, and into *sig, which is left alone otherwise: after having
 * cleaned up the caller raises it. */
int program_run(char *const argv[], int *sig);

#endif
