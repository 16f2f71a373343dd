/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: field tables, the file's form, a machine into a file and back, and files that lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/fields.h"
#include "cpu/lapic.h"
#include "machine/pc.h"
#include "snap/format.h"
#include "snap/machine.h"
#include "snap/parts.h"
#include "snap/snap.h"

#define RAM (2u << 20)

struct file {
	char *bytes;
	size_t n;
};

/* ---- tables ---------------------------------------------------------------------------------------------------------
 */

struct thing {
	u8 small;
	u16 word[3];
	bool flag;
	struct {
		u32 a;
		u64 b;
	} row[2];
	u8 raw[5];
	struct timer timer;
};

#define S struct thing
static const struct state_field rows[] = {
	STATE_RANGE(S, small, 3, 9),
	STATE_ARRAY(S, word),
	STATE_BOOL(S, flag),
	STATE_EACH(S, row, a),
	STATE_EACH_RANGE(S, row, b, 0, 1ull << 40),
	STATE_BYTES(S, raw),
	STATE_TIMER(S, timer),
};
#undef S
static const struct state table = { .field = rows, .n = ARRAY_SIZE(rows) };

static void no_fire(void *opaque, u64 now)
{
	(void)opaque;
	(void)now;
}

static void test_ranges(void **state)
{
	struct timerq q = { 0 };
	struct thing t = { .small = 5, .word = { 1, 2, 3 }, .row = { { 1, 2 }, { 3, 4 } } };
	u64 val = 10;
	u8 out[8] = { 0 };

	(void)state;
	timer_init(&t.timer, &q, no_fire, NULL);
	assert_int_equal(-1, state_set(&rows[0], &t, 0, (u8 *)&val));
	assert_int_equal(5, t.small);
	val = 9;
	assert_int_equal(0, state_set(&rows[0], &t, 0, (u8 *)&val));
	assert_int_equal(9, t.small);
	state_get(&rows[1], &t, 2, out);
	assert_int_equal(3, out[0]);
	val = 2;
	assert_int_equal(-1, state_set(&rows[2], &t, 0, (u8 *)&val));
	val = 77;
	assert_int_equal(0, state_set(&rows[3], &t, 1, (u8 *)&val));
	assert_int_equal(77, t.row[1].a);
	assert_int_equal(4, t.row[1].b);
	val = (1ull << 40) + 1;
	assert_int_equal(-1, state_set(&rows[4], &t, 0, (u8 *)&val));
	val = 12345;
	assert_int_equal(0, state_set(&rows[6], &t, 0, (u8 *)&val));
	assert_int_equal(12345, timerq_next(&q));
	assert_ptr_equal(&rows[4], state_find(&table, "row.b", 5));
	assert_null(state_find(&table, "row", 3));
}

/* ---- a machine ------------------------------------------------------------------------------------------------------
 */

static struct vm *new_vm(unsigned cpus)
{
	struct vm_config cfg = { .memory = RAM,
				 .cpus = cpus,
				 .cpu_model = "x86-64-v2",
				 .engine = &engine_interp,
				 .serial = { "none" },
				 .debug_exit = 0xf4,
				 .testdev = true,
				 .rng = true,
				 .balloon = true,
				 .port = { { "none", "" }, { "none", "org.example" } },
				 .nr_ports = 2,
				 .loaded = true };
	struct err e = { "" };
	struct vm *vm = vm_new(&cfg, &e);

	if (!vm)
		fail_msg("%s", e.text);
	return vm;
}

static struct file save(struct vm *vm)
{
	struct file f = { 0 };
	FILE *to = open_memstream(&f.bytes, &f.n);
	struct err e = { "" };

	if (snap_write(vm, to, &e))
		fail_msg("%s", e.text);
	fclose(to);
	return f;
}

static int load(struct vm *vm, const struct file *f, struct err *e)
{
	struct snap *s = snap_open_file(fmemopen(f->bytes, f->n, "rb"), e);
	int ret = s ? snap_load(s, vm, e) : -1;

	snap_close(s);
	return ret;
}

