/* SPDX-License-Identifier: Apache-2.0
 * Guest-physical space: regions, how accesses are cut, ports, frame states, copies, the A20 gate.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/frame.h"

#define MIB (1ull << 20)

/* A device that remembers its last accesses and answers with the offset of each byte. */
struct recorder {
	unsigned n;
	struct {
		u64 off, val;
		unsigned size;
		bool write;
	} got[16];
};

static u64 rec_read(void *dev, u64 off, unsigned size)
{
	struct recorder *r = dev;
	u64 v = 0;

	r->got[r->n % 16].off = off;
	r->got[r->n % 16].size = size;
	r->got[r->n++ % 16].write = false;
	for (unsigned i = 0; i < 8; i++) /* more bytes than asked for: the bus must cut them */
		v |= (u64)(u8)(off + i) << (8 * i);
	return v;
}

static void rec_write(void *dev, u64 off, u64 val, unsigned size)
{
	struct recorder *r = dev;

	r->got[r->n % 16].off = off;
	r->got[r->n % 16].size = size;
	r->got[r->n % 16].val = val;
	r->got[r->n++ % 16].write = true;
}

static const struct io_ops rec8 = { .read = rec_read, .write = rec_write };
static const struct io_ops rec4 = { .read = rec_read, .write = rec_write, .max_size = 4 };
static const struct io_ops rec1 = { .read = rec_read, .write = rec_write, .max_size = 1 };
static const struct io_ops only4 = { .read = rec_read, .write = rec_write, .min_size = 4, .max_size = 4 };

static void expect(const struct recorder *r, unsigned i, u64 off, unsigned size)
{
	assert_true(i < r->n);
	assert_int_equal(r->got[i].off, off);
	assert_int_equal(r->got[i].size, size);
}

static void test_regions(void **state)
{
	struct mem *m = mem_new(NULL);
	struct recorder r = { 0 };
	u64 gpa, size, where;
	struct err e;

	(void)state;
	assert_int_equal(mem_add_ram(m, 0, 640 << 10, &e), 0);
	assert_int_equal(mem_add_ram(m, MIB, 63 * MIB, &e), 0);
	assert_int_equal(mem_add_ram(m, 1ull << 32, 1ull << 40, &e), 0); /* 1 TiB that nobody touches */
	assert_int_equal(mem_add_mmio(m, 0xa0000, 0x20000, &rec8, &r, &e), 0);
	assert_int_equal(mem_add_ram(m, 0x9f000, 0x1000, &e), -1);
	assert_int_equal(mem_add_mmio(m, 0xbffff, 2, &rec8, &r, &e), -1);
	assert_int_equal(mem_add_mmio(m, 0x9ffff, 2, &rec8, &r, &e), -1);
	assert_int_equal(mem_add_ram(m, 0x200000800, 0x1000, &e), -1);
	assert_int_equal(mem_add_ram(m, 1ull << 52, 0x1000, &e), -1);
	assert_int_equal(mem_add_ram(m, 1ull << 51, 1ull << 52, &e), -1);
	assert_int_equal(mem_add_mmio(m, ~0ull, 2, &rec8, &r, &e), -1);
	assert_int_equal(mem_ram_size(m), (640 << 10) + 63 * MIB + (1ull << 40));
	assert_true(mem_ram_range(m, 1, &gpa, &size));
	assert_int_equal(gpa, MIB);
	assert_int_equal(size, 63 * MIB);
	assert_false(mem_ram_range(m, 3, &gpa, &size));
	assert_non_null(mem_page(m, 0x9ffff, true));
	assert_null(mem_page(m, 0xa0000, false));
	assert_null(mem_page(m, 0xc0000, false));
	assert_null(mem_page(m, ~0ull, false));
	assert_null(mem_page(m, 1ull << 52, false));
	*mem_page(m, (1ull << 32) + 5, true) = 0x5a;
	assert_int_equal(mem_where(m, (1ull << 32) + 5, &where), m->fd);
	u8 byte = 0;
	assert_int_equal(pread(m->fd, &byte, 1, (off_t)where), 1);
	assert_int_equal(byte, 0x5a);
	assert_int_equal(mem_where(m, 0xa0000, &where), -1);
	mem_remove(m, 1ull << 32);
	assert_null(mem_page(m, (1ull << 32) + 5, true));
	mem_free(m);
}

