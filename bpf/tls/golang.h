/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Go's crypto/tls. A goroutine may go on in another thread, and its stack may move: it is
 * known by its address, which is in a register. There are no probes on return, which
 * need a stack that stays: a read is over at the function's RET instructions.
 */
#ifndef TRACER_TLS_GOLANG_H
#define TRACER_TLS_GOLANG_H

static __always_inline struct tls_thread this_routine(void *ctx)
{
	return (struct tls_thread){bpf_get_current_pid_tgid() & ~0xffffffffULL, GO_ROUTINE(ctx)};
}

/* func (c *Conn) Read(b []byte) (int, error) */
SEC("uprobe")
int golang_read(void *ctx)
{
	struct tls_call new = {
		.object = GO_ARG0(ctx),
		.buf = GO_ARG1(ctx),
		.library = golang,
		.dir = received,
		.result = RESULT_64,
	};

	return enter(this_routine(ctx), &new);
}

SEC("uprobe")
int golang_returned(void *ctx)
{
	return leave(ctx, this_routine(ctx));
}

/*
 * func (c *Conn) Write(b []byte) (int, error): its bytes are told at its entry, as a
 * write that fails is the end of a connection.
 */
SEC("uprobe")
int golang_write(void *ctx)
{
	struct tls_thread key = this_routine(ctx);
	struct tls_call new = {
		.object = GO_ARG0(ctx),
		.buf = GO_ARG1(ctx),
		.library = golang,
		.dir = neither, /* of what it sends, which belongs to the object */
		.time = bpf_ktime_get_boot_ns(),
	};
	__u64 n = GO_ARG2(ctx);
	struct tls_call *call;

	enter(key, &new);
	call = bpf_map_lookup_elem(&tls_calls, &key);
	if (!call || !n || n > PLAIN_MAX)
		return 0;
	call->dir = sent;
	plain_moved(ctx, call, n);
	call->dir = neither;
	return 0;
}

/* func (c *Conn) clientHandshake(ctx context.Context) error, and serverHandshake */
SEC("uprobe")
int golang_handshake(void *ctx)
{
	struct tls_call new = {
		.object = GO_ARG0(ctx),
		.library = golang,
		.dir = neither,
		.handshake = 1,
	};

	return enter(this_routine(ctx), &new);
}

#endif
