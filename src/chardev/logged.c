/* SPDX-License-Identifier: Apache-2.0 */
#include "chardev/logged.h"

#include <stdlib.h>

#define IN_SIZE 4096u
#define BEHIND (64u << 10)

struct logged {
	struct chardev dev; /* first */
	struct chardev *inner;
	struct inputs *in;
	u16 source;
	bool brk; /* a break waits for the guest, behind what is in in[] */
	u32 n_in;
	u8 buf[IN_SIZE];
	u8 *out; /* what inner has not taken yet */
	size_t n_out, out_room;
};

static struct logged *of(struct chardev *c)
{
	return container_of(c, struct logged, dev);
}

/* ---- output -------------------------------------------------------------------------------------------------------
 */

static void keep_out(struct logged *l, const u8 *p, size_t n)
{
	if (l->n_out + n > l->out_room) {
		size_t room = ALIGN_UP(2 * (l->n_out + n), (size_t)4096);
		u8 *out = realloc(l->out, room);

		if (!out)
			return; /* the host has no memory; the guest may not notice */
		l->out = out;
		l->out_room = room;
	}
	memcpy(l->out + l->n_out, p, n);
	l->n_out += n;
}

static size_t logged_write(struct chardev *c, const u8 *p, size_t n)
{
	struct logged *l = of(c);
	size_t done = l->n_out ? 0 : chardev_write(l->inner, p, n);

	if (done < n)
		keep_out(l, p + done, n - done);
	return n;
}

static void inner_drained(void *opaque)
{
	struct logged *l = opaque;
	size_t done = chardev_write(l->inner, l->out, l->n_out);

	memmove(l->out, l->out + done, l->n_out - done);
	l->n_out -= done;
}

bool logged_is_behind(struct chardev *c)
{
	return of(c)->n_out > BEHIND;
}

/* ---- input --------------------------------------------------------------------------------------------------------
 */

static size_t inner_room(void *opaque)
{
	const struct logged *l = opaque;

	return inputs_replaying(l->in) ? IN_SIZE : IN_SIZE - l->n_in;
}

static void inner_rx(void *opaque, const u8 *p, size_t n)
{
	struct logged *l = opaque;

	if (inputs_replaying(l->in))
		return;
	n = MIN(n, IN_SIZE - (size_t)l->n_in);
	memcpy(l->buf + l->n_in, p, n);
	l->n_in += (u32)n;
}

static void inner_brk(void *opaque)
{
	struct logged *l = opaque;

	l->brk = !inputs_replaying(l->in);
}

static u32 guest_room(const struct logged *l)
{
	const struct chardev_user *u = &l->dev.user;

	return u->rx && u->room ? (u32)MIN(u->room(u->opaque), (size_t)IN_SIZE) : 0;
}

bool logged_waits(struct chardev *c)
{
	struct logged *l = of(c);

	return (l->brk && !l->n_in) || (l->n_in && guest_room(l));
}

static void give_break(struct logged *l)
{
	if (l->dev.user.brk)
		l->dev.user.brk(l->dev.user.opaque);
}

void logged_deliver(struct chardev *c)
{
	struct logged *l = of(c);
	u32 n;

	while (l->n_in && (n = MIN(guest_room(l), l->n_in))) {
		u8 now[IN_SIZE];

		memcpy(now, l->buf, n);
		memmove(l->buf, l->buf + n, l->n_in - n);
		l->n_in -= n;
		inputs_arrive(l->in, INPUT_DATA, l->source, now, n);
		l->dev.user.rx(l->dev.user.opaque, now, n);
	}
	if (l->brk && !l->n_in) {
		l->brk = false;
		inputs_arrive(l->in, INPUT_BREAK, l->source, NULL, 0);
		give_break(l);
	}
	chardev_kick_input(l->inner);
}

void logged_give(struct chardev *c, const struct input *i)
{
	struct logged *l = of(c);

	if (i->kind == INPUT_BREAK)
		give_break(l);
	else if (i->len > guest_room(l))
		inputs_diverge(l->in, "the guest does not read its console where it did in the recording");
	else
		l->dev.user.rx(l->dev.user.opaque, i->data, i->len);
}

/* ---- life ----------------------------------------------------------------------------------------------------------
 */

static void logged_free(struct chardev *c)
{
	struct logged *l = of(c);

	if (l->n_out)
		inner_drained(l);
	chardev_free(l->inner);
	free(l->out);
	free(l);
}

static const struct chardev_ops logged_ops = { .write = logged_write, .free = logged_free };

struct chardev *logged_new(struct chardev *inner, struct inputs *in, u16 source, struct err *e)
{
	struct logged *l = calloc(1, sizeof(*l));

	if (!l) {
		chardev_free(inner);
		err_set(e, "out of memory");
		return NULL;
	}
	l->dev.ops = &logged_ops;
	l->inner = inner;
	l->in = in;
	l->source = source;
	chardev_set_user(
	    inner, &(struct chardev_user){
		       .room = inner_room, .rx = inner_rx, .drained = inner_drained, .brk = inner_brk, .opaque = l });
	return &l->dev;
}
