//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which TCP connections are opened, accepted, refused and closed, by whom, and
 * what did they carry?
 *
 * Hooks: the raw tracepoint inet_sock_set_state tells every step of a socket's
 * life, on every kernel. Most of the steps are taken by whichever task a packet
 * interrupts, so that the owner is noted where the current task is the right
 * one: when it begins to connect, and when it accepts. Accepting and failing at
 * once are no steps of that kind; three ways lead to them:
 *
 *   fentry      security_sock_graft, which every accept calls on its way out
 *               (a task that slept in accept() before tracing began, too), and
 *               the return of tcp_v4_connect and tcp_v6_connect
 *   kprobe      the same functions
 *   tracepoint  the return of accept, accept4 and connect: raw sys_exit, which
 *               runs at every system call of the host, hence only where
 *               functions cannot be hooked; and io_uring_complete
 *
 * Missed by the tracepoint way: what 32-bit programs accept; accepts of io_uring
 * that are multishot or into a fixed file; a connect by io_uring or by
 * sendto(MSG_FASTOPEN) that fails before a SYN is sent.
 *
 * Some kernels run no programs while one of their protected tasks is current, and
 * a packet may take a connection a step further then: what was missed in such a
 * way is noticed later and counted (step_missed).
 *
 * Oldest kernel: 5.8 (bpf_ktime_get_boot_ns, iterators).
 */
#include "copies.h"
#include "filter.h"
#include "output.h"
#include "ports.h"
#include "socket.h"

/* What a record tells of. */
enum event {
	connect = 1,
	connect_failed,
	connect_waits, /* a SYN was sent; every one, or from the second on */
	accept,
	close,
};

enum __attribute__((packed)) state {
	connecting = 1,
	failing, /* at once; why is told by the return of connect */
	failed,	 /* and told */
	open,
	ended, /* and told */
};

enum __attribute__((packed)) side {
	own = 1,
	peer,
};

/* What sending waits for: enum tcp_chrono of the kernel. */
enum limit {
	unlimited,
	busy, /* acknowledgements */
	rwnd_limited,
	sndbuf_limited,
};

enum reason {
	closed = 1,
	reset,
	timed_out,
};

/* A socket and who owns it. src is who called, whatever end this is. */
struct conn {
	/* SYN sent, or accepted: ns, boot clock; 0 if before tracing. If untold: when that was. */
	__u64 start;
	__u64 cgroup;
	__u64 id;     /* conn_id_of() */
	__u8 src[16]; /* IPv4 as ::ffff:a.b.c.d; zero if unknown */
	__u8 dst[16];
	__u32 pid; /* 0: not known yet, see untold */
	__u32 uid;
	__s32 error;  /* why it failed, an errno */
	__u32 ports;  /* for has_ports() */
	char comm[COMM_LEN];
	__u16 sport;
	__u16 dport;
	__u32 errors; /* the newest message in the queue of errors when the connect began */
	__u32 idle;   /* ticks without a byte when the first side closed, if idle_known */
	enum role role;
	enum state state;
	enum side closed_by; /* who sent the first FIN */
	enum side reset_by;  /* who sent a RST */
	__u8 before;	     /* open when tracing began */
	__u8 adopted;	     /* met when it began to close: its accept may be told yet */
	enum naming naming;  /* of id */
	__u8 soft;	     /* sk_err_soft was set when the connect began */
	__u8 unwanted;	     /* filters leave its owner out: kept so that nobody else is taken for it */
	__u8 untold;	     /* an event that is told when the owner is known: enum event */
	__u8 reason;	     /* of that, if it is a close: enum reason */
	__u8 idle_known;
};

struct conn_record {
	__u64 sent; /* by output() */
	__u64 time; /* ns, boot clock */
	__u64 socket;
	struct conn conn;
	__u64 tx; /* payload bytes sent at least once */
	__u64 rx;
	__u64 queued; /* of an accept: ns */
	enum event type;
	__u32 retransmits; /* segments, SYNs included; of an accept SYN-ACKs sent again */
	__u32 srtt_us;
	enum reason reason;
	__u32 min_rtt_us;  /* of a close, as all that follows: conn/measure.h */
	__u32 busy;	   /* ticks in which only acknowledgements were waited for */
	__u32 rwnd_limited;
	__u32 sndbuf_limited;
	enum limit limit;  /* what is waited for now */
	__u32 limited;	   /* for so many ticks */
	__u32 unread;	   /* bytes */
	__u32 backlog;	   /* of an accept, as queued: conn/queue.h */
	__u32 backlog_max;
	__u32 pad;
};

/*
 * Sockets by their address. Inserted by the owner (connect, accept), by the
 * iterator that looks for sockets older than tracing, and, while that looks, by
 * what happens to one that it has not met yet; deleted when the
 * connection ends, or with the socket if it failed, which its owner may learn
 * long after. Who deletes an entry tells the end, so that it is told once.
 * Bounded by max_entries, which user space sets: a socket without room is counted
 * as map_full, if it is a wanted one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, __u64);
	__type(value, struct conn);
} socks SEC(".maps");

/* A call of tcp_v4_connect or tcp_v6_connect, from kprobe to kretprobe. */
struct connect_call {
	__u64 sk;
	__u64 addr;
	__u64 family;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* thread */
	__type(value, struct connect_call);
} calls SEC(".maps");

