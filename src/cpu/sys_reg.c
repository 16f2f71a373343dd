/* SPDX-License-Identifier: Apache-2.0
 * Instructions that read or write special registers: MSRs, time, random numbers, CPUID, segment bases, XCR0.
 */
#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include "cpu/segment.h"
#include "cpu/sys.h"

#define XCR0_X87 1ull
#define XCR0_SSE 2ull
#define XCR0_AVX 4ull
#define XCR0_AVX512 0xe0ull

static void set_edx_eax(struct cpu *c, u64 val)
{
	c->r[RAX] = (u32)val;
	c->r[RDX] = val >> 32;
}

static u64 edx_eax(const struct cpu *c)
{
	return (u64)(u32)c->r[RDX] << 32 | (u32)c->r[RAX];
}

int sys_rdmsr(struct cpu *c, const struct insn *i)
{
	u64 val = 0;
	int out;

	(void)i;
	if (sys_user(c))
		return cpu_gp(c, 0);
	counter_inc(c->counters, CNT_MSR_READ);
	out = msr_read(c, (u32)c->r[RCX], &val);
	cpu_trace(c, TRACE_MSR, (u32)c->r[RCX], val, out ? 2 : 0);
	if (!out)
		set_edx_eax(c, val);
	return out;
}

int sys_wrmsr(struct cpu *c, const struct insn *i)
{
	int out;

	(void)i;
	if (sys_user(c))
		return cpu_gp(c, 0);
	counter_inc(c->counters, CNT_MSR_WRITE);
	out = msr_write(c, (u32)c->r[RCX], edx_eax(c));
	cpu_trace(c, TRACE_MSR, (u32)c->r[RCX], edx_eax(c), out ? 2 : 1);
	return out ? out : OUT_END;
}

/* ---- time
 * ------------------------------------------------------------------------------------------------------------- */

static bool tsc_forbidden(const struct cpu *c)
{
	return (c->cr4 & CR4_TSD) && sys_user(c);
}

int sys_rdtsc(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (tsc_forbidden(c))
		return cpu_gp(c, 0);
	set_edx_eax(c, cpu_guest_tsc(c));
	return OUT_DONE;
}

int sys_rdtscp(struct cpu *c, const struct insn *i)
{
	if (!cpu_has(c, FEAT_RDTSCP))
		return cpu_ud(c);
	if (sys_rdtsc(c, i))
		return OUT_FAULT;
	c->r[RCX] = (u32)c->tsc_aux;
	return OUT_DONE;
}

int sys_rdpid(struct cpu *c, const struct insn *i)
{
	if (!cpu_has(c, FEAT_RDPID))
		return cpu_ud(c);
	c->r[i->rm] = (u32)c->tsc_aux;
	return OUT_DONE;
}

/* No counters are offered; the four that every AMD processor has read as zero. */
int sys_rdpmc(struct cpu *c, const struct insn *i)
{
	(void)i;
	if ((sys_user(c) && !(c->cr4 & CR4_PCE)) || !cpu_is_amd(c) || (u32)c->r[RCX] > 3)
		return cpu_gp(c, 0);
	set_edx_eax(c, 0);
	return OUT_DONE;
}

/* ---- random numbers
 * --------------------------------------------------------------------------------------------------- */

static int random_into(struct cpu *c, const struct insn *i)
{
	u64 val = 0;
	bool ok = c->ops->random(c, &val, i->osz);

	gpr_write(c, i->rm, i->osz, ok ? val : 0);
	c->aflags = aflags_from_rflags(ok ? FLAG_CF : 0);
	return OUT_DONE;
}

int sys_rdrand(struct cpu *c, const struct insn *i)
{
	return cpu_has(c, FEAT_RDRAND) ? random_into(c, i) : cpu_ud(c);
}

int sys_rdseed(struct cpu *c, const struct insn *i)
{
	return cpu_has(c, FEAT_RDSEED) ? random_into(c, i) : cpu_ud(c);
}

