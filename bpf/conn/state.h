/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is kept of a socket, what records say of it, and what user space sets. */
#ifndef TRACER_CONN_STATE_H
#define TRACER_CONN_STATE_H

/* What a record tells of. */
enum event {
	connect = 1,
	connect_failed,
	connect_waits, /* a SYN was sent; every one, or from the second on */
	accept,
	close,
};

enum __attribute__((packed)) state {
	connecting = 1,
	failing, /* at once; why is told by the return of connect */
	failed,	 /* and told */
	open,
	ended, /* and told */
};

enum __attribute__((packed)) side {
	own = 1,
	peer,
};

/* What sending waits for: enum tcp_chrono of the kernel. */
enum limit {
	unlimited,
	busy, /* acknowledgements */
	rwnd_limited,
	sndbuf_limited,
};

enum reason {
	closed = 1,
	reset,
	timed_out,
};

/* A socket and who owns it. src is who called, whatever end this is. */
struct conn {
	/* SYN sent, or accepted: ns, boot clock; 0 if before tracing. If untold: when that was. */
	__u64 start;
	__u64 cgroup;
	__u64 id;     /* conn_id_of() */
	__u8 src[16]; /* IPv4 as ::ffff:a.b.c.d; zero if unknown */
	__u8 dst[16];
	__u32 pid; /* 0: not known yet, see untold */
	__u32 uid;
	__s32 error;  /* why it failed, an errno */
	__u32 ports;  /* for has_ports() */
	char comm[COMM_LEN];
	__u16 sport;
	__u16 dport;
	__u32 errors; /* the newest message in the queue of errors when the connect began */
	__u32 idle;   /* ticks without a byte when the first side closed, if idle_known */
	enum role role;
	enum state state;
	enum side closed_by; /* who sent the first FIN */
	enum side reset_by;  /* who sent a RST */
	__u8 before;	     /* open when tracing began */
	__u8 adopted;	     /* met when it began to close: its accept may be told yet */
	enum naming naming;  /* of id */
	__u8 soft;	     /* sk_err_soft was set when the connect began */
	__u8 unwanted;	     /* filters leave its owner out: kept so that nobody else is taken for it */
	__u8 untold;	     /* an event that is told when the owner is known: enum event */
	__u8 reason;	     /* of that, if it is a close: enum reason */
	__u8 idle_known;
};

struct conn_record {
	__u64 sent; /* by output() */
	__u64 time; /* ns, boot clock */
	__u64 socket;
	struct conn conn;
	__u64 tx; /* payload bytes sent at least once */
	__u64 rx;
	__u64 queued; /* of an accept: ns */
	enum event type;
	__u32 retransmits; /* segments, SYNs included; of an accept SYN-ACKs sent again */
	__u32 srtt_us;
	enum reason reason;
	__u32 min_rtt_us;  /* of a close, as all that follows: conn/measure.h */
	__u32 busy;	   /* ticks in which only acknowledgements were waited for */
	__u32 rwnd_limited;
	__u32 sndbuf_limited;
	enum limit limit;  /* what is waited for now */
	__u32 limited;	   /* for so many ticks */
	__u32 unread;	   /* bytes */
	__u32 backlog;	   /* of an accept, as queued: conn/queue.h */
	__u32 backlog_max;
	__u32 pad;
};

/*
 * Sockets by their address. Inserted by the owner (connect, accept), by the
 * iterator that looks for sockets older than tracing, and, while that looks, by
 * what happens to one that it has not met yet; deleted when the
 * connection ends, or with the socket if it failed, which its owner may learn
 * long after. Who deletes an entry tells the end, so that it is told once.
 * Bounded by max_entries, which user space sets: a socket without room is counted
 * as map_full, if it is a wanted one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, __u64);
	__type(value, struct conn);
} socks SEC(".maps");

/* A call of tcp_v4_connect or tcp_v6_connect, from kprobe to kretprobe. */
struct connect_call {
	__u64 sk;
	__u64 addr;
	__u64 family;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* thread */
	__type(value, struct connect_call);
} calls SEC(".maps");

/* Calls that have copies, for first_call(). */
enum copied {
	COPIED_ACCEPT,
	COPIED_CONNECT4,
	COPIED_CONNECT6,
	COPIED_SYSCALL,
	COPIED_LENGTH,
	COPIED_SENT,
	COPIED_RECEIVED,
};

/* Knobs. */
const volatile bool only_failed;
const volatile bool only_slow; /* connects, and nothing else */
const volatile __u64 slow_ns;
const volatile bool tell_first; /* the first SYN, too, not only those sent again */
const volatile __s32 nr_accept = -1;
const volatile __s32 nr_accept4 = -1;
const volatile __s32 nr_connect = -1;

/*
 * Set by user space: not all sockets that are older than tracing have been met. One
 * of which a step is seen that nobody was seen to open is such a one then.
 */
volatile __u32 looking;

#endif
