/* SPDX-License-Identifier: Apache-2.0
 * virtio console, entropy and balloon through the PCI transport.
 */
#include "unit/virtio_driver.h"

#include <stdio.h>
#include <sys/stat.h>

#include "dev/virtio/balloon.h"
#include "dev/virtio/console.h"
#include "dev/virtio/rng.h"
#include "mem/frame.h"

#define RAM (8u << 20)
#define RINGS 0x10000 /* 64 KiB a queue */
#define BUFFER 0x200000
#define V1 BIT(VIRTIO_F_VERSION_1)

static struct drv_dev d;
static struct drv_queue q[8];

/* A character device that takes as much as it is told to. */
static struct {
	struct chardev c;
	u8 out[4096];
	size_t n, takes;
} far;

static size_t far_write(struct chardev *c, const u8 *p, size_t n)
{
	(void)c;
	n = MIN(n, far.takes);
	memcpy(far.out + far.n, p, n);
	far.n += n;
	far.takes -= n;
	return n;
}

static const struct chardev_ops far_ops = { .write = far_write };

static void begin(u64 features, unsigned queues)
{
	assert_true(drv_negotiate(&d, V1 | features));
	for (unsigned i = 0; i < queues; i++)
		drv_add_queue(&d, i, &q[i], 16, RINGS + i * 0x10000);
	drv_go(&d);
}

/* The used length, or -1 when the chain stays with the device. */
static int send(unsigned n, const void *bytes, u32 len)
{
	struct drv_seg s = { BUFFER + n * 0x10000 + q[n].offered % 16 * 0x1000, len, false };
	u32 used;

	memcpy(d.ram + s.gpa, bytes, len);
	assert_true(drv_offer(&q[n], &s, 1, 0) >= 0);
	drv_kick(&d, n);
	return drv_take(&q[n], &used) < 0 ? -1 : (int)used;
}

static void offer_input(unsigned n, u32 len)
{
	struct drv_seg s = { BUFFER + n * 0x10000 + q[n].offered % 16 * 64, len, true };

	assert_true(drv_offer(&q[n], &s, 1, 0) >= 0);
	drv_kick(&d, n);
}

/* What came, or NULL. */
static u8 *receive(unsigned n, u32 *len)
{
	u64 at = BUFFER + n * 0x10000 + q[n].seen % 16 * 64;

	return drv_take(&q[n], len) < 0 ? NULL : d.ram + at;
}

static void far_says(const char *text)
{
	assert_true(far.c.user.room(far.c.user.opaque) >= strlen(text));
	far.c.user.rx(far.c.user.opaque, (const u8 *)text, strlen(text));
}

/* ---- console -------------------------------------------------------------------------------------------------- */

static struct virtio_console *console_new(unsigned n_ports)
{
	struct virtio_board b = drv_board_init(&d, RAM);
	struct virtio_port_config ports[2] = { { &far.c, NULL }, { NULL, "org.example" } };
	struct virtio_console *v;

	memset(&far, 0, sizeof(far));
	far.c.ops = &far_ops;
	far.takes = sizeof(far.out);
	v = virtio_console_new(&b, ports, n_ports, &d.b.err);
	assert_non_null(v);
	drv_find(&d);
	return v;
}

static void console_end(struct virtio_console *v)
{
	virtio_console_free(v);
	pci_free(d.bus);
	board_free(&d.b);
}

