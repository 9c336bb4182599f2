/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every object shares: the ring that carries its records, the counters
 * of what was lost, the filters that are decided in the kernel, and who a
 * task is.
 */
#ifndef TRACER_TRACER_H
#define TRACER_TRACER_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Turns a number into a pointer to read from: 6.2. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
const volatile bool has_casts; /* the kernel has that, and it pays: conn */

/*
 * A field of a struct, like BPF_CORE_READ: by a load where there are casts. The
 * helper's call takes much longer than what it does. What is loaded is a pointer
 * to the verifier if it is one: take it to LOAD, and to nothing that calculates.
 */
#define LOAD(p, field)                                                                     \
	({                                                                                 \
		typeof((p)->field) value;                                                  \
		if (has_casts)                                                             \
			value = ((typeof(p))bpf_rdonly_cast(                               \
					 p, bpf_core_type_id_kernel(typeof(*(p)))))        \
					->field;                                           \
		else                                                                       \
			value = BPF_CORE_READ(p, field);                                   \
		value;                                                                     \
	})

/*
 * Two words, or one, at an address: as numbers, with which anybody may calculate.
 * Where there are casts they are loaded as those of a struct that has just two.
 */
#define WORDS(from) \
	((struct timespec64 *)bpf_rdonly_cast(from, bpf_core_type_id_kernel(struct timespec64)))

static __always_inline void load_words(void *to, const void *from)
{
	if (has_casts) {
		struct timespec64 *words = WORDS(from);

		((__u64 *)to)[0] = words->tv_sec;
		((__u64 *)to)[1] = words->tv_nsec;
	} else {
		bpf_probe_read_kernel(to, 16, from);
	}
}

static __always_inline __u64 load_word(const void *from)
{
	__u64 word = 0;

	if (has_casts)
		word = WORDS(from)->tv_sec;
	else
		bpf_probe_read_kernel(&word, sizeof(word), from);
	return word;
}

#define COMM_LEN 16

/* Keeps the compiler from undoing or moving a bound that the verifier needs. */
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

/* Why something was lost. The order is that of lostCauses in trace/stats.go. */
enum lost_cause {
	LOST_RING_FULL,	   /* an event did not fit into the ring */
	LOST_MAP_FULL,	   /* an event could not be followed up: its map was full */
	LOST_DETAIL,	   /* no event: something that a later one would have told */
	LOST_NOT,	   /* no loss: a copy of a program has seen what the first one missed */
	LOST_ACCEPT,	   /* an accept that was found out at the connection's end */
	LOST_STEP,	   /* a step of a connection, or its end, that was missed and found out later */
	LOST_CAUSES,
};

/*
 * Written by all programs, read by user space. Never set back to zero: a
 * reader that zeroes it would race with a writer.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOST_CAUSES);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/*
 * What was passed over, by the filter that decided it, and what sockets of
 * wanted processes speak: for who sees nothing and asks why. The order is that
 * of countNames in trace/stats.go.
 */
enum counted {
	FILTERED_PID,
	FILTERED_UID,
	FILTERED_PLACE,
	FILTERED_SELF, /* tracer itself and its SSH session */
	FILTERED_PORT,
	FILTERED_FAILED, /* it did not fail */
	FILTERED_SLOW,	 /* it was fast */
	KIND_HTTP1,
	KIND_HTTP2,
	KIND_TLS,
	KIND_OTHER,
	KIND_UNREAD, /* their bytes are where programs cannot read them */
	COUNTS,
};

/* Written by the programs, read by user space; never set back, like lost. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

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

/*
 * Processes wanted by --pid and their descendants, by thread-group id.
 * User space inserts the first ones, follow.bpf.c inserts children and
 * deletes whoever ends. Bounded by max_entries: a child that finds no room
 * is counted as LOST_MAP_FULL.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} pids SEC(".maps");

/*
 * What --container, --pod and --namespace say of cgroups, by current_cgroup():
 * 1 is wanted, 0 is not. User space inserts and deletes, as it learns of
 * cgroups and of their names. One that is not in it passes: it may be new, or
 * have found no room, and user space decides.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} cgroups SEC(".maps");

/* Knobs, set by user space before loading. */
const volatile bool perf_buffers;
const volatile bool filter_cgroups;
const volatile bool filter_pids;
const volatile bool filter_uid;
const volatile __u32 wanted_uid;
/* Processes left out unless --self, by thread-group id; up to the first 0. */
const volatile __u32 hidden[16];

static __always_inline void count_lost(__u32 cause)
{
	__u64 *n = bpf_map_lookup_elem(&lost, &cause);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Not for what happens more than once to a process or a socket. */
static __always_inline void count(__u32 what, __s64 by)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n)
		__sync_fetch_and_add(n, by);
}

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
enum reader_state {
	READER_POLLS, /* it looks soon */
	READER_WAITS, /* until it is woken, as nothing has come for a while */
	READER_DOZES, /* it looks by itself, but late: little has come */
};

