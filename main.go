// Tracer answers one question about a Linux host: what is going on here?
//
// This file is the command line: the tree of commands, one for each row of
// trace.Probes, and one tracing command from its start to its end. What can be traced
// is in package trace, how it looks in package render.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tracer/render"
	"tracer/render/draw"
	"tracer/render/help"
	"tracer/render/sinks"
	"tracer/trace"
	"tracer/trace/command"
	"tracer/trace/event"
	"tracer/trace/kernel/attach"
	"tracer/trace/session"
)

// Exit statuses.
const (
	exitFailed = 1 // could not trace
	exitUsage  = 2 // the command line is wrong
)

func main() {
	attach.Become()
	command.Become()
	render.Become()
	sinks.Become()
	os.Exit(run())
}

// run is main without the exit.
func run() int {
	// A write to a closed pipe is an error to handle: by default SIGPIPE kills
	// the process if the pipe is stdout, and SIGXFSZ if a file is as large as ulimit
	// allows. COMMAND would inherit an ignored signal.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGXFSZ)

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
func complain(err error) {
	_, _ = os.Stderr.Write(render.AppendError(nil, err)) // there is nowhere left to report it
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
run, 128+N if signal N ended it. COMMAND runs as the user who called sudo. Ctrl-C is
for COMMAND alone: tracing goes on until it ends.

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
	root.AddCommand(newDraw(status), newCheck(status), help.Completion())
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

// newDraw is the command that draws recordings.
func newDraw(status *int) *cobra.Command {
	return draw.Command(func(err error) {
		complain(err)
		*status = exitFailed
	})
}

// newCheck is the command that says what could be traced.
func newCheck(status *int) *cobra.Command {
	var json bool
	var opts session.Options
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "what this kernel and this user can trace, and how to get the rest",
		Long: `Show what this kernel and this user can trace, and how to get the rest.

For each command all its programs are loaded, attached, and detached again. Events
that happen meanwhile are not reported. The exit status is 0 if all commands can
run, and 1 if one cannot.`,
		Example: `  tracer check
  tracer check --json | jq '.commands[] | select(.ok | not)'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unexpected argument %q", args[0])
			}
			if err := opts.Resolve(); err != nil {
				return err
			}
			check := trace.Check(opts)
			text := append(check.AppendJSON(nil), '\n')
			if !json {
				text = render.AppendCheck(nil, check, render.Width(os.Stdout))
			}
			_, _ = cmd.OutOrStdout().Write(text) // stdout keeps the error
			if !check.OK() {
				*status = exitFailed
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "write one JSON object")
	opts.KernelFlags(cmd.Flags())
	help.Prepare(cmd, nil)
	return cmd
}

// config is what the flags of a tracing command say.
type config struct {
	session.Options
	stdout    sinks.Stdout
	recording sinks.Recording
	otlp      sinks.OTLP
	verbose   bool
	command   []string
}

// newCommand is the command for a row of the table.
func newCommand(p *session.Probe, status *int) *cobra.Command {
	c := &config{}
	tracer := p.New()
	cmd := &cobra.Command{
		Use:     p.Name + " [flags] [-- COMMAND ARG...]",
		Short:   p.Short,
		Long:    p.Long,
		Example: p.Example,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if len(args) > 0 && dash != 0 && c.otlp.Misplaced(args[0]) {
				return fmt.Errorf("unexpected argument %q: --otlp takes its value as --otlp=URL", args[0])
			}
			if len(args) > 0 && dash != 0 {
				return help.Hint(fmt.Errorf("unexpected argument %q", args[0]),
					"to trace a command, put -- before it: "+cmd.CommandPath()+" -- COMMAND")
			}
			if dash == 0 && len(args) == 0 {
				return errors.New("the command after -- is missing")
			}
			c.command = args
			c.stdout.Recorded = len(c.Read) > 0 && !c.Follow
			if len(c.Read) > 0 && len(args) > 0 {
				return errors.New("--read shows a recording: it cannot trace a command")
			}
			if err := c.Resolve(); err != nil {
				return err
			}
			if v, ok := tracer.(interface{ Validate() error }); ok {
				if err := v.Validate(); err != nil {
					return err
				}
			}
			if err := c.stdout.Resolve(cmd.Flags(), p.View(tracer)); err != nil {
				return err
			}
			if err := c.recording.Resolve(cmd.Flags(), c.Read); err != nil {
				return err
			}
			if err := c.otlp.Resolve(p.View(tracer)); err != nil {
				return err
			}
			c.CgroupPaths = c.stdout.Shows("cgroup")
			*status = c.trace(p, tracer)
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
	values := help.Values(trace.HostValues())
	maps.Copy(values, c.stdout.Values(func() string { return p.View(tracer) }))
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
	c.Flags(group)
	group("output", func(f *pflag.FlagSet) {
		c.stdout.Flags(f)
		c.recording.Flags(f)
		c.otlp.Flags(f)
		f.BoolVar(&c.verbose, "verbose", false, "report at the end what was seen and what filters left out (always done if nothing was shown)")
	})
}

// trace runs a session to its end and returns the exit status.
func (c *config) trace(p *session.Probe, tracer session.Tracer) int {
	msg := render.NewMessages(os.Stderr, c.stdout.JSON)
	c.Notice = msg.Notice
	stop := make(chan os.Signal, 4)
	command.Notify(stop, len(c.command) > 0)

	if err := c.Ready(); err != nil {
		complain(err)
		return exitFailed
	}
	if err := c.recording.Prepare(command.BehindSudo()); err != nil {
		complain(err)
		return exitFailed
	}
	defer c.recording.Close()
	if err := c.otlp.Prepare(); err != nil {
		complain(err)
		return exitFailed
	}
	var cmd *command.Command
	if len(c.command) > 0 {
		var err error
		if cmd, err = command.Start(c.command); err != nil {
			complain(err)
			return command.Status(err)
		}
		c.Command = cmd.PID
		c.PIDs = append(c.PIDs, cmd.PID)
		c.stdout.Command = true
	}
	if order := session.OrderOf(tracer); order != nil {
		c.stdout.Order = order
	}
	defer c.stdout.Prepare()()
	s, err := c.open(tracer, stop)
	if s == nil && err == nil {
		return 0
	}
	if err != nil {
		cmd.Cancel()
		complain(err)
		return exitFailed
	}
	defer s.Close()
	file, err := c.recording.Open(msg)
	if err != nil {
		cmd.Cancel()
		complain(err)
		return exitFailed
	}
	s.Confine()
	c.begin(msg, p, s)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if c.Duration > 0 && len(c.Read) == 0 { // else it is the recording's time
		timed, cancel := context.WithTimeout(ctx, c.Duration)
		defer cancel()
		ctx = timed
	}
	if err := cmd.Release(); err != nil {
		complain(err)
		return exitFailed
	}
	out, release := c.stdout.Open(msg)
	defer release() // also if this panics
	ended := make(chan struct{})
	go func() { cancel(session.Ended(cmd.Wait(stop, ended, msg.Interrupted))) }()
	all := []session.Sink{out}
	if file != nil {
		all = append(all, file)
	}
	if exporter := c.otlp.Open(msg, version(), s.Start().Hostname, len(c.Read) > 0); exporter != nil {
		all = append(all, exporter)
	}
	err = s.Run(ctx, all...)
	close(ended)
	release()
	return c.end(msg, p, s, cmd, err)
}

// open opens what is traced, or read; neither if a signal comes while it waits for a fifo
// that nobody writes to.
func (c *config) open(tracer session.Tracer, stop <-chan os.Signal) (session.Running, error) {
	if len(c.Read) == 0 {
		return session.Open([]session.Tracer{tracer}, c.Options)
	}
	type result struct {
		s   session.Running
		err error
	}
	opened := make(chan result, 1)
	go func() {
		s, err := session.OpenRecording([]session.Tracer{tracer}, c.Options)
		opened <- result{s, err}
	}()
	select {
	case r := <-opened:
		return r.s, r.err
	case <-stop:
		return nil, nil
	}
}

// begin says that tracing has begun, and what will be missed.
func (c *config) begin(msg *render.Messages, p *session.Probe, s session.Running) {
	zone := render.SetZone()
	what := "tracing " + p.Name
	switch {
	case len(c.Read) > 0:
		what = "reading " + p.Name + " from " + strings.Join(c.Read, ", ")
	case len(c.command) > 0:
		what += " of " + string(render.AppendCommand(nil, c.command))
		if user := command.User(); user != "" {
			what += " as " + user
			if c.stdout.JSON {
				defer msg.Notice(&event.Notice{Time: time.Now().UTC(), Kind: event.KindNote, Message: "the command runs as " + user + ", the user behind sudo (SUDO_UID)"})
			}
		}
	case c.Duration > 0:
		what += " for " + c.Duration.String()
	default:
		what += "; press Ctrl-C to stop"
	}
	start := s.Start()
	start.Version, start.Command, start.Args = version(), p.Name, os.Args[1:]
	msg.Start(start, what)
	for _, n := range s.Notices() {
		msg.Notice(&n)
	}
	if zone != nil && !c.stdout.JSON {
		msg.Notice(&event.Notice{Time: start.Time, Kind: event.KindWarning, Message: "times are shown in UTC: " + zone.Error()})
	}
}

// end gives the account, and says with which status tracer ends.
func (c *config) end(msg *render.Messages, p *session.Probe, s session.Running, cmd *command.Command, err error) (status int) {
	gone := errors.Is(err, render.ErrReaderGone)
	if err != nil && !gone {
		complain(err)
		status = exitFailed
	}
	own, err := cmd.Finish()
	if err != nil {
		complain(err)
	}
	if status == 0 {
		status = own
	}
	account, err := s.Account()
	if err != nil {
		complain(err)
		return exitFailed
	}
	if gone {
		account.Reason = event.EndedReader
	}
	if c.verbose || account.Shown == 0 {
		msg.Explain(account)
	}
	if account.Shown == 0 && p.Name == "http" { // before HTTP can be spoken there is a connection
		msg.Unopened(account)
	}
	msg.Unreadable(account)
	failed := c.recording.Failed()
	if failed != nil {
		complain(failed)
	}
	msg.Account(account) // the last line that is recorded
	if err := c.recording.Finish(); err != nil && failed == nil {
		complain(err)
		failed = err
	}
	if failed != nil {
		status = exitFailed
	}
	return status
}
