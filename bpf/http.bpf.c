//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What do processes say to each other in HTTP/1, and when?
 *
 * A data call on a TCP socket that speaks HTTP is told with the first bytes it
 * moved; user space reads messages out of that (trace/http1). What goes in the
 * direction of requests is kept here until something goes the other way, so
 * that an exchange of one call each way, which most are, takes one record. A
 * socket whose first bytes are no HTTP is not looked at again. Inside of a long
 * body user space says how far it goes (map hints): calls up to there are only
 * summed.
 *
 * Hooks, three doors to one body:
 *   A  fexit of tcp_sendmsg, tcp_recvmsg, tcp_splice_read, and tcp_sendpage
 *      where there is one (below 6.5)
 *   B  kprobe and kretprobe of the same
 *   C  the tracepoints sock_send_length and sock_recv_length (6.3), which work
 *      where functions cannot be hooked; where the bytes are, is told by the
 *      registers of the system call. What splice takes out of a socket is not
 *      told there, but by tcp_rcv_space_adjust
 * and inet_sock_set_state and tcp_destroy_sock, on every kernel, for the end.
 *
 * Missed: the bytes, not their number, of sendfile, splice and zero-copy
 * receives; in A and B what a receive takes that waited before tracing began;
 * and in C of io_uring, sendmmsg and recvmmsg and of 32-bit
 * programs. In C what a ring of io_uring splices out of a socket is known only
 * by the next call. Multipath TCP.
 *
 * Two threads that move bytes in one direction of a socket at the same time
 * are told in one order or the other.
 *
 * Oldest kernel: 5.8 (bpf_ktime_get_boot_ns); C: 6.3.
 */
#include "copies.h"
#include "filter.h"
#include "output.h"
#include "socket.h"

/* The largest --prefix, and what is captured of calls that may hold many heads. */
#define PREFIX_MAX 16384
/*
 * Segments of a gathered call that are looked at, and how many of them by one
 * call of a function: the verifier goes through each turn of a loop, but only
 * once through the function.
 */
#define SEGMENTS 64
#define SEGMENTS_STEP 4
/* What is looked at to tell what a socket speaks: a method and a space. */
#define START_LEN 24
/* Calls after a change of direction that may still be parts of a head. */
#define HEAD_CALLS 4
/* Bytes captured of a long call that is a part of a body. */
#define BODY_LEN 32
#define TAIL_LEN 8
/* Calls that are not HTTP, after which a socket is given up. */
#define MISSES 2
#define MISSES_JOINED 16
/* Entries of heads, at most, and how many of them a socket asks for. */
#define MAX_HEADS 4096
#define CLAIM_TRIES 4
/* A sum is told before it grows beyond this. */
#define SUM_MAX (1U << 30)

/* Calls that have copies, for first_call(): a task has no two of them at once. */
enum copied {
	COPIED_SEND,
	COPIED_RECEIVE,
};

/* What a record tells of. */
enum __attribute__((packed)) event {
	data_moved = 1,
	socket_closed,
};

/* What follows the bytes in a record. */
enum part {
	with_sum = 1 << 0,   /* struct http_call: calls that were summed */
	with_intro = 1 << 1, /* struct http_intro: the first record, or another process */
};

FOR_GO(part, enum part);

/* How a connection ended: http1.Ending, and one more. */
enum __attribute__((packed)) ending {
	closed = 1,
	reset,
	timed_out,
	unseen, /* its address was used again: how and when is not known */
};

/* Which socket, between whom. */
struct http_socket {
	__u8 local[16];
	__u8 remote[16];
	__u32 seq[2]; /* TCP's number of the byte at offset 0, sent and received */
	__u32 netns;
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u8 joined; /* bytes moved before it was first seen */
	__u8 pad[5];
};

struct http_owner {
	__u64 cgroup;
	__u32 pid;
	__u32 uid;
	char comm[COMM_LEN];
};

struct http_intro {
	struct http_socket socket;
	struct http_owner owner;
};

/* Bytes that moved in one call. */
struct http_call {
	__u64 time;   /* ns, boot clock, of the first byte */
	__u64 last;   /* of the last byte */
	__u64 offset; /* of the first byte since the socket was first seen */
	__u32 size;   /* 0: there is no call */
	__u16 len;    /* bytes captured */
	enum direction dir;
	__u8 tail_len;
	char tail[TAIL_LEN]; /* the last bytes, if len is less than size */
};

/* Followed by the bytes of call, the bytes of kept, and the parts. */
struct http_record {
	__u64 sent; /* by output() */
	__u64 time;
	__u64 socket;	/* address of the kernel's struct sock */
	__u64 seen;	/* when it was first seen: tells it from another at that address */
	__u64 bytes[2]; /* that moved in each direction so far */
	enum event type;
	enum ending ending; /* socket_closed */
	__u8 parts;	    /* enum part */
	enum direction requests; /* theirs, as far as the first bytes told */
	__u8 pad[4];
	struct http_call kept; /* before call */
	struct http_call call;
};

enum verdict {
	UNDECIDED,
	IS_HTTP,
	IS_OTHER, /* or told to be over */
};

struct socket_state {
	struct http_intro intro;
	__u64 seen;
	__u64 bytes[2];
	__u64 sent_at;	   /* last byte sent */
	__u32 next[2];	   /* TCP's numbers of the bytes that come next */
	__u32 ports;	   /* as the kernel has them: tells another socket at this address */
	__u32 calls;
	/* Calls in the map heads: as many as were put there and not taken, 0 or 1. */
	__u32 kept;
	__u32 taken;
	__u32 head; /* the entry there, if that is this socket's */
	__u32 pad1;
	struct http_call sum;
	enum direction requests;
	__u8 verdict;
	__u8 misses;
	enum direction last_dir; /* of the last call */
	__u8 run;	 /* calls before it in that direction in a row, up to 255 */
	__u8 wanted;	 /* owner passes the filters */
	__u8 introduced; /* user space has intro */
	__u8 wide;	 /* calls may hold many heads */
	__u8 advised;	 /* user space knows whether they do */
	enum ending ending; /* it has ended within a send that is still to be told */
	enum ending late;   /* it has ended, and its client may still take an answer out */
	__u8 kind;	 /* enum counted: as what it was counted */
	__u8 pad2[3];
	__u8 start_len; /* bytes in start: too few to decide */
	char start[2 * START_LEN];
};

/*
 * Every TCP socket. Inserted when it is connected, or at its first data call if
 * that was before tracing began, deleted when the kernel destroys it. One that finds no room is counted and not
 * traced. User space reads it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct socket_state);
} sockets SEC(".maps");

struct http_head {
	__u64 socket; /* whose it is */
	struct http_call call;
	char data[PREFIX_MAX];
};

/* What is kept is copied in steps, the last one whole, if it is not longer than this. */
#define KEPT_STEP 64
#define KEPT_SHORT 512

struct kept_step {
	__u64 words[KEPT_STEP / 8];
};

