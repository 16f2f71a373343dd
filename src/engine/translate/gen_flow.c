/* SPDX-License-Identifier: Apache-2.0
 * The stack and near control transfer in flat code, of 64 and 32 bits, and how a block goes on to the next.
 */
#include "cpu/optab.h"
#include "engine/translate/gen.h"

void gen_count(struct gen *g, unsigned n)
{
	emit_alu_imm(&g->e, 8, ALU_ADD, CPU(icount), (s32)n);
}

void gen_lookup(struct gen *g)
{
	u8 *to = gen_long64(g) ? g->t->lookup : g->t->lookup32;

	if ((g->b->key & BLOCK_KEY_LIMIT) || !gen_opt(g, OPT_LOOKUP))
		to = g->t->cold;
	emit_jump(&g->e, CC_ALWAYS, to);
}

/* To the address in R15; flags and icount are saved. */
static void gen_jump(struct gen *g)
{
	if (gen_flat(g) && gen_opt(g, OPT_LOOKUP) && gen_opt(g, OPT_JUMPS)) {
		thunks_jump(g->t, &g->e, gen_long64(g));
		return;
	}
	emit_store(&g->e, guest_at(R_RIP), H_R15);
	gen_lookup(g);
}

static s64 place(const struct gen *g, s64 off)
{
	return (s64)(g->b->gpa & (PAGE_SIZE - 1)) + off;
}

static bool in_frame(const struct gen *g, s64 off)
{
	return place(g, off) >= 0 && place(g, off) < (s64)PAGE_SIZE;
}

/* Where CS has a base, EIP may wrap on the way inside a frame: that goes by lookup. */
static void gen_link_wrap(struct gen *g, s64 off)
{
	u8 *fine;

	emit_load(&g->e, H_R15, guest_at(R_RIP));
	emit_rm(&g->e, 8, 0x8d, H_R15, mem(H_R15, (s32)place(g, off)));
	emit_rm(&g->e, 4, 0x8b, H_RAX, reg(H_R15));
	emit_rm(&g->e, 8, 0x3b, H_RAX, reg(H_R15));
	fine = emit_forward(&g->e, CC_E);
	emit_store(&g->e, guest_at(R_RIP), H_RAX);
	gen_lookup(g);
	emit_patch(fine, g->e.p);
}

/* On to the instruction at off, in the same frame. */
static void gen_link(struct gen *g, s64 off, bool forward)
{
	struct translate *t = g->t;
	struct link *l;

	if ((g->b->key & BLOCK_KEY_LIMIT) || !gen_opt(g, OPT_LINKS)) {
		emit_load(&g->e, H_R15, guest_at(R_RIP));
		emit_rm(&g->e, gen_long64(g) ? 8 : 4, 0x8d, H_R15, mem(H_R15, (s32)place(g, off)));
		emit_store(&g->e, guest_at(R_RIP), H_R15);
		gen_lookup(g);
		return;
	}
	if (!gen_flat(g))
		gen_link_wrap(g, off);
	l = &t->links[t->n_links++];
	*l = (struct link){ .from = g->b, .to = (u16)place(g, off), .forward = forward };
	l->site = (u32)(emit_forward(&g->e, CC_ALWAYS) - t->rw);
}

static void gen_link_stub(struct gen *g, struct link *l)
{
	struct translate *t = g->t;

	l->stub = (u32)(g->e.p - t->rw);
	emit_patch(t->rw + l->site, g->e.p);
	if (l->far)
		emit_store(&g->e, guest_at(R_RIP), H_R15);
	else
		emit_alu_imm(&g->e, 8, ALU_ADD, guest_at(R_RIP), l->to);
	emit_mov_imm(&g->e, H_R14, (u64)(uintptr_t)l);
	emit_mov_imm(&g->e, H_RAX, LEAVE_LINK);
	emit_jump(&g->e, CC_ALWAYS, t->leave);
}