/* Something everywhere. */
static void scribble(struct vm *vm)
{
	struct cpu *c = vm->vcpu[0]->cpu;

	for (u64 gpa = 0x1000; gpa < RAM; gpa += 0x5000)
		if (mem_is_ram(vm->mem, gpa, 8))
			mem_write(vm->mem, gpa, &gpa, 8);
	mem_port_write(vm->mem, 0x43, 0xb6, 1);
	mem_port_write(vm->mem, 0x42, 0x55, 1);
	mem_port_write(vm->mem, 0x42, 0x12, 1);
	mem_port_write(vm->mem, 0x61, 3, 1);
	mem_port_write(vm->mem, 0x70, 0x40, 1);
	mem_port_write(vm->mem, 0x71, 0xa5, 1);
	mem_port_write(vm->mem, 0x92, 2, 1);
	mem_port_write(vm->mem, 0x3fb, 0x1b, 1);
	mem_port_write(vm->mem, 0xe0, 0xfeedface, 4);
	mem_port_write(vm->mem, 0xcf8, 0x80001010, 4);
	mem_port_write(vm->mem, 0xcfc, 0xe0000000, 4);
	c->r[RAX] = 0x1122334455667788;
	c->zmm[31].q[7] = 42;
	c->lapic.lvt[LVT_TIMER] = 0x20055;
	c->lapic.timer_deadline_ns = 1ull << 50;
	c->tsc_offset = 12345;
	vm->vcpu[1]->cpu->activity = ACT_HALTED;
}

static void compare_parts(struct vm *a, struct vm *b)
{
	struct snap_parts p, q;
	u8 x[4096 * 64], y[4096 * 64];
	struct err e;

	assert_int_equal(0, snap_parts_init(&p, a, &e));
	assert_int_equal(0, snap_parts_init(&q, b, &e));
	assert_int_equal(p.n, q.n);
	for (unsigned i = 1; i < p.n; i++) {
		const struct state *s = &p.part[i].state;

		assert_string_equal(p.part[i].name, q.part[i].name);
		for (unsigned k = 0; k < s->n; k++)
			for (u32 n = 0; n < s->field[k].count; n++) {
				const struct state_field *f = &s->field[k];

				assert_true(f->size <= sizeof(x));
				state_get(f, p.part[i].object, n, x);
				state_get(f, q.part[i].object, n, y);
				/* the TSC goes on; attention may be looked at once more */
				if (memcmp(x, y, f->size) && strcmp(f->name, "tsc_offset") &&
				    strcmp(f->name, "attention"))
					fail_msg("%s: %s[%u] differs", p.part[i].name, f->name, n);
			}
	}
	snap_parts_free(&p);
	snap_parts_free(&q);
}

static void test_round_trip(void **state)
{
	struct vm *a = new_vm(2), *b = new_vm(2);
	struct err e = { "" };
	struct file f;
	u64 gpa;

	(void)state;
	scribble(a);
	clock_set(&a->clock, 777 * NS_PER_SEC);
	f = save(a);
	gpa = 0x2000;
	mem_write(b->mem, gpa, "what was there before", 21);
	if (load(b, &f, &e))
		fail_msg("%s", e.text);
	compare_parts(a, b);
	for (u64 at = 0; at < RAM; at += 4096) {
		u8 x[4096], y[4096];

		mem_read(a->mem, at, x, sizeof(x));
		mem_read(b->mem, at, y, sizeof(y));
		assert_memory_equal(x, y, sizeof(x));
	}
	assert_true(clock_ns(&b->clock) >= 777 * NS_PER_SEC && clock_ns(&b->clock) < 800 * NS_PER_SEC);
	/* the window that was moved decodes there */
	assert_int_equal(0xe0000000, mem_port_read(b->mem, 0xcfc, 4) & ~15u);
	assert_int_equal(0xfeedface, mem_port_read(b->mem, 0xe0, 4));
	free(f.bytes);
	vm_free(a);
	vm_free(b);
}

static void test_names(void **state)
{
	struct vm *vm = new_vm(1);
	struct snap_parts p;
	struct err e;

	(void)state;
	assert_int_equal(0, snap_parts_init(&p, vm, &e));
	for (unsigned i = 0; i < p.n; i++) {
		assert_ptr_equal(&p.part[i], snap_parts_find(&p, p.part[i].name));
		for (unsigned k = 0; k < p.part[i].state.n; k++) {
			const struct state_field *f = &p.part[i].field[k];

			assert_ptr_equal(f, state_find(&p.part[i].state, f->name, strlen(f->name)));
			assert_in_range(strlen(f->name), 1, 60);
			assert_true(f->kind == STATE_KIND_BYTES || f->size == 1 || f->size == 2 || f->size == 4 ||
				    f->size == 8);
		}
	}
	snap_parts_free(&p);
	vm_free(vm);
}

/* ---- files that lie -------------------------------------------------------------------------------------------------
 */

static void test_damage(void **state)
{
	struct vm *vm = new_vm(1);
	struct file f = save(vm), cut = f;
	struct err e = { "" };

	(void)state;
	assert_int_equal(0, load(vm, &f, &e));
	for (cut.n = 1; cut.n < f.n; cut.n += cut.n < 400 ? 1 : 997) {
		e.text[0] = 0;
		assert_int_equal(-1, load(vm, &cut, &e));
		assert_true(e.text[0]);
	}
	for (size_t at = 0; at < f.n; at += at < 100 ? 1 : 1499) {
		f.bytes[at] ^= 0x40;
		assert_int_equal(-1, load(vm, &f, &e));
		f.bytes[at] ^= 0x40;
	}
	assert_int_equal(0, load(vm, &f, &e));
	free(f.bytes);
	vm_free(vm);
}

