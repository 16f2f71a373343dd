/* SPDX-License-Identifier: Apache-2.0
 * Where running machines are found: a socket NAME.sock each, in $XDG_RUNTIME_DIR/doppel or else in /tmp/doppel-UID, a
 * directory that only this user can enter.
 */
#ifndef API_DIR_H
#define API_DIR_H

#include <sys/un.h>

#include "base/err.h"

#define API_NAME_MAX 48
#define API_SUFFIX ".sock"

/* Letters, digits, '.', '_' and '-', not first '.' or '-'; at most API_NAME_MAX. -1 with the sentence. */
int api_name_check(const char *name, struct err *e);
/* The directory, made if it is not there. -1 with the sentence if it cannot be, or is somebody else's. */
int api_dir(char *path, size_t size, struct err *e);
/* The socket's address of a machine with a valid name. */
int api_address(const char *name, struct sockaddr_un *addr, struct err *e);
/* Connects: a descriptor; -1 and the sentence, when nobody listens there *dead is true (dead may be NULL). */
int api_connect(const char *name, bool *dead, struct err *e);
/* Calls fn with each name that has a socket. */
int api_each_name(void (*fn)(void *opaque, const char *name), void *opaque, struct err *e);

#endif
