/* SPDX-License-Identifier: Apache-2.0
 * The option parser, its values, and the options of `doppel boot`: each wrong word ends in a sentence that names it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/option.h"
#include "cli/boot.h"
#include "engine/translate/opts.h"

enum { A, B, C };
static const struct option_row rows[] = {
	{ "alpha", "X", ARG_REQUIRED, A, "" },
	{ "beta", "Y", ARG_OPTIONAL, B, "" },
	{ "c", NULL, ARG_NONE, C, "" },
};

static char got[200];

static int note(void *opaque, int id, const char *name, const char *val, struct err *e)
{
	size_t n = strlen(got);

	(void)opaque;
	(void)name;
	(void)e;
	snprintf(got + n, sizeof(got) - n, "%d=%s;", id, val ? val : "");
	return 0;
}

/* Words up to NULL. */
static int parse(struct err *e, ...)
{
	char *argv[20];
	int argc = 0;
	va_list ap;

	va_start(ap, e);
	while ((argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	got[0] = 0;
	return option_parse(rows, ARRAY_SIZE(rows), "test", argc, argv, note, NULL, e);
}

static void test_forms(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(parse(&e, "--alpha", "1", "--alpha=2", "--beta", "--beta=3", "-c", "-", "w", NULL), 0);
	assert_string_equal(got, "0=1;0=2;1=;1=3;2=;-1=-;-1=w;");
	assert_int_equal(parse(&e, "--alpha=", "--", "--beta", NULL), 0);
	assert_string_equal(got, "0=;-1=--beta;");
	assert_int_equal(parse(&e, "--alpha", NULL), -1);
	assert_non_null(strstr(e.text, "--alpha"));
	assert_int_equal(parse(&e, "--alphabet", "1", NULL), -1);
	assert_non_null(strstr(e.text, "--alphabet"));
	assert_int_equal(parse(&e, "--c", NULL), -1);
	assert_int_equal(parse(&e, "-x", NULL), -1);
	assert_int_equal(parse(&e, "-cx", NULL), -1);
}

static void test_numbers(void **state)
{
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "1x", "0x", "99999999999999999999", "101", "9" };
	struct err e;
	u64 v;

	(void)state;
	assert_int_equal(option_u64("n", "0x40", 10, 100, &v, &e), 0);
	assert_int_equal(v, 64);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(option_u64("n", bad[i], 10, 100, &v, &e), -1);
}

static void test_sizes(void **state)
{
	static const char *const bad[] = {
		"", "M", "1.5G", "512MB", "-512M", "18446744073709551615", "17179869184G", "1k", "9G", "16777216T"
	};
	struct err e;
	u64 v;

	(void)state;
	assert_int_equal(option_size("memory", "512M", 1 << 20, 8ull << 30, &v, &e), 0);
	assert_true(v == 512ull << 20);
	assert_int_equal(option_size("memory", "8g", 1 << 20, 8ull << 30, &v, &e), 0);
	assert_int_equal(option_size("memory", "1048576", 1 << 20, 8ull << 30, &v, &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(option_size("memory", bad[i], 1 << 20, 8ull << 30, &v, &e), -1);
		assert_non_null(strstr(e.text, "--memory"));
	}
}

static int boot(struct boot_options *o, struct err *e, ...)
{
	char *argv[20];
	int argc = 0;
	va_list ap;

	va_start(ap, e);
	while ((argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	return boot_options_parse(o, argc, argv, e);
}

static void test_boot_defaults(void **state)
{
	struct boot_options o;
	struct err e;

	(void)state;
	assert_int_equal(boot(&o, &e, "--kernel", "k", NULL), 0);
	assert_true(o.vm.memory == 512u << 20);
	assert_int_equal(o.vm.cpus, 1);
	assert_int_equal(o.vm.debug_exit, -1);
	assert_string_equal(o.vm.serial[0], "stdio");
	assert_null(o.vm.serial[1]);
	assert_int_equal(boot(&o, &e, "--kernel=k", "--debug-exit", "--serial", "none", "--serial=file:x", NULL), 0);
	assert_int_equal(o.vm.debug_exit, 0xf4);
	assert_string_equal(o.vm.serial[1], "file:x");
	assert_int_equal(boot(&o, &e, "--kernel=k", "--debug-exit=0x501", "--stats=json", NULL), 0);
	assert_int_equal(o.vm.debug_exit, 0x501);
	assert_int_equal(o.stats, STATS_JSON);
	assert_true(o.vm.rng && o.vm.balloon && !o.vm.nr_disks && !o.vm.nr_ports);
	assert_int_equal(boot(&o, &e, "--kernel=k", "--disk=a,serial=1", "--disk=b,,c,overlay", "--rng=off",
			      "--balloon=8M", "--virtio-console=none,name=org.x", NULL),
			 0);
	assert_int_equal(o.vm.nr_disks, 2);
	assert_string_equal(o.vm.disk[1].path, "b,c");
	assert_false(o.vm.rng);
	assert_int_equal(o.vm.balloon_target, 8 << 20);
	assert_string_equal(o.vm.port[0].where, "none");
	assert_string_equal(o.vm.port[0].name, "org.x");
}

static void test_optimisations(void **state)
{
	u64 all = BIT(NR_OPTS) - 1, o;
	struct err e;

	(void)state;
	assert_int_equal(opts_parse("none", &o, &e), 0);
	assert_int_equal(o, 0);
	assert_int_equal(opts_parse("all,-tlb,-links", &o, &e), 0);
	assert_int_equal(o, all & ~BIT(OPT_TLB) & ~BIT(OPT_LINKS));
	assert_int_equal(opts_parse("none,tlb", &o, &e), 0);
	assert_int_equal(o, BIT(OPT_TLB));
	assert_int_equal(opts_parse("-flags", &o, &e), 0);
	assert_int_equal(o, opts_default() & ~BIT(OPT_FLAGS));
}

static void test_boot_refusals(void **state)
{
	static const char *const bad[][2] = {
		{ "--memory", "0" },
		{ "--memory", "1023k" },
		{ "--memory", "1000000T" },
		{ "--cpus", "0" },
		{ "--cpus", "65" },
		{ "--cpus", "two" },
		{ "--serial", "com1" },
		{ "--serial", "file:" },
		{ "--serial", "unix:" },
		{ "--timeout", "0" },
		{ "--debugcon", "x" },
		{ "--debug-exit=70000", NULL },
		{ "--stats=xml", NULL },
		{ "-O", "warp" },
		{ "-O", "all,-" },
		{ "--verify", "7" },
		{ "--verify", "1/0" },
		{ "--dump", "code" },
		{ "-O", "" },
		{ "--audit", "tlb,fish" },
		{ "--gdb=0", NULL },
		{ "--wait", NULL },
		{ "--disk", "x,y" },
		{ "--rng", "1" },
		{ "--balloon", "1" },
		{ "--disk", "" },
		{ "--virtio-console", "x" },
		{ "--virtio-console", "none,name=" },
		{ "--virtio-console", "stdio" },
		{ "-z", NULL },
		{ "--testdev=1", NULL },
		{ "--debugcon", "stdio" },
		{ "--audit", "" },
	};
	struct boot_options o;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		e.text[0] = 0;
		assert_int_equal(boot(&o, &e, "--kernel", "k", bad[i][0], bad[i][1], NULL), -1);
		assert_true(strlen(e.text) > 10);
		assert_null(strchr(e.text, '\n'));
	}
	assert_int_equal(boot(&o, &e, "--kernel", "k", "--engine", "interp", "--perf-map", NULL), -1);
	assert_int_equal(boot(&o, &e, "--kernel", "k", "--engine", "interp", "--jit-symbols", NULL), -1);
	assert_int_equal(boot(&o, &e, "--kernel", "k", "--verify", "1/8", "--cpus", "2", NULL), -1);
	assert_int_equal(boot(&o, &e, NULL), -1);
	assert_int_equal(boot(&o, &e, "--kernel", NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),	      cmocka_unit_test(test_optimisations),
		cmocka_unit_test(test_numbers),	      cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_boot_defaults), cmocka_unit_test(test_boot_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
