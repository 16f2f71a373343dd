/* SPDX-License-Identifier: Apache-2.0
 * The 16550 against National's PC16550D data sheet, and its promise to lose nothing.
 */
#include "unit/board.h"

#include "dev/ns16550.h"

#define COM 0x3f8

static struct board b;
static struct ns16550 *uart;

/* A backend that takes `space` bytes and remembers them. */
static struct {
	struct chardev dev;
	u8 out[256];
	size_t n, space;
	const char *input; /* what it wants to send */
} far;

static size_t far_write(struct chardev *c, const u8 *p, size_t n)
{
	(void)c;
	n = MIN(n, far.space);
	for (size_t i = 0; i < n; i++)
		far.out[(far.n + i) % sizeof(far.out)] = p[i];
	far.n += n;
	far.space -= n;
	return n;
}

static void far_kick(struct chardev *c)
{
	while (far.input && *far.input && c->user.room && c->user.room(c->user.opaque)) {
		size_t n = MIN(strlen(far.input), c->user.room(c->user.opaque));
		const u8 *p = (const u8 *)far.input;

		far.input += n;
		c->user.rx(c->user.opaque, p, n);
	}
}

static const struct chardev_ops far_ops = { .write = far_write, .kick_input = far_kick };

static int setup(void **state)
{
	(void)state;
	board_init(&b, 0);
	memset(&far, 0, sizeof(far));
	far.dev.ops = &far_ops;
	far.space = 1000;
	uart = ns16550_new(b.mem, COM, &b.clock, &b.q, board_wire(&b, 4), &far.dev, &b.err);
	assert_non_null(uart);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ns16550_free(uart);
	board_free(&b);
	return 0;
}

static u8 get(unsigned reg)
{
	return inb(&b, (u16)(COM + reg));
}

static void put(unsigned reg, u8 v)
{
	outb(&b, (u16)(COM + reg), v);
}

static void send(const char *text)
{
	far.input = text;
	far_kick(&far.dev);
}

/* Interrupts on, long enough for the far end to believe it. */
static void listen(u8 ier)
{
	put(4, 0x08);
	put(1, ier);
	board_run(&b, UART_LISTEN_NS);
}

static void test_registers(void **state)
{
	(void)state;
	assert_int_equal(get(1), 0);
	assert_int_equal(get(2), 0x01);
	assert_int_equal(get(5), 0x60);
	assert_int_equal(get(6), 0xb0);
	put(7, 0x5a);
	assert_int_equal(get(7), 0x5a);
	put(1, 0xff);
	assert_int_equal(get(1), 0x0f);
	put(3, 0x83);
	put(0, 0x01);
	put(1, 0x02);
	assert_int_equal(get(0), 0x01);
	assert_int_equal(get(1), 0x02);
	put(3, 0x03);
	assert_int_equal(get(1), 0x0f);
	put(4, 0xff);
	assert_int_equal(get(4), 0x1f);
	put(2, 0x01);
	assert_int_equal(get(2) & 0xc0, 0xc0);
	put(2, 0x00);
	assert_int_equal(get(2) & 0xc0, 0x00);
}

static void test_transmit(void **state)
{
	(void)state;
	put(4, 0x08);
	put(1, 0x02);
	assert_true(b.wire[4].level); /* empty already: THRE at once */
	assert_int_equal(get(2), 0x02);
	assert_false(b.wire[4].level); /* reading IIR cleared it */
	assert_int_equal(get(2), 0x01);
	put(0, 'A');
	assert_int_equal(far.n, 1);
	assert_int_equal(far.out[0], 'A');
	assert_int_equal(get(5), 0x60);
	assert_int_equal(get(2), 0x02);
	put(4, 0x00); /* OUT2 gates the wire */
	put(0, 'B');
	assert_false(b.wire[4].level);
	put(4, 0x08);
	assert_true(b.wire[4].level);
}

static void test_full_backend(void **state)
{
	(void)state;
	put(2, 0x01);
	far.space = 3;
	for (unsigned i = 0; i < 5; i++)
		put(0, (u8)('a' + i));
	assert_int_equal(far.n, 3);
	assert_int_equal(get(5) & 0x60, 0);
	put(4, 0x08);
	put(1, 0x02);
	get(2);
	assert_false(b.wire[4].level);
	far.space = 100;
	far.dev.user.drained(far.dev.user.opaque);
	assert_int_equal(far.n, 5);
	assert_memory_equal(far.out, "abcde", 5);
	assert_int_equal(get(5) & 0x60, 0x60);
	assert_true(b.wire[4].level);
}

static void test_receive_without_fifo(void **state)
{
	(void)state;
	listen(0x01);
	send("xyz");
	assert_int_equal(strlen(far.input), 2); /* one byte fits; the rest waits */
	for (const char *c = "xyz"; *c; c++) {
		assert_true(b.wire[4].level);
		assert_int_equal(get(2), 0x04);
		assert_int_equal(get(5) & 1, 1);
		assert_int_equal(get(0), *c);
	}
	assert_false(b.wire[4].level);
	assert_int_equal(get(5), 0x60);
}

