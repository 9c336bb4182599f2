//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What do processes say to each other in HTTP/1, and when?
 *
 * A data call on a TCP socket that speaks HTTP is told with the first bytes it
 * moved; user space reads messages out of that (trace/http1). What is sent in
 * the direction of requests is kept here until the next call on the socket, so
 * that an exchange of one call each way, which most are, takes one record. A
 * socket whose first bytes are no HTTP is not looked at again.
 *
 * Hooks, three doors to one body:
 *   A  fexit of tcp_sendmsg, tcp_recvmsg, tcp_splice_read, and tcp_sendpage
 *      where there is one (below 6.5)
 *   B  kprobe and kretprobe of the same
 *   C  the raw tracepoints sock_send_length and sock_recv_length (6.3), which
 *      work where functions cannot be hooked; where the bytes are, is told by
 *      the registers of the system call
 * and inet_sock_set_state and tcp_destroy_sock, on every kernel, for the end.
 *
 * Missed: the bytes, not their number, of sendfile, splice and zero-copy
 * receives, and in C of io_uring, sendmmsg and recvmmsg and of 32-bit
 * programs. In C what splice takes out of a socket is known only by the next
 * call. Multipath TCP.
 *
 * Two threads that move bytes in one direction of a socket at the same time
 * are told in one order or the other.
 *
 * Oldest kernel: 5.8 (ring buffer); C: 6.3.
 */
#include "tracer.h"
#include <bpf/bpf_endian.h>

/* The largest --prefix. */
#define PREFIX_MAX 16384
/* Segments of a gathered call that are looked at. */
#define SEGMENTS 64
/* What is looked at to tell what a socket speaks: a method and a space. */
#define START_LEN 24
/* Calls after a change of direction that may still be parts of a head. */
#define HEAD_CALLS 8
/* Bytes captured of a long call that is a part of a body. */
#define BODY_LEN 32
#define TAIL_LEN 8
/* Calls that are not HTTP, after which a socket is given up. */
#define MISSES 2
#define MISSES_JOINED 16

/* The direction of bytes, seen from the process: http1.Direction. */
enum direction {
	SENT,
	RECEIVED,
};

enum record_type {
	RECORD_CALL = 1,
	RECORD_CLOSE,
};

/* http1.Ending */
enum ending {
	ENDING_CLOSED = 1,
	ENDING_RESET,
	ENDING_TIMEOUT,
};

/* Which socket, between whom. */
struct http_socket {
	__u64 address; /* of the kernel's struct sock */
	__u64 seen;    /* when it was first seen: tells it from another at that address */
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u8 requests; /* their direction, as far as the first bytes told */
	__u8 joined;   /* bytes moved before it was first seen */
};

struct http_owner {
	__u64 cgroup;
	__u32 pid;
	__u32 uid;
	char comm[COMM_LEN];
};

/* Bytes that moved in one call. */
struct http_call {
	__u64 time;   /* ns, boot clock, of the first byte */
	__u64 last;   /* of the last byte */
	__u64 offset; /* of the first byte since the socket was first seen */
	__u32 size;   /* 0: there is no call */
	__u16 len;    /* bytes captured */
	__u8 dir;
	__u8 tail_len;
	char tail[TAIL_LEN]; /* the last bytes, if len is less than size */
};

/* Followed by the bytes of call and the bytes of kept. */
struct http_record {
	__u32 type;
	__u32 ending; /* RECORD_CLOSE */
	__u64 time;   /* RECORD_CLOSE */
	__u64 bytes[2]; /* that moved in each direction so far */
	struct http_socket socket;
	struct http_owner owner;
	struct http_call kept; /* before call */
	struct http_call call;
};

enum verdict {
	UNDECIDED,
	IS_HTTP,
	IS_OTHER,
};

struct socket_state {
	struct http_socket socket;
	struct http_owner owner;
	__u64 bytes[2];
	__u64 received_at; /* last receive */
	__u32 read_seq;	   /* tcp_sock.copied_seq behind it */
	__u32 calls;	   /* told */
	__u8 verdict;
	__u8 misses;
	__u8 last_dir;	/* of the last call, 2: none */
	__u8 run;	/* calls in that direction in a row, up to 255 */
	__u8 kept;	/* there is a call in the map heads */
	__u8 closed;	/* RECORD_CLOSE was sent */
	__u8 wanted;	/* owner passes the filters */
	__u8 start_len; /* bytes in start: too few to decide */
	char start[2 * START_LEN];
};

