/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Payload: the bytes that a call of send or receive has moved, copied out of the
 * memory of the process. A call may have them in many pieces, and is over when a
 * program sees it: where they are is told by the kernel's iterator, which has gone
 * on since, or, to a tracepoint, by the registers of the system call.
 *
 * Not found: bytes that no process has in memory (sendfile, splice), and by
 * registers those of io_uring, sendmmsg and recvmmsg and of 32-bit programs.
 *
 * Who includes this defines before: PREFIX_MAX, what is copied at most; START_LEN
 * and TAIL_LEN, how many of the first bytes tell what they are, and of the last;
 * PAYLOAD_RECORD, the type of the record that is built in front of the bytes, and
 * PAYLOAD_USES, the number of programs that do so and may interrupt one another. What
 * else a scratch holds is PAYLOAD_MORE, and the PAYLOAD_WALKER of who includes this for others.
 */
#ifndef TRACER_PAYLOAD_H
#define TRACER_PAYLOAD_H

#include "loss.h"

#ifndef PAYLOAD_WALKER
#define PAYLOAD_WALKER
#endif
#ifndef PAYLOAD_MORE
#define PAYLOAD_MORE
#endif

/*
 * Segments of a gathered call that are looked at, and how many of them by one
 * call of a function: the verifier goes through each turn of a loop, but only
 * once through the function.
 */
#define SEGMENTS 64
#define SEGMENTS_STEP 4
/* Segments that a call may have (UIO_MAXIOV), for who goes through all of them. */
#define SEGMENTS_MOST 1024
#define REWIND_STEP 16

/*
 * Where the bytes of a call are. It lives in a map, as does the position of the
 * next byte: what is read back is an unknown number to the verifier, which
 * makes each turn of a loop look like the one before.
 */
struct source {
	__u64 sk;	/* struct sock */
	__u64 msg;	/* struct msghdr */
	__u64 base;	/* of the bytes, or of the array of segments */
	__u64 skip;	/* bytes of the first segment that do not count */
	__u32 segments; /* 0: base is that of the bytes */
	bool known;
	bool array_user; /* the array is in the process's memory */
	bool data_user;	 /* and so are the bytes */
	__u32 flags;	 /* of a system call that sends: MSG_OOB and others */
};

/* struct iovec, in numbers. */
struct segment {
	__u64 base;
	__u64 len;
};

/*
 * The bytes of a call, under construction. What a function leaves for the next
 * one stands here, too: to the verifier it is any number then, and need not be
 * gone on from in all its values.
 */
struct payload {
	__u64 users; /* tasks that are at it, or try to be: for who may be preempted */
	__u64 room[16]; /* for who includes this, where the stack has none */
	__u64 size; /* bytes that the call has moved */
	__u32 index; /* of the scratch that this is a part of */
	__u64 len;  /* of these, the first ones that are in data */
	struct source src;
	__u64 at;   /* of the next byte in data */
	__u64 skip; /* what is left of src.skip */
	/* For gather_tail: bytes from here to the end; the last segment, and that before it. */
	__u64 left;
	struct segment seg, before;
	struct segment segs[SEGMENTS_STEP]; /* of src, for gather_step */
	char tail[TAIL_LEN];		    /* the last bytes */
	__u64 tail_len;			    /* 0 or TAIL_LEN */
	char start[START_LEN + TAIL_LEN];   /* a copy of the first bytes, to be looked at */
};

/*
 * A record under construction, with its bytes behind it. One for each CPU and use:
 * a program can be interrupted by another one, by a softirq or, on a preemptible
 * kernel, by a task. Twice the room that a prefix takes, so that a segment of any
 * length that starts anywhere in the first half fits.
 */
struct scratch {
	PAYLOAD_RECORD rec;
	char data[2 * PREFIX_MAX + 320];
	struct payload payload;
	PAYLOAD_WALKER
	PAYLOAD_MORE
};

/* Written and read within one run of a program, nothing stays. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PAYLOAD_USES); /* user space: times the possible CPUs */
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Knobs. */
/* System calls by number. */
const volatile __s32 nr_read, nr_write, nr_readv, nr_writev, nr_preadv2, nr_pwritev2;
const volatile __s32 nr_sendto, nr_recvfrom, nr_sendmsg, nr_recvmsg, nr_splice;

/* From the beginning of a task's stack to the registers of its system call; 0: not known yet. */
volatile __u32 regs_at;

