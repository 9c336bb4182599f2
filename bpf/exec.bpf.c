//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which programs start, with what arguments, and how do they end?
 *
 * Hooks: the raw tracepoints sched_process_exec, sched_process_fork and
 * sched_process_exit. They exist on every kernel, need no function hooks and
 * see the kernel's own record of the new program, so that nothing has to be
 * remembered between a system call's entry and its return. Failed execs leave
 * no other trace than the return of the system call: raw sys_exit, whose
 * registers still hold the arguments. It runs at every system call of the
 * host, hence only when asked for.
 *
 * Where a program fails when the old one is gone (a file that was copied in
 * part), nothing can be read from that. What was copied for the new one lies on
 * its stack, but not how much of it: the kernel knows just before it gives the old
 * one up, in sched_prepare_exec (6.10) or else begin_new_exec().
 *
 * Missed: failed execs of 32-bit programs; components of a path beyond the
 * PATH_COMPONENTS nearest to the file (marked).
 *
 * Oldest kernel: 5.8 (bpf_ktime_get_boot_ns).
 */
#include "copies.h"
#include "filter.h"
#include "output.h"

/* Arguments that are kept whole, in bytes with their NULs. */
#define ARGS_MAX 32768
/* Both paths of a record, components packed with their NULs. */
#define PATHS_MAX 8192
#define PATH_COMPONENTS 48
#define NAME_MAX_NUL 256
/* A path as it is given to the kernel, and a list of folders. */
#define STRING_MAX 4096
/* All that is in a record before its arguments. */
#define TEXTS_MAX (PATHS_MAX + STRING_MAX)
#define FAILED_ARGS 1024
#define FAILED_VARS 512

/* What a record tells of. */
enum event {
	started = 1, /* a program */
	ended,	     /* a process */
	forked,
	exec_failed,
};

enum flag {
	args_cut = 1 << 0,	  /* more than ARGS_MAX bytes */
	args_unreadable = 1 << 1, /* not in memory */
	exe_cut = 1 << 2,	  /* the path begins before its first component; of a string the end */
	cwd_cut = 1 << 3,	  /* the same; of a PATH the end */
	exe_packed = 1 << 4,	  /* exec_failed: as started has it, not a string */
	old_gone = 1 << 5,	  /* exec_failed: and the program before does not run any more */
	unwanted = 1 << 6,	  /* no event: what a wanted one has to know */
};

/*
 * data holds exe, cwd, name and args, one after the other. In started exe and cwd
 * are packed: see pack_path(). In exec_failed exe is as asked for, and cwd is PATH, if
 * what failed may be a part of a walk through it, or with old_gone exe as started has it.
 */
struct exec_record {
	__u64 sent;  /* by output() */
	__u64 time;  /* ns, boot clock */
	__u64 start; /* when the process began, the same clock */
	__u64 cgroup;
	enum event type;
	__u32 flags; /* enum flag */
	__u32 pid;
	__u32 tid; /* the thread that asked, as it was numbered then */
	__u32 ppid;
	__u32 uid;
	__s32 code; /* ended: wait status; exec_failed: -errno */
	__u32 exe_len;
	__u32 cwd_len;
	__u32 args_len;
	__u32 name_len; /* started, with tells_failed: the file as asked for */
	__u32 exec_id;	/* of the program: how often the process became one, and those that it was forked from */
	char comm[COMM_LEN];
	char parent_comm[COMM_LEN];
};

FOR_GO(flag, enum flag);

/* Who builds records with text, on every CPU. */
enum slot {
	SLOT_EXEC, /* and its copies */
	SLOT_FAILED = LAST_CALL + 1,
	SLOTS,
};

/*
 * One per program and CPU, since only the same program cannot interrupt itself
 * there; the record is built here and copied into the ring only as
 * long as its bytes. Twice the room, so that a string of any length that
 * starts anywhere in the first half fits. The position of the next byte lives
 * here too: read back, it is an unknown number to the verifier, which makes
 * each turn of a loop look like the one before.
 */
