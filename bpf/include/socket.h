/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets: what is behind a file, which ends a socket has, whether it is still the
 * same one, how far it has come.
 */
#ifndef TRACER_SOCKET_H
#define TRACER_SOCKET_H

#include "copies.h"
#include <bpf/bpf_endian.h>

/* The end of a connection that a socket is. */
enum __attribute__((packed)) role {
	client = 1,
	server,
};

/* The direction of bytes, seen from the process. */
enum __attribute__((packed)) direction {
	sent,
	received,
	neither,
};

static __always_inline bool is_inet(__u16 family)
{
	return family == AF_INET || family == AF_INET6;
}

/* ::ffff:a.b.c.d */
static __always_inline void map_ipv4(__u8 *to, __be32 addr)
{
	((__u64 *)to)[0] = 0;
	((__u32 *)to)[2] = bpf_htonl(0xffff);
	((__u32 *)to)[3] = addr;
}

static __always_inline void fill_local(__u8 *to, struct sock *sk)
{
	if (LOAD(sk, __sk_common.skc_family) == AF_INET)
		map_ipv4(to, LOAD(sk, __sk_common.skc_rcv_saddr));
	else
		load_words(to,
			   (void *)sk + bpf_core_field_offset(sk->__sk_common.skc_v6_rcv_saddr));
}

static __always_inline void fill_remote(__u8 *to, struct sock *sk)
{
	if (LOAD(sk, __sk_common.skc_family) == AF_INET)
		map_ipv4(to, LOAD(sk, __sk_common.skc_daddr));
	else
		load_words(to, (void *)sk + bpf_core_field_offset(sk->__sk_common.skc_v6_daddr));
}

/* At the end of a connection skc_num is gone; inet_sport stays. */
static __always_inline __u16 local_port(struct sock *sk)
{
	return bpf_ntohs(LOAD((struct inet_sock *)sk, inet_sport));
}

static __always_inline __u16 remote_port(struct sock *sk)
{
	return bpf_ntohs(LOAD(sk, __sk_common.skc_dport));
}

/*
 * Whether a socket has the connection still that was noted with these ports: the
 * address of one that is gone, and it itself, are used again within a second. The
 * ports are skc_portpair, as it was then: one number, which is in a cache line
 * that all calls look at. At its end a socket gives its own port back, the upper
 * half; inet_sport stays.
 */
static __always_inline bool has_ports(struct sock *sk, __u32 ports)
{
	__u32 now = LOAD(sk, __sk_common.skc_portpair);

	return now == ports ||
	       (!(now >> 16) && (__u16)now == (__u16)ports && local_port(sk) == ports >> 16);
}

/* A number for first_call() by which sockets of TCP differ, also those at one address. */
static __always_inline __u64 number_of(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;

	return LOAD(sk, sk_protocol) == IPPROTO_TCP ? LOAD(tp, write_seq) : 0;
}

/*
 * A step of a socket, for first_step(). Where copies miss more than a few, it matters
 * that a socket that is used again has other sequence numbers.
 */
static __always_inline __u64 step_of(struct sock *sk, int from, int to)
{
	struct tcp_sock *tp = (void *)sk;

	return (__u64)sk ^ (__u64)to << 56 ^ (__u64)from << 48 ^
	       (has_copies ? (__u64)LOAD(tp, write_seq) << 16 : 0);
}

/* The steps that the tracepoints inet_sock_set_state and tcp_destroy_sock tell of. */
static __always_inline __u64 state_step(__u64 *ctx)
{
	return step_of((struct sock *)ctx[0], ctx[1], ctx[2]);
}

static __always_inline __u64 destroy_step(__u64 *ctx)
{
	return step_of((struct sock *)ctx[0], 0, 0);
}

