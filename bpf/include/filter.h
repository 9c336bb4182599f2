/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which processes and ports are wanted, as far as the kernel decides: --pid, --uid,
 * --container, --pod, --namespace, --port, and not tracer itself. The maps pids and
 * cgroups are shared by all objects of a session.
 */
#ifndef TRACER_FILTER_H
#define TRACER_FILTER_H

#include "loss.h"
#include "task.h"

/*
 * Processes wanted by --pid and their descendants, by thread-group id, with when
 * they began: ns, boot clock. An id may be another process's before the end of the
 * one that had it is noticed. User space inserts the first ones, with 0, and
 * follow.bpf.c inserts children and deletes whoever ends. Bounded by max_entries: a
 * child that finds no room is counted as map_full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
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
const volatile bool filter_cgroups;
const volatile bool filter_pids;
const volatile bool filter_uid;
const volatile __u32 wanted_uid;
/* Processes left out unless --self, by thread-group id; up to the first 0. */
const volatile __u32 hidden[16];

#define WANTED -1

/* WANTED if a process passes --pid, --uid and is not hidden, or what it does not pass. */
static __always_inline int filtered_process(__u32 tgid, __u32 uid)
{
	if (filter_uid && uid != wanted_uid)
		return by_uid;
	if (filter_pids)
		return bpf_map_lookup_elem(&pids, &tgid) ? WANTED : by_pid;
	for (int i = 0; i < sizeof(hidden) / sizeof(hidden[0]) && hidden[i]; i++) {
		if (hidden[i] == tgid)
			return by_self;
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
		return by_place;
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

#endif
