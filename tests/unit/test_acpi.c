/* SPDX-License-Identifier: Apache-2.0
 * The tables made for loaders without firmware: signatures, sums, links between them; iasl's opinion where it is
 * installed.
 */
#include "unit/board.h"

#include <stdio.h>
#include <unistd.h>

#include "dev/hpet.h"
#include "machine/acpi.h"
#include "machine/acpi_aml.h"

static struct board b;
static u8 area[0x20000]; /* 0xe0000 to 0xfffff */

static int setup(void **state)
{
	(void)state;
	board_init(&b, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	board_free(&b);
	return 0;
}

static struct acpi_config config(unsigned cpus)
{
	return (struct acpi_config){
		.cpus = cpus,
		.pci = true,
		.hpet = true,
		.i8042 = true,
		.serial = { true, true, true, true },
		.pm_base = 0x600,
		.pm_wide = true,
		.pci_mem = 0xc0000000,
		.pci_mem_end = 0xfec00000,
		.pci_mem64 = 0x800000000,
		.pci_mem64_end = 0x1000000000,
		.ram_size = 5ull << 30,
	};
}

static u64 le(u64 gpa, unsigned n)
{
	u64 v = 0;

	memcpy(&v, area + (gpa - ACPI_TABLES_GPA), n);
	return v;
}

static u8 sum(u64 gpa, u64 n)
{
	u8 s = 0;

	for (u64 i = 0; i < n; i++)
		s += (u8)le(gpa + i, 1);
	return s;
}

static bool is(u64 gpa, const char *text)
{
	return !memcmp(area + (gpa - ACPI_TABLES_GPA), text, strlen(text));
}

static u64 build(const struct acpi_config *cfg)
{
	u64 rsdp;

	assert_int_equal(acpi_build(b.mem, cfg, &rsdp, &b.err), 0);
	mem_read(b.mem, ACPI_TABLES_GPA, area, sizeof(area));
	assert_true(is(rsdp, "RSD PTR "));
	assert_int_equal(rsdp & 15, 0);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	return rsdp;
}

static u64 find(u64 rsdp, const char *signature)
{
	u64 xsdt = le(rsdp + 24, 8), rsdt = le(rsdp + 16, 4), n = (le(xsdt + 4, 4) - 36) / 8;

	assert_true(is(xsdt, "XSDT"));
	assert_true(is(rsdt, "RSDT"));
	assert_int_equal(sum(xsdt, le(xsdt + 4, 4)), 0);
	assert_int_equal(sum(rsdt, le(rsdt + 4, 4)), 0);
	assert_int_equal((le(rsdt + 4, 4) - 36) / 4, n);
	for (u64 i = 0; i < n; i++) {
		u64 at = le(xsdt + 36 + i * 8, 8);

		assert_int_equal(at, le(rsdt + 36 + i * 4, 4));
		if (!is(at, signature))
			continue;
		assert_int_equal(sum(at, le(at + 4, 4)), 0);
		return at;
	}
	return 0;
}

static void test_fadt(void **state)
{
	struct acpi_config cfg = config(1);
	u64 rsdp = build(&cfg), fadt = find(rsdp, "FACP"), facs, dsdt;

	(void)state;
	assert_int_not_equal(fadt, 0);
	assert_int_equal(le(fadt + 4, 4), 268);
	facs = le(fadt + 36, 4);
	dsdt = le(fadt + 40, 4);
	assert_true(is(facs, "FACS"));
	assert_int_equal(facs & 63, 0);
	assert_true(is(dsdt, "DSDT"));
	assert_int_equal(sum(dsdt, le(dsdt + 4, 4)), 0);
	assert_int_equal(le(fadt + 140, 8), dsdt);
	assert_int_equal(le(fadt + 46, 2), 9);
	assert_int_equal(le(fadt + 56, 4), 0x600);
	assert_int_equal(le(fadt + 64, 4), 0x604);
	assert_int_equal(le(fadt + 76, 4), 0x608);
	assert_int_equal(le(fadt + 80, 4), 0x60c);
	assert_int_equal(le(fadt + 88, 4), 0x04000204);
	assert_int_equal(le(fadt + 108, 1), 0x32);
	assert_int_equal(le(fadt + 109, 2), 7);
	assert_int_equal(le(fadt + 116, 1), 1); /* RESET_REG: I/O space */
	assert_int_equal(le(fadt + 120, 8), 0xcf9);
	assert_int_equal(le(fadt + 128, 1), 6);
	assert_int_equal(le(fadt + 148, 1), 1); /* X_PM1a_EVT_BLK */
	assert_int_equal(le(fadt + 152, 8), 0x600);
	assert_int_equal(le(fadt + 212, 8), 0x608);
	assert_int_equal(le(fadt + 224, 8), 0x60c);
}

static unsigned count_entries(u64 madt, u8 type)
{
	unsigned n = 0;
	u64 end = madt + le(madt + 4, 4);

	for (u64 at = madt + 44; at < end; at += le(at + 1, 1)) {
		assert_int_not_equal(le(at + 1, 1), 0);
		n += le(at, 1) == type;
	}
	return n;
}

static void test_madt(void **state)
{
	struct acpi_config cfg = config(300);
	u64 madt = find(build(&cfg), "APIC");

	(void)state;
	assert_int_equal(count_entries(madt, 0), 255);
	assert_int_equal(count_entries(madt, 9), 45);
	assert_int_equal(count_entries(madt, 1), 1);
	assert_int_equal(count_entries(madt, 2), 5);
	assert_int_equal(count_entries(madt, 4), 1);
	assert_int_equal(count_entries(madt, 10), 1);
	cfg = config(4);
	madt = find(build(&cfg), "APIC");
	assert_int_equal(count_entries(madt, 0), 4);
	assert_int_equal(count_entries(madt, 10), 0);
}

static void test_options(void **state)
{
	struct acpi_config cfg = config(1);
	u64 rsdp = build(&cfg), hpet = find(rsdp, "HPET"), fadt;

	(void)state;
	assert_int_equal(le(hpet + 36, 4), HPET_ID);
	assert_int_equal(le(hpet + 44, 8), HPET_BASE);
	cfg = (struct acpi_config){ .cpus = 1 };
	rsdp = build(&cfg);
	assert_int_equal(find(rsdp, "HPET"), 0);
	fadt = find(rsdp, "FACP");
	assert_int_equal(le(fadt + 109, 2), 5); /* no 8042 */
	cfg.cpus = 4000;
	assert_int_equal(acpi_build(b.mem, &cfg, &rsdp, &b.err), -1);
}

static void dump(const char *path, u64 gpa)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(area + (gpa - ACPI_TABLES_GPA), 1, le(gpa + 4, 4), f), le(gpa + 4, 4));
	assert_int_equal(fclose(f), 0);
}

