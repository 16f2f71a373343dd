/* SPDX-License-Identifier: Apache-2.0
 * The local APIC: acceptance and priorities, EOI, IPIs, matching, the timer in its three modes, both register forms,
 * and KVM's PV EOI (SDM 3A chapter 11).
 */
#include "base/clock.h"
#include "sys_world.h"

static struct flat *f;
static struct cpu *c;

static int setup(void **state)
{
	(void)state;
	f = world_enter(flat_long(0), "x86-64-v2", false);
	c = f->c;
	lapic_mmio_write(c, 0xf0, 0x1ff, 4);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	flat_free(f);
	return 0;
}

static u32 rd(u32 off)
{
	return lapic_mmio_read(c, off, 4);
}

static void wr(u32 off, u32 val)
{
	lapic_mmio_write(c, off, val, 4);
}

static void test_reset(void **state)
{
	(void)state;
	lapic_reset(c, false);
	assert_int_equal(rd(0xf0), 0xff);
	assert_int_equal(rd(0xe0), 0xffffffff);
	assert_int_equal(rd(0x320), 0x10000);
	assert_int_equal(rd(0x370), 0x10000);
	assert_int_equal(rd(0x30), 0x01050014);
	assert_true(lapic_accepts_extint(c));
	/* software-disabled: masks cannot be cleared, nothing is accepted */
	wr(0x320, 0x40);
	assert_int_equal(rd(0x320), 0x10040);
	lapic_post(c, 0x40, false);
	lapic_sync(c);
	assert_int_equal(lapic_pending_vector(c), -1);
}

static void test_priority(void **state)
{
	(void)state;
	lapic_post(c, 0x41, false);
	lapic_post(c, 0x83, false);
	lapic_sync(c);
	assert_int_equal(lapic_pending_vector(c), 0x83);
	assert_int_equal(lapic_ack(c), 0x83);
	assert_int_equal(rd(0xa0), 0x80);
	assert_int_equal(lapic_pending_vector(c), -1);
	lapic_post(c, 0x8f, false);
	lapic_sync(c);
	assert_int_equal(lapic_pending_vector(c), -1); /* same class */
	wr(0xb0, 0);
	assert_int_equal(lapic_ack(c), 0x8f);
	wr(0xb0, 0);
	wr(0x80, 0x45);
	assert_int_equal(rd(0xa0), 0x45);
	assert_int_equal(lapic_pending_vector(c), -1);
	assert_int_equal(lapic_cr8_read(c), 4);
	lapic_cr8_write(c, 3);
	assert_int_equal(rd(0x80), 0x30);
	assert_int_equal(lapic_ack(c), 0x41);
	assert_int_equal(lapic_ack(c), 0xff); /* spurious */
}

static void test_level_eoi(void **state)
{
	(void)state;
	lapic_post(c, 0x51, true);
	lapic_sync(c);
	assert_int_equal(rd(0x180 + 0x20), 1u << 17);
	assert_int_equal(lapic_ack(c), 0x51);
	wr(0xb0, 0);
	assert_int_equal(world.eois, 1);
	assert_int_equal(world.eoi_vector, 0x51);
	wr(0xf0, 0x11ff); /* suppress broadcasts */
	lapic_post(c, 0x51, true);
	lapic_sync(c);
	lapic_ack(c);
	wr(0xb0, 0);
	assert_int_equal(world.eois, 1);
	lapic_post(c, 0x51, false);
	lapic_sync(c);
	assert_int_equal(rd(0x180 + 0x20), 0);
}

static void test_icr(void **state)
{
	(void)state;
	wr(0x310, 3u << 24);
	wr(0x300, 0x4000 | 0x77);
	assert_int_equal(world.ipis, 1);
	assert_true(world.ipi == ((u64)3 << 32 | 0x4077));
	wr(0x300, 0x40000 | 0x66); /* self */
	assert_int_equal(world.ipis, 1);
	lapic_sync(c);
	assert_int_equal(lapic_ack(c), 0x66);
	wr(0x300, 0x05); /* illegal vector */
	assert_int_equal(world.ipis, 1);
	assert_int_equal(rd(0x280), 0);
	wr(0x280, 0);
	assert_int_equal(rd(0x280), 0x20);
	wr(0x280, 0);
	assert_int_equal(rd(0x280), 0);
	rd(0x40); /* reserved register */
	wr(0x280, 0);
	assert_int_equal(rd(0x280), 0x80);
}

