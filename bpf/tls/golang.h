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

/* func (c *Conn) Read(b []byte) (int, error); its end is tls_returned */
SEC("uprobe")
int golang_read(void *ctx)
{
	struct tls_thread key = this_routine(ctx);
	struct tls_call *call = entry_of(&key);

	if (!call)
		return 0;
	begin_call(call, &key, golang, received, GO_ARG0(ctx));
	call->buf = GO_ARG1(ctx);
	call->result = RESULT_64;
	return 0;
}

/*
 * func (c *Conn) Write(b []byte) (int, error): its bytes are told at its entry, as a
 * write that fails is the end of a connection, by tls_returned. What it sends belongs to
 * the object.
 */
SEC("uprobe")
int golang_write(void *ctx)
{
	struct tls_thread key = this_routine(ctx);
	struct tls_call *call = entry_of(&key);

	if (!call)
		return 0;
	begin_call(call, &key, golang, sent, GO_ARG0(ctx));
	call->buf = GO_ARG1(ctx);
	call->count = GO_ARG2(ctx);
	call->time = bpf_ktime_get_boot_ns();
	call->result = RESULT_GIVEN;
	bpf_tail_call(ctx, &tls_tails, 0);
	return 0;
}

/* func (c *Conn) clientHandshake(ctx context.Context) error, and serverHandshake */
SEC("uprobe")
int golang_handshake(void *ctx)
{
	struct tls_thread key = this_routine(ctx);

	return begin_handshake(&key, golang, GO_ARG0(ctx));
}

#endif
