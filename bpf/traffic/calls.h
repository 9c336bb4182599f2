/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Calls that move bytes, by tracepoints, functions and kprobes: whose a socket is, and what
 * is counted call by call.
 */
#ifndef TRACER_TRAFFIC_CALLS_H
#define TRACER_TRAFFIC_CALLS_H

static __always_inline void add(__u64 *sum, __u64 n)
{
	__sync_fetch_and_add(sum, n);
}

/* Counts what a process moves of a socket that several do. */
static __noinline void add_share(struct tcp *t, __u64 sk, __u32 pid, enum direction dir, __u64 n)
{
	struct share_key key = {.socket = sk, .born = t->born, .pid = pid};
	struct share *s = bpf_map_lookup_elem(&shares, &key);

	if (!s) {
		struct share fresh = {};

		fill_current(&fresh.party);
		fresh.wanted = wanted_process(pid, fresh.party.uid);
		bpf_map_update_elem(&shares, &key, &fresh, BPF_NOEXIST);
		s = bpf_map_lookup_elem(&shares, &key);
		if (!s) {
			count_lost(detail_missing);
			return;
		}
	}
	add(dir == sent ? &s->tx : &s->rx, n);
}

/* A call on a socket that is not known: it was nowhere when tracing began. */
static __noinline void meet(struct sock *sk, enum direction dir, __u64 n)
{
	int state = BPF_CORE_READ(sk, __sk_common.skc_state);
	struct tcp t = {.sure = 1};
	__u32 unread;

	if (state == TCP_CLOSE || state == TCP_LISTEN)
		return;
	place(&t, sk);
	t.tx = since(tcp_written(sk, t.origin), dir == sent ? n : 0);
	t.rx = since(tcp_read(sk, t.origin, &unread), dir == received ? n : 0);
	t.role = has_called(sk, state) ? client : server;
	fill_current(&t.owner);
	t.wanted = wanted_process(t.owner.pid, t.owner.uid);
	note(&t, sk);
}

static __always_inline int moved_tcp(struct sock *sk, enum direction dir, __u64 n)
{
	__u64 key = (__u64)sk;
	struct tcp *t = bpf_map_lookup_elem(&socks, &key);
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (!t) {
		meet(sk, dir, n);
		t = bpf_map_lookup_elem(&socks, &key);
		if (t)
			list_mover(t, key);
		return 0;
	}
	list_mover(t, key);
	if (!t->shared) {
		__u32 unread;

		if (t->owner.pid == pid) {
			if (!t->sure)
				t->sure = 1;
			return 0;
		}
		if (!t->sure) {
			own_by_current(t);
			t->sure = 1;
			return 0;
		}
		if (!t->placed && !place(t, sk))
			return 0;
		t->own_tx = since(tcp_written(sk, t->origin), t->tx + (dir == sent ? n : 0));
		t->own_rx =
			since(tcp_read(sk, t->origin, &unread), t->rx + (dir == received ? n : 0));
		barrier();
		t->shared = 1;
	}
	add_share(t, key, pid, dir, n);
	return 0;
}

static __always_inline void fill_source(struct flow_key *key, struct sk_buff *skb)
{
	void *head = BPF_CORE_READ(skb, head);
	void *ip = head + BPF_CORE_READ(skb, network_header);
	struct udphdr *udp = head + BPF_CORE_READ(skb, transport_header);
	__u8 version = 0;

	key->rport = bpf_ntohs(BPF_CORE_READ(udp, source));
	bpf_probe_read_kernel(&version, 1, ip);
	if (version >> 4 == 4)
		map_ipv4(key->remote, BPF_CORE_READ((struct iphdr *)ip, saddr));
	else
		bpf_core_read(key->remote, 16, &((struct ipv6hdr *)ip)->saddr);
}

/* The other end of a UDP socket, as far as it or the call, by msg or skb, tells. */
static __always_inline void fill_peer(struct flow_key *key, struct sock *sk, struct msghdr *msg,
				      struct sk_buff *skb)
{
	key->rport = remote_port(sk);
	if (key->rport)
		fill_remote(key->remote, sk);
	else if (skb)
		fill_source(key, skb);
	else if (msg)
		read_sockaddr(BPF_CORE_READ(msg, msg_name), false, key->remote, &key->rport);
}

