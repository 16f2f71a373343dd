/* SPDX-License-Identifier: Apache-2.0
 * Control registers, MSRs, system calls and the protections that CR4 switches on, in 64-bit mode: what may be written,
 * what faults, and that CPUID tells of it. SDM 3A chapters 2 and 4, 4 (MSRs), 2A to 2D.
 */
#include "kit/kit.h"

enum { UD = 6, GP = 13, PF = 14 };
#define OK ((u64)-1)
#define USER_CODE 0x10000000000ull /* PML4 entry 2 */

#define TRY(name, manual, vec, ...)                                                            \
	do {                                                                                   \
		void __attribute__((noinline)) fn(void *arg)                                   \
		{                                                                              \
			__asm__ volatile(__VA_ARGS__ ::"D"(arg) : "memory");                   \
		}                                                                              \
		kit_case(name, manual, (u64)(s64)(vec), (u64)(s64)kit_try(fn, (void *)probe)); \
	} while (0)

static u64 *user_page, *user_pt;
static u64 probe = 0;

static bool amd;

static void do_cr0(void *v)
{
	wrcr0(*(u64 *)v);
}
static void do_cr3(void *v)
{
	wrcr3(*(u64 *)v);
}
static void do_cr4(void *v)
{
	wrcr4(*(u64 *)v);
}
static void do_cr8(void *v)
{
	__asm__ volatile("mov %0, %%cr8" ::"r"(*(u64 *)v));
}

static struct {
	u32 msr;
	u64 v;
} m;

static void do_wrmsr(void *v)
{
	(void)v;
	wrmsr(m.msr, m.v);
}
static void do_rdmsr(void *v)
{
	(void)v;
	m.v = rdmsr(m.msr);
}
static void do_xsetbv(void *v)
{
	u64 x = *(u64 *)v;

	__asm__ volatile("xsetbv" ::"a"((u32)x), "d"((u32)(x >> 32)), "c"(0));
}

static u64 try_value(void (*fn)(void *), u64 v)
{
	return (u64)(s64)kit_try(fn, &v);
}

static u64 try_wrmsr(u32 msr, u64 v)
{
	m.msr = msr;
	m.v = v;
	return (u64)(s64)kit_try(do_wrmsr, NULL);
}

static u64 try_rdmsr(u32 msr)
{
	m.msr = msr;
	return (u64)(s64)kit_try(do_rdmsr, NULL);
}

static bool has(u32 leaf, u32 sub, unsigned reg, unsigned bit)
{
	u32 r[4];

	cpuid(leaf, sub, r);
	return r[reg] >> bit & 1;
}

static bool is_amd(void)
{
	u32 r[4];

	cpuid(0, 0, r);
	return r[2] == 0x444d4163; /* cAMD */
}

