/* SPDX-License-Identifier: Apache-2.0
 * What kernels run on each way in and out, in flat code: SWAPGS, STAC, CLAC, STI, CLD, RDTSC, control registers read,
 * PUSH from memory, fences. SYSCALL and SYSRET are calls of their own (cross.c).
 *
 * STI opens an interrupt shadow of one instruction. Where nothing waits to be taken and the code itself goes on with
 * the next instruction, no event can come between the two, so none is noted.
 * Not so where runs are compared: a fault of that instruction leaves the shadow open.
 */
#include "base/counter.h"
#include "cpu/cpuid.h"
#include "cpu/int.h"
#include "cpu/optab.h"
#include "cpu/segment.h"
#include "cpu/sys.h"
#include "engine/translate/gen.h"
#include "mmu/mmu.h"

#define BASE_OF(n) (offsetof(struct cpu, seg) + (n) * sizeof(struct seg) + offsetof(struct seg, base))

/* Other levels than 0 are left to the library. EFLAGS is lost. */
static void gen_level_0(struct gen *g)
{
	gen_flags_save(g);
	emit_rm(&g->e, 1, 0x80, ALU_CMP, CPU(d.cpl));
	emit8(&g->e, 0);
	gen_cold_if(g, CC_NE);
	g->flags = FLAGS_MEM;
}

static bool gen_swapgs(struct gen *g)
{
	gen_level_0(g);
	emit_load(&g->e, H_R14, cpu_at(BASE_OF(SEG_GS)));
	emit_load(&g->e, H_R15, CPU(kernel_gs_base));
	emit_store(&g->e, CPU(kernel_gs_base), H_R14);
	emit_store(&g->e, cpu_at(BASE_OF(SEG_GS)), H_R15);
	emit_store(&g->e, CPU(d.ebase[SEG_GS]), H_R15);
	gen_share_drop(g);
	return true;
}

/* rflags |= set, or &= ~clear */
static void gen_system_flag(struct gen *g, u32 flag, bool set)
{
	emit_rm(&g->e, 4, 0x81, set ? ALU_OR : ALU_AND, CPU(rflags));
	emit_bytes(&g->e, set ? flag : ~flag, 4);
}

static bool gen_ac(struct gen *g, bool set)
{
	const s32 ac = (s32)(offsetof(struct mmu_hot, ac) + (set ? sizeof(struct mmu_ac) : 0));

	if (!cpu_has(g->t->in.cpu, FEAT_SMAP))
		return false;
	gen_level_0(g);
	gen_system_flag(g, FLAG_AC, set);
	emit_load(&g->e, H_RAX, CPU(mmu));
	emit_load(&g->e, H_R14, mem(H_RAX, ac + (s32)offsetof(struct mmu_ac, tlb)));
	emit_load(&g->e, H_R15, mem(H_RAX, ac + (s32)offsetof(struct mmu_ac, ctx)));
	emit_store(&g->e, CPU(tlb), H_R14);
	emit_rm(&g->e, 2, 0x89, H_R15, CPU(ctx));
	gen_share_drop(g);
	return true;
}

/* The library decides unless nothing at all waits: what event_waiting() asks, but for any request in the APIC. */
static bool gen_sti(struct gen *g)
{
	struct emit *e = &g->e;

	if (!g->more)
		return false;
	gen_level_0(g);
	emit_rm(e, 4, 0x0fb6, H_RAX, CPU(injected.type));
	emit_rm(e, 4, 0x0b, H_RAX, CPU(attention));
	emit_rm(e, 8, 0x0b, H_RAX, CPU(pending_db));
	for (unsigned k = 0; k < 8; k += 2)
		emit_rm(e, 8, 0x0b, H_RAX, CPU(lapic.irr[k]));
	gen_cold_if(g, CC_NE);
	gen_system_flag(g, FLAG_IF, true);
	return true;
}

bool gen_is_sti(const struct gen *g, const struct insn *i)
{
	return i->exec == exec_sti && g->t->in.cpu->free_running && gen_flat(g) && gen_opt(g, OPT_SYSTEM);
}

static bool gen_direction(struct gen *g, bool set)
{
	gen_flags_save(g);
	gen_system_flag(g, FLAG_DF, set);
	g->flags = FLAGS_MEM;
	return true;
}

/* The host's own, where nobody records it. */
static bool gen_rdtsc(struct gen *g, bool p)
{
	struct emit *e = &g->e;

	if (!g->t->in.cpu->free_running || (p && !cpu_has(g->t->in.cpu, FEAT_RDTSCP)))
		return false;
	gen_flags_save(g);
	emit_rm(e, 4, 0xf7, 0, CPU(cr4)); /* test cr4, TSD */
	emit_bytes(e, CR4_TSD, 4);
	gen_cold_if(g, CC_NE);
	if (p)
		emit_bytes(e, 0xe8ae0f, 3); /* lfence: what is before has been done, and its loads seen */
	emit8(e, 0x0f);
	emit8(e, 0x31);
	emit_rm(e, 8, 0xc1, 4, reg(H_RDX)); /* shl rdx, 32 */
	emit8(e, 32);
	emit_rm(e, 8, 0x0b, H_RDX, reg(H_RAX));
	emit_rm(e, 8, 0x03, H_RDX, CPU(tsc_offset));
	emit_rm(e, 4, 0x8b, host_of[RAX], reg(H_RDX));
	emit_rm(e, 8, 0xc1, 5, reg(H_RDX)); /* shr rdx, 32 */
	emit8(e, 32);
	if (p)
		emit_rm(e, 4, 0x8b, host_of[RCX], CPU(tsc_aux));
	g->flags = FLAGS_MEM;
	return true;
}
_Static_assert(H_RDX == 2, "host_of[RDX] is RDX, which RDTSC writes");