/*
 * The last call in the direction of requests, until the next call tells it. An
 * array, because to look into one is not even a call. A socket claims an entry
 * at its first request and gives it back at its end; one that finds none free
 * tells its requests at once. Two threads that send the first request of a
 * socket at the same moment may claim two, of which one is lost to the others.
 * User space sets the length of data to that of the prefix, in whole steps, and
 * the number of entries, and looks for requests that are old.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_HEADS);
	__type(key, __u32);
	__type(value, struct http_head);
} heads SEC(".maps");

/* A request that waits in heads to be told. */
struct waiting_request {
	__u64 since;  /* ns, boot clock, of its first byte; 0: none waits */
	__u64 socket; /* whose the entry is, or was */
};

/*
 * One for each entry of heads. Written by who keeps a request there and by who
 * takes it; user space has it mapped, and finds old requests without a system
 * call. It is a hint: user space looks at the socket, too, before it tells of one.
 */
volatile struct waiting_request waiting[MAX_HEADS];

/*
 * The entries of heads that belong to a socket. Inserted and deleted by who
 * claims one and gives it back: the first to do so has done it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HEADS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} claims SEC(".maps");

/* What user space knows of a socket. */
enum hint {
	opaque = 1 << 0, /* it does not speak HTTP any more */
	wide = 1 << 1,	 /* its calls may hold many heads */
	blind = 1 << 2,	 /* the body up to until may end before, with an empty line */
};

FOR_GO(hint, enum hint);

struct http_hint {
	__u64 seen;  /* whether the socket is still the same */
	__u64 until; /* a body lasts up to this offset */
	__u32 dir;   /* enum direction */
	__u32 flags; /* enum hint */
};

/*
 * Hints by the address of the socket. Written by user space; the oldest give
 * way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct http_hint);
} hints SEC(".maps");

/* Ports wanted by --port, written once by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");

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
};

/* struct iovec, in numbers. */
struct segment {
	__u64 base;
	__u64 len;
};

/*
 * A record under construction. One for each CPU and program that can be
 * interrupted by another one, by a softirq or, on a preemptible kernel, by a
 * task. Twice the room that a prefix takes, so that a segment of any length
 * that starts anywhere in the first half fits.
 */
struct http_scratch {
	struct http_record rec;
	char data[2 * PREFIX_MAX + 256];
	char start[START_LEN + TAIL_LEN]; /* the first bytes, for shape_of */
	struct source src;
	__u64 at;   /* of the next byte in data */
	__u64 skip; /* what is left of src.skip */
	/* For gather_tail: bytes from here to the end; the last segment, and that before it. */
	__u64 left;
	struct segment seg, before;
	struct segment segs[SEGMENTS_STEP]; /* of src, for gather_step */
};

enum scratch_use {
	FOR_SEND,
	FOR_RECEIVE = FOR_SEND + LAST_CALL + 1,
	FOR_SPLICE = FOR_RECEIVE + LAST_CALL + 1, /* out of a socket; it has no copies */
	FOR_STATE,
	FOR_DESTROY = FOR_STATE + STEP_COPIES_MOST,
	SCRATCH_USES = FOR_DESTROY + STEP_COPIES_MOST,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCRATCH_USES); /* user space: times the possible CPUs */
	__type(key, __u32);
	__type(value, struct http_scratch);
} scratches SEC(".maps");

/*
 * B: what a function was called with, until it returns, by thread and use. Not
 * deleted if a return is missed; the oldest give way.
 */
struct pending_call {
	__u64 sk;
	__u64 msg;
	__u64 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct pending_call);
} pending SEC(".maps");

/* Knobs. */
const volatile __u32 prefix = 1024;
const volatile __u32 max_heads = MAX_HEADS;
const volatile bool filter_ports;
/* System calls by number. */
const volatile __s32 nr_read, nr_write, nr_readv, nr_writev, nr_preadv2, nr_pwritev2;
const volatile __s32 nr_sendto, nr_recvfrom, nr_sendmsg, nr_recvmsg, nr_splice;

/* From the beginning of a task's stack to the registers of its system call; 0: not known yet. */
volatile __u32 regs_at;

/* Boot clock − monotonic clock, ns: kept by user space. */
volatile __u64 asleep;

/*
 * How the kernel lets us look at its memory: directly, where it knows the type
 * of an argument, or by a copy. A door is a constant where it is used.
 */
enum door {
	BY_FUNCTION,
	BY_KPROBE,
	BY_TRACEPOINT,
};

#define READ(door, p, field) ((door) == BY_KPROBE ? BPF_CORE_READ(p, field) : (p)->field)

/* A socket as one of TCP, or NULL; the cast, unlike the helper, is no call. */
static __always_inline struct tcp_sock *as_tcp(enum door door, struct sock *sk)
{
	switch (door) {
	case BY_FUNCTION:
		return bpf_skc_to_tcp_sock(sk);
	case BY_TRACEPOINT:
		if (sk->sk_protocol != IPPROTO_TCP)
			return NULL;
		return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	default:
		return (void *)sk;
	}
}

static __always_inline __u32 scratch_index(__u32 use)
{
	return bpf_get_smp_processor_id() * SCRATCH_USES + use;
}

static __always_inline struct http_scratch *scratch(__u32 i)
{
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &i);

	if (!s)
		count_lost(map_full);
	return s;
}

static __always_inline long read_data(void *to, __u64 n, __u64 from, bool user)
{
	return user ? bpf_probe_read_user(to, n, (void *)from) :
		      bpf_probe_read_kernel(to, n, (void *)from);
}

/* --- Where a call's bytes are: from the kernel's iterator (A and B) ----- */

/*
 * The iterator stands behind the bytes that moved: go back. Their kinds have
 * had other numbers and the field other names.
 */
__noinline int source_of_msg(__u32 index)
{
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct iov_iter___typed *typed;
	struct iov_iter___old *old;
	struct iov_iter *iter;
	struct msghdr *msg;
	__u64 offset, moved;
	struct source *src;
	bool vec, kvec;
	__u64 iov;

	if (!s)
		return 0;
	src = &s->src;
	msg = (void *)src->msg;
	moved = s->rec.call.size;
	iter = (void *)msg + bpf_core_field_offset(msg->msg_iter);
	typed = (void *)iter;
	old = (void *)iter;
	offset = BPF_CORE_READ(iter, iov_offset);
	if (bpf_core_field_exists(typed->iter_type)) {
		__u32 type = BPF_CORE_READ(typed, iter_type);

		if (bpf_core_enum_value_exists(enum iter_type___new, ITER_UBUF___new) &&
		    type == bpf_core_enum_value(enum iter_type___new, ITER_UBUF___new)) {
			src->base = (__u64)BPF_CORE_READ(iter, ubuf) + offset - moved;
			src->segments = 0;
			src->data_user = true;
			src->known = true;
			return 0;
		}
		vec = type == bpf_core_enum_value(enum iter_type___new, ITER_IOVEC___new);
		kvec = type == bpf_core_enum_value(enum iter_type___new, ITER_KVEC___new);
	} else {
		/* ITER_IOVEC 4, ITER_KVEC 8; 1 is the direction. */
		__u32 type = BPF_CORE_READ(old, type) & ~1U;

		vec = type == 4;
		kvec = type == 8;
	}
	if (!vec && !kvec)
		return 0;
	if (bpf_core_field_exists(iter->__iov))
		iov = (__u64)BPF_CORE_READ(iter, __iov);
	else
		iov = (__u64)BPF_CORE_READ(old, iov);
	src->array_user = false;
	src->data_user = vec;
	src->segments = 1;
	_Pragma("clang loop unroll(disable)") for (int i = 0; i < SEGMENTS; i++) {
		__u64 len = 0;

		if (moved <= offset) {
			src->base = iov;
			src->skip = offset - moved;
			src->segments = i + 1;
			src->known = true;
			return 0;
		}
		moved -= offset;
		iov -= sizeof(struct iovec);
		if (bpf_probe_read_kernel(&len, sizeof(len), (void *)iov + 8))
			return 0;
		offset = len;
	}
	return 0;
}

