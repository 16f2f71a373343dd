/* SPDX-License-Identifier: Apache-2.0
 * Segmentation in 32-bit protected mode: each kind of descriptor, at each privilege, in each register, through each way
 * to transfer control. The expectation is a second writing of the manual's rules, in this file.
 */
#include "kit32/kit.h"

enum { GP = 13, NP = 11, SS = 12, TS = 10, UD = 6 };
enum { S_TEST = K_FREE, S_GATE = K_FREE + 8, S_BUF = K_FREE + 16 };

static u32 memory[4096] __attribute__((aligned(4096)));

SNIP(load_ds, "mov %ax, %ds");
SNIP(load_es, "mov %ax, %es");
SNIP(load_fs, "mov %ax, %fs");
SNIP(load_gs, "mov %ax, %gs");
SNIP(load_ss, "mov %ax, %ss; nop");
SNIP(do_lar, "mov $0x55aa55aa, %ebx; lar %ax, %ebx");
SNIP(do_lsl, "mov $0x55aa55aa, %ebx; lsl %ax, %ebx");
SNIP(do_verr, "verr %ax");
SNIP(do_verw, "verw %ax");
SNIP(far_target, "nop");
SNIP(jmp_far, "ljmp *(%ebx)");
SNIP(call_far, "lcall *(%ebx)");
SNIP(ret_far, "lretl");
SNIP(ret_far_8, "lretl $8");
SNIP(do_iret, "iretl");
SNIP(do_int, "int $0x90");

static void check(const char *what, const char *manual, int want_v, u32 want_e, int v, const char *detail, u32 a, u32 b,
		  u32 c, u32 d)
{
	u64 want = want_v == DONE ? DONE : (u64)want_v << 32 | want_e;
	u64 got = v == DONE ? DONE : (u64)v << 32 | kit_last.error;

	kit_with(*detail ? detail : NULL, a, b, c, d);
	kit_case(what, manual, want, got);
}

static u32 max(u32 a, u32 b)
{
	return a > b ? a : b;
}

/* The limit with which a segment of that type reaches (nearly) everywhere. */
static u32 all_of(u32 type)
{
	return (type & 0x1c) == 0x14 ? 0 : 0xfffff;
}

/* type: S in bit 4, the type field below. SDM 3A 5.5, 5.6, 5.7; 2B MOV. */
static int want_load(bool ss, u32 cpl, u32 rpl, u32 dpl, u32 type, bool p)
{
	bool code = (type & 0x18) == 0x18, readable = !code || (type & 2), conforming = code && (type & 4);

	if (ss) {
		if (rpl != cpl || (type & 0x1a) != 0x12 || dpl != cpl)
			return GP;
		return p ? DONE : SS;
	}
	if (!(type & 16) || !readable || (!conforming && max(cpl, rpl) > dpl))
		return GP;
	return p ? DONE : NP;
}

static void loads(void)
{
	static const u8 *const code[] = { load_ds, load_es, load_fs, load_gs, load_ss };

	for (u32 n = 0; n < 5 * 4 * 4 * 4 * 64; n++) {
		u32 type = n & 31, p = n >> 5 & 1, dpl = n >> 6 & 3, rpl = n >> 8 & 3, cpl = n >> 10 & 3, reg = n >> 12;
		struct kit_ctx c = kit_ctx(cpl, code[reg]);
		u64 before = kit_desc(0, all_of(type), p << 7 | dpl << 5 | type, 12);
		int want = want_load(reg == 4, cpl, rpl, dpl, type, p), v;
		u64 accessed;

		kit_gdt[S_TEST / 8] = before;
		c.eax = S_TEST | rpl;
		v = kit_run(&c);
		accessed = want == DONE ? 1ull << 40 : 0;
		check("load of a segment register", "SDM 3A 5.5-5.7", want, S_TEST, v,
		      "reg %u cpl/rpl/dpl %x type %x p %u", reg, cpl << 8 | rpl << 4 | dpl, type, p);
		kit_case("accessed bit", "SDM 3A 3.4.5.1", before | accessed, kit_gdt[S_TEST / 8]);
	}
}

static bool lar_type(u32 type, bool lsl)
{
	u32 ok = lsl ? 0x0a0e : 0x1a3e; /* 1 2 3 9 b; and 4 5 c */

	return type & 16 || (ok >> (type & 15) & 1);
}