/*
 * Every TCP socket that moved data. Inserted at its first data call, deleted
 * when the kernel destroys it. One that finds no room is counted and not
 * traced. User space reads it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct socket_state);
} sockets SEC(".maps");

struct http_head {
	struct http_call call;
	char data[PREFIX_MAX];
};

/*
 * The last call in the direction of requests, until the next call tells it.
 * Inserted at a socket's first request, deleted with the socket. A socket that
 * finds no room tells its requests at once. User space sets the length of data
 * to that of the prefix and the number of entries, and looks for requests that
 * are old.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct http_head);
} heads SEC(".maps");

/*
 * Sockets of which user space has found that they do not speak HTTP any more,
 * with their http_socket.seen. Written by user space; the oldest give way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} opaque SEC(".maps");

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
	__u64 base;	/* of the bytes, or of the array of segments */
	__u64 skip;	/* bytes of the first segment that do not count */
	__u32 segments; /* 0: base is that of the bytes */
	bool known;
	bool array_user; /* the array is in the process's memory */
	bool data_user;	 /* and so are the bytes */
};

/*
 * A record under construction. One for each CPU and kind of hook: a softirq
 * may come in between, and on a preemptible kernel another task. Twice the
 * room that a prefix takes, so that a segment of any length that starts
 * anywhere in the first half fits, and the kept bytes behind it.
 */
struct http_scratch {
	struct http_record rec;
	char data[3 * PREFIX_MAX];
	struct source src;
	__u64 at;   /* of the next byte in data */
	__u64 skip; /* what is left of src.skip */
};

