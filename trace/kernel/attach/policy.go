package attach

import (
	"golang.org/x/sys/unix"

	"tracer/trace/kernel/confine"
)

// policy is what the attaching process is left with: one call that attaches, the
// socket, and what Go and libc need to go on running. All else is refused: it
// opens nothing by path, and a program's, a map's or a file's descriptor it only
// has from the process that traces.
func policy(multi, perf bool) confine.Policy {
	rules := confine.Rules(true,
		unix.SYS_CLOSE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_GETPID, unix.SYS_GETTID,
		// memory
		unix.SYS_BRK, unix.SYS_MADVISE, unix.SYS_MUNMAP,
		// threads and signals
		unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_RSEQ, unix.SYS_RESTART_SYSCALL,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SCHED_GETAFFINITY,
		unix.SYS_SCHED_YIELD, unix.SYS_SET_ROBUST_LIST, unix.SYS_SIGALTSTACK,
		// time and chance, where they take a system call
		unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_GETRANDOM,
		// Go's poller, which timers start
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_READ, unix.SYS_WRITE,
	)
	allow := func(call uintptr, args ...confine.Arg) {
		rules = append(rules, confine.Rule{Call: call, Args: args, Allow: true})
	}
	allow(unix.SYS_RECVMSG, confine.Is(0, socket))
	allow(unix.SYS_SENDMSG, confine.Is(0, socket))
	allow(unix.SYS_TGKILL, confine.Is(0, uint64(unix.Getpid())))
	allow(unix.SYS_CLONE, confine.Arg{Index: 0, Mask: unix.CLONE_THREAD, Value: unix.CLONE_THREAD})
	allow(unix.SYS_MMAP, confine.Arg{Index: 2, Mask: unix.PROT_EXEC})
	allow(unix.SYS_MPROTECT, confine.Arg{Index: 2, Mask: unix.PROT_EXEC})
	if multi {
		allow(unix.SYS_BPF, confine.Is(0, unix.BPF_LINK_CREATE))
	}
	if perf {
		allow(unix.SYS_PERF_EVENT_OPEN, confine.Is(3, ^uint64(0)), confine.Is(4, unix.PERF_FLAG_FD_CLOEXEC))
		allow(unix.SYS_IOCTL, confine.Is(1, unix.PERF_EVENT_IOC_SET_BPF))
		allow(unix.SYS_IOCTL, confine.Is(1, unix.PERF_EVENT_IOC_ENABLE))
	}
	// Its flags are in memory. libc takes clone where there is none.
	rules = append(rules, confine.Rule{Call: unix.SYS_CLONE3, Errno: unix.ENOSYS})
	return confine.Policy{Rules: rules}
}
