/* SPDX-License-Identifier: Apache-2.0
 * The session of a command in a guest: what is said to the agent and when, and what an agent says that is not one of
 * ours: nothing of it may be believed, or cost more than the message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/session.h"

struct world {
	struct session *s;
	struct chardev *control, *log;
	u8 heard[4096];
	size_t n, room;
};

static size_t room(void *opaque)
{
	struct world *w = opaque;

	return w->room - w->n;
}

static void rx(void *opaque, const u8 *p, size_t n)
{
	struct world *w = opaque;

	assert_true(n <= room(w));
	memcpy(w->heard + w->n, p, n);
	w->n += n;
}

static void begin(struct world *w)
{
	const struct session_config cfg = { .tty = true, .tty_err = true };
	const struct chardev_user user = { .room = room, .rx = rx, .opaque = w };
	struct err e;

	*w = (struct world){ .room = sizeof(w->heard) };
	w->s = session_new(&cfg, &e);
	assert_non_null(w->s);
	w->control = session_chardev(w->s, SESSION_PORT "0", NULL, &e);
	w->log = session_chardev(w->s, SESSION_LOG, NULL, &e);
	chardev_set_user(w->control, &user);
}

static void tell(struct world *w, u16 type, const void *p, u32 len)
{
	const struct agent_head h = { .len = len, .type = type };

	assert_int_equal(chardev_write(w->control, (const u8 *)&h, sizeof(h)), sizeof(h));
	assert_int_equal(chardev_write(w->control, p, len), len);
}

static struct session_end result(struct world *w)
{
	struct session_end end;

	session_result(w->s, &end);
	return end;
}

/* Nothing is sent before the agent listens; then the clock comes first, and all of it however little it takes. */
static void test_hello(void **state)
{
	static const u32 hello[4] = { AGENT_VERSION, 0, 7, 0 };
	struct agent_head h;
	struct world w;

	(void)state;
	begin(&w);
	session_say(w.s, AGENT_HOST, "host", 5);
	assert_int_equal(w.n, 0);
	w.room = 3;
	tell(&w, AGENT_HELLO, hello, sizeof(hello));
	assert_int_equal(w.n, 3);
	w.room = sizeof(w.heard);
	chardev_kick_input(w.control);
	assert_int_equal(w.n, 8 + 24 + 8 + 5);
	memcpy(&h, w.heard, sizeof(h));
	assert_int_equal(h.type, AGENT_CLOCK);
	assert_int_equal(h.len, 24);
	memcpy(&h, w.heard + 32, sizeof(h));
	assert_int_equal(h.type, AGENT_HOST);
	assert_memory_equal(w.heard + 40, "host", 5);
	assert_int_equal(result(&w).guest_hello_ns, 7);
	/* A second one changes nothing. */
	tell(&w, AGENT_HELLO, hello, sizeof(hello));
	assert_int_equal(w.n, 8 + 24 + 8 + 5);
	session_free(w.s);
}

/* Messages that are too short for what they say, types that only doppel says, ports that there are not. */
static void test_nonsense(void **state)
{
	static const u8 ones[40] = { [0 ... 39] = 0xff };
	struct world w;

	(void)state;
	begin(&w);
	session_say(w.s, AGENT_HOST, "host", 5);
	for (unsigned type = 0; type < 256; type++)
		tell(&w, (u16)type, ones, type == AGENT_CLOSED ? 40 : type == AGENT_FAILED ? 0 : 7);
	assert_int_equal(w.n, 0);
	assert_false(result(&w).ended);
	assert_int_equal(result(&w).status, 0);
	assert_string_equal(result(&w).why, "");
	session_free(w.s);
}

/* A length that no message has: the end, with a sentence; what follows is looked at anew. */
static void test_too_long(void **state)
{
	static const u32 lengths[] = {
		AGENT_DATA_MAX + 1024 - 8, AGENT_DATA_MAX + 1024, 1 << 20, 0x7fffffff, 0xfffffff8, 0xffffffff
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		const struct agent_head h = { .len = lengths[i], .type = AGENT_FAILED };
		u8 all[2000] = { 0 };

		begin(&w);
		memcpy(all, &h, sizeof(h));
		assert_int_equal(chardev_write(w.control, all, sizeof(all)), sizeof(all));
		assert_string_equal(result(&w).why, "the guest's agent said what no agent says");
		session_free(w.s);
	}
}

/* The longest message is one; of a reason a part is kept, the first reason stays, and a 0 that is missing is no harm.
 */
static void test_failed(void **state)
{
	u8 reason[1015];
	struct world w;

	(void)state;
	begin(&w);
	memset(reason, 'x', sizeof(reason));
	tell(&w, AGENT_FAILED, reason, sizeof(reason));
	assert_int_equal(strlen(result(&w).why), 300);
	session_free(w.s);
}

/* A status is what a shell's is; without a machine that has ended nothing has. */
static void test_exit(void **state)
{
	const struct agent_exit x = { .status = 0xffffff07, .zero = 1, .out = ~0ull, .err = ~0ull };
	struct world w;

	(void)state;
	begin(&w);
	tell(&w, AGENT_EXIT, &x, sizeof(x));
	assert_int_equal(result(&w).status, 7);
	assert_false(result(&w).ended);
	session_free(w.s);
}

/* Of what the kernel writes the last 4,096 bytes are kept, in whatever pieces they come. */
static void test_log(void **state)
{
	static u8 text[10000];
	static const size_t pieces[] = { 1, 13, 4095, 4096, 4097, 10000 };
	struct world w;

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (u8)('a' + i % 23);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		begin(&w);
		for (size_t at = 0, n; at < sizeof(text); at += n) {
			n = MIN(sizeof(text) - at, pieces[i]);
			assert_int_equal(chardev_write(w.log, text + at, n), n);
		}
		assert_int_equal(strlen(result(&w).log), 4096);
		assert_memory_equal(result(&w).log, text + sizeof(text) - 4096, 4096);
		session_free(w.s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),  cmocka_unit_test(test_nonsense), cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_failed), cmocka_unit_test(test_exit),	cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