static void control_registers(void)
{
	u64 cr0 = rdcr0(), cr4 = rdcr4(), known4 = 0x7ff;
	static const struct {
		u8 bit, leaf, reg, at;
	} f[] = { { 11, 7, 2, 2 },  { 12, 7, 2, 16 }, { 13, 1, 2, 5 },	{ 14, 1, 2, 6 },
		  { 16, 7, 1, 0 },  { 17, 1, 2, 17 }, { 18, 1, 2, 26 }, { 20, 7, 1, 7 },
		  { 21, 7, 1, 20 }, { 22, 7, 2, 3 },  { 23, 7, 2, 7 },	{ 24, 7, 2, 31 } };

	for (unsigned i = 0; i < sizeof(f) / sizeof(f[0]); i++)
		if (has(f[i].leaf, 0, f[i].reg, f[i].at))
			known4 |= 1ull << f[i].bit;
	for (unsigned bit = 0; bit < 64; bit++) {
		u64 b = 1ull << bit, want = OK;

		kit_with("bit %u", bit, 0, 0, 0);
		if (bit >= 32)
			want = GP; /* the low reserved bits are ignored */
		else if (b & (0x20000000 | 0x80000000 | 1))
			want = GP; /* NW without CD; PG off in 64-bit mode; PE off with PG */
		if (!kit_on_tcg() || want == OK) {
			kit_case("each bit of CR0 flipped", "SDM 3A 2.5", want, try_value(do_cr0, cr0 ^ b));
			wrcr0(cr0);
		}
		if (bit <= 1 && !has(1, 0, 3, 1))
			continue; /* KVM lets a guest have VME and PVI that no CPUID promises */
		if (bit != 12 && bit != 17 && bit != 23 && bit != 5 && bit != 7) {
			want = known4 >> bit & 1 ? OK : GP;
			if (!kit_on_tcg() || want == OK) {
				kit_case("each bit of CR4 flipped", "SDM 3A 2.5", want, try_value(do_cr4, cr4 ^ b));
				wrcr4(cr4);
			}
		}
		if (bit >= 4) {
			kit_case("each bit of CR8", "SDM 3A 10.8.6", GP, try_value(do_cr8, b));
		}
	}
	kit_with(NULL, 0, 0, 0, 0);
	kit_case("reserved bits of CR0 read as they are", "SDM 3A 2.5", cr0, rdcr0());
	if (!kit_on_tcg()) {
		u32 r[4];

		kit_case("CR4.PAE off in 64-bit mode", "SDM 3A 2.5", GP, try_value(do_cr4, cr4 & ~0x20ull));
		kit_case("CR4.LA57 in 64-bit mode", "SDM 3A 4.1.1", GP, try_value(do_cr4, cr4 ^ 0x1000));
		kit_case("CR0.WP off with CR4.CET", "SDM 3A 2.5", OK, OK);
		cpuid(0x80000008, 0, r);
		kit_case("CR3 above MAXPHYADDR", "SDM 3A 4.5", GP, try_value(do_cr3, rdcr3() | 1ull << (r[0] & 0xff)));
		kit_case("CR3 bit 63 without PCIDE", "SDM 2B MOV CR", GP, try_value(do_cr3, rdcr3() | 1ull << 63));
	}
	kit_case("CR3 bits 3 and 4", "SDM 3A 4.5", OK, try_value(do_cr3, rdcr3() | 0x18));
	wrcr3(rdcr3() & ~0xfffull);
	if (known4 >> 17 & 1) {
		kit_case("CR4.PCIDE with PCID 0", "SDM 3A 4.10.1", OK, try_value(do_cr4, cr4 | 1 << 17));
		kit_case("CR3 bit 63 with PCIDE", "SDM 2B MOV CR", OK, try_value(do_cr3, rdcr3() | 1ull << 63));
		kit_case("it is not kept", "SDM 2B MOV CR", 0, rdcr3() >> 63);
		wrcr3(rdcr3() | 5);
		wrcr4(rdcr4() & ~(1ull << 17));
		wrcr3(rdcr3() & ~0xfffull);
		wrcr3(rdcr3() | 8);
		kit_case("CR4.PCIDE with CR3 bits set", "SDM 3A 4.10.1", GP, try_value(do_cr4, cr4 | 1 << 17));
		wrcr3(rdcr3() & ~0xfffull);
		wrcr4(cr4);
	}
}

static void efer(void)
{
	u64 v = rdmsr(0xc0000080), known = 0xd01;

	if (has(0x80000001, 0, 2, 2))
		known |= 1 << 12; /* SVME */
	if (has(0x80000001, 0, 3, 25))
		known |= 1 << 14; /* FFXSR */
	if (has(0x80000008, 0, 1, 13))
		known |= 0;
	for (unsigned bit = 0; bit < 64 && !kit_on_tcg(); bit++) {
		u64 want = bit == 8 ? GP : bit == 10 || (known >> bit & 1) ? OK : GP;

		if (bit == 11 || bit == 15 || bit == 17 || bit == 18 || bit == 20 || bit == 21 || bit == 12 ||
		    bit == 13)
			continue; /* NXE is in use; the rest is AMD's, told by leaves of its own */
		kit_with("bit %u", bit, 0, 0, 0);
		kit_case("each bit of EFER flipped", "SDM 4 IA32_EFER", want, try_wrmsr(0xc0000080, v ^ 1ull << bit));
		wrmsr(0xc0000080, v);
	}
	kit_with(NULL, 0, 0, 0, 0);
	kit_case("LMA stays", "SDM 4 IA32_EFER", v, rdmsr(0xc0000080));
}

