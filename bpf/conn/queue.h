/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a connection waited to be accepted. The kernel clones it from the listener as it was
 * when the handshake ended, before it was queued: the child has the listener's queue of
 * that moment. Of MPTCP this is the first subflow, whose listener is one, too.
 */
#ifndef TRACER_CONN_QUEUE_H
#define TRACER_CONN_QUEUE_H

/*
 * Since it was established, ns: until the first read rcvq_space.time is that. 0 if that
 * cannot be. Of fast open it is since the SYN came, of TCP_DEFER_ACCEPT since data did.
 */
__noinline __u64 since_established(__u64 socket)
{
	struct tcp_sock *tp = (void *)socket;
	__u64 now = bpf_ktime_get_ns(), us = LOAD(tp, rcvq_space.time);

	return us && us * 1000 < now ? now - us * 1000 : 0;
}

static __always_inline void fill_queue(struct conn_record *rec, struct sock *sk)
{
	rec->queued = since_established((__u64)sk);
	rec->backlog = LOAD(sk, sk_ack_backlog);
	rec->backlog_max = LOAD(sk, sk_max_ack_backlog);
}

#endif