/* --- The same from the registers of the system call (C) ----------------- */

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
	} else if (nr == nr_readv || nr == nr_writev || nr == nr_preadv2 || nr == nr_pwritev2) {
		src->base = arg1;
		src->segments = arg2 < SEGMENTS ? arg2 : SEGMENTS;
	} else if (nr == nr_sendmsg || nr == nr_recvmsg) {
		/* struct user_msghdr: where the segments are and how many. */
		__u64 iov[2] = {};

		if (bpf_probe_read_user(iov, sizeof(iov), (void *)arg1 + 16))
			return;
		src->base = iov[0];
		src->segments = iov[1] < SEGMENTS ? iov[1] : SEGMENTS;
	} else {
		return;
	}
	/* A ring's work may run at the end of a system call on something else. */
	if (bpf_core_field_exists(ring->io_uring) && ring->io_uring &&
	    !is_of_file(task, arg0, (void *)src->sk))
		return;
	src->known = true;
}

/* ------------------------------------------------------------------------ */

/* Adds the bytes of some segments to data, up to n. False: that was all. */
static __always_inline bool gather_step(struct http_scratch *s, __u32 first, __u64 n)
{
	struct source *src = &s->src;
	__u64 ahead;

	if (first >= src->segments)
		return false;
	ahead = src->segments - first;
	barrier_var(ahead);
	if (ahead > SEGMENTS_STEP)
		ahead = SEGMENTS_STEP;
	if (read_data(s->segs, ahead * sizeof(s->segs[0]), src->base + first * sizeof(s->segs[0]),
		      src->array_user))
		return false;
	_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < SEGMENTS_STEP; i++) {
		struct segment *seg = &s->segs[i];
		__u64 at = s->at, skip, len, left;

		barrier_var(at);
		if (first + i >= src->segments || at >= n || at >= PREFIX_MAX)
			return false;
		len = seg->len;
		skip = s->skip;
		if (skip >= len) {
			s->skip = skip - len;
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
		s->skip = 0;
		s->at = at + len;
	}
	return true;
}

__noinline int gather_segments(__u32 index, __u32 first, __u32 n)
{
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &index);

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
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct http_call *call;
	struct source *src;
	__u64 n;

	if (!s)
		return 0;
	src = &s->src;
	call = &s->rec.call;
	n = call->size;
	call->len = 0;
	s->at = 0;
	s->skip = src->skip;
	if (!src->known)
		return 0;
	if (n > max)
		n = max;
	if (!src->segments) {
		barrier_var(n);
		if (n > PREFIX_MAX)
			n = PREFIX_MAX;
		if (!read_data(s->data, n, src->base, src->data_user))
			call->len = n;
		return 0;
	}
	if (gather_step(s, 0, n)) {
		_Pragma("clang loop unroll(disable)") for (__u32 i = SEGMENTS_STEP; i < SEGMENTS;
							   i += SEGMENTS_STEP) {
			if (!gather_segments(index, i, n))
				break;
		}
	}
	call->len = s->at;
	return 0;
}

/* The same, the first time: most calls have their bytes in one place. */
static __always_inline void gather_first(struct http_scratch *s, __u32 index, __u32 max)
{
	struct source *src = &s->src;
	__u64 n = s->rec.call.size;

	if (!src->known || src->segments) {
		gather(index, max);
		return;
	}
	if (n > max)
		n = max;
	barrier_var(n);
	if (n > PREFIX_MAX)
		n = PREFIX_MAX;
	s->rec.call.len = read_data(s->data, n, src->base, src->data_user) ? 0 : n;
}

enum search {
	GO_ON,
	FOUND,
	IN_VAIN,
};

/* Looks among some segments for that in which the last byte of a call is. */
__noinline int tail_segment(__u32 index, __u32 first)
{
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct segment seg = {};
	struct source *src;

	if (!s)
		return IN_VAIN;
	src = &s->src;
	_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < SEGMENTS_STEP; i++) {
		if (first + i >= src->segments ||
		    read_data(&seg, sizeof(seg), src->base + (first + i) * sizeof(seg),
			      src->array_user))
			return IN_VAIN;
		if (seg.len >= s->left) {
			s->seg = seg;
			return FOUND;
		}
		s->left -= seg.len;
		if (seg.len)
			s->before = seg;
	}
	return GO_ON;
}

/* Copies the last bytes of a call: the end of a chunked body. */
__noinline int gather_tail(__u32 index)
{
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &index);
	struct segment seg, before = {};
	struct http_call *call;
	int found = GO_ON;
	struct source *src;
	__u64 left, n;

	if (!s)
		return 0;
	call = &s->rec.call;
	src = &s->src;
	if (!src->known || call->size <= TAIL_LEN)
		return 0;
	left = (__u64)call->size + src->skip;
	if (!src->segments) {
		if (!read_data(call->tail, TAIL_LEN, src->base + call->size - TAIL_LEN, src->data_user))
			call->tail_len = TAIL_LEN;
		return 0;
	}
	s->left = left;
	s->before = before;
	_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < SEGMENTS; i += SEGMENTS_STEP) {
		found = tail_segment(index, i);
		if (found != GO_ON)
			break;
	}
	if (found != FOUND)
		return 0;
	left = s->left;
	seg = s->seg;
	before = s->before;
	/* left bytes of seg moved; if they are few, before has the others. */
	n = left;
	barrier_var(n);
	if (n >= TAIL_LEN) {
		if (!read_data(call->tail, TAIL_LEN, seg.base + left - TAIL_LEN,
			       src->data_user))
			call->tail_len = TAIL_LEN;
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
	__builtin_memcpy(call->tail, both, TAIL_LEN);
	call->tail_len = TAIL_LEN;
	return 0;
}

enum shape {
	SHAPE_OTHER,
	SHAPE_SHORT, /* too few bytes to tell */
	SHAPE_REQUEST,
	SHAPE_RESPONSE,
};

