/* SPDX-License-Identifier: Apache-2.0
 * Drivers, file systems, network.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "agent/agent.h"

#define NEW "/newroot"

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	/* One that is there already, or has no hardware, is no loss; what is really missing shows soon. */
	if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		dprintf(2, "doppel's agent: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* The drivers, in the order of /modules/list. */
static void load_all(void)
{
	FILE *f = fopen("/modules/list", "re");
	char path[256];

	while (f && fgets(path, sizeof(path), f)) {
		path[strcspn(path, "\n")] = 0;
		load(path);
	}
	if (f)
		fclose(f);
}

void setup_early(void)
{
	mkdir("/dev", 0755);
	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	if (fcntl(0, F_GETFD) < 0) {
		int fd = open("/dev/console", O_RDWR);

		for (int i = fd < 0 ? 3 : fd; i < 3; i++)
			dup2(fd, i);
	}
	load_all();
}

void setup_host(const char *name)
{
	if (sethostname(name, strnlen(name, 64)))
		dprintf(2, "doppel's agent: the name '%s': %s\n", name, strerror(errno));
}

/* How long ago that was. */
static u64 since(const struct agent_time *t)
{
	u64 ticks = __rdtsc() - t->tsc;

	if (!t->hz || ticks > 10 * t->hz)
		return 0;
	return (u64)((unsigned __int128)ticks * 1000000000u / t->hz);
}

void setup_clock(const void *p, u32 len)
{
	struct agent_time t = { 0 };
	struct timespec now;
	u64 ns, began;
	unsigned tries = 10;

	memcpy(&t, p, MIN(len, sizeof(t)));
	do { /* again, if the host took the processor away in between */
		began = __rdtsc();
		ns = t.ns + since(&t);
		now = (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
		clock_settime(CLOCK_REALTIME, &now);
	} while (__rdtsc() - began > t.hz / 2000 && --tries);
}

void setup_entropy(const void *p, u32 len)
{
	struct {
		struct rand_pool_info info;
		u8 bytes[64];
	} pool = { .info = { .entropy_count = (int)MIN(len, 64u) * 8, .buf_size = (int)MIN(len, 64u) } };
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);

	memcpy(pool.info.buf, p, MIN(len, 64u));
	if (fd < 0)
		return;
	ioctl(fd, RNDADDENTROPY, &pool);
	ioctl(fd, RNDRESEEDCRNG);
	close(fd);
}

static void need(struct agent *a, const char *what, const char *type, const char *path, unsigned long flags,
		 const char *data)
{
	if (mount(what, path, type, flags, data))
		agent_fail(a, "cannot mount %s (%s) at %s: %s", what, type, path, strerror(errno));
}

/* /dev and its kin for the new root, before it takes the old one's place. */
static void furnish(struct agent *a)
{
	mkdir(NEW "/dev", 0755);
	mkdir(NEW "/proc", 0555);
	mkdir(NEW "/sys", 0555);
	if (mount("/dev", NEW "/dev", NULL, MS_MOVE, NULL) || mount("/proc", NEW "/proc", NULL, MS_MOVE, NULL) ||
	    mount("/sys", NEW "/sys", NULL, MS_MOVE, NULL))
		agent_fail(a, "the root has no /dev, /proc or /sys to mount on, and none can be made: %s",
			   strerror(errno));
	if (chdir(NEW) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		agent_fail(a, "cannot enter the root: %s", strerror(errno));
}

static void furnish_dev(struct agent *a)
{
	static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" },
						{ "/proc/self/fd/0", "/dev/stdin" },
						{ "/proc/self/fd/1", "/dev/stdout" },
						{ "/proc/self/fd/2", "/dev/stderr" },
						{ "pts/ptmx", "/dev/ptmx" } };

	unlink("/dev/ptmx");
	for (unsigned i = 0; i < ARRAY_SIZE(links); i++)
		if (symlink(links[i][0], links[i][1]) && errno != EEXIST)
			agent_fail(a, "%s: %s", links[i][1], strerror(errno));
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	need(a, "devpts", "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666");
	need(a, "tmpfs", "tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	/* The host's /run tells of daemons that do not run here. */
	mkdir("/run", 0755);
	mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
}

static void overlay(struct agent *a, const char *tag)
{
	mkdir("/lower", 0755);
	mkdir("/upper", 0755);
	need(a, tag, "virtiofs", "/lower", MS_RDONLY, NULL);
	need(a, "tmpfs", "tmpfs", "/upper", 0, "mode=0755,size=75%");
	mkdir("/upper/data", 0755);
	mkdir("/upper/work", 0755);
	need(a, "doppel", "overlay", NEW, 0,
	     "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work,redirect_dir=off,index=off,metacopy=off");
}

void setup_root(struct agent *a, const char *tag, const char *how)
{
	if (*tag) {
		mkdir(NEW, 0755);
		if (!strcmp(how, "overlay"))
			overlay(a, tag);
		else
			need(a, tag, "virtiofs", NEW, !strcmp(how, "ro") ? MS_RDONLY : 0, NULL);
		furnish(a);
	}
	furnish_dev(a);
}

static void make_directories(const char *path)
{
	char part[4096];

	for (const char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdir(part, 0755);
	}
	mkdir(path, 0755);
}

void setup_share(struct agent *a, const char *tag, const char *path, const char *how)
{
	make_directories(path);
	need(a, tag, "virtiofs", path, !strcmp(how, "ro") ? MS_RDONLY : 0, NULL);
}

/* ---- network ------------------------------------------------------------------------------------------------------
 */

static int set_address(int fd, unsigned long what, struct ifreq *r, const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	inet_pton(AF_INET, text, &in.sin_addr);
	memcpy(&r->ifr_addr, &in, sizeof(in));
	return ioctl(fd, what, r);
}

static int interface_up(int fd, const char *name)
{
	struct ifreq r = { .ifr_flags = IFF_UP | IFF_RUNNING };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	return ioctl(fd, SIOCSIFFLAGS, &r);
}

static int default_route(int fd, const char *gateway)
{
	struct rtentry rt = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct sockaddr_in in = { .sin_family = AF_INET };

	memcpy(&rt.rt_dst, &in, sizeof(in));
	memcpy(&rt.rt_genmask, &in, sizeof(in));
	inet_pton(AF_INET, gateway, &in.sin_addr);
	memcpy(&rt.rt_gateway, &in, sizeof(in));
	return ioctl(fd, SIOCADDRT, &rt);
}

static void name_server(const char *server)
{
	FILE *f;

	unlink("/etc/resolv.conf"); /* a link into /run, often */
	f = fopen("/etc/resolv.conf", "we");
	if (!f)
		return;
	fprintf(f, "nameserver %s\n", server);
	fclose(f);
}

/* No address: the loopback interface only; "dhcp" is left to the guest's own tools. */
void setup_net(struct agent *a, const char *const word[4])
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { .ifr_name = "eth0" };

	interface_up(fd, "lo");
	if (*word[0]) {
		if (set_address(fd, SIOCSIFADDR, &r, word[0]) || set_address(fd, SIOCSIFNETMASK, &r, word[1]) ||
		    interface_up(fd, "eth0") || default_route(fd, word[2]))
			agent_fail(a, "cannot set up the guest's network: %s", strerror(errno));
		name_server(word[3]);
	}
	close(fd);
}