static void rights(void)
{
	for (u32 n = 0; n < 4 * 4 * 4 * 64; n++) {
		u32 type = n & 31, p = n >> 5 & 1, dpl = n >> 6 & 3, rpl = n >> 8 & 3, cpl = n >> 10 & 3;
		bool code = (type & 0x18) == 0x18, conforming = code && (type & 4),
		     seen = conforming || max(cpl, rpl) <= dpl;
		u64 d = kit_desc(0x12345678, 0x5abcd, p << 7 | dpl << 5 | type, 12);
		static const u8 *const code_of[] = { do_lar, do_lsl, do_verr, do_verw };
		static const char *const name[] = { "LAR", "LSL", "VERR", "VERW" };
		bool zf[4];
		u32 value[] = { (u32)(d >> 32) & 0x00f0ff00, 0x5abcdfff };

		zf[0] = seen && lar_type(type, false);
		zf[1] = seen && lar_type(type, true);
		zf[2] = seen && (type & 16) && (!code || (type & 2));
		zf[3] = seen && (type & 0x1a) == 0x12;
		kit_gdt[S_TEST / 8] = d;
		for (u32 i = 0; i < 4; i++) {
			struct kit_ctx c = kit_ctx(cpl, code_of[i]);
			int v;

			c.eax = S_TEST | rpl;
			c.eflags ^= n & 1 ? 0x40 : 0;
			v = kit_run(&c);
			kit_with("cpl/rpl/dpl %x type %x", cpl << 8 | rpl << 4 | dpl, type, 0, 0);
			kit_case(name[i], "SDM 2A, 2B", zf[i], v == DONE ? kit_last.eflags >> 6 & 1 : (u32)v + 100);
			if (i < 2)
				kit_case(i ? "LSL value" : "LAR value", "SDM 2A", zf[i] ? value[i] : 0x55aa55aa,
					 kit_last.ebx & (i || !zf[i] ? 0xffffffff : 0x00f0ff00));
		}
		kit_case("LAR to VERW leave the descriptor alone", "SDM 3A 3.4.5.1", d, kit_gdt[S_TEST / 8]);
	}
}

/* A far jump or call to a code segment or to anything else but gates and TSS. SDM 2A JMP, CALL. */
static int want_far(u32 cpl, u32 rpl, u32 dpl, u32 type, bool p)
{
	if ((type & 0x18) != 0x18)
		return GP;
	if (type & 4 ? dpl > cpl : rpl > cpl || dpl != cpl)
		return GP;
	return p ? DONE : NP;
}

static bool is_transfer(u32 type)
{
	return !(type & 16) && (0x1a32 >> (type & 15) & 1); /* TSS, task gate, call gates */
}

static void direct(void)
{
	static struct {
		u32 offset, sel;
	} ptr;

	for (u32 n = 0; n < 2 * 4 * 4 * 4 * 64; n++) {
		u32 type = n & 31, p = n >> 5 & 1, dpl = n >> 6 & 3, rpl = n >> 8 & 3, cpl = n >> 10 & 3,
		    call = n >> 12;
		struct kit_ctx c = kit_ctx(cpl, call ? call_far : jmp_far);
		int want = want_far(cpl, rpl, dpl, type, p), v;

		if (is_transfer(type))
			continue;
		kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, p << 7 | dpl << 5 | type, 12);
		ptr.offset = (u32)far_target;
		ptr.sel = S_TEST | rpl;
		c.ebx = (u32)&ptr;
		v = kit_run(&c);
		check(call ? "far call" : "far jump", "SDM 3A 5.8.1", want, S_TEST, v,
		      "cpl/rpl/dpl %x type %x p %u:%u ", cpl << 8 | rpl << 4 | dpl, type, p, 0);
		if (want == DONE && v == DONE) {
			kit_case("CS after a far transfer", "SDM 3A 5.8.1", S_TEST | cpl, kit_last.cs);
			if (call && cpl) {
				u32 *s = (u32 *)kit_last.esp;

				kit_case("return selector of a far call", "SDM 2A CALL", kit_code_sel(cpl),
					 s[1] & 0xffff);
				kit_case("return offset of a far call", "SDM 2A CALL", (u32)call_far + 2, s[0]);
			}
		}
	}
}

/* Far returns and IRET to every ring and every kind of code segment, from each ring. SDM 2B RET, 2A IRET. */
static int want_ret(u32 cpl, u32 rpl, u32 dpl, u32 type, bool p)
{
	if (rpl < cpl || (type & 0x18) != 0x18)
		return GP;
	if (type & 4 ? dpl > rpl : dpl != rpl)
		return GP;
	return p ? DONE : NP;
}

