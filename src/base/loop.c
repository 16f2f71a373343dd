/* SPDX-License-Identifier: Apache-2.0
 * poll(2) rather than epoll: it takes regular files (stdin may be one), and there are a handful of descriptors.
 *
 * The watch table may change (under the owner's lock) while another thread sleeps in loop_wait(): the sleeper polls a
 * copy, and loop_dispatch() looks each ready descriptor up again before it calls a handler.
 */
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define WATCH_MAX 64

struct watch {
	int fd;
	short events;
	loop_fn *fn;
	void *opaque;
};

struct loop {
	pthread_mutex_t lock; /* guards watch[] and nr, held for copies only */
	struct watch watch[WATCH_MAX];
	unsigned nr;
	struct pollfd ready[WATCH_MAX + 1];
	unsigned nr_ready;
	int wake_fd;
};

struct loop *loop_new(struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(e, "out of memory");
		return NULL;
	}
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0) {
		err_errno(e, "cannot make an eventfd");
		free(l);
		return NULL;
	}
	pthread_mutex_init(&l->lock, NULL);
	return l;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	close(l->wake_fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static struct watch *loop_find(struct loop *l, int fd)
{
	for (unsigned i = 0; i < l->nr; i++)
		if (l->watch[i].fd == fd)
			return &l->watch[i];
	return NULL;
}

int loop_watch(struct loop *l, int fd, short events, loop_fn *fn, void *opaque)
{
	struct watch *w;
	int ret = -1;

	pthread_mutex_lock(&l->lock);
	w = loop_find(l, fd);
	if (!w && l->nr < WATCH_MAX)
		w = &l->watch[l->nr++];
	if (w) {
		*w = (struct watch){ fd, events, fn, opaque };
		ret = 0;
	}
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
	return ret;
}

void loop_unwatch(struct loop *l, int fd)
{
	struct watch *w;

	pthread_mutex_lock(&l->lock);
	w = loop_find(l, fd);
	if (w)
		*w = l->watch[--l->nr];
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

void loop_wake(struct loop *l)
{
	u64 one = 1;
	ssize_t done = write(l->wake_fd, &one, sizeof(one));

	(void)done;
}

void loop_wait(struct loop *l, u64 timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / NS_PER_SEC),
			       .tv_nsec = (long)(timeout_ns % NS_PER_SEC) };
	u64 drained;

	pthread_mutex_lock(&l->lock);
	l->nr_ready = l->nr;
	for (unsigned i = 0; i < l->nr; i++)
		l->ready[i] = (struct pollfd){ .fd = l->watch[i].fd, .events = l->watch[i].events };
	pthread_mutex_unlock(&l->lock);
	l->ready[l->nr_ready] = (struct pollfd){ .fd = l->wake_fd, .events = POLLIN };
	if (ppoll(l->ready, l->nr_ready + 1, timeout_ns == CLOCK_NEVER ? NULL : &ts, NULL) <= 0) {
		l->nr_ready = 0;
		return;
	}
	if (l->ready[l->nr_ready].revents)
		while (read(l->wake_fd, &drained, sizeof(drained)) > 0)
			;
}

void loop_dispatch(struct loop *l)
{
	for (unsigned i = 0; i < l->nr_ready; i++) {
		struct watch w = { 0 }, *found;

		if (!l->ready[i].revents)
			continue;
		pthread_mutex_lock(&l->lock);
		found = loop_find(l, l->ready[i].fd);
		if (found)
			w = *found;
		pthread_mutex_unlock(&l->lock);
		if (found && (l->ready[i].revents & (w.events | POLLERR | POLLHUP | POLLNVAL)))
			w.fn(w.opaque, w.fd, l->ready[i].revents);
	}
	l->nr_ready = 0;
}
