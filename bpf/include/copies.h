/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Copies of programs: how none of their events is missed.
 *
 * The kernel does not run a program on a CPU on which it is under way already:
 * it leaves the event out, and counts that. There are two ways to come to this.
 *
 * A packet interrupts a program. It has steps of sockets of its own, which the
 * interrupted program would have to see: on every kernel.
 *
 * Another task preempts a program. From 7.0 on the kernel preempts those at
 * tracepoints, and the other task may do anything. Once the first one goes on it
 * may be on another CPU. Where this can happen user space sets has_copies.
 *
 * Therefore each program that must see all events has copies. The kernel runs
 * them one after the other, and each has a guard of its own. The first one to see
 * an event handles it. The others find it in the map turns: an entry says which
 * event it is, and which copy has seen it last. A copy that finds that an earlier
 * one has seen the event passes on; if it finds itself or a later one there, or
 * nothing, the event is a new one. To the first copy each is.
 *
 * What is left to go wrong: the last copy misses an event, and the next one that
 * looks the same is missed by the first copies. The last copy passes on then, too.
 * Nobody counts the event as seen_by_copy, and so user space counts it as lost.
 *
 * The list of programs and of their copies is in programs.go.
 */
#ifndef TRACER_COPIES_H
#define TRACER_COPIES_H

#include "loss.h"

/* Knob: the kernel may preempt programs. */
const volatile bool has_copies;

/* The last copy of a program, of those that are attached. */
#define LAST_CALL 2
#define LAST_STEP (has_copies ? 3 : 1)
#define STEP_COPIES_MOST 4

#define TURNS 1024
#define TURN_EVENTS 4
/* The part of an entry that says which copy has seen it, plus one. */
#define TURN_COPY 7ULL

struct turn {
	__u64 events[TURN_EVENTS]; /* 0: free */
	__u32 next;		   /* which one is given up if none is free: the oldest */
	__u32 pad;
};

/*
 * Events that some copies have seen and others are still to see. Written and read
 * by the programs, not shared. Two that choose the same entry in the same
 * nanoseconds, or while one is preempted, may lose an event, which is handled twice
 * then.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TURNS);
	__type(key, __u32);
	__type(value, struct turn);
} turns SEC(".maps");

static __always_inline void note_turn(struct turn *turn, __u64 entry)
{
	__u32 at = 0;

	while (at < TURN_EVENTS && turn->events[at])
		at++;
	if (at == TURN_EVENTS)
		at = turn->next++;
	turn->events[at & (TURN_EVENTS - 1)] = entry;
}

/*
 * Whether a copy is the first to see an event, which looks like no other one under
 * way. Most find the first entry free, or their event there.
 */
static __always_inline bool first_to_see(int copy, int last, __u64 event, __u32 at, bool sparse)
{
	struct turn *turn = bpf_map_lookup_elem(&turns, &at);
	__u64 seen = copy + 1;

	if (!turn)
		return !copy;
	event &= ~TURN_COPY;
	if (copy) {
		for (int i = 0; i < TURN_EVENTS; i++) {
			__u64 known = turn->events[i];

			if ((known & ~TURN_COPY) == event && (known & TURN_COPY) < seen) {
				turn->events[i] = copy == last ? 0 : event | seen;
				return false;
			}
		}
		if (!sparse)
			count_lost(seen_by_copy);
	}
	if (copy != last)
		note_turn(turn, event | seen);
	return true;
}

/* Makes numbers that are alike differ, in the upper half above all. */
static __always_inline __u64 spread(__u64 n)
{
	n *= 0x9e3779b97f4a7c15ULL;
	return n ^ n >> 32;
}

/*
 * One event among others that are under way: the current task is the same for all
 * copies, whichever CPU they run on and whatever has interrupted it. What follows
 * later differs, mostly, by how often the task has slept, which it does not between
 * two copies, and by number.
 */
static __always_inline __u64 event_of(__u32 what, __u64 number)
{
	__u64 task = (__u64)what << 32 | (__u32)bpf_get_current_pid_tgid();
	__u64 slept = has_copies ? bpf_get_current_task_btf()->nvcsw : 0;

	return spread(spread(spread(number) + slept) + task);
}

/*
 * For what a task does: what says which kind of thing, number which one. With
 * sparse what the first program missed is not counted: see programs.go.
 */
static __noinline bool first_call(int copy, __u32 what, __u64 number, bool sparse)
{
	__u64 event = event_of(what, number);

	return first_to_see(copy, LAST_CALL, event, (event >> 32) % TURNS, sparse);
}

/* The same of calls that have copies only where programs are preempted. */
static __always_inline bool is_first_call(int copy, __u32 what, __u64 number)
{
	return !has_copies || first_call(copy, what, number, false);
}

/*
 * For what happens to a thing, whoever is interrupted by it: step tells it from what
 * happens to others. Where no program is preempted all copies run on one CPU, and
 * what that is at is in one entry.
 */
static __always_inline bool first_step(int copy, __u64 step)
{
	__u64 event = has_copies ? event_of(-1, step) : spread(step);
	__u32 at = has_copies ? event >> 32 : bpf_get_smp_processor_id();

	return first_to_see(copy, LAST_STEP, event, at % TURNS, false);
}

/* A program that does what handle(ctx, copy) does. */
#define COPY(section, name, handle, copy) \
	SEC(section)                      \
	int name(__u64 *ctx)              \
	{                                 \
		return handle(ctx, copy); \
	}

/* All of a call, of which handle() asks first_call(). */
#define CALL_COPIES(section, name, handle)     \
	COPY(section, name, handle, 0)         \
	COPY(section, name##_copy1, handle, 1) \
	COPY(section, name##_copy2, handle, 2)

/* The same of a step, which step(ctx) names: who is first is asked here, as most are not. */
#define STEP_COPY(section, name, step, handle, copy)                        \
	SEC(section)                                                        \
	int name(__u64 *ctx)                                                \
	{                                                                   \
		return first_step(copy, step(ctx)) ? handle(ctx, copy) : 0; \
	}

#define STEP_COPIES(section, name, step, handle)          \
	STEP_COPY(section, name, step, handle, 0)         \
	STEP_COPY(section, name##_copy1, step, handle, 1) \
	STEP_COPY(section, name##_copy2, step, handle, 2) \
	STEP_COPY(section, name##_copy3, step, handle, 3)

#endif
