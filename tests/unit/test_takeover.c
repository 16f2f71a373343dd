/* SPDX-License-Identifier: Apache-2.0
 * A file server and a network process that do what they are sent (fs_request() and slirp_input() are this file's), and
 * a process sealed as the one of the vCPUs is, for each engine: they reach nothing beyond what they hold. The processes
 * are children of this one, which sees how they end.
 */
#include "hostile/attack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/signals.h"
#include "cli/sandbox.h"
#include "net/net.h"
#include "share/fs.h"
#include "share/share.h"

enum { SUCCEEDED = 7, FAILED = 8 }; /* a call that was made and told nothing ends so */

typedef struct Slirp Slirp; /* libslirp.h's */

u32 __wrap_fs_request(struct fs *f, u8 *buf, u32 len, u32 room);
void __wrap_slirp_input(Slirp *slirp, const uint8_t *p, int n);

static _Noreturn void carry_out(char which)
{
	/* 0 and up is what a call of the list gives that got through. */
	_exit(attack(which) < 0 ? FAILED : SUCCEEDED);
}

u32 __wrap_fs_request(struct fs *f, u8 *buf, u32 len, u32 room)
{
	(void)f;
	(void)len;
	(void)room;
	carry_out((char)buf[0]);
}

void __wrap_slirp_input(Slirp *slirp, const uint8_t *p, int n)
{
	(void)slirp;
	(void)n;
	carry_out((char)p[0]);
}

static int how_it_ended(void)
{
	int status = -1;

	for (int i = 0; i < 1000; i++) {
		if (waitpid(-1, &status, WNOHANG) > 0)
			return status;
		usleep(10000);
	}
	return -1;
}

/* Killed by its filter, or the call failed. */
static void assert_held(const char *whose, char which, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == FAILED)
		return;
	fail_msg("%s: attack %c: status %#x", whose, which, (unsigned)status);
}

/* The file server's view of the directory alone is made by root only, and not in a chroot (docs/share.md). */
static bool own_view_possible(const char *dir)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid)
		_exit(unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		      mount(dir, dir, NULL, MS_BIND, NULL) || chdir(dir) || syscall(SYS_pivot_root, ".", "."));
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static void test_file_server(void **state)
{
	char dir[] = "/tmp/doppel-takeover-XXXXXX";
	struct share_spec spec;
	struct err e = { "" };

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (const char *p = ATTACKS; *p; p++) {
		struct loop *l;
		struct share *s;
		int slot;

		if (*p == 'M' && !own_view_possible(dir))
			continue;
		l = loop_new(&e);
		assert_int_equal(share_parse(&spec, dir, &e), 0);
		s = share_new(&spec, l, &e);
		assert_non_null(s);
		slot = share_take(s);
		*(char *)share_buffer(s, (unsigned)slot) = *p;
		share_submit(s, (unsigned)slot, 1, 4096);
		assert_held("file server", *p, how_it_ended());
		share_free(s);
		loop_free(l);
	}
	rmdir(dir);
}

/* What it may do as the user who runs doppel is the network: docs/network.md. */
static void test_network(void **state)
{
	struct net_spec spec;
	struct err e = { "" };

	(void)state;
	for (const char *p = ATTACKS; *p; p++) {
		u8 bytes[64] = { (u8)*p };
		const struct net_frame f = { .bytes = bytes, .len = sizeof(bytes) };
		struct loop *l;
		struct net *n;

		if (*p == 's' || *p == 'M')
			continue;
		l = loop_new(&e);
		assert_int_equal(net_parse(&spec, "user", 0, &e), 0);
		n = net_new(&spec, l, &e);
		assert_non_null(n);
		assert_true(net_send(n, &f));
		assert_held("network", *p, how_it_ended());
		net_free(n);
		loop_free(l);
	}
}

static void be_sealed(const struct engine_ops *engine, char which)
{
	struct vm vm = { .tasks = -1, .cfg.engine = engine };
	struct sandbox s;
	struct err e;

	signals_init();
	sandbox_init(&s, &vm);
	sandbox_enter(&s);
	if (sandbox_seal(&s, &e))
		_exit(SUCCEEDED);
	close(2);
	carry_out(which);
}

static void test_sealed(void **state)
{
	const struct engine_ops *engines[] = { &engine_translate, &engine_interp, &engine_direct, &engine_kvm };

	(void)state;
	if (!sandbox_possible())
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++)
		for (const char *p = ATTACKS; *p; p++) {
			pid_t pid = fork();
			int status;

			if (!pid)
				be_sealed(engines[i], *p);
			assert_int_equal(waitpid(pid, &status, 0), pid);
			if (WIFEXITED(status) && WEXITSTATUS(status) == 125) /* signals_init()'s end */
				continue;
			assert_held(engines[i]->name, *p, status);
		}
}

/* The engine kvm works on the machine that it has, and makes no other: what it may not ends the process
 * (signals_init()). */
static void assert_ioctl(unsigned long request, int ends_with)
{
	struct vm vm = { .tasks = -1, .cfg.engine = &engine_kvm };
	struct sandbox s = { .landlock = false };
	struct err e;
	pid_t pid = fork();
	int status;

	if (!pid) {
		signals_init();
		sandbox_init(&s, &vm);
		if (sandbox_seal(&s, &e))
			_exit(SUCCEEDED);
		close(2);
		_exit(ioctl(-1, request, 0) && errno == EBADF ? FAILED : SUCCEEDED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ends_with);
}

static void test_kvm(void **state)
{
	(void)state;
	if (!sandbox_possible())
		return;
	assert_ioctl(KVM_RUN, FAILED);
	assert_ioctl(KVM_SET_USER_MEMORY_REGION, FAILED);
	assert_ioctl(KVM_CREATE_VM, 125);
	assert_ioctl(KVM_CREATE_VCPU, 125);
	assert_ioctl(KVM_CREATE_DEVICE, 125);
	assert_ioctl(KVM_X86_SET_MSR_FILTER, 125);
	assert_ioctl(KVM_SET_CPUID2, 125);
	assert_ioctl(KVM_SET_IDENTITY_MAP_ADDR, 125);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_server),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_kvm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
