package confine

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	allow  = uint32(unix.SECCOMP_RET_ALLOW)
	refuse = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
)

func TestReaderAllowsWhatReadingTakes(t *testing.T) {
	program, err := assemble(Reader())
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	own := archs[runtime.GOARCH]
	for name, c := range map[string]struct {
		call uintptr
		arg  uint64
		want uint32
	}{
		"read":                      {unix.SYS_READ, 0, allow},
		"open":                      {unix.SYS_OPENAT, 0, allow},
		"execve":                    {unix.SYS_EXECVE, 0, refuse},
		"ptrace":                    {unix.SYS_PTRACE, 0, refuse},
		"perf_event_open":           {unix.SYS_PERF_EVENT_OPEN, 0, refuse},
		"bpf: make a map":           {unix.SYS_BPF, unix.BPF_MAP_CREATE, refuse},
		"bpf: look up":              {unix.SYS_BPF, unix.BPF_MAP_LOOKUP_ELEM, allow},
		"bpf: walk":                 {unix.SYS_BPF, unix.BPF_MAP_GET_NEXT_KEY, allow},
		"bpf: load a program":       {unix.SYS_BPF, unix.BPF_PROG_LOAD, refuse},
		"bpf: ask about":            {unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, allow},
		"bpf: make a link":          {unix.SYS_BPF, unix.BPF_LINK_CREATE, refuse},
		"bpf: iterate":              {unix.SYS_BPF, unix.BPF_ITER_CREATE, allow},
		"bpf: what is to come":      {unix.SYS_BPF, 1000, refuse},
		"bpf: in 64 bits":           {unix.SYS_BPF, 1<<32 | unix.BPF_MAP_LOOKUP_ELEM, refuse},
		"one that there is not yet": {1000, 0, allow},
	} {
		if got := run(t, vm, own, uint32(c.call), c.arg); got != c.want {
			t.Errorf("%s: %#x, want %#x", name, got, c.want)
		}
	}
	// Other ways into the kernel have other numbers: 3 is read on i386.
	for _, other := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM} {
		if got := run(t, vm, other, 3, 0); got != refuse {
			t.Errorf("architecture %#x: %#x, want %#x", other, got, refuse)
		}
	}
	if runtime.GOARCH == "amd64" {
		if got := run(t, vm, own, 1<<30|3, 0); got != refuse {
			t.Errorf("x32: %#x, want %#x", got, refuse)
		}
	}
}

// Whatever an argument is, it is not taken for a system call's number: each rule
// is tried with arguments that are the numbers of all others.
func TestArgumentsAreNoNumbers(t *testing.T) {
	policy := Policy{Rules: []Rule{
		{Call: 1, Args: []Arg{Is(0, 100)}, Allow: true},
		{Call: 2, Args: []Arg{{Index: 0, Mask: 4}}, Allow: true},
		{Call: 3, Args: []Arg{{Index: 0, Mask: 8, Value: 8}, Is(1, 0)}, Allow: true},
		{Call: 4, Errno: unix.ENOSYS},
		{Call: 5, Allow: true},
	}}
	program, err := assemble(policy)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	for call := range uint32(8) {
		for arg := range uint64(128) {
			for _, high := range []uint64{0, 1 << 32} {
				arg := arg | high
				want := refuse
				switch {
				case call == 1 && arg == 100, call == 2 && arg&4 == 0, call == 3 && arg&8 != 0, call == 5:
					want = allow
				case call == 4:
					want = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
				}
				if got := run(t, vm, archs[runtime.GOARCH], call, arg); got != want {
					t.Errorf("call %d, argument %d: %#x, want %#x", call, arg, got, want)
				}
			}
		}
	}
}

// run is what a filter says of a system call: struct seccomp_data. The machine
// takes each word for a big-endian one.
func run(t *testing.T, vm *bpf.VM, arch, call uint32, arg uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data, call)
	binary.BigEndian.PutUint32(data[4:], arch)
	binary.BigEndian.PutUint32(data[16:], uint32(arg))
	binary.BigEndian.PutUint32(data[20:], uint32(arg>>32))
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

// What is tried is tried with the capabilities that are to be kept, on a thread
// that is gone afterwards.
func TestTryLeavesNothingBehind(t *testing.T) {
	for _, keep := range []uint64{0, 1 << unix.CAP_SYS_PTRACE} {
		before := effective(t)
		thread, wrong := 0, errors.New("wrong capabilities")
		err := Try(keep, func() error {
			thread = unix.Gettid()
			if effective(t) != before&keep {
				return wrong
			}
			return unix.ENOENT
		})
		if !errors.Is(err, unix.ENOENT) {
			t.Errorf("keeping %#x: %v", keep, err)
		}
		if err := unix.Tgkill(os.Getpid(), thread, 0); thread == 0 || thread == os.Getpid() || !errors.Is(err, unix.ESRCH) {
			t.Errorf("keeping %#x: thread %d is still there: %v", keep, thread, err)
		}
		if after := effective(t); after != before {
			t.Errorf("keeping %#x: capabilities %#x before, %#x after", keep, before, after)
		}
	}
}

func effective(t *testing.T) uint64 {
	t.Helper()
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(hdr, &data[0]); err != nil {
		t.Error(err)
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32
}
