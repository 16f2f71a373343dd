/* SPDX-License-Identifier: Apache-2.0
 * Shadow RAM behind PAM registers, ranges that are switched under code holds, and the ACPI tables as firmware makes
 * them: the loader's program is carried out here as its format says.
 */
#include "unit/board.h"

#include "dev/fwcfg.h"
#include "machine/acpi.h"
#include "machine/shadow.h"
#include "mem/frame.h"

static struct board b;
static struct shadow s;
static u8 rom[0x40000];

static int setup(void **state)
{
	(void)state;
	board_init(&b, 0xa0000);
	for (unsigned i = 0; i < sizeof(rom); i++)
		rom[i] = (u8)(i >> 8);
	assert_int_equal(shadow_init(&s, b.mem, rom, sizeof(rom), &b.err), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	board_free(&b);
	return 0;
}

/* As a CPU reads: memory, or a device. */
static u8 get(u64 gpa)
{
	return (u8)mem_mmio_read(b.mem, gpa, 1, NULL);
}

static void put(u64 gpa, u8 v)
{
	mem_mmio_write(b.mem, gpa, v, 1, NULL);
}

static void pam(unsigned reg, u8 v)
{
	static u8 regs[7];

	regs[reg] = v;
	shadow_set_pam(&s, regs);
}

static void test_rom(void **state)
{
	(void)state;
	assert_int_equal(get(0xffffffff), 0xff);
	assert_int_equal(get(0xfffc0000 + 0x1234), 0x12);
	assert_int_equal(get(0xf1200), get(0xffff1200));
	assert_int_equal(get(0xe0000), rom[0x20000]);
	assert_int_equal(get(0xdffff), 0xff); /* nothing */
	put(0xf1200, 0x55);
	assert_int_equal(get(0xf1200), get(0xffff1200));
}

static void test_pam(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SHADOW_SEGMENTS; i++) {
		u64 gpa = i < 12 ? 0xc0000 + i * 0x4000 : 0xf0000, last = gpa + (i < 12 ? 0x3fff : 0xffff);
		unsigned reg = i < 12 ? 1 + i / 2 : 0, shift = i < 12 && !(i & 1) ? 0 : 4;
		u8 first = get(gpa), other = get(last);

		pam(reg, (u8)(2 << shift)); /* write only */
		put(gpa, 0xa5);
		put(last, 0x5a);
		assert_int_equal(get(gpa), first);
		assert_int_equal(get(last), other);
		pam(reg, (u8)(1 << shift)); /* read only */
		assert_int_equal(get(gpa), 0xa5);
		put(gpa, 0x11);
		assert_int_equal(get(gpa), 0xa5);
		assert_int_equal(get(last), 0x5a);
		pam(reg, (u8)(3 << shift));
		put(gpa, 0x22);
		assert_int_equal(get(gpa), 0x22);
		assert_int_equal(mem_is_ram(b.mem, gpa, last - gpa + 1), 1);
		pam(reg, 0);
		assert_int_equal(get(gpa), first);
	}
	assert_int_equal(mem_ram_size(b.mem), 0xa0000);
}

/* Holds on code belong to the address, whatever is shown there, and end when their holders give them back. */
static void test_holds(void **state)
{
	(void)state;
	pam(0, 0x30);
	assert_int_equal(mem_code_enter(b.mem, 0xf0000), 0);
	pam(0, 0x00);
	assert_int_equal(mem_frame_state(b.mem, 0xf0000), FRAME_CODE);
	pam(0, 0x20); /* a device */
	assert_null(mem_page(b.mem, 0xf0000, false));
	assert_int_equal(mem_code_enter(b.mem, 0xf0000), -1);
	mem_note_writer(b.mem, 0xf1000); /* by a vCPU that has not noticed yet */
	assert_null(mem_page(b.mem, 0xf1000, false));
	pam(0, 0x30);
	assert_int_equal(mem_frame_state(b.mem, 0xf0000), FRAME_CODE);
	mem_code_leave(b.mem, 0xf0000);
	assert_int_equal(mem_frame_state(b.mem, 0xf0000), FRAME_DATA);
	assert_non_null(mem_page(b.mem, 0xf1000, true));
	pam(0, 0);
}

/* ---- the tables' program ---------------------------------------------------------------------------------------- */

