/* SPDX-License-Identifier: Apache-2.0
 * Two steps. sandbox_enter(), before there are threads: from then on no path leads anywhere, no network is there, no
 * privilege. sandbox_seal(), when all threads are there and no guest instruction has run: a filter leaves the system
 * calls that work on what is open, with memory, threads and the clock.
 *
 * What a guest that commands this process can do then: use the descriptors that it holds (guest memory, disks,
 * consoles, the sockets to its file servers and its network's process), compute, and end.
 */
#include "cli/sandbox.h"

#include <asm/prctl.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const int calls[] = {
	/* what is open */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
	SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2), SCMP_SYS(lseek), SCMP_SYS(fsync),
	SCMP_SYS(fdatasync), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fstat), SCMP_SYS(flock), SCMP_SYS(dup2),
	SCMP_SYS(dup3), SCMP_SYS(close), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
	SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(shutdown),
	/* memory, also executable: the cache of translated code */
	SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk),
	SCMP_SYS(memfd_create),
	/* threads, signals of its own, the clock */
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
	SCMP_SYS(getcpu), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrusage), SCMP_SYS(getrandom),
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
	SCMP_SYS(wait4), SCMP_SYS(sysinfo), /* the C library, to sort */
};

/* A call with one value of one argument. */
struct narrow {
	int call;
	unsigned arg;
	u64 mask; /* 0: all bits */
	u64 value;
};

#define IS(name, arg, value)                  \
	{                                     \
		SCMP_SYS(name), arg, 0, value \
	}

static const struct narrow always[] = {
	IS(fcntl, 1, F_GETFL),
	IS(fcntl, 1, F_SETFL),
	IS(fcntl, 1, F_GETFD),
	IS(fcntl, 1, F_DUPFD_CLOEXEC),
	IS(ioctl, 1, TCGETS),
	IS(ioctl, 1, TCSETS),
	IS(ioctl, 1, TCSETSW),
	IS(ioctl, 1, TCSETSF),
	IS(ioctl, 1, TIOCGWINSZ),
	IS(ioctl, 1, TIOCGPGRP),
	IS(ioctl, 1, FIONREAD),
	IS(ioctl, 1, 0x400454d0u), /* TUNSETOFFLOAD */
	IS(arch_prctl, 0, ARCH_SET_GS),
	IS(prctl, 0, PR_SET_NAME),
	IS(newfstatat, 3, AT_EMPTY_PATH), /* fstat() of the C library */
};

/* direct: processes for guest code, which this one starts from memory and traces; docs/direct.md. */
static const int direct_calls[] = {
	SCMP_SYS(vfork),	 SCMP_SYS(close_range), SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_getaffinity),
	SCMP_SYS(clock_gettime),
};

static const struct narrow direct_narrow[] = {
	IS(fcntl, 1, F_DUPFD),
	IS(execveat, 4, AT_EMPTY_PATH), /* what is open: no path leads anywhere */
	IS(prlimit64, 0, 0),
	IS(prctl, 0, PR_SET_NO_NEW_PRIVS),
	IS(prctl, 0, PR_SET_TSC),
	IS(setpgid, 0, 0),
	IS(arch_prctl, 0, 0x1012), /* ARCH_SET_CPUID */
	IS(seccomp, 0, SECCOMP_SET_MODE_FILTER),
	IS(kill, 1, SIGKILL),
	IS(ptrace, 0, PTRACE_TRACEME), /* and nothing that would take hold of a process that does not ask for it */
	IS(ptrace, 0, PTRACE_CONT),
	IS(ptrace, 0, PTRACE_SYSEMU),
	IS(ptrace, 0, PTRACE_GETREGS),
	IS(ptrace, 0, PTRACE_SETREGS),
	IS(ptrace, 0, PTRACE_GETREGSET),
	IS(ptrace, 0, PTRACE_SETREGSET),
	IS(ptrace, 0, PTRACE_PEEKUSER),
	IS(ptrace, 0, PTRACE_POKEUSER),
	IS(ptrace, 0, PTRACE_SETOPTIONS),
	IS(ptrace, 0, PTRACE_GETEVENTMSG),
	IS(ptrace, 0, PTRACE_GETSIGINFO),
	IS(ptrace, 0, PTRACE_SETSIGMASK),
};