static void test_rom(void **state)
{
	struct mem *m = mem_new(NULL);
	u8 image[5000], back[5000];

	(void)state;
	memset(image, 0x42, sizeof(image));
	assert_int_equal(mem_add_rom(m, 0xffffe000, image, sizeof(image), NULL), 0);
	assert_null(mem_page(m, 0xffffe000, true));
	assert_non_null(mem_page(m, 0xffffe000, false));
	assert_int_equal(*mem_page(m, 0xffffffff, false), 0xff);
	assert_int_equal(mem_write(m, 0xffffe000, "x", 1), 0);
	assert_int_equal(mem_read(m, 0xffffe000, back, sizeof(back)), 0);
	assert_memory_equal(image, back, sizeof(image));
	assert_int_equal(mem_code_enter(m, 0xffffe000), 0);
	mem_free(m);
}

static void test_mmio_cuts(void **state)
{
	struct mem *m = mem_new(NULL);
	struct recorder a = { 0 }, b = { 0 }, c = { 0 };
	bool claimed;

	(void)state;
	mem_add_mmio(m, 0x10000, 0x100, &rec8, &a, NULL);
	mem_add_mmio(m, 0x10100, 0x10, &rec4, &b, NULL);
	mem_add_mmio(m, 0x20000, 0x100, &only4, &c, NULL);
	assert_int_equal(mem_mmio_read(m, 0x10008, 8, &claimed), 0x0f0e0d0c0b0a0908ull);
	assert_true(claimed);
	expect(&a, 0, 8, 8);
	/* unaligned: 1 + 2 + 1 */
	assert_int_equal(mem_mmio_read(m, 0x10011, 4, NULL), 0x14131211);
	expect(&a, 1, 0x11, 1);
	expect(&a, 2, 0x12, 2);
	expect(&a, 3, 0x14, 1);
	/* across two devices, the second narrower */
	assert_int_equal(mem_mmio_read(m, 0x100fc, 8, &claimed), 0x03020100fffefdfcull);
	expect(&a, 4, 0xfc, 4);
	expect(&b, 0, 0, 4);
	/* past the end */
	assert_int_equal(mem_mmio_read(m, 0x1010c, 8, &claimed), 0xffffffff0f0e0d0cull);
	assert_false(claimed);
	mem_mmio_write(m, 0x10100, 0x1122334455667788ull, 8, &claimed);
	assert_true(claimed);
	expect(&b, 2, 0, 4);
	expect(&b, 3, 4, 4);
	assert_int_equal(b.got[2].val, 0x55667788);
	assert_int_equal(b.got[3].val, 0x11223344);
	/* narrower than the device takes */
	assert_int_equal(mem_mmio_read(m, 0x20006, 1, NULL), 6);
	expect(&c, 0, 4, 4);
	mem_mmio_write(m, 0x20006, 0xffab, 1, NULL);
	expect(&c, 1, 4, 4);
	assert_int_equal(c.got[1].val, 0xab0000);
	/* a hole */
	assert_int_equal(mem_mmio_read(m, 0x30000, 4, &claimed), 0xffffffff);
	assert_false(claimed);
	mem_mmio_write(m, 0x30000, 0, 4, &claimed);
	assert_false(claimed);
	mem_free(m);
}

