/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who a task is: its cgroup, by which it belongs to a container.
 */
#ifndef TRACER_TASK_H
#define TRACER_TASK_H

#include "read.h"

#define COMM_LEN 16

/* What a process is called: its leader is. */
static __always_inline void fill_comm(char *to, struct task_struct *task)
{
	struct task_struct *leader = LOAD(task, group_leader);

	load_words(to, (void *)leader + bpf_core_field_offset(leader->comm));
}

/* The id of a cgroup in the v1 tree has this bit set, and counts as any other. */
enum cgroup_id {
	v1_bit = 63,
};

FOR_GO(cgroup_id, enum cgroup_id);

/*
 * The cgroup of a task that is in the cgroup2 directory with this inode. Where
 * there is no cgroup2 hierarchy in use everybody is in its root, and the
 * memory controller's v1 directory tells more.
 */
static __always_inline __u64 cgroup_or_v1(struct task_struct *task, __u64 id)
{
	if (id <= 1 && bpf_core_enum_value_exists(enum cgroup_subsys_id___memory, memory_cgrp_id)) {
		int memory = bpf_core_enum_value(enum cgroup_subsys_id___memory, memory_cgrp_id);
		struct css_set *css = LOAD(task, cgroups);
		struct cgroup_subsys_state *state = (void *)load_word(
			(void *)css + bpf_core_field_offset(css->subsys) + memory * sizeof(state));

		if (state) {
			struct cgroup *cgroup = LOAD(state, cgroup);
			struct cgroup_root *root = LOAD(cgroup, root);
			struct kernfs_node *kn = LOAD(cgroup, kn);

			if (LOAD(root, hierarchy_id))
				id = LOAD(kn, id) | 1ULL << v1_bit;
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

#endif