/* A step of TCP from one part of a connection's life to another. */
static __always_inline bool is_tcp_step(struct sock *sk, int to)
{
	switch (to) {
	case TCP_SYN_SENT:
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
	case TCP_CLOSE:
		/* MPTCP and SCTP sockets take such steps as well. */
		return LOAD(sk, sk_protocol) == IPPROTO_TCP;
	}
	return false;
}

/*
 * Takes the address and the port out of a struct sockaddr. False: it cannot be
 * read, or is of another kind.
 */
static __always_inline bool read_sockaddr(void *addr, bool user, __u8 *ip, __u16 *port)
{
	struct {
		__u16 family;
		__be16 port;
		__be32 ipv4; /* IPv6: flow label */
		__u8 ipv6[8];
	} to = {};
	/* An IPv4 address has 16 bytes and may stand at the end of a page. */
	long err = user ? bpf_probe_read_user(&to, sizeof(to), addr) :
			  bpf_probe_read_kernel(&to, sizeof(to), addr);

	if (err)
		return false;
	*port = bpf_ntohs(to.port);
	if (to.family == AF_INET) {
		map_ipv4(ip, to.ipv4);
		return true;
	}
	if (to.family != AF_INET6)
		return false;
	err = user ? bpf_probe_read_user(ip, 16, addr + 8) :
		     bpf_probe_read_kernel(ip, 16, addr + 8);
	return !err;
}

/* The first subflow of an MPTCP socket. */
static __always_inline struct sock *first_subflow(struct sock *sk)
{
	struct mptcp_sock *msk = (void *)sk;
	struct mptcp_subflow_context *subflow;
	struct list_head *head;

	if (!bpf_core_type_exists(struct mptcp_sock))
		return NULL;
	sk = BPF_CORE_READ(msk, first);
	if (sk)
		return sk;
	head = (void *)msk + bpf_core_field_offset(msk->conn_list);
	subflow = (void *)BPF_CORE_READ(head, next);
	if (!subflow || (void *)subflow == (void *)head)
		return NULL;
	subflow = (void *)subflow - bpf_core_field_offset(struct mptcp_subflow_context, node);
	return BPF_CORE_READ(subflow, tcp_sock);
}