static void test_ports(void **state)
{
	struct mem *m = mem_new(NULL);
	struct recorder a = { 0 }, b = { 0 };

	(void)state;
	assert_int_equal(mem_add_ports(m, 0xcf8, 8, &rec4, &a, NULL), 0);
	assert_int_equal(mem_add_ports(m, 0x3f8, 8, &rec1, &b, NULL), 0);
	assert_int_equal(mem_add_ports(m, 0x3ff, 1, &rec1, &b, NULL), -1);
	assert_int_equal(mem_add_ports(m, 0xffff, 2, &rec1, &b, NULL), -1);
	mem_port_write(m, 0xcf8, 0x80000000, 4);
	expect(&a, 0, 0, 4);
	assert_int_equal(a.got[0].val, 0x80000000);
	assert_int_equal(mem_port_read(m, 0xcf9, 1), 1);
	expect(&a, 1, 1, 1);
	assert_int_equal(mem_port_read(m, 0xcfe, 2), 0x0706);
	expect(&a, 2, 6, 2);
	/* a byte device takes a dword in four */
	assert_int_equal(mem_port_read(m, 0x3f8, 4), 0x03020100);
	assert_int_equal(b.n, 4);
	mem_port_write(m, 0x3fe, 0xa1b2c3d4, 4);
	assert_int_equal(b.n, 6);
	assert_int_equal(b.got[4].val, 0xd4);
	assert_int_equal(b.got[5].val, 0xc3);
	assert_int_equal(mem_port_read(m, 0x3ff, 2), 0xff07);
	assert_int_equal(mem_port_read(m, 0x80, 1), 0xff);
	assert_int_equal(mem_port_read(m, 0xffff, 4), 0xffffffff);
	mem_remove_ports(m, 0x3f8);
	assert_int_equal(mem_port_read(m, 0x3f8, 1), 0xff);
	assert_int_equal(mem_add_ports(m, 0x3f0, 16, &rec1, &b, NULL), 0);
	mem_free(m);
}

/* ---- frame states -------------------------------------------------------------------------------------------------
 */

struct ear {
	struct mem *m;
	unsigned code_writes, revoked, changed;
	u64 gpa, revoked_gpa;
	unsigned len;
	u8 seen; /* the byte at gpa when told */
	bool leave;
};

static void ear_code_write(void *opaque, u64 gpa, unsigned len)
{
	struct ear *e = opaque;

	e->code_writes++;
	e->gpa = gpa;
	e->len = len;
	e->seen = *mem_page(e->m, gpa, false);
	if (e->leave)
		mem_code_leave(e->m, gpa);
}

static void ear_revoke(void *opaque, u64 gpa)
{
	struct ear *e = opaque;

	e->revoked++;
	e->revoked_gpa = gpa;
}

static void ear_changed(void *opaque)
{
	((struct ear *)opaque)->changed++;
}

