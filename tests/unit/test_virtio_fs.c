/* SPDX-License-Identifier: Apache-2.0
 * The virtio file system device with a file server behind it: requests in pieces, too short, too long, without room,
 * many at once, over a reset, and after the server's death.
 */
#include "unit/virtio_driver.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dev/virtio/fs.h"

#define RAM (8u << 20)
#define RINGS 0x10000
#define BUFFER 0x200000
#define V1 BIT(VIRTIO_F_VERSION_1)

struct world {
	struct drv_dev d;
	struct drv_queue q[2];
	struct loop *loop;
	struct share *share;
	struct virtio_fs *v;
	char dir[64];
};

static void begin(struct world *w, u64 features)
{
	assert_true(drv_negotiate(&w->d, V1 | features));
	for (unsigned n = 0; n < 2; n++)
		drv_add_queue(&w->d, n, &w->q[n], 64, RINGS + n * 0x10000);
	drv_go(&w->d);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct share_spec s;
	struct virtio_board b;
	struct err e;

	snprintf(w->dir, sizeof(w->dir), "/tmp/test_virtio_fs.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(share_parse(&s, w->dir, &e), 0);
	w->loop = loop_new(&e);
	w->share = share_new(&s, w->loop, &e);
	assert_non_null(w->share);
	b = drv_board_init(&w->d, RAM);
	w->v = virtio_fs_new(&b, w->share, &e);
	assert_non_null(w->v);
	drv_find(&w->d);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	virtio_fs_free(w->v);
	share_free(w->share);
	loop_free(w->loop);
	pci_free(w->d.bus);
	board_free(&w->d.b);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* Header and n bytes at p go out in two pieces, `room` bytes come back. */
static void offer(struct world *w, unsigned queue, u32 op, u64 node, const void *p, u32 n, u32 room)
{
	struct fuse_in_header h = { .len = (u32)sizeof(h) + n, .opcode = op, .unique = 5, .nodeid = node };
	struct drv_seg s[3] = { { BUFFER, 17, false },
				{ BUFFER + 0x1003, (u32)sizeof(h) - 17 + n, false },
				{ BUFFER + 0x100000, room, true } };

	memcpy(w->d.ram + BUFFER, &h, 17);
	memcpy(w->d.ram + BUFFER + 0x1003, (u8 *)&h + 17, sizeof(h) - 17);
	memcpy(w->d.ram + BUFFER + 0x1003 + sizeof(h) - 17, p, n);
	assert_true(drv_offer(&w->q[queue], s, room ? 3 : 2, 0) >= 0);
	drv_kick(&w->d, queue);
}

/* What the reply says: its error, or how long it is. */
static int answer(struct world *w, unsigned queue)
{
	struct fuse_out_header o;
	u32 len = 0;
	int i;

	for (i = 0; i < 100 && drv_take(&w->q[queue], &len) < 0; i++) {
		loop_wait(w->loop, queue ? 100000000 : 2000000);
		loop_dispatch(w->loop);
		board_run(&w->d.b, 20000000);
	}
	assert_true(i < 100);
	memcpy(&o, w->d.ram + BUFFER + 0x100000, sizeof(o));
	assert_true(!len || o.len == len);
	return !len ? 0 : o.error ? o.error : (int)len;
}

static int init(struct world *w)
{
	struct fuse_init_in in = { .major = 7, .minor = 31 };

	offer(w, 1, FUSE_INIT, 0, &in, sizeof(in), 4096);
	return answer(w, 1);
}

static int getattr(struct world *w)
{
	struct fuse_getattr_in in = { 0 };

	offer(w, 1, FUSE_GETATTR, 1, &in, sizeof(in), 4096);
	return answer(w, 1);
}

static void test_requests(void **state)
{
	struct world *w = *state;
	struct fuse_release_in release = { .fh = 77 };
	struct fuse_forget_in forget = { 1 };

	begin(w, 0);
	assert_int_equal(init(w), 80);
	assert_int_equal(getattr(w), 16 + sizeof(struct fuse_attr_out));
	for (int i = 0; i < 2000; i++) {
		offer(w, 0, FUSE_FORGET, (u64)i + 2, &forget, sizeof(forget), 0);
		assert_int_equal(answer(w, 0), 0);
	}
	offer(w, 1, FUSE_RELEASE, 1, &release, sizeof(release), 16);
	assert_int_equal(answer(w, 1), 16);
	offer(w, 1, FUSE_RELEASE, 1, &release, 3, 16);
	assert_int_equal(answer(w, 1), -EINVAL);
	offer(w, 1, FUSE_LOOKUP, 1, "..", 3, 4096);
	assert_int_equal(answer(w, 1), -EINVAL);
	/* A reply that has no room is an error in the room that there is. */
	offer(w, 1, FUSE_STATFS, 1, "", 0, 20);
	assert_int_equal(answer(w, 1), -ERANGE);
	assert_int_equal(drv_status(&w->d), 15);
}

static void expect_broken(struct world *w)
{
	assert_int_equal(drv_status(&w->d), 15 | VIRTIO_NEEDS_RESET);
	begin(w, 0);
	assert_int_equal(init(w), 80);
}

static void test_broken(void **state)
{
	struct world *w = *state;
	struct drv_seg headless = { BUFFER, 39, false }, input = { BUFFER, 4096, true };
	struct drv_seg huge[2] = { { 0x100000, 0x200000, false }, { 0x100000, 100, true } };

	begin(w, BIT(VIRTIO_F_RING_PACKED));
	assert_int_equal(init(w), 80);
	assert_true(drv_offer(&w->q[1], &headless, 1, 0) >= 0);
	drv_kick(&w->d, 1);
	expect_broken(w);
	assert_true(drv_offer(&w->q[1], &input, 1, 0) >= 0);
	drv_kick(&w->d, 1);
	expect_broken(w);
	assert_true(drv_offer(&w->q[1], huge, 2, 0) >= 0);
	drv_kick(&w->d, 1);
	expect_broken(w);
	offer(w, 1, FUSE_GETATTR, 1, "", 0, 15);
	expect_broken(w);
	offer(w, 0, FUSE_FORGET, 1, "1234567", 7, 0);
	expect_broken(w);
}

/* More than there are slots, and a reset while they are under way. */
static void test_reset(void **state)
{
	struct world *w = *state;
	struct fuse_in_header h = { .len = sizeof(h), .opcode = FUSE_STATFS, .unique = 5, .nodeid = 1 };
	struct drv_seg s[2] = { { BUFFER, sizeof(h), false }, { BUFFER + 0x1000, 4096, true } };

	begin(w, 0);
	for (int round = 0; round < 20; round++) {
		assert_int_equal(init(w), 80);
		memcpy(w->d.ram + BUFFER, &h, sizeof(h));
		for (int i = 0; i < 30; i++)
			assert_true(drv_offer(&w->q[1], s, 2, 0) >= 0);
		drv_kick(&w->d, 1);
		begin(w, round & 1 ? BIT(VIRTIO_F_RING_PACKED) : 0);
		loop_wait(w->loop, 1000000);
		loop_dispatch(w->loop);
	}
	assert_int_equal(init(w), 80);
	assert_int_equal(getattr(w), 16 + sizeof(struct fuse_attr_out));
}

static void kill_server(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	kill(pid, SIGKILL);
}

static void test_death(void **state)
{
	struct world *w = *state;

	begin(w, 0);
	assert_int_equal(init(w), 80);
	kill_server();
	assert_int_equal(getattr(w), -EIO);
	assert_int_equal(getattr(w), -EIO);
	begin(w, 0);
	assert_int_equal(init(w), -EIO);
	assert_int_equal(drv_status(&w->d), 15);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = { T(test_requests), T(test_broken), T(test_reset), T(test_death) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
