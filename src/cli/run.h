/* SPDX-License-Identifier: Apache-2.0
 * `doppel run`, part by part: the words, the kernel and what it is started with, the command.
 */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <limits.h>

#include "api/keeper.h"
#include "api/session.h"
#include "cli/boot.h"
#include "snap/image.h"

#define RUN_WORDS_MAX 64
#define RUN_SHARES_MAX (VM_SHARES_MAX - 1) /* one is the root */

struct run_share {
	char dir[1024], path[1024];
	bool readonly;
};

struct run_options {
	const char *kernel, *modules, *append, *rootfs, *directory, *user;
	struct run_share share[RUN_SHARES_MAX];
	unsigned nr_shares;
	bool no_share, quiet, help, memory, cold;
	int verbose;
	char *env[RUN_WORDS_MAX];
	unsigned nr_env;
	char *boot[2 * RUN_WORDS_MAX]; /* words for boot_options_parse() */
	unsigned nr_boot;
	char **command; /* ends with NULL; NULL: a shell */
	/* What they come to. */
	char cwd[1024], root[1024];
	bool copy;	 /* the root's files are in the initramfs */
	bool root_owned; /* what is this user's there is root's for the guest */
	bool tty, tty_err;
	bool exec; /* in a machine that is running: what is not given is as its first command has it */
};

/* run_options.c. -1 with a sentence. */
int run_options_parse(struct run_options *o, int argc, char **argv, struct err *e);

struct guest_kernel {
	char image[PATH_MAX], modules[PATH_MAX]; /* modules "": none are known */
	char release[128];
};

/* kernel.c: which kernel it is. -1 with a sentence. */
int kernel_find(struct guest_kernel *k, const char *file, const char *modules, struct err *e);
/* $XDG_CACHE_HOME/doppel, made. -1 with a sentence. */
int cache_directory(char *path, size_t len, struct err *e);

/* rootfs.c: what --rootfs names, as a directory in o->root. -1 with a sentence. */
int rootfs_find(struct run_options *o, struct err *e);
/* A tree that doppel has made, if it is there. *sig: as program_run() has it. */
void rootfs_remove(const char *dir, int *sig);

/* debian.c: the directory of Debian's root of that suite, made if it is not there. -1 with a sentence. */
int debian_root(char *root, size_t len, const char *suite, struct err *e);

/* warm.c: the image of a guest that has booted, from one run to the next. */
struct warm {
	char path[PATH_MAX];	 /* "": none is wanted */
	struct snap_image image; /* what it is of */
	struct snap *snap;	 /* found */
	struct keeper *keeper;	 /* who will give a new one its name */
	struct keeper_paths paths;
	u64 began_ns; /* CLOCK_MONOTONIC: of this run */
	bool failed;  /* more to say than there is room */
};
/* This file of the host's is in the guest, too. */
void warm_uses(struct warm *w, const char *path);
/* Is there one for this machine? w->snap tells. */
void warm_find(struct warm *w, const struct run_options *o, const struct guest_kernel *k, const struct vm_config *vm);
/* It turned out not to fit. */
void warm_drop(struct warm *w, const struct err *why);
/* One will be made, by warm_save(). Before there are threads and guest memory. */
void warm_prepare(struct warm *w);
/* Of a guest whose agent listens and has been told nothing; with the machine lock, in the machine's own thread. */
void warm_save(struct warm *w, struct vm *vm);
void warm_end(struct warm *w);

/* initramfs.c: a file descriptor with agent, modules, and what the options want beside, or -1 with a sentence. */
int initramfs_make(const struct guest_kernel *k, const struct run_options *o, struct warm *warm, struct err *e);

/* -e; run_options.c, too. */
int run_options_add_env(struct run_options *o, const char *val, struct err *e);

/* run_command.c: the body of AGENT_RUN, to be freed. NULL with a sentence. */
void *run_command_body(const struct run_options *o, size_t *len, struct err *e);
/* Tells the agent all that it needs. -1 with a sentence. */
int run_command_say(struct session *s, const struct run_options *o, const struct vm_config *vm, struct err *e);

#endif