/* Calls that have copies, for first_call(). */
enum copied {
	COPIED_ACCEPT,
	COPIED_CONNECT4,
	COPIED_CONNECT6,
	COPIED_SYSCALL,
	COPIED_LENGTH,
};

/* Knobs. */
const volatile bool only_failed;
const volatile bool only_slow; /* connects, and nothing else */
const volatile __u64 slow_ns;
const volatile bool tell_first; /* the first SYN, too, not only those sent again */
const volatile __s32 nr_accept = -1;
const volatile __s32 nr_accept4 = -1;
const volatile __s32 nr_connect = -1;

/*
 * Set by user space: not all sockets that are older than tracing have been met. One
 * of which a step is seen that nobody was seen to open is such a one then.
 */
volatile __u32 looking;

#include "conn/measure.h"
#include "conn/name.h"
#include "conn/queue.h"

/* Whether a connection passes --port. If not, that is counted. */
static __always_inline bool wanted_ports(const struct conn *c)
{
	if (at_ports(c->sport, c->dport))
		return true;
	count(by_port, 1);
	return false;
}

#include "conn/turns.h"

static __always_inline void fill_owner(struct conn *c, struct task_struct *task)
{
	struct cred *cred = (void *)LOAD(task, cred);

	c->pid = LOAD(task, tgid);
	c->uid = LOAD(cred, uid.val);
	fill_comm(c->comm, task);
}

static __always_inline void fill_current(struct conn *c, struct task_struct *task)
{
	fill_owner(c, task);
	c->cgroup = current_cgroup(task);
}

static __always_inline bool is_kernel(struct task_struct *task)
{
	return LOAD(task, flags) & TASK_IS_KTHREAD;
}

static __noinline void fill_tuple(struct conn *c, struct sock *sk)
{
	bool calls = c->role == client;
	__u16 lport = local_port(sk), rport = remote_port(sk);

	c->ports = LOAD(sk, __sk_common.skc_portpair);
	fill_local(calls ? c->src : c->dst, sk);
	fill_remote(calls ? c->dst : c->src, sk);
	c->sport = calls ? lport : rport;
	c->dport = calls ? rport : lport;
}

/*
 * Sends a record in which conn and time are filled in and all else is zero. It is
 * built where conn is: 512 bytes of stack are for all functions of a chain.
 */
static __noinline void send(void *ctx, struct conn_record *rec, enum event type, struct sock *sk,
			    enum reason reason)
{
	struct tcp_sock *tp = (void *)sk;
	struct conn *c = &rec->conn;

	if (type == connect_failed && only_slow && (!c->start || rec->time - c->start < slow_ns)) {
		count(by_slow, 1);
		return;
	}
	rec->socket = (__u64)sk;
	rec->type = type;
	rec->reason = reason;
	rec->retransmits = LOAD(tp, total_retrans);
	if (type == close) {
		rec->tx = tcp_sent_bytes(sk);
		rec->rx = tcp_received_bytes(sk);
		rec->srtt_us = LOAD(tp, srtt_us) >> 3;
		fill_measures(rec, sk);
		if (count_turns)
			send_talk(ctx, sk, c->start);
	}
	send_record(ctx, rec, sizeof(*rec), type == connect_waits ? detail_missing : ring_full);
}

/* The same of an entry. */
static __noinline void send_entry(void *ctx, struct conn *c, enum event type, struct sock *sk,
				  __u64 now)
{
	struct conn_record rec = {.time = now};

	__builtin_memcpy(&rec.conn, c, sizeof(*c));
	send(ctx, &rec, type, sk, 0);
}

/* Freed, though its memory may not have been used again. */
static __always_inline bool is_gone(struct sock *sk)
{
	return !LOAD(sk, __sk_common.skc_refcnt.refs.counter);
}

/*
 * What is left of a socket at whose address there is another one now: nothing,
 * if all of its steps were seen. No program sees a step while the CPU is at
 * something that the kernel keeps them from.
 */
static __always_inline void count_unseen(const struct conn *left)
{
	if (left->unwanted)
		return;
	if (left->untold || (left->state != failed && left->state != ended))
		count_lost(step_missed);
}

/*
 * Tells what happened to a socket before its owner was known, which a task turns out
 * to be. Who deletes the entry tells; only a connection that has ended needs none.
 */
static __noinline void tell_untold(void *ctx, struct sock *sk, struct conn *found,
				   struct task_struct *task)
{
	struct conn_record rec = {};
	struct conn *c = &rec.conn;
	__u64 key = (__u64)sk;
	enum event type;

	__builtin_memcpy(c, found, sizeof(*c));
	if (!c->untold || (int)bpf_map_delete_elem(&socks, &key))
		return;
	type = c->untold;
	rec.time = c->start;
	c->start = c->untold = 0;
	fill_owner(c, task);
	c->cgroup = task_cgroup(task);
	c->unwanted = !wanted_process(c->pid, c->uid);
	if (type != close && bpf_map_update_elem(&socks, &key, c, BPF_NOEXIST) && !c->unwanted)
		count_lost(map_full);
	if (c->unwanted)
		return;
	if (only_failed && type != connect_failed && c->reason != reset)
		count(by_failed, 1);
	else
		send(ctx, &rec, type, sk, c->reason);
}

