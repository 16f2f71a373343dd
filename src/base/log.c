/* SPDX-License-Identifier: Apache-2.0
 * The level and the count of guest-provoked lines are the process's, like stderr itself: the two file-scope variables
 * here are atomics, and nothing else depends on them. A line is put together first and leaves in one write, so that
 * lines of several threads do not mix.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define GUEST_LINES_MAX 100

static atomic_int level_shown = LOG_WARN;
static atomic_uint guest_lines;

void log_set_level(enum log_level level)
{
	atomic_store(&level_shown, (int)level);
}

/* Control characters of a message may come from a guest: they are shown as '?'. */
static size_t finish_line(char *line, int n, size_t size)
{
	size_t len = n < 0 ? 0 : MIN((size_t)n, size - 2);

	for (size_t i = 0; i < len; i++)
		if ((u8)line[i] < 0x20 && line[i] != '\n' && line[i] != '\t')
			line[i] = '?';
	line[len++] = '\n';
	return len;
}

static void log_line(const char *prefix, const char *fmt, va_list ap)
{
	char line[1024];
	int n = snprintf(line, sizeof(line), "doppel: %s", prefix);
	ssize_t done;

	n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	done = write(STDERR_FILENO, line, finish_line(line, n, sizeof(line)));
	(void)done;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	static const char *const prefix[] = { "", "warning: ", "", "" };
	va_list ap;

	if ((int)level > atomic_load_explicit(&level_shown, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	log_line(prefix[level], fmt, ap);
	va_end(ap);
}

void log_guest(const char *fmt, ...)
{
	unsigned n = atomic_fetch_add_explicit(&guest_lines, 1, memory_order_relaxed);
	va_list ap;

	if (n > GUEST_LINES_MAX) {
		atomic_store_explicit(&guest_lines, GUEST_LINES_MAX + 1, memory_order_relaxed);
		return;
	}
	if (n == GUEST_LINES_MAX)
		fmt = "too many messages caused by the guest; no more of them will be shown";
	va_start(ap, fmt);
	log_line("guest: ", fmt, ap);
	va_end(ap);
}
