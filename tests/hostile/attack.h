/* SPDX-License-Identifier: Apache-2.0
 * What a guest would try that commands a process of doppel's. Only test programs have this.
 */
#ifndef HOSTILE_ATTACK_H
#define HOSTILE_ATTACK_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Beside letters, a list without an end: how the tests walk it. */
#define ATTACKS "reowxsudfkKpPvtmnciMq"

static inline long attack_connect(int domain)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = 9 << 8, .sin_addr.s_addr = 0x0100007f };
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/run/dbus/system_bus_socket" };
	int fd = socket(domain, SOCK_STREAM, 0);

	if (fd < 0)
		return -1;
	return domain == AF_UNIX ? connect(fd, (void *)&un, sizeof(un)) : connect(fd, (void *)&in, sizeof(in));
}

/* What the system call returned; < 0 is a failure with errno. Victims: the parent, another process of this user. */
static inline long attack(char which)
{
	char *const sh[] = { (char *)(uintptr_t) "/bin/sh", NULL };
	char byte = 'x';
	struct stat st;

	switch (which) {
	case 'r': return open("/etc/passwd", O_RDONLY);
	case 'e': return open("/proc/self/environ", O_RDONLY);
	case 'o': return syscall(SYS_open, "/etc/passwd", O_RDONLY);
	case 'w': return open("/tmp/doppel-was-here", O_WRONLY | O_CREAT, 0600);
	case 'x': return execve("/bin/sh", sh, sh + 1);
	case 's': return attack_connect(AF_INET);
	case 'u': return attack_connect(AF_UNIX);
	case 'd': return syscall(SYS_openat, AT_FDCWD, "../../../../../../etc/passwd", O_RDONLY);
	case 'f': return syscall(SYS_fork);
	case 'k': return kill(getppid(), 0);
	case 'K': return kill(getppid(), SIGUSR2);
	case 'p': return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
	case 'P': return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
	case 'v': return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
	case 't': return ioctl(0, TIOCSTI, &byte);
	case 'm': return mount("none", "/", "tmpfs", 0, NULL);
	case 'n': return unshare(CLONE_NEWUSER);
	case 'c': return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	case 'i': return syscall(SYS_io_uring_setup, 1, NULL);
	case 'M': return stat("/etc/passwd", &st);
	case 'q': return syscall(SYS_pidfd_open, getppid(), 0);
	default: return 0;
	}
}

#endif
