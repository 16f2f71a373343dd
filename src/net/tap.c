/* SPDX-License-Identifier: Apache-2.0
 * A tap interface of the host, which somebody with the right to do so has made (`ip tuntap add IF mode tap user NAME`).
 * The host's kernel takes and gives unfinished frames (Documentation/networking/tuntap.rst).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/packet.h"

static void tap_accepts(struct net *n, unsigned what)
{
	unsigned long flags = 0;

	/* The kernel cuts only what it may leave without checksums. */
	if (what & NET_ACCEPTS_CSUM) {
		flags |= TUN_F_CSUM;
		flags |= what & NET_ACCEPTS_TSO4 ? TUN_F_TSO4 : 0;
		flags |= what & NET_ACCEPTS_TSO6 ? TUN_F_TSO6 : 0;
	}
	ioctl(container_of(n, struct packet, net)->fd, TUNSETOFFLOAD, flags);
}

static void tap_free(struct net *n)
{
	struct packet *p = container_of(n, struct packet, net);

	packet_deinit(p);
	free(p);
}

static const struct net_ops tap_ops = {
	.send = packet_send, .peek = packet_peek, .take = packet_take, .accepts = tap_accepts, .free = tap_free
};

static int open_tap(const char *name, struct err *e)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), head = sizeof(struct net_offload);

	if (fd < 0)
		return err_errno(e, "--net tap:%s: /dev/net/tun cannot be opened", name);
	memcpy(r.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	if (!ioctl(fd, TUNSETIFF, &r) && !ioctl(fd, TUNSETVNETHDRSZ, &head))
		return fd;
	err_errno(e, "--net tap:%s cannot be used (ip tuntap add %s mode tap user NAME makes one)", name, name);
	close(fd);
	return -1;
}

/* The interface's own; 1500 where it does not say. */
static u16 mtu_of(const char *name)
{
	struct ifreq r = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	memcpy(r.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	ok = s >= 0 && !ioctl(s, SIOCGIFMTU, &r) && r.ifr_mtu >= (int)NET_MTU_MIN && r.ifr_mtu <= (int)NET_MTU_MAX;
	if (s >= 0)
		close(s);
	return ok ? (u16)r.ifr_mtu : 1500;
}

struct net *net_tap_new(const struct net_spec *s, struct loop *loop, struct err *e)
{
	int fd = open_tap(s->interface, e);
	struct packet *p = fd >= 0 ? calloc(1, sizeof(*p)) : NULL;

	if (!p) {
		if (fd >= 0) {
			err_set(e, "out of memory");
			close(fd);
		}
		return NULL;
	}
	p->net.ops = &tap_ops;
	p->net.mtu = s->mtu ? s->mtu : mtu_of(s->interface);
	p->net.finishes = true;
	p->what = "the tap interface is gone";
	if (!packet_init(p, fd, s, loop, e))
		return &p->net;
	tap_free(&p->net);
	return NULL;
}
