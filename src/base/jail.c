/* SPDX-License-Identifier: Apache-2.0 */
#include "base/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int jail_limits(unsigned files, const char *what, struct err *e)
{
	struct rlimit few = { files, files }, none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_NPROC, &none);
	if (files)
		setrlimit(RLIMIT_NOFILE, &few);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, "%s cannot give up privileges", what);
	return 0;
}

/* Landlock's first version, then what each later one added (REFER, TRUNCATE, IOCTL_DEV). */
u64 jail_rights(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	unsigned more = abi >= 5 ? 3 : abi >= 3 ? 2 : abi >= 2 ? 1 : 0;

	return abi < 1 ? 0 : (LANDLOCK_ACCESS_FS_MAKE_SYM << (more + 1)) - 1;
}

bool jail_files(const struct jail_path *p, unsigned n)
{
	struct landlock_ruleset_attr a = { .handled_access_fs = jail_rights() };
	int rules = a.handled_access_fs ? (int)syscall(SYS_landlock_create_ruleset, &a, sizeof(a), 0) : -1;
	bool ok;

	if (rules < 0)
		return false;
	for (unsigned i = 0; i < n; i++) {
		struct landlock_path_beneath_attr b = { .allowed_access = p[i].access & a.handled_access_fs,
							.parent_fd = p[i].fd };

		if (p[i].fd >= 0)
			syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &b, 0);
	}
	ok = !syscall(SYS_landlock_restrict_self, rules, 0);
	close(rules);
	return ok;
}

/* Memory that is executable, or becomes so, is nothing that it needs. */
static int add_memory(scmp_filter_ctx f)
{
	int ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (!ret)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return ret;
}

int jail_calls(const int *calls, unsigned n, int (*more)(void *filter), const char *what, struct err *e)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int ret = f ? seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

	if (!ret)
		ret = add_memory(f);

	for (unsigned i = 0; i < n && !ret; i++)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
	if (!ret && more)
		ret = more(f);
	if (!ret)
		ret = seccomp_load(f);
	if (f)
		seccomp_release(f);
	errno = -ret;
	return ret ? err_errno(e, "%s cannot be confined", what) : 0;
}

/* The C library makes threads by clone3(), whose flags no filter can see, or else by clone(), whose flags it can. */
static int add_threads(scmp_filter_ctx f)
{
	const scmp_datum_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
	int ret = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	if (!ret)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
	return ret;
}

int jail_threads(const int *calls, unsigned n, int (*more)(void *filter, const void *opaque), const void *opaque,
		 struct err *e)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_TRAP);
	int ret = f ? seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

	if (!ret)
		seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE,
				 2); /* a search, not a list; older libraries have only that */
	for (unsigned i = 0; i < n && !ret; i++)
		ret = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
	if (!ret)
		ret = add_threads(f);
	if (!ret)
		ret = more(f, opaque);
	if (!ret)
		ret = seccomp_load(f);
	if (f)
		seccomp_release(f);
	errno = -ret;
	return ret ? err_errno(e, "no filter of system calls can be set: --no-sandbox runs without it") : 0;
}

/* ---- namespaces ----------------------------------------------------------------------------------------------------
 */

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t done = fd < 0 ? 0 : write(fd, text, strlen(text));

	(void)done;
	if (fd >= 0)
		close(fd);
}

/* The numbers stay what they were. Without it they would be those of nobody. */
static void map_ids(uid_t uid, gid_t gid)
{
	char text[64];

	write_text("/proc/self/setgroups", "deny");
	snprintf(text, sizeof(text), "%u %u 1", uid, uid);
	write_text("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "%u %u 1", gid, gid);
	write_text("/proc/self/gid_map", text);
}

/* An empty file system, read-only, as the root; the old one is gone with all that was mounted in it. */
static bool empty_root(void)
{
	static const char *const places[] = { "/tmp", "/mnt", "/proc" };
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	bool mounted = false;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(places) && !mounted; i++)
		mounted = !mount("none", places[i], "tmpfs", flags, "size=4k,nr_inodes=1,mode=0") && !chdir(places[i]);
	if (!mounted || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
		return false;
	return !chdir("/") && !mount("none", "/", NULL, MS_REMOUNT | MS_RDONLY | flags, NULL);
}

static void drop_all_privileges(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { 0 }, { 0 } };

	for (int i = 0; i <= CAP_LAST_CAP; i++)
		prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	syscall(SYS_capset, &h, d);
}

void jail_spaces(struct jail_got *got)
{
	struct rlimit none = { 0, 0 };
	uid_t uid = geteuid();
	gid_t gid = getegid();

	got->user = !unshare(CLONE_NEWUSER);
	if (got->user)
		map_ids(uid, gid);
	got->network = !unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
	got->mount = empty_root();
	drop_all_privileges();
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

#ifndef LANDLOCK_SCOPE_SIGNAL /* Linux 6.12's header; the kernel takes what it knows of */
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0)
#define LANDLOCK_SCOPE_SIGNAL (1ull << 1)
#endif

bool jail_no_files(int but)
{
	struct {
		u64 files, ports, scoped;
	} a = { jail_rights(), 0, 0 };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	size_t size = abi >= 6 ? sizeof(a) : abi >= 4 ? 2 * sizeof(u64) : sizeof(u64);
	struct landlock_path_beneath_attr b = { .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE, .parent_fd = but };
	int rules;
	bool ok;

	a.ports = abi >= 4 ? 3 : 0; /* to bind to, to connect to */
	a.scoped = abi >= 6 ? LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL : 0;
	rules = a.files ? (int)syscall(SYS_landlock_create_ruleset, &a, size, 0) : -1;
	if (rules < 0)
		return false;
	if (but >= 0)
		syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &b, 0);
	ok = !syscall(SYS_landlock_restrict_self, rules, 0);
	close(rules);
	return ok;
}
