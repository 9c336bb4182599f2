/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests that are kept until the answer, with which they are told; and how a
 * record is put together and sent.
 */
#ifndef TRACER_HTTP_KEEP_H
#define TRACER_HTTP_KEEP_H

#include "state.h"

/* What is known of the socket whose call a scratch has. */
static __always_inline struct socket_state *state_of(struct scratch *s)
{
	__u64 key = s ? s->payload.src.sk : 0;

	return bpf_map_lookup_elem(&sockets, &key);
}

/* Notes for user space that a request waits in a socket's entry, or 0 that none does. */
static __always_inline void note_waiting(struct socket_state *st, __u64 since)
{
	waiting[st->head % MAX_HEADS].since = since;
}

/* What is kept of a socket is not HTTP, or nobody is to know of it. */
static __always_inline void forget_kept(struct socket_state *st)
{
	if (st->taken != st->kept) {
		note_waiting(st, 0);
		st->taken = st->kept;
	}
}

/* The socket's entry of heads, or NULL. */
static __always_inline struct http_head *head_of(struct socket_state *st, __u64 key)
{
	__u32 entry = st->head;
	struct http_head *head = bpf_map_lookup_elem(&heads, &entry);

	return head && head->socket == key ? head : NULL;
}

/* Makes an entry of heads the socket's own, if a few that its beginning picks are not all taken. */
static __noinline struct http_head *claim(struct socket_state *st, __u64 key)
{
	for (int i = 0; i < CLAIM_TRIES; i++) {
		__u32 entry = ((__u32)st->seen * 0x9e3779b1 + i) % max_heads;
		struct http_head *head;
		__u8 one = 1;

		if ((int)bpf_map_update_elem(&claims, &entry, &one, BPF_NOEXIST))
			continue;
		head = bpf_map_lookup_elem(&heads, &entry);
		if (!head)
			continue;
		head->call.size = 0; /* it is of another socket */
		barrier();
		head->socket = key;
		waiting[entry % MAX_HEADS].socket = key;
		st->head = entry;
		return head;
	}
	return NULL;
}

/* Most are so short that to call for a copy takes longer than to make it. */
static __always_inline void copy_kept(char *to, const char *from, __u64 len, bool often)
{
	if (!often || len > KEPT_SHORT) {
		bpf_probe_read_kernel(to, len, from);
		return;
	}
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < KEPT_SHORT; i += KEPT_STEP) {
		const struct kept_step *step = (void *)from + i;

		if (i >= len)
			break;
		*(struct kept_step *)(to + i) = *step;
	}
}

/* Moves what was kept into the record, behind the bytes of its call. */
static __always_inline void take_kept(struct socket_state *st, struct scratch *s, __u64 key,
				      bool often)
{
	struct http_record *rec = &s->rec;
	__u64 at = rec->call.len, len;
	__u16 kept = st->kept;
	struct http_head *head;

	s->payload.at = at;
	rec->kept.size = 0;
	rec->kept.len = 0;
	if (kept == st->taken)
		return;
	head = head_of(st, key);
	if (!head)
		return;
	rec->kept = head->call;
	len = rec->kept.len;
	barrier_var(at);
	barrier_var(len);
	if (at > PREFIX_MAX)
		at = PREFIX_MAX;
	if (len > prefix)
		len = prefix;
	copy_kept(&s->data[at], head->data, len, often);
	note_waiting(st, 0);
	barrier();
	if (st->kept == kept) {
		st->taken = kept;
	} else {
		/* Another thread has put the next one there meanwhile. */
		rec->kept.size = rec->kept.len = len = 0;
		note_waiting(st, head->call.time);
	}
	s->payload.at = at + len;
}

static __always_inline void append_part(struct scratch *s, const void *part, __u32 size, __u8 which)
{
	__u64 at = s->payload.at;

	barrier_var(at);
	if (at > 2 * PREFIX_MAX + 128)
		at = 2 * PREFIX_MAX + 128;
	bpf_probe_read_kernel(&s->data[at], size, part);
	s->rec.parts |= which;
	s->payload.at = at + size;
}

