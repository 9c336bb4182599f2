package trace

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
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

// haveKprobes is whether this kernel has kprobes. One without would verify the
// programs all the same, which takes longer than all else at the start.
func haveKprobes() bool {
	_, err := os.Stat("/sys/bus/event_source/devices/kprobe")
	return err == nil
}

// preempts is whether the kernel may preempt programs at tracepoints, which then
// miss what other tasks do meanwhile on their CPU, and need copies: see
// bpf/include/copies.h.
func (s *Session) preempts() (bool, error) {
	types, err := s.kernelTypes()
	if err != nil {
		return false, fmt.Errorf("read the kernel's types: %w", err)
	}
	// The guard of tracepoints since they can be: 7.0.
	_, err = types.AnyTypeByName("class_srcu_fast_notrace_t")
	return err == nil, nil
}

// hasCasts reports whether programs can turn a number into a pointer. A kernel
// that does not describe its types itself has no such functions.
func (s *Session) hasCasts() (bool, error) {
	if s.opts.BTF != "" {
		return false, nil
	}
	types, err := s.kernelTypes()
	if err != nil {
		return false, fmt.Errorf("read the kernel's types: %w", err)
	}
	_, err = types.AnyTypeByName("bpf_rdonly_cast")
	return err == nil, nil
}

// parameters is the number of parameters of a function of the kernel, 0 if it
// has none of this name.
func parameters(types *btf.Spec, name string) int {
	var f *btf.Func
	if types.TypeByName(name, &f) != nil {
		return 0
	}
	if p, ok := f.Type.(*btf.FuncProto); ok {
		return len(p.Params)
	}
	return 0
}

// arguments is the number of arguments that a tracepoint of the kernel hands over,
// 0 if the types tell of none of this name.
func arguments(types *btf.Spec, tracepoint string) int {
	var t *btf.Typedef
	if types.TypeByName("btf_trace_"+tracepoint, &t) != nil {
		return 0
	}
	pointer, ok := t.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	f, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return max(len(f.Params)-1, 0) // the first is the tracepoint's own
}

// followFeature keeps track of the processes behind --pid.
func followFeature(preempts bool) feature {
	programs := bpf.Expand(preempts, bpf.FollowProgFollowProcessFork, bpf.FollowProgFollowProcessFree)
	return feature{name: "descendants", doors: []door{{tierTracepoint, programs}}}
}

// kernelBTF is where the kernel describes its types.
const kernelBTF = "/sys/kernel/btf/vmlinux"

// A plain error is another one in plain words.
type plain struct {
	error
	text string
}

func (e plain) Error() string { return e.text }
func (e plain) Unwrap() error { return e.error }

// explain turns an error of loading or attaching into a sentence that says why
// and what to do. The kernel says EPERM for almost everything.
func explain(err error) error {
	// The library's guess, which is wrong but in the case below.
	text := strings.ReplaceAll(err.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
	because := func(why string) error { return plain{err, text + ": " + why} }
	// The library says it in words alone.
	if strings.Contains(text, "can't create perf event: permission denied") {
		return because("perf buffers take CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2, as on Debian: run it with sudo, set that to 2, or leave --buffer out")
	}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return err
		}
		if _, missing := os.Stat(kernelBTF); missing != nil {
			return because("a kernel that does not describe its types itself has no iterators, no fentry and of tracepoints the plain ones, whatever --btf says; one that is built with CONFIG_DEBUG_INFO_BTF has")
		}
		return because("this kernel is too old or built without it (5.8 with BTF is the oldest that works)")
	}
	var verifier *ebpf.VerifierError
	have := capabilities()
	if lacking := lacking(have, true); len(lacking) > 0 {
		var list []string
		for _, p := range lacking {
			list = append(list, p.name+" to "+p.what)
		}
		return plain{err, "not permitted: tracing needs " + strings.Join(list, " and ") + ": " + grant(lacking)}
	}
	var limit unix.Rlimit
	switch {
	case errors.As(err, &verifier) && len(verifier.Log) > 0:
		return because("this kernel takes a program of tracer's for unsafe, which is a fault of tracer's, or of a --btf FILE that is another kernel's")
	case inForce(lockdown()) == "confidentiality":
		return because("the kernel is locked down (confidentiality), which forbids reading kernel memory; boot with lockdown=integrity or none")
	case strings.Contains(text, "map create: ") && have&(1<<unix.CAP_SYS_RESOURCE) == 0 && unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur != unix.RLIM_INFINITY:
		return because(fmt.Sprintf("before Linux 5.11 this counts as locked memory, of which %d KiB are allowed: give it CAP_SYS_RESOURCE, too, or raise the limit (ulimit -l unlimited); "+
			"otherwise a security module or a container's seccomp profile forbids it", limit.Cur>>10))
	default:
		return because("a security module, a container's seccomp profile or a lockdown forbids it; try outside the container")
	}
}

// A privilege is a capability that tracing can use: capabilities(7).
type privilege struct {
	bit    int
	name   string
	needed bool   // nothing works without it
	what   string // to do with it
}

// privileges are all of them, the indispensable ones first.
var privileges = []privilege{
	{unix.CAP_BPF, "CAP_BPF", true, "load programs"},
	{unix.CAP_PERFMON, "CAP_PERFMON", true, "attach programs that read the kernel's memory"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", false, "tell what other users' older processes run (exec --exits)"},
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", false, "read names of containers and pods in their runtimes' files"},
}

// lacking are the privileges that are not among have, or only those of them
// without which nothing works.
func lacking(have uint64, needed bool) (list []privilege) {
	for _, p := range privileges {
		implied := p.needed && have&(1<<unix.CAP_SYS_ADMIN) != 0
		if have&(1<<p.bit) == 0 && !implied && (p.needed || !needed) {
			list = append(list, p)
		}
	}
	return list
}

// grant says how to get privileges.
func grant(list []privilege) string {
	if !inFirstNamespace("user") {
		return "run it outside; what this user namespace gives, as a rootless container has one, counts only inside"
	}
	if os.Geteuid() == 0 {
		var flags []string
		for _, p := range list {
			flags = append(flags, "--cap-add "+strings.TrimPrefix(p.name, "CAP_"))
		}
		return "run it where root has them; to a container they are given by --privileged, or by " + strings.Join(flags, " ")
	}
	file, err := os.Executable()
	if err != nil {
		file = "tracer"
	}
	// All that it has would be replaced.
	have := capabilities()
	var names []string
	for _, p := range privileges {
		if have&(1<<p.bit) != 0 || slices.Contains(list, p) {
			names = append(names, strings.ToLower(p.name))
		}
	}
	return "run it with sudo, or give them to the file: setcap " + strings.Join(names, ",") + "=ep " + file
}

// inFirstNamespace reports whether this process is in the namespace of a kind
// that the kernel began with; also if that is not to be found out.
func inFirstNamespace(kind string) bool {
	// Their inodes are fixed: enum init_ns_ino of include/uapi/linux/nsfs.h.
	first := map[string]string{"user": "user:[4026531837]", "pid": "pid:[4026531836]"}[kind]
	name, err := os.Readlink("/proc/self/ns/" + kind)
	return err != nil || name == first
}

// capabilities is the effective set, one bit per capability; all if unknown.
// Those of a user namespace are none to the host.
func capabilities() uint64 {
	if !inFirstNamespace("user") {
		return 0
	}
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
