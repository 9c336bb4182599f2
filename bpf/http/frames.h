/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets that speak HTTP/2: their calls are walked (h2.h), and what is kept of them
 * is told at once. DATA alone makes no record but at the end of its stream, and every
 * H2_PATIENCE.
 */
#ifndef TRACER_HTTP_FRAMES_H
#define TRACER_HTTP_FRAMES_H

#include "spent.h"

/* Records of one call, each of H2_FULL bytes or a little more, so 64 KiB in all: beyond is a gap. */
#define FRAME_RECORDS 3

/*
 * Adds to the record what waits of a direction, which has come to this offset. At the end
 * of a stream that is the other direction, so that nothing is missing of it: it will be told
 * again with what comes there.
 */
static __always_inline void add_way(struct scratch *s, struct http2_state *state, __u32 dir,
				    __u64 to)
{
	struct h2_walker *w = &s->walker;
	struct h2_way *way;
	__u64 at = w->out, n = state->dirs[dir & 1].runs;

	barrier_var(at);
	if (at > 2 * PREFIX_MAX - 1024)
		return;
	way = (void *)&s->data[at];
	way->part = h2_way;
	way->dir = dir;
	way->from = state->dirs[dir & 1].told;
	way->to = to;
	barrier_var(n);
	if (n > H2_RUNS)
		n = H2_RUNS;
	bpf_probe_read_kernel(&s->data[at + sizeof(*way)], n * sizeof(struct h2_run),
			      &state->runs[dir & 1]);
	w->out = at + sizeof(*way) + n * sizeof(struct h2_run);
}

static __always_inline int tell_frames_with(void *ctx, struct socket_state *st, struct scratch *s,
				       struct http2_state *state)
{
	struct http_call *call = &s->rec.call;
	struct h2_walker *w = &s->walker;
	__u32 other = !call->dir;

	if (w->over & (call->dir == st->requests ? h2_reset : h2_ended | h2_reset) &&
	    state->dirs[other & 1].runs)
		add_way(s, state, other, state->dirs[other & 1].told);
	call->offset = w->dir.told;
	call->size = h2_end(&w->dir) - w->dir.told;
	call->len = w->out;
	s->rec.kept.size = s->rec.kept.len = 0;
	s->payload.at = w->out;
	tell_with(ctx, st, s, s->payload.src.sk, with_frames | append_queue(st, s));
	w->dir.told = h2_end(&w->dir);
	h2_clear(w);
	return 0;
}

static __noinline int tell_frames_by_perf(void *ctx, struct socket_state *st, struct scratch *s,
	struct http2_state *state)
{
	return tell_frames_with(ctx, st, s, state);
}

__noinline int tell_frames_by_ring(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);
	struct http2_state *state;

	if (!s || !st || perf_buffers)
		return 0;
	state = bpf_map_lookup_elem(&http2, &s->payload.src.sk);
	return state ? tell_frames_with(NULL, st, s, state) : 0;
}

/* Sends what was walked of a call, if that is to be told. */
static __always_inline void tell_frames(void *ctx, struct socket_state *st, struct scratch *s,
					struct http2_state *state, __u32 index)
{
	if (!h2_finish(s, index))
		return;
	if (perf_buffers)
		tell_frames_by_perf(ctx, st, s, state);
	else
		tell_frames_by_ring(index);
}

/* It is not HTTP/2 after all. */
static __always_inline void not_framed(struct socket_state *st, __u64 key)
{
	st->verdict = IS_OTHER;
	count_kind(st, speaks_other);
	bpf_map_delete_elem(&http2, &key);
}

/*
 * Goes on with a direction at a call, at this offset. What was before a gap is told by
 * itself, and the place is lost then.
 */
static __always_inline void go_on_at(void *ctx, struct socket_state *st, struct scratch *s,
				     struct http2_state *state, __u32 index, __u64 offset)
{
	struct h2_walker *w = &s->walker;
	__u8 dir = s->rec.call.dir & 1;

	h2_load(w, &state->dirs[dir], state->runs[dir]);
	w->time = s->rec.call.time;
	w->last = s->rec.call.last;
	if (w->dir.place != h2_astray && w->dir.at != offset) {
		w->dir.place = h2_astray;
		tell_frames(ctx, st, s, state, index);
	}
}

static __always_inline int frames_unseen_with(void *ctx, struct socket_state *st,
					      struct scratch *s, __u32 index)
{
	__u64 key = s->payload.src.sk;
	struct h2_walker *w = &s->walker;
	__u8 dir = s->rec.call.dir & 1;
	struct http2_state *state;

	state = bpf_map_lookup_elem(&http2, &key);
	if (!state)
		return 0; /* it found no room */
	go_on_at(ctx, st, s, state, index, s->rec.call.offset);
	if (w->dir.place != h2_astray) {
		if (!h2_unseen(w, index, s->rec.call.size))
			w->dir.place = h2_astray;
		tell_frames(ctx, st, s, state, index);
	}
	h2_store(w, &state->dirs[dir], state->runs[dir]);
	return 0;
}

