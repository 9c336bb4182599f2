/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames of HTTP/2: walks through the bytes of a call, wherever they are (see
 * payload.h), and copies those frames that user space needs to know exchanges:
 * HEADERS, CONTINUATION, PUSH_PROMISE, RST_STREAM, GOAWAY, SETTINGS, whole. Of DATA
 * only the length counts, summed for each stream over calls; PING, WINDOW_UPDATE,
 * PRIORITY and unknown types are passed over. Frames may be split between calls at
 * any byte.
 *
 * A direction of a connection is a struct h2_dir and its runs, which whoever walks
 * keeps in a map of its own:
 *
 *	h2_load(), h2_begin(), h2_walk() until it does not say h2_full any more, after
 *	each of these h2_finish(), and what is then in data of the scratch is a record's;
 *	h2_store().
 *
 * Once bytes are missed the place in the frames is lost. It is found again at the
 * beginning of a call, if what is there is fit to be frames up to its end: h2_fits().
 *
 * Steps are global functions: the verifier looks at each once, and not at every call.
 */
#ifndef TRACER_H2_H
#define TRACER_H2_H

#include "loss.h"

/* Streams whose DATA is summed at a time. */
#define H2_RUNS 16
#define H2_HEAD 9
#define H2_PREFACE_LEN 24
/* Read with the head of a frame: most that are kept are not longer. */
#define H2_WINDOW 128
/* A record is full where it has more than this in data; of a frame so much is read at once. */
#define H2_FULL (22 << 10)
#define H2_CHUNK (7 << 10)
/* Steps of one call, each a frame, a segment, or a part of one: the product. */
#define H2_STEPS 64
#define H2_ROUNDS 128
/* DATA is told no later than this after its first byte came, if more comes. */
#define H2_PATIENCE (100 * 1000000ULL)
/* And before a record is of more than this, whose length has 32 bits. */
#define H2_UNTOLD (1U << 30)
/* The longest frame, unless a peer has asked for more, and what h2_fits() takes. */
#define H2_FRAME_MAX 16384

enum h2_type {
	H2_DATA,
	H2_HEADERS,
	H2_PRIORITY,
	H2_RST_STREAM,
	H2_SETTINGS,
	H2_PUSH_PROMISE,
	H2_PING,
	H2_GOAWAY,
	H2_WINDOW_UPDATE,
	H2_CONTINUATION,
	H2_TYPES,
};

#define H2_END_STREAM 0x1 /* of HEADERS and DATA; ACK of others */
#define H2_END_HEADERS 0x4
#define H2_PADDED 0x8
#define H2_HAS_PRIORITY 0x20

/* The parts that records consist of: each begins with its kind, at a multiple of 8 bytes. */
enum h2_part {
	h2_kept = 1, /* struct h2_kept */
	h2_run,	     /* struct h2_run */
	h2_way,	     /* struct h2_way */
};

FOR_GO(h2_part, enum h2_part);

/* Bytes of frames, that follow it. */
struct h2_kept {
	__u32 part;
	__u32 size;
	__u64 offset; /* of the first one */
};

/* DATA of one stream. */
struct h2_run {
	__u32 part;
	__u32 stream;
	__u32 frames; /* that began */
	__u32 end;    /* the last one had END_STREAM, and is over */
	__u64 bytes;  /* heads included */
	__u64 first;  /* ns, boot clock, of the first byte */
	__u64 last;
};

/* What follows is of this direction. */
struct h2_way {
	__u32 part;
	__u32 dir;
	__u64 from; /* offset of the first byte that it is about, and of the next one */
	__u64 to;
};

FOR_GO(h2_way, struct h2_way);
FOR_GO(h2_kept, struct h2_kept);
FOR_GO(h2_run, struct h2_run);

/* Where a direction is. */
enum h2_place {
	h2_in_frames,
	h2_in_preface,
	h2_astray, /* it is not known where frames begin */
};

enum h2_kind {
	H2_DROP,
	H2_SUM,
	H2_KEEP,
};

