/* SPDX-License-Identifier: Apache-2.0
 * virtio-blk through the PCI transport: capabilities, status machine, interrupts, every request, errors, resets.
 */
#include "unit/virtio_driver.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "dev/virtio/blk.h"

#define RAM (4u << 20)
#define RINGS 0x10000
#define HEADER 0x40000
#define STATUS 0x40100
#define DATA 0x100000
#define DISK (1u << 20)

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
#define ALL                                                                                             \
	(BIT(9) | BIT(11) | BIT(13) | BIT(14) | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_INDIRECT_DESC) | \
	 BIT(VIRTIO_F_RING_RESET))

static struct drv_dev d;
static struct drv_queue q;
static struct virtio_blk *blk;
static struct block *image;
static char path[64];

static void make_disk(const char *options)
{
	struct virtio_board board = drv_board_init(&d, RAM);
	struct block_spec spec;
	char text[128];
	int fd;

	snprintf(path, sizeof(path), "/tmp/doppel-blk-XXXXXX");
	fd = mkstemp(path);
	assert_int_equal(ftruncate(fd, DISK), 0);
	close(fd);
	snprintf(text, sizeof(text), "%s%s", path, options);
	assert_int_equal(block_parse(&spec, text, &d.b.err), 0);
	image = block_open(&spec, &d.b.err);
	assert_non_null(image);
	blk = virtio_blk_new(&board, image, "a serial", 2, &d.b.err);
	assert_non_null(blk);
	drv_find(&d);
}

static int setup(void **state)
{
	(void)state;
	make_disk("");
	return 0;
}

static int setup_readonly(void **state)
{
	(void)state;
	make_disk(",readonly");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	virtio_blk_free(blk);
	pci_free(d.bus);
	block_free(image);
	board_free(&d.b);
	unlink(path);
	return 0;
}

static void begin(u64 features)
{
	assert_true(drv_negotiate(&d, features));
	drv_add_queue(&d, 0, &q, 64, RINGS);
	drv_go(&d);
}

/* Offers and kicks; the status byte, or 0xff if nothing came back. */
static u8 request(u32 type, u64 sector, u32 len, bool write, u32 *used)
{
	struct drv_seg s[3] = { { HEADER, 16, false }, { DATA, len, write }, { STATUS, 1, true } };
	u32 words[2] = { type, 0 }, got = 0;

	memcpy(d.ram + HEADER, words, 8);
	memcpy(d.ram + HEADER + 8, &sector, 8);
	d.ram[STATUS] = 0xff;
	if (!len)
		s[1] = s[2];
	assert_true(drv_offer(&q, s, len ? 3 : 2, 0) >= 0);
	drv_kick(&d, 0);
	if (drv_take(&q, &got) < 0)
		return 0xff;
	if (used)
		*used = got;
	return d.ram[STATUS];
}

static void test_transport(void **state)
{
	(void)state;
	assert_int_equal(drv_cfg(&d, 0, 4), 0x10421af4);
	assert_int_equal(drv_cfg(&d, PCI_REVISION, 1), 1);
	assert_true(d.window && d.notify && d.device);
	assert_true(drv_offered_features(&d) & BIT(VIRTIO_F_VERSION_1));
	assert_int_equal(mem_mmio_read(d.b.mem, d.device, 8, NULL), DISK / 512);
	assert_int_equal(drv_get(&d, 18, 2), 2); /* queues */
	assert_int_equal(drv_get(&d, 24, 2), 256);
	/* Without VERSION_1, or with what was not offered, there is no FEATURES_OK. */
	assert_false(drv_negotiate(&d, BIT(9)));
	assert_false(drv_negotiate(&d, BIT(VIRTIO_F_VERSION_1) | BIT(50)));
	assert_true(drv_negotiate(&d, BIT(VIRTIO_F_VERSION_1)));
	/* Then the features are fixed. */
	drv_put(&d, 8, 0, 4);
	drv_put(&d, 12, 0xffffffff, 4);
	assert_int_equal(drv_get(&d, 12, 4), 0);
	/* Bits of status are not taken back, and the driver cannot ask itself for a reset. */
	drv_put(&d, COMMON_STATUS, 64 | 1, 1);
	assert_int_equal(drv_status(&d), 11);
	/* A queue that is not there. */
	drv_put(&d, COMMON_QUEUE_SELECT, 2, 2);
	assert_int_equal(drv_get(&d, 24, 2), 0);
	drv_put(&d, COMMON_QUEUE_ENABLE, 1, 2);
	assert_int_equal(drv_get(&d, COMMON_QUEUE_ENABLE, 2), 0);
	/* Vectors beyond the table do not stick. */
	drv_put(&d, 16, 2, 2);
	assert_int_equal(drv_get(&d, 16, 2), 2);
	drv_put(&d, 16, 3, 2);
	assert_int_equal(drv_get(&d, 16, 2), 0xffff);
}