enum scratch_use {
	FOR_SEND,
	FOR_RECEIVE,
	FOR_CLOSE,
	SCRATCH_USES,
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
const volatile bool filter_ports;
/* System calls by number. */
const volatile __s32 nr_read, nr_write, nr_readv, nr_writev, nr_preadv2, nr_pwritev2;
const volatile __s32 nr_sendto, nr_recvfrom, nr_sendmsg, nr_recvmsg;

/* Boot clock − monotonic clock, ns: kept by user space. */
volatile __u64 asleep;

/* bpf2go makes Go types of what variables have. */
const struct http_record *unused_http_record __attribute__((unused));
const struct http_head *unused_http_head __attribute__((unused));
const struct socket_state *unused_socket_state __attribute__((unused));

static __always_inline struct http_scratch *scratch(enum scratch_use use)
{
	__u32 i = bpf_get_smp_processor_id() * SCRATCH_USES + use;
	struct http_scratch *s = bpf_map_lookup_elem(&scratches, &i);

	if (!s)
		count_lost(LOST_MAP_FULL);
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
static __always_inline void source_of_msg(struct source *src, struct msghdr *msg, __u64 moved)
{
	struct iov_iter *iter = (void *)msg + bpf_core_field_offset(msg->msg_iter);
	struct iov_iter___typed *typed = (void *)iter;
	struct iov_iter___old *old = (void *)iter;
	__u64 offset = BPF_CORE_READ(iter, iov_offset);
	bool vec, kvec;
	__u64 iov;

	src->known = false;
	if (bpf_core_field_exists(typed->iter_type)) {
		__u32 type = BPF_CORE_READ(typed, iter_type);

		if (bpf_core_enum_value_exists(enum iter_type___new, ITER_UBUF___new) &&
		    type == bpf_core_enum_value(enum iter_type___new, ITER_UBUF___new)) {
			src->base = (__u64)BPF_CORE_READ(iter, ubuf) + offset - moved;
			src->segments = 0;
			src->data_user = true;
			src->known = true;
			return;
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
		return;
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
			return;
		}
		moved -= offset;
		iov -= sizeof(struct iovec);
		if (bpf_probe_read_kernel(&len, sizeof(len), (void *)iov + 8))
			return;
		offset = len;
	}
}

/* --- The same from the registers of the system call (C) ----------------- */

static __always_inline bool same_socket(struct task_struct *task, __u64 fd, struct sock *sk)
{
	
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	struct socket *socket;

	bpf_probe_read_kernel(&file, sizeof(file), &files[fd & 0xfffff]);
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk) == sk;
}

static __always_inline void source_of_regs(struct source *src, struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	void *regs = (void *)bpf_task_pt_regs((void *)task);
	struct task_struct___uring *ring = (void *)task;
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;
	__u64 arg0, arg1, arg2;
	__s32 nr;

	src->known = false;
	/* A kernel thread works for somebody else, who has gone on since. */
	if (BPF_CORE_READ(task, flags) & (TASK_IS_KTHREAD | TASK_IS_IO_WORKER))
		return;
	if (bpf_core_field_exists(x86->orig_ax)) {
		if (BPF_CORE_READ(task, thread_info.status) & X86_TS_COMPAT)
			return;
		nr = BPF_CORE_READ(x86, orig_ax);
		arg0 = BPF_CORE_READ(x86, di);
		arg1 = BPF_CORE_READ(x86, si);
		arg2 = BPF_CORE_READ(x86, dx);
	} else {
		nr = BPF_CORE_READ(arm64, syscallno);
		arg0 = BPF_CORE_READ(arm64, orig_x0);
		arg1 = BPF_CORE_READ(arm64, regs[1]);
		arg2 = BPF_CORE_READ(arm64, regs[2]);
	}
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
	if (bpf_core_field_exists(ring->io_uring) && BPF_CORE_READ(ring, io_uring) &&
	    !same_socket(task, arg0, sk))
		return;
	src->known = true;
}

/* ------------------------------------------------------------------------ */

/* Copies the first bytes of a call to s->data, at most max. */
static __always_inline void gather(struct http_scratch *s, struct http_call *call, __u64 max)
{
	struct source *src = &s->src;
	__u64 n = call->size;

	call->len = 0;
	s->at = 0;
	s->skip = src->skip;
	if (!src->known)
		return;
	if (n > max)
		n = max;
	if (!src->segments) {
		barrier_var(n);
		if (n > PREFIX_MAX)
			n = PREFIX_MAX;
		if (!read_data(s->data, n, src->base, src->data_user))
			call->len = n;
		return;
	}
	_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < SEGMENTS; i++) {
		struct iovec seg = {};
		__u64 at = s->at, skip, len, left;

		barrier_var(at);
		if (i >= src->segments || at >= n || at >= PREFIX_MAX)
			break;
		if (read_data(&seg, sizeof(seg), src->base + i * sizeof(seg), src->array_user))
			break;
		len = seg.iov_len;
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
		if (read_data(&s->data[at], len, (__u64)seg.iov_base + skip, src->data_user))
			break;
		s->skip = 0;
		s->at = at + len;
	}
	call->len = s->at;
}

/* Copies the last bytes of a call: the end of a chunked body. */
static __always_inline void gather_tail(struct http_call *call, struct source *src)
{
	struct iovec seg = {}, before = {};
	__u64 left = (__u64)call->size + src->skip, n;

	if (!src->known || call->size <= TAIL_LEN)
		return;
	if (!src->segments) {
		if (!read_data(call->tail, TAIL_LEN, src->base + call->size - TAIL_LEN, src->data_user))
			call->tail_len = TAIL_LEN;
		return;
	}
	_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < SEGMENTS; i++) {
		if (i >= src->segments ||
		    read_data(&seg, sizeof(seg), src->base + i * sizeof(seg), src->array_user))
			return;
		if (seg.iov_len >= left)
			break;
		left -= seg.iov_len;
		if (seg.iov_len)
			before = seg;
	}
	if (seg.iov_len < left)
		return;
	/* left bytes of seg moved; if they are few, before has the others. */
	n = left;
	barrier_var(n);
	if (n >= TAIL_LEN) {
		if (!read_data(call->tail, TAIL_LEN, (__u64)seg.iov_base + left - TAIL_LEN,
			       src->data_user))
			call->tail_len = TAIL_LEN;
		return;
	}
	/* Those of before go to the front: the array is 8 bytes, both are below. */
	char both[2 * TAIL_LEN] = {};
	__u64 m = TAIL_LEN - n;

	barrier_var(m);
	if (m > TAIL_LEN || before.iov_len < m)
		return;
	if (read_data(both, m, (__u64)before.iov_base + before.iov_len - m, src->data_user))
		return;
	n &= TAIL_LEN - 1; /* below TAIL_LEN */
	if (n && read_data(&both[m], n, (__u64)seg.iov_base, src->data_user))
		return;
	__builtin_memcpy(call->tail, both, TAIL_LEN);
	call->tail_len = TAIL_LEN;
}