/* Notes what happens to a socket whose owner is still to be found. */
static __noinline void note_untold(struct sock *sk, struct conn *c, enum event type)
{
	__u64 key = (__u64)sk;

	c->start = bpf_ktime_get_boot_ns();
	c->before = 1;
	c->untold = type;
	fill_tuple(c, sk);
	if (at_ports(c->sport, c->dport) && bpf_map_update_elem(&socks, &key, c, BPF_ANY))
		count_lost(map_full);
}

/*
 * Notes a socket whose owner filters leave out, so that nobody else is taken for it:
 * no more than it takes to know it again. A connect has no source port yet.
 */
static __noinline int note_unwanted(struct sock *sk, enum state state, bool before)
{
	__u64 key = (__u64)sk;
	struct conn c = {.role = client, .state = state, .before = before, .unwanted = 1};

	fill_tuple(&c, sk);
	if (state == open && !at_ports(c.sport, c.dport))
		return 0;
	if (bpf_map_update_elem(&socks, &key, &c, before ? BPF_NOEXIST : BPF_ANY))
		return 0;
	/* Another thread has closed it: nobody would take the entry away. */
	if (LOAD(sk, __sk_common.skc_state) == TCP_CLOSE && state == open && is_gone(sk))
		bpf_map_delete_elem(&socks, &key);
	return 0;
}

/* CLOSE to SYN_SENT: the current task connects, and is wanted. */
static __noinline void begin_connect(void *ctx, struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct conn_record rec = {};
	struct conn *found, *c = &rec.conn;
	__u64 key = (__u64)sk;
	int err;

	rec.time = c->start = bpf_ktime_get_boot_ns();
	c->errors = newest_error(sk);
	c->soft = !!LOAD(sk, sk_err_soft);
	c->role = client;
	c->state = connecting;
	fill_current(c, task);
	fill_tuple(c, sk);
	/* As an int: before 6.4 the upper half of the result is undefined. */
	err = bpf_map_update_elem(&socks, &key, c, BPF_NOEXIST);
	if (err == -EEXIST) {
		found = bpf_map_lookup_elem(&socks, &key);
		if (found)
			count_unseen(found);
		err = bpf_map_update_elem(&socks, &key, c, BPF_ANY);
	}
	if (err)
		count_lost(map_full);
	/* The source port is not chosen yet: it may be a wanted one. */
	if (tell_first)
		send(ctx, &rec, connect_waits, sk, 0);
}

/* An older socket connects, which the look at those has not met yet. */
static __noinline void note_connected(struct sock *sk, int from)
{
	struct conn c = {.role = client, .state = open};
	struct tcp_isns isns;

	c.naming = name_established(sk, from, true, &isns, &c.id);
	note_untold(sk, &c, connect);
}

static __noinline void end_connect(void *ctx, struct sock *sk, int from)
{
	__u64 key = (__u64)sk, now;
	struct tcp_isns isns;
	struct conn *c = bpf_map_lookup_elem(&socks, &key);

	if (!c && looking && from == TCP_SYN_SENT) {
		note_connected(sk, from);
		return;
	}
	if (!c || c->state != connecting)
		return;
	now = bpf_ktime_get_boot_ns();
	c->state = open;
	fill_tuple(c, sk);
	if (c->unwanted) {
		if (!at_ports(c->sport, c->dport))
			bpf_map_delete_elem(&socks, &key);
		return;
	}
	c->naming = name_established(sk, from, true, &isns, &c->id);
	if (!wanted_ports(c)) {
		bpf_map_delete_elem(&socks, &key);
		return;
	}
	if (only_slow && (!c->start || now - c->start < slow_ns))
		count(by_slow, 1);
	else if (only_failed)
		count(by_failed, 1);
	else
		send_entry(ctx, c, connect, sk, now);
	if (only_slow)
		bpf_map_delete_elem(&socks, &key);
}

/*
 * Why a connect failed, an errno, where the socket has none.
 *
 * An ICMP message that comes while a call holds the socket, as connect does while the
 * SYN leaves, does not end the attempt. The kernel notes it (sk_err_soft) and queues
 * it, which wakes who polls; SO_ERROR then tells what was noted, and forgets it. The
 * program closes the socket, and the message is still in the queue.
 *
 * Before 6.10 the kernel wakes who polls before it takes the step to CLOSE, and
 * SO_ERROR may be faster. Who gives up holds the socket, the kernel's timer does not.
 */
static __noinline int why_failed(struct sock *sk, const struct conn *c)
{
	__u64 newest = newest_error(sk);
	int error = 0;

	if (newest && (__u32)newest != c->errors)
		error = icmp_error_of(newest);
	if (!error && !c->soft)
		error = LOAD(sk, sk_err_soft);
	if (error)
		return error;
	return LOAD(sk, sk_lock.owned) ? ECANCELED : ETIMEDOUT;
}

/*
 * SYN_SENT to CLOSE. Without an error an ICMP message has rejected it, or the caller
 * gave up, by closing the socket, or connect itself is failing and its return tells
 * why: then no SYN has left.
 */
static __noinline void fail_connect(void *ctx, struct sock *sk, struct conn *c, int error)
{
	struct tcp_sock *tp = (void *)sk;

	fill_tuple(c, sk);
	if (!error && LOAD(sk, sk_shutdown) != SHUTDOWN_MASK && !LOAD(tp, segs_out)) {
		c->state = failing;
		return;
	}
	c->state = failed;
	if (c->unwanted)
		return;
	c->error = error ?: why_failed(sk, c);
	if (wanted_ports(c))
		send_entry(ctx, c, connect_failed, sk, bpf_ktime_get_boot_ns());
}