static void test_requests(void **state)
{
	u32 used;

	(void)state;
	for (int packed = 0; packed < 2; packed++) {
		begin(ALL | (packed ? BIT(VIRTIO_F_RING_PACKED) : 0));
		memset(d.ram + DATA, 0xa5, 4096);
		assert_int_equal(request(OUT, 8, 4096, false, &used), 0);
		assert_int_equal(used, 1);
		memset(d.ram + DATA, 0, 4096);
		assert_int_equal(request(IN, 8, 4096, true, &used), 0);
		assert_int_equal(used, 4097);
		assert_int_equal(d.ram[DATA + 4095], 0xa5);
		assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0);
		assert_int_equal(request(GET_ID, 0, 20, true, &used), 0);
		assert_string_equal((char *)d.ram + DATA, "a serial");
		/* At the end, beyond it, half a sector, and where sectors overflow. */
		assert_int_equal(request(IN, DISK / 512 - 1, 512, true, NULL), 0);
		assert_int_equal(request(IN, DISK / 512 - 1, 1024, true, NULL), 1);
		assert_int_equal(request(OUT, DISK / 512, 512, false, NULL), 1);
		assert_int_equal(request(IN, 1, 100, true, NULL), 1);
		assert_int_equal(request(IN, ~0ull, 512, true, NULL), 1);
		assert_int_equal(request(OUT, BIT(55), 512, false, NULL), 1);
		assert_int_equal(request(99, 0, 0, false, NULL), 2);
		assert_int_equal(drv_status(&d), 15);
	}
}

static u8 range(u32 type, u64 sector, u32 count, u32 flags)
{
	memcpy(d.ram + DATA, &sector, 8);
	memcpy(d.ram + DATA + 8, &count, 4);
	memcpy(d.ram + DATA + 12, &flags, 4);
	return request(type, 0, 16, false, NULL);
}

static void test_ranges(void **state)
{
	(void)state;
	begin(ALL);
	memset(d.ram + DATA, 0x77, 65536);
	assert_int_equal(request(OUT, 0, 65536, false, NULL), 0);
	assert_int_equal(range(ZEROES, 1, 1, 0), 0);
	assert_int_equal(range(ZEROES, 16, 16, 1), 0);
	assert_int_equal(range(DISCARD, 64, 64, 0), 0);
	assert_int_equal(range(DISCARD, 64, 64, 1), 2);
	assert_int_equal(range(ZEROES, 0, 1, 2), 2);
	assert_int_equal(range(ZEROES, DISK / 512, 1, 0), 1);
	assert_int_equal(range(ZEROES, 0, 0xffffffff, 0), 1);
	assert_int_equal(range(DISCARD, ~0ull, 1, 0), 1);
	assert_int_equal(request(DISCARD, 0, 15, false, NULL), 1);
	assert_int_equal(request(IN, 0, 65536, true, NULL), 0);
	assert_int_equal(d.ram[DATA], 0x77);
	assert_int_equal(d.ram[DATA + 512], 0);
	assert_int_equal(d.ram[DATA + 1024], 0x77);
	assert_int_equal(d.ram[DATA + 16 * 512], 0);
	assert_int_equal(d.ram[DATA + 32 * 512 - 1], 0);
	/* Not negotiated: unsupported. */
	begin(BIT(VIRTIO_F_VERSION_1));
	assert_int_equal(range(ZEROES, 0, 1, 0), 2);
}

static void test_readonly(void **state)
{
	(void)state;
	assert_true(drv_offered_features(&d) & BIT(5));
	assert_false(drv_offered_features(&d) & BIT(13));
	begin(BIT(VIRTIO_F_VERSION_1) | BIT(5));
	assert_int_equal(request(IN, 0, 512, true, NULL), 0);
	assert_int_equal(request(OUT, 0, 512, false, NULL), 1);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0);
}

/* The image shrinks under the guest. */
static void test_shrunk(void **state)
{
	(void)state;
	begin(ALL);
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(request(IN, 0, 4096, true, NULL), 0);
	assert_int_equal(request(IN, 4, 4096, true, NULL), 1);
	assert_int_equal(request(IN, 100, 512, true, NULL), 1);
}

static void test_interrupts(void **state)
{
	unsigned msix = 0;

	(void)state;
	begin(ALL);
	/* INTx: high until the ISR is read. */
	request(FLUSH, 0, 0, false, NULL);
	assert_true(d.b.wire[10].level);
	assert_int_equal(mem_mmio_read(d.b.mem, (d.window & PAGE_MASK) + 0x1000, 1, NULL), 1);
	assert_false(d.b.wire[10].level);
	assert_int_equal(mem_mmio_read(d.b.mem, (d.window & PAGE_MASK) + 0x1000, 1, NULL), 0);
	/* MSI-X: vector 1 is queue 0's. */
	for (unsigned cap = drv_cfg(&d, PCI_CAP_PTR, 1); cap; cap = drv_cfg(&d, cap + 1, 1))
		if (drv_cfg(&d, cap, 1) == 0x11)
			msix = cap;
	assert_int_not_equal(msix, 0);
	pci_config_put(d.bus, d.devfn, msix + 2, 0x8000, 2);
	drv_put(&d, 0x4010, 0xfee01000, 4);
	drv_put(&d, 0x4018, 0x55, 4);
	drv_put(&d, 0x401c, 0, 4);
	request(FLUSH, 0, 0, false, NULL);
	assert_int_equal(d.b.messages, 1);
	assert_int_equal(d.b.msi_data, 0x55);
	assert_false(d.b.wire[10].level);
}

