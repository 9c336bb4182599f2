/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What becomes of a call that has moved bytes of a stream: it is summed, kept, told, or
 * nothing of it is wanted.
 */
#ifndef TRACER_HTTP_CALL_H
#define TRACER_HTTP_CALL_H

#include "life.h"
#include "verdict.h"

/* How an answer with status 101 begins. */
#define H1_ANSWER 0x312e312f50545448 /* "HTTP/1.1" */
#define H1_SWITCH 0x31303120	     /* " 101" */
/* Calls after a change of direction that may still be parts of a head. */
#define HEAD_CALLS 4
/* Bytes captured of a long call that is a part of a body. */
#define BODY_LEN 32
/* A sum is told before it grows beyond this. */
#define SUM_MAX (1U << 30)

/*
 * How the kernel lets us look at its memory: directly, where it knows the type
 * of an argument, or by a copy. A door is a constant where it is used.
 */
enum door {
	BY_FUNCTION,
	BY_KPROBE,
	BY_TRACEPOINT,
	BY_TLS, /* it is plaintext, and no socket's call at all */
};

#define READ(door, p, field) ((door) == BY_KPROBE ? BPF_CORE_READ(p, field) : (p)->field)

/* A socket as one of TCP, or NULL; the cast, unlike the helper, is no call. */
static __always_inline struct tcp_sock *as_tcp(enum door door, struct sock *sk)
{
	switch (door) {
	case BY_FUNCTION:
		return bpf_skc_to_tcp_sock(sk);
	case BY_TRACEPOINT:
		if (sk->sk_protocol != IPPROTO_TCP)
			return NULL;
		return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	default:
		return (void *)sk;
	}
}

/* Receives that take nothing of what the other side sends in its messages. */
#define NOT_TAKEN (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)
/* Added to the use of a receive whose bytes are nowhere: MSG_TRUNC. */
#define THROWN_AWAY 0x100

/* Where functions do not tell where the bytes are. */
#define NOWHERE ((struct msghdr *)0)

static __always_inline enum direction direction_of(__u32 use)
{
	return use < FOR_RECEIVE ? sent : received;
}

/* Takes over what the first subflow of a socket of MPTCP has: the socket, or NULL if there is none. */
static __noinline struct socket_state *find_subflow(struct socket_state *st, struct sock *sk,
							 __u32 use, long moved)
{
	struct sock *first = first_subflow(sk);
	__u64 key = (__u64)first;
	struct socket_state *subflow = bpf_map_lookup_elem(&sockets, &key);

	if (!first)
		return NULL;
	if (!subflow)
		subflow = meet_older(first, 0, sent, use);
	if (!subflow)
		return NULL;
	st->ports = BPF_CORE_READ(sk, __sk_common.skc_portpair);
	take_subflow(st, subflow, first, direction_of(use), moved);
	return st;
}

/* Whether calls are looked at although what they move is not read. */
static __always_inline bool may_have_tls(struct socket_state *st)
{
	return read_tls && !st->multipath && (st->tls || st->misses < TLS_LOOKS);
}

/* What is known of the socket of a call, or NULL if that is not to be followed. */
static __always_inline struct socket_state *socket_of(void *ctx, enum door door, __u32 use,
						      struct sock *sk, long ret)
{
	enum direction dir = direction_of(use);
	__u64 key = (__u64)sk;
	struct socket_state *st = bpf_map_lookup_elem(&sockets, &key);
	bool same = st && st->ports == READ(door, sk, __sk_common.skc_portpair);

