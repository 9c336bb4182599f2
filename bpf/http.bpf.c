//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What do processes say to each other in HTTP, and when?
 *
 * A data call on a TCP socket that speaks HTTP is told with the first bytes it
 * moved; user space reads messages out of that (trace/http1). What goes in the
 * direction of requests is kept here until something goes the other way, so
 * that an exchange of one call each way, which most are, takes one record. A
 * socket whose first bytes are no HTTP is not looked at again. Inside of a long
 * body user space says how far it goes (map hints): calls up to there are only
 * summed.
 *
 * A socket that begins with the preface of HTTP/2, is switched to it (h2c), or has
 * a call in mid-connection of nothing but frames that fit one another, with HEADERS
 * among them, is followed frame by frame (http/frames.h). Whether those HEADERS are
 * some, user space says.
 *
 * Hooks, three doors to one body:
 *   A  fexit of tcp_sendmsg, tcp_recvmsg, tcp_splice_read, and tcp_sendpage
 *      where there is one (below 6.5)
 *   B  kprobe and kretprobe of the same
 *   C  the tracepoints sock_send_length and sock_recv_length (6.3), which work
 *      where functions cannot be hooked; where the bytes are, is told by the
 *      registers of the system call. What splice takes out of a socket is not
 *      told there, but by tcp_rcv_space_adjust
 * and inet_sock_set_state and tcp_destroy_sock, on every kernel, for the end. In A and B
 * security_sock_graft says when a connection was accepted (http/spent.h).
 *
 * Missed: the bytes, not their number, of sendfile, splice and zero-copy
 * receives; in A and B what a receive takes that waited before tracing began;
 * and in C of io_uring, sendmmsg and recvmmsg and of 32-bit
 * programs. In C what a ring of io_uring splices out of a socket is known only
 * by the next call. Of Multipath TCP what splice takes out of a socket.
 *
 * Two threads that move bytes in one direction of a socket at the same time
 * are told in one order or the other.
 *
 * Oldest kernel: 5.8 (bpf_ktime_get_boot_ns); C: 6.3.
 */
#include "http/call.h"

/* Calls that have copies, for first_call(): a task has no two of them at once. */
enum copied {
	COPIED_SEND,
	COPIED_RECEIVE,
};

STEP_COPIES("raw_tp/inet_sock_set_state", http_set_state, state_step, state_change)
STEP_COPIES("raw_tp/tcp_destroy_sock", http_destroy_sock, destroy_step, destroyed)

/* --- A: functions --------------------------------------------------------- */

/* Every accept calls it on its way out. */
SEC("fentry/security_sock_graft")
int http_accept(__u64 *ctx)
{
	return note_accept((void *)ctx[0]);
}

static __noinline int moved_by_function(__u64 *ctx, __u32 use, struct sock *sk, struct msghdr *msg,
					int n)
{
	return data_call(ctx, BY_FUNCTION, use, sk, msg, n);
}

/* Whether a copy is the first to see a call return; a socket's next call has another number. */
static __always_inline bool first_data_call(int copy, enum copied what, struct sock *sk)
{
	struct tcp_sock *tp;

	if (!has_copies)
		return true;
	tp = bpf_skc_to_tcp_sock(sk);
	return first_call(copy, what,
			  !tp		      ? 0 :
			  what == COPIED_SEND ? tp->write_seq :
						tp->copied_seq,
			  false);
}

static __always_inline int sendmsg_returns(__u64 *ctx, int copy)
{
	if (!first_data_call(copy, COPIED_SEND, (void *)ctx[0]))
		return 0;
	return moved_by_function(ctx, FOR_SEND + copy, (void *)ctx[0], (void *)ctx[1], ctx[3]);
}

CALL_COPIES("fexit/tcp_sendmsg", http_sendmsg, sendmsg_returns)

/*
 * tcp_recvmsg has had six, five and four arguments, the flags among them in
 * two places. A wrong number would load and read an argument for the result:
 * user space counts them. Kernels that preempt programs have four.
 */
static __always_inline int recvmsg_returns(__u64 *ctx, int copy, __u64 flags, int n)
{
	if (!first_data_call(copy, COPIED_RECEIVE, (void *)ctx[0]) || flags & NOT_TAKEN)
		return 0;
	return moved_by_function(ctx, FOR_RECEIVE + copy, (void *)ctx[0],
				 flags & MSG_TRUNC ? NOWHERE : (void *)ctx[1], n);
}

static __always_inline int recvmsg4_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[3], ctx[4]);
}

static __always_inline int recvmsg5_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[3], ctx[5]);
}

static __always_inline int recvmsg6_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[4], ctx[6]);
}

/* Multipath TCP has functions of its own, with the same arguments. */
CALL_COPIES("fexit/mptcp_sendmsg", http_mptcp_sendmsg, sendmsg_returns)
CALL_COPIES("fexit/mptcp_recvmsg", http_mptcp_recvmsg4, recvmsg4_returns)
COPY("fexit/mptcp_recvmsg", http_mptcp_recvmsg5, recvmsg5_returns, 0)
COPY("fexit/mptcp_recvmsg", http_mptcp_recvmsg6, recvmsg6_returns, 0)

CALL_COPIES("fexit/tcp_recvmsg", http_recvmsg4, recvmsg4_returns)
COPY("fexit/tcp_recvmsg", http_recvmsg5, recvmsg5_returns, 0)
COPY("fexit/tcp_recvmsg", http_recvmsg6, recvmsg6_returns, 0)

SEC("fexit/tcp_sendpage")
int http_sendpage(__u64 *ctx)
{
	return moved_by_function(ctx, FOR_SEND, (void *)ctx[0], NOWHERE, ctx[5]);
}

