/* SPDX-License-Identifier: Apache-2.0
 * The process of the vCPUs and devices takes from itself what a machine needs no more once it is made
 * (docs/security.md).
 */
#ifndef CLI_SANDBOX_H
#define CLI_SANDBOX_H

#include "base/jail.h"
#include "machine/vm.h"

struct sandbox {
	const struct vm *vm;
	int inherited[64]; /* descriptors that the caller had open, and no machine has a use for */
	unsigned nr_inherited;
	bool gdb;     /* a debugger may connect */
	bool listens; /* a control socket, or a console that is one */
	struct jail_got got;
	bool landlock;
};

/* False: this build (sanitizers, coverage) makes system calls of its own at any time, so it has none. */
bool sandbox_possible(void);
/* Before anything is opened: what is open beyond the standard three goes with sandbox_enter(). s is zeroed. */
void sandbox_note_inherited(struct sandbox *s);
/* What sandbox_enter() and sandbox_seal() are to do for vm and its engines; what was set in s stays. */
void sandbox_init(struct sandbox *s, const struct vm *vm);
/* Before there are threads: namespaces, files, privileges. What the host does not allow is left out. */
void sandbox_enter(struct sandbox *s);
/* vm_config.seal: the filter of system calls, for all threads. */
int sandbox_seal(void *sandbox, struct err *e);
/* In words: what is in force after both. */
void sandbox_text(const struct sandbox *s, char *text, size_t size);

#endif
