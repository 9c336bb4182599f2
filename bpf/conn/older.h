/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets that are older than tracing, and those whose end nobody has seen. */
#ifndef TRACER_CONN_OLDER_H
#define TRACER_CONN_OLDER_H

#include "listeners.h"
#include "open.h"

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

#endif