static const struct fwcfg_item *file(struct fwcfg *f, const char *name)
{
	const u8 *dir = f->item[FWCFG_FILE_DIR].data;

	for (unsigned i = 0; i < f->files; i++)
		if (!strcmp((const char *)dir + 4 + i * 64 + 8, name))
			return &f->item[FWCFG_FIRST_FILE + i];
	fail_msg("no file %s", name);
	return NULL;
}

#define TABLES_AT 0x1fff0000u
#define RSDP_AT 0xf5000u
static u8 tables[0x10000], rsdp[64];

static u8 *memory_of(const char *name)
{
	return strcmp(name, "etc/acpi/tables") ? rsdp : tables;
}

static u32 le32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, 4);
	return v;
}

static u8 sum_of(const u8 *p, u32 n)
{
	u8 v = 0;

	while (n--)
		v += *p++;
	return v;
}

static void carry_out(const u8 *entry)
{
	const char *name = (const char *)entry + 4;
	u8 *to = memory_of(name);
	u64 v = 0;

	if (le32(entry) == 2) {
		to += le32(entry + 116);
		memcpy(&v, to, entry[120]);
		assert_string_equal((const char *)entry + 60, "etc/acpi/tables");
		v += TABLES_AT;
		memcpy(to, &v, entry[120]);
	} else if (le32(entry) == 3) {
		to[le32(entry + 60)] -= sum_of(to + le32(entry + 64), le32(entry + 68));
	} else {
		assert_int_equal(le32(entry), 1);
	}
}

static const u8 *table_at(u64 gpa, const char *signature)
{
	const u8 *p = tables + (gpa - TABLES_AT);

	assert_true(gpa >= TABLES_AT && gpa < TABLES_AT + sizeof(tables));
	assert_memory_equal(p, signature, 4);
	if (strcmp(signature, "FACS"))
		assert_int_equal(sum_of(p, le32(p + 4)), 0);
	return p;
}

static void test_tables(void **state)
{
	struct acpi_config cfg = { .cpus = 64,
				   .pci = true,
				   .hpet = true,
				   .pm_base = 0x600,
				   .pci_mem = 0xc0000000,
				   .pci_mem_end = 0xfec00000 };
	struct fwcfg *f = fwcfg_new(b.mem, 1 << 20, 64, &b.err);
	const struct fwcfg_item *program, *t;
	const u8 *xsdt, *fadt;
	u64 gpa;
	u32 len;

	(void)state;
	assert_int_equal(acpi_give(f, &cfg, &b.err), 0);
	len = file(f, "etc/acpi/tables")->len;
	cfg.pm_base = 0xb000;
	assert_int_equal(acpi_give(f, &cfg, &b.err), 0);
	program = file(f, "etc/table-loader");
	t = file(f, "etc/acpi/tables");
	assert_int_equal(t->len, len);
	memcpy(tables, t->data, t->len);
	memcpy(rsdp, file(f, "etc/acpi/rsdp")->data, 36);
	assert_int_equal(program->len % 128, 0);
	for (u32 at = 0; at < program->len; at += 128)
		carry_out(program->data + at);
	assert_int_equal(sum_of(rsdp, 20), 0);
	assert_int_equal(sum_of(rsdp, 36), 0);
	table_at(le32(rsdp + 16), "RSDT");
	memcpy(&gpa, rsdp + 24, 8);
	xsdt = table_at(gpa, "XSDT");
	memcpy(&gpa, xsdt + 36, 8);
	fadt = table_at(gpa, "FACP");
	table_at(le32(fadt + 36), "FACS");
	assert_int_equal(le32(fadt + 36) % 64, 0);
	memcpy(&gpa, fadt + 140, 8);
	table_at(gpa, "DSDT");
	assert_int_equal(le32(fadt + 40), gpa);
	assert_int_equal(le32(fadt + 56), 0xb000);
	memcpy(&gpa, xsdt + 44, 8);
	table_at(gpa, "APIC");
	assert_int_equal(smbios_give(f, &cfg, &b.err), 0);
	assert_int_equal(sum_of(file(f, "etc/smbios/smbios-anchor")->data, 31), 0);
	assert_int_equal(file(f, "etc/smbios/smbios-tables")->data[0], 1); /* the BIOS's own is not there */
	fwcfg_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pam, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tables, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
