/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Turns (--turns): how long an answer takes, of any protocol. Who has connected asks, who
 * has accepted answers; a turn is from the last byte of what is asked to the first byte of
 * what is answered, as the process's calls see it. Of a greeting, or of what comes behind an
 * answer, there is none.
 *
 * This is right only where the two take turns. Where they do not the numbers of the socket
 * show it, mostly, and then a turn is mixed, and not counted:
 *
 *   client  it asked again before it was answered, or before it had read the answer; or
 *           what came was sent by a peer that had not received all that was asked
 *   server  there is more to read when it begins to answer; or what it has read came in
 *           more pieces than so many bytes take; or the peer asked before it had received
 *           the whole answer
 *
 * Calls are seen at their return: by the tracepoints sock_send_length and sock_recv_length
 * (6.3), at functions before that. What a call on another CPU has sent and not told yet is
 * known by the socket's sequence numbers. Sockets of MPTCP are left out.
 *
 * Not known: what several who use one connection at once have asked of it in such an order
 * that it looks like one, and what a peer sends without being asked, right behind a question.
 */
#ifndef TRACER_CONN_TURNS_H
#define TRACER_CONN_TURNS_H

/* Knob. Without it nothing of this is verified. */
const volatile bool count_turns;
const volatile __u32 recv_flags_arg = 3; /* which argument of tcp_recvmsg flags are */

/* Times are kept by 16 buckets for each power of two, µs: bucketTime() in turns.go. */
#define TURN_BUCKETS 432
#define TURN_LONGEST ((1U << 30) - 1)

/* A question goes on in the next call only if it was cut in such pieces. */
#define PIECE_LEAST 4096
/* Bytes that a segment has at least, if there are more to come. */
#define SEGMENT_LEAST 1024

enum __attribute__((packed)) phase {
	silent, /* nothing was asked so far */
	asking,
	answering,
};

/* How both sides of a connection talk. It is sent as it is. */
struct talk {
	__u64 sent; /* by output() */
	__u64 socket;
	__u64 start; /* of its conn: with the socket, no other */
	__u64 asked; /* when the last call that asks returned: ns, boot clock */
	__u64 max;   /* ns */
	__u32 ports;
	__u32 written;	/* write_seq, as far as calls were noted */
	__u32 arrived;	/* rcv_nxt: client: when it was read last; server: when it answered last */
	__u32 segments; /* data_segs_in when the server answered last */
	__u32 piece;	/* bytes of the client's last call */
	__u32 owed;	/* questions of the client, less pieces that have come since */
	__u32 turns;
	__u32 mixed;
	__u32 told; /* both, when user space looked last */
	enum role role;
	enum phase phase;
	__u8 spoilt; /* what is asked is mixed with something */
	__u8 pad;
	__u32 buckets[TURN_BUCKETS];
};

FOR_GO(talk, struct talk);

static const struct talk no_talk;

/*
 * By the socket's address. Inserted by the first call that moves bytes of a wanted
 * connection, deleted with the socket, and by the first call on another one at its
 * address. Bounded by max_entries, which user space sets: a connection without room is
 * counted as detail_missing, once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct talk);
} talks SEC(".maps");

/* A call that a kretprobe will see return. */
struct data_call {
	__u64 sk;
	__u32 receives;
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64); /* thread */
	__type(value, struct data_call);
} data_calls SEC(".maps");

static __always_inline bool is_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

/* Which bucket a time is in. */
static __always_inline __u32 turn_bucket(__u64 ns)
{
	__u64 us = ns / 1000;
	__u32 n = us > TURN_LONGEST ? TURN_LONGEST : us, high = 0;

	if (n < 16)
		return n;
	for (int bits = 16; bits; bits >>= 1) {
		if (n >> (high + bits))
			high += bits;
	}
	return (high - 3) * 16 + ((n >> (high - 4)) & 15);
}

/* An answer begins. */
static __always_inline void end_turn(struct talk *t, __u64 now)
{
	__u64 took = now > t->asked ? now - t->asked : 0;
	__u32 bucket = turn_bucket(took);

	t->phase = answering;
	if (t->spoilt || bucket >= TURN_BUCKETS) {
		t->mixed++;
		return;
	}
	t->turns++;
	t->buckets[bucket]++;
	if (took > t->max)
		t->max = took;
}

/* The client asks, by bytes that it has sent. */
static __always_inline void client_asks(struct talk *t, struct sock *sk, __u64 now, __u32 n)
{
	bool goes_on = t->phase == asking && t->piece >= PIECE_LEAST;

	if (t->phase != asking)
		t->spoilt = t->phase == answering && unread_bytes((__u64)sk);
	if (!goes_on)
		t->owed++;
	t->phase = asking;
	t->piece = n;
	t->asked = now;
}