/* One of those. Set by the reader; who wakes it has it poll. */
volatile __u32 reader_state;

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

	reader_state = READER_POLLS;
	if (perf_buffers) {
		if (bpf_perf_event_output(ctx, &bell, BPF_F_CURRENT_CPU, &nothing, sizeof(nothing)))
			reader_state = READER_WAITS; /* the next one tries again */
		return;
	}
	record = bpf_ringbuf_reserve(&events, 8, 0);
	if (record)
		bpf_ringbuf_discard(record, BPF_RB_FORCE_WAKEUP);
}

/*
 * Sends a record, with the program's ctx. A reader that polls is not woken: the
 * wake-up would cost more than everything else together. One that waits is,
 * after the record is in the buffer: both sides write first and look then, so
 * that no record can stay behind; and one that dozes before the ring is full.
 */
static __always_inline bool send_record(void *ctx, void *record, __u64 size, enum lost_cause cause)
{
	__u32 state;

	if (output(ctx, &events, record, size, BPF_RB_NO_WAKEUP)) {
		count_lost(cause);
		return false;
	}
	state = reader_state;
	if (state == READER_WAITS || (state == READER_DOZES && !perf_buffers && much_waits()))
		wake_reader(ctx);
	return true;
}

/*
 * From 7.0 on tracepoints can be preempted while their programs run. A program
 * is not run again on a CPU on which it is under way: the event is missed (and
 * counted by the kernel as such). Therefore each program that must see all
 * events has copies, which the kernel runs one after the other, each with a
 * guard of its own. Who is first to see an event handles it.
 */
#define COPIES 3
/* A value of struct sight's what that is follow.bpf.c's alone. */
#define SIGHT_FOLLOW (1U << 31)
/* One that is a thread's and not its process's. */
#define SIGHT_THREAD (1U << 30)

struct sight {
	__u64 start; /* when the process began: with its id, no other */
	__u32 pid;
	__u32 what; /* which event of the process */
};

/*
 * Events that have been handled. Inserted by the first program to see one,
 * needed until the last copy has run; the oldest give way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sight);
	__type(value, __u8);
} sights SEC(".maps");

static __always_inline bool first_sight(int copy, __u64 start, __u32 pid, __u32 what)
{
	struct sight key = { .start = start, .pid = pid, .what = what };
	__u8 one = 1;

	/* As an int: before 6.4 the upper half of the result is undefined. */
	if ((int)bpf_map_update_elem(&sights, &key, &one, BPF_NOEXIST) == -EEXIST)
		return false;
	if (copy > 0)
		count_lost(LOST_NOT);
	return true;
}

/*
 * The same for events that come often and may come again for the same thing,
 * such as those of sockets, and on every kernel: what interrupts a program on
 * its CPU may be the arrival of a packet, which has events of its own. Each CPU
 * remembers the last few events: a copy that does not find its own there is the
 * first to see it.
 */
#define RECENT 4

struct recent {
	__u64 events[RECENT];
	__u32 next;
};

/* Written and read by the programs; one entry for each of those that have copies. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct recent);
} recents SEC(".maps");

static __always_inline bool first_to_see(int copy, __u32 program, __u64 event)
{
	struct recent *r = bpf_map_lookup_elem(&recents, &program);

	if (!r)
		return true;
	if (copy > 0) {
		for (int i = 0; i < RECENT; i++) {
			if (r->events[i] == event)
				return false;
		}
		count_lost(LOST_NOT);
	}
	r->events[r->next++ % RECENT] = event;
	return true;
}

/*
 * A step of a socket for first_to_see(). One that is used again, or another one
 * at its address, takes the same steps, but has other sequence numbers.
 */
static __always_inline __u64 step_of(struct sock *sk, int from, int to)
{
	struct tcp_sock *tp = (void *)sk;

	return (__u64)sk ^ (__u64)to << 56 ^ (__u64)from << 48 ^
	       (__u64)LOAD(tp, write_seq) << 16;
}

/*
 * For the last copy of a program: all have had their turn. What is left would
 * pass for the same event of the next socket that has this one's address.
 */
static __always_inline void all_have_seen(__u32 program, __u64 event)
{
	struct recent *r = bpf_map_lookup_elem(&recents, &program);

	for (int i = 0; r && i < RECENT; i++) {
		if (r->events[i] == event)
			r->events[i] = 0;
	}
}

#define WANTED -1

/* WANTED if a process passes --pid, --uid and is not hidden, or what it does not pass. */
static __always_inline int filtered_process(__u32 tgid, __u32 uid)
{
	if (filter_uid && uid != wanted_uid)
		return FILTERED_UID;
	if (filter_pids)
		return bpf_map_lookup_elem(&pids, &tgid) ? WANTED : FILTERED_PID;
	for (int i = 0; i < sizeof(hidden) / sizeof(hidden[0]) && hidden[i]; i++) {
		if (hidden[i] == tgid)
			return FILTERED_SELF;
	}
	return WANTED;
}

