/* SPDX-License-Identifier: Apache-2.0
 * Files as programs use them, in the directory that is given: a file against a model of it in memory (reads, writes,
 * truncation, holes, mappings), a tree under several processes, and what POSIX and Linux say of single calls. Ends with
 * "stress: ok" or the line of the first check that fails.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CHECK(x)                                                                             \
	do {                                                                                 \
		if (!(x)) {                                                                  \
			printf("stress: line %d: %s (%s)\n", __LINE__, #x, strerror(errno)); \
			exit(1);                                                             \
		}                                                                            \
	} while (0)

#define MAX (256 << 10)

static unsigned rnd(unsigned n)
{
	return (unsigned)random() % n;
}

/* ---- one file and its model ----------------------------------------------------------------------------------------
 */

static unsigned char model[MAX], buf[MAX];
static unsigned size, seed;
static bool late; /* the mount writes back */

static void noise(unsigned char *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (unsigned char)random();
}

static void grow_to(unsigned end)
{
	if (end > size)
		size = end;
}

static void write_some(int fd, unsigned off, unsigned n)
{
	noise(model + off, n);
	CHECK(pwrite(fd, model + off, n, off) == (ssize_t)n);
	grow_to(off + n);
}

static void read_some(int fd, unsigned off, unsigned n)
{
	unsigned want = off >= size ? 0 : off + n > size ? size - off : n;

	CHECK(pread(fd, buf, n, off) == (ssize_t)want);
	CHECK(!memcmp(buf, model + off, want));
}

static void truncate_to(int fd, unsigned n)
{
	CHECK(!ftruncate(fd, n));
	if (n < size)
		memset(model + n, 0, size - n);
	size = n;
}

static void punch(int fd, unsigned off, unsigned n)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, n)) {
		CHECK(errno == EOPNOTSUPP);
		return;
	}
	if (off < size)
		memset(model + off, 0, off + n > size ? size - off : n);
}

static void through_map(int fd, unsigned off, unsigned n)
{
	unsigned char *p;

	if (off >= size)
		return;
	n = off + n > size ? size - off : n;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) { /* cache=none, before Linux 6.6 */
		CHECK(errno == ENODEV);
		return;
	}
	CHECK(!memcmp(p + off, model + off, n));
	noise(model + off, n);
	memcpy(p + off, model + off, n);
	CHECK(!msync(p, size, MS_SYNC));
	CHECK(!munmap(p, size));
}

static void one_file(unsigned rounds)
{
	int fd = open("model", O_RDWR | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0);
	for (unsigned i = 0; i < rounds; i++) {
		unsigned off = rnd(MAX - 1), n = 1 + rnd(MAX - off < 20000 ? MAX - off - 1 : 20000);

		switch (rnd(8)) {
		case 0:
		case 1:
			write_some(fd, off, n);
			break;
		case 2:
			truncate_to(fd, off);
			break;
		case 3:
			punch(fd, off, n);
			break;
		case 4:
			through_map(fd, off, n);
			break;
		case 5:
			close(fd);
			fd = open("model", O_RDWR | (rnd(2) ? O_SYNC : 0));
			CHECK(fd >= 0);
			break;
		default:
			read_some(fd, off, n);
		}
	}
	for (unsigned off = 0; off < MAX; off += 20000)
		read_some(fd, off, off + 20000 > MAX ? MAX - off : 20000);
	CHECK(!close(fd));
}

/* ---- a tree under several processes --------------------------------------------------------------------------------
 */

static void tree_worker(unsigned who, unsigned rounds)
{
	char a[64], b[64];

	srandom(who + seed);
	for (unsigned i = 0; i < rounds; i++) {
		int fd;

		snprintf(a, sizeof(a), "tree/%u/%u", rnd(3), rnd(6));
		snprintf(b, sizeof(b), "tree/%u/%u", rnd(3), rnd(6));
		switch (rnd(6)) {
		case 0:
			fd = open(a, O_RDWR | O_CREAT, 0600);
			CHECK(fd >= 0 || errno == EISDIR || errno == ENOENT || errno == ELOOP || errno == ENXIO);
			if (fd >= 0) {
				CHECK(write(fd, "0123456789", 10) == 10);
				CHECK(!close(fd));
			}
			break;
		case 1:
			CHECK(!rename(a, b) || errno == ENOENT || errno == EISDIR || errno == ENOTDIR ||
			      errno == ENOTEMPTY || errno == EEXIST || errno == EINVAL);
			break;
		case 2:
			CHECK(!unlink(a) || errno == ENOENT || errno == EISDIR);
			break;
		case 3:
			CHECK(!link(a, b) || errno == ENOENT || errno == EEXIST || errno == EPERM || errno == ENOTDIR);
			break;
		case 4:
			CHECK(!mkdir(a, 0700) || errno == EEXIST);
			break;
		case 5:
			CHECK(!rmdir(a) || errno == ENOENT || errno == ENOTDIR || errno == ENOTEMPTY);
			break;
		}
	}
	exit(0);
}