void gen_link_stubs(struct gen *g)
{
	for (u32 n = g->first_link; n < g->t->n_links; n++)
		if (!g->t->links[n].far)
			gen_link_stub(g, &g->t->links[n]);
}

/* R15 = the address d bytes behind the next instruction, cut to 32 bits outside 64-bit mode. */
static void gen_target(struct gen *g, s64 d)
{
	emit_load(&g->e, H_R15, guest_at(R_RIP));
	emit_rm(&g->e, gen_long64(g) ? 8 : 4, 0x8d, H_R15, mem(H_R15, (s32)(d + g->next - (s32)g->bias)));
}

/* A: R15 is not canonical. */
static void gen_canonical_test(struct gen *g)
{
	struct emit *e = &g->e;

	emit_mov(e, H_RAX, H_R15);
	emit_rm(e, 8, 0xc1, 7, reg(H_RAX)); /* sar rax, 47 */
	emit8(e, 47);
	emit_alu_imm(e, 8, ALU_ADD, reg(H_RAX), 1);
	emit_alu_imm(e, 8, ALU_CMP, reg(H_RAX), 1);
}

void gen_canonical(struct gen *g)
{
	if (!gen_long64(g))
		return;
	gen_canonical_test(g);
	gen_cold_if(g, CC_A);
}

/* ---- far links ----------------------------------------------------------------------------------------------------
 */

static bool reachable_far(const struct gen *g)
{
	return gen_flat(g) && !(g->b->key & BLOCK_KEY_LIMIT) && gen_opt(g, OPT_FAR) && gen_opt(g, OPT_LINKS) &&
	       gen_opt(g, OPT_LOOKUP) && gen_opt(g, OPT_JUMPS);
}

static struct opnd guard(const struct gen *g, u32 far, size_t field)
{
	return mem(H_NONE, (s32)((uintptr_t)&g->t->low->far[far - 1] + field));
}

static void gen_push_return(struct gen *g);

/* To the instruction d bytes behind the next one, in another frame, n retired; check: where it may be not canonical.
 * False: there are too many such links. */
static bool gen_far(struct gen *g, s64 d, unsigned n, bool call, bool check)
{
	struct emit *e = &g->e;
	u32 far = reachable_far(g) && g->n_misses < ARRAY_SIZE(g->miss) ? links_new_far(g->t) : 0;
	s64 to = place(g, d + g->next);
	s32 pages = (s32)(to & -(s64)PAGE_SIZE);
	struct link *l;

	if (!far)
		return false;
	emit_load(e, H_RAX, guest_at(R_RIP));
	emit_rm(e, 8, 0x33, H_RAX, CPU(salt));
	emit_rm(e, 8, 0x3b, H_RAX, guard(g, far, offsetof(struct far_guard, tag)));
	g->miss[g->n_misses++] = (struct miss){ .from = emit_forward(e, CC_NE),
						.i = g->i,
						.k = (u8)g->k,
						.n = (u8)n,
						.next = g->next,
						.d = d,
						.call = call,
						.check = check,
						.link = g->t->n_links };
	l = &g->t->links[g->t->n_links++];
	*l = (struct link){ .from = g->b, .to = (u16)(to - pages), .far = far, .pages = pages };
	if (call)
		gen_push_return(g);
	gen_count(g, n);
	emit_alu_imm(e, 8, ALU_ADD, guest_at(R_RIP), pages);
	l->site = (u32)(emit_forward(e, CC_ALWAYS) - g->t->rw);
	return true;
}

/* As without a link; now and then out to have it set anew. */
static void gen_miss(struct gen *g, const struct miss *m)
{
	struct link *l = &g->t->links[m->link];
	u8 *set;

	emit_patch(m->from, g->e.p);
	g->i = m->i;
	g->k = m->k;
	g->next = m->next;
	g->flags = FLAGS_MEM;
	gen_target(g, m->d);
	if (m->check)
		gen_canonical(g);
	if (m->call) {
		gen_push_return(g);
		gen_target(g, m->d);
	}
	gen_count(g, m->n);
	emit_alu_imm(&g->e, 4, ALU_SUB, guard(g, l->far, offsetof(struct far_guard, left)), 1);
	set = emit_forward(&g->e, CC_S);
	gen_jump(g);
	emit_patch(set, g->e.p);
	gen_link_stub(g, l);
}