static __always_inline bool wanted_process(__u32 tgid, __u32 uid)
{
	int by = filtered_process(tgid, uid);

	if (by == WANTED)
		return true;
	count(by, 1);
	return false;
}

static __always_inline __u64 current_cgroup(struct task_struct *task);

/*
 * Whether the current process passes --container, --pod and --namespace. Not
 * inlined: few need it, and every program would carry it.
 */
static __noinline bool wanted_cgroup(void)
{
	__u64 cgroup = current_cgroup((void *)bpf_get_current_task());
	__u8 *verdict = bpf_map_lookup_elem(&cgroups, &cgroup);

	return !verdict || *verdict;
}

static __always_inline int filtered(__u32 tgid)
{
	if (filter_cgroups && !wanted_cgroup())
		return FILTERED_PLACE;
	return filtered_process(tgid, filter_uid ? bpf_get_current_uid_gid() : 0);
}

/*
 * Whether the current process passes --pid, --uid, is in a wanted cgroup and
 * is not hidden. If not, that is counted.
 */
static __always_inline bool wanted(__u32 tgid)
{
	int by = filtered(tgid);

	if (by == WANTED)
		return true;
	count(by, 1);
	return false;
}

/* Marks an id of the v1 tree, which counts as the other one: V1 in trace/kube. */
#define CGROUP_V1 (1ULL << 63)

/*
 * The cgroup of a task that is in the cgroup2 directory with this inode. Where
 * there is no cgroup2 hierarchy in use everybody is in its root, and the
 * memory controller's v1 directory tells more.
 */
static __always_inline __u64 cgroup_or_v1(struct task_struct *task, __u64 id)
{
	if (id <= 1 &&
	    bpf_core_enum_value_exists(enum cgroup_subsys_id___memory, memory_cgrp_id)) {
		int memory = bpf_core_enum_value(enum cgroup_subsys_id___memory, memory_cgrp_id);
		struct css_set *css = LOAD(task, cgroups);
		struct cgroup_subsys_state *state =
			(void *)load_word((void *)css + bpf_core_field_offset(css->subsys) +
					  memory * sizeof(state));

		if (state) {
			struct cgroup *cgroup = LOAD(state, cgroup);
			struct cgroup_root *root = LOAD(cgroup, root);
			struct kernfs_node *kn = LOAD(cgroup, kn);

			if (LOAD(root, hierarchy_id))
				id = LOAD(kn, id) | CGROUP_V1;
		}
	}
	return id;
}

/* The cgroup of any task. */
static __always_inline __u64 task_cgroup(struct task_struct *task)
{
	struct css_set *css = LOAD(task, cgroups);
	struct cgroup *cgroup = LOAD(css, dfl_cgrp);
	struct kernfs_node *kn = LOAD(cgroup, kn);

	return cgroup_or_v1(task, LOAD(kn, id));
}

/* The cgroup of the current task. */
static __always_inline __u64 current_cgroup(struct task_struct *task)
{
	return has_casts ? task_cgroup(task) : cgroup_or_v1(task, bpf_get_current_cgroup_id());
}

/*
 * Registers, as kprobes and system calls leave them: struct pt_regs differs by
 * architecture, and one object serves both. Which one it runs on is known when
 * it is loaded: the kernel's types have the registers of one of them.
 */
static __always_inline __u64 register_arg(void *regs, int i)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return i ? BPF_CORE_READ(x86, si) : BPF_CORE_READ(x86, di);
	return i ? BPF_CORE_READ(arm64, regs[1]) : BPF_CORE_READ(arm64, regs[0]);
}

static __always_inline __u64 register_return(void *regs)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return BPF_CORE_READ(x86, ax);
	return BPF_CORE_READ(arm64, regs[0]);
}

/* The first two arguments of a system call that returns; arm64 has put the result into the first. */
static __always_inline __u64 syscall_arg(void *regs, int i)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (i == 0 && !bpf_core_field_exists(x86->orig_ax))
		return BPF_CORE_READ(arm64, orig_x0);
	return register_arg(regs, i);
}

/*
 * Registers that the kernel vouches for (tp_btf) take a plain load, and others a
 * call.
 */
static __always_inline int syscall_number(void *regs, bool vouched)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return vouched ? x86->orig_ax : BPF_CORE_READ(x86, orig_ax);
	return vouched ? arm64->syscallno : BPF_CORE_READ(arm64, syscallno);
}

/* 32-bit programs number their system calls differently. */
static __always_inline bool syscall_is_32bit(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pt_regs___x86 *x86 = NULL;

	if (bpf_core_field_exists(x86->orig_ax))
		return LOAD(task, thread_info.status) & X86_TS_COMPAT;
	return LOAD(task, thread_info.flags) & ARM64_32BIT;
}

#endif
