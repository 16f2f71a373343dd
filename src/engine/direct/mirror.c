/* SPDX-License-Identifier: Apache-2.0
 * A mirror's process: two threads that this one traces. The first, the mapper, makes the system calls that are asked of
 * it and nothing else; the second runs guest code. Nothing that either writes is read here but their registers, which
 * the kernel gives.
 *
 * A process and all its threads belong to the host thread that made them, the vCPU's.
 */
#include "engine/direct/direct.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mem/frame.h"

enum { REQUESTS_FD = 4, EXEC_FD = 5, HIGH_FD = 100 };

/* While the process is made: each of its threads by itself. */
static int wait_for(pid_t tid)
{
	int status;

	while (waitpid(tid, &status, __WALL) != tid)
		if (errno != EINTR)
			return -1;
	return WIFSTOPPED(status) ? status : -1;
}

int mirror_wait(const struct mirror *m, pid_t who)
{
	pid_t got;
	int status;

	/* Of a process that is killed, the mapper does not end before the other has, which stops for us first. */
	while ((got = waitpid(-m->pid, &status, __WALL)) != who)
		if ((got < 0 && errno != EINTR) || got == m->tid)
			return -1;
	return WIFSTOPPED(status) ? status : -1;
}

/* ---- birth ------------------------------------------------------------------------------------------------------ */

/* In the child, which shares the parent's memory until it is the stub: system calls only. */
static void child_descriptors(int ram, int requests, int program)
{
	const int from[] = { fcntl(ram, F_DUPFD, HIGH_FD), fcntl(requests, F_DUPFD, HIGH_FD),
			     fcntl(program, F_DUPFD, HIGH_FD) };

	if (from[0] < 0 || from[1] < 0 || from[2] < 0 || dup2(from[0], RAM_FD) < 0 || dup2(from[1], REQUESTS_FD) < 0 ||
	    dup3(from[2], EXEC_FD, O_CLOEXEC) < 0 || syscall(SYS_close_range, EXEC_FD + 1, ~0u, 0) ||
	    syscall(SYS_close_range, 0, 2, 0))
		_exit(1);
}

static void child(int ram, int requests, int program)
{
	static const struct rlimit none = { 0, 0 };
	char *const nothing[] = { NULL };

	child_descriptors(ram, requests, program);
	if (setrlimit(RLIMIT_CORE, &none) || setpgid(0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(2);
	syscall(SYS_execveat, EXEC_FD, "", nothing, nothing, AT_EMPTY_PATH);
	_exit(3);
}

/* All signals are blocked meanwhile, so that no handler of ours runs in the child. */
static pid_t spawn(int ram, int requests, int program)
{
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = vfork();
	if (!pid)
		child(ram, requests, program);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}

/* Another process asks: where UMIP forbids it and the kernel is an old one, it ends there. */
u64 mirror_host_sgdt(void)
{
	static const struct rlimit none = { 0, 0 };
	volatile u64 base = 0;
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = vfork();
	if (!pid) {
		struct {
			u16 pad[3], limit;
			u64 base;
		} gdt = { .base = 0 };

		setrlimit(RLIMIT_CORE, &none);
		__asm__ volatile("sgdt %0" : "+m"(gdt.limit), "+m"(gdt.base));
		base = gdt.base;
		_exit(0);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return base;
}

/* A system call by a thread that is stopped; false: it failed, or the thread is gone. */
static bool remote(pid_t tid, s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 *result)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &r))
		return false;
	r.rip = stub_call();
	r.rax = (u64)nr;
	r.orig_rax = ~0ull;
	r.rdi = a;
	r.rsi = b;
	r.rdx = c;
	r.r10 = d;
	r.r8 = e;
	r.r9 = f;
	if (ptrace(PTRACE_SETREGS, tid, NULL, &r) || ptrace(PTRACE_CONT, tid, NULL, NULL) || wait_for(tid) < 0 ||
	    ptrace(PTRACE_GETREGS, tid, NULL, &r))
		return false;
	if (result)
		*result = r.rax;
	return r.rip == stub_call() + 3 && r.rax < (u64)-4095;
}

/* Everything but the stub and the requests goes: the stack, the vDSO. */
static bool clear_space(const struct mirror *m)
{
	const u64 end = REQUESTS_BASE + REQUESTS_SIZE;

	return remote(m->pid, SYS_mmap, REQUESTS_BASE, REQUESTS_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, REQUESTS_FD, 0,
		      NULL) &&
	       remote(m->pid, SYS_munmap, 0, STUB_BASE, 0, 0, 0, 0, NULL) &&
	       remote(m->pid, SYS_munmap, end, USER_END - end, 0, 0, 0, 0, NULL) &&
	       remote(m->pid, SYS_close, REQUESTS_FD, 0, 0, 0, 0, 0, NULL);
}

/* The second wall: whatever gets past PTRACE_SYSEMU (the vsyscall page does) is not carried out. */
static bool confine(struct mirror *m)
{
	struct sock_filter *code = (struct sock_filter *)m->requests;
	struct sock_fprog prog = { .len = 1, .filter = (struct sock_filter *)(uintptr_t)REQUESTS_BASE };

	*code = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	memcpy((u8 *)m->requests + 64, &prog, sizeof(prog));
	return remote(m->tid, SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, REQUESTS_BASE + 64, 0, 0, 0, NULL);
}