static void returns(void)
{
	for (u32 n = 0; n < 3 * 4 * 4 * 4 * 64; n++) {
		u32 type = n & 31, p = n >> 5 & 1, dpl = n >> 6 & 3, rpl = n >> 8 & 3, cpl = n >> 10 & 3, how = n >> 12;
		static const u8 *const code[] = { ret_far, ret_far_8, do_iret };
		static u32 outer[64];
		struct kit_ctx c = kit_ctx(cpl, code[how]);
		int want = want_ret(cpl, rpl, dpl, type, p), v;
		u32 *s = (u32 *)c.esp;

		kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, p << 7 | dpl << 5 | type, 12);
		s[0] = (u32)far_target;
		s[1] = S_TEST | rpl;
		s[2] = s[3] = 2;
		s += how == 1 ? 4 : how == 2 ? 3 : 2;
		s[0] = (u32)(outer + 32);
		s[1] = kit_data_sel(rpl);
		v = kit_run(&c);
		check(how == 2 ? "IRET" : "far return", "SDM 3A 5.8.6", want, S_TEST, v,
		      "cpl/rpl/dpl %x type %x p %u how %u", cpl << 8 | rpl << 4 | dpl, type, p, how);
		if (want != DONE || v != DONE)
			continue;
		kit_case("CS after a far return", "SDM 2B RET", S_TEST | rpl, kit_last.cs);
		if (rpl > cpl) {
			kit_case("SS after an outer return", "SDM 2B RET", kit_data_sel(rpl), kit_last.ss);
			kit_case("ESP after an outer return", "SDM 2B RET", (u32)(outer + 32) + (how == 1 ? 8 : 0),
				 kit_last.esp);
			kit_case("DS kept by an outer return", "SDM 2B RET", K_DATA3, kit_last.ds);
		}
	}
}

/* The stack segment of an outer return, and data segments that the outer ring may not keep. */
static void return_stacks(void)
{
	for (u32 n = 0; n < 4 * 4 * 64 * 2; n++) {
		u32 type = n & 31, p = n >> 5 & 1, dpl = n >> 6 & 3, rpl = n >> 8 & 3, how = n >> 10;
		struct kit_ctx c = kit_ctx(0, how ? do_iret : ret_far);
		u32 *s = (u32 *)c.esp;
		int want = want_load(true, 3, rpl, dpl, type, p);

		kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, p << 7 | dpl << 5 | type, 12);
		*s++ = (u32)far_target;
		*s++ = K_CODE3;
		if (how)
			*s++ = 2;
		*s++ = (u32)memory + 2048;
		*s = S_TEST | rpl;
		check("SS of an outer return", "SDM 2B RET", want, S_TEST, kit_run(&c),
		      "rpl/dpl %x type %x p %u how %u", rpl << 4 | dpl, type, p, how);
	}
	for (u32 type = 0x10; type < 0x20; type++) {
		for (u32 dpl = 0; dpl < 4; dpl++) {
			for (u32 how = 0; how < 2; how++) {
				bool conforming = (type & 0x1c) == 0x1c, readable = !(type & 8) || (type & 2);
				struct kit_ctx c = kit_ctx(0, how ? do_iret : ret_far);
				u32 *s = (u32 *)c.esp;

				if (!readable)
					continue;
				kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, 0x80 | dpl << 5 | type, 12);
				*s++ = (u32)far_target;
				*s++ = K_CODE2;
				if (how)
					*s++ = 2;
				*s++ = (u32)memory + 2048;
				*s = K_DATA2;
				c.ds = c.es = c.fs = c.gs = S_TEST;
				kit_run(&c);
				kit_case(
				    "segments dropped by an outer return", "SDM 2B RET",
				    conforming || dpl >= 2 ? S_TEST * 0x1111ull : 0,
				    (kit_last.ds + kit_last.es * 16ull + kit_last.fs * 256ull + kit_last.gs * 4096ull));
			}
		}
	}
}

static int run_gate(u32 cpl, u32 rpl, bool call)
{
	static struct {
		u32 offset, sel;
	} ptr;
	struct kit_ctx c = kit_ctx(cpl, call ? call_far : jmp_far);
	u32 *s = (u32 *)c.esp;

	for (u32 i = 0; i < 8; i++)
		s[i] = 0x1110 + i;
	ptr.offset = 0xdeadbeef; /* ignored */
	ptr.sel = S_GATE | rpl;
	c.ebx = (u32)&ptr;
	return kit_run(&c);
}

/* SDM 3A 5.8.3 and 5.8.4. Returns the vector, the selector of the error code in *sel. */
static int want_gate(u32 cpl, u32 rpl, u32 gdpl, bool gp, u32 type, u32 dpl, bool p, bool call, u32 *sel)
{
	*sel = S_GATE;
	if (max(cpl, rpl) > gdpl)
		return GP;
	if (!gp)
		return NP;
	*sel = S_TEST;
	if ((type & 0x18) != 0x18 || dpl > cpl || (!call && !(type & 4) && dpl != cpl))
		return GP;
	return p ? DONE : NP;
}

