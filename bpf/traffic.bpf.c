//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Who moves how many bytes over TCP and UDP?
 *
 * TCP: the kernel counts the bytes of each socket by itself. Sockets are noted
 * as they open (raw tracepoint inet_sock_set_state; iter/task_file for those
 * that are older than tracing) and read by user space's timer (iter/bpf_map_elem
 * over the noted ones: no network namespace has to be entered, and its cost is
 * that of the sockets there are, not of the kernel's table of them). Where there
 * are very many it reads those that move bytes, and all only now and then. The last
 * reading is taken when a socket is destroyed (raw tracepoint tcp_destroy_sock).
 *
 * Whose they are: of the process whose calls move bytes. A socket belongs to
 * the first process that does so, and a call by its owner costs a lookup. From
 * the first call by another one on the calls of each are counted: see struct
 * share. Until the first call the owner is a guess, which is who connects,
 * holds, or closes the socket.
 *
 * UDP sockets have no counters: each call is counted, by process and, if asked
 * for, by address.
 *
 * Calls are seen at their return, where the result is known:
 *
 *   tracepoint  sock_send_length and sock_recv_length (6.3+); they do not tell
 *               the peer of a UDP socket that is not connected
 *   fentry      fexit of tcp_sendmsg, tcp_recvmsg, udp_sendmsg, udpv6_sendmsg;
 *               and skb_consume_udp, which takes a datagram that was received
 *   kprobe      kretprobe of the same functions. Not every return is seen: one of
 *               udp_sendmsg that is missed is taken for a success
 *
 * Missed: bytes that an orphan sends, of a process that closed it before tracing
 * began; sockets of the kernel itself that are older than tracing; UDP by
 * sendfile before 6.5.
 *
 * Oldest kernel: 5.9 (iterators over maps).
 */
#include "copies.h"
#include "filter.h"
#include "output.h"
#include "socket.h"

/* A process, as it was called when it was met. */
struct party {
	__u64 start; /* when it began: with its id, no other */
	__u64 cgroup;
	__u32 pid; /* 0: unknown */
	__u32 uid;
	char comm[COMM_LEN];
};

/* What a TCP socket has moved, and who does. */
struct tcp {
	__u64 born; /* when it was noted; with its address, no other */
	__u64 tx;   /* before it was noted; for user space: since then */
	__u64 rx;
	__u64 end_tx; /* since it was noted, when it has ended */
	__u64 end_rx;
	__u64 told_tx; /* by the last reading */
	__u64 told_rx; /* what processes have read */
	__u64 own_tx;  /* the owner's, when another process began to move bytes */
	__u64 own_rx;
	struct party owner;
	struct tcp_origin origin; /* known from when it is established */
	__u8 local[16];		  /* IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];
	__u32 ports; /* for has_ports() */
	__u16 lport;
	__u16 rport;
	__u32 look; /* the last one at all files that met it */
	__u32 seen_sent; /* snd_nxt and copied_seq, at the last reading that took them */
	__u32 seen_read;
	enum role role;
	__u8 sure;    /* the owner has moved bytes, it is not only a guess */
	__u8 shared;  /* others have, too */
	__u8 several; /* that look found more than one holder */
	__u8 wanted;  /* the owner is */
	__u8 ended;   /* end_tx and end_rx are known */
	__u8 told;    /* flags, by the last reading */
	__u8 placed;  /* ends and origin are known */
	__u8 seen;    /* seen_sent and seen_read are, and all was told */
	__u8 listed;  /* it is in movers */
	__u8 pad[2];
};

struct tcp_record {
	__u64 sent; /* by output() */
	__u64 socket;
	struct tcp tcp;
	__u32 unread; /* of rx, what no process has read yet */
	__u32 last;   /* the socket is gone */
};

FOR_GO(tcp_record, struct tcp_record);

/*
 * TCP sockets by their address, whoever owns them. Inserted when they open, by
 * the iterator that looks for older ones, and by a call on an unknown one;
 * deleted when they are destroyed. Bounded by max_entries: a socket without
 * room is counted as map_full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct tcp);
} socks SEC(".maps");

/*
 * Those of them that have moved bytes lately, or are about to: where it is dear to look
 * at all sockets a reading looks at these. Inserted by calls and by readings of all,
 * deleted by a reading of these that finds that a socket has not moved since the one
 * before, and with the socket. Bounded by max_entries, and small, as a reading looks
 * into each bucket: if one has no room the next reading is of all (unlisted).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} movers SEC(".maps");

struct share_key {
	__u64 socket;
	__u64 born;
	__u32 pid;
	__u32 pad;
};

/* What the calls of one process have moved. */
struct share {
	struct party party;
	__u64 tx;
	__u64 rx;
	__u64 wanted;
};

