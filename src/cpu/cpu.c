/* SPDX-License-Identifier: Apache-2.0
 * Birth, death and reset of a virtual CPU: the power-on and INIT columns of SDM 3A table 9-1.
 */
#include "cpu/cpu.h"

#include <stdlib.h>

#include "cpu/cpuid.h"
#include "cpu/lapic.h"
#include "cpu/segment.h"

struct cpu *cpu_new(unsigned index, const struct cpuid_model *model, const struct cpu_ops *ops)
{
	struct cpu *c = aligned_alloc(64, ALIGN_UP(sizeof(*c), 64));

	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->index = index;
	c->model = model;
	c->ops = ops;
	return c;
}

void cpu_free(struct cpu *c)
{
	free(c);
}

/* CPUID.1:EAX, which is what EDX holds after reset. */
static u32 cpu_signature(const struct cpu *c)
{
	for (size_t i = 0; c->model && i < c->model->n; i++)
		if (c->model->leaf[i].leaf == 1)
			return c->model->leaf[i].eax;
	return 0x600;
}

static void reset_segments(struct cpu *c)
{
	for (unsigned s = 0; s < NR_SEGS; s++)
		seg_set(c, s, 0, 0, 0xffff, SEG_P | SEG_S | SEG_W | SEG_A);
	seg_set(c, SEG_CS, 0xf000, 0xffff0000, 0xffff, SEG_P | SEG_S | SEG_W | SEG_A);
	c->gdtr = c->idtr = (struct dtable){ .base = 0, .limit = 0xffff };
	c->ldtr = (struct seg){ .limit = 0xffff, .attr = SEG_P | SYS_LDT };
	c->tr = (struct seg){ .limit = 0xffff, .attr = SEG_P | SYS_TSS32_BUSY };
}

/* What both columns of the table share. */
static void reset_common(struct cpu *c)
{
	memset(c->r, 0, sizeof(c->r));
	c->r[RDX] = cpu_signature(c);
	c->r[R_RIP] = 0xfff0;
	cpu_set_rflags_raw(c, 2);
	reset_segments(c);
	c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
	memset(c->pdpte, 0, sizeof(c->pdpte));
	memset(c->dr, 0, sizeof(c->dr));
	c->dr[6] = 0xffff0ff0;
	c->dr[7] = 0x400;
	c->debugctl = 0;
	c->exc = c->injected = (struct event){ 0 };
	c->int_shadow = 0;
	c->nmi_blocked = c->no_step = false;
	c->pending_db = 0;
	c->monitor_armed = false;
	c->kernel_gs_base = 0;
	__atomic_store_n(&c->kvm_unhalted, 0, __ATOMIC_RELAXED);
}

static void reset_vector(struct cpu *c)
{
	memset(c->zmm, 0, sizeof(c->zmm));
	memset(c->k, 0, sizeof(c->k));
	memset(&c->x87, 0, sizeof(c->x87));
	c->x87.fcw = 0x40;
	c->x87.ftw = 0xff; /* tag word 5555H: eight zeroes, none empty */
	c->mxcsr = 0x1f80;
	c->xcr0 = 1;
	c->xss = 0;
	c->xinuse = 1;
}

static void reset_msrs(struct cpu *c)
{
	c->star = c->lstar = c->cstar = c->sfmask = 0;
	c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
	c->pat = 0x0007040600070406;
	c->misc_enable = 0x1801; /* fast strings; BTS and PEBS unavailable */
	c->tsc_aux = c->spec_ctrl = c->xfd = 0;
	c->apic_base = APIC_DEFAULT_BASE | APIC_BASE_EN | (c->index ? 0 : APIC_BASE_BSP);
	c->smbase = 0x30000;
	c->feature_control = 0;
	c->mtrr_def_type = 0;
	memset(c->mtrr_physbase, 0, sizeof(c->mtrr_physbase));
	memset(c->mtrr_physmask, 0, sizeof(c->mtrr_physmask));
	memset(c->mtrr_fixed, 0, sizeof(c->mtrr_fixed));
	c->mcg_status = 0;
	memset(c->mc_status, 0, sizeof(c->mc_status));
	c->tsc_adjust = 0;
	c->kvm_system_time = c->kvm_wall_clock = c->kvm_async_pf = c->kvm_pv_eoi = c->kvm_steal_time = 0;
	c->kvm_poll_control = 1;
	c->kvm_clock_version = 0;
}

void cpu_reset(struct cpu *c, bool init)
{
	const u64 cache_bits = CR0_CD | CR0_NW;
	bool bsp = init ? c->apic_base & APIC_BASE_BSP : !c->index;

	c->cr0 = CR0_ET | (init ? c->cr0 & cache_bits : cache_bits);
	reset_common(c);
	if (!init) {
		reset_vector(c);
		reset_msrs(c);
		/* 8259 input and kicks are the outside world's and stay as they are. */
		atomic_fetch_and(&c->attention, ATT_KICK | ATT_EXCL | ATT_EXTINT);
	}
	lapic_reset(c, init);
	c->activity = bsp ? ACT_RUNNING : ACT_WAIT_SIPI;
	cpu_update_mode(c);
	c->ops->tlb_flush(c, TLB_ALL, 0, 0);
}