/* A direction of a connection, between calls. */
struct h2_dir {
	__u64 at;     /* offset of the next byte */
	__u64 told;   /* and of the first one that no record has told of */
	__u32 left;   /* bytes of the payload under way */
	__u32 stream; /* its stream */
	__u32 block;  /* the stream whose header block goes on in the next frame, or 0 */
	__u8 place;   /* enum h2_place */
	__u8 kind;    /* enum h2_kind, of the frame under way */
	__u8 ends;    /* it is DATA with END_STREAM */
	__u8 runs;    /* streams with DATA that was not told */
	__u8 have;    /* bytes of the next frame's head, or of the preface, that have come */
	__u8 pad[7];
	char head[16]; /* H2_HEAD of them */
};

/* What has ended in a walk. */
enum h2_over {
	h2_ended = 1 << 0, /* one direction of a stream */
	h2_reset = 1 << 1, /* both */
};

/* A walk, while a program runs. */
struct h2_walker {
	struct h2_dir dir;
	struct h2_run runs[H2_RUNS];
	__u64 time; /* ns, boot clock: of the call's first byte and of its last */
	__u64 last;
	__u64 pos;	/* address of the next byte in the segment */
	__u64 seg_left; /* bytes of the segment */
	__u64 left;	/* bytes of the call */
	__u64 skip;	/* bytes in front of them */
	__u64 out;	/* length of data */
	__u64 item;	/* where the struct h2_kept is that is under construction */
	__u32 seg;	/* the next segment */
	__u32 slot;	/* of runs: that of the frame under way, or H2_RUNS */
	__u32 frames;	/* that began in this walk */
	__u32 headers;	/* HEADERS among these */
	__u32 blocks;	/* HEADERS in this record */
	bool open;	/* there is such an item */
	bool dry;	/* nothing is copied */
	bool tell;	/* what has come cannot wait */
	__u8 over;	/* enum h2_over */
};

#define PAYLOAD_WALKER struct h2_walker walker;
#include "payload.h"

/* What a step says. */
enum h2_step {
	h2_go_on,
	h2_done, /* the call is walked */
	h2_full, /* of records: this one is to be sent first */
	h2_lost, /* the place was lost */
};

/* The preface of clients, and which flags each type may have. */
const volatile char h2_preface[32] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const volatile __u8 h2_flags[16] = {
	[H2_DATA] = H2_END_STREAM | H2_PADDED,
	[H2_HEADERS] = H2_END_STREAM | H2_END_HEADERS | H2_PADDED | H2_HAS_PRIORITY,
	[H2_SETTINGS] = H2_END_STREAM,
	[H2_PUSH_PROMISE] = H2_END_HEADERS | H2_PADDED,
	[H2_PING] = H2_END_STREAM,
	[H2_CONTINUATION] = H2_END_HEADERS,
};

/* Moves on in the call. */
static __always_inline void h2_take(struct h2_walker *w, __u64 n)
{
	w->pos += n;
	w->seg_left -= n;
	w->left -= n;
	w->dir.at += n;
}

/* Ends the item that is under construction; the next one begins at a multiple of 8 bytes. */
static __always_inline void h2_close_item(struct scratch *s, struct h2_walker *w)
{
	__u64 at = w->item;
	struct h2_kept *kept;

	if (!w->open)
		return;
	w->open = false;
	barrier_var(at);
	if (at > 2 * PREFIX_MAX)
		return;
	kept = (void *)&s->data[at];
	kept->size = w->out - w->item - sizeof(*kept);
	w->out = (w->out + 7) & ~7ULL;
}

/* Where the next bytes that are kept go. An item is begun before, if none is open. */
static __always_inline __u64 h2_room(struct h2_walker *w)
{
	return w->open ? w->out : w->out + sizeof(struct h2_kept);
}

/* Keeps n bytes that are in data at h2_room() already; the first one is at this offset. */
static __always_inline void h2_keep(struct scratch *s, struct h2_walker *w, __u64 n, __u64 offset)
{
	__u64 at = w->out;
	struct h2_kept *kept;

	if (!w->open) {
		barrier_var(at);
		if (at > 2 * PREFIX_MAX)
			return;
		kept = (void *)&s->data[at];
		kept->part = h2_kept;
		kept->offset = offset;
		w->item = at;
		w->open = true;
		w->out = at + sizeof(*kept);
	}
	w->out += n;
}