struct scratch {
	struct exec_record rec;
	char data[TEXTS_MAX + 2 * ARGS_MAX];
	__u32 at;
};

/* Written and read within one run of a program, nothing stays. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS); /* user space: times the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Knobs. */
const volatile __s32 nr_execve = -1;
const volatile __s32 nr_execveat = -1;
const volatile bool tells_failed;   /* exec_failed, too */
const volatile bool keeps_unwanted; /* what is left out by user or cgroup may have to be known later */

/*
 * Processes whose end was told: of the last two threads either may find that
 * nobody is left. Inserted by the first of them; the oldest give way.
 */
struct process {
	__u64 start; /* with the id, no other */
	__u32 pid;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process);
	__type(value, __u8);
} ends SEC(".maps");

/* A program that is about to replace another: see process_failed(). */
struct loading {
	__u64 mm;   /* the new one's */
	__u64 args; /* where they begin in it */
	__u64 name; /* the file as asked for, behind them and the environment */
	__u32 argc;
	__u32 pad;
};

/*
 * What processes load, by thread-group id: one of their threads at a time. Written
 * before each is, read if that fails; the oldest give way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct loading);
} loadings SEC(".maps");

/* What has copies, for first_call(). */
enum copied {
	COPIED_EXEC,
	COPIED_FORK,
	COPIED_EXIT,
};

static __always_inline void fill_record(struct exec_record *rec, enum event type,
					struct task_struct *task)
{
	__builtin_memset(rec, 0, sizeof(*rec));
	rec->time = bpf_ktime_get_boot_ns();
	rec->type = type;
	rec->start = BPF_CORE_READ(task, group_leader, start_boottime);
	rec->cgroup = current_cgroup(task);
	rec->pid = BPF_CORE_READ(task, tgid);
	rec->tid = BPF_CORE_READ(task, pid);
	rec->uid = bpf_get_current_uid_gid();
	rec->exec_id = BPF_CORE_READ(task, self_exec_id);
	/* The parent may be a thread: the process is named by its leader. */
	rec->ppid = BPF_CORE_READ(task, real_parent, tgid);
	fill_comm(rec->comm, task);
}

/*
 * What a record about a process is flagged with: 0, or unwanted if filters leave it
 * out. Below 0 none is made. A process may get another user or another cgroup; then
 * it is wanted, and so is what it has run all the time.
 */
static __always_inline int judge(__u32 tgid, bool is_event)
{
	int by = filtered(tgid);

	if (by == WANTED)
		return 0;
	if (is_event)
		count(by, 1);
	if (keeps_unwanted && filtered_process(tgid, wanted_uid) == WANTED)
		return unwanted;
	return -1;
}

static __always_inline __u32 scratch_index(__u32 slot)
{
	return bpf_get_smp_processor_id() * SLOTS + slot;
}

/* Begins a record with text. */
static __always_inline struct scratch *begin_record(enum event type, __u32 slot,
						    struct task_struct *task)
{
	__u32 index = scratch_index(slot);
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);

	if (!s) {
		count_lost(map_full);
		return NULL;
	}
	fill_record(&s->rec, type, task);
	fill_comm(s->rec.parent_comm, BPF_CORE_READ(task, real_parent));
	s->at = 0;
	return s;
}

static __always_inline void end_record(void *ctx, struct scratch *s)
{
	__u64 size = s->at;

	barrier_var(size);
	if (size > TEXTS_MAX + ARGS_MAX)
		size = TEXTS_MAX + ARGS_MAX;
	send_record(ctx, &s->rec, sizeof(s->rec) + size,
		    s->rec.flags & unwanted ? detail_missing : ring_full);
}

/*
 * Packs the components of a path, the file's own name first. Returns whether
 * the root was reached. Follows mounts up to the root of the mount namespace,
 * as d_absolute_path() does.
 *
 * A global function: the verifier looks at it once and not at every call,
 * which is a third of the time that loading takes. Hence all arguments are
 * numbers.
 */
