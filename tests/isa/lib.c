/* SPDX-License-Identifier: Apache-2.0
 * The library side: a vCPU in user mode over the same little world, without paging; its accessors fault where the
 * host's pages would.
 */
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>

#include "cpu/access.h"
#include "cpu/cpuid.h"
#include "cpu/decode.h"

static struct {
	struct cpu *c;
	struct cpu_ops ops;
	struct tlbe never[TLB_SIZE], some[TLB_SIZE];
	u64 runs;
	_Alignas(4096) u8 mem[ISA_PAGES * 4096];
	u8 code[4096];
} lib;

/* The host bytes behind [lin, lin + size), or NULL with the fault raised as the host's page tables would. */
static u8 *world(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out)
{
	bool write = acc & (ACC_W | ACC_RMW);

	*out = OUT_DONE;
	if (c->d.long64 && (u64)((s64)(lin << 16) >> 16) != lin) {
		*out = acc & ACC_SS ? cpu_raise_error(c, EXC_SS, 0) : cpu_gp(c, 0);
		return NULL;
	}
	if (c->d.long64 && (u64)((s64)((lin + size - 1) << 16) >> 16) != lin + size - 1) {
		*out = acc & ACC_SS ? cpu_raise_error(c, EXC_SS, 0) : cpu_gp(c, 0);
		return NULL;
	}
	for (unsigned k = 0; k < size; k++) {
		u64 a = lin + k, data = a - ISA_DATA;

		if (data < 4096 || (data < ISA_PAGES * 4096 && !write))
			continue;
		if (a - ISA_CODE < 4096)
			continue;
		/* Linux says "present" of every address beyond the user's. */
		*out = cpu_pf(c, a,
			      PF_U | (write ? PF_W : 0) | (data < ISA_PAGES * 4096 || a >= 0x7ffffffff000 ? PF_P : 0));
		return NULL;
	}
	if (lin - ISA_CODE < 4096)
		return lib.code + (lin - ISA_CODE);
	return lib.mem + (lin - ISA_DATA);
}

static int lib_load(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc)
{
	int out;
	u8 *p = world(c, lin, size, acc & ~ACC_W, &out);

	if (p)
		memcpy(buf, p, size);
	return out;
}

static int lib_store(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc)
{
	int out;
	u8 *p = world(c, lin, size, acc | ACC_W, &out);

	if (p)
		memcpy(p, buf, size);
	return out;
}

static void *lib_pin(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out)
{
	return world(c, lin, size, acc, out);
}

static int lib_cmpxchg(struct cpu *c, u64 lin, const void *old, const void *val, void *seen, unsigned size)
{
	int out;
	u8 *p = world(c, lin, size, ACC_W, &out);

	if (!p)
		return out;
	memcpy(seen, p, size);
	if (!memcmp(p, old, size))
		memcpy(p, val, size);
	return OUT_DONE;
}

/* Every second case finds the data pages in the TLB, so that both paths of each access are compared. */
static void lib_mode_changed(struct cpu *c)
{
	c->tlb = lib.runs & 1 ? lib.some : lib.never;
	for (unsigned k = 0; k < ISA_PAGES; k++) {
		u64 lin = ISA_DATA + k * PAGE_SIZE;

		lib.some[(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)] = (struct tlbe){
			.r = lin | c->ctx,
			.w = k ? TLB_NO_TAG : lin | c->ctx,
			.add = (uintptr_t)lib.mem + k * PAGE_SIZE - lin,
		};
	}
}

static void lib_page(struct cpu *c, u64 lin)
{
	(void)c;
	(void)lin;
}

static void lib_flush(struct cpu *c, enum tlb_scope scope, u32 pcid, u64 lin)
{
	(void)c;
	(void)scope;
	(void)pcid;
	(void)lin;
}

void isa_lib_init(void)
{
	struct err e;
	struct cpuid_model *m = cpuid_model_new("host", 1, &e);

	if (!m) {
		fprintf(stderr, "isa: %s\n", e.text);
		exit(2);
	}
	for (unsigned i = 0; i < TLB_SIZE; i++)
		lib.never[i] = lib.some[i] = (struct tlbe){ .r = TLB_NO_TAG, .w = TLB_NO_TAG };
	lib.ops = (struct cpu_ops){ .load = lib_load,
				    .store = lib_store,
				    .pin = lib_pin,
				    .cmpxchg = lib_cmpxchg,
				    .mode_changed = lib_mode_changed,
				    .tlb_page = lib_page,
				    .tlb_flush = lib_flush };
	lib.c = cpu_new(0, m, &lib.ops);
}