/* Copies runs, and returns how many bytes they are. */
static __always_inline __u64 h2_copy_runs(void *to, const void *from, __u64 runs)
{
	barrier_var(runs);
	if (runs > H2_RUNS)
		runs = H2_RUNS;
	if (runs)
		bpf_probe_read_kernel(to, runs * sizeof(struct h2_run), from);
	return runs * sizeof(struct h2_run);
}

/* Moves the runs to data. */
__noinline int h2_flush(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct h2_walker *w;
	__u64 at;

	if (!s)
		return 0;
	w = &s->walker;
	h2_close_item(s, w);
	at = w->out;
	barrier_var(at);
	if (at > 2 * PREFIX_MAX - H2_RUNS * sizeof(struct h2_run))
		return 0;
	w->out = at + h2_copy_runs(&s->data[at], w->runs, w->dir.runs);
	w->dir.runs = 0;
	w->slot = H2_RUNS;
	return 0;
}

/* Finds the run of the frame under way, or begins it; false: there is no room for one. */
__noinline int h2_find_run(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct h2_walker *w;
	struct h2_run *run;
	__u64 n;

	if (!s)
		return true;
	w = &s->walker;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < H2_RUNS; i++) {
		if (i >= w->dir.runs)
			break;
		if (w->runs[i].stream == w->dir.stream) {
			w->slot = i;
			return true;
		}
	}
	n = w->dir.runs;
	barrier_var(n);
	if (n >= H2_RUNS)
		return false;
	run = &w->runs[n];
	run->part = h2_run;
	run->stream = w->dir.stream;
	run->frames = 0;
	run->end = 0;
	run->bytes = 0;
	run->first = w->time;
	w->slot = n;
	w->dir.runs = n + 1;
	return true;
}

/* Adds bytes of DATA to the run of their stream, and ends it with the frame's last one. */
static __always_inline void h2_sum(struct h2_walker *w, __u32 index, __u32 frames, __u64 bytes)
{
	struct h2_run *run;
	__u64 slot;

	if (w->dry)
		return;
	if (w->slot >= H2_RUNS && !h2_find_run(index)) {
		h2_flush(index); /* all are others' */
		h2_find_run(index);
	}
	slot = w->slot;
	barrier_var(slot);
	if (slot >= H2_RUNS)
		return;
	run = &w->runs[slot];
	run->frames += frames;
	run->bytes += bytes;
	run->last = w->last;
	if (!w->dir.left && w->dir.ends) {
		run->end = 1;
		w->tell = true;
		w->over |= h2_ended;
	}
}

/* Goes to the next segment of a call. */
static __always_inline int h2_next_segment(struct scratch *s, struct h2_walker *w)
{
	struct source *src = &s->payload.src;
	struct segment seg = {};

	if (w->seg >= (src->segments ?: 1))
		return h2_lost;
	if (src->segments) {
		if (read_data(&seg, sizeof(seg), src->base + w->seg * sizeof(seg), src->array_user))
			return h2_lost;
	} else {
		seg.base = src->base;
		seg.len = w->skip + w->left;
	}
	w->seg++;
	if (w->skip >= seg.len) {
		w->skip -= seg.len;
		return h2_go_on;
	}
	w->pos = seg.base + w->skip;
	seg.len -= w->skip;
	w->skip = 0;
	w->seg_left = seg.len < w->left ? seg.len : w->left;
	return h2_go_on;
}

/* Bytes of a payload. */
static __always_inline int h2_payload(struct scratch *s, struct h2_walker *w, __u32 index)
{
	__u64 n = w->dir.left, at;

	if (n > w->seg_left)
		n = w->seg_left;
	if (w->dir.kind == H2_KEEP && !w->dry) {
		at = h2_room(w);
		barrier_var(n);
		if (n > H2_CHUNK)
			n = H2_CHUNK;
		barrier_var(at);
		if (at > H2_FULL + sizeof(struct h2_kept))
			return h2_full;
		if (read_data(&s->data[at], n, w->pos, s->payload.src.data_user))
			return h2_lost;
		h2_keep(s, w, n, w->dir.at);
	}
	w->dir.left -= n;
	h2_take(w, n);
	if (w->dir.kind == H2_SUM)
		h2_sum(w, index, 0, n);
	return h2_go_on;
}

