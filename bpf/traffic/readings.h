/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Readings: what has changed since the last one; and the look at who holds sockets. */
#ifndef TRACER_TRAFFIC_READINGS_H
#define TRACER_TRAFFIC_READINGS_H

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

#endif
