/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names of connections that were met in some state. This takes several looks at a socket;
 * as a global function it is verified once.
 */
#ifndef TRACER_CONN_NAME_H
#define TRACER_CONN_NAME_H

/* 0: it is not known. No connection has two initial sequence numbers of 0, or hardly any. */
__noinline __u64 id_met(__u64 socket, int state)
{
	__u64 id = 0;

	name_met((struct sock *)socket, state, &id);
	return id;
}

static __always_inline void name_as_met(struct conn *c, struct sock *sk, int state)
{
	c->id = id_met((__u64)sk, state);
	c->naming = c->id ? named : unnamed;
}

#endif