static void xcr0(void)
{
	u32 r[4];
	u64 can, cr4 = rdcr4();

	if (!has(1, 0, 2, 26))
		return;
	wrcr4(cr4 & ~(1ull << 18));
	kit_case("XSETBV without OSXSAVE", "SDM 2D XSETBV", UD, try_value(do_xsetbv, 3));
	kit_case("CPUID.OSXSAVE follows CR4", "SDM 2A CPUID", 0, has(1, 0, 2, 27));
	wrcr4(cr4 | 1 << 18);
	kit_case("CPUID.OSXSAVE follows CR4", "SDM 2A CPUID", 1, has(1, 0, 2, 27));
	cpuid(13, 0, r);
	can = (u64)r[3] << 32 | r[0];
	for (u64 v = 0; v < 0x400; v++) {
		bool bad = !(v & 1) || (v & ~can) || ((v & 4) && !(v & 2)) || ((v >> 3 & 1) != (v >> 4 & 1)) ||
			   ((v & 0xe0) && ((v & 0xe0) != 0xe0 || !(v & 4)));

		kit_with("XCR0 %x", (u32)v, 0, 0, 0);
		kit_case("which XCR0", "SDM 1 13.3", bad ? GP : OK, try_value(do_xsetbv, v));
	}
	for (unsigned bit = 10; bit < 64; bit++)
		if (!(can >> bit & 1)) {
			kit_with("bit %u", bit, 0, 0, 0);
			kit_case("XCR0 reserved bit", "SDM 1 13.3", GP, try_value(do_xsetbv, 1 | 1ull << bit));
		}
	kit_with(NULL, 0, 0, 0, 0);
	do_xsetbv(&can);
	{
		u32 size = 576;

		for (unsigned i = 2; i < 63; i++) {
			u32 s[4];

			if (!(can >> i & 1))
				continue;
			cpuid(13, i, s);
			if (s[1] + s[0] > size)
				size = s[1] + s[0];
			kit_case("component in bounds", "SDM 2A CPUID", 0, s[1] + s[0] > r[2]);
		}
		cpuid(13, 0, r);
		kit_case("CPUID.0DH.EBX with all on", "SDM 2A CPUID", size, r[1]);
		kit_case("CPUID.0DH.ECX", "SDM 2A CPUID", size, r[2]);
	}
	{
		u64 x87 = 1;

		do_xsetbv(&x87);
		cpuid(13, 0, r);
		kit_case("CPUID.0DH.EBX with x87 alone", "SDM 2A CPUID", 576, r[1]);
		do_xsetbv(&can);
	}
	{
		static u8 area[4096 + 64] __attribute__((aligned(64)));
		static const struct {
			const char *name;
			unsigned at;
			u64 v;
			u64 want;
		} t[] = { { "good header", 512, 1, OK },
			  { "XSTATE_BV bit 62", 512, 1ull << 62, GP },
			  { "XCOMP_BV of the standard form", 520, 2, GP },
			  { "header byte 16", 528, 1, GP },
			  { "MXCSR reserved bit", 24, 0xffffffff, GP } };

		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			memset(area, 0, sizeof(area));
			*(u16 *)area = 0x37f;
			*(u32 *)(area + 24) = 0x1f80;
			*(u64 *)(area + 512) = 3;
			*(u64 *)(area + t[i].at) = t[i].v;
			probe = (u64)area;
			kit_case(t[i].name, "SDM 1 13.8", t[i].want,
				 (u64)(s64)kit_try((void (*)(void *))({
							   void f(void *a)
							   {
								   __asm__ volatile("xrstor64 (%0)" ::"r"(a), "a"(-1),
										    "d"(-1)
										    : "memory");
							   }
							   f;
						   }),
						   area));
		}
		probe = (u64)area + 8;
		TRY("XSAVE unaligned", "SDM 1 13.7", GP, "mov $-1, %%eax; mov %%eax, %%edx; xsave64 (%0)");
		TRY("XRSTOR unaligned", "SDM 1 13.8", GP, "mov $-1, %%eax; mov %%eax, %%edx; xrstor64 (%0)");
		TRY("FXSAVE unaligned", "SDM 2A FXSAVE", GP, "fxsave64 (%0)");
		TRY("LDMXCSR of a reserved bit", "SDM 2A LDMXCSR", GP, "movl $0x10000, -64(%%rsp); ldmxcsr -64(%%rsp)");
	}
	wrcr4(cr4);
}

