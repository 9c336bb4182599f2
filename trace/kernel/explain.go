package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Explain turns an error of loading or attaching into a sentence that says why, and
// a hint that says what to do. The kernel says EPERM for almost everything.
func Explain(err error) error {
	// The library's guess, which is wrong but in the case below.
	text := strings.ReplaceAll(err.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
	because := func(why, hint string) error { return explained{err, text + ": " + why, hint} }
	if outOfFiles(err) {
		var limit unix.Rlimit
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // it knows its own
		return because(fmt.Sprintf("this process may have %d", limit.Cur), moreFiles)
	}
	// The library says it in words alone.
	if strings.Contains(text, "can't create perf event: permission denied") {
		return because("perf buffers need CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2, as on Debian",
			"run it with sudo, set kernel.perf_event_paranoid to 2, or leave --buffer out")
	}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return err
		}
		if _, missing := os.Stat(BTFFile); missing != nil {
			return because("a kernel that does not describe its own types has no iterators, no fentry and only plain tracepoints, whatever --btf says",
				"use a kernel that is built with CONFIG_DEBUG_INFO_BTF")
		}
		return because("this kernel is too old, or is built without it", "Linux 5.8 with BTF is the oldest that works")
	}
	var verifier *ebpf.VerifierError
	have := capabilities()
	if lacking := lacking(have, true); len(lacking) > 0 {
		var list []string
		for _, p := range lacking {
			list = append(list, p.name+" to "+p.what)
		}
		return explained{err, "not permitted: tracing needs " + strings.Join(list, " and "), grant(lacking)}
	}
	var limit unix.Rlimit
	switch {
	case errors.As(err, &verifier) && len(verifier.Log) > 0:
		return because("the kernel rejects a program of tracer as unsafe", "leave out a --btf FILE that was made for another kernel; otherwise this is a bug of tracer")
	case Lockdown() == "confidentiality":
		return because("the kernel is locked down (confidentiality), which forbids reading kernel memory", "boot with lockdown=integrity or none")
	case strings.Contains(text, "map create: ") && have&(1<<unix.CAP_SYS_RESOURCE) == 0 && unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur != unix.RLIM_INFINITY:
		return because(fmt.Sprintf("before Linux 5.11 maps count as locked memory, of which %d KiB are allowed; or a security module or a container's seccomp profile forbids it", limit.Cur>>10),
			"give it CAP_SYS_RESOURCE too, or raise the limit (ulimit -l unlimited)")
	default:
		return because("a security module, a container's seccomp profile or a lockdown forbids it", "try it outside the container")
	}
}

// outOfFiles reports whether err says that no more files can be opened. The library
// says it in words alone in places.
func outOfFiles(err error) bool {
	return errors.Is(err, unix.EMFILE) || strings.Contains(err.Error(), unix.EMFILE.Error())
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
	if !InFirstNamespace("user") {
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

// InFirstNamespace reports whether this process is in the namespace of a kind ("pid",
// "user") that the kernel began with; also if that cannot be found out.
func InFirstNamespace(kind string) bool {
	// Their inodes are fixed: enum init_ns_ino of include/uapi/linux/nsfs.h.
	first := map[string]string{"user": "user:[4026531837]", "pid": "pid:[4026531836]"}[kind]
	name, err := os.Readlink("/proc/self/ns/" + kind)
	return err != nil || name == first
}

// capabilities is the effective set, one bit per capability; all if unknown.
// Those of a user namespace are none to the host.
func capabilities() uint64 {
	if !InFirstNamespace("user") {
		return 0
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return ^uint64(0)
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32
}

// A Privilege is a capability that tracing can use and this process lacks.
type Privilege struct {
	Name   string // as CAP_BPF
	Needed bool   // nothing works without it
	For    string // what it is for
}

// Lacking lists the privileges that this process lacks, and says how to get them.
func Lacking() (list []Privilege, remedy string) {
	missing := lacking(capabilities(), false)
	for _, p := range missing {
		list = append(list, Privilege{p.name, p.needed, p.what})
	}
	if len(missing) > 0 {
		remedy = grant(missing)
	}
	return list, remedy
}

// Lockdown is the state of the kernel's lockdown: none, integrity, confidentiality;
// empty if the kernel does not tell.
func Lockdown() string {
	b, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	return inForce(string(b))
}

// inForce is the word in brackets, as the kernel lists choices; empty if there is
// none.
func inForce(choices string) string {
	_, word, _ := strings.Cut(choices, "[")
	word, _, _ = strings.Cut(word, "]")
	return word
}

// Release is the kernel's version, as uname -r says it.
func Release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
