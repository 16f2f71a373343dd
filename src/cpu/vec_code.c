/* SPDX-License-Identifier: Apache-2.0
 * Executable memory for the stubs of data instructions, and the cache that finds a stub by what it does.
 *
 * The memory is a memfd mapped twice: once to write, once to execute, never both at one address. It is bounded, and a
 * stub once made stays: decoded instructions point to it. A guest that uses up the space (stubs differ by opcode,
 * immediate and form, never by register numbers or addresses) gets its further instructions by a scratch slot.
 *
 * This file is the one place where the process keeps stubs and where it takes SIGFPE and SIGILL: the exceptions that
 * the design allows for process-wide state. All of it is made once, at the first use; the cache is only added to, under
 * its lock, and read without it.
 */
#define _GNU_SOURCE
#include "cpu/vec.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/log.h"

#define CODE_SIZE (4u << 20)
#define SCRATCH_SIZE 512u
#define NR_BUCKETS 4096u
#define OPS_MAX 32768u

struct vec_cache {
	pthread_mutex_t lock, scratch_lock;
	u8 *rw, *rx; /* the same memory; NULL when the host gave none */
	u32 used;
	u8 *recover; /* where a fault resumes: restores the host's MXCSR and returns EAX */
	_Atomic(struct vop *) bucket[NR_BUCKETS];
	struct vop *ops;
	u32 n_ops;
	struct sigaction old_fpe, old_ill;
};

/* fninit; mov dword [rsp-8], 0x1f80; ldmxcsr [rsp-8]; (vzeroupper;) ret */
static const u8 recover_code[] = { 0xdb, 0xe3, 0xc7, 0x44, 0x24, 0xf8, 0x80, 0x1f, 0, 0, 0x0f, 0xae, 0x54, 0x24, 0xf8 };

static struct vec_cache *cache_get(void);

/* An unmasked SIMD exception inside a stub: give MXCSR to the stub's caller and return there; an instruction that this
 * host does not know although the decoder does: STUB_ILLEGAL. The frame below the return address is empty, so that
 * recovery is a plain RET. Everything else goes to whoever had the signal. */
static void on_fault(int sig, siginfo_t *si, void *ctx)
{
	struct vec_cache *k = cache_get();
	const struct sigaction *old = sig == SIGFPE ? &k->old_fpe : &k->old_ill;
	ucontext_t *u = ctx;
	u64 rip = (u64)u->uc_mcontext.gregs[REG_RIP];

	if (k->rx && rip - (u64)k->rx < CODE_SIZE) {
		u->uc_mcontext.gregs[REG_RAX] = sig == SIGFPE ? (greg_t)u->uc_mcontext.fpregs->mxcsr
							      : (greg_t)STUB_ILLEGAL;
		u->uc_mcontext.gregs[REG_RIP] = (greg_t)k->recover;
	} else if (old->sa_flags & SA_SIGINFO) {
		old->sa_sigaction(sig, si, ctx);
	} else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
		old->sa_handler(sig);
	} else {
		sigaction(sig, old, NULL); /* the instruction faults again and ends the process */
	}
}

static void map_code(struct vec_cache *k)
{
	int fd = memfd_create("doppel-stubs", MFD_CLOEXEC);
	void *rw, *rx;

	if (fd < 0)
		return;
	if (ftruncate(fd, CODE_SIZE) == 0) {
		rw = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		rx = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
		if (rw != MAP_FAILED && rx != MAP_FAILED) {
			k->rw = rw;
			k->rx = rx;
		} else {
			log_msg(LOG_ERROR, "cannot map memory for instruction stubs: %s", strerror(errno));
		}
	}
	close(fd);
}

static void put_recover(struct vec_cache *k)
{
	u8 *p = k->rw + SCRATCH_SIZE;

	memcpy(p, recover_code, sizeof(recover_code));
	p += sizeof(recover_code);
	if (__builtin_cpu_supports("avx")) {
		memcpy(p, "\xc5\xf8\x77", 3);
		p += 3;
	}
	*p = 0xc3;
	k->recover = k->rx + SCRATCH_SIZE;
	k->used = SCRATCH_SIZE + 64;
}