static void gates(void)
{
	static const u8 types[] = { 0x1a, 0x1e, 0x18, 0x12, 0x0c };

	for (u32 n = 0; n < 4 * 4 * 4 * 4 * 2 * 8; n++) {
		u32 cpl = n & 3, rpl = n >> 2 & 3, gdpl = n >> 4 & 3, dpl = n >> 6 & 3, call = n >> 8 & 1,
		    gp = !(n >> 9 & 1);
		u32 p = !(n >> 10 & 1), sel;

		for (u32 t = 0; t < sizeof(types); t++) {
			int want = want_gate(cpl, rpl, gdpl, gp, types[t], dpl, p, call, &sel), v;

			kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, p << 7 | dpl << 5 | types[t], 12);
			kit_gdt[S_GATE / 8] = kit_gate((u32)far_target, S_TEST | (n & 3), gp << 7 | gdpl << 5 | 0xc, 0);
			v = run_gate(cpl, rpl, call);
			check(call ? "call through a gate" : "jump through a gate", "SDM 3A 5.8.3, 5.8.4", want, sel, v,
			      "cpl/rpl/gate dpl/dpl %x type %x gp %u p %u", cpl << 12 | rpl << 8 | gdpl << 4 | dpl,
			      types[t], gp, p);
			if (want == DONE && v == DONE)
				kit_case("CPL after a gate", "SDM 3A 5.8.4", types[t] & 4 ? cpl : dpl, kit_last.cs & 3);
		}
	}
	kit_gdt[S_GATE / 8] = kit_gate((u32)far_target, 0, 0xec, 0);
	check("gate with a null selector", "SDM 2A CALL", GP, 0, run_gate(3, 3, true), "", 0, 0, 0, 0);
	kit_gdt[S_GATE / 8] = kit_gate((u32)far_target, 0xfff8, 0xec, 0);
	check("gate with a selector past the GDT", "SDM 2A CALL", GP, 0xfff8, run_gate(3, 3, true), "", 0, 0, 0, 0);
	kit_gdt[S_TEST / 8] = kit_desc(0, 0xfff, 0x9b, 4);
	kit_gdt[S_GATE / 8] = kit_gate(0x1000, S_TEST, 0xec, 0);
	check("gate to an offset past the limit", "SDM 2A CALL", GP, 0, run_gate(3, 3, true), "", 0, 0, 0, 0);
}

/* The new stack: parameters, what is pushed, and the checks of SS in the TSS. */
static u32 inner[256];

static void set_ring(u32 ring, u32 esp, u32 ss)
{
	((u32 *)kit_tss)[1 + 2 * ring] = esp;
	((u32 *)kit_tss)[2 + 2 * ring] = ss;
}

static void gate_stacks(void)
{
	u32 esp0 = ((u32 *)kit_tss)[1], esp1 = ((u32 *)kit_tss)[3];

	kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, 0xbb,
				       12); /* ring 1 code, so that the trap does not use this stack */
	for (u32 params = 0; params < 32; params++) {
		for (u32 wide = 0; wide < 2; wide++) {
			u32 esp = (u32)(inner + 200), bytes = 0;
			struct kit_ctx c = kit_ctx(3, call_far);
			u32 *s = inner;

			set_ring(1, esp, K_DATA1);
			kit_gdt[S_TEST / 8] = kit_desc((u32)far_target & 0xffff0000, 0xfffff, 0xbb, 12);
			kit_gdt[S_GATE / 8] = kit_gate((u32)far_target & 0xffff, S_TEST, wide ? 0xec : 0xe4,
						       params | 0xe0);
			kit_case("call gate with parameters", "SDM 3A 5.8.5", DONE, (u32)run_gate(3, 3, true));
			bytes = (params + 4) * (wide ? 4 : 2);
			kit_case("ESP after a gate", "SDM 3A 5.8.5", esp - bytes, kit_last.esp);
			s = (u32 *)(esp - bytes);
			if (wide) {
				kit_case("EIP pushed by a gate", "SDM 3A 5.8.5", (u32)call_far + 2, s[0]);
				kit_case("CS pushed by a gate", "SDM 3A 5.8.5", K_CODE3, s[1] & 0xffff);
				for (u32 i = 0; i < params; i++)
					kit_case("parameter of a 32-bit gate", "SDM 3A 5.8.5", ((u32 *)c.esp)[i],
						 s[2 + i]);
				kit_case("ESP pushed by a gate", "SDM 3A 5.8.5", c.esp, s[2 + params]);
				kit_case("SS pushed by a gate", "SDM 3A 5.8.5", K_DATA3, s[3 + params] & 0xffff);
			} else {
				u16 *h = (u16 *)s;

				kit_case("IP pushed by a 16-bit gate", "SDM 3A 5.8.5", (u16)((u32)call_far + 2), h[0]);
				kit_case("CS pushed by a 16-bit gate", "SDM 3A 5.8.5", K_CODE3, h[1]);
				for (u32 i = 0; i < params; i++)
					kit_case("parameter of a 16-bit gate", "SDM 3A 5.8.5", ((u16 *)c.esp)[i],
						 h[2 + i]);
				kit_case("SP pushed by a 16-bit gate", "SDM 3A 5.8.5", (u16)c.esp, h[2 + params]);
				kit_case("SS pushed by a 16-bit gate", "SDM 3A 5.8.5", K_DATA3, h[3 + params]);
			}
		}
	}
	kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, 0xbb, 12);
	kit_gdt[S_GATE / 8] = kit_gate((u32)far_target, S_TEST, 0xec, 0);
	for (u32 n = 0; n < 4 * 4 * 64; n++) {
		u32 type = n & 31, p = n >> 5 & 1, dpl = n >> 6 & 3, rpl = n >> 8 & 3;
		int want = DONE;

		if (rpl != 1 || dpl != 1 || (type & 0x1a) != 0x12)
			want = TS;
		else if (!p)
			want = SS;
		kit_gdt[S_BUF / 8] = kit_desc(0, all_of(type), p << 7 | dpl << 5 | type, 12);
		set_ring(1, (u32)(inner + 200), S_BUF | rpl);
		check("SS in the TSS", "SDM 3A 5.8.5", want, S_BUF, run_gate(3, 3, true), "rpl/dpl %x type %x p %u %u",
		      rpl << 4 | dpl, type, p, 0);
	}
	set_ring(1, (u32)(inner + 200), 0);
	check("null SS in the TSS", "SDM 2A CALL #TS", TS, 0, run_gate(3, 3, true), "", 0, 0, 0, 0);
	set_ring(1, (u32)(inner + 200), 0xfff9);
	check("SS in the TSS past the GDT", "SDM 2A CALL #TS", TS, 0xfff8, run_gate(3, 3, true), "", 0, 0, 0, 0);
	kit_gdt[S_BUF / 8] = kit_desc(0, 0xfff, 0xb3, 4);
	set_ring(1, 12, S_BUF | 1);
	check("no room on the new stack", "SDM 2A CALL #SS", SS, S_BUF, run_gate(3, 3, true), "", 0, 0, 0, 0);
	set_ring(1, esp1, K_DATA1);
	set_ring(0, esp0, K_DATA0);
}

