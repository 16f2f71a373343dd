/* SPDX-License-Identifier: Apache-2.0
 * The guest's root: this host's, a directory, or a tar archive that is unpacked into the cache and kept there under its
 * name, size and time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/run.h"

/* 0 if it says so; what else it says goes to stderr. */
static int run_program(char *const argv[])
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static int unpack(struct run_options *o, const char *tar, const struct stat *st, struct err *e)
{
	char real[PATH_MAX], part[sizeof(o->root) + 16], cache[512];
	u64 hash = 14695981039346656037ull; /* FNV-1a */
	struct stat there;

	if (!realpath(tar, real) || cache_directory(cache, sizeof(cache), e))
		return err_errno(e, "--rootfs '%.200s'", tar);
	for (const char *p = real; *p; p++)
		hash = (hash ^ (u8)*p) * 1099511628211ull;
	hash ^= (u64)st->st_size * 0x9e3779b97f4a7c15ull ^ (u64)st->st_mtim.tv_sec << 20 ^ (u64)st->st_mtim.tv_nsec;
	snprintf(o->root, sizeof(o->root), "%s/rootfs-%016llx", cache, (unsigned long long)hash);
	if (!stat(o->root, &there) && S_ISDIR(there.st_mode))
		return 0;
	snprintf(part, sizeof(part), "%s.%d", o->root, (int)getpid());
	if (mkdir(part, 0755))
		return err_errno(e, "cannot make '%.200s'", part);
	if (run_program((char *[]){ "tar", "-C", part, "--exclude=dev/*", "-xf", real, NULL })) {
		run_program((char *[]){ "rm", "-rf", part, NULL });
		return err_set(e, "--rootfs '%.200s' is neither a directory nor an archive that tar can unpack", tar);
	}
	return rename(part, o->root) && errno != EEXIST && errno != ENOTEMPTY
		   ? err_errno(e, "cannot keep '%.200s'", o->root)
		   : 0;
}

int rootfs_find(struct run_options *o, struct err *e)
{
	size_t len = o->rootfs ? strlen(o->rootfs) : 0;
	char dir[sizeof(o->root)], real[PATH_MAX];
	struct stat st;

	strcpy(o->root, "/");
	if (!o->rootfs)
		return 0;
	o->copy = len > 5 && !strcmp(o->rootfs + len - 5, ",copy");
	if (snprintf(dir, sizeof(dir), "%.*s", (int)(len - (o->copy ? 5 : 0)), o->rootfs) >= (int)sizeof(dir))
		return err_set(e, "--rootfs '%.100s...' is too long", o->rootfs);
	if (stat(dir, &st))
		return err_errno(e, "--rootfs '%.200s'", dir);
	if (!S_ISDIR(st.st_mode))
		return unpack(o, dir, &st, e);
	if (!realpath(dir, real) || strlen(real) >= sizeof(o->root))
		return err_errno(e, "--rootfs '%.200s'", dir);
	strcpy(o->root, real);
	return 0;
}