	if (same && st->verdict == IS_OTHER && !may_have_tls(st))
		return NULL;
	if (ret <= 0) {
		/* The end of what the other side sends; for a client that is all. */
		if (ret == 0 && dir == received && st && st->verdict != IS_OTHER &&
		    st->requests == sent && READ(door, sk, sk_shutdown) & RCV_SHUTDOWN)
			tell_close(ctx, st, sk, use,
				   !st->late || st->late == closed ? closed | by_peer : st->late);
		return NULL;
	}
	/* Those of a socket of MPTCP are not known before its first call. */
	if (st && !same && st->ports && !has_ports(sk, st->ports)) {
		ended_unseen(ctx, st, sk, use);
		st = NULL;
	}
	/* What tcp_rcv_space_adjust tells is of one that is known. */
	if (!st && !(door == BY_TRACEPOINT && use == FOR_SPLICE)) {
		st = door == BY_KPROBE || bpf_skc_to_tcp_sock(sk) ? meet_older(sk, ret, dir, use) :
								    NULL;
		if (!st)
			st = meet_multipath(sk, true);
	}
	if (st && st->multipath && !st->ports)
		st = find_subflow(st, sk, use, ret);
	return st && (st->verdict != IS_OTHER || may_have_tls(st)) ? st : NULL;
}

/* Where nothing is wanted nothing is followed; the numbers tell later. */
static __always_inline bool is_wanted(struct socket_state *st, struct task_struct *task)
{
	__u32 tgid = task ? task->tgid : bpf_get_current_pid_tgid() >> 32;

	if (tgid != st->intro.owner.pid)
		take_over(st, tgid);
	return st->wanted;
}

/* Notes that a call has moved some bytes of the stream: seq is TCP's number of the next one. */
static __always_inline void place_call(enum door door, struct socket_state *st,
				       struct http_call *call, struct sock *sk, struct tcp_sock *tp,
				       enum direction dir, __u32 seq, __u64 moved)
{
	__u32 before = st->next[dir & 1], gone = seq - before;
	__u64 at = st->bytes[dir & 1];

	st->next[dir & 1] = seq;
	/* What was moved unseen is a gap before this call. */
	if (tp && gone > moved && gone < 1U << 31) {
		if (gone == moved + 1 && dir == received && READ(door, tp, urg_seq) == before)
			st->urgent_before |= 1 << received;
		/* A FIN is taken out with the last bytes and counts as one. */
		if (dir == received && READ(door, sk, sk_shutdown) & RCV_SHUTDOWN &&
		    seq == READ(door, tp, rcv_nxt))
			gone--;
		at += gone - moved;
	}
	st->bytes[dir & 1] = at + moved;
	call->offset = at;
	call->size = moved;
	call->dir = dir;
	call->tail_len = 0;
	call->time = 0;
	if (tp && dir == received)
		st->arrived = READ(door, tp, inet_conn.icsk_ack.lrcvtime);
	if (tp && dir == sent && READ(door, tp, snd_nxt) == seq) {
		call->time = READ(door, tp, tcp_wstamp_ns);
		call->last = READ(door, tp, first_tx_mstamp);
	}
}

/* Whether a call goes another way than the one before. */
static __always_inline bool goes_back(struct socket_state *st, enum direction dir)
{
	bool turned = st->last_dir != dir;

	st->last_dir = dir;
	st->run = turned ? 0 : st->run < 255 ? st->run + 1 : 255;
	if (turned && dir == st->requests)
		st->lost_requests = st->lost_answers = 0; /* a new one: lost_record() */
	return turned;
}

static __always_inline void find_bytes(enum door door, struct scratch *s, __u32 index,
				       struct task_struct *task, struct sock *sk,
				       struct msghdr *msg, __u64 size, bool unseen)
{
	struct source *src = &s->payload.src;

	s->payload.size = size;
	src->known = false;
	src->sk = (__u64)sk;
	src->msg = (__u64)msg;
	src->flags = 0;
	if (unseen)
		return;
	if (task) {
		source_of_regs(src, task);
	} else if (msg) {
		source_of_msg(index);
		src->flags = READ(door, msg, msg_flags);
	}
}

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

