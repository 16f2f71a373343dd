/* SPDX-License-Identifier: Apache-2.0 */
#include "net/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES_MAX 4096u

/* What a process like this one needs, whatever it is sent. */
static const int calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(close),
	SCMP_SYS(fcntl),
	SCMP_SYS(ioctl),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(mmap),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(futex),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(lseek),
	SCMP_SYS(stat),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
};

/* Memory that is executable, or becomes so, is nothing that it needs. */
static int add_rules(scmp_filter_ctx f)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(calls) && !ret; i++)
		if (calls[i] != SCMP_SYS(mmap))
			ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
	for (unsigned i = 0; i < ARRAY_SIZE(families) && !ret; i++)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
	if (!ret)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, 4 /* PROT_EXEC */, 0));
	if (!ret)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
	return ret;
}

/* Landlock's rule for one file that may be read. */
static void allow_file(int rules, const char *path)
{
	struct landlock_path_beneath_attr a = { .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE };

	a.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (a.parent_fd < 0)
		return;
	syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
	close(a.parent_fd);
}

/* Files: a host without Landlock keeps what the filter leaves, which is reading. */
static void confine_files(void)
{
	struct landlock_ruleset_attr a = { .handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1 };
	int rules = (int)syscall(SYS_landlock_create_ruleset, &a, sizeof(a), 0);

	if (rules < 0)
		return;
	allow_file(rules, "/etc/resolv.conf");
	syscall(SYS_landlock_restrict_self, rules, 0);
	close(rules);
}

int confine(struct err *e)
{
	struct rlimit files = { FILES_MAX, FILES_MAX }, none = { 0, 0 };
	scmp_filter_ctx f;
	int ret;

	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_NPROC, &none);
	setrlimit(RLIMIT_NOFILE, &files);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, "--net user: the network's process cannot give up privileges");
	confine_files();
	f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	ret = f ? add_rules(f) : -ENOMEM;
	if (!ret)
		ret = seccomp_load(f);
	seccomp_release(f);
	errno = -ret;
	return ret ? err_errno(e, "--net user: the network's process cannot be confined") : 0;
}
