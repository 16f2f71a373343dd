/* SPDX-License-Identifier: Apache-2.0
 * Signal handlers have nowhere to get their world from but file scope: this file is the one exception to "no mutable
 * file-scope variables" that DESIGN allows for them.
 */
#include "base/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static const int fatal_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP };
static const int stop_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

static struct {
	atomic_int guarded;
	int fd;
	struct termios cooked, raw;
	struct sigaction old[NSIG];
	void (*_Atomic stop)(void *opaque, int sig);
	void *stop_opaque;
	void (*_Atomic resize)(void *opaque);
	void *resize_opaque;
	atomic_int stops;
	atomic_bool all; /* every signal is for stop, not just the first */
} sg;

static void restore_terminal(void)
{
	if (atomic_exchange(&sg.guarded, 0))
		tcsetattr(sg.fd, TCSADRAIN, &sg.cooked);
}

#define S(name) [SYS_##name] = #name,
static const char *const call_names[] = {
#include "base/syscalls.def"
};
#undef S

#define REFUSED 1	   /* SYS_SECCOMP of asm-generic/siginfo.h, which the C library's header lacks */
#define STATUS_REFUSED 125 /* doppel's own failure */

/* The C library asks the host for a setting when it gives memory back, and does without an answer. */
static bool is_question(const siginfo_t *info, ucontext_t *u)
{
	static const char *const asked[] = { "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu/online",
					     "/sys/devices/system/cpu/possible" };
	const char *path = (const char *)(uintptr_t)u->uc_mcontext.gregs[REG_RSI];

	for (unsigned i = 0; info->si_syscall == SYS_openat && i < ARRAY_SIZE(asked); i++)
		if (!strcmp(path, asked[i])) {
			u->uc_mcontext.gregs[REG_RAX] = -EACCES;
			return true;
		}
	return false;
}

/* Whatever memory is worth by now: nothing but the stack and constants is used. */
static void refused(const siginfo_t *info)
{
	unsigned nr = (unsigned)info->si_syscall;
	const char *name = nr < ARRAY_SIZE(call_names) && call_names[nr] ? call_names[nr] : "unknown";
	char text[200];
	int n = snprintf(
	    text, sizeof(text),
	    "doppel: the sandbox refused the system call %s (%u): an error of doppel's, or a guest that has "
	    "broken out of its machine\n",
	    name, nr);
	ssize_t done = write(STDERR_FILENO, text, (size_t)n);

	(void)done;
	_exit(STATUS_REFUSED);
}

/* A fault of ours: restore, then let whoever came before us (the default, a sanitizer) have it. */
static void on_fatal(int sig, siginfo_t *info, void *ctx)
{
	if (sig == SIGSYS && info->si_code == REFUSED && is_question(info, ctx))
		return;
	restore_terminal();
	if (sig == SIGSYS && info->si_code == REFUSED)
		refused(info);
	sigaction(sig, &sg.old[sig], NULL);
	if (info->si_code <= 0)
		raise(sig);
}

static void on_stop(int sig)
{
	void (*fn)(void *, int) = atomic_load(&sg.stop);
	int saved = errno;

	if (fn && (atomic_load(&sg.all) || !atomic_fetch_add(&sg.stops, 1))) {
		fn(sg.stop_opaque, sig);
		errno = saved;
		return;
	}
	restore_terminal();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void on_continue(int sig)
{
	int saved = errno;

	(void)sig;
	if (atomic_load(&sg.guarded) && tcgetpgrp(sg.fd) == getpgrp())
		tcsetattr(sg.fd, TCSANOW, &sg.raw);
	errno = saved;
}

void signals_init(void)
{
	struct sigaction fatal = { .sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO };
	struct sigaction stop = { .sa_handler = on_stop, .sa_flags = SA_RESTART };
	struct sigaction cont = { .sa_handler = on_continue, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++)
		sigaction(fatal_signals[i], &fatal, &sg.old[fatal_signals[i]]);
	for (size_t i = 0; i < ARRAY_SIZE(stop_signals); i++) {
		sigaction(stop_signals[i], NULL, &sg.old[stop_signals[i]]);
		if (sg.old[stop_signals[i]].sa_handler != SIG_IGN) /* nohup and background jobs */
			sigaction(stop_signals[i], &stop, NULL);
	}
	sigaction(SIGCONT, &cont, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a write to an image then fails, which the guest hears of */
	atexit(restore_terminal);
}

void signals_guard_terminal(int fd, const struct termios *cooked, const struct termios *raw)
{
	if (!cooked) {
		restore_terminal();
		return;
	}
	sg.fd = fd;
	sg.cooked = *cooked;
	sg.raw = *raw;
	atomic_store(&sg.guarded, 1);
}

void signals_on_stop(void (*fn)(void *opaque, int sig), void *opaque)
{
	sg.stop_opaque = opaque;
	atomic_store(&sg.stop, fn);
}

void signals_on_any(void (*fn)(void *opaque, int sig), void *opaque)
{
	struct sigaction any = { .sa_handler = fn ? on_stop : SIG_DFL, .sa_flags = SA_RESTART };

	signals_on_stop(fn, opaque);
	atomic_store(&sg.all, fn != NULL);
	sigaction(SIGUSR1, &any, NULL);
	sigaction(SIGUSR2, &any, NULL);
}

static void on_resize(int sig)
{
	void (*fn)(void *) = atomic_load(&sg.resize);
	int saved = errno;

	(void)sig;
	if (fn)
		fn(sg.resize_opaque);
	errno = saved;
}

void signals_on_resize(void (*fn)(void *opaque), void *opaque)
{
	struct sigaction winch = { .sa_handler = on_resize, .sa_flags = SA_RESTART };

	if (fn)
		sg.resize_opaque = opaque;
	atomic_store(&sg.resize, fn);
	if (fn)
		sigaction(SIGWINCH, &winch, NULL);
}