/*
 * Says when a send's bytes left and returns the time. A send returns after the
 * other side may have worked on it. If all bytes have left, the last of them did
 * within this call, and the kernel has noted when: in the stamp of what was sent
 * last (left), which may be a later acknowledgement or, with pacing, what may be
 * sent next, and, in µs, in that of the flight that it belongs to, which may have
 * begun before the send. The clock is only looked at where these do not tell.
 */
static __always_inline __u64 time_of_send(struct http_call *call, __u64 sent_at, __u64 left,
					  __u64 flight)
{
	__u64 now = flight;

	call->time = left - flight < 1000 ? left : flight;
	if (flight <= sent_at || call->size > 65536)
		now = bpf_ktime_get_boot_ns();
	if (flight <= sent_at)
		call->time = left < now ? left : now;
	call->last = call->size > 65536 ? now : call->time;
	return now;
}

/* Says when a call moved its bytes: what TCP has noted of a send is in time and last, if all left. */
static __always_inline void time_call(struct socket_state *st, struct http_record *rec,
				      enum direction dir)
{
	struct http_call *call = &rec->call;

	if (dir == sent && call->time)
		rec->time = time_of_send(call, st->sent_at, call->time + asleep,
					 call->last * 1000 + asleep);
	else
		call->time = call->last = rec->time = bpf_ktime_get_boot_ns();
	if (dir == sent)
		st->sent_at = call->last;
}

static __always_inline int request_moved_with(void *ctx, struct socket_state *st, struct scratch *s,
					 __u32 index)
{
	struct http_call *call = &s->rec.call;
	__u64 key = s->payload.src.sk;

	if (st->kept != st->taken || st->sum.size) {
		struct http_call this = *call;

		/* It has not waited for the answer to that one, or that was the first of several. */
		if (!st->wide && call->len && begins_request(s->data))
			st->wide = 1;
		if (!st->wide)
			look_at_kept(st, s, index, key);

		/* Its bytes stay where they are: only the kept call is told. */
		call->size = 0;
		tell_kept(ctx, st, s, key);
		*call = this;
	}
	/*
	 * The first one is told at once: user space has to know of both ends of a
	 * connection before it can wait for what either of them says.
	 */
	if ((!st->introduced && st->verdict == IS_HTTP) || !keep(st, s, key)) {
		if (call->len <= prefix && !has_usual_size(st, call->len))
			look_for_several(st, index, 0, call->len);
		tell_alone(ctx, st, s, key);
	}
	return 0;
}

static __noinline int request_moved_by_perf(void *ctx, struct socket_state *st, struct scratch *s,
	__u32 index)
{
	return request_moved_with(ctx, st, s, index);
}

__noinline int request_moved_by_ring(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);

	if (!s || !st || perf_buffers)
		return 0;
	return request_moved_with(NULL, st, s, index);
}

/* Tells a request, or keeps it; one that was kept before it is told. */
static __always_inline void request_moved(void *ctx, struct socket_state *st, struct scratch *s,
					  __u32 index)
{
	if (perf_buffers)
		request_moved_by_perf(ctx, st, s, index);
	else
		request_moved_by_ring(index);
}

/* Records that a long call may take, each of PREFIX_MAX bytes; of what is longer the rest is a gap. */
#define CALL_RECORDS 5

/* If heads may be anywhere in a long call, only what was captured is told at first: how much is left. */
static __always_inline __u32 leave_rest(struct socket_state *st, struct http_call *call)
{
	__u32 rest = call->size - call->len;

	if (!st->wide || !rest || call->len < PREFIX_MAX / 2)
		return 0;
	call->size = call->len;
	call->tail_len &= urgent;
	return rest;
}

static __always_inline int tell_rest_with(void *ctx, struct socket_state *st, struct scratch *s,
				     __u32 index, __u32 rest)
{
	struct source *src = &s->payload.src;
	struct http_call *call = &s->rec.call;

#pragma clang loop unroll(disable)
	for (int i = 1; i < CALL_RECORDS; i++) {
		if (!rest)
			break;
		if (src->segments)
			src->skip += call->size;
		else
			src->base += call->size;
		call->offset += call->size;
		call->size = rest;
		s->payload.size = rest;
		gather(index, PREFIX_MAX);
		call->len = s->payload.len;
		if (call->len && i < CALL_RECORDS - 1)
			call->size = call->len;
		call->tail_len = goes_on;
		tell_alone(ctx, st, s, src->sk);
		rest -= call->size;
	}
	return 0;
}