static void set_segments(struct cpu *c, enum cpu_code mode)
{
	for (unsigned s = 0; s < NR_SEGS; s++)
		c->seg[s] = (struct seg){ .sel = 0x2b,
					  .limit = 0xffffffff,
					  .attr = SEG_S | SEG_P | SEG_DPL | SEG_W | SEG_A | SEG_G | SEG_D };
	c->seg[SEG_CS].sel = mode == CODE64 ? 0x33 : 0x23;
	c->seg[SEG_CS].attr = SEG_S | SEG_P | SEG_DPL | SEG_CODE | SEG_R | SEG_A | SEG_G |
			      (mode == CODE64 ? SEG_L : SEG_D);
	for (unsigned s = 0; mode == CODE16 && s < NR_SEGS; s++) {
		c->seg[s].base = s == SEG_CS ? ISA_CODE : ISA_BASE16;
		c->seg[s].limit = 0xffff;
		c->seg[s].attr &= ~(u32)(SEG_G | SEG_D);
	}
}

static void load_state(struct cpu *c, const struct isa_case *t)
{
	cpu_reset(c, false);
	c->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	c->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	c->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	c->xcr0 = 0xe7 & c->model->xcr0_mask;
	set_segments(c, t->mode);
	memcpy(c->r, t->in.r, sizeof(t->in.r));
	c->r[R_ZERO] = 0;
	c->r[R_RIP] = ISA_START - isa_code_base(t->mode);
	cpu_set_rflags_raw(c, (t->in.rflags & (FLAGS_ARITH | FLAG_DF)) | FLAG_IF | 2);
	memcpy(c->zmm, t->in.zmm, sizeof(c->zmm));
	memcpy(c->k, t->in.k, sizeof(c->k));
	c->x87 = t->in.x87;
	c->mxcsr = t->in.mxcsr;
	cpu_update_mode(c);
}

static void store_state(struct cpu *c, enum cpu_code mode, struct isa_result *o)
{
	memcpy(o->st.r, c->r, sizeof(o->st.r));
	o->st.rip = c->r[R_RIP] + isa_code_base(mode);
	o->st.rflags = cpu_rflags(c) & (FLAGS_ARITH | FLAG_DF);
	memcpy(o->st.zmm, c->zmm, sizeof(o->st.zmm));
	memcpy(o->st.k, c->k, sizeof(o->st.k));
	o->st.x87 = c->x87;
	o->st.mxcsr = c->mxcsr;
	memcpy(o->mem, lib.mem, sizeof(o->mem));
}

void isa_lib_run(const struct isa_case *t, struct isa_result *o)
{
	struct cpu *c = lib.c;
	struct insn i;
	int out, rounds = 0;
	enum decode_result d = decode_insn(&i, t->code, t->len, t->mode, cpu_is_amd(c) ? DECODE_AMD : 0);

	lib.runs++;
	memcpy(lib.mem, t->mem, sizeof(lib.mem));
	memset(lib.code, 0xcc, sizeof(lib.code));
	memcpy(lib.code + (ISA_START - ISA_CODE), t->code, t->len);
	load_state(c, t);
	o->exc = ISA_NO_EXC;
	o->error = 0;
	o->cr2 = 0;
	if (d == DECODE_OK) {
		do
			out = cpu_exec(c, &i);
		while (out == OUT_AGAIN && ++rounds < 100000);
	} else {
		out = d == DECODE_TOO_LONG ? cpu_gp(c, 0) : cpu_raise(c, 0xfe);
	}
	if (out == OUT_FAULT || out == OUT_UNIMPL) {
		o->exc = out == OUT_UNIMPL ? 0xfd : c->exc.vector;
		o->error = c->exc.has_error ? c->exc.error : 0;
		o->cr2 = c->exc.vector == EXC_PF ? c->exc.payload : 0;
	}
	store_state(c, t->mode, o);
}