#define NONCANONICAL 0x0000800000000000ull

static void msrs(void)
{
	static const u32 address[] = { 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000082, 0xc0000083, 0x175, 0x176 };
	static const u8 types[] = { 1, 1, 0, 0, 1, 1, 1, 1 }; /* memory types 0 to 7: 7 is UC- in PAT only */
	u64 pat = rdmsr(0x277), v;

	for (unsigned i = 0; i < sizeof(address) / 4; i++) {
		u64 old = rdmsr(address[i]);

		kit_with("MSR %x", address[i], 0, 0, 0);
		if (!kit_on_tcg() && !(amd && address[i] < 0x1000)) /* AMD: no system calls by these in long mode */
			kit_case("non-canonical address in an MSR", "SDM 2C WRMSR", GP,
				 try_wrmsr(address[i], NONCANONICAL));
		kit_case("canonical address in an MSR", "SDM 2C WRMSR", OK, try_wrmsr(address[i], 0xffff800000000000));
		kit_case("is kept", "SDM 2C WRMSR", 0xffff800000000000, rdmsr(address[i]));
		wrmsr(address[i], old);
	}
	for (unsigned t = 0; t < 256 && !kit_on_tcg(); t++) {
		kit_with("type %x", t, 0, 0, 0);
		kit_case("memory type in PAT", "SDM 3A 11.12.2", t < 8 && types[t] ? OK : GP,
			 try_wrmsr(0x277, (pat & ~0xff00ull) | t << 8));
		wrmsr(0x277, pat);
	}
	kit_with(NULL, 0, 0, 0, 0);
	kit_case("SFMASK", "SDM 4", OK, try_wrmsr(0xc0000084, 0x47700));
	kit_case("TSC can be written", "SDM 3B 17.17", OK, try_wrmsr(0x10, 1ull << 40));
	kit_case("and counts on from there", "SDM 3B 17.17", 1ull << 40 >> 36, rdmsr(0x10) >> 36);
	if (kit_on_tcg())
		return;
	kit_case("APIC_BASE reserved bit", "SDM 3A 10.4.4", GP, try_wrmsr(0x1b, rdmsr(0x1b) | 1));
	kit_case("APIC_BASE above MAXPHYADDR", "SDM 3A 10.4.4", GP, try_wrmsr(0x1b, rdmsr(0x1b) | 1ull << 60));
	v = rdmsr(0xfe);
	kit_case("MTRRcap is read-only", "SDM 3A 11.11.1", GP, try_wrmsr(0xfe, v));
	kit_case("MTRRdefType reserved bit", "SDM 3A 11.11.2.1", GP, try_wrmsr(0x2ff, rdmsr(0x2ff) | 0x100));
	kit_case("MTRRdefType bad type", "SDM 3A 11.11.2.1", GP, try_wrmsr(0x2ff, (rdmsr(0x2ff) & ~7ull) | 2));
	kit_case("MTRRphysBase bad type", "SDM 3A 11.11.2.3", GP, try_wrmsr(0x200, 2));
	kit_case("MTRRphysBase reserved bit", "SDM 3A 11.11.2.3", GP, try_wrmsr(0x200, 0x100));
	kit_case("MTRRphysMask reserved bit", "SDM 3A 11.11.2.3", GP, try_wrmsr(0x201, 0x400));
	kit_case("MTRRfix bad type", "SDM 3A 11.11.2.2", GP, try_wrmsr(0x250, 2));
	for (unsigned i = 0; i < (v & 0xff); i++) {
		kit_case("MTRRphysBase n", "SDM 3A 11.11.2.3", OK, try_rdmsr(0x200 + 2 * i));
		kit_case("MTRRphysMask n", "SDM 3A 11.11.2.3", OK, try_rdmsr(0x201 + 2 * i));
	}
	kit_case("unknown MSR read", "SDM 2B RDMSR", GP, try_rdmsr(0x12345678));
	kit_case("unknown MSR written", "SDM 2C WRMSR", GP, try_wrmsr(0x40000fff, 0));
}