struct share_record {
	struct share_key key;
	struct share share;
};

FOR_GO(share_record, struct share_record);

/*
 * Of sockets that several processes use. Inserted by calls, deleted by user
 * space after the last reading of the socket. A share without room is counted
 * as detail_missing: its bytes are the owner's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct share_key);
	__type(value, struct share);
} shares SEC(".maps");

/* The UDP traffic of a process; addresses as far as they are asked for. */
struct flow_key {
	__u64 start;
	__u32 pid;
	__u16 lport;
	__u16 rport;
	__u8 local[16];
	__u8 remote[16];
};

struct flow {
	__u64 cgroup;
	__u64 tx;
	__u64 rx;
	__u64 told_tx; /* by the last reading */
	__u64 told_rx;
	__u32 uid;
	char comm[COMM_LEN];
	enum role role; /* who sent first */
	__u8 pad[3];
};

struct flow_record {
	struct flow_key key;
	struct flow flow;
};

FOR_GO(flow_record, struct flow_record);

/*
 * Inserted by calls, deleted by user space when they have been idle for long.
 * One without room is counted as map_full, at each call.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* A call that a kretprobe will see return. */
struct call {
	__u64 sk;
	__u64 msg;
	__u64 size;
	__u32 function;
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64); /* thread */
	__type(value, struct call);
} calls SEC(".maps");

/* Calls that have copies, for first_call(): a task has no two of them at once. */
enum copied {
	COPIED_LENGTH,
	COPIED_UDP,
	COPIED_UDPV6,
	COPIED_CONSUME,
};

/* Knobs. */
const volatile bool by_connection;	 /* of UDP: both addresses matter */
const volatile bool by_peer;		 /* only the other side's host */
const volatile __u32 recv_flags_arg = 3; /* which argument of tcp_recvmsg flags are */

/*
 * Set by user space: which look at all files this is; a reading tells all; sockets that
 * move are listed.
 */
volatile __u32 look;
volatile __u32 tell_all;
volatile __u32 listing;
/* Set when a socket found no room in movers, set back by user space. */
volatile __u32 unlisted;

static __always_inline void fill_party(struct party *p, struct task_struct *task, __u32 uid,
				       __u64 cgroup)
{
	p->start = BPF_CORE_READ(task, group_leader, start_boottime);
	p->cgroup = cgroup;
	p->pid = BPF_CORE_READ(task, tgid);
	p->uid = uid;
	fill_comm(p->comm, task);
}

static __always_inline void fill_current(struct party *p)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	fill_party(p, task, bpf_get_current_uid_gid(), current_cgroup(task));
}

/* Makes a process the owner of a noted socket: see has_owner(). */
static __always_inline void own(struct tcp *t, const struct party *p)
{
	t->owner.pid = 0;
	barrier();
	t->owner.start = p->start;
	t->owner.cgroup = p->cgroup;
	t->owner.uid = p->uid;
	__builtin_memcpy(t->owner.comm, p->comm, COMM_LEN);
	t->wanted = wanted_process(p->pid, p->uid);
	barrier();
	t->owner.pid = p->pid;
}

static __noinline void own_by_current(struct tcp *t)
{
	struct party p = {};

	fill_current(&p);
	own(t, &p);
}

/* What is to be known of a connection as soon as there is one. False: not now. */
static __noinline bool place(struct tcp *t, struct sock *sk)
{
	fill_local(t->local, sk);
	fill_remote(t->remote, sk);
	t->lport = local_port(sk);
	t->rport = remote_port(sk);
	t->ports = LOAD(sk, __sk_common.skc_portpair);
	if (!tcp_find_origin(sk, &t->origin))
		return false;
	t->placed = 1;
	return true;
}

/* The same of one that was busy when it was met, or whose opening was missed. */
static __always_inline void place_late(struct tcp *t, struct sock *sk)
{
	int state = BPF_CORE_READ(sk, __sk_common.skc_state);

	if (state != TCP_SYN_SENT && state != TCP_SYN_RECV && state != TCP_CLOSE)
		place(t, sk);
}

