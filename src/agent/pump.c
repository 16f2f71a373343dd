/* SPDX-License-Identifier: Apache-2.0
 * One loop for all: messages, children, and the three streams, each with one buffer that is filled only when it is
 * empty. So what the far side does not take stays in the pipe, and the command waits as it would on any pipe.
 *
 * The ports are never used in their blocking way, in which Linux's driver spins until doppel has taken the bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"

static void shut(struct agent *a, unsigned n)
{
	if (a->s[n].fd < 0)
		return;
	close(a->s[n].fd);
	if (a->s[n].fd == a->pty)
		a->pty = -1;
	a->s[n].fd = -1;
}

/* ---- to the command ---------------------------------------------------------------------------------------------- */

void pump_end(struct agent *a, u64 bytes)
{
	a->in_end = bytes;
}

static void feed(struct agent *a)
{
	ssize_t n;

	if (!a->s[AGENT_IN].len) {
		n = read(a->port[AGENT_IN], a->s[AGENT_IN].buf, BUFFER);
		a->s[AGENT_IN].at = 0;
		a->s[AGENT_IN].len = n > 0 ? (u32)n : 0;
	}
	while (a->s[AGENT_IN].len) {
		n = write(a->s[AGENT_IN].fd, a->s[AGENT_IN].buf + a->s[AGENT_IN].at, a->s[AGENT_IN].len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			shut(a, AGENT_IN); /* nobody reads it */
		if (n <= 0)
			return;
		a->s[AGENT_IN].at += (u32)n;
		a->s[AGENT_IN].len -= (u32)n;
		a->s[AGENT_IN].bytes += (u64)n;
	}
}

static void end_input(struct agent *a)
{
	if (a->s[AGENT_IN].fd >= 0 && !a->s[AGENT_IN].len && a->s[AGENT_IN].bytes >= a->in_end)
		shut(a, AGENT_IN);
}

/* ---- from the command -------------------------------------------------------------------------------------------- */

void pump_refused(struct agent *a, u32 port)
{
	if (port != AGENT_OUT && port != AGENT_ERR)
		return;
	a->s[port].refused = true;
	a->s[port].len = 0;
	if (!(a->tty && port == AGENT_OUT))
		shut(a, port); /* the command gets SIGPIPE */
}

/* What the pipe has, as far as the buffer is free. False: nothing more comes for now. */
static bool fetch(struct agent *a, unsigned n)
{
	ssize_t got;

	if (a->s[n].len || a->s[n].fd < 0)
		return a->s[n].len;
	got = read(a->s[n].fd, a->s[n].buf, BUFFER);
	if (got > 0) {
		a->s[n].at = 0;
		a->s[n].len = (u32)got;
	} else if (!got || (errno != EAGAIN && errno != EINTR)) {
		shut(a, n);
	}
	return got > 0;
}

static void deliver(struct agent *a, unsigned n)
{
	while (a->s[n].len) {
		ssize_t done = write(a->port[n], a->s[n].buf + a->s[n].at, a->s[n].len);

		if (done <= 0)
			return;
		a->s[n].at += (u32)done;
		a->s[n].len -= (u32)done;
		a->s[n].bytes += (u64)done;
	}
}

static void tell_closed(struct agent *a, unsigned n)
{
	struct {
		u32 port, zero;
		u64 bytes;
	} m = { .port = n, .bytes = a->s[n].bytes };

	if (!a->pid || a->s[n].closed || a->s[n].fd >= 0 || a->s[n].len || a->s[n].refused)
		return;
	a->s[n].closed = true;
	agent_say(a, AGENT_CLOSED, &m, sizeof(m));
}

/* ---- children ---------------------------------------------------------------------------------------------------- */

static void reap(struct agent *a)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(a->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != a->pid) {
			exec_reaped(a, pid, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
			continue;
		}
		a->exited = true;
		if (a->slave >= 0)
			close(a->slave);
		a->slave = -1;
		a->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	}
}

/* The command has ended, and all that it had written has been taken. What others of its processes still write is lost:
 * the machine ends with the command. */
static void leave(struct agent *a)
{
	struct agent_exit e = { .status = (u32)a->status };

	sync();
	e.out = a->s[AGENT_OUT].bytes;
	e.err = a->s[AGENT_ERR].bytes;
	agent_say(a, AGENT_EXIT, &e, sizeof(e));
	for (;;)
		pause();
}

static void finish(struct agent *a)
{
	bool more = false;

	for (unsigned n = AGENT_OUT; n <= AGENT_ERR; n++) {
		fetch(a, n);
		deliver(a, n);
		more |= a->s[n].len || fetch(a, n);
	}
	if (!more)
		leave(a);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

enum {
	P_CONTROL,
	P_SIGNALS,
	P_IN,
	P_IN_TO,
	P_OUT,
	P_OUT_TO,
	P_ERR,
	P_ERR_TO,
	P_EXEC,
	NR_WATCHED = P_EXEC + EXEC_WATCHED
};

static struct pollfd watch(int fd, short events)
{
	return (struct pollfd){ .fd = events ? fd : -1, .events = events };
}

static void plan(const struct agent *a, struct pollfd *p)
{
	bool in = a->s[AGENT_IN].fd >= 0;

	p[P_CONTROL] = watch(a->port[AGENT_CONTROL], POLLIN);
	p[P_SIGNALS] = watch(a->signals, POLLIN);
	p[P_IN] = watch(a->port[AGENT_IN], in && !a->s[AGENT_IN].len ? POLLIN : 0);
	p[P_IN_TO] = watch(a->s[AGENT_IN].fd, in && a->s[AGENT_IN].len ? POLLOUT : 0);
	p[P_OUT] = watch(a->s[AGENT_OUT].fd, a->s[AGENT_OUT].len ? 0 : POLLIN);
	p[P_OUT_TO] = watch(a->port[AGENT_OUT], a->s[AGENT_OUT].len ? POLLOUT : 0);
	p[P_ERR] = watch(a->s[AGENT_ERR].fd, a->s[AGENT_ERR].len ? 0 : POLLIN);
	p[P_ERR_TO] = watch(a->port[AGENT_ERR], a->s[AGENT_ERR].len ? POLLOUT : 0);
	exec_plan(a, p + P_EXEC);
}

void pump(struct agent *a)
{
	struct pollfd p[NR_WATCHED];

	for (;;) {
		plan(a, p);
		poll(p, NR_WATCHED, -1);
		exec_serve(a, p + P_EXEC);
		if (p[P_CONTROL].revents)
			agent_receive(a);
		if (p[P_SIGNALS].revents)
			reap(a);
		if (p[P_IN].revents || p[P_IN_TO].revents)
			feed(a);
		end_input(a);
		for (unsigned n = AGENT_OUT; n <= AGENT_ERR; n++) {
			if (p[P_OUT + 2 * (n - AGENT_OUT)].revents)
				fetch(a, n);
			deliver(a, n);
			tell_closed(a, n);
		}
		exec_settle(a);
		if (a->exited)
			finish(a);
	}
}