static void test_post_icr(void **state)
{
	(void)state;
	atomic_store(&c->attention, 0);
	lapic_post_icr(c, 0x4400);
	assert_int_equal(atomic_load(&c->attention), ATT_NMI);
	lapic_post_icr(c, 0x4500);
	lapic_post_icr(c, 0x8500); /* INIT level de-assert */
	lapic_post_icr(c, 0x4612);
	assert_int_equal(atomic_load(&c->attention), ATT_NMI | ATT_INIT | ATT_SIPI);
	assert_int_equal(c->sipi_vector, 0x12);
	lapic_post_icr(c, 0x4400); /* a second one before the first could be taken; a third is lost */
	lapic_post_icr(c, 0x4400);
	assert_int_equal(atomic_load(&c->attention), ATT_NMI | ATT_NMI2 | ATT_INIT | ATT_SIPI);
	atomic_store(&c->attention, 0);
	wr(0x300, 0x44400); /* to self by shorthand */
	assert_int_equal(atomic_load(&c->attention), ATT_NMI);
}

static void test_match(void **state)
{
	(void)state;
	assert_true(lapic_match(c, 0, false) && lapic_match(c, 0xff, false) && !lapic_match(c, 1, false));
	wr(0xd0, 0x04000000);
	assert_true(lapic_match(c, 0x0c, true) && !lapic_match(c, 0x0b, true));
	wr(0xe0, 0x0fffffff); /* cluster model */
	wr(0xd0, 0x24000000);
	assert_true(lapic_match(c, 0x26, true) && !lapic_match(c, 0x14, true) && lapic_match(c, 0xff, true));
	wr(0x20, 0x07000000); /* an id of the guest's choice, until off or x2APIC */
	assert_true(rd(0x20) == 0x07000000 && lapic_match(c, 7, false) && !lapic_match(c, 0, false));
	c->index = 0x25;
	assert_true(lapic_base_write(c, c->apic_base | APIC_BASE_X2));
	assert_int_equal(c->lapic.ldr, 0x20020);
	assert_true(lapic_match(c, 0x20021 | 0x20, true) && !lapic_match(c, 0x30020, true));
	assert_true(lapic_match(c, 0x25, false) && lapic_match(c, 0xffffffff, false));
}

static void test_base_transitions(void **state)
{
	u64 base = c->apic_base;
	u64 v;

	(void)state;
	assert_false(lapic_base_write(c, (base & ~APIC_BASE_EN) | APIC_BASE_X2));
	assert_false(lapic_base_write(c, base | 1));
	assert_false(lapic_x2apic_read(c, 0x802, &v));
	assert_true(lapic_base_write(c, base | APIC_BASE_X2));
	assert_false(lapic_claims(c, APIC_DEFAULT_BASE));
	assert_false(lapic_base_write(c, base));
	assert_true(lapic_x2apic_read(c, 0x802, &v));
	assert_true(lapic_base_write(c, base & ~APIC_BASE_EN));
	assert_false(lapic_base_write(c, base | APIC_BASE_X2));
	assert_true(lapic_accepts_extint(c));
	assert_true(lapic_base_write(c, base));
	assert_true(lapic_claims(c, APIC_DEFAULT_BASE + 0x300));
}

static void test_x2apic(void **state)
{
	u64 v;

	(void)state;
	assert_true(lapic_base_write(c, c->apic_base | APIC_BASE_X2));
	assert_true(lapic_x2apic_write(c, 0x830, (u64)7 << 32 | 0x4099));
	assert_true(world.ipi == ((u64)7 << 32 | 0x4099));
	assert_true(lapic_x2apic_read(c, 0x830, &v) && v == ((u64)7 << 32 | 0x4099));
	assert_false(lapic_x2apic_write(c, 0x830, BIT(20)));
	assert_false(lapic_x2apic_write(c, 0x80b, 1));
	assert_true(lapic_x2apic_write(c, 0x80b, 0));
	assert_false(lapic_x2apic_write(c, 0x808, 0x100));
	assert_false(lapic_x2apic_write(c, 0x802, 1));
	assert_false(lapic_x2apic_read(c, 0x80e, &v));
	assert_false(lapic_x2apic_read(c, 0x831, &v));
	assert_false(lapic_x2apic_read(c, 0x80b, &v));
	assert_false(lapic_x2apic_write(c, 0x832, BIT(20)));
	assert_false(lapic_x2apic_write(c, 0x83f, 0x100));
	assert_true(lapic_x2apic_write(c, 0x83f, 0x55));
	assert_int_equal(lapic_ack(c), 0x55);
}

/* the timer's input clock in nanoseconds a tick */
#define TICK (NS_PER_SEC / APIC_BUS_HZ)

static void test_one_shot(void **state)
{
	(void)state;
	wr(0x3e0, 0); /* by 2 */
	wr(0x320, 0x60);
	wr(0x380, 1000);
	assert_int_equal(lapic_next_deadline(c), 2000 * TICK);
	world.now = 500 * TICK;
	assert_int_equal(rd(0x390), 750);
	world.now = 1999 * TICK;
	lapic_sync(c);
	assert_int_equal(lapic_pending_vector(c), -1);
	world.now = 2000 * TICK;
	lapic_sync(c);
	assert_int_equal(lapic_ack(c), 0x60);
	assert_int_equal(rd(0x390), 0);
	assert_true(lapic_next_deadline(c) == ~0ull);
	wr(0x320, 0x20060); /* periodic now, but the count has ended */
	world.now = 2500 * TICK;
	assert_int_equal(rd(0x390), 0);
	wr(0x380, 1000);
	world.now = 3000 * TICK;
	wr(0x320, 0x60); /* and back, while counting: it goes on */
	assert_int_equal(rd(0x390), 750);
}

