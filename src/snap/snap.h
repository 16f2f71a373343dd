/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: a whole machine into a file and back, in the terms of the machine, not of an engine. docs/snapshot.md.
 */
#ifndef SNAP_SNAP_H
#define SNAP_SNAP_H

#include <stdio.h>

#include "machine/vm.h"

struct snap;

/* Stops the machine at instruction boundaries, writes it to path (a temporary file beside it, renamed when all of it is
 * on the disk), and lets it go on. Not from a vCPU's thread, and without the machine lock. On failure path is as it
 * was. */
int snap_save(struct vm *vm, const char *path, struct err *e);
/* The same into a file that is open already; it stays open. */
int snap_save_fd(struct vm *vm, int fd, struct err *e);
/* The same into an open file, of a machine that stands still; with the machine lock. */
int snap_write(struct vm *vm, FILE *f, struct err *e);

/* Opens a snapshot and reads what machine it is of. Hostile input. */
struct snap *snap_open(const char *path, struct err *e);
/* The same of a file that is open already; it is closed in any case. */
struct snap *snap_open_file(FILE *f, struct err *e);
void snap_close(struct snap *s);
/* The shape that the file gives: cfg's memory, cpus, cpu_model, debug_exit, testdev, rng and balloon. cfg then refers
 * to s. */
void snap_shape(const struct snap *s, struct vm_config *cfg);
/* The rate of the TSC that it was made with. */
u64 snap_tsc_hz(const struct snap *s);
/* The features of its CPUs, a bit each (cpu/cpuid.h); they live as long as s. */
const u64 *snap_features(const struct snap *s);
/* Puts the state into a machine of that shape that has not run. On failure the machine can only be freed. */
int snap_load(struct snap *s, struct vm *vm, struct err *e);

#endif
