/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The life of a socket: how it begins, or is met; whose it is; how it ends.
 */
#ifndef TRACER_HTTP_LIFE_H
#define TRACER_HTTP_LIFE_H

#include "frames.h"

/* Notes whose socket it is from now on. */
static __noinline int take_over(struct socket_state *st, __u32 tgid)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct http_owner *owner = &st->intro.owner;

	st->wanted = wanted(tgid);
	st->introduced = 0;
	owner->pid = tgid;
	owner->uid = bpf_get_current_uid_gid();
	owner->cgroup = current_cgroup(task);
	fill_comm(owner->comm, task);
	return 0;
}

/* Room for an entry that is to be inserted: the stack has too little. */
static __always_inline struct socket_state *draft(__u32 use)
{
	struct scratch *s = scratch(scratch_index(use));

	if (!s)
		return NULL;
	__builtin_memset(&s->draft, 0, sizeof(s->draft));
	return &s->draft;
}

/* Inserts the state of a socket, and returns it unless it is not one of TCP. */
static __noinline struct socket_state *insert(struct sock *sk, struct socket_state *st)
{
	struct http_socket *id = &st->intro.socket;
	__u64 key = (__u64)sk;
	int err;

	id->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (!is_inet(id->family) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return NULL;
	st->seen = bpf_ktime_get_boot_ns();
	st->ports = BPF_CORE_READ(sk, __sk_common.skc_portpair);
	st->last_dir = neither;
	id->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	id->local_port = local_port(sk);
	id->remote_port = remote_port(sk);
	if (id->family == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)&id->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)&id->remote, sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)&id->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)&id->remote, sk, __sk_common.skc_v6_daddr);
	}
	id->seq[sent] = st->next[sent];
	id->seq[received] = st->next[received];
	if (!at_ports(id->local_port, id->remote_port)) {
		st->verdict = IS_OTHER;
		st->tls_flags = PASSED_OVER;
		count(by_port, 1);
	}
	/* Another program may have been first. */
	err = bpf_map_update_elem(&sockets, &key, st, BPF_NOEXIST);
	if (err && err != -EEXIST) {
		count_lost(map_full);
		return NULL;
	}
	return bpf_map_lookup_elem(&sockets, &key);
}

/*
 * The first data call on a connection that is older than tracing, whose socket a scratch
 * has in payload.src. False: it is not followed. It and the next are verified by themselves.
 */
__noinline int meet(__u32 index, __u64 moved, __u32 dir)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st;
	struct tcp_sock *tp;
	struct sock *sk;
	__u64 got, put;

	if (!s)
		return false;
	st = &s->draft;
	__builtin_memset(st, 0, sizeof(*st));
	sk = (void *)s->payload.src.sk;
	tp = (void *)sk;
	/*
	 * What moved before this call: SYN and FIN may be counted among it. What
	 * was received and not read yet does not count.
	 */
	st->next[sent] = BPF_CORE_READ(tp, write_seq) - (dir == sent ? moved : 0);
	st->next[received] = BPF_CORE_READ(tp, copied_seq);
	got = BPF_CORE_READ(tp, bytes_received) -
	      (__u32)(BPF_CORE_READ(tp, rcv_nxt) - st->next[received]);
	if (dir == received) {
		if (BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN &&
		    st->next[received] == BPF_CORE_READ(tp, rcv_nxt))
			st->next[received]--; /* a FIN */
		st->next[received] -= moved;
	}
	put = BPF_CORE_READ(tp, bytes_acked) +
	      (__u32)(BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_una));
	if (dir == sent)
		st->intro.socket.joined = put > moved + 1 || got > 1;
	else
		st->intro.socket.joined = got > moved + 1 || put > 1;
	return !!insert(sk, st);
}

