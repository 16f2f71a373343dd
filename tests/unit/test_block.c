/* SPDX-License-Identifier: Apache-2.0
 * Disk images: options, raw files and what can be wrong with them, locks, overlays against a model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "block/block.h"

#define SIZE (64u * 1024 + 512)

static char dir[64], path[128];
static struct err e;

static int setup(void **state)
{
	int fd;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/doppel-block-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/disk", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, SIZE + 100), 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	rmdir(dir);
	return 0;
}

static struct block *open_as(const char *options)
{
	struct block_spec s;
	char text[256];

	snprintf(text, sizeof(text), "%s%s", path, options);
	assert_int_equal(block_parse(&s, text, &e), 0);
	return block_open(&s, &e);
}

static void test_parse(void **state)
{
	static const char *const wrong[] = {
		"",	     ",readonly", "f,",	  "f,readonl",		"f,readonlyx",
		"f,serial=", "f,x",	  "f,,,", "f,overlay,readonly", "f,serial=123456789012345678901"
	};
	struct block_spec s;

	(void)state;
	assert_int_equal(block_parse(&s, "a b,,c", &e), 0);
	assert_string_equal(s.path, "a b,c");
	assert_false(s.readonly || s.overlay || s.serial[0]);
	assert_int_equal(block_parse(&s, "f,serial=12345678901234567890,overlay", &e), 0);
	assert_string_equal(s.serial, "12345678901234567890");
	assert_true(s.overlay);
	assert_int_equal(block_parse(&s, "f,readonly", &e), 0);
	assert_true(s.readonly);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(block_parse(&s, wrong[i], &e), -1);
}

static void test_raw(void **state)
{
	struct block *b = open_as("");
	u8 bytes[4096];

	(void)state;
	assert_non_null(b);
	assert_int_equal(b->size, SIZE);
	memset(bytes, 7, sizeof(bytes));
	assert_int_equal(block_write(b, 512, bytes, 4096), 0);
	assert_int_equal(block_flush(b), 0);
	assert_int_equal(block_zero(b, 1024, 512, false), 0);
	assert_int_equal(block_zero(b, 2048, 512, true), 0);
	assert_int_equal(block_read(b, 512, bytes, 4096), 0);
	assert_int_equal(bytes[511], 7);
	assert_int_equal(bytes[512], 0);
	assert_int_equal(bytes[1024], 7);
	assert_int_equal(bytes[1536 + 511], 0);
	assert_int_equal(block_discard(b, 0, 4096), 0);
	assert_int_equal(block_read(b, SIZE - 512, bytes, 512), 0);
	assert_int_equal(block_read(b, SIZE, bytes, 512), -EIO);
	assert_int_equal(block_read(b, ~0ull - 511, bytes, 512), -EIO);
	assert_int_equal(block_write(b, SIZE - 512, bytes, 1024), -EIO);
	assert_int_equal(block_zero(b, SIZE, 1, true), -EIO);
	/* The file is cut. */
	assert_int_equal(truncate(path, 1024), 0);
	assert_int_equal(block_read(b, 512, bytes, 1024), -EIO);
	block_free(b);
}

static void test_locks(void **state)
{
	struct block *b = open_as(""), *other;

	(void)state;
	assert_null(open_as(""));
	assert_non_null(strstr(e.text, "in use"));
	assert_null(open_as(",readonly"));
	block_free(b);
	b = open_as(",readonly");
	other = open_as(",overlay");
	assert_non_null(b);
	assert_non_null(other);
	assert_null(open_as(""));
	block_free(b);
	block_free(other);
}

static void test_wrong(void **state)
{
	struct block_spec s = { .path = "" };
	struct block *b = open_as(",readonly");
	u8 bytes[512] = { 0 };

	(void)state;
	assert_int_equal(block_write(b, 0, bytes, 512), -EROFS);
	assert_int_equal(block_zero(b, 0, 512, false), -EROFS);
	assert_int_equal(block_discard(b, 0, 512), -EROFS);
	assert_int_equal(block_flush(b), 0);
	block_free(b);
	snprintf(s.path, sizeof(s.path), "%s/missing", dir);
	assert_null(block_open(&s, &e));
	assert_non_null(strstr(e.text, "missing"));
	snprintf(s.path, sizeof(s.path), "%s", dir);
	assert_null(block_open(&s, &e));
	snprintf(s.path, sizeof(s.path), "/dev/null");
	assert_null(block_open(&s, &e));
	assert_int_equal(truncate(path, 511), 0);
	assert_null(open_as(""));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_null(open_as(",readonly"));
	assert_null(open_as(""));
}

/* A disk that is full: the host refuses to make the file longer. */
static void test_full(void **state)
{
	struct rlimit old, small = { 4096, 4096 };
	struct block *b = open_as("");
	u8 bytes[512] = { 1 };

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	assert_int_equal(block_write(b, 8192, bytes, 512), -EFBIG);
	assert_int_equal(block_write(b, 0, bytes, 512), 0);
	setrlimit(RLIMIT_FSIZE, &old);
	block_free(b);
}

static void test_overlay(void **state)
{
	static u8 base[SIZE], model[SIZE], bytes[SIZE];
	struct block *b;
	u64 r = 1;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	(void)state;
	for (unsigned i = 0; i < SIZE; i++)
		model[i] = base[i] = (u8)(i * 31 + i / 512);
	assert_int_equal(write(fd, base, SIZE), SIZE);
	b = open_as(",overlay");
	assert_non_null(b);
	assert_false(b->readonly);
	assert_int_equal(b->size, SIZE);
	for (unsigned i = 0; i < 3000; i++) {
		u64 off, len;

		r = r * 6364136223846793005ull + 1442695040888963407ull;
		off = (r >> 40) % (SIZE / 512) * 512;
		len = ((r >> 20) % 40 + 1) * 512;
		len = MIN(len, SIZE - off);
		switch (r >> 60 & 3) {
		case 0:
			memset(bytes, (int)i, len);
			memset(model + off, (int)i, len);
			assert_int_equal(block_write(b, off, bytes, len), 0);
			break;
		case 1:
			if (r >> 59 & 1)
				break;
			memset(model + off, 0, len);
			assert_int_equal(block_zero(b, off, len, r >> 58 & 1), 0);
			break;
		default:
			assert_int_equal(block_read(b, off, bytes, len), 0);
			assert_memory_equal(bytes, model + off, len);
		}
	}
	assert_int_equal(block_flush(b), 0);
	assert_int_equal(block_discard(b, 512, 16384), 0);
	assert_int_equal(block_read(b, 0, bytes, SIZE), 0);
	assert_memory_equal(bytes, model, 512);
	assert_memory_equal(bytes + 32768, model + 32768, SIZE - 32768);
	block_free(b);
	assert_int_equal(pread(fd, bytes, SIZE, 0), SIZE);
	assert_memory_equal(bytes, base, SIZE);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_parse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raw, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlay, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
