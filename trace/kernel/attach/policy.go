package attach

import (
	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// policy is what the attaching process is left with: one call that attaches, the
// socket, and what Go and libc need to go on running. All else is refused: it
// opens nothing by path, and a program's, a map's or a file's descriptor it only
// has from the process that traces.
func policy(multi, perf bool) seccomp.Policy {
	is := func(argument uint32, value uint64) seccomp.Condition {
		return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: value}
	}
	allowed := seccomp.SyscallGroup{
		Action: seccomp.ActionAllow,
		Names: []string{
			"close", "exit", "exit_group", "getpid", "gettid",
			// memory
			"brk", "madvise", "munmap",
			// threads and signals
			"futex", "nanosleep", "clock_nanosleep", "rseq", "restart_syscall", "rt_sigaction", "rt_sigprocmask",
			"rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "sigaltstack",
			// time and chance, where they take a system call
			"clock_gettime", "gettimeofday", "getrandom",
			// Go's poller, which timers start
			"epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "read", "write",
		},
		NamesWithCondtions: []seccomp.NameWithConditions{
			{Name: "recvmsg", Conditions: seccomp.ArgumentConditions{is(0, socket)}},
			{Name: "sendmsg", Conditions: seccomp.ArgumentConditions{is(0, socket)}},
			{Name: "tgkill", Conditions: seccomp.ArgumentConditions{is(0, uint64(unix.Getpid()))}},
			{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}}},
			{Name: "mmap", Conditions: seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}}},
			{Name: "mprotect", Conditions: seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}}},
		},
	}
	if multi {
		allowed.NamesWithCondtions = append(allowed.NamesWithCondtions,
			seccomp.NameWithConditions{Name: "bpf", Conditions: seccomp.ArgumentConditions{is(0, unix.BPF_LINK_CREATE)}})
	}
	if perf {
		allowed.NamesWithCondtions = append(allowed.NamesWithCondtions,
			seccomp.NameWithConditions{Name: "perf_event_open", Conditions: seccomp.ArgumentConditions{
				is(3, ^uint64(0)), is(4, unix.PERF_FLAG_FD_CLOEXEC),
			}},
			seccomp.NameWithConditions{Name: "ioctl", Conditions: seccomp.ArgumentConditions{is(1, unix.PERF_EVENT_IOC_SET_BPF)}},
			seccomp.NameWithConditions{Name: "ioctl", Conditions: seccomp.ArgumentConditions{is(1, unix.PERF_EVENT_IOC_ENABLE)}})
	}
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{
			allowed,
			// Its flags are in memory. libc takes clone where there is none.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
		},
	}
}
