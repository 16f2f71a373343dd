/* SPDX-License-Identifier: Apache-2.0
 * fw_cfg by port and by DMA, friendly and hostile.
 */
#include "unit/board.h"

#include <stdio.h>

#include "dev/fwcfg.h"

static struct board b;
static struct fwcfg *fw;

static int setup(void **state)
{
	(void)state;
	board_init(&b, 1 << 20);
	fw = fwcfg_new(b.mem, 3ull << 30, 4, &b.err);
	assert_non_null(fw);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fwcfg_free(fw);
	board_free(&b);
	return 0;
}

static void read_item(u16 key, void *buf, unsigned n)
{
	u8 *p = buf;

	outw(&b, 0x510, key);
	for (unsigned i = 0; i < n; i++)
		p[i] = inb(&b, 0x511);
}

static u32 dma(u32 control, u32 len, u64 addr)
{
	struct {
		u32 control, len;
		u64 addr;
	} block = { __builtin_bswap32(control), __builtin_bswap32(len), __builtin_bswap64(addr) };
	u32 result;

	mem_write(b.mem, 0x1000, &block, sizeof(block));
	outl(&b, 0x514, 0);
	outl(&b, 0x518, __builtin_bswap32(0x1000));
	mem_read(b.mem, 0x1000, &result, 4);
	return __builtin_bswap32(result);
}

static void test_items(void **state)
{
	char sig[5] = { 0 };
	u64 ram;
	u32 id;
	u16 cpus;

	(void)state;
	read_item(0, sig, 4);
	assert_string_equal(sig, "QEMU");
	assert_int_equal(inb(&b, 0x511), 0); /* past the end */
	read_item(1, &id, 4);
	assert_int_equal(id, 3);
	read_item(3, &ram, 8);
	assert_int_equal(ram, 3ull << 30);
	read_item(5, &cpus, 2);
	assert_int_equal(cpus, 4);
	read_item(0x3fff, &cpus, 2);
	assert_int_equal(cpus, 0);
	read_item(0x8000, &cpus, 2);
	assert_int_equal(cpus, 0);
	assert_int_equal(inl(&b, 0x514), 0x554d4551); /* "QEMU CFG" */
	assert_int_equal(inl(&b, 0x518), 0x47464320);
}

static void test_files(void **state)
{
	u8 dir[4 + 2 * 64];
	char text[8] = { 0 };

	(void)state;
	assert_int_equal(fwcfg_set_file(fw, "etc/one", "first", 5, false, &b.err), 0);
	assert_int_equal(fwcfg_set_file(fw, "etc/two", "second", 6, true, &b.err), 0);
	assert_int_equal(fwcfg_set_file(fw, "etc/one", "again!!", 7, false, &b.err), 0);
	read_item(0x19, dir, sizeof(dir));
	assert_int_equal(dir[3], 2);
	assert_int_equal(dir[4 + 3], 7);
	assert_int_equal(dir[4 + 5], 0x20);
	assert_string_equal((char *)dir + 4 + 8, "etc/one");
	assert_string_equal((char *)dir + 4 + 64 + 8, "etc/two");
	read_item(0x20, text, 7);
	assert_string_equal(text, "again!!");
	assert_int_equal(
	    fwcfg_set_file(fw, "a name that is far too long for the directory of fw_cfg, really", "", 0, false, &b.err),
	    -1);
	for (unsigned i = 0; i < FWCFG_FILES - 2; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fwcfg_set_file(fw, name, "", 0, false, &b.err), 0);
	}
	assert_int_equal(fwcfg_set_file(fw, "one more", "", 0, false, &b.err), -1);
}

static void test_dma(void **state)
{
	char text[16] = { 0 };

	(void)state;
	fwcfg_set_file(fw, "rw", "0123456789", 10, true, &b.err);
	assert_int_equal(dma(0x20 << 16 | 0x0a, 4, 0x2000), 0);
	mem_read(b.mem, 0x2000, text, 4);
	assert_string_equal(text, "0123");
	assert_int_equal(dma(0x04, 2, 0), 0);	   /* skip */
	assert_int_equal(dma(0x02, 8, 0x2000), 0); /* four bytes, four zeros */
	mem_read(b.mem, 0x2000, text, 8);
	assert_memory_equal(text, "6789\0\0\0\0", 8);
	mem_write(b.mem, 0x3000, "AB", 2);
	assert_int_equal(dma(0x20 << 16 | 0x18, 2, 0x3000), 0);
	assert_int_equal(dma(0x20 << 16 | 0x0a, 4, 0x2000), 0);
	mem_read(b.mem, 0x2000, text, 4);
	assert_memory_equal(text, "AB23", 4);
}

static void test_hostile_dma(void **state)
{
	(void)state;
	fwcfg_set_file(fw, "ro", "0123", 4, false, &b.err);
	fwcfg_set_file(fw, "rw", "0123", 4, true, &b.err);
	assert_int_equal(dma(0x20 << 16 | 0x18, 4, 0x2000), 1);		 /* read-only */
	assert_int_equal(dma(0x21 << 16 | 0x18, 5, 0x2000), 1);		 /* too long */
	assert_int_equal(dma(0x21 << 16 | 0x0a, 0xffffffff, 0x2000), 1); /* unreasonable */
	assert_int_equal(dma(0x21 << 16 | 0x0a, 16, ~0ull - 3), 1);	 /* no memory, wraps */
	assert_int_equal(dma(0x21 << 16 | 0x0a, 0x100000, 0x80000), 1);	 /* runs out of memory */
	assert_int_equal(dma(0x21 << 16 | 0x0c, 0xffffffff, 0), 0);	 /* skip stops at the end */
	assert_int_equal(dma(0x02, 4, 0x2000), 0);
	assert_int_equal(dma(0x1000 << 16 | 0x0a, 4, 0x2000), 0); /* no such item: zeros */
	assert_int_equal(dma(0x21 << 16 | 0x0a, 16, 0x0ffc), 0);  /* over its own command block */
	outl(&b, 0x514, 0xffffffff);
	outl(&b, 0x518, 0xffffffff); /* a command block where no memory is */
}

static void renew(void *opaque, unsigned key)
{
	u8 *n = opaque;

	assert_true(key >= FWCFG_FIRST_FILE);
	*n += 1;
	fwcfg_set_file(fw, "fresh", n, 1, false, &b.err);
}

/* Made anew at each selection, by port and by DMA; what else the item is stays. */
static void test_fresh(void **state)
{
	u8 n = 0, got;

	(void)state;
	assert_int_equal(fwcfg_set_file(fw, "plain", "x", 1, false, &b.err), 0);
	assert_int_equal(fwcfg_set_file(fw, "fresh", &n, 1, false, &b.err), 0);
	fwcfg_mark_fresh(fw, "fresh");
	fwcfg_mark_fresh(fw, "absent");
	fw->refresh = (struct call){ renew, &n };
	read_item(FWCFG_FIRST_FILE, &got, 1);
	assert_int_equal(got, 'x');
	read_item(FWCFG_FIRST_FILE + 1, &got, 1);
	assert_int_equal(got, 1);
	assert_int_equal(dma((FWCFG_FIRST_FILE + 1) << 16 | 0x0a, 1, 0x2000), 0);
	mem_read(b.mem, 0x2000, &got, 1);
	assert_int_equal(got, 2);
	assert_int_equal(n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_items, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dma, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_dma, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fresh, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
