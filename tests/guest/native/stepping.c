/* SPDX-License-Identifier: Apache-2.0
 * A debugger and its program: every instruction by PTRACE_SINGLESTEP, then breakpoints for data and code in the debug
 * registers. Prints what it saw, so that a guest's output can be compared with its host's.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define DR(n) offsetof(struct user, u_debugreg[n])

static volatile unsigned watched[16];

/* Its registers hold no addresses where they are looked at: the stack is elsewhere in each run. */
__attribute__((noinline, aligned(4096))) static unsigned work(unsigned n)
{
	static unsigned char buf[64];
	unsigned sum = 0;

	for (unsigned k = 0; k < n; k++) {
		unsigned char *from = buf, *to = buf + 32;
		size_t left = 7;

		sum = sum * 31 + k;
		watched[k & 15] = sum;
		memset(buf, (int)k, 40);
		__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(left) : : "memory");
		sum += buf[38];
	}
	return sum;
}

static int debugged(void)
{
	unsigned sum;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	sum = work(100);
	getppid();
	raise(SIGSTOP);
	sum += work(64);
	return sum & 63;
}

static void step_through(pid_t child)
{
	unsigned long inside = 0, hash = 5381;
	struct user_regs_struct r;
	int st = 0;

	while (!ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) && waitpid(child, &st, 0) == child && WIFSTOPPED(st) &&
	       WSTOPSIG(st) == SIGTRAP) {
		ptrace(PTRACE_GETREGS, child, NULL, &r);
		if (r.rip - (unsigned long)work >= 0x200)
			continue;
		inside++;
		hash = hash * 33 + (r.rip & 0xfff) + (r.eflags & 0xcd5) + (r.orig_rax == ~0ul);
	}
	printf("steps: %lu, %lx, then signal %d\n", inside, hash, WIFSTOPPED(st) ? WSTOPSIG(st) : 0);
}

static void watch(pid_t child)
{
	unsigned data = 0, code = 0, seen = 0;
	int st = 0;

	ptrace(PTRACE_POKEUSER, child, DR(0), &watched[5]);
	ptrace(PTRACE_POKEUSER, child, DR(1), work);
	/* 0: four bytes written; 1: executed */
	printf("DR7: %ld\n", ptrace(PTRACE_POKEUSER, child, DR(7), 0x000d0005ul));
	while (!ptrace(PTRACE_CONT, child, NULL, NULL) && waitpid(child, &st, 0) == child && WIFSTOPPED(st) &&
	       WSTOPSIG(st) == SIGTRAP) {
		long dr6 = ptrace(PTRACE_PEEKUSER, child, DR(6), NULL);

		data += !!(dr6 & 1);
		code += !!(dr6 & 2);
		seen = seen * 31 + (unsigned)ptrace(PTRACE_PEEKDATA, child, &watched[5], NULL);
		ptrace(PTRACE_POKEUSER, child, DR(6), 0);
	}
	printf("written %u times, %x, executed %u times, status %x\n", data, seen, code, (unsigned)st);
	if (WIFSTOPPED(st))
		kill(child, SIGKILL);
}

int main(void)
{
	pid_t child;

	setvbuf(stdout, NULL, _IONBF, 0);
	child = fork();
	if (!child)
		_exit(debugged());
	waitpid(child, NULL, 0);
	step_through(child);
	watch(child);
	return 0;
}