static void test_console(void **state)
{
	struct virtio_console *v = console_new(1);
	u8 *got;
	u32 len;

	(void)state;
	assert_int_equal(far.c.user.room(far.c.user.opaque), 0); /* nobody there yet */
	begin(BIT(0), 2);
	assert_int_equal(send(1, "hello", 5), 0);
	assert_memory_equal(far.out, "hello", 5);
	/* Input before and after there is a buffer; a buffer that is too small for it. */
	far_says("one");
	offer_input(0, 64);
	got = receive(0, &len);
	assert_non_null(got);
	assert_int_equal(len, 3);
	assert_memory_equal(got, "one", 3);
	offer_input(0, 4);
	offer_input(0, 4);
	assert_null(receive(0, &len));
	far_says("abcdef");
	assert_memory_equal(receive(0, &len), "abcd", 4);
	assert_memory_equal(receive(0, &len), "ef", 2);
	assert_int_equal(len, 2);
	/* The far side is slow. */
	far.n = 0;
	far.takes = 2;
	assert_int_equal(send(1, "slowly", 6), -1);
	assert_int_equal(send(1, "more", 4), -1);
	far.takes = 100;
	far.c.user.drained(far.c.user.opaque);
	assert_int_equal(drv_take(&q[1], &len) >= 0 && drv_take(&q[1], &len) >= 0, 1);
	assert_int_equal(far.n, 10);
	assert_memory_equal(far.out, "slowlymore", 6);
	/* Reset while output is held. */
	far.takes = 0;
	assert_int_equal(send(1, "gone", 4), -1);
	drv_put(&d, COMMON_STATUS, 0, 1);
	far.takes = 100;
	far.c.user.drained(far.c.user.opaque);
	assert_int_equal(far.n, 10);
	/* The size, in config space, with an interrupt and a new generation. */
	begin(BIT(0), 2);
	len = (u32)drv_get(&d, 21, 1);
	virtio_console_resize(v, 0, 132, 43);
	assert_int_equal(mem_mmio_read(d.b.mem, d.device, 4, NULL), 43 << 16 | 132);
	assert_int_not_equal(drv_get(&d, 21, 1), len);
	assert_int_equal(mem_mmio_read(d.b.mem, (d.window & PAGE_MASK) + 0x1000, 1, NULL) & 2, 2);
	/* The emergency write needs no queue. */
	drv_put(&d, COMMON_STATUS, 0, 1);
	mem_mmio_write(d.b.mem, d.device + 8, '!', 4, NULL);
	assert_int_equal(far.out[far.n - 1], '!');
	console_end(v);
}

static void expect_control(u32 id, u16 event, u16 value, const void *more, u32 more_len)
{
	u32 len = 0, words[2] = { id, event | (u32)value << 16 };
	u8 *got = receive(2, &len);

	assert_non_null(got);
	assert_int_equal(len, 8 + more_len);
	assert_memory_equal(got, words, 8);
	if (more_len)
		assert_memory_equal(got + 8, more, more_len);
}

static void tell(u32 id, u16 event, u16 value)
{
	u32 words[2] = { id, event | (u32)value << 16 };

	send(3, words, 8);
}

static void test_ports(void **state)
{
	struct virtio_console *v = console_new(2);
	u16 size[2] = { 100, 30 };

	(void)state;
	assert_int_equal(mem_mmio_read(d.b.mem, d.device + 4, 4, NULL), 2);
	begin(BIT(0) | BIT(1), 6);
	for (unsigned i = 0; i < 8; i++)
		offer_input(2, 64);
	tell(~0u, 0, 1); /* the driver is ready */
	expect_control(0, 1, 1, NULL, 0);
	expect_control(1, 1, 1, NULL, 0);
	tell(0, 3, 1); /* port 0 is: a console, open */
	expect_control(0, 4, 1, NULL, 0);
	expect_control(0, 6, 1, NULL, 0);
	tell(1, 3, 1);
	expect_control(1, 7, 1, "org.example", 11);
	expect_control(1, 6, 1, NULL, 0);
	/* Ports that are not there, events that are not known. */
	tell(2, 3, 1);
	tell(~0u, 3, 1);
	tell(0x80000000, 6, 1);
	tell(0, 77, 1);
	assert_int_equal(drv_status(&d), 15);
	/* Input only while the port is open. */
	assert_int_equal(far.c.user.room(far.c.user.opaque), 0);
	tell(0, 6, 1);
	assert_true(far.c.user.room(far.c.user.opaque) > 0);
	virtio_console_resize(v, 0, 100, 30);
	expect_control(0, 5, 0, size, 4);
	/* A driver that asks and does not listen. */
	for (unsigned i = 0; i < 1000; i++)
		tell(~0u, 0, 1);
	assert_int_equal(drv_status(&d), 15);
	send(3, "short", 5);
	assert_int_equal(drv_status(&d), 15 | VIRTIO_NEEDS_RESET);
	console_end(v);
}

/* ---- entropy -------------------------------------------------------------------------------------------------- */