/* kvm: turns end by a timer; its descriptors are those of machines that are made: no node is opened, no machine,
 * processor or device made, no processor's model or filter of MSRs changed. */
static const int kvm_calls[] = { SCMP_SYS(timer_create), SCMP_SYS(timer_settime), SCMP_SYS(timer_gettime),
				 SCMP_SYS(timer_delete), SCMP_SYS(rt_sigtimedwait) };

static const struct narrow kvm_narrow[] = {
	IS(ioctl, 1, KVM_RUN),
	IS(ioctl, 1, KVM_GET_REGS),
	IS(ioctl, 1, KVM_SET_REGS),
	IS(ioctl, 1, KVM_GET_SREGS2),
	IS(ioctl, 1, KVM_SET_SREGS2),
	IS(ioctl, 1, KVM_GET_DEBUGREGS),
	IS(ioctl, 1, KVM_SET_DEBUGREGS),
	IS(ioctl, 1, KVM_GET_XSAVE),
	IS(ioctl, 1, KVM_GET_XSAVE2),
	IS(ioctl, 1, KVM_SET_XSAVE),
	IS(ioctl, 1, KVM_GET_XCRS),
	IS(ioctl, 1, KVM_SET_XCRS),
	IS(ioctl, 1, KVM_GET_MSRS),
	IS(ioctl, 1, KVM_SET_MSRS),
	IS(ioctl, 1, KVM_GET_LAPIC),
	IS(ioctl, 1, KVM_SET_LAPIC),
	IS(ioctl, 1, KVM_GET_MP_STATE),
	IS(ioctl, 1, KVM_SET_MP_STATE),
	IS(ioctl, 1, KVM_GET_VCPU_EVENTS),
	IS(ioctl, 1, KVM_SET_VCPU_EVENTS),
	IS(ioctl, 1, KVM_SET_DEVICE_ATTR), /* the TSC's offset: there are no devices */
	IS(ioctl, 1, KVM_SET_GUEST_DEBUG),
	IS(ioctl, 1, KVM_INTERRUPT),
	IS(ioctl, 1, KVM_NMI),
	IS(ioctl, 1, KVM_SIGNAL_MSI),
	IS(ioctl, 1, KVM_SET_GSI_ROUTING),
	IS(ioctl, 1, KVM_SET_USER_MEMORY_REGION), /* shadow RAM */
	IS(ioctl, 1, KVM_GET_DIRTY_LOG),
};

/* Who has a listening socket may take connections from it. */
static const int listener_calls[] = { SCMP_SYS(accept4) };
static const struct narrow listener_narrow[] = { IS(setsockopt, 1, IPPROTO_TCP) };

/* ---- the filter ----------------------------------------------------------------------------------------------------
 */

static int add_calls(void *f, const int *list, unsigned n)
{
	int ret = 0;

	for (unsigned i = 0; i < n && !ret; i++)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, list[i], 0);
	return ret;
}

static int add_narrow(void *f, const struct narrow *list, unsigned n)
{
	int ret = 0;

	for (unsigned i = 0; i < n && !ret; i++) {
		const u64 mask = list[i].mask ? list[i].mask : ~0u;
		const struct scmp_arg_cmp c = SCMP_CMP(list[i].arg, SCMP_CMP_MASKED_EQ, mask, list[i].value);

		ret = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, list[i].call, 1, &c);
	}
	return ret;
}

/* Signals: to itself, and to a process for guest code the one that interrupts it. */
static int add_signals(void *f, bool direct)
{
	const scmp_datum_t self = (scmp_datum_t)getpid();
	int ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, self, 0));

	if (!ret && direct)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A2(SCMP_CMP_EQ, SIGUSR1, 0));
	return ret;
}