static __noinline int tell_rest_by_perf(void *ctx, struct socket_state *st, struct scratch *s,
	__u32 index, __u32 rest)
{
	return tell_rest_with(ctx, st, s, index, rest);
}

__noinline int tell_rest_by_ring(__u32 index, __u32 rest)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);

	if (!s || !st || perf_buffers)
		return 0;
	return tell_rest_with(NULL, st, s, index, rest);
}

/* Tells the rest of a call in further records. */
static __always_inline void tell_rest(void *ctx, struct socket_state *st, struct scratch *s,
				      __u32 index, __u32 rest)
{
	if (perf_buffers)
		tell_rest_by_perf(ctx, st, s, index, rest);
	else
		tell_rest_by_ring(index, rest);
}

/* Whether an answer begins that says that the connection goes on in another protocol. */
static __always_inline bool is_switch(struct scratch *s)
{
	return s->rec.call.len > 12 && *(__u64 *)s->data == H1_ANSWER &&
	       *(__u32 *)&s->data[8] == H1_SWITCH;
}

/*
 * Follows a connection that was HTTP/1 if that other protocol is HTTP/2. Returns how much of
 * the call the head is, if frames follow it.
 */
__noinline int switch_to_frames(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);
	struct http_call *call;
	__u8 dir;
	int len;

	if (!s || !st)
		return 0;
	call = &s->rec.call;
	dir = call->dir & 1;
	len = h2c_head(s, index);
	/* The client's preface comes behind the request, and after this answer. */
	if (len <= 0 || !begin_frames(st, s->payload.src.sk, dir, call->offset + len, h2_in_frames,
				      h2_in_preface))
		return 0;
	return call->size > len ? len : 0;
}

/*
 * What is done with a call whose place in the stream and whose bytes (payload.src) are
 * known. Plaintext of TLS has its times; of other calls TCP has noted them.
 */
static __always_inline int call_moved(void *ctx, enum door door, struct socket_state *st,
				      struct scratch *s, __u32 index, bool turned, bool unseen,
				      bool urgent_behind)
{
	struct http_call *call = &s->rec.call;
	enum direction dir = call->dir;
	__u64 key = s->payload.src.sk;
	struct http_head *head = NULL;
	bool framed = false;
	__u64 skip = 0;
	__u32 rest = 0;
	__u8 parts = 0;

	if (heed_hint(st, s, key, index))
		return 0;
	st->calls++;
	if (st->verdict != IS_HTTP2) {
		if (!unseen)
			head = keep_at_once(st, s, key);
		if (!head && !capture(st, s, index, turned, unseen))
			return 0;
	}
	if (door != BY_TLS)
		time_call(st, &s->rec, dir);
	s->rec.type = data_moved;
	s->rec.ending = 0;
	if (st->urgent_before & 1 << dir || urgent_behind) {
		if (st->urgent_before & 1 << dir)
			call->tail_len |= urgent;
		st->urgent_before = urgent_behind << sent | (st->urgent_before & ~(1 << dir));
	}
	if (dir == received && st->requests == received)
		note_read(st, call);
	if (head) {
		kept_at_once(st, head, call);
	} else if (st->verdict == IS_HTTP2) {
		framed = true;
	} else if (dir != st->requests) {
		take_kept(st, s, key, true);
		if (s->rec.kept.len && !has_usual_size(st, s->rec.kept.len))
			look_at_taken(st, s, index);
		rest = leave_rest(st, call);
		if (st->serving)
			parts = append_spent(st, s);
		tell_with(ctx, st, s, key, parts);
		if (!unseen && is_switch(s))
			skip = switch_to_frames(index);
	} else {
		rest = leave_rest(st, call);
		request_moved(ctx, st, s, index);
	}
	if (rest)
		tell_rest(ctx, st, s, index, rest);
	if (framed && unseen)
		frames_unseen(ctx, st, s, index);
	else if (framed || skip)
		frames_moved(ctx, st, s, index, skip);
	return 0;
}

