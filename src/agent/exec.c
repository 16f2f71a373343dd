/* SPDX-License-Identifier: Apache-2.0
 * Commands besides the first, of `doppel exec`. Their streams go over the control port, in pieces: each side sends no
 * more than the other has room for, so that a reader that does not read holds up nobody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "agent/agent.h"

struct exec {
	u16 id;
	pid_t pid;
	bool gone, exited, ending; /* who wanted it; the command; its input */
	int status;
	int fd[AGENT_PORTS]; /* our ends of AGENT_IN, OUT and ERR; -1: closed */
	int pty, slave;	     /* -1: none */
	u32 credit[AGENT_PORTS];
	u32 at, len; /* of input that the command has not taken yet */
	u8 in[AGENT_WINDOW];
};

/* ---- from start to end ------------------------------------------------------------------------------------------- */

static struct exec **find(struct agent *a, u16 id)
{
	for (unsigned i = 0; i < AGENT_SESSIONS; i++)
		if (a->exec[i] && a->exec[i]->id == id)
			return &a->exec[i];
	return NULL;
}

static void shut(struct exec *x, unsigned n)
{
	if (x->fd[n] >= 0)
		close(x->fd[n]);
	x->fd[n] = -1;
}

static void end(struct exec **slot)
{
	struct exec *x = *slot;

	for (unsigned n = AGENT_IN; n <= AGENT_ERR; n++)
		shut(x, n);
	if (x->pty >= 0)
		close(x->pty);
	if (x->slave >= 0)
		close(x->slave);
	free(x);
	*slot = NULL;
}

static const char *open_pipe(struct exec *x, struct plan *p, unsigned n)
{
	bool in = n == AGENT_IN;
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return "no pipe for the command";
	x->fd[n] = fd[in];
	p->fd[n - AGENT_IN] = fd[!in];
	fcntl(x->fd[n], F_SETFL, O_NONBLOCK);
	return fchown(fd[!in], p->r.uid, p->r.gid) ? "a pipe's owner cannot be set" : NULL;
}

static const char *open_streams(struct exec *x, struct plan *p)
{
	const char *why = NULL;

	p->fd[0] = p->fd[1] = p->fd[2] = -1;
	if (p->r.flags & AGENT_TTY) {
		why = plan_terminal(&p->r, &x->pty, &x->slave);
		if (why) {
			x->pty = x->slave = -1;
			return why;
		}
		p->fd[0] = p->fd[1] = x->slave;
		x->fd[AGENT_IN] = fcntl(x->pty, F_DUPFD_CLOEXEC, 3);
		x->fd[AGENT_OUT] = fcntl(x->pty, F_DUPFD_CLOEXEC, 3);
		if (p->r.flags & AGENT_TTY_ERR)
			p->fd[2] = x->slave;
	}
	for (unsigned n = AGENT_IN; n <= AGENT_ERR && !why; n++)
		if (p->fd[n - AGENT_IN] < 0)
			why = open_pipe(x, p, n);
	return why;
}

/* The first command's variables, with what is given instead of some and beside them. NULL: no memory. */
static char **merge(char **first, u32 n_first, char **given, u32 n_given)
{
	char **list = calloc(n_first + n_given + 1, sizeof(*list));
	u32 n = 0;

	for (u32 i = 0; list && i < n_first; i++) {
		bool replaced = false;

		for (u32 k = 0; k < n_given; k++)
			replaced |= !strncmp(first[i], given[k], strcspn(given[k], "=") + 1);
		if (!replaced)
			list[n++] = first[i];
	}
	for (u32 k = 0; list && k < n_given; k++)
		list[n++] = given[k];
	return list;
}

static const char *complete(struct agent *a, struct plan *p)
{
	const struct plan *first = &a->plan;
	char **env = merge(first->env, first->r.env, p->env, p->r.env);

	if (!env)
		return "no memory for the command";
	free(p->env);
	p->env = env;
	p->r.umask = first->r.umask;
	if (!*p->directory)
		p->directory = first->directory;
	if (!(p->r.flags & AGENT_USER)) {
		p->r.uid = first->r.uid;
		p->r.gid = first->r.gid;
		p->r.groups = first->r.groups;
		memcpy(p->r.group, first->r.group, sizeof(p->r.group));
	}
	return NULL;
}

