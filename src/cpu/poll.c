/* SPDX-License-Identifier: Apache-2.0
 * The instruction boundary: which pending event is taken next (SDM 3A table 6-2), INIT and SIPI, single step.
 */
#include "cpu/event.h"

#include "cpu/debug.h"
#include "cpu/lapic.h"
#include "cpu/segment.h"

enum source { SRC_NONE, SRC_INJECTED, SRC_DB, SRC_NMI, SRC_EXTINT, SRC_APIC };

/* The highest event that nothing blocks. MOV SS blocks #DB, NMI and interrupts; STI blocks interrupts, and may block
 * NMI (SDM 2B, STI), as silicon does. */
static enum source next_source(struct cpu *c, unsigned att)
{
	bool mov_ss = c->int_shadow == 2;

	if (c->injected.type != EV_NONE)
		return SRC_INJECTED;
	if (c->pending_db && !mov_ss)
		return SRC_DB;
	if ((att & (ATT_NMI | ATT_NMI2)) && !c->nmi_blocked && !c->int_shadow)
		return SRC_NMI;
	if (!(c->rflags & FLAG_IF) || c->int_shadow)
		return SRC_NONE;
	if ((att & ATT_EXTINT) && lapic_accepts_extint(c))
		return SRC_EXTINT;
	return lapic_pending_vector(c) >= 0 ? SRC_APIC : SRC_NONE;
}

static void take(struct cpu *c, enum source src)
{
	struct event e = { 0 };

	switch (src) {
	case SRC_NONE:
		return;
	case SRC_INJECTED:
		e = c->injected;
		break;
	case SRC_DB:
		e = (struct event){ .type = EV_TRAP, .vector = EXC_DB, .payload = c->pending_db };
		break;
	case SRC_NMI:
		atomic_fetch_and(&c->attention,
				 ~(unsigned)(atomic_load(&c->attention) & ATT_NMI2 ? ATT_NMI2 : ATT_NMI));
		e = (struct event){ .type = EV_NMI, .vector = EXC_NMI };
		break;
	case SRC_EXTINT:
		e = (struct event){ .type = EV_EXT_INT, .vector = c->ops->ack_extint(c) };
		break;
	case SRC_APIC:
		e = (struct event){ .type = EV_EXT_INT, .vector = lapic_ack(c) };
		break;
	}
	if (src == SRC_NMI || src == SRC_EXTINT || src == SRC_APIC)
		cpu_trace(c, TRACE_INTERRUPT, e.vector, src == SRC_APIC ? 0 : src == SRC_EXTINT ? 1 : 2, 0);
	event_deliver(c, &e);
}

static void start_up(struct cpu *c)
{
	u8 vector = __atomic_load_n(&c->sipi_vector, __ATOMIC_ACQUIRE); /* once: another SIPI may come */

	seg_set(c, SEG_CS, (u16)(vector << 8), (u64)vector << 12, 0xffff, SEG_P | SEG_S | SEG_W | SEG_A);
	c->r[R_RIP] = 0;
	c->activity = ACT_RUNNING;
	cpu_update_mode(c);
}

static void sync_apic(struct cpu *c, unsigned att)
{
	if (att & (ATT_APIC | ATT_TIMER)) {
		atomic_fetch_and(&c->attention, ~(unsigned)(ATT_APIC | ATT_TIMER));
		lapic_sync(c);
	}
}

/* INIT, then SIPI, which only a CPU waiting for it takes. */
static bool take_init(struct cpu *c, unsigned att)
{
	bool changed = false;

	if (att & ATT_INIT) {
		cpu_reset(c, true);
		changed = true;
	}
	if ((att & ATT_SIPI) && c->activity == ACT_WAIT_SIPI) {
		start_up(c);
		changed = true;
	}
	return changed;
}

/* KVM_HC_KICK_CPU ends a HLT as an interrupt would, but delivers nothing. */
static bool kicked(const struct cpu *c)
{
	return c->activity == ACT_HALTED && __atomic_load_n(&c->kvm_unhalted, __ATOMIC_ACQUIRE);
}

bool event_poll(struct cpu *c)
{
	unsigned att = atomic_fetch_and(&c->attention, ~(unsigned)(ATT_EVENTS | ATT_INIT | ATT_SIPI));
	enum source src;

	if (unlikely(att & (ATT_INIT | ATT_SIPI)) && take_init(c, att))
		return true;
	sync_apic(c, att);
	if (c->activity == ACT_WAIT_SIPI || c->activity == ACT_SHUTDOWN)
		return false;
	src = next_source(c, att);
	if (src == SRC_NONE && kicked(c)) {
		__atomic_store_n(&c->kvm_unhalted, 0, __ATOMIC_RELAXED);
		c->activity = ACT_RUNNING;
		return true;
	}
	take(c, src);
	return src != SRC_NONE;
}

bool event_deliverable(struct cpu *c)
{
	unsigned att = atomic_load(&c->attention);

	if ((att & ATT_INIT) || ((att & ATT_SIPI) && c->activity == ACT_WAIT_SIPI))
		return true;
	if (c->activity == ACT_WAIT_SIPI || c->activity == ACT_SHUTDOWN)
		return false;
	sync_apic(c, att);
	return next_source(c, att) != SRC_NONE || kicked(c);
}

bool event_waiting(struct cpu *c)
{
	return atomic_load(&c->attention) || c->pending_db || c->injected.type != EV_NONE ||
	       lapic_pending_vector(c) >= 0;
}

bool event_branched(struct cpu *c, const struct insn *i, u64 at)
{
	static const u8 always[] = { 0x9a, 0xc2, 0xc3, 0xca, 0xcb, 0xcf, 0xe8, 0xe9, 0xea, 0xeb };
	u64 mask = c->d.code == CODE64 ? ~0ull : c->d.code == CODE32 ? 0xffffffff : 0xffff;

	if ((c->r[R_RIP] - at - i->len) & mask)
		return true;
	for (unsigned n = 0; i->map == 0 && n < ARRAY_SIZE(always); n++)
		if (i->opcode == always[n])
			return true;
	c->no_step = false;
	return false;
}

void event_step(struct cpu *c)
{
	bool none = c->no_step || c->int_shadow == 2;

	c->no_step = false;
	if (none)
		return;
	c->pending_db |= DR6_BS;
	cpu_post(c, ATT_EVENTS);
}