/* A global function, verified once: what follows does not depend on the way through it. */
__noinline enum reason reason_of(__u64 socket, int from, int error)
{
	struct sock *sk = (struct sock *)socket;
	struct tcp_sock *tp = (void *)sk;

	switch (error) {
	case 0:
		/*
		 * A process was faster to fetch it: see why_failed(). This side's RST
		 * leaves while a call holds the socket.
		 */
		if ((from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT) &&
		    !LOAD(sk, sk_lock.owned))
			return timed_out;
		break;
	case ECONNRESET:
	case EPIPE:	   /* reset after the peer's FIN */
	case ECONNABORTED: /* by the administrator */
		return reset;
	default:
		return timed_out;
	}
	switch (from) {
	case TCP_SYN_RECV:
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_CLOSE_WAIT:
		/* A step that only this side's own RST makes. */
		return reset;
	case TCP_FIN_WAIT2:
		/* Closed with data unread, which is answered by RST, before a FIN came. */
		if (!fin_has_come(sk) && LOAD(tp, rcv_nxt) != LOAD(tp, copied_seq))
			return reset;
	}
	return closed;
}

/* A state says which side the first FIN is from. */
static __always_inline enum side first_to_close(int state)
{
	switch (state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
		return own;
	case TCP_CLOSE_WAIT:
	case TCP_LAST_ACK:
		return peer;
	}
	return 0;
}

/* from is CLOSE if the step to that was not seen, or before it was accepted. */
static __always_inline enum reason fill_end(struct conn *c, struct sock *sk, int from, int error)
{
	enum reason reason = reason_of((__u64)sk, from, error);

	if (!c->closed_by)
		c->closed_by = first_to_close(from);
	if (reason == reset) {
		c->reset_by = error && error != ECONNABORTED ? peer : own;
		if (!c->closed_by)
			c->closed_by = c->reset_by;
	}
	return reason;
}

static __always_inline void send_closed(void *ctx, struct sock *sk, struct conn_record *rec,
					int from, int error)
{
	enum reason reason = fill_end(&rec->conn, sk, from, error);

	note_idle(&rec->conn, sk, from);
	if (reason == reset && !error)
		rec->unread = unread_bytes((__u64)sk);
	if (only_slow || (only_failed && reason != reset)) {
		count(only_slow ? by_slow : by_failed, 1);
		return;
	}
	rec->time = bpf_ktime_get_boot_ns();
	send(ctx, rec, close, sk, reason);
}

/*
 * A step to CLOSE of a socket that the look at older ones has not met yet: it is told
 * when the look meets it, or when its process closes it.
 */
static __noinline void end_unmet(struct sock *sk, int from, int error)
{
	struct conn c = {.role = client};

	if (from == TCP_SYN_SENT) {
		c.state = failed;
		c.error = error ?: why_failed(sk, &c);
		note_untold(sk, &c, connect_failed);
		return;
	}
	if (!has_called(sk, from))
		c.role = server;
	c.state = ended;
	name_as_met(&c, sk, from);
	c.reason = fill_end(&c, sk, from, error);
	note_idle(&c, sk, from);
	note_untold(sk, &c, close);
}

/* Any open state to CLOSE. */
static __noinline void end_open(void *ctx, struct sock *sk, struct conn *found, int from, int error)
{
	struct conn_record rec = {};
	__u64 key = (__u64)sk;
	int err;

	if (found->unwanted) {
		bpf_map_delete_elem(&socks, &key);
		return;
	}
	if (!has_ports(sk, found->ports)) {
		count_unseen(found);
		bpf_map_delete_elem(&socks, &key);
		return;
	}
	__builtin_memcpy(&rec.conn, found, sizeof(*found));
	err = found->adopted ? -EBUSY : bpf_map_delete_elem(&socks, &key);
	if (err == -ENOENT)
		return;
	if (err) /* a late accept must find it, or its bucket is busy: it goes with the socket */
		found->state = ended;
	if (rec.conn.naming == unnamed)
		name_as_met(&rec.conn, sk, from);
	send_closed(ctx, sk, &rec, from, error);
}

/*
 * A socket that nobody was seen to open begins to close: this is done by the
 * task that has it. It was accepted in a way that is not hooked, or handed over
 * while tracing began.
 */
static __noinline void adopt(struct sock *sk, int from)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 key = (__u64)sk;
	struct conn c = {};

	/* What filters leave out was counted when it began. */
	if (only_slow || is_kernel(task) || filtered(LOAD(task, tgid)) != WANTED)
		return;
	c.role = has_called(sk, from) ? client : server;
	c.state = open;
	c.before = looking;
	c.adopted = 1;
	c.closed_by = first_to_close(from);
	note_idle(&c, sk, from);
	name_as_met(&c, sk, from);
	fill_current(&c, task);
	fill_tuple(&c, sk);
	if (!at_ports(c.sport, c.dport))
		return;
	if (!looking && !only_failed)
		count_lost(c.role == server ? accept_missed : step_missed);
	if (bpf_map_update_elem(&socks, &key, &c, BPF_NOEXIST))
		count_lost(map_full);
}

