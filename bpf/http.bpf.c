//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What do processes say to each other in HTTP, and when?
 *
 * A data call on a TCP socket that speaks HTTP is told with the first bytes it
 * moved; user space reads messages out of that (trace/http1). What goes in the
 * direction of requests is kept here until something goes the other way, so
 * that an exchange of one call each way, which most are, takes one record. A
 * socket whose first bytes are no HTTP is not looked at again. Inside of a long
 * body user space says how far it goes (map hints): calls up to there are only
 * summed.
 *
 * A socket that begins with the preface of HTTP/2, is switched to it (h2c), or has
 * a call in mid-connection of nothing but frames that fit one another, with HEADERS
 * among them, is followed frame by frame (http/frames.h). Whether those HEADERS are
 * some, user space says.
 *
 * Hooks, three doors to one body:
 *   A  fexit of tcp_sendmsg, tcp_recvmsg, tcp_splice_read, and tcp_sendpage
 *      where there is one (below 6.5)
 *   B  kprobe and kretprobe of the same
 *   C  the tracepoints sock_send_length and sock_recv_length (6.3), which work
 *      where functions cannot be hooked; where the bytes are, is told by the
 *      registers of the system call. What splice takes out of a socket is not
 *      told there, but by tcp_rcv_space_adjust
 * and inet_sock_set_state and tcp_destroy_sock, on every kernel, for the end.
 *
 * Missed: the bytes, not their number, of sendfile, splice and zero-copy
 * receives; in A and B what a receive takes that waited before tracing began;
 * and in C of io_uring, sendmmsg and recvmmsg and of 32-bit
 * programs. In C what a ring of io_uring splices out of a socket is known only
 * by the next call. Of Multipath TCP what splice takes out of a socket.
 *
 * Two threads that move bytes in one direction of a socket at the same time
 * are told in one order or the other.
 *
 * Oldest kernel: 5.8 (bpf_ktime_get_boot_ns); C: 6.3.
 */
#include "http/life.h"
#include "http/verdict.h"

/* How an answer with status 101 begins. */
#define H1_ANSWER 0x312e312f50545448 /* "HTTP/1.1" */
#define H1_SWITCH 0x31303120	     /* " 101" */
/* Calls after a change of direction that may still be parts of a head. */
#define HEAD_CALLS 4
/* Bytes captured of a long call that is a part of a body. */
#define BODY_LEN 32
/* A sum is told before it grows beyond this. */
#define SUM_MAX (1U << 30)

/* Calls that have copies, for first_call(): a task has no two of them at once. */
enum copied {
	COPIED_SEND,
	COPIED_RECEIVE,
};

/*
 * How the kernel lets us look at its memory: directly, where it knows the type
 * of an argument, or by a copy. A door is a constant where it is used.
 */
enum door {
	BY_FUNCTION,
	BY_KPROBE,
	BY_TRACEPOINT,
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

/* --- A call that has moved bytes, in stages ------------------------------- */

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
	if (!subflow) {
		subflow = meet(first, 0, sent, use);
		if (!subflow)
			return NULL;
		name_older(subflow, first);
	}
	st->ports = BPF_CORE_READ(sk, __sk_common.skc_portpair);
	take_subflow(st, subflow, first, direction_of(use), moved);
	return st;
}

/* What is known of the socket of a call, or NULL if that is not to be followed. */
static __always_inline struct socket_state *socket_of(void *ctx, enum door door, __u32 use,
						      struct sock *sk, long ret)
{
	enum direction dir = direction_of(use);
	__u64 key = (__u64)sk;
	struct socket_state *st = bpf_map_lookup_elem(&sockets, &key);
	bool same = st && st->ports == READ(door, sk, __sk_common.skc_portpair);

	if (same && st->verdict == IS_OTHER)
		return NULL;
	if (ret <= 0) {
		/* The end of what the other side sends; for a client that is all. */
		if (ret == 0 && dir == received && st && st->verdict != IS_OTHER &&
		    st->requests == sent && READ(door, sk, sk_shutdown) & RCV_SHUTDOWN)
			tell_close(ctx, st, sk, use,
				   !st->late || st->late == closed ? closed | by_peer : st->late);
		return NULL;
	}
	if (st && !same && !has_ports(sk, st->ports)) {
		ended_unseen(ctx, st, sk, use);
		st = NULL;
	}
	if (!st) {
		st = door == BY_KPROBE || bpf_skc_to_tcp_sock(sk) ? meet(sk, ret, dir, use) : NULL;
		if (st)
			name_older(st, sk);
		else
			st = meet_multipath(sk, true);
	}
	if (st && st->multipath && !st->ports)
		st = find_subflow(st, sk, use, ret);
	return st && st->verdict != IS_OTHER ? st : NULL;
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
				       struct msghdr *msg, bool unseen)
{
	struct source *src = &s->payload.src;

