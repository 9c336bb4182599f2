/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is copied of a call that has moved bytes, and what is seen of it without a copy. */
#ifndef TRACER_HTTP_CAPTURE_H
#define TRACER_HTTP_CAPTURE_H

/*
 * The last byte of a send may be urgent. It belongs to no message: who receives it takes it
 * out by itself, or not at all. False: nothing else was sent.
 */
static __always_inline bool leave_urgent_out(struct socket_state *st, struct scratch *s)
{
	struct http_call *call = &s->rec.call;

	st->bytes[sent]--;
	st->next[sent]--;
	s->payload.size--;
	call->size--;
	return call->size;
}

/* Whether the last bytes of a call are an empty line. */
static __always_inline bool ends_blank(struct http_call *call)
{
	const char *t = call->tail;

	return call->tail_len == TAIL_LEN && t[4] == '\r' && t[5] == '\n' && t[6] == '\r' &&
	       t[7] == '\n';
}

/* Copies the last bytes of a call. */
static __always_inline void capture_tail(struct scratch *s, __u32 index)
{
	struct http_call *call = &s->rec.call;

	gather_tail(index);
	call->tail_len = s->payload.tail_len;
	__builtin_memcpy(call->tail, s->payload.tail, TAIL_LEN);
}

/* Adds a call to the sum if nothing in it matters by itself. */
static __noinline int is_quiet(struct socket_state *st, struct scratch *s, struct http_hint *hint,
			       __u32 index)
{
	struct http_call *call = &s->rec.call, *sum = &st->sum;
	__u64 now;

	if (hint->dir != call->dir || call->offset + call->size >= hint->until ||
	    sum->size > SUM_MAX || (sum->size && sum->dir != call->dir))
		return false;
	call->tail_len = 0;
	if (hint->flags & blind) {
		capture_tail(s, index);
		if (call->tail_len != TAIL_LEN || ends_blank(call))
			return false;
	}
	now = bpf_ktime_get_boot_ns();
	if (!sum->size) {
		sum->offset = call->offset;
		sum->time = now;
		sum->dir = call->dir;
		sum->len = 0;
	}
	sum->last = now;
	sum->size += call->size;
	__builtin_memcpy(sum->tail, call->tail, TAIL_LEN);
	sum->tail_len = call->tail_len;
	return true;
}

/* Heeds what user space says of a socket. True: this call is not told. */
static __always_inline bool heed_hint(struct socket_state *st, struct scratch *s, __u64 key,
				      __u32 index)
{
	struct http_hint *hint;

	if ((st->run < HEAD_CALLS || st->verdict == IS_HTTP2) && (st->calls & 15) != 15)
		return false;
	hint = bpf_map_lookup_elem(&hints, &key);
	if (!hint || hint->seen != st->seen)
		return false;
	if (st->verdict == IS_HTTP2) {
		if (hint->flags & unframed)
			not_framed(st, key);
		return hint->flags & unframed;
	}
	if (hint->flags & opaque) {
		stop_serving(st);
		give_up(st);
		forget_kept(st);
		return true;
	}
	if (hint->flags & wide)
		st->wide = 1;
	/* The body that it is about may be over. */
	return st->run >= HEAD_CALLS && is_quiet(st, s, hint, index);
}

static __always_inline void capture_all(struct scratch *s, __u32 index, __u32 max)
{
	gather(index, max);
	s->rec.call.len = s->payload.len;
}

/* Copies the first bytes of a call: few if it is a part of a body. */
static __always_inline void capture_first(struct socket_state *st, struct scratch *s, __u32 index)
{
	struct http_call *call = &s->rec.call;
	__u32 max = st->wide ? PREFIX_MAX : prefix;
	bool part = call->size > prefix && st->run >= HEAD_CALLS && !st->wide;

	gather_first(s, index, part ? BODY_LEN : max);
	call->len = s->payload.len;
	if (part) {
		__builtin_memcpy(s->payload.start, s->data, sizeof(s->payload.start));
		if (shape_of(index, call->len) >= SHAPE_REQUEST)
			capture_all(s, index, max);
	}
}