/* Names the connection of a socket that was met: not within meet(), for the stack's sake. */
__noinline int name_older(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st;
	struct http_socket *id;
	struct sock *sk;

	if (!s)
		return false;
	st = bpf_map_lookup_elem(&sockets, &s->payload.src.sk);
	if (!st)
		return false;
	sk = (void *)s->payload.src.sk;
	id = &st->intro.socket;
	if (id->naming == unnamed)
		id->naming = name_met(sk, BPF_CORE_READ(sk, __sk_common.skc_state), &id->id);
	return true;
}

/* The socket that both have to be done for, or NULL. */
static __always_inline struct socket_state *meet_older(struct sock *sk, __u64 moved, __u32 dir,
						       __u32 use)
{
	__u32 index = scratch_index(use);
	struct scratch *s = scratch(index);
	__u64 key = (__u64)sk;

	if (!s)
		return NULL;
	s->payload.src.sk = key;
	if (!meet(index, moved, dir) || !name_older(index))
		return NULL;
	return bpf_map_lookup_elem(&sockets, &key);
}

/*
 * A socket of MPTCP. Its calls move bytes, and not those of its subflows, which are TCP
 * sockets. The first of these has the addresses and the name, and its sequence numbers
 * begin where the bytes do: that is taken over at the first call, as not all of it is
 * known before.
 */
static __noinline struct socket_state *meet_multipath(struct sock *sk, bool joined)
{
	__u64 key = (__u64)sk;
	struct socket_state *st;

	if (!bpf_core_type_exists(struct mptcp_sock) ||
	    BPF_CORE_READ(sk, sk_protocol) != IPPROTO_MPTCP ||
	    !is_inet(BPF_CORE_READ(sk, __sk_common.skc_family)))
		return NULL;
	if ((int)bpf_map_update_elem(&sockets, &key, (void *)&multipath_begins, BPF_ANY)) {
		count_lost(map_full);
		return NULL;
	}
	st = bpf_map_lookup_elem(&sockets, &key);
	if (!st)
		return NULL;
	st->seen = bpf_ktime_get_boot_ns();
	st->intro.socket.joined = joined;
	return st;
}

/*
 * Takes over what its first subflow has, at a call that has moved some bytes. How far the
 * subflow has come is about how far an older connection has: if not just so, the two ends
 * of that are not joined.
 */
static __noinline int take_subflow(struct socket_state *st, struct socket_state *subflow,
				   struct sock *first, __u32 dir, __u32 moved)
{
	struct tcp_sock *tp = (void *)first;
	bool joined = st->intro.socket.joined;
	__u32 *seq = st->intro.socket.seq;

	st->intro.socket = subflow->intro.socket;
	st->intro.socket.joined = joined;
	if (joined) {
		seq[sent] = BPF_CORE_READ(tp, write_seq) - (dir == sent ? moved : 0);
		seq[received] = BPF_CORE_READ(tp, copied_seq) - (dir == received ? moved : 0);
	}
	if (subflow->verdict == IS_OTHER)
		st->verdict = IS_OTHER; /* it was counted as left out */
	return 0;
}

static __always_inline int close_with(void *ctx, struct socket_state *st, struct scratch *s,
				 __u32 ending)
{
	__u64 key = s->payload.src.sk;
	struct sock *sk = (void *)key;
	struct tcp_sock *tp = (void *)sk;
	bool framed = st->verdict == IS_HTTP2;
	__u32 seq, gone;

	st->verdict = IS_OTHER;
	stop_serving(st);
	/* What was taken out unseen at last, without the FIN. */
	seq = st->multipath ? st->next[received] : BPF_CORE_READ(tp, copied_seq);
	gone = seq - st->next[received];
	if (gone && BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN &&
	    seq == BPF_CORE_READ(tp, rcv_nxt))
		gone--;
	if (gone < 1U << 31 && st->tls != PLAINTEXT)
		st->bytes[received] += gone;
	s->rec.type = socket_closed;
	s->rec.ending = ending;
	s->rec.time = bpf_ktime_get_boot_ns();
	__builtin_memset(&s->rec.call, 0, sizeof(s->rec.call));
	if (framed)
		tell_last_frames(ctx, st, s, key);
	else
		tell_kept(ctx, st, s, key);
	return 0;
}