static void test_frame_states(void **state)
{
	struct mem *m = mem_new(NULL);
	struct ear e = { .m = m };
	struct mem_listener l = {
		.code_write = ear_code_write, .revoke_write = ear_revoke, .map_changed = ear_changed, .opaque = &e
	};

	(void)state;
	mem_add_ram(m, 0, MIB, NULL);
	mem_add_listener(m, &l);
	assert_int_equal(mem_frame_state(m, 0x5000), FRAME_DATA);
	assert_int_equal(mem_code_enter(m, 0x5123), 0);
	assert_int_equal(e.revoked, 0); /* nobody could write */
	assert_int_equal(mem_frame_state(m, 0x5fff), FRAME_CODE);
	assert_int_equal(mem_frame_state(m, 0x6000), FRAME_DATA);
	assert_false(mem_note_writer(m, 0x5000));
	assert_true(mem_note_writer(m, 0x6000));
	assert_int_equal(mem_code_enter(m, 0x6123), 0);
	assert_int_equal(e.revoked, 1);
	assert_int_equal(e.revoked_gpa, 0x6000);
	assert_int_equal(mem_code_enter(m, 0x6000), 0);
	assert_int_equal(e.revoked, 1);
	mem_code_leave(m, 0x6000);
	assert_int_equal(mem_frame_state(m, 0x6000), FRAME_CODE); /* one of two holds */
	assert_int_equal(mem_code_enter(m, 0x200000), -1);
	/* told before the byte changes; a copy over three frames, two of them code */
	mem_write(m, 0x5010, "\x77", 1);
	assert_int_equal(e.gpa, 0x5010);
	assert_true(e.code_writes >= 1);
	u8 page[3 * 4096];
	memset(page, 0x11, sizeof(page));
	e.leave = true;
	e.code_writes = 0;
	assert_int_equal(mem_write(m, 0x4800, page, 2 * 4096), 0);
	assert_int_equal(e.code_writes, 2);
	assert_int_equal(e.gpa, 0x6000);
	assert_int_equal(e.len, 0x800);
	assert_int_equal(e.seen, 0);
	assert_int_equal(*mem_page(m, 0x67ff, false), 0x11);
	assert_int_equal(*mem_page(m, 0x6800, false), 0);
	assert_int_equal(mem_frame_state(m, 0x5000), FRAME_DATA);
	mem_set_a20(m, false);
	mem_set_a20(m, false);
	assert_int_equal(e.changed, 1);
	assert_false(mem_get_a20(m));
	mem_remove_listener(m, &l);
	mem_set_a20(m, true);
	assert_int_equal(e.changed, 1);
	mem_free(m);
}

/* ---- DMA against code_enter()
 * ---------------------------------------------------------------------------------------- */

#define DMA_ROUNDS 20000
#define DMA_BYTES 256

struct dma_race {
	struct mem *m;
	atomic_uint round, done;
	atomic_bool valid; /* the copy below still stands for the frame's bytes */
};

static void dma_told(void *opaque, u64 gpa, unsigned len)
{
	struct dma_race *d = opaque;

	(void)gpa;
	(void)len;
	atomic_store(&d->valid, false);
}

static void *dma_writer(void *opaque)
{
	struct dma_race *d = opaque;
	u8 buf[DMA_BYTES];

	for (unsigned r = 1; r <= DMA_ROUNDS; r++) {
		while (atomic_load(&d->round) < r)
			sched_yield();
		memset(buf, (int)r, sizeof(buf));
		mem_write(d->m, 0x3000, buf, sizeof(buf));
		atomic_store(&d->done, r);
	}
	return NULL;
}

/* A copy of code made after code_enter() is either what memory holds in the end, or its owner was told. */
static void test_dma_race(void **state)
{
	struct dma_race d = { .m = mem_new(NULL) };
	struct mem_listener l = { .code_write = dma_told, .opaque = &d };
	unsigned kept = 0;
	pthread_t t;

	(void)state;
	mem_add_ram(d.m, 0, MIB, NULL);
	mem_add_listener(d.m, &l);
	assert_int_equal(pthread_create(&t, NULL, dma_writer, &d), 0);
	for (unsigned r = 1; r <= DMA_ROUNDS; r++) {
		u8 copy[DMA_BYTES];

		atomic_store(&d.valid, true);
		atomic_store(&d.round, r);
		for (unsigned i = 0; i < r % 1024 && atomic_load(&d.done) < r; i++)
			__builtin_ia32_pause();
		mem_code_enter(d.m, 0x3000);
		memcpy(copy, mem_page(d.m, 0x3000, false), sizeof(copy));
		while (atomic_load(&d.done) < r)
			sched_yield();
		if (atomic_load(&d.valid)) {
			assert_memory_equal(copy, mem_page(d.m, 0x3000, false), sizeof(copy));
			kept++;
		}
		mem_code_leave(d.m, 0x3000);
	}
	pthread_join(t, NULL);
	print_message("%u of %d copies stood\n", kept, DMA_ROUNDS);
	mem_free(d.m);
}