static __noinline int moved_udp(struct sock *sk, struct msghdr *msg, struct sk_buff *skb,
				enum direction dir, __u64 n)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct flow_key key = {};
	struct flow *f;

	key.pid = bpf_get_current_pid_tgid() >> 32;
	key.start = BPF_CORE_READ(task, group_leader, start_boottime);
	if (by_connection || by_peer)
		fill_peer(&key, sk, msg, skb);
	if (by_connection) {
		fill_local(key.local, sk);
		key.lport = local_port(sk);
	} else if (by_peer) {
		key.rport = 0;
	}
	f = bpf_map_lookup_elem(&flows, &key);
	if (!f) {
		struct flow fresh = {};

		fresh.uid = bpf_get_current_uid_gid();
		/* Not counted: it would be at each call. */
		if (filtered_process(key.pid, fresh.uid) != WANTED)
			return 0;
		fresh.cgroup = current_cgroup(task);
		fresh.role = dir == sent ? client : server;
		fill_comm(fresh.comm, task);
		bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST);
		f = bpf_map_lookup_elem(&flows, &key);
		if (!f) {
			count_lost(map_full);
			return 0;
		}
	}
	add(dir == sent ? &f->tx : &f->rx, n);
	return 0;
}

/* sock_send_length and sock_recv_length: any kind of socket. */
static __always_inline int moved(__u64 *ctx, int copy, enum direction dir)
{
	struct sock *sk = (struct sock *)ctx[0];
	int n = ctx[1], flags = ctx[2];
	__u16 protocol;

	/* First of all: what one misses and another sees is no loss, whatever it is. */
	if (!is_first_call(copy, COPIED_LENGTH, n))
		return 0;
	/* What is looked at stays; errors are no traffic. */
	if (n <= 0 || !is_inet(sk->__sk_common.skc_family) ||
	    (dir == received && flags & (MSG_PEEK | MSG_ERRQUEUE)))
		return 0;
	protocol = sk->sk_protocol;
	if (protocol == IPPROTO_UDP)
		return moved_udp(sk, NULL, NULL, dir, n);
	if (protocol == IPPROTO_MPTCP)
		sk = first_subflow(sk);
	else if (protocol != IPPROTO_TCP)
		return 0;
	return sk ? moved_tcp(sk, dir, n) : 0;
}

static __noinline int sent_length(__u64 *ctx, int copy)
{
	return moved(ctx, copy, sent);
}

static __noinline int received_length(__u64 *ctx, int copy)
{
	return moved(ctx, copy, received);
}

CALL_COPIES("tp_btf/sock_send_length", traffic_send_length, sent_length)
CALL_COPIES("tp_btf/sock_recv_length", traffic_recv_length, received_length)

/* Functions. */

static __always_inline int tcp_sent(struct sock *sk, int n)
{
	return n > 0 ? moved_tcp(sk, sent, n) : 0;
}

static __always_inline int tcp_received(struct sock *sk, int flags, int n)
{
	return n > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)) ? moved_tcp(sk, received, n) : 0;
}

static __always_inline int udp_sent(struct sock *sk, struct msghdr *msg, int n)
{
	return n > 0 ? moved_udp(sk, msg, NULL, sent, n) : 0;
}

/* n is not positive if the datagram has only been looked at. */
static __always_inline int udp_received(struct sock *sk, struct sk_buff *skb, int n)
{
	return n > 0 ? moved_udp(sk, NULL, skb, received, n) : 0;
}

/* To an IPv4 address an IPv6 socket sends by both functions. */
static __always_inline bool sends_by_other(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_family) != AF_INET;
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(traffic_tcp_sendmsg_fexit, struct sock *sk, struct msghdr *msg, __u64 size, int n)
{
	return tcp_sent(sk, n);
}

/* One for each number of parameters, which a kernel's types tell. */
SEC("fexit/tcp_recvmsg")
int BPF_PROG(traffic_tcp_recvmsg_fexit4, struct sock *sk, struct msghdr *msg, __u64 size, int flags,
	     int n)
{
	return tcp_received(sk, flags, n);
}

SEC("fexit/tcp_recvmsg")
int BPF_PROG(traffic_tcp_recvmsg_fexit5, struct sock *sk, struct msghdr *msg, __u64 size, int flags,
	     void *addr_len, int n)
{
	return tcp_received(sk, flags, n);
}

SEC("fexit/tcp_recvmsg")
int BPF_PROG(traffic_tcp_recvmsg_fexit6, struct sock *sk, struct msghdr *msg, __u64 size,
	     int nonblock, int flags, void *addr_len, int n)
{
	return tcp_received(sk, flags, n);
}

