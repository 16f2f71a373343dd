/* SPDX-License-Identifier: Apache-2.0
 * doppel doctor: what this host offers. Each line says what was tried and what came of it.
 */
#include <errno.h>
#include <jansson.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/run.h"
#include "cli/sandbox.h"
#include "cpu/cpuid.h"
#include "engine/arbiter.h"

void doctor_help(FILE *f)
{
	fputs("doppel doctor [--json]\n\nTells what this host offers for running machines: what was tried, and why "
	      "not. The exit status\n"
	      "is 0 if machines can run here, 1 if not.\n",
	      f);
}

struct report {
	json_t *rows; /* NULL: text */
	bool unable;  /* something is missing without which no machine runs */
};

static void line(struct report *r, const char *what, bool ok, const char *tried)
{
	if (r->rows)
		json_array_append_new(r->rows,
				      json_pack("{s:s, s:b, s:s}", "what", what, "ok", (int)ok, "tried", tried));
	else
		printf("%-12s %-4s %s\n", what, ok ? "ok" : "no", tried);
}

static void tell_host(struct report *r)
{
	char text[400];
	struct utsname u;

	uname(&u);
	snprintf(text, sizeof(text), "%s %s on %s, %ld CPUs online", u.sysname, u.release, u.machine,
		 sysconf(_SC_NPROCESSORS_ONLN));
	line(r, "host", true, text);
}

static void tell_memory(struct report *r)
{
	u64 page = (u64)sysconf(_SC_PAGESIZE), all = (u64)sysconf(_SC_PHYS_PAGES) * page;
	u64 available = (u64)sysconf(_SC_AVPHYS_PAGES) * page;
	int fd = memfd_create("doppel-doctor", MFD_CLOEXEC);
	bool ok = fd >= 0 && !ftruncate(fd, 1 << 20);
	char text[400];

	snprintf(text, sizeof(text), "%llu MiB of RAM, %llu MiB free; a memfd for guest memory: %s",
		 (unsigned long long)(all >> 20), (unsigned long long)(available >> 20), ok ? "made" : strerror(errno));
	line(r, "memory", ok, text);
	r->unable |= !ok;
	if (fd >= 0)
		close(fd);
}

static void tell_limits(struct report *r)
{
	struct rlimit as, files, procs;
	char text[400];

	getrlimit(RLIMIT_AS, &as);
	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_NPROC, &procs);
	snprintf(text, sizeof(text), "address space %s, %llu open files, %lld processes",
		 as.rlim_cur == RLIM_INFINITY ? "unlimited" : "limited", (unsigned long long)files.rlim_cur,
		 procs.rlim_cur == RLIM_INFINITY ? -1ll : (long long)procs.rlim_cur);
	line(r, "limits", as.rlim_cur == RLIM_INFINITY, text);
}

/* Generated code and the stubs of data instructions need memory that is written and then run. */
static void tell_executable_memory(struct report *r)
{
	u8 *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok = p != MAP_FAILED;
	char text[400];

	if (ok)
		*p = 0xc3;
	ok = ok && !mprotect(p, 4096, PROT_READ | PROT_EXEC);
	if (ok)
		((void (*)(void))(uintptr_t)p)();
	snprintf(text, sizeof(text), "made a page, wrote code to it, made it executable: %s",
		 ok ? "it ran" : strerror(errno));
	line(r, "code", ok, text);
	r->unable |= !ok;
	if (p != MAP_FAILED)
		munmap(p, 4096);
}

static void tell_models(struct report *r)
{
	static const char *const names[] = { "x86-64-v2", "x86-64-v3", "x86-64-v4", "host" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct err e = { "" };
		struct cpuid_model *m = cpuid_model_new(names[i], 1, &e);
		char text[sizeof(e.text) + 32];

		snprintf(text, sizeof(text), "--cpu %s: %s", names[i],
			 m ? "this host executes all that it promises" : e.text);
		line(r, "cpu model", m != NULL, text);
		cpuid_model_free(m);
	}
}

static void tell_engines(struct report *r)
{
	bool any = false;

	for (unsigned i = 0; arbiter_engine(i); i++) {
		const struct engine_ops *ops = arbiter_engine(i);
		struct err e = { "" };
		bool ok = !ops->probe(&e);
		char text[sizeof(e.text) + 32];

		snprintf(text, sizeof(text), "--engine %s: %s", ops->name, ok ? "its probe ran" : e.text);
		line(r, "engine", ok, text);
		any |= ok;
	}
	r->unable |= !any;
}

