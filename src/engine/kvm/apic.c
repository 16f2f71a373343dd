/* SPDX-License-Identifier: Apache-2.0
 * The local APIC between struct lapic and the page that KVM shows of it, messages to the kernel's APICs, and the routes
 * by which the kernel knows whose end to tell.
 *
 * A level-triggered interrupt's EOI must come back to the I/O APIC. The kernel exits for the vectors that its routing
 * table names as level-triggered; the table here is what messages were level-triggered so far. Too many entries cost an
 * exit too many, never one too few: an entry leaves only when 63 others have come after it.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "cpu/lapic_parts.h"
#include "engine/kvm/kvm.h"

/* ---- the page ----------------------------------------------------------------------------------------------------
 */

static void put_bits(struct kvm_apic_page *p, unsigned off, const u32 from[8])
{
	for (unsigned k = 0; k < 8; k++)
		p->reg[(off + 16 * k) / 4] = from[k];
}

static void get_bits(u32 to[8], const struct kvm_apic_page *p, unsigned off)
{
	for (unsigned k = 0; k < 8; k++)
		to[k] = p->reg[(off + 16 * k) / 4];
}

static bool counting(const struct lapic *a)
{
	return a->timer_deadline_ns != CLOCK_NEVER || LVT_TIMER_MODE(a->lvt[LVT_TIMER]) == TIMER_PERIODIC;
}

/* KVM starts the timer from the current count, and takes a one-shot count of 0 for one that is just due; so one that
 * is over goes as one that was never set. */
void kvm_apic_from(struct kvm_apic_page *p, struct cpu *c)
{
	const struct lapic *a = &c->lapic;

	memset(p, 0, sizeof(*p));
	p->reg[APIC_ID / 4] = lapic_x2(c) ? a->id : a->id << 24;
	p->reg[APIC_VERSION / 4] = APIC_VERSION_VALUE;
	p->reg[APIC_TPR / 4] = a->tpr;
	p->reg[APIC_LDR / 4] = a->ldr;
	p->reg[APIC_DFR / 4] = a->dfr;
	p->reg[APIC_SVR / 4] = a->svr;
	p->reg[APIC_ESR / 4] = a->esr;
	p->reg[APIC_ICR / 4] = a->icr_lo;
	p->reg[APIC_ICR_HI / 4] = a->icr_hi;
	put_bits(p, APIC_ISR, a->isr);
	put_bits(p, APIC_TMR, a->tmr);
	put_bits(p, APIC_IRR, a->irr);
	for (unsigned k = LVT_TIMER; k < NR_LVT; k++)
		p->reg[(APIC_LVT + 16 * (k - LVT_TIMER)) / 4] = a->lvt[k];
	p->reg[APIC_TIMER_DIV / 4] = a->timer_div;
	if (LVT_TIMER_MODE(a->lvt[LVT_TIMER]) == TIMER_DEADLINE || !counting(a))
		return;
	p->reg[APIC_TIMER_INIT / 4] = a->timer_init;
	p->reg[APIC_TIMER_COUNT / 4] = lapic_timer_count(c);
}

static void timer_to(struct cpu *c, const struct kvm_apic_page *p)
{
	struct lapic *a = &c->lapic;
	u32 left = p->reg[APIC_TIMER_COUNT / 4];

	a->timer_div = p->reg[APIC_TIMER_DIV / 4] & 0xb;
	a->timer_init = p->reg[APIC_TIMER_INIT / 4];
	lapic_timer_resume(c, left);
}

