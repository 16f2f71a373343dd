/* SPDX-License-Identifier: Apache-2.0
 * doppel exec: another command in a machine of `doppel run --name`. What is said to the agent (agent/protocol.h) goes
 * over a socket pair, whose other end the machine takes; it only passes it on. Neither side sends more of a stream than
 * the other has said that it has room for, so that nothing piles up where a reader is slow.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "api/control.h"
#include "api/dir.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/run.h"

#define ANSWER_MS 5000
#define IMPATIENCE 3u
#define NS 1000000000ll
#define MESSAGE_MAX (AGENT_DATA_MAX + 64u)

enum {
#define EXEC_OPTION(id, name, value, arg, help) EXEC_##id,
#include "cli/exec_options.def"
#undef EXEC_OPTION
};

static const struct option_row rows[] = {
#define EXEC_OPTION(id, name, value, arg, help) { name, value, arg, EXEC_##id, help },
#include "cli/exec_options.def"
#undef EXEC_OPTION
};

struct client {
	struct run_options o;
	const char *name;
	int fd, signals;
	struct termios cooked;
	u32 credit; /* of input */
	bool input_ended, refused[AGENT_PORTS];
	unsigned stops;
	struct timespec stops_since;
	u8 in[sizeof(struct agent_head) + MESSAGE_MAX];
	u32 have;
	bool done;
	int status;
};

void exec_help(FILE *f)
{
	fputs("doppel exec [options] NAME [-- COMMAND [ARGUMENT ...]]\n\n"
	      "Runs another command, or a shell, in a machine that 'doppel run --name NAME' has started. Standard "
	      "input,\n"
	      "output and error, signals and the exit status are as doppel run has them. The machine ends with its "
	      "first\n"
	      "command.\n\n",
	      f);
	option_help(rows, ARRAY_SIZE(rows), f);
	fputs("\n  doppel run --name box -- sleep infinity &\n  doppel exec box -- make check\n", f);
}

static int set_option(void *opaque, int id, const char *name, const char *val, struct err *e)
{
	struct client *c = opaque;

	(void)name;
	switch (id) {
	case OPTION_POSITIONAL:
		if (c->name)
			return err_set(e, "'%.100s': the command comes behind '--', as in: doppel exec %.60s -- %.100s",
				       val, c->name, val);
		c->name = val;
		return 0;
	case EXEC_DIRECTORY:
		c->o.directory = val;
		return *val == '/' ? 0 : err_set(e, "-w '%.100s': give a path from / on", val);
	case EXEC_ENV:
		return run_options_add_env(&c->o, val, e);
	case EXEC_USER:
		c->o.user = val;
		return 0;
	default:
		c->o.help = true;
		return 0;
	}
}

static int parse(struct client *c, int argc, char **argv, struct err *e)
{
	int own = 0;

	while (own < argc && strcmp(argv[own], "--"))
		own++;
	if (own + 1 < argc)
		c->o.command = argv + own + 1;
	if (option_parse(rows, ARRAY_SIZE(rows), "exec", own, argv, set_option, c, e))
		return -1;
	if (c->o.help)
		return 0;
	if (!c->name)
		return err_set(e, "'doppel exec' needs the NAME of a machine: 'doppel ps' lists them");
	c->o.exec = true;
	c->o.tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
	c->o.tty_err = c->o.tty && isatty(STDERR_FILENO);
	return api_name_check(c->name, e);
}

/* ---- to the agent ------------------------------------------------------------------------------------------------ */

static bool send_all(int fd, const void *p, size_t n)
{
	for (const u8 *at = p; n;) {
		ssize_t done = send(fd, at, n, MSG_NOSIGNAL);

		if (done < 0 && errno != EINTR)
			return false;
		if (done > 0) {
			at += done;
			n -= (size_t)done;
		}
	}
	return true;
}

/* Who is not there any more is found out when nothing comes from there. */
static void say(struct client *c, enum agent_message type, const void *p, size_t len)
{
	const struct agent_head h = { .len = (u32)len, .type = (u16)type };

	if (send_all(c->fd, &h, sizeof(h)))
		send_all(c->fd, p, len);
}

static void read_input(struct client *c)
{
	struct {
		u32 port;
		u8 bytes[AGENT_DATA_MAX];
	} m = { .port = AGENT_IN };
	const u64 none = 0;
	ssize_t n = read(STDIN_FILENO, m.bytes, MIN(c->credit, AGENT_DATA_MAX));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		c->credit -= (u32)n;
		say(c, AGENT_DATA, &m, sizeof(m.port) + (size_t)n);
		return;
	}
	c->input_ended = true;
	say(c, AGENT_END, &none, sizeof(none));
}

static void say_size(struct client *c)
{
	struct winsize size;
	u16 m[2];

	if (!c->o.tty || ioctl(STDIN_FILENO, TIOCGWINSZ, &size))
		return;
	m[0] = size.ws_row;
	m[1] = size.ws_col;
	say(c, AGENT_SIZE, m, sizeof(m));
}

