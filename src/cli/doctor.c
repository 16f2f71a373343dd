/* SPDX-License-Identifier: Apache-2.0
 * doppel doctor: what this host offers. Each line says what was tried and what came of it.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cpu/cpuid.h"
#include "engine/arbiter.h"

void doctor_help(FILE *f)
{
	fputs("doppel doctor\n\nTells what this host offers for running machines: what was tried, and why not.\n", f);
}

static void line(const char *what, bool ok, const char *tried)
{
	printf("%-12s %-4s %s\n", what, ok ? "ok" : "no", tried);
}

static void tell_host(void)
{
	char text[400];
	struct utsname u;

	uname(&u);
	snprintf(text, sizeof(text), "%s %s on %s, %ld CPUs online", u.sysname, u.release, u.machine,
		 sysconf(_SC_NPROCESSORS_ONLN));
	line("host", true, text);
}

static void tell_memory(void)
{
	u64 page = (u64)sysconf(_SC_PAGESIZE), all = (u64)sysconf(_SC_PHYS_PAGES) * page;
	u64 available = (u64)sysconf(_SC_AVPHYS_PAGES) * page;
	int fd = memfd_create("doppel-doctor", MFD_CLOEXEC);
	bool ok = fd >= 0 && !ftruncate(fd, 1 << 20);
	char text[400];

	snprintf(text, sizeof(text), "%llu MiB of RAM, %llu MiB free; a memfd for guest memory: %s",
		 (unsigned long long)(all >> 20), (unsigned long long)(available >> 20), ok ? "made" : strerror(errno));
	line("memory", ok, text);
	if (fd >= 0)
		close(fd);
}

static void tell_limits(void)
{
	struct rlimit as, files, procs;
	char text[400];

	getrlimit(RLIMIT_AS, &as);
	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_NPROC, &procs);
	snprintf(text, sizeof(text), "address space %s, %llu open files, %lld processes",
		 as.rlim_cur == RLIM_INFINITY ? "unlimited" : "limited", (unsigned long long)files.rlim_cur,
		 procs.rlim_cur == RLIM_INFINITY ? -1ll : (long long)procs.rlim_cur);
	line("limits", as.rlim_cur == RLIM_INFINITY, text);
}

/* Generated code and the stubs of data instructions need memory that is written and then run. */
static void tell_executable_memory(void)
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
	line("code", ok, text);
	if (p != MAP_FAILED)
		munmap(p, 4096);
}

static void tell_models(void)
{
	static const char *const names[] = { "x86-64-v2", "x86-64-v3", "x86-64-v4", "host" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct err e = { "" };
		struct cpuid_model *m = cpuid_model_new(names[i], 1, &e);
		char text[500];

		snprintf(text, sizeof(text), "--cpu %s: %s", names[i],
			 m ? "this host executes all that it promises" : e.text);
		line("cpu model", m != NULL, text);
		cpuid_model_free(m);
	}
}

static void tell_engines(void)
{
	for (unsigned i = 0; arbiter_engine(i); i++) {
		const struct engine_ops *ops = arbiter_engine(i);
		struct err e = { "" };
		bool ok = !ops->probe(&e);
		char text[500];

		snprintf(text, sizeof(text), "--engine %s: %s", ops->name, ok ? "its probe ran" : e.text);
		line("engine", ok, text);
	}
}

int doctor_main(int argc, char **argv)
{
	struct err e;

	if (argc > 0 && !strcmp(argv[0], "--help")) {
		doctor_help(stdout);
		return 0;
	}
	if (argc > 0) {
		err_set(&e, "'doppel doctor' takes no '%.100s'", argv[0]);
		return cli_fail(&e);
	}
	tell_host();
	tell_memory();
	tell_limits();
	tell_executable_memory();
	tell_engines();
	tell_models();
	return 0;
}
