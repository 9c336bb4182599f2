package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tracer/render"
	"tracer/render/help"
	"tracer/trace"
	"tracer/trace/option"
	"tracer/trace/place"
	"tracer/trace/proc"
)

// config is what the flags of a tracing command say.
type config struct {
	trace.Options
	user         string
	buffer, tier string
	color        string
	noColor      bool
	json, wide   bool
	verbose      bool
	duration     time.Duration
	columns      []string
	command      []string
}

// declare adds the flags that every tracing command has.
func (c *config) declare(flags *pflag.FlagSet) {
	group := func(title string, declare func(*pflag.FlagSet)) {
		g := pflag.NewFlagSet(title, pflag.ContinueOnError)
		g.SortFlags = false
		declare(g)
		help.Group(g, title)
		flags.AddFlagSet(g)
	}
	group("process", func(f *pflag.FlagSet) {
		f.VarP(option.IDs(&c.PIDs), "pid", "p", "`N[,N…]` only these processes, and the children that they start from now on")
		f.Var(option.Comms(&c.Comms), "comm", "`NAME[,NAME…]` only processes with this name; * and ? match (? also a space)")
		f.VarP(option.Text(&c.user), "uid", "u", "`N|NAME` only processes of this user")
		f.BoolVar(&c.Self, "self", false, "also show tracer itself and the SSH session it runs in")
	})
	group("place", func(f *pflag.FlagSet) {
		f.Var(option.Text(&c.Place.Container), "container", "`NAME` only this container: its name, or the first digits of its id; * and ? match")
		f.Var(option.Text(&c.Place.Pod), "pod", "`NAME` only this pod; * and ? match")
		f.Var(option.Text(&c.Place.Namespace), "namespace", "`NAME` only this Kubernetes namespace; * and ? match")
	})
	group("stop", func(f *pflag.FlagSet) {
		f.VarP(option.Duration(&c.duration, 1), "duration", "d", "`10s` stop after this long")
		f.VarP(option.Number(&c.Count, 1), "count", "n", "`N` stop after N events were shown")
	})
	group("output", func(f *pflag.FlagSet) {
		f.BoolVar(&c.json, "json", false, "write JSON, one object per line")
		f.Var(option.Names(&c.columns), "columns", "`a,b,c` show these columns, in this order")
		f.BoolVar(&c.wide, "wide", false, "do not cut cells to the width of the terminal")
		f.Var(option.OneOf(&c.color, "auto", "always", "never"), "color", "`WHEN` use colour: always, never, or auto, which is on a terminal, unless NO_COLOR is set or TERM is dumb")
		f.BoolVar(&c.noColor, "no-color", false, "the same as --color never")
		f.BoolVar(&c.verbose, "verbose", false, "report at the end what was seen and what filters left out (always done if nothing was shown)")
	})
	group("kernel", func(f *pflag.FlagSet) { declareKernel(f, &c.Options, &c.buffer, &c.tier) })
	group("kubelet", func(f *pflag.FlagSet) {
		f.Var(option.Text(&c.Kubelet.TokenFile), "kubelet-token", "`FILE` bearer token to ask the kubelet for names that are not found on this host")
		f.Var(option.Text(&c.Kubelet.CertFile), "kubelet-cert", "`FILE` client certificate for the kubelet; needs --kubelet-key")
		f.Var(option.Text(&c.Kubelet.KeyFile), "kubelet-key", "`FILE` key of the client certificate")
		f.Var(option.Text(&c.Kubelet.CAFile), "kubelet-ca", "`FILE` certificates that sign the kubelet's own (default: those of the system)")
	})
}

// declareKernel adds the flags that say how to trace.
func declareKernel(f *pflag.FlagSet, opts *trace.Options, buffer, tier *string) {
	f.Var(option.OneOf(buffer, "auto", "ring", "perf"), "buffer", "`auto|ring|perf` how events leave the kernel: by a ring buffer, or by perf buffers on kernels without one")
	f.Var(option.Text(&opts.BTF), "btf", "`FILE` kernel types (BTF), for kernels that do not bring their own")
	f.Var(option.OneOf(tier, "fentry", "kprobe", "tracepoint"), "tier", "`fentry|kprobe|tracepoint` hook the kernel only in this way, for tests")
	_ = f.MarkHidden("tier") // it exists
}

// setKernel puts the values of these flags into the options.
func setKernel(opts *trace.Options, buffer, tier string) (err error) {
	if opts.Buffer, err = trace.ParseBuffer(buffer); err != nil {
		return fmt.Errorf("--buffer: %w", err)
	}
	if tier != "" {
		if err := opts.SetTier(tier); err != nil {
			return fmt.Errorf("--tier: %w", err)
		}
	}
	return nil
}

// resolve finishes what one flag's value alone does not tell, and picks the
// columns.
func (c *config) resolve(flags *pflag.FlagSet, view render.View) (render.View, error) {
	if err := setKernel(&c.Options, c.buffer, c.tier); err != nil {
		return view, err
	}
	if c.noColor {
		c.color = "never"
	}
	if flags.Changed("uid") {
		uid, err := proc.NewUsers("/etc/passwd").ID(c.user)
		if err != nil {
			return view, fmt.Errorf("--uid: %w", err)
		}
		c.UID = &uid
	}
	switch {
	case c.Kubelet.CertFile != "" && c.Kubelet.KeyFile == "":
		return view, errors.New("--kubelet-cert: --kubelet-key is missing")
	case c.Kubelet.CertFile == "" && c.Kubelet.KeyFile != "":
		return view, errors.New("--kubelet-key: --kubelet-cert is missing")
	}
	view.Columns = render.WithPlaces(view.Columns, view.Paged)
	if !flags.Changed("columns") {
		view.Columns = render.Defaults(view.Columns)
		return view, nil
	}
	picked, bad := render.Select(view.Columns, c.columns)
	if len(picked) == 0 {
		return view, help.Hint(fmt.Errorf("--columns: unknown column %q", bad),
			"choose from "+strings.Join(render.Names(view.Columns), ", "))
	}
	view.Columns = picked
	return view, nil
}

// hostValues are what a shell can complete because it is on this host now.
func hostValues() help.Values {
	processes := func() (list []string) {
		dir := proc.Dir("/proc")
		pids, _ := dir.PIDs()
		for _, pid := range pids {
			if stat, err := dir.Stat(pid); err == nil {
				list = append(list, fmt.Sprintf("%d\t%s", pid, render.AppendText(nil, stat.Comm)))
			}
		}
		return list
	}
	return help.Values{
		"pid": processes,
		"comm": func() (names []string) {
			for _, p := range processes() {
				_, name, _ := strings.Cut(p, "\t")
				names = append(names, name)
			}
			return names
		},
		"uid": proc.NewUsers("/etc/passwd").List,
		"container": func() []string {
			containers, _, _ := place.Names(place.Roots{})
			return containers
		},
		"pod": func() []string {
			_, pods, _ := place.Names(place.Roots{})
			return pods
		},
		"namespace": func() []string {
			_, _, namespaces := place.Names(place.Roots{})
			return namespaces
		},
	}
}
