/* SPDX-License-Identifier: Apache-2.0
 * The first tier: is the vCPU's state such that every instruction of user mode that does not trap on the host gives the
 * guest's result? Frames are the second tier's (scan.c). docs/direct.md has the table.
 */
#include "engine/direct/direct.h"

#include <cpuid.h>

#include "cpu/debug.h"
#include "cpu/segment.h"
#include "mem/frame.h"

#define USER_CS 0x33
#define USER_SS 0x2b
#define GDT_ENTRIES 16

#define CR0_WANT (CR0_PE | CR0_PG)
#define CR0_BAR (CR0_TS | CR0_EM)
#define CR4_WANT (CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE)
#define CR4_BAR (CR4_TSD | CR4_LA57 | CR4_PKE | BIT(23) /* CET */)
#define FLAGS_BAR (FLAG_TF | FLAG_IOPL | FLAG_NT | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP)

#define EMULATED_GDT                                                                                    \
	0xfffffffffffe0000ull /* what Linux gives for SGDT where UMIP forbids it (fixup_umip_exception) \
			       */

/* LAR: access byte in bits 8..15, G D L AVL in 20..23. 0: not to be seen from user mode. */
static u32 host_lar(unsigned sel)
{
	u32 v = 0;

	__asm__("lar %1, %0" : "+r"(v) : "r"(sel) : "cc");
	return v;
}

/* In bytes; 0: not to be seen from user mode. */
static u32 host_lsl(unsigned sel)
{
	u32 v = 0;

	__asm__("lsl %1, %0" : "+r"(v) : "r"(sel) : "cc");
	return v;
}

/* ~0: no RDTSCP. */
static u32 host_aux(void)
{
	u32 a, b, c, d;

	if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(d & BIT(27)))
		return ~0u;
	__asm__ volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(c));
	return c;
}

/* SYSENTER is undefined in the long mode of AMD's processors (APM 3); the instructions of protection keys are where
 * CR4.PKE is 0, which CPUID.07H:ECX.OSPKE shows. */
static unsigned host_vouch(void)
{
	u32 a = 0, b = 0, c = 0, d = 0;
	bool amd = __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && c == signature_AMD_ecx;
	bool keys = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & BIT(4));

	return (mirror_host_sgdt() == EMULATED_GDT ? VOUCH_UMIP : 0) | (amd ? VOUCH_SYSENTER : 0) |
	       (keys ? 0 : VOUCH_PKRU);
}

void tier_pinned(struct direct *d)
{
	d->host_aux = host_aux();
	for (unsigned n = 0; n < GDT_ENTRIES; n++)
		d->host_limit[n] = host_lsl(n << 3 | 3);
	memset(d->gdt_seen, 0, sizeof(d->gdt_seen)); /* to be compared again */
	d->limits_equal = false;
}

unsigned tier_vouched(const struct direct *d)
{
	unsigned v = d->host_vouch;

	if (!(d->c->cr4 & CR4_UMIP))
		v &= ~(unsigned)VOUCH_UMIP;
	if (d->cpu_pinned < 0)
		return v;
	return v | (d->limits_equal ? VOUCH_LSL : 0) | (d->host_aux == (u32)d->c->tsc_aux ? VOUCH_AUX : 0);
}

void tier_probe(struct direct *d)
{
	d->fsgsbase = host_fsgsbase();
	d->host_vouch = host_vouch();
	for (unsigned n = 0; n < GDT_ENTRIES; n++) {
		u32 v = host_lar(n << 3 | 3);

		d->host_access[n] = (u8)(v >> 8);
		d->host_flags[n] = (u8)bits(v, 23, 20);
		d->gdt_seen[n] = 0;
	}
}

/* Can user mode see the descriptor: data or code of DPL 3, conforming code, call gates and what LAR shows? */
static bool visible(u64 lo)
{
	struct desc desc = { .lo = lo };
	u16 attr = desc_attr(&desc);

	return (attr & 0xff) &&
	       (desc_dpl(&desc) == 3 || ((attr & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE) && (attr & 4)));
}

/* The host's descriptor with the same number looks the same. The base counts where it is used, which in 64-bit mode is
 * FS and GS: a base other than 0 is of the per-CPU segment or a thread's own. */
static bool as_host(const struct direct *d, unsigned n, u64 lo)
{
	struct desc desc = { .lo = lo };

	if (!visible(lo))
		return !d->host_access[n];
	return (u8)desc_attr(&desc) == d->host_access[n] && bits(lo, 55, 52) == d->host_flags[n] && !desc_base(&desc);
}

static bool gdt_ok(struct direct *d)
{
	struct cpu *c = d->c;
	u64 now[GDT_ENTRIES] = { 0 };
	unsigned size = (c->gdtr.limit + 1) & ~7u;

	if (size > sizeof(now)) /* nor has the host more */
		return false;
	for (unsigned at = 0; at < size; at += 64)
		if (sys_load(c, c->gdtr.base + at, (u8 *)now + at, MIN(size - at, 64u)))
			return false;
	if (likely(!memcmp(now, d->gdt_seen, sizeof(now))))
		return true;
	for (unsigned n = 1; n < GDT_ENTRIES; n++)
		if (!as_host(d, n, now[n]))
			return false;
	memcpy(d->gdt_seen, now, sizeof(now));
	d->limits_equal = true;
	for (unsigned n = 1; n < GDT_ENTRIES; n++)
		d->limits_equal &= !visible(now[n]) || desc_limit(&(struct desc){ .lo = now[n] }) == d->host_limit[n];
	return true;
}

static bool selectors_ok(const struct cpu *c)
{
	static const u8 data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	if (c->seg[SEG_CS].sel != USER_CS || c->seg[SEG_SS].sel != USER_SS || (c->ldtr.sel & ~3))
		return false;
	for (unsigned k = 0; k < ARRAY_SIZE(data); k++)
		if (c->seg[data[k]].sel && c->seg[data[k]].sel != USER_SS)
			return false;
	return true;
}

bool tier_ok(struct direct *d)
{
	struct cpu *c = d->c;

	if (!c->d.long64 || c->d.cpl != 3 || (c->cr0 & (CR0_WANT | CR0_BAR)) != CR0_WANT ||
	    (c->cr4 & (CR4_WANT | CR4_BAR)) != CR4_WANT || !(c->cr4 & CR4_FSGSBASE) != !d->fsgsbase ||
	    (c->rflags & (FLAGS_BAR | FLAG_IF)) != FLAG_IF || (c->dr[7] & DR7_ENABLES))
		return false;
	if (c->xcr0 != d->x.xcr0 || c->int_shadow || c->pending_db || c->injected.type != EV_NONE || c->wishes ||
	    c->trace || !c->free_running)
		return false;
	/* WRFSBASE takes any canonical address, PTRACE_SETREGS only a user's */
	if (c->seg[SEG_FS].base >= USER_END || c->seg[SEG_GS].base >= USER_END)
		return false;
	return selectors_ok(c) && pages_stub_free(d) && gdt_ok(d);
}