/* What may stand in a method (RFC 9110, 5.6.2): a bit for each byte. */
const volatile __u64 token_bytes[4] = {
	0x03ff6cfa00000000, /* ! # $ % & ' * + - . 0-9 */
	0x57ffffffc7fffffe, /* A-Z ^ _ ` a-z | ~ */
};

/*
 * What the first bytes of start in a scratch begin with. More than a method and
 * the beginning of a target is not asked for: user space looks closer.
 */
__noinline int shape_of(__u32 index, __u32 n)
{
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &index);
	const char *b;
	char next;
	__u64 at;
	__u32 i;

	if (!s)
		return SHAPE_OTHER;
	b = s->start;
	if (n >= 5 && b[0] == 'H' && b[1] == 'T' && b[2] == 'T' && b[3] == 'P' && b[4] == '/')
		return SHAPE_RESPONSE;
	for (i = 0; i < START_LEN - 1; i++) {
		__u8 c = b[i];

		if (i >= n)
			return SHAPE_SHORT;
		if (c == ' ')
			break;
		if (!(token_bytes[c >> 6] >> (c & 63) & 1) && !(c == '/' && i == 4))
			return SHAPE_OTHER;
	}
	/* To the verifier it is now any number: it need not go on from each turn. */
	*(volatile __u64 *)&s->left = i;
	at = *(volatile __u64 *)&s->left;
	if (at == 0 || at >= START_LEN - 1)
		return SHAPE_OTHER;
	if (at + 1 >= n)
		return SHAPE_SHORT;
	if (at == 3 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I')
		return SHAPE_OTHER; /* HTTP/2 */
	barrier_var(at);
	if (at >= START_LEN - 1)
		return SHAPE_OTHER;
	next = b[at + 1];
	if (next == '/' || next == '*' || next == 'h' || next == 'H' ||
	    (at == 7 && b[0] == 'C' && b[1] == 'O' && b[2] == 'N' && b[6] == 'T'))
		return SHAPE_REQUEST;
	return SHAPE_OTHER;
}

static __always_inline bool wanted_port(struct http_socket *id)
{
	return !filter_ports || bpf_map_lookup_elem(&ports, &id->local_port) ||
	       bpf_map_lookup_elem(&ports, &id->remote_port);
}

/* Notes whose socket it is from now on. */
static __noinline int take_over(struct socket_state *st, __u32 tgid)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct http_owner *owner = &st->intro.owner;

	st->wanted = wanted(tgid);
	st->introduced = 0;
	owner->pid = tgid;
	owner->uid = bpf_get_current_uid_gid();
	owner->cgroup = current_cgroup(task);
	BPF_CORE_READ_STR_INTO(&owner->comm, task, group_leader, comm);
	return 0;
}

/* Inserts the state of a socket, and returns it unless it is not one of TCP. */
static __noinline struct socket_state *insert(struct sock *sk, struct socket_state *st)
{
	struct http_socket *id = &st->intro.socket;
	struct inet_sock *inet = (void *)sk;
	__u64 key = (__u64)sk;
	int err;

	id->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((id->family != AF_INET && id->family != AF_INET6) ||
	    BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return NULL;
	st->seen = bpf_ktime_get_boot_ns();
	st->ports = BPF_CORE_READ(sk, __sk_common.skc_portpair);
	st->last_dir = neither;
	id->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	id->local_port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	id->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (id->family == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)&id->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)&id->remote, sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)&id->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)&id->remote, sk, __sk_common.skc_v6_daddr);
	}
	id->seq[sent] = st->next[sent];
	id->seq[received] = st->next[received];
	if (!wanted_port(id)) {
		st->verdict = IS_OTHER;
		count(by_port, 1);
	}
	/* Another program may have been first. */
	err = bpf_map_update_elem(&sockets, &key, st, BPF_NOEXIST);
	if (err && err != -EEXIST) {
		count_lost(map_full);
		return NULL;
	}
	return bpf_map_lookup_elem(&sockets, &key);
}

/* The first data call on a connection that is older than tracing. */
static __noinline struct socket_state *meet(struct sock *sk, __u64 moved, __u32 dir)
{
	struct tcp_sock *tp = (void *)sk;
	struct socket_state st = {};
	__u64 got, put;

	/*
	 * What moved before this call: SYN and FIN may be counted among it. What
	 * was received and not read yet does not count.
	 */
	st.next[sent] = BPF_CORE_READ(tp, write_seq) - (dir == sent ? moved : 0);
	st.next[received] = BPF_CORE_READ(tp, copied_seq);
	got = BPF_CORE_READ(tp, bytes_received) -
	      (__u32)(BPF_CORE_READ(tp, rcv_nxt) - st.next[received]);
	if (dir == received) {
		if (BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN &&
		    st.next[received] == BPF_CORE_READ(tp, rcv_nxt))
			st.next[received]--; /* a FIN */
		st.next[received] -= moved;
	}
	put = BPF_CORE_READ(tp, bytes_acked) +
	      (__u32)(BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_una));
	if (dir == sent)
		st.intro.socket.joined = put > moved + 1 || got > 1;
	else
		st.intro.socket.joined = got > moved + 1 || put > 1;
	return insert(sk, &st);
}

/* Counts a socket as one that speaks this, and no longer as what it seemed to. */
static __always_inline void count_kind(struct socket_state *st, enum counted kind)
{
	if (st->kind == kind)
		return;
	if (st->kind)
		count(st->kind, -1);
	count(kind, 1);
	st->kind = kind;
}

