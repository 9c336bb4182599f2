/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Lines in data of a scratch: where one ends, what it ends with, where a head is over.
 *
 * Steps are global functions: the verifier looks at each once, and not at every call.
 */
#ifndef TRACER_HTTP_LINES_H
#define TRACER_HTTP_LINES_H

#include "state.h"

/* Words of 8 bytes that one step looks at, and steps. */
#define LINE_WORDS 16
#define LINE_STEP (LINE_WORDS * 8)
#define LINE_STEPS (PREFIX_MAX / LINE_STEP)

/* How far from its end the version begins in a line. */
#define VERSION_ROOM 16

/* The highest bit of each byte that is a line feed, and perhaps of the one behind it. */
static __always_inline __u64 feeds(__u64 word)
{
	word ^= 0x0a0a0a0a0a0a0a0aULL;
	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/* What is at a place in data; behind the end of what is looked through it may be anything. */
static __always_inline __u64 word_at(struct scratch *s, __u64 at)
{
	barrier_var(at);
	return *(__u64 *)&s->data[at & (2 * PREFIX_MAX - 1)];
}

static __always_inline char byte_at(struct scratch *s, __u64 at)
{
	barrier_var(at);
	return s->data[at & (2 * PREFIX_MAX - 1)];
}

/*
 * The end of the first line that ends from here on, or that of the first empty one; or, as
 * a negative number, from where to go on.
 */
__noinline int line_step(__u32 index, __u32 from, __u32 empty)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	__u64 at = from, here, next, found = 0;

	if (!s)
		return 0;
	here = feeds(word_at(s, at));
#pragma clang loop unroll(disable)
	for (int i = 0; i < LINE_WORDS; i++) {
		next = feeds(word_at(s, at + 8));
		found = here;
		if (empty)
			found &= here >> 8 | next << 56 | here >> 16 | next << 48;
		if (found)
			break;
		here = next;
		at += 8;
	}
	/* To the verifier it is now any number: it need not go on from each turn. */
	*(volatile __u64 *)&s->payload.left = at;
	at = *(volatile __u64 *)&s->payload.left;
	if (!found)
		return -at;
#pragma clang loop unroll(disable)
	for (int k = 0; k < 8; k++, at++) {
		__u64 more;

		if (byte_at(s, at) != '\n')
			continue;
		if (!empty)
			return at + 1;
		more = at + 1 + (byte_at(s, at + 1) == '\r');
		if (byte_at(s, more) == '\n')
			return more + 1;
	}
	return -at;
}

/* The same among the bytes of data from one place to another. */
__noinline int line_end(__u32 index, __u32 from, __u32 to, __u32 empty)
{
	int end = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < LINE_STEPS; i++) {
		if (from >= to)
			return 0;
		end = line_step(index, from, empty);
		if (end > 0)
			break;
		from = -end;
	}
	return end > (int)to || end < 0 ? 0 : end;
}

static __always_inline bool is_letter(char c, char upper)
{
	return (c & 0xdf) == upper;
}

/* Whether text begins with HTTP/, in any case. */
static __always_inline bool names_http(const char *text)
{
	return is_letter(text[0], 'H') && is_letter(text[1], 'T') && is_letter(text[2], 'T') &&
	       is_letter(text[3], 'P') && text[4] == '/';
}

/*
 * Copies what is in data right before end to start, behind what is there of the calls
 * before; the last VERSION_ROOM bytes of that are moved to its beginning, and stay in carry.
 */
static __always_inline void end_of_line(struct scratch *s, char *carry, __u64 end)
{
	char *start = s->payload.start;
	__u64 n = end;

	__builtin_memcpy(start, carry, VERSION_ROOM);
	barrier_var(n);
	if (n > VERSION_ROOM)
		n = VERSION_ROOM;
	end -= n;
	barrier_var(end);
	if (end > PREFIX_MAX)
		return;
	bpf_probe_read_kernel(&start[VERSION_ROOM], VERSION_ROOM, &s->data[end]);
	bpf_probe_read_kernel(carry, VERSION_ROOM, &start[n]);
	__builtin_memcpy(start, carry, VERSION_ROOM);
}

/* Whether start has a space and a version of HTTP, at the end of a line. */
static __always_inline bool ends_with_version(struct scratch *s)
{
	const char *text = s->payload.start;

#pragma clang loop unroll(full)
	for (int i = 0; i < VERSION_ROOM - 6; i++) {
		if (text[i] == ' ' && names_http(&text[i + 1]))
			return true;
	}
	return false;
}

#endif