/* ---- ring 3 ---- */

extern u8 user_code[], user_code_end[];
#define USER(name, text)                                                                                               \
	__asm__(".pushsection .text.user, \"ax\"; .globl u_" #name "; u_" #name ": " text "; int $0x80; .popsection"); \
	extern u8 u_##name[]
__asm__(".pushsection .text.user, \"ax\"; user_code: .popsection");
USER(rdtsc, "rdtsc");
USER(rdtscp, "rdtscp");
USER(rdpmc, "xor %ecx, %ecx; rdpmc");
USER(sgdt, "sgdt -64(%rsp)");
USER(sidt, "sidt -64(%rsp)");
USER(sldt, "sldt %eax");
USER(str, "str %eax");
USER(smsw, "smsw %eax");
USER(rdfsbase, "rdfsbase %rax");
USER(wrgsbase, "wrgsbase %rdi");
USER(swapgs, "swapgs");
USER(hlt, "hlt");
USER(cli, "cli");
USER(rdmsr, "rdmsr");
USER(cr0, "mov %cr0, %rax");
USER(dr0, "mov %dr0, %rax");
USER(clts, "clts");
USER(invlpg, "invlpg (%rdi)");
USER(wbinvd, "wbinvd");
USER(lgdt, "lgdt (%rsp)");
USER(lidt, "lidt (%rsp)");
USER(lmsw, "lmsw %ax");
USER(in, "in $0x80, %al");
USER(xgetbv, "xor %ecx, %ecx; xgetbv");
USER(xsetbv, "xor %ecx, %ecx; xsetbv");
USER(sysret, "sysretq");
USER(sysexit, "sysexitl");
USER(syscall, "mov $0x5555, %edi; syscall; after_syscall: nop");
USER(sysenter, "mov %rsp, %rcx; lea after_sysenter(%rip), %rdx; sysenter; after_sysenter: nop");
USER(clac, "clac");
USER(monitor, "monitor");
USER(mwait, "mwait");
USER(pushf, "pushfq; pop %rax");
USER(segments,
     "mov %fs, %eax; mov %gs, %ecx; mov %ds, %edx; shl $16, %rcx; shl $32, %rdx; or %rcx, %rax; or %rdx, %rax");
USER(popf, "push %rdi; popfq; pushfq; pop %rax");
__asm__(".pushsection .text.user, \"ax\"; user_code_end: .popsection");

static u64 run_user(u8 *code, void *arg, u64 flags)
{
	return (u64)(s64)kit_try_user((void *)(USER_CODE + (u64)(code - user_code)), (void *)(USER_CODE + 0x2000), arg,
				      flags);
}

static void user_case(const char *name, const char *manual, u8 *code, u64 want)
{
	u64 v = run_user(code, NULL, 2);

	kit_case(name, manual, want, v);
	if (v == GP)
		kit_case("error code at ring 3", manual, 0, KIT_ERR);
}

/* IRET to ring 3 with selectors that ring 3 may not keep, and null ones with an RPL: all end as 0. The base that an MSR
 * gave stays. */
static void selectors_of_return(void)
{
	static const u16 sels[] = { 0, 1, 2, 3, 0x10, 0x23 };

	for (unsigned k = 0; k < sizeof(sels) / sizeof(sels[0]); k++) {
		u64 left = sels[k] == 0x23 ? sels[k] : 0;

		__asm__ volatile("mov %0, %%fs; mov %0, %%gs; mov %0, %%ds" ::"r"(sels[k]));
		wrmsr(0xc0000101, 0x400000);
		run_user(u_segments, NULL, 2);
		kit_with("selector %x", sels[k], 0, 0, 0);
		kit_case("selectors after a return to ring 3", "SDM 2A IRET", left * 0x100010001, kit_last.f.rax);
		kit_case("GS base after a return to ring 3", "SDM 2A IRET", 0x400000, rdmsr(0xc0000101));
	}
	kit_with(NULL, 0, 0, 0, 0);
	__asm__ volatile("mov %0, %%fs; mov %0, %%gs; mov %0, %%ds" ::"r"(0));
}

static void ring3(void)
{
	u64 cr4 = rdcr4();
	static const struct {
		const char *name;
		u8 *code;
	} gp[] = {
		{ "HLT at CPL 3", u_hlt },	 { "CLI at CPL 3", u_cli },	  { "RDMSR at CPL 3", u_rdmsr },
		{ "MOV CR0 at CPL 3", u_cr0 },	 { "MOV DR0 at CPL 3", u_dr0 },	  { "CLTS at CPL 3", u_clts },
		{ "INVLPG at CPL 3", u_invlpg }, { "WBINVD at CPL 3", u_wbinvd }, { "LGDT at CPL 3", u_lgdt },
		{ "LIDT at CPL 3", u_lidt },	 { "LMSW at CPL 3", u_lmsw },	  { "IN at CPL 3", u_in },
		{ "SWAPGS at CPL 3", u_swapgs }, { "SYSRET at CPL 3", u_sysret }, { "SYSEXIT at CPL 3", u_sysexit }
	};

	for (unsigned i = 0; i < sizeof(gp) / sizeof(gp[0]); i++)
		user_case(gp[i].name, "SDM 3A 5.9", gp[i].code, gp[i].code == u_sysexit && amd ? UD : GP);
	for (unsigned on = 0; on < 2; on++) {
		wrcr4((cr4 & ~4ull) | (on ? 4 : 0));
		user_case("RDTSC by CR4.TSD", "SDM 2B RDTSC", u_rdtsc, on ? GP : 0x80);
		if (has(0x80000001, 0, 3, 27))
			user_case("RDTSCP by CR4.TSD", "SDM 2B RDTSCP", u_rdtscp, on ? GP : 0x80);
		if (has(7, 0, 2, 2)) {
			static u8 *const code[] = { u_sgdt, u_sidt, u_sldt, u_str, u_smsw };

			wrcr4((cr4 & ~(1ull << 11)) | (u64)on << 11);
			for (unsigned i = 0; i < 5; i++) {
				kit_with("SGDT SIDT SLDT STR SMSW: %u", i, 0, 0, 0);
				user_case("by CR4.UMIP", "SDM 3A 2.5", code[i], on ? GP : 0x80);
			}
			kit_with(NULL, 0, 0, 0, 0);
		}
		if (has(7, 0, 1, 0)) {
			wrcr4((cr4 & ~(1ull << 16)) | (u64)on << 16);
			user_case("RDFSBASE by CR4.FSGSBASE", "SDM 2B RDFSBASE", u_rdfsbase, on ? 0x80 : UD);
			user_case("WRGSBASE by CR4.FSGSBASE", "SDM 2C WRFSBASE", u_wrgsbase, on ? 0x80 : UD);
			if (on)
				kit_case("WRGSBASE non-canonical", "SDM 2C WRFSBASE", GP,
					 run_user(u_wrgsbase, (void *)NONCANONICAL, 2));
		}
		if (has(1, 0, 2, 26)) {
			wrcr4((cr4 & ~(1ull << 18)) | (u64)on << 18);
			user_case("XGETBV by CR4.OSXSAVE", "SDM 2D XGETBV", u_xgetbv, on ? 0x80 : UD);
			user_case("XSETBV at CPL 3", "SDM 2D XSETBV", u_xsetbv, on ? GP : UD);
		}
		wrcr4(cr4);
	}
	if (has(7, 0, 1, 20))
		user_case("CLAC at CPL 3", "SDM 2A CLAC", u_clac, UD);
	run_user(u_popf, (void *)0x243ed7, 2);
	kit_case("POPF at CPL 3 keeps IF and IOPL", "SDM 2B POPF", 0x240cd7, kit_last.f.rax);
	run_user(u_pushf, NULL, 0x3202);
	kit_case("PUSHF at CPL 3", "SDM 2B PUSHF", 0x3202, kit_last.f.rax);
}

/* Says in registers how it was entered, on a stack of its own. */
extern u8 syscall_entry[];
u8 syscall_stack[4096] __attribute__((aligned(16)));
__asm__(".pushsection .text; syscall_entry: mov %ss, %ebx; mov $syscall_stack + 4096, %rsp; pushfq; pop %rdx; "
	"mov %cs, %ebp; int $0x81; .popsection");

static void system_calls(void)
{
	extern u8 after_syscall[], after_sysenter[];
	u64 v, efer = rdmsr(0xc0000080), code = USER_CODE - (u64)user_code;

	wrmsr(0xc0000081, 0x8ull << 32 | 0x1bull << 48);
	wrmsr(0xc0000082, (u64)syscall_entry);
	wrmsr(0xc0000084, 0x40dd5 & ~0x400ull);
	v = run_user(u_syscall, NULL, 0x40ed7 & ~0x300);
	kit_case("SYSCALL arrives", "SDM 2B SYSCALL", 0x81, v);
	kit_case("RCX of SYSCALL", "SDM 2B SYSCALL", (u64)after_syscall + code, kit_last.f.rcx);
	kit_case("R11 of SYSCALL", "SDM 2B SYSCALL", 0x40ed7 & ~0x300, kit_last.f.r11);
	kit_case("flags of SYSCALL", "SDM 2B SYSCALL", 0x402, kit_last.f.rdx & ~0x200ull);
	kit_case("CS of SYSCALL", "SDM 2B SYSCALL", 8, kit_last.f.rbp);
	kit_case("SS of SYSCALL", "SDM 2B SYSCALL", 0x10, kit_last.f.rbx);
	wrmsr(0xc0000080, efer & ~1ull);
	kit_case("SYSCALL without EFER.SCE", "SDM 2B SYSCALL", UD, run_user(u_syscall, NULL, 2));
	TRY("SYSRET without EFER.SCE", "SDM 2B SYSRET", UD, "sysretq");
	wrmsr(0xc0000080, efer);
	if (!has(1, 0, 3, 11))
		return;
	wrmsr(0x174, 0);
	if (!amd && !kit_on_tcg()) { /* AMD has no SYSENTER in long mode: #UD */
		kit_case("SYSENTER with a null CS", "SDM 2B SYSENTER", GP, run_user(u_sysenter, NULL, 2));
		wrmsr(0x174, 8);
		wrmsr(0x175, (u64)syscall_stack + 4096);
		wrmsr(0x176, (u64)syscall_entry);
		v = run_user(u_sysenter, NULL, 0x2d7);
		kit_case("SYSENTER arrives", "SDM 2B SYSENTER", 0x81, v);
		kit_case("CS of SYSENTER", "SDM 2B SYSENTER", 8, kit_last.f.rbp);
		kit_case("flags of SYSENTER", "SDM 2B SYSENTER", 0xd7, kit_last.f.rdx);
	}
	(void)after_sysenter;
}

static void do_invpcid(void *a)
{
	u64 *d = a; /* type, then the descriptor */

	__asm__ volatile("invpcid (%0), %1" ::"r"(d + 1), "r"(d[0]) : "memory");
}

static void others(void)
{
	u64 cr4 = rdcr4();

	if (has(7, 0, 1, 10)) {
		static const struct {
			const char *name;
			u64 d[3], want;
		} t[] = { { "INVPCID type 0", { 0, 0, 0x1000 }, OK },
			  { "INVPCID type 1", { 1, 0, 0 }, OK },
			  { "INVPCID type 2", { 2, 0, 0 }, OK },
			  { "INVPCID type 3", { 3, 0, 0 }, OK },
			  { "INVPCID type 4", { 4, 0, 0 }, GP },
			  { "INVPCID reserved bit", { 2, 0x1000, 0 }, GP },
			  { "INVPCID of a PCID without PCIDE", { 1, 1, 0 }, GP },
			  { "INVPCID non-canonical", { 0, 0, NONCANONICAL }, GP } };

		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			u64 d[3] = { t[i].d[0], t[i].d[1], t[i].d[2] };

			kit_case(t[i].name, "SDM 2A INVPCID", t[i].want, (u64)(s64)kit_try(do_invpcid, d));
		}
	}
	if (has(7, 0, 1, 20)) {
		TRY("STAC and CLAC at CPL 0", "SDM 2B STAC", OK, "stac; clac");
	}
	wrcr4(cr4 | 8);
	TRY("DR4 with CR4.DE", "SDM 3B 17.2.2", UD, "mov %%dr4, %%rax");
	TRY("DR5 with CR4.DE", "SDM 3B 17.2.2", UD, "mov %%dr5, %%rax");
	wrcr4(cr4 & ~8ull);
	TRY("DR4 without CR4.DE is DR6", "SDM 3B 17.2.2", OK,
	    "mov %%dr4, %%rax; mov %%dr6, %%rcx; cmp %%rax, %%rcx; je 1f; ud2; 1:");
	TRY("DR7 high half", "SDM 3B 17.2.6", GP, "mov $0x100000400, %%rax; mov %%rax, %%dr7");
	TRY("DR6 high half", "SDM 3B 17.2.6", GP, "mov $0x100000000, %%rax; mov %%rax, %%dr6");
	TRY("SWAPGS", "SDM 2B SWAPGS", OK, "swapgs; swapgs");
	TRY("MOV to CR8 and back", "SDM 3A 10.8.6.1", OK,
	    "mov $5, %%eax; mov %%rax, %%cr8; mov %%cr8, %%rcx; xor %%edx, %%edx; mov %%rdx, %%cr8; cmp $5, %%rcx; je "
	    "1f; ud2; 1:");
	TRY("XSAVE without OSXSAVE", "SDM 2D XSAVE", UD,
	    "mov %%cr4, %%rax; btr $18, %%rax; mov %%rax, %%cr4; lea -1024(%%rsp), %%rcx; and $-64, %%rcx; xsave "
	    "(%%rcx)");
	wrcr4(cr4);
	if (has(7, 0, 2, 22)) {
		wrmsr(0xc0000103, 0x12345);
		TRY("RDPID", "SDM 2B RDPID", OK, "rdpid %%rax; cmp $0x12345, %%rax; je 1f; ud2; 1:");
		TRY("RDTSCP gives TSC_AUX", "SDM 2B RDTSCP", OK, "rdtscp; cmp $0x12345, %%rcx; je 1f; ud2; 1:");
	}
}