static __always_inline struct sock *file_socket(struct file *file)
{
	struct socket *socket;
	struct super_block *sb;
	struct inode *inode;

	if (!file)
		return NULL;
	inode = LOAD(file, f_inode);
	sb = LOAD(inode, i_sb);
	if (LOAD(sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = LOAD(file, private_data);
	return (struct sock *)load_word((void *)socket + bpf_core_field_offset(socket->sk));
}

/* The TCP socket of a socket: itself, or a subflow of an MPTCP one. */
static __always_inline struct sock *tcp_socket(struct sock *sk)
{
	__u16 protocol = LOAD(sk, sk_protocol);

	if (!is_inet(LOAD(sk, __sk_common.skc_family)))
		return NULL;
	if (protocol == IPPROTO_MPTCP)
		return first_subflow(sk);
	return protocol == IPPROTO_TCP ? sk : NULL;
}

/* The TCP socket behind a file, whatever its state. */
static __always_inline struct sock *file_tcp_socket(struct file *file)
{
	struct sock *sk = file_socket(file);

	return sk ? tcp_socket(sk) : NULL;
}

/* The address of the newest message in a socket's queue of errors, 0 if it is empty. */
static __always_inline __u64 newest_error(struct sock *sk)
{
	struct sk_buff_head *queue = (void *)sk + bpf_core_field_offset(sk->sk_error_queue);
	__u64 newest = load_word((void *)queue + bpf_core_field_offset(queue->prev));

	return newest == (__u64)queue ? 0 : newest;
}

/* The errno of an ICMP message in that queue, 0 if it is another kind of message. */
static __always_inline int icmp_error_of(__u64 message_at)
{
	struct sk_buff *skb = (void *)message_at;
	struct sock_exterr_skb *message = (void *)skb + bpf_core_field_offset(skb->cb);

	switch (LOAD(message, ee.ee_origin)) {
	case SO_EE_ORIGIN_ICMP:
	case SO_EE_ORIGIN_ICMP6:
		return LOAD(message, ee.ee_errno);
	}
	return 0;
}

static __always_inline bool fin_has_come(struct sock *sk)
{
	return LOAD(sk, __sk_common.skc_flags) >> SOCK_DONE & 1;
}

/*
 * Payload bytes sent, each once. The counters are read while the socket may be
 * at work on another CPU: what is sent again counts as such before it counts as
 * sent. In this order the result may lag behind, but not run ahead.
 */
static __always_inline __u64 tcp_sent_bytes(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 all = LOAD(tp, bytes_sent);
	__u64 again = LOAD(tp, bytes_retrans);

	return all > again ? all - again : 0;
}

/*
 * Payload bytes received. A FIN counts as one until the flag is set: only of a
 * socket that is not at work is this exact.
 */
static __always_inline __u64 tcp_received_bytes(struct sock *sk)
{
	bool fin = fin_has_come(sk);
	__u64 n = LOAD((struct tcp_sock *)sk, bytes_received);

	return n - fin;
}

/*
 * The sequence numbers of the first bytes in both directions. They stay while
 * counters move, and one number alone then tells how far the socket has come:
 * two counters, read one after the other, may never have been true together.
 */
struct tcp_origin {
	__u32 tx;
	__u32 rx;
};

/* False: they could not be told, the socket is too busy. */
static __always_inline bool tcp_find_origin(struct sock *sk, struct tcp_origin *o)
{
	struct tcp_sock *tp = (void *)sk;

	for (int i = 0; i < 4; i++) {
		__u32 tx = tcp_sent_bytes(sk), sent_to = LOAD(tp, snd_nxt);
		__u32 rx = LOAD(tp, bytes_received);
		__u32 received_to = LOAD(tp, rcv_nxt);

		o->tx = sent_to - tx;
		o->rx = received_to - rx;
		if (tx == (__u32)tcp_sent_bytes(sk) && sent_to == LOAD(tp, snd_nxt) &&
		    rx == (__u32)LOAD(tp, bytes_received) && received_to == LOAD(tp, rcv_nxt))
			return true;
	}
	return false;
}

/* A count of which the lower half is known, and about what it is. */
static __always_inline __u64 tcp_widen(__u32 low, __u64 about)
{
	__s32 more = low - (__u32)about;
	__u64 n = about + more;

	return more < 0 && n > about ? 0 : n;
}

/* Payload bytes that processes have written. */
static __always_inline __u64 tcp_written(struct sock *sk, struct tcp_origin from)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 about = tcp_sent_bytes(sk);

	return tcp_widen(LOAD(tp, write_seq) - from.tx, about);
}

/*
 * Payload bytes that processes have read; unread is what has come beside. The
 * end is read, too, when it has come: in this order it is not taken for a byte.
 */
static __always_inline __u64 tcp_read(struct sock *sk, struct tcp_origin from, __u32 *unread)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 about = LOAD(tp, bytes_received);
	__u32 copied = LOAD(tp, copied_seq);
	bool fin = fin_has_come(sk);
	__u32 ahead = LOAD(tp, rcv_nxt) - copied;

	*unread = 0;
	if (!about)
		return 0;
	*unread = ahead && fin ? ahead - 1 : ahead;
	return tcp_widen(copied - from.rx - (fin && !ahead), about);
}

/*
 * How many SYNs of this side count as acknowledged, which tells who called: of who
 * called that is 1, of who was called 0, as that one's begins behind its SYN. Any
 * other number says that the counters were not true together.
 */
static __always_inline __u32 tcp_own_syns(struct sock *sk, int state)
{
	struct tcp_sock *tp = (void *)sk;
	__u32 tx = LOAD(tp, bytes_sent) - LOAD(tp, bytes_retrans);
	__u32 sent_to = LOAD(tp, snd_nxt);
	__u32 flying = sent_to - LOAD(tp, snd_una);
	__u32 acked = LOAD(tp, bytes_acked);
	bool fin = false; /* its own is in flight, or acknowledged */

	switch (state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		/* What waits to be sent ends with it. */
		fin = sent_to == LOAD(tp, write_seq);
	}
	return acked + flying - tx - fin;
}

