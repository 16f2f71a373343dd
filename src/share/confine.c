/* SPDX-License-Identifier: Apache-2.0
 * What a file server may reach, whoever commands it: the shared directory and what lies below.
 *
 *  - Where the host allows it (as root), its own mount namespace, of which that directory is the root, without devices;
 *    and of root's privileges only those over files.
 *  - Landlock, where the host's kernel has it: below that directory, and for a read-only share reading only.
 *  - A filter of system calls: files, memory and the wait for requests; no sockets, no programs, no other process.
 * A namespace of users would have shown all owners but one as nobody, so an ordinary user's server has none.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdlib.h>
#include <seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/jail.h"
#include "share/fs.h"

static const char what[] = "--share: the file server";

static const int calls[] = {
	SCMP_SYS(statx),      SCMP_SYS(newfstatat),    SCMP_SYS(fstat),
	SCMP_SYS(statfs),     SCMP_SYS(fstatfs),       SCMP_SYS(openat),
	SCMP_SYS(openat2),    SCMP_SYS(close),	       SCMP_SYS(getdents64),
	SCMP_SYS(lseek),      SCMP_SYS(read),	       SCMP_SYS(write),
	SCMP_SYS(pread64),    SCMP_SYS(pwrite64),      SCMP_SYS(preadv),
	SCMP_SYS(pwritev),    SCMP_SYS(preadv2),       SCMP_SYS(pwritev2),
	SCMP_SYS(readlinkat), SCMP_SYS(symlinkat),     SCMP_SYS(linkat),
	SCMP_SYS(mkdirat),    SCMP_SYS(mknodat),       SCMP_SYS(unlinkat),
	SCMP_SYS(renameat2),  SCMP_SYS(fchmod),	       SCMP_SYS(fchmodat),
	SCMP_SYS(fchown),     SCMP_SYS(fchownat),      SCMP_SYS(ftruncate),
	SCMP_SYS(utimensat),  SCMP_SYS(fallocate),     SCMP_SYS(copy_file_range),
	SCMP_SYS(fsync),      SCMP_SYS(fdatasync),     SCMP_SYS(syncfs),
	SCMP_SYS(flock),      SCMP_SYS(getxattr),      SCMP_SYS(setxattr),
	SCMP_SYS(listxattr),  SCMP_SYS(removexattr),   SCMP_SYS(futex),
	SCMP_SYS(munmap),     SCMP_SYS(mremap),	       SCMP_SYS(madvise),
	SCMP_SYS(brk),	      SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn),  SCMP_SYS(restart_syscall),
	SCMP_SYS(getpid),     SCMP_SYS(sched_yield),
};

/* Of fcntl no asking of other processes for signals, and the like. */
static int add_rules(void *f)
{
	static const int commands[] = { F_GETFL, F_GETFD, F_DUPFD_CLOEXEC, F_OFD_SETLK, F_OFD_GETLK };
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(commands) && !ret; i++)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				       SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)commands[i], 0));
	return ret;
}

/* ---- the view of files ---------------------------------------------------------------------------------------------
 */

/* False: the host does not allow it; nothing, or nothing that matters, has changed. */
static bool own_view(const char *dir, bool readonly)
{
	unsigned long flags = MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | (readonly ? MS_RDONLY : 0);

	if (unshare(CLONE_NEWNS))
		return false;
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(dir, dir, NULL, MS_BIND | MS_REC, NULL))
		return false;
	mount("none", dir, NULL, flags, NULL);
	if (chdir(dir) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
		return false;
	return !chdir("/");
}

int confine_root(const struct share_spec *s, int *dir, int *proc, struct err *e)
{
	char path[4096];

	*proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*proc < 0)
		return err_errno(e, "--share: no /proc/self/fd, which the file server needs");
	if (!realpath(s->dir, path))
		return err_errno(e, "--share: '%.200s' cannot be shared", s->dir);
	if (strcmp(path, "/") && own_view(path, s->readonly))
		memcpy(path, "/", 2);
	*dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*dir < 0)
		return err_errno(e, "--share: '%.200s' cannot be shared", s->dir);
	return fchdir(*proc) ? err_errno(e, "--share: no /proc/self/fd") : 0;
}

/* ---- for good ------------------------------------------------------------------------------------------------------
 */

/* Who is not root has none to begin with. With CAP_FSETID modes are what the guest's kernel says that they are; it then
 * says, too, when a write takes set-user-ID bits away (file_strip()). */
static void drop_privileges(void)
{
	u32 keep = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_FSETID;
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { 0 }, { 0 } };

	if (syscall(SYS_capget, &h, d))
		return;
	for (int i = 0; i <= CAP_LAST_CAP; i++)
		if (i > 31 || !(keep & 1u << i))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	d[0].permitted &= keep;
	d[0].effective = d[0].permitted;
	d[0].inheritable = d[1].permitted = d[1].effective = d[1].inheritable = 0;
	syscall(SYS_capset, &h, d);
}

/* Landlock's first version has no right to move a file to another directory: it is then left out. */
static void restrict_files(const struct share_spec *s, int dir)
{
	u64 reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR, all = jail_rights();
	struct jail_path p = { dir, s->readonly ? reading : all & ~(u64)LANDLOCK_ACCESS_FS_EXECUTE };

	if (s->readonly || (all & LANDLOCK_ACCESS_FS_MAKE_SYM << 1))
		jail_files(&p, 1);
}

/* As many files as the host lets it have. */
static void raise_files(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

int confine_share(const struct share_spec *s, int dir, void (*threads)(void *opaque), void *opaque, struct err *e)
{
	raise_files();
	umask(0);
	drop_privileges();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, "%s cannot give up privileges", what);
	restrict_files(s, dir);
	threads(opaque); /* before none can be made any more */
	if (jail_limits(0, what, e))
		return -1;
	return jail_calls(calls, ARRAY_SIZE(calls), add_rules, what, e);
}
