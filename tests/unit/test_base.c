/* SPDX-License-Identifier: Apache-2.0
 * Errors, clock arithmetic, timers, counters, the event loop.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/err.h"
#include "base/loop.h"

static void test_err(void **state)
{
	char long_text[2000];
	struct err e;

	(void)state;
	assert_int_equal(err_set(&e, "a %d", 7), -1);
	assert_string_equal(e.text, "a 7");
	errno = ENOENT;
	assert_int_equal(err_errno(&e, "open"), -1);
	assert_string_equal(e.text, "open: No such file or directory");
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	err_errno(&e, "%s", long_text);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_int_equal(err_set(NULL, "nobody listens"), -1);
}

static void test_ticks(void **state)
{
	static const u64 hz[] = { 1193182, 3579545, 100000000, 1000000000, 32768, 2600000000u };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(hz); i++) {
		for (u64 t = 0; t < 1000; t++) {
			u64 ticks = t * 982451653, ns = clock_ticks_to_ns(ticks, hz[i]);

			assert_true(clock_ns_to_ticks(ns, hz[i]) >= ticks);
			assert_true(!ns || clock_ns_to_ticks(ns - 1, hz[i]) < ticks || hz[i] > NS_PER_SEC);
		}
	}
	assert_int_equal(clock_ns_to_ticks(NS_PER_SEC, 1193182), 1193182);
	assert_true(clock_ticks_to_ns(~0ull, 1) == CLOCK_NEVER - 1);
}

static unsigned fired[4];
struct rearm {
	struct timer t;
	unsigned n, id;
	u64 again;
};

static void on_fire(void *opaque, u64 now)
{
	struct rearm *r = opaque;

	(void)now;
	fired[r->id]++;
	if (r->again)
		timer_arm(&r->t, r->again);
}

static void on_earlier(void *opaque)
{
	++*(unsigned *)opaque;
}

static void test_timers(void **state)
{
	unsigned earlier = 0;
	struct timerq q = { .earlier = on_earlier, .opaque = &earlier };
	struct rearm r[4] = { { .id = 0 }, { .id = 1 }, { .id = 2 }, { .id = 3 } };

	(void)state;
	memset(fired, 0, sizeof(fired));
	for (unsigned i = 0; i < 4; i++)
		timer_init(&r[i].t, &q, on_fire, &r[i]);
	assert_true(timerq_next(&q) == CLOCK_NEVER);
	timer_arm(&r[0].t, 30);
	timer_arm(&r[1].t, 10);
	timer_arm(&r[2].t, 20);
	assert_int_equal(earlier, 2);
	assert_int_equal(timerq_next(&q), 10);
	timerq_run(&q, 9);
	assert_int_equal(fired[1], 0);
	r[1].again = 5; /* into the past: fires once a call all the same */
	timerq_run(&q, 25);
	assert_int_equal(fired[1], 1);
	assert_int_equal(fired[2], 1);
	assert_int_equal(timerq_next(&q), 5);
	timer_arm(&r[1].t, CLOCK_NEVER);
	assert_int_equal(timerq_next(&q), 30);
	timer_arm(&r[0].t, CLOCK_NEVER);
	timerq_run(&q, 1000);
	assert_int_equal(fired[0], 0);
}

static void test_counters(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NR_COUNTERS; i++) {
		assert_true(*counter_name(i) && *counter_text(i));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(counter_name(i), counter_name(j));
	}
	counter_inc(NULL, CNT_INSNS);
}

static unsigned seen;

static void on_ready(void *opaque, int fd, short revents)
{
	char c;

	assert_true(revents & POLLIN);
	assert_int_equal(read(fd, &c, 1), 1);
	seen += (unsigned)(u8)c;
	if (opaque)
		loop_unwatch(opaque, fd);
}

static void test_loop(void **state)
{
	struct loop *l = loop_new(NULL);
	int p[2];

	(void)state;
	assert_non_null(l);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(loop_watch(l, p[0], POLLIN, on_ready, NULL), 0);
	loop_wait(l, 0); /* eats the wake-up of loop_watch() */
	assert_int_equal(write(p[1], "\1\2", 2), 2);
	loop_wait(l, CLOCK_NEVER);
	loop_dispatch(l);
	assert_int_equal(seen, 1);
	loop_watch(l, p[0], POLLIN, on_ready, l);
	loop_wait(l, CLOCK_NEVER);
	loop_dispatch(l);
	assert_int_equal(seen, 3);
	assert_int_equal(write(p[1], "\4", 1), 1);
	loop_wait(l, 1000000);
	loop_dispatch(l);
	assert_int_equal(seen, 3);
	loop_wake(l);
	loop_wait(l, CLOCK_NEVER);
	loop_free(l);
	close(p[0]);
	close(p[1]);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* A signal for its parent, and one for the whole group, while it begins. */
static void begin_slowly(void *opaque)
{
	const struct err none = { "" };

	usleep(100000);
	kill(getppid(), SIGUSR1);
	kill(getpid(), SIGTERM);
	usleep(100000);
	child_say_ready(*(int *)opaque, &none, true);
	pause();
}

static void test_child(void **state)
{
	const struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct err e = { "" };
	int pair[2];
	pid_t pid;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &act, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	pid = child_start("child", &pair[1], 1, begin_slowly, &pair[1]);
	assert_true(pid > 0);
	close(pair[1]);
	if (child_wait_ready(pair[0], "the child", &e))
		fail_msg("%s", e.text);
	child_reap(pid);
	close(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err),	 cmocka_unit_test(test_ticks), cmocka_unit_test(test_timers),
		cmocka_unit_test(test_counters), cmocka_unit_test(test_loop),  cmocka_unit_test(test_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
