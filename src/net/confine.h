/* SPDX-License-Identifier: Apache-2.0
 * Takes from the process of a user network what it does not use: a seccomp filter of the system calls that libslirp
 * makes, and, where the host's kernel has Landlock, all files but the list of name servers. No new privileges.
 */
#ifndef NET_CONFINE_H
#define NET_CONFINE_H

#include "base/err.h"

/* For the calling process, which has one thread, and for good. -1 and a sentence where there is no filter to be had. */
int confine(struct err *e);

#endif
