/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What http.bpf.c knows and tells: records, the state of each socket, the requests
 * that wait to be told, and what user space says of a socket.
 */
#ifndef TRACER_HTTP_STATE_H
#define TRACER_HTTP_STATE_H

#include "copies.h"
#include "filter.h"
#include "output.h"
#include "ports.h"
#include "socket.h"

/* The largest --prefix, and what is captured of calls that may hold many heads. */
#define PREFIX_MAX 16384
/* Of the first bytes of a call: a method and a space. */
#define START_LEN 24
#define START_MORE 20 /* of these from calls before */
#define TAIL_LEN 8

/* Entries of heads, at most, and how many of them a socket asks for. */
#define MAX_HEADS 4096
#define CLAIM_TRIES 4

/* What a record tells of. */
enum __attribute__((packed)) event {
	data_moved = 1,
	socket_closed,
	/* Of TLS; what it is about is a struct tls_about, in place of kept. */
	client_hello,	/* call has its bytes, or the next of them; with_intro */
	plain_unlinked, /* plaintext, in call, of which no socket is known yet */
	tls_linked,	/* the socket of plaintext that was told as unlinked */
	bio_needed,	/* a process hands ciphertext on by itself */
	plain_seen,	/* plaintext of a socket comes, HTTP or not; with_intro */
};

/* The library that a TLS socket's plaintext is taken from. */
enum __attribute__((packed)) library {
	no_library,
	openssl,
	gnutls,
	nss,
	golang,
	kernel_tls,
};

FOR_GO(library, enum library);

/* What follows the bytes in a record. */
enum part {
	with_sum = 1 << 0,   /* struct http_call: calls that were summed */
	with_intro = 1 << 1, /* struct http_intro: the first record, or another process */
	with_frames = 1 << 2, /* none: the bytes of call are parts of HTTP/2, as h2.h has them */
	with_spent = 1 << 3, /* struct http_spent: of the request that call answers */
};

FOR_GO(part, enum part);

/* How a connection ended: http1.Ending, and one more. */
enum __attribute__((packed)) ending {
	closed = 1,
	reset,
	timed_out,
	unseen, /* its address was used again: how and when is not known */
	/* With one of these, if it is known whose doing it was. */
	by_own = 1 << 4,
	by_peer = 1 << 5,
};