/* sendfile and splice to a socket, before 6.5. */
SEC("fexit/tcp_sendpage")
int BPF_PROG(traffic_tcp_sendpage_fexit, struct sock *sk, void *page, int offset, __u64 size,
	     int flags, int n)
{
	return tcp_sent(sk, n);
}

/* splice from a socket. */
SEC("fexit/tcp_splice_read")
int BPF_PROG(traffic_tcp_splice_read_fexit, struct socket *socket, void *ppos, void *pipe,
	     __u64 size, unsigned int flags, long n)
{
	return tcp_received(socket->sk, 0, n);
}

static __noinline int udp_sendmsg_returns(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];

	if (!is_first_call(copy, COPIED_UDP, ctx[3]) || sends_by_other(sk))
		return 0;
	return udp_sent(sk, (struct msghdr *)ctx[1], ctx[3]);
}

static __noinline int udpv6_sendmsg_returns(__u64 *ctx, int copy)
{
	if (!is_first_call(copy, COPIED_UDPV6, ctx[3]))
		return 0;
	return udp_sent((struct sock *)ctx[0], (struct msghdr *)ctx[1], ctx[3]);
}

static __noinline int udp_consumed(__u64 *ctx, int copy)
{
	if (!is_first_call(copy, COPIED_CONSUME, ctx[2]))
		return 0;
	return udp_received((struct sock *)ctx[0], (struct sk_buff *)ctx[1], ctx[2]);
}

CALL_COPIES("fexit/udp_sendmsg", traffic_udp_sendmsg_fexit, udp_sendmsg_returns)
CALL_COPIES("fexit/udpv6_sendmsg", traffic_udpv6_sendmsg_fexit, udpv6_sendmsg_returns)
CALL_COPIES("fentry/skb_consume_udp", traffic_udp_consume_fentry, udp_consumed)

enum function {
	TCP_SENDMSG,
	TCP_RECVMSG,
	UDP_SENDMSG,
	UDPV6_SENDMSG,
};

static __always_inline int returns(struct call *call, int n)
{
	struct sock *sk = (struct sock *)call->sk;

	switch (call->function) {
	case TCP_SENDMSG:
		return tcp_sent(sk, n);
	case TCP_RECVMSG:
		return tcp_received(sk, call->flags, n);
	}
	return udp_sent(sk, (struct msghdr *)call->msg, n);
}

static __always_inline int called(void *ctx, enum function function)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *before = bpf_map_lookup_elem(&calls, &thread);
	struct sock *sk = (struct sock *)register_arg(ctx, 0);
	struct call call = {
		.sk = (__u64)sk,
		.msg = register_arg(ctx, 1),
		.size = register_arg(ctx, 2),
		.function = function,
	};

	if (function == UDP_SENDMSG && sends_by_other(sk))
		return 0;
	if (function == TCP_RECVMSG)
		call.flags = register_arg(ctx, recv_flags_arg);
	if (before && (before->function == UDP_SENDMSG || before->function == UDPV6_SENDMSG)) {
		struct call missed = *before;

		missed.msg = 0; /* it is not there any more */
		returns(&missed, missed.size);
	}
	bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static __always_inline int call_returns(void *ctx, enum function function)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *found = bpf_map_lookup_elem(&calls, &thread);
	struct call call;

	if (!found || found->function != function)
		return 0;
	call = *found;
	bpf_map_delete_elem(&calls, &thread);
	return returns(&call, register_return(ctx));
}

#define KPROBES(function, fn)                       \
	SEC("kprobe/" #fn)                          \
	int traffic_##fn##_kprobe(void *ctx)        \
	{                                           \
		return called(ctx, function);       \
	}                                           \
	SEC("kretprobe/" #fn)                       \
	int traffic_##fn##_kretprobe(void *ctx)     \
	{                                           \
		return call_returns(ctx, function); \
	}

KPROBES(TCP_SENDMSG, tcp_sendmsg)
KPROBES(TCP_RECVMSG, tcp_recvmsg)
KPROBES(UDP_SENDMSG, udp_sendmsg)
KPROBES(UDPV6_SENDMSG, udpv6_sendmsg)

SEC("kprobe/skb_consume_udp")
int traffic_udp_consume_kprobe(void *ctx)
{
	return udp_received((struct sock *)register_arg(ctx, 0),
			    (struct sk_buff *)register_arg(ctx, 1), register_arg(ctx, 2));
}

#endif