/*
 * Whether a socket that is not known is older than tracing, and a process has it: not
 * yet that of one that is to be accepted, and no more that of one that was closed.
 */
static __always_inline bool is_older(struct sock *sk, int from)
{
	return looking && from != TCP_LISTEN && from != TCP_SYN_RECV && LOAD(sk, sk_socket);
}

static __noinline int set_state(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];
	int from = ctx[1], to = ctx[2];
	__u64 key = (__u64)sk;
	struct conn *c;
	int error;

	/* First of all: what one misses and another sees is no loss, whatever it is. */
	if (!is_tcp_step(sk, to == TCP_CLOSE_WAIT ? TCP_FIN_WAIT1 : to))
		return 0;
	if (to == TCP_SYN_SENT) {
		struct task_struct *task = (void *)bpf_get_current_task();

		if (wanted(LOAD(task, tgid))) {
			begin_connect(ctx, sk);
		} else if (!only_slow) {
			c = bpf_map_lookup_elem(&socks, &key);
			if (c)
				count_unseen(c);
			note_unwanted(sk, connecting, false);
		}
		return 0;
	}
	if (to == TCP_ESTABLISHED) {
		/* Those that are to be accepted have no owner yet, and no file. */
		if (from == TCP_SYN_SENT || LOAD(sk, sk_socket))
			end_connect(ctx, sk, from);
		return 0;
	}
	c = bpf_map_lookup_elem(&socks, &key);
	if (to == TCP_CLOSE && (c ? c->untold == connect : is_older(sk, from))) {
		if (c)
			count_lost(step_missed); /* that it was connected */
		end_unmet(sk, from, LOAD(sk, sk_err));
		return 0;
	}
	if (!c || c->untold) {
		if (to != TCP_FIN_WAIT1 && to != TCP_LAST_ACK)
			return 0;
		if (c)
			tell_untold(ctx, sk, c, (void *)bpf_get_current_task());
		else
			adopt(sk, from);
		c = bpf_map_lookup_elem(&socks, &key);
		if (!c)
			return 0;
	}
	if (c->unwanted && to != TCP_CLOSE)
		return 0;
	if (c->state == connecting && from != TCP_SYN_SENT) {
		/* That it was connected was not seen, or that it failed. */
		count_lost(step_missed);
		if (c->dport != remote_port(sk)) {
			/* And this is another socket at its address. */
			bpf_map_delete_elem(&socks, &key);
			return 0;
		}
		fill_tuple(c, sk);
		c->state = open;
	}
	if (to != TCP_CLOSE) {
		if (!c->closed_by) /* in case that nobody sees the last step */
			c->closed_by = first_to_close(to);
		note_idle(c, sk, from);
		return 0;
	}
	error = LOAD(sk, sk_err);
	if (c->state == connecting)
		fail_connect(ctx, sk, c, error);
	else if (c->state == open)
		end_open(ctx, sk, c, from, error);
	return 0;
}

STEP_COPIES("raw_tp/inet_sock_set_state", conn_set_state, state_step, set_state)

/* Nothing stays of a socket that is gone. */
static __always_inline void forget(void *ctx, struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct conn *c;

	c = bpf_map_lookup_elem(&socks, &key);
	if (c && c->untold) {
		/* Its process closes it; or it has none, as one of the kernel. */
		if (is_kernel((void *)bpf_get_current_task()))
			count_unseen(c);
		else
			tell_untold(ctx, sk, c, (void *)bpf_get_current_task());
		c = bpf_map_lookup_elem(&socks, &key);
	}
	if (!c)
		return;
	if (c->unwanted || c->untold) {
		bpf_map_delete_elem(&socks, &key);
		return;
	}
	if (c->state == open) {
		/* It ended while it was accepted: steps are told before they are taken. */
		end_open(ctx, sk, c, TCP_CLOSE, LOAD(sk, sk_err));
		return;
	}
	if (c->state == connecting) {
		count_lost(step_missed); /* why it failed is not known any more */
	} else if (c->state == failing) {
		/* No return of connect was seen: it was dissolved. */
		c->error = ECANCELED;
		if (wanted_ports(c))
			send_entry(ctx, c, connect_failed, sk, bpf_ktime_get_boot_ns());
	}
	bpf_map_delete_elem(&socks, &key);
}

static __noinline int destroyed(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];

	forget(ctx, sk);
	forget_talk((__u64)sk);
	return 0;
}

STEP_COPIES("raw_tp/tcp_destroy_sock", conn_destroy, destroy_step, destroyed)

static __always_inline __u64 retransmit_step(__u64 *ctx)
{
	struct tcp_sock *tp = (struct tcp_sock *)ctx[0];

	return step_of((struct sock *)tp, TCP_SYN_SENT, TCP_SYN_SENT) ^
	       (__u64)LOAD(tp, total_retrans) << 24;
}

/* A SYN is sent again. */
static __noinline int sent_again(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];
	__u64 key = (__u64)sk;
	struct conn *c;

	if (LOAD(sk, __sk_common.skc_state) != TCP_SYN_SENT)
		return 0;
	c = bpf_map_lookup_elem(&socks, &key);
	if (!c || c->state != connecting || !c->start || c->unwanted)
		return 0;
	fill_tuple(c, sk);
	if (at_ports(c->sport, c->dport))
		send_entry(ctx, c, connect_waits, sk, bpf_ktime_get_boot_ns());
	return 0;
}

