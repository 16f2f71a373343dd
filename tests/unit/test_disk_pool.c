/* SPDX-License-Identifier: Apache-2.0
 * Disk requests that wait, in threads of the pool, behind the virtio device: on an image that does what the test says.
 */
#include "unit/virtio_driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <semaphore.h>
#include <time.h>

#include "dev/virtio/blk.h"

#define RAM (4u << 20)
#define RINGS 0x10000
#define HEADERS 0x40000
#define STATUSES 0x48000
#define DATA 0x100000
#define DISK (1u << 20)

enum { IN = 0, OUT = 1, FLUSH = 4 };

/* An image whose requests wait for `go`, fail with `error`, and leave a letter each in `log`. */
struct slow {
	struct block b;
	sem_t go;
	atomic_int error, begun;
	pthread_mutex_t lock;
	char log[128];
	unsigned n;
};

static struct drv_dev d;
static struct drv_queue q;
static struct virtio_blk *blk;
static struct slow image;
static struct block_pool *pool;
static pthread_mutex_t machine;

static void lock(void *opaque)
{
	pthread_mutex_lock(opaque);
}

static void unlock(void *opaque)
{
	pthread_mutex_unlock(opaque);
}

static int slow_step(struct block *b, char letter)
{
	struct slow *s = container_of(b, struct slow, b);

	atomic_fetch_add(&s->begun, 1);
	while (sem_wait(&s->go))
		;
	pthread_mutex_lock(&s->lock);
	s->log[s->n++] = letter;
	pthread_mutex_unlock(&s->lock);
	return s->error;
}

static int slow_read(struct block *b, u64 off, void *buf, u64 len)
{
	memset(buf, (int)(off / 512 + 1), len);
	return slow_step(b, 'r');
}

/* The letter is what is written. */
static int slow_write(struct block *b, u64 off, const void *buf, u64 len)
{
	(void)off;
	(void)len;
	return slow_step(b, *(const char *)buf);
}

static int slow_flush(struct block *b)
{
	return slow_step(b, 'f');
}

static const struct block_ops slow_ops = { .read = slow_read, .write = slow_write, .flush = slow_flush };

static void make(unsigned threads)
{
	struct virtio_board board = drv_board_init(&d, RAM);
	struct block_pool_lock l = { lock, unlock, &machine };
	pthread_mutexattr_t recursive;

	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&machine, &recursive);
	image = (struct slow){ .b = { .ops = &slow_ops, .size = DISK } };
	pthread_mutex_init(&image.lock, NULL);
	sem_init(&image.go, 0, 0);
	pool = block_pool_new(threads, &l, &d.b.err);
	assert_non_null(pool);
	board.disk_pool = pool;
	blk = virtio_blk_new(&board, &image.b, "slow", 2, &d.b.err);
	assert_non_null(blk);
	drv_find(&d);
}

static int setup(void **state)
{
	(void)state;
	make(BLOCK_POOL_THREADS);
	return 0;
}

static int setup_at_once(void **state)
{
	(void)state;
	make(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	virtio_blk_free(blk);
	block_pool_free(pool);
	pci_free(d.bus);
	board_free(&d.b);
	return 0;
}

static void begin(u64 features)
{
	assert_true(drv_negotiate(&d, features | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_RESET)));
	drv_add_queue(&d, 0, &q, 64, RINGS);
	drv_go(&d);
}

/* Request i, with a page of data of its own; the machine lock is held as it is in a vCPU's thread. */
static void offer(unsigned i, u32 type, u64 sector, u32 len)
{
	struct drv_seg s[3] = { { HEADERS + 16 * i, 16, false },
				{ DATA + 0x1000ull * i, len, type == IN },
				{ STATUSES + i, 1, true } };

	memcpy(d.ram + HEADERS + 16 * i, (u32[]){ type, 0 }, 8);
	memcpy(d.ram + HEADERS + 16 * i + 8, &sector, 8);
	d.ram[STATUSES + i] = 0xff;
	if (!len)
		s[1] = s[2];
	pthread_mutex_lock(&machine);
	assert_true(drv_offer(&q, s, len ? 3 : 2, 0) >= 0);
	drv_kick(&d, 0);
	pthread_mutex_unlock(&machine);
}

static void let_go(unsigned n)
{
	while (n--)
		sem_post(&image.go);
}

