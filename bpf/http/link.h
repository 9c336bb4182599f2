/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which socket belongs to a TLS library's object of a connection. It is never guessed:
 *
 * - what a thread sends to or takes from a socket that speaks TLS while it is in a
 *   function of the library belongs to the object that the function was called with.
 *   A thread of Go's is a goroutine, which the registers of its system calls tell.
 * - where the process moves the ciphertext by itself (memory BIOs), the first bytes of
 *   what the library hands to it are those of a later send.
 *
 * The latest wins, as addresses of objects are used again. What is in no struct of the
 * library is not needed, and so no version of it is known here.
 */
#ifndef TRACER_HTTP_LINK_H
#define TRACER_HTTP_LINK_H

#include "spent.h"

/* Who is in a function of a library: a thread (routine is 0), or a goroutine of a process. */
struct tls_thread {
	__u64 who; /* bpf_get_current_pid_tgid(), of a goroutine without the thread */
	__u64 routine;
};

/* How a function tells the number of bytes that it has moved. */
enum tls_result {
	RESULT_NONE,
	RESULT_32,	/* it returns it, as an int */
	RESULT_64,	/* as a long */
	RESULT_POINTER, /* it returns 1, and has stored it where an argument points */
	RESULT_GIVEN,	/* as a parameter */
};

/* A call of a function of a library. */
struct tls_call {
	__u64 object;
	__u64 buf;
	__u64 count; /* the number of bytes, RESULT_GIVEN, or where it will be, RESULT_POINTER */
	__u64 sp;    /* where the stack was at its entry */
	__u64 time;  /* ns, boot clock: of the entry, or of the first send within */
	__u32 pid;
	enum library library;
	enum direction dir; /* of the plaintext; neither: there is none */
	__u8 result;	    /* enum tls_result */
	__u8 active;
	__u8 nested; /* calls within it of the same object */
	__u8 moved;  /* it has moved ciphertext, to or from a socket or a BIO */
	__u8 sent;   /* time is that of a send */
	__u8 handshake;
	__u8 pad[4];
	__u64 socket; /* with which it has moved something, and seen; 0: none */
	__u64 seen;
};

/*
 * The last call of each thread. Written at its entry, and by whatever of it is seen
 * before it returns; not deleted: the oldest give way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct tls_thread);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

struct tls_link {
	__u64 socket; /* 0: none is known yet */
	__u64 seen;   /* with socket, tells it from all others */
	__u64 since;  /* without: when that began */
	__u64 bytes[2]; /* without: plaintext that has moved */
	__u32 calls;  /* without: that were told */
	__u32 asked;  /* without: bio_needed was told */
};

/* The sockets of objects. Written where one is found; the oldest give way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct tls_object);
	__type(value, struct tls_link);
} tls_links SEC(".maps");

/* Bytes of a record that tell it from all others: header, and encrypted ones. */
#define TLS_PREFIX 32

struct tls_prefix {
	__u8 bytes[TLS_PREFIX];
} __attribute__((aligned(8)));

struct tls_owner {
	struct tls_object object;
	enum library library;
	__u8 pad[7];
};

/* Whose a record is that a process is to send. Written by bio_write; the oldest give way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tls_prefix);
	__type(value, struct tls_owner);
} tls_prefixes SEC(".maps");

/* Set by user space: there are probes in programs of Go; at BIOs. */
volatile __u32 go_probed SHARED("go");
volatile __u32 bio_probed SHARED("bio");

/* x86: the kernel's stack of a task ends with the registers of its system call. */
#define X86_STACK 16384

/* The registers with which the current task has entered the kernel. */
static __always_inline void *entry_regs(void)
{
	struct pt_regs___x86 *x86 = NULL;
	struct task_struct *task;

	if (has_task_regs)
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	if (!bpf_core_field_exists(x86->orig_ax))
		return NULL;
	task = (void *)bpf_get_current_task();
	return BPF_CORE_READ(task, stack) + X86_STACK - bpf_core_type_size(struct pt_regs___x86);
}

/* The goroutine that is in a system call: Go keeps it in a register. */
static __always_inline __u64 current_routine(void)
{
	void *regs = entry_regs();
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;
	__u64 routine = 0;

	if (!regs)
		return 0;
	if (bpf_core_field_exists(x86->orig_ax))
		bpf_probe_read_kernel(&routine, sizeof(routine), &x86->r14);
	else
		bpf_probe_read_kernel(&routine, sizeof(routine), &arm64->regs[28]);
	return routine;
}

/*
 * The call of a library that the current task is in and that what it moves on a socket
 * belongs to, or NULL. A handshake, of which Go does not tell the end, is that of the
 * first socket in it.
 */