static __always_inline __u32 scratch_index(__u32 use)
{
	return bpf_get_smp_processor_id() * PAYLOAD_USES + use;
}

static __always_inline struct scratch *scratch(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);

	if (!s)
		count_lost(map_full);
	else
		s->payload.index = index;
	return s;
}

static __always_inline long read_data(void *to, __u64 n, __u64 from, bool user)
{
	return user ? bpf_probe_read_user(to, n, (void *)from) :
		      bpf_probe_read_kernel(to, n, (void *)from);
}

enum iter_kind {
	ITER_OTHER,
	ITER_ONE,    /* the bytes are in one place */
	ITER_USER,   /* segments of the process */
	ITER_KERNEL, /* segments of the kernel */
};

/* Kinds have had other numbers, and the field other names. */
static __always_inline enum iter_kind iter_kind(struct iov_iter *iter)
{
	struct iov_iter___typed *typed = (void *)iter;
	struct iov_iter___old *old = (void *)iter;
	__u32 type;

	if (!bpf_core_field_exists(typed->iter_type)) {
		/* ITER_IOVEC 4, ITER_KVEC 8; 1 is the direction. */
		type = BPF_CORE_READ(old, type) & ~1U;
		return type == 4 ? ITER_USER : type == 8 ? ITER_KERNEL : ITER_OTHER;
	}
	type = BPF_CORE_READ(typed, iter_type);
	if (bpf_core_enum_value_exists(enum iter_type___new, ITER_UBUF___new) &&
	    type == bpf_core_enum_value(enum iter_type___new, ITER_UBUF___new))
		return ITER_ONE;
	if (type == bpf_core_enum_value(enum iter_type___new, ITER_IOVEC___new))
		return ITER_USER;
	if (type == bpf_core_enum_value(enum iter_type___new, ITER_KVEC___new))
		return ITER_KERNEL;
	return ITER_OTHER;
}

enum search {
	GO_ON,
	FOUND,
	IN_VAIN,
};

/* Goes back some segments: of those, base is that of the current one, skip a place in it. */
__noinline int rewind_step(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct source *src;
	struct payload *p;

	if (!s)
		return IN_VAIN;
	p = &s->payload;
	src = &p->src;
#pragma clang loop unroll(disable)
	for (int i = 0; i < REWIND_STEP; i++) {
		__u64 len = 0;

		src->segments++;
		if (p->left <= src->skip) {
			src->skip -= p->left;
			return FOUND;
		}
		p->left -= src->skip;
		src->base -= sizeof(struct iovec);
		if (bpf_probe_read_kernel(&len, sizeof(len), (void *)src->base + 8))
			return IN_VAIN;
		src->skip = len;
	}
	return GO_ON;
}

/*
 * Goes back to the first byte that moved, from a place in a segment behind the last, which
 * may be one behind all.
 */
static __always_inline bool rewind(struct scratch *s, __u32 index, __u64 iov, __u64 offset)
{
	struct source *src = &s->payload.src;
	int said = GO_ON;

	s->payload.left = s->payload.size;
	src->base = iov;
	src->skip = offset;
	src->segments = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i <= SEGMENTS_MOST / REWIND_STEP; i++) {
		said = rewind_step(index);
		if (said != GO_ON)
			break;
	}
	return said == FOUND;
}

/* The iterator of a message stands behind the bytes that moved. */
__noinline int source_of_msg(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct iov_iter___old *old;
	struct iov_iter *iter;
	struct msghdr *msg;
	enum iter_kind kind;
	struct source *src;
	__u64 offset, iov;

	if (!s)
		return 0;
	src = &s->payload.src;
	msg = (void *)src->msg;
	iter = (void *)msg + bpf_core_field_offset(msg->msg_iter);
	old = (void *)iter;
	offset = BPF_CORE_READ(iter, iov_offset);
	kind = iter_kind(iter);
	src->array_user = false;
	src->data_user = kind != ITER_KERNEL;
	switch (kind) {
	case ITER_OTHER:
		break;
	case ITER_ONE:
		src->base = (__u64)BPF_CORE_READ(iter, ubuf) + offset - s->payload.size;
		src->segments = 0;
		src->known = true;
		break;
	default:
		iov = bpf_core_field_exists(iter->__iov) ? (__u64)BPF_CORE_READ(iter, __iov) :
							   (__u64)BPF_CORE_READ(old, iov);
		src->known = rewind(s, index, iov, offset);
	}
	return 0;
}