/* Limits: byte and page granular, expand-up and expand-down, 16 and 32 bits, by size and place. SDM 3A 5.3. */
SNIP(read1, "movb %fs:(%esi), %al");
SNIP(read2, "movw %fs:(%esi), %ax");
SNIP(read4, "movl %fs:(%esi), %eax");
SNIP(read8, "movq %fs:(%esi), %mm0; emms");
SNIP(write1, "movb %al, %fs:(%esi)");
SNIP(write2, "movw %ax, %fs:(%esi)");
SNIP(write4, "movl %eax, %fs:(%esi)");
SNIP(write8, "movq %mm0, %fs:(%esi); emms");
SNIP(stack1, "movb %ss:(%esi), %al");
SNIP(stack2, "movw %ss:(%esi), %ax");
SNIP(stack4, "movl %ss:(%esi), %eax");
SNIP(stack8, "movq %ss:(%esi), %mm0; emms");

static void one_limit(u32 base, u32 limit, u32 type, u32 flags, u32 offset, u32 size, u32 how)
{
	static const u8 *const code[3][4] = { { read1, read2, read4, read8 },
					      { write1, write2, write4, write8 },
					      { stack1, stack2, stack4, stack8 } };
	u32 bytes = 1u << size, effective = flags & 8 ? limit << 12 | 0xfff : limit,
	    top = flags & 4 ? 0xffffffff : 0xffff;
	u64 last = (u64)offset + bytes - 1;
	bool down = (type & 0xc) == 4, ok;
	struct kit_ctx c = kit_ctx(3, code[how][size]);
	int want;

	if (down)
		ok = offset > effective && last <= top;
	else
		ok = last <= effective;
	want = ok ? DONE : how == 2 ? SS : GP;
	if (how == 1 && (type & 8 || !(type & 2)))
		want = GP;
	if (how == 0 && (type & 0xa) == 8)
		want = GP;
	kit_gdt[S_TEST / 8] = kit_desc(base, limit, 0xf0 | type, flags);
	if (how == 2)
		c.ss = S_TEST | 3;
	else
		c.fs = S_TEST | 3;
	c.esi = offset;
	check("segment limit", "SDM 3A 5.3", want, 0, kit_run(&c), "limit %x type/flags %x offset %x how/size %x",
	      limit, type << 4 | flags, offset, how << 4 | size);
}