/* The client has read something. */
static __always_inline void client_hears(struct talk *t, struct sock *sk, __u64 now)
{
	struct tcp_sock *tp = (void *)sk;
	bool came = is_before(t->arrived, LOAD(tp, copied_seq));

	t->arrived = LOAD(tp, rcv_nxt);
	if (t->phase == asking) {
		if (t->owed > 1 || is_before(LOAD(tp, snd_una), t->written))
			t->spoilt = 1;
		end_turn(t, now);
	}
	if (came && t->owed)
		t->owed--;
}

/* The server has read something. */
static __always_inline void server_hears(struct talk *t, struct sock *sk, __u64 now)
{
	struct tcp_sock *tp = (void *)sk;

	if (t->phase != asking)
		t->spoilt = t->phase == answering && is_before(LOAD(tp, snd_una), t->written);
	t->phase = asking;
	t->asked = now;
}

/* The server has sent something. */
static __always_inline void server_answers(struct talk *t, struct sock *sk, __u64 now)
{
	struct tcp_sock *tp = (void *)sk;
	__u32 arrived = LOAD(tp, rcv_nxt), segments = LOAD(tp, data_segs_in);

	if (t->phase == answering)
		return;
	if (t->phase == asking) {
		if (unread_bytes((__u64)sk) ||
		    segments - t->segments > (arrived - t->arrived) / SEGMENT_LEAST + 1)
			t->spoilt = 1;
		end_turn(t, now);
	}
	t->arrived = arrived;
	t->segments = segments;
}

/* What has been written is noted, whether its call has returned or not. False: it was before. */
static __always_inline bool note_written(struct talk *t, struct sock *sk, __u64 now, __u32 n)
{
	__u32 written = LOAD((struct tcp_sock *)sk, write_seq);

	if (written == t->written)
		return false;
	t->written = written;
	if (t->role == client)
		client_asks(t, sk, now, n);
	else
		server_answers(t, sk, now);
	return true;
}

/* A connection's first call. */
static __noinline struct talk *begin_talk(struct sock *sk, enum direction dir, __u32 n)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	struct conn *c = bpf_map_lookup_elem(&socks, &key);
	struct talk *t;

	if (!c || c->unwanted || c->untold || (c->state != open && c->state != connecting))
		return NULL;
	if (c->state == open && !has_ports(sk, c->ports))
		return NULL;
	if (bpf_map_update_elem(&talks, &key, &no_talk, BPF_ANY)) {
		count_lost(detail_missing);
		return NULL;
	}
	t = bpf_map_lookup_elem(&talks, &key);
	if (!t)
		return NULL;
	t->socket = key;
	t->start = c->start;
	t->role = c->role;
	t->ports = LOAD(sk, __sk_common.skc_portpair);
	t->written = LOAD(tp, write_seq) - (dir == sent ? n : 0);
	t->arrived = LOAD(tp, rcv_nxt);
	t->segments = LOAD(tp, data_segs_in);
	if (dir == received && c->role == server && !c->before) {
		/* What has been read was the first that came. */
		t->arrived -= LOAD(tp, bytes_received);
		t->segments = 0;
	}
	return t;
}

static __noinline int talked(struct sock *sk, enum direction dir, int n)
{
	__u64 key = (__u64)sk, now;
	struct talk *t = bpf_map_lookup_elem(&talks, &key);

	if (!t || t->ports != LOAD(sk, __sk_common.skc_portpair)) {
		t = begin_talk(sk, dir, n);
		if (!t)
			return 0;
	}
	now = bpf_ktime_get_boot_ns();
	if (dir == sent) {
		note_written(t, sk, now, n);
		return 0;
	}
	/* A FIN has a number, too, and is nothing that is said. */
	if (!(LOAD(sk, sk_shutdown) & SEND_SHUTDOWN))
		note_written(t, sk, now, 0);
	if (t->role == client)
		client_hears(t, sk, now);
	else
		server_hears(t, sk, now);
	return 0;
}

/* Sends what is known of a connection that ends, ahead of its close. */
static __noinline void send_talk(void *ctx, struct sock *sk, __u64 start)
{
	__u64 key = (__u64)sk;
	struct talk *t = bpf_map_lookup_elem(&talks, &key);

	if (!t || !t->turns || !has_ports(sk, t->ports))
		return;
	t->start = start;
	send_record(ctx, t, sizeof(*t), detail_missing);
}

static __always_inline void forget_talk(__u64 key)
{
	if (count_turns)
		bpf_map_delete_elem(&talks, &key);
}

/*
 * The first argument as a number: of a pointer that the verifier knows global functions
 * take none.
 */
