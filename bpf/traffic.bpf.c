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

#include "traffic/state.h"

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

#include "traffic/calls.h"
#include "traffic/readings.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