static void test_another_machine(void **state)
{
	struct vm *a = new_vm(1), *b = new_vm(2);
	struct file f = save(a);
	struct err e = { "" };

	(void)state;
	assert_int_equal(-1, load(b, &f, &e));
	assert_non_null(strstr(e.text, "1 CPUs"));
	f.bytes[8]++;
	assert_int_equal(-1, load(a, &f, &e));
	assert_non_null(strstr(e.text, "format version 2"));
	free(f.bytes);
	vm_free(a);
	vm_free(b);
}

/* The APIC timers' clock is the guest's that was saved, whatever would be chosen here. */
static void test_apic_clock(void **state)
{
	struct vm_config cfg = { .memory = RAM,
				 .cpus = 1,
				 .cpu_model = "host",
				 .engine = &engine_interp,
				 .loaded = true,
				 .debug_exit = -1 };
	struct vm *fast, *slow, *same;
	struct snap_machine m;
	struct file f;
	struct err e = { "" };

	(void)state;
	slow = vm_new(&cfg, &e);
	cfg.apic_bus_hz = APIC_BUS_HZ_KVM;
	fast = vm_new(&cfg, &e);
	same = vm_new(&cfg, &e);
	assert_true(slow && fast && same);
	assert_int_equal(cpuid_apic_bus_hz(slow->model), APIC_BUS_HZ);
	assert_int_equal(cpuid_apic_bus_hz(fast->model), APIC_BUS_HZ_KVM);
	f = save(fast);
	assert_int_equal(-1, load(slow, &f, &e));
	assert_non_null(strstr(e.text, "1000 MHz, here they count with 100 MHz"));
	assert_int_equal(0, load(same, &f, &e));
	free(f.bytes);
	snap_machine_of(fast, &m);
	assert_int_equal(0, snap_machine_check(&m, &e));
	m.apic_bus_hz = 7;
	assert_int_equal(-1, snap_machine_check(&m, &e));
	vm_free(slow);
	vm_free(fast);
	vm_free(same);
}

/* One element of one field says something else, with a right checksum: it is refused, or it can be. Then the machine is
 * used a little. */
static void tell_lie(struct vm *vm, struct vm *other, const struct file *good, unsigned part, unsigned field,
		     const u8 *lie)
{
	struct snap_parts p;
	struct file f;
	struct err e = { "" };
	const struct state_field *row;
	struct state_field open;

	if (load(other, good, &e))
		fail_msg("%s", e.text);
	assert_int_equal(0, snap_parts_init(&p, other, &e));
	row = &p.part[part].field[field];
	open = *row;
	open.min = 0;
	open.max = ~0ull;
	state_set(&open, p.part[part].object, open.count - 1, lie);
	snap_parts_free(&p);
	f = save(other);
	if (!load(vm, &f, &e)) {
		pthread_mutex_lock(&vm->lock);
		timerq_run(&vm->timers, clock_ns(&vm->clock) + NS_PER_SEC);
		pthread_mutex_unlock(&vm->lock);
		for (unsigned port = 0x20; port < 0x80; port++)
			mem_port_read(vm->mem, (u16)port, 1);
		cpu_post(vm->vcpu[0]->cpu, ATT_APIC | ATT_TIMER);
		vm->cfg.engine->run(vm->vcpu[0]->cpu, 50);
	} else {
		assert_true(e.text[0]);
	}
	free(f.bytes);
}

static void test_lies(void **state)
{
	struct vm *vm = new_vm(1), *other = new_vm(1);
	struct file good;
	struct snap_parts p;
	struct err e;
	u8 *ones = malloc(1 << 20), *zeros = calloc(1, 1 << 20), *high = malloc(1 << 20);

	(void)state;
	memset(ones, 0xff, 1 << 20);
	memset(high, 0x80, 1 << 20);
	good = save(vm);
	assert_int_equal(0, snap_parts_init(&p, vm, &e));
	for (unsigned i = 1; i < p.n; i++)
		for (unsigned k = 0; k < p.part[i].state.n; k++) {
			tell_lie(vm, other, &good, i, k, ones);
			tell_lie(vm, other, &good, i, k, high);
			if (getenv("LONG"))
				tell_lie(vm, other, &good, i, k, zeros);
		}
	snap_parts_free(&p);
	free(ones);
	free(zeros);
	free(high);
	free(good.bytes);
	vm_free(vm);
	vm_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_another_machine),
		cmocka_unit_test(test_apic_clock),
		cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
