/* SPDX-License-Identifier: Apache-2.0
 * The process's signals: the terminal is given back in every case, a polite signal asks the owner to stop.
 */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H

#include <termios.h>

#include "base/base.h"

/* Once, before threads are made. Also ignores SIGPIPE and SIGXFSZ. A system call that a filter refuses (base/jail.h)
 * ends the process with status 125 and a sentence that has its name. */
void signals_init(void);
/* From now on the terminal fd goes back to `cooked` when the process ends, however it ends short of SIGKILL, and to
 * `raw` when it is continued after a stop. cooked NULL: restores now and forgets. */
void signals_guard_terminal(int fd, const struct termios *cooked, const struct termios *raw);
/* SIGINT, SIGTERM, SIGHUP and SIGQUIT call fn (async-signal-safe) the first time; the second time, or with no fn, they
 * end the process. */
void signals_on_stop(void (*fn)(void *opaque, int sig), void *opaque);
/* The same signals, SIGUSR1 and SIGUSR2, and every time: they are somebody else's. NULL: as before signals_init(). */
void signals_on_any(void (*fn)(void *opaque, int sig), void *opaque);
/* SIGWINCH, the terminal's size has changed, calls fn (async-signal-safe); NULL: nobody cares any more. */
void signals_on_resize(void (*fn)(void *opaque), void *opaque);

#endif