static const char *start(struct exec *x, struct plan *p)
{
	const char *why = open_streams(x, p);

	if (!why) {
		x->pid = fork();
		if (!x->pid)
			plan_become(p);
		why = x->pid < 0 ? "no process for the command" : NULL;
	}
	for (unsigned i = 0; i < 3; i++)
		if (p->fd[i] >= 0 && p->fd[i] != x->slave)
			close(p->fd[i]);
	return why;
}

static struct exec *make(struct agent *a, u16 id)
{
	struct exec *x = NULL;

	for (unsigned i = 0; i < AGENT_SESSIONS && !x; i++)
		if (!a->exec[i])
			x = a->exec[i] = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->id = id;
	x->pty = x->slave = -1;
	for (unsigned n = 0; n < AGENT_PORTS; n++) {
		x->fd[n] = -1;
		x->credit[n] = AGENT_WINDOW;
	}
	return x;
}

static void run(struct agent *a, u16 id)
{
	struct plan p = { 0 };
	struct exec *x = find(a, id) || !a->pid ? NULL : make(a, id);
	const char *why = x ? plan_take(&p, a->body, a->head.len) : "no more commands at once";

	if (!why)
		why = complete(a, &p);
	if (!why)
		why = start(x, &p);
	free(p.argv);
	free(p.env);
	if (!why)
		return;
	agent_say_of(a, id, AGENT_FAILED, why, (u32)strlen(why) + 1);
	if (x)
		end(find(a, id));
}

void exec_reaped(struct agent *a, pid_t pid, int status)
{
	for (unsigned i = 0; i < AGENT_SESSIONS; i++)
		if (a->exec[i] && a->exec[i]->pid == pid) {
			a->exec[i]->exited = true;
			a->exec[i]->status = status;
		}
}

static void send_signal(struct exec *x, u32 sig)
{
	pid_t group = x->pid;

	if (x->exited || x->pid <= 0 || sig > 64)
		return;
	if (x->pty >= 0 && (ioctl(x->pty, TIOCGPGRP, &group) || group <= 0))
		group = x->pid;
	kill(-group, (int)sig);
}

/* ---- streams ------------------------------------------------------------------------------------------------------
 */

static void say_credit(struct agent *a, const struct exec *x, u32 bytes)
{
	const u32 m[2] = { AGENT_IN, bytes };

	if (!x->gone)
		agent_say_of(a, x->id, AGENT_CREDIT, m, sizeof(m));
}