/* Notes a socket that opens, or whose bytes count from here on. */
static __always_inline void note(struct tcp *t, struct sock *sk)
{
	__u64 key = (__u64)sk;

	t->born = bpf_ktime_get_boot_ns();
	if (bpf_map_update_elem(&socks, &key, t, BPF_NOEXIST) && !bpf_map_lookup_elem(&socks, &key))
		count_lost(map_full);
}

/* Has the next readings look at a socket. */
static __noinline void list(struct tcp *t, __u64 key)
{
	__u8 moves = 1;

	if (bpf_map_update_elem(&movers, &key, &moves, BPF_ANY))
		unlisted = 1;
	else
		t->listed = 1;
}

/* Whether readings tell of a socket. */
static __always_inline bool is_read(const struct tcp *t)
{
	return t->wanted || t->shared || !t->owner.pid;
}

static __always_inline void list_mover(struct tcp *t, __u64 key)
{
	if (listing && !t->listed && is_read(t))
		list(t, key);
}

static __always_inline __u64 since(__u64 n, __u64 before)
{
	return n > before ? n - before : 0;
}

/*
 * Fills in what a socket has moved since it was noted. False: it cannot be told
 * now; or it has been destroyed meanwhile, and what was read is another one's.
 */
static __always_inline bool read_bytes(struct tcp_record *r)
{
	struct sock *sk = (struct sock *)r->socket;
	__u64 tx, rx;
	struct tcp *t;

	if (!r->tcp.placed)
		return false;
	tx = tcp_sent_bytes(sk);
	rx = tcp_read(sk, r->tcp.origin, &r->unread);
	rx += r->unread;
	/* Looked at afterwards: what has ended may be used again. */
	t = bpf_map_lookup_elem(&socks, &r->socket);
	if (!t || t->born != r->tcp.born)
		return false;
	r->tcp.tx = t->ended ? t->end_tx : since(tx, t->tx);
	r->tcp.rx = t->ended ? t->end_rx : since(rx, t->rx);
	/* What had come before is not counted when it is read. */
	if (r->unread > r->tcp.rx)
		r->unread = r->tcp.rx;
	return true;
}

/* The counters stop here: who uses the socket again has them set to zero. */
static __always_inline void end(struct tcp *t, struct sock *sk)
{
	if (t->ended)
		return;
	t->end_tx = since(tcp_sent_bytes(sk), t->tx);
	t->end_rx = since(tcp_received_bytes(sk), t->rx);
	barrier();
	t->ended = 1;
}

/* Tells the last reading and forgets the socket. */
static __noinline void gone(void *ctx, struct tcp *t, struct sock *sk)
{
	struct tcp_record r = {.socket = (__u64)sk, .last = 1};

	end(t, sk);
	/* Nobody has moved a byte: who closes it is in the best position to. */
	if (!t->owner.pid && (t->end_tx || t->end_rx))
		own_by_current(t);
	if (!t->placed)
		place(t, sk);
	__builtin_memcpy(&r.tcp, t, sizeof(r.tcp));
	r.tcp.tx = t->end_tx;
	r.tcp.rx = t->end_rx;
	if (t->listed)
		bpf_map_delete_elem(&movers, &r.socket);
	if (bpf_map_delete_elem(&socks, &r.socket))
		return;
	if ((r.tcp.tx || r.tcp.rx) && (r.tcp.wanted || r.tcp.shared))
		send_record(ctx, &r, sizeof(r), ring_full);
}

/*
 * Whether what is noted at an address is of an earlier use of the socket, or of
 * another one, whose end was missed.
 */
static __always_inline bool begins_anew(const struct tcp *t, struct sock *sk, int from, int to)
{
	if (to == TCP_SYN_SENT || from == TCP_LISTEN)
		return true;
	if (to != TCP_ESTABLISHED)
		return false;
	return t->ended || (from == TCP_SYN_RECV && t->placed && !has_ports(sk, t->ports));
}

static __noinline void note_client(struct sock *sk)
{
	struct tcp t = {.role = client};

	fill_current(&t.owner);
	t.wanted = wanted_process(t.owner.pid, t.owner.uid);
	note(&t, sk);
}

static __noinline void note_server(struct sock *sk)
{
	struct tcp t = {.role = server};

	place(&t, sk);
	note(&t, sk);
}

