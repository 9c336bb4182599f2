// Tracer answers one question about a Linux host: what is going on here?
//
// This file is the command line: a command for each row of trace.Probes, flags
// that become options, errors that become a sentence and an exit status. What a
// tracing command does from its start to its end is in live.go.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tracer/render"
	"tracer/render/help"
	"tracer/trace"
	"tracer/trace/command"
	"tracer/trace/option"
	"tracer/trace/place"
	"tracer/trace/proc"
)

// Exit statuses.
const (
	exitFailed = 1 // could not trace
	exitUsage  = 2 // the command line is wrong
)

func main() {
	command.Become()
	os.Exit(run())
}

// run is main without the exit.
func run() int {
	// A write to a closed pipe is an error to handle: by default SIGPIPE kills
	// the process if the pipe is stdout. COMMAND would inherit an ignored signal.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	status := 0
	root := newRoot(&status)
	var out stdout
	root.SetOut(&out)
	// Commands put failures into status: what they return is wrong usage.
	if cmd, err := root.ExecuteC(); err != nil {
		complain(help.Usage(cmd, err))
		return exitUsage
	}
	if out.err != nil {
		complain(out.err)
		return exitFailed
	}
	return status
}

// stdout is for texts of commands that trace nothing. It keeps the first error,
// which is not the fault of the command line. A reader that left is no error.
type stdout struct{ err error }

func (s *stdout) Write(b []byte) (int, error) {
	if _, err := os.Stdout.Write(b); err != nil {
		if err = render.WriteError(err); s.err == nil && !errors.Is(err, render.ErrReaderGone) {
			s.err = err
		}
	}
	return len(b), nil
}

// complain writes to stderr why tracer ends.
func complain(err error) { _, _ = os.Stderr.Write(appendError(nil, err)) }

// appendError appends an error and what the user can do about it, a line each.
// Stand-in for render.AppendError, until there is one.
func appendError(b []byte, err error) []byte {
	b = append(render.AppendMessage(b, "tracer: error: "+err.Error()), '\n')
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		b = append(render.AppendMessage(b, "tracer: hint: "+hinted.Hint()), '\n')
	}
	return b
}

func newRoot(status *int) *cobra.Command {
	root := &cobra.Command{
		Use:   "tracer",
		Short: "show what is going on on this host",
		Long: `Show what is going on on this Linux host, live: as a table, or with --json as
lines for programs.

Events go to stdout: a table on a terminal, plain lines elsewhere. Everything else
goes to stderr. The first line there says that tracing has begun: everything that
happens after it is reported. Warnings and losses follow as they occur. The last
line sums up: events seen, shown and lost, and what tracing cost.

The exit status is 0 after Ctrl-C, --duration or --count, and if the reader of a
pipe leaves. It is 1 if tracing failed, and 2 if the command line is wrong. With
-- COMMAND it is the status of COMMAND: 127 if it does not exist, 126 if it cannot
run, 128+N if signal N ended it.

Tracing needs root, or CAP_BPF and CAP_PERFMON. Run tracer check to see what is
missing.`,
		Example: `  tracer exec --exits        which programs run here, and how they end
  tracer conn --failed       which connections fail or are reset
  tracer http --summary      request rates and latencies by route`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return help.UnknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cobra.EnableCommandSorting = false
	for i := range trace.Probes {
		root.AddCommand(newCommand(&trace.Probes[i], status))
	}
	root.AddCommand(newCheck(status), help.Completion())
	help.Install(root, version(), columnsOf)
	return root
}

// columnsOf lists the columns of a command for its help.
func columnsOf(name string) []help.Section {
	var list []help.Entry
	for _, c := range render.ColumnKeys(name) {
		list = append(list, help.Entry{Name: c[0], Text: c[1]})
	}
	if len(list) == 0 {
		return nil
	}
	return []help.Section{{Title: "columns and their JSON keys", Entries: list}}
}

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

// newCommand is the command for a row of the table.
func newCommand(p *trace.Probe, status *int) *cobra.Command {
	c := &config{buffer: "auto", color: "auto"}
	tracer := p.New()
	cmd := &cobra.Command{
		Use:     p.Name + " [flags] [-- COMMAND ARG...]",
		Short:   p.Short,
		Long:    p.Long,
		Example: p.Example,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if len(args) > 0 && dash != 0 {
				return help.Hint(fmt.Errorf("unexpected argument %q", args[0]),
					"to trace a command, put -- before it: "+cmd.CommandPath()+" -- COMMAND")
			}
			if dash == 0 && len(args) == 0 {
				return errors.New("the command after -- is missing")
			}
			c.command = args
			if err := tracer.Validate(); err != nil {
				return err
			}
			view, err := c.resolve(cmd.Flags(), render.Views[p.View(tracer)])
			if err != nil {
				return err
			}
			*status = c.trace(p, tracer, view)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	own := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	own.SetOutput(io.Discard)
	tracer.Flags(own)
	flags.AddGoFlagSet(own)
	c.declare(flags)
	values := hostValues()
	values["columns"] = func() []string {
		view := render.Views[p.View(tracer)]
		return render.Names(render.WithPlaces(view.Columns, view.Paged))
	}
	help.Prepare(cmd, values)
	return cmd
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

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v
}
