package trace

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"

	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/place"
	"tracer/trace/session"
	"tracer/trace/tls/find"
)

// Check finds out what can be traced here: it loads and attaches each probe
// with everything that it has, and takes it off again. Nothing is reported of
// what happens meanwhile.
func Check(opts session.Options) *event.Check {
	c := &event.Check{Kernel: kernel.Release(), Arch: runtime.GOARCH}
	if err := kernel.Ready(); err != nil {
		c.Blocked = err.Error()
		for _, p := range Single() {
			c.Commands = append(c.Commands, failed(p.Name, err))
		}
		return c
	}
	c.Lockdown = kernel.Lockdown()
	if opts.BTF != "" {
		c.BTF = opts.BTF
		if foreign := kernel.ForeignTypes(opts.BTF); foreign != "" {
			c.Warnings = append(c.Warnings, foreign)
		}
	} else if _, err := os.Stat(kernel.BTFFile); err == nil {
		c.BTF = kernel.BTFFile
	}
	switch err := kernel.HaveRing(); {
	case opts.Buffer == kernel.BufferPerf:
		c.Buffer = kernel.BufferPerf.String()
	case err == nil:
		c.Buffer = kernel.BufferRing.String()
	case errors.Is(err, ebpf.ErrNotSupported):
		c.Buffer = kernel.BufferPerf.String()
	}
	missing, remedy := kernel.Lacking()
	for _, p := range missing {
		c.Missing = append(c.Missing, event.Capability{Name: p.Name, Needed: p.Needed, For: p.For})
	}
	c.Grant = remedy
	c.Cgroups, c.Runtimes = place.Survey(place.Roots{})
	trees, err := place.FindHierarchies(place.Roots{})
	if err != nil && len(trees) > 0 {
		c.Warnings = append(c.Warnings, "some containers and pods may not be known: "+err.Error())
	}
	if unseen := place.Unseen(trees); unseen != "" {
		c.Warnings = append(c.Warnings, unseen)
	}
	if !kernel.InFirstNamespace("pid") {
		c.Warnings = append(c.Warnings, session.OwnPIDs)
	}
	checkTLS(c)
	for _, p := range Single() {
		c.Commands = append(c.Commands, checkProbe(p, opts))
	}
	return c
}

// surveyTime is what looking for TLS libraries may take.
const surveyTime = 5 * time.Second

// checkTLS lists the TLS libraries of processes that run now.
func checkTLS(c *event.Check) {
	f, err := find.New(find.Options{Quiet: true, Budget: surveyTime})
	if err != nil {
		c.Warnings = append(c.Warnings, err.Error())
		return
	}
	defer f.Close()
	list, hidden := f.Survey()
	for _, l := range list {
		c.TLS = append(c.TLS, event.CheckedTLS{Library: l.Library, Path: l.Path, Processes: l.Processes, Why: l.Why})
	}
	if hidden > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("processes that may not be looked at: %d; their TLS libraries are not listed", hidden))
	}
}

func checkProbe(p *session.Probe, opts session.Options) event.CheckedCommand {
	checked := event.CheckedCommand{Name: p.Name}
	t := p.New()
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	t.Flags(flags)
	err := flags.Parse(p.Full)
	var s *session.Session
	if err == nil {
		s, err = session.Open([]session.Tracer{t}, opts)
	}
	if err != nil {
		return failed(p.Name, err)
	}
	defer s.Close()
	for _, f := range s.Features() {
		feature := event.CheckedFeature{Name: f.Name, Misses: f.Misses[f.Tier]}
		switch {
		case f.Tier == 0:
			feature.Misses = f.Without
			feature.Remedy = "a newer kernel, or one that is built with it"
		case feature.Misses != "":
			feature.Remedy = "a kernel that lets functions be hooked, by fentry or kprobes"
			fallthrough
		default:
			feature.Hooks = f.Tier.String()
		}
		checked.Features = append(checked.Features, feature)
	}
	return checked
}

// failed is a command that cannot run.
func failed(name string, err error) event.CheckedCommand {
	checked := event.CheckedCommand{Name: name, Error: err.Error()}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		checked.Remedy = hinted.Hint()
	}
	return checked
}