static bool make_runner(struct mirror *m)
{
	const u64 flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	unsigned long tid;
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, m->pid, NULL, &r))
		return false;
	r.rip = stub_call();
	r.rax = SYS_clone;
	r.orig_rax = ~0ull;
	r.rdi = flags;
	r.rsi = r.rdx = r.r10 = r.r8 = 0;
	if (ptrace(PTRACE_SETREGS, m->pid, NULL, &r) || ptrace(PTRACE_CONT, m->pid, NULL, NULL) ||
	    wait_for(m->pid) >> 8 != (SIGTRAP | PTRACE_EVENT_CLONE << 8) ||
	    ptrace(PTRACE_GETEVENTMSG, m->pid, NULL, &tid))
		return false;
	m->tid = (pid_t)tid;
	/* to the breakpoint behind the call; the new thread's first stop */
	return !ptrace(PTRACE_CONT, m->pid, NULL, NULL) && wait_for(m->pid) >= 0 && wait_for(m->tid) >= 0;
}

/* A host that can, makes CPUID trap there. */
static void make_cpuid_trap(struct direct *d, struct mirror *m)
{
	if (remote(m->tid, SYS_arch_prctl, ARCH_SET_CPUID, 0, 0, 0, 0, 0, NULL))
		d->host_vouch |= VOUCH_CPUID;
	else
		d->host_vouch &= ~(unsigned)VOUCH_CPUID;
}

/* A guest whose TSC is not the host's, since it read it in another process before a snapshot, gets it from `translate`.
 */
static void make_tsc_trap(struct direct *d, struct mirror *m)
{
	m->tsc_traps = d->c && d->c->tsc_offset &&
		       remote(m->tid, SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0, 0, NULL);
}

static bool raise_up(struct direct *d, struct mirror *m)
{
	const u64 no_signals = 0;
	bool ok;

	ok = !ptrace(PTRACE_SETOPTIONS, m->pid, NULL,
		     PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE) &&
	     !ptrace(PTRACE_SETSIGMASK, m->pid, (void *)sizeof(no_signals), &no_signals) && clear_space(m) &&
	     make_runner(m);
	if (ok) {
		make_cpuid_trap(d, m);
		make_tsc_trap(d, m);
	}
	ok = ok &&
	     !ptrace(PTRACE_SETOPTIONS, m->tid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXIT);
	return ok && confine(m);
}

int mirror_start(struct direct *d, struct mirror *m, struct err *e)
{
	int fd = memfd_create("doppel-requests", MFD_CLOEXEC);

	*m = (struct mirror){ .root = ~0ull, .requests = MAP_FAILED };
	if (fd < 0 || ftruncate(fd, REQUESTS_SIZE))
		goto fail;
	m->requests = mmap(NULL, REQUESTS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m->requests == MAP_FAILED)
		goto fail;
	m->pid = spawn(d->m->fd, fd, d->exec_fd);
	if (m->pid < 0)
		goto fail;
	m->alive = true;
	if (wait_for(m->pid) < 0 || !raise_up(d, m)) {
		err_set(e, "a process for guest code could not be made ready (ptrace, exec from memory or seccomp is "
			   "not allowed)");
		goto fail_said;
	}
	close(fd);
	return 0;
fail:
	err_errno(e, "cannot make a process for guest code");
fail_said:
	if (fd >= 0)
		close(fd);
	mirror_stop(m);
	return -1;
}

/* Killed: it stops once more on its way (PTRACE_O_TRACEEXIT). */
static void bury(pid_t tid)
{
	int status;

	ptrace(PTRACE_CONT, tid, NULL, NULL); /* if that has been seen */
	while (waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, tid, NULL, NULL);
}

void mirror_stop(struct mirror *m)
{
	if (m->alive) {
		kill(m->pid, SIGKILL);
		if (m->tid)
			bury(m->tid);
		bury(m->pid);
	}
	if (m->requests && m->requests != MAP_FAILED)
		munmap(m->requests, REQUESTS_SIZE);
	m->requests = NULL;
	m->n_requests = 0;
	m->alive = false;
	m->root = ~0ull;
}

void mirror_pin(struct mirror *m, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(m->pid, sizeof(set), &set);
	sched_setaffinity(m->tid, sizeof(set), &set);
}

u64 mirror_cpu_ns(const struct mirror *m)
{
	struct timespec t;

	/* clock_getcpuclockid(3) without its check */
	if (clock_gettime((clockid_t)(~(unsigned)m->pid << 3 | 2), &t))
		return 0;
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

/* ---- the mapper ------------------------------------------------------------------------------------------------- */

/* The mapper to where batches begin; from the end of one it comes there by itself. */
static int batch_first(const struct mirror *m)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, m->pid, NULL, &r))
		return -1;
	r.rip = stub_batch();
	r.orig_rax = ~0ull;
	return ptrace(PTRACE_SETREGS, m->pid, NULL, &r) ? -1 : 0;
}

int mirror_flush(struct mirror *m)
{
	int status;

	if (!m->n_requests)
		return 0;
	m->requests[m->n_requests].nr = -1;
	m->n_requests = 0;
	if ((!m->batch_next && batch_first(m)) || ptrace(PTRACE_CONT, m->pid, NULL, NULL))
		return -1;
	status = mirror_wait(m, m->pid);
	m->batch_next = status >= 0 && WSTOPSIG(status) == SIGTRAP;
	return m->batch_next ? 0 : -1;
}

int mirror_request(struct mirror *m, s64 nr, u64 a, u64 b, u64 c, u64 prot, u64 flags, u64 f)
{
	if (!m->alive) /* what was mapped there went with the process */
		return nr == SYS_munmap ? 0 : -1;
	if (m->n_requests == MAX_REQUESTS && mirror_flush(m))
		return -1;
	m->requests[m->n_requests++] = (struct request){ nr, { a, b, c, prot, flags, f } };
	return 0;
}