static __noinline int close_by_perf(void *ctx, struct socket_state *st, struct scratch *s,
	__u32 ending)
{
	return close_with(ctx, st, s, ending);
}

__noinline int close_by_ring(__u32 index, __u32 ending)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);

	if (!s || !st || perf_buffers)
		return 0;
	return close_with(NULL, st, s, ending);
}

/* Tells that nothing more comes of a socket, and why. */
static __always_inline int tell_close(void *ctx, struct socket_state *st, struct sock *sk,
				      __u32 use, __u8 ending)
{
	struct scratch *s;

	if (st->verdict == IS_OTHER || (st->verdict == UNDECIDED && !st->start_len))
		return 0;
	s = scratch(scratch_index(use));
	if (!s)
		return 0;
	s->payload.src.sk = (__u64)sk;
	if (perf_buffers)
		close_by_perf(ctx, st, s, ending);
	else
		close_by_ring(s->payload.index, ending);
	return 0;
}

/* The end of a socket. */
static __noinline int forget(void *ctx, struct socket_state *st, struct sock *sk, __u32 use)
{
	__u64 key = (__u64)sk;
	struct http_head *head;
	__u32 entry;

	tell_close(ctx, st, sk, use, st->ending ?: st->late ?: closed);
	if (st->kind == speaks_http2)
		bpf_map_delete_elem(&http2, &key);
	head = head_of(st, key);
	entry = st->head;
	/* Who deletes it, and nobody else, gives its entry back. */
	if ((int)bpf_map_delete_elem(&sockets, &key) || !head)
		return 0;
	waiting[entry % MAX_HEADS].since = 0;
	head->socket = 0;
	barrier();
	bpf_map_delete_elem(&claims, &entry);
	return 0;
}

/* Another socket was at this address before, and its end was not seen. */
static __always_inline void ended_unseen(void *ctx, struct socket_state *old, struct sock *sk,
					 __u32 use)
{
	old->ending = unseen;
	/* How far this one has come says nothing of that one. */
	if (!old->multipath)
		old->next[received] = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	forget(ctx, old, sk, use);
}

/* A connection begins, whose socket comes from that state; old: bytes have moved already. */
static __noinline int begin(struct sock *sk, struct socket_state *old, int from, __u32 use)
{
	/* Those that are to be accepted have no file yet. */
	bool called = from == TCP_SYN_SENT ||
		      (BPF_CORE_READ(sk, sk_socket) && has_called(sk, from));
	struct tcp_sock *tp = (void *)sk;
	struct socket_state *st;
	enum naming naming;
	struct tcp_isns n;
	__u64 id = 0;

	naming = name_established(sk, from, called, &n, &id);
	if (old) {
		/* Sent with the SYN, or before its answer came: the other side's numbers are new. */
		if (old->intro.socket.naming == unnamed && !old->bytes[received]) {
			old->intro.socket.id = id;
			old->intro.socket.naming = naming;
			old->intro.socket.seq[received] = BPF_CORE_READ(tp, copied_seq);
			old->next[received] = old->intro.socket.seq[received];
			old->introduced = 0; /* once more, with this */
		}
		return 0;
	}
	st = draft(use);
	if (!st)
		return 0;
	st->intro.socket.id = id;
	st->intro.socket.naming = naming;
	/* What was sent with the SYN counts from where it began, as at the other side. */
	st->next[sent] = naming == named ? n.own + 1 : BPF_CORE_READ(tp, write_seq);
	st->next[received] = BPF_CORE_READ(tp, copied_seq);
	insert(sk, st);
	return 0;
}

