/* SPDX-License-Identifier: Apache-2.0
 * Warm start. Until its agent listens, every guest of one kernel, machine and set of drivers does the same: so it does
 * it once, and later runs go on from the image of that moment. What makes a run this one (time, random seed, name,
 * files, command) is told to the agent afterwards, and nothing of it was in the guest before.
 *
 * An image is found by all that it depends on, in words, and used only if its own words are the same. It is its user's
 * alone: who could write it would own every later guest, and who could read it would know the memory that they begin
 * with. With the host's boot it ends: a crash of the host then leaves no half-written one to be believed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "cli/run.h"
#include "cli/version.h"

#define KEPT 4 /* images, the least recently used go */

/* ---- what it depends on -------------------------------------------------------------------------------------------
 */

struct words {
	char *text;
	size_t len, room;
	bool failed;
};

static void __attribute__((format(printf, 2, 3))) say(struct words *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(w->text + w->len, w->room - w->len, fmt, ap);
	va_end(ap);
	w->failed |= n < 0 || (size_t)n >= w->room - w->len;
	w->len += w->failed ? 0 : (size_t)n;
}

/* A file, as it was when it was read: whoever writes it changes that. */
static void say_file(struct words *w, const char *path)
{
	struct stat st;

	if (stat(path, &st))
		w->failed = true;
	else
		say(w, "%llx:%llx %lld %lld.%09ld %s\n", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
		    (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, path);
}

static void say_boot_of_host(struct words *w)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char id[64] = "";
	ssize_t n = fd < 0 ? -1 : read(fd, id, sizeof(id) - 1);

	if (fd >= 0)
		close(fd);
	w->failed |= n <= 0;
	id[strcspn(id, "\n")] = 0;
	say(w, "host's boot %s\n", id);
}

/* What of the words for the machine is of no importance to it. */
static bool is_outside(const char *word)
{
	return !strncmp(word, "--stats", 7) || !strncmp(word, "--timeout=", 10) || !strcmp(word, "--no-sandbox") ||
	       !strncmp(word, "-p", 2) || !strncmp(word, "--name=", 7);
}

static bool say_all(struct words *w, const struct run_options *o, const struct guest_kernel *k,
		    const struct vm_config *vm)
{
	say(w, "doppel " DOPPEL_VERSION "\n");
	say_file(w, "/proc/self/exe");
	say_boot_of_host(w);
	say_file(w, k->image);
	say(w, "modules %s\n", k->modules);
	say(w, "engine %s\n", vm->engine->name);
	say(w, "%u ports, %u shares%s\n", vm->nr_ports, vm->nr_shares, o->copy ? "" : ", one is the root");
	for (unsigned i = 0; i < o->nr_boot; i++)
		if (!is_outside(o->boot[i]))
			say(w, "%s\n", o->boot[i]);
	say(w, "append %s\n", vm->boot.append);
	return !w->failed;
}

/* ---- the directory -------------------------------------------------------------------------------------------------
 */

static bool is_private(const struct stat *st)
{
	return st->st_uid == geteuid() && !(st->st_mode & 077);
}

/* "": there is no place for it, which is no reason not to run. */
static void find_place(struct warm *w)
{
	struct hash h;
	struct stat st;
	struct err e;
	char text[HASH_TEXT];
	size_t len;

	if (cache_directory(w->path, sizeof(w->path) - 64, &e)) {
		w->path[0] = 0;
		return;
	}
	strcat(w->path, "/warm");
	if ((mkdir(w->path, 0700) && errno != EEXIST) || lstat(w->path, &st)) {
		w->path[0] = 0;
		return;
	}
	if (!S_ISDIR(st.st_mode) || !is_private(&st)) {
		log_msg(LOG_WARN, "'%.200s' is not used because it is not only this user's: remove it, or chmod 700",
			w->path);
		w->path[0] = 0;
		return;
	}
	hash_init(&h);
	hash_add(&h, w->image.about, strlen(w->image.about));
	len = strlen(w->path);
	snprintf(w->path + len, sizeof(w->path) - len, "/%s", hash_text(&h, text));
}

struct entry {
	char name[NAME_MAX + 1];
	struct timespec used;
};

