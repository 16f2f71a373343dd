/* SPDX-License-Identifier: Apache-2.0
 * Rings: random valid traffic against a driver model, with an oracle for signals; then drivers that break each rule.
 */
#include "unit/virtio_driver.h"

#define RAM (8u << 20)
#define RINGS 0x1000
#define TABLES 0x10000 /* 256 bytes a chain */
#define DATA 0x40000   /* 1 KiB a chain */

static struct board b;
static struct virtq q;
static struct drv_queue drv;
static u64 seed = 88172645463325252ull;

static u32 rnd(u32 n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (u32)((seed >> 20) % n);
}

static int setup(void **state)
{
	(void)state;
	board_init(&b, RAM);
	virtq_init(&q, b.mem, DRV_SIZE_MAX);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	virtq_free(&q);
	board_free(&b);
	return 0;
}

static void start(bool packed, bool event_idx, u16 size)
{
	drv_init(&drv, mem_page(b.mem, 0, true), packed, event_idx, size, RINGS);
	virtq_reset(&q);
	q.packed = packed;
	q.event_idx = event_idx;
	q.indirect = true;
	q.size = size;
	q.desc = drv.desc;
	q.driver = drv.driver;
	q.device = drv.device;
	virtq_enable(&q);
	assert_null(q.broken);
}

/* ---- valid traffic -------------------------------------------------------------------------------------------- */

struct expected {
	u32 out, in;
	u32 written;
	u8 tag;
	bool done;
} expected[DRV_SIZE_MAX];

/* Up to five pieces of 1 to 100 bytes, readable first; the bytes are the tag plus their position. */
static bool offer_random(u8 tag)
{
	struct drv_seg s[5];
	unsigned n = 1 + rnd(5), writable = rnd(n + 1);
	u64 slot = 0, at, table;
	struct expected x = { .tag = tag };
	int id;

	while (slot < drv.size && drv.busy[slot])
		slot++;
	at = DATA + slot * 1024;
	table = rnd(2) ? TABLES + slot * 256 : 0;
	for (unsigned i = 0; i < n; i++) {
		s[i] = (struct drv_seg){ at, 1 + rnd(100), i >= n - writable };
		for (u32 k = 0; !s[i].write && k < s[i].len; k++)
			drv.ram[at + k] = (u8)(tag + x.out + k);
		*(s[i].write ? &x.in : &x.out) += s[i].len;
		at += s[i].len + rnd(3);
	}
	id = drv_offer(&drv, s, n, table);
	if (id >= 0)
		expected[id] = x;
	return id >= 0;
}

static void check_out(struct virtq_chain *c)
{
	const struct expected *x = &expected[c->id];
	u8 bytes[512];

	assert_int_equal(c->out_len, x->out);
	assert_int_equal(c->in_len, x->in);
	assert_int_equal(virtq_get(c, 0, bytes, sizeof(bytes)), x->out);
	for (u32 i = 0; i < x->out; i++)
		assert_int_equal(bytes[i], (u8)(x->tag + i));
	if (x->out > 2) {
		assert_int_equal(virtq_get(c, x->out - 2, bytes, 8), 2);
		assert_int_equal(bytes[0], (u8)(x->tag + x->out - 2));
	}
	assert_int_equal(virtq_get(c, x->out, bytes, 8), 0);
}

static void finish(struct virtq_chain *c)
{
	struct expected *x = &expected[c->id];
	u8 bytes[512];

	memset(bytes, x->tag ^ 0xff, sizeof(bytes));
	x->written = x->in ? rnd(x->in + 1) : 0;
	assert_int_equal(virtq_put(c, 0, bytes, x->written), x->written);
	x->done = true;
	virtq_push(c, x->written);
}

static void take_all(void)
{
	u32 len;

	for (int id; (id = drv_take(&drv, &len)) >= 0;) {
		assert_true(expected[id].done);
		assert_int_equal(len, expected[id].written);
		expected[id].done = false;
	}
}