/* How many requests data has, from one place to another: 0 if the first has no end, 1 or 2. */
__noinline int requests_in(__u32 index, __u32 from, __u32 to)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	__u32 end = line_end(index, from, to, true);
	__u64 at = end;

	barrier_var(at);
	if (!s || !end || at > 2 * PREFIX_MAX)
		return 0;
	/* Bodies hardly begin so. */
	return end < to && begins_request(&s->data[at]) ? 2 : 1;
}

/*
 * Looks at a request in data, whether there are several. Then what answers them may be
 * anywhere in long calls, and all of these is wanted.
 */
static __always_inline int look_for_several(struct socket_state *st, __u32 index, __u32 from,
					    __u32 to)
{
	__u32 size = to - from;

	switch (requests_in(index, from, to)) {
	case 2:
		st->wide = 1;
		break;
	case 1:
		if (!st->least || size < st->least)
			st->least = size;
	}
	return st->wide;
}

/* Most requests of a connection are of about one size: these are no several ones. */
static __always_inline bool has_usual_size(struct socket_state *st, __u32 size)
{
	return st->wide || (size >= st->least && size / 2 < st->least);
}

/*
 * The same of the request that is told with an answer, behind whose bytes it stands: those
 * of a long one are copied once more then, to where there is room for all.
 */
static __noinline int look_at_taken(struct socket_state *st, struct scratch *s, __u32 index)
{
	__u64 from = s->rec.call.len, len = s->rec.kept.len;
	struct http_call *call = &s->rec.call;

	if (!look_for_several(st, index, from, from + len) || call->len >= call->size ||
	    !s->payload.src.known)
		return 0;
	barrier_var(from);
	if (from > PREFIX_MAX)
		return 0;
	barrier_var(len);
	if (len > PREFIX_MAX)
		len = PREFIX_MAX;
	bpf_probe_read_kernel(&s->data[PREFIX_MAX], len, &s->data[from]);
	capture_all(s, index, PREFIX_MAX - len);
	from = call->len;
	barrier_var(from);
	if (from > PREFIX_MAX)
		from = PREFIX_MAX;
	barrier_var(len);
	if (len > PREFIX_MAX)
		len = PREFIX_MAX;
	bpf_probe_read_kernel(&s->data[from], len, &s->data[PREFIX_MAX]);
	s->payload.at = from + len;
	return 0;
}

/* The same of the request that is kept, behind which another call goes the same way. */
static __noinline int look_at_kept(struct socket_state *st, struct scratch *s, __u32 index,
				   __u64 key)
{
	struct http_head *head = head_of(st, key);
	__u64 len;

	if (st->kept == st->taken || !head || has_usual_size(st, head->call.len))
		return 0;
	len = head->call.len;
	barrier_var(len);
	if (len > prefix)
		len = prefix;
	bpf_probe_read_kernel(&s->data[PREFIX_MAX], len, head->data);
	return look_for_several(st, index, PREFIX_MAX, PREFIX_MAX + len);
}

/*
 * Whether more of a long call in the direction of requests is wanted than its first bytes:
 * a head goes on behind these, or there are several.
 */
static __always_inline bool wants_all(struct socket_state *st, struct scratch *s, __u32 index)
{
	int n = requests_in(index, 0, s->rec.call.len);

	if (n == 2)
		st->wide = 1;
	return n != 1;
}

/* Copies what is to be known of a call. False: it is not HTTP. */
static __always_inline bool capture(struct socket_state *st, struct scratch *s, __u32 index,
				    bool turned, bool unseen)
{
	struct http_call *call = &s->rec.call;

	call->len = 0;
	if (!unseen)
		capture_first(st, s, index);
	if (st->verdict == UNDECIDED) {
		switch (unseen ? decide_unseen(st) : decide(index)) {
		case NOT_FOLLOWED:
			/* To user space: it will not be told of this call. */
			st->intro.socket.joined = 1;
			return false;
		case AWAITED:
			return false;
		}
		if (st->verdict == IS_HTTP2)
			return true;
	}
	if (unseen || call->len >= call->size)
		return true;
	if (!st->wide && call->len == prefix && call->dir == st->requests &&
	    (turned ? wants_all(st, s, index) : begins_request(s->data)))
		capture_all(s, index, PREFIX_MAX);
	if (call->len < call->size)
		capture_tail(s, index);
	return true;
}

#endif
