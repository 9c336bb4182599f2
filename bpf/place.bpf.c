//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which cgroups come and go?
 *
 * A container's cgroup is made before its first process runs and may be gone
 * before that one's events are read: its path, which says what container it
 * is, is sent when it is made. Loaded beside other objects, whose map lost it
 * shares.
 *
 * Hooks: the raw tracepoints cgroup_mkdir and cgroup_rmdir, on every kernel
 * that has cgroups. They run under a lock that all cgroups share, with
 * interrupts off: neither program ever interrupts another.
 *
 * Missed: paths beyond 1023 bytes, which the kernel cuts.
 */
#include "output.h"

#define PATH_LEN 1024 /* kernel/cgroup: TRACE_CGROUP_PATH_LEN */

/* Sent as long as its path with the NUL. */
struct place_record {
	__u64 sent; /* by output() */
	__u64 id;
	__u32 hierarchy; /* 0 is cgroup2 */
	__u32 gone;	 /* it was removed */
	char path[PATH_LEN];
};

/*
 * Written by both programs, drained by user space, which is woken for each:
 * they are rare. Perf buffers instead, as events.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 128 << 10);
} places SEC(".maps");

/* Written and read within one run of a program, nothing stays. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct place_record);
} place_scratch SEC(".maps");

/*
 * The v1 hierarchy whose cgroups are told beside those of cgroup2, 0 if there
 * is none. Each controller may have one of its own, with a cgroup for every
 * container.
 */
const volatile __u32 v1_hierarchy;

static __always_inline void send_place(void *ctx, struct cgroup *cgroup, const char *path,
				       bool gone)
{
	__u32 hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);
	struct place_record *rec;
	__u32 zero = 0;
	long n;

	if (hierarchy && hierarchy != v1_hierarchy)
		return;
	rec = bpf_map_lookup_elem(&place_scratch, &zero);
	if (!rec)
		return;
	rec->id = BPF_CORE_READ(cgroup, kn, id);
	rec->hierarchy = hierarchy;
	rec->gone = gone;
	n = bpf_probe_read_kernel_str(rec->path, sizeof(rec->path), path);
	barrier_var(n);
	/* What is not told here is looked for when an event names it. */
	if (n <= 0 || n > PATH_LEN ||
	    output(ctx, &places, rec, __builtin_offsetof(struct place_record, path) + n, 0))
		count_lost(detail_missing);
}

SEC("raw_tp/cgroup_mkdir")
int place_cgroup_mkdir(__u64 *ctx)
{
	send_place(ctx, (void *)ctx[0], (void *)ctx[1], false);
	return 0;
}

SEC("raw_tp/cgroup_rmdir")
int place_cgroup_rmdir(__u64 *ctx)
{
	send_place(ctx, (void *)ctx[0], (void *)ctx[1], true);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
