/* SPDX-License-Identifier: Apache-2.0 */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BEGIN_MS 10000

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void close_all_but(const int *keep, unsigned n)
{
	int sorted[8];
	unsigned from = 3;

	n = MIN(n, (unsigned)ARRAY_SIZE(sorted));
	memcpy(sorted, keep, n * sizeof(*keep));
	qsort(sorted, n, sizeof(*sorted), by_value);
	for (unsigned i = 0; i < n; i++) {
		if ((unsigned)sorted[i] > from)
			close_range(from, (unsigned)sorted[i] - 1, 0);
		from = MAX(from, (unsigned)sorted[i] + 1);
	}
	close_range(from, ~0u, 0);
}

static void settle(const char *name, const int *keep, unsigned n, pid_t parent)
{
	static const int ignored[] = { SIGINT,	SIGTERM, SIGQUIT,  SIGHUP,  SIGTSTP,
				       SIGTTOU, SIGPIPE, SIGWINCH, SIGUSR1, SIGUSR2 };
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* What a whole process group gets is for doppel, which may have use for this process until its own end. */
	for (unsigned i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 3 && null >= 0; i++)
		dup2(null, i);
	close_all_but(keep, n);
	prctl(PR_SET_NAME, name);
}

pid_t child_start(const char *name, const int *keep, unsigned n, void (*fn)(void *opaque), void *opaque)
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	settle(name, keep, n, parent);
	fn(opaque);
	_exit(1);
}

int child_wait_ready(int fd, const char *what, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[sizeof(e->text)] = "";
	ssize_t n;
	int ready;

	/* A window's new size, for one, is no reason to give up. */
	do
		ready = poll(&p, 1, BEGIN_MS);
	while (ready < 0 && errno == EINTR);
	n = ready == 1 ? recv(fd, text, sizeof(text) - 1, 0) : -1;
	if (n <= 0)
		return err_set(e, "%s did not begin", what);
	return strcmp(text, "ok") ? err_set(e, "%s", text) : 0;
}

int child_say_ready(int fd, const struct err *e, bool ok)
{
	const char *text = ok ? "ok" : e->text;

	return write(fd, text, strlen(text)) < 0 ? -1 : 0; /* the one call that every confinement allows */
}

void child_end_with(int fd)
{
	signal(SIGIO, SIG_DFL);
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, O_ASYNC);
}

static void wait_a_second(pid_t pid)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (unsigned i = 0; i < 1000 && !waitpid(pid, NULL, WNOHANG); i++)
		nanosleep(&moment, NULL);
}

void child_reap(pid_t pid)
{
	if (pid <= 0)
		return;
	if (kill(pid, SIGKILL) && errno == EPERM) {
		wait_a_second(pid);
		return;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