static __always_inline bool begins_answer(const char *text)
{
	return text[0] == 'H' && text[1] == 'T' && text[2] == 'T' && text[3] == 'P' &&
	       text[4] == '/';
}

/* Whether text may begin with the first line of a request: a word in capitals, and a target. */
static __always_inline bool begins_request(const char *text)
{
	for (int i = 0; i < 8; i++) {
		if (text[i] == ' ')
			return i &&
			       (text[i + 1] == '/' || text[i + 1] == '*' || text[i + 1] == 'h');
		if (text[i] < 'A' || text[i] > 'Z')
			break;
	}
	return false;
}

/* What begins in the calls of a record, as far as it was captured. */
enum begins {
	begins_kept_request = 1 << 0,
	begins_call_request = 1 << 1,
	begins_call_answer = 1 << 2,
};

/* Looks at the first bytes of a record's calls: enum begins. */
__noinline int beginnings(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	int found = 0;
	char text[16];
	__u64 at, n;

	if (!s)
		return 0;
#pragma clang loop unroll(disable)
	for (int kept = 0; kept < 2; kept++) {
		at = kept ? s->rec.call.len : 0;
		n = kept ? s->rec.kept.len : s->rec.call.len;
		__builtin_memset(text, 0, sizeof(text));
		barrier_var(at);
		if (at > PREFIX_MAX)
			at = PREFIX_MAX;
		barrier_var(n);
		if (n > sizeof(text))
			n = sizeof(text);
		bpf_probe_read_kernel(text, n, &s->data[at]);
		if (begins_request(text))
			found |= kept ? begins_kept_request : begins_call_request;
		if (!kept && begins_answer(text))
			found |= begins_call_answer;
	}
	return found;
}

/*
 * A record found no room. What is lost with it is counted in exchanges, as this end
 * sees them, not in calls: one for each turn (a request behind an answer begins
 * one) of which a record is lost, however many are. A client that does not wait
 * for answers has several in a turn: as many as requests begin in calls that are
 * lost, or answers do. That is an upper bound, as what is told of a part of an
 * exchange may be enough; of requests that begin within one call one counts, and
 * user space counts those whose answers it sees. Returns how many are new.
 */
__noinline int lost_record(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct http_record *rec = &s->rec;
	struct socket_state *st;
	__u32 before, after;
	bool asks, answers;
	int begins;

	if (!s)
		return 0;
	st = bpf_map_lookup_elem(&sockets, &rec->socket);
	if (!st) { /* it has ended just now */
		count_lost(ring_full);
		return 1;
	}
	before = st->lost_requests > st->lost_answers ? st->lost_requests : st->lost_answers;
	if (rec->parts & with_frames) {
		/*
		 * Of HTTP/2 each request counts. Those of which an answer alone is lost
		 * user space counts: it knows the streams.
		 */
		after = 0;
		if (rec->call.dir == st->requests || st->intro.socket.joined)
			after = s->walker.blocks;
		st->lost += after;
		count_lost_by(ring_full, after);
		return after;
	}
	begins = beginnings(s->payload.index);
	answers = rec->call.size && rec->call.dir != st->requests;
	asks = begins & begins_kept_request || (!answers && begins & begins_call_request);
	answers = answers && begins & begins_call_answer;
	if (asks || !before)
		st->lost_requests += st->lost_requests < 255;
	if (answers)
		st->lost_answers += st->lost_answers < 255;
	after = st->lost_requests > st->lost_answers ? st->lost_requests : st->lost_answers;
	after -= before;
	st->lost += after;
	count_lost_by(ring_full, after);
	return after;
}

/*
 * Sends the record of a scratch, with so many bytes behind it, by a ring. Like all that has
 * by_ring in its name it is a global function, which the verifier looks at once and not at
 * every call: loading would take far longer otherwise. Such a function cannot have the
 * program's ctx, which perf buffers need: with these the same is called as a static one.
 */
