/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a socket speaks, told by the first bytes of its calls. */
#ifndef TRACER_HTTP_VERDICT_H
#define TRACER_HTTP_VERDICT_H

#include "link.h"
#include "frames.h"
#include "lines.h"

/* Calls that are not HTTP, after which a socket is given up. */
#define MISSES 2
#define MISSES_JOINED 16

/* Bytes of a line that does not end, and calls behind one without a version. */
#define OPEN_BYTES 16384
#define BARE_CALLS 4

/* Bytes of empty lines before the first request, and one more. */
#define BLANK_MOST 9

/* The longest line of the PROXY protocol, version 1; the head of version 2, and how it begins. */
#define PROXY_LINE 107
#define PROXY_HEAD 16
#define PROXY_SIGN 0x510a0d000a0d0a0dULL /* \r\n\r\n\0\r\nQ */
#define PROXY_SIGN_END 0x0a544955	 /* UIT\n */

enum shape {
	SHAPE_OTHER,
	SHAPE_SHORT, /* too few bytes to tell */
	SHAPE_MARKS, /* something that is no method, and a space */
	SHAPE_WORD,  /* a method, and a space */
	SHAPE_REQUEST,
	SHAPE_RESPONSE,
};

/* What may stand in a method (RFC 9110, 5.6.2): a bit for each byte. */
const volatile __u64 token_bytes[4] = {
	0x03ff6cfa00000000, /* ! # $ % & ' * + - . 0-9 */
	0x57ffffffc7fffffe, /* A-Z ^ _ ` a-z | ~ */
};

/*
 * What the first bytes of start in a scratch begin with. A request has a method and the
 * beginning of a usual target; user space looks closer.
 */
__noinline int shape_of(__u32 index, __u32 n)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	__u64 method = 1; /* it may be one */
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
		if (c < ' ' || c >= 0x7f)
			return SHAPE_OTHER;
		method &= token_bytes[c >> 6] >> (c & 63);
	}
	/* To the verifier it is now any number: it need not go on from each turn. */
	*(volatile __u64 *)&s->payload.left = i;
	at = *(volatile __u64 *)&s->payload.left;
	if (at == 0 || at >= START_LEN - 1)
		return SHAPE_OTHER;
	if (!method)
		return SHAPE_MARKS;
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
	return SHAPE_WORD;
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

/*
 * What the first bytes of start in a scratch open. A server may be first: its first frame
 * is SETTINGS, and no ACK (RFC 9113, 3.4).
 */
__noinline int opening_of(__u32 index, __u32 n)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	const char *b;

	if (!s)
		return OPENS_OTHER;
	b = s->payload.start;
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
	/* What ends at this place in data is no request, but may stand before one. */
	STANDS_BEFORE = 0x10000,
};