static void limits(void)
{
	static const u32 limit[] = { 0, 1, 3, 0x7ff, 0xfff, 0xffe };
	static const u8 types[] = { 1, 3, 5, 7, 11 };

	for (u32 how = 0; how < 3; how++)
		for (u32 t = 0; t < sizeof(types); t++)
			for (u32 flags = 0; flags < 16; flags += 4)
				for (u32 l = 0; l < 6; l++)
					for (u32 size = 0; size < 4; size++)
						for (int d = -9; d <= 2; d++) {
							bool down = (types[t] & 0xc) == 4;
							u32 lim = flags & 8 ? l & 1 : limit[l];
							u32 eff = flags & 8 ? lim << 12 | 0xfff : lim;

							if (how == 2 && (types[t] & 0xa) != 2)
								continue;
							if (!down && (s32)(eff + (u32)d) < 0)
								continue;
							if (down && d < -3)
								continue;
							one_limit((u32)memory, lim, types[t], flags,
								  eff + (u32)d + down, size, how);
						}
	for (u32 size = 0; size < 4; size++)
		for (u32 d = 0; d < 10; d++) /* the top of a 16-bit expand-down segment */
			one_limit((u32)memory - 0xff00, 0xff00, 7, 0, 0xffff - d, size, 0);
}

/* Instruction fetch past the limit of CS, and near branches there. */
SNIP(near_jump, "jmp *%eax");
SNIP(near_call, "call *%eax");
SNIP(near_ret, "ret");

static void code_limits(void)
{
	u8 *m = (u8 *)memory;
	struct kit_ctx c;

	memset(m, 0x90, 4096);
	m[0xffe] = 0x90;
	kit_gdt[S_TEST / 8] = kit_desc((u32)m, 0xfff, 0xfb, 4);
	c = kit_ctx(3, (void *)0xff0);
	c.cs = S_TEST | 3;
	check("running past the limit of CS", "SDM 3A 5.3", GP, 0, kit_run(&c), "", 0, 0, 0, 0);
	kit_case("EIP of running past the limit", "SDM 3A 5.3", 0x1000, kit_last.eip);
	memcpy(m + 0xffd, "\xb8\x01\x02", 3); /* mov eax, imm32 cut by the limit */
	check("instruction cut by the limit of CS", "SDM 3A 5.3", GP, 0, kit_run(&c), "", 0, 0, 0, 0);
	kit_case("EIP of the cut instruction", "SDM 3A 5.3", 0xffd, kit_last.eip);
	memset(m, 0x90, 4096);
	memcpy(m + 0x100, near_jump, 2);
	memcpy(m + 0x200, near_call, 2);
	memcpy(m + 0x300, near_ret, 1);
	for (u32 i = 1; i < 4; i++) {
		c = kit_ctx(3, (void *)(i << 8));
		c.cs = S_TEST | 3;
		c.eax = 0x1000;
		((u32 *)c.esp)[0] = 0x1000;
		check("near branch past the limit of CS", "SDM 2A JMP, CALL, RET", GP, 0, kit_run(&c), "%u%u%u%u", i, 0,
		      0, 0);
		kit_case("EIP of the branch past the limit", "SDM 2A JMP", i << 8, kit_last.eip);
		kit_case("ESP of the branch past the limit", "SDM 2A JMP", c.esp, kit_last.esp);
	}
	memcpy(m + 0x400, "\xe9\xfb\x0b\x00\x00", 5); /* jmp 0x1000 */
	c.eip = 0x400;
	check("relative jump past the limit of CS", "SDM 2A JMP", GP, 0, kit_run(&c), "", 0, 0, 0, 0);
	kit_case("EIP of the relative jump", "SDM 2A JMP", 0x400, kit_last.eip);
}

/* Null selectors: loadable but unusable; not loadable in SS and CS. */
SNIP(use_ds, "movb (%esi), %al");
SNIP(use_es, "movb %es:(%esi), %al");
SNIP(pop_ds, "pop %ds");
SNIP(pop_ss, "pop %ss; nop");
SNIP(lds_ax, "lds (%esi), %eax");
SNIP(lss_sp, "lss (%esi), %esp");

