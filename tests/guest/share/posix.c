/* SPDX-License-Identifier: Apache-2.0
 * What POSIX and Linux say of open files, times, attributes, locks and, with the argument "root", of users: a line a
 * call, as errors.c has it, the same in a shared directory of a guest as on the host's own file system.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define TRY(call) tell(#call, (long)(call))
#define K 4096

static void tell(const char *what, long got)
{
	if (got < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, got);
	errno = 0;
}

static int make(const char *name, mode_t mode)
{
	int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, mode);

	fchmod(fd, mode);
	return fd;
}

static long mode_of(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : st.st_mode;
}

static long links_of(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long)st.st_nlink;
}

static long size_of(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long)st.st_size;
}

/* ---- open files -------------------------------------------------------------------------------------------------- */

static void appending(void)
{
	int a = make("append", 0644), b = open("append", O_WRONLY | O_APPEND);
	char buf[16] = "";

	TRY(write(a, "one", 3));
	TRY(write(b, "two", 3));
	TRY(pwrite(b, "three", 5, 0)); /* Linux appends all the same */
	TRY(lseek(a, 0, SEEK_CUR));
	TRY(write(a, "X", 1));
	TRY(pread(a, buf, 15, 0));
	puts(buf);
	TRY(fcntl(b, F_SETFL, 0));
	TRY(pwrite(b, "Y", 1, 0));
	TRY(size_of("append"));
	close(a);
	close(b);
}

static void shared_offset(void)
{
	int fd = make("offset", 0644);

	write(fd, "0123456789", 10);
	lseek(fd, 0, SEEK_SET);
	if (!fork()) {
		char c[3];

		_exit(read(fd, c, 3) == 3 ? 0 : 1);
	}
	wait(NULL);
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(lseek(fd, 5, SEEK_END));
	TRY(read(fd, (char[1]){ 0 }, 1));
	TRY(write(fd, "z", 1));
	TRY(size_of("offset"));
	close(fd);
}

static void without_name(void)
{
	int fd = make("gone", 0600), tmp;
	struct stat st;

	TRY(unlink("gone"));
	TRY(write(fd, "still", 5));
	TRY(fstat(fd, &st));
	TRY(st.st_nlink);
	TRY(st.st_size);
	TRY(ftruncate(fd, 2));
	TRY(fchmod(fd, 0640));
	TRY(fstat(fd, &st) ? -1 : (long)st.st_mode);
	close(fd);
	TRY(mkdir("gone", 0755));
	fd = open("gone", O_RDONLY | O_DIRECTORY);
	TRY(rmdir("gone"));
	TRY(openat(fd, "x", O_CREAT | O_WRONLY, 0644));
	TRY(mkdirat(fd, "x", 0755));
	TRY(openat(fd, "..", O_RDONLY) < 0);
	close(fd);
	tmp = open(".", O_TMPFILE | O_RDWR, 0640);
	TRY(write(tmp, "tmp", 3));
	TRY(linkat(tmp, "", AT_FDCWD, "named", AT_EMPTY_PATH) < 0 && errno == ENOENT ? 0 : 0);
	close(tmp);
	tmp = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0640);
	TRY(fstat(tmp, &st) ? -1 : (long)st.st_nlink);
	close(tmp);
}

static sigjmp_buf on_bus;

static void bus(int sig)
{
	siglongjmp(on_bus, sig);
}

static void mappings(void)
{
	int fd = make("map", 0644);
	char *volatile p;
	volatile long got = 0;
	char c[4] = "";

	ftruncate(fd, 2 * K);
	p = mmap(NULL, 3 * K, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRY(p == MAP_FAILED ? -1 : 0);
	memcpy(p + K - 1, "ab", 2);
	TRY(pread(fd, c, 2, K - 1));
	puts(c);
	pwrite(fd, "cd", 2, K - 1);
	TRY(p[K - 1]);
	TRY(p[K]);
	signal(SIGBUS, bus);
	if (!sigsetjmp(on_bus, 1))
		got = p[2 * K];
	else
		got = -7;
	TRY(got == -7);
	TRY(ftruncate(fd, K + 10));
	p[K + 5] = 'x'; /* behind the end it is 0 again */
	TRY(ftruncate(fd, K));
	TRY(ftruncate(fd, 2 * K));
	TRY(p[K + 5]);
	TRY(msync(p, 2 * K, MS_SYNC));
	TRY(munmap(p, 3 * K));
	close(fd);
	fd = open("map", O_RDONLY);
	TRY(mmap(NULL, K, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	p = mmap(NULL, K, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	p[K - 1] = 'p';
	TRY(pread(fd, c, 1, K - 1) + c[0]);
	close(fd);
}

static void holes(void)
{
	int fd = make("holes", 0644), to;
	loff_t from = 0;

	ftruncate(fd, 1 << 20);
	pwrite(fd, "data", 4, 512 << 10);
	fsync(fd);
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(lseek(fd, 0, SEEK_HOLE));
	TRY(lseek(fd, 512 << 10, SEEK_HOLE));
	TRY(lseek(fd, 600 << 10, SEEK_DATA));
	TRY(lseek(fd, 1 << 20, SEEK_HOLE));
	TRY(lseek(fd, 2 << 20, SEEK_DATA));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 512 << 10, K));
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, K));
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 100));
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 1 << 20, K));
	TRY(size_of("holes"));
	to = make("copy", 0644);
	pwrite(fd, "0123456789", 10, 0);
	TRY(copy_file_range(fd, &from, to, NULL, 10, 0));
	TRY(copy_file_range(fd, &from, to, NULL, 10, 1));
	TRY(size_of("copy"));
	close(to);
	close(fd);
}

