/* SPDX-License-Identifier: Apache-2.0
 * A user network, this side of it: a process of its own (slirp.c) behind a pair of sockets.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/packet.h"
#include "net/slirp.h"

#define BEGIN_MS 10000
#define SOCKET_BYTES (1 << 20) /* what the host allows of it: a few of the longest frames */

struct user_net {
	struct packet p; /* first */
	pid_t pid;
};

/* ---- the process ---------------------------------------------------------------------------------------------------
 */

static void close_all_but(int fd)
{
	if (fd > 3)
		close_range(3, (unsigned)fd - 1, 0);
	close_range((unsigned)fd + 1, ~0u, 0);
}

/* It ends when its socket does, and with its parent; the terminal's keys are not for it. */
static _Noreturn void child(const struct net_spec *s, u16 mtu, int fd, pid_t parent)
{
	static const int ignored[] = { SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGTTOU, SIGPIPE, SIGWINCH, SIGUSR1, SIGUSR2 };
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (unsigned i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 3 && null >= 0; i++)
		dup2(null, i);
	close_all_but(fd);
	prctl(PR_SET_NAME, "doppel-net");
	slirp_process(s, mtu, fd);
}

/* Its first packet. */
static int wait_ready(int fd, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[sizeof(e->text)] = "";
	ssize_t n = poll(&p, 1, BEGIN_MS) == 1 ? recv(fd, text, sizeof(text) - 1, 0) : -1;

	if (n <= 0)
		return err_set(e, "--net user: the network's process did not begin");
	return strcmp(text, "ok") ? err_set(e, "%s", text) : 0;
}

static void reap(struct user_net *u)
{
	if (u->pid <= 0)
		return;
	kill(u->pid, SIGKILL);
	while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int start(struct user_net *u, const struct net_spec *s, struct err *e)
{
	int pair[2], bytes = SOCKET_BYTES;
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_errno(e, "--net user: no socket");
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	u->pid = fork();
	if (!u->pid)
		child(s, u->p.net.mtu, pair[1], parent);
	close(pair[1]);
	if (u->pid < 0 || wait_ready(pair[0], e)) {
		if (u->pid < 0)
			err_errno(e, "--net user: no process");
		close(pair[0]);
		return -1;
	}
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	return pair[0];
}

/* ---- the network ---------------------------------------------------------------------------------------------------
 */

static void user_free(struct net *n)
{
	struct user_net *u = container_of(n, struct user_net, p.net);

	packet_deinit(&u->p);
	reap(u);
	free(u);
}

static const struct net_ops user_ops = {
	.send = packet_send, .peek = packet_peek, .take = packet_take, .free = user_free
};

struct net *net_user_new(const struct net_spec *s, struct loop *loop, struct err *e)
{
	struct user_net *u = calloc(1, sizeof(*u));
	int fd;

	if (!u) {
		err_set(e, "out of memory");
		return NULL;
	}
	u->p.fd = -1;
	u->p.net.ops = &user_ops;
	u->p.net.mtu = s->mtu ? s->mtu : NET_MTU_MAX;
	u->p.net.finishes = true;
	u->p.what = "the process of the user network has ended";
	fd = start(u, s, e);
	if (fd >= 0 && !packet_init(&u->p, fd, s, loop, e))
		return &u->p.net;
	user_free(&u->p.net);
	return NULL;
}
