/* SPDX-License-Identifier: Apache-2.0 */
#include "base/jail.h"

#include <errno.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/mman.h>
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
	int ret = f ? add_memory(f) : -ENOMEM;

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
