/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Calls of functions of TLS libraries, whatever the library: their entry is noted, and
 * what they have moved is a call on the socket that they belong to, as if there were no
 * encryption.
 */
#ifndef TRACER_TLS_PLAIN_H
#define TRACER_TLS_PLAIN_H

#include "http/call.h"

/* Calls that are told of an object of which no socket is known. */
#define UNLINKED_CALLS 8

/*
 * A scratch that no other task on this CPU is at; NULL: there is none. Whoever counts
 * itself alone has it: one that is preempted in between finds that it is not.
 */
static __noinline struct scratch *take_scratch(__u32 *index)
{
	for (int i = 0; i < TLS_SCRATCHES; i++) {
		__u32 at = scratch_index(FOR_TLS + i);
		struct scratch *s = bpf_map_lookup_elem(&scratches, &at);

		if (!s)
			continue;
		__sync_fetch_and_add(&s->payload.users, 1);
		barrier();
		if (s->payload.users != 1) {
			__sync_fetch_and_add(&s->payload.users, -1);
			continue;
		}
		s->payload.index = at;
		*index = at;
		return s;
	}
	count_lost(map_full);
	return NULL;
}

static __always_inline void leave_scratch(struct scratch *s)
{
	barrier();
	__sync_fetch_and_add(&s->payload.users, -1);
}

/* Plaintext of which no socket is known: user space waits whether one will be. */
static __noinline int tell_unlinked(void *ctx, struct tls_call *call, __u64 n)
{
	struct tls_object object = {call->object, call->pid};
	struct tls_link *link = bpf_map_lookup_elem(&tls_links, &object);
	enum direction dir = call->dir;
	struct tls_link new = {};
	struct tls_about *about;
	struct http_call *moved;
	struct scratch *s;
	__u32 index;

	if (filtered(call->pid) != WANTED)
		return 0;
	if (!link || link->socket) { /* none, or one that is over */
		new.since = bpf_ktime_get_boot_ns();
		if (bpf_map_update_elem(&tls_links, &object, &new, BPF_ANY))
			count_lost(map_full);
		link = bpf_map_lookup_elem(&tls_links, &object);
		if (!link)
			return 0;
	}
	s = take_scratch(&index);
	if (!s)
		return 0;
	moved = &s->rec.call;
	about = (void *)&s->rec.kept;
	if (dir == sent && !call->moved && !link->asked && call->library == openssl) {
		link->asked = 1;
		about->pid = call->pid;
		moved->len = moved->size = 0;
		tell_tls(ctx, NULL, s, call->object, bio_needed);
	}
	moved->offset = link->bytes[dir & 1];
	link->bytes[dir & 1] += n;
	if (link->calls < UNLINKED_CALLS) {
		link->calls++;
		moved->size = n;
		moved->dir = dir;
		moved->time = moved->last = call->time;
		s->payload.size = n;
		s->payload.src = (struct source){.base = call->buf, .known = true, .data_user = true};
		capture_all(s, index, prefix);
		about->object = call->object;
		about->pid = call->pid;
		about->library = call->library;
		about->since = link->since;
		tell_tls(ctx, NULL, s, call->object, plain_unlinked);
	}
	leave_scratch(s);
	return 0;
}

/*
 * The socket of a call's object, if it is known and still there: the one that was used
 * within the call, or by an earlier one.
 */
static __noinline struct socket_state *linked_socket(struct tls_call *call, __u64 *key)
{
	struct tls_object object = {call->object, call->pid};
	__u64 seen = call->seen;
	struct socket_state *st;
	struct tls_link *link;

	*key = call->socket;
	if (!*key) {
		link = bpf_map_lookup_elem(&tls_links, &object);
		if (!link || !link->socket)
			return NULL;
		*key = link->socket;
		seen = link->seen;
	}
	st = bpf_map_lookup_elem(&sockets, key);
	return st && st->seen == seen ? st : NULL;
}

/* A call of a library has moved n bytes of plaintext. */
static __noinline int plain_moved(void *ctx, struct tls_call *call, __u64 n)
{
	struct socket_state *st;
	struct http_call *moved;
	struct scratch *s;
	bool turned, begins;
	__u64 key = 0;
	__u32 index;

	st = linked_socket(call, &key);
	if (!st)
		return call->library == nss ? 0 : tell_unlinked(ctx, call, n); /* NSPR: it may be no TLS */
	if (call->pid != st->intro.owner.pid)
		take_over(st, call->pid);
	if (!st->wanted || st->tls_flags & PASSED_OVER)
		return 0;
	begins = st->tls != PLAINTEXT;
	if (begins)
		begin_plaintext(st);
	if (st->verdict == IS_OTHER)
		return 0;
	s = take_scratch(&index);
	if (!s)
		return 0;
	moved = &s->rec.call;
	if (begins) { /* it may be nothing of which more is told */
		moved->len = moved->size = 0;
		tell_tls(ctx, st, s, key, plain_seen);
	}
	moved->dir = call->dir;
	moved->offset = st->bytes[call->dir & 1];
	st->bytes[call->dir & 1] += n;
	moved->size = n;
	moved->tail_len = 0;
	moved->time = moved->last = s->rec.time = call->time;
	turned = goes_back(st, call->dir);
	if (!goes_on_unknown(st, turned)) {
		s->payload.size = n;
		s->payload.src = (struct source){
			.sk = key, .base = call->buf, .known = true, .data_user = true};
		call_moved(ctx, BY_TLS, st, s, index, turned, false, false);
	}
	leave_scratch(s);
	return 0;
}

