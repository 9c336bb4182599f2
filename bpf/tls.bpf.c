//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What do processes say to each other inside of TLS?
 *
 * A further source of http.bpf.c: functions of TLS libraries, with uprobes. User space
 * finds them, and where in them a probe costs least; what their arguments mean is in a
 * file for each library, in tls/. The plaintext that they move is a call on the socket
 * that it belongs to (http/link.h), and goes the way of one that was never encrypted
 * (http/call.h): all maps are those of http.bpf.c.
 *
 * Missed: libraries that user space does not find; what a call moves that was under
 * way when the probe came.
 *
 * Oldest kernel: 5.8, as http.bpf.c.
 */
#include "tls/plain.h"

#include "tls/openssl.h"
#include "tls/gnutls.h"
#include "tls/nss.h"
#include "tls/golang.h"

/*
 * At the return of any function of C, or at the RET instructions of one of C or Go; and
 * what begins with all known (tls_tails).
 */
SEC("uprobe")
int tls_returned(void *ctx)
{
	struct tls_thread key = this_thread();
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, &key), *of_go = NULL;

	if (go_probed) {
		key = this_routine(ctx);
		of_go = bpf_map_lookup_elem(&tls_calls, &key);
	}
	if (of_go && of_go->active &&
	    (!call || !call->active || of_go->result == RESULT_GIVEN))
		return leave(ctx, of_go, true);
	return call && call->active ? leave(ctx, call, false) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
