/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types, as far as the programs read them, and nothing more:
 * what stands here is what a renamed or moved field can break. Offsets are
 * relocated when a program is loaded (CO-RE), so only names and nesting have
 * to match, not order or size. Every difference between kernel versions is
 * settled in this file, by asking whether a field exists, never by version.
 */
#ifndef TRACER_KERNEL_H
#define TRACER_KERNEL_H

/* Tells bpf_tracing.h to use the kernel's own register names. */
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
typedef unsigned long size_t;

enum {
	false = 0,
	true = 1
};

/* include/uapi/linux/bpf.h, the part that is used. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

enum {
	BPF_F_NO_PREALLOC = 1U << 0,
};

enum {
	BPF_F_CURRENT_CPU = 0xffffffffULL,
};

enum {
	BPF_RB_NO_WAKEUP = 1ULL << 0,
	BPF_RB_FORCE_WAKEUP = 1ULL << 1,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

/* include/linux/time64.h */
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

/* fs/mount.h, include/linux/{dcache,path,fs,fs_struct}.h */
struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

/* include/linux/fdtable.h */
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path pwd;
};

/* include/linux/binfmts.h */
struct mm_struct;

struct linux_binprm {
	struct mm_struct *mm;
	unsigned long p;
	int argc;
	const char *filename;
	unsigned long exec;
};

/* include/linux/{mm_types,sched,sched/signal}.h */
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	struct file *exe_file;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
	unsigned int flags;
	int group_exit_code;
};