/* What vm_free() tries, and what others then do for it: a process of the machine goes with this one, a socket's name
 * with its keeper. */
static int add_refused(void *f, bool direct)
{
	int ret = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unlink), 0);

	if (!ret && !direct)
		ret = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(kill), 0);
	return ret;
}

static unsigned hosts(const struct vm_config *cfg)
{
	return cfg->engine->host | (cfg->other_engine ? cfg->other_engine->host : 0);
}

static int add_all(void *f, const void *opaque)
{
	const struct sandbox *s = opaque;
	const struct vm_config *cfg = &s->vm->cfg;
	bool direct = hosts(cfg) & ENGINE_HOST_PROCESSES;
	int ret = add_narrow(f, always, ARRAY_SIZE(always));

	if (!ret && direct)
		ret = add_calls(f, direct_calls, ARRAY_SIZE(direct_calls));
	if (!ret && direct)
		ret = add_narrow(f, direct_narrow, ARRAY_SIZE(direct_narrow));
	if (!ret && (hosts(cfg) & ENGINE_HOST_KVM))
		ret = add_calls(f, kvm_calls, ARRAY_SIZE(kvm_calls));
	if (!ret && (hosts(cfg) & ENGINE_HOST_KVM))
		ret = add_narrow(f, kvm_narrow, ARRAY_SIZE(kvm_narrow));
	if (!ret && (s->gdb || s->listens))
		ret = add_calls(f, listener_calls, ARRAY_SIZE(listener_calls));
	if (!ret && s->gdb)
		ret = add_narrow(f, listener_narrow, ARRAY_SIZE(listener_narrow));
	if (!ret && !direct && cfg->nr_shares) /* its file servers go where it is */
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(sched_setaffinity), 0);
	if (!ret)
		ret = add_signals(f, direct);
	return ret ? ret : add_refused(f, direct);
}

/* ---- the steps -----------------------------------------------------------------------------------------------------
 */

bool sandbox_possible(void)
{
#ifdef DOPPEL_INSTRUMENTED
	return false;
#else
	return true;
#endif
}

void sandbox_note_inherited(struct sandbox *s)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *entry;

	while (d && (entry = readdir(d)) && s->nr_inherited < ARRAY_SIZE(s->inherited)) {
		int fd = atoi(entry->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(d))
			s->inherited[s->nr_inherited++] = fd;
	}
	if (d)
		closedir(d);
}

void sandbox_init(struct sandbox *s, const struct vm *vm)
{
	const struct vm_config *cfg = &vm->cfg;

	s->vm = vm;
	for (unsigned i = 0; i < VM_SERIAL_MAX; i++)
		s->listens |= cfg->serial[i] && !strncmp(cfg->serial[i], "unix:", 5);
	for (unsigned i = 0; i < cfg->nr_ports; i++)
		s->listens |= !strncmp(cfg->port[i].where, "unix:", 5);
	s->listens |= cfg->debugcon && !strncmp(cfg->debugcon, "unix:", 5);
}

void sandbox_enter(struct sandbox *s)
{
	/* What libraries would do at their first use, from files: the time zone, the seed of a hash. */
	tzset();
	json_object_seed(0);
	for (unsigned i = 0; i < s->nr_inherited; i++)
		close(s->inherited[i]);
	s->nr_inherited = 0;
	jail_spaces(&s->got);
	s->landlock = jail_no_files(s->vm->tasks);
}

int sandbox_seal(void *sandbox, struct err *e)
{
	return jail_threads(calls, ARRAY_SIZE(calls), add_all, sandbox, e);
}

void sandbox_text(const struct sandbox *s, char *text, size_t size)
{
	snprintf(text, size, "seccomp%s%s%s%s", s->landlock ? ", Landlock" : "", s->got.user ? ", user" : "",
		 s->got.mount ? ", mount" : "", s->got.network ? " and network namespace" : "");
}