enum shape {
	SHAPE_OTHER,
	SHAPE_SHORT, /* too few bytes to tell */
	SHAPE_REQUEST,
	SHAPE_RESPONSE,
};

/*
 * What bytes begin with. More than a method and the beginning of a target is
 * not asked for: user space looks closer.
 */
static __always_inline enum shape shape_of(const char *b, __u32 n)
{
	char c = 0, next;
	__u32 i;

	if (n >= 5 && b[0] == 'H' && b[1] == 'T' && b[2] == 'T' && b[3] == 'P' && b[4] == '/')
		return SHAPE_RESPONSE;
	for (i = 0; i < START_LEN - 1; i++) {
		if (i >= n)
			return SHAPE_SHORT;
		c = b[i];
		if (c == ' ')
			break;
		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_' || (c == '/' && i == 4)))
			return SHAPE_OTHER;
	}
	if (i == 0 || c != ' ')
		return SHAPE_OTHER;
	if (i + 1 >= n)
		return SHAPE_SHORT;
	if (i == 3 && b[0] == 'P' && b[1] == 'R' && b[2] == 'I')
		return SHAPE_OTHER; /* HTTP/2 */
	next = b[i + 1];
	if (next == '/' || next == '*' || next == 'h' || next == 'H' ||
	    (i == 7 && b[0] == 'C' && b[1] == 'O' && b[2] == 'N' && b[6] == 'T'))
		return SHAPE_REQUEST;
	return SHAPE_OTHER;
}

static __always_inline bool wanted_port(struct http_socket *id)
{
	return !filter_ports || bpf_map_lookup_elem(&ports, &id->local_port) ||
	       bpf_map_lookup_elem(&ports, &id->remote_port);
}

/* Notes whose socket it is from now on. */
static __always_inline void take_over(struct socket_state *st, __u32 tgid)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	st->wanted = wanted(tgid);
	st->owner.pid = tgid;
	st->owner.uid = bpf_get_current_uid_gid();
	st->owner.cgroup = current_cgroup(task);
	BPF_CORE_READ_STR_INTO(&st->owner.comm, task, group_leader, comm);
}

/* The state of a socket at its first data call, or NULL if it is not to be traced. */
static __noinline struct socket_state *meet(struct sock *sk, __u64 moved, __u32 dir)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct tcp_sock *tp = (void *)sk;
	struct inet_sock *inet = (void *)sk;
	struct socket_state st = {};
	__u64 key = (__u64)sk, got, put;
	__u32 family;

	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) ||
	    BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || !wanted(tgid))
		return NULL;
	st.socket.address = key;
	st.socket.seen = bpf_ktime_get_boot_ns();
	st.socket.family = family;
	st.socket.local_port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	st.socket.remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (family == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)&st.socket.local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)&st.socket.remote, sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)&st.socket.local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)&st.socket.remote, sk, __sk_common.skc_v6_daddr);
	}
	/*
	 * What moved before this call: SYN and FIN may be counted among it. What
	 * was received and not read yet does not count.
	 */
	st.read_seq = BPF_CORE_READ(tp, copied_seq);
	got = BPF_CORE_READ(tp, bytes_received) - (__u32)(BPF_CORE_READ(tp, rcv_nxt) - st.read_seq);
	put = BPF_CORE_READ(tp, bytes_acked) +
	      (__u32)(BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_una));
	if (dir == SENT)
		st.socket.joined = put > moved + 1 || got > 1;
	else
		st.socket.joined = got > moved + 1 || put > 1;
	st.read_seq -= dir == RECEIVED ? moved : 0;
	st.last_dir = 2;
	if (!wanted_port(&st.socket))
		st.verdict = IS_OTHER;
	take_over(&st, tgid);
	if (bpf_map_update_elem(&sockets, &key, &st, BPF_NOEXIST)) {
		count_lost(LOST_MAP_FULL);
		return NULL;
	}
	return bpf_map_lookup_elem(&sockets, &key);
}

