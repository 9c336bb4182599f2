/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a socket tells at its end: for how long no byte had moved, what limited sending,
 * the shortest round trip, what was never read.
 *
 * Ticks are those of the kernel's timer, 4 ms or so; user space knows how long one is.
 * What several paths lead to is a global function, which is verified once.
 */
#ifndef TRACER_CONN_MEASURE_H
#define TRACER_CONN_MEASURE_H

/* Ticks since payload was sent, sent again or received; both times begin at ESTABLISHED. */
__noinline __u32 idle_ticks(__u64 socket)
{
	struct sock *sk = (void *)socket;
	__u32 sent = LOAD((struct tcp_sock *)sk, lsndtime);
	__u32 received = LOAD((struct inet_connection_sock *)sk, icsk_ack.lrcvtime);
	__u32 now = bpf_jiffies64();
	__u32 last = (__s32)(sent - received) > 0 ? sent : received;

	return (__s32)(now - last) > 0 ? now - last : 0;
}

/*
 * Leaving ESTABLISHED is the first step to the end, whoever takes it. Later the time is
 * that of the shutdown, too.
 */
static __always_inline void note_idle(struct conn *c, struct sock *sk, int from)
{
	if (from != TCP_ESTABLISHED)
		return;
	c->idle = idle_ticks((__u64)sk);
	c->idle_known = 1;
}

/* Bytes that have come and that no process has read, without the FIN. */
__noinline __u32 unread_bytes(__u64 socket)
{
	struct sock *sk = (void *)socket;
	struct tcp_sock *tp = (void *)sk;
	__u32 copied = LOAD(tp, copied_seq);
	bool fin = fin_has_come(sk);
	__u32 ahead = LOAD(tp, rcv_nxt) - copied;

	return ahead && fin ? ahead - 1 : ahead;
}

/*
 * What sending has waited for (chrono_stat), and for what it was waiting when it ended:
 * that is not in the sums yet, user space adds it.
 */
static __always_inline void fill_measures(struct conn_record *rec, struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;

	rec->min_rtt_us = LOAD(tp, rtt_min.s[0].v);
	rec->busy = LOAD(tp, chrono_stat[0]);
	rec->rwnd_limited = LOAD(tp, chrono_stat[1]);
	rec->sndbuf_limited = LOAD(tp, chrono_stat[2]);
	rec->limit = BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type);
	rec->limited = (__u32)bpf_jiffies64() - LOAD(tp, chrono_start);
}

#endif