static __noinline int set_state(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];
	int from = ctx[1], to = ctx[2];
	__u64 key = (__u64)sk;
	struct tcp *found;

	if (!is_tcp_step(sk, to))
		return 0;
	found = bpf_map_lookup_elem(&socks, &key);
	if (found && begins_anew(found, sk, from, to)) {
		/* Its end was missed: what it moved since the last reading nobody can tell. */
		if (!found->ended)
			count_lost(step_missed);
		gone(ctx, found, sk);
		found = NULL;
	}
	if (to == TCP_SYN_SENT) {
		note_client(sk);
	} else if (to == TCP_ESTABLISHED) {
		/* From SYN_SENT: ends are known. Else the current task is a stranger. */
		if (found)
			place(found, sk);
		else if (from == TCP_SYN_RECV)
			note_server(sk);
	} else if (found && to == TCP_CLOSE) {
		end(found, sk);
	} else if (found && !found->owner.pid && from != TCP_SYN_SENT) {
		/* Only the process that closes or shuts down takes these steps. */
		own_by_current(found);
	}
	return 0;
}

STEP_COPIES("raw_tp/inet_sock_set_state", traffic_set_state, state_step, set_state)

static __noinline int destroyed(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];
	__u64 key = (__u64)sk;
	struct tcp *t;

	t = bpf_map_lookup_elem(&socks, &key);
	if (!t)
		return 0;
	/* One that had no connection, at the address of one whose end was missed. */
	if (!t->ended && t->placed && !has_ports(sk, t->ports))
		count_lost(step_missed);
	gone(ctx, t, sk);
	return 0;
}

STEP_COPIES("raw_tp/tcp_destroy_sock", traffic_destroy, destroy_step, destroyed)

/* Calls. */

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

/* Readings: what has changed since the last one. */

/*
 * Whether the owner that was copied is one: not if another has just been put in
 * its place, or is about to be.
 */
static __always_inline bool has_owner(const struct party *copy, const struct party *now)
{
	const __u64 *a = (void *)copy->comm, *b = (void *)now->comm;

	barrier();
	return copy->pid && copy->pid == now->pid && copy->start == now->start &&
	       copy->cgroup == now->cgroup && copy->uid == now->uid && a[0] == b[0] && a[1] == b[1];
}

#define FLAGS(t) ((t)->sure | (t)->shared << 1 | (t)->several << 2 | !!(t)->owner.pid << 3)

/*
 * Whether a socket is as it was when all was told of it, by as few looks as may be:
 * its numbers go on with each byte that is sent, or read.
 */
static __always_inline bool is_idle(const struct tcp *t, struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;

	return t->seen && t->told == FLAGS(t) && LOAD(tp, snd_nxt) == t->seen_sent &&
	       LOAD(tp, copied_seq) == t->seen_read;
}

/* Whether bytes wait that a process has written: they leave without a call. */
static __always_inline bool has_unsent(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;

	return LOAD(tp, write_seq) != LOAD(tp, snd_nxt);
}

/* Takes a reading of a socket that is not idle, and tells what is new. False: nothing. */
static __noinline bool read_sock(struct seq_file *seq, struct tcp *t, __u64 key)
{
	struct tcp_record r = {.socket = key};
	struct sock *sk = (struct sock *)key;
	struct tcp_sock *tp = (void *)sk;
	__u32 sent_to, read_to;

	if (!t->placed)
		place_late(t, sk);
	t->seen = 0;
	/* Before the bytes are: what moves meanwhile makes it another one. */
	sent_to = LOAD(tp, snd_nxt);
	read_to = LOAD(tp, copied_seq);
	barrier();
	__builtin_memcpy(&r.tcp, t, sizeof(r.tcp));
	if (!has_owner(&r.tcp.owner, &t->owner))
		r.tcp.owner.pid = 0; /* the next reading tells */
	if (!read_bytes(&r))
		return true;
	/* Of what has moved nothing there is nothing to tell: it may stay so for long. */
	if ((r.tcp.tx || r.tcp.rx || t->told_tx || t->told_rx) &&
	    (tell_all || r.tcp.tx != t->told_tx || r.tcp.rx - r.unread != t->told_rx ||
	     FLAGS(&r.tcp) != t->told)) {
		/* If it finds no room it is asked again. */
		if (bpf_seq_write(seq, &r, sizeof(r)))
			return true;
		t->told_tx = r.tcp.tx;
		t->told_rx = r.tcp.rx - r.unread;
		t->told = FLAGS(&r.tcp);
		return true;
	}
	t->told = FLAGS(&r.tcp);
	t->seen_sent = sent_to;
	t->seen_read = read_to;
	t->seen = 1;
	return false;
}

