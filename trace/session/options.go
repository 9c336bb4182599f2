package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/option"
	"tracer/trace/place"
	"tracer/trace/proc"
)

// Options say what a session traces and what of it is wanted.
type Options struct {
	Filter
	Place   place.Filter  // only events in such a container or pod
	Kubelet place.Kubelet // who is asked where files and sockets give no names
	Command uint32        // the process that a command waits in, 0: there is none
	Self    bool          // also tracer itself and the SSH session it runs in
	Read    []string      // files of a recording to show; empty: trace this host
	Follow  bool          // at their end wait for more
	User    string        // with Read: only events of this user, by the name that was recorded
	Count   uint64        // stop after so many events shown; 0: never
	// Duration is how long to trace, 0: until Run's context ends. It is for who makes
	// that.
	Duration time.Duration
	BTF      string        // file with the kernel's types, empty: the kernel's own
	Buffer   kernel.Buffer // how records travel
	Tier     kernel.Tier   // for tests: the only one to use where there is a choice
	// CgroupPaths has events tell the paths of cgroups, which tables can show.
	CgroupPaths bool
	Notice      func(*event.Notice) // told of warnings and losses; must not block
	Cache       *kernel.Cache       // for tests, which open hundreds of sessions; nil: nothing is kept
	Limits      Limits              // for tests

	given given // by flags
}

// Limits are for tests, which want what is soon full or over. 0: as always.
type Limits struct {
	kernel.Limits
	PlaceWait time.Duration // the longest that an event waits for a name
	Socks     uint32        // sockets that can be noted, however many there are
	// LeastSocks is for how many sockets there is room where there are few.
	LeastSocks uint32
	// RarePasses has traffic read all sockets as rarely as where that is dear.
	RarePasses bool
	Heads      uint32 // requests that can be kept in the kernel
}

// FiltersPlaces reports whether only events in some container or pod are wanted.
func (o *Options) FiltersPlaces() bool { return o.Place != place.Filter{} }

// Filter says whose events are wanted. PIDs and UID are decided in the kernel,
// the rest by Wants.
type Filter struct {
	PIDs  []uint32 // these processes and the children that they start; empty: all
	UID   *uint32  // this real user id; nil: all
	Comms []string // names; * and ? match; empty: all
}

// Wants reports whether a process of this name passes what the kernel did not
// decide.
func (f *Filter) Wants(comm string) bool {
	return len(f.Comms) == 0 || option.MatchAny(f.Comms, comm)
}

// DecidesLate reports whether there are filters that user space decides.
func (o *Options) DecidesLate() bool { return len(o.Comms) > 0 || o.FiltersPlaces() }

// Filters reports whether only events of some processes are wanted.
func (o *Options) Filters() bool { return len(o.PIDs) > 0 || o.UID != nil || o.DecidesLate() }

// given is what flags say that Resolve turns into options.
type given struct {
	user, buffer, tier string
}

// Flags declares the flags that every tracing command has, in groups.
func (o *Options) Flags(group func(title string, declare func(*pflag.FlagSet))) {
	group("process", func(f *pflag.FlagSet) {
		f.VarP(option.IDs(&o.PIDs), "pid", "p", "`N[,N…]` only these processes, and the children that they start from now on")
		f.Var(option.Comms(&o.Comms), "comm", "`NAME[,NAME…]` only processes with this name; * and ? match (? also a space)")
		f.VarP(option.Text(&o.given.user), "uid", "u", "`N|NAME` only processes of this user")
		f.BoolVar(&o.Self, "self", false, "also show tracer itself and the SSH session it runs in")
	})
	group("place", func(f *pflag.FlagSet) {
		f.Var(option.Text(&o.Place.Container), "container", "`NAME` only this container: its name, or the first digits of its id; * and ? match")
		f.Var(option.Text(&o.Place.Pod), "pod", "`NAME` only this pod; * and ? match")
		f.Var(option.Text(&o.Place.Namespace), "namespace", "`NAME` only this Kubernetes namespace; * and ? match")
	})
	group("run", func(f *pflag.FlagSet) {
		f.VarP(option.Duration(&o.Duration, 1), "duration", "d", "`10s` stop after this long")
		f.VarP(option.Number(&o.Count, 1), "count", "n", "`N` stop after N events were shown")
		f.VarP(option.Files(&o.Read), "read", "r", "`FILE[,FILE…]` show a recording instead of tracing: JSON lines, plain, gzip or zstd; - is standard input")
		f.BoolVar(&o.Follow, "follow", false, "with --read: wait for more at the end of the file, as tail -F does")
	})
	group("host", func(f *pflag.FlagSet) {
		o.KernelFlags(f)
		f.Var(option.Text(&o.Kubelet.TokenFile), "kubelet-token", "`FILE` bearer token to ask the kubelet for names that are not found on this host")
		f.Var(option.Text(&o.Kubelet.CertFile), "kubelet-cert", "`FILE` client certificate for the kubelet; needs --kubelet-key")
		f.Var(option.Text(&o.Kubelet.KeyFile), "kubelet-key", "`FILE` key of the client certificate")
		f.Var(option.Text(&o.Kubelet.CAFile), "kubelet-ca", "`FILE` certificates that sign the kubelet's own (default: those of the system)")
		f.Var(option.Text(&o.Kubelet.ServerName), "kubelet-name", "`NAME` the name in the kubelet's certificate, where it is not this host's")
	})
}

