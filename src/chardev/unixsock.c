/* SPDX-License-Identifier: Apache-2.0
 * A listening unix stream socket, one client at a time; output while there is none is dropped. A socket file that
 * nobody listens on any more is replaced, anything else in its place is an error.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "chardev/backends.h"
#include "chardev/stream.h"

struct unixsock {
	struct stream s;
	int listen_fd;
	struct sockaddr_un addr;
};

static void unixsock_hangup(struct stream *s)
{
	int fd = s->in_fd;

	stream_detach(s);
	if (fd >= 0)
		close(fd);
}

static void unixsock_accept(void *opaque, int fd, short revents)
{
	struct unixsock *u = opaque;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)revents;
	if (client < 0)
		return;
	if (u->s.in_fd >= 0) {
		close(client);
		return;
	}
	stream_attach(&u->s, client, client);
}

static void unixsock_free(struct chardev *c)
{
	struct unixsock *u = container_of(c, struct unixsock, s.dev);

	stream_flush(&u->s, 1000);
	unixsock_hangup(&u->s);
	loop_unwatch(u->s.loop, u->listen_fd);
	close(u->listen_fd);
	unlink(u->addr.sun_path);
	free(u);
}

static const struct chardev_ops unixsock_ops = { .write = stream_write,
						 .kick_input = stream_kick_input,
						 .free = unixsock_free };

static bool stale_socket(const struct sockaddr_un *addr)
{
	struct stat st;
	bool stale;
	int fd;

	if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	stale = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return stale;
}

static int unixsock_listen(struct unixsock *u, const char *path, struct err *e)
{
	if (strlen(path) >= sizeof(u->addr.sun_path))
		return err_set(e, "the socket path '%.120s' is longer than %zu bytes", path,
			       sizeof(u->addr.sun_path) - 1);
	u->addr.sun_family = AF_UNIX;
	strcpy(u->addr.sun_path, path);
	u->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (u->listen_fd < 0)
		return err_errno(e, "cannot make a socket");
	if (stale_socket(&u->addr))
		unlink(path);
	if (bind(u->listen_fd, (struct sockaddr *)&u->addr, sizeof(u->addr)) || listen(u->listen_fd, 4)) {
		err_errno(e, "cannot listen on '%.120s'", path);
		close(u->listen_fd);
		return -1;
	}
	return 0;
}

struct chardev *unixsock_new(const char *path, struct loop *loop, struct err *e)
{
	struct unixsock *u = calloc(1, sizeof(*u));

	if (!u) {
		err_set(e, "out of memory");
		return NULL;
	}
	stream_init(&u->s, loop, &unixsock_ops);
	u->s.hangup = unixsock_hangup;
	if (unixsock_listen(u, path, e)) {
		free(u);
		return NULL;
	}
	loop_watch(loop, u->listen_fd, POLLIN, unixsock_accept, u);
	return &u->s.dev;
}
