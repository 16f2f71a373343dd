/* SPDX-License-Identifier: Apache-2.0
 * This process's terminal, in raw mode, with escape keys; or whatever else stdin and stdout are (pipes, files): then
 * the end of stdin just ends the input and the guest goes on.
 *
 * A terminal that we are in the background of is written to, not read or changed.
 */
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "base/signals.h"
#include "chardev/backends.h"
#include "chardev/stream.h"

#define ESCAPE 0x01 /* Ctrl-a */

struct stdio {
	struct stream s;
	struct chardev_keys keys;
	bool escaped;
	bool raw;
};

/* The byte after Ctrl-a: true if it goes to the guest. */
static bool stdio_key(struct stdio *t, u8 *byte)
{
	const struct chardev_user *u = &t->s.dev.user;

	t->escaped = false;
	if (*byte == 'a' || *byte == ESCAPE) {
		*byte = ESCAPE;
		return true;
	}
	if (*byte == 'b' && u->brk)
		u->brk(u->opaque);
	else if (t->keys.key)
		t->keys.key(t->keys.opaque, (char)*byte);
	return false;
}

static size_t stdio_filter(struct stream *s, u8 *p, size_t n)
{
	struct stdio *t = container_of(s, struct stdio, s);
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		u8 byte = p[i];

		if (!t->escaped && byte == ESCAPE)
			t->escaped = true;
		else if (!t->escaped || stdio_key(t, &byte))
			p[kept++] = byte;
	}
	return kept;
}

static void stdio_free(struct chardev *c)
{
	struct stdio *t = container_of(c, struct stdio, s.dev);

	stream_flush(&t->s, 1000);
	stream_detach(&t->s);
	if (t->raw)
		signals_guard_terminal(STDIN_FILENO, NULL, NULL);
	free(t);
}

static const struct chardev_ops stdio_ops = { .write = stream_write,
					      .kick_input = stream_kick_input,
					      .free = stdio_free };

/* Output processing stays on: our own messages on the same terminal end in a plain newline. */
static int stdio_make_raw(struct stdio *t, struct err *e)
{
	struct termios cooked, raw;

	if (tcgetattr(STDIN_FILENO, &cooked))
		return err_errno(e, "cannot read the terminal's settings");
	raw = cooked;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST | ONLCR;
	signals_guard_terminal(STDIN_FILENO, &cooked, &raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
		return err_errno(e, "cannot put the terminal into raw mode");
	t->raw = true;
	return 0;
}

struct chardev *stdio_new(struct loop *loop, const struct chardev_keys *keys, struct err *e)
{
	struct stdio *t = calloc(1, sizeof(*t));
	bool tty = isatty(STDIN_FILENO), foreground = tty && tcgetpgrp(STDIN_FILENO) == getpgrp();

	if (!t) {
		err_set(e, "out of memory");
		return NULL;
	}
	if (keys)
		t->keys = *keys;
	stream_init(&t->s, loop, &stdio_ops);
	t->s.filter = stdio_filter;
	t->s.lossy = tty;
	if (foreground && stdio_make_raw(t, e)) {
		free(t);
		return NULL;
	}
	stream_attach(&t->s, !tty || foreground ? STDIN_FILENO : -1, STDOUT_FILENO);
	return &t->s.dev;
}
