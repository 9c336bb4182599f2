package tls

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/kernel"
)

// child is a program that puts itself behind a seccomp filter which kills it for any system
// call but its exit, calls a function 16 times, and exits with 0; with 2 if there is no
// seccomp. It is linked to childBase:
//
//	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
//	seccomp(SECCOMP_SET_MODE_FILTER, 0, &program)
//	16 × f(): push rbp; pop rbp; ret
//	exit_group(0)
var child = []byte{
	0xb8, 0x9d, 0, 0, 0, 0xbf, 0x26, 0, 0, 0, 0xbe, 1, 0, 0, 0, 0x31, 0xd2, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0, 0x0f, 0x05,
	0xb8, 0x3d, 1, 0, 0, 0xbf, 1, 0, 0, 0, 0x31, 0xf6, 0x48, 0x8d, 0x15, 0x2c, 0, 0, 0, 0x0f, 0x05,
	0x85, 0xc0, 0x75, 0x17, // exit_group(2) if that failed
	0xbb, 0x10, 0, 0, 0, 0xe8, 0x19, 0, 0, 0, 0xff, 0xcb, 0x75, 0xf7,
	0xb8, 0xe7, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05,
	0xb8, 0xe7, 0, 0, 0, 0xbf, 2, 0, 0, 0, 0x0f, 0x05,
	0x55, 0x5d, 0xc3, // f
	4, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0, 0x40, 0, 0, 0, 0, 0, // struct sock_fprog
	0x20, 0, 0, 0, 0, 0, 0, 0, // the call's number
	0x15, 0, 0, 1, 0xe7, 0, 0, 0, // is it exit_group?
	6, 0, 0, 0, 0, 0, 0xff, 0x7f, // SECCOMP_RET_ALLOW
	6, 0, 0, 0, 0, 0, 0, 0x80, // SECCOMP_RET_KILL_PROCESS
}

const (
	childBase     = 0x400000
	childHead     = 64 + 56 // ELF header and one segment's
	childFunction = childHead + 0x55
)

// childFile is the child as an executable file.
func childFile() []byte {
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	le := binary.LittleEndian
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, 62)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, childBase+childHead) // entry
	b = le.AppendUint64(b, 64)                  // where the segments are listed
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, n := range []uint16{64, 56, 1, 64, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	size := uint64(childHead + len(child))
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // read, execute
	for _, n := range []uint64{0, childBase, childBase, size, size, 4096} {
		b = le.AppendUint64(b, n)
	}
	return append(b, child...)
}

// selfTest tries whether a process lives with return probes: in some kernels they make
// system calls of their own, for which a filter of the process may kill it (seen in Linux
// 6.11 to 6.13). An error says that it could not be tried.
func selfTest(o *kernel.Object) (lives bool, err error) {
	fd, err := unix.MemfdCreate("tracer", unix.MFD_CLOEXEC)
	if err != nil {
		return false, fmt.Errorf("try return probes: %w", err)
	}
	file := os.NewFile(uintptr(fd), "memfd")
	defer file.Close()
	if _, err = file.Write(childFile()); err != nil {
		return false, fmt.Errorf("try return probes: %w", err)
	}
	// Not to be written while it runs: another descriptor, for reading.
	run, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return false, fmt.Errorf("try return probes: %w", err)
	}
	defer run.Close()
	_ = file.Close()
	// It stays until the end of the session: to take it off now would hold up what follows.
	if _, err := o.Attach(bpf.TlsProgTlsReturned, true, run, 0, childFunction); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", run.Fd()))
	cmd.Env = []string{}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		return true, nil // nobody has a filter here
	case errors.As(err, &exit):
		return false, nil
	}
	return false, fmt.Errorf("try return probes: %w", err)
}