/* The third signal within two seconds is this program's. */
static void pass_signal(struct client *c)
{
	struct signalfd_siginfo info;
	struct timespec now;
	u32 sig;

	if (read(c->signals, &info, sizeof(info)) != sizeof(info))
		return;
	sig = info.ssi_signo;
	if (sig == SIGWINCH) {
		say_size(c);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((now.tv_sec - c->stops_since.tv_sec) * NS + now.tv_nsec - c->stops_since.tv_nsec > 2 * NS) {
		c->stops = 0;
		c->stops_since = now;
	}
	say(c, AGENT_SIGNAL, &sig, sizeof(sig));
	if (++c->stops < IMPATIENCE)
		return;
	c->done = true;
	c->status = 128 + (int)sig;
}

/* ---- from the agent ---------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const u8 *p, size_t n)
{
	while (n) {
		struct pollfd pfd = { .fd = fd, .events = POLLOUT };
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EAGAIN)
			poll(&pfd, 1, -1);
		else if (done < 0 && errno != EINTR)
			return false;
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		}
	}
	return true;
}

static void on_data(struct client *c, const u8 *p, u32 len)
{
	u32 m[2];

	memcpy(&m[0], p, sizeof(m[0]));
	m[1] = len - 4;
	if ((m[0] != AGENT_OUT && m[0] != AGENT_ERR) || c->refused[m[0]])
		return;
	if (write_all(m[0] == AGENT_OUT ? STDOUT_FILENO : STDERR_FILENO, p + 4, len - 4)) {
		say(c, AGENT_CREDIT, m, sizeof(m));
		return;
	}
	if (errno != EPIPE)
		log_msg(LOG_ERROR, "cannot write the command's output: %s", strerror(errno));
	c->refused[m[0]] = true;
	say(c, AGENT_REFUSED, &m[0], sizeof(m[0]));
}

static void end(struct client *c, int status)
{
	c->done = true;
	c->status = status;
}

static void handle(struct client *c, unsigned type, u8 *p, u32 len)
{
	u32 m[2] = { 0 };

	memcpy(m, p, MIN(len, sizeof(m)));
	p[len] = 0;
	if (type == AGENT_DATA && len > 4) {
		on_data(c, p, len);
	} else if (type == AGENT_CREDIT && m[0] == AGENT_IN) {
		c->credit = MIN(c->credit + MIN(m[1], AGENT_WINDOW), AGENT_WINDOW);
	} else if (type == AGENT_EXIT) {
		end(c, (int)(m[0] & 0xff));
	} else if (type == AGENT_FAILED) {
		for (u8 *b = p; *b; b++)
			*b = *b < ' ' || *b >= 0x7f ? '?' : *b;
		log_msg(LOG_ERROR, "%s", (const char *)p);
		end(c, STATUS_FAILURE);
	}
}

/* False: nobody is there any more. */
static bool receive(struct client *c)
{
	struct agent_head h;
	u32 want = sizeof(h);
	ssize_t n;

	memcpy(&h, c->in, sizeof(h));
	if (c->have >= sizeof(h))
		want += h.len;
	n = recv(c->fd, c->in + c->have, want - c->have, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->have += (u32)n;
	if (c->have < sizeof(h))
		return true;
	memcpy(&h, c->in, sizeof(h));
	if (h.len >= MESSAGE_MAX)
		return false;
	if (c->have == sizeof(h) + h.len) {
		c->have = 0;
		handle(c, h.type, c->in + sizeof(h), h.len);
	}
	return true;
}

static int serve(struct client *c, struct err *e)
{
	while (!c->done) {
		struct pollfd p[] = { { .fd = c->fd, .events = POLLIN },
				      { .fd = c->signals, .events = POLLIN },
				      { .fd = c->input_ended || !c->credit ? -1 : STDIN_FILENO, .events = POLLIN } };

		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			return err_errno(e, "poll");
		if (p[1].revents)
			pass_signal(c);
		if (p[2].revents)
			read_input(c);
		if (p[0].revents && !receive(c))
			return err_set(e, "the machine '%s' has ended before the command", c->name);
	}
	return 0;
}

/* ---- from start to end ------------------------------------------------------------------------------------------- */

static int take_signals(struct client *c, struct err *e)
{
	static const int all[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		sigaddset(&set, all[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	c->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return c->signals < 0 ? err_errno(e, "no descriptor for signals") : 0;
}

static int begin(struct client *c, struct err *e)
{
	size_t len;
	void *body = run_command_body(&c->o, &len, e);
	int pair[2] = { -1, -1 };
	json_t *a = NULL;

	if (body && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		a = api_request(c->name, "exec", "", pair[1], ANSWER_MS, e);
	else if (body)
		err_errno(e, "no socket");
	if (pair[1] >= 0)
		close(pair[1]);
	c->fd = pair[0];
	if (a)
		say(c, AGENT_RUN, body, len);
	json_decref(a);
	free(body);
	return a ? 0 : -1;
}

static int on_terminal(struct client *c, struct err *e)
{
	struct termios raw;
	int ret;

	if (!c->o.tty)
		return serve(c, e);
	if (tcgetattr(STDIN_FILENO, &c->cooked))
		return err_errno(e, "cannot read the terminal's settings");
	raw = c->cooked;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
		return err_errno(e, "cannot put the terminal into raw mode");
	ret = serve(c, e);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &c->cooked);
	return ret;
}

int exec_main(int argc, char **argv)
{
	struct client *c = calloc(1, sizeof(*c));
	struct err e = { "out of memory" };
	int status;

	if (!c)
		return cli_fail(&e);
	c->fd = c->signals = -1;
	c->credit = AGENT_WINDOW;
	if (parse(c, argc, argv, &e)) {
		status = cli_fail(&e);
	} else if (c->o.help) {
		exec_help(stdout);
		status = 0;
	} else {
		status = take_signals(c, &e) || begin(c, &e) || on_terminal(c, &e) ? cli_fail(&e) : c->status;
	}
	if (c->fd >= 0)
		close(c->fd);
	if (c->signals >= 0)
		close(c->signals);
	for (unsigned i = 0; i < c->o.nr_env; i++)
		free(c->o.env[i]);
	free(c);
	return status;
}