STEP_COPIES("raw_tp/tcp_retransmit_skb", conn_retransmit, retransmit_step, sent_again)

/* The current task accepts a socket that is wanted. */
static __noinline int accept_wanted(void *ctx, struct sock *sk, int state)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct conn_record rec = {};
	struct conn *found, *c = &rec.conn;
	struct tcp_isns isns;
	__u64 key = (__u64)sk;

	rec.time = c->start = bpf_ktime_get_boot_ns();
	c->role = server;
	c->state = open;
	c->closed_by = first_to_close(state);
	fill_current(c, task);
	fill_tuple(c, sk);
	if (tcp_find_steady_isns(sk, false, &isns)) {
		c->id = conn_id_of(isns, false);
		c->naming = named;
	}
	if (!wanted_ports(c))
		return 0;
	if (only_failed) {
		count(by_failed, 1);
	} else {
		fill_queue(&rec, sk);
		send(ctx, &rec, accept, sk, 0);
	}
	if (bpf_map_update_elem(&socks, &key, c, BPF_ANY)) {
		count_lost(map_full);
		return 0;
	}
	/* It may have ended already; later steps find the entry. */
	if (LOAD(sk, __sk_common.skc_state) != TCP_CLOSE)
		return 0;
	found = bpf_map_lookup_elem(&socks, &key);
	if (!found || found->start != c->start)
		return 0;
	if (is_gone(sk)) {
		/* Another thread has closed it: nobody would take the entry away. */
		bpf_map_delete_elem(&socks, &key);
		return 0;
	}
	if (found->state == open) {
		found->state = ended;
		__builtin_memcpy(c, found, sizeof(*c));
		send_closed(ctx, sk, &rec, TCP_CLOSE, LOAD(sk, sk_err));
	}
	return 0;
}

/* The current task accepts a socket, or has done so a moment ago. */
static __noinline int accepted(void *ctx, struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct conn *found;
	__u64 key;
	int state;

	sk = tcp_socket(sk);
	if (!sk)
		return 0;
	key = (__u64)sk;
	state = LOAD(sk, __sk_common.skc_state);
	if (state == TCP_LISTEN)
		return 0;
	found = bpf_map_lookup_elem(&socks, &key);
	if (found && !has_ports(sk, found->ports)) {
		count_unseen(found);
	} else if (found && !(found->before && found->state == open)) {
		/* Told already; what was found open before was met on its way here. */
		return 0;
	}
	if (!wanted(LOAD(task, tgid)))
		return note_unwanted(sk, open, false);
	return accept_wanted(ctx, sk, state);
}

/*
 * connect returns an error. Where it is the system call that returns, it may
 * be what has been told already, or no failure: the caller has sorted those
 * out that never are.
 */
static __noinline int connect_fails(void *ctx, struct sock *sk, void *addr, int error, bool syscall)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 key = (__u64)sk;
	struct conn *found = bpf_map_lookup_elem(&socks, &key);
	struct conn_record rec = {.time = bpf_ktime_get_boot_ns()};
	struct conn *c = &rec.conn;

	if (found && found->unwanted)
		return 0;
	/* Steps are told before they are taken: one that was taken and not told was not seen. */
	if (found && (found->state == failing || (found->state == connecting &&
						  LOAD(sk, __sk_common.skc_state) == TCP_CLOSE))) {
		found->state = failed;
		found->error = 0;
		__builtin_memcpy(c, found, sizeof(*c));
	} else if (found && syscall && found->state != failed) {
		return 0;
	} else if (found && syscall && found->error == error) {
		found->error = 0;
		return 0;
	} else {
		if (!wanted(LOAD(task, tgid)))
			return 0;
		c->role = client;
		c->start = rec.time;
		fill_current(c, task);
		fill_tuple(c, sk);
		if (!read_sockaddr(addr, syscall, c->dst, &c->dport))
			return 0;
	}
	c->error = error;
	if (wanted_ports(c))
		send(ctx, &rec, connect_failed, sk, 0);
	return 0;
}

/* The same; that it failed may have been noted, as that of a process that was not known. */
static __noinline int connect_returned(void *ctx, struct sock *sk, void *addr, int error,
				       bool syscall)
{
	__u64 key = (__u64)sk;
	struct conn *found = bpf_map_lookup_elem(&socks, &key);

	if (found && found->untold)
		tell_untold(ctx, sk, found, (void *)bpf_get_current_task());
	return connect_fails(ctx, sk, addr, error, syscall);
}

/*
 * fentry and fexit, which have copies on every kernel: tasks preempt them, too. An
 * IPv6 socket that calls an IPv4 address passes both functions.
 */

static __noinline int accept_by_function(__u64 *ctx, int copy)
{
	/* As a number: of a pointer that the verifier knows global functions take none. */
	struct sock *sk = (struct sock *)load_word(ctx);

	return first_call(copy, COPIED_ACCEPT, number_of(sk), false) ? accepted(ctx, sk) : 0;
}

CALL_COPIES("fentry/security_sock_graft", conn_accept_fentry, accept_by_function)

static __noinline int connect4_returns(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];
	int ret = ctx[3];

	if (!first_call(copy, COPIED_CONNECT4, number_of(sk), true) || ret >= 0 ||
	    LOAD(sk, __sk_common.skc_family) != AF_INET)
		return 0;
	return connect_returned(ctx, sk, (void *)ctx[1], -ret, false);
}