__noinline int send_by_ring(__u32 index, __u32 size)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	__u64 len = size;

	if (!s || perf_buffers)
		return false;
	barrier_var(len);
	if (len > 2 * PREFIX_MAX + 320)
		len = 2 * PREFIX_MAX + 320;
	return try_to_send(NULL, &s->rec, sizeof(s->rec) + len);
}

/* The same, by what there is: perf buffers need the program's ctx. */
static __always_inline bool send_scratch(void *ctx, struct scratch *s)
{
	__u64 size = s->payload.at;

	if (!perf_buffers)
		return send_by_ring(s->payload.index, size);
	barrier_var(size);
	if (size > 2 * PREFIX_MAX + 320)
		size = 2 * PREFIX_MAX + 320;
	return try_to_send(ctx, &s->rec, sizeof(s->rec) + size);
}

/* Sends the record, with these parts; what was kept is in it already. */
static __always_inline void tell_with(void *ctx, struct socket_state *st, struct scratch *s,
				      __u64 key, __u8 parts)
{
	struct http_record *rec = &s->rec;
	bool intro = !st->introduced;

	rec->socket = key;
	rec->seen = st->seen;
	rec->bytes[0] = st->bytes[0];
	rec->bytes[1] = st->bytes[1];
	rec->requests = st->requests;
	rec->lost = st->lost;
	rec->parts = parts;
	if (st->sum.size) {
		append_part(s, &st->sum, sizeof(st->sum), with_sum);
		st->sum.size = 0;
	}
	if (intro)
		append_part(s, &st->intro, sizeof(st->intro), with_intro);
	if (!send_scratch(ctx, s)) {
		lost_record(s->payload.index);
		return;
	}
	if (rec->lost)
		st->lost -= rec->lost;
	if (intro)
		st->introduced = 1;
}

static __always_inline void tell(void *ctx, struct socket_state *st, struct scratch *s, __u64 key)
{
	tell_with(ctx, st, s, key, 0);
}

static __noinline int tell_kept(void *ctx, struct socket_state *st, struct scratch *s, __u64 key)
{
	take_kept(st, s, key, false);
	tell(ctx, st, s, key);
	return 0;
}

static __noinline int tell_alone(void *ctx, struct socket_state *st, struct scratch *s, __u64 key)
{
	s->rec.kept.size = s->rec.kept.len = 0;
	s->payload.at = s->rec.call.len;
	tell(ctx, st, s, key);
	return 0;
}

/*
 * Copies the bytes of a request to where it will be kept, if it is one like
 * most: whole, in one place, and nothing is kept before it.
 */
static __always_inline struct http_head *keep_at_once(struct socket_state *st, struct scratch *s,
						      __u64 key)
{
	struct http_call *call = &s->rec.call;
	struct source *src = &s->payload.src;
	struct http_head *head;
	__u64 base, n;
	bool user;

	if (call->dir != st->requests || st->verdict != IS_HTTP || !st->introduced ||
	    st->kept != st->taken || st->sum.size || !src->known || src->segments ||
	    call->size > prefix)
		return NULL;
	head = head_of(st, key);
	if (!head)
		return NULL;
	base = src->base;
	user = src->data_user;
	call->len = n = call->size;
	barrier_var(n);
	if (n > prefix)
		n = prefix;
	return read_data(head->data, n, base, user) ? NULL : head;
}

/* The same, when all is known of the call. */
static __always_inline void kept_at_once(struct socket_state *st, struct http_head *head,
					 struct http_call *call)
{
	barrier(); /* its bytes are there already */
	head->call = *call;
	st->kept++;
	note_waiting(st, call->time);
}

/* Keeps the record's call for later, if there is room. */
static __noinline int keep(struct socket_state *st, struct scratch *s, __u64 key)
{
	__u64 len = s->rec.call.len;
	struct http_head *head;

	if (len > prefix)
		return false;
	head = head_of(st, key) ?: claim(st, key);
	if (!head)
		return false;
	barrier_var(len);
	if (len > prefix)
		len = prefix;
	if (len)
		bpf_probe_read_kernel(head->data, len, s->data);
	head->call = s->rec.call;
	st->kept++;
	note_waiting(st, head->call.time);
	return true;
}

#endif
