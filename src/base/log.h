/* SPDX-License-Identifier: Apache-2.0
 * What doppel tells its user on stderr. The level and sink are given once at start; thread-safe; rate-limited for what
 * a guest can cause.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For lines a guest can provoke: at most a hundred a process, then one line that says so. */
void log_guest(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