__noinline int pack_path(__u32 index, __u64 address, __u32 limit)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct path *path = (void *)address;
	struct dentry *dentry = BPF_CORE_READ(path, dentry);
	struct vfsmount *vfsmnt = BPF_CORE_READ(path, mnt);
	struct mount *mnt = (void *)vfsmnt - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(vfsmnt, mnt_root);

	if (!s)
		return false;
	for (int i = 0; i < PATH_COMPONENTS; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		const unsigned char *name;
		__u64 at;
		long n;

		if (dentry == root) {
			struct mount *up = BPF_CORE_READ(mnt, mnt_parent);

			if (up == mnt || !up)
				return true;
			dentry = BPF_CORE_READ(mnt, mnt_mountpoint);
			root = BPF_CORE_READ(up, mnt.mnt_root);
			mnt = up;
			continue;
		}
		name = BPF_CORE_READ(dentry, d_name.name);
		at = s->at;
		barrier_var(at);
		if (at + NAME_MAX_NUL > limit || at > PATHS_MAX - NAME_MAX_NUL)
			return false;
		n = bpf_probe_read_kernel_str(&s->data[at], NAME_MAX_NUL, name);
		if (n <= 0)
			return false;
		s->at = at + n;
		/* A file in no directory, as of memfd_create(). */
		if (parent == dentry)
			return true;
		dentry = parent;
	}
	return false;
}

/* A process runs another program. */
static __noinline int process_exec(__u64 *ctx, int copy)
{
	struct task_struct *task = (void *)ctx[0];
	struct linux_binprm *bprm = (void *)ctx[2];
	__u32 old_pid = ctx[1];
	__u32 index = scratch_index(SLOT_EXEC + copy);
	struct mm_struct *mm;
	struct scratch *s;
	struct file *exe;
	__u64 start, len, at;
	int flags;

	if (!is_first_call(copy, COPIED_EXEC, BPF_CORE_READ(task, self_exec_id)))
		return 0;
	flags = judge(bpf_get_current_pid_tgid() >> 32, true);
	if (flags < 0)
		return 0;
	s = begin_record(started, SLOT_EXEC + copy, task);
	if (!s)
		return 0;
	s->rec.tid = old_pid;
	s->rec.flags = flags;

	mm = BPF_CORE_READ(task, mm);
	exe = BPF_CORE_READ(mm, exe_file);
	if (!pack_path(index, (__u64)exe + bpf_core_field_offset(exe->f_path), PATHS_MAX / 2))
		s->rec.flags |= exe_cut;
	s->rec.exe_len = s->at;

	if (!(flags & unwanted)) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);

		if (!pack_path(index, (__u64)fs + bpf_core_field_offset(fs->pwd), PATHS_MAX))
			s->rec.flags |= cwd_cut;
		s->rec.cwd_len = s->at - s->rec.exe_len;
	}

	if (tells_failed && !(flags & unwanted)) {
		at = s->at;
		barrier_var(at);
		if (at > PATHS_MAX)
			at = PATHS_MAX;
		len = bpf_probe_read_kernel_str(&s->data[at], STRING_MAX,
						BPF_CORE_READ(bprm, filename));
		if (len <= STRING_MAX) {
			s->rec.name_len = len;
			s->at = at + len;
		}
	}

	start = BPF_CORE_READ(mm, arg_start);
	len = BPF_CORE_READ(mm, arg_end) - start;
	if (len > ARGS_MAX) {
		len = ARGS_MAX;
		s->rec.flags |= args_cut;
	}
	at = s->at;
	barrier_var(at);
	barrier_var(len);
	/* Cannot be more; the verifier has to see it here. */
	if (at > TEXTS_MAX)
		at = TEXTS_MAX;
	if (len > ARGS_MAX)
		len = ARGS_MAX;
	if (len && bpf_probe_read_user(&s->data[at], len, (void *)start)) {
		s->rec.flags |= args_unreadable;
		len = 0;
	}
	s->rec.args_len = len;
	s->at = at + len;
	end_record(ctx, s);
	return 0;
}

