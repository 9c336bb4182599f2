package trace

import (
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/kernel/confine"
)

// Confine gives up, for the whole process and for good, what it takes to load
// and attach programs: no other program can be run, and of the capabilities
// those stay that names are looked up with (CAP_DAC_READ_SEARCH and
// CAP_SYS_PTRACE), CAP_KILL where a command was started that may belong to
// another user, and CAP_BPF where the kernel wants it for reading a map (before
// 5.19).
func (s *Session) Confine() error {
	keep := uint64(1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_PTRACE)
	if s.opts.Command != 0 {
		keep |= 1 << unix.CAP_KILL
	}
	if confine.MapsNeedPrivilege(s.objects.Maps[bpf.ExecMapLost], keep) {
		keep |= 1 << unix.CAP_BPF
	}
	return confine.Confine(keep, confine.Reader())
}
