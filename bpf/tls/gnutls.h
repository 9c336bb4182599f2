/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef TRACER_TLS_GNUTLS_H
#define TRACER_TLS_GNUTLS_H

/* ssize_t gnutls_record_recv(gnutls_session_t, void *data, size_t size) */
SEC("uprobe")
int gnutls_recv(void *ctx)
{
	return enter_c(ctx, gnutls, received, RESULT_64, 0);
}

/* ssize_t gnutls_record_send2(gnutls_session_t, const void *data, size_t size, ...) */
SEC("uprobe")
int gnutls_send(void *ctx)
{
	return enter_c(ctx, gnutls, sent, RESULT_64, 0);
}

/* int gnutls_handshake(gnutls_session_t) */
SEC("uprobe")
int gnutls_shake_hands(void *ctx)
{
	return handshake_c(ctx, gnutls);
}

#endif