static void test_copies(void **state)
{
	struct mem *m = mem_new(NULL);
	u8 buf[64];

	(void)state;
	mem_add_ram(m, 0, 0x2000, NULL);
	memset(buf, 0x33, sizeof(buf));
	assert_int_equal(mem_write(m, 0x1fe0, buf, 64), -1);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(mem_read(m, 0x1fe0, buf, 64), -1);
	assert_int_equal(buf[31], 0x33);
	assert_int_equal(buf[32], 0xff);
	assert_int_equal(mem_write(m, ~0ull - 8, buf, 64), -1); /* wraps: harmless */
	assert_int_equal(mem_read(m, 0, buf, 0), 0);
	mem_free(m);
}

/* Another vCPU moves the device away just before the bus is ours: whom to ask is settled under the lock only. */
static void lock_after_move(void *opaque)
{
	mem_remove_ports(opaque, 0x600);
	mem_remove(opaque, 0xe0000000);
}

static void unlock_nothing(void *opaque)
{
	(void)opaque;
}

/* ---- the log of written frames ---- */

struct mapping {
	struct mem *m;
	unsigned begun, collected, ended;
};

static void log_step(void *opaque, enum mem_dirty_step step)
{
	struct mapping *w = opaque;

	w->begun += step == MEM_DIRTY_BEGIN;
	w->ended += step == MEM_DIRTY_END;
	if (step == MEM_DIRTY_COLLECT && !w->collected++)
		mem_mark_dirty(w->m, 0x7000, 1);
}

static u64 fetched_of_16(struct mem *m)
{
	u64 map = 0;

	mem_dirty_fetch(m);
	for (u64 n = 0; n < 16; n++)
		map |= (u64)mem_dirty_fetched(m, n << PAGE_SHIFT) << n;
	return map;
}

static void test_dirty_log(void **state)
{
	struct mem *m = mem_new(NULL);
	struct mapping w = { .m = m };
	struct mem_listener l = { .dirty_log = log_step, .opaque = &w };
	u8 bytes[0x1001] = { 1 };
	struct err e;

	(void)state;
	assert_int_equal(mem_add_ram(m, 0, 16 * PAGE_SIZE, &e), 0);
	mem_add_listener(m, &l);
	mem_write(m, 0x1000, bytes, 8);
	assert_int_equal(mem_dirty_begin(m, &e), 0);
	assert_int_equal(mem_dirty_begin(m, &e), -1); /* one at a time */
	mem_write(m, 0x2fff, bytes, sizeof(bytes));
	mem_before_write(m, 0x5008, 8);
	assert_true(mem_note_writer(m, 0x9000));
	assert_int_equal(mem_discard(m, 0xb000, 2 * PAGE_SIZE), 0);
	assert_int_equal(fetched_of_16(m), BIT(2) | BIT(3) | BIT(5) | BIT(7) | BIT(9) | BIT(11) | BIT(12));
	assert_false(mem_dirty_fetched(m, 1ull << 51));
	mem_write(m, 0x4000, bytes, 1);
	mem_write(m, 1ull << 50, bytes, 1); /* no memory, no map */
	assert_int_equal(fetched_of_16(m), BIT(4));
	assert_int_equal(fetched_of_16(m), 0);
	mem_dirty_end(m);
	mem_write(m, 0x6000, bytes, 1);
	assert_int_equal(mem_dirty_begin(m, &e), 0);
	assert_int_equal(fetched_of_16(m), 0);
	mem_dirty_end(m);
	assert_int_equal(w.begun, 2);
	assert_int_equal(w.ended, 2);
	assert_int_equal(w.collected, 4);
	mem_free(m);
}