/* include/linux/{kernfs,cgroup-defs}.h */
struct kernfs_node {
	u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

/* The value differs with the kernel's configuration: it is relocated. */
enum cgroup_subsys_id___memory {
	memory_cgrp_id = 123,
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

/* include/linux/{uidgid,cred}.h */
typedef struct {
	u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct thread_info {
	unsigned long flags;
	u32 status; /* x86 */
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct sched_info {
	unsigned long long run_delay;
};

struct task_struct {
	struct thread_info thread_info;
	struct sched_entity se;
	struct sched_info sched_info;
	void *stack;
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	u64 start_boottime;
	u64 self_exec_id;
	unsigned long nvcsw;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	const struct cred *cred;
	struct signal_struct *signal;
	struct css_set *cgroups;
	char comm[16];
};

struct io_uring_task;

struct task_struct___uring {
	struct io_uring_task *io_uring;
};

/* The registers of a system call or at a function, as the two architectures keep them. */
struct pt_regs___x86 {
	unsigned long r14;
	unsigned long bx;
	unsigned long r10;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long sp;
};

struct pt_regs___arm64 {
	u64 regs[31];
	u64 sp;
	u64 orig_x0;
	s32 syscallno;
};

/* include/net/{sock,inet_sock}.h, include/linux/{net,tcp}.h, net/mptcp/protocol.h */
struct in6_addr {
	union {
		u8 u6_addr8[16];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct sock_common {
	u32 skc_portpair; /* skc_dport, and above it the own port */
	possible_net_t skc_net;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	unsigned short skc_family;
	unsigned char skc_state;
	unsigned long skc_flags;
	refcount_t skc_refcnt;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct socket;

struct sk_buff_head {
	struct sk_buff *prev;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct sk_buff_head sk_error_queue;
	struct socket *sk_socket;
	int sk_err;
	int sk_err_soft;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	atomic_t sk_drops;
	u16 sk_protocol;
	u8 sk_shutdown;
};

struct inet_sock {
	__be16 inet_sport;
};

/* include/net/{request_sock,inet_connection_sock}.h */
struct request_sock {
	struct request_sock *dl_next;
	struct sock *sk;
};

struct request_sock_queue {
	struct request_sock *rskq_accept_head;
};

struct inet_connection_sock {
	struct request_sock_queue icsk_accept_queue; /* of a listener */
	struct {
		u32 lrcvtime; /* jiffies: the newest data came */
	} icsk_ack;
};

struct minmax_sample {
	u32 v;
};

struct minmax {
	struct minmax_sample s[3];
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_received;
	u64 bytes_acked;
	u32 snd_nxt;
	u32 snd_una;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 write_seq;
	u32 urg_seq;
	u64 tcp_wstamp_ns;
	u64 first_tx_mstamp;
	u32 segs_out;
	u32 data_segs_in;
	u32 total_retrans;
	u32 srtt_us;
	u32 lsndtime;	/* when bytes left last, in ticks */
	u32 chrono_start; /* of what sending waits for now, chrono_type, in ticks */
	u32 chrono_stat[3];
	u8 chrono_type : 2;
	struct minmax rtt_min;
	struct {
		u64 time; /* established, until something is read: us, monotonic clock */
	} rcvq_space;
	struct {
		u32 rtt_us;
	} rcv_rtt_est;
};

struct socket {
	struct sock *sk;
};

struct sk_buff {
	char cb[48];
	unsigned char *head;
	u16 transport_header;
	u16 network_header;
};

/* include/uapi/linux/errqueue.h, include/linux/errqueue.h: in cb of what waits in sk_error_queue */
struct sock_extended_err {
	__u32 ee_errno;
	__u8 ee_origin;
};

struct sock_exterr_skb {
	struct sock_extended_err ee;
};

struct iphdr {
	__be32 saddr;
};

struct ipv6hdr {
	struct in6_addr saddr;
};

struct udphdr {
	__be16 source;
};

struct mptcp_sock {
	struct list_head conn_list;
	struct sock *first;
};

struct mptcp_subflow_context {
	struct list_head node;
	struct sock *tcp_sock;
};

/* include/linux/{uio,socket}.h */
struct iovec {
	void *iov_base;
	size_t iov_len;
};

struct iov_iter {
	size_t iov_offset;
	size_t count;
	const struct iovec *__iov; /* 6.4 */
	void *ubuf;		   /* 6.0 */
};

/* Before 5.14 one field held kind and direction; before 6.4 it was iov. */
struct iov_iter___old {
	unsigned int type;
	const struct iovec *iov;
};

struct iov_iter___typed {
	u8 iter_type;
};

enum iter_type___new {
	ITER_IOVEC___new = 101,
	ITER_KVEC___new = 102,
	ITER_UBUF___new = 103,
};

struct msghdr {
	void *msg_name;
	struct iov_iter msg_iter;
	unsigned int msg_flags;
};

/* include/linux/io_uring_types.h */
struct io_cqe {
	s32 res;
};

struct io_uring_cqe {
	s32 res;
};

struct io_kiocb {
	u8 opcode;
	struct io_cqe cqe;
};

/* kernel/bpf/{bpf_iter,map_iter,task_iter}.c */
struct bpf_iter_meta {
	struct seq_file *seq;
	u64 seq_num;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *key;
	void *value;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* include/net/tcp_states.h */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};

/* include/linux/socket.h, include/uapi/linux/in.h */
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
/* include/net/sock.h: enum sock_flags, set when a FIN has come */
#define SOCK_DONE 1
#define RCV_SHUTDOWN 1
#define SEND_SHUTDOWN 2
#define SHUTDOWN_MASK 3
/* include/uapi/linux/errqueue.h */
#define SO_EE_ORIGIN_ICMP 2
#define SO_EE_ORIGIN_ICMP6 3
/* include/uapi/linux/magic.h */
#define SOCKFS_MAGIC 0x534F434B
/* include/uapi/linux/io_uring.h */
#define IORING_OP_ACCEPT 13

/* include/uapi/asm-generic/errno*.h, include/linux/errno.h */
#define ENOENT 2
#define EINTR 4
#define EACCES 13
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define ENOTDIR 20
#define EPIPE 32
#define ECONNABORTED 103
#define ECONNRESET 104
#define ETIMEDOUT 110
#define EISCONN 106
#define EALREADY 114
#define EINPROGRESS 115
#define ESTALE 116
#define ECANCELED 125
#define ERESTARTSYS 512

/* include/uapi/linux/fcntl.h */
#define AT_FDCWD -100

/* include/linux/sched.h: PF_KTHREAD */
#define TASK_IS_KTHREAD 0x00200000
/* the same: PF_IO_WORKER */
#define TASK_IS_IO_WORKER 0x00000010
/* arch/x86/include/asm/thread_info.h: TS_COMPAT */
#define X86_TS_COMPAT 0x0002
/* arch/arm64/include/asm/thread_info.h: _TIF_32BIT */
#define ARM64_32BIT (1UL << 22)
/* include/linux/sched/signal.h: SIGNAL_GROUP_EXIT */
#define GROUP_EXIT 0x00000004

#endif
