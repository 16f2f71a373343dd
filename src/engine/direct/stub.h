/* SPDX-License-Identifier: Apache-2.0
 * What of the engine `direct` needs the host's ELF header, whose names are not to be had beside cpu/'s.
 */
#ifndef ENGINE_DIRECT_STUB_H
#define ENGINE_DIRECT_STUB_H

#include "base/base.h"

#define STUB_BASE 0x6fc51a570000ull	      /* in a slot of the top page table that guests leave empty; see tier.c */
#define REQUESTS_BASE (STUB_BASE + PAGE_SIZE) /* what the mapper is asked for; only read there */

/* A file descriptor of the program, or -1. */
int stub_open(void);
u64 stub_call(void);  /* where a system call and then a breakpoint stands */
u64 stub_batch(void); /* where the loop over requests begins; it ends at a breakpoint, or UD2 if one failed */
/* The host lets user code use RDFSBASE and kin. */
bool host_fsgsbase(void);

#endif