/* --- Entries and returns --------------------------------------------------- */

/* What the entry of a thread that has none yet begins as. */
const volatile struct tls_call no_call;

/* The entry of a thread, NULL if there is no room. */
static __always_inline struct tls_call *entry_of(struct tls_thread *key)
{
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, key);

	if (call)
		return call;
	if (bpf_map_update_elem(&tls_calls, key, (void *)&no_call, BPF_ANY))
		count_lost(map_full);
	return bpf_map_lookup_elem(&tls_calls, key);
}

/* Notes that a function of a library was called with an object. */
static __always_inline void begin_call(struct tls_call *call, struct tls_thread *key,
				       enum library library, enum direction dir, __u64 object)
{
	call->object = object;
	call->time = 0;
	call->pid = key->who >> 32;
	call->library = library;
	call->dir = dir;
	call->result = RESULT_NONE;
	call->nested = call->moved = call->sent = call->handshake = 0;
	call->socket = 0;
	barrier();
	call->active = 1;
}

/* The same of a handshake, unless it is one within what reads or writes. */
static __always_inline int begin_handshake(struct tls_thread *key, enum library library,
					   __u64 address)
{
	struct tls_object object = {address, key->who >> 32};
	struct tls_call *call = entry_of(key);
	struct tls_link *link;

	if (!call || (call->active && call->object == address))
		return 0;
	/* What was told is of another one that was at this address. */
	link = bpf_map_lookup_elem(&tls_links, &object);
	if (link && !link->socket)
		bpf_map_delete_elem(&tls_links, &object);
	begin_call(call, key, library, neither, address);
	call->handshake = 1;
	return 0;
}

static __always_inline struct tls_thread this_thread(void)
{
	return (struct tls_thread){bpf_get_current_pid_tgid(), 0};
}

/* A function of C that reads or writes; count: where it will say how much. */
static __always_inline int enter_c(void *ctx, enum library library, enum direction dir,
				   enum tls_result result, __u64 count)
{
	struct tls_thread key = this_thread();
	struct tls_call *call = entry_of(&key);
	__u64 object = USER_ARG0(ctx), sp = USER_STACK(ctx);

	if (!call)
		return 0;
	/*
	 * Functions of a library call one another: the outermost counts. One whose return
	 * was not seen is still there, and must not be in the way for long.
	 */
	if (call->active && call->object == object && !call->handshake && sp < call->sp &&
	    call->nested < 3) {
		call->nested++;
		return 0;
	}
	begin_call(call, &key, library, dir, object);
	call->buf = USER_ARG1(ctx);
	call->sp = sp;
	call->result = result;
	call->count = count;
	return 0;
}

static __always_inline int handshake_c(void *ctx, enum library library)
{
	struct tls_thread key = this_thread();

	return begin_handshake(&key, library, USER_ARG0(ctx));
}

/* How many bytes a call has moved that has returned, 0 if none or it has failed. */
static __always_inline __u64 moved_bytes(struct tls_call *call, __u64 returned)
{
	__u64 n = 0;

	switch (call->result) {
	case RESULT_32:
		return (__s32)returned > 0 ? (__u32)returned : 0;
	case RESULT_64:
		return (__s64)returned > 0 ? returned : 0;
	case RESULT_GIVEN:
		return call->count;
	case RESULT_POINTER:
		if ((__s32)returned <= 0 || bpf_probe_read_user(&n, sizeof(n), (void *)call->count))
			return 0;
		return n;
	}
	return 0;
}

/* More in one call is no call. */
#define PLAIN_MAX (1ULL << 31)

/* tls_returned, for programs that go on there: what they share is loaded once. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tls_tails SEC(".maps");

/*
 * A call has returned: of a function of C with its stack as at its entry, or one word
 * shorter. Or it has begun, and what it will move is told already.
 */
static __always_inline int leave(void *ctx, struct tls_call *call, bool of_go)
{
	bool begins = call->result == RESULT_GIVEN;
	__u64 n;

	if (!of_go && !call->handshake && USER_STACK(ctx) - call->sp > 8)
		return 0; /* it is one within it */
	call->active = begins;
	if (call->dir == neither)
		return 0;
	n = moved_bytes(call, USER_RETURN(ctx));
	if (n && n <= PLAIN_MAX) {
		if (!begins && (call->dir == received || !call->sent)) /* else it is that of the send */
			call->time = bpf_ktime_get_boot_ns();
		plain_moved(ctx, call, n);
	}
	if (begins) {
		call->result = RESULT_NONE;
		call->dir = neither; /* to whoever sees it afterwards */
	}
	return 0;
}

#endif
