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

#include "capture.h"

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

#include "cipher.h"

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