/* Sends a record of TLS, with the bytes of its call, of which len are there. */
static __noinline int tell_tls(void *ctx, struct socket_state *st, struct scratch *s, __u64 key,
			       enum event type)
{
	struct http_record *rec = &s->rec;

	rec->type = type;
	rec->time = bpf_ktime_get_boot_ns();
	rec->socket = key;
	rec->seen = st ? st->seen : 0;
	rec->kept.size = rec->kept.len = rec->kept.tail_len = 0;
	rec->call.tail_len = 0;
	rec->lost = 0;
	rec->parts = 0;
	s->payload.at = rec->call.len;
	if (type == client_hello && st)
		append_part(s, &st->intro, sizeof(st->intro), with_intro);
	if (!send_scratch(ctx, s))
		count_lost(detail_missing);
	return 0;
}

/* Bytes of a ClientHello that are told: names are at its beginning. */
#define HELLO_MAX 2048

/*
 * Tells that a connection speaks TLS, with its first bytes where they are seen, or with
 * the next ones where those are the header alone.
 */
static __noinline int tell_hello(void *ctx, struct socket_state *st, struct scratch *s, bool begins)
{
	struct http_call *call = &s->rec.call;

	call->len = 0;
	if (begins)
		capture_all(s, s->payload.index, HELLO_MAX);
	if (begins && !(st->tls_flags & TLS_HELLO) && call->size <= 5 && call->dir == received)
		st->tls_flags |= TLS_HELLO;
	else
		st->tls_flags &= ~TLS_HELLO;
	return tell_tls(ctx, st, s, s->rec.socket, client_hello);
}

/* Notes that a send has left at this time within a call of a library. */
static __always_inline void note_send(struct socket_state *st, struct scratch *s,
				      struct tls_call *call, struct tcp_sock *tp)
{
	s->rec.call.time = 0;
	if (BPF_CORE_READ(tp, snd_nxt) == st->next[sent]) {
		s->rec.call.time = BPF_CORE_READ(tp, tcp_wstamp_ns);
		s->rec.call.last = BPF_CORE_READ(tp, first_tx_mstamp);
	}
	time_call(st, &s->rec, sent);
	if (call->dir == received || call->sent)
		return;
	call->time = s->rec.call.time;
	call->sent = 1;
}

/* Whose the record is with which a send begins, if its process was seen to be given that. */
static __noinline int owner_by_prefix(struct scratch *s, __u32 index)
{
	struct tls_linking *w = (void *)s->payload.room;
	struct tls_owner *known;
	__u64 len;

	gather(index, TLS_PREFIX);
	len = s->payload.len;
	barrier_var(len);
	if (len > TLS_PREFIX)
		len = TLS_PREFIX;
	__builtin_memset(&w->prefix, 0, sizeof(w->prefix));
	if (!len || bpf_probe_read_kernel(&w->prefix, len, s->data) || !prefix_of(&w->prefix))
		return false;
	known = bpf_map_lookup_elem(&tls_prefixes, &w->prefix);
	if (!known)
		return false;
	w->owner = *known;
	return true;
}

/* Finds out whose a socket of TLS is that has moved ciphertext. */
static __noinline int link_socket(void *ctx, struct socket_state *st, struct scratch *s,
				  struct tls_call *call, bool first)
{
	struct tls_linking *w = (void *)s->payload.room;

