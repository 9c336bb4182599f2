/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a socket speaks, told by the first bytes of its calls. */
#ifndef TRACER_HTTP_VERDICT_H
#define TRACER_HTTP_VERDICT_H

#include "link.h"
#include "frames.h"

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
static __always_inline bool is_tls(struct socket_state *st, __u64 key)
{
	if (st->tls != NOT_TLS) /* what is in it looks like it once more */
		return false;
	return !st->intro.socket.joined || st->kind == speaks_tls || call_under_way(key);
}

/* What the socket speaks is not to be followed. */
static __always_inline void give_up(struct socket_state *st)
{
	st->verdict = IS_OTHER;
	st->misses = 0; /* it may turn into TLS: TLS_LOOKS */
}

/* What the first bytes of a connection may be that a client or a server of HTTP/2 sends. */
enum opening {
	OPENS_OTHER,
	OPENS_SHORT, /* SETTINGS, as far as it goes */
	OPENS_SETTINGS,
	OPENS_PREFACE,
};

/* A server may be first. Its first frame is SETTINGS, and no ACK (RFC 9113, 3.4). */
static __always_inline enum opening opening_of(const char *b, __u64 n)
{
	if (n >= 5 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I' && b[3] == ' ' && b[4] == '*')
		return OPENS_PREFACE;
#pragma clang loop unroll(disable)
	for (int i = 0; i < H2_HEAD; i++) {
		if (i >= n)
			return OPENS_SHORT;
		if (i != 2 && b[i] != (i == 3 ? H2_SETTINGS : 0))
			return OPENS_OTHER;
	}
	return (__u8)b[2] % 6 ? OPENS_OTHER : OPENS_SETTINGS;
}

enum decision {
	NOT_FOLLOWED, /* not this call */
	FOLLOWED,
	AWAITED, /* more bytes tell */
};

/* Looks at the first calls of a connection, whether they open one of HTTP/2. */
static __always_inline enum decision decide_opening(struct socket_state *st, struct scratch *s,
						    __u32 before, __u64 n)
{
	enum opening opening = opening_of(s->payload.start, n);
	__u64 key = s->payload.src.sk, offset = s->rec.call.offset;
	__u8 dir = s->rec.call.dir & 1;
	struct http2_state *state;

	if (opening == OPENS_OTHER)
		return NOT_FOLLOWED;
	if (opening == OPENS_SHORT) {
		st->start_len = n;
		return AWAITED;
	}
	/* What moved the other way was no frame, or it would be known already. */
	st->intro.socket.joined = !!st->bytes[!dir];
	st->requests = opening == OPENS_PREFACE ? dir : !dir;
	state = begin_frames(st, key, dir, offset,
			     opening == OPENS_PREFACE ? h2_in_preface : h2_in_frames,
			     st->bytes[!dir]	      ? h2_astray :
			     opening == OPENS_PREFACE ? h2_in_frames :
							h2_in_preface);
	if (!state)
		return NOT_FOLLOWED;
	state->dirs[dir].told = offset - before;
	state->dirs[dir].have = before;
	*(__u64 *)state->dirs[dir].head = *(__u64 *)st->start;
	return FOLLOWED;
}

/* Looks at a call in the middle of a connection: whether it is frames of HTTP/2, with HEADERS. */
static __always_inline enum decision decide_later(struct socket_state *st, struct scratch *s,
						  __u32 index)
{
	__u64 key = s->payload.src.sk, offset = s->rec.call.offset;
	__u8 dir = s->rec.call.dir & 1;

	if (!s->payload.src.known)
		return NOT_FOLLOWED;
	switch (h2_fits(s, index, 0, offset)) {
	case h2_unfit:
		return NOT_FOLLOWED;
	case h2_fit:
		return AWAITED;
	default:
		break;
	}
	st->intro.socket.joined = 1;
	if (!begin_frames(st, key, dir, offset, h2_in_frames, h2_astray))
		return NOT_FOLLOWED;
	return FOLLOWED;
}

/* Looks at a call on a socket of which it is not known yet what it speaks: enum decision. */
static __noinline int decide(struct socket_state *st, struct scratch *s, __u32 index)
{
	__u64 n = s->rec.call.len, at = st->start_len;
	__u8 dir = s->rec.call.dir;
	enum decision decision;
	int shape = SHAPE_OTHER, kind;

	if (n > START_LEN)
		n = START_LEN;
	/* The beginning of a frame was the other direction's. */
	if (at && !st->start[0] && !st->run)
		at = 0;
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
		return FOLLOWED;
	case SHAPE_REQUEST:
	case SHAPE_RESPONSE:
		st->requests = shape == SHAPE_REQUEST ? dir : !dir;
		st->verdict = IS_HTTP;
		count_kind(st, speaks_http1);
		return FOLLOWED;
	default:
		break;
	}
	if (st->intro.socket.joined || s->rec.call.offset != at || !s->rec.call.len)
		decision = decide_later(st, s, index);
	else
		decision = decide_opening(st, s, at, n);
	if (decision != NOT_FOLLOWED)
		return decision;
	st->start_len = 0;
	forget_kept(st);
	kind = s->rec.call.len ? kind_of(s->payload.start, n) : speaks_unread;
	if (read_tls && kind == speaks_tls && is_tls(st, s->payload.src.sk))
		st->tls = CIPHERTEXT;
	if (++st->misses >= (st->intro.socket.joined ? MISSES_JOINED : MISSES) ||
	    st->tls == CIPHERTEXT || (!st->intro.socket.joined && kind == speaks_tls))
		give_up(st);
	if (!st->kind || kind == speaks_tls)
		count_kind(st, kind);
	return NOT_FOLLOWED;
}

/* What is looked through for the end of an answer's head, in steps. */
#define UPGRADE_LEN 512
#define UPGRADE_STEP 32

/*
 * Looks at some bytes in data of a scratch: the length of the head, if it ends there and
 * names h2c. What was seen before is left in payload: the last bytes, and in which of them
 * the name was.
 */
__noinline int h2c_step(__u32 index, __u32 from)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	__u32 last;

	if (!s)
		return -1;
	last = s->payload.left;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < UPGRADE_STEP; i++) {
		__u64 at = from + i;

		barrier_var(at);
		if (at >= s->rec.call.len || at >= UPGRADE_LEN)
			return -1;
		last = last << 8 | (__u8)s->data[at];
		if ((last & 0xdfffdf) == 0x483243) /* h2c, in any case */
			s->payload.skip = true;
		if (last == 0x0d0a0d0a)
			return s->payload.skip ? at + 1 : -1;
	}
	s->payload.left = last;
	return 0;
}

/* The length of the head in data of a scratch, if it is that of a 101 to h2c (RFC 7540, 3.2); else 0. */
static __always_inline int h2c_head(struct scratch *s, __u32 index)
{
	s->payload.left = 0;
	s->payload.skip = false;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < UPGRADE_LEN; i += UPGRADE_STEP) {
		int len = h2c_step(index, i);

		if (len)
			return len < 0 ? 0 : len;
	}
	return 0;
}

#endif