void gen_misses(struct gen *g)
{
	bool alone = g->alone;

	g->alone = true;
	while (g->n_misses_done < g->n_misses)
		gen_miss(g, &g->miss[g->n_misses_done++]);
	g->alone = alone;
}

void gen_fall_through(struct gen *g, unsigned n)
{
	gen_flags_save(g);
	if (in_frame(g, g->next)) {
		gen_count(g, n);
		gen_link(g, g->next, true);
	} else if (!gen_far(g, 0, n, false, false)) {
		gen_count(g, n);
		gen_target(g, 0);
		gen_jump(g);
	}
	g->ended = true;
}

static bool reachable(const struct gen *g, const struct insn *i)
{
	s64 d = (s64)i->imm + g->next + PAGE_SIZE;

	return d == (s32)d && (s64)i->imm == (s32)i->imm;
}

/* To where a direct branch leads; flags are in memory. */
static void gen_taken(struct gen *g)
{
	bool near = in_frame(g, (s64)g->i->imm + g->next);

	if (!near && gen_far(g, (s64)g->i->imm, g->k + 1, false, true))
		return;
	if (!near) {
		gen_target(g, (s64)g->i->imm);
		gen_canonical(g);
	}
	gen_count(g, g->k + 1);
	if (near)
		gen_link(g, (s64)g->i->imm + g->next, (s64)g->i->imm >= 0);
	else
		gen_jump(g);
}

static bool gen_jcc(struct gen *g)
{
	if (!reachable(g, g->i))
		return false;
	if (!g->more)
		gen_flags_save(g);
	gen_flags_load(g);
	g->arm[g->n_arms++] = (struct arm){ .from = emit_forward(&g->e, (g->i->opcode & 15) ^ g->along),
					    .i = g->i,
					    .k = (u8)g->k,
					    .next = g->next,
					    .flags = g->flags,
					    .through = g->along };
	if (!g->more)
		gen_fall_through(g, g->k + 1);
	return true;
}

void gen_arms(struct gen *g)
{
	for (unsigned n = 0; n < g->n_arms; n++) {
		const struct arm *a = &g->arm[n];

		emit_patch(a->from, g->e.p);
		g->i = a->i;
		g->k = a->k;
		g->next = a->next;
		g->flags = a->flags;
		gen_flags_save(g);
		if (a->through)
			gen_fall_through(g, a->k + 1u);
		else
			gen_taken(g);
	}
}

static bool gen_jmp(struct gen *g)
{
	if (!reachable(g, g->i))
		return false;
	if (g->along)
		return true;
	gen_flags_save(g);
	gen_taken(g);
	g->ended = true;
	return true;
}

/* R15, checked, is the next instruction. */
static void gen_go(struct gen *g)
{
	gen_count(g, g->k + 1);
	gen_jump(g);
	g->ended = true;
}

/* The same where R15 has not been checked; RSP goes up by release. What stands among the recent jumps is canonical. */
static void gen_go_checked(struct gen *g, s32 release)
{
	struct cold *c = &g->cold[g->n_cold];
	u8 *miss[2];

	if (!gen_opt(g, OPT_LOOKUP) || !gen_opt(g, OPT_JUMPS)) {
		gen_canonical(g);
		if (release)
			gen_add_rsp(g, release);
		gen_go(g);
		return;
	}
	thunks_jump_find(g->t, &g->e, gen_long64(g), miss);
	g->n_cold++;
	*c = (struct cold){ .from = miss[0],
			    .also = miss[1],
			    .jump = true,
			    .release = release,
			    .k = (u8)g->k,
			    .off = g->next,
			    .bias = g->bias,
			    .x87 = g->x87 };
	if (release)
		gen_add_rsp(g, release);
	gen_count(g, g->k + 1);
	thunks_jump_take(g->t, &g->e);
	g->ended = true;
}