	if (call) {
		__builtin_memset(&w->owner, 0, sizeof(w->owner));
		w->owner.object.address = call->object;
		w->owner.object.pid = call->pid;
		w->owner.library = call->library;
		note_moved(call, s->rec.socket, st->seen);
		first |= call->handshake; /* which comes before all plaintext */
	} else if (st->tls_flags & TLS_LINKED || !bio_probed || s->rec.call.dir != sent ||
		   !owner_by_prefix(s, s->payload.index)) {
		return 0;
	}
	st->tls_flags |= TLS_LINKED;
	if (!link_object(st, s, first))
		return 0;
	s->rec.call.len = s->rec.call.size = 0;
	return tell_tls(ctx, st, s, s->rec.socket, tls_linked);
}

/* Whether a call begins like a record of TLS. */
static __noinline int begins_like_tls(struct scratch *s, __u32 index)
{
	gather(index, START_LEN);
	__builtin_memcpy(s->payload.start, s->data, START_LEN);
	return s->payload.len >= 3 && kind_of(s->payload.start, s->payload.len) == speaks_tls;
}

static __always_inline int tls_moved_with(void *ctx, struct socket_state *st, struct scratch *s,
				     bool new)
{
	struct sock *sk = (void *)s->payload.src.sk;
	struct http_call *moved = &s->rec.call;
	struct tcp_sock *tp = (void *)sk;
	enum direction dir = moved->dir;
	struct tls_call *call = call_under_way((__u64)sk);
	__u32 seq, index = s->payload.index;
	bool first, more;

	seq = dir == sent ? BPF_CORE_READ(tp, write_seq) : BPF_CORE_READ(tp, copied_seq);
	first = seq - moved->size == st->intro.socket.seq[dir & 1];
	st->next[dir & 1] = seq;
	if (dir == received)
		st->arrived = BPF_CORE_READ(tp, inet_conn.icsk_ack.lrcvtime);
	if (st->tls == NOT_TLS) {
		st->misses++;
		/* What a process sends by itself may be a library's, too. */
		if ((!call && (!bio_probed || dir != sent)) || !begins_like_tls(s, index))
			return 0;
		st->tls = CIPHERTEXT;
	}
	s->rec.socket = (__u64)sk;
	more = st->tls_flags & TLS_HELLO && dir == received;
	if ((new || more) && st->wanted)
		tell_hello(ctx, st, s, first || more);
	if (call && dir == sent)
		note_send(st, s, call, tp);
	return link_socket(ctx, st, s, call, first);
}

static __noinline int tls_moved_by_perf(void *ctx, struct socket_state *st, struct scratch *s,
	bool new)
{
	return tls_moved_with(ctx, st, s, new);
}

__noinline int tls_moved_by_ring(__u32 index, __u32 new)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);

	if (!s || !st || perf_buffers)
		return 0;
	return tls_moved_with(NULL, st, s, new);
}

/*
 * A socket has moved ciphertext, or what may be it. Of the call it is known where its
 * bytes are, their number and direction; new: it has shown just now that it speaks TLS.
 */
static __always_inline void tls_moved(void *ctx, struct socket_state *st, struct scratch *s,
				      bool new)
{
	if (perf_buffers)
		tls_moved_by_perf(ctx, st, s, new);
	else
		tls_moved_by_ring(s->payload.index, new);
}

/*
 * Most ciphertext is that of the object that has the socket, and nothing of it is looked
 * at. False: it is to be looked at more closely.
 */
static __noinline int moved_as_ever(struct socket_state *st, struct scratch *s,
					  struct sock *sk, enum direction dir)
{
	struct tcp_sock *tp = (void *)sk;
	struct tls_call *call;

