/* SPDX-License-Identifier: Apache-2.0
 * What a client does not read is kept, up to OUT_MAX bytes: an agent that keeps to what the client has room for sends
 * less. More than that ends the session, and so does everything that no client and no agent says.
 */
#include "api/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE 16u
#define OUT_MAX (4 * AGENT_WINDOW)

struct exec {
	struct execs *all;
	struct loop *loop;
	int fd;	    /* -1: free */
	u16 id;	    /* of the session */
	bool ended; /* the agent has said all */
	u32 credit; /* of input that the client may still send */
	struct agent_head head;
	u8 *body;
	u32 have; /* of head and body */
	u8 *out;  /* OUT_MAX bytes */
	u32 at, len;
};

struct execs {
	void (*say)(void *opaque, const struct agent_head *h, const void *body);
	void *opaque;
	u16 last;
	struct exec exec[AGENT_SESSIONS];
};

struct execs *execs_new(void (*say)(void *opaque, const struct agent_head *h, const void *body), void *opaque)
{
	struct execs *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->say = say;
	x->opaque = opaque;
	for (unsigned i = 0; i < AGENT_SESSIONS; i++)
		x->exec[i] = (struct exec){ .all = x, .fd = -1 };
	return x;
}

static void drop(struct exec *x)
{
	const struct agent_head gone = { .type = AGENT_GONE, .session = x->id };

	if (x->fd < 0)
		return;
	loop_unwatch(x->loop, x->fd);
	close(x->fd);
	free(x->body);
	free(x->out);
	if (!x->ended)
		x->all->say(x->all->opaque, &gone, "");
	*x = (struct exec){ .all = x->all, .fd = -1 };
}

/* At the machine's end: the agent is not told any more. */
void execs_free(struct execs *x)
{
	for (unsigned i = 0; x && i < AGENT_SESSIONS; i++) {
		x->exec[i].ended = true;
		if (x->exec[i].fd >= 0)
			close(x->exec[i].fd);
		free(x->exec[i].body);
		free(x->exec[i].out);
	}
	free(x);
}

/* ---- from the client ----------------------------------------------------------------------------------------------
 */

static bool may_say(u16 type)
{
	return type == AGENT_RUN || type == AGENT_SIGNAL || type == AGENT_SIZE || type == AGENT_END ||
	       type == AGENT_REFUSED || type == AGENT_DATA || type == AGENT_CREDIT;
}

static ssize_t take(struct exec *x, void *p, u32 have, u32 want)
{
	return recv(x->fd, (u8 *)p + have, want - have, MSG_DONTWAIT);
}

/* All of a message is there. False: the client must go. */
static bool pass_on(struct exec *x)
{
	u32 data = x->head.type == AGENT_DATA ? x->head.len - MIN(x->head.len, 4u) : 0;

	if (data > x->credit)
		return false;
	x->credit -= data;
	x->head.session = x->id;
	x->all->say(x->all->opaque, &x->head, x->body);
	free(x->body);
	x->body = NULL;
	x->have = 0;
	return true;
}

/* False: the client must go. */
static bool take_some(struct exec *x, bool *more)
{
	const u32 head = sizeof(x->head);
	ssize_t n = x->have < head ? take(x, &x->head, x->have, head) : take(x, x->body, x->have - head, x->head.len);

	*more = n > 0;
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	x->have += (u32)n;
	if (x->have < head)
		return true;
	if (!x->body) {
		if (x->head.len > AGENT_MESSAGE_MAX || !may_say(x->head.type))
			return false;
		x->body = malloc(x->head.len + 1);
		if (!x->body)
			return false;
	}
	return x->have < head + x->head.len || pass_on(x);
}

/* ---- to the client ------------------------------------------------------------------------------------------------
 */

static void serve(void *opaque, int fd, short revents);

static void flush(struct exec *x)
{
	while (x->len) {
		ssize_t n = send(x->fd, x->out + x->at, x->len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			drop(x);
			return;
		}
		if (n <= 0)
			break;
		x->at += (u32)n;
		x->len -= (u32)n;
	}
	if (x->ended && !x->len)
		drop(x);
	else
		loop_watch(x->loop, x->fd, x->len ? POLLIN | POLLOUT : POLLIN, serve, x);
}

static void serve(void *opaque, int fd, short revents)
{
	struct exec *x = opaque;
	bool more = revents & (POLLIN | POLLHUP | POLLERR);

	(void)fd;
	for (unsigned i = 0; more && i < AT_ONCE; i++)
		if (!take_some(x, &more)) {
			drop(x);
			return;
		}
	if (revents & POLLOUT)
		flush(x);
}

static void keep(struct exec *x, const void *p, u32 n)
{
	memcpy(x->out + x->at + x->len, p, n);
	x->len += n;
}

void execs_hear(struct execs *all, const struct agent_head *h, const u8 *body)
{
	struct exec *x = NULL;

	for (unsigned i = 0; i < AGENT_SESSIONS; i++)
		if (all->exec[i].fd >= 0 && all->exec[i].id == h->session)
			x = &all->exec[i];
	if (!x || x->ended)
		return;
	if (h->type != AGENT_DATA && h->type != AGENT_CREDIT && h->type != AGENT_EXIT && h->type != AGENT_FAILED)
		return;
	if (h->type == AGENT_CREDIT && h->len >= 8) {
		u32 more;

		memcpy(&more, body + 4, sizeof(more));
		x->credit = MIN(x->credit + MIN(more, AGENT_WINDOW), AGENT_WINDOW);
	}
	if (x->len + sizeof(*h) + h->len > OUT_MAX) {
		drop(x);
		return;
	}
	memmove(x->out, x->out + x->at, x->len);
	x->at = 0;
	keep(x, h, sizeof(*h));
	keep(x, body, h->len);
	x->ended = h->type == AGENT_EXIT || h->type == AGENT_FAILED;
	flush(x);
}

/* ---- a new one ----------------------------------------------------------------------------------------------------
 */

static u16 new_id(struct execs *all)
{
	bool used;

	do {
		all->last = (u16)(all->last + 1 ? all->last + 1 : 1);
		used = false;
		for (unsigned i = 0; i < AGENT_SESSIONS; i++)
			used |= all->exec[i].fd >= 0 && all->exec[i].id == all->last;
	} while (used);
	return all->last;
}

int execs_add(struct execs *all, struct loop *loop, int fd, struct err *e)
{
	struct exec *x = NULL;
	u8 *out;

	for (unsigned i = 0; i < AGENT_SESSIONS && !x; i++)
		if (all->exec[i].fd < 0)
			x = &all->exec[i];
	if (!x)
		return err_set(e, "%u commands are running there already", AGENT_SESSIONS);
	out = malloc(OUT_MAX);
	if (!out)
		return err_set(e, "out of memory");
	*x = (struct exec){ .all = all, .loop = loop, .fd = fd, .id = new_id(all), .out = out, .credit = AGENT_WINDOW };
	if (!loop_watch(loop, fd, POLLIN, serve, x))
		return 0;
	free(out);
	*x = (struct exec){ .all = all, .fd = -1 };
	return err_set(e, "too much is open");
}