static __noinline struct tls_call *call_under_way(__u64 socket)
{
	struct tls_thread key = {bpf_get_current_pid_tgid(), 0};
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, &key);

	if ((!call || !call->active) && go_probed) {
		key.who &= ~0xffffffffULL;
		key.routine = current_routine();
		call = bpf_map_lookup_elem(&tls_calls, &key);
	}
	if (!call || !call->active)
		return NULL;
	return !call->handshake || !call->socket || call->socket == socket ? call : NULL;
}

/* A call has moved something on a socket. A write of Go, whose end is not seen, needs no more. */
static __always_inline void note_moved(struct tls_call *call, __u64 socket, __u64 seen)
{
	call->moved = 1;
	call->socket = socket;
	call->seen = seen;
	if (call->library == golang && call->dir == neither && !call->handshake)
		call->active = 0;
}

/* Plaintext of a socket begins to be seen: all that counts bytes is about that from now on. */
static __noinline int begin_plaintext(struct socket_state *st)
{
	if (st->kind)
		count(st->kind, -1);
	st->kind = 0;
	forget_kept(st);
	stop_serving(st);
	st->tls = PLAINTEXT;
	st->verdict = UNDECIDED;
	st->bytes[sent] = st->bytes[received] = 0;
	st->sum.size = 0;
	st->misses = st->start_len = 0;
	st->run = st->calls = 0;
	st->wide = st->least = st->before = st->urgent_before = 0;
	st->last_dir = neither;
	st->intro.socket.joined = !(st->tls_flags & TLS_WHOLE);
	st->introduced = 0;
	return 0;
}

/* What is at hand while a socket is linked: in payload.room. */
struct tls_linking {
	struct tls_owner owner;
	struct tls_prefix prefix;
	struct tls_link link;
};

_Static_assert(sizeof(struct tls_linking) <= sizeof(((struct payload *)0)->room), "it has room");

/*
 * The socket, rec.socket, of an object is found; whole: with its first bytes. True if
 * plaintext of it was told before.
 */
static __noinline int link_object(struct socket_state *st, struct scratch *s, bool whole)
{
	struct tls_linking *w = (void *)s->payload.room;
	struct tls_link *link = bpf_map_lookup_elem(&tls_links, &w->owner.object);
	struct tls_about *about = (void *)&s->rec.kept;
	__u64 key = s->rec.socket;
	bool told = link && !link->socket;

	if (link && link->socket == key && link->seen == st->seen)
		return false;
	if (whole)
		st->tls_flags |= TLS_WHOLE;
	st->tls = st->tls ?: CIPHERTEXT;
	st->intro.socket.library = w->owner.library;
	/* The latest wins. */
	if (link && link->socket) {
		struct socket_state *before = bpf_map_lookup_elem(&sockets, &link->socket);

		if (before && before->seen == link->seen)
			before->object.address = 0;
	}
	st->object = w->owner.object;
	if (told) {
		about->object = w->owner.object.address;
		about->pid = w->owner.object.pid;
		about->since = link->since;
		about->library = w->owner.library;
		begin_plaintext(st);
		st->bytes[sent] = link->bytes[sent];
		st->bytes[received] = link->bytes[received];
	}
	__builtin_memset(&w->link, 0, sizeof(w->link));
	w->link.socket = key;
	w->link.seen = st->seen;
	if (bpf_map_update_elem(&tls_links, &w->owner.object, &w->link, BPF_ANY))
		count_lost(map_full);
	return told;
}

/* Shorter records, as ChangeCipherSpec, are the same on all connections. */
#define TLS_LEAST (5 + 16)

/*
 * The first bytes of a record: what follows is left out if the record is shorter. False:
 * they are those of no record, or not of one alone.
 */
static __always_inline bool prefix_of(struct tls_prefix *prefix)
{
	__u8 *b = prefix->bytes;
	__u32 len = ((__u32)b[3] << 8 | b[4]) + 5;

	if (b[0] < 0x14 || b[0] > 0x17 || b[1] != 3 || len < TLS_LEAST)
		return false;
	/* The random bytes of a HelloRetryRequest are none (RFC 8446, 4.1.3). */
	if (b[0] == 0x16 && b[5] == 2 && b[11] == 0xcf && b[12] == 0x21 && b[13] == 0xad)
		return false;
	for (int i = 0; i < TLS_PREFIX / 8; i++) {
		__u64 *word = (__u64 *)b + i;

		if (len <= 8 * i)
			*word = 0;
		else if (len < 8 * i + 8)
			*word &= (1ULL << (len & 7) * 8) - 1;
	}
	return true;
}

#endif
