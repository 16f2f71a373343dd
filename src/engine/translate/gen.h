/* SPDX-License-Identifier: Apache-2.0
 * What the parts of the code generator share while one block is made.
 */
#ifndef ENGINE_GEN_H
#define ENGINE_GEN_H

#include <stddef.h>

#include "engine/translate/translate.h"

/* Where the guest's arithmetic flags are. */
enum flags_at { FLAGS_MEM, FLAGS_HOST, FLAGS_BOTH, FLAGS_NONE };

/* How to make the flags again (gen_flags.c): not; by TEST of the result; by the instruction, on operands that it did
 * not change, or on a copy of its result after what undoes it. */
enum again_how { AGAIN_NOT, AGAIN_TEST, AGAIN_SAME, AGAIN_UNDO, AGAIN_TWICE };

struct again {
	u8 how, size, to; /* to: guest register, the second operand is `from` or an opcode extension */
	u8 from;
	bool has_reg;
	u8 op, n_imm;
	u8 k;	  /* the instruction's number + 1 */
	u16 regs; /* guest registers that must be as they were */
	u32 imm;
};

/* The last x87 instruction, whose FIP and FOP are not stored yet. off: from the block's start. */
struct x87_last {
	bool any;
	u16 fop;
	unsigned off;
};

/* A jump out of an instruction that has the library do all of it, then comes back behind it. */
struct cold {
	u8 *from, *back; /* back NULL: a branch, the next block is looked up */
	u8 k;
	u8 load; /* not 0: goes to load vector state (LIVE_*) and comes back; only where it may not, the library acts */
	u8 live; /* what `back` relies on to be live */
	u8 refill;  /* a lookaside miss: 1 for reading, 2 for writing */
	u8 *probed; /* ... where the probe goes on when it has hit */
	struct x87_last x87;
	bool host_flags; /* at `back`, EFLAGS holds the flags */
	unsigned off, bias;
	u8 *also;
	bool jump; /* the recent jumps do not have R15: where that is canonical, RSP goes on by release, then by lookup
		    */
	s32 release;
	bool wide;    /* more was probed than is accessed: the instruction is repeated by itself, and the code left */
	bool upgrade; /* a right to write was probed for what is read: refilled for reading */
	struct again again; /* how the flags come back where they were nowhere */
	bool leave; /* the code does not go on behind it, since it relies on what was probed before the library ran */
};

/* Where a memory operand lies (gen_plan.c). Two whose fields but the last three are equal lie as far from each other as
 * their offsets tell. */
struct place {
	u32 base, index; /* symbols */
	u8 scale, seg, asz;
	bool known;
	s64 off;
	u8 size; /* likely */
	bool write;
};

enum { PLACE_EXPLICIT, PLACE_STACK, PLACES };

/* A page that was probed for accesses to [lo, hi) of a place; the host address of `origin` is in the frame
 * (gen_share.c). */
struct group {
	bool used, write;
	struct place at;
	s64 lo, hi, origin;
	unsigned last; /* the last instruction that may use it */
	unsigned held; /* R14 still has the address as long as e.r14 is this */
};

/* What a conditional branch that is taken goes on with, behind the code of those that are not. */
struct arm {
	u8 *from;
	const struct insn *i;
	u8 k;
	unsigned next;
	enum flags_at flags;
	bool through; /* it is the other way round: what goes on behind it where it is not taken */
};

/* Where a far link's guard does not hold. d: from the next instruction to the target. */
struct miss {
	u8 *from;
	const struct insn *i;
	u8 k, n; /* retired before it and behind it */
	unsigned next;
	s64 d;
	bool call, check;
	u32 link;
};

#define CODE_INSNS 64 /* in the code of a block and of what follows it */
#define MAX_COLD (8 * CODE_INSNS)