static void test_range_moves_before_access(void **state)
{
	struct mem *m = mem_new(NULL);
	struct recorder r = { 0 };
	bool claimed = true;

	(void)state;
	assert_int_equal(mem_add_ports(m, 0x600, 64, &rec4, &r, NULL), 0);
	assert_int_equal(mem_add_mmio(m, 0xe0000000, 4096, &rec8, &r, NULL), 0);
	mem_set_bus_lock(m, lock_after_move, unlock_nothing, m);
	assert_int_equal(mem_port_read(m, 0x600, 4), 0xffffffff);
	mem_port_write(m, 0x600, 1, 4);
	assert_int_equal(mem_add_mmio(m, 0xe0000000, 4096, &rec8, &r, NULL), 0);
	assert_int_equal(mem_mmio_read(m, 0xe0000000, 8, &claimed), ~0ull);
	assert_false(claimed);
	assert_int_equal(mem_add_mmio(m, 0xe0000000, 4096, &rec8, &r, NULL), 0);
	mem_mmio_write(m, 0xe0000000, 1, 8, &claimed);
	assert_false(claimed);
	assert_int_equal(r.n, 0);
	mem_free(m);
}

/* Kept privately, it is as the memfd's, and large pages of the host's can be the guest's. */
static void test_private(void **state)
{
	struct err e = { "" };
	struct mem *m = mem_new(&e);
	struct region r;
	u64 where, value = 0x1122334455667788ull;

	(void)state;
	mem_keep_private(m);
	assert_int_equal(mem_add_ram(m, 0, 0xa0000, &e), 0);
	assert_int_equal(mem_add_ram(m, 0x100000, 0x700000, &e), 0);
	assert_int_equal(mem_where(m, 0x200000, &where), -1);
	for (u64 gpa = 0; mem_region_next(m, gpa, &r); gpa = r.gpa + r.size)
		assert_int_equal(((uintptr_t)r.hva - r.gpa) & 0x1fffff, 0);
	for (u64 gpa = 0x7ff000 - 8; gpa >= 0x100000; gpa -= 0xff000) {
		assert_int_equal(mem_write(m, gpa, &value, 8), 0);
		value = 0;
		assert_int_equal(mem_read(m, gpa, &value, 8), 0);
		assert_int_equal(value, 0x1122334455667788ull);
	}
	assert_int_equal(mem_discard(m, 0x100000, 0x700000), 0);
	for (u64 gpa = 0x7ff000 - 8; gpa >= 0x100000; gpa -= 0xff000) {
		assert_int_equal(mem_read(m, gpa, &value, 8), 0);
		assert_int_equal(value, 0);
	}
	mem_free(m);
}

/* A file with its number in each page, after a page of something else. */
static int laid_file(unsigned pages)
{
	char name[] = "/tmp/test_mem.XXXXXX";
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	for (u64 i = 0; i <= pages; i++)
		assert_int_equal(pwrite(fd, &i, sizeof(i), (off_t)(i * PAGE_SIZE)), sizeof(i));
	assert_int_equal(ftruncate(fd, (off_t)((pages + 1) * PAGE_SIZE)), 0);
	return fd;
}

static u64 first_of(struct mem *m, u64 gpa)
{
	u64 v = 0;

	assert_int_equal(mem_read(m, gpa, &v, sizeof(v)), 0);
	return v;
}