	if (!st->object.address || st->tls_flags & TLS_HELLO)
		return false;
	call = call_under_way((__u64)sk);
	if (!call) {
		/* It may still belong to another one: where it is sent by the process itself. */
		if (bio_probed && dir == sent && !(st->tls_flags & TLS_LINKED))
			return false;
	} else if (call->object != st->object.address || call->pid != st->object.pid) {
		return false;
	}
	st->next[dir & 1] = dir == sent ? BPF_CORE_READ(tp, write_seq) :
					  BPF_CORE_READ(tp, copied_seq);
	if (dir == received)
		st->arrived = BPF_CORE_READ(tp, inet_conn.icsk_ack.lrcvtime);
	if (!call)
		return true;
	if (dir == sent)
		note_send(st, s, call, tp);
	note_moved(call, (__u64)sk, st->seen);
	return true;
}

/* Whether nothing is to be told of a call that was joined in the middle of something long. */
static __always_inline bool goes_on_unknown(struct socket_state *st, bool turned)
{
	/* What follows it will turn. */
	return st->verdict == UNDECIDED && st->misses && st->intro.socket.joined && !turned;
}

/* Finds where in the stream a call has moved some bytes. */
static __always_inline void find_place(enum door door, struct socket_state *st, struct scratch *s,
				       struct sock *sk, enum direction dir, long moved)
{
	struct tcp_sock *tp = st->multipath ? NULL : as_tcp(door, sk);
	__u32 seq = !tp		? st->next[dir & 1] + moved :
		    dir == sent ? READ(door, tp, write_seq) :
				  READ(door, tp, copied_seq);

	place_call(door, st, &s->rec.call, sk, tp, dir, seq, moved);
}

/* The same, with a stack of its own for what has to be copied. */
static __noinline int find_place_by_kprobe(struct socket_state *st, struct scratch *s,
					   struct sock *sk, __u32 dir, long moved)
{
	find_place(BY_KPROBE, st, s, sk, dir, moved);
	return 0;
}

/*
 * A call has moved ret bytes. msg tells where they are, if not NOWHERE; from
 * tracepoints the registers of the system call do.
 */
static __always_inline int data_call(void *ctx, enum door door, __u32 use, struct sock *sk,
				     struct msghdr *msg, long ret)
{
	bool turned, unseen = (use & THROWN_AWAY) || use == FOR_SPLICE; /* the bytes are nowhere */
	bool new, urgent_behind = false;
	enum direction dir = direction_of(use & ~THROWN_AWAY);
	struct task_struct *task = NULL; /* if the kernel vouches for it */
	struct socket_state *st;
	struct scratch *s;
	__u32 index;

	use &= ~THROWN_AWAY;
	st = socket_of(ctx, door, use, sk, ret);
	if (!st)
		return 0;
	if (!st->multipath && !as_tcp(door, sk))
		return 0;
	if (door == BY_TRACEPOINT)
		task = bpf_get_current_task_btf();
	if (!is_wanted(st, task))
		return 0;
	index = scratch_index(use);
	s = scratch(index);
	if (!s)
		return 0;
	new = st->tls == NOT_TLS && st->verdict != IS_OTHER;
	if (!new) {
		if (unseen || moved_as_ever(st, s, sk, dir))
			goto end;
		find_bytes(door, s, index, task, sk, msg, ret, unseen);
	} else {
		if (door == BY_KPROBE)
			find_place_by_kprobe(st, s, sk, dir, ret);
		else
			find_place(door, st, s, sk, dir, ret);
		turned = goes_back(st, dir);
		if (goes_on_unknown(st, turned))
			return 0;
		find_bytes(door, s, index, task, sk, msg, ret, unseen);
		if (dir == sent && s->payload.src.flags & MSG_OOB) {
			if (!leave_urgent_out(st, s)) {
				st->urgent_before |= 1 << sent;
				return 0;
			}
			urgent_behind = true;
		}
		call_moved(ctx, door, st, s, index, turned, unseen, urgent_behind);
		if (st->tls == NOT_TLS)
			goto end;
	}
	s->rec.call.size = ret;
	s->rec.call.dir = dir;
	tls_moved(ctx, st, s, new);
end:
	if (st->ending)
		tell_close(ctx, st, sk, use, st->ending);
	return 0;
}

#endif