static __always_inline int established(void *ctx, struct sock *sk, int from, __u32 use)
{
	__u64 key = (__u64)sk;
	struct socket_state *old = bpf_map_lookup_elem(&sockets, &key);

	if (old && !has_ports(sk, old->ports)) {
		ended_unseen(ctx, old, sk, use);
		old = NULL;
	}
	if (!old && bpf_core_type_exists(struct mptcp_sock) &&
	    BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP) {
		meet_multipath(sk, false);
		return 0;
	}
	return begin(sk, old, from, use);
}

/* Whether bytes have come that no process has taken out, beside a FIN. */
static __always_inline bool has_unread(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;
	__u32 unread = BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq);
	bool fin = BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN;

	return unread > fin;
}

/* How a connection has ended that goes to CLOSE, and whose doing that was. */
static __always_inline __u8 ending_of(int from, int error)
{
	switch (error) {
	case ETIMEDOUT:
		return timed_out;
	case ECONNRESET:
	case EPIPE: /* reset after the peer's FIN */
		return reset | by_peer;
	case 0:
		/* With bytes left to take out a close is a reset. */
		return from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT ? reset | by_own : closed;
	}
	return reset;
}

/* Who sent its FIN first has closed it: the peer, if it is for the last acknowledgement that is waited. */
static __always_inline __u8 closed_by(int to)
{
	return closed | (to == TCP_FIN_WAIT1 ? by_own : by_peer);
}

static __noinline int state_change(__u64 *ctx, int copy)
{
	struct sock *sk = (void *)ctx[0];
	int from = ctx[1], to = ctx[2];
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	struct socket_state *st;
	__u8 ending;

	if (to == TCP_ESTABLISHED)
		return established(ctx, sk, from, FOR_STATE + copy);
	if (to != TCP_CLOSE && to != TCP_FIN_WAIT1 && to != TCP_LAST_ACK && to != TCP_SYN_SENT)
		return 0;
	st = bpf_map_lookup_elem(&sockets, &key);
	if (!st)
		return 0;
	/* A socket may be taken for another connection: connect(AF_UNSPEC) ends the one before. */
	if (to == TCP_SYN_SENT)
		return forget(ctx, st, sk, FOR_STATE + copy);
	if (st->multipath && to == TCP_CLOSE) {
		st->ending = st->ending ?: ending_of(from, BPF_CORE_READ(sk, sk_err));
		return forget(ctx, st, sk, FOR_STATE + copy);
	}
	if (st->verdict == IS_OTHER)
		return 0;
	ending = closed_by(to);
	if (to == TCP_CLOSE) {
		int error = BPF_CORE_READ(sk, sk_err);

		ending = ending_of(from, error);
		/* The other side's answer to bytes of a call that has not returned yet. */
		if ((from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT) &&
		    BPF_CORE_READ(tp, write_seq) != st->next[sent]) {
			st->ending = ending;
			return 0;
		}
		/*
		 * A client may still take out what has come, also after a reset; one
		 * that only said that it sends nothing more, the end as well.
		 */
		if (st->requests == sent && (has_unread(sk) || (!error && from != TCP_ESTABLISHED &&
								from != TCP_CLOSE_WAIT))) {
			st->late = ending;
			return 0;
		}
	} else if (st->requests == sent &&
		   ((BPF_CORE_READ(sk, sk_shutdown) & SHUTDOWN_MASK) != SHUTDOWN_MASK ||
		    (!st->multipath && has_unread(sk)))) {
		/*
		 * A client that only says that it sends nothing more. With bytes
		 * left to take out a close would be a reset.
		 */
		return 0;
	}
	tell_close(ctx, st, sk, FOR_STATE + copy, ending);
	return 0;
}

static __noinline int destroyed(__u64 *ctx, int copy)
{
	struct sock *sk = (void *)ctx[0];
	__u64 key = (__u64)sk;
	struct socket_state *st;

	st = bpf_map_lookup_elem(&sockets, &key);
	if (!st)
		return 0;
	return forget(ctx, st, sk, FOR_DESTROY + copy);
}

#endif
