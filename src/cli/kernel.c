/* SPDX-License-Identifier: Apache-2.0
 * Which kernel `doppel run` starts: the one that is named, else the one that was fetched, else this host's.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/run.h"

/* Linux x86 boot protocol: the header's magic, and where the text with the release stands. */
#define MAGIC_AT 0x202
#define VERSION_AT 0x20e
#define VERSION_BASE 0x200

/* Kernels and roots of others would see this user's files. */
static int check_cache(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st))
		return errno == ENOENT ? 0 : err_errno(e, "cannot use the cache '%.200s'", path);
	if ((st.st_uid && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(e,
			       "the cache '%.200s' is not used because other users can write it: set XDG_CACHE_HOME, "
			       "or take the right away",
			       path);
	return 0;
}

static int cache_path(char *path, size_t len, struct err *e)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n = cache && *cache ? snprintf(path, len, "%s", cache) : snprintf(path, len, "%s/.cache", home ? home : "");

	if ((!cache || !*cache) && !home)
		return err_set(e, "there is no place for a cache: set HOME or XDG_CACHE_HOME");
	if ((size_t)n + 8 >= len)
		return err_set(e, "the path of the cache is too long");
	strcat(path, "/doppel");
	return 0;
}

int cache_directory(char *path, size_t len, struct err *e)
{
	char *slash;

	if (cache_path(path, len, e))
		return -1;
	slash = strrchr(path, '/');
	*slash = 0;
	mkdir(path, 0700);
	*slash = '/';
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_errno(e, "cannot make the cache '%.200s'", path);
	return check_cache(path, e);
}

static int read_release(struct guest_kernel *k, struct err *e)
{
	int fd = open(k->image, O_RDONLY | O_CLOEXEC);
	u8 head[8] = { 0 };
	u16 at = 0;
	ssize_t n;

	if (fd < 0)
		return err_errno(e, "cannot read the kernel '%.200s'", k->image);
	k->release[0] = 0;
	if (pread(fd, head, 4, MAGIC_AT) == 4 && !memcmp(head, "HdrS", 4) && pread(fd, &at, 2, VERSION_AT) == 2 && at) {
		n = pread(fd, k->release, sizeof(k->release) - 1, VERSION_BASE + at);
		k->release[n > 0 ? n : 0] = 0;
		k->release[strcspn(k->release, " ")] = 0;
	}
	close(fd);
	return 0;
}

static bool is_directory(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* Beside the file as packages lay it out, else where this host has modules. */
static void find_modules(struct guest_kernel *k)
{
	char copy[PATH_MAX];
	const char *dir;

	if (!k->release[0])
		return;
	snprintf(copy, sizeof(copy), "%s", k->image);
	dir = dirname(copy);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const form[] = { "%.2000s/../lib/modules/%s", "%.2000s/lib/modules/%s",
						    "%.0s/lib/modules/%s" };

		snprintf(k->modules, sizeof(k->modules), form[i], dir, k->release);
		if (is_directory(k->modules))
			return;
	}
	k->modules[0] = 0;
}

static int named(struct guest_kernel *k, const char *file, const char *modules, struct err *e)
{
	snprintf(k->image, sizeof(k->image), "%s", file);
	if (read_release(k, e))
		return -1;
	if (!modules) {
		find_modules(k);
		return 0;
	}
	if (!is_directory(modules))
		return err_set(e, "--modules '%.200s' is no directory", modules);
	snprintf(k->modules, sizeof(k->modules), "%s", modules);
	return 0;
}

/* The last vmlinuz-* in dir that can be read and has its modules. */
static bool find_in(struct guest_kernel *k, const char *dir, const char *prefix)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, versionsort);
	bool found = false;
	struct err e;

	for (int i = n - 1; i >= 0; i--) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		if (!found && !strncmp(list[i]->d_name, prefix, strlen(prefix)) && !access(path, R_OK))
			found = !named(k, path, NULL, &e) && k->modules[0];
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return found;
}

int kernel_find(struct guest_kernel *k, const char *file, const char *modules, struct err *e)
{
	char dir[PATH_MAX], own[128];
	struct err no_cache = { "" };
	struct utsname u;

	if (file)
		return named(k, file, modules, e);
	if (modules)
		return err_set(e, "--modules '%.200s' is about a kernel: give --kernel FILE as well", modules);
	/* Without a cache the host's own kernel will do. */
	if (!cache_path(dir, sizeof(dir) - 16, &no_cache) && !check_cache(dir, &no_cache))
		strcat(dir, "/kernel/boot");
	uname(&u);
	snprintf(own, sizeof(own), "vmlinuz-%.100s", u.release);
	if ((!no_cache.text[0] && find_in(k, dir, "vmlinuz-")) || find_in(k, "/boot", own) ||
	    find_in(k, "/boot", "vmlinuz-"))
		return 0;
	if (no_cache.text[0])
		return err_set(e, "there is no kernel to run in /boot, and %s", no_cache.text);
	return err_set(e,
		       "there is no kernel to run: 'doppel fetch' gets Debian's, or give --kernel FILE (nothing that "
		       "can be read is in %.200s or /boot)",
		       dir);
}
