package confine

import "github.com/elastic/go-seccomp-bpf"

// Commands of bpf(2): enum bpf_cmd of include/uapi/linux/bpf.h.
const (
	bpfMapCreate     = 0
	bpfMapGetNextKey = 4 // the last of those that look at or change a map's elements
	bpfGetInfo       = 15
	bpfLookupDelete  = 21
	bpfLookupBatch   = 24
	bpfIterCreate    = 33
)

// Reader is the policy of a process that parses strangers' bytes: it forbids the
// system calls that have no business there. bpf(2) is among them but for what is
// done with the maps that are open: to load a program, to make a map or a link,
// or to get hold of another's is refused.
func Reader() seccomp.Policy {
	return seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{{
			Action: seccomp.ActionErrno,
			Names: []string{
				"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev",
				"perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load",
				"init_module", "finit_module", "delete_module", "mount", "umount2",
				"pivot_root", "chroot", "setns", "unshare", "open_by_handle_at",
				"setuid", "setreuid", "setresuid", "setgid", "setregid", "setresgid",
				"reboot", "swapon", "swapoff", "keyctl", "add_key", "request_key",
			},
			NamesWithCondtions: []seccomp.NameWithConditions{
				{Name: "bpf", Conditions: seccomp.ArgumentConditions{
					{Argument: 0, Operation: seccomp.Equal, Value: bpfMapCreate},
				}},
				{Name: "bpf", Conditions: seccomp.ArgumentConditions{
					{Argument: 0, Operation: seccomp.GreaterThan, Value: bpfMapGetNextKey},
					{Argument: 0, Operation: seccomp.NotEqual, Value: bpfGetInfo},
					{Argument: 0, Operation: seccomp.NotEqual, Value: bpfLookupDelete},
					{Argument: 0, Operation: seccomp.NotEqual, Value: bpfLookupBatch},
					{Argument: 0, Operation: seccomp.NotEqual, Value: bpfIterCreate},
				}},
			},
		}},
	}
}