/* Whether a frame may be what its head says (RFC 9113, 6). */
static __always_inline bool h2_is_fit(struct h2_walker *w, __u32 type, __u32 flags, __u32 len,
				      __u32 stream)
{
	__u32 least = (flags & H2_PADDED ? 1 : 0);

	/* Nothing may stand within a block of headers. */
	if (w->dir.block && (type != H2_CONTINUATION || stream != w->dir.block))
		return false;
	if (w->dry && (type >= H2_TYPES || len > H2_FRAME_MAX || flags & ~h2_flags[type & 15]))
		return false;
	switch (type) {
	case H2_DATA:
		return stream && len >= least;
	case H2_HEADERS:
		return stream && len >= least + (flags & H2_HAS_PRIORITY ? 5 : 0);
	case H2_PRIORITY:
		return stream && len == 5;
	case H2_RST_STREAM:
		return stream && len == 4;
	case H2_SETTINGS:
		return !stream && len % 6 == 0 && (!(flags & H2_END_STREAM) || !len);
	case H2_PUSH_PROMISE:
		return stream && len >= least + 4;
	case H2_PING:
		return !stream && len == 8;
	case H2_GOAWAY:
		return !stream && len >= 8;
	case H2_WINDOW_UPDATE:
		return len == 4;
	case H2_CONTINUATION:
		return w->dir.block;
	}
	return true;
}

static __always_inline enum h2_kind h2_kind_of(__u32 type)
{
	switch (type) {
	case H2_DATA:
		return H2_SUM;
	case H2_HEADERS:
	case H2_RST_STREAM:
	case H2_SETTINGS:
	case H2_PUSH_PROMISE:
	case H2_GOAWAY:
	case H2_CONTINUATION:
		return H2_KEEP;
	}
	return H2_DROP;
}

/* A frame begins, whose head has come: what it is. False: it is none. */
__noinline int h2_frame(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	__u32 type, flags, len, stream;
	struct h2_walker *w;
	struct h2_dir *d;
	__u8 *b;

	if (!s)
		return false;
	w = &s->walker;
	d = &w->dir;
	b = (__u8 *)d->head;
	len = b[0] << 16 | b[1] << 8 | b[2];
	type = b[3];
	flags = b[4];
	stream = (b[5] & 0x7f) << 24 | b[6] << 16 | b[7] << 8 | b[8];
	d->have = 0;
	if (!h2_is_fit(w, type, flags, len, stream))
		return false;
	w->frames++;
	d->left = len;
	d->stream = stream;
	d->kind = h2_kind_of(type);
	d->ends = type == H2_DATA && flags & H2_END_STREAM;
	w->slot = H2_RUNS;
	if (type == H2_HEADERS) {
		w->headers++;
		w->blocks++;
		w->over |= flags & H2_END_STREAM ? h2_ended : 0;
	}
	w->over |= type == H2_RST_STREAM ? h2_reset : 0;
	if (type == H2_HEADERS || type == H2_PUSH_PROMISE || type == H2_CONTINUATION)
		d->block = flags & H2_END_HEADERS ? 0 : stream;
	return true;
}