// KernelFlags declares the flags that say how to trace.
func (o *Options) KernelFlags(f *pflag.FlagSet) {
	o.given.buffer = kernel.BufferAuto.String()
	f.Var(option.OneOf(&o.given.buffer, "auto", "ring", "perf"), "buffer", "`auto|ring|perf` how events leave the kernel: by a ring buffer, or by perf buffers on kernels without one")
	f.Var(option.Text(&o.BTF), "btf", "`FILE` kernel types (BTF), for kernels that do not bring their own")
	f.Var(option.OneOf(&o.given.tier, "fentry", "kprobe", "tracepoint"), "tier", "`fentry|kprobe|tracepoint` hook the kernel only in this way, for tests")
	_ = f.MarkHidden("tier") // it exists
}

// Resolve finishes what the flags' values alone do not tell. An error is the command
// line's fault.
func (o *Options) Resolve() (err error) {
	if o.Buffer, err = kernel.ParseBuffer(o.given.buffer); err != nil {
		return fmt.Errorf("--buffer: %w", err)
	}
	o.Tier, _ = kernel.ParseTier(o.given.tier) // the flag takes no other
	if o.Follow && len(o.Read) == 0 {
		return errors.New("--follow needs --read")
	}
	switch uid, err := strconv.ParseUint(o.given.user, 10, 32); {
	case o.given.user == "" || len(o.Read) == 0:
	case err == nil:
		o.UID = new(uint32)
		*o.UID = uint32(uid)
	default: // as it was recorded: this host may have another user of that name
		o.User = o.given.user
	}
	if o.given.user != "" && len(o.Read) == 0 {
		uid, err := proc.NewUsers("/etc/passwd").ID(o.given.user)
		if err != nil {
			return fmt.Errorf("--uid: %w", err)
		}
		o.UID = &uid
	}
	switch {
	case o.Kubelet.CertFile != "" && o.Kubelet.KeyFile == "":
		return errors.New("--kubelet-cert: --kubelet-key is missing")
	case o.Kubelet.CertFile == "" && o.Kubelet.KeyFile != "":
		return errors.New("--kubelet-key: --kubelet-cert is missing")
	}
	return nil
}

// Ready says what is missing that tracing takes: on this host, or of what flags name.
func (o *Options) Ready() error {
	if len(o.Read) > 0 {
		return nil
	}
	if err := kernel.Ready(); err != nil {
		return err
	}
	return o.Exist()
}

// Exist says which file or process that a flag names does not exist. The command
// line may have been right when it was written: this is no wrong usage.
func (o *Options) Exist() error {
	for _, f := range []struct{ flag, path string }{
		{"--btf", o.BTF},
		{"--kubelet-token", o.Kubelet.TokenFile},
		{"--kubelet-cert", o.Kubelet.CertFile},
		{"--kubelet-key", o.Kubelet.KeyFile},
		{"--kubelet-ca", o.Kubelet.CAFile},
	} {
		if f.path == "" {
			continue
		}
		file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not wait at a fifo
		if err != nil {
			return fmt.Errorf("%s: %w", f.flag, err)
		}
		file.Close()
	}
	if !kernel.InFirstNamespace("pid") {
		return nil // the ids are the host's, of whose processes nothing is known here
	}
	for _, pid := range o.PIDs {
		if err := exists("/proc", pid); err != nil {
			return err
		}
	}
	return nil
}

// exists says why an id is no process's. The kernel knows, /proc may hide it (hidepid) or
// not be there.
func exists(dir proc.Dir, pid uint32) error {
	switch err := proc.Lookup(pid); {
	case errors.Is(err, proc.ErrThread):
		leader, err := dir.Leader(pid)
		if err != nil {
			return kernel.Hint(fmt.Errorf("--pid: %d is a thread and not a process", pid), fmt.Sprintf("use its process, which is Tgid in /proc/%d/status", pid))
		}
		return kernel.Hint(fmt.Errorf("--pid: %d is a thread of process %d", pid, leader), fmt.Sprintf("use --pid %d", leader))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--pid: no process %d", pid)
	}
	return nil // what cannot be told is tried
}