void gen_jump_miss(struct gen *g, const struct cold *c)
{
	u8 *bad = NULL;

	emit_patch(c->also, g->e.p);
	if (gen_long64(g)) {
		gen_canonical_test(g);
		bad = emit_forward(&g->e, CC_A);
	}
	if (c->release)
		gen_add_rsp(g, c->release);
	gen_count(g, c->k + 1u);
	emit_jump(&g->e, CC_ALWAYS, gen_long64(g) ? g->t->jump : g->t->jump32);
	if (bad)
		emit_patch(bad, g->e.p);
}

void gen_stack_probe(struct gen *g, s32 d, bool write)
{
	if (gen_shared(g, PLACE_STACK, gen_width(g), write))
		return;
	gen_flags_lose(g);
	gen_linear_implied(g, RSP, d);
	gen_probe_place(g, PLACE_STACK, gen_width(g), write);
}

void gen_add_rsp(struct gen *g, s32 d)
{
	emit_rm(&g->e, gen_width(g), 0x8d, host_of[RSP], mem(host_of[RSP], d));
}

static void gen_push_return(struct gen *g)
{
	s32 word = (s32)gen_width(g);

	gen_stack_probe(g, -word, true);
	gen_target(g, 0);
	emit_rm(&g->e, gen_width(g), 0x89, H_R15, gen_at(g));
	gen_add_rsp(g, -word);
}

static bool gen_call_rel(struct gen *g)
{
	bool near = in_frame(g, (s64)g->i->imm + g->next);

	if (!reachable(g, g->i))
		return false;
	gen_flags_save(g);
	g->ended = true;
	if (!near && gen_far(g, (s64)g->i->imm, g->k + 1, true, true))
		return true;
	if (!near) {
		gen_target(g, (s64)g->i->imm);
		gen_canonical(g);
	}
	gen_push_return(g);
	gen_count(g, g->k + 1);
	if (near) {
		gen_link(g, (s64)g->i->imm + g->next, (s64)g->i->imm >= 0);
	} else {
		gen_target(g, (s64)g->i->imm);
		gen_jump(g);
	}
	return true;
}

static bool gen_ret(struct gen *g)
{
	s32 release = g->i->opcode == 0xc2 ? (s32)(g->i->imm & 0xffff) : 0;

	gen_flags_save(g);
	gen_stack_probe(g, 0, false);
	emit_rm(&g->e, gen_width(g), 0x8b, H_R15, gen_at(g));
	gen_go_checked(g, (s32)gen_width(g) + release);
	return true;
}

/* R15 = the operand of an indirect branch. */
static void gen_indirect_operand(struct gen *g)
{
	gen_flags_save(g);
	if (!(g->i->flags & INSN_MEM)) {
		unsigned r = gen_read(g, g->i->rm, H_R15);

		if (r != H_R15)
			emit_rm(&g->e, gen_width(g), 0x8b, H_R15, reg(r));
	} else {
		gen_operand(g, gen_width(g), false);
		emit_rm(&g->e, gen_width(g), 0x8b, H_R15, gen_at(g));
	}
}

static bool gen_group5(struct gen *g)
{
	unsigned ext = g->i->modrm >> 3 & 7;

	if ((ext != 2 && ext != 4) || ((g->i->flags & INSN_MEM) && !gen_can_address(g)))
		return false;
	gen_indirect_operand(g);
	if (ext == 4) {
		gen_go_checked(g, 0);
	} else {
		gen_canonical(g);
		emit_store(&g->e, mem(H_RSP, FRAME_TEMP), H_R15);
		gen_push_return(g);
		emit_load(&g->e, H_R15, mem(H_RSP, FRAME_TEMP));
		gen_go(g);
	}
	return true;
}

