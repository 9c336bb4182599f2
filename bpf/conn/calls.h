/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Accepts, and connects that fail at once: by functions, kprobes, system calls. */
#ifndef TRACER_CONN_CALLS_H
#define TRACER_CONN_CALLS_H

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

#endif