static struct vec_cache the_cache = { .lock = PTHREAD_MUTEX_INITIALIZER, .scratch_lock = PTHREAD_MUTEX_INITIALIZER };

static void take_signal(int sig, struct sigaction *old)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaction(sig, &sa, old);
}

static void cache_make(void)
{
	__builtin_cpu_init();
	the_cache.ops = calloc(OPS_MAX, sizeof(struct vop));
	map_code(&the_cache);
	if (!the_cache.rx || !the_cache.ops)
		return;
	put_recover(&the_cache);
	take_signal(SIGFPE, &the_cache.old_fpe);
	take_signal(SIGILL, &the_cache.old_ill);
}

static struct vec_cache *cache_get(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, cache_make);
	return &the_cache;
}

/* Before a stub that may trap: some debugger or test library may have put its own handler in the place of ours. */
void vec_expect_fault(void)
{
	struct vec_cache *k = cache_get();
	struct sigaction now;

	if (sigaction(SIGFPE, NULL, &now) == 0 && now.sa_sigaction == on_fault)
		return;
	pthread_mutex_lock(&k->lock);
	if (sigaction(SIGFPE, NULL, &now) == 0 && now.sa_sigaction != on_fault)
		take_signal(SIGFPE, &k->old_fpe);
	pthread_mutex_unlock(&k->lock);
}

/* FNV-1a */
static u32 hash_key(const u8 *key, unsigned len)
{
	u32 h = 2166136261u;

	while (len--)
		h = (h ^ *key++) * 16777619u;
	return h ^ h >> 15;
}

static struct vop *find(struct vec_cache *k, const u8 *key, unsigned len, u32 h)
{
	struct vop *v = atomic_load_explicit(&k->bucket[h % NR_BUCKETS], memory_order_acquire);

	while (v && (v->hash != h || v->key_len != len || memcmp(v->key, key, len)))
		v = v->next;
	return v;
}

const struct vop *vec_cache_find(const u8 *key, unsigned len)
{
	return find(cache_get(), key, len, hash_key(key, len));
}

static struct vop *add(struct vec_cache *k, const struct vop *v, const u8 *code, unsigned len, u32 h)
{
	struct vop *o = find(k, v->key, v->key_len, h);
	u32 room = ALIGN_UP(len, 32u);

	if (o)
		return o;
	if (!k->rx || !k->ops || k->n_ops == OPS_MAX || k->used + room > CODE_SIZE)
		return NULL;
	o = &k->ops[k->n_ops++];
	*o = *v;
	if (len) {
		memcpy(k->rw + k->used, code, len);
		o->run = (vec_stub *)(void *)(k->rx + k->used);
		k->used += room;
	}
	o->hash = h;
	o->next = atomic_load_explicit(&k->bucket[h % NR_BUCKETS], memory_order_relaxed);
	atomic_store_explicit(&k->bucket[h % NR_BUCKETS], o, memory_order_release);
	return o;
}

const struct vop *vec_cache_add(const struct vop *v, const u8 *code, unsigned len)
{
	struct vec_cache *k = cache_get();
	struct vop *o;

	pthread_mutex_lock(&k->lock);
	o = add(k, v, code, len, hash_key(v->key, v->key_len));
	pthread_mutex_unlock(&k->lock);
	return o;
}

/* CPUID serialises: the bytes were changed through another address (SDM 3A 8.1.3, cross-modifying code). */
int vec_scratch_exec(struct cpu *c, const struct insn *i, struct vop *v, const u8 *code, unsigned len)
{
	struct vec_cache *k = cache_get();
	struct insn copy = *i;
	u32 a, b, d, e;
	int out;

	if (!k->rx || len > SCRATCH_SIZE)
		return OUT_UNIMPL;
	copy.stub = v;
	pthread_mutex_lock(&k->scratch_lock);
	memcpy(k->rw, code, len);
	v->run = (vec_stub *)(void *)k->rx;
	__cpuid(0, a, b, d, e);
	out = v->exec(c, &copy);
	pthread_mutex_unlock(&k->scratch_lock);
	return out;
}