CALL_COPIES("fexit/tcp_v4_connect", conn_connect4_fexit, connect4_returns)

static __noinline int connect6_returns(__u64 *ctx, int copy)
{
	struct sock *sk = (struct sock *)ctx[0];
	int ret = ctx[3];

	if (!first_call(copy, COPIED_CONNECT6, number_of(sk), true) || ret >= 0)
		return 0;
	return connect_returned(ctx, sk, (void *)ctx[1], -ret, false);
}

CALL_COPIES("fexit/tcp_v6_connect", conn_connect6_fexit, connect6_returns)

/* kprobe and kretprobe. */

SEC("kprobe/security_sock_graft")
int conn_accept_kprobe(void *ctx)
{
	return accepted(ctx, (struct sock *)register_arg(ctx, 0));
}

static __always_inline int connect_called(void *ctx, __u16 family)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct connect_call call = {
		.sk = register_arg(ctx, 0),
		.addr = register_arg(ctx, 1),
		.family = family,
	};
	struct sock *sk = (struct sock *)call.sk;

	if (LOAD(sk, __sk_common.skc_family) == family)
		bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static __always_inline int connect_returns(void *ctx, __u16 family)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct connect_call *found = bpf_map_lookup_elem(&calls, &thread);
	struct connect_call call;
	int ret = register_return(ctx);

	if (!found || found->family != family)
		return 0;
	call = *found;
	bpf_map_delete_elem(&calls, &thread);
	if (ret >= 0)
		return 0;
	return connect_returned(ctx, (struct sock *)call.sk, (void *)call.addr, -ret, false);
}

SEC("kprobe/tcp_v4_connect")
int conn_connect4_kprobe(void *ctx)
{
	return connect_called(ctx, AF_INET);
}

SEC("kretprobe/tcp_v4_connect")
int conn_connect4_kretprobe(void *ctx)
{
	return connect_returns(ctx, AF_INET);
}

SEC("kprobe/tcp_v6_connect")
int conn_connect6_kprobe(void *ctx)
{
	return connect_called(ctx, AF_INET6);
}

SEC("kretprobe/tcp_v6_connect")
int conn_connect6_kretprobe(void *ctx)
{
	return connect_returns(ctx, AF_INET6);
}

/* Tracepoints alone. */

/* The TCP socket behind a file descriptor of the current task. */
static __always_inline struct sock *fd_tcp_socket(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *table = LOAD(task, files);
	struct fdtable *fdt = LOAD(table, fdt);
	__u64 files = load_word((void *)fdt + bpf_core_field_offset(fdt->fd));

	if (fd >= LOAD(fdt, max_fds))
		return NULL;
	return file_tcp_socket((void *)load_word((void *)(files + fd * sizeof(struct file *))));
}

/* Whether a copy is the first to see a system call return that has to do with a socket. */
static __always_inline bool first_syscall(int copy, struct sock *sk)
{
	return !has_copies || first_call(copy, COPIED_SYSCALL, number_of(sk), true);
}

static __noinline int accept_returns(void *ctx, int copy, int fd)
{
	struct sock *sk = fd_tcp_socket(fd);

	return sk && first_syscall(copy, sk) ? accepted(ctx, sk) : 0;
}

static __noinline int connect_syscall_returns(void *ctx, int copy, void *regs, int error)
{
	struct sock *sk;

	switch (error) {
	case EINTR:
	case ERESTARTSYS:
	case EINPROGRESS:
	case EALREADY:
	case EISCONN:
		return 0;
	}
	sk = fd_tcp_socket(syscall_arg(regs, 0, false));
	if (!sk || !first_syscall(copy, sk))
		return 0;
	return connect_returned(ctx, sk, (void *)syscall_arg(regs, 1, false), error, true);
}

static __always_inline int syscall_returns(void *ctx, int copy, int nr, void *regs, long ret)
{
	bool accepts = nr == nr_accept4 || nr == nr_accept;

	if (!accepts && nr != nr_connect)
		return 0;
	if (accepts != (ret >= 0) || syscall_is_32bit((void *)bpf_get_current_task(), false))
		return 0;
	return accepts ? accept_returns(ctx, copy, ret) :
			 connect_syscall_returns(ctx, copy, regs, -ret);
}

/* Inlined, as most of its runs end at once. */
static __always_inline int sys_exit(__u64 *ctx, int copy)
{
	void *regs = (void *)ctx[0];

	return syscall_returns(ctx, copy, syscall_number(regs, true), regs, ctx[1]);
}

CALL_COPIES("tp_btf/sys_exit", conn_sys_exit, sys_exit)

/* Where the kernel does not describe its types itself. */
SEC("raw_tp/sys_exit")
int conn_sys_exit_raw(__u64 *ctx)
{
	void *regs = (void *)ctx[0];

	return syscall_returns(ctx, 0, syscall_number(regs, false), regs, ctx[1]);
}

/*
 * A request that goes on (multishot) comes without its own kind here: what
 * it has made is an accept if it is a socket that is open and not known.
 */
static __always_inline int request_completes(void *ctx, struct io_kiocb *req, int result)
{
	if (result <= 0 || (req && BPF_CORE_READ(req, opcode) != IORING_OP_ACCEPT))
		return 0;
	return accept_returns(ctx, 0, result);
}