SEC("fexit/tcp_splice_read")
int http_splice_read(__u64 *ctx)
{
	struct socket *socket = (void *)ctx[0];

	return moved_by_function(ctx, FOR_SPLICE, socket->sk, NOWHERE, ctx[5]);
}

/* --- B: the same functions, by kprobes ------------------------------------ */

SEC("kprobe/security_sock_graft")
int http_k_accept(void *ctx)
{
	return note_accept((void *)register_arg(ctx, 0));
}

/*
 * What a function was called with, until it returns, by thread and use. Not
 * deleted if a return is missed; the oldest give way.
 */
struct pending_call {
	__u64 sk;
	__u64 msg;
	__u64 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct pending_call);
} pending SEC(".maps");

static __always_inline int called(struct sock *sk, __u64 msg, __u64 flags, __u32 dir)
{
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call call = {(__u64)sk, msg, flags};

	if (bpf_map_update_elem(&pending, &key, &call, BPF_ANY))
		count_lost(map_full);
	return 0;
}

static __noinline int returned(void *ctx, __u32 dir)
{
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call *call = bpf_map_lookup_elem(&pending, &key);
	int ret = register_return(ctx);
	__u64 sk, msg, flags;

	if (!call)
		return 0;
	sk = call->sk;
	msg = call->msg;
	flags = call->flags;
	bpf_map_delete_elem(&pending, &key);
	if (flags & NOT_TAKEN)
		return 0;
	if (flags & MSG_TRUNC)
		msg = (__u64)NOWHERE;
	return data_call(ctx, BY_KPROBE, dir == sent ? FOR_SEND : FOR_RECEIVE, (void *)sk,
			 (void *)msg, ret);
}

SEC("kprobe/tcp_sendmsg")
int http_k_sendmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), 0, sent);
}

SEC("kretprobe/tcp_sendmsg")
int http_r_sendmsg(void *ctx)
{
	return returned(ctx, sent);
}

SEC("kprobe/mptcp_sendmsg")
int http_k_mptcp_sendmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), 0, sent);
}

SEC("kretprobe/mptcp_sendmsg")
int http_r_mptcp_sendmsg(void *ctx)
{
	return returned(ctx, sent);
}

SEC("kprobe/mptcp_recvmsg")
int http_k_mptcp_recvmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 3),
		      received);
}

SEC("kprobe/mptcp_recvmsg")
int http_k_mptcp_recvmsg_old(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 4),
		      received);
}

SEC("kretprobe/mptcp_recvmsg")
int http_r_mptcp_recvmsg(void *ctx)
{
	return returned(ctx, received);
}

SEC("kprobe/tcp_sendpage")
int http_k_sendpage(void *ctx)
{
	return called((void *)register_arg(ctx, 0), (__u64)NOWHERE, 0, sent);
}

SEC("kretprobe/tcp_sendpage")
int http_r_sendpage(void *ctx)
{
	return returned(ctx, sent);
}

SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 3),
		      received);
}

/* Up to 5.18 nonblock stood before flags. */
SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg_old(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 4),
		      received);
}

SEC("kretprobe/tcp_recvmsg")
int http_r_recvmsg(void *ctx)
{
	return returned(ctx, received);
}

SEC("kprobe/tcp_splice_read")
int http_k_splice_read(void *ctx)
{
	struct socket *socket = (void *)register_arg(ctx, 0);

	return called(BPF_CORE_READ(socket, sk), (__u64)NOWHERE, 0, received);
}

SEC("kretprobe/tcp_splice_read")
int http_r_splice_read(void *ctx)
{
	return returned(ctx, received);
}

/* --- C: tracepoints ------------------------------------------------------- */

static __noinline int moved_by_tracepoint(__u64 *ctx, __u32 use, int n)
{
	return data_call(ctx, BY_TRACEPOINT, use, (void *)ctx[0], NOWHERE, n);
}

static __always_inline int sent_length(__u64 *ctx, int copy)
{
	if (!first_data_call(copy, COPIED_SEND, (void *)ctx[0]))
		return 0;
	return moved_by_tracepoint(ctx, FOR_SEND + copy, ctx[1]);
}

static __always_inline int received_length(__u64 *ctx, int copy)
{
	if (!first_data_call(copy, COPIED_RECEIVE, (void *)ctx[0]) || ctx[2] & NOT_TAKEN)
		return 0;
	return moved_by_tracepoint(ctx, FOR_RECEIVE + copy + (ctx[2] & MSG_TRUNC ? THROWN_AWAY : 0),
				   ctx[1]);
}

CALL_COPIES("tp_btf/sock_send_length", http_send_length, sent_length)
CALL_COPIES("tp_btf/sock_recv_length", http_recv_length, received_length)

/*
 * Called whenever bytes were taken out of a socket, with its lock held; this is
 * for those that no sock_recv_length follows.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int http_space_adjust(__u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sock *sk = (void *)ctx[0];
	__u64 key = (__u64)sk;
	struct socket_state *st;
	struct tcp_sock *tp;
	__u32 moved;

	if (syscall_number(regs_of(task), true) != nr_splice ||
	    task->flags & (TASK_IS_KTHREAD | TASK_IS_IO_WORKER))
		return 0;
	st = bpf_map_lookup_elem(&sockets, &key);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!st || !tp)
		return 0;
	moved = tp->copied_seq - st->next[received];
	if (moved && sk->sk_shutdown & RCV_SHUTDOWN && tp->copied_seq == tp->rcv_nxt)
		moved--; /* a FIN */
	/* By itself: of what it does most is not needed here, and not loaded. */
	return data_call(ctx, BY_TRACEPOINT, FOR_SPLICE, sk, NOWHERE, moved);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