static __noinline int frames_unseen_by_perf(void *ctx, struct socket_state *st, struct scratch *s,
					    __u32 index)
{
	return frames_unseen_with(ctx, st, s, index);
}

__noinline int frames_unseen_by_ring(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);

	if (!s || !st || perf_buffers)
		return 0;
	return frames_unseen_with(NULL, st, s, index);
}

/* A call on a socket that speaks HTTP/2, whose bytes cannot be read. */
static __always_inline int frames_unseen(void *ctx, struct socket_state *st, struct scratch *s,
					 __u32 index)
{
	return perf_buffers ? frames_unseen_by_perf(ctx, st, s, index) :
			      frames_unseen_by_ring(index);
}

static __always_inline int frames_moved_with(void *ctx, struct socket_state *st, struct scratch *s,
					__u32 index, __u64 skip)
{
	__u64 key = s->payload.src.sk, offset = s->rec.call.offset + skip;
	struct h2_walker *w = &s->walker;
	__u8 dir = s->rec.call.dir & 1;
	struct http2_state *state;
	int said;

	if (!s->payload.src.known)
		return frames_unseen(ctx, st, s, index);
	state = bpf_map_lookup_elem(&http2, &key);
	if (!state)
		return 0; /* it found no room */
	go_on_at(ctx, st, s, state, index, offset);
	if (w->dir.place == h2_astray && !h2_fits(s, index, skip, offset)) {
		w->dir.place = h2_astray;
		goto out;
	}
	h2_begin(s, skip, offset);
#pragma clang loop unroll(disable)
	for (int i = 0; i < FRAME_RECORDS; i++) {
		said = h2_walk(index);
		if (said == h2_lost || (said == h2_full && i == FRAME_RECORDS - 1)) {
			if (w->dir.place == h2_in_preface) {
				not_framed(st, key);
				return 0;
			}
			w->dir.place = h2_astray;
		}
		tell_frames(ctx, st, s, state, index);
		if (said != h2_full)
			break;
	}
out:
	h2_store(w, &state->dirs[dir], state->runs[dir]);
	return 0;
}

static __noinline int frames_moved_by_perf(void *ctx, struct socket_state *st, struct scratch *s,
	__u32 index, __u64 skip)
{
	return frames_moved_with(ctx, st, s, index, skip);
}

__noinline int frames_moved_by_ring(__u32 index, __u32 skip)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct socket_state *st = state_of(s);

	if (!s || !st || perf_buffers)
		return 0;
	return frames_moved_with(NULL, st, s, index, skip);
}

/* A call on a socket that speaks HTTP/2, without the first skip bytes of it. */
static __always_inline void frames_moved(void *ctx, struct socket_state *st, struct scratch *s,
					 __u32 index, __u64 skip)
{
	if (perf_buffers)
		frames_moved_by_perf(ctx, st, s, index, skip);
	else
		frames_moved_by_ring(index, skip);
}

/* Tells what is left to be told at the end of a socket. */
static __noinline int tell_last_frames(void *ctx, struct socket_state *st, struct scratch *s,
				       __u64 key)
{
	struct http2_state *state = bpf_map_lookup_elem(&http2, &key);
	struct h2_walker *w = &s->walker;

	h2_clear(w);
	if (state) {
#pragma clang loop unroll(disable)
		for (__u32 dir = 0; dir < 2; dir++) {
			struct h2_dir *d = &state->dirs[dir];

			add_way(s, state, dir, d->place == h2_in_frames ? h2_end(d) : d->told);
		}
	}
	s->rec.call.len = w->out;
	s->rec.kept.size = s->rec.kept.len = 0;
	s->payload.at = w->out;
	tell_with(ctx, st, s, key, with_frames);
	return 0;
}

/*
 * A socket speaks HTTP/2 from now on: dir is at offset, at this place, and the other
 * direction begins here, or is to be found. NULL: there is no room for it.
 */
static __always_inline struct http2_state *begin_frames(struct socket_state *st, __u64 key,
							__u32 dir, __u64 offset,
							enum h2_place place, enum h2_place other)
{
	struct http2_state *state;

	st->verdict = IS_HTTP2;
	st->start_len = 0;
	count_kind(st, speaks_http2);
	forget_kept(st);
	if (bpf_map_update_elem(&http2, &key, (void *)&http2_begins, BPF_ANY)) {
		count_lost(map_full);
		st->verdict = IS_OTHER;
		return NULL;
	}
	state = bpf_map_lookup_elem(&http2, &key);
	if (!state)
		return NULL;
	h2_start(&state->dirs[dir & 1], offset, place);
	h2_start(&state->dirs[!dir], st->bytes[!dir], other);
	return state;
}

#endif
