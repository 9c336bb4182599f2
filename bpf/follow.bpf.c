//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which processes descend from the wanted ones?
 *
 * Keeps the map pids for --pid and for a command that was started to be
 * traced: a child of a wanted process is wanted, before it runs for the first
 * time. Loaded beside other objects, whose map pids it shares.
 *
 * Hooks: the raw tracepoints sched_process_fork and sched_process_free, on
 * every kernel. Not sched_process_exit: of two threads that leave at once
 * either may find that nobody is left, and the other one's programs on that
 * tracepoint still have to find the process. When the leader is freed, all of
 * them have run.
 */
#include "copies.h"
#include "filter.h"

static __noinline int process_fork(__u64 *ctx, int copy)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	__u64 start = BPF_CORE_READ(child, start_boottime);
	__u32 from = BPF_CORE_READ(parent, tgid);
	__u32 pid = BPF_CORE_READ(child, tgid);

	if (!is_first_call(copy, 0, start) || pid != BPF_CORE_READ(child, pid))
		return 0;
	if (!bpf_map_lookup_elem(&pids, &from)) {
		/* Of a process before, whose end was missed. */
		if (bpf_map_lookup_elem(&pids, &pid))
			bpf_map_delete_elem(&pids, &pid);
		return 0;
	}
	if (bpf_map_update_elem(&pids, &pid, &start, BPF_ANY))
		count_lost(map_full);
	return 0;
}

CALL_COPIES("raw_tp/sched_process_fork", follow_process_fork, process_fork)

/*
 * The kernel frees a process some time after its id, which may be a child's by
 * now. If this one is missed, an entry stays until its id is used again.
 */
SEC("raw_tp/sched_process_free")
int follow_process_free(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	__u32 pid = BPF_CORE_READ(task, tgid);
	__u64 *start;

	if (pid != BPF_CORE_READ(task, pid))
		return 0;
	start = bpf_map_lookup_elem(&pids, &pid);
	if (start && (!*start || *start == BPF_CORE_READ(task, start_boottime)))
		bpf_map_delete_elem(&pids, &pid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