static bool is_jcc(const struct insn *i)
{
	return (i->map == MAP_0F && (i->opcode & 0xf0) == 0x80) || (i->map == MAP_1 && (i->opcode & 0xf0) == 0x70);
}

bool gen_is_jcc(const struct gen *g, const struct insn *i)
{
	return is_jcc(i) && gen_flat(g) && i->osz == gen_width(g) && gen_opt(g, OPT_BRANCH) && reachable(g, i) &&
	       i->exec != exec_ud;
}

bool gen_is_jmp(const struct gen *g, const struct insn *i)
{
	return i->map == MAP_1 && (i->opcode == 0xe9 || i->opcode == 0xeb) && gen_flat(g) && i->osz == gen_width(g) &&
	       i->asz != 2 && gen_opt(g, OPT_BRANCH) && reachable(g, i) && i->exec != exec_ud;
}

/* Outside flat code only direct jumps of 32 bits, where CS has no limit to compare with. */
bool gen_flow(struct gen *g)
{
	const struct insn *i = g->i;

	if (i->osz != gen_width(g) || (g->b->key & BLOCK_KEY_LIMIT))
		return false;
	if (i->map == MAP_0F)
		return (i->opcode & 0xf0) == 0x80 && gen_jcc(g);
	if (i->map != MAP_1)
		return false;
	if ((i->opcode & 0xf0) == 0x70)
		return gen_jcc(g);
	if (i->opcode == 0xe9 || i->opcode == 0xeb)
		return gen_jmp(g);
	if (!gen_flat(g))
		return false;
	switch (i->opcode) {
	case 0xe8:
		return gen_call_rel(g);
	case 0xc2:
	case 0xc3:
		return gen_ret(g);
	case 0xff:
		return gen_group5(g);
	default:
		return false;
	}
}

/* ---- PUSH, POP, LEAVE ---------------------------------------------------------------------------------------------
 */

static void gen_push(struct gen *g, bool imm)
{
	unsigned word = gen_width(g);

	gen_stack_probe(g, -(s32)word, true);
	if (imm) {
		emit_rm(&g->e, word, 0xc7, 0, gen_at(g));
		emit_bytes(&g->e, g->i->imm, 4);
	} else {
		emit_rm(&g->e, word, 0x89, gen_read(g, g->i->rm, H_R15), gen_at(g));
	}
	gen_add_rsp(g, -(s32)word);
}

static void gen_pop(struct gen *g)
{
	unsigned r = host_of[g->i->rm];

	gen_stack_probe(g, 0, false);
	gen_add_rsp(g, (s32)gen_width(g));
	if (r != SLOT) {
		emit_rm(&g->e, gen_width(g), 0x8b, r, gen_at(g));
		return;
	}
	emit_load(&g->e, H_R15, gen_at(g));
	emit_store(&g->e, guest_at(g->i->rm), H_R15);
}

static void gen_leave(struct gen *g)
{
	unsigned word = gen_width(g);

	if (!gen_shared(g, PLACE_STACK, word, false)) {
		gen_flags_save(g);
		gen_linear_implied(g, RBP, 0);
		gen_probe_place(g, PLACE_STACK, word, false);
	}
	emit_rm(&g->e, word, 0x8d, host_of[RSP], mem(host_of[RBP], (s32)word));
	emit_rm(&g->e, word, 0x8b, host_of[RBP], gen_at(g));
}

bool gen_stack(struct gen *g)
{
	const struct insn *i = g->i;

	if (i->map != MAP_1 || !gen_flat(g) || i->osz != gen_width(g))
		return false;
	switch (i->opcode) {
	case 0x50 ... 0x57:
		gen_push(g, false);
		return true;
	case 0x58 ... 0x5f:
		gen_pop(g);
		return true;
	case 0x68:
	case 0x6a:
		gen_push(g, true);
		return true;
	case 0xc9:
		gen_leave(g);
		return true;
	default:
		return false;
	}
}
