/* SPDX-License-Identifier: Apache-2.0
 * A request is one letter, an answer "ok" (with a descriptor for 'o') or a sentence. A guest that has taken over the
 * machine's process can send these letters, and nothing else of it is believed.
 */
#include "api/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/jail.h"
#include "base/newfile.h"

struct keeper {
	int fd;
	pid_t pid;
};

struct kept {
	const struct keeper_paths *paths;
	int fd;
	struct newfile file;
	bool armed;
};

static const int calls[] = {
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg),
	SCMP_SYS(write),
	SCMP_SYS(close),
	SCMP_SYS(openat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(unlink),
	SCMP_SYS(rename),
	SCMP_SYS(getrandom),
	SCMP_SYS(exit_group),
	SCMP_SYS(munmap),
	SCMP_SYS(brk),
	SCMP_SYS(futex),
	SCMP_SYS(getpid),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(restart_syscall),
};

/* ---- the process ---------------------------------------------------------------------------------------------------
 */

static int parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int confine(const struct keeper_paths *p, struct err *e)
{
	static const char what[] = "the keeper of the machine's files";
	struct jail_path at[KEEPER_SOCKETS + 1];
	unsigned n = 0;

	if (p->snapshot)
		at[n++] = (struct jail_path){ parent_of(p->snapshot),
					      LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
						  LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE };
	for (unsigned i = 0; i < p->nr_sockets; i++)
		at[n++] = (struct jail_path){ parent_of(p->socket[i]), LANDLOCK_ACCESS_FS_REMOVE_FILE };
	if (jail_limits(0, what, e))
		return -1;
	jail_files(at, n);
	for (unsigned i = 0; i < n; i++)
		if (at[i].fd >= 0)
			close(at[i].fd);
	return jail_calls(calls, ARRAY_SIZE(calls), NULL, what, e);
}

static void answer(const struct kept *k, int ret, const struct err *e, int pass)
{
	const char *text = ret ? e->text : "ok";
	struct iovec v = { (void *)(uintptr_t)text, strlen(text) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (pass >= 0) {
		memcpy(CMSG_DATA(&c.head), &pass, sizeof(pass));
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
	}
	sendmsg(k->fd, &m, MSG_NOSIGNAL);
}

static void take_away(const struct kept *k)
{
	struct stat st;

	for (unsigned i = 0; i < k->paths->nr_sockets && k->armed; i++)
		if (!lstat(k->paths->socket[i], &st) && S_ISSOCK(st.st_mode))
			unlink(k->paths->socket[i]);
}

static void serve(struct kept *k, char letter)
{
	struct err e = { "the keeper does not know that" };
	int ret = -1;

	if (letter == 'a') {
		k->armed = true;
		ret = 0;
	} else if (letter == 'o' && k->file.fd < 0 && k->paths->snapshot) {
		ret = newfile_open(&k->file, k->paths->snapshot, &e);
	} else if ((letter == 'y' || letter == 'n') && k->file.fd >= 0) {
		ret = newfile_close(&k->file, letter == 'y', &e);
	}
	answer(k, ret, &e, ret ? -1 : letter == 'o' ? k->file.fd : -1);
}

static void keep(void *opaque)
{
	struct kept *k = opaque;
	struct err e = { "" };
	ssize_t n;
	char letter;
	bool ok;

	prctl(PR_SET_PDEATHSIG, 0); /* it outlives a machine that is killed, by what it has to do then */
	ok = !confine(k->paths, &e);
	if (child_say_ready(k->fd, &e, ok) || !ok)
		_exit(1);
	while ((n = recv(k->fd, &letter, 1, 0)) == 1 || (n < 0 && errno == EINTR))
		if (n == 1 && letter != 'q')
			serve(k, letter);
		else if (n == 1)
			break;
	if (k->file.fd >= 0)
		newfile_close(&k->file, false, NULL);
	take_away(k);
	if (n == 1)
		answer(k, 0, NULL, -1);
	_exit(0);
}

/* ---- the machine's side --------------------------------------------------------------------------------------------
 */

/* The descriptor that came along, or 0. */
static int ask(struct keeper *k, char letter, struct err *e)
{
	char text[sizeof(e->text)] = "";
	struct iovec v = { text, sizeof(text) - 1 };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	const struct cmsghdr *got;
	int fd = 0;

	if (send(k->fd, &letter, 1, MSG_NOSIGNAL) != 1 || recvmsg(k->fd, &m, MSG_CMSG_CLOEXEC) <= 0)
		return err_set(e, "the keeper of the machine's files has ended");
	got = CMSG_FIRSTHDR(&m);
	if (got && got->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(got), sizeof(fd));
	return strcmp(text, "ok") ? err_set(e, "%s", text) : fd;
}

struct keeper *keeper_new(const struct keeper_paths *p, struct err *e)
{
	struct keeper *k = calloc(1, sizeof(*k));
	struct kept kept = { .paths = p, .file.fd = -1 };
	int pair[2];

	if (!k || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		free(k);
		err_errno(e, "no socket for the keeper of the machine's files");
		return NULL;
	}
	k->fd = pair[0];
	kept.fd = pair[1];
	k->pid = child_start("doppel-keep", &pair[1], 1, keep, &kept);
	close(pair[1]);
	if (k->pid > 0 && !child_wait_ready(k->fd, "the keeper of the machine's files", e))
		return k;
	if (k->pid < 0)
		err_errno(e, "no process for the keeper of the machine's files");
	keeper_free(k);
	return NULL;
}

int keeper_arm(struct keeper *k, struct err *e)
{
	return ask(k, 'a', e);
}

int keeper_open(struct keeper *k, struct err *e)
{
	return ask(k, 'o', e);
}

int keeper_commit(struct keeper *k, bool ok, struct err *e)
{
	return ask(k, ok ? 'y' : 'n', e);
}

void keeper_free(struct keeper *k)
{
	struct err e;

	if (!k)
		return;
	ask(k, 'q', &e);
	close(k->fd);
	while (k->pid > 0 && waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(k);
}