/* The first bytes of a record of TLS, or of HTTP/2. */
static __always_inline int kind_of(const char *b, __u64 n)
{
	if (n >= 3 && b[0] >= 0x14 && b[0] <= 0x17 && b[1] == 3 && b[2] <= 4)
		return speaks_tls;
	if (n >= 5 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I' && b[3] == ' ' && b[4] == '*')
		return speaks_http2;
	return speaks_other;
}

/* Notes for user space that a request waits in a socket's entry, or 0 that none does. */
static __always_inline void note_waiting(struct socket_state *st, __u64 since)
{
	waiting[st->head % MAX_HEADS].since = since;
}

/* What is kept of a socket is not HTTP, or nobody is to know of it. */
static __always_inline void forget_kept(struct socket_state *st)
{
	if (st->taken != st->kept) {
		note_waiting(st, 0);
		st->taken = st->kept;
	}
}

/* Looks at a call on a socket of which it is not known yet what it speaks. */
static __noinline int decide(struct socket_state *st, struct http_scratch *s, __u32 index)
{
	__u64 n = s->rec.call.len, at = st->start_len;
	__u8 dir = s->rec.call.dir;
	int shape = SHAPE_OTHER, kind;

	if (n > START_LEN)
		n = START_LEN;
	barrier_var(at);
	if (at > START_LEN)
		at = START_LEN;
	bpf_probe_read_kernel(&st->start[at], START_LEN, s->data);
	__builtin_memcpy(s->start, st->start, START_LEN);
	n += at;
	if (n > START_LEN)
		n = START_LEN;
	if (s->rec.call.len)
		shape = shape_of(index, n);
	switch (shape) {
	case SHAPE_SHORT:
		st->start_len = n;
		st->requests = dir;
		return true;
	case SHAPE_REQUEST:
	case SHAPE_RESPONSE:
		st->requests = shape == SHAPE_REQUEST ? dir : !dir;
		st->verdict = IS_HTTP;
		count_kind(st, speaks_http1);
		return true;
	default:
		break;
	}
	st->start_len = 0;
	forget_kept(st);
	kind = s->rec.call.len ? kind_of(s->start, n) : speaks_unread;
	if (++st->misses >= (st->intro.socket.joined ? MISSES_JOINED : MISSES) ||
	    (!st->intro.socket.joined && (kind == speaks_tls || kind == speaks_http2)))
		st->verdict = IS_OTHER;
	if (!st->kind || kind == speaks_tls || kind == speaks_http2)
		count_kind(st, kind);
	return false;
}

/* The socket's entry of heads, or NULL. */
static __always_inline struct http_head *head_of(struct socket_state *st, __u64 key)
{
	__u32 entry = st->head;
	struct http_head *head = bpf_map_lookup_elem(&heads, &entry);

	return head && head->socket == key ? head : NULL;
}

/* Makes an entry of heads the socket's own, if a few that its beginning picks are not all taken. */
static __noinline struct http_head *claim(struct socket_state *st, __u64 key)
{
	for (int i = 0; i < CLAIM_TRIES; i++) {
		__u32 entry = ((__u32)st->seen * 0x9e3779b1 + i) % max_heads;
		struct http_head *head;
		__u8 one = 1;

		if ((int)bpf_map_update_elem(&claims, &entry, &one, BPF_NOEXIST))
			continue;
		head = bpf_map_lookup_elem(&heads, &entry);
		if (!head)
			continue;
		head->call.size = 0; /* it is of another socket */
		barrier();
		head->socket = key;
		waiting[entry % MAX_HEADS].socket = key;
		st->head = entry;
		return head;
	}
	return NULL;
}

/* Most are so short that to call for a copy takes longer than to make it. */
static __always_inline void copy_kept(char *to, const char *from, __u64 len, bool often)
{
	if (!often || len > KEPT_SHORT) {
		bpf_probe_read_kernel(to, len, from);
		return;
	}
	_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < KEPT_SHORT; i += KEPT_STEP) {
		const struct kept_step *step = (void *)from + i;

		if (i >= len)
			break;
		*(struct kept_step *)(to + i) = *step;
	}
}

/* Moves what was kept into the record, behind the bytes of its call. */
static __always_inline void take_kept(struct socket_state *st, struct http_scratch *s, __u64 key,
				      bool often)
{
	struct http_record *rec = &s->rec;
	__u64 at = rec->call.len, len;
	__u32 kept = st->kept;
	struct http_head *head;

	s->at = at;
	rec->kept.size = 0;
	rec->kept.len = 0;
	if (kept == st->taken)
		return;
	head = head_of(st, key);
	if (!head)
		return;
	rec->kept = head->call;
	len = rec->kept.len;
	barrier_var(at);
	barrier_var(len);
	if (at > PREFIX_MAX)
		at = PREFIX_MAX;
	if (len > prefix)
		len = prefix;
	copy_kept(&s->data[at], head->data, len, often);
	note_waiting(st, 0);
	barrier();
	if (st->kept == kept) {
		st->taken = kept;
	} else {
		/* Another thread has put the next one there meanwhile. */
		rec->kept.size = rec->kept.len = len = 0;
		note_waiting(st, head->call.time);
	}
	s->at = at + len;
}

static __always_inline void append_part(struct http_scratch *s, const void *part, __u32 size,
					__u8 which)
{
	__u64 at = s->at;

	barrier_var(at);
	if (at > 2 * PREFIX_MAX + 64)
		at = 2 * PREFIX_MAX + 64;
	bpf_probe_read_kernel(&s->data[at], size, part);
	s->rec.parts |= which;
	s->at = at + size;
}

/* Sends the record; what was kept is in it already. */
static __always_inline void tell(void *ctx, struct socket_state *st, struct http_scratch *s,
				 __u64 key)
{
	struct http_record *rec = &s->rec;
	bool intro = !st->introduced;
	__u64 size;

	rec->socket = key;
	rec->seen = st->seen;
	rec->bytes[0] = st->bytes[0];
	rec->bytes[1] = st->bytes[1];
	rec->requests = st->requests;
	rec->parts = 0;
	if (st->sum.size) {
		append_part(s, &st->sum, sizeof(st->sum), with_sum);
		st->sum.size = 0;
	}
	if (intro)
		append_part(s, &st->intro, sizeof(st->intro), with_intro);
	size = s->at;
	barrier_var(size);
	if (size > 2 * PREFIX_MAX + 256)
		size = 2 * PREFIX_MAX + 256;
	if (send_record(ctx, rec, sizeof(*rec) + size, ring_full) && intro)
		st->introduced = 1;
}

static __noinline int tell_kept(void *ctx, struct socket_state *st, struct http_scratch *s, __u64 key)
{
	take_kept(st, s, key, false);
	tell(ctx, st, s, key);
	return 0;
}

static __noinline int tell_alone(void *ctx, struct socket_state *st, struct http_scratch *s, __u64 key)
{
	s->rec.kept.size = s->rec.kept.len = 0;
	s->at = s->rec.call.len;
	tell(ctx, st, s, key);
	return 0;
}

/*
 * Copies the bytes of a request to where it will be kept, if it is one like
 * most: whole, in one place, and nothing is kept before it.
 */
static __always_inline struct http_head *keep_at_once(struct socket_state *st,
						      struct http_scratch *s, __u64 key)
{
	struct http_call *call = &s->rec.call;
	struct source *src = &s->src;
	struct http_head *head;
	__u64 base, n;
	bool user;

	if (call->dir != st->requests || st->verdict != IS_HTTP || !st->introduced ||
	    st->kept != st->taken || st->sum.size || !src->known || src->segments ||
	    call->size > prefix)
		return NULL;
	head = head_of(st, key);
	if (!head)
		return NULL;
	base = src->base;
	user = src->data_user;
	call->len = n = call->size;
	barrier_var(n);
	if (n > prefix)
		n = prefix;
	return read_data(head->data, n, base, user) ? NULL : head;
}

/* Keeps the record's call for later, if there is room. */
static __noinline int keep(struct socket_state *st, struct http_scratch *s, __u64 key)
{
	__u64 len = s->rec.call.len;
	struct http_head *head;

	if (len > prefix)
		return false;
	head = head_of(st, key) ?: claim(st, key);
	if (!head)
		return false;
	barrier_var(len);
	if (len > prefix)
		len = prefix;
	if (len)
		bpf_probe_read_kernel(head->data, len, s->data);
	head->call = s->rec.call;
	st->kept++;
	note_waiting(st, head->call.time);
	return true;
}

