/* SPDX-License-Identifier: Apache-2.0
 * Port I/O: widths, ports that nobody answers, string I/O with page faults in the middle, and the I/O permission map at
 * CPL 3 in 64-bit mode. SDM 1 chapter 19.
 */
#include "kit/kit.h"

enum { GP = 13, PF = 14 };
#define VA 0x8000000000ull	   /* PML4 entry 1: two pages of data */
#define USER_CODE 0x10000000000ull /* PML4 entry 2 */
#define FREE_PORT 0x1510

static u64 *pt;
static u8 *frame[2];

#define USER(name, text)                                                                           \
	__asm__(".pushsection .text.user, \"ax\"; u_" #name ": " text "; int $0x80; .popsection"); \
	extern u8 u_##name[]
__asm__(".pushsection .text.user, \"ax\"; user_code: .popsection");
extern u8 user_code[], user_code_end[];
USER(in1, "mov %edi, %edx; in %dx, %al");
USER(in2, "mov %edi, %edx; in %dx, %ax");
USER(in4, "mov %edi, %edx; in %dx, %eax");
USER(out1, "mov %edi, %edx; out %al, %dx");
USER(out2, "mov %edi, %edx; out %ax, %dx");
USER(out4, "mov %edi, %edx; out %eax, %dx");
USER(ins1, "mov %edi, %edx; mov %rsp, %rdi; insb");
USER(ins4, "mov %edi, %edx; mov %rsp, %rdi; insl");
USER(outs2, "mov %edi, %edx; mov %rsp, %rsi; outsw");
USER(imm, "in $0x80, %al");
__asm__(".pushsection .text.user, \"ax\"; user_code_end: .popsection");

static void unclaimed(void)
{
	static const u16 port[] = { FREE_PORT, FREE_PORT + 1, FREE_PORT + 3, 0x300, 0x8000 };

	for (unsigned i = 0; i < sizeof(port) / 2; i++) {
		kit_with("port %x", port[i], 0, 0, 0);
		outb(port[i], 0);
		kit_case("byte from nobody", "all ones: a PC's bus floats high", 0xff, inb(port[i]));
		outw(port[i], 0);
		kit_case("word from nobody", "all ones: a PC's bus floats high", 0xffff, inw(port[i]));
		outl(port[i], 0);
		kit_case("dword from nobody", "all ones: a PC's bus floats high", 0xffffffff, inl(port[i]));
	}
	kit_with(NULL, 0, 0, 0, 0);
}

static u64 in_rax(unsigned width, u16 port)
{
	u64 v = 0x1122334455667788;

	if (width == 1)
		__asm__ volatile("inb %%dx, %%al" : "+a"(v) : "d"(port));
	else if (width == 2)
		__asm__ volatile("inw %%dx, %%ax" : "+a"(v) : "d"(port));
	else
		__asm__ volatile("inl %%dx, %%eax" : "+a"(v) : "d"(port));
	return v;
}

static void widths(void)
{
	kit_case("IN to AL", "SDM 2A IN", 0x11223344556677ff, in_rax(1, FREE_PORT));
	kit_case("IN to AX", "SDM 2A IN", 0x112233445566ffff, in_rax(2, FREE_PORT));
	kit_case("IN to EAX clears the high half", "SDM 2A IN", 0xffffffff, in_rax(4, FREE_PORT));
	outl(0xcf8, 0x80000000);
	kit_case("PCI address reads back", "PCI 3.0 3.2.2.3.2", 0x80000000, inl(0xcf8));
	kit_case("PCI vendor as a word", "PCI 3.0 6.2.1", 0x8086, inw(0xcfc));
	kit_case("PCI vendor as bytes", "PCI 3.0 6.2.1", 0x8086, inb(0xcfc) | inb(0xcfd) << 8);
	kit_case("PCI device at its place in a dword", "PCI 3.0 6.2.1", inl(0xcfc) >> 16, inw(0xcfe));
	outl(0xcf8, 0);
	kit_case("PCI data with the enable bit clear", "PCI 3.0 3.2.2.3.2", 0xffffffff, inl(0xcfc));
	outl(0xcf8, 0x80fff800);
	kit_case("PCI bus that is not there", "PCI 3.0 6.1", 0xffffffff, inl(0xcfc));
}

static void map(unsigned n, bool present)
{
	pt[n] = present ? (u64)frame[n] | 3 : 0;
	invlpg((void *)(VA + 4096 * n));
}

static struct {
	u64 rdi, rsi, rcx, rdx;
} s;

static void rep_insb(void *a)
{
	(void)a;
	__asm__ volatile("cld; rep insb" : "+D"(s.rdi), "+c"(s.rcx) : "d"(s.rdx) : "memory");
}
static void rep_insd(void *a)
{
	(void)a;
	__asm__ volatile("cld; rep insl" : "+D"(s.rdi), "+c"(s.rcx) : "d"(s.rdx) : "memory");
}
static void rep_outsb(void *a)
{
	(void)a;
	__asm__ volatile("cld; rep outsb" : "+S"(s.rsi), "+c"(s.rcx) : "d"(s.rdx) : "memory");
}

/* fw_cfg (port 0x510 selects, 0x511 gives byte after byte) shows whether a byte was read and lost. */
static void strings(void)
{
	map(0, true);
	map(1, false);
	memset(frame[0], 0, 4096);
	memset(frame[1], 0, 4096);
	outw(0x510, 0);
	s.rdi = VA + 4094;
	s.rcx = 4;
	s.rdx = 0x511;
	kit_case("REP INSB into a missing page", "SDM 1 19.5.2", PF, (u64)kit_try(rep_insb, NULL));
	kit_case("its error code", "SDM 3A 4.7", 2, KIT_ERR);
	kit_case("its CR2", "SDM 3A 4.7", VA + 4096, kit_last.cr2);
	kit_case("RDI of the fault", "SDM 2B REP", VA + 4096, kit_last.f.rdi);
	kit_case("RCX of the fault", "SDM 2B REP", 2, kit_last.f.rcx);
	kit_case("bytes before the fault", "SDM 2B REP", 'Q' | 'E' << 8, *(u16 *)(frame[0] + 4094));
	map(1, true);
	s.rdi = kit_last.f.rdi;
	s.rcx = kit_last.f.rcx;
	kit_case("REP INSB goes on", "SDM 2B REP", (u64)-1, (u64)(s64)kit_try(rep_insb, NULL));
	kit_case("no byte was lost", "SDM 2A INS", 'M' | 'U' << 8, *(u16 *)frame[1]);
	map(1, false);
	outw(0x510, 0);
	s.rdi = VA + 4093;
	s.rcx = 1;
	s.rdx = FREE_PORT;
	kit_case("INSD across a missing page", "SDM 2A INS", PF, (u64)kit_try(rep_insd, NULL));
	kit_case("CR2 of INSD", "SDM 3A 4.7", VA + 4096, kit_last.cr2);
	kit_case("RCX of INSD", "SDM 2B REP", 1, kit_last.f.rcx);
	kit_case("nothing of it written", "SDM 3A 6.5", 0, frame[0][4093]);
	s.rsi = VA + 4090;
	s.rcx = 10;
	s.rdx = 0x80;
	kit_case("REP OUTSB from a missing page", "SDM 2B OUTS", PF, (u64)kit_try(rep_outsb, NULL));
	kit_case("error code of OUTSB", "SDM 3A 4.7", 0, KIT_ERR);
	kit_case("RSI of OUTSB", "SDM 2B REP", VA + 4096, kit_last.f.rsi);
	kit_case("RCX of OUTSB", "SDM 2B REP", 4, kit_last.f.rcx);
	map(1, true);
	s.rdi = VA;
	s.rcx = 5000;
	s.rdx = FREE_PORT;
	kit_try(rep_insb, NULL);
	kit_case("a long REP INSB", "SDM 2B REP", 0xffffff,
		 (u64)frame[0][0] | frame[0][4095] << 8 | frame[1][903] << 16);
	kit_case("and no further", "SDM 2B REP", 0, frame[1][904]);
}

static u64 user(u8 *code, u16 port, u64 flags)
{
	int v = kit_try_user((void *)(USER_CODE + (u64)(code - user_code)), (void *)(USER_CODE + 0x1800),
			     (void *)(u64)port, flags);

	return v == GP && KIT_ERR ? 1000 : (u64)v;
}

static void permission(void)
{
	static u8 *const code[] = { u_in1, u_in2, u_in4, u_out1, u_out2, u_out4, u_ins1, u_ins4, u_outs2 };
	static const u8 width[] = { 1, 2, 4, 1, 2, 4, 1, 4, 2 };
	u8 *bits = kit_tss + 104;
	u64 tss = kit_gdt[7];

	for (unsigned i = 0; i < 9; i++) {
		for (unsigned at = 0; at < 16; at++) {
			for (unsigned bit = 0; bit < 20; bit++) {
				bool hit = bit >= at && bit < at + width[i];

				memset(bits + FREE_PORT / 8, 0, 4);
				bits[FREE_PORT / 8 + bit / 8] |= (u8)(1u << (bit & 7));
				kit_with("width %u port +%u bit %u", width[i], at, bit, 0);
				kit_case("which bits of the map forbid", "SDM 1 19.5.2", hit ? GP : 0x80,
					 user(code[i], (u16)(FREE_PORT + at), 2));
			}
		}
		memset(bits + FREE_PORT / 8, 0xff, 4);
		kit_with("code %u", i, 0, 0, 0);
		kit_case("IOPL 3 needs no map", "SDM 1 19.5.1", 0x80, user(code[i], FREE_PORT, 0x3002));
		kit_case("IOPL 2 does", "SDM 1 19.5.1", GP, user(code[i], FREE_PORT, 0x2002));
	}
	memset(bits, 0, 8193);
	for (unsigned bytes = 1; bytes < 6; bytes++) {
		/* the last byte of the TSS is byte 100 + bytes - 1 of the map; a check reads two bytes */
		u64 limit = 104 + 100 + bytes - 1;

		kit_gdt[7] = (tss & ~0xffffull & ~(2ull << 40)) | limit;
		__asm__ volatile("ltr %w0" ::"r"(0x38));
		for (unsigned port = 800; port < 840; port++) {
			bool in = 104 + port / 8 + 1 <= limit;

			kit_with("limit %u port %u", (u32)limit, port, 0, 0);
			kit_case("map cut by the limit of the TSS", "SDM 1 19.5.2", in ? 0x80 : GP,
				 user(u_in1, (u16)port, 2));
		}
	}
	kit_gdt[7] = tss & ~(2ull << 40);
	*(u16 *)(kit_tss + 102) = 0xffff;
	__asm__ volatile("ltr %w0" ::"r"(0x38));
	kit_with(NULL, 0, 0, 0, 0);
	kit_case("map past the TSS", "SDM 1 19.5.2", GP, user(u_imm, 0, 2));
	*(u16 *)(kit_tss + 102) = 104;
	memset(bits, 0xff, 8193);
	kit_case("IN imm8 by the map", "SDM 1 19.5.2", GP, user(u_imm, 0, 2));
	bits[0x80 / 8] = 0xfe;
	kit_case("IN imm8 by the map", "SDM 1 19.5.2", 0x80, user(u_imm, 0, 2));
}

int guest_main(void)
{
	u64 *pdpt = kit_page(), *pd = kit_page(), *updpt = kit_page(), *upd = kit_page(), *upt = kit_page();
	u8 *code = kit_page();

	pt = kit_page();
	frame[0] = kit_page();
	frame[1] = kit_page();
	kit_pml4[1] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	pd[0] = (u64)pt | 7;
	memcpy(code, user_code, (size_t)(user_code_end - user_code));
	kit_pml4[2] = (u64)updpt | 7;
	updpt[0] = (u64)upd | 7;
	upd[0] = (u64)upt | 7;
	upt[0] = (u64)code | 7;
	upt[1] = (u64)kit_page() | 7;
	unclaimed();
	widths();
	strings();
	permission();
	return kit_done();
}
