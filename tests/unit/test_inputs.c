/* SPDX-License-Identifier: Apache-2.0
 * The hash of states, and the log of inputs: what was recorded comes again in its order and place, in this process and
 * from the file; a run that asks for something else is told so and gets zeros; a file with any byte changed, or cut
 * anywhere, is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/inputs.h"

/* ---- the hash ---------------------------------------------------------------------------------------------------- */

static struct hash hash_of(const void *p, size_t n)
{
	struct hash h;

	hash_init(&h);
	hash_add(&h, p, n);
	return h;
}

static void test_hash_bytes(void **state)
{
	u8 data[200] = { 0 };
	struct hash seen[201], h;

	(void)state;
	for (unsigned n = 0; n <= 200; n++) {
		seen[n] = hash_of(data, n);
		for (unsigned k = 0; k < n; k++)
			assert_false(hash_equal(&seen[n], &seen[k])); /* the length counts */
	}
	/* Any one bit changes both halves. */
	for (unsigned bit = 0; bit < 8 * sizeof(data); bit++) {
		data[bit / 8] ^= (u8)(1u << (bit & 7));
		h = hash_of(data, sizeof(data));
		assert_true(h.a != seen[200].a && h.b != seen[200].b);
		data[bit / 8] ^= (u8)(1u << (bit & 7));
	}
	h = hash_of(data, sizeof(data));
	assert_true(hash_equal(&h, &seen[200]));
}

static void test_hash_order(void **state)
{
	char text[HASH_TEXT];
	struct hash whole = hash_of("ab", 2), cut, swapped, number, bytes;
	u64 n = 0x1122334455667788ull;

	(void)state;
	cut = hash_of("a", 1);
	hash_add(&cut, "b", 1);
	swapped = hash_of("b", 1);
	hash_add(&swapped, "a", 1);
	assert_false(hash_equal(&whole, &cut));
	assert_false(hash_equal(&cut, &swapped));
	/* The four lanes are not alike: words that change places change the hash. */
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < i; k++) {
			u64 x[4] = { 0 }, y[4] = { 0 };
			struct hash hx, hy;

			x[i] = y[k] = 1;
			hx = hash_of(x, sizeof(x));
			hy = hash_of(y, sizeof(y));
			assert_false(hash_equal(&hx, &hy));
		}
	}
	hash_init(&number);
	hash_add_u64(&number, n);
	bytes = hash_of(&n, sizeof(n));
	assert_true(hash_equal(&number, &bytes));
	number = (struct hash){ 0x123, 0xfedcba9876543210ull };
	assert_string_equal(hash_text(&number, text), "0000000000000123fedcba9876543210");
}

/* ---- the log ----------------------------------------------------------------------------------------------------- */

static const struct inputs_setup setup = { .memory = 64 << 20, .cpus = 2, .engine = "interp", .model = "x86-64-v2" };
static const struct hash start = { 1, 2 };
static char path[] = "/tmp/doppel-inputs-XXXXXX";

struct run {
	u64 wall;
	u8 random[40];
};

/* A run: the answers it asks for. */
static void ask(struct inputs *in, struct run *r)
{
	struct err e;

	assert_int_equal(inputs_begin(in, &setup, &e), 0);
	assert_int_equal(inputs_start(in, &start, &e), 0);
	r->wall = inputs_wall_ns(in);
	assert_true(inputs_random(in, r->random, sizeof(r->random)));
	assert_int_equal(inputs_result(in, 1, -5, "disk", 4), -5);
}

static struct inputs *record(const char *to, struct run *r)
{
	struct input_end end = { .status = 3, .state = { 7, 8 } };
	struct err e;
	struct inputs *in = inputs_record(to, &e);

	assert_non_null(in);
	ask(in, r);
	inputs_at(in, 5, 1000);
	inputs_arrive(in, INPUT_DATA, 2, "typed", 5);
	inputs_at(in, 6, 1000);
	inputs_arrive(in, INPUT_BREAK, 0, NULL, 0);
	inputs_at(in, 9, 2000);
	inputs_arrive(in, INPUT_END, 0, &end, sizeof(end));
	assert_null(inputs_wrong(in));
	return in;
}