static __noinline int tell_close(void *ctx, struct socket_state *st, struct sock *sk, __u32 use,
				       enum ending ending)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	struct http_scratch *s;
	__u32 seq, gone;

	if (st->verdict == IS_OTHER || (st->verdict == UNDECIDED && !st->start_len))
		return 0;
	s = scratch(scratch_index(use));
	if (!s)
		return 0;
	st->verdict = IS_OTHER;
	/* What was taken out unseen at last, without the FIN. */
	seq = BPF_CORE_READ(tp, copied_seq);
	gone = seq - st->next[received];
	if (gone && BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN && seq == BPF_CORE_READ(tp, rcv_nxt))
		gone--;
	if (gone < 1U << 31)
		st->bytes[received] += gone;
	s->rec.type = socket_closed;
	s->rec.ending = ending;
	s->rec.time = bpf_ktime_get_boot_ns();
	__builtin_memset(&s->rec.call, 0, sizeof(s->rec.call));
	tell_kept(ctx, st, s, key);
	return 0;
}

/* The end of a socket. */
static __noinline int forget(void *ctx, struct socket_state *st, struct sock *sk, __u32 use)
{
	__u64 key = (__u64)sk;
	struct http_head *head;
	__u32 entry;

	tell_close(ctx, st, sk, use, st->ending ?: st->late ?: closed);
	head = head_of(st, key);
	entry = st->head;
	/* Who deletes it, and nobody else, gives its entry back. */
	if ((int)bpf_map_delete_elem(&sockets, &key) || !head)
		return 0;
	waiting[entry % MAX_HEADS].since = 0;
	head->socket = 0;
	barrier();
	bpf_map_delete_elem(&claims, &entry);
	return 0;
}

/* Another socket was at this address before, and its end was not seen. */
static __always_inline void ended_unseen(void *ctx, struct socket_state *old, struct sock *sk, __u32 use)
{
	old->ending = unseen;
	/* How far this one has come says nothing of that one. */
	old->next[received] = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	forget(ctx, old, sk, use);
}

/* A connection begins. */
static __noinline int established(void *ctx, struct sock *sk, __u32 use)
{
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	struct socket_state st = {}, *old;

	old = bpf_map_lookup_elem(&sockets, &key);
	if (old) {
		if (has_ports(sk, old->ports))
			return 0; /* fast open: bytes have moved already */
		ended_unseen(ctx, old, sk, use);
	}
	st.next[sent] = BPF_CORE_READ(tp, write_seq);
	st.next[received] = BPF_CORE_READ(tp, copied_seq);
	insert(sk, &st);
	return 0;
}

/* Whether the last bytes of a call are an empty line. */
static __always_inline bool ends_blank(struct http_call *call)
{
	const char *t = call->tail;

	return call->tail_len == TAIL_LEN && t[4] == '\r' && t[5] == '\n' && t[6] == '\r' && t[7] == '\n';
}

/* Adds a call to the sum if nothing in it matters by itself. */
static __noinline int is_quiet(struct socket_state *st, struct http_scratch *s,
			       struct http_hint *hint, __u32 index)
{
	struct http_call *call = &s->rec.call, *sum = &st->sum;
	__u64 now;

	if (hint->dir != call->dir || call->offset + call->size >= hint->until ||
	    sum->size > SUM_MAX || (sum->size && sum->dir != call->dir))
		return false;
	call->tail_len = 0;
	if (hint->flags & blind) {
		gather_tail(index);
		if (call->tail_len != TAIL_LEN || ends_blank(call))
			return false;
	}
	now = bpf_ktime_get_boot_ns();
	if (!sum->size) {
		sum->offset = call->offset;
		sum->time = now;
		sum->dir = call->dir;
		sum->len = 0;
	}
	sum->last = now;
	sum->size += call->size;
	__builtin_memcpy(sum->tail, call->tail, TAIL_LEN);
	sum->tail_len = call->tail_len;
	return true;
}

/*
 * Says when a send's bytes left and returns the time. A send returns after the
 * other side may have worked on it. If all bytes have left, the last of them did
 * within this call, and the kernel has noted when: in the stamp of what was sent
 * last (left), which may be a later acknowledgement or, with pacing, what may be
 * sent next, and, in µs, in that of the flight that it belongs to, which may have
 * begun before the send. The clock is only looked at where these do not tell.
 */
static __always_inline __u64 time_of_send(struct http_call *call, __u64 sent_at, __u64 left, __u64 flight)
{
	__u64 now = flight;

	call->time = left - flight < 1000 ? left : flight;
	if (flight <= sent_at || call->size > 65536)
		now = bpf_ktime_get_boot_ns();
	if (flight <= sent_at)
		call->time = left < now ? left : now;
	call->last = call->size > 65536 ? now : call->time;
	return now;
}

/*
 * A data call has returned. msg tells where its bytes are, if not NOWHERE; from
 * tracepoints the registers of the system call do.
 */
#define NOWHERE ((struct msghdr *)0)

static __always_inline int data_call(void *ctx, enum door door, enum scratch_use use, int copy,
				     struct sock *sk, struct msghdr *msg, long ret)
{
	__u32 dir = use == FOR_SEND ? sent : received;
	__u64 key = (__u64)sk, moved = ret, max, now;
	struct socket_state *st;
	struct http_scratch *s;
	struct http_hint *hint;
	struct http_head *head;
	__u32 index;
	struct http_call *call;
	struct tcp_sock *tp;
	struct task_struct *task = NULL;
	__u32 tgid, seq, gone;
	bool turned, part, unseen = use == FOR_SPLICE; /* the bytes are nowhere */

	st = bpf_map_lookup_elem(&sockets, &key);
	if (st && st->verdict == IS_OTHER && st->ports == READ(door, sk, __sk_common.skc_portpair))
		return 0;
	if (ret <= 0) {
		/* The end of what the other side sends; for a client that is all. */
		if (ret == 0 && dir == received && st && st->verdict != IS_OTHER &&
		    st->requests == sent && READ(door, sk, sk_shutdown) & RCV_SHUTDOWN)
			tell_close(ctx, st, sk, use + copy, st->late ?: closed);
		return 0;
	}
	if (st && st->ports != READ(door, sk, __sk_common.skc_portpair) &&
	    !has_ports(sk, st->ports)) {
		ended_unseen(ctx, st, sk, use + copy);
		st = NULL;
	}
	if (!st) {
		if (door != BY_KPROBE && !bpf_skc_to_tcp_sock(sk))
			return 0;
		st = meet(sk, moved, dir);
	}
	if (!st || st->verdict == IS_OTHER)
		return 0;
	tp = as_tcp(door, sk);
	if (!tp)
		return 0;
	/* Where nothing is wanted nothing is followed; the numbers tell later. */
	if (door == BY_TRACEPOINT)
		task = bpf_get_current_task_btf();
	tgid = door == BY_TRACEPOINT ? task->tgid : bpf_get_current_pid_tgid() >> 32;
	if (tgid != st->intro.owner.pid)
		take_over(st, tgid);
	if (!st->wanted)
		return 0;
	index = scratch_index(use + copy);
	s = scratch(index);
	if (!s)
		return 0;
	call = &s->rec.call;
	/* What was moved unseen is a gap before this call. */
	seq = dir == sent ? READ(door, tp, write_seq) : READ(door, tp, copied_seq);
	gone = seq - st->next[dir & 1];
	st->next[dir & 1] = seq;
	if (gone > moved && gone < 1U << 31) {
		/* A FIN is taken out with the last bytes and counts as one. */
		if (dir == received && READ(door, sk, sk_shutdown) & RCV_SHUTDOWN &&
		    seq == READ(door, tp, rcv_nxt))
			gone--;
		st->bytes[dir & 1] += gone - moved;
	}
	call->offset = st->bytes[dir & 1];
	call->size = moved;
	call->dir = dir;
	call->tail_len = 0;
	st->bytes[dir & 1] += moved;