/* Looks at a call on a socket of which it is not known yet what it speaks. */
static __always_inline bool decide(struct socket_state *st, struct http_scratch *s, __u32 dir)
{
	__u64 n = s->rec.call.len, at = st->start_len;
	enum shape shape;

	if (n > START_LEN)
		n = START_LEN;
	barrier_var(at);
	if (at > START_LEN)
		at = START_LEN;
	barrier_var(n);
	if (n > START_LEN)
		n = START_LEN;
	bpf_probe_read_kernel(&st->start[at], n, s->data);
	shape = shape_of(st->start, at + n < START_LEN ? at + n : START_LEN);
	if (!s->rec.call.len)
		shape = SHAPE_OTHER;
	switch (shape) {
	case SHAPE_SHORT:
		st->start_len = at + n < START_LEN ? at + n : START_LEN;
		st->socket.requests = dir;
		return true;
	case SHAPE_REQUEST:
		st->socket.requests = dir;
		st->verdict = IS_HTTP;
		return true;
	case SHAPE_RESPONSE:
		st->socket.requests = !dir;
		st->verdict = IS_HTTP;
		return true;
	default:
		break;
	}
	st->start_len = 0;
	st->kept = 0;
	if (++st->misses >= (st->socket.joined ? MISSES_JOINED : MISSES))
		st->verdict = IS_OTHER;
	return false;
}

/* Moves what was kept into the record, behind the bytes of its call. */
static __always_inline void take_kept(struct socket_state *st, struct http_scratch *s)
{
	struct http_record *rec = &s->rec;
	__u64 at = rec->call.len, len;
	struct http_head *head;

	__builtin_memset(&rec->kept, 0, sizeof(rec->kept));
	if (!st->kept)
		return;
	head = bpf_map_lookup_elem(&heads, &st->socket.address);
	if (!head)
		return;
	rec->kept = head->call;
	head->call.size = 0;
	st->kept = 0;
	len = rec->kept.len;
	barrier_var(at);
	barrier_var(len);
	if (at > PREFIX_MAX)
		at = PREFIX_MAX;
	if (len > prefix)
		len = prefix;
	bpf_probe_read_kernel(&s->data[at], len, head->data);
}

static __always_inline void tell(struct socket_state *st, struct http_scratch *s)
{
	__u64 size = (__u64)s->rec.call.len + s->rec.kept.len;

	s->rec.socket = st->socket;
	s->rec.owner = st->owner;
	s->rec.bytes[0] = st->bytes[0];
	s->rec.bytes[1] = st->bytes[1];
	barrier_var(size);
	if (size > 2 * PREFIX_MAX)
		size = 2 * PREFIX_MAX;
	send_record(&s->rec, sizeof(s->rec) + size, LOST_RING_FULL);
}

/* Keeps the record's call for later, if there is room. */
static __always_inline bool keep(struct socket_state *st, struct http_scratch *s)
{
	struct http_head *head = bpf_map_lookup_elem(&heads, &st->socket.address);
	__u64 len = s->rec.call.len;

	if (!head) {
		/* The bytes that matter are written below. */
		if (bpf_map_update_elem(&heads, &st->socket.address, &s->rec.call, BPF_NOEXIST))
			return false;
		head = bpf_map_lookup_elem(&heads, &st->socket.address);
		if (!head)
			return false;
	}
	barrier_var(len);
	if (len > prefix)
		len = prefix;
	bpf_probe_read_kernel(head->data, len, s->data);
	head->call = s->rec.call;
	st->kept = 1;
	return true;
}

static __always_inline void tell_close(struct socket_state *st, enum scratch_use use,
				       enum ending ending)
{
	struct http_scratch *s;