static void nulls(void)
{
	for (u32 rpl = 0; rpl < 4; rpl++) {
		struct kit_ctx c = kit_ctx(3, load_ds);

		c.eax = rpl;
		check("null into DS", "SDM 2B MOV", DONE, 0, kit_run(&c), "", 0, 0, 0, 0);
		kit_case("DS after a null load", "SDM 2B MOV", rpl, kit_last.ds);
		c = kit_ctx(3, load_ss);
		c.eax = rpl;
		check("null into SS", "SDM 2B MOV", GP, 0, kit_run(&c), "rpl %u%u%u%u", rpl, 0, 0, 0);
		c = kit_ctx(3, use_ds);
		c.ds = c.es = rpl;
		check("access through a null DS", "SDM 3A 5.4.1", GP, 0, kit_run(&c), "", 0, 0, 0, 0);
		c.eip = (u32)use_es;
		check("access through a null ES", "SDM 3A 5.4.1", GP, 0, kit_run(&c), "", 0, 0, 0, 0);
	}
	for (u32 i = 0; i < 6; i++) {
		static const u8 *const code[] = { pop_ds, pop_ss, lds_ax, lss_sp, jmp_far, call_far };
		struct kit_ctx c = kit_ctx(3, code[i]);
		u32 far_ptr[2] = { 0x1234, i == 0 || i == 2 ? 0xfffb : 0 };

		c.esi = c.ebx = (u32)far_ptr;
		*(u32 *)c.esp = far_ptr[1];
		check("null or wild selector by POP, LDS, LSS, JMP, CALL", "SDM 2", GP, far_ptr[1] & 0xfff8,
		      kit_run(&c), "%u%u%u%u", i, 0, 0, 0);
		kit_case("ESP after it", "SDM 2", c.esp, kit_last.esp);
		kit_case("EAX after it", "SDM 2", 0, kit_last.eax);
	}
}

SNIP(do_arpl, "arpl %bx, %ax");

static void arpl(void)
{
	for (u32 n = 0; n < 16; n++) {
		struct kit_ctx c = kit_ctx(3, do_arpl);
		u32 a = n & 3, b = n >> 2;

		c.eax = 0xabcd1230 | a;
		c.ebx = 0x5550 | b;
		kit_run(&c);
		kit_case("ARPL", "SDM 2A ARPL", 0xabcd1230 | max(a, b), kit_last.eax);
		kit_case("ZF of ARPL", "SDM 2A ARPL", a < b, kit_last.eflags >> 6 & 1);
	}
}

/* Loads from an LDT: its limit, its absence, and LLDT's own checks. */
SNIP(do_lldt, "lldt %ax");
SNIP(do_ltr, "ltr %ax");

static void ldt(void)
{
	static u64 table[4];

	table[1] = kit_desc(0, 0xfffff, 0xf3, 12);
	kit_gdt[K_LDT / 8] = kit_desc((u32)table, 23, 0x82, 0);
	for (u32 i = 0; i < 5; i++) {
		struct kit_ctx c = kit_ctx(3, load_es);
		u32 sel = i == 4 ? 0xf : i << 3 | 7;
		bool none = i == 4;
		int want = !none && i == 1 ? DONE : GP;

		__asm__ volatile("lldt %w0" ::"r"(none ? 0 : K_LDT));
		c.eax = sel;
		check("load from the LDT", "SDM 3A 3.5", want, sel & 0xfffc, kit_run(&c), "%u%u%u%u", i, 0, 0, 0);
	}
	for (u32 n = 0; n < 64; n++) {
		u32 type = n & 31, p = n >> 5;
		struct kit_ctx c = kit_ctx(0, do_lldt);
		bool tss = type == 1 || type == 9;

		kit_gdt[S_TEST / 8] = kit_desc((u32)table, 23, p << 7 | type, 0);
		c.eax = S_TEST;
		check("LLDT", "SDM 2A LLDT",
		      type != 2 ? GP
		      : p	? DONE
				: NP,
		      S_TEST, kit_run(&c), "type %x p %u%u%u", type, p, 0, 0);
		c.eip = (u32)do_ltr;
		kit_gdt[S_TEST / 8] = kit_desc((u32)kit_tss, 0x3000, p << 7 | type, 0);
		check("LTR", "SDM 2A LTR",
		      !tss ? GP
		      : p  ? DONE
			   : NP,
		      S_TEST, kit_run(&c), "type %x p %u%u%u", type, p, 0, 0);
		kit_case("busy bit set by LTR", "SDM 2A LTR", type | (tss && p ? 2 : 0),
			 kit_gdt[S_TEST / 8] >> 40 & 31);
		kit_gdt[K_TSS / 8] &= ~(2ull << 40);
		__asm__ volatile("ltr %w0" ::"r"(K_TSS));
	}
	for (u32 i = 0; i < 2; i++) {
		struct kit_ctx c = kit_ctx(0, i ? do_ltr : do_lldt);

		c.eax = 0;
		if (!i || !kit_on_tcg()) /* TCG loads it and then dies of it */
			check(i ? "LTR null" : "LLDT null", "SDM 2A", i ? GP : DONE, 0, kit_run(&c), "", 0, 0, 0, 0);
		c.eax = K_LDT | 4;
		check(i ? "LTR from the LDT" : "LLDT from the LDT", "SDM 2A", GP, K_LDT | 4, kit_run(&c), "", 0, 0, 0,
		      0);
		c = kit_ctx(3, i ? do_ltr : do_lldt);
		check(i ? "LTR at CPL 3" : "LLDT at CPL 3", "SDM 2A", GP, 0, kit_run(&c), "", 0, 0, 0, 0);
	}
	__asm__ volatile("lldt %w0" ::"r"(0));
}