static void cpuid_leaves(void)
{
	u32 r[4], last[4], out[4];

	cpuid(0, 0, r);
	cpuid(r[0], 0, last);
	kit_case("leaf 7 exists", "SDM 2A CPUID", 1, r[0] >= 7);
	cpuid(0x80000000, 0, r);
	kit_case("leaf 80000008 exists", "SDM 2A CPUID", 1, r[0] >= 0x80000008);
	kit_case("highest extended leaf is one", "SDM 2A CPUID", 0x8000, r[0] >> 16);
	cpuid(1, 0, r);
	cpuid(0x80000001, 0, out);
	if (!has(0x80000001, 0, 2, 31) && r[3] >> 23 & 1)
		kit_case("long mode is told", "SDM 2A CPUID", 1, out[3] >> 29 & 1);
	cpuid(11, 0, out);
	if (out[1]) {
		kit_case("x2APIC ID and initial APIC ID", "SDM 2A CPUID", r[1] >> 24, out[3] & 0xff);
		kit_case("level type 1", "SDM 2A CPUID", 0x100, out[2] & 0xffff);
		cpuid(11, 1, out);
		kit_case("level type 2", "SDM 2A CPUID", 0x201, out[2] & 0xffff);
	}
}

int guest_main(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page();

	user_pt = kit_page();
	user_page = kit_page();
	memcpy(user_page, user_code, (size_t)(user_code_end - user_code));
	kit_pml4[2] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	pd[0] = (u64)user_pt | 7;
	user_pt[0] = (u64)user_page | 7;
	user_pt[1] = (u64)kit_page() | 7;
	amd = is_amd();
	kit_set_gate(0x81, kit_stubs + 16 * 0x81, 0xee, 0);
	control_registers();
	efer();
	msrs();
	ring3();
	selectors_of_return();
	system_calls();
	others();
	xcr0();
	cpuid_leaves();
	return kit_done();
}