static void test_periodic(void **state)
{
	(void)state;
	wr(0x3e0, 0xb); /* by 1 */
	wr(0x320, 0x20060);
	wr(0x380, 100);
	world.now = (10 * 100 + 7) * TICK; /* ten periods at once: one interrupt */
	lapic_sync(c);
	assert_int_equal(lapic_ack(c), 0x60);
	wr(0xb0, 0);
	assert_int_equal(lapic_pending_vector(c), -1);
	assert_int_equal(lapic_next_deadline(c), 1100 * TICK);
	assert_int_equal(rd(0x390), 93);
	wr(0x320, 0x30060); /* masked: counts on, silently */
	assert_true(lapic_next_deadline(c) == ~0ull);
	world.now = 1250 * TICK;
	lapic_sync(c);
	assert_int_equal(lapic_pending_vector(c), -1);
	assert_int_equal(rd(0x390), 50);
	wr(0x380, 0);
	assert_int_equal(rd(0x390), 0);
}

static void test_deadline(void **state)
{
	(void)state;
	lapic_tsc_deadline_write(c, world.tsc + 2000); /* wrong mode: ignored */
	assert_true(lapic_tsc_deadline_read(c) == 0);
	wr(0x320, 0x40061);
	lapic_tsc_deadline_write(c, world.tsc + 2000);
	assert_int_equal(lapic_next_deadline(c), 1000); /* 2 GHz */
	assert_true(lapic_tsc_deadline_read(c) == world.tsc + 2000);
	world.now = 1000;
	world.tsc += 1999; /* the TSC decides */
	lapic_sync(c);
	assert_int_equal(lapic_pending_vector(c), -1);
	world.now++;
	world.tsc++;
	lapic_sync(c);
	assert_int_equal(lapic_ack(c), 0x61);
	assert_true(lapic_tsc_deadline_read(c) == 0);
	lapic_tsc_deadline_write(c, 1); /* past: at once */
	wr(0xb0, 0);
	assert_int_equal(lapic_ack(c), 0x61);
	lapic_tsc_deadline_write(c, ~0ull);
	assert_true(lapic_next_deadline(c) > BIT(60));
	wr(0x320, 0x61); /* leaving the mode disarms */
	assert_true(lapic_next_deadline(c) == ~0ull);
}

static void test_lint(void **state)
{
	(void)state;
	wr(0x350, 0x10700);
	assert_false(lapic_accepts_extint(c));
	wr(0x350, 0x700);
	assert_true(lapic_accepts_extint(c));
	atomic_store(&c->attention, 0);
	lapic_lint1_nmi(c);
	assert_int_equal(atomic_load(&c->attention), 0);
	wr(0x360, 0x400);
	lapic_lint1_nmi(c);
	assert_true(atomic_load(&c->attention) & ATT_NMI);
}

static void test_pv_eoi(void **state)
{
	(void)state;
	c->kvm_pv_eoi = 0x5000 | 1;
	lapic_post(c, 0x61, false);
	lapic_sync(c);
	assert_int_equal(lapic_ack(c), 0x61);
	assert_int_equal(f->mem[0x5000], 1);
	f->mem[0x5000] = 0; /* the guest's EOI */
	lapic_sync(c);
	assert_int_equal(rd(0x100 + 0x30), 0);
	lapic_post(c, 0x61, false);
	lapic_sync(c);
	lapic_ack(c);
	assert_int_equal(f->mem[0x5000], 1);
	lapic_post(c, 0x62, false); /* another wants in: the offer is taken back */
	lapic_sync(c);
	assert_int_equal(lapic_pending_vector(c), -1);
	assert_int_equal(f->mem[0x5000], 0);
	wr(0xb0, 0);
	assert_int_equal(lapic_ack(c), 0x62);
	wr(0xb0, 0);
	lapic_post(c, 0x63, true); /* never for level-triggered */
	lapic_sync(c);
	lapic_ack(c);
	assert_int_equal(f->mem[0x5000], 0);
	wr(0xb0, 0);
	assert_int_equal(world.eois, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_reset),	  T(test_priority), T(test_level_eoi),	      T(test_icr),	T(test_post_icr),
		T(test_match),	  T(test_x2apic),   T(test_base_transitions), T(test_one_shot), T(test_periodic),
		T(test_deadline), T(test_lint),	    T(test_pv_eoi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