static void test_receive_fifo_and_timeout(void **state)
{
	(void)state;
	put(2, 0x81); /* trigger level 8 */
	put(3, 0x83);
	put(0, 1);
	put(1, 0);
	put(3, 0x03); /* 115,200 8N1: four characters are 347 us */
	listen(0x01);
	send("1234567");
	assert_false(b.wire[4].level);
	assert_int_equal(get(5) & 1, 1);
	board_run(&b, 300000);
	assert_false(b.wire[4].level);
	board_run(&b, 100000);
	assert_true(b.wire[4].level);
	assert_int_equal(get(2), 0xcc);
	assert_int_equal(get(0), '1'); /* a read restarts the timeout */
	assert_false(b.wire[4].level);
	send("89");
	assert_int_equal(get(2), 0xc4); /* eight bytes: the trigger */
	get(0);
	assert_int_equal(get(2), 0xc1);
}

static void test_nothing_is_lost(void **state)
{
	const char *text = "The quick brown fox jumps over the lazy dog, again and again and again.";
	char got[100] = { 0 };
	unsigned n = 0;

	(void)state;
	put(2, 0x01);
	listen(0x01);
	send(text);
	while (get(5) & 1)
		got[n++] = (char)get(0);
	assert_string_equal(got, text);
	assert_int_equal(get(5) & 0x02, 0);
}

/* What came before the guest listens stays with the sender, whatever the guest does to its FIFOs. */
static void test_waits_for_listener(void **state)
{
	(void)state;
	send("early");
	put(2, 0x01);
	put(2, 0x07);
	for (unsigned i = 0; i < 200; i++) { /* a console that only writes */
		assert_int_equal(get(5), 0x60);
		put(0, 'x');
		get(5);
	}
	put(1, 0x0f); /* a try of the enables, without OUT2 */
	board_run(&b, NS_PER_SEC);
	put(1, 0x00);
	put(4, 0x0b);
	board_run(&b, NS_PER_SEC);
	put(1, 0x05);
	assert_int_equal(get(5), 0x60);
	put(2, 0x00);
	put(2, 0x07); /* after the enabling */
	board_run(&b, UART_LISTEN_NS - 1);
	assert_int_equal(get(5), 0x60);
	board_run(&b, 1);
	assert_int_equal(get(0), 'e');
	ns16550_reset(uart);
	send("poll");
	for (unsigned i = 0; i < 100 && !(get(5) & 1); i++)
		;
	assert_int_equal(get(0), 'p');
	put(0, 'x');
	assert_int_equal(get(0), 'o');
}

static void test_loopback(void **state)
{
	(void)state;
	get(6);
	put(4, 0x10);
	assert_int_equal(get(6), 0x0b); /* CTS, DSR and DCD fell */
	put(4, 0x1a);
	assert_int_equal(get(6) & 0xf0, 0x90); /* RTS is CTS, OUT2 is DCD */
	put(4, 0x1f);
	get(6);
	put(4, 0x10);
	assert_int_equal(get(6), 0x0f); /* RI's trailing edge counts */
	send("later");
	put(3, 0x03);
	put(0, 'Q');
	assert_int_equal(far.n, 0);
	assert_int_equal(get(5), 0x61);
	assert_int_equal(get(0), 'Q');
	put(0, 'a');
	put(0, 'b');
	assert_int_equal(get(5) & 0x02, 0x02); /* overrun */
	assert_int_equal(get(0), 'b');
	put(3, 0x43);
	assert_int_equal(get(5) & 0x11, 0x11); /* a break */
	assert_int_equal(get(5) & 0x10, 0);
	get(0);
	listen(0x01);
	assert_int_equal(get(0), 'l');
}

static void test_line_status_interrupt(void **state)
{
	(void)state;
	put(2, 0x01);
	listen(0x05);
	far.dev.user.brk(far.dev.user.opaque);
	assert_int_equal(get(2), 0xc6);
	assert_int_equal(get(5), 0xf1);
	assert_int_equal(get(2), 0xc4);
	assert_int_equal(get(0), 0);
	assert_false(b.wire[4].level);
}

static void test_modem_status_interrupt(void **state)
{
	(void)state;
	get(6);
	put(1, 0x08);
	put(4, 0x18); /* loopback: the inputs change */
	assert_int_equal(get(2), 0x00);
	put(4, 0x08); /* and back */
	assert_true(b.wire[4].level);
	get(6);
	assert_false(b.wire[4].level);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_transmit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_backend, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_without_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_fifo_and_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waits_for_listener, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_line_status_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modem_status_interrupt, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