static void feed(struct agent *a, struct exec *x)
{
	u32 was = x->len;

	while (x->len && x->fd[AGENT_IN] >= 0) {
		ssize_t n = write(x->fd[AGENT_IN], x->in + x->at, x->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			shut(x, AGENT_IN); /* nobody reads it */
		if (n <= 0)
			break;
		x->at += (u32)n;
		x->len -= (u32)n;
	}
	if (x->fd[AGENT_IN] < 0)
		x->len = 0;
	if (was != x->len)
		say_credit(a, x, was - x->len);
	if (!x->len && x->ending)
		shut(x, AGENT_IN);
}

static void take_input(struct agent *a, struct exec *x, const u8 *p, u32 n)
{
	if (x->fd[AGENT_IN] < 0) {
		say_credit(a, x, n);
		return;
	}
	memmove(x->in, x->in + x->at, x->len);
	x->at = 0;
	n = MIN(n, AGENT_WINDOW - x->len);
	memcpy(x->in + x->len, p, n);
	x->len += n;
	feed(a, x);
}

/* False: nothing is there for now, or nobody may take it. */
static bool fetch(struct agent *a, struct exec *x, unsigned port)
{
	struct {
		u32 port;
		u8 bytes[AGENT_DATA_MAX];
	} m = { .port = port };
	u32 room = MIN(x->credit[port], AGENT_DATA_MAX);
	ssize_t n = room && x->fd[port] >= 0 ? read(x->fd[port], m.bytes, room) : -1;

	if (n > 0) {
		x->credit[port] -= (u32)n;
		agent_say_of(a, x->id, AGENT_DATA, &m, sizeof(m.port) + (u32)n);
	}
	if (room && x->fd[port] >= 0 && (!n || (n < 0 && errno != EAGAIN && errno != EINTR)))
		shut(x, port);
	return n > 0;
}

/* The command has ended, and all that it had written was taken. */
static void finish(struct agent *a, struct exec **slot)
{
	struct exec *x = *slot;
	struct agent_exit e = { .status = (u32)x->status };

	if (x->slave >= 0)
		close(x->slave);
	x->slave = -1;
	for (unsigned n = AGENT_OUT; n <= AGENT_ERR; n++) {
		while (fetch(a, x, n))
			;
		if (!x->credit[n] && x->fd[n] >= 0)
			return;
	}
	if (!x->gone)
		agent_say_of(a, x->id, AGENT_EXIT, &e, sizeof(e));
	end(slot);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Its command hears that its terminal, or what was one for it, is gone. */
static void hang_up(struct exec *x)
{
	send_signal(x, SIGHUP);
	x->gone = true;
	x->len = 0;
	for (unsigned n = AGENT_IN; n <= AGENT_ERR; n++)
		shut(x, n);
	if (x->pty < 0)
		return;
	close(x->pty);
	close(x->slave);
	x->pty = x->slave = -1;
}

void exec_handle(struct agent *a)
{
	struct exec **slot = find(a, a->head.session);
	struct exec *x = slot ? *slot : NULL;
	u32 word[2] = { 0 };

	memcpy(word, a->body, MIN(a->head.len, sizeof(word)));
	if (a->head.type == AGENT_RUN)
		run(a, a->head.session);
	else if (!x)
		return;
	else if (a->head.type == AGENT_DATA && a->head.len > 4 && word[0] == AGENT_IN)
		take_input(a, x, a->body + 4, a->head.len - 4);
	else if (a->head.type == AGENT_CREDIT && (word[0] == AGENT_OUT || word[0] == AGENT_ERR))
		x->credit[word[0]] += MIN(word[1], AGENT_WINDOW);
	else if (a->head.type == AGENT_SIGNAL)
		send_signal(x, word[0]);
	else if (a->head.type == AGENT_REFUSED && (word[0] == AGENT_OUT || word[0] == AGENT_ERR))
		shut(x, word[0]);
	else if (a->head.type == AGENT_GONE)
		hang_up(x);
	else if (a->head.type == AGENT_SIZE && x->pty >= 0)
		ioctl(x->pty, TIOCSWINSZ, &(struct winsize){ .ws_row = (u16)word[0], .ws_col = word[0] >> 16 });
	else if (a->head.type == AGENT_END) {
		x->ending = true;
		feed(a, x);
	}
}

/* ---- the loop's share ---------------------------------------------------------------------------------------------
 */

void exec_plan(const struct agent *a, struct pollfd *p)
{
	for (unsigned i = 0; i < AGENT_SESSIONS; i++, p += 3) {
		const struct exec *x = a->exec[i];

		for (unsigned k = 0; k < 3; k++)
			p[k] = (struct pollfd){ .fd = -1 };
		if (!x)
			continue;
		if (x->len)
			p[0] = (struct pollfd){ .fd = x->fd[AGENT_IN], .events = POLLOUT };
		for (unsigned k = 1; k < 3; k++)
			if (x->credit[AGENT_IN + k])
				p[k] = (struct pollfd){ .fd = x->fd[AGENT_IN + k], .events = POLLIN };
	}
}

void exec_serve(struct agent *a, const struct pollfd *p)
{
	for (unsigned i = 0; i < AGENT_SESSIONS; i++, p += 3) {
		if (!a->exec[i])
			continue;
		if (p[0].revents)
			feed(a, a->exec[i]);
		for (unsigned k = 1; k < 3; k++)
			if (p[k].revents)
				fetch(a, a->exec[i], AGENT_IN + k);
	}
}

void exec_settle(struct agent *a)
{
	for (unsigned i = 0; i < AGENT_SESSIONS; i++)
		if (a->exec[i] && a->exec[i]->exited)
			finish(a, &a->exec[i]);
}
