package trace

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/bpf"
)

// A tier is a kind of hook.
type tier int

// Tiers, the best first.
const (
	tierFunction   tier = iota + 1 // A: fentry and fexit
	tierKprobe                     // B: kprobe and kretprobe
	tierTracepoint                 // C: tracepoints alone
)

func (t tier) String() string {
	switch t {
	case tierFunction:
		return "fentry"
	case tierKprobe:
		return "kprobe"
	case tierTracepoint:
		return "tracepoint"
	}
	return "unknown"
}

// A feature is something that a probe wants to know, with the ways to learn it,
// best first. Which of them is taken is found by loading and attaching, never
// by the kernel's version.
type feature struct {
	name    string
	doors   []door
	without string // what is missed if none opens, as a sentence; empty: tracing is impossible
	// What a kind of hook does not see and better ones do, for people.
	misses map[tier]string
}

// A door is one way to a feature: programs that are attached together, in this
// order, to what their sections name.
type door struct {
	tier     tier
	programs []string
}

// openedFeature is a feature with the kind of hook that was found, 0 for none.
type openedFeature struct {
	feature
	tier tier
}

// preempts is whether the kernel may preempt programs at tracepoints, which then
// miss what other tasks do meanwhile on their CPU, and need copies: see
// first_sight() in bpf/include/tracer.h.
func (s *Session) preempts() (bool, error) {
	types, err := s.kernelTypes()
	if err != nil {
		return false, fmt.Errorf("read the kernel's types: %w", err)
	}
	// The guard of tracepoints since they can be: 7.0.
	_, err = types.AnyTypeByName("class_srcu_fast_notrace_t")
	return err == nil, nil
}

// followFeature keeps track of the processes behind --pid.
var followFeature = feature{name: "descendants", doors: []door{{tierTracepoint, []string{
	bpf.FollowProgFollowProcessFork,
	bpf.FollowProgFollowProcessForkCopy1,
	bpf.FollowProgFollowProcessForkCopy2,
	bpf.FollowProgFollowProcessFree,
}}}}

// Capabilities that loading and attaching takes: capabilities(7).
const need = 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON

// explain turns an error of loading or attaching into a sentence that says why
// and what to do. The kernel says EPERM for almost everything.
func explain(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		if errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("%w: this kernel is too old or built without it (5.8 with BTF is the oldest that works)", err)
		}
		return err
	}
	var verifier *ebpf.VerifierError
	switch have := capabilities(); {
	case have&(1<<unix.CAP_SYS_ADMIN) == 0 && have&need != need:
		return errors.New("not permitted: tracing needs root or the capabilities CAP_BPF and CAP_PERFMON; run it with sudo")
	case errors.As(err, &verifier) && len(verifier.Log) > 0:
		return err
	case strings.Contains(lockdown(), "[confidentiality]"):
		return fmt.Errorf("%w: the kernel is locked down (confidentiality), which forbids reading kernel memory; boot with lockdown=integrity or none", err)
	default:
		return fmt.Errorf("%w: a security module, a container's seccomp profile or a lockdown forbids it; try outside the container", err)
	}
}

// capabilities is the effective set, one bit per capability; all if unknown.
func capabilities() uint64 {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return ^uint64(0)
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32
}

// lockdown is what the kernel says of it, the state in force in brackets.
func lockdown() string {
	b, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	return string(b)
}
