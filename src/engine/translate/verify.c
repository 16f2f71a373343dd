/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/translate/verify.h"

#include <stdlib.h>

#include "base/log.h"
#include "cpu/fields.h"
#include "cpu/optab.h"
#include "cpu/vec.h"

#define WRITES (2 * BLOCK_INSNS + 32)

struct written {
	u8 *host;
	unsigned size;
	u64 lin;
	u8 old[64], expected[64];
};

struct verify {
	u64 every, left;
	bool refused; /* the interpreter met what cannot be run twice */
	unsigned n;
	struct written w[WRITES];
	const struct cpu_ops *real;
	struct tlbe *tlb;
	struct cpu_ops ops;
	struct cpu before, expected;
	struct tlbe never[TLB_SIZE]; /* so that each access comes to ops */
};

/* The verifier whose operations c has now: they are its first field's. */
static struct verify *of(const struct cpu *c)
{
	return (struct verify *)((char *)(uintptr_t)c->ops - offsetof(struct verify, ops));
}

static int refuse(struct cpu *c)
{
	of(c)->refused = true;
	c->exc = (struct event){ .type = EV_FAULT, .vector = EXC_UD };
	return OUT_FAULT;
}

/* RAM of size bytes that may be accessed so, or NULL; no code where it is for writing. */
static u8 *ram(struct cpu *c, u64 lin, unsigned size, unsigned acc)
{
	const struct cpu_ops *real = of(c)->real;
	u8 *p, ignored[64];

	if ((lin & (PAGE_SIZE - 1)) + size > PAGE_SIZE || (acc & ACC_SYS))
		return NULL;
	c->tlb = of(c)->tlb;
	p = real->page(c, lin, size, false);
	if (p && (acc & (ACC_W | ACC_RMW)))
		p = real->load(c, lin, ignored, size, acc | ACC_RMW) ? NULL : tlb_hit_w(c, lin, size);
	c->tlb = of(c)->never;
	return p;
}

static int note_load(struct cpu *c, u64 lin, void *buf, unsigned size, unsigned acc)
{
	const u8 *p = ram(c, lin, size, acc);

	if (!p)
		return refuse(c);
	memcpy(buf, p, size);
	return OUT_DONE;
}

static int note_store(struct cpu *c, u64 lin, const void *buf, unsigned size, unsigned acc)
{
	struct verify *v = of(c);
	u8 *p = ram(c, lin, size, acc | ACC_W);

	if (!p || v->n == WRITES || size > sizeof(v->w[0].old))
		return refuse(c);
	v->w[v->n] = (struct written){ .host = p, .size = size, .lin = lin };
	memcpy(v->w[v->n++].old, p, size);
	memcpy(p, buf, size);
	return OUT_DONE;
}

static void *note_page(struct cpu *c, u64 lin, unsigned size, bool write)
{
	(void)lin;
	(void)size;
	(void)write;
	refuse(c);
	return NULL;
}

static void *note_pin(struct cpu *c, u64 lin, unsigned size, unsigned acc, int *out)
{
	(void)lin;
	(void)size;
	(void)acc;
	*out = refuse(c);
	return NULL;
}

static int note_cmpxchg(struct cpu *c, u64 lin, const void *old, const void *val, void *seen, unsigned size)
{
	(void)lin;
	(void)old;
	(void)val;
	(void)seen;
	(void)size;
	return refuse(c);
}

struct verify *verify_new(u64 n)
{
	struct verify *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->every = v->left = n;
	for (unsigned k = 0; k < TLB_SIZE; k++)
		v->never[k] = (struct tlbe){ .r = TLB_NO_TAG, .w = TLB_NO_TAG };
	return v;
}

void verify_free(struct verify *v)
{
	free(v);
}

/* ---- which blocks -------------------------------------------------------------------------------------------------
 */

static bool plain_branch(const struct insn *i)
{
	if (i->map == MAP_0F)
		return (i->opcode & 0xf0) == 0x80;
	if (i->map != MAP_1)
		return false;
	return (i->opcode & 0xf0) == 0x70 || i->opcode == 0xe8 || i->opcode == 0xe9 || i->opcode == 0xeb ||
	       i->opcode == 0xc3 || i->opcode == 0xc2 ||
	       (i->opcode == 0xff && ((i->modrm >> 3 & 7) == 2 || (i->modrm >> 3 & 7) == 4));
}

/* Of MAP_1 and MAP_0F: touches registers and memory only. */
static bool data_1(unsigned op)
{
	static const u8 no[] = { 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x62, 0x6c, 0x6d,
				 0x6e, 0x6f, 0x8e, 0x9a, 0x9b, 0x9c, 0x9d, 0xc4, 0xc5, 0xca,
				 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xf1, 0xf4, 0xfa, 0xfb };

	return !(op >= 0xe0 && op <= 0xef) && !memchr(no, (int)op, sizeof(no));
}

