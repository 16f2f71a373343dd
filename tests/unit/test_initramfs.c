/* SPDX-License-Identifier: Apache-2.0
 * The initramfs of `doppel run`: the archive's format, and which modules go in, in which order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot/modules.h"
#include "boot/newc.h"

static unsigned field(const u8 *head, unsigned n)
{
	char text[9] = "";

	memcpy(text, head + 6 + 8 * n, 8);
	return (unsigned)strtoul(text, NULL, 16);
}

/* Every entry begins at a multiple of 4, as do its contents; sizes are right. */
static void test_newc(void **state)
{
	struct newc n = { 0 };
	const struct newc_file f = { .path = "etc/name", .mode = S_IFREG | 0640, .data = "hello", .len = 5 };
	struct err e = { "" };
	u8 all[2048];
	unsigned at = 0;
	ssize_t len;
	int fd;

	(void)state;
	newc_add_dir(&n, "etc");
	newc_add(&n, &f);
	fd = newc_finish(&n, &e);
	assert_true(fd >= 0);
	len = pread(fd, all, sizeof(all), 0);
	close(fd);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const names[] = { "etc", "etc/name", "TRAILER!!!" };
		unsigned name = field(all + at, 11), size = field(all + at, 6);

		assert_true(at + 110 < (unsigned)len);
		assert_memory_equal(all + at, "070701", 6);
		assert_string_equal((char *)all + at + 110, names[i]);
		assert_int_equal(name, strlen(names[i]) + 1);
		at = ALIGN_UP(at + 110 + name, 4);
		if (i == 1) {
			assert_int_equal(size, 5);
			assert_memory_equal(all + at, "hello", 5);
		}
		at = ALIGN_UP(at + size, 4);
	}
	assert_int_equal(at, len);
}

/* ---- modules ------------------------------------------------------------------------------------------------------
 */

/* An ELF file with nothing but a section that says what it depends on. */
static void make_module(const char *dir, const char *file, const char *depends)
{
	u8 image[512] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };
	char path[256];
	u64 v;
	FILE *f;

	v = 64, memcpy(image + 40, &v, 8); /* e_shoff */
	image[58] = 64;			   /* e_shentsize */
	image[60] = 1;			   /* e_shnum */
	image[64 + 4] = 1;		   /* SHT_PROGBITS */
	v = 128, memcpy(image + 64 + 24, &v, 8);
	v = 200, memcpy(image + 64 + 32, &v, 8);
	memcpy(image + 128, "license=x", 10);
	snprintf((char *)image + 138, 100, "depends=%s", depends);
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "w");
	assert_non_null(f);
	fwrite(image, 1, sizeof(image), f);
	fclose(f);
}

static int note(void *opaque, const struct module_file *m)
{
	strcat(opaque, m->name);
	strcat(opaque, " ");
	return 0;
}

static void test_modules(void **state)
{
	char dir[] = "/tmp/doppel-modules-XXXXXX", order[256] = "", sub[64], command[96];
	struct err e = { "" };
	struct modules *m;
	bool missing;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/kernel", dir);
	mkdir(sub, 0755);
	make_module(sub, "virtio-top.ko", "middle,builtin,base");
	make_module(dir, "middle.ko", "base");
	make_module(sub, "base.ko", "");
	make_module(dir, "loop_a.ko", "loop_b");
	make_module(dir, "loop_b.ko", "loop_a");
	make_module(dir, "broken.ko.xz", "");
	m = modules_open(dir, &e);
	assert_non_null(m);
	assert_int_equal(modules_need(m, "virtio_top", note, order, &missing, &e), 0);
	assert_false(missing);
	assert_string_equal(order, "base middle virtio_top ");
	assert_int_equal(modules_need(m, "middle", note, order, &missing, &e), 0);
	assert_string_equal(order, "base middle virtio_top ");
	assert_int_equal(modules_need(m, "builtin", note, order, &missing, &e), 0);
	assert_true(missing);
	assert_int_equal(modules_need(m, "loop_a", note, order, &missing, &e), 0);
	modules_free(m);
	assert_null(modules_open("/nonexistent/modules", &e));
	assert_non_null(strstr(e.text, "/nonexistent/modules"));
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_newc), cmocka_unit_test(test_modules) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
