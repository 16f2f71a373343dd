/* SPDX-License-Identifier: Apache-2.0
 * The control socket's thread: a few clients, a line at a time, commands one after another. A client that does not read
 * its answer, or sends a line without end, is dropped; none can hold up the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/control.h"
#include "api/dir.h"
#include "base/log.h"

#define CLIENTS 8
#define LINE_MAX_BYTES 65536u
#define WRITE_TIMEOUT_MS 2000

struct client {
	int fd;	  /* -1: free */
	int file; /* that came with what it sent, or -1 */
	char *line;
	u32 len;
};

struct control {
	struct monitor monitor;
	struct sockaddr_un addr;
	int listen_fd, wake_fd;
	pthread_t thread;
	bool started;
	atomic_bool stop;
	struct client client[CLIENTS];
	pthread_mutex_t lock; /* guards what was posted */
	char command[32], arg[256];
	bool posted;
};

/* ---- clients --------------------------------------------------------------------------------------------------------
 */

static void drop(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->file >= 0)
		close(c->file);
	free(c->line);
	*c = (struct client){ .fd = -1, .file = -1 };
}

static bool write_all(int fd, const char *p, size_t n)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	while (n) {
		ssize_t done = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (done < 0 && poll(&pfd, 1, WRITE_TIMEOUT_MS) <= 0)
			return false;
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		}
	}
	return true;
}

static json_t *refuse(const char *why)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}

static json_t *answer(struct control *c, const char *line, size_t n)
{
	json_t *q = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL), *a;
	const char *command = json_string_value(json_object_get(q, "command"));
	json_t *arg = json_object_get(q, "arg");

	if (!command || (arg && !json_is_string(arg)))
		a = refuse("a request is one line {\"command\": \"…\", \"arg\": \"…\"}");
	else
		a = monitor_do(&c->monitor, command, arg ? json_string_value(arg) : "");
	json_decref(q);
	return a;
}

/* One line; false: the client must go. */
static bool serve_line(struct control *c, struct client *cl, size_t n)
{
	json_t *a;
	char *text;
	bool ok;

	c->monitor.file = cl->file;
	a = answer(c, cl->line, n);
	text = json_dumps(a, JSON_COMPACT | JSON_PRESERVE_ORDER);
	if (cl->file >= 0)
		close(cl->file);
	c->monitor.file = cl->file = -1;
	ok = text && write_all(cl->fd, text, strlen(text)) && write_all(cl->fd, "\n", 1);

	free(text);
	json_decref(a);
	return ok;
}

static bool serve_lines(struct control *c, struct client *cl)
{
	char *end;

	while ((end = memchr(cl->line, '\n', cl->len))) {
		size_t n = (size_t)(end - cl->line);

		if (!serve_line(c, cl, n))
			return false;
		cl->len -= (u32)n + 1;
		memmove(cl->line, end + 1, cl->len);
	}
	return cl->len < LINE_MAX_BYTES;
}

