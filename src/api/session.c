/* SPDX-License-Identifier: Apache-2.0
 * The end has an order: the command ends, the agent says so with the number of bytes that it has sent in all, and only
 * when these have been written here is the machine ended. So nothing is lost, and nobody waits for a time to pass.
 */
#include "api/session.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "api/exec.h"
#include "chardev/bulk.h"
#include "cpu/msr.h"

#define FROM_AGENT_MAX (AGENT_DATA_MAX + 1024u)
#define LOG_MAX 4096u
#define IMPATIENCE 3u /* that many signals to end it ... */
#define IMPATIENCE_NS (2 * NS_PER_SEC)

struct session {
	struct session_config cfg;
	struct vm *vm;
	int null; /* /dev/null, for what the command closes when no path leads anywhere any more */
	struct loop *_Atomic loop;
	/* The control port: its own character device. */
	struct chardev control;
	u8 *out; /* for the agent */
	size_t out_at, out_len, out_room;
	bool delivering;
	u8 in[FROM_AGENT_MAX];
	u32 in_len;
	/* The streams: bulk devices, owned by the machine. */
	struct chardev *port[AGENT_PORTS];
	u64 closed_at[AGENT_PORTS];
	struct chardev log;
	char text[LOG_MAX + 1];
	size_t text_len;
	_Atomic u64 signals;
	atomic_bool resized;
	unsigned stops;
	u64 stops_since;
	struct execs *execs;
	bool hello, due, exited, ended; /* due: the agent listens, and who wants that moment has not had it */
	struct agent_exit exit;
	struct session_end end;
	char why[400];
};

static void say_of(void *opaque, const struct agent_head *h, const void *body);

struct session *session_new(const struct session_config *cfg, struct err *e)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, "out of memory");
		return NULL;
	}
	s->cfg = *cfg;
	s->execs = execs_new(say_of, s);
	if (!s->execs) {
		free(s);
		err_set(e, "out of memory");
		return NULL;
	}
	s->null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	for (unsigned i = 0; i < AGENT_PORTS; i++)
		s->closed_at[i] = ~0ull;
	return s;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	if (s->null >= 0)
		close(s->null);
	execs_free(s->execs);
	free(s->out);
	free(s);
}

void session_result(const struct session *s, struct session_end *end)
{
	*end = s->end;
	end->ended = s->ended;
	end->status = (int)(s->exit.status & 0xff);
	end->why = s->why;
	end->log = s->text;
}

/* ---- to the agent ------------------------------------------------------------------------------------------------ */

static void deliver(struct session *s)
{
	const struct chardev_user *u = &s->control.user;

	if (s->delivering || !s->hello || !u->room || !u->rx)
		return;
	s->delivering = true;
	while (s->out_at < s->out_len) {
		size_t n = MIN(s->out_len - s->out_at, u->room(u->opaque)), at = s->out_at;

		if (!n)
			break;
		s->out_at += n;
		u->rx(u->opaque, s->out + at, n);
	}
	s->delivering = false;
	if (s->out_at == s->out_len)
		s->out_at = s->out_len = 0;
}

static bool append(struct session *s, const void *p, size_t len)
{
	if (s->out_len + len > s->out_room) {
		size_t room = 2 * (s->out_len + len) + 4096;
		u8 *out = realloc(s->out, room);

		if (!out)
			return false;
		s->out = out;
		s->out_room = room;
	}
	memcpy(s->out + s->out_len, p, len);
	s->out_len += len;
	return true;
}

static void say_of(void *opaque, const struct agent_head *h, const void *body)
{
	struct session *s = opaque;

	append(s, h, sizeof(*h));
	append(s, body, h->len);
	deliver(s);
}

void session_say(struct session *s, enum agent_message type, const void *p, size_t len)
{
	const struct agent_head h = { .len = (u32)len, .type = (u16)type };

	say_of(s, &h, p);
}

static void on_ended(void *opaque, struct chardev *c, u64 bytes)
{
	(void)c;
	session_say(opaque, AGENT_END, &bytes, sizeof(bytes));
}