/* The lower half of an address, which to the verifier is a number, as the whole is not. */
static __always_inline __u32 lower_half(const void *p)
{
	__u64 n;

	asm volatile("r0 = %1; w0 = w0; %0 = r0" : "=r"(n) : "r"(p) : "r0");
	return n;
}

/*
 * The registers are equally far into the stack of every task: the helper, whose
 * call takes longer than all that is done with them, is asked once.
 */
static __always_inline void *regs_of(struct task_struct *task)
{
	if (!regs_at)
		regs_at = lower_half((void *)bpf_task_pt_regs(task)) - lower_half(task->stack);
	return bpf_rdonly_cast(task->stack + regs_at,
			       bpf_core_type_id_kernel(struct pt_regs___x86));
}

static __always_inline bool is_of_file(struct task_struct *task, __u64 fd, struct sock *sk)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	struct socket *socket;

	bpf_probe_read_kernel(&file, sizeof(file), &files[fd & 0xfffff]);
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk) == sk;
}

static __always_inline void source_of_regs(struct source *src, struct task_struct *task)
{
	void *regs = regs_of(task);
	struct task_struct___uring *ring = (void *)task;
	__u64 arg0, arg1, arg2;
	__s32 nr;

	/* A kernel thread works for somebody else, who has gone on since. */
	if (task->flags & (TASK_IS_KTHREAD | TASK_IS_IO_WORKER))
		return;
	if (syscall_is_32bit(task, true))
		return;
	nr = syscall_number(regs, true);
	arg0 = syscall_arg(regs, 0, true);
	arg1 = syscall_arg(regs, 1, true);
	arg2 = syscall_arg(regs, 2, true);
	src->data_user = true;
	src->array_user = true;
	src->skip = 0;
	if (nr == nr_read || nr == nr_write || nr == nr_sendto || nr == nr_recvfrom) {
		src->base = arg1;
		src->segments = 0;
		if (nr == nr_sendto)
			src->flags = syscall_arg(regs, 3, true);
	} else if (nr == nr_readv || nr == nr_writev || nr == nr_preadv2 || nr == nr_pwritev2) {
		src->base = arg1;
		src->segments = arg2 < SEGMENTS_MOST ? arg2 : SEGMENTS_MOST;
	} else if (nr == nr_sendmsg || nr == nr_recvmsg) {
		/* struct user_msghdr: where the segments are and how many. */
		__u64 iov[2] = {};

		if (bpf_probe_read_user(iov, sizeof(iov), (void *)arg1 + 16))
			return;
		src->base = iov[0];
		src->segments = iov[1] < SEGMENTS_MOST ? iov[1] : SEGMENTS_MOST;
		src->flags = arg2;
	} else {
		return;
	}
	/* A ring's work may run at the end of a system call on something else. */
	if (bpf_core_field_exists(ring->io_uring) && ring->io_uring &&
	    !is_of_file(task, arg0, (void *)src->sk))
		return;
	src->known = true;
}

/* Adds the bytes of some segments to data, up to n. False: that was all. */
static __always_inline bool gather_step(struct scratch *s, __u32 first, __u64 n)
{
	struct payload *p = &s->payload;
	struct source *src = &p->src;
	__u64 ahead;

	if (first >= src->segments)
		return false;
	ahead = src->segments - first;
	barrier_var(ahead);
	if (ahead > SEGMENTS_STEP)
		ahead = SEGMENTS_STEP;
	if (read_data(p->segs, ahead * sizeof(p->segs[0]), src->base + first * sizeof(p->segs[0]),
		      src->array_user))
		return false;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SEGMENTS_STEP; i++) {
		struct segment *seg = &p->segs[i];
		__u64 at = p->at, skip, len, left;

		barrier_var(at);
		if (first + i >= src->segments || at >= n || at >= PREFIX_MAX)
			return false;
		len = seg->len;
		skip = p->skip;
		if (skip >= len) {
			p->skip = skip - len;
			continue;
		}
		len -= skip;
		left = n - at;
		if (len > left)
			len = left;
		barrier_var(len);
		if (len > PREFIX_MAX)
			len = PREFIX_MAX;
		if (read_data(&s->data[at], len, seg->base + skip, src->data_user))
			return false;
		p->skip = 0;
		p->at = at + len;
	}
	return true;
}

