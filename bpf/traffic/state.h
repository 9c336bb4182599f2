/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is kept of sockets, processes and flows, and what user space sets. */
#ifndef TRACER_TRAFFIC_STATE_H
#define TRACER_TRAFFIC_STATE_H

/* A process, as it was called when it was met. */
struct party {
	__u64 start; /* when it began: with its id, no other */
	__u64 cgroup;
	__u32 pid; /* 0: unknown */
	__u32 uid;
	char comm[COMM_LEN];
};

/* What a TCP socket has moved, and who does. */
struct tcp {
	__u64 born; /* when it was noted; with its address, no other */
	__u64 tx;   /* before it was noted; for user space: since then */
	__u64 rx;
	__u64 end_tx; /* since it was noted, when it has ended */
	__u64 end_rx;
	__u64 told_tx; /* by the last reading */
	__u64 told_rx; /* what processes have read */
	__u64 own_tx;  /* the owner's, when another process began to move bytes */
	__u64 own_rx;
	struct party owner;
	struct tcp_origin origin; /* known from when it is established */
	__u8 local[16];		  /* IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];
	__u32 ports; /* for has_ports() */
	__u16 lport;
	__u16 rport;
	__u32 look; /* the last one at all files that met it */
	__u32 seen_sent; /* snd_nxt and copied_seq, at the last reading that took them */
	__u32 seen_read;
	enum role role;
	__u8 sure;    /* the owner has moved bytes, it is not only a guess */
	__u8 shared;  /* others have, too */
	__u8 several; /* that look found more than one holder */
	__u8 wanted;  /* the owner is */
	__u8 ended;   /* end_tx and end_rx are known */
	__u8 told;    /* flags, by the last reading */
	__u8 placed;  /* ends and origin are known */
	__u8 seen;    /* seen_sent and seen_read are, and all was told */
	__u8 listed;  /* it is in movers */
	__u8 pad[2];
};

struct tcp_record {
	__u64 sent; /* by output() */
	__u64 socket;
	struct tcp tcp;
	__u32 unread; /* of rx, what no process has read yet */
	__u32 last;   /* the socket is gone */
};

FOR_GO(tcp_record, struct tcp_record);

/*
 * TCP sockets by their address, whoever owns them. Inserted when they open, by
 * the iterator that looks for older ones, and by a call on an unknown one;
 * deleted when they are destroyed. Bounded by max_entries: a socket without
 * room is counted as map_full.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct tcp);
} socks SEC(".maps");

/*
 * Those of them that have moved bytes lately, or are about to: where it is dear to look
 * at all sockets a reading looks at these. Inserted by calls and by readings of all,
 * deleted by a reading of these that finds that a socket has not moved since the one
 * before, and with the socket. Bounded by max_entries, and small, as a reading looks
 * into each bucket: if one has no room the next reading is of all (unlisted).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} movers SEC(".maps");

struct share_key {
	__u64 socket;
	__u64 born;
	__u32 pid;
	__u32 pad;
};

/* What the calls of one process have moved. */
struct share {
	struct party party;
	__u64 tx;
	__u64 rx;
	__u64 wanted;
};

struct share_record {
	struct share_key key;
	struct share share;
};

FOR_GO(share_record, struct share_record);

/*
 * Of sockets that several processes use. Inserted by calls, deleted by user
 * space after the last reading of the socket. A share without room is counted
 * as detail_missing: its bytes are the owner's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct share_key);
	__type(value, struct share);
} shares SEC(".maps");

/* The UDP traffic of a process; addresses as far as they are asked for. */
struct flow_key {
	__u64 start;
	__u32 pid;
	__u16 lport;
	__u16 rport;
	__u8 local[16];
	__u8 remote[16];
};

struct flow {
	__u64 cgroup;
	__u64 tx;
	__u64 rx;
	__u64 told_tx; /* by the last reading */
	__u64 told_rx;
	__u32 uid;
	char comm[COMM_LEN];
	enum role role; /* who sent first */
	__u8 pad[3];
};

struct flow_record {
	struct flow_key key;
	struct flow flow;
};

FOR_GO(flow_record, struct flow_record);

/*
 * Inserted by calls, deleted by user space when they have been idle for long.
 * One without room is counted as map_full, at each call.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* A call that a kretprobe will see return. */
struct call {
	__u64 sk;
	__u64 msg;
	__u64 size;
	__u32 function;
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64); /* thread */
	__type(value, struct call);
} calls SEC(".maps");

/* Calls that have copies, for first_call(): a task has no two of them at once. */
enum copied {
	COPIED_LENGTH,
	COPIED_UDP,
	COPIED_UDPV6,
	COPIED_CONSUME,
};

/* Knobs. */
const volatile bool by_connection;	 /* of UDP: both addresses matter */
const volatile bool by_peer;		 /* only the other side's host */
const volatile __u32 recv_flags_arg = 3; /* which argument of tcp_recvmsg flags are */

/*
 * Set by user space: which look at all files this is; a reading tells all; sockets that
 * move are listed.
 */
volatile __u32 look;
volatile __u32 tell_all;
volatile __u32 listing;
/* Set when a socket found no room in movers, set back by user space. */
volatile __u32 unlisted;

#endif