/* Looks at the first calls of a connection, whether they open one of HTTP/2. */
static __always_inline enum decision decide_opening(struct socket_state *st, struct scratch *s,
						    __u32 before, __u64 n)
{
	enum opening opening = opening_of(s->payload.index, n);
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

/* It speaks HTTP/1, and requests go this way. */
static __always_inline int decide_text(struct socket_state *st, __u8 requests)
{
	st->requests = requests;
	st->verdict = IS_HTTP;
	st->start_len = 0;
	count_kind(st, speaks_http1);
	return FOLLOWED;
}

/* The call is kept until more is known; start_len is how far the beginning has come. */
static __always_inline int decide_more(struct socket_state *st, __u8 dir, __u8 start_len)
{
	st->start_len = start_len;
	st->requests = dir;
	if (!st->kind)
		count_kind(st, speaks_other);
	return FOLLOWED;
}

/*
 * A line begins in data, or goes on there, that is a request's by its beginning. How it
 * ends tells more: with a version, or else it is one if it is answered like one.
 */
static __always_inline int decide_line(struct socket_state *st, struct scratch *s, __u32 index,
				       __u32 from, int shape)
{
	bool joined = st->misses || st->intro.socket.joined;
	__u32 end = line_end(index, from, s->rec.call.len, false);
	__u8 dir = s->rec.call.dir;

	end_of_line(s, &st->start[START_LEN], end ? end - 1 : s->rec.call.len);
	if (end ? ends_with_version(s) : shape == SHAPE_REQUEST)
		return decide_text(st, dir);
	if (joined || shape == SHAPE_MARKS)
		return NOT_FOLLOWED;
	return decide_more(st, dir, end ? LINE_BARE : LINE_OPEN);
}

static __always_inline bool is_proxy_line(const char *b)
{
	return b[0] == 'P' && b[1] == 'R' && b[2] == 'O' && b[3] == 'X' && b[4] == 'Y' &&
	       b[5] == ' ';
}

/* How long the head of the PROXY protocol, version 2, is that begins like this, or 0. */
static __always_inline __u32 proxy_head(const char *b, __u32 n)
{
	__u64 begins = *(__u64 *)b;

	if (n < 8)
		begins = begins << (64 - 8 * n) >> (64 - 8 * n);
	if (!n || begins != (n < 8 ? PROXY_SIGN & ((1ULL << 8 * n) - 1) : PROXY_SIGN))
		return 0;
	if (n >= 12 && *(__u32 *)&b[8] != PROXY_SIGN_END)
		return 0;
	return PROXY_HEAD + (n < PROXY_HEAD ? 0 : (__u8)b[14] << 8 | (__u8)b[15]);
}

/* A line that was open goes on. What ends at a place in data stands before the request. */
__noinline int decide_open_line(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);
	__u32 len, end;
	__u8 dir;

	if (!s || !st)
		return NOT_FOLLOWED;
	len = s->rec.call.len;
	dir = s->rec.call.dir & 1;
	if (st->start_len == LINE_BARE)
		return ++st->misses > BARE_CALLS ? NOT_FOLLOWED : FOLLOWED;
	end = line_end(index, 0, len, false);
	end_of_line(s, &st->start[START_LEN], end ? end - 1 : len);
	if (!end && st->bytes[dir] > OPEN_BYTES)
		return NOT_FOLLOWED;
	if (!end)
		return FOLLOWED;
	if (ends_with_version(s))
		return decide_text(st, dir);
	if (!is_proxy_line(st->start))
		return decide_more(st, dir, LINE_BARE);
	st->start_len = 0;
	return STANDS_BEFORE + end;
}

/* How many bytes are ends of lines at the beginning of start, up to BLANK_MOST: no branches. */
static __always_inline __u64 count_blank(const char *b)
{
	__u64 blank = 0, all = 1;

#pragma clang loop unroll(full)
	for (int i = 0; i < BLANK_MOST; i++) {
		__u64 r = (__u8)b[i] ^ '\r', n = (__u8)b[i] ^ '\n';

		/* The compiler would see through it, and branch. */
		barrier_var(r);
		barrier_var(n);
		/* Less one, the highest bit of 0 is set. */
		all &= (r - 1) >> 63 | (n - 1) >> 63;
		blank += all;
	}
	return blank;
}

/* Looks at the text of a call from a place on. */
__noinline int decide_from(__u32 index, __u32 from)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);
	__u64 n, at, skip = from, blank;
	__u32 end, begin;
	const char *b;
	bool first; /* of the connection, in this direction */
	int shape;
	__u8 dir;

	if (!s || !st)
		return NOT_FOLLOWED;
	n = s->rec.call.len - from;
	at = st->start_len;
	b = s->payload.start;
	dir = s->rec.call.dir;
	if (n > START_LEN)
		n = START_LEN;
	barrier_var(at);
	if (at > START_MORE)
		at = START_MORE;
	barrier_var(skip);
	if (skip > PREFIX_MAX)
		skip = PREFIX_MAX;
	bpf_probe_read_kernel(&st->start[at], START_LEN, &s->data[skip]);
	__builtin_memcpy(s->payload.start, st->start, START_LEN);
	first = !from && s->rec.call.offset == at && !st->intro.socket.joined;
	n += at;
	if (n > START_LEN)
		n = START_LEN;
	end = first ? proxy_head(b, n) : 0;
	if (end && n < PROXY_HEAD)
		return decide_more(st, dir, n);
	if (end) {
		end -= at;
		st->start_len = 0;
		if (end < s->rec.call.size)
			return STANDS_BEFORE + end;
		st->before = end - s->rec.call.size;
		return decide_more(st, dir, 0);
	}
	/* Empty lines (RFC 9112, 2.2). */
	/* As in shape_of(). */
	*(volatile __u64 *)&s->payload.left = count_blank(b);
	blank = *(volatile __u64 *)&s->payload.left;
	if (blank > n)
		blank = n;
	if (blank == n)
		return blank < BLANK_MOST ? decide_more(st, dir, n) : NOT_FOLLOWED;
	if (blank)
		bpf_probe_read_kernel(s->payload.start, START_LEN, &st->start[blank & 15]);
	shape = shape_of(index, n - blank);
	begin = from + (blank > at ? blank - at : 0);
	switch (shape) {
	case SHAPE_OTHER:
		return NOT_FOLLOWED;
	case SHAPE_SHORT:
		return decide_more(st, dir, n);
	case SHAPE_RESPONSE:
		return decide_text(st, !dir);
	}
	if (first && !blank && is_proxy_line(b)) {
		end = line_end(index, 0, s->rec.call.len, false);
		if (end && end + at <= PROXY_LINE) {
			st->start_len = 0;
			return STANDS_BEFORE + end;
		}
	}
	return decide_line(st, s, index, begin, shape);
}

