/* SPDX-License-Identifier: Apache-2.0
 * A user network, this side of it: a process of its own (slirp.c) behind a pair of sockets.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/child.h"
#include "net/packet.h"
#include "net/slirp.h"

#define SOCKET_BYTES (1 << 20) /* what the host allows of it: a few of the longest frames */

struct user_net {
	struct packet p; /* first */
	pid_t pid;
};

/* ---- the process ---------------------------------------------------------------------------------------------------
 */

struct begin {
	const struct net_spec *spec;
	u16 mtu;
	int fd;
};

static void child(void *opaque)
{
	const struct begin *b = opaque;

	slirp_process(b->spec, b->mtu, b->fd);
}

static int start(struct user_net *u, const struct net_spec *s, struct err *e)
{
	int pair[2], bytes = SOCKET_BYTES;
	struct begin b = { s, u->p.net.mtu, -1 };

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_errno(e, "--net user: no socket");
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	b.fd = pair[1];
	u->pid = child_start("doppel-net", &pair[1], 1, child, &b);
	close(pair[1]);
	if (u->pid < 0 || child_wait_ready(pair[0], "--net user: the network's process", e)) {
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
	child_reap(u->pid);
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
