package confine

import "golang.org/x/sys/unix"

// Reader is the policy of a process that parses strangers' bytes: it forbids the
// system calls that have no business there. bpf(2) is among them but for what is
// done with the maps that are open: to load a program, to make a map or a link,
// or to get hold of another's is refused.
func Reader() Policy {
	policy := Policy{AllowOthers: true}
	for _, command := range []uint64{
		unix.BPF_MAP_LOOKUP_ELEM, unix.BPF_MAP_UPDATE_ELEM, unix.BPF_MAP_DELETE_ELEM, unix.BPF_MAP_GET_NEXT_KEY,
		unix.BPF_OBJ_GET_INFO_BY_FD, unix.BPF_MAP_LOOKUP_AND_DELETE_ELEM, unix.BPF_MAP_LOOKUP_BATCH, unix.BPF_ITER_CREATE,
	} {
		policy.Rules = append(policy.Rules, Rule{Call: unix.SYS_BPF, Args: []Arg{Is(0, command)}, Allow: true})
	}
	policy.Rules = append(policy.Rules, Rules(false,
		unix.SYS_BPF,
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
		unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_MOUNT, unix.SYS_UMOUNT2,
		unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_SETUID, unix.SYS_SETREUID, unix.SYS_SETRESUID, unix.SYS_SETGID, unix.SYS_SETREGID, unix.SYS_SETRESGID,
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	)...)
	return policy
}
