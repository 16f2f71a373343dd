/* SPDX-License-Identifier: Apache-2.0
 * The guest's root: this host's, a directory, Debian's, or a tar archive that is unpacked into the cache and kept there
 * under its name, size and time. Who is not root cannot give files away: such a copy's files are this user's, and the
 * guest sees root's instead.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/program.h"
#include "cli/run.h"

void rootfs_remove(const char *dir, int *sig)
{
	if (access(dir, F_OK))
		return;
	program_run((char *[]){ "chmod", "-R", "u+rwX", "--", (char *)dir, NULL }, sig);
	program_run((char *[]){ "rm", "-rf", "--one-file-system", "--", (char *)dir, NULL }, sig);
}

/* tar's, and its end also if a signal comes meanwhile. */
static int fill(char *part, char *tar, const char *name, struct err *e)
{
	int sig = 0, status;

	status = program_run((char *[]){ "tar", "-C", part, "--numeric-owner", "--exclude=dev/*",
					 geteuid() ? "--no-xattrs" : "--xattrs-include=*", "-xpf", tar, NULL },
			     &sig);
	if (!status && !sig)
		return 0;
	rootfs_remove(part, &sig);
	if (sig)
		raise(sig);
	return err_set(e, "--rootfs '%.200s' is neither a directory nor an archive that tar can unpack", name);
}

static int unpack(struct run_options *o, const char *tar, const struct stat *st, struct err *e)
{
	char real[PATH_MAX], part[sizeof(o->root) + 16], cache[512];
	u64 hash = 14695981039346656037ull; /* FNV-1a */
	struct stat there;
	int sig = 0;

	if (!realpath(tar, real))
		return err_errno(e, "--rootfs '%.200s'", tar);
	if (cache_directory(cache, sizeof(cache), e))
		return -1;
	for (const char *p = real; *p; p++)
		hash = (hash ^ (u8)*p) * 1099511628211ull;
	hash ^= (u64)st->st_size * 0x9e3779b97f4a7c15ull ^ (u64)st->st_mtim.tv_sec << 20 ^ (u64)st->st_mtim.tv_nsec;
	snprintf(o->root, sizeof(o->root), "%s/rootfs-%016llx", cache, (unsigned long long)hash);
	if (!stat(o->root, &there) && S_ISDIR(there.st_mode))
		return 0;
	snprintf(part, sizeof(part), "%s.%d", o->root, (int)getpid());
	if (mkdir(part, 0755))
		return err_errno(e, "cannot make '%.200s'", part);
	if (fill(part, real, tar, e))
		return -1;
	if (!rename(part, o->root))
		return 0;
	rootfs_remove(part, &sig); /* another run was faster, or it cannot be kept */
	if (sig)
		raise(sig);
	return stat(o->root, &there) ? err_errno(e, "cannot keep '%.200s'", o->root) : 0;
}

int rootfs_find(struct run_options *o, struct err *e)
{
	size_t len = o->rootfs ? strlen(o->rootfs) : 0;
	char dir[sizeof(o->root)], real[PATH_MAX];
	struct stat st;

	strcpy(o->root, "/");
	if (!o->rootfs)
		return 0;
	if (!strncmp(o->rootfs, "debian", 6) && (!o->rootfs[6] || o->rootfs[6] == ':')) {
		o->root_owned = geteuid();
		return debian_root(o->root, sizeof(o->root), o->rootfs[6] ? o->rootfs + 7 : "stable", e);
	}
	o->copy = len > 5 && !strcmp(o->rootfs + len - 5, ",copy");
	if (snprintf(dir, sizeof(dir), "%.*s", (int)(len - (o->copy ? 5 : 0)), o->rootfs) >= (int)sizeof(dir))
		return err_set(e, "--rootfs '%.100s...' is too long", o->rootfs);
	if (stat(dir, &st))
		return err_errno(e, "--rootfs '%.200s'", dir);
	o->root_owned = !S_ISDIR(st.st_mode) && geteuid();
	if (!S_ISDIR(st.st_mode))
		return unpack(o, dir, &st, e);
	if (!realpath(dir, real) || strlen(real) >= sizeof(o->root))
		return err_errno(e, "--rootfs '%.200s'", dir);
	strcpy(o->root, real);
	return 0;
}