/* Whether a call begins like an answer, as far as it goes. */
static __always_inline bool answers(struct scratch *s)
{
	const char *b = s->data;
	__u32 n = s->rec.call.len;

	if (n >= 5)
		return names_http(b) ||
		       (is_letter(b[0], 'I') && is_letter(b[1], 'C') && is_letter(b[2], 'Y') && b[3] == ' ');
	return n && (is_letter(b[0], 'H') || is_letter(b[0], 'I'));
}

/* Looks at the text of a call: whether that is HTTP/1, or may be. */
static __always_inline int decide_by_text(struct socket_state *st, struct scratch *s, __u32 index)
{
	__u32 from = st->before, len = s->rec.call.len;
	__u8 dir = s->rec.call.dir;
	int decision;

	if (!len)
		return NOT_FOLLOWED;
	/* The beginning of a frame may be the other direction's. */
	if (st->start_len && st->start[0] && dir != st->requests) {
		if (answers(s))
			return decide_text(st, !dir);
		st->start_len = 0;
		forget_kept(st);
		st->misses++;
		st->intro.socket.joined = 1; /* to user space: it was not told of that */
	} else if (st->start_len >= LINE_OPEN) {
		decision = decide_open_line(index);
		if (decision < STANDS_BEFORE)
			return decision;
		from = decision - STANDS_BEFORE;
	} else if (from) {
		st->before = 0;
		if (from >= s->rec.call.size) {
			st->before = from - s->rec.call.size;
			return FOLLOWED;
		}
	}
	for (int i = 0; i < 2; i++) {
		if (from >= len)
			return decide_more(st, dir, 0);
		decision = decide_from(index, from);
		if (decision < STANDS_BEFORE)
			break;
		from = decision - STANDS_BEFORE;
	}
	return decision;
}

/* The same of one whose bytes cannot be read. */
static __always_inline int decide_unseen(struct socket_state *st)
{
	st->start_len = 0;
	forget_kept(st);
	if (++st->misses >= (st->intro.socket.joined ? MISSES_JOINED : MISSES))
		give_up(st);
	if (!st->kind)
		count_kind(st, speaks_unread);
	return NOT_FOLLOWED;
}

/* Looks at a call on a socket of which it is not known yet what it speaks: enum decision. */
__noinline int decide(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);
	int decision, kind;
	__u64 n, at;

	if (!s || !st)
		return NOT_FOLLOWED;
	n = s->rec.call.len;
	at = st->start_len;
	/* The beginning of a frame was the other direction's. */
	if (at && !st->start[0] && !st->run)
		at = st->start_len = 0;
	decision = decide_by_text(st, s, index);
	if (decision != NOT_FOLLOWED)
		return decision;
	n += at;
	if (n > START_LEN)
		n = START_LEN;
	if (st->intro.socket.joined || s->rec.call.offset != at || !s->rec.call.len)
		decision = decide_later(st, s, index);
	else
		decision = decide_opening(st, s, at, n);
	if (decision != NOT_FOLLOWED)
		return decision;
	st->start_len = 0;
	forget_kept(st);
	kind = s->rec.call.len ? kind_of(st->start, n) : speaks_unread;
	if (read_tls && !st->multipath && kind == speaks_tls && is_tls(st, s->payload.src.sk))
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
