package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// Commands of bpf(2): enum bpf_cmd of include/uapi/linux/bpf.h.
const (
	bpfMapCreate     = 0
	bpfMapGetNextKey = 4 // the last of those that look at or change a map's elements
	bpfGetInfo       = 15
	bpfLookupDelete  = 21
	bpfLookupBatch   = 24
	bpfIterCreate    = 33
)

// forbidden are system calls that have no business in a process that parses
// strangers' bytes. bpf(2) is among them but for what is done with the maps
// that are open: to load a program, to make a map or a link, or to get hold of
// another's is refused.
var forbidden = seccomp.Policy{
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

// Confine gives up, for the whole process and for good, what it takes to load
// and attach programs: no other program can be run, and of the capabilities
// those stay that names are looked up with (CAP_DAC_READ_SEARCH and
// CAP_SYS_PTRACE), CAP_KILL where a command was started that may belong to
// another user, and CAP_BPF where the kernel wants it for reading a map (before
// 5.19). It needs a binary without cgo.
func (k *Kernel) Confine(command bool) error {
	keep := uint64(1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_PTRACE)
	if command {
		keep |= 1 << unix.CAP_KILL
	}
	if mapsNeedPrivilege(k.look, keep) {
		keep |= 1 << unix.CAP_BPF
	}
	hdr, data := capabilitySets(keep)
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(data)), 0); errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	runtime.KeepAlive(hdr)
	runtime.KeepAlive(data)
	// no_new_privs is the thread's at first, and the filter wants it set.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: forbidden})
	if err != nil {
		return fmt.Errorf("install seccomp filter: %w", err)
	}
	return nil
}

// capabilitySets are the arguments of capset(2) that leave at most keep.
func capabilitySets(keep uint64) (*unix.CapUserHeader, *[2]unix.CapUserData) {
	keep &= capabilities()
	var data [2]unix.CapUserData
	for i := range data {
		part := uint32(keep >> (32 * i))
		data[i] = unix.CapUserData{Effective: part, Permitted: part}
	}
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data
}

// mapsNeedPrivilege finds out, on a thread that is given up afterwards, whether
// a map can be read with no more capabilities than keep. When it returns, the
// thread is gone: what is done to all threads must do the same to each.
func mapsNeedPrivilege(look func() error, keep uint64) bool {
	type answer struct {
		refused bool
		thread  int
	}
	answers := make(chan answer)
	ask := func() {
		hdr, data := capabilitySets(keep)
		a := answer{thread: unix.Gettid(), refused: true}
		if err := unix.Capset(hdr, &data[0]); err == nil {
			a.refused = errors.Is(look(), unix.EPERM)
		}
		answers <- a
	}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			ask()
			return
		}
		// The first thread never ends: as long as it is held here, another
		// one is taken.
		defer runtime.UnlockOSThread()
		asked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer close(asked)
			ask()
		}()
		<-asked
	}()
	a := <-answers
	for unix.Tgkill(unix.Getpid(), a.thread, 0) == nil { // no signal: only whether it is there
		time.Sleep(100 * time.Microsecond)
	}
	return a.refused
}