static void expect_arrival(struct inputs *in, unsigned kind, u16 source, u64 turn, u64 ns, const void *data, u32 len)
{
	struct input i;

	assert_true(inputs_peek(in, &i));
	assert_true(inputs_peek(in, &i)); /* it stays */
	assert_int_equal(i.kind, kind);
	assert_int_equal(i.source, source);
	assert_int_equal(i.turn, turn);
	assert_int_equal(i.clock_ns, ns);
	assert_true(i.len >= len && !memcmp(i.data, data, len));
	inputs_take(in);
}

static void expect_again(struct inputs *in, const struct run *had)
{
	struct input_end end = { .status = 3, .state = { 7, 8 } };
	struct run r;
	struct input i;

	assert_true(inputs_replaying(in));
	assert_false(inputs_peek(in, &i)); /* an answer comes first */
	ask(in, &r);
	assert_int_equal(r.wall, had->wall);
	assert_memory_equal(r.random, had->random, sizeof(r.random));
	expect_arrival(in, INPUT_DATA, 2, 5, 1000, "typed", 5);
	expect_arrival(in, INPUT_BREAK, 0, 6, 1000, "", 0);
	expect_arrival(in, INPUT_END, 0, 9, 2000, &end, sizeof(end));
	assert_false(inputs_peek(in, &i));
	assert_null(inputs_wrong(in));
}

static void test_file(void **state)
{
	struct inputs_setup other = setup;
	struct hash elsewhere = { 1, 3 };
	struct inputs *in;
	struct run r;
	struct err e;

	(void)state;
	assert_int_equal(inputs_close(record(path, &r), &e), 0);
	for (unsigned pass = 0; pass < 2; pass++) {
		in = inputs_replay(path, &e);
		assert_non_null(in);
		assert_string_equal(inputs_setup(in)->model, "x86-64-v2");
		assert_int_equal(inputs_setup(in)->cpus, 2);
		expect_again(in, &r);
		inputs_close(in, &e);
	}
	in = inputs_replay(path, &e);
	other.memory++;
	assert_int_equal(inputs_begin(in, &other, &e), -1);
	assert_non_null(strstr(e.text, "bytes of memory"));
	assert_int_equal(inputs_begin(in, &setup, &e), 0);
	assert_int_equal(inputs_start(in, &elsewhere, &e), -1);
	assert_non_null(strstr(e.text, "not the recorded one"));
	inputs_close(in, &e);
	assert_null(inputs_record("/nowhere/log", &e));
	assert_null(inputs_replay("/nowhere/log", &e));
}

static void test_memory(void **state)
{
	struct inputs *leader, *follower;
	struct run r;
	struct err e;

	(void)state;
	leader = record(NULL, &r);
	follower = inputs_follow(leader, &e);
	assert_non_null(follower);
	expect_again(follower, &r);
	inputs_close(follower, &e);
	inputs_rewind(leader);
	expect_again(leader, &r);
	inputs_rewind(leader);
	expect_again(leader, &r);
	inputs_close(leader, &e);
}

/* A follower is never ahead: what the leader has not seen yet is not there. */
static void test_follow(void **state)
{
	struct err e;
	struct inputs *leader = inputs_record(NULL, &e), *follower;
	struct input i;
	u64 wall;

	(void)state;
	inputs_begin(leader, &setup, &e);
	follower = inputs_follow(leader, &e);
	wall = inputs_wall_ns(leader);
	for (unsigned n = 0; n < 3000; n++) /* its buffer grows, and moves */
		inputs_arrive(leader, INPUT_DATA, 0, "0123456789", 10);
	assert_int_equal(inputs_wall_ns(follower), wall);
	for (unsigned n = 0; n < 3000; n++)
		expect_arrival(follower, INPUT_DATA, 0, 0, 0, "0123456789", 10);
	assert_false(inputs_peek(follower, &i));
	inputs_arrive(leader, INPUT_BREAK, 0, NULL, 0);
	expect_arrival(follower, INPUT_BREAK, 0, 0, 0, "", 0);
	assert_null(inputs_wrong(follower));
	inputs_close(follower, &e);
	inputs_close(leader, &e);
}

