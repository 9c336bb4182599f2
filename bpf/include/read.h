/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How the kernel's memory is read: by loads where the kernel lets programs turn a
 * number into a pointer, else by a helper; and what the registers of a function or
 * a system call hold, which differs by architecture.
 */
#ifndef TRACER_READ_H
#define TRACER_READ_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Keeps the compiler from undoing or moving a bound that the verifier needs. */
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

/* Turns a number into a pointer to read from: 6.2. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
const volatile bool has_casts; /* the kernel has that, and it pays: conn */

/*
 * A field of a struct, like BPF_CORE_READ: by a load where there are casts. The
 * helper's call takes much longer than what it does. What is loaded is a pointer
 * to the verifier if it is one: take it to LOAD, and to nothing that calculates.
 */
#define LOAD(p, field)                                                              \
	({                                                                          \
		typeof((p)->field) value;                                           \
		if (has_casts)                                                      \
			value = ((typeof(p))bpf_rdonly_cast(                        \
					 p, bpf_core_type_id_kernel(typeof(*(p))))) \
					->field;                                    \
		else                                                                \
			value = BPF_CORE_READ(p, field);                            \
		value;                                                              \
	})

/*
 * Two words, or one, at an address: as numbers, with which anybody may calculate.
 * Where there are casts they are loaded as those of a struct that has just two.
 */
#define WORDS(from) \
	((struct timespec64 *)bpf_rdonly_cast(from, bpf_core_type_id_kernel(struct timespec64)))

static __always_inline void load_words(void *to, const void *from)
{
	if (has_casts) {
		struct timespec64 *words = WORDS(from);

		((__u64 *)to)[0] = words->tv_sec;
		((__u64 *)to)[1] = words->tv_nsec;
	} else {
		bpf_probe_read_kernel(to, 16, from);
	}
}

static __always_inline __u64 load_word(const void *from)
{
	__u64 word = 0;

	if (has_casts)
		word = WORDS(from)->tv_sec;
	else
		bpf_probe_read_kernel(&word, sizeof(word), from);
	return word;
}

/*
 * Puts a type into the object's BTF that no map or function there has, so that
 * bpf2go can make a Go type of it.
 */
#define FOR_GO(name, type) const type *for_go_##name

/*
 * A variable that files of one object share: each has a section of its own, as compilers
 * order the variables of one as they like.
 */
#define SHARED(name) SEC(".data." name)

/*
 * Registers: struct pt_regs differs by architecture, and one object serves both.
 * Which one it runs on is known when it is loaded: the kernel's types have the
 * registers of one of them.
 *
 * Registers that the kernel vouches for (tp_btf, a cast) take a plain load, and
 * others a call.
 */
#define REGISTER(vouched, regs, name) ((vouched) ? (regs)->name : BPF_CORE_READ(regs, name))

/* An argument of the function that a kprobe is at: the first is 0, the last 4. */
static __always_inline __u64 register_arg(void *regs, __u32 i)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (!bpf_core_field_exists(x86->orig_ax)) {
		switch (i) {
		case 0:
			return BPF_CORE_READ(arm64, regs[0]);
		case 1:
			return BPF_CORE_READ(arm64, regs[1]);
		case 2:
			return BPF_CORE_READ(arm64, regs[2]);
		case 3:
			return BPF_CORE_READ(arm64, regs[3]);
		}
		return BPF_CORE_READ(arm64, regs[4]);
	}
	switch (i) {
	case 0:
		return BPF_CORE_READ(x86, di);
	case 1:
		return BPF_CORE_READ(x86, si);
	case 2:
		return BPF_CORE_READ(x86, dx);
	case 3:
		return BPF_CORE_READ(x86, cx);
	}
	return BPF_CORE_READ(x86, r8);
}

/* What the function returns that a kretprobe is at. */
static __always_inline __u64 register_return(void *regs)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return BPF_CORE_READ(x86, ax);
	return BPF_CORE_READ(arm64, regs[0]);
}

/*
 * Registers of a program that a uprobe is at, which are its own: a plain load, which must
 * not become one of an address that is calculated.
 */
#define USER_REGISTER(ctx, x86_name, arm64_name)                              \
	({                                                                    \
		__u64 value;                                                  \
		if (bpf_core_field_exists(struct pt_regs___x86, orig_ax)) {   \
			value = ((struct pt_regs___x86 *)(ctx))->x86_name;    \
			barrier_var(value);                                   \
		} else {                                                      \
			value = ((struct pt_regs___arm64 *)(ctx))->arm64_name;\
			barrier_var(value);                                   \
		}                                                             \
		value;                                                        \
	})

/* What a function of C was called with. */
#define USER_ARG0(ctx) USER_REGISTER(ctx, di, regs[0])
#define USER_ARG1(ctx) USER_REGISTER(ctx, si, regs[1])
#define USER_ARG2(ctx) USER_REGISTER(ctx, dx, regs[2])
#define USER_ARG3(ctx) USER_REGISTER(ctx, cx, regs[3])
#define USER_ARG4(ctx) USER_REGISTER(ctx, r8, regs[4])
/* A function of Go, and its goroutine. */
#define GO_ARG0(ctx) USER_REGISTER(ctx, ax, regs[0])
#define GO_ARG1(ctx) USER_REGISTER(ctx, bx, regs[1])
#define GO_ARG2(ctx) USER_REGISTER(ctx, cx, regs[2])
#define GO_ROUTINE(ctx) USER_REGISTER(ctx, r14, regs[28])
/* What a function returns, of C or of Go, and its stack. */
#define USER_RETURN(ctx) USER_REGISTER(ctx, ax, regs[0])
#define USER_STACK(ctx) USER_REGISTER(ctx, sp, sp)

/* One of the first three arguments of a system call; arm64 puts the result where the first was. */
/* One of the first four arguments of a system call; arm64 puts the result where the first was. */
static __always_inline __u64 syscall_arg(void *regs, int i, bool vouched)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return i == 0 ? REGISTER(vouched, x86, di) :
		       i == 1 ? REGISTER(vouched, x86, si) :
		       i == 2 ? REGISTER(vouched, x86, dx) :
				REGISTER(vouched, x86, r10);
	return i == 0 ? REGISTER(vouched, arm64, orig_x0) :
	       i == 1 ? REGISTER(vouched, arm64, regs[1]) :
	       i == 2 ? REGISTER(vouched, arm64, regs[2]) :
			REGISTER(vouched, arm64, regs[3]);
}

static __always_inline int syscall_number(void *regs, bool vouched)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return REGISTER(vouched, x86, orig_ax);
	return REGISTER(vouched, arm64, syscallno);
}

/* 32-bit programs number their system calls differently. */
static __always_inline bool syscall_is_32bit(struct task_struct *task, bool vouched)
{
	struct pt_regs___x86 *x86 = NULL;

	if (bpf_core_field_exists(x86->orig_ax))
		return (vouched ? task->thread_info.status : LOAD(task, thread_info.status)) &
		       X86_TS_COMPAT;
	return (vouched ? task->thread_info.flags : LOAD(task, thread_info.flags)) & ARM64_32BIT;
}

#endif
