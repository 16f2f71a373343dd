/* SPDX-License-Identifier: Apache-2.0
 * The gdb stub: one gdb at a time over TCP, in a thread of its own; vCPU n is gdb's thread n + 1. While gdb holds the
 * machine all vCPUs stand still at an instruction boundary.
 */
#ifndef DEBUG_GDB_H
#define DEBUG_GDB_H

#include "base/err.h"
#include "machine/vm.h"

struct gdb;

/* Listens on 127.0.0.1:port and puts its hooks into cfg (debug_stop, and paused when wait is set). */
struct gdb *gdb_new(unsigned port, bool wait, struct vm_config *cfg, struct err *e);
/* Starts serving vm; to be called once, between vm_new() and vm_run(). */
int gdb_start(struct gdb *g, struct vm *vm, struct err *e);
/* Ends the thread and tells a connected gdb that the machine has exited with status. After vm_run(). */
void gdb_free(struct gdb *g, int status);

#endif