/* The head of a frame, most often all of it; with it the payload, if that is kept and short. */
static __always_inline int h2_head(struct scratch *s, struct h2_walker *w, __u32 index)
{
	bool user = s->payload.src.data_user;
	struct h2_dir *d = &w->dir;
	__u64 have = d->have, n = w->seg_left, at, whole;

	if (!w->dry && w->out > H2_FULL)
		return h2_full;
	if (w->dry || have || n < H2_HEAD) {
		barrier_var(have);
		if (have >= H2_HEAD)
			return h2_lost;
		if (n > H2_HEAD - have)
			n = H2_HEAD - have;
		barrier_var(n);
		if (n > H2_HEAD)
			return h2_lost;
		if (read_data(&d->head[have], n, w->pos, user))
			return h2_lost;
		h2_take(w, n);
		d->have += n;
		if (d->have < H2_HEAD)
			return h2_go_on;
		if (!h2_frame(index))
			return h2_lost;
		if (d->kind == H2_KEEP && !w->dry) {
			if (d->runs)
				h2_flush(index);
			at = h2_room(w);
			barrier_var(at);
			if (at > 2 * PREFIX_MAX)
				return h2_lost;
			bpf_probe_read_kernel(&s->data[at], H2_HEAD, d->head);
			h2_keep(s, w, H2_HEAD, d->at - H2_HEAD);
			return h2_go_on;
		}
	} else {
		at = h2_room(w);
		barrier_var(at);
		if (at > H2_FULL + sizeof(struct h2_kept))
			return h2_full;
		if (n > H2_WINDOW)
			n = H2_WINDOW;
		barrier_var(n);
		if (n > H2_WINDOW)
			n = H2_WINDOW;
		if (read_data(&s->data[at], n, w->pos, user))
			return h2_lost;
		*(__u64 *)d->head = *(__u64 *)&s->data[at];
		d->head[8] = s->data[at + 8];
		if (!h2_frame(index))
			return h2_lost;
		if (d->kind == H2_KEEP) {
			if (d->runs) {
				/* They stand before it. */
				h2_flush(index);
				at = h2_room(w);
				barrier_var(at);
				if (at > 2 * PREFIX_MAX)
					return h2_lost;
				bpf_probe_read_kernel(&s->data[at], H2_HEAD, d->head);
				n = H2_HEAD;
			}
			whole = H2_HEAD + (__u64)d->left;
			if (n > whole)
				n = whole;
			h2_keep(s, w, n, d->at);
			d->left = whole - n;
			h2_take(w, n);
			return h2_go_on;
		}
		h2_take(w, H2_HEAD);
	}
	if (!w->dry)
		h2_close_item(s, w);
	if (d->kind == H2_SUM)
		h2_sum(w, index, 1, H2_HEAD);
	return h2_go_on;
}

/* The first bytes of a client. */
__noinline int h2_preface_step(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct h2_walker *w;
	struct h2_dir *d;
	char *got;
	__u64 n, at;

	if (!s)
		return h2_lost;
	w = &s->walker;
	d = &w->dir;
	got = s->payload.start;
	n = w->seg_left;
	if (n > H2_PREFACE_LEN - (__u64)d->have)
		n = H2_PREFACE_LEN - (__u64)d->have;
	barrier_var(n);
	if (n > H2_PREFACE_LEN)
		return h2_lost;
	if (read_data(got, n, w->pos, s->payload.src.data_user))
		return h2_lost;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < H2_PREFACE_LEN; i++) {
		if (i >= n)
			break;
		if (got[i] != h2_preface[(d->have + i) & 31])
			return h2_lost;
	}
	h2_take(w, n);
	d->have += n;
	if (d->have < H2_PREFACE_LEN)
		return h2_go_on;
	d->have = 0;
	d->place = h2_in_frames;
	at = h2_room(w);
	barrier_var(at);
	if (at > 2 * PREFIX_MAX)
		return h2_lost;
	bpf_probe_read_kernel(&s->data[at], H2_PREFACE_LEN, (void *)h2_preface);
	h2_keep(s, w, H2_PREFACE_LEN, d->at - H2_PREFACE_LEN);
	return h2_go_on;
}

/* One step of a walk: enum h2_step. */
__noinline int h2_step(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct h2_walker *w;

	if (!s)
		return h2_lost;
	w = &s->walker;
	if (!w->left)
		return h2_done;
	if (!w->seg_left)
		return h2_next_segment(s, w);
	if (w->dir.place == h2_in_preface)
		return h2_preface_step(index);
	if (w->dir.left)
		return h2_payload(s, w, index);
	return h2_head(s, w, index);
}

__noinline int h2_round(__u32 index)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < H2_STEPS; i++) {
		int said = h2_step(index);

		if (said != h2_go_on)
			return said;
	}
	return h2_go_on;
}