/* Device and driver take random turns; completions in random order. */
static void traffic(bool packed, bool event_idx, u16 size, unsigned rounds)
{
	struct virtq_chain *held[DRV_SIZE_MAX], *c;
	unsigned n_held = 0;
	u64 pushed = 0, wish = 0, told = 0;

	start(packed, event_idx, size);
	if (event_idx)
		drv_want_next(&drv);
	for (unsigned i = 0; i < rounds; i++) {
		switch (rnd(5)) {
		case 0:
			offer_random((u8)i);
			break;
		case 1:
			if ((c = virtq_pop(&q))) {
				check_out(c);
				if (rnd(4)) {
					held[n_held++] = c;
				} else {
					virtq_unpop(c);
					c = virtq_pop(&q);
					assert_non_null(c);
					check_out(c);
					held[n_held++] = c;
				}
			}
			break;
		case 2:
			if (n_held) {
				unsigned k = rnd(n_held);

				finish(held[k]);
				held[k] = held[--n_held];
				pushed++;
			}
			break;
		case 3:
			if (event_idx) {
				/* Told: the first of the chains that were pushed since the last time and wished for. */
				bool want = told <= wish && wish < pushed;

				/* A packed ring cannot tell one lap from the one before the last: once too often. */
				if (virtq_wants_signal(&q) != want)
					assert_true(packed && !want && (told > wish + 1 || pushed - told > size / 5u));
				told = pushed;
			} else {
				assert_true(virtq_wants_signal(&q));
			}
			break;
		case 4:
			take_all();
			if (event_idx && rnd(2)) {
				wish = drv.seen;
				drv_want_next(&drv);
			}
		}
		assert_null(q.broken);
	}
	while (n_held)
		finish(held[--n_held]);
	while ((c = virtq_pop(&q)))
		finish(c);
	take_all();
	assert_int_equal(drv.seen, drv.offered);
	assert_int_equal(drv.n_free, size);
	assert_int_equal(q.in_flight, 0);
}

static void test_traffic(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		traffic(way & 1, way & 2, 8, 100000);
		traffic(way & 1, way & 2, 256, 100000);
	}
	traffic(true, true, 7, 50000);
	traffic(true, false, 250, 50000);
}

static void test_suppression(void **state)
{
	struct drv_seg s = { DATA, 8, true };

	(void)state;
	start(false, false, 8);
	put16(&drv, drv.driver, 1);
	assert_false(virtq_wants_signal(&q));
	start(true, false, 8);
	put16(&drv, drv.driver + 2, 1);
	assert_false(virtq_wants_signal(&q));
	/* The device asks for the next notification where the driver will look. */
	start(false, true, 8);
	drv_offer(&drv, &s, 1, 0);
	virtq_push(virtq_pop(&q), 0);
	assert_false(virtq_rearm(&q));
	assert_int_equal(get16(&drv, drv.device + 4 + 8 * 8), 1);
	drv_offer(&drv, &s, 1, 0);
	assert_true(virtq_rearm(&q));
	start(true, true, 8);
	drv_offer(&drv, &s, 1, 0);
	virtq_push(virtq_pop(&q), 0);
	assert_false(virtq_rearm(&q));
	assert_int_equal(get32(&drv, drv.device), 2 << 16 | 0x8001);
}

/* ---- hostile drivers ------------------------------------------------------------------------------------------ */

static void expect_broken(const char *why)
{
	struct virtq_chain *c = virtq_pop(&q);

	assert_null(c);
	assert_non_null(q.broken);
	assert_non_null(strstr(q.broken, why));
	/* And nothing more happens. */
	assert_null(virtq_pop(&q));
	assert_false(virtq_wants_signal(&q));
	assert_false(virtq_rearm(&q));
}

static void offer_raw(bool packed, unsigned slot, struct drv_seg s, u16 flags, u16 next)
{
	put_desc(&drv, drv.desc + slot * 16, &s, (u16)(flags | (packed ? D_AVAIL : 0)), next);
	if (slot || packed)
		return;
	put16(&drv, drv.driver + 4, 0);
	put16(&drv, drv.driver + 2, 1);
}

