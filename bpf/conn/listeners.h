/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Listeners, and how often each has dropped something. What a full queue drops has no
 * tracepoint, and the kernel counts it by network namespace; whose queue it was is told by
 * the listener's own count, which is no number of connections: see overflow.go.
 */
#ifndef TRACER_CONN_LISTENERS_H
#define TRACER_CONN_LISTENERS_H

/* Its size tells it from other records. */
struct listener {
	__u64 sent; /* by output() */
	__u64 socket;
	__u64 cgroup;
	__u32 netns;
	__u32 pid;
	__u32 uid;
	__u32 drops;
	char comm[COMM_LEN];
	__u16 port;
	__u8 wanted; /* by --pid, --uid and --port */
	__u8 pad[5];
};

FOR_GO(listener, struct listener);

/* False: there is none to tell of. */
static __always_inline bool fill_listener(struct listener *l, struct sock *sk,
					  struct task_struct *task)
{
	struct cred *cred = (void *)LOAD(task, cred);
	struct net *net = (void *)LOAD(sk, __sk_common.skc_net.net);

	if (!bpf_core_field_exists(sk->sk_drops))
		return false;
	l->socket = (__u64)sk;
	l->netns = LOAD(net, ns.inum);
	l->pid = LOAD(task, tgid);
	l->uid = LOAD(cred, uid.val);
	l->drops = LOAD(sk, sk_drops.counter);
	l->port = local_port(sk);
	l->cgroup = task_cgroup(task);
	fill_comm(l->comm, task);
	l->wanted = at_ports(l->port, l->port) && filtered_process(l->pid, l->uid) == WANTED;
	return true;
}

/* One that was there when tracing began. */
static __noinline void tell_listener(void *ctx, struct sock *sk, struct task_struct *task)
{
	struct listener l = {};

	if (fill_listener(&l, sk, task))
		send_record(ctx, &l, sizeof(l), detail_missing);
}

/* All listeners: run when a queue was full. */
SEC("iter/task_file")
int conn_listeners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct listener l = {};
	struct sock *sk;

	if (!task || !file)
		return 0;
	sk = file_tcp_socket(file);
	if (sk && LOAD(sk, __sk_common.skc_state) == TCP_LISTEN && fill_listener(&l, sk, task))
		bpf_seq_write(ctx->meta->seq, &l, sizeof(l));
	return 0;
}

#endif
