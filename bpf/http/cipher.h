/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Calls that have moved ciphertext: whose a socket of TLS is, and what its hello says. */
#ifndef TRACER_HTTP_CIPHER_H
#define TRACER_HTTP_CIPHER_H

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
	if ((type == client_hello || type == plain_seen) && st)
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

#endif