static void tree(unsigned rounds)
{
	char name[32];
	int status;

	CHECK(!mkdir("tree", 0755));
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "tree/%d", i);
		CHECK(!mkdir(name, 0755));
	}
	for (unsigned i = 0; i < 3; i++)
		if (!fork())
			tree_worker(i + 1, rounds);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(wait(&status) > 0);
		CHECK(!status);
	}
}

/* ---- single calls --------------------------------------------------------------------------------------------------
 */

static void names(void)
{
	struct stat a, b;
	int fd = open("u", O_RDWR | O_CREAT | O_EXCL, 0640);
	char text[32];

	CHECK(fd >= 0);
	CHECK(open("u", O_RDWR | O_CREAT | O_EXCL, 0640) < 0 && errno == EEXIST);
	CHECK(write(fd, "text", 4) == 4);
	CHECK(!link("u", "v") && !stat("u", &a) && !stat("v", &b));
	CHECK(a.st_ino == b.st_ino && a.st_nlink == 2 && b.st_nlink == 2 && (a.st_mode & 07777) == 0640);
	CHECK(!unlink("u") && !unlink("v"));
	CHECK(!fstat(fd, &a) && a.st_nlink == 0 && a.st_size == 4);
	CHECK(pread(fd, text, 4, 0) == 4 && !memcmp(text, "text", 4));
	CHECK(!fchmod(fd, 0600) && !fstat(fd, &a) && (a.st_mode & 07777) == 0600);
	CHECK(!close(fd));
	CHECK(!symlink("a name that is not there", "s") && !lstat("s", &a) && S_ISLNK(a.st_mode));
	CHECK(readlink("s", text, sizeof(text)) == 24);
	CHECK(!mkfifo("p", 0600) && !lstat("p", &a) && S_ISFIFO(a.st_mode));
	CHECK(mknod("dev", S_IFBLK | 0600, 0x100) && errno == EPERM);
	CHECK(!mkdir("x", 0755) && !mkdir("x/y", 0755) && rmdir("x") && errno == ENOTEMPTY);
	CHECK(rename("x", "x/y/z") && errno == EINVAL);
	CHECK(!renameat2(AT_FDCWD, "s", AT_FDCWD, "p", RENAME_EXCHANGE) && !lstat("p", &a) && S_ISLNK(a.st_mode));
	CHECK(renameat2(AT_FDCWD, "s", AT_FDCWD, "p", RENAME_NOREPLACE) && errno == EEXIST);
	fd = open(".", O_RDWR | O_TMPFILE, 0644);
	CHECK(fd >= 0 || errno == EOPNOTSUPP);
	if (fd >= 0) {
		snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
		CHECK(write(fd, "tmp", 3) == 3);
		CHECK(!linkat(AT_FDCWD, text, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
		CHECK(!stat("named", &a) && a.st_size == 3 && !close(fd));
	}
}

static void attributes(void)
{
	struct timespec t[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	char text[16];
	struct stat st;
	int fd = open("attr", O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0 && !futimens(fd, t) && !fstat(fd, &st));
	CHECK(st.st_mtim.tv_sec == 1100000000 && st.st_mtim.tv_nsec == 987654321 && st.st_atim.tv_sec == 1000000000);
	CHECK(!symlink("attr", "attr-link") && !utimensat(AT_FDCWD, "attr-link", t, AT_SYMLINK_NOFOLLOW));
	CHECK(!lstat("attr-link", &st) && st.st_mtim.tv_sec == 1100000000);
	CHECK(!chmod("attr", 04755) && !stat("attr", &st) && (st.st_mode & 07777) == 04755);
	if (!setxattr("attr", "user.key", "value", 5, XATTR_CREATE)) {
		CHECK(getxattr("attr", "user.key", text, sizeof(text)) == 5 && !memcmp(text, "value", 5));
		CHECK(setxattr("attr", "user.key", "value", 5, XATTR_CREATE) && errno == EEXIST);
		CHECK(listxattr("attr", text, sizeof(text)) == 9);
		CHECK(!removexattr("attr", "user.key") && getxattr("attr", "user.key", text, 16) < 0 &&
		      errno == ENODATA);
	} else {
		CHECK(errno == EOPNOTSUPP);
	}
	CHECK(!ftruncate(fd, 64 << 20) && !fstat(fd, &st) && st.st_blocks < 64);
	CHECK(pwrite(fd, "data", 4, 32 << 20) == 4);
	CHECK(!late || !fsync(fd)); /* Linux asks for holes before it has written back */
	CHECK(lseek(fd, 0, SEEK_DATA) == 32 << 20 && lseek(fd, 32 << 20, SEEK_HOLE) > 32 << 20);
	CHECK(!close(fd));
}

static void direct(void)
{
	void *p;
	int fd = open("direct", O_RDWR | O_CREAT | O_DIRECT, 0644), fd2;

	CHECK(fd >= 0 && !posix_memalign(&p, 4096, 1 << 20));
	memset(p, 'd', 1 << 20);
	CHECK(pwrite(fd, p, 1 << 20, 0) == 1 << 20);
	memset(p, 0, 1 << 20);
	fd2 = open("direct", O_RDONLY);
	CHECK(read(fd2, p, 1 << 20) == 1 << 20 && ((char *)p)[12345] == 'd');
	CHECK(pread(fd, p, 4096, 1 << 20) == 0);
	CHECK(!close(fd) && !close(fd2));
	free(p);
}

/* Two processes append a thousand lines each, and lock each other out. */
static void together(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd, status;
	struct stat st;
	char *p;

	for (int i = 0; i < 2; i++) {
		if (fork())
			continue;
		fd = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644);
		CHECK(fd >= 0);
		for (int k = 0; k < 200; k++)
			CHECK(write(fd, i ? "bbbbbbb\n" : "aaaaaaa\n", 8) == 8);
		for (int k = 0; k < 50; k++) {
			int c = open("counter", O_RDWR | O_CREAT, 0644), n = 0;

			l.l_type = F_WRLCK;
			CHECK(c >= 0 && !fcntl(c, F_SETLKW, &l));
			CHECK(pread(c, &n, sizeof(n), 0) >= 0);
			n++;
			CHECK(pwrite(c, &n, sizeof(n), 0) == sizeof(n));
			CHECK(!close(c));
		}
		exit(0);
	}
	for (int i = 0; i < 2; i++)
		CHECK(wait(&status) > 0 && !status);
	fd = open("counter", O_RDONLY);
	CHECK(read(fd, &status, sizeof(status)) == sizeof(status) && status == 100);
	close(fd);
	fd = open("log", O_RDONLY);
	CHECK(!fstat(fd, &st) && st.st_size == 3200);
	p = mmap(NULL, 3200, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	for (int i = 0; i < 3200; i++)
		CHECK(p[i] == (i % 8 == 7 ? '\n' : p[i & ~7]));
	close(fd);
}

static void directories(void)
{
	char name[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	CHECK(!mkdir("many", 0755));
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "many/a rather long name of a file, number %d", i);
		CHECK(!mknod(name, S_IFREG | 0644, 0));
	}
	d = opendir("many");
	while ((e = readdir(d)))
		n++;
	CHECK(n == 502);
	rewinddir(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			snprintf(name, sizeof(name), "many/%s", e->d_name);
			CHECK(!unlink(name));
		}
	closedir(d);
	CHECK(!rmdir("many"));
}

/* DIR [SEED [TIMES AS LONG [late]]] */
int main(int argc, char **argv)
{
	unsigned times;

	CHECK(argc >= 2 && argc <= 5 && !chdir(argv[1]));
	seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) * 16 : 0;
	times = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 1;
	late = argc > 4;
	umask(022);
	srandom(7 + seed);
	names();
	attributes();
	direct();
	directories();
	together();
	one_file(800 * times);
	tree(250 * times);
	puts("stress: ok");
	return 0;
}