int sys_cpuid(struct cpu *c, const struct insn *i)
{
	u32 out[4];

	(void)i;
	counter_inc(c->counters, CNT_CPUIDS);
	cpuid_query(c, (u32)c->r[RAX], (u32)c->r[RCX], out);
	c->r[RAX] = out[0];
	c->r[RBX] = out[1];
	c->r[RCX] = out[2];
	c->r[RDX] = out[3];
	return OUT_DONE;
}

/* ---- segment bases
 * ---------------------------------------------------------------------------------------------------- */

/* The base of FS or GS alone: of all derived state only the base of address formation follows it. */
static void set_base(struct cpu *c, unsigned seg, u64 base)
{
	c->seg[seg].base = base;
	c->d.ebase[seg] = base;
}

int sys_swapgs(struct cpu *c, const struct insn *i)
{
	u64 base = c->seg[SEG_GS].base;

	(void)i;
	if (!c->d.long64)
		return cpu_ud(c);
	if (sys_user(c))
		return cpu_gp(c, 0);
	set_base(c, SEG_GS, c->kernel_gs_base);
	c->kernel_gs_base = base;
	return OUT_DONE;
}

static bool base_insns_there(const struct cpu *c)
{
	return c->d.long64 && cpu_has(c, FEAT_FSGSBASE) && (c->cr4 & CR4_FSGSBASE);
}

static int read_base(struct cpu *c, const struct insn *i, unsigned seg)
{
	if (!base_insns_there(c))
		return cpu_ud(c);
	c->r[i->rm] = i->osz == 8 ? c->seg[seg].base : (u32)c->seg[seg].base;
	return OUT_DONE;
}

static int write_base(struct cpu *c, const struct insn *i, unsigned seg)
{
	u64 val = i->osz == 8 ? c->r[i->rm] : (u32)c->r[i->rm];

	if (!base_insns_there(c))
		return cpu_ud(c);
	if (!cpu_canonical(c, val))
		return cpu_gp(c, 0);
	set_base(c, seg, val);
	return OUT_DONE;
}

int sys_rdfsbase(struct cpu *c, const struct insn *i)
{
	return read_base(c, i, SEG_FS);
}

int sys_rdgsbase(struct cpu *c, const struct insn *i)
{
	return read_base(c, i, SEG_GS);
}

int sys_wrfsbase(struct cpu *c, const struct insn *i)
{
	return write_base(c, i, SEG_FS);
}

int sys_wrgsbase(struct cpu *c, const struct insn *i)
{
	return write_base(c, i, SEG_GS);
}

/* ---- extended control registers
 * --------------------------------------------------------------------------------------- */

int sys_xgetbv(struct cpu *c, const struct insn *i)
{
	u32 n = (u32)c->r[RCX];

	(void)i;
	if (!(c->cr4 & CR4_OSXSAVE))
		return cpu_ud(c);
	if (n > 1 || (n == 1 && !cpu_has(c, FEAT_XGETBV1)))
		return cpu_gp(c, 0);
	set_edx_eax(c, n ? c->xcr0 & c->xinuse : c->xcr0);
	return OUT_DONE;
}

/* SDM 1, 13.3: x87 always; AVX needs SSE; the three parts of AVX-512 come together and need AVX. */
bool sys_xcr0_valid(const struct cpu *c, u64 val)
{
	if ((val & ~c->model->xcr0_mask) || !(val & XCR0_X87))
		return false;
	if ((val & XCR0_AVX) && !(val & XCR0_SSE))
		return false;
	return !(val & XCR0_AVX512) || ((val & XCR0_AVX512) == XCR0_AVX512 && (val & XCR0_AVX));
}

int sys_xsetbv(struct cpu *c, const struct insn *i)
{
	(void)i;
	if (!(c->cr4 & CR4_OSXSAVE))
		return cpu_ud(c);
	if (sys_user(c) || (u32)c->r[RCX] || !sys_xcr0_valid(c, edx_eax(c)))
		return cpu_gp(c, 0);
	c->xcr0 = edx_eax(c);
	cpu_update_mode(c);
	return OUT_END;
}
