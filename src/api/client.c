/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "api/control.h"
#include "api/dir.h"

static int send_line(int to, const char *text, size_t n, int pass)
{
	struct iovec v = { (void *)(uintptr_t)text, n };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (pass >= 0) {
		memcpy(CMSG_DATA(&c.head), &pass, sizeof(pass));
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
	}
	while (v.iov_len) {
		ssize_t done = sendmsg(to, &m, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		v.iov_base = (char *)v.iov_base + done;
		v.iov_len -= (size_t)done;
		m.msg_controllen = 0;
	}
	return 0;
}

static int send_request(FILE *to, const char *command, const char *arg, int pass, struct err *e)
{
	char *text;
	json_t *q = json_object();
	int ret;

	json_object_set_new(q, "command", json_string(command));
	if (arg && *arg)
		json_object_set_new(q, "arg", json_string(arg));
	if (arg && *arg && !json_object_get(q, "arg")) {
		json_decref(q);
		return err_set(e, "what follows '%.40s' is not text in UTF-8", command);
	}
	text = json_dumps(q, JSON_COMPACT);
	ret = !text || send_line(fileno(to), text, strlen(text), pass) || send_line(fileno(to), "\n", 1, -1) ? -1 : 0;
	free(text);
	json_decref(q);
	return ret ? err_set(e, "the machine does not listen any more") : 0;
}

static json_t *read_answer(FILE *from, struct err *e)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n = getline(&line, &room, from);
	json_t *a = n > 0 ? json_loadb(line, (size_t)n, 0, NULL) : NULL;
	const char *why;

	free(line);
	if (!a) {
		err_set(e, n <= 0 && errno == EAGAIN ? "the machine does not answer" : "the machine has ended");
		return NULL;
	}
	if (json_is_true(json_object_get(a, "ok")))
		return a;
	why = json_string_value(json_object_get(a, "error"));
	err_set(e, "%.350s", why ? why : "the answer of the machine makes no sense");
	json_decref(a);
	return NULL;
}

json_t *api_ask(FILE *to, FILE *from, const char *command, const char *arg, int fd, struct err *e)
{
	errno = 0;
	return send_request(to, command, arg, fd, e) ? NULL : read_answer(from, e);
}

json_t *api_request(const char *name, const char *command, const char *arg, int pass, int timeout_ms, struct err *e)
{
	struct timeval limit = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	int fd = api_connect(name, NULL, e);
	FILE *to, *from;
	json_t *a = NULL;

	if (fd < 0)
		return NULL;
	if (timeout_ms >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	from = fdopen(fd, "r");
	to = fdopen(dup(fd), "w");
	if (from && to)
		a = api_ask(to, from, command, arg, pass, e);
	else
		err_errno(e, "cannot speak to the machine");
	if (to)
		fclose(to);
	if (from)
		fclose(from);
	else
		close(fd);
	return a;
}