/* Walks on until the call's end, or until data is full, or the place is lost: enum h2_step. */
__noinline int h2_walk(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	int said = h2_go_on;

	if (!s)
		return h2_lost;
#pragma clang loop unroll(disable)
	for (int i = 0; i < H2_ROUNDS; i++) {
		said = h2_round(index);
		if (said != h2_go_on)
			break;
	}
	return said == h2_go_on ? h2_lost : said; /* the call is in too many pieces */
}

/*
 * Begins to walk through a call: its bytes are where payload says, without the first
 * skip of them, and the first one is at this offset.
 */
static __always_inline void h2_begin(struct scratch *s, __u64 skip, __u64 offset)
{
	struct h2_walker *w = &s->walker;

	w->seg_left = 0;
	w->seg = 0;
	w->skip = (s->payload.src.segments ? s->payload.src.skip : 0) + skip;
	w->left = s->payload.size - skip;
	w->slot = H2_RUNS;
	w->frames = 0;
	w->headers = 0;
	w->dir.at = offset;
}

/*
 * Begins a record, which is sent before the walk goes on: data is empty.
 */
static __always_inline void h2_clear(struct h2_walker *w)
{
	w->out = 0;
	w->blocks = 0;
	w->open = false;
	w->tell = false;
	w->over = 0;
}

/* Begins where nothing is known of the frames before. */
static __always_inline void h2_start(struct h2_dir *d, __u64 offset, enum h2_place place)
{
	d->at = offset;
	d->told = offset;
	d->left = 0;
	d->block = 0;
	d->place = place;
	d->runs = 0;
	d->have = 0;
}

enum h2_fit {
	h2_unfit,
	h2_fit,
	h2_fit_headers, /* with HEADERS */
};

/*
 * Whether the bytes of a call, from its beginning to its end, are fit to be frames: each
 * has a type that is known, and length, flags and stream agree with that. The last one
 * may go on behind the call. The walker stands at the beginning of the call then.
 */
static __always_inline enum h2_fit h2_fits(struct scratch *s, __u32 index, __u64 skip,
					   __u64 offset)
{
	struct h2_walker *w = &s->walker;
	int said;

	w->dry = true;
	h2_start(&w->dir, offset, h2_in_frames);
	h2_begin(s, skip, offset);
	said = h2_walk(index);
	w->dry = false;
	h2_clear(w);
	h2_start(&w->dir, offset, h2_in_frames);
	if (said != h2_done || !w->frames)
		return h2_unfit;
	return w->headers ? h2_fit_headers : h2_fit;
}

/* Bytes that moved and cannot be looked at: false if they are not all of one frame that is not kept. */
static __always_inline bool h2_unseen(struct h2_walker *w, __u32 index, __u64 n)
{
	struct h2_dir *d = &w->dir;

	if (d->place != h2_in_frames || d->kind == H2_KEEP || n > d->left)
		return false;
	d->left -= n;
	d->at += n;
	w->slot = H2_RUNS;
	if (d->kind == H2_SUM)
		h2_sum(w, index, 0, n);
	return true;
}

/*
 * Ends a record of a walk: whether there is something to tell. What is in data then, out
 * bytes, is about the bytes from dir.told up to h2_end().
 */
static __always_inline bool h2_finish(struct scratch *s, __u32 index)
{
	struct h2_walker *w = &s->walker;
	struct h2_dir *d = &w->dir;

	h2_close_item(s, w);
	if (!w->out && !w->tell && d->at - d->told < H2_UNTOLD &&
	    !(d->runs && (w->time - w->runs[0].first >= H2_PATIENCE || d->place == h2_astray)))
		return false;
	if (d->runs)
		h2_flush(index);
	return true;
}

/* The end of what is walked: a head that has not come whole is not. */
static __always_inline __u64 h2_end(struct h2_dir *d)
{
	return d->at - d->have;
}

static __always_inline void h2_load(struct h2_walker *w, struct h2_dir *d, struct h2_run *runs)
{
	w->dir = *d;
	h2_clear(w);
	w->dry = false;
	h2_copy_runs(w->runs, runs, w->dir.runs);
}

static __always_inline void h2_store(struct h2_walker *w, struct h2_dir *d, struct h2_run *runs)
{
	*d = w->dir;
	h2_copy_runs(runs, w->runs, w->dir.runs);
}

#endif