static bool data_0f(unsigned op)
{
	return (op >= 0x10 && op <= 0x1f) || (op >= 0x40 && op <= 0x7f && op != 0x78 && op != 0x79) || op >= 0xd0 ||
	       (op >= 0x90 && op <= 0x9f) || (op >= 0xa3 && op <= 0xa5) || (op >= 0xab && op <= 0xad) || op == 0xaf ||
	       (op >= 0xb0 && op <= 0xcf && op != 0xb2 && op != 0xb4 && op != 0xb5 && op != 0xb9 && op != 0xc7);
}

static bool twice(const struct insn *i)
{
	if (i->flags & INSN_END)
		return plain_branch(i);
	if ((i->flags & INSN_LOCK) || i->exec == exec_ud || i->exec == exec_unimpl)
		return false;
	return i->map == MAP_1 ? data_1(i->opcode) : i->map == MAP_0F ? data_0f(i->opcode) : true;
}

static bool comparable(const struct cpu *c, const struct block *b)
{
	if (c->int_shadow || (c->rflags & (FLAG_TF | FLAG_RF | FLAG_AC)) || (c->dr[7] & 0xff))
		return false;
	for (unsigned k = 0; k < b->n; k++)
		if (!twice(&b->insn[k]))
			return false;
	return true;
}

/* ---- runs ---------------------------------------------------------------------------------------------------------
 */

/* What data instructions change, and nothing that another thread may write to. */
static void copy(struct cpu *to, const struct cpu *from)
{
	memcpy(to->r, from->r, sizeof(to->r));
	to->aflags = from->aflags;
	to->rflags = from->rflags;
	memcpy(to->zmm, from->zmm, sizeof(to->zmm));
	memcpy(to->k, from->k, sizeof(to->k));
	to->x87 = from->x87;
	to->mxcsr = from->mxcsr;
	to->cr2 = from->cr2;
	to->exc = from->exc;
	to->block_end = from->block_end;
	to->icount = from->icount;
}

static void run(struct cpu *c, struct block *b)
{
	int out = OUT_DONE;

	c->block_end = b->end;
	for (struct insn *i = b->insn; i < b->end && !out; i++) {
		c->r[R_RIP] += i->len;
		out = i->exec(c, i);
	}
	c->icount += b->n;
	if (out)
		of(c)->refused = true;
}

static void undo(struct verify *v)
{
	for (unsigned k = 0; k < v->n; k++)
		memcpy(v->w[k].expected, v->w[k].host, v->w[k].size);
	for (unsigned k = v->n; k--;)
		memcpy(v->w[k].host, v->w[k].old, v->w[k].size);
}

bool verify_prepare(struct verify *v, struct cpu *c, struct block *b)
{
	if (--v->left)
		return false;
	v->left = v->every;
	if (!comparable(c, b))
		return false;
	v->n = 0;
	v->refused = false;
	v->real = c->ops;
	v->ops = *c->ops;
	v->ops.load = note_load;
	v->ops.store = note_store;
	v->ops.pin = note_pin;
	v->ops.page = note_page;
	v->ops.cmpxchg = note_cmpxchg;
	copy(&v->before, c);
	c->ops = &v->ops;
	v->tlb = c->tlb;
	c->tlb = v->never;
	run(c, b);
	c->ops = v->real;
	c->tlb = v->tlb;
	copy(&v->expected, c);
	undo(v);
	copy(c, &v->before);
	return !v->refused;
}

/* ---- comparison ---------------------------------------------------------------------------------------------------
 */

static void say_block(const struct cpu *c, const struct block *b)
{
	u64 rip = c->r[R_RIP];
	char text[120];

	for (unsigned k = 0; k < b->n; k++) {
		const struct insn *i = &b->insn[k];

		log_msg(LOG_ERROR, "verify: %llx  %s", (unsigned long long)rip,
			decode_text(i->raw, i->len, (enum cpu_code)(b->key & 3), rip, text, sizeof(text)));
		rip += i->len;
	}
}

static void say_field(void *opaque, const struct cpu_field *f, unsigned i, const struct cpu *a, const struct cpu *b)
{
	char x[160], y[160];

	(void)opaque;
	log_msg(LOG_ERROR, "verify: %s[%u] is %s, translated %s", f->name, i, cpu_field_text(a, f, i, x, sizeof(x)),
		cpu_field_text(b, f, i, y, sizeof(y)));
}

static bool same_memory(const struct verify *v)
{
	for (unsigned k = v->n; k--;)
		if (memcmp(v->w[k].host, v->w[k].expected, v->w[k].size)) {
			log_msg(LOG_ERROR, "verify: memory at %llx differs in %u bytes",
				(unsigned long long)v->w[k].lin, v->w[k].size);
			return false;
		}
	return true;
}

bool verify_compare(struct verify *v, struct cpu *c, const struct block *b)
{
	struct cpu *now = &v->before;
	u64 rip = now->r[R_RIP];
	bool same;

	if (c->icount != v->expected.icount)
		return true;
	copy(now, c);
	now->exc = v->expected.exc;
	now->block_end = v->expected.block_end;
	counter_inc(c->counters, CNT_VERIFIED);
	same = !cpu_field_diff(&v->expected, now, true, say_field, NULL) && same_memory(v);
	if (!same) {
		now->r[R_RIP] = rip;
		say_block(now, b);
	}
	return same;
}