	s->payload.size = s->rec.call.size;
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
		st->verdict = IS_OTHER;
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
		switch (decide(index)) {
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

/* Tells a request, or keeps it; one that was kept before it is told. */
static __noinline int request_moved(void *ctx, struct socket_state *st, struct scratch *s,
				    __u32 index)
{
	struct http_call *call = &s->rec.call;
	__u64 key = s->payload.src.sk;

	if (st->kept != st->taken || st->sum.size) {
		struct http_call this = *call;

		/* It has not waited for the answer to that one, or that was the first of several. */
		if (!st->wide && begins_request(s->data))
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

/* Tells the rest of a call in further records. */
static __noinline int tell_rest(void *ctx, struct socket_state *st, struct scratch *s, __u32 index,
				__u32 rest)
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
static __noinline int switch_to_frames(struct socket_state *st, struct scratch *s, __u32 index)
{
	struct http_call *call = &s->rec.call;
	__u8 dir = call->dir & 1;
	int len = h2c_head(s, index);

	/* The client's preface comes behind the request, and after this answer. */
	if (len <= 0 || !begin_frames(st, s->payload.src.sk, dir, call->offset + len, h2_in_frames,
				      h2_in_preface))
		return 0;
	return call->size > len ? len : 0;
}

/*
 * A call has moved ret bytes. msg tells where they are, if not NOWHERE; from
 * tracepoints the registers of the system call do.
 */
static __always_inline int data_call(void *ctx, enum door door, __u32 use, struct sock *sk,
				     struct msghdr *msg, long ret)
{
	bool turned, unseen = (use & THROWN_AWAY) || use == FOR_SPLICE; /* the bytes are nowhere */
	bool framed = false, urgent_behind = false;
	enum direction dir = direction_of(use & ~THROWN_AWAY);
	__u32 index, seq;
	struct task_struct *task = NULL; /* if the kernel vouches for it */
	struct http_head *head = NULL;
	__u64 key = (__u64)sk;
	struct socket_state *st;
	struct http_call *call;
	struct tcp_sock *tp;
	struct scratch *s;
	__u64 skip = 0;
	__u32 rest = 0;

	use &= ~THROWN_AWAY;
	st = socket_of(ctx, door, use, sk, ret);
	if (!st)
		return 0;
	tp = st->multipath ? NULL : as_tcp(door, sk);
	if (!tp && !st->multipath)
		return 0;
	if (door == BY_TRACEPOINT)
		task = bpf_get_current_task_btf();
	if (!is_wanted(st, task))
		return 0;
	index = scratch_index(use);
	s = scratch(index);
	if (!s)
		return 0;
	call = &s->rec.call;
	seq = !tp	    ? st->next[dir & 1] + ret :
	      dir == sent ? READ(door, tp, write_seq) :
			    READ(door, tp, copied_seq);
	place_call(door, st, call, sk, tp, dir, seq, ret);
	turned = goes_back(st, dir);
	/* Joined in the middle of something long: what follows it will turn. */
	if (st->verdict == UNDECIDED && st->misses && st->intro.socket.joined && !turned)
		return 0;
	find_bytes(door, s, index, task, sk, msg, unseen);
	if (dir == sent && s->payload.src.flags & MSG_OOB) {
		if (!leave_urgent_out(st, s)) {
			st->urgent_before |= 1 << sent;
			return 0;
		}
		urgent_behind = true;
	}
	if (heed_hint(st, s, key, index))
		return 0;
	st->calls++;
	if (st->verdict != IS_HTTP2) {
		if (!unseen)
			head = keep_at_once(st, s, key);
		if (!head && !capture(st, s, index, turned, unseen))
			return 0;
	}
	time_call(st, &s->rec, dir);
	s->rec.type = data_moved;
	s->rec.ending = 0;
	if (st->urgent_before & 1 << dir || urgent_behind) {
		if (st->urgent_before & 1 << dir)
			call->tail_len |= urgent;
		st->urgent_before = urgent_behind << sent | (st->urgent_before & ~(1 << dir));
	}
	if (head) {
		kept_at_once(st, head, call);
	} else if (st->verdict == IS_HTTP2) {
		framed = true;
	} else if (dir != st->requests) {
		take_kept(st, s, key, true);
		if (s->rec.kept.len && !has_usual_size(st, s->rec.kept.len))
			look_at_taken(st, s, index);
		rest = leave_rest(st, call);
		tell(ctx, st, s, key);
		if (is_switch(s))
			skip = switch_to_frames(st, s, index);
	} else {
		rest = leave_rest(st, call);
		request_moved(ctx, st, s, index);
	}
	if (rest)
		tell_rest(ctx, st, s, index, rest);
	if (framed || skip)
		frames_moved(ctx, st, s, index, skip);
	if (st->ending)
		tell_close(ctx, st, sk, use, st->ending);
	return 0;
}

STEP_COPIES("raw_tp/inet_sock_set_state", http_set_state, state_step, state_change)
STEP_COPIES("raw_tp/tcp_destroy_sock", http_destroy_sock, destroy_step, destroyed)

/* --- A: functions --------------------------------------------------------- */

static __noinline int moved_by_function(__u64 *ctx, __u32 use, struct sock *sk, struct msghdr *msg,
					int n)
{
	return data_call(ctx, BY_FUNCTION, use, sk, msg, n);
}

/* Whether a copy is the first to see a call return; a socket's next call has another number. */
static __always_inline bool first_data_call(int copy, enum copied what, struct sock *sk)
{
	struct tcp_sock *tp;

	if (!has_copies)
		return true;
	tp = bpf_skc_to_tcp_sock(sk);
	return first_call(copy, what,
			  !tp		      ? 0 :
			  what == COPIED_SEND ? tp->write_seq :
						tp->copied_seq,
			  false);
}

static __always_inline int sendmsg_returns(__u64 *ctx, int copy)
{
	if (!first_data_call(copy, COPIED_SEND, (void *)ctx[0]))
		return 0;
	return moved_by_function(ctx, FOR_SEND + copy, (void *)ctx[0], (void *)ctx[1], ctx[3]);
}

CALL_COPIES("fexit/tcp_sendmsg", http_sendmsg, sendmsg_returns)

/*
 * tcp_recvmsg has had six, five and four arguments, the flags among them in
 * two places. A wrong number would load and read an argument for the result:
 * user space counts them. Kernels that preempt programs have four.
 */
static __always_inline int recvmsg_returns(__u64 *ctx, int copy, __u64 flags, int n)
{
	if (!first_data_call(copy, COPIED_RECEIVE, (void *)ctx[0]) || flags & NOT_TAKEN)
		return 0;
	return moved_by_function(ctx, FOR_RECEIVE + copy, (void *)ctx[0],
				 flags & MSG_TRUNC ? NOWHERE : (void *)ctx[1], n);
}

static __always_inline int recvmsg4_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[3], ctx[4]);
}

static __always_inline int recvmsg5_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[3], ctx[5]);
}