/* Of the files that come along only the last one is kept. */
static ssize_t receive(struct client *cl)
{
	struct iovec v = { cl->line + cl->len, LINE_MAX_BYTES - cl->len };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	ssize_t n = recvmsg(cl->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *got = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	if (!got || got->cmsg_level != SOL_SOCKET || got->cmsg_type != SCM_RIGHTS ||
	    got->cmsg_len != CMSG_LEN(sizeof(int)))
		return n;
	if (cl->file >= 0)
		close(cl->file);
	memcpy(&cl->file, CMSG_DATA(got), sizeof(cl->file));
	return n;
}

static void serve(struct control *c, struct client *cl)
{
	ssize_t n = receive(cl);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		cl->len += (u32)n;
	if (n <= 0 || !serve_lines(c, cl))
		drop(cl);
}

static void take_client(struct control *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	for (unsigned i = 0; i < CLIENTS && fd >= 0; i++) {
		struct client *cl = &c->client[i];

		if (cl->fd >= 0)
			continue;
		cl->line = malloc(LINE_MAX_BYTES);
		if (!cl->line)
			break;
		cl->fd = fd;
		return;
	}
	if (fd >= 0)
		close(fd);
}

/* ---- what was posted ------------------------------------------------------------------------------------------------
 */

static void do_posted(struct control *c)
{
	char command[sizeof(c->command)], arg[sizeof(c->arg)];
	const char *text;
	json_t *a;
	bool posted;

	pthread_mutex_lock(&c->lock);
	posted = c->posted;
	c->posted = false;
	memcpy(command, c->command, sizeof(command));
	memcpy(arg, c->arg, sizeof(arg));
	pthread_mutex_unlock(&c->lock);
	if (!posted)
		return;
	a = monitor_do(&c->monitor, command, arg);
	text = json_string_value(json_object_get(a, "text"));
	if (!text)
		text = json_string_value(json_object_get(a, "error"));
	fprintf(stderr, "\ndoppel: %s\n", text && *text ? text : "done");
	json_decref(a);
}

static void wake(struct control *c)
{
	u64 one = 1;
	ssize_t done = write(c->wake_fd, &one, sizeof(one));

	(void)done;
}

void control_post(struct control *c, const char *command, const char *arg)
{
	pthread_mutex_lock(&c->lock);
	snprintf(c->command, sizeof(c->command), "%s", command);
	snprintf(c->arg, sizeof(c->arg), "%s", arg);
	c->posted = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
}

/* ---- the thread -----------------------------------------------------------------------------------------------------
 */

static void wait_for_work(struct control *c)
{
	struct pollfd fds[CLIENTS + 2];
	u64 drained;

	fds[0] = (struct pollfd){ .fd = c->wake_fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = c->listen_fd, .events = POLLIN };
	for (unsigned i = 0; i < CLIENTS; i++)
		fds[i + 2] = (struct pollfd){ .fd = c->client[i].fd, .events = POLLIN };
	if (poll(fds, ARRAY_SIZE(fds), -1) <= 0)
		return;
	if (fds[0].revents && read(c->wake_fd, &drained, sizeof(drained)) < 0)
		return;
	for (unsigned i = 0; i < CLIENTS; i++)
		if (c->client[i].fd >= 0 && fds[i + 2].revents)
			serve(c, &c->client[i]);
	if (fds[1].revents)
		take_client(c);
}

static void *control_main(void *arg)
{
	struct control *c = arg;

	pthread_setname_np(pthread_self(), "control");
	while (!atomic_load(&c->stop)) {
		wait_for_work(c);
		do_posted(c);
	}
	return NULL;
}

/* ---- life -----------------------------------------------------------------------------------------------------------
 */

/* A socket that nobody listens on is left from a machine that died. */
static int claim_name(struct control *c, struct err *e)
{
	const char *name = c->monitor.cfg.name;
	bool dead;
	int fd;

	if (api_address(name, &c->addr, e))
		return -1;
	fd = api_connect(name, &dead, NULL);
	if (fd >= 0) {
		close(fd);
		return err_set(e, "a machine called '%s' is running already: give another --name", name);
	}
	if (dead)
		unlink(c->addr.sun_path);
	return 0;
}

static int start_listening(struct control *c, struct err *e)
{
	if (claim_name(c, e))
		return -1;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->wake_fd < 0 || c->listen_fd < 0)
		return err_errno(e, "cannot make a socket");
	if (bind(c->listen_fd, (struct sockaddr *)&c->addr, sizeof(c->addr)))
		return err_errno(e, "cannot make the control socket '%.150s'", c->addr.sun_path);
	if (listen(c->listen_fd, CLIENTS)) {
		unlink(c->addr.sun_path);
		return err_errno(e, "cannot serve the control socket");
	}
	return 0;
}

int control_start(struct control *c, struct err *e)
{
	errno = pthread_create(&c->thread, NULL, control_main, c);
	c->started = !errno;
	return c->started ? 0 : err_errno(e, "cannot serve the control socket");
}

const char *control_path(const struct control *c)
{
	return c->addr.sun_path;
}

static void control_free(struct control *c)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		drop(&c->client[i]);
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct control *control_new(const struct control_config *cfg, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c) {
		err_set(e, "out of memory");
		return NULL;
	}
	c->monitor = (struct monitor){ .cfg = *cfg, .file = -1 };
	c->listen_fd = c->wake_fd = -1;
	for (unsigned i = 0; i < CLIENTS; i++)
		c->client[i].fd = c->client[i].file = -1;
	pthread_mutex_init(&c->lock, NULL);
	if (!start_listening(c, e))
		return c;
	control_free(c);
	return NULL;
}

void control_stop(struct control *c)
{
	if (!c)
		return;
	atomic_store(&c->stop, true);
	wake(c);
	if (c->started)
		pthread_join(c->thread, NULL);
	unlink(c->addr.sun_path);
	monitor_release(&c->monitor);
	control_free(c);
}