/* The first reason stays, and no value of the log gets out behind it. */
static void test_diverge(void **state)
{
	struct run r;
	struct err e;
	struct inputs *in;
	u8 bytes[40];

	(void)state;
	inputs_close(record(path, &r), &e);
	in = inputs_replay(path, &e);
	inputs_begin(in, &setup, &e);
	inputs_start(in, &start, &e);
	memset(bytes, 0xff, sizeof(bytes));
	assert_false(inputs_random(in, bytes, sizeof(bytes)));
	for (unsigned i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
	assert_string_equal(inputs_wrong(in), "the guest asks for entropy where the recording has the time of day");
	assert_int_equal(inputs_wall_ns(in), 0);
	inputs_diverge(in, "another reason");
	assert_non_null(strstr(inputs_wrong(in), "entropy"));
	inputs_close(in, &e);

	in = inputs_replay(path, &e);
	inputs_begin(in, &setup, &e);
	inputs_start(in, &start, &e);
	inputs_wall_ns(in);
	assert_false(inputs_random(in, bytes, 39));
	assert_non_null(strstr(inputs_wrong(in), "39 random bytes where the recording has 40"));
	inputs_close(in, &e);

	in = inputs_replay(path, &e);
	inputs_begin(in, &setup, &e);
	inputs_start(in, &start, &e);
	inputs_wall_ns(in);
	inputs_random(in, bytes, sizeof(bytes));
	assert_int_equal(inputs_result(in, 1, -5, "disc", 4), -5);
	assert_non_null(strstr(inputs_wrong(in), "disk 1 does not hold"));
	inputs_close(in, &e);
}

static void write_file(const u8 *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	fclose(f);
}

static void test_damage(void **state)
{
	static u8 log[4096];
	struct run r;
	struct err e;
	size_t n;
	FILE *f;

	(void)state;
	inputs_close(record(path, &r), &e);
	f = fopen(path, "rb");
	n = fread(log, 1, sizeof(log), f);
	fclose(f);
	assert_true(n > 200 && n < sizeof(log));
	for (size_t at = 0; at < n; at++) {
		write_file(log, at);
		assert_null(inputs_replay(path, &e));
		assert_true(e.text[0]);
		for (unsigned bit = 0; bit < 8; bit++) {
			log[at] ^= (u8)(1u << bit);
			write_file(log, n);
			assert_null(inputs_replay(path, &e));
			log[at] ^= (u8)(1u << bit);
		}
	}
	log[n] = 0;
	write_file(log, n + 1);
	assert_null(inputs_replay(path, &e));
}

/* Without a log the host answers, and nothing is kept. */
static void test_none(void **state)
{
	u8 a[16] = { 0 }, b[16] = { 0 };
	struct err e;

	(void)state;
	assert_true(inputs_wall_ns(NULL) > 1600000000ull * 1000000000);
	assert_true(inputs_random(NULL, a, sizeof(a)) && inputs_random(NULL, b, sizeof(b)));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(inputs_result(NULL, 0, -7, "x", 1), -7);
	assert_false(inputs_replaying(NULL));
	assert_null(inputs_wrong(NULL));
	assert_int_equal(inputs_close(NULL, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_bytes), cmocka_unit_test(test_hash_order), cmocka_unit_test(test_file),
		cmocka_unit_test(test_memory),	   cmocka_unit_test(test_follow),     cmocka_unit_test(test_diverge),
		cmocka_unit_test(test_damage),	   cmocka_unit_test(test_none),
	};
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
