/* SPDX-License-Identifier: Apache-2.0
 * An event loop in two halves, so that its owner can hold a lock for one of them: loop_wait() sleeps without any lock,
 * loop_dispatch() calls the handlers. loop_wake() may be called from any thread and from signal handlers; all else
 * belongs to the owner's lock.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <poll.h>

#include "base/clock.h"
#include "base/err.h"

struct loop;

/* revents as poll(2) gives them. */
typedef void loop_fn(void *opaque, int fd, short revents);

struct loop *loop_new(struct err *e);
void loop_free(struct loop *l);

/* Watches fd for events (POLLIN, POLLOUT; 0 for errors only). One watch an fd; a second call changes it. */
int loop_watch(struct loop *l, int fd, short events, loop_fn *fn, void *opaque);
void loop_unwatch(struct loop *l, int fd);

/* Sleeps until an fd is ready, loop_wake() is called, or timeout_ns have passed (CLOCK_NEVER: no limit). Only one thread
 * waits. */
void loop_wait(struct loop *l, u64 timeout_ns);
void loop_dispatch(struct loop *l);
void loop_wake(struct loop *l);

#endif