static int by_use(const void *a, const void *b)
{
	const struct timespec *x = &((const struct entry *)a)->used, *y = &((const struct entry *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec > y->tv_sec ? -1 : 1;
	return x->tv_nsec > y->tv_nsec ? -1 : x->tv_nsec < y->tv_nsec;
}

/* Before another one comes. */
static void make_room(const struct warm *w)
{
	char dir[PATH_MAX];
	struct entry list[64];
	struct dirent *d;
	unsigned n = 0;
	DIR *all;

	snprintf(dir, sizeof(dir), "%s", w->path);
	*strrchr(dir, '/') = 0;
	all = opendir(dir);
	while (all && n < ARRAY_SIZE(list) && (d = readdir(all))) {
		struct stat st;

		if (fstatat(dirfd(all), d->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
			continue;
		snprintf(list[n].name, sizeof(list[n].name), "%s", d->d_name);
		list[n++].used = st.st_mtim;
	}
	qsort(list, n, sizeof(list[0]), by_use);
	for (unsigned i = KEPT - 1; i < n; i++)
		unlinkat(dirfd(all), list[i].name, 0);
	if (all)
		closedir(all);
}

/* ---- the files in it -----------------------------------------------------------------------------------------------
 */

void warm_uses(struct warm *w, const char *path)
{
	const size_t at = strlen(w->image.files);
	struct words words = { w->image.files, at, sizeof(w->image.files), false };

	say_file(&words, path);
	w->failed |= words.failed;
}

/* Are they as they were? */
static bool are_same(const char *files)
{
	char now[sizeof(((struct snap_image *)0)->files)] = "";
	struct words words = { now, 0, sizeof(now), false };

	for (const char *line = files; *line; line += strcspn(line, "\n") + 1) {
		char path[PATH_MAX];
		const char *at = line;

		for (unsigned i = 0; i < 3 && at; i++)
			at = strchr(at + 1, ' ');
		if (!at || !strchr(at, '\n'))
			return false;
		snprintf(path, sizeof(path), "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
		say_file(&words, path);
	}
	return !words.failed && !strcmp(files, now);
}

/* ---- from one run to the next --------------------------------------------------------------------------------------
 */

static int open_image(struct warm *w, struct err *e)
{
	static const struct timespec now[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };
	int fd = open(w->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct snap_image found;
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, "it cannot be opened");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !is_private(&st) || st.st_nlink != 1) {
		close(fd);
		return err_set(e, "it is not only this user's");
	}
	futimens(fd, now);
	w->snap = snap_image_open(fd, &found, e);
	if (!w->snap)
		return -1;
	if (strcmp(found.about, w->image.about))
		return err_set(e, "it is of another machine");
	if (!are_same(found.files)) {
		snap_close(w->snap);
		w->snap = NULL;
		unlink(w->path);
		return 0;
	}
	w->image = found;
	return 0;
}

void warm_find(struct warm *w, const struct run_options *o, const struct guest_kernel *k, const struct vm_config *vm)
{
	struct words words = { w->image.about, 0, sizeof(w->image.about), false };
	struct err e = { "" };

	if (o->cold || o->copy || !say_all(&words, o, k, vm))
		return;
	find_place(w);
	if (w->path[0] && open_image(w, &e))
		warm_drop(w, &e);
}

void warm_drop(struct warm *w, const struct err *why)
{
	log_msg(LOG_WARN, "the warm image '%.200s' is made anew: %s", w->path, why->text);
	snap_close(w->snap);
	w->snap = NULL;
	unlink(w->path);
}

void warm_prepare(struct warm *w)
{
	struct err e;

	if (!w->path[0] || w->failed)
		return;
	make_room(w);
	w->paths.snapshot = w->path;
	w->keeper = keeper_new(&w->paths, &e);
}

static u64 since(u64 began_ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec - began_ns;
}

void warm_save(struct warm *w, struct vm *vm)
{
	struct err e = { "" }, ignored;
	int fd = w->keeper ? keeper_open(w->keeper, &e) : -1, ret = -1;

	if (!w->keeper)
		return;
	w->image.made_ns = since(w->began_ns);
	if (fd >= 0) {
		pthread_mutex_unlock(&vm->lock);
		ret = snap_image_save(vm, fd, &w->image, &e);
		pthread_mutex_lock(&vm->lock);
		close(fd);
		if (keeper_commit(w->keeper, !ret, ret ? &ignored : &e) < 0)
			ret = -1;
	}
	if (ret)
		log_msg(LOG_INFO, "no warm image for later runs: %s", e.text);
	/* Before the command: nobody writes to it any more. */
	keeper_free(w->keeper);
	w->keeper = NULL;
}

void warm_end(struct warm *w)
{
	keeper_free(w->keeper);
	snap_close(w->snap);
}