/* What `doppel run` starts. */
static void tell_kernel(struct report *r)
{
	struct guest_kernel *k = calloc(1, sizeof(*k));
	struct err e = { "" };
	char text[500];
	bool ok = k && !kernel_find(k, NULL, NULL, &e);

	snprintf(text, sizeof(text), "doppel run: %.400s", ok ? k->image : e.text);
	line(r, "kernel", ok, text);
	free(k);
}

/* Whether a process of its own gets namespaces of its own. */
static bool can_unshare(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(unshare(CLONE_NEWUSER | CLONE_NEWNET) ? 1 : 0);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && !status;
}

/* A process does to itself what that of a machine does, and tells what it got. */
static _Noreturn void try_sandbox(int fd)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct sandbox s = { 0 };
	struct err e;
	char text[200];

	if (!vm)
		_exit(1);
	vm->cfg.engine = &engine_interp;
	vm->tasks = -1;
	sandbox_init(&s, vm);
	sandbox_enter(&s);
	sandbox_text(&s, text, sizeof(text));
	if (sandbox_seal(&s, &e))
		snprintf(text, sizeof(text), "%.190s", e.text);
	_exit(write(fd, text, strlen(text)) < 0 || prctl(PR_SET_NAME, "sealed"));
}

static void tell_in_force(struct report *r)
{
	char got[200] = "", text[300];
	int fds[2], status = -1;
	pid_t pid;

	if (!sandbox_possible()) {
		line(r, "sandbox", false, "this build (sanitizers, coverage) runs machines without it");
		return;
	}
	if (pipe(fds))
		return;
	fflush(stdout);
	pid = fork();
	if (!pid)
		try_sandbox(fds[1]);
	close(fds[1]);
	if (pid < 0 || read(fds[0], got, sizeof(got) - 1) <= 0)
		snprintf(got, sizeof(got), "nothing could be tried");
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	snprintf(text, sizeof(text), "in force around CPUs and devices of boot and run: %s", got);
	line(r, "sandbox", pid > 0 && !status, text);
}

static void tell_sandbox(struct report *r)
{
	long landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	bool seccomp = prctl(PR_GET_SECCOMP) >= 0, namespaces = can_unshare();
	char text[200];

	line(r, "sandbox", seccomp,
	     seccomp ? "seccomp: filters of system calls can be set" : "seccomp: the kernel was built without it");
	if (landlock > 0)
		snprintf(text, sizeof(text), "Landlock: version %ld limits which files a process reaches", landlock);
	else
		snprintf(text, sizeof(text),
			 "Landlock: the kernel has it not, or not switched on (lsm=landlock,...): %s", strerror(errno));
	line(r, "sandbox", landlock > 0, text);
	line(r, "sandbox", namespaces,
	     namespaces ? "a user and a network namespace were made"
			: "no user namespace can be made: look at user.max_user_namespaces");
	tell_in_force(r);
}

static void tell_tools(struct report *r)
{
	static const char *const tools[][2] = { { "tar", "doppel run --rootfs TAR" },
						{ "apt-get", "doppel fetch" },
						{ "dpkg-deb", "doppel fetch" } };

	for (unsigned i = 0; i < ARRAY_SIZE(tools); i++) {
		char path[PATH_MAX], text[100];
		bool ok = false;

		for (unsigned j = 0; j < 4 && !ok; j++) {
			static const char *const dirs[] = { "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin" };

			snprintf(path, sizeof(path), "%s/%s", dirs[j], tools[i][0]);
			ok = !access(path, X_OK);
		}
		snprintf(text, sizeof(text), "%s, for '%s'%s", tools[i][0], tools[i][1],
			 ok ? "" : ": is not installed");
		line(r, "tool", ok, text);
	}
}

int doctor_main(int argc, char **argv)
{
	struct report r = { 0 };
	struct err e;

	if (argc > 0 && !strcmp(argv[0], "--help")) {
		doctor_help(stdout);
		return 0;
	}
	if (argc > 0 && !strcmp(argv[0], "--json"))
		r.rows = json_array();
	if (argc > 1 || (argc == 1 && !r.rows)) {
		err_set(&e, "'doppel doctor' takes no '%.100s', but --json", argv[argc - 1]);
		return cli_fail(&e);
	}
	tell_host(&r);
	tell_memory(&r);
	tell_limits(&r);
	tell_executable_memory(&r);
	tell_engines(&r);
	tell_models(&r);
	tell_kernel(&r);
	tell_sandbox(&r);
	tell_tools(&r);
	if (r.rows) {
		json_dumpf(r.rows, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(r.rows);
	}
	return r.unable ? 1 : 0;
}