CALL_COPIES("raw_tp/sched_process_exec", exec_process_exec, process_exec)

static __noinline int process_fork(__u64 *ctx, int copy)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	__u32 pid = BPF_CORE_READ(child, tgid);
	struct exec_record rec;

	/* Threads are no processes, and the kernel's own do not end as such. */
	if (!is_first_call(copy, COPIED_FORK, BPF_CORE_READ(child, start_boottime)) ||
	    pid != BPF_CORE_READ(child, pid) || BPF_CORE_READ(child, flags) & TASK_IS_KTHREAD ||
	    judge(BPF_CORE_READ(parent, tgid), false) < 0)
		return 0;
	fill_record(&rec, forked, parent);
	rec.ppid = rec.pid;
	rec.pid = pid;
	rec.start = BPF_CORE_READ(child, start_boottime);
	send_record(ctx, &rec, sizeof(rec), detail_missing);
	return 0;
}

CALL_COPIES("raw_tp/sched_process_fork", exec_process_fork, process_fork)

/* Whether the end of a process is not told yet; it is, from now on. */
static __always_inline bool first_to_end(struct task_struct *leader)
{
	struct process key = {};
	__u8 one = 1;

	key.start = BPF_CORE_READ(leader, start_boottime);
	key.pid = BPF_CORE_READ(leader, pid);
	/* As an int: before 6.4 the upper half of the result is undefined. */
	return (int)bpf_map_update_elem(&ends, &key, &one, BPF_NOEXIST) != -EEXIST;
}

/* The last thread to leave ends the process, be it the leader or not. */
static __noinline int process_exit(__u64 *ctx, int copy)
{
	struct task_struct *task = (void *)ctx[0];
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct exec_record rec;
	int flags;

	if (!is_first_call(copy, COPIED_EXIT, BPF_CORE_READ(task, start_boottime)) ||
	    BPF_CORE_READ(signal, live.counter) != 0 || !first_to_end(leader) ||
	    BPF_CORE_READ(task, flags) & TASK_IS_KTHREAD)
		return 0;
	flags = judge(BPF_CORE_READ(task, tgid), true);
	if (flags < 0)
		return 0;
	fill_record(&rec, ended, task);
	rec.flags = flags;
	if (BPF_CORE_READ(signal, flags) & GROUP_EXIT)
		rec.code = BPF_CORE_READ(signal, group_exit_code);
	else
		rec.code = BPF_CORE_READ(leader, exit_code);
	send_record(ctx, &rec, sizeof(rec), flags & unwanted ? detail_missing : ring_full);
	return 0;
}

CALL_COPIES("raw_tp/sched_process_exit", exec_process_exit, process_exit)

/* A process is about to give up its program for another: no way back. */
static __always_inline int process_loads(struct linux_binprm *bprm)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct loading l = {};

	l.mm = (__u64)BPF_CORE_READ(bprm, mm);
	l.args = BPF_CORE_READ(bprm, p);
	l.name = BPF_CORE_READ(bprm, exec);
	l.argc = BPF_CORE_READ(bprm, argc);
	bpf_map_update_elem(&loadings, &tgid, &l, BPF_ANY);
	return 0;
}

SEC("raw_tp/sched_prepare_exec")
int exec_loads_tp(__u64 *ctx)
{
	return process_loads((void *)ctx[1]);
}

SEC("fentry/begin_new_exec")
int exec_loads_fentry(__u64 *ctx)
{
	return process_loads((void *)ctx[0]);
}

SEC("kprobe/begin_new_exec")
int exec_loads_kprobe(void *regs)
{
	return process_loads((void *)register_arg(regs, 0));
}

/* The arguments of the system call that is returning. */
struct exec_call {
	__u64 filename;
	__u64 argv;
	__u64 envp;
	__s32 folder; /* of a file name that is no path from the root */
};

