/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs lose, by cause, and what they pass over, by filter: counters
 * that user space adds up, so that each event that it does not show is accounted
 * for. Both maps are shared by all objects of a session.
 *
 * Here and wherever else Go knows the constants of an enum, they are in lower
 * case: bpf2go makes their Go names of the enum's name and theirs.
 */
#ifndef TRACER_LOSS_H
#define TRACER_LOSS_H

#include "read.h"

/* Why something was lost. The names are those of the account: LostNames in names.go. */
enum loss {
	ring_full,	/* an event did not fit into the ring */
	map_full,	/* an event could not be followed up: its map was full */
	detail_missing, /* no event: something that a later one would have told */
	seen_by_copy,	/* no loss: a copy has seen what the first program missed */
	accept_missed,	/* an accept that was found out at the connection's end */
	step_missed,	/* a step of a connection, or its end, that was found out later */
};

/*
 * Written by all programs, read by user space. Never set back to zero: a
 * reader that zeroes it would race with a writer.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, step_missed + 1);
	__type(key, enum loss);
	__type(value, __u64);
} lost SEC(".maps");

/*
 * What was passed over, by the filter that decided it, and what sockets of
 * wanted processes speak: for who sees nothing and asks why. CountNames in
 * names.go.
 */
enum counted {
	by_pid,
	by_uid,
	by_place,
	by_self, /* tracer itself and its SSH session */
	by_port,
	by_failed, /* it did not fail */
	by_slow,   /* it was fast */
	speaks_http1,
	speaks_http2,
	speaks_tls,
	speaks_other,
	speaks_unread, /* the bytes are where programs cannot read them */
};

/* Written by all programs, read by user space; never set back, like lost. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, speaks_unread + 1);
	__type(key, enum counted);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count_lost_by(enum loss cause, __u64 by)
{
	__u64 *n = bpf_map_lookup_elem(&lost, &cause);

	if (n)
		__sync_fetch_and_add(n, by);
}

static __always_inline void count_lost(enum loss cause)
{
	count_lost_by(cause, 1);
}

/* Not for what happens more than once to a process or a socket. */
static __always_inline void count(enum counted what, __s64 by)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n)
		__sync_fetch_and_add(n, by);
}

#endif
