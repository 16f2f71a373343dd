/* SPDX-License-Identifier: Apache-2.0
 * The control socket of a machine of `doppel run --name`.
 */
#ifndef CLI_RUN_CONTROL_H
#define CLI_RUN_CONTROL_H

#include "api/session.h"
#include "cli/boot.h"

struct run_control;

/* In this order: before there is a machine; with it, before the sandbox; when it is about to run; when it has; at the
 * end. NULL is none: a machine without a name. -1 with a sentence. */
int run_control_new(struct run_control **c, const struct boot_options *o, struct err *e);
int run_control_open(struct run_control *c, struct vm *vm, struct session *session, struct err *e);
int run_control_start(struct run_control *c, struct err *e);
void run_control_stop(struct run_control *c);
void run_control_free(struct run_control *c);

#endif