/* All sockets. Those that move are listed. */
SEC("iter/bpf_map_elem")
int traffic_read_socks(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *at = ctx->key, key;
	struct tcp *t = ctx->value;

	if (!at || !t || !is_read(t))
		return 0;
	key = *at;
	if (!tell_all && is_idle(t, (struct sock *)key)) {
		if (listing && has_unsent((struct sock *)key))
			list_mover(t, key);
		return 0;
	}
	/* What the iterator has may be another one's meanwhile. */
	t = bpf_map_lookup_elem(&socks, &key);
	if (t && read_sock(ctx->meta->seq, t, key))
		list_mover(t, key);
	return 0;
}

/*
 * Those that move. One that has not since the last reading, and has nothing left to
 * send, is taken off.
 */
SEC("iter/bpf_map_elem")
int traffic_read_movers(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *at = ctx->key, key;
	struct sock *sk;
	struct tcp *t;

	if (!at)
		return 0;
	key = *at;
	sk = (struct sock *)key;
	t = bpf_map_lookup_elem(&socks, &key);
	if (t && is_read(t) && !is_idle(t, sk)) {
		read_sock(ctx->meta->seq, t, key);
		return 0;
	}
	if (t && has_unsent(sk))
		return 0;
	bpf_map_delete_elem(&movers, &key);
	if (t)
		t->listed = 0;
	/* It may have moved in between, by a call that found it listed. */
	if (t && is_read(t) && !is_idle(t, sk))
		list(t, key);
	return 0;
}

SEC("iter/bpf_map_elem")
int traffic_read_shares(struct bpf_iter__bpf_map_elem *ctx)
{
	struct share_record r = {};
	struct share_key *key = ctx->key;
	struct share *s = ctx->value;

	if (!key || !s)
		return 0;
	__builtin_memcpy(&r.key, key, sizeof(r.key));
	__builtin_memcpy(&r.share, s, sizeof(r.share));
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

SEC("iter/bpf_map_elem")
int traffic_read_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_record r = {};
	struct flow_key *key = ctx->key;
	struct flow *f = ctx->value;

	if (!key || !f)
		return 0;
	__builtin_memcpy(&r.key, key, sizeof(r.key));
	__builtin_memcpy(&r.flow, f, sizeof(r.flow));
	if (!tell_all && r.flow.tx == f->told_tx && r.flow.rx == f->told_rx)
		return 0;
	if (!bpf_seq_write(ctx->meta->seq, &r, sizeof(r))) {
		f->told_tx = r.flow.tx;
		f->told_rx = r.flow.rx;
	}
	return 0;
}

/*
 * A look at all files of all processes: who holds the sockets that nobody has
 * moved bytes of? The first look also notes what is older than tracing.
 */
SEC("iter/task_file")
int traffic_look(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct party p = {};
	struct sock *sk;
	struct tcp *t;
	__u64 key;

	if (!task || !ctx->file)
		return 0;
	sk = file_tcp_socket(ctx->file);
	if (!sk)
		return 0;
	key = (__u64)sk;
	t = bpf_map_lookup_elem(&socks, &key);
	if (!t) {
		int state = BPF_CORE_READ(sk, __sk_common.skc_state);
		struct tcp fresh = {};

		if (look != 1 || state == TCP_CLOSE || state == TCP_LISTEN)
			return 0;
		if (state != TCP_SYN_SENT && state != TCP_SYN_RECV) {
			place(&fresh, sk);
			fresh.tx = tcp_sent_bytes(sk);
			fresh.rx = tcp_received_bytes(sk);
		}
		fresh.role = has_called(sk, state) ? client : server;
		note(&fresh, sk);
		t = bpf_map_lookup_elem(&socks, &key);
		if (!t)
			return 0;
	}
	if (t->sure || t->shared)
		return 0;
	fill_party(&p, task, BPF_CORE_READ(task, cred, uid.val), task_cgroup(task));
	if (t->look != look) {
		t->several = 0;
		t->look = look;
		own(t, &p);
	} else if (t->owner.pid != p.pid) {
		t->several = 1;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
