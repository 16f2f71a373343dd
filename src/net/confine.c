/* SPDX-License-Identifier: Apache-2.0 */
#include "net/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/jail.h"

#define FILES_MAX 4096u

/* What a process like this one needs, whatever it is sent. */
static const int calls[] = {
	SCMP_SYS(read),		  SCMP_SYS(write),	SCMP_SYS(readv),       SCMP_SYS(writev),
	SCMP_SYS(recvfrom),	  SCMP_SYS(recvmsg),	SCMP_SYS(sendto),      SCMP_SYS(sendmsg),
	SCMP_SYS(connect),	  SCMP_SYS(bind),	SCMP_SYS(listen),      SCMP_SYS(accept),
	SCMP_SYS(accept4),	  SCMP_SYS(shutdown),	SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	SCMP_SYS(getsockopt),	  SCMP_SYS(setsockopt), SCMP_SYS(close),       SCMP_SYS(fcntl),
	SCMP_SYS(ioctl),	  SCMP_SYS(poll),	SCMP_SYS(ppoll),       SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),	  SCMP_SYS(time),	SCMP_SYS(munmap),      SCMP_SYS(mremap),
	SCMP_SYS(madvise),	  SCMP_SYS(brk),	SCMP_SYS(futex),       SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(exit),	SCMP_SYS(exit_group),  SCMP_SYS(restart_syscall),
	SCMP_SYS(getrandom),	  SCMP_SYS(getpid),	SCMP_SYS(lseek),       SCMP_SYS(stat),
	SCMP_SYS(fstat),	  SCMP_SYS(newfstatat),
};

static int add_rules(void *f)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(families) && !ret; i++)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
	if (!ret)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
	return ret;
}

/* Files: a host without Landlock keeps what the filter leaves, which is reading. */
int confine(struct err *e)
{
	static const char what[] = "--net user: the network's process";
	struct jail_path names = { open("/etc/resolv.conf", O_PATH | O_CLOEXEC), LANDLOCK_ACCESS_FS_READ_FILE };

	if (jail_limits(FILES_MAX, what, e))
		return -1;
	jail_files(&names, 1);
	if (names.fd >= 0)
		close(names.fd);
	return jail_calls(calls, ARRAY_SIZE(calls), add_rules, what, e);
}
