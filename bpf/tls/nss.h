/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * NSS has the interface of NSPR's files, which carries plain sockets and files, too: what
 * moves nothing on a socket of TLS is none.
 */
#ifndef TRACER_TLS_NSS_H
#define TRACER_TLS_NSS_H

/* PRInt32 PR_Read(PRFileDesc *, void *buf, PRInt32 amount), PR_Recv() */
SEC("uprobe")
int nspr_read(void *ctx)
{
	return enter_c(ctx, nss, received, RESULT_32, 0);
}

/* PRInt32 PR_Write(PRFileDesc *, const void *buf, PRInt32 amount), PR_Send() */
SEC("uprobe")
int nspr_write(void *ctx)
{
	return enter_c(ctx, nss, sent, RESULT_32, 0);
}

/* SECStatus SSL_ForceHandshake(PRFileDesc *) */
SEC("uprobe")
int nss_handshake(void *ctx)
{
	return handshake_c(ctx, nss);
}

#endif