struct gen {
	struct translate *t;
	struct block *b;
	struct emit e;
	const struct insn *i; /* being translated */
	unsigned k;	      /* its number: the code has retired so many before it */
	unsigned next;	      /* offset of the following instruction from the block's start */
	unsigned bias; /* r[R_RIP] is ahead of the block's start by this, modulo 2^32: less its place in the frame */
	enum flags_at flags;
	unsigned live; /* LIVE_*: known to be in host registers */
	struct x87_last x87;
	bool ended; /* the block's end has been emitted */
	bool more;  /* the code goes on behind this instruction if it does not branch */
	bool along; /* ... or where it does branch to, and not behind it */
	unsigned first_link, n_arms;
	struct arm arm[CODE_INSNS];
	unsigned n_misses, n_misses_done;
	struct miss miss[2 * CODE_INSNS];
	const struct insn *insn[CODE_INSNS];
	unsigned n_insns;
	u16 next_of[CODE_INSNS];  /* gen.next at each */
	u8 *host[CODE_INSNS + 1]; /* where their code begins, and the rarely taken paths behind the last one */
	const struct insn *end;	  /* behind the last one of the block that is being translated */
	const struct block *member[CODE_INSNS]; /* blocks whose code this is */
	unsigned n_members;
	u64 along_of; /* bit: the code goes along with the last instruction of a member, which jumps */
	struct place place[CODE_INSNS][PLACES];
	u16 wrote[CODE_INSNS]; /* the guest registers that each may change */
	struct again again;    /* how the last flags were made */
	struct group group[GROUPS];
	unsigned next_group;
	bool alone; /* nothing is shared */
	s32 at;	    /* the memory operand is at R14 + this */
	unsigned n_cold;
	struct cold cold[MAX_COLD];
};

static inline bool gen_opt(const struct gen *g, enum opt n)
{
	return opt(g->t, n);
}

#define CPU(field) cpu_at(offsetof(struct cpu, field))

static inline struct opnd guest_at(unsigned r)
{
	return cpu_at(offsetof(struct cpu, r) + 8 * r);
}

static inline bool gen_long64(const struct gen *g)
{
	return (g->b->key & 3) == CODE64;
}

/* 32-bit code all of whose segments but FS and GS are flat and begin at 0. */
static inline bool gen_flat32(const struct gen *g)
{
	return g->b->key == CODE32;
}

/* Code in which RIP's place in its frame is the frame's, and stack and targets need no check of segments. */
static inline bool gen_flat(const struct gen *g)
{
	return gen_long64(g) || gen_flat32(g);
}

/* Bytes of a stack slot and of a branch's target in flat code. */
static inline unsigned gen_width(const struct gen *g)
{
	return gen_long64(g) ? 8 : 4;
}

/* The host register that holds guest register r; a slot is loaded into temp. */
static inline unsigned gen_read(struct gen *g, unsigned r, unsigned temp)
{
	if (host_of[r] != SLOT)
		return host_of[r];
	emit_load(&g->e, temp, guest_at(r));
	return temp;
}

/* gen_flags.c */
/* Flags into cpu->aflags; EFLAGS stays as it is. Uses RAX, and R14, R15 where they were nowhere. */
void gen_flags_save(struct gen *g);
/* Flags into EFLAGS. Uses the same. */
void gen_flags_load(struct gen *g);
/* Before a probe of the current instruction's: saved, unless they are dead and can be made again. */
void gen_flags_lose(struct gen *g);
/* Behind the current instruction, which is g->insn[g->k]: can its or older flags be made again? */
void gen_flags_behind(struct gen *g);
/* On a rarely taken path: from registers to cpu->aflags, if a says how; from cpu->aflags to EFLAGS. */
void gen_flags_restore(struct gen *g, const struct again *a);
void gen_flags_load_now(struct gen *g);

/* gen.c */
/* Calls one of thunks.c. */
void gen_call_thunk(struct gen *g, const u8 *to);
/* The instruction is left to the library if the condition holds now. */
void gen_cold_if(struct gen *g, unsigned cc);

/* gen_mem.c */
/* Can this memory operand be translated? */
bool gen_can_address(const struct gen *g);
/* The effective address as an operand; may load R14, R15. Without the segment's base. */
struct opnd gen_ea(struct gen *g);
/* The linear address into R14; the flags must be in memory and EFLAGS may be lost. */
void gen_linear(struct gen *g);
/* R14, an effective address, becomes linear: likewise. */
void gen_segment(struct gen *g);
/* R14, linear, becomes the host address of size bytes; the flags must be in memory and EFLAGS is lost. Uses RAX, R15.
 */
void gen_probe(struct gen *g, unsigned size, bool write);
/* As gen_linear() for [r + d], which push, pop and the like access. */
void gen_linear_implied(struct gen *g, unsigned r, s32 d);
/* The operand's host address becomes R14 + gen.at, whichever way is the shortest; flags are saved if need be. */
void gen_operand(struct gen *g, unsigned size, bool write);
/* The same, for what cannot use gen.at: it is 0. */
void gen_operand_at_r14(struct gen *g, unsigned size, bool write);
/* gen_probe() for the place, and for what lies near it and is accessed soon. */
void gen_probe_place(struct gen *g, unsigned which, unsigned size, bool write);
/* Where gen_operand() and gen_stack_probe() found it. */
static inline struct opnd gen_at(const struct gen *g)
{
	return mem(H_R14, g->at);
}
/* R15 = the slot of R14 - below in the soft TLB, RAX = the tag wanted there; ZF: it has that, so that
 * [R14 - below, R14 + beyond] may be accessed. */