static __always_inline struct sock *socket_of(__u64 *ctx)
{
	return (struct sock *)load_word(ctx);
}

/* Tracepoints: any kind of socket. */

static __always_inline int length_told(__u64 *ctx, int copy, enum direction dir)
{
	struct sock *sk = (struct sock *)ctx[0];
	int n = ctx[1], flags = ctx[2];

	if (!is_first_call(copy, COPIED_LENGTH, n))
		return 0;
	/* What is looked at stays; errors are nothing that is said. */
	if (n <= 0 || !is_inet(sk->__sk_common.skc_family) || sk->sk_protocol != IPPROTO_TCP ||
	    (dir == received && flags & (MSG_PEEK | MSG_ERRQUEUE)))
		return 0;
	return talked(socket_of(ctx), dir, n);
}

static __noinline int sent_length(__u64 *ctx, int copy)
{
	return length_told(ctx, copy, sent);
}

static __noinline int received_length(__u64 *ctx, int copy)
{
	return length_told(ctx, copy, received);
}

CALL_COPIES("tp_btf/sock_send_length", conn_send_length, sent_length)
CALL_COPIES("tp_btf/sock_recv_length", conn_recv_length, received_length)

/* Functions, where there are no such tracepoints. */

static __always_inline int function_sent(struct sock *sk, int n)
{
	return n > 0 ? talked(sk, sent, n) : 0;
}

static __always_inline int function_received(struct sock *sk, int flags, int n)
{
	return n > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)) ? talked(sk, received, n) : 0;
}

static __noinline int sendmsg_returns(__u64 *ctx, int copy)
{
	int n = ctx[3];

	return is_first_call(copy, COPIED_SENT, n) ? function_sent(socket_of(ctx), n) : 0;
}

CALL_COPIES("fexit/tcp_sendmsg", conn_sendmsg_fexit, sendmsg_returns)

/* One for each number of parameters, which a kernel's types tell; those that preempt programs have four. */
static __noinline int recvmsg4_returns(__u64 *ctx, int copy)
{
	int n = ctx[4];

	return is_first_call(copy, COPIED_RECEIVED, n) ? function_received(socket_of(ctx), ctx[3], n) : 0;
}

CALL_COPIES("fexit/tcp_recvmsg", conn_recvmsg_fexit4, recvmsg4_returns)

SEC("fexit/tcp_recvmsg")
int conn_recvmsg_fexit5(__u64 *ctx)
{
	return function_received(socket_of(ctx), ctx[3], ctx[5]);
}

SEC("fexit/tcp_recvmsg")
int conn_recvmsg_fexit6(__u64 *ctx)
{
	return function_received(socket_of(ctx), ctx[4], ctx[6]);
}

static __always_inline int data_called(void *ctx, bool receives, __u32 flags)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct data_call call = {
		.sk = register_arg(ctx, 0),
		.receives = receives,
		.flags = flags,
	};

	bpf_map_update_elem(&data_calls, &thread, &call, BPF_ANY);
	return 0;
}

static __always_inline int data_returns(void *ctx, bool receives)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct data_call *found = bpf_map_lookup_elem(&data_calls, &thread);
	struct data_call call;

	if (!found || found->receives != receives)
		return 0;
	call = *found;
	bpf_map_delete_elem(&data_calls, &thread);
	if (receives)
		return function_received((struct sock *)call.sk, call.flags, register_return(ctx));
	return function_sent((struct sock *)call.sk, register_return(ctx));
}

SEC("kprobe/tcp_sendmsg")
int conn_sendmsg_kprobe(void *ctx)
{
	return data_called(ctx, false, 0);
}

SEC("kretprobe/tcp_sendmsg")
int conn_sendmsg_kretprobe(void *ctx)
{
	return data_returns(ctx, false);
}

SEC("kprobe/tcp_recvmsg")
int conn_recvmsg_kprobe(void *ctx)
{
	return data_called(ctx, true, register_arg(ctx, recv_flags_arg));
}

SEC("kretprobe/tcp_recvmsg")
int conn_recvmsg_kretprobe(void *ctx)
{
	return data_returns(ctx, true);
}

/* Connections that have talked since user space looked last (--summary). */
SEC("iter/bpf_map_elem")
int conn_read_talks(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *at = ctx->key, key;
	struct talk *t;
	__u32 sum;

	if (!at)
		return 0;
	key = *at;
	/* What the iterator has may be another one's meanwhile. */
	t = bpf_map_lookup_elem(&talks, &key);
	if (!t)
		return 0;
	sum = t->turns + t->mixed;
	if (sum != t->told && !bpf_seq_write(ctx->meta->seq, t, sizeof(*t)))
		t->told = sum;
	return 0;
}

#endif