static void test_laid(void **state)
{
	struct err e;
	struct mem *m = mem_new(&e);
	u64 offset, v = 0x1234, gpa = MIB + 2 * MEM_LAY_STEP;
	int fd = laid_file(40);
	u8 *host;

	(void)state;
	assert_int_equal(mem_add_ram(m, MIB, MIB, &e), 0);
	assert_int_equal(mem_lay(m, gpa + PAGE_SIZE, MEM_LAY_STEP, fd, PAGE_SIZE, &e), -1);
	assert_int_equal(mem_lay(m, gpa, PAGE_SIZE, fd, PAGE_SIZE, &e), -1);
	assert_int_equal(mem_lay(m, MIB, 2 * MIB, fd, PAGE_SIZE, &e), -1);
	assert_int_equal(mem_lay(m, gpa, 2 * MEM_LAY_STEP, fd, PAGE_SIZE, &e), 0);
	assert_true(mem_where(m, gpa - 1, &offset) >= 0);
	assert_true(mem_where(m, gpa + 2 * MEM_LAY_STEP, &offset) >= 0);
	assert_int_equal(mem_where(m, gpa, &offset), -1);
	assert_int_equal(first_of(m, gpa - PAGE_SIZE), 0);
	assert_int_equal(first_of(m, gpa), 1);
	assert_int_equal(first_of(m, gpa + 31 * PAGE_SIZE), 32);
	assert_int_equal(first_of(m, gpa + 32 * PAGE_SIZE), 0);

	/* What was written is there afterwards, at the same place and for others; the next step stays; the file is as
	 * it was. */
	host = mem_page(m, gpa + 5 * PAGE_SIZE, true);
	assert_int_equal(mem_write(m, gpa + 5 * PAGE_SIZE, &v, sizeof(v)), 0);
	assert_int_equal(mem_own(m, gpa + 7 * PAGE_SIZE + 3), 0);
	assert_false(mem_is_laid(m, gpa));
	assert_true(mem_is_laid(m, gpa + MEM_LAY_STEP));
	assert_int_equal(first_of(m, gpa + 4 * PAGE_SIZE), 5);
	assert_ptr_equal(mem_page(m, gpa + 5 * PAGE_SIZE, true), host);
	*(volatile u64 *)host = 0x5678;
	assert_true(mem_where(m, gpa + 5 * PAGE_SIZE, &offset) >= 0);
	assert_int_equal(pread(mem_where(m, gpa, &(u64){ 0 }), &v, sizeof(v), (off_t)offset), sizeof(v));
	assert_int_equal(v, 0x5678);
	assert_int_equal(mem_own(m, gpa), 0);
	assert_int_equal(pread(fd, &v, sizeof(v), 6 * PAGE_SIZE), sizeof(v));
	assert_int_equal(v, 6);

	assert_int_equal(mem_discard(m, gpa, 2 * MEM_LAY_STEP), 0);
	for (u64 at = 0; at < 32; at++)
		assert_int_equal(first_of(m, gpa + at * PAGE_SIZE), 0);
	close(fd);
	mem_free(m);
}

struct counting {
	struct mem *m;
	u64 n;
	atomic_bool end;
};

static void *count_up(void *opaque)
{
	struct counting *c = opaque;

	while (!atomic_load(&c->end)) {
		c->n++;
		for (u64 at = 0; at < MIB; at += MEM_LAY_STEP / 2)
			mem_write(c->m, at, &c->n, sizeof(c->n));
	}
	return NULL;
}

/* A device's writes while the memory moves: none is lost. */
static void test_laid_race(void **state)
{
	int fd = laid_file(256);
	struct err e;

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct counting c = { .m = mem_new(&e) };
		pthread_t t;

		assert_int_equal(mem_add_ram(c.m, 0, MIB, &e), 0);
		assert_int_equal(mem_lay(c.m, 0, MIB, fd, PAGE_SIZE, &e), 0);
		assert_int_equal(pthread_create(&t, NULL, count_up, &c), 0);
		for (u64 at = 0; at < MIB; at += MEM_LAY_STEP)
			assert_int_equal(mem_own(c.m, at), 0);
		atomic_store(&c.end, true);
		pthread_join(t, NULL);
		for (u64 at = 0; c.n && at < MIB; at += MEM_LAY_STEP / 2)
			assert_int_equal(first_of(c.m, at), c.n);
		mem_free(c.m);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_rom),
		cmocka_unit_test(test_mmio_cuts),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_frame_states),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_dma_race),
		cmocka_unit_test(test_range_moves_before_access),
		cmocka_unit_test(test_private),
		cmocka_unit_test(test_laid),
		cmocka_unit_test(test_laid_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