void gen_tlb_compare(struct gen *g, unsigned below, unsigned beyond, bool write);

/* gen_plan.c: fills gen.place for the first n of gen.insn. */
void gen_plan(struct gen *g, unsigned n);

/* gen_share.c: true if an earlier probe serves: R14 + gen.at is the host address. Leaves the flags alone. */
bool gen_shared(struct gen *g, unsigned which, unsigned size, bool write);
/* What to probe for the access: size bytes at gen.place[gen.k][which]. True if others share it; then gen_share_keep()
 * follows with the host address in R14. */
struct range {
	unsigned below, beyond; /* from the first byte: so much in front, and the last byte */
	unsigned last;
	bool write;
};
bool gen_share_range(const struct gen *g, unsigned which, unsigned size, bool write, struct range *r);
void gen_share_keep(struct gen *g, unsigned which, const struct range *r);
/* Behind what may change a translation or a right. */
void gen_share_drop(struct gen *g);
/* Does code behind instruction k rely on an earlier probe? */
bool gen_share_pending(const struct gen *g);

/* gen_int.c, gen_flow.c: false if the instruction is not of a kind that is translated (nothing emitted then). */
bool gen_integer(struct gen *g);
bool gen_stack(struct gen *g);
bool gen_flow(struct gen *g);
/* gen_atomic.c, gen_bits.c, gen_misc.c: the same. */
bool gen_bits(struct gen *g);
bool gen_atomic(struct gen *g);
bool gen_misc(struct gen *g);
bool gen_system(struct gen *g);
/* gen_string.c: the same. */
bool gen_string(struct gen *g);
/* Is i an STI that gen_system() translates where the code goes on behind it? */
bool gen_is_sti(const struct gen *g, const struct insn *i);
/* What is not aligned at R14 is left to the library; the flags must be in memory and EFLAGS is lost. */
/* gen_flow.c: R15 is a branch's target or a base: the library raises #GP if it is not canonical. Any 32 bits are fine
 * in flat code. RAX is lost. */
void gen_canonical(struct gen *g);
void gen_aligned(struct gen *g, unsigned size);
/* R14 = host address of the word at RSP + d; RSP moves by d. */
void gen_stack_probe(struct gen *g, s32 d, bool write);
void gen_add_rsp(struct gen *g, s32 d);
/* gen_vec.c, gen_vec_x87.c: the same. */
bool gen_vector(struct gen *g);
bool gen_x87(struct gen *g);
/* Stores the pointers of the last x87 instruction; r[R_RIP] is ahead by bias. Uses RAX, leaves the flags alone. */
void gen_x87_pointers(struct gen *g, const struct x87_last *last, unsigned bias);
/* The same for gen.x87, before anything that could see them. */
void gen_x87_flush(struct gen *g);

/* gen_vec_live.c: vector state `need` (LIVE_*) is in host registers from here on; EFLAGS and RAX may be lost. */
void gen_live(struct gen *g, unsigned need);
/* Loads it, behind a call of the library; ZF if that could be done. Loses R14, R15, RAX. */
void gen_live_load(struct gen *g, unsigned need);

/* Is i a conditional branch, a direct jump, that gen_flow() translates? */
bool gen_is_jcc(const struct gen *g, const struct insn *i);
bool gen_is_jmp(const struct gen *g, const struct insn *i);
/* The code ends here, n instructions retired, and goes on to what follows it. */
void gen_fall_through(struct gen *g, unsigned n);
/* r[R_RIP] and icount are right: on to the block there, found by lookup. */
void gen_lookup(struct gen *g);
/* icount where the code is left behind n instructions. */
void gen_count(struct gen *g, unsigned n);
/* The arms of conditional branches; where unlinked jumps lead to. */
void gen_arms(struct gen *g);
void gen_link_stubs(struct gen *g);
/* The rarely taken paths of far links; of an indirect jump. */
void gen_misses(struct gen *g);
void gen_jump_miss(struct gen *g, const struct cold *c);

#endif