__noinline int gather_segments(__u32 index, __u32 first, __u32 n)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);

	return s && gather_step(s, first, n);
}

/*
 * Copies the first bytes of a call to data of a scratch, at most max.
 *
 * Global functions like this one are looked at by the verifier once and not at
 * every call, which is most of the time that loading takes. Hence all their
 * arguments are numbers.
 */
__noinline int gather(__u32 index, __u32 max)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct payload *p;
	struct source *src;
	__u64 n;

	if (!s)
		return 0;
	p = &s->payload;
	src = &p->src;
	n = p->size;
	p->len = 0;
	p->at = 0;
	p->skip = src->skip;
	if (!src->known)
		return 0;
	if (n > max)
		n = max;
	if (!src->segments) {
		barrier_var(n);
		if (n > PREFIX_MAX)
			n = PREFIX_MAX;
		if (!read_data(s->data, n, src->base, src->data_user))
			p->len = n;
		return 0;
	}
	if (gather_step(s, 0, n)) {
#pragma clang loop unroll(disable)
		for (__u32 i = SEGMENTS_STEP; i < SEGMENTS; i += SEGMENTS_STEP) {
			if (!gather_segments(index, i, n))
				break;
		}
	}
	p->len = p->at;
	return 0;
}

/* The same, the first time: most calls have their bytes in one place. */
static __always_inline void gather_first(struct scratch *s, __u32 index, __u32 max)
{
	struct source *src = &s->payload.src;
	__u64 n = s->payload.size;

	if (!src->known || src->segments) {
		gather(index, max);
		return;
	}
	if (n > max)
		n = max;
	barrier_var(n);
	if (n > PREFIX_MAX)
		n = PREFIX_MAX;
	s->payload.len = read_data(s->data, n, src->base, src->data_user) ? 0 : n;
}

/* Looks among some segments for that in which the last byte of a call is. */
__noinline int tail_segment(__u32 index, __u32 first)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct segment seg = {};
	struct payload *p;
	struct source *src;

	if (!s)
		return IN_VAIN;
	p = &s->payload;
	src = &p->src;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SEGMENTS_STEP; i++) {
		if (first + i >= src->segments ||
		    read_data(&seg, sizeof(seg), src->base + (first + i) * sizeof(seg),
			      src->array_user))
			return IN_VAIN;
		if (seg.len >= p->left) {
			p->seg = seg;
			return FOUND;
		}
		p->left -= seg.len;
		if (seg.len)
			p->before = seg;
	}
	return GO_ON;
}

/* Copies the last bytes of a call: the end of a chunked body. */
__noinline int gather_tail(__u32 index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct segment seg, before = {};
	struct payload *p;
	int found = GO_ON;
	struct source *src;
	__u64 left, n;

	if (!s)
		return 0;
	p = &s->payload;
	src = &p->src;
	p->tail_len = 0;
	if (!src->known || p->size <= TAIL_LEN)
		return 0;
	left = p->size + src->skip;
	if (!src->segments) {
		if (!read_data(p->tail, TAIL_LEN, src->base + p->size - TAIL_LEN, src->data_user))
			p->tail_len = TAIL_LEN;
		return 0;
	}
	p->left = left;
	p->before = before;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SEGMENTS; i += SEGMENTS_STEP) {
		found = tail_segment(index, i);
		if (found != GO_ON)
			break;
	}
	if (found != FOUND)
		return 0;
	left = p->left;
	seg = p->seg;
	before = p->before;
	/* left bytes of seg moved; if they are few, before has the others. */
	n = left;
	barrier_var(n);
	if (n >= TAIL_LEN) {
		if (!read_data(p->tail, TAIL_LEN, seg.base + left - TAIL_LEN, src->data_user))
			p->tail_len = TAIL_LEN;
		return 0;
	}
	/* Those of before go to the front: the array is 8 bytes, both are below. */
	char both[2 * TAIL_LEN] = {};
	__u64 m = TAIL_LEN - n;

	barrier_var(m);
	if (m > TAIL_LEN || before.len < m)
		return 0;
	if (read_data(both, m, before.base + before.len - m, src->data_user))
		return 0;
	n &= TAIL_LEN - 1; /* below TAIL_LEN */
	if (n && read_data(&both[m], n, seg.base, src->data_user))
		return 0;
	__builtin_memcpy(p->tail, both, TAIL_LEN);
	p->tail_len = TAIL_LEN;
	return 0;
}

#endif
