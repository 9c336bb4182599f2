/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a socket speaks, told by the first bytes of its calls. */
#ifndef TRACER_HTTP_VERDICT_H
#define TRACER_HTTP_VERDICT_H

#include "keep.h"
#include "link.h"

/* Calls that are not HTTP, after which a socket is given up. */
#define MISSES 2
#define MISSES_JOINED 16

enum shape {
	SHAPE_OTHER,
	SHAPE_SHORT, /* too few bytes to tell */
	SHAPE_REQUEST,
	SHAPE_RESPONSE,
};

/* What may stand in a method (RFC 9110, 5.6.2): a bit for each byte. */
const volatile __u64 token_bytes[4] = {
	0x03ff6cfa00000000, /* ! # $ % & ' * + - . 0-9 */
	0x57ffffffc7fffffe, /* A-Z ^ _ ` a-z | ~ */
};

/*
 * What the first bytes of start in a scratch begin with. More than a method and
 * the beginning of a target is not asked for: user space looks closer.
 */
__noinline int shape_of(__u32 index, __u32 n)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	const char *b;
	char next;
	__u64 at;
	__u32 i;

	if (!s)
		return SHAPE_OTHER;
	b = s->payload.start;
	if (n >= 5 && b[0] == 'H' && b[1] == 'T' && b[2] == 'T' && b[3] == 'P' && b[4] == '/')
		return SHAPE_RESPONSE;
	for (i = 0; i < START_LEN - 1; i++) {
		__u8 c = b[i];

		if (i >= n)
			return SHAPE_SHORT;
		if (c == ' ')
			break;
		if (!(token_bytes[c >> 6] >> (c & 63) & 1) && !(c == '/' && i == 4))
			return SHAPE_OTHER;
	}
	/* To the verifier it is now any number: it need not go on from each turn. */
	*(volatile __u64 *)&s->payload.left = i;
	at = *(volatile __u64 *)&s->payload.left;
	if (at == 0 || at >= START_LEN - 1)
		return SHAPE_OTHER;
	if (at + 1 >= n)
		return SHAPE_SHORT;
	if (at == 3 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I')
		return SHAPE_OTHER; /* HTTP/2 */
	barrier_var(at);
	if (at >= START_LEN - 1)
		return SHAPE_OTHER;
	next = b[at + 1];
	if (next == '/' || next == '*' || next == 'h' || next == 'H' ||
	    (at == 7 && b[0] == 'C' && b[1] == 'O' && b[2] == 'N' && b[6] == 'T'))
		return SHAPE_REQUEST;
	return SHAPE_OTHER;
}

/* Counts a socket as one that speaks this, and no longer as what it seemed to. */
static __always_inline void count_kind(struct socket_state *st, enum counted kind)
{
	if (st->kind == kind)
		return;
	if (st->kind)
		count(st->kind, -1);
	count(kind, 1);
	st->kind = kind;
}

/* The first bytes of a record of TLS, or of HTTP/2. */
static __always_inline int kind_of(const char *b, __u64 n)
{
	if (n >= 3 && b[0] >= 0x14 && b[0] <= 0x17 && b[1] == 3 && b[2] <= 4)
		return speaks_tls;
	if (n >= 5 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I' && b[3] == ' ' && b[4] == '*')
		return speaks_http2;
	return speaks_other;
}

/*
 * Whether a socket speaks TLS of which a call begins like a record of it. One that was
 * joined in the middle may do so by chance: it must do so twice.
 */
static __always_inline bool is_tls(struct socket_state *st)
{
	if (st->tls != NOT_TLS) /* what is in it looks like it once more */
		return false;
	return !st->intro.socket.joined || st->kind == speaks_tls || tls_call_under_way();
}

/* What the socket speaks is not to be followed. */
static __always_inline void give_up(struct socket_state *st)
{
	st->verdict = IS_OTHER;
	st->misses = 0; /* it may turn into TLS: TLS_LOOKS */
}

/* Looks at a call on a socket of which it is not known yet what it speaks. */
static __noinline int decide(struct socket_state *st, struct scratch *s, __u32 index)
{
	__u64 n = s->rec.call.len, at = st->start_len;
	__u8 dir = s->rec.call.dir;
	int shape = SHAPE_OTHER, kind;

	if (n > START_LEN)
		n = START_LEN;
	barrier_var(at);
	if (at > START_LEN)
		at = START_LEN;
	bpf_probe_read_kernel(&st->start[at], START_LEN, s->data);
	__builtin_memcpy(s->payload.start, st->start, START_LEN);
	n += at;
	if (n > START_LEN)
		n = START_LEN;
	if (s->rec.call.len)
		shape = shape_of(index, n);
	switch (shape) {
	case SHAPE_SHORT:
		st->start_len = n;
		st->requests = dir;
		return true;
	case SHAPE_REQUEST:
	case SHAPE_RESPONSE:
		st->requests = shape == SHAPE_REQUEST ? dir : !dir;
		st->verdict = IS_HTTP;
		count_kind(st, speaks_http1);
		return true;
	default:
		break;
	}
	st->start_len = 0;
	forget_kept(st);
	kind = s->rec.call.len ? kind_of(s->payload.start, n) : speaks_unread;
	if (read_tls && kind == speaks_tls && is_tls(st))
		st->tls = CIPHERTEXT;
	if (++st->misses >= (st->intro.socket.joined ? MISSES_JOINED : MISSES) ||
	    st->tls == CIPHERTEXT ||
	    (!st->intro.socket.joined && (kind == speaks_tls || kind == speaks_http2)))
		give_up(st);
	if (!st->kind || kind == speaks_tls || kind == speaks_http2)
		count_kind(st, kind);
	return false;
}

#endif
