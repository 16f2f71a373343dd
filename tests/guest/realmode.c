/* SPDX-License-Identifier: Apache-2.0
 * Real mode and virtual-8086 mode: limits and wrapping, delivery through the IVT, 32-bit operands and addresses, big
 * segments, A20; IOPL, the interrupt redirection map, the I/O map and VIF. SDM 3B chapter 20.
 */
#include "kit32/real.h"

enum { DE, DB, BP = 3, OF, BR, UD, NP = 11, SS, GP };
#define CODE 0x20000 /* where scenes run: 2000:0000 */
#define STACK 0x30000
#define DATA 0x40000
#define IOMAP 136 /* after the redirection map */
#define VM 0x20000u
#define IOPL3 0x3000u
#define VIF 0x80000u
#define VIP 0x100000u

/* Address 0 and its like, without the compiler knowing. */
static volatile u32 *low(u32 a)
{
	__asm__("" : "+r"(a));
	return (volatile u32 *)a;
}

#define regs ((volatile struct real_regs *)low(REAL_REGS))

/* 16-bit code, ended by INT 0x80. */
#define SCENE(name, text)                     \
	extern const u8 name[], name##_end[]; \
	__asm__(".pushsection .text; .code16; " #name ": " text "; int $0x80; " #name "_end: .code32; .popsection")

static void set_up(void)
{
	u8 *stub = (u8 *)REAL_STUBS;
	u32 common = REAL_BASE + (u32)(real_common - real_begin);

	memcpy((void *)REAL_BASE, real_begin, (size_t)(real_end - real_begin));
	for (u32 v = 0; v < 256; v++, stub += 8) {
		u32 next = (u32)stub + 6;

		stub[0] = 0x68;
		*(u16 *)(stub + 1) = (u16)v;
		stub[3] = 0xe9;
		*(u16 *)(stub + 4) = (u16)(common - next);
		low(0)[v] = (u32)stub;
	}
	kit_gdt[K_CODE16 / 8] = kit_desc(0, 0xffff, 0x9b, 0);
}

static void prepare(const u8 *code, const u8 *end)
{
	memset((void *)regs, 0, sizeof(*regs));
	regs->cs = CODE >> 4;
	regs->ss = STACK >> 4;
	regs->ds = regs->es = regs->gs = regs->fs = DATA >> 4;
	regs->esp = 0x8000;
	regs->flags = 2;
	regs->fs_limit = K_DATA16;
	memcpy((void *)CODE, code, (size_t)(end - code));
}

#define PREPARE(name) prepare(name, name##_end)

static bool in_v86; /* the same scenes in virtual-8086 mode with IOPL 3 */

/* Runs what is prepared; *regs is what it left. */
static u32 go(void)
{
	struct kit_ctx c = kit_ctx(0, NULL);
	u32 v;

	if (!in_v86) {
		real_run();
		return regs->vector;
	}
	c.eax = regs->eax, c.ecx = regs->ecx, c.edx = regs->edx, c.ebx = regs->ebx;
	c.ebp = regs->ebp, c.esi = regs->esi, c.edi = regs->edi;
	c.v_ds = regs->ds, c.v_es = regs->es, c.v_fs = regs->fs, c.v_gs = regs->gs;
	c.ss = regs->ss, c.esp = regs->esp, c.cs = regs->cs, c.eip = regs->ip;
	c.eflags = regs->flags | VM | IOPL3;
	v = (u32)kit_run(&c);
	regs->eax = kit_last.eax, regs->ecx = kit_last.ecx, regs->edx = kit_last.edx, regs->ebx = kit_last.ebx;
	regs->ebp = kit_last.ebp, regs->esi = kit_last.esi, regs->edi = kit_last.edi, regs->esp = kit_last.esp;
	regs->ds = (u16)kit_last.v_ds, regs->es = (u16)kit_last.v_es, regs->ss = (u16)kit_last.ss;
	regs->ip = (u16)kit_last.eip, regs->cs = (u16)kit_last.cs, regs->flags = (u16)kit_last.eflags;
	return v;
}

SCENE(rd_w, "movw (%bx), %ax");
SCENE(rd_b, "movb (%bx), %al");
SCENE(rd_d, "movl (%bx), %eax");
SCENE(rd_bp, "movw (%bp), %ax");
SCENE(wr_w, "movw %ax, (%bx)");
SCENE(rd_wrap, "movb 4(%bx), %al");
SCENE(rd_ebx, "movb (%ebx), %al");
SCENE(rd_fs, "movb %fs:(%ebx), %al");
SCENE(do_pop, "popw %ax");
SCENE(do_popl, "popl %eax");
SCENE(lods_w, "lodsw");
SCENE(lods_b, "lodsb");
SCENE(movs_b, "rep movsb");
SCENE(stos_d, "rep stosl");
SCENE(jmp_32, "jmpl *%ebx");
SCENE(far_mem, "ljmp *(%bx)");

/* Accesses at the end of 64 KiB. */
static void limits(void)
{
	static const struct {
		const u8 *code, *end;
		const char *name;
		u32 offset, v;
	} t[] = {
		{ rd_b, rd_b_end, "byte at ffff", 0xffff, DONE },
		{ rd_w, rd_w_end, "word at fffe", 0xfffe, DONE },
		{ rd_w, rd_w_end, "word at ffff", 0xffff, GP },
		{ wr_w, wr_w_end, "written word at ffff", 0xffff, GP },
		{ rd_d, rd_d_end, "dword at fffc", 0xfffc, DONE },
		{ rd_d, rd_d_end, "dword at fffd", 0xfffd, GP },
		{ rd_bp, rd_bp_end, "word at ffff of the stack", 0xffff, SS },
		{ rd_wrap, rd_wrap_end, "effective address wraps", 0xfffe, DONE },
		{ rd_ebx, rd_ebx_end, "32-bit address ffff", 0xffff, DONE },
		{ rd_ebx, rd_ebx_end, "32-bit address 10000", 0x10000, GP },
		{ lods_w, lods_w_end, "LODSW at ffff", 0xffff, GP },
		{ lods_b, lods_b_end, "LODSB at ffff", 0xffff, DONE },
		{ far_mem, far_mem_end, "far pointer across the end", 0xfffe, GP },
		{ jmp_32, jmp_32_end, "32-bit jump past the limit", 0x10000, GP },
	};

	for (u32 i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		u32 v;

		if (kit_on_tcg() && (t[i].code == far_mem || t[i].code == jmp_32))
			continue; /* it would run off */
		prepare(t[i].code, t[i].end);
		regs->ebx = regs->esi = regs->ebp = t[i].offset;
		v = go();
		kit_case(t[i].name, "SDM 3B 20.1.1", t[i].v, v);
		if (v == t[i].v && v != DONE) {
			kit_case("IP of a limit fault", "SDM 3B 20.1.4", 0, regs->ip);
			kit_case("SP of a limit fault", "SDM 3B 20.1.4", 0x8000, regs->esp);
		}
	}
	for (u32 i = 0; i < 2; i++) {
		i ? PREPARE(do_popl) : PREPARE(do_pop);
		regs->esp = i ? 0xfffd : 0xffff;
		kit_case("POP across the end of the stack", "SDM 2B POP", SS, go());
	}
	PREPARE(do_pop);
	*(u16 *)(STACK + 0xfffe) = 0x4711;
	regs->esp = 0xfffe;
	go();
	kit_case("POP of the last word", "SDM 2B POP", 0x4711, regs->eax);
	kit_case("SP wraps to 0", "SDM 2B POP", 0, regs->esp & 0xffff);
	PREPARE(lods_b);
	regs->esi = 0x1234ffff;
	go();
	kit_case("SI wraps, the high half stays", "SDM 2A LODS", 0x12340000, regs->esi);
	PREPARE(movs_b);
	memset((void *)DATA, 0, 0x10000);
	memcpy((void *)(DATA + 0xfffe), "ab", 2);
	memcpy((void *)DATA, "cd", 2);
	regs->esi = 0xfffe;
	regs->edi = 0x100;
	regs->ecx = 4;
	go();
	kit_case("REP MOVSB wraps", "SDM 2B MOVS", 0x64636261, *(u32 *)(DATA + 0x100));
	kit_case("SI after the wrap", "SDM 2B MOVS", 2, regs->esi);
	PREPARE(stos_d);
	regs->edi = 0xfff8;
	regs->ecx = 4;
	regs->eax = 0x5a5a5a5a;
	kit_case("REP STOSD up to the wrap", "SDM 2B STOS", DONE, go());
	kit_case("DI after the wrap", "SDM 2B STOS", 8, regs->edi);
	PREPARE(stos_d);
	regs->edi = 0xfffa;
	regs->ecx = 4;
	kit_case("REP STOSD across the end", "SDM 2B STOS", GP, go());
	kit_case("DI of the fault", "SDM 2B STOS", 0xfffe, regs->edi);
	kit_case("CX of the fault", "SDM 2B STOS", 3, regs->ecx);
}

/* Code at the end of CS. */
static void code_end(void)
{
	static const u8 nop[] = { 0x90 }, cut[] = { 0xb8, 0x01 }, jump[] = { 0xeb, 0x02 };

	PREPARE(rd_b);
	memcpy((void *)(CODE + 0xffff), nop, 1);
	*(u16 *)CODE = 0x80cd;
	regs->ip = 0xffff;
	kit_case("running past CS:ffff", "SDM 3B 20.1.1", GP, go());
	PREPARE(rd_b);
	memcpy((void *)(CODE + 0xfffe), cut, 2);
	regs->ip = 0xfffe;
	kit_case("instruction across CS:ffff", "SDM 3B 20.1.1", GP, go());
	kit_case("its IP", "SDM 3B 20.1.1", 0xfffe, regs->ip);
	PREPARE(rd_b);
	memcpy((void *)(CODE + 0xfffe), jump, 2);
	*(u16 *)(CODE + 2) = 0x80cd;
	regs->ip = 0xfffe;
	kit_case("a 16-bit jump wraps", "SDM 2A JMP", DONE, go());
	kit_case("to the start of CS", "SDM 2A JMP", 4, regs->ip);
}

SCENE(ops, "pushl $0x12345678; popw %ax; popw %dx; pushw $-2; movw %sp, %si; popw %di");
SCENE(pusha, "pusha; movw %sp, %bp; movw 6(%bp), %ax; addw $16, %sp");
SCENE(calls, "movw %sp, %bp; calll 1f; 1: popl %eax; call 2f; 2: popw %cx; subw %sp, %bp");
SCENE(bcd, "movw $0x0137, %ax; aam; movw %ax, %cx; aad; movw %ax, %dx; movw $0x00ff, %ax; clc; daa; movw %ax, %bx; "
	   "movw $0x000f, %ax; clc; aaa");
SCENE(les_, "les (%bx), %di; lds 4(%bx), %si");
SCENE(enter_, "movw $0x1234, %bp; enter $8, $0; movw (%bp), %ax; leave; movw %bp, %cx");
SCENE(loops,
      "movl $0x10003, %ecx; xorw %ax, %ax; 1: incw %ax; loop 1b; movl $3, %edx; xchgl %ecx, %edx; 2: addr32 loop 2b");
SCENE(xlat_, "movb $3, %al; xlat");
SCENE(segs, "movw $0x1234, %ax; movw %ax, %gs; pushw %gs; popw %es; movw %es, %cx; movw $0xfffb, %ax; movw %ax, %es");
SCENE(flags32, "pushfl; popl %eax; pushfw; popw %cx");

static void sample(void)
{
	PREPARE(ops);
	go();
	kit_case("PUSH imm32, POP r16", "SDM 2B PUSH", 0x12345678, regs->edx << 16 | (regs->eax & 0xffff));
	kit_case("SP after PUSH imm8", "SDM 2B PUSH", 0x7ffe, regs->esi);
	PREPARE(pusha);
	go();
	kit_case("SP in PUSHA", "SDM 2B PUSHA", 0x8000, regs->eax);
	PREPARE(calls);
	go();
	kit_case("32-bit and 16-bit CALL", "SDM 2A CALL", 0, regs->ebp);
	PREPARE(bcd);
	go();
	kit_case("AAM", "SDM 2A AAM", 0x0505, regs->ecx);
	kit_case("AAD", "SDM 2A AAD", 0x0037, regs->edx);
	kit_case("DAA", "SDM 2A DAA", 0x0065, regs->ebx);
	kit_case("AAA", "SDM 2A AAA", 0x0105, regs->eax);
	PREPARE(les_);
	memcpy((void *)DATA, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
	go();
	kit_case("LES", "SDM 2A LDS", 0x44332211, (u32)regs->es << 16 | regs->edi);
	kit_case("LDS", "SDM 2A LDS", 0x88776655, (u32)regs->ds << 16 | regs->esi);
	PREPARE(enter_);
	go();
	kit_case("ENTER, LEAVE", "SDM 2A ENTER", 0x12341234, regs->eax << 16 | regs->ecx);
	PREPARE(loops);
	go();
	kit_case("LOOP by CX", "SDM 2A LOOP", 3, regs->eax);
	kit_case("LOOP by ECX", "SDM 2A LOOP", 0, regs->ecx);
	kit_case("LOOP leaves the high half", "SDM 2A LOOP", 0x10000, regs->edx);
	PREPARE(xlat_);
	memcpy((void *)(DATA + 0x10), "\x01\x02\x03\x04", 4);
	regs->ebx = 0x10;
	go();
	kit_case("XLAT", "SDM 2C XLAT", 4, regs->eax);
	PREPARE(segs);
	kit_case("any value in a segment register", "SDM 3B 20.1.2", DONE, go());
	kit_case("is kept", "SDM 3B 20.1.2", 0x1234, regs->ecx);
	kit_case("is kept", "SDM 3B 20.1.2", 0xfffb, regs->es);
	if (in_v86)
		return;
	PREPARE(flags32);
	regs->flags = 0x7ad7;
	go();
	kit_case("PUSHFD", "SDM 2B PUSHF", 0x7ad7, regs->eax);
	kit_case("PUSHF", "SDM 2B PUSHF", 0x7ad7, regs->ecx & 0xffff);
}

SCENE(x_ud, "ud2");
SCENE(x_div, "divb %cl");
SCENE(x_int3, "int3");
SCENE(x_into, "movb $0x7f, %al; addb $1, %al; into");
SCENE(x_bound, "boundw %ax, (%bx)");
SCENE(x_lldt, "lldt %ax");
SCENE(x_ltr, "ltr %ax");
SCENE(x_sldt, "sldt %ax");
SCENE(x_str, "str %ax");
SCENE(x_lar, "lar %ax, %ax");
SCENE(x_lsl, "lsl %ax, %ax");
SCENE(x_verr, "verr %ax");
SCENE(x_verw, "verw %ax");
SCENE(x_arpl, "arpl %ax, %ax");
SCENE(x_lock, ".byte 0xf0, 0x89, 0x07");
SCENE(x_cs, ".byte 0x8e, 0xc8");
SCENE(x_sysenter, "sysenter");
SCENE(x_step, "pushfw; popw %ax; orw $0x100, %ax; pushw %ax; popfw; nop; nop");
SCENE(x_smsw, "smsw %ax");
SCENE(x_long, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66; nop");

static void exceptions(void)
{
	static const struct {
		const u8 *code, *end;
		const char *name;
		u32 v, ip;
	} t[] = {
		{ x_ud, x_ud_end, "UD2", UD, 0 },
		{ x_div, x_div_end, "DIV by 0", DE, 0 },
		{ x_int3, x_int3_end, "INT3", BP, 1 },
		{ x_into, x_into_end, "INTO", OF, 5 },
		{ x_bound, x_bound_end, "BOUND", BR, 0 },
		{ x_lldt, x_lldt_end, "LLDT", UD, 0 },
		{ x_ltr, x_ltr_end, "LTR", UD, 0 },
		{ x_sldt, x_sldt_end, "SLDT", UD, 0 },
		{ x_str, x_str_end, "STR", UD, 0 },
		{ x_lar, x_lar_end, "LAR", UD, 0 },
		{ x_lsl, x_lsl_end, "LSL", UD, 0 },
		{ x_verr, x_verr_end, "VERR", UD, 0 },
		{ x_verw, x_verw_end, "VERW", UD, 0 },
		{ x_arpl, x_arpl_end, "ARPL", UD, 0 },
		{ x_lock, x_lock_end, "LOCK MOV", UD, 0 },
		{ x_cs, x_cs_end, "MOV to CS", UD, 0 },
		{ x_step, x_step_end, "single step", DB, 8 },
		{ x_smsw, x_smsw_end, "SMSW", DONE, 5 },
		{ x_long, x_long_end, "16 bytes", GP, 0 },
	};

	for (u32 i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		prepare(t[i].code, t[i].end);
		regs->eax = 5;
		regs->ebx = 0x100;
		memset((void *)(DATA + 0x100), 0, 4);
		kit_case(t[i].name, "SDM 3B 20.1.4", t[i].v, go());
		kit_with("scene %u", i, 0, 0, 0);
		kit_case("IP pushed", "SDM 3B 20.1.4", t[i].ip, regs->ip);
		kit_case("CS pushed", "SDM 3B 20.1.4", CODE >> 4, regs->cs);
		kit_with(NULL, 0, 0, 0, 0);
	}
}

SCENE(r_int, "sti; int $0x44");
SCENE(r_lidt, "lidtw %cs:(1f - r_lidt); int $0x80; 1: .word 0x1ff; .long 0");
SCENE(r_sysenter, "sysenter");
SCENE(r_lmsw, "smsw %ax; movw %ax, %cx; andw $~2, %ax; lmsw %ax; smsw %dx; lmsw %cx");
SCENE(r_cr, "movl %cr0, %eax; movl %eax, %cr0; movl %cr4, %ecx; nop");
/* Port 92 and the keyboard controller both hold A20 up. */
SCENE(r_a20, "movw $0xffff, %ax; movw %ax, %ds; movb $0xd1, %al; outb %al, $0x64; movb %bl, %al; outb %al, $0x60; "
	     "movb %dl, %al; outb %al, $0x92; movb 0x10, %cl; movb $2, %al; outb %al, $0x92; movb $0xd1, %al; "
	     "outb %al, $0x64; movb $0xdf, %al; outb %al, $0x60");

static void real_only(void)
{
	PREPARE(r_int);
	kit_case("INT n", "SDM 3B 20.1.4", 0x44, go());
	kit_case("IF pushed", "SDM 3B 20.1.4", 0x200, regs->flags & 0x300);
	PREPARE(r_lidt);
	kit_case("vector past the IDT's limit", "SDM 3B 20.1.4", GP, go());
	PREPARE(r_lmsw);
	go();
	kit_case("LMSW", "SDM 2A LMSW", regs->ecx & ~2u, regs->edx);
	PREPARE(r_cr);
	kit_case("MOV CR in real mode", "SDM 2B MOV CR", DONE, go());
	kit_case("CR0.PE in real mode", "SDM 3A 2.5", 0, regs->eax & 1);
	PREPARE(r_sysenter);
	kit_case("SYSENTER", "SDM 2B SYSENTER", GP, go());
	PREPARE(rd_fs);
	kit_gdt[K_FREE / 8] = kit_desc(0, 0xfffff, 0x93, 12);
	regs->fs_limit = K_FREE;
	regs->fs = 0;
	regs->ebx = 0x100000;
	kit_case("FS with a limit of 4 GiB", "SDM 3A 9.9.2", DONE, go());
	kit_case("reads above 1 MiB", "SDM 3A 9.9.2", *(u8 *)0x100000, regs->eax);
	PREPARE(rd_fs);
	regs->ebx = 0x100000;
	kit_case("FS with its limit of 64 KiB", "SDM 3A 9.9.2", GP, go());
	for (u32 on = 0; on < 2; on++) {
		u8 old = *(volatile u8 *)low(0), other;

		*(volatile u8 *)low(0) = 0xd1;
		other = *(volatile u8 *)0x100000;
		PREPARE(r_a20);
		regs->ebx = on ? 0xdf : 0xdd;
		regs->edx = on ? 2 : 0;
		go();
		*(volatile u8 *)low(0) = old;
		kit_case(on ? "A20 on" : "A20 off", "SDM 3B 22.37", on ? other : 0xd1, regs->ecx & 0xff);
	}
	if (kit_on_tcg()) {
		/* As KVM's hardware that ends with "invalid tss type" over a TR which an engine loaded. The engine has
		 * the interpreter for a while yet, so wait for the hardware. */
		for (volatile u32 k = 0; k < 10000; k++)
			;
		kit_gdt[K_TSS / 8] &= ~(1ull << 41);
		__asm__ volatile("ltr %w0" ::"r"(K_TSS));
	}
}

SCENE(v_cli, "cli");
SCENE(v_sti, "sti");
SCENE(v_pushf, "pushfw; popw %ax");
SCENE(v_popf, "pushw %ax; popfw");
SCENE(v_pushfl, "pushfl; popl %eax");
SCENE(v_int, "int $0x45");
SCENE(v_int3, "int3");
SCENE(v_iret, "pushw %ax; pushw %cs; pushw $0x20; iretw");
SCENE(v_hlt, "hlt");
SCENE(v_clts, "clts");
SCENE(v_lgdt, "lgdt (%bx)");
SCENE(v_cr0, "movl %cr0, %eax");
SCENE(v_dr0, "movl %dr0, %eax");
SCENE(v_lmsw, "lmsw %ax");
SCENE(v_wbinvd, "wbinvd");
SCENE(v_rdmsr, "rdmsr");
SCENE(v_in, "inb %dx, %al");
SCENE(v_inw, "inw %dx, %ax");
SCENE(v_nop, "nop");

static u32 v86(const u8 *code, const u8 *end, u32 flags, u32 eax)
{
	struct kit_ctx c = kit_ctx(0, NULL);

	memset((void *)(CODE), 0x90, 0x100);
	memcpy((void *)CODE, code, (size_t)(end - code));
	*(u16 *)(CODE + 0x20) = 0x80cd;
	c.eax = eax;
	c.edx = 0x80;
	c.ebx = 0x100;
	c.cs = CODE >> 4;
	c.ss = STACK >> 4;
	c.v_ds = c.v_es = DATA >> 4;
	c.v_fs = 0x1111;
	c.v_gs = 0x2222;
	c.esp = 0x8000;
	c.eip = 0;
	c.eflags = 2 | VM | flags;
	return (u32)kit_run(&c);
}
#define V86(name, flags, eax) v86(name, name##_end, flags, eax)

static void v86_privileges(void)
{
	static const struct {
		const u8 *code, *end;
		const char *name;
		u32 iopl3, iopl0;
	} t[] = {
		{ v_cli, v_cli_end, "CLI", DONE, GP },	      { v_sti, v_sti_end, "STI", DONE, GP },
		{ v_pushf, v_pushf_end, "PUSHF", DONE, GP },  { v_popf, v_popf_end, "POPF", DONE, GP },
		{ v_int, v_int_end, "INT n", 0x45, GP },      { v_iret, v_iret_end, "IRET", DONE, GP },
		{ v_int3, v_int3_end, "INT3", BP, BP },	      { v_hlt, v_hlt_end, "HLT", GP, GP },
		{ v_clts, v_clts_end, "CLTS", GP, GP },	      { v_lgdt, v_lgdt_end, "LGDT", GP, GP },
		{ v_cr0, v_cr0_end, "MOV from CR0", GP, GP }, { v_dr0, v_dr0_end, "MOV from DR0", GP, GP },
		{ v_lmsw, v_lmsw_end, "LMSW", GP, GP },	      { v_wbinvd, v_wbinvd_end, "WBINVD", GP, GP },
		{ v_rdmsr, v_rdmsr_end, "RDMSR", GP, GP },
	};

	kit_idt[0x45] = kit_gate((u32)kit_stubs + 16 * 0x45, K_CODE0, 0xee, 0);
	for (u32 i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (u32 iopl = 0; iopl < 4; iopl++) {
			u32 want = iopl == 3 ? t[i].iopl3 : t[i].iopl0, v;

			/* INT 0x80, which ends a scene, needs IOPL 3 as well: else it is the #GP at its own place */
			v = v86(t[i].code, t[i].end, iopl << 12, iopl << 12 | 2);
			if (v == GP && want == DONE && iopl < 3)
				v = kit_last.eip ? DONE : GP;
			kit_with("IOPL %u", iopl, 0, 0, 0);
			kit_case(t[i].name, "SDM 3B 20.2.7, 20.2.8", want, v);
			if (v == GP)
				kit_case("error code in virtual-8086 mode", "SDM 3B 20.2.8", 0, kit_last.error);
		}
	}
	kit_with(NULL, 0, 0, 0, 0);
	V86(v_nop, IOPL3, 0);
	kit_case("DS ES saved, FS GS saved", "SDM 3B 20.3.1", 0x4000400011112222ull,
		 (u64)(kit_last.v_ds & 0xffff) << 48 | (u64)(kit_last.v_es & 0xffff) << 32 |
		     (kit_last.v_fs & 0xffff) << 16 | (kit_last.v_gs & 0xffff));
	kit_case("data segments are null in the handler", "SDM 3B 20.3.1", 0,
		 kit_last.ds | kit_last.es | kit_last.fs | kit_last.gs);
	kit_case("VM in the pushed flags", "SDM 3B 20.3.1", VM, kit_last.eflags & VM);
	V86(v_pushf, IOPL3 | 0xd5, 0);
	kit_case("PUSHF with IOPL 3", "SDM 2B PUSHF", 0x30d7, kit_last.eax);
	V86(v_pushfl, IOPL3 | 0xd5, 0);
	kit_case("PUSHFD does not show VM", "SDM 2B PUSHF", 0x30d7, kit_last.eax);
	V86(v_popf, IOPL3, 0x4fd7 & ~0x100);
	kit_case("POPF with IOPL 3 keeps IOPL", "SDM 2B POPF", 0x7ed7 | VM, kit_last.eflags);
	/* a handler that is not at ring 0 */
	kit_gdt[K_FREE / 8] = kit_desc(0, 0xfffff, 0xbb, 12);
	kit_idt[0x45] = kit_gate((u32)kit_stubs + 16 * 0x45, K_FREE, 0xee, 0);
	kit_case("handler of virtual-8086 mode at ring 1", "SDM 2A INT", GP, V86(v_int, IOPL3, 0));
	kit_case("its error code", "SDM 2A INT", K_FREE, kit_last.error);
	kit_gdt[K_FREE / 8] = kit_desc(0, 0xfffff, 0x9f, 12);
	kit_case("conforming handler of virtual-8086 mode", "SDM 2A INT", GP, V86(v_int, IOPL3, 0));
	kit_idt[0x45] = kit_gate((u32)kit_stubs + 16 * 0x45, K_CODE0, 0x8e, 0);
	kit_case("gate of DPL 0 by INT n", "SDM 2A INT", GP, V86(v_int, IOPL3, 0));
	kit_case("its error code too", "SDM 2A INT", 0x45 * 8 + 2, kit_last.error);
	kit_idt[0x45] = kit_gate((u32)kit_stubs + 16 * 0x45, K_CODE0, 0xee, 0);
}

static void io_map(void)
{
	for (u32 iopl = 0; iopl < 4; iopl += 3) {
		for (u32 n = 0; n < 4; n++) {
			u32 v;

			kit_tss[IOMAP + 0x80 / 8] = (u8)(0xfc | n);
			v = V86(v_in, iopl << 12, 0);
			v = v == GP && kit_last.eip ? DONE : v;
			kit_with("IOPL %u map %x", iopl, n, 0, 0);
			kit_case("IN of a byte by the map", "SDM 3B 20.2.8.1", n & 1 ? GP : DONE, v);
			v = V86(v_inw, iopl << 12, 0);
			v = v == GP && kit_last.eip ? DONE : v;
			kit_case("IN of a word by the map", "SDM 3B 20.2.8.1", n ? GP : DONE, v);
		}
	}
	kit_tss[IOMAP + 0x80 / 8] = 0xff;
	kit_with(NULL, 0, 0, 0, 0);
}

/* CR4.VME: VIF stands for IF, INT n may go through the IVT. SDM 3B table 20-2, 2B POPF, PUSHF, STI. */
static void vme(void)
{
	u32 r[4], v;

	cpuid(1, 0, r);
	if (!(r[3] & 2))
		return;
	wrcr4(rdcr4() | 1);
	for (u32 iopl = 0; iopl < 4; iopl += 3) {
		u32 f = iopl << 12, vif = iopl == 3 ? 0x200 : VIF;

		kit_with("IOPL %u", iopl, 0, 0, 0);
		memset(kit_tss + IOMAP - 32, 0xff, 32);
		V86(v_sti, f, 0);
		kit_case("VME: STI", "SDM 3B 20.3", vif, kit_last.eflags & (VIF | 0x200));
		V86(v_cli, f | vif | 0x200, 0);
		kit_case("VME: CLI", "SDM 3B 20.3", 0x200 & ~vif, kit_last.eflags & (VIF | 0x200));
		V86(v_pushf, f | vif | 0xd5, 0);
		kit_case("VME: PUSHF", "SDM 2B PUSHF", 0x32d7, kit_last.eax);
		V86(v_popf, f, 0x2d7);
		kit_case("VME: POPF", "SDM 2B POPF", vif | f, kit_last.eflags & (VIF | 0x3200));
		v = V86(v_popf, f | VIP, 0x202);
		kit_case("VME: POPF of IF with VIP", "SDM 2B POPF", iopl == 3 ? DONE : GP,
			 iopl == 3	     ? v
			 : kit_last.eip == 1 ? v
					     : 0);
		v = V86(v_sti, f | VIP, 0);
		kit_case("VME: STI with VIP", "SDM 2B STI", iopl == 3 ? DONE : GP,
			 iopl == 3	     ? v
			 : kit_last.eip == 0 ? v
					     : 0);
		v = V86(v_pushfl, f, 0);
		kit_case("VME: PUSHFD", "SDM 2B PUSHF", iopl == 3 ? DONE : GP,
			 iopl == 3	     ? v
			 : kit_last.eip == 0 ? v
					     : 0);
		v = V86(v_int, f, 0);
		kit_case("VME: INT n with its bit set", "SDM 3B table 20-2", iopl == 3 ? 0x45 : GP, v);
		/* the bit clear: through the IVT, to 2000:0040 where INT3 ends it */
		kit_tss[IOMAP - 32 + 0x45 / 8] = 0;
		low(0)[0x45] = (CODE >> 4) << 16 | 0x40;
		v = V86(v_nop, 0, 0);
		*(u8 *)(CODE + 0x40) = 0xcc;
		memcpy((void *)CODE, v_int, 2);
		{
			struct kit_ctx c = kit_ctx(0, NULL);
			u16 *s = (u16 *)(STACK + 0x7ffa);

			c.cs = CODE >> 4;
			c.ss = STACK >> 4;
			c.esp = 0x8000;
			c.eflags = 0xd7 | VM | f | vif;
			v = (u32)kit_run(&c);
			kit_case("VME: INT n through the IVT", "SDM 3B table 20-2", BP, v);
			kit_case("VME: where it went", "SDM 3B table 20-2", 0x41, kit_last.eip);
			kit_case("VME: SP", "SDM 3B table 20-2", 0x7ffa, kit_last.esp);
			kit_case("VME: IP pushed", "SDM 3B table 20-2", 2, s[0]);
			kit_case("VME: CS pushed", "SDM 3B table 20-2", CODE >> 4, s[1]);
			kit_case("VME: flags pushed", "SDM 3B table 20-2", 0x32d7, s[2]);
			kit_case("VME: IF or VIF cleared", "SDM 3B table 20-2", 0, kit_last.eflags & vif);
		}
		low(0)[0x45] = REAL_STUBS + 8 * 0x45;
	}
	memset(kit_tss + IOMAP - 32, 0xff, 32);
	wrcr4(rdcr4() & ~1u);
	kit_with(NULL, 0, 0, 0, 0);
}

int guest_main(void)
{
	set_up();
	limits();
	code_end();
	sample();
	exceptions();
	real_only();
	*(u16 *)(kit_tss + 102) = IOMAP;
	memset(kit_tss + IOMAP, 0xff, sizeof(kit_tss) - IOMAP);
	in_v86 = true;
	limits();
	code_end();
	sample();
	exceptions();
	v86_privileges();
	io_map();
	vme();
	return kit_done();
}