/* lapic.tsc_deadline, an MSR, must be there before. */
void kvm_apic_to(struct cpu *c, const struct kvm_apic_page *p)
{
	struct lapic *a = &c->lapic;
	u32 id = p->reg[APIC_ID / 4];

	a->id = lapic_x2(c) ? id : id >> 24;
	a->tpr = p->reg[APIC_TPR / 4];
	a->ldr = p->reg[APIC_LDR / 4];
	a->dfr = p->reg[APIC_DFR / 4];
	a->svr = p->reg[APIC_SVR / 4];
	a->esr = p->reg[APIC_ESR / 4];
	a->icr_lo = p->reg[APIC_ICR / 4];
	a->icr_hi = p->reg[APIC_ICR_HI / 4];
	get_bits(a->isr, p, APIC_ISR);
	get_bits(a->tmr, p, APIC_TMR);
	get_bits(a->irr, p, APIC_IRR);
	for (unsigned k = LVT_TIMER; k < NR_LVT; k++)
		a->lvt[k] = p->reg[(APIC_LVT + 16 * (k - LVT_TIMER)) / 4];
	a->pv_eoi_pending = false; /* KVM takes its offer back at each exit */
	timer_to(c, p);
}

/* ---- messages ----------------------------------------------------------------------------------------------------
 */

static void set_routes(struct kvm_machine *m)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[KVM_ROUTES];
	} r = { .head.nr = m->n_routes };

	memcpy(r.entry, m->route, sizeof(r.entry));
	if (ioctl(m->fd, KVM_SET_GSI_ROUTING, &r))
		log_msg(LOG_ERROR, "KVM takes no interrupt routes: level-triggered interrupts may not end");
}

/* The end of this level-triggered message must be told. */
static void add_route(struct kvm_machine *m, u64 addr, u32 data)
{
	struct kvm_irq_routing_entry *r;

	pthread_mutex_lock(&m->lock);
	for (unsigned k = 0; k < m->n_routes; k++)
		if (m->route[k].u.msi.address_lo == (u32)addr && m->route[k].u.msi.data == data)
			goto out;
	r = &m->route[m->next_route];
	*r = (struct kvm_irq_routing_entry){ .gsi = m->next_route, .type = KVM_IRQ_ROUTING_MSI };
	r->u.msi.address_lo = (u32)addr;
	r->u.msi.data = data;
	m->next_route = (m->next_route + 1) % KVM_ROUTES;
	m->n_routes = MAX(m->n_routes, (unsigned)r->gsi + 1);
	set_routes(m);
out:
	pthread_mutex_unlock(&m->lock);
}

bool kvm_msi(void *machine, u64 addr, u32 data)
{
	struct kvm_machine *m = machine;
	struct kvm_msi msi = { .address_lo = (u32)addr, .address_hi = (u32)(addr >> 32), .data = data };

	if (m->user_apic)
		return false;
	if (data & ICR_LEVEL)
		add_route(m, addr, data);
	ioctl(m->fd, KVM_SIGNAL_MSI, &msi); /* 0: nobody takes it, as on a bus */
	return true;
}

/* KVM_HC_KICK_CPU is to KVM a message of the delivery mode that processors reserve (remote read). */
#define MSI_KICK (3u << 8)

void kvm_forward_kick(struct kvm_vcpu *v)
{
	u32 id = v->cpu->lapic.id;
	struct kvm_msi msi = { .address_lo = (u32)APIC_DEFAULT_BASE | (id & 0xff) << 12,
			       .address_hi = id & ~0xffu,
			       .data = MSI_KICK };

	if (__atomic_load_n(&v->cpu->kvm_unhalted, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&v->cpu->kvm_unhalted, 0, __ATOMIC_ACQUIRE))
		ioctl(v->m->fd, KVM_SIGNAL_MSI, &msi);
}

void kvm_forward_posted(struct kvm_vcpu *v)
{
	struct lapic *a = &v->cpu->lapic;
	u64 addr = APIC_DEFAULT_BASE | (u64)(a->id & 0xff) << 12;

	for (unsigned k = 0; k < 4; k++) {
		u64 irr = atomic_exchange(&a->posted_irr[k], 0);
		u64 level = atomic_fetch_and(&a->posted_tmr[k], ~irr) & irr;

		for (; irr; irr &= irr - 1) {
			unsigned bit = (unsigned)__builtin_ctzll(irr);

			kvm_msi(v->m, addr, (k * 64 + bit) | (level >> bit & 1 ? (u32)(ICR_LEVEL | ICR_ASSERT) : 0));
		}
	}
}