	if (st->closed || st->verdict == IS_OTHER || (st->verdict == UNDECIDED && !st->start_len))
		return;
	s = scratch(use);
	if (!s)
		return;
	st->closed = 1;
	s->rec.type = RECORD_CLOSE;
	s->rec.ending = ending;
	s->rec.time = bpf_ktime_get_boot_ns();
	__builtin_memset(&s->rec.call, 0, sizeof(s->rec.call));
	take_kept(st, s);
	tell(st, s);
}

/*
 * A data call has returned. msg tells where its bytes are, or REGISTERS if those
 * of the system call do, or NOWHERE if they are not to be had.
 */
#define NOWHERE ((struct msghdr *)0)
#define REGISTERS ((struct msghdr *)1)

static __noinline int data_call(struct sock *sk, struct msghdr *msg, long ret, __u32 dir)
{
	struct tcp_sock *tp = (void *)sk;
	struct socket_state *st;
	struct http_scratch *s;
	struct http_call *call;
	__u64 key = (__u64)sk, moved = ret, max, now;
	__u32 tgid;
	bool turned;

	st = bpf_map_lookup_elem(&sockets, &key);
	if (ret <= 0) {
		/* The end of what the other side sends; for a client that is all. */
		if (ret == 0 && dir == RECEIVED && st && st->verdict != IS_OTHER &&
		    st->socket.requests == SENT && BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN)
			tell_close(st, FOR_RECEIVE, ENDING_CLOSED);
		return 0;
	}
	if (!st) {
		st = meet(sk, moved, dir);
		if (!st)
			return 0;
	}
	if (st->verdict == IS_OTHER)
		return 0;

	s = scratch(dir == SENT ? FOR_SEND : FOR_RECEIVE);
	if (!s)
		return 0;
	call = &s->rec.call;
	/* What was taken out by splice, unseen, is a gap before this call. */
	if (dir == RECEIVED) {
		__u32 seq = BPF_CORE_READ(tp, copied_seq), gone = seq - st->read_seq;

		st->read_seq = seq;
		if (gone > moved && gone < 1U << 31)
			st->bytes[RECEIVED] += gone - moved;
	}
	call->offset = st->bytes[dir & 1];
	call->size = moved;
	call->dir = dir;
	call->tail_len = 0;
	st->bytes[dir & 1] += moved;

	tgid = bpf_get_current_pid_tgid() >> 32;
	if (tgid != st->owner.pid)
		take_over(st, tgid);
	if (!st->wanted)
		return 0;

	turned = st->last_dir != dir;
	st->last_dir = dir;
	st->run = turned ? 0 : st->run < 255 ? st->run + 1 : 255;
	/* Joined in the middle of something long: what follows it will turn. */
	if (st->verdict == UNDECIDED && st->misses && st->socket.joined && !turned)
		return 0;

	s->src.known = false;
	if (msg == REGISTERS) {
		if (bpf_core_enum_value_exists(enum bpf_func_id___new, BPF_FUNC_task_pt_regs___new))
			source_of_regs(&s->src, sk);
	} else if (msg != NOWHERE)
		source_of_msg(&s->src, msg, moved);
	max = prefix;
	if (moved > max && st->run >= HEAD_CALLS) {
		gather(s, call, BODY_LEN);
		if (shape_of(s->data, call->len) >= SHAPE_REQUEST)
			gather(s, call, max);
	} else {
		gather(s, call, max);
	}
	if (st->verdict == UNDECIDED && !decide(st, s, dir)) {
		st->socket.joined = 1; /* to user space: it will not be told of this call */
		return 0;
	}
	if (call->len < moved)
		gather_tail(call, &s->src);

	now = bpf_ktime_get_boot_ns();
	call->time = call->last = now;
	if (dir == RECEIVED) {
		st->received_at = now;
	} else {
		/*
		 * A send returns after the other side may have worked on it: when
		 * did the bytes leave? The stamp is also that of acknowledgements,
		 * which go out before what they acknowledge is read.
		 */
		__u64 left = BPF_CORE_READ(tp, tcp_wstamp_ns) + asleep;

		if (left > st->received_at && left < now)
			call->time = left;
		if (moved <= 65536)
			call->last = call->time;
	}

	s->rec.type = RECORD_CALL;
	s->rec.ending = 0;
	s->rec.time = now;
	if ((st->calls++ & 15) == 15) {
		__u64 *seen = bpf_map_lookup_elem(&opaque, &key);

		if (seen && *seen == st->socket.seen) {
			st->verdict = IS_OTHER;
			return 0;
		}
	}
	if (dir != st->socket.requests) {
		take_kept(st, s);
		tell(st, s);
		return 0;
	}
	if (st->kept) {
		struct http_call this = *call;

		/* Its bytes stay where they are: only the kept call is told. */
		take_kept(st, s);
		__builtin_memset(call, 0, sizeof(*call));
		s->rec.call.len = this.len;
		tell(st, s);
		*call = this;
	}
	if (!keep(st, s)) {
		__builtin_memset(&s->rec.kept, 0, sizeof(s->rec.kept));
		tell(st, s);
	}
	return 0;
}

