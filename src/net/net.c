/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"

#include "net/packet.h"

struct net *net_new(const struct net_spec *s, struct loop *loop, struct err *e)
{
	return s->kind == NET_USER ? net_user_new(s, loop, e) : net_tap_new(s, loop, e);
}

void net_free(struct net *n)
{
	if (n)
		n->ops->free(n);
}