/* Which socket, between whom. */
struct http_socket {
	__u8 local[16];
	__u8 remote[16];
	__u64 id;     /* conn_id_of() */
	__u32 seq[2]; /* TCP's number of the byte at offset 0, sent and received */
	__u32 netns;
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u8 joined;	    /* bytes moved before it was first seen */
	enum naming naming; /* of id */
	enum library library; /* the bytes are plaintext; seq does not count them then */
	__u8 pad[3];
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

/* What else tail_len of a call says. */
enum call_note {
	goes_on = 1 << 6, /* it is not the beginning of the call that moved its bytes */
	urgent = 1 << 7,  /* the byte before it was urgent, and belongs to no message */
};

FOR_GO(call_note, enum call_note);
FOR_GO(ending, enum ending);

/* Bytes that moved in one call. */
struct http_call {
	__u64 time;   /* ns, boot clock, of the first byte */
	__u64 last;   /* of the last byte */
	__u64 offset; /* of the first byte since the socket was first seen */
	__u32 size;   /* 0: there is no call */
	__u16 len;    /* bytes captured */
	enum direction dir;
	__u8 tail_len;	     /* and enum call_note */
	char tail[TAIL_LEN]; /* the last bytes, if len is less than size */
};

/*
 * Where the time of a request went at the server, before its answer began. In the state of
 * a socket cpu and runq are what the thread's counters said when it read the request.
 */
struct http_spent {
	__u64 read;   /* ns, boot clock, when the last piece of it was read that there was */
	__u64 cpu;    /* ns that the thread that read and answered was on a processor since */
	__u64 runq;   /* ns that it waited for one */
	__u32 queue;  /* jiffies that it lay in the socket of a connection that was accepted */
	__u32 accept; /* jiffies that it lay there before */
	__u8 thread;  /* cpu and runq are known, and are about this request alone */
	__u8 pad[7];
};

/* What a record of TLS is about. */
struct tls_about {
	__u64 object; /* address of the library's own state of a connection */
	__u64 since;  /* when it was first seen to have no socket; with object, which it is */
	__u32 pid;
	enum library library;
	__u8 pad[3];
};

FOR_GO(tls_about, struct tls_about);
_Static_assert(sizeof(struct tls_about) <= sizeof(struct http_call), "it stands in place of one");

/*
 * Followed by the bytes of call, the bytes of kept, and the parts. With frames call is
 * all that was not told before of this direction: what is left out of its bytes does
 * not matter, or is in a struct h2_run.
 */
struct http_record {
	__u64 sent; /* by output() */
	__u64 time;
	__u64 socket;	/* address of the kernel's struct sock */
	__u64 seen;	/* when it was first seen: tells it from another at that address */
	__u64 bytes[2]; /* that moved in each direction so far */
	enum event type;
	__u8 ending;		 /* socket_closed: enum ending, and whose doing it was */
	__u8 parts;		 /* enum part */
	enum direction requests; /* theirs, as far as the first bytes told */
	__u32 lost;		 /* exchanges that found no room since the record before */
	struct http_call kept;	 /* before call */
	struct http_call call;
};

/* A line that may be a request's. */
enum line {
	LINE_OPEN = 0x80, /* it has not ended yet */
	LINE_BARE,	  /* it names no version: only an answer makes a request of it */
};

enum verdict {
	UNDECIDED,
	IS_HTTP,
	IS_HTTP2,
	IS_OTHER, /* or told to be over */
};

/* Calls after which a socket of another protocol is not looked at for TLS any more. */
#define TLS_LOOKS 16

/* What moves on a socket. */
enum tls {
	NOT_TLS,
	CIPHERTEXT, /* and what is in it is not known; verdict is IS_OTHER */
	PLAINTEXT,  /* what is in it is: verdict and all that counts bytes are about that */
};

enum tls_flag {
	TLS_WHOLE = 1 << 0,	/* its object is known since the first byte */
	TLS_LINKED = 1 << 1,	/* it has had an object */
	TLS_HELLO = 1 << 2,	/* more of a ClientHello is to come from the other side */
	PASSED_OVER = 1 << 3,	/* by --port */
};

struct tls_object {
	__u64 address;
	__u32 pid;
	__u32 pad;
};

struct socket_state {
	struct http_intro intro;
	__u64 seen;
	__u64 bytes[2];
	__u64 sent_at; /* last byte sent */
	struct http_spent spent; /* of the request that was read last */
	struct tls_object object; /* of TLS that has the socket */
	__u32 next[2]; /* TCP's numbers of the bytes that come next */
	__u32 ports;   /* as the kernel has them: tells another socket at this address */
	/* Calls in the map heads: as many as were put there and not taken, 0 or 1. */
	__u8 kept;
	__u8 taken;
	__u8 tls;	/* enum tls */
	__u8 tls_flags; /* enum tls_flag */
	__u32 head; /* the entry there, if that is this socket's */
	__u32 arrived;	/* jiffies: what was read last had come; 0: not known, as of MPTCP */
	__u32 accepted; /* jiffies, until its first request was read; 0 if that is not known */
	__u32 reader;	/* thread that has read the request */
	__u32 turn;	/* of it, then */
	__u32 lost; /* exchanges that found no room and were not told of: lost_record() */
	struct http_call sum;
	enum direction requests;
	__u8 verdict;
	__u8 misses;		 /* calls that are not HTTP; then those that are not TLS */
	enum direction last_dir; /* of the last call */
	__u8 run;		 /* calls before it in that direction in a row, up to 255 */
	__u8 wanted;		 /* owner passes the filters */
	__u8 introduced;	 /* user space has intro */
	__u8 wide;		 /* calls may hold many heads */
	__u8 ending;		 /* enum ending: within a send that is still to be told */
	__u8 late;		 /* the same, and its client may still take an answer out */
	__u8 kind;		 /* enum counted: as what it was counted */
	__u8 calls;		 /* goes round */
	bool multipath;		 /* it is one of MPTCP, and no TCP socket */
	bool serving;		 /* a request was read, and is in the thread's entry of serving */
	bool alone;		 /* and no other one was there */
	bool queued;		 /* spent.queue is of frames of HTTP/2, and was not told */
	__u8 urgent_before;	 /* by direction: whether bytes before the next one are urgent */
	/* In records of this turn that found no room: requests and answers that began. */
	__u8 lost_requests;
	__u8 lost_answers;
	__u16 least;	/* bytes of the smallest call that is one request: several_asked() */
	__u16 before;	/* bytes that are still to come of what stands before the first request */
	__u8 start_len; /* bytes in start: too few to decide; or enum line */
	char start[START_LEN + START_MORE]; /* of a line its last bytes are behind START_LEN */
};

/*
 * Every TCP socket, and every one of MPTCP that moves bytes. Inserted when it is connected, or at its first data call if
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
volatile struct waiting_request waiting[MAX_HEADS] SHARED("waiting");

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
	unframed = 1 << 3, /* what looked like HTTP/2 is not */
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

/* Tasks on a CPU that may be in the midst of programs at functions of TLS. */
#define TLS_SCRATCHES 3

/* Who builds a record, and its copies. */
enum scratch_use {
	FOR_SEND,
	FOR_RECEIVE = FOR_SEND + LAST_CALL + 1,
	FOR_SPLICE = FOR_RECEIVE + LAST_CALL + 1, /* out of a socket; it has no copies */
	FOR_STATE,
	FOR_DESTROY = FOR_STATE + STEP_COPIES_MOST,
	FOR_TLS = FOR_DESTROY + STEP_COPIES_MOST, /* whichever is free */
	SCRATCH_USES = FOR_TLS + TLS_SCRATCHES,
};

#define PAYLOAD_RECORD struct http_record
#define PAYLOAD_USES SCRATCH_USES
#define PAYLOAD_MORE struct socket_state draft; /* of an entry that is to be inserted */
#include "h2.h"

/* Where a connection is in its frames of HTTP/2. */
struct http2_state {
	struct h2_dir dirs[2];
	struct h2_run runs[2][H2_RUNS];
};

/*
 * Sockets that speak HTTP/2, by address. Inserted when that is known of one, deleted
 * with its entry in sockets. One that finds no room is counted and not traced.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct http2_state);
} http2 SEC(".maps");

/* What one begins as. */
const volatile struct http2_state http2_begins;
const volatile struct socket_state multipath_begins = {.multipath = true, .last_dir = neither};

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

/* Knobs. */
const volatile __u32 prefix = 1024;
const volatile __u32 max_heads = MAX_HEADS;
const volatile bool read_tls; /* plaintext of TLS is wanted */
const volatile bool has_task_regs; /* bpf_task_pt_regs() is there (5.15) */
/* Boot clock − monotonic clock, ns: kept by user space. */
volatile __u64 asleep SHARED("asleep");

#endif
