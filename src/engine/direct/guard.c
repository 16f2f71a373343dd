/* SPDX-License-Identifier: Apache-2.0
 * Frames that the second tier would refuse, made executable under guard: the host's debug registers stop the mirror's
 * thread before any instruction that begins where one of the bytes in question could be its opcode, prefixes included.
 * Mostly none ever does, since they are part of others. A stop that comes is an ordinary trap: `translate` executes
 * what is there. Four addresses a thread are to be had (SDM 3B 18.2), so guarded pages take turns; which one gives way
 * is left to chance, since of five that a loop comes by in turn the oldest would always be the one that is needed next.
 *
 * What must not get past a breakpoint
 *  - an instruction behind MOV SS or POP SS (SDM 3A 6.8.3): frames where one may stand before the bytes are refused;
 *  - one whose fetch faulted, since RF is set where it goes on: guard_covers() tells, and it goes to `translate`;
 *  - one that begins in the frame before, or behind MOV SS there: the first bytes of a frame are refused.
 */
#include "engine/direct/direct.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define MOV_SS_MAX 7 /* opcode, ModRM, SIB, displacement: its length without prefixes */

static bool is_prefix(u8 byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64 ... 0x67:
	case 0x40 ... 0x4f:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return false;
	}
}

/* Could MOV SS, or POP SS of 32-bit code, end where an instruction begins at any of p[first..last]? */
static bool behind_ss(const u8 *p, unsigned first, unsigned last)
{
	for (unsigned i = first - MOV_SS_MAX; i < last; i++)
		if ((p[i] == 0x8e && (p[i + 1] >> 3 & 7) == 2) || (i + 1 >= first && p[i] == 0x17))
			return true;
	return false;
}

int guard_sites(const u8 *page, unsigned vouched, u16 at[GUARDS])
{
	int n = 0;

	for (unsigned i = 0; i < PAGE_SIZE - 1; i++) {
		const u8 *escape = memchr(page + i, 0x0f, PAGE_SIZE - 1 - i);
		unsigned first = i = escape ? (unsigned)(escape - page) : PAGE_SIZE;

		if (!escape)
			break;
		if (!direct_site(page + i, PAGE_SIZE - i, vouched))
			continue;
		while (i - first < 15 && first && is_prefix(page[first - 1]))
			first--;
		if (first < MOV_SS_MAX || behind_ss(page, first, i))
			return -1;
		for (; first <= i; first++) {
			if (n == GUARDS)
				return -1;
			at[n++] = (u16)first;
		}
	}
	return n;
}

/* ---- a mirror's four -------------------------------------------------------------------------------------------- */

void guard_forget(struct mirror *m, u64 lin)
{
	for (unsigned k = 0; k < GUARDS; k++)
		if (m->guard[k] && !((m->guard[k] ^ lin) >> PAGE_SHIFT))
			m->guard[k] = 0;
}

unsigned guard_free(const struct mirror *m)
{
	unsigned n = 0;

	for (unsigned k = 0; k < GUARDS; k++)
		n += !m->guard[k];
	return n;
}

u64 guard_victim(struct mirror *m, u64 except)
{
	u64 x = m->guard_dice | 1;
	unsigned k, first;

	x ^= x << 13; /* Marsaglia's xorshift */
	x ^= x >> 7;
	x ^= x << 17;
	m->guard_dice = x;
	first = (unsigned)(x >> 62);
	for (unsigned n = 0; n < GUARDS; n++) {
		k = (first + n) % GUARDS;
		if (m->guard[k] && (m->guard[k] ^ except) >> PAGE_SHIFT)
			return m->guard[k] & PAGE_MASK;
	}
	return 0;
}

void guard_set(struct mirror *m, u64 lin, const u16 *at, unsigned n)
{
	for (unsigned k = 0; k < GUARDS && n; k++)
		if (!m->guard[k])
			m->guard[k] = (lin & PAGE_MASK) + at[--n];
}

bool guard_covers(const struct mirror *m, u64 lin)
{
	for (unsigned k = 0; k < GUARDS; k++)
		if (m->guard[k] == lin && lin)
			return true;
	return false;
}

static int poke(const struct mirror *m, unsigned reg, u64 value)
{
	return ptrace(PTRACE_POKEUSER, m->tid, offsetof(struct user, u_debugreg) + 8 * reg, value) ? -1 : 0;
}

int guard_load(struct mirror *m)
{
	u64 dr7 = 0;
	int bad = 0;

	for (unsigned k = 0; k < GUARDS; k++) {
		if (m->guard[k])
			dr7 |= BIT(2 * k); /* L0..L3; R/W and LEN 0: execution */
		if (m->guard[k] && m->guard[k] != m->guard_there[k]) {
			bad |= poke(m, k, m->guard[k]);
			m->guard_there[k] = m->guard[k];
		}
	}
	if (dr7 != m->guard_dr7)
		bad |= poke(m, 7, dr7);
	m->guard_dr7 = dr7;
	return bad;
}

/* A stop at the breakpoint of the stub, before it is executed, is a SIGTRAP of its own kind. */
bool guard_works(struct mirror *m)
{
	const u64 at = stub_call() + 2;
	struct user_regs_struct r;
	siginfo_t si;
	bool works;
	int status;

	m->guard[0] = at;
	works = !guard_load(m) && !ptrace(PTRACE_GETREGS, m->tid, NULL, &r);
	r.rip = at;
	r.orig_rax = ~0ull;
	r.eflags &= ~(u64)FLAG_RF;
	works = works && !ptrace(PTRACE_SETREGS, m->tid, NULL, &r) && !ptrace(PTRACE_CONT, m->tid, NULL, NULL) &&
		(status = mirror_wait(m, m->tid)) >= 0 && WSTOPSIG(status) == SIGTRAP &&
		!ptrace(PTRACE_GETSIGINFO, m->tid, NULL, &si) && si.si_code == TRAP_HWBKPT &&
		!ptrace(PTRACE_GETREGS, m->tid, NULL, &r) && r.rip == at;
	m->guard[0] = 0;
	return !guard_load(m) && works;
}