static __always_inline int state_change(struct sock *sk, int from, int to)
{
	__u64 key = (__u64)sk;
	struct socket_state *st;
	enum ending ending = ENDING_CLOSED;

	if (to != TCP_CLOSE && to != TCP_FIN_WAIT1 && to != TCP_LAST_ACK)
		return 0;
	st = bpf_map_lookup_elem(&sockets, &key);
	if (!st || st->verdict == IS_OTHER)
		return 0;
	if (to == TCP_CLOSE) {
		int error = BPF_CORE_READ(sk, sk_err);

		if (error == ETIMEDOUT)
			ending = ENDING_TIMEOUT;
		else if (from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT || error)
			ending = ENDING_RESET;
	} else if (st->socket.requests == SENT &&
		   (BPF_CORE_READ(sk, sk_shutdown) & SHUTDOWN_MASK) != SHUTDOWN_MASK) {
		/* A client that only says that it sends nothing more. */
		return 0;
	}
	tell_close(st, FOR_CLOSE, ending);
	return 0;
}

static __always_inline int destroyed(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct socket_state *st = bpf_map_lookup_elem(&sockets, &key);

	if (!st)
		return 0;
	tell_close(st, FOR_CLOSE, ENDING_CLOSED);
	if (st->verdict != UNDECIDED || st->start_len)
		bpf_map_delete_elem(&heads, &key);
	bpf_map_delete_elem(&sockets, &key);
	return 0;
}

SEC("raw_tp/inet_sock_set_state")
int http_set_state(struct bpf_raw_tracepoint_args *ctx)
{
	return state_change((void *)ctx->args[0], ctx->args[1], ctx->args[2]);
}

SEC("raw_tp/tcp_destroy_sock")
int http_destroy_sock(struct bpf_raw_tracepoint_args *ctx)
{
	return destroyed((void *)ctx->args[0]);
}

/* --- C ------------------------------------------------------------------- */

SEC("raw_tp/sock_send_length")
int http_send_length(struct bpf_raw_tracepoint_args *ctx)
{
	return data_call((void *)ctx->args[0], REGISTERS, (int)ctx->args[1], SENT);
}

SEC("raw_tp/sock_recv_length")
int http_recv_length(struct bpf_raw_tracepoint_args *ctx)
{
	if (ctx->args[2] & MSG_PEEK)
		return 0;
	return data_call((void *)ctx->args[0], REGISTERS, (int)ctx->args[1], RECEIVED);
}

/* --- A ------------------------------------------------------------------- */

SEC("fexit/tcp_sendmsg")
int http_sendmsg(__u64 *ctx)
{
	return data_call((void *)ctx[0], (void *)ctx[1], (int)ctx[3], SENT);
}

SEC("fexit/tcp_sendpage")
int http_sendpage(__u64 *ctx)
{
	return data_call((void *)ctx[0], NOWHERE, (int)ctx[5], SENT);
}

/*
 * tcp_recvmsg has had six, five and four arguments, the flags among them in
 * two places. A wrong number would load and read an argument for the result.
 * From 5.17 on the kernel tells how many there are; before, there were six.
 */
