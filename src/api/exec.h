/* SPDX-License-Identifier: Apache-2.0
 * `doppel exec`, in the machine's process: messages (agent/protocol.h) go between a client's socket and the agent. The
 * client sets up and understands them; here only their sessions' numbers are given, and what either side may send is
 * bounded.
 *
 * Locking: the machine lock.
 */
#ifndef API_EXEC_H
#define API_EXEC_H

#include "agent/protocol.h"
#include "base/err.h"
#include "base/loop.h"

struct execs;

/* Messages for the agent go to say(). NULL: no memory. */
struct execs *execs_new(void (*say)(void *opaque, const struct agent_head *h, const void *body), void *opaque);
void execs_free(struct execs *x);
/* A client's socket, which becomes its. -1 with a sentence, and it stays the caller's. */
int execs_add(struct execs *x, struct loop *loop, int fd, struct err *e);
/* What the agent says of a session that is not 0. */
void execs_hear(struct execs *x, const struct agent_head *h, const u8 *body);

#endif