static __always_inline int recvmsg6_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[4], ctx[6]);
}

CALL_COPIES("fexit/tcp_recvmsg", http_recvmsg4, recvmsg4_returns)
COPY("fexit/tcp_recvmsg", http_recvmsg5, recvmsg5_returns, 0)
COPY("fexit/tcp_recvmsg", http_recvmsg6, recvmsg6_returns, 0)

SEC("fexit/tcp_sendpage")
int http_sendpage(__u64 *ctx)
{
	return moved_by_function(ctx, FOR_SEND, (void *)ctx[0], NOWHERE, ctx[5]);
}

SEC("fexit/tcp_splice_read")
int http_splice_read(__u64 *ctx)
{
	struct socket *socket = (void *)ctx[0];

	return moved_by_function(ctx, FOR_SPLICE, socket->sk, NOWHERE, ctx[5]);
}

/* --- B: the same functions, by kprobes ------------------------------------ */

/*
 * What a function was called with, until it returns, by thread and use. Not
 * deleted if a return is missed; the oldest give way.
 */
struct pending_call {
	__u64 sk;
	__u64 msg;
	__u64 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct pending_call);
} pending SEC(".maps");

static __always_inline int called(struct sock *sk, __u64 msg, __u64 flags, __u32 dir)
{
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call call = {(__u64)sk, msg, flags};

	if (bpf_map_update_elem(&pending, &key, &call, BPF_ANY))
		count_lost(map_full);
	return 0;
}

