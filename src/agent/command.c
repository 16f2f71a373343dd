/* SPDX-License-Identifier: Apache-2.0
 * The command's process.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "agent/agent.h"

static char **strings(u8 **at, const u8 *end, u32 n)
{
	char **list = n < AGENT_MESSAGE_MAX ? calloc(n + 1, sizeof(*list)) : NULL;

	for (u32 i = 0; list && i < n; i++) {
		list[i] = (char *)agent_string(at, end);
		if (!list[i]) {
			free(list);
			return NULL;
		}
	}
	return list;
}

const char *plan_take(struct plan *p, u8 *body, u32 len)
{
	u8 *at = body + sizeof(p->r), *end = body + len;

	if (len < sizeof(p->r))
		return "a command that is too short";
	memcpy(&p->r, body, sizeof(p->r));
	p->directory = agent_string(&at, end);
	p->program = agent_string(&at, end);
	p->argv = strings(&at, end, p->r.args);
	p->env = strings(&at, end, p->r.env);
	if (!p->argv || !p->env)
		return "a command with too few words, or no memory for it";
	return !p->argv[0] || p->r.groups > ARRAY_SIZE(p->r.group) ? "a command without a name" : NULL;
}

static void open_pipe(struct agent *a, struct plan *p, unsigned n)
{
	bool in = n == AGENT_IN;
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		agent_fail(a, "no pipe for the command: %s", strerror(errno));
	p->fd[n - AGENT_IN] = fd[!in];
	a->s[n].fd = fd[in];
	fcntl(a->s[n].fd, F_SETFL, O_NONBLOCK);
	/* Files that are opened anew through /dev/stdin and its like are the command's user's. */
	if (fchown(p->fd[n - AGENT_IN], p->r.uid, p->r.gid))
		agent_fail(a, "a pipe's owner: %s", strerror(errno));
}

static void set_size(int fd, u16 rows, u16 cols)
{
	struct winsize size = { .ws_row = rows, .ws_col = cols };

	ioctl(fd, TIOCSWINSZ, &size);
}

const char *plan_terminal(const struct agent_run *r, int *master, int *slave)
{
	int unlock = 0, n = 0;
	char path[32];

	*slave = -1;
	*master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (*master < 0)
		return "no terminal for the command";
	if (!ioctl(*master, TIOCSPTLCK, &unlock) && !ioctl(*master, TIOCGPTN, &n)) {
		snprintf(path, sizeof(path), "/dev/pts/%d", n);
		*slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	}
	if (*slave >= 0 && !fchown(*slave, r->uid, 5) && !fchmod(*slave, 0620)) {
		set_size(*master, r->rows, r->cols);
		return NULL;
	}
	close(*master);
	if (*slave >= 0)
		close(*slave);
	return "the command's terminal cannot be opened";
}

/* The master is read and written by us: AGENT_IN and AGENT_OUT. */
static void open_terminal(struct agent *a, struct plan *p)
{
	int master, slave;
	const char *why = plan_terminal(&p->r, &master, &slave);

	if (why)
		agent_fail(a, "%s: %s", why, strerror(errno));
	a->tty = true;
	a->slave = slave;
	a->pty = a->s[AGENT_OUT].fd = master;
	a->s[AGENT_IN].fd = dup(master);
	fcntl(a->s[AGENT_IN].fd, F_SETFD, FD_CLOEXEC);
	p->fd[0] = p->fd[1] = slave;
	if (p->r.flags & AGENT_TTY_ERR)
		p->fd[2] = slave;
}

static _Noreturn void refuse(const char *what, const char *name, int status)
{
	dprintf(2, "doppel: cannot %s '%s': %s\n", what, name, strerror(errno));
	_exit(status);
}

void plan_become(const struct plan *p)
{
	gid_t group[ARRAY_SIZE(p->r.group)];
	sigset_t none;

	for (unsigned i = 0; i < p->r.groups; i++)
		group[i] = p->r.group[i];
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	for (int i = 0; i < 3; i++)
		dup2(p->fd[i], i);
	if (p->r.flags & AGENT_TTY)
		ioctl(0, TIOCSCTTY, 0);
	umask(p->r.umask);
	if (setgroups(p->r.groups, group) || setresgid(p->r.gid, p->r.gid, p->r.gid) ||
	    setresuid(p->r.uid, p->r.uid, p->r.uid))
		refuse("become the user of", p->program, 125);
	if (chdir(p->directory))
		refuse("enter", p->directory, 125);
	environ = p->env;
	execvpe(p->program, p->argv, p->env);
	refuse("run", p->program, errno == ENOENT ? 127 : 126);
}

bool command_start(struct agent *a, u8 *body, u32 len)
{
	struct plan *p = &a->plan;
	const char *why;
	u64 now;

	if (a->pid)
		return false;
	why = plan_take(p, body, len);
	if (why)
		agent_fail(a, "%s", why);
	if (p->r.flags & AGENT_TTY)
		open_terminal(a, p);
	for (unsigned n = AGENT_IN; n <= AGENT_ERR; n++)
		if (a->s[n].fd < 0 && !(n == AGENT_ERR && (p->r.flags & AGENT_TTY_ERR)))
			open_pipe(a, p, n);
	now = agent_clock();
	agent_say(a, AGENT_STARTED, &now, sizeof(now));
	a->pid = fork();
	if (a->pid < 0)
		agent_fail(a, "no process for the command: %s", strerror(errno));
	if (!a->pid)
		plan_become(p);
	for (unsigned i = 0; i < 3; i++)
		if (p->fd[i] != a->slave)
			close(p->fd[i]);
	return true;
}

/* A terminal's foreground job gets what its user means; else all that the command has begun. */
void command_signal(struct agent *a, u32 sig)
{
	pid_t group = a->pid;

	if (!a->pid || a->exited || sig > 64)
		return;
	if (a->tty && (ioctl(a->pty, TIOCGPGRP, &group) || group <= 0))
		group = a->pid;
	kill(-group, (int)sig);
}

void command_size(struct agent *a, u16 rows, u16 cols)
{
	if (a->pty >= 0)
		set_size(a->pty, rows, cols);
}