/* Reports false if the system call is none of ours. */
static __always_inline bool exec_arguments(void *regs, struct exec_call *call)
{
	__s32 nr = syscall_number(regs, false);
	bool at = nr == nr_execveat; /* its file name is behind a folder */

	if ((nr != nr_execve && !at) ||
	    syscall_is_32bit((void *)bpf_get_current_task(), false))
		return false;
	call->folder = at ? (__s32)syscall_arg(regs, 0, false) : AT_FDCWD;
	call->filename = at ? syscall_arg(regs, 1, false) : syscall_arg(regs, 0, false);
	call->argv = at ? syscall_arg(regs, 2, false) : syscall_arg(regs, 1, false);
	call->envp = at ? syscall_arg(regs, 3, false) : syscall_arg(regs, 2, false);
	return true;
}

/*
 * bpf_probe_read_user_str() counts the NUL, but not for an empty string (until
 * 6.15): there it returns 0.
 */
static __always_inline long read_user_str(char *to, __u32 size, void *from)
{
	long n = bpf_probe_read_user_str(to, size, from);

	if (n == 0) {
		*to = 0;
		n = 1;
	}
	return n;
}

/* Whether a string goes on behind what was read of it, n bytes with a NUL. */
static __always_inline bool goes_on(__u64 from, long n, long most)
{
	char last = 0;

	return n == most && !bpf_probe_read_user(&last, 1, (void *)(from + n - 1)) && last;
}

/* Begins with the file name. A global function, as pack_path() is, and all further ones. */
__noinline int add_filename(__u32 index, __u64 from)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	long n;

	if (!s)
		return 0;
	n = read_user_str(s->data, STRING_MAX, (void *)from);
	if (n <= 0)
		return 0;
	if (goes_on(from, n, STRING_MAX))
		s->rec.flags |= exe_cut;
	s->at = n;
	s->rec.exe_len = n;
	return 0;
}

/* Adds what the file name begins at: the open file with this number. */
__noinline int add_folder(__u32 index, __u32 fd)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(fdt, fd);
	struct file *file = NULL;

	if (!s || fd >= BPF_CORE_READ(fdt, max_fds) ||
	    bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file)
		return 0;
	if (s->at == 1) /* an empty name: the file itself */
		s->at = 0;
	if (!pack_path(index, (__u64)file + bpf_core_field_offset(file->f_path), PATHS_MAX))
		s->rec.flags |= exe_cut;
	s->rec.flags |= exe_packed;
	s->rec.exe_len = s->at;
	return 0;
}

/*
 * Adds PATH, of the environment that the new program was to have: nearly always the one
 * that its file was looked for with.
 */
__noinline int add_path(__u32 index, __u64 envp)
{
	const __u64 name = 0x3d48544150; /* PATH= */
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);

	if (!s || !envp)
		return 0;
	for (int i = 0; i < FAILED_VARS; i++) {
		__u64 var = 0, head = 0, at = s->at;
		long n;

		if (bpf_probe_read_user(&var, sizeof(var), (void *)(envp + i * sizeof(var))) ||
		    !var)
			return 0;
		if (bpf_probe_read_user(&head, 5, (void *)var) || head != name)
			continue;
		barrier_var(at);
		if (at > PATHS_MAX)
			return 0;
		n = read_user_str(&s->data[at], STRING_MAX, (void *)(var + 5));
		if (n <= 0)
			return 0;
		if (n == STRING_MAX)
			s->rec.flags |= cwd_cut;
		s->at = at + n;
		s->rec.cwd_len = n;
		return 0;
	}
	return 0;
}

/* Adds an argument and returns its length with the NUL; 0: this was the last. */
__noinline int add_argument(__u32 index, __u64 from)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	__u64 at;
	long n;

	if (!s)
		return 0;
	at = s->at;
	barrier_var(at);
	if (at >= TEXTS_MAX + ARGS_MAX) {
		s->rec.flags |= args_cut;
		return 0;
	}
	n = read_user_str(&s->data[at], ARGS_MAX, (void *)from);
	if (n <= 0) {
		s->rec.flags |= args_unreadable;
		return 0;
	}
	if (goes_on(from, n, ARGS_MAX))
		s->rec.flags |= args_cut;
	s->at = at + n;
	return n;
}