static __noinline int returned(void *ctx, __u32 dir)
{
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call *call = bpf_map_lookup_elem(&pending, &key), c;
	int ret = register_return(ctx);

	if (!call)
		return 0;
	c = *call;
	bpf_map_delete_elem(&pending, &key);
	if (c.flags & NOT_TAKEN)
		return 0;
	return data_call(ctx, BY_KPROBE, dir == sent ? FOR_SEND : FOR_RECEIVE, (void *)c.sk,
			 c.flags & MSG_TRUNC ? NOWHERE : (void *)c.msg, ret);
}

SEC("kprobe/tcp_sendmsg")
int http_k_sendmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), 0, sent);
}

SEC("kretprobe/tcp_sendmsg")
int http_r_sendmsg(void *ctx)
{
	return returned(ctx, sent);
}

SEC("kprobe/tcp_sendpage")
int http_k_sendpage(void *ctx)
{
	return called((void *)register_arg(ctx, 0), (__u64)NOWHERE, 0, sent);
}

SEC("kretprobe/tcp_sendpage")
int http_r_sendpage(void *ctx)
{
	return returned(ctx, sent);
}

SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 3),
		      received);
}

/* Up to 5.18 nonblock stood before flags. */
SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg_old(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 4),
		      received);
}

SEC("kretprobe/tcp_recvmsg")
int http_r_recvmsg(void *ctx)
{
	return returned(ctx, received);
}

SEC("kprobe/tcp_splice_read")
int http_k_splice_read(void *ctx)
{
	struct socket *socket = (void *)register_arg(ctx, 0);

	return called(BPF_CORE_READ(socket, sk), (__u64)NOWHERE, 0, received);
}

SEC("kretprobe/tcp_splice_read")
int http_r_splice_read(void *ctx)
{
	return returned(ctx, received);
}

/* --- C: tracepoints ------------------------------------------------------- */

static __noinline int moved_by_tracepoint(__u64 *ctx, __u32 use, int n)
{
	return data_call(ctx, BY_TRACEPOINT, use, (void *)ctx[0], NOWHERE, n);
}

static __always_inline int sent_length(__u64 *ctx, int copy)
{
	if (!first_data_call(copy, COPIED_SEND, (void *)ctx[0]))
		return 0;
	return moved_by_tracepoint(ctx, FOR_SEND + copy, ctx[1]);
}

static __always_inline int received_length(__u64 *ctx, int copy)
{
	if (!first_data_call(copy, COPIED_RECEIVE, (void *)ctx[0]) || ctx[2] & NOT_TAKEN)
		return 0;
	return moved_by_tracepoint(ctx, FOR_RECEIVE + copy + (ctx[2] & MSG_TRUNC ? THROWN_AWAY : 0),
				   ctx[1]);
}

CALL_COPIES("tp_btf/sock_send_length", http_send_length, sent_length)
CALL_COPIES("tp_btf/sock_recv_length", http_recv_length, received_length)

/*
 * Called whenever bytes were taken out of a socket, with its lock held; this is
 * for those that no sock_recv_length follows.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int http_space_adjust(__u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sock *sk = (void *)ctx[0];
	__u64 key = (__u64)sk;
	struct socket_state *st;
	struct tcp_sock *tp;
	__u32 moved;

	if (syscall_number(regs_of(task), true) != nr_splice ||
	    task->flags & (TASK_IS_KTHREAD | TASK_IS_IO_WORKER))
		return 0;
	st = bpf_map_lookup_elem(&sockets, &key);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!st || !tp)
		return 0;
	moved = tp->copied_seq - st->next[received];
	if (moved && sk->sk_shutdown & RCV_SHUTDOWN && tp->copied_seq == tp->rcv_nxt)
		moved--; /* a FIN */
	return moved_by_tracepoint(ctx, FOR_SPLICE, moved);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
