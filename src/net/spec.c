/* SPDX-License-Identifier: Apache-2.0
 * The words of --net and -p.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/option.h"
#include "net/net.h"

struct word {
	const char *p;
	size_t len;
};

static bool is(const struct word *w, const char *text)
{
	return w->len == strlen(text) && !memcmp(w->p, text, w->len);
}

/* What stands behind NAME=, or NULL. */
static const char *value(const struct word *w, const char *name, char *buf, size_t size)
{
	size_t n = strlen(name);

	if (w->len <= n || memcmp(w->p, name, n) || w->len - n >= size)
		return NULL;
	memcpy(buf, w->p + n, w->len - n);
	buf[w->len - n] = 0;
	return buf;
}

static bool parse_port(const char *text, u16 *port)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*port = (u16)n;
	return *text >= '0' && *text <= '9' && !*end && n >= 1 && n <= 65535;
}

static bool parse_numeric(const char *text, struct net_address *a)
{
	memset(a, 0, sizeof(*a));
	a->family = 4;
	if (inet_pton(AF_INET, text, a->bytes) == 1)
		return true;
	a->family = 6;
	return inet_pton(AF_INET6, text, a->bytes) == 1;
}

/* Splits "HOST:REST" or "[V6]:REST"; NULL if there is no such colon. */
static char *split_host(char *text, char **host)
{
	char *colon = *text == '[' ? strstr(text, "]:") : strrchr(text, ':');

	*host = text;
	if (!colon)
		return NULL;
	*colon = 0;
	if (*text != '[')
		return colon + 1;
	*host = text + 1;
	return colon + 2;
}

/* ---- allow=HOST:PORT ----------------------------------------------------------------------------------------------
 */

static int add_allowed(struct net_spec *s, const struct net_address *a, u16 port, const char *text, struct err *e)
{
	if (s->n_allowed == NET_ALLOWED_MAX)
		return err_set(e, "--net: allow=%.100s is one too many: %d addresses can be allowed", text,
			       NET_ALLOWED_MAX);
	s->allowed[s->n_allowed++] = (struct net_allowed){ *a, port };
	return 0;
}

/* All addresses that the name has now. */
static int resolve(struct net_spec *s, const char *host, u16 port, const char *text, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *i;
	int ret = getaddrinfo(host, NULL, &hints, &list);

	if (ret)
		return err_set(e, "--net: allow=%.100s: the name cannot be resolved: %s", text, gai_strerror(ret));
	for (i = list, ret = 0; i && !ret; i = i->ai_next) {
		struct net_address a = { .family = i->ai_family == AF_INET ? 4 : 6 };

		if (i->ai_family == AF_INET)
			memcpy(a.bytes, &((struct sockaddr_in *)(void *)i->ai_addr)->sin_addr, 4);
		else
			memcpy(a.bytes, &((struct sockaddr_in6 *)(void *)i->ai_addr)->sin6_addr, 16);
		ret = add_allowed(s, &a, port, text, e);
	}
	freeaddrinfo(list);
	return ret;
}

static int parse_allow(struct net_spec *s, const char *text, struct err *e)
{
	char buf[300], *host, *port;
	struct net_address a;
	u16 n = 0;

	snprintf(buf, sizeof(buf), "%s", text);
	port = split_host(buf, &host);
	if (!port || !*host || (strcmp(port, "*") && !parse_port(port, &n)))
		return err_set(e,
			       "--net does not take 'allow=%.100s': give allow=HOST:PORT, with * for any port and "
			       "brackets around an IPv6 address",
			       text);
	return parse_numeric(host, &a) ? add_allowed(s, &a, n, text, e) : resolve(s, host, n, text, e);
}

/* ---- --net ---------------------------------------------------------------------------------------------------------
 */

static int parse_mac(struct net_spec *s, const char *text, struct err *e)
{
	unsigned b[6];
	int end = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", b, b + 1, b + 2, b + 3, b + 4, b + 5, &end) != 6 || text[end] ||
	    (b[0] & 1) || strlen(text) != 17)
		return err_set(e,
			       "--net does not take 'mac=%.60s': give six pairs of hexadecimal digits with colons, the "
			       "first one even",
			       text);
	for (unsigned i = 0; i < 6; i++)
		s->mac[i] = (u8)b[i];
	return 0;
}

