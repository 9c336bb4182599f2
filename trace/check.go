package trace

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/trace/event"
	"tracer/trace/place"
)

// Check finds out what can be traced here: it loads and attaches each probe
// with everything that it has, and takes it off again. Nothing is reported of
// what happens meanwhile.
func Check(opts Options) *event.Check {
	c := &event.Check{
		Kernel:   release(),
		Arch:     runtime.GOARCH,
		Lockdown: inForce(lockdown()),
	}
	if opts.BTF != "" {
		c.BTF = opts.BTF
		if foreign := foreignTypes(opts.BTF); foreign != "" {
			c.Warnings = append(c.Warnings, foreign)
		}
	} else if _, err := os.Stat(kernelBTF); err == nil {
		c.BTF = kernelBTF
	}
	switch err := haveRing(); {
	case opts.Buffer == BufferPerf:
		c.Buffer = BufferPerf.String()
	case err == nil:
		c.Buffer = BufferRing.String()
	case errors.Is(err, ebpf.ErrNotSupported):
		c.Buffer = BufferPerf.String()
	}
	if list := lacking(capabilities(), false); len(list) > 0 {
		for _, p := range list {
			c.Missing = append(c.Missing, event.Capability{Name: p.name, Needed: p.needed, For: p.what})
		}
		c.Grant = grant(list)
	}
	c.Cgroups, c.Runtimes = place.Survey(place.Roots{})
	if !inFirstNamespace("pid") {
		c.Warnings = append(c.Warnings, ownPIDs)
	}
	for i := range Probes {
		c.Commands = append(c.Commands, checkProbe(&Probes[i], opts))
	}
	return c
}

func checkProbe(p *Probe, opts Options) event.CheckedCommand {
	checked := event.CheckedCommand{Name: p.Name}
	t := p.New()
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	t.Flags(flags)
	err := flags.Parse(p.Full)
	if err == nil {
		err = t.Validate()
	}
	var s *Session
	if err == nil {
		s, err = Open(t, opts)
	}
	if err != nil {
		checked.Error = err.Error()
		return checked
	}
	defer s.Close()
	for _, f := range s.opened {
		feature := event.CheckedFeature{Name: f.name, Misses: f.misses[f.tier]}
		switch {
		case f.tier == 0:
			feature.Misses = f.without
			feature.Remedy = "a newer kernel, or one that is built with it"
		case feature.Misses != "":
			feature.Remedy = "a kernel that lets functions be hooked, by fentry or kprobes"
			fallthrough
		default:
			feature.Hooks = f.tier.String()
		}
		checked.Features = append(checked.Features, feature)
	}
	return checked
}

// release is the kernel's version, as uname -r says it.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// inForce is the word in brackets, as the kernel lists choices; empty if there
// is none.
func inForce(choices string) string {
	_, word, _ := bytes.Cut([]byte(choices), []byte("["))
	word, _, _ = bytes.Cut(word, []byte("]"))
	return string(word)
}
