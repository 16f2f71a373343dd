/* SPDX-License-Identifier: Apache-2.0 */
#include "net/packet.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "net/pcap.h"

static struct packet *of(struct net *n)
{
	return container_of(n, struct packet, net);
}

static void on_event(void *opaque, int fd, short revents);

static void watch(struct packet *p, short events)
{
	if (p->fd < 0 || events == p->watched)
		return;
	p->watched = events;
	loop_watch(p->loop, p->fd, events, on_event, p);
}

static void rewatch(struct packet *p)
{
	watch(p, (short)((p->len ? 0 : POLLIN) | (p->blocked ? POLLOUT : 0)));
}

/* The card stays, its cable is out. */
static void gone(struct packet *p, const char *why)
{
	if (p->fd < 0)
		return;
	log_msg(LOG_ERROR, "%s: the guest's network is cut off", why);
	loop_unwatch(p->loop, p->fd);
	close(p->fd);
	p->fd = -1;
	p->net.up = false;
	if (p->net.user.link)
		p->net.user.link(p->net.user.opaque, false);
}

static void receive(struct packet *p)
{
	ssize_t n;

	if (p->fd < 0)
		return;
	n = read(p->fd, p->buf, sizeof(p->buf));
	if (n > (ssize_t)sizeof(struct net_offload)) {
		p->len = (u32)n;
		pcap_frame(p->pcap, p->buf + sizeof(struct net_offload), p->len - (u32)sizeof(struct net_offload));
	} else if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
		gone(p, p->what);
	}
}

bool packet_peek(struct net *n, struct net_frame *f)
{
	struct packet *p = of(n);

	if (!p->len)
		receive(p);
	rewatch(p);
	if (!p->len)
		return false;
	memcpy(&f->offload, p->buf, sizeof(f->offload));
	f->bytes = p->buf + sizeof(f->offload);
	f->len = p->len - (u32)sizeof(f->offload);
	return true;
}

void packet_take(struct net *n)
{
	of(n)->len = 0;
}

bool packet_send(struct net *n, const struct net_frame *f)
{
	struct packet *p = of(n);
	struct net_offload o = f->offload;
	struct iovec v[2] = { { &o, sizeof(o) }, { (void *)(uintptr_t)f->bytes, f->len } };

	if (p->fd < 0)
		return true;
	if (writev(p->fd, v, 2) < 0) {
		/* A packet that the other side will not have is lost, as on any wire. */
		if (errno == EAGAIN || errno == ENOBUFS) {
			p->blocked = true;
			rewatch(p);
			return false;
		}
		if (errno == EPIPE || errno == ECONNRESET)
			gone(p, p->what);
		return true;
	}
	pcap_frame(p->pcap, f->bytes, f->len);
	return true;
}

static void on_event(void *opaque, int fd, short revents)
{
	struct packet *p = opaque;

	(void)fd;
	if ((revents & POLLOUT) && p->blocked) {
		p->blocked = false;
		p->net.user.drained(p->net.user.opaque);
	}
	if ((revents & ~POLLOUT) && !p->len)
		receive(p);
	if (p->len)
		p->net.user.arrived(p->net.user.opaque);
	rewatch(p);
}

int packet_init(struct packet *p, int fd, const struct net_spec *s, struct loop *loop, struct err *e)
{
	p->fd = fd;
	p->loop = loop;
	p->net.up = true;
	if (s->pcap[0] && !(p->pcap = pcap_new(s->pcap, e)))
		return -1;
	p->watched = POLLIN;
	return loop_watch(loop, fd, POLLIN, on_event, p) ? err_set(e, "out of memory") : 0;
}

void packet_deinit(struct packet *p)
{
	pcap_free(p->pcap);
	if (p->fd < 0)
		return;
	loop_unwatch(p->loop, p->fd);
	close(p->fd);
	p->fd = -1;
}

_Static_assert(sizeof(struct net_offload) == 10, "as struct virtio_net_hdr");
