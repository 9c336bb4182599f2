/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* OpenSSL, and what has its interface: LibreSSL, BoringSSL, AWS-LC. */
#ifndef TRACER_TLS_OPENSSL_H
#define TRACER_TLS_OPENSSL_H

/* int SSL_read(SSL *, void *buf, int num) */
SEC("uprobe")
int openssl_read(void *ctx)
{
	return enter_c(ctx, openssl, received, RESULT_32, 0);
}

SEC("uprobe")
int openssl_write(void *ctx)
{
	return enter_c(ctx, openssl, sent, RESULT_32, 0);
}

/* int SSL_read_ex(SSL *, void *buf, size_t num, size_t *done), and the internal one. */
SEC("uprobe")
int openssl_read_ex(void *ctx)
{
	return enter_c(ctx, openssl, received, RESULT_POINTER, USER_ARG3(ctx));
}

SEC("uprobe")
int openssl_write_ex(void *ctx)
{
	return enter_c(ctx, openssl, sent, RESULT_POINTER, USER_ARG3(ctx));
}

/* int SSL_write_ex2(SSL *, const void *buf, size_t num, uint64_t flags, size_t *done) */
SEC("uprobe")
int openssl_write_ex2(void *ctx)
{
	return enter_c(ctx, openssl, sent, RESULT_POINTER, USER_ARG4(ctx));
}

/* int SSL_do_handshake(SSL *) */
SEC("uprobe")
int openssl_handshake(void *ctx)
{
	return handshake_c(ctx, openssl);
}

/*
 * int BIO_write(BIO *, const void *data, int len): a record of the object whose function
 * the thread is in. One that goes through several BIOs is noted as often.
 */
SEC("uprobe")
int openssl_bio_write(void *ctx)
{
	struct tls_thread key = this_thread();
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, &key);
	struct tls_prefix prefix = {};
	struct tls_owner owner = {};
	__u64 len = (__u32)USER_ARG2(ctx);

	if (!call || !call->active || (__s32)len <= 5)
		return 0;
	barrier_var(len);
	if (len > TLS_PREFIX)
		len = TLS_PREFIX;
	if (bpf_probe_read_user(&prefix, len, (void *)USER_ARG1(ctx)) || !prefix_of(&prefix))
		return 0;
	call->moved = 1;
	owner.object.address = call->object;
	owner.object.pid = call->pid;
	owner.library = call->library;
	if (bpf_map_update_elem(&tls_prefixes, &prefix, &owner, BPF_ANY))
		count_lost(map_full);
	return 0;
}

#endif