/* Whether a shell or execvp() goes on with the next folder of PATH after this error. */
static __always_inline bool walks_on(long error)
{
	switch (-error) {
	case ENOENT:
	case EACCES:
	case ENODEV:
	case ENOTDIR:
	case ETIMEDOUT:
	case ESTALE:
		return true;
	}
	return false;
}

/* The old program is still there to read from. */
static __noinline void fill_failed(struct scratch *s, __u32 index, struct exec_call *call)
{
	__u64 arg;

	add_filename(index, call->filename);
	if (call->folder != AT_FDCWD && s->at && s->data[0] != '/')
		add_folder(index, call->folder);
	else if (walks_on(s->rec.code))
		add_path(index, call->envp);
	for (int i = 0; call->argv && i <= FAILED_ARGS; i++) {
		if (bpf_probe_read_user(&arg, sizeof(arg),
					(void *)(call->argv + i * sizeof(arg)))) {
			s->rec.flags |= args_unreadable;
			break;
		}
		if (!arg)
			break;
		if (i == FAILED_ARGS)
			s->rec.flags |= args_cut;
		else if (add_argument(index, arg))
			continue;
		break;
	}
}

/*
 * The old program is gone. On the stack of the new one lie its arguments, its
 * environment, and the file name. It may have been moved since process_loads().
 */
static __noinline void fill_gone(struct scratch *s, __u32 index, struct mm_struct *mm)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct loading *l = bpf_map_lookup_elem(&loadings, &tgid);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	__u64 arg = BPF_CORE_READ(mm, arg_start);
	int n;

	s->rec.flags |= old_gone;
	if (!l || l->mm != (__u64)mm) {
		s->rec.flags |= args_unreadable | exe_packed;
		if (exe &&
		    !pack_path(index, (__u64)exe + bpf_core_field_offset(exe->f_path), PATHS_MAX))
			s->rec.flags |= exe_cut;
		s->rec.exe_len = s->at;
		return;
	}
	if (!arg)
		arg = l->args;
	add_filename(index, l->name - l->args + arg);
	if (exe && !pack_path(index, (__u64)exe + bpf_core_field_offset(exe->f_path), PATHS_MAX))
		s->rec.flags |= cwd_cut;
	s->rec.cwd_len = s->at - s->rec.exe_len;
	for (__u32 i = 0; i < FAILED_ARGS && i < l->argc; i++) {
		n = add_argument(index, arg);
		if (n <= 0 || s->rec.flags & args_cut)
			return;
		arg += n;
	}
	if (l->argc > FAILED_ARGS)
		s->rec.flags |= args_cut;
}

/* A system call has failed. */
static __always_inline void process_failed(void *ctx, void *regs, long error)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 index = scratch_index(SLOT_FAILED);
	struct exec_call call = {};
	struct mm_struct *mm;
	struct scratch *s;

	if (!exec_arguments(regs, &call) || !wanted(bpf_get_current_pid_tgid() >> 32))
		return;
	s = begin_record(exec_failed, SLOT_FAILED, task);
	if (!s)
		return;
	s->rec.code = error;
	mm = BPF_CORE_READ(task, mm);
	/* Set when the kernel is done with loading a program. */
	if (BPF_CORE_READ(mm, arg_end))
		fill_failed(s, index, &call);
	else
		fill_gone(s, index, mm);
	if (s->at > TEXTS_MAX + ARGS_MAX) {
		s->rec.flags |= args_cut;
		s->at = TEXTS_MAX + ARGS_MAX;
	}
	s->rec.args_len = s->at - s->rec.exe_len - s->rec.cwd_len;
	end_record(ctx, s);
}

SEC("raw_tp/sys_exit")
int exec_sys_exit(__u64 *ctx)
{
	long ret = ctx[1];

	if (ret < 0)
		process_failed(ctx, (void *)ctx[0], ret);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
