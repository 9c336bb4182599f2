// Package confine takes from a process what it needs no more: capabilities, and
// system calls. What is given up does not come back.
//
// A process is its threads: each has its own capabilities and its own filter.
// Everything here is done to all of them, in programs with and without cgo.
// Start with Confine.
package confine

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Confine leaves the process at most the capabilities keep, a set of 1<<CAP_…,
// and the system calls that the policy allows. It sets no_new_privs: no program
// that the process could run gives it more.
//
// Both steps are tried, whatever becomes of the other. After an error the
// process has more rights than it should.
func Confine(keep uint64, policy Policy) error {
	return errors.Join(drop(keep), install(policy))
}

// drop leaves all threads at most the capabilities keep. Go's own way of doing
// something on all threads is refused in programs with cgo; psx has one for both.
func drop(keep uint64) error {
	hdr, data, err := sets(keep)
	if err != nil {
		return err
	}
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(data)), 0)
	runtime.KeepAlive(hdr)
	runtime.KeepAlive(data)
	if errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}

// sets are the arguments of capset(2) that leave at most keep.
func sets(keep uint64) (*unix.CapUserHeader, *[2]unix.CapUserData, error) {
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(hdr, &data[0]); err != nil {
		return nil, nil, fmt.Errorf("read capabilities: %w", err)
	}
	for i := range data {
		part := uint32(keep>>(32*i)) & data[i].Effective
		data[i] = unix.CapUserData{Effective: part, Permitted: part}
	}
	return hdr, &data, nil
}

// install puts a filter before all system calls of all threads.
func install(policy Policy) error {
	program, err := assemble(policy)
	if err != nil {
		return err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble seccomp filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, ins := range raw {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	fprog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// no_new_privs is this thread's at first, and the filter wants it set. It
	// reaches the others together with the filter.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	thread, _, errno := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(fprog)))
	switch {
	case errno != 0:
		return fmt.Errorf("install seccomp filter: %w", errno)
	case thread != 0:
		return fmt.Errorf("install seccomp filter: thread %d has another one", thread)
	}
	return nil
}

// Try runs f on a thread that has at most the capabilities keep and that is
// given up afterwards. f must not start goroutines. When Try returns, the thread
// is gone: what is done to all threads must succeed on each.
func Try(keep uint64, f func() error) error {
	type answer struct {
		err    error
		thread int
	}
	answers := make(chan answer)
	try := func() {
		a := answer{thread: unix.Gettid()}
		var hdr *unix.CapUserHeader
		var data *[2]unix.CapUserData
		if hdr, data, a.err = sets(keep); a.err == nil {
			if a.err = unix.Capset(hdr, &data[0]); a.err == nil {
				a.err = f()
			}
		}
		answers <- a
	}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			try()
			return
		}
		// The first thread never ends: as long as it is held here, another
		// one is taken.
		defer runtime.UnlockOSThread()
		tried := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer close(tried)
			try()
		}()
		<-tried
	}()
	a := <-answers
	for unix.Tgkill(unix.Getpid(), a.thread, 0) == nil { // no signal: only whether it is there
		time.Sleep(100 * time.Microsecond)
	}
	return a.err
}