/*
 * From 5.17 to 6.10 or so: context, request, user data, result, flags and
 * maybe more. It does not attach where there are fewer.
 */
SEC("raw_tp/io_uring_complete")
int conn_result_io_uring(__u64 *ctx)
{
	__u64 flags = ctx[4];

	barrier_var(flags);
	return request_completes(ctx, (void *)ctx[1], ctx[3]);
}

/* Later: context, request, completion. Before: context, user data, result. */
SEC("raw_tp/io_uring_complete")
int conn_cqe_io_uring(__u64 *ctx)
{
	struct io_kiocb *req = (void *)ctx[1];
	struct io_uring_cqe *cqe = (void *)ctx[2];

	if (bpf_core_field_exists(req->cqe))
		return request_completes(ctx, req, BPF_CORE_READ(cqe, res));
	/* What the kernel's workers complete is not in their own table of files. */
	if (is_kernel((void *)bpf_get_current_task()))
		return 0;
	return request_completes(ctx, NULL, (__s64)cqe);
}

/* Sockets that are older than tracing. */

#include "conn/listeners.h"
#include "conn/open.h"

/* After so many files a byte is written: who reads may stop in between. */
#define LOOK_STEP 512

/*
 * Notes a socket that a process has, if it is older than tracing. True: the process is
 * not wanted.
 */
static __noinline bool note_older(void *ctx, struct sock *sk, struct task_struct *task, int state)
{
	__u64 key = (__u64)sk;
	struct conn *found = bpf_map_lookup_elem(&socks, &key);
	struct open_record rec = {.accepted = 1};
	struct conn *c = &rec.conn;

	if (state == TCP_CLOSE)
		return false;
	fill_owner(c, task);
	/* Its owner may be known by now. But of several who hold an older one a wanted one is. */
	if (found && !(found->before && found->unwanted))
		return false;
	if (!wanted_process(c->pid, c->uid))
		return true;
	if (found)
		bpf_map_delete_elem(&socks, &key);
	c->cgroup = task_cgroup(task);
	c->before = 1;
	c->state = open;
	c->role = has_called(sk, state) ? client : server;
	if (state == TCP_SYN_SENT)
		c->state = connecting;
	c->closed_by = first_to_close(state);
	name_as_met(c, sk, state);
	fill_tuple(c, sk);
	if (!wanted_ports(c))
		return false;
	if (bpf_map_update_elem(&socks, &key, c, BPF_NOEXIST)) {
		if (!bpf_map_lookup_elem(&socks, &key))
			count_lost(map_full);
	} else if (LOAD(sk, __sk_common.skc_state) == TCP_CLOSE) {
		/* It has ended meanwhile: nobody would take the entry away. */
		bpf_map_delete_elem(&socks, &key);
	} else if (tell_open && state != TCP_SYN_SENT) {
		fill_open(&rec, sk, state);
		send_open(ctx, &rec);
	}
	return false;
}

SEC("iter/task_file")
int conn_open_before(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct conn *c;
	struct sock *sk;
	__u8 step = 0;
	__u64 key;
	int state;

	if (!task || !file)
		return 0;
	if (!(ctx->meta->seq_num % LOOK_STEP))
		bpf_seq_write(ctx->meta->seq, &step, sizeof(step));
	sk = file_tcp_socket(file);
	if (!sk)
		return 0;
	state = LOAD(sk, __sk_common.skc_state);
	if (state == TCP_LISTEN && tell_open)
		note_queue(sk, task);
	if (state == TCP_LISTEN)
		tell_listener(ctx, sk, task);
	if (state == TCP_LISTEN || state == TCP_SYN_RECV)
		return 0;
	key = (__u64)sk;
	c = bpf_map_lookup_elem(&socks, &key);
	if (c && c->untold)
		tell_untold(ctx, sk, c, task);
	else if (note_older(ctx, sk, task, state))
		note_unwanted(sk, state == TCP_SYN_SENT ? connecting : open, true);
	return 0;
}

/*
 * Whether a socket is the one that was noted: its address may be another's, or no
 * socket's at all. Of one that connects the own port is not known from the start.
 */
static __always_inline bool is_still(struct sock *sk, struct conn *c)
{
	switch (c->state) {
	case open:
		return has_ports(sk, c->ports);
	case connecting:
		return remote_port(sk) == c->dport;
	default:
		return true;
	}
}

/*
 * Connections whose end nobody has seen: counted once, when tracing ends. That
 * of others is found out when their address is used again.
 */
SEC("iter/bpf_map_elem")
int conn_ended_unseen(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *at = ctx->key, key;
	struct conn *c, *again;
	struct sock *sk;
	__u64 start;

	if (!at || !ctx->value)
		return 0;
	key = *at;
	sk = (struct sock *)key;
	/* What the iterator has may be another one's meanwhile. */
	c = bpf_map_lookup_elem(&socks, &key);
	if (!c)
		return 0;
	start = c->start;
	if (!c->untold && !is_gone(sk) && is_still(sk, c))
		return 0;
	/* And what was found, while it was looked at. */
	again = bpf_map_lookup_elem(&socks, &key);
	if (again != c || c->start != start)
		return 0;
	count_unseen(c);
	bpf_map_delete_elem(&socks, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