/* INT n through every gate type and privilege. SDM 3A 6.12.1. */
static void interrupts(void)
{
	for (u32 n = 0; n < 4 * 4 * 32 * 2 * 4; n++) {
		u32 cpl = n & 3, gdpl = n >> 2 & 3, gtype = n >> 4 & 31, gp = !(n >> 9 & 1), dpl = n >> 10 & 3, wide, v;
		struct kit_ctx c = kit_ctx(cpl, do_int);
		bool gate = gtype == 6 || gtype == 7 || gtype == 14 || gtype == 15;
		int want = DONE;
		u32 err = 0x90 * 8 + 2;

		if (gtype == 5)
			continue; /* task gates: tasks.c */
		if (!gate || cpl > gdpl)
			want = GP;
		else if (!gp)
			want = NP;
		else if (dpl > cpl)
			want = GP, err = S_TEST;
		wide = gtype >> 3;
		kit_gdt[S_TEST / 8] = kit_desc((u32)far_target & 0xffff0000, 0xfffff, 0x9b | dpl << 5, 12);
		kit_idt[0x90] = kit_gate((u32)far_target & 0xffff, S_TEST, gp << 7 | gdpl << 5 | gtype, 0);
		c.eflags |= 0x200;
		v = (u32)kit_run(&c);
		check("INT n through a gate", "SDM 3A 6.12.1", want, err, (int)v, "cpl/gate dpl/dpl %x type %x p %u%u",
		      cpl << 8 | gdpl << 4 | dpl, gtype, gp, 0);
		if (want != DONE || v != DONE)
			continue;
		kit_case("CPL of the handler", "SDM 3A 6.12.1", dpl, kit_last.cs & 3);
		kit_case("IF in the handler", "SDM 3A 6.12.1.2", gtype & 1 ? 0x200 : 0, kit_last.eflags & 0x200);
		if (dpl && dpl < cpl) { /* the handler's stack is still to be seen */
			u32 *s = (u32 *)kit_last.esp;
			u16 *h = (u16 *)s;

			kit_case("bytes pushed", "SDM 3A 6.12.1", wide ? 20 : 10,
				 ((u32 *)kit_tss)[1 + 2 * dpl] - kit_last.esp);
			kit_case("IP pushed", "SDM 3A 6.12.1", wide ? (u32)do_int + 2 : (u16)((u32)do_int + 2),
				 wide ? s[0] : h[0]);
			kit_case("CS pushed", "SDM 3A 6.12.1", kit_code_sel(cpl), wide ? s[1] & 0xffff : h[1]);
			kit_case("flags pushed", "SDM 3A 6.12.1", c.eflags, wide ? s[2] : h[2]);
			kit_case("SP pushed", "SDM 3A 6.12.1", wide ? c.esp : (u16)c.esp, wide ? s[3] : h[3]);
			kit_case("SS pushed", "SDM 3A 6.12.1", kit_data_sel(cpl), wide ? s[4] & 0xffff : h[4]);
		}
	}
	for (u32 cpl = 0; cpl < 4; cpl++) { /* conforming handlers keep the CPL */
		struct kit_ctx c = kit_ctx(cpl, do_int);

		kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, 0x9f, 12);
		kit_idt[0x90] = kit_gate((u32)far_target, S_TEST, 0xee, 0);
		check("INT n to a conforming segment", "SDM 3A 6.12.1.1", DONE, 0, kit_run(&c), "", 0, 0, 0, 0);
		kit_case("CPL in a conforming handler", "SDM 3A 6.12.1.1", cpl, kit_last.cs & 3);
	}
	kit_idt[0x90] = kit_gate((u32)far_target, 0, 0xee, 0);
	for (u32 i = 0; i < 3; i++) {
		struct kit_ctx c = kit_ctx(3, do_int);

		kit_gdt[S_TEST / 8] = kit_desc(0, 0xfffff, i == 1 ? 0x93 : 0x1b, 12);
		if (i)
			kit_idt[0x90] = kit_gate((u32)far_target, S_TEST, 0xee, 0);
		check("INT n to no, a data, an absent segment", "SDM 2A INT", i == 2 ? NP : GP, i ? S_TEST : 0,
		      kit_run(&c), "%u%u%u%u", i, 0, 0, 0);
	}
}

int guest_main(void)
{
	wrcr4(rdcr4() | 0x600);
	loads();
	rights();
	direct();
	returns();
	return_stacks();
	gates();
	gate_stacks();
	limits();
	code_limits();
	nulls();
	arpl();
	ldt();
	interrupts();
	return kit_done();
}