static int parse_mtu(struct net_spec *s, const char *text, struct err *e)
{
	u64 mtu;

	if (option_u64("net …,mtu", text, NET_MTU_MIN, NET_MTU_MAX, &mtu, e))
		return -1;
	s->mtu = (u16)mtu;
	return 0;
}

static int parse_word(struct net_spec *s, const struct word *w, const char *text, struct err *e)
{
	char buf[512];
	const char *v;

	if ((v = value(w, "mac=", buf, sizeof(buf))))
		return parse_mac(s, v, e);
	if ((v = value(w, "mtu=", buf, sizeof(buf))))
		return parse_mtu(s, v, e);
	if ((v = value(w, "pcap=", s->pcap, sizeof(s->pcap))))
		return 0;
	if (s->kind == NET_USER && (v = value(w, "allow=", buf, 280)))
		return parse_allow(s, v, e);
	if (s->kind == NET_USER && is(w, "host-loopback")) {
		s->host_loopback = true;
		return 0;
	}
	return err_set(e, "--net does not know '%.*s' in '%.100s': see 'doppel help boot'", (int)MIN(w->len, 60u), w->p,
		       text);
}

static int parse_kind(struct net_spec *s, const struct word *w, const char *text, struct err *e)
{
	if (is(w, "none"))
		s->kind = NET_NONE;
	else if (is(w, "user"))
		s->kind = NET_USER;
	else if (value(w, "tap:", s->interface, sizeof(s->interface)))
		s->kind = NET_TAP;
	else
		return err_set(e, "--net does not take '%.100s': give none, user or tap:IF", text);
	return s->kind == NET_NONE && w->p[w->len]
		   ? err_set(e, "--net does not take '%.100s': nothing goes behind none", text)
		   : 0;
}

/* Locally administered, and the same for the same card of the same network. */
static void make_mac(struct net_spec *s, unsigned index)
{
	u32 hash = 2166136261u; /* FNV-1a */

	for (const char *p = s->interface; *p; p++)
		hash = (hash ^ (u8)*p) * 16777619u;
	memcpy(s->mac, (u8[]){ 0x52, 0x54, 0, (u8)(hash >> 16), (u8)(hash >> 8), (u8)(hash + index) }, 6);
}

int net_parse(struct net_spec *s, const char *text, unsigned index, struct err *e)
{
	struct word w = { text, strcspn(text, ",") };

	memset(s, 0, sizeof(*s));
	if (parse_kind(s, &w, text, e))
		return -1;
	make_mac(s, index);
	while (w.p[w.len]) {
		w.p += w.len + 1;
		w.len = strcspn(w.p, ",");
		if (parse_word(s, &w, text, e))
			return -1;
	}
	return 0;
}

/* ---- -p ------------------------------------------------------------------------------------------------------------
 */

/* "HOST:GUEST" with, or without, an address in front. */
static bool parse_ports(char *text, struct net_forward *f)
{
	char *guest = strrchr(text, ':'), *at, *host;

	if (!guest)
		return false;
	*guest++ = 0;
	host = split_host(text, &at);
	if (!host)
		return parse_port(at, &f->host) && parse_port(guest, &f->guest);
	return parse_numeric(at, &f->at) && f->at.family == 4 && parse_port(host, &f->host) &&
	       parse_port(guest, &f->guest);
}

int net_parse_forward(struct net_spec *s, const char *text, struct err *e)
{
	struct net_forward f = { .at = { 4, { 127, 0, 0, 1 } } };
	char buf[128], *slash;

	snprintf(buf, sizeof(buf), "%s", text);
	slash = strchr(buf, '/');
	f.udp = slash && !strcmp(slash, "/udp");
	if (slash && (f.udp || !strcmp(slash, "/tcp")))
		*slash = 0;
	if (strlen(text) >= sizeof(buf) || !parse_ports(buf, &f))
		return err_set(e,
			       "-p does not take '%.100s': give [ADDRESS:]HOST:GUEST[/udp], an IPv4 address and two "
			       "port numbers",
			       text);
	if (s->n_forwards == NET_FORWARDS_MAX)
		return err_set(e, "-p '%.100s' is one too many: %d ports can be forwarded", text, NET_FORWARDS_MAX);
	s->forward[s->n_forwards++] = f;
	return 0;
}