static void test_chains(void **state)
{
	struct drv_seg ok = { DATA, 16, false }, in = { DATA, 16, true };

	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		static const struct drv_seg wrong[] = {
			{ RAM - 8, 16, false },	     { RAM, 1, false },	    { 0xfee00000, 4, false },
			{ ~0ull - 3, 16, false },    { BIT(52), 1, false }, { 1ull << 63, 0xffffffff, false },
			{ DATA, 0xffffffff, false },
		};

		for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
			start(packed, false, 8);
			offer_raw(packed, 0, wrong[i], 0, 0);
			expect_broken("not in RAM");
		}
		start(packed, false, 8);
		for (unsigned i = 0; i < 8; i++)
			offer_raw(packed, 7 - i, ok, D_NEXT, (u16)(8 - i) & 7);
		expect_broken("cyclic");
		start(packed, false, 8);
		offer_raw(packed, 1, ok, 0, 0);
		offer_raw(packed, 0, in, D_NEXT | D_WRITE, 1);
		expect_broken("readable part behind");
		/* Empty pieces are no harm. */
		start(packed, false, 8);
		offer_raw(packed, 0, (struct drv_seg){ DATA, 0, false }, 0, 0);
		virtq_push(virtq_pop(&q), 0);
		assert_null(q.broken);
	}
	start(false, false, 8);
	offer_raw(false, 0, ok, D_NEXT, 0); /* itself */
	expect_broken("cyclic");
	start(false, false, 8);
	offer_raw(false, 0, ok, D_NEXT, 8);
	expect_broken("number");
	start(false, false, 8);
	put16(&drv, drv.driver + 4, 8);
	put16(&drv, drv.driver + 2, 1);
	expect_broken("number");
	start(false, false, 8);
	put16(&drv, drv.driver + 2, 9);
	expect_broken("ahead");
	start(false, false, 8);
	put16(&drv, drv.driver + 2, 0xffff);
	expect_broken("ahead");
}

static void test_tables(void **state)
{
	struct drv_seg piece = { DATA, 4, false }, big = { 0, RAM, false };

	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		static const struct drv_seg wrong[] = {
			{ TABLES, 0, false },	   { TABLES, 15, false },  { TABLES, 17, false },
			{ RAM, 16, false },	   { RAM - 8, 32, false }, { 0xfee00000, 64, false },
			{ ~0ull - 15, 64, false },
		};

		for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
			start(packed, false, 8);
			for (unsigned k = 0; k < 4; k++)
				put_desc(&drv, TABLES + k * 16, &piece, packed ? 0 : D_NEXT, (u16)(k + 1));
			offer_raw(packed, 0, wrong[i], D_INDIRECT, 0);
			expect_broken("");
		}
		start(packed, false, 8);
		offer_raw(packed, 0, (struct drv_seg){ TABLES, 16, false }, D_INDIRECT | D_NEXT, 1);
		expect_broken("cannot be");
		start(packed, false, 8);
		q.indirect = false;
		offer_raw(packed, 0, (struct drv_seg){ TABLES, 16, false }, D_INDIRECT, 1);
		expect_broken("negotiated");
		/* More pieces than a chain has. */
		start(packed, false, 8);
		for (unsigned k = 0; k < 1100; k++)
			put_desc(&drv, TABLES + k * 16, &piece, packed ? 0 : D_NEXT, (u16)(k + 1));
		offer_raw(packed, 0, (struct drv_seg){ TABLES, 1100 * 16, false }, D_INDIRECT, 0);
		expect_broken("too long");
		/* More bytes than 32 bits count: needs RAM to be named often enough. */
		start(packed, false, 8);
		for (unsigned k = 0; k < 1024; k++)
			put_desc(&drv, TABLES + k * 16, &big, packed ? 0 : D_NEXT, (u16)(k + 1));
		offer_raw(packed, 0, (struct drv_seg){ TABLES, 1024 * 16, false }, D_INDIRECT, 0);
		assert_null(virtq_pop(&q));
		assert_non_null(q.broken);
	}
	/* A table in a table; the largest one there is, on itself. */
	start(false, false, 8);
	put_desc(&drv, TABLES, &(struct drv_seg){ TABLES, 16, false }, D_INDIRECT, 0);
	offer_raw(false, 0, (struct drv_seg){ TABLES, 16, false }, D_INDIRECT, 0);
	expect_broken("in an indirect table");
	start(false, false, 8);
	put_desc(&drv, TABLES, &piece, D_NEXT, 0);
	offer_raw(false, 0, (struct drv_seg){ TABLES, 0xfffffff0, false }, D_INDIRECT, 0);
	expect_broken("too long");
	/* Direct pieces, then a table, is right (2.7.5.3.2), but only split. */
	start(false, false, 8);
	put_desc(&drv, TABLES, &piece, 0, 0);
	offer_raw(false, 1, (struct drv_seg){ TABLES, 16, false }, D_INDIRECT, 0);
	offer_raw(false, 0, piece, D_NEXT, 1);
	assert_int_equal(q.size, 8);
	virtq_push(virtq_pop(&q), 0);
	assert_null(q.broken);
	start(true, false, 8);
	offer_raw(true, 1, (struct drv_seg){ TABLES, 16, false }, D_INDIRECT, 0);
	offer_raw(true, 0, piece, D_NEXT, 1);
	expect_broken("behind");
}