	turned = st->last_dir != dir;
	st->last_dir = dir;
	st->run = turned ? 0 : st->run < 255 ? st->run + 1 : 255;
	/* Joined in the middle of something long: what follows it will turn. */
	if (st->verdict == UNDECIDED && st->misses && st->intro.socket.joined && !turned)
		return 0;

	s->src.known = false;
	s->src.sk = (__u64)sk;
	s->src.msg = (__u64)msg;
	if (unseen)
		;
	else if (door == BY_TRACEPOINT)
		source_of_regs(&s->src, task);
	else if (msg)
		source_of_msg(index);
	if (st->run >= HEAD_CALLS || (st->calls & 15) == 15) {
		hint = bpf_map_lookup_elem(&hints, &key);
		if (hint && hint->seen == st->seen) {
			if (hint->flags & opaque) {
				st->verdict = IS_OTHER;
				forget_kept(st);
				return 0;
			}
			st->wide = !!(hint->flags & wide);
			st->advised = 1;
			/* The body that it is about may be over. */
			if (st->run >= HEAD_CALLS && is_quiet(st, s, hint, index))
				return 0;
		}
	}
	st->calls++;
	head = unseen ? NULL : keep_at_once(st, s, key);
	if (unseen) {
		call->len = 0;
	} else if (!head) {
		max = st->wide ? PREFIX_MAX : prefix;
		part = moved > prefix && st->run >= HEAD_CALLS;
		gather_first(s, index, part ? BODY_LEN : max);
		if (part) {
			__builtin_memcpy(s->start, s->data, sizeof(s->start));
			if (shape_of(index, call->len) >= SHAPE_REQUEST)
				gather(index, max);
		}
	}
	if (!head && st->verdict == UNDECIDED && !decide(st, s, index)) {
		st->intro.socket.joined = 1; /* to user space: it will not be told of this call */
		return 0;
	}
	if (!head && !unseen && call->len < moved) {
		/* A long head, or many requests at once: all of them are wanted. */
		if (!st->wide && !st->advised && turned && dir == st->requests &&
		    call->len == prefix && s->data[0] != 'P') {
			st->wide = 1;
			gather(index, PREFIX_MAX);
		}
		if (call->len < moved)
			gather_tail(index);
	}

	if (dir == sent && READ(door, tp, snd_nxt) == seq)
		now = time_of_send(call, st->sent_at, READ(door, tp, tcp_wstamp_ns) + asleep,
				   READ(door, tp, first_tx_mstamp) * 1000 + asleep);
	else
		call->time = call->last = now = bpf_ktime_get_boot_ns();
	if (dir == sent)
		st->sent_at = call->last;

	s->rec.type = data_moved;
	s->rec.ending = 0;
	s->rec.time = now;
	if (head) {
		barrier(); /* its bytes are there already */
		head->call = *call;
		st->kept++;
		note_waiting(st, call->time);
	} else if (dir != st->requests) {
		take_kept(st, s, key, true);
		tell(ctx, st, s, key);
	} else {
		if (st->kept != st->taken || st->sum.size) {
			struct http_call this = *call;

			/* Its bytes stay where they are: only the kept call is told. */
			call->size = 0;
			tell_kept(ctx, st, s, key);
			*call = this;
		}
		/*
		 * The first one is told at once: user space has to know of both
		 * ends of a connection before it can wait for what either of them
		 * says.
		 */
		if ((!st->introduced && st->verdict == IS_HTTP) || !keep(st, s, key))
			tell_alone(ctx, st, s, key);
	}
	if (st->ending)
		tell_close(ctx, st, sk, use + copy, st->ending);
	return 0;
}

/* Whether bytes have come that no process has taken out, beside a FIN. */
static __always_inline bool has_unread(struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;
	__u32 unread = BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq);
	bool fin = BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN;

	return unread > fin;
}

static __noinline int state_change(__u64 *ctx, int copy)
{
	struct sock *sk = (void *)ctx[0];
	int from = ctx[1], to = ctx[2];
	struct tcp_sock *tp = (void *)sk;
	__u64 key = (__u64)sk;
	struct socket_state *st;
	enum ending ending = closed;

	if (!first_step(copy, step_of(sk, from, to)))
		return 0;
	if (to == TCP_ESTABLISHED)
		return established(ctx, sk, FOR_STATE + copy);
	if (to != TCP_CLOSE && to != TCP_FIN_WAIT1 && to != TCP_LAST_ACK)
		return 0;
	st = bpf_map_lookup_elem(&sockets, &key);
	if (!st || st->verdict == IS_OTHER)
		return 0;
	if (to == TCP_CLOSE) {
		int error = BPF_CORE_READ(sk, sk_err);

		if (error == ETIMEDOUT)
			ending = timed_out;
		else if (from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT || error)
			ending = reset;
		/* The other side's answer to bytes of a call that has not returned yet. */
		if ((from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT) &&
		    BPF_CORE_READ(tp, write_seq) != st->next[sent]) {
			st->ending = ending;
			return 0;
		}
		/*
		 * A client may still take out what has come, also after a reset; one
		 * that only said that it sends nothing more, the end as well.
		 */
		if (st->requests == sent &&
		    (has_unread(sk) ||
		     (!error && from != TCP_ESTABLISHED && from != TCP_CLOSE_WAIT))) {
			st->late = ending;
			return 0;
		}
	} else if (st->requests == sent &&
		   ((BPF_CORE_READ(sk, sk_shutdown) & SHUTDOWN_MASK) != SHUTDOWN_MASK ||
		    has_unread(sk))) {
		/*
		 * A client that only says that it sends nothing more. With bytes
		 * left to take out a close would be a reset.
		 */
		return 0;
	}
	tell_close(ctx, st, sk, FOR_STATE + copy, ending);
	return 0;
}