SEC("fexit/tcp_recvmsg")
int http_recvmsg(__u64 *ctx)
{
	__u64 flags, ret;

	if (bpf_core_enum_value_exists(enum bpf_func_id___new, BPF_FUNC_get_func_arg_cnt___new)) {
		if (bpf_get_func_arg_cnt(ctx) == 6)
			bpf_get_func_arg(ctx, 4, &flags);
		else
			bpf_get_func_arg(ctx, 3, &flags);
		bpf_get_func_ret(ctx, &ret);
	} else {
		flags = ctx[4];
		ret = ctx[6];
	}
	if (flags & MSG_PEEK)
		return 0;
	return data_call((void *)ctx[0], (void *)ctx[1], (int)ret, RECEIVED);
}

SEC("fexit/tcp_splice_read")
int http_splice_read(__u64 *ctx)
{
	struct socket *socket = (void *)ctx[0];

	return data_call(BPF_CORE_READ(socket, sk), NOWHERE, (int)ctx[5], RECEIVED);
}

/* --- B ------------------------------------------------------------------- */

static __always_inline int called(struct sock *sk, __u64 msg, __u64 flags, __u32 dir)
{
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call call = {(__u64)sk, msg, flags};

	if (bpf_map_update_elem(&pending, &key, &call, BPF_ANY))
		count_lost(LOST_MAP_FULL);
	return 0;
}

static __always_inline int returned(long ret, __u32 dir)
{
	__u64 key = bpf_get_current_pid_tgid() | (__u64)dir << 63;
	struct pending_call *call = bpf_map_lookup_elem(&pending, &key), c;

	if (!call)
		return 0;
	c = *call;
	bpf_map_delete_elem(&pending, &key);
	if (c.flags & MSG_PEEK)
		return 0;
	return data_call((void *)c.sk, (void *)c.msg, ret, dir);
}

/* An argument of the function, or with RESULT what it returned. */
#define RESULT -1
static __always_inline __u64 argument(void *ctx, int n)
{
	struct pt_regs___x86 *x86 = ctx;
	struct pt_regs___arm64 *arm64 = ctx;

	if (!bpf_core_field_exists(x86->orig_ax))
		return n == 1 ? BPF_CORE_READ(arm64, regs[1]) :
		       n == 3 ? BPF_CORE_READ(arm64, regs[3]) :
		       n == 4 ? BPF_CORE_READ(arm64, regs[4]) :
				BPF_CORE_READ(arm64, regs[0]);
	return n == 0 ? BPF_CORE_READ(x86, di) :
	       n == 1 ? BPF_CORE_READ(x86, si) :
	       n == 3 ? BPF_CORE_READ(x86, cx) :
	       n == 4 ? BPF_CORE_READ(x86, r8) :
			BPF_CORE_READ(x86, ax);
}

SEC("kprobe/tcp_sendmsg")
int http_k_sendmsg(void *ctx)
{
	return called((void *)argument(ctx, 0), argument(ctx, 1), 0, SENT);
}

SEC("kretprobe/tcp_sendmsg")
int http_r_sendmsg(void *ctx)
{
	return returned((int)argument(ctx, RESULT), SENT);
}

SEC("kprobe/tcp_sendpage")
int http_k_sendpage(void *ctx)
{
	return called((void *)argument(ctx, 0), (__u64)NOWHERE, 0, SENT);
}

SEC("kretprobe/tcp_sendpage")
int http_r_sendpage(void *ctx)
{
	return returned((int)argument(ctx, RESULT), SENT);
}

SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg(void *ctx)
{
	return called((void *)argument(ctx, 0), argument(ctx, 1), argument(ctx, 3), RECEIVED);
}

/* Up to 5.18 nonblock stood before flags. */
SEC("kprobe/tcp_recvmsg")
int http_k_recvmsg_old(void *ctx)
{
	return called((void *)argument(ctx, 0), argument(ctx, 1), argument(ctx, 4), RECEIVED);
}

SEC("kretprobe/tcp_recvmsg")
int http_r_recvmsg(void *ctx)
{
	return returned((int)argument(ctx, RESULT), RECEIVED);
}

SEC("kprobe/tcp_splice_read")
int http_k_splice_read(void *ctx)
{
	struct socket *socket = (void *)argument(ctx, 0);

	return called(BPF_CORE_READ(socket, sk), (__u64)NOWHERE, 0, RECEIVED);
}

SEC("kretprobe/tcp_splice_read")
int http_r_splice_read(void *ctx)
{
	return returned((int)argument(ctx, RESULT), RECEIVED);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
