/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How records reach user space: a ring, or perf buffers where the kernel has none,
 * and who wakes the reader. Each object has a ring and a reader of its own.
 */
#ifndef TRACER_OUTPUT_H
#define TRACER_OUTPUT_H

#include "loss.h"

/*
 * Written by all programs, drained by the reader; user space sets its size. On
 * a kernel without ring buffers user space makes it a BPF_MAP_TYPE_PERF_EVENT_ARRAY
 * instead, and sets perf_buffers.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/*
 * Wakes a reader of perf buffers. Written by programs, drained by the reader;
 * user space makes room for each CPU if it is used.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bell SEC(".maps");

/* Knob. */
const volatile bool perf_buffers;

/*
 * Copies a record into a ring, or into this CPU's perf buffer. A record begins
 * with a number that is for here: when it was sent, by which the reader brings
 * those of different CPUs in order. It is taken last, so that what a record
 * follows from was sent before. perf_buffers is known to the verifier, who does
 * not look at the branch that is not taken: a kernel need not have its helper.
 */
static __always_inline long output(void *ctx, void *map, void *record, __u64 size, __u64 flags)
{
	if (!perf_buffers)
		return bpf_ringbuf_output(map, record, size, flags);
	*(__u64 *)record = bpf_ktime_get_boot_ns();
	return bpf_perf_event_output(ctx, map, BPF_F_CURRENT_CPU, record, size);
}

/* What the reader does. */
enum reader {
	polls, /* it looks soon */
	waits, /* until it is woken, as nothing has come for a while */
	dozes, /* it looks by itself, but late: little has come */
};

/* Set by the reader; who wakes it has it poll. */
volatile enum reader reader_state SHARED("reader");

/* Whether a quarter of the ring is waiting to be read. */
static __always_inline bool much_waits(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >
	       bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 4;
}

/* In a ring a discarded record wakes; perf buffers have one more for it. */
static __always_inline void wake_reader(void *ctx)
{
	__u64 nothing = 0;
	void *record;

	reader_state = polls;
	if (perf_buffers) {
		if (bpf_perf_event_output(ctx, &bell, BPF_F_CURRENT_CPU, &nothing, sizeof(nothing)))
			reader_state = waits; /* the next one tries again */
		return;
	}
	record = bpf_ringbuf_reserve(&events, 8, 0);
	if (record)
		bpf_ringbuf_discard(record, BPF_RB_FORCE_WAKEUP);
}

/*
 * Sends a record, with the program's ctx; false if there is no room for it, which
 * the caller counts. A reader that polls is not woken: the
 * wake-up would cost more than everything else together. One that waits is,
 * after the record is in the buffer: both sides write first and look then, so
 * that no record can stay behind; and one that dozes before the ring is full.
 */
static __always_inline bool try_to_send(void *ctx, void *record, __u64 size)
{
	enum reader state;

	if (output(ctx, &events, record, size, BPF_RB_NO_WAKEUP))
		return false;
	state = reader_state;
	if (state == waits || (state == dozes && !perf_buffers && much_waits()))
		wake_reader(ctx);
	return true;
}

/* The same of a record that is one event, or whose cause of loss says what it is. */
static __always_inline bool send_record(void *ctx, void *record, __u64 size, enum loss cause)
{
	if (try_to_send(ctx, record, size))
		return true;
	count_lost(cause);
	return false;
}

#endif