static void on_refused(void *opaque, struct chardev *c)
{
	struct session *s = opaque;

	for (u32 i = AGENT_OUT; i <= AGENT_ERR; i++)
		if (s->port[i] == c)
			session_say(s, AGENT_REFUSED, &i, sizeof(i));
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* What the command had as standard output or error has no writer any more: neither has ours. */
static void close_stream(struct session *s, unsigned port)
{
	if (!s->port[port] || bulk_written(s->port[port]) < s->closed_at[port])
		return;
	s->closed_at[port] = ~0ull;
	bulk_close_output(s->port[port]);
	if (s->null >= 0)
		dup2(s->null, port == AGENT_OUT ? STDOUT_FILENO : STDERR_FILENO);
}

static void check_end(struct session *s)
{
	if (!s->exited || s->ended || !s->vm)
		return;
	if ((s->port[AGENT_OUT] && bulk_written(s->port[AGENT_OUT]) < s->exit.out) ||
	    (s->port[AGENT_ERR] && bulk_written(s->port[AGENT_ERR]) < s->exit.err))
		return;
	s->ended = true;
	vm_end(s->vm, (int)(s->exit.status & 0xff), "the command has ended");
}

static void on_moved(void *opaque, struct chardev *c)
{
	struct session *s = opaque;

	for (unsigned i = AGENT_OUT; i <= AGENT_ERR; i++)
		if (s->port[i] == c)
			close_stream(s, i);
	check_end(s);
}

/* ---- from the agent ---------------------------------------------------------------------------------------------- */

static void fail(struct session *s, const char *why)
{
	if (!s->why[0])
		snprintf(s->why, sizeof(s->why), "%s", why);
	if (s->vm)
		vm_end(s->vm, VM_STATUS_FAILURE, "%s", s->why);
}

static void on_closed(struct session *s, const u8 *p)
{
	u32 port;

	memcpy(&port, p, sizeof(port));
	/* Standard error stays: doppel's own last words may have to go there. */
	if (port != AGENT_OUT || s->cfg.tty)
		return;
	memcpy(&s->closed_at[port], p + 8, 8);
	close_stream(s, port);
}

static struct agent_time time_of(const struct vm *vm)
{
	struct agent_time t = { .ns = clock_wall_ns() };

	if (vm && vm->nr_vcpus) {
		t.tsc = cpu_guest_tsc(vm->vcpu[0]->cpu);
		t.hz = vm->model->tsc_hz;
	}
	return t;
}

/* The time goes first, for it is late already when it waits behind other things. Only now what is the caller's goes
 * into the guest: before, it may still become the image of others. */
static void begin(struct session *s)
{
	const struct agent_head h = { .len = sizeof(struct agent_time), .type = AGENT_CLOCK };
	const struct agent_time now = time_of(s->vm);
	size_t all = sizeof(h) + sizeof(now);

	s->due = false;
	if (s->hello || !append(s, s->in, all)) /* room */
		return;
	memmove(s->out + all, s->out, s->out_len - all);
	memcpy(s->out, &h, sizeof(h));
	memcpy(s->out + sizeof(h), &now, sizeof(now));
	s->hello = true;
	deliver(s);
	for (unsigned i = 0; i < AGENT_PORTS; i++)
		if (s->port[i])
			bulk_hold_input(s->port[i], false);
}

static void on_hello(struct session *s)
{
	if (s->hello || s->due)
		return;
	s->due = true;
	if (s->cfg.listens)
		loop_wake(atomic_load(&s->loop)); /* and session_poll() */
	else
		begin(s);
}

static void handle(struct session *s, unsigned type, const u8 *p, u32 len)
{
	u64 now = s->vm ? clock_ns(&s->vm->clock) : 0;

	switch (type) {
	case AGENT_HELLO:
		if (len < 16)
			return;
		s->end.hello_ns = now;
		memcpy(&s->end.guest_hello_ns, p + 8, 8);
		on_hello(s);
		break;
	case AGENT_STARTED:
		if (len < 8)
			return;
		s->end.started_ns = now;
		memcpy(&s->end.guest_started_ns, p, 8);
		break;
	case AGENT_CLOSED:
		if (len >= 16)
			on_closed(s, p);
		break;
	case AGENT_EXIT:
		if (len < sizeof(s->exit))
			return;
		memcpy(&s->exit, p, sizeof(s->exit));
		s->exited = true;
		check_end(s);
		break;
	case AGENT_FAILED:
		snprintf(s->why, sizeof(s->why), "%.*s", (int)MIN(len, 300u), (const char *)p);
		fail(s, "");
		break;
	}
}

/* One of its own agents never says so much at once. */
static bool is_too_long(const struct session *s, const struct agent_head *h)
{
	return s->in_len == sizeof(*h) && h->len > FROM_AGENT_MAX - sizeof(*h) - 1;
}

static size_t control_write(struct chardev *c, const u8 *p, size_t n)
{
	struct session *s = container_of(c, struct session, control);
	struct agent_head h = { 0 };

	for (size_t at = 0, part; at < n; at += part) {
		u32 want = sizeof(h);

		memcpy(&h, s->in, sizeof(h));
		if (s->in_len >= sizeof(h))
			want += h.len;
		part = MIN(n - at, (size_t)(want - s->in_len));
		memcpy(s->in + s->in_len, p + at, part);
		s->in_len += (u32)part;
		if (s->in_len < want)
			continue;
		memcpy(&h, s->in, sizeof(h));
		if (is_too_long(s, &h)) {
			fail(s, "the guest's agent said what no agent says");
			s->in_len = 0;
			return n;
		}
		if (s->in_len < sizeof(h) + h.len)
			continue;
		s->in[s->in_len] = 0;
		s->in_len = 0;
		if (h.session)
			execs_hear(s->execs, &h, s->in + sizeof(h));
		else
			handle(s, h.type, s->in + sizeof(h), h.len);
	}
	return n;
}

static void control_kick(struct chardev *c)
{
	deliver(container_of(c, struct session, control));
}

static void control_free(struct chardev *c)
{
	c->user = (struct chardev_user){ 0 };
}

/* ---- the kernel's console ---------------------------------------------------------------------------------------- */

static size_t log_write(struct chardev *c, const u8 *p, size_t n)
{
	struct session *s = container_of(c, struct session, log);
	size_t keep = MIN(n, LOG_MAX), drop = s->text_len + keep > LOG_MAX ? s->text_len + keep - LOG_MAX : 0;

	if (s->cfg.tell && fwrite(p, 1, n, stderr) < n)
		s->cfg.tell = false;
	memmove(s->text, s->text + drop, s->text_len - drop);
	memcpy(s->text + s->text_len - drop, p + n - keep, keep);
	s->text_len += keep - drop;
	s->text[s->text_len] = 0;
	return n;
}

/* ---- other commands ---------------------------------------------------------------------------------------------- */

int session_exec(struct session *s, int fd, struct err *e)
{
	if (s->exited)
		return err_set(e, "the machine ends");
	return execs_add(s->execs, atomic_load(&s->loop), fd, e);
}

/* ---- the machine's side ------------------------------------------------------------------------------------------
 */

static struct chardev *stream(struct session *s, unsigned n, struct err *e)
{
	const struct bulk_user user = { .ended = on_ended, .refused = on_refused, .moved = on_moved, .opaque = s };
	int in = n == AGENT_IN ? STDIN_FILENO : -1;
	int out = n == AGENT_OUT ? STDOUT_FILENO : n == AGENT_ERR ? STDERR_FILENO : -1;

	s->port[n] = bulk_new(atomic_load(&s->loop), in, out, &user, e);
	if (s->port[n] && !s->hello)
		bulk_hold_input(s->port[n], true);
	return s->port[n];
}

struct chardev *session_chardev(void *opaque, const char *spec, struct loop *loop, struct err *e)
{
	static const struct chardev_ops control_ops = { .write = control_write,
							.kick_input = control_kick,
							.free = control_free };
	static const struct chardev_ops log_ops = { .write = log_write, .free = control_free };
	struct session *s = opaque;
	unsigned n;

	atomic_store(&s->loop, loop);
	if (!strcmp(spec, SESSION_LOG)) {
		s->log.ops = &log_ops;
		return &s->log;
	}
	n = (unsigned)(spec[sizeof(SESSION_PORT) - 1] - '0');
	if (n == AGENT_CONTROL) {
		s->control.ops = &control_ops;
		return &s->control;
	}
	return stream(s, n, e);
}

void session_signal(void *session, int sig)
{
	struct session *s = session;

	atomic_fetch_or(&s->signals, BIT(sig & 63));
	loop_wake(atomic_load(&s->loop));
}

void session_resized(void *session)
{
	struct session *s = session;

	atomic_store(&s->resized, true);
	loop_wake(atomic_load(&s->loop));
}

/* Before the command runs, and for those who cannot wait, a signal is doppel's. */
static void pass_signal(struct session *s, u32 sig)
{
	u64 now = clock_ns(&s->vm->clock);

	if (now - s->stops_since > IMPATIENCE_NS) {
		s->stops = 0;
		s->stops_since = now;
	}
	if (!s->end.started_ns || ++s->stops == IMPATIENCE)
		vm_end(s->vm, 128 + (int)sig, "ended by signal %u (%s)", sig, strsignal((int)sig));
	else
		session_say(s, AGENT_SIGNAL, &sig, sizeof(sig));
}

void session_attach(struct session *s, struct vm *vm, bool listens)
{
	s->vm = vm;
	s->due = listens;
	if (listens) {
		s->cfg.listens = NULL;
		loop_wake(atomic_load(&s->loop));
	}
}

void session_poll(void *opaque, struct vm *vm)
{
	struct session *s = opaque;
	u64 signals = atomic_exchange(&s->signals, 0);
	struct winsize size;

	if (s->due && s->cfg.listens)
		s->cfg.listens(s->cfg.opaque, vm);
	if (s->due)
		begin(s);
	for (u32 sig = 1; signals && sig < 64; sig++)
		if (signals & BIT(sig))
			pass_signal(s, sig);
	if (s->cfg.tty && atomic_exchange(&s->resized, false) && !ioctl(STDIN_FILENO, TIOCGWINSZ, &size)) {
		const u16 m[2] = { size.ws_row, size.ws_col };

		session_say(s, AGENT_SIZE, m, sizeof(m));
	}
	check_end(s);
}
