/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is open when tracing begins (--open): connections that a process has, and those
 * that wait in the queue of a listener, which nobody has.
 */
#ifndef TRACER_CONN_OPEN_H
#define TRACER_CONN_OPEN_H

/* Knob. Without it nothing of this is verified. */
const volatile bool tell_open;

/* A connection that is open. Its size tells it from other records. */
struct open_record {
	__u64 sent; /* by output() */
	__u64 time; /* ns, boot clock */
	__u64 socket;
	struct conn conn;
	__u64 age; /* ns; 0: not known */
	__u32 unread;
	__u32 unsent;
	__u32 unacked; /* unsent, or on their way */
	__u32 accepted;
};

FOR_GO(open_record, struct open_record);

/*
 * Bytes that were written and not acknowledged, and in the lower half those of them that
 * were not sent. A FIN that is to be sent has a number, too.
 */
__noinline __u64 leaving_bytes(__u64 socket, int state)
{
	struct tcp_sock *tp = (void *)socket;
	__u32 sent_to = LOAD(tp, snd_nxt), acked_to = LOAD(tp, snd_una);
	__u32 written_to = LOAD(tp, write_seq);
	__u32 unacked = written_to - acked_to, unsent = written_to - sent_to;

	switch (state) {
	case TCP_FIN_WAIT1:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		unacked -= !!unacked;
		unsent -= !!unsent;
	}
	return (__u64)unacked << 32 | unsent;
}

/*
 * Fills in all but whose it is. Once bytes have been read and a round trip was estimated
 * from them rcvq_space.time is that of a read: then how old it is is not known.
 */
static __always_inline void fill_open(struct open_record *rec, struct sock *sk, int state)
{
	__u64 leaving = leaving_bytes((__u64)sk, state);

	rec->time = bpf_ktime_get_boot_ns();
	rec->socket = (__u64)sk;
	rec->conn.idle = idle_ticks((__u64)sk);
	rec->conn.idle_known = 1;
	rec->unread = unread_bytes((__u64)sk);
	rec->unacked = leaving >> 32;
	rec->unsent = leaving;
	if (!LOAD((struct tcp_sock *)sk, rcv_rtt_est.rtt_us))
		rec->age = since_established((__u64)sk);
}

static __always_inline void send_open(void *ctx, struct open_record *rec)
{
	if (only_failed)
		count(by_failed, 1);
	else
		send_record(ctx, rec, sizeof(*rec), ring_full);
}

/*
 * What waits to be accepted, by its address, and the listener's process: written by
 * note_queue(), and read when all listeners have been looked at, as one may be several
 * processes'. Bounded by max_entries, which user space sets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct conn);
} queued SEC(".maps");

/*
 * The process whose listener is looked at: written by note_queue() and read by what it
 * calls. One iterator runs at a time.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct conn);
} listens SEC(".maps");

/* So many of a listener's queue are noted. */
#define QUEUE_MOST 512

/* A number at a socket or a request, which is handed to a function that takes numbers. */
#define ADDRESS_AT(p, field) load_word((void *)(p) + bpf_core_field_offset((p)->field))

/*
 * Notes the connection of a request in a queue, and returns the next request. A global
 * function, verified once and not in each turn of a loop.
 */
__noinline __u64 note_request(__u64 request)
{
	struct request_sock *req = (void *)request;
	__u64 key = ADDRESS_AT(req, sk);
	struct conn *owner, c;
	__u32 first = 0;
	int err;

	owner = bpf_map_lookup_elem(&listens, &first);
	if (!owner)
		return 0;
	__builtin_memcpy(&c, owner, sizeof(c));
	c.ports = LOAD((struct sock *)key, __sk_common.skc_portpair);
	err = bpf_map_update_elem(&queued, &key, &c, BPF_NOEXIST);
	if (err && err != -EEXIST)
		count_lost(map_full);
	return ADDRESS_AT(req, dl_next);
}

/*
 * Notes what waits to be accepted. The queue is read without a lock: what is taken out of
 * it meanwhile leads into another one, or nowhere.
 */
static __noinline void note_queue(struct sock *listener, struct task_struct *task)
{
	struct inet_connection_sock *icsk = (void *)listener;
	__u64 req = ADDRESS_AT(icsk, icsk_accept_queue.rskq_accept_head);
	__u32 length = LOAD(listener, sk_ack_backlog), first = 0;
	struct conn c = {.role = server, .state = open};

	if (!req)
		return;
	fill_owner(&c, task);
	if (!wanted_process(c.pid, c.uid))
		return;
	c.cgroup = task_cgroup(task);
	bpf_map_update_elem(&listens, &first, &c, BPF_ANY);
	for (int i = 0; i < QUEUE_MOST && req; i++)
		req = note_request(req);
	if (req && length > QUEUE_MOST)
		count_lost_by(map_full, length - QUEUE_MOST);
}

/* Tells of one of those, unless it was accepted or reset meanwhile. */
SEC("iter/bpf_map_elem")
int conn_queued(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *key = ctx->key;
	struct conn *found = ctx->value;
	struct open_record rec = {};
	struct conn *c = &rec.conn;
	struct sock *sk;
	int state;

	if (!key || !found)
		return 0;
	__builtin_memcpy(c, found, sizeof(*c));
	sk = (struct sock *)*key;
	state = LOAD(sk, __sk_common.skc_state);
	if ((state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT) || LOAD(sk, sk_socket) ||
	    is_gone(sk) || !has_ports(sk, c->ports))
		return 0;
	fill_tuple(c, sk);
	if (!wanted_ports(c))
		return 0;
	name_as_met(c, sk, state);
	fill_open(&rec, sk, state);
	send_open(ctx, &rec);
	return 0;
}

#endif