/* Disassembled without a complaint, and the DSDT assembled again without an error. */
static void test_iasl(void **state)
{
	static const char *const tables[] = { "FACP", "APIC", "HPET", "DSDT", "XSDT", "RSDT" };
	struct acpi_config cfg = config(4);
	u64 rsdp = build(&cfg), at;
	char dir[] = "/tmp/doppel-acpi.XXXXXX", path[64], command[400];

	(void)state;
	if (system("command -v iasl >/dev/null 2>&1")) {
		printf("iasl is not installed: the tables were not disassembled\n");
		return;
	}
	assert_non_null(mkdtemp(dir));
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
		at = find(rsdp, tables[i]);
		if (!strcmp(tables[i], "DSDT"))
			at = le(find(rsdp, "FACP") + 40, 4);
		else if (tables[i][1] == 'S' && tables[i][2] == 'D')
			at = le(rsdp + (tables[i][0] == 'X' ? 24 : 16), tables[i][0] == 'X' ? 8 : 4);
		snprintf(path, sizeof(path), "%s/%s.aml", dir, tables[i]);
		dump(path, at);
		snprintf(command, sizeof(command),
			 "cd %s && iasl -d %s.aml >log 2>&1 && ! grep -iE 'error|warning|invalid' log", dir, tables[i]);
		assert_int_equal(system(command), 0);
	}
	snprintf(command, sizeof(command), "cd %s && iasl -p again DSDT.dsl >log 2>&1 && grep -q ' 0 Errors' log", dir);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert_int_equal(system(command), 0);
}