/* Whether this side of a connection called: nothing keeps that. */
static __always_inline bool has_called(struct sock *sk, int state)
{
	return state == TCP_SYN_SENT || tcp_own_syns(sk, state);
}

/* A connection's initial sequence numbers. */
struct tcp_isns {
	__u32 own;
	__u32 peer;
};

/*
 * TCP does not keep its initial sequence numbers, but counts from them: bytes_acked
 * has the SYN of who called and not that of who was called (see tcp_own_syns), and
 * bytes_received has the peer's FIN as long as rcv_nxt has. From ESTABLISHED to
 * CLOSE the results stay. All are taken as numbers of 32 bits, as sequence numbers
 * wrap. Before, in SYN_SENT, the peer's is not known.
 */
static __always_inline struct tcp_isns tcp_find_isns(struct sock *sk, bool called)
{
	struct tcp_sock *tp = (void *)sk;
	struct tcp_isns n;

	n.own = LOAD(tp, snd_una) - (__u32)LOAD(tp, bytes_acked) - !called;
	n.peer = LOAD(tp, rcv_nxt) - (__u32)LOAD(tp, bytes_received) - 1;
	return n;
}

/*
 * The same of a socket that may be at work on another CPU, between one counter and
 * the other. False: it is too busy.
 */
static __always_inline bool tcp_find_steady_isns(struct sock *sk, bool called, struct tcp_isns *n)
{
	for (int i = 0; i < 4; i++) {
		struct tcp_isns again;

		*n = tcp_find_isns(sk, called);
		again = tcp_find_isns(sk, called);
		if (n->own == again.own && n->peer == again.peer)
			return true;
	}
	return false;
}

/*
 * The name of a connection that both ends know, on whichever hosts they are and
 * however addresses are translated between them: the initial sequence numbers,
 * that of who called first.
 */
static __always_inline __u64 conn_id_of(struct tcp_isns n, bool called)
{
	__u32 first = called ? n.own : n.peer, second = called ? n.peer : n.own;

	return (__u64)first << 32 | second;
}

/* Whether a connection's name is known to this side. */
enum __attribute__((packed)) naming {
	unnamed,
	named,
	nameless, /* for good */
};

/*
 * Names a connection that has just been established, by a step of its socket from
 * that state. Nameless is one of a socket that was restored (TCP_REPAIR): no SYN of
 * it was acknowledged, it counts from where it was restored. And so is one of which
 * the other side called, too, while this one did: only one of them may have noticed.
 */
static __always_inline enum naming name_established(struct sock *sk, int from, bool called,
						    struct tcp_isns *n, __u64 *id)
{
	*n = tcp_find_isns(sk, called);
	if (called && (from != TCP_SYN_SENT || !LOAD((struct tcp_sock *)sk, bytes_acked)))
		return nameless;
	*id = conn_id_of(*n, called);
	return named;
}

/*
 * Names a connection that was met in some state: who called is not known. What a
 * restored socket has met since, and that both sides called, cannot be told any more.
 */
static __always_inline enum naming name_met(struct sock *sk, int state, __u64 *id)
{
	__u32 syns = tcp_own_syns(sk, state);
	struct tcp_isns n;

	switch (state) {
	case TCP_SYN_SENT:
	case TCP_CLOSE:
	case TCP_LISTEN:
		return unnamed;
	case TCP_SYN_RECV:
		if (syns)
			return unnamed;
	}
	if (syns > 1 || !tcp_find_steady_isns(sk, syns, &n) || tcp_own_syns(sk, state) != syns)
		return unnamed;
	*id = conn_id_of(n, syns);
	return named;
}

#endif
