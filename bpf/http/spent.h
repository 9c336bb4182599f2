/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the time of a request goes at the server: how long it lay in the socket, and what
 * the thread that reads and answers it does in between.
 *
 * That is noted when a request is read, and told with its answer if this took long. It
 * costs two words of the task and the time in jiffies, and no map is looked into.
 *
 * Not known: what the thread did of a request that another thread answers, or while
 * other requests were open at the same thread (as in an event loop). Where accepts are not
 * seen, the time until then counts as time in the socket.
 */
#ifndef TRACER_SPENT_H
#define TRACER_SPENT_H

#include "keep.h"

/* ns from which on it is told. */
#define SPENT_LEAST 10000000
/* The same in jiffies, of which two are 20 ms at the most: user space knows better. */
#define QUEUE_LEAST 2

/* Bytes of a cache line: all processors write here. */
#define SERVING_LINE 64
/* Threads that have an entry of their own, as long as their numbers are close. */
#define SERVING_THREADS 2048

struct serving_thread {
	__u32 open; /* requests that it has read, less those that it has answered */
	__u32 over; /* of these, those that somebody else has answered, or that were given up */
	__u32 turn; /* how often it has read or answered one */
	__u8 pad[SERVING_LINE - 12];
};

/*
 * What threads are at, by their number. Where two have the same entry each looks as if it
 * had the requests of both, and nothing is told of what it does. Written by who reads and
 * answers: all but over by the thread itself alone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVING_THREADS);
	__type(key, __u32);
	__type(value, struct serving_thread);
} serving SEC(".maps");

static __always_inline struct serving_thread *serving_of(__u32 thread)
{
	__u32 entry = thread % SERVING_THREADS;

	return bpf_map_lookup_elem(&serving, &entry);
}

/* The request of a socket is not open any more, and that is not its reader's own doing. */
static __always_inline void stop_serving(struct socket_state *st)
{
	struct serving_thread *thread;

	if (!st->serving)
		return;
	st->serving = false;
	thread = serving_of(st->reader);
	if (thread)
		__sync_fetch_and_add(&thread->over, 1);
}

static __always_inline __u32 this_task(void)
{
	return has_task_regs ? bpf_get_current_task_btf()->pid : (__u32)bpf_get_current_pid_tgid();
}

/* How long the current thread was on a processor, and waited for one, so far. */
static __always_inline void thread_times(__u64 *cpu, __u64 *runq)
{
	struct task_struct *task;

	*runq = 0;
	if (has_task_regs) { /* then this is there, too, and takes plain loads */
		task = bpf_get_current_task_btf();
		*cpu = task->se.sum_exec_runtime;
		if (bpf_core_field_exists(task->sched_info.run_delay))
			*runq = task->sched_info.run_delay;
		return;
	}
	task = (void *)bpf_get_current_task();
	*cpu = BPF_CORE_READ(task, se.sum_exec_runtime);
	if (bpf_core_field_exists(task->sched_info.run_delay))
		*runq = BPF_CORE_READ(task, sched_info.run_delay);
}

/* A connection is accepted. */
static __always_inline int note_accept(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct socket_state *st = bpf_map_lookup_elem(&sockets, &key);

	if (st)
		st->accepted = (__u32)bpf_jiffies64() ?: 1;
	return 0;
}

/* A call has read a request, or a part of it. */
static __noinline int note_read(struct socket_state *st, struct http_call *call)
{
	__u32 now = bpf_jiffies64(), thread = this_task();
	__u32 waited = st->arrived ? now - st->arrived : 0, since = now - st->accepted;
	struct serving_thread *entry = serving_of(thread);
	struct http_spent *spent = &st->spent;

	if (!entry)
		return 0;
	entry->turn++;
	st->arrived = 0; /* of plaintext one call may be read in parts */
	if (!st->serving)
		spent->queue = spent->accept = 0;
	if (st->accepted && waited > since) {
		spent->accept = waited - since;
		waited = since;
	}
	st->accepted = 0;
	if (waited > spent->queue)
		spent->queue = waited;
	spent->read = call->time;
	if (st->verdict != IS_HTTP) {
		/* Of HTTP/2 each stream may be open: how long the call's bytes lay there is all. */
		st->queued = spent->queue + spent->accept >= QUEUE_LEAST;
		return 0;
	}
	stop_serving(st);
	st->alone = entry->open == entry->over;
	entry->open++;
	st->turn = entry->turn;
	st->reader = thread;
	st->serving = true;
	thread_times(&spent->cpu, &spent->runq);
	return 0;
}

/* The same of frames of HTTP/2 that were read, in a record that tells of them. Returns the part. */
static __always_inline __u8 append_queue(struct socket_state *st, struct scratch *s)
{
	if (!st->queued)
		return 0;
	st->queued = false;
	st->spent.thread = 0;
	append_part(s, &st->spent, sizeof(st->spent), with_spent);
	return with_spent;
}

/* An answer begins: adds to its record what its request has waited for, if it has. Returns the part. */
static __noinline int append_spent(struct socket_state *st, struct scratch *s)
{
	struct serving_thread *entry = serving_of(st->reader);
	bool alone = st->alone && entry && entry->turn == st->turn;
	struct http_spent *spent = &st->spent;
	__u64 cpu, runq;

	if (entry && this_task() == st->reader) {
		st->serving = false;
		entry->open--;
		entry->turn++;
	} else {
		alone = false;
		stop_serving(st);
	}
	if ((__s64)(s->rec.call.time - spent->read) < SPENT_LEAST &&
	    spent->queue + spent->accept < QUEUE_LEAST)
		return 0;
	thread_times(&cpu, &runq);
	spent->cpu = cpu - spent->cpu;
	spent->runq = runq - spent->runq;
	spent->thread = alone && bpf_core_field_exists(struct task_struct, sched_info.run_delay);
	append_part(s, spent, sizeof(*spent), with_spent);
	return with_spent;
}

#endif