static void test_rng(void **state)
{
	struct virtio_board b = drv_board_init(&d, RAM);
	struct virtio_rng *v = virtio_rng_new(&b, NULL, &d.b.err);
	u8 zero[64] = { 0 };
	u32 len;

	(void)state;
	drv_find(&d);
	begin(0, 1);
	assert_int_equal(d.device, 0); /* it has no config */
	offer_input(0, 64);
	assert_memory_not_equal(receive(0, &len), zero, 64);
	assert_int_equal(len, 64);
	assert_int_equal(send(0, "x", 1), -1); /* nothing to fill */
	assert_int_equal(drv_status(&d), 15 | VIRTIO_NEEDS_RESET);
	virtio_rng_free(v);
	pci_free(d.bus);
	board_free(&d.b);
}

/* ---- balloon -------------------------------------------------------------------------------------------------- */

static u64 host_kib(void)
{
	struct stat st;

	assert_int_equal(fstat(d.b.mem->fd, &st), 0);
	return (u64)st.st_blocks / 2;
}

static void test_balloon(void **state)
{
	struct virtio_board b = drv_board_init(&d, RAM);
	struct virtio_balloon *v = virtio_balloon_new(&b, 1 << 20, &d.b.err);
	u32 pfns[256], len;
	u8 stats[20] = { BALLOON_FREE, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	struct drv_seg report = { 0x600800, 0x3000, true };
	u64 before;

	(void)state;
	drv_find(&d);
	begin(BIT(1) | BIT(5), 4);
	assert_int_equal(mem_mmio_read(d.b.mem, d.device, 4, NULL), 256);
	/* Downwards, as Linux gives them. */
	memset(d.ram + 0x400000, 0x5a, 1 << 20);
	memset(d.ram + BUFFER, 1, 0x10000); /* so that only the balloon changes what the host holds */
	before = host_kib();
	for (unsigned i = 0; i < 256; i++)
		pfns[i] = 0x4ff - i;
	assert_int_equal(send(0, pfns, sizeof(pfns)), 0);
	assert_int_equal(before - host_kib(), 1024);
	assert_int_equal(d.ram[0x400000] | d.ram[0x4fffff], 0);
	assert_int_equal(d.counters.n[CNT_BALLOON_BYTES], 1 << 20);
	assert_int_equal(send(1, pfns, sizeof(pfns)), 0);
	d.ram[0x400000] = 1; /* used again */
	mem_mmio_write(d.b.mem, d.device + 4, 256, 4, NULL);
	assert_int_equal(virtio_balloon_actual(v), 1 << 20);
	/* Pages that are not RAM, odd bytes: no harm. */
	for (unsigned i = 0; i < 256; i++)
		pfns[i] = i & 1 ? 0xfee00 : 0xffffffff - i;
	assert_int_equal(send(0, pfns, sizeof(pfns) - 3), 0);
	assert_int_equal(d.counters.n[CNT_BALLOON_BYTES], 1 << 20);
	/* Statistics: the buffer is kept until they are asked for. */
	assert_int_equal(send(2, stats, sizeof(stats)), -1);
	assert_int_equal(virtio_balloon_stat(v, BALLOON_FREE), 0x201);
	assert_int_equal(virtio_balloon_stat(v, BALLOON_TOTAL), ~0ull);
	virtio_balloon_ask_stats(v);
	assert_true(drv_take(&q[2], &len) >= 0);
	assert_int_equal(send(2, stats, sizeof(stats)), -1);
	/* Free pages: the two whole ones of a range. */
	memset(d.ram + 0x600000, 0x11, 0x5000);
	drv_offer(&q[3], &report, 1, 0);
	drv_kick(&d, 3);
	assert_true(drv_take(&q[3], &len) >= 0);
	assert_int_equal(d.ram[0x600fff], 0x11);
	assert_int_equal(d.ram[0x601000] | d.ram[0x602fff], 0);
	assert_int_equal(d.ram[0x603000], 0x11);
	/* Reset with the statistics' buffer held. */
	drv_put(&d, COMMON_STATUS, 0, 1);
	virtio_balloon_ask_stats(v);
	assert_int_equal(virtio_balloon_actual(v), 0);
	virtio_balloon_set_target(v, ~0ull);
	virtio_balloon_free(v);
	pci_free(d.bus);
	board_free(&d.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_rng),
		cmocka_unit_test(test_balloon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