/* MOV r, CR0 to CR4. */
static bool gen_from_control(struct gen *g)
{
	static const size_t at[] = { offsetof(struct cpu, cr0), 0, offsetof(struct cpu, cr2), offsetof(struct cpu, cr3),
				     offsetof(struct cpu, cr4) };
	const struct insn *i = g->i;
	unsigned n = i->reg, to = host_of[i->rm] == SLOT ? H_R14 : host_of[i->rm];

	if (n >= ARRAY_SIZE(at) || !at[n])
		return false;
	gen_level_0(g);
	emit_load(&g->e, to, cpu_at(at[n]));
	if (to == H_R14)
		emit_store(&g->e, guest_at(i->rm), H_R14);
	return true;
}

/* RDFSBASE and the like, where CR4 lets them be. */
static bool gen_base(struct gen *g, unsigned seg, bool write)
{
	const struct insn *i = g->i;
	struct emit *e = &g->e;
	unsigned r = host_of[i->rm];

	if (!cpu_has(g->t->in.cpu, FEAT_FSGSBASE))
		return false;
	gen_flags_save(g);
	emit_rm(e, 4, 0xf7, 0, CPU(cr4)); /* test cr4, FSGSBASE */
	emit_bytes(e, CR4_FSGSBASE, 4);
	gen_cold_if(g, CC_E);
	g->flags = FLAGS_MEM;
	if (write) {
		emit_rm(e, i->osz, 0x8b, H_R15, r == SLOT ? guest_at(i->rm) : reg(r));
		gen_canonical(g);
		emit_store(e, cpu_at(BASE_OF(seg)), H_R15);
		emit_store(e, cpu_at(offsetof(struct cpu, d.ebase) + 8 * seg), H_R15);
		gen_share_drop(g);
		return true;
	}
	emit_rm(e, i->osz, 0x8b, r == SLOT ? H_R14 : r, cpu_at(BASE_OF(seg)));
	if (r == SLOT)
		emit_store(e, guest_at(i->rm), H_R14);
	return true;
}

static bool gen_bases(struct gen *g)
{
	exec_fn *exec = g->i->exec;
	bool fs = exec == sys_rdfsbase || exec == sys_wrfsbase, gs = exec == sys_rdgsbase || exec == sys_wrgsbase;

	return (fs || gs) && gen_base(g, fs ? SEG_FS : SEG_GS, exec == sys_wrfsbase || exec == sys_wrgsbase);
}

/* The host's fence: another vCPU runs on another of its processors. */
static bool gen_fence(struct gen *g)
{
	emit8(&g->e, 0x0f);
	emit8(&g->e, 0xae);
	emit8(&g->e, g->i->modrm);
	return true;
}

static bool gen_push_memory(struct gen *g)
{
	if (!gen_can_address(g))
		return false;
	gen_operand(g, 8, false);
	emit_load(&g->e, H_R15, gen_at(g));
	emit_store(&g->e, mem(H_RSP, FRAME_TEMP), H_R15);
	gen_stack_probe(g, -8, true);
	emit_load(&g->e, H_R15, mem(H_RSP, FRAME_TEMP));
	emit_store(&g->e, gen_at(g), H_R15);
	gen_add_rsp(g, -8);
	return true;
}

static bool gen_map_1(struct gen *g)
{
	const struct insn *i = g->i;

	switch (i->opcode) {
	case 0xfb:
		return gen_sti(g);
	case 0xfc:
	case 0xfd:
		return gen_direction(g, i->opcode == 0xfd);
	case 0xff:
		return (i->flags & INSN_MEM) && (i->modrm >> 3 & 7) == 6 && i->osz == 8 && gen_long64(g) &&
		       gen_push_memory(g);
	default:
		return false;
	}
}

bool gen_system(struct gen *g)
{
	const struct insn *i = g->i;

	if (!gen_flat(g) || (i->flags & INSN_LOCK))
		return false;
	if (i->map == MAP_1)
		return gen_map_1(g);
	if (i->exec == sys_stac || i->exec == sys_clac)
		return gen_ac(g, i->exec == sys_stac);
	if (i->exec == sys_rdtsc || i->exec == sys_rdtscp)
		return gen_rdtsc(g, i->exec == sys_rdtscp);
	if (i->exec == x86_lfence || i->exec == x86_mfence || i->exec == x86_sfence)
		return gen_fence(g);
	if (!gen_long64(g))
		return false;
	if (i->exec == sys_swapgs)
		return gen_swapgs(g);
	return gen_bases(g) || (i->exec == sys_mov_from_cr && gen_from_control(g));
}