static void wait_begun(int n)
{
	for (unsigned i = 0; i < 5000 && atomic_load(&image.begun) < n; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	assert_int_equal(atomic_load(&image.begun), n);
}

static unsigned taken(void)
{
	unsigned n = 0;
	u32 len;

	while (drv_take(&q, &len) >= 0)
		n++;
	return n;
}

static void test_waits_elsewhere(void **state)
{
	(void)state;
	begin(BIT(9));
	offer(0, IN, 6, 512);
	assert_int_equal(taken(), 0);
	assert_false(d.b.wire[10].level);
	let_go(1);
	block_pool_drain(pool);
	assert_int_equal(taken(), 1);
	assert_int_equal(d.ram[STATUSES], 0);
	assert_int_equal(d.ram[DATA + 511], 7);
	assert_true(d.b.wire[10].level);
}

/* What ends while the lock is held elsewhere is told in one interrupt. */
static void test_coalesced(void **state)
{
	u64 before;

	(void)state;
	begin(BIT(9));
	for (unsigned i = 0; i < 4; i++)
		offer(i, IN, i, 512);
	wait_begun(4);
	before = d.counters.n[CNT_VIRTIO_IRQ];
	pthread_mutex_lock(&machine);
	let_go(4);
	for (unsigned i = 0; i < 5000; i++) {
		pthread_mutex_lock(&image.lock);
		if (image.n == 4)
			i = 5000;
		pthread_mutex_unlock(&image.lock);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	assert_int_equal(taken(), 0);
	pthread_mutex_unlock(&machine);
	block_pool_drain(pool);
	assert_int_equal(taken(), 4);
	assert_int_equal(d.counters.n[CNT_VIRTIO_IRQ], before + 1);
}

/* More than there are slots and threads; nothing is forgotten. */
static void test_many(void **state)
{
	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		begin(BIT(9) | (packed ? BIT(VIRTIO_F_RING_PACKED) : 0));
		for (unsigned i = 0; i < 20; i++)
			offer(i, IN, i, 512);
		let_go(20);
		block_pool_drain(pool);
		assert_int_equal(taken(), 20);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(d.ram[DATA + 0x1000 * i], i + 1);
	}
}

/* Many steps: a read of 1 MiB. */
static void test_long(void **state)
{
	(void)state;
	begin(BIT(9));
	offer(0, IN, 0, DISK);
	let_go(100);
	block_pool_drain(pool);
	assert_int_equal(taken(), 1);
	assert_int_equal(d.ram[STATUSES], 0);
	assert_int_equal(d.ram[DATA], 1);
	assert_int_equal(d.counters.n[CNT_DISK_WAITED], 8);
	assert_int_equal(d.ram[DATA + DISK - 1], (u8)((DISK - (128 << 10)) / 512 + 1));
}

static void test_errors(void **state)
{
	static const int errors[] = { -EIO, -ENOSPC, -EINTR };

	(void)state;
	begin(BIT(9));
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		image.error = errors[i];
		offer(0, OUT, 0, 512);
		offer(1, IN, 0, 512);
		offer(2, FLUSH, 0, 0);
		let_go(3);
		block_pool_drain(pool);
		assert_int_equal(taken(), 3);
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(d.ram[STATUSES + k], 1);
	}
	assert_int_equal(drv_status(&d), 15);
}

/* Without a flush command, or with write-back switched off, a write is stable before it ends. */
static void test_through(void **state)
{
	(void)state;
	begin(0);
	d.ram[DATA] = 'a';
	offer(0, OUT, 0, 512);
	let_go(1);
	wait_begun(2);
	assert_int_equal(taken(), 0);
	let_go(1);
	block_pool_drain(pool);
	assert_int_equal(taken(), 1);
	assert_string_equal(image.log, "af");
	/* Switching it off flushes; what comes after waits for that. */
	begin(BIT(9) | BIT(11));
	pthread_mutex_lock(&machine);
	mem_mmio_write(d.b.mem, d.device + 32, 0, 1, NULL);
	pthread_mutex_unlock(&machine);
	wait_begun(3);
	d.ram[DATA] = 'b';
	offer(0, OUT, 0, 512);
	assert_int_equal(taken(), 0);
	assert_int_equal(atomic_load(&image.begun), 3);
	let_go(3);
	block_pool_drain(pool);
	assert_int_equal(taken(), 1);
	assert_string_equal(image.log, "affbf");
}

/* A write from before a reset reaches the image before what comes after it, and memory is not touched for it. */
static void test_reset(void **state)
{
	(void)state;
	for (int queue_only = 0; queue_only < 2; queue_only++) {
		begin(BIT(9));
		d.ram[DATA] = 'a';
		offer(0, OUT, 0, 512);
		offer(1, IN, 0, 512);
		wait_begun(2 + 3 * queue_only);
		pthread_mutex_lock(&machine);
		if (queue_only) {
			drv_put(&d, 58, 1, 2);
			assert_int_equal(drv_get(&d, COMMON_QUEUE_ENABLE, 2), 0);
			drv_add_queue(&d, 0, &q, 64, RINGS);
		} else {
			begin(BIT(9));
		}
		memset(d.ram + DATA + 0x1000, 0x55, 512);
		d.ram[STATUSES] = d.ram[STATUSES + 1] = 0x55;
		pthread_mutex_unlock(&machine);
		d.ram[DATA + 0x2000] = 'z';
		offer(2, OUT, 0, 512);
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
		assert_int_equal(atomic_load(&image.begun), 2 + 3 * queue_only);
		let_go(3);
		block_pool_drain(pool);
		assert_int_equal(taken(), 1);
		assert_int_equal(d.ram[STATUSES], 0x55);
		assert_int_equal(d.ram[STATUSES + 1], 0x55);
		assert_int_equal(d.ram[STATUSES + 2], 0);
		assert_int_equal(d.ram[DATA + 0x1000], 0x55);
		assert_int_equal(image.log[image.n - 1], 'z');
	}
}

/* The device goes while a request is under way: its end is waited for. */
static void test_freed(void **state)
{
	(void)state;
	begin(BIT(9));
	d.ram[DATA] = 'a';
	offer(0, OUT, 0, 512);
	let_go(1);
}

static void test_at_once(void **state)
{
	(void)state;
	begin(BIT(9));
	let_go(20);
	for (unsigned i = 0; i < 3; i++) {
		offer(i, IN, i, 512);
		assert_int_equal(taken(), 1);
		assert_int_equal(d.ram[DATA + 0x1000 * i], i + 1);
	}
	offer(0, IN, 0, DISK);
	assert_int_equal(taken(), 1);
	assert_int_equal(d.counters.n[CNT_DISK_WAITED], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_waits_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_coalesced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_through, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_at_once, setup_at_once, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
