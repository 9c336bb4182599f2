/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connects, from the first step to the last, and why they fail. */
#ifndef TRACER_CONN_CONNECT_H
#define TRACER_CONN_CONNECT_H

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

#endif