static void test_mptable(void **state)
{
	struct acpi_config cfg = config(4);
	u64 table, at;
	unsigned n = 0, sizes[5] = { 20, 8, 8, 8, 8 }, count[5] = { 0 };

	(void)state;
	assert_int_equal(mptable_build(b.mem, &cfg, &b.err), 0);
	mem_read(b.mem, ACPI_TABLES_GPA, area, sizeof(area));
	assert_true(is(MPTABLE_GPA, "_MP_"));
	assert_int_equal(sum(MPTABLE_GPA, 16), 0);
	table = le(MPTABLE_GPA + 4, 4);
	assert_true(is(table, "PCMP"));
	assert_int_equal(sum(table, le(table + 4, 2)), 0);
	for (at = table + 44; at < table + le(table + 4, 2); at += sizes[le(at, 1)]) {
		assert_in_range(le(at, 1), 0, 4);
		count[le(at, 1)]++;
		n++;
	}
	assert_int_equal(at, table + le(table + 4, 2));
	assert_int_equal(n, le(table + 34, 2));
	assert_int_equal(count[0], 4);
	assert_int_equal(count[1], 2);
	assert_int_equal(count[2], 1);
	assert_int_equal(count[3], 15 + 31 * 4);
	assert_int_equal(count[4], 2);
}

static void test_smbios(void **state)
{
	struct acpi_config cfg = config(2);
	u64 at, end;
	unsigned n = 0;

	(void)state;
	assert_int_equal(smbios_build(b.mem, &cfg, &b.err), 0);
	mem_read(b.mem, ACPI_TABLES_GPA, area, sizeof(area));
	assert_true(is(SMBIOS_GPA, "_SM_"));
	assert_true(is(SMBIOS_GPA + 16, "_DMI_"));
	assert_int_equal(sum(SMBIOS_GPA, 31), 0);
	assert_int_equal(sum(SMBIOS_GPA + 16, 15), 0);
	at = le(SMBIOS_GPA + 24, 4);
	end = at + le(SMBIOS_GPA + 22, 2);
	while (at < end) {
		u8 type = (u8)le(at, 1);

		n++;
		at += le(at + 1, 1);
		while (le(at, 2))
			at++;
		at += 2;
		if (type == 127)
			break;
	}
	assert_int_equal(at, end);
	assert_int_equal(n, le(SMBIOS_GPA + 28, 2));
	assert_int_equal(n, 10);
}

static void test_aml_encoding(void **state)
{
	u8 buf[32];
	struct aml a;

	(void)state;
	aml_init(&a, buf, sizeof(buf));
	aml_path(&a, "\\_SB.AB");
	assert_memory_equal(buf, "\\\x2e_SB_AB__", 10);
	a.len = 0;
	aml_eisaid(&a, "PNP0A03");
	assert_memory_equal(buf, "\x0c\x41\xd0\x0a\x03", 5);
	a.len = 0;
	aml_int(&a, 0);
	aml_int(&a, 1);
	aml_int(&a, 0x12);
	aml_int(&a, 0x1234);
	aml_int(&a, 0x12345678);
	assert_memory_equal(buf, "\x00\x01\x0a\x12\x0b\x34\x12\x0c\x78\x56\x34\x12", 12);
	assert_true(aml_ok(&a));
	aml_begin_package(&a, 1);
	assert_false(aml_ok(&a)); /* still open */
	for (unsigned i = 0; i < 40; i++)
		aml_byte(&a, 0);
	aml_end(&a);
	assert_false(aml_ok(&a)); /* did not fit */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fadt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_madt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_iasl, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mptable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_smbios, setup, teardown),
		cmocka_unit_test_setup_teardown(test_aml_encoding, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
