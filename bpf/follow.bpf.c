//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which processes descend from the wanted ones?
 *
 * Keeps the map pids for --pid and for a command that was started to be
 * traced: a child of a wanted process is wanted, before it runs for the first
 * time. Loaded beside any other object, whose pids map it shares.
 *
 * Hooks: the raw tracepoints sched_process_fork and sched_process_free, on
 * every kernel. Not sched_process_exit: of two threads that leave at once
 * either may find that nobody is left, and the other one's programs on that
 * tracepoint still have to find the process. When the leader is freed, all of
 * them have run.
 */
#include "tracer.h"

/* Knob: the program has copies, see first_sight. */
const volatile bool has_copies;

static __always_inline void process_fork(int copy, struct task_struct *parent,
					  struct task_struct *child)
{
	__u32 from = BPF_CORE_READ(parent, tgid);
	__u32 pid = BPF_CORE_READ(child, tgid);
	__u8 one = 1;

	/* Threads, too, lest one that was missed count as a loss. */
	if ((has_copies &&
	     !first_sight(copy, BPF_CORE_READ(child, start_boottime), BPF_CORE_READ(child, pid),
			  SIGHT_FOLLOW)) ||
	    pid != BPF_CORE_READ(child, pid) ||
	    !bpf_map_lookup_elem(&pids, &from))
		return;
	if (bpf_map_update_elem(&pids, &pid, &one, BPF_ANY))
		count_lost(LOST_MAP_FULL);
}

SEC("raw_tp/sched_process_fork")
int follow_process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	process_fork(0, (void *)ctx->args[0], (void *)ctx->args[1]);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int follow_process_fork_copy1(struct bpf_raw_tracepoint_args *ctx)
{
	process_fork(1, (void *)ctx->args[0], (void *)ctx->args[1]);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int follow_process_fork_copy2(struct bpf_raw_tracepoint_args *ctx)
{
	process_fork(2, (void *)ctx->args[0], (void *)ctx->args[1]);
	return 0;
}

/* If this one is missed, an entry stays until its id is used again. */
SEC("raw_tp/sched_process_free")
int follow_process_free(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	__u32 pid = BPF_CORE_READ(task, tgid);

	if (pid == BPF_CORE_READ(task, pid))
		bpf_map_delete_elem(&pids, &pid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
