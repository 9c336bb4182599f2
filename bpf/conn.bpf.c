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

#include "conn/state.h"

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

#include "conn/connect.h"

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

#include "conn/calls.h"
#include "conn/older.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