static void test_broken(void **state)
{
	struct drv_seg header = { HEADER, 8, false }, status = { STATUS, 1, true };
	struct drv_seg far = { BIT(40), 16, false };

	(void)state;
	/* No room for a header; no status byte; a buffer in nowhere. */
	for (unsigned i = 0; i < 3; i++) {
		struct drv_seg s[2] = { i == 2 ? far : header, status };

		begin(ALL);
		drv_offer(&q, s, i == 1 ? 1 : 2, 0);
		drv_kick(&d, 0);
		assert_int_equal(drv_status(&d), 15 | VIRTIO_NEEDS_RESET);
		/* The configuration change interrupt says so. */
		assert_int_equal(mem_mmio_read(d.b.mem, (d.window & PAGE_MASK) + 0x1000, 1, NULL), 2);
		assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0xff);
	}
	assert_int_equal(d.counters.n[CNT_VIRTIO_BROKEN], 3);
	begin(ALL);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0);
}

static void test_resets(void **state)
{
	(void)state;
	begin(ALL);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0);
	/* One queue. */
	drv_put(&d, 58, 1, 2);
	assert_int_equal(drv_get(&d, 58, 2), 0);
	assert_int_equal(drv_get(&d, COMMON_QUEUE_ENABLE, 2), 0);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0xff);
	drv_add_queue(&d, 0, &q, 32, RINGS);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0);
	/* The bus; afterwards firmware places it again. */
	drv_find(&d);
	assert_int_equal(drv_status(&d), 0);
	assert_int_equal(drv_get(&d, 32, 8), 0);
	begin(ALL);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0);
	/* A device that may not master the bus does nothing. */
	pci_config_put(d.bus, d.devfn, PCI_COMMAND, PCI_CMD_MEM, 2);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0xff);
}

/* The window in configuration space (4.1.4.9). */
static void test_pci_window(void **state)
{
	unsigned cap, at = 0;

	(void)state;
	for (cap = drv_cfg(&d, PCI_CAP_PTR, 1); cap; cap = drv_cfg(&d, cap + 1, 1))
		if (drv_cfg(&d, cap, 1) == 9 && drv_cfg(&d, cap + 3, 1) == 5)
			at = cap;
	assert_int_not_equal(at, 0);
	pci_config_put(d.bus, d.devfn, at + 8, COMMON_STATUS, 4);
	pci_config_put(d.bus, d.devfn, at + 12, 1, 4);
	pci_config_put(d.bus, d.devfn, at + 16, 3, 4);
	assert_int_equal(drv_status(&d), 3);
	assert_int_equal(drv_cfg(&d, at + 16, 1), 3);
	/* Lengths, offsets and BARs that cannot be do nothing. */
	pci_config_put(d.bus, d.devfn, at + 12, 3, 4);
	pci_config_put(d.bus, d.devfn, at + 16, 0, 4);
	pci_config_put(d.bus, d.devfn, at + 12, 1, 4);
	pci_config_put(d.bus, d.devfn, at + 4, 1, 1);
	pci_config_put(d.bus, d.devfn, at + 16, 0, 4);
	pci_config_put(d.bus, d.devfn, at + 4, 0, 1);
	pci_config_put(d.bus, d.devfn, at + 8, 0xfffffffc, 4);
	pci_config_put(d.bus, d.devfn, at + 16, 0, 4);
	assert_int_equal(drv_status(&d), 3);
}

/* Random writes all over the window and the rings; the device must go on after a reset. */
static void test_noise(void **state)
{
	u64 seed = 0x9e3779b97f4a7c15;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		u64 r = seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		unsigned size = 1u << (r >> 60 & 3), off = (unsigned)(r >> 40 & 0x3f) & ~(size - 1);

		if (i % 1000 == 0)
			begin(ALL | (i & 4 ? BIT(VIRTIO_F_RING_PACKED) : 0));
		switch (r >> 56 & 7) {
		case 0:
			drv_put(&d, off, seed >> 20, size);
			break;
		case 1:
			drv_put(&d, off, seed >> 50, size);
			break;
		case 2:
			drv_get(&d, off, size);
			break;
		case 3:
			mem_mmio_write(d.b.mem, d.device + off, seed >> 11, size, NULL);
			break;
		case 4:
			put16(&q, RINGS + (r >> 40 & 0x7ffe), (u16)(seed >> 30 & 0x3f));
			break;
		default:
			drv_kick(&d, (unsigned)(r >> 20 & 3));
		}
		if (i % 64 == 0)
			board_run(&d.b, 1);
	}
	begin(ALL);
	assert_int_equal(request(FLUSH, 0, 0, false, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_transport, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readonly, setup_readonly, teardown),
		cmocka_unit_test_setup_teardown(test_shrunk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pci_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_noise, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