static __noinline int destroyed(__u64 *ctx, int copy)
{
	struct sock *sk = (void *)ctx[0];
	__u64 key = (__u64)sk;
	struct socket_state *st;

	if (!first_step(copy, step_of(sk, 0, 0)))
		return 0;
	st = bpf_map_lookup_elem(&sockets, &key);
	if (!st)
		return 0;
	return forget(ctx, st, sk, FOR_DESTROY + copy);
}

STEP_COPIES("raw_tp/inet_sock_set_state", http_set_state, state_change)
STEP_COPIES("raw_tp/tcp_destroy_sock", http_destroy_sock, destroyed)

/* --- C ------------------------------------------------------------------- */

static __noinline int moved_by_length(__u64 *ctx, __u32 use, int copy)
{
	return data_call(ctx, BY_TRACEPOINT, use, copy, (void *)ctx[0], NOWHERE, (int)ctx[1]);
}

static __always_inline int sent_length(__u64 *ctx, int copy)
{
	return is_first_call(copy, COPIED_SEND) ? moved_by_length(ctx, FOR_SEND, copy) : 0;
}

static __always_inline int received_length(__u64 *ctx, int copy)
{
	if (!is_first_call(copy, COPIED_RECEIVE) || ctx[2] & MSG_PEEK)
		return 0;
	return moved_by_length(ctx, FOR_RECEIVE, copy);
}

CALL_COPIES("tp_btf/sock_send_length", http_send_length, sent_length)
CALL_COPIES("tp_btf/sock_recv_length", http_recv_length, received_length)

/*
 * Called whenever bytes were taken out of a socket, with its lock held; this is
 * for those that no sock_recv_length follows.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int http_space_adjust(__u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	void *regs = regs_of(task);
	struct sock *sk = (void *)ctx[0];
	__u64 key = (__u64)sk;
	struct socket_state *st;
	struct tcp_sock *tp;
	__u32 moved;

	if (syscall_number(regs, true) != nr_splice || task->flags & (TASK_IS_KTHREAD | TASK_IS_IO_WORKER))
		return 0;
	st = bpf_map_lookup_elem(&sockets, &key);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!st || !tp)
		return 0;
	moved = tp->copied_seq - st->next[received];
	if (moved && sk->sk_shutdown & RCV_SHUTDOWN && tp->copied_seq == tp->rcv_nxt)
		moved--; /* a FIN */
	return data_call((void *)ctx, BY_TRACEPOINT, FOR_SPLICE, 0, sk, NOWHERE, (int)moved);
}

/* --- A ------------------------------------------------------------------- */

static __noinline int moved_by_function(__u64 *ctx, __u32 use, int copy, struct sock *sk, int n)
{
	return data_call(ctx, BY_FUNCTION, use, copy, sk, (void *)ctx[1], n);
}

/* Functions that do not tell where the bytes are. */
static __noinline int moved_unread(__u64 *ctx, __u32 use, struct sock *sk, int n)
{
	return data_call(ctx, BY_FUNCTION, use, 0, sk, NOWHERE, n);
}

static __always_inline int sendmsg_returns(__u64 *ctx, int copy)
{
	return is_first_call(copy, COPIED_SEND) ?
		       moved_by_function(ctx, FOR_SEND, copy, (void *)ctx[0], ctx[3]) : 0;
}

CALL_COPIES("fexit/tcp_sendmsg", http_sendmsg, sendmsg_returns)

SEC("fexit/tcp_sendpage")
int http_sendpage(__u64 *ctx)
{
	return moved_unread(ctx, FOR_SEND, (void *)ctx[0], ctx[5]);
}

/*
 * tcp_recvmsg has had six, five and four arguments, the flags among them in
 * two places. A wrong number would load and read an argument for the result:
 * user space counts them. Kernels that preempt programs have four.
 */
static __always_inline int recvmsg_returns(__u64 *ctx, int copy, __u64 flags, int n)
{
	if (!is_first_call(copy, COPIED_RECEIVE) || flags & MSG_PEEK)
		return 0;
	return moved_by_function(ctx, FOR_RECEIVE, copy, (void *)ctx[0], n);
}

static __always_inline int recvmsg4_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[3], ctx[4]);
}

static __always_inline int recvmsg5_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[3], ctx[5]);
}

static __always_inline int recvmsg6_returns(__u64 *ctx, int copy)
{
	return recvmsg_returns(ctx, copy, ctx[4], ctx[6]);
}

CALL_COPIES("fexit/tcp_recvmsg", http_recvmsg4, recvmsg4_returns)
COPY("fexit/tcp_recvmsg", http_recvmsg5, recvmsg5_returns, 0)
COPY("fexit/tcp_recvmsg", http_recvmsg6, recvmsg6_returns, 0)

SEC("fexit/tcp_splice_read")
int http_splice_read(__u64 *ctx)
{
	struct socket *socket = (void *)ctx[0];

	return moved_unread(ctx, FOR_SPLICE, socket->sk, ctx[5]);
}

/* --- B ------------------------------------------------------------------- */

static __always_inline int called(struct sock *sk, __u64 msg, __u64 flags, __u32 dir)
{
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call call = {(__u64)sk, msg, flags};

	if (bpf_map_update_elem(&pending, &key, &call, BPF_ANY))
		count_lost(map_full);
	return 0;
}

static __noinline int returned(void *ctx, __u32 dir)
{
	int ret = register_return(ctx);
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call *call = bpf_map_lookup_elem(&pending, &key), c;

	if (!call)
		return 0;
	c = *call;
	bpf_map_delete_elem(&pending, &key);
	if (c.flags & MSG_PEEK)
		return 0;
	return data_call(ctx, BY_KPROBE, dir == sent ? FOR_SEND : FOR_RECEIVE, 0, (void *)c.sk,
			 (void *)c.msg, ret);
}

SEC("kprobe/tcp_sendmsg")
int http_k_sendmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), 0, sent);
}

SEC("kretprobe/tcp_sendmsg")
int http_r_sendmsg(void *ctx)
{
	return returned(ctx, sent);
}

SEC("kprobe/tcp_sendpage")
int http_k_sendpage(void *ctx)
{
	return called((void *)register_arg(ctx, 0), (__u64)NOWHERE, 0, sent);
}

SEC("kretprobe/tcp_sendpage")
int http_r_sendpage(void *ctx)
{
	return returned(ctx, sent);
}

SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 3), received);
}

/* Up to 5.18 nonblock stood before flags. */
SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg_old(void *ctx)
{
	return called((void *)register_arg(ctx, 0), register_arg(ctx, 1), register_arg(ctx, 4), received);
}

SEC("kretprobe/tcp_recvmsg")
int http_r_recvmsg(void *ctx)
{
	return returned(ctx, received);
}

SEC("kprobe/tcp_splice_read")
int http_k_splice_read(void *ctx)
{
	struct socket *socket = (void *)register_arg(ctx, 0);

	return called(BPF_CORE_READ(socket, sk), (__u64)NOWHERE, 0, received);
}

SEC("kretprobe/tcp_splice_read")
int http_r_splice_read(void *ctx)
{
	return returned(ctx, received);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
