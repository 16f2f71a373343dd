/* SPDX-License-Identifier: Apache-2.0
 * Two locks: the owner's, which is taken first, and the pool's own, which guards the lists and is held for nothing.
 */
#include "block/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct list {
	struct block_job *first, **last;
};

struct block_pool {
	struct block_pool_lock owner;
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	struct list todo, done;
	bool delivering; /* a thread is about to take the owner's lock, and then everything in done */
	bool stop;
	unsigned busy; /* jobs handed in and not delivered */
	unsigned queued, waiting, n_threads, max_threads;
	pthread_t thread[BLOCK_POOL_THREADS];
};

static void list_clear(struct list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static void list_add(struct list *l, struct block_job *j)
{
	j->next = NULL;
	*l->last = j;
	l->last = &j->next;
}

static struct block_job *list_take(struct list *l)
{
	struct block_job *j = l->first;

	l->first = j->next;
	if (!l->first)
		l->last = &l->first;
	return j;
}

/* Tells whoever waits in drain. Pool's lock. */
static void count_delivered(struct block_pool *p, struct block_client *c)
{
	p->busy--;
	c->busy--;
	if (!c->busy)
		pthread_cond_broadcast(&p->idle);
}

/* With the owner's lock. done() and settle() may hand in more; a client counts as busy until it is settled. */
static void deliver(struct block_pool *p, struct block_job *j)
{
	struct block_client *unsettled = NULL, *c;

	for (struct block_job *next; j; j = next) {
		next = j->next;
		c = j->client;
		if (!c->unsettled) {
			c->unsettled = true;
			c->next = unsettled;
			unsettled = c;
			pthread_mutex_lock(&p->lock);
			p->busy++;
			c->busy++;
			pthread_mutex_unlock(&p->lock);
		}
		c->done(c, j);
		pthread_mutex_lock(&p->lock);
		count_delivered(p, c);
		pthread_mutex_unlock(&p->lock);
	}
	while ((c = unsettled)) {
		unsettled = c->next;
		c->unsettled = false;
		c->settle(c);
		pthread_mutex_lock(&p->lock);
		count_delivered(p, c);
		pthread_mutex_unlock(&p->lock);
	}
}

/* Pool's lock, which is let go for a while. */
static void take_home(struct block_pool *p)
{
	struct block_job *batch;

	p->delivering = true;
	pthread_mutex_unlock(&p->lock);
	p->owner.lock(p->owner.opaque);
	pthread_mutex_lock(&p->lock);
	batch = p->done.first;
	list_clear(&p->done);
	p->delivering = false;
	pthread_mutex_unlock(&p->lock);
	deliver(p, batch);
	p->owner.unlock(p->owner.opaque);
	pthread_mutex_lock(&p->lock);
}

static void *worker(void *opaque)
{
	struct block_pool *p = opaque;

	pthread_setname_np(pthread_self(), "disk");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct block_job *j;

		p->waiting++;
		while (!p->todo.first && !p->stop)
			pthread_cond_wait(&p->work, &p->lock);
		p->waiting--;
		if (!p->todo.first)
			break;
		j = list_take(&p->todo);
		p->queued--;
		pthread_mutex_unlock(&p->lock);
		j->work(j);
		pthread_mutex_lock(&p->lock);
		list_add(&p->done, j);
		if (!p->delivering)
			take_home(p);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are for the threads that expect them. Pool's lock. */
static void add_thread(struct block_pool *p)
{
	sigset_t all, before;

	sigfillset(&all);
	sigdelset(&all, SIGSYS); /* what a filter of system calls has to say */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (!pthread_create(&p->thread[p->n_threads], NULL, worker, p))
		p->n_threads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool block_submit(struct block_client *c, struct block_job *j)
{
	struct block_pool *p = c->pool;
	bool taken;

	if (!p || !p->max_threads)
		return false;
	pthread_mutex_lock(&p->lock);
	if (p->queued >= p->waiting && p->n_threads < p->max_threads)
		add_thread(p);
	taken = p->n_threads;
	if (taken) {
		j->client = c;
		list_add(&p->todo, j);
		p->queued++;
		p->busy++;
		c->busy++;
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	return taken;
}

static void wait_until_zero(struct block_pool *p, const unsigned *busy)
{
	pthread_mutex_lock(&p->lock);
	while (*busy)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void block_pool_drain(struct block_pool *p)
{
	if (p)
		wait_until_zero(p, &p->busy);
}

void block_client_drain(struct block_client *c)
{
	if (c->pool)
		wait_until_zero(c->pool, &c->busy);
}

struct block_pool *block_pool_new(unsigned threads, const struct block_pool_lock *l, struct err *e)
{
	struct block_pool *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, "out of memory");
		return NULL;
	}
	p->owner = *l;
	p->max_threads = MIN(threads, (unsigned)BLOCK_POOL_THREADS);
	list_clear(&p->todo);
	list_clear(&p->done);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->idle, NULL);
	return p;
}

void block_pool_free(struct block_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