/* ---- times ------------------------------------------------------------------------------------------------------- */

static struct stat before;

static void remember(const char *name)
{
	struct timespec t = { .tv_nsec = 20000000 };

	lstat(name, &before);
	nanosleep(&t, NULL);
}

static void moved(const char *what, const char *name)
{
	struct stat st;

	lstat(name, &st);
	printf("%s: mtime %s, ctime %s\n", what,
	       memcmp(&st.st_mtim, &before.st_mtim, sizeof(st.st_mtim)) ? "moved" : "stays",
	       memcmp(&st.st_ctim, &before.st_ctim, sizeof(st.st_ctim)) ? "moved" : "stays");
}

#define MOVES(name, call)           \
	do {                        \
		remember(name);     \
		TRY(call);          \
		moved(#call, name); \
	} while (0)

static void times(void)
{
	int fd;

	mkdir("td", 0755);
	mkdir("td/sub", 0755);
	fd = make("td/f", 0644);
	MOVES("td", close(open("td/g", O_CREAT | O_WRONLY, 0644)));
	MOVES("td/f", link("td/f", "td/h"));
	MOVES("td", unlink("td/h"));
	MOVES("td/f", chmod("td/f", 0600));
	MOVES("td", chmod("td/f", 0644));
	MOVES("td/f", write(fd, "x", 1));
	MOVES("td/f", write(fd, "x", 0));
	MOVES("td/f", ftruncate(fd, 1));
	MOVES("td/f", truncate("td/f", 5));
	MOVES("td/f", rename("td/f", "td/r"));
	rename("td/r", "td/f");
	MOVES("td", rename("td/f", "td/sub/f"));
	MOVES("td/sub", rename("td/sub/f", "td/f"));
	MOVES("td", mkdir("td/new", 0755));
	MOVES("td", rmdir("td/new"));
	MOVES("td", symlink("x", "td/s"));
	MOVES("td/f", chown("td/f", (uid_t)-1, (gid_t)-1));
	MOVES("td/f", setxattr("td/f", "user.x", "y", 1, 0));
	MOVES("td/f", fallocate(fd, 0, 0, 100));
	MOVES("td/f", read(fd, (char[1]){ 0 }, 1));
	MOVES("td/f", fsync(fd));
	close(fd);
}

/* ---- extended attributes ------------------------------------------------------------------------------------------
 */

static void xattrs(void)
{
	static char big[70000], name[400] = "user.";
	int fd = make("xattr", 0644);

	TRY(getxattr("xattr", "user.a", big, 10));
	TRY(setxattr("xattr", "user.a", "12345", 5, XATTR_REPLACE));
	TRY(setxattr("xattr", "user.a", "12345", 5, XATTR_CREATE));
	TRY(setxattr("xattr", "user.a", "12345", 5, XATTR_CREATE));
	TRY(setxattr("xattr", "user.a", "1234", 4, XATTR_REPLACE));
	TRY(getxattr("xattr", "user.a", big, 0));
	TRY(getxattr("xattr", "user.a", big, 3));
	TRY(getxattr("xattr", "user.a", big, 10));
	TRY(fsetxattr(fd, "user.empty", "", 0, 0));
	TRY(getxattr("xattr", "user.empty", big, 10));
	TRY(listxattr("xattr", big, 5));
	TRY(listxattr("xattr", NULL, 0));
	TRY(setxattr("xattr", "", "x", 1, 0));
	TRY(setxattr("xattr", "none.x", "x", 1, 0));
	TRY(setxattr("xattr", "user.", "x", 1, 0));
	TRY(setxattr("none", "user.a", "x", 1, 0));
	memset(name + 5, 'n', 250);
	TRY(setxattr("xattr", name, "x", 1, 0));
	memset(name + 5, 'n', 251);
	TRY(setxattr("xattr", name, "x", 1, 0));
	TRY(setxattr("xattr", "user.big", big, 65537, 0));
	TRY(setxattr("xattr", "user.mid", big, 2000, 0));
	TRY(getxattr("xattr", "user.mid", big, sizeof(big)));
	TRY(removexattr("xattr", "user.a"));
	TRY(removexattr("xattr", "user.a"));
	TRY(symlink("xattr", "xlink"));
	TRY(lsetxattr("xlink", "user.a", "x", 1, 0));
	TRY(setxattr("xlink", "user.viaLink", "x", 1, 0));
	TRY(fgetxattr(fd, "user.viaLink", big, 10));
	TRY(mkdir("xdir", 0755));
	TRY(setxattr("xdir", "user.d", "x", 1, 0));
	close(fd);
}

/* ---- locks ------------------------------------------------------------------------------------------------------- */

static long in_child(int (*fn)(void))
{
	int status;

	fflush(stdout);
	if (!fork())
		_exit(fn());
	wait(&status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int record(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
	int ret = fcntl(fd, cmd, &l);

	return ret < 0 ? ret : cmd == F_GETLK ? l.l_type * 1000 + (int)l.l_start : 0;
}

static int child_locks(void)
{
	int fd = open("lock", O_RDWR);

	if (record(fd, F_SETLK, F_WRLCK, 10, 5) >= 0 || (errno != EAGAIN && errno != EACCES))
		return 1;
	if (record(fd, F_GETLK, F_WRLCK, 0, 0) != F_WRLCK * 1000 + 10)
		return 2;
	if (record(fd, F_SETLK, F_WRLCK, 0, 10) || record(fd, F_SETLK, F_RDLCK, 30, 5))
		return 3;
	if (record(fd, F_SETLK, F_WRLCK, 30, 5) >= 0)
		return 4;
	return flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK ? 0 : 5;
}

static int child_dup(void)
{
	int fd = open("lock", O_RDWR);

	close(dup(fd)); /* all of this process's record locks of the file go with any descriptor */
	return record(fd, F_SETLK, F_WRLCK, 0, 5);
}

static int child_read_lock(void)
{
	int fd = open("lock", O_RDONLY);

	return record(fd, F_SETLK, F_WRLCK, 100, 1) < 0 && errno == EBADF && !record(fd, F_SETLK, F_RDLCK, 100, 1) ? 0
														   : 1;
}

static void locks(void)
{
	int fd = make("lock", 0644), other;

	TRY(record(fd, F_SETLK, F_WRLCK, 10, 10));
	TRY(record(fd, F_SETLK, F_RDLCK, 30, 10));
	TRY(flock(fd, LOCK_SH));
	TRY(in_child(child_locks));
	TRY(record(fd, F_SETLK, F_UNLCK, 12, 2));
	TRY(record(fd, F_GETLK, F_WRLCK, 0, 0));
	TRY(in_child(child_read_lock));
	other = open("lock", O_RDWR);
	TRY(flock(other, LOCK_EX | LOCK_NB));
	TRY(flock(fd, LOCK_UN));
	TRY(flock(other, LOCK_EX | LOCK_NB));
	close(other);
	TRY(in_child(child_dup));
	TRY(record(fd, F_SETLK, F_WRLCK, -1, 1));
	TRY(record(fd, F_OFD_SETLK, F_WRLCK, 200, 1));
	close(fd);
}

/* ---- directories --------------------------------------------------------------------------------------------------
 */

static void listing(void)
{
	char name[32];
	struct dirent *d;
	unsigned n = 0, seen = 0;
	long at = 0;
	DIR *dir;

	mkdir("many", 0755);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "many/%u", i);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	dir = opendir("many");
	while ((d = readdir(dir)))
		if (++n == 100)
			at = telldir(dir);
	TRY(n);
	seekdir(dir, at);
	while ((d = readdir(dir)))
		seen++;
	TRY(seen);
	rewinddir(dir);
	for (n = 0; (d = readdir(dir));) /* what is taken away while it is listed */
		if (d->d_name[0] != '.' && !unlinkat(dirfd(dir), d->d_name, 0))
			n++;
	TRY(n);
	closedir(dir);
	TRY(rmdir("many"));
}

static void counts(void)
{
	struct stat a, b;
	struct statvfs v;
	int fd = make("c1", 0644);

	TRY(link("c1", "c2"));
	TRY(link("c1", "c3"));
	TRY(links_of("c1"));
	close(make("over", 0644));
	TRY(rename("c2", "over"));
	TRY(links_of("c1"));
	TRY(rename("c3", "c1")); /* the same file: nothing */
	TRY(links_of("c3"));
	TRY(unlink("c1"));
	TRY(links_of("c3"));
	TRY(fstat(fd, &a) || stat("over", &b) ? -1 : (long)(a.st_ino == b.st_ino));
	close(fd);
	TRY(statvfs(".", &v) ? -1 : (long)v.f_namemax);
	TRY(pathconf(".", _PC_LINK_MAX) > 1);
	TRY(open("c3", O_PATH) < 0);
	TRY(open("c3", O_RDONLY | O_NOATIME) < 0);
	TRY(access("c3", X_OK));
	TRY(access("c3", R_OK | W_OK));
}

/* ---- users --------------------------------------------------------------------------------------------------------
 */

static int as_user(uid_t uid, gid_t gid, void (*fn)(void))
{
	fflush(stdout);
	if (!fork()) {
		if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
			_exit(1);
		fn();
		fflush(stdout);
		_exit(0);
	}
	return (int)wait(NULL) < 0;
}

static void owner_does(void)
{
	int fd;

	TRY(chmod("u/suid", 06755));
	fd = open("u/suid", O_WRONLY);
	TRY(write(fd, "x", 1));
	TRY(mode_of("u/suid")); /* a write takes the bits away */
	TRY(fchmod(fd, 06755));
	TRY(ftruncate(fd, 0));
	TRY(mode_of("u/suid"));
	TRY(fchmod(fd, 02745)); /* no group execution: a mandatory lock of old */
	TRY(write(fd, "x", 1));
	TRY(mode_of("u/suid"));
	TRY(chown("u/suid", 2001, (gid_t)-1));
	TRY(chown("u/suid", (uid_t)-1, 3000));
	TRY(chmod("u/alien", 0666));
	TRY(chmod("u/group", 02755)); /* of a group that is not this one's */
	TRY(mode_of("u/group"));
	TRY(mkdir("u/sgid/sub", 0755));
	TRY(mode_of("u/sgid/sub"));
	TRY(unlink("u/sticky/alien"));
	TRY(rename("u/sticky/alien", "u/sticky/x"));
	TRY(unlink("u/sticky/own"));
	TRY(open("u/secret", O_RDONLY));
	TRY(open("u/closed/x", O_RDONLY));
	TRY(access("u/secret", R_OK));
	TRY(mkdir("u/plain/x", 0755));
	TRY(link("u/alien", "u/linked") < 0 ? 0 : 0);
	TRY(utimensat(AT_FDCWD, "u/alien", NULL, 0));
	TRY(utimensat(AT_FDCWD, "u/writable", NULL, 0));
	TRY(utimensat(AT_FDCWD, "u/writable", (struct timespec[2]){ { 1, 0 }, { 1, 0 } }, 0));
	TRY(setxattr("u/alien", "user.x", "y", 1, 0));
	TRY(setxattr("u/suid", "user.x", "y", 1, 0));
	TRY(setxattr("u/suid", "trusted.x", "y", 1, 0));
	TRY(truncate("u/alien", 0));
	close(fd);
}

static void users(void)
{
	struct stat st;

	umask(0);
	mkdir("u", 0777);
	mkdir("u/sgid", 0777);
	mkdir("u/sticky", 01777);
	mkdir("u/closed", 0700);
	mkdir("u/plain", 0755);
	close(make("u/suid", 0755));
	close(make("u/alien", 0644));
	close(make("u/group", 0755));
	close(make("u/secret", 0600));
	close(make("u/writable", 0666));
	close(make("u/sticky/alien", 0666));
	close(make("u/sticky/own", 0600));
	TRY(chown("u/suid", 2000, 3001));
	TRY(chown("u/group", 2000, 3000));
	TRY(chown("u/sgid", 0, 3000));
	TRY(chmod("u/sgid", 02777));
	TRY(chown("u/sticky/own", 2000, 3001));
	TRY(as_user(2000, 3001, owner_does));
	TRY(stat("u/sgid/sub", &st) ? -1 : (long)(st.st_uid * 10000 + st.st_gid));
	TRY(chmod("u/suid", 06755));
	TRY(chown("u/suid", 2000, 3001)); /* also without a change it takes the bits away */
	TRY(mode_of("u/suid"));
	TRY(chmod("u/sgid", 07777));
	TRY(chown("u/sgid", 2000, 3000)); /* not a directory's */
	TRY(mode_of("u/sgid"));
	umask(022);
}

int main(int argc, char **argv)
{
	bool root = false, maps = true;

	for (int i = 1; i < argc; i++) {
		root |= !strcmp(argv[i], "root");
		maps &= strcmp(argv[i], "nomap") != 0;
	}
	umask(022);
	appending();
	shared_offset();
	without_name();
	if (maps)
		mappings();
	holes();
	times();
	xattrs();
	locks();
	listing();
	counts();
	if (root)
		users();
	return 0;
}
