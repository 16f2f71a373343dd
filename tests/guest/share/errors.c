/* SPDX-License-Identifier: Apache-2.0
 * Calls on names with their errors and what they leave, a line each: the same program says the same in a shared
 * directory of a guest and on the host's own file system. As root, without what root alone may do to others' files.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define TRY(call) tell(#call, (long)(call))

static void tell(const char *what, long got)
{
	printf("%s: %s\n", what, got < 0 ? strerrorname_np(errno) : "ok");
	errno = 0;
}

static void show(const char *name)
{
	struct stat st;

	if (lstat(name, &st))
		printf("  %s: %s\n", name, strerrorname_np(errno));
	else
		printf("  %s: mode %o links %lu size %ld times %ld.%09ld\n", name, st.st_mode,
		       S_ISDIR(st.st_mode) ? 0ul : (unsigned long)st.st_nlink,
		       S_ISREG(st.st_mode) ? (long)st.st_size : 0,
		       st.st_mtim.tv_sec < 10000 ? (long)st.st_mtim.tv_sec : 0,
		       st.st_mtim.tv_sec < 10000 ? st.st_mtim.tv_nsec : 0);
}

static int opened(const char *name, int flags)
{
	int fd = open(name, flags, 0640);

	if (fd >= 0)
		close(fd);
	return fd;
}

static int cut(const char *name, int flags, off_t size)
{
	int fd = open(name, flags), ret = ftruncate(fd, size), error = errno;

	close(fd);
	errno = error;
	return ret;
}

static void names(void)
{
	static char name[300], path[5000];

	memset(name, 'n', 255);
	TRY(mkdir(name, 0755));
	TRY(rmdir(name));
	name[255] = 'n';
	TRY(mkdir(name, 0755));
	TRY(opened(name, O_CREAT | O_WRONLY));
	TRY(symlink("x", name));
	for (unsigned i = 0; i + 2 < sizeof(path); i += 2)
		memcpy(path + i, "./", 2);
	TRY(opened(path, O_RDONLY));
	TRY(opened("", O_RDONLY));
	TRY(mkdir("", 0755));
}

static void making(void)
{
	TRY(mkdir("d", 0751));
	TRY(mkdir("d", 0755));
	TRY(mkdir("none/d", 0755));
	TRY(opened("f", O_CREAT | O_EXCL | O_WRONLY));
	TRY(opened("f", O_CREAT | O_EXCL | O_WRONLY));
	TRY(opened("d", O_CREAT | O_RDONLY));
	TRY(opened("d", O_RDWR));
	TRY(opened("f", O_RDONLY | O_DIRECTORY));
	TRY(opened("f/x", O_RDONLY));
	TRY(mkdir("f/x", 0755));
	TRY(mkfifo("p", 0640));
	TRY(mkfifo("p", 0640));
	TRY(opened("p", O_WRONLY | O_NONBLOCK));
	TRY(symlink("f", "s"));
	TRY(symlink("loop", "loop"));
	TRY(symlink("f", "s"));
	TRY(opened("loop", O_RDONLY));
	TRY(opened("s", O_RDONLY | O_NOFOLLOW));
	TRY(opened("s", O_CREAT | O_EXCL | O_RDONLY));
	TRY(readlink("f", (char[9]){ 0 }, 9));
	TRY(opened("loop/x", O_CREAT | O_RDONLY));
	show("d");
	show("f");
	show("p");
}

static void links(void)
{
	TRY(link("f", "g"));
	TRY(link("f", "g"));
	TRY(link("d", "h"));
	TRY(link("none", "h"));
	TRY(link("f", "none/h"));
	TRY(link("s", "t"));
	TRY(link("p", "q"));
	show("f");
	show("t");
	TRY(unlink("q"));
	TRY(unlink("t"));
	TRY(unlink("d"));
	TRY(unlink("none"));
	TRY(unlink("f/"));
	TRY(rmdir("f"));
	TRY(rmdir("none"));
	TRY(rmdir("."));
	TRY(rmdir("d/.."));
	TRY(mkdir("d/e", 0755));
	TRY(rmdir("d/."));
}

static void renames(void)
{
	TRY(rename("d", "d/e/x"));
	TRY(rename("f", "d"));
	TRY(rename("d", "f"));
	TRY(rename("none", "f"));
	TRY(rename("f", "none/x"));
	TRY(rename("f", "f"));
	TRY(rename("f", "g"));
	show("f");
	TRY(mkdir("full", 0755));
	TRY(opened("full/x", O_CREAT | O_WRONLY));
	TRY(rename("d", "full"));
	TRY(rename(".", "x"));
	TRY(rename("d", "."));
	TRY(mkdir("empty", 0755));
	TRY(rename("d", "empty"));
	TRY(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "f", AT_FDCWD, "empty", RENAME_EXCHANGE));
	show("f");
	show("empty");
	TRY(renameat2(AT_FDCWD, "f", AT_FDCWD, "none", RENAME_EXCHANGE));
	TRY(renameat2(AT_FDCWD, "f", AT_FDCWD, "x", RENAME_EXCHANGE | RENAME_NOREPLACE));
	TRY(rename("f", "d"));
	TRY(rename("empty", "f"));
}

static void attributes(void)
{
	static const unsigned modes[] = { 0, 0777, 01777, 04755, 02755, 06711, 07777, 0400 };
	static const struct timespec times[][2] = { { { 1, 2 }, { 3, 999999999 } },  { { 5, UTIME_OMIT }, { 7, 8 } },
						    { { 9, 1 }, { 1, UTIME_OMIT } }, { { 1, 0 }, { 1, 1000000000 } },
						    { { 1, -1 }, { 1, 0 } },	     { { 0, UTIME_NOW }, { 11, 12 } } };

	for (unsigned i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		TRY(chmod("f", modes[i]));
		TRY(chmod("d", modes[i] | 0700));
		show("f");
		show("d");
	}
	TRY(chmod("none", 0644));
	TRY(chmod("loop", 0644));
	TRY(chmod("s", 0644));
	show("s");
	for (unsigned i = 0; i < sizeof(times) / sizeof(*times); i++) {
		TRY(utimensat(AT_FDCWD, "f", times[i], 0));
		show("f");
		TRY(utimensat(AT_FDCWD, "s", times[i], AT_SYMLINK_NOFOLLOW));
		show("s");
	}
	TRY(utimensat(AT_FDCWD, "none", times[0], 0));
	TRY(chown("f", (uid_t)-1, (gid_t)-1));
	TRY(chown("none", (uid_t)-1, (gid_t)-1));
	TRY(chown("f/x", (uid_t)-1, (gid_t)-1));
	show("f");
}

static void sizes(void)
{
	TRY(truncate("f", 12345));
	show("f");
	TRY(truncate("f", -1));
	TRY(truncate("d", 1));
	TRY(truncate("none", 1));
	TRY(truncate("s", 7));
	TRY(cut("f", O_RDONLY, 1));
	TRY(cut("f", O_WRONLY, 3));
	TRY(opened("f", O_WRONLY | O_TRUNC));
	TRY(opened("d", O_RDONLY | O_TRUNC));
	TRY(lseek(open("f", O_RDWR), -1, SEEK_SET));
	TRY(pwrite(open("f", O_RDWR), "x", 1, -1));
	TRY(write(open("f", O_RDONLY), "x", 1));
	TRY(read(open("f", O_WRONLY), (char[1]){ 0 }, 1));
	TRY(read(open("d", O_RDONLY), (char[1]){ 0 }, 1));
	TRY(fallocate(open("f", O_RDWR), 0, 0, 0));
	TRY(fallocate(open("f", O_RDWR), 0, 100, 900));
	TRY(fallocate(open("f", O_RDONLY), 0, 0, 10));
	show("f");
}

int main(void)
{
	umask(022);
	names();
	making();
	links();
	renames();
	attributes();
	sizes();
	return 0;
}