static void expect_no_start(bool packed, u16 size, u64 desc, u64 driver, u64 device)
{
	virtq_reset(&q);
	q.packed = packed;
	q.size = size;
	q.desc = desc;
	q.driver = driver;
	q.device = device;
	virtq_enable(&q);
	assert_non_null(q.broken);
	assert_null(virtq_pop(&q));
}

static void test_rings(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		expect_no_start(packed, 0, 0x1000, 0x2000, 0x3000);
		expect_no_start(packed, 512, 0x1000, 0x2000, 0x3000);
		expect_no_start(packed, 8, 0x1008, 0x2000, 0x3000);
		expect_no_start(packed, 8, 0x1000, 0x2001, 0x3000);
		expect_no_start(packed, 8, 0x1000, 0x2000, 0x3002);
		expect_no_start(packed, 8, RAM - 64, 0x2000, 0x3000);
		expect_no_start(packed, 8, 0x1000, RAM - 2, 0x3000);
		expect_no_start(packed, 8, 0x1000, 0x2000, 0xfee00000);
		expect_no_start(packed, 8, ~15ull, 0x2000, 0x3000);
		expect_no_start(packed, 8, 0x1000, ~3ull, 0x3000);
	}
	expect_no_start(false, 24, 0x1000, 0x2000, 0x3000);
}

/* The same buffers again and again, never given back: memory on the host stays bounded. */
static void test_flood(void **state)
{
	struct virtq_chain *held[9];
	struct drv_seg s = { DATA, 8, false };
	unsigned n = 0;

	(void)state;
	start(false, false, 8);
	put_desc(&drv, drv.desc, &s, 0, 0);
	for (unsigned i = 0; i < 20; i++) {
		put16(&drv, drv.driver + 2, (u16)(i + 1));
		if ((held[n] = virtq_pop(&q)))
			n++;
	}
	assert_int_equal(n, 8);
	assert_non_null(q.broken);
	/* A reset while they are out: they are stale, and touch nothing. */
	virtq_reset(&q);
	memset(drv.ram + DATA, 0x55, 8);
	while (n--) {
		u8 byte = 1;

		assert_true(virtq_stale(held[n]));
		assert_int_equal(virtq_put(held[n], 0, &byte, 1), 0);
		assert_int_equal(virtq_get(held[n], 0, &byte, 1), 0);
		virtq_push(held[n], 1);
	}
	assert_int_equal(get16(&drv, drv.device + 2), 0);
	assert_int_equal(q.in_flight, 0);
	start(false, false, 8);
	drv_offer(&drv, &s, 1, 0);
	virtq_push(virtq_pop(&q), 0);
	assert_null(q.broken);
}

/* Rings of random bytes, changed while the device works through them. */
static void test_noise(void **state)
{
	struct virtq_chain *c;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		start(round & 1, round & 2, 16);
		for (unsigned i = 0; i < 200; i++) {
			put16(&drv, RINGS + rnd(0x200) * 2, (u16)(rnd(4) ? rnd(16) : rnd(65536)));
			put16(&drv, drv.driver + rnd(20) * 2, (u16)rnd(20));
		}
		for (unsigned i = 0; i < 16 && (c = virtq_pop(&q)); i++) {
			assert_true(c->n_in + c->n_out <= VIRTQ_SEGS_MAX);
			put16(&drv, RINGS + rnd(0x100) * 2, (u16)rnd(65536));
			virtq_push(c, rnd(100));
		}
		virtq_wants_signal(&q);
		virtq_rearm(&q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_traffic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_suppression, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chains, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flood, setup, teardown),
		cmocka_unit_test_setup_teardown(test_noise, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
