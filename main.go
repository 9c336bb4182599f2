// Tracer answers one question about a Linux host: what is going on here?
//
// This file is the command line: flags become a configuration, events go to a
// renderer, errors become a sentence and an exit status. What can be traced is
// the table trace.Probes, how it looks the table render.Views.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"tracer/render"
	"tracer/trace"
	"tracer/trace/event"
	"tracer/trace/proc"
)

// Exit statuses.
const (
	exitFailed = 1 // could not trace
	exitUsage  = 2 // the command line is wrong
)

// grace is how long a command that was told to end may take.
const grace = 2 * time.Second

func main() {
	trace.BecomeCommand()
	os.Exit(run())
}

// run is main without the exit.
func run() int {
	status := 0
	root := newRoot(&status)
	if err := root.Execute(); err != nil {
		// Whatever cobra itself rejects is the command line's fault.
		complain(usage(err))
		return exitUsage
	}
	return status
}

// usageError is a wrong command line: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

// complain says on stderr why tracer ends.
func complain(err error) {
	text := render.AppendMessage(nil, "tracer: error: "+err.Error())
	if errors.As(err, new(usageError)) {
		text = append(text, "; see --help"...)
	}
	fmt.Fprintf(os.Stderr, "%s\n", text)
}

func newRoot(status *int) *cobra.Command {
	root := &cobra.Command{
		Use:           "tracer",
		Short:         "What is going on on this host?",
		Long:          "Tracer shows what happens on this host, live: as a table, or as JSON lines with --json.",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for i := range trace.Probes {
		root.AddCommand(newCommand(&trace.Probes[i], status))
	}
	root.AddCommand(newCheck(status))
	return root
}

// newCheck is the command that traces nothing, but says what could be.
func newCheck(status *int) *cobra.Command {
	var json bool
	var opts trace.Options
	var tier string
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "what this kernel and this user can trace, and what to do about the rest",
		Long: `What this kernel and this user can trace, and what to do about the rest.

Each command is tried: its programs are loaded and attached with all that it can
show, and taken off again. Nothing is reported of what happens meanwhile. The exit
status is 0 if all commands can run, 1 otherwise.`,
		Example: `  tracer check
  tracer check --json | jq '.commands[] | select(.ok | not)'`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unexpected argument %q", args[0]))
			}
			if tier != "" {
				if err := opts.SetTier(tier); err != nil {
					return usage(fmt.Errorf("--tier: %w", err))
				}
			}
			check := trace.Check(opts)
			var text []byte
			if json {
				text = append(check.AppendJSON(nil), '\n')
			} else {
				width := 0
				if fd := int(os.Stdout.Fd()); term.IsTerminal(fd) {
					width, _, _ = term.GetSize(fd) // 0: unknown
				}
				text = render.AppendCheck(nil, check, width)
			}
			if _, err := os.Stdout.Write(text); err != nil && !errors.Is(err, syscall.EPIPE) {
				complain(fmt.Errorf("write to stdout: %w", err))
				*status = exitFailed
			}
			if !check.OK() {
				*status = exitFailed
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "one JSON object on stdout")
	cmd.Flags().StringVar(&opts.BTF, "btf", "", "kernel types (BTF) from `FILE`, for kernels that carry none")
	cmd.Flags().StringVar(&tier, "tier", "", "hook the kernel in this way only, for tests: fentry, kprobe, tracepoint")
	_ = cmd.Flags().MarkHidden("tier") // it exists
	return cmd
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

// config is what the common flags say.
type config struct {
	json, wide, noColor, self bool
	pids                      []string
	comms                     []string
	user                      string
	duration                  time.Duration
	count                     uint64
	columns                   []string
	btf                       string
	buffer                    string
	tier                      string
	place                     trace.Place
	kubelet                   trace.Kubelet
	command                   []string
}

func newCommand(p *trace.Probe, status *int) *cobra.Command {
	var c config
	tracer := p.New()
	cmd := &cobra.Command{
		Use:     p.Name + " [flags] [-- COMMAND ARG...]",
		Short:   p.Short,
		Long:    p.Long,
		Example: p.Example,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if len(args) > 0 && dash != 0 {
				return usage(fmt.Errorf("unexpected argument %q: a command to trace stands behind --", args[0]))
			}
			if dash == 0 && len(args) == 0 {
				return usage(errors.New("no command behind --"))
			}
			c.command = args
			if err := tracer.Validate(); err != nil {
				return usage(err)
			}
			opts, view, err := c.options(cmd.Flags(), p.View(tracer))
			if err != nil {
				return usage(err)
			}
			*status = c.trace(p, tracer, opts, view)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	own := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	tracer.Flags(own)
	flags.AddGoFlagSet(own)
	flags.BoolVar(&c.json, "json", false, "JSON lines on stdout")
	flags.StringSliceVarP(&c.pids, "pid", "p", nil, "only these processes `N[,N…]`, and the children that they start from now on")
	flags.StringSliceVar(&c.comms, "comm", nil, "only processes of this name `NAME[,NAME…]`; * and ? match")
	flags.StringVarP(&c.user, "uid", "u", "", "only this user, `N or NAME`")
	flags.StringVar(&c.place.Container, "container", "", "only this container, `NAME` or the first digits of its id; * and ? match")
	flags.StringVar(&c.place.Pod, "pod", "", "only this pod, `NAME`; * and ? match")
	flags.StringVar(&c.place.Namespace, "namespace", "", "only this Kubernetes namespace, `NAME`; * and ? match")
	flags.DurationVarP(&c.duration, "duration", "d", 0, "stop after this long, as 10s")
	flags.Uint64VarP(&c.count, "count", "n", 0, "stop after `N` events shown")
	flags.StringSliceVar(&c.columns, "columns", nil, "these table columns `a,b,c`, in this order")
	flags.BoolVar(&c.wide, "wide", false, "do not cut cells to the terminal's width")
	flags.BoolVar(&c.noColor, "no-color", false, "no colour")
	flags.BoolVar(&c.self, "self", false, "also show tracer itself and the SSH session it runs in")
	flags.StringVar(&c.buffer, "buffer", "auto", "how events travel, `auto`, ring or perf: a ring buffer, or perf event arrays where the kernel has none")
	flags.StringVar(&c.btf, "btf", "", "kernel types (BTF) from `FILE`, for kernels that carry none")
	flags.StringVar(&c.tier, "tier", "", "hook the kernel in this way only, for tests: fentry, kprobe, tracepoint")
	_ = flags.MarkHidden("tier") // it exists
	flags.StringVar(&c.kubelet.TokenFile, "kubelet-token", "", "bearer token in `FILE` for the kubelet, who is asked for names that files and sockets lack")
	flags.StringVar(&c.kubelet.CertFile, "kubelet-cert", "", "client certificate in `FILE` for the kubelet")
	flags.StringVar(&c.kubelet.KeyFile, "kubelet-key", "", "its key in `FILE`")
	flags.StringVar(&c.kubelet.CAFile, "kubelet-ca", "", "what the kubelet's own certificate is signed by, in `FILE`; the system's, if none")
	return cmd
}

// options checks the flags and turns them into what the packages want.
func (c *config) options(flags *pflag.FlagSet, viewName string) (opts trace.Options, view render.View, err error) {
	opts = trace.Options{Self: c.self, Count: c.count, BTF: c.btf, Place: c.place, Kubelet: c.kubelet}
	view = render.Views[viewName]
	view.Columns = render.WithPlaces(view.Columns, view.Paged)
	if flags.Changed("pid") && len(c.pids) == 0 {
		return opts, view, errors.New("--pid: names no process")
	}
	for _, s := range c.pids {
		pid, err := strconv.ParseUint(s, 10, 32)
		if err != nil || pid == 0 {
			return opts, view, fmt.Errorf("--pid: %q is no process id", s)
		}
		opts.PIDs = append(opts.PIDs, uint32(pid))
	}
	if opts.Buffer, err = trace.ParseBuffer(c.buffer); err != nil {
		return opts, view, fmt.Errorf("--buffer: %w", err)
	}
	if c.tier != "" {
		if err := opts.SetTier(c.tier); err != nil {
			return opts, view, fmt.Errorf("--tier: %w", err)
		}
	}
	if flags.Changed("comm") && (len(c.comms) == 0 || slices.Contains(c.comms, "")) {
		return opts, view, errors.New("--comm: a name is empty")
	}
	opts.Comms = c.comms
	if flags.Changed("uid") {
		uid, err := proc.NewUsers("/etc/passwd").ID(c.user)
		if err != nil {
			return opts, view, fmt.Errorf("--uid: %w", err)
		}
		opts.UID = &uid
	}
	for _, name := range []string{"container", "pod", "namespace", "kubelet-token", "kubelet-cert", "kubelet-key", "kubelet-ca"} {
		if f := flags.Lookup(name); f.Changed && f.Value.String() == "" {
			return opts, view, fmt.Errorf("--%s: names nothing", name)
		}
	}
	if (c.kubelet.CertFile == "") != (c.kubelet.KeyFile == "") {
		return opts, view, errors.New("--kubelet-cert and --kubelet-key: one is of no use without the other")
	}
	if flags.Changed("duration") && c.duration <= 0 {
		return opts, view, errors.New("--duration: must be more than 0, as 10s")
	}
	if flags.Changed("count") && c.count == 0 {
		return opts, view, errors.New("--count: must be more than 0")
	}
	if flags.Changed("columns") {
		picked, bad := render.Select(view.Columns, c.columns)
		if len(picked) == 0 {
			return opts, view, fmt.Errorf("--columns: no column %q; there are %s", bad, render.Names(view.Columns))
		}
		view.Columns = picked
	} else {
		view.Columns = render.Defaults(view.Columns)
	}
	return opts, view, nil
}

// format picks how events look on stdout.
func (c *config) format(view render.View) render.Format {
	if c.json {
		return render.JSON{}
	}
	t := render.TableOptions{Columns: view.Columns, Mark: view.Mark, Wide: c.wide}
	if term.IsTerminal(int(os.Stdout.Fd())) {
		t.Terminal = os.Stdout
		t.Color = !c.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	if t.Color {
		// What stdout is was decided here; asking the terminal for more
		// would cost a round trip over a slow line.
		lipgloss.SetColorProfile(termenv.ANSI)
	}
	if !view.Paged {
		return render.NewTable(t)
	}
	pages := render.PageOptions{TableOptions: t, Title: view.Title, Below: view.Below}
	// A command may write to the same terminal whenever it likes.
	if t.Terminal == nil || os.Getenv("TERM") == "dumb" || len(c.command) > 0 && term.IsTerminal(int(os.Stderr.Fd())) {
		return render.NewLines(pages)
	}
	return render.NewLive(pages)
}

// share lets messages and a live screen have the same terminal. What it returns
// ends that.
func (c *config) share(msg *render.Messages, format render.Format) (release func()) {
	live, ok := format.(*render.Live)
	if !ok {
		return func() {}
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		msg.Share(live.Note)
	}
	// Ctrl-Z: the shell wants its screen back.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTSTP)
	go func() {
		for range stop {
			live.Leave()
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
	}()
	return msg.Release
}

// trace runs a session to its end and returns the exit status.
func (c *config) trace(p *trace.Probe, tracer trace.Tracer, opts trace.Options, view render.View) int {
	msg := render.NewMessages(os.Stderr, c.json)
	opts.Notice = msg.Notice

	// A write to a closed pipe is an error to handle. The default is to die
	// of it if it is stdout's; to ignore the signal would pass on to COMMAND.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	stop := make(chan os.Signal, 4)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)

	if err := c.readable(); err != nil {
		complain(err)
		return exitFailed
	}
	for _, pid := range opts.PIDs {
		if _, err := proc.Dir("/proc").Stat(pid); err != nil {
			complain(fmt.Errorf("--pid: no process %d", pid))
			return exitFailed
		}
	}
	var command *trace.Command
	if len(c.command) > 0 {
		var err error
		if command, err = trace.StartCommand(c.command); err != nil {
			complain(err)
			return commandStatus(err)
		}
		opts.Command = command.PID
		opts.PIDs = append(opts.PIDs, command.PID)
	}
	session, err := trace.Open(tracer, opts)
	if err != nil {
		if command != nil {
			command.Cancel()
		}
		complain(err)
		return exitFailed
	}
	defer session.Close()
	unconfined := session.Confine()

	msg.Start(&event.Start{Command: p.Name, PID: os.Getpid()}, c.ready(p, session))
	if unconfined != nil {
		msg.Notice(&event.Notice{Kind: "warning", Message: fmt.Sprintf("privileges are kept while tracing: %v", unconfined)})
	}
	for _, w := range session.Warnings() {
		msg.Notice(&event.Notice{Kind: "warning", Message: w})
	}
	if own := session.Own(); !c.self && len(opts.PIDs) == 0 {
		msg.Notice(&event.Notice{Kind: "note", Message: ownNotice(own)})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if c.duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.duration)
		defer cancel()
	}
	ended := make(chan struct{})
	if command != nil {
		if err := command.Release(); err != nil {
			complain(fmt.Errorf("start the command: %w", err))
			return exitFailed
		}
	}
	go func() {
		defer cancel()
		wait(command, stop, ended)
	}()
	format := c.format(view)
	release := c.share(msg, format)
	err = session.Run(ctx, render.NewOutput(os.Stdout, format))
	close(ended)
	release()

	status := 0
	if err != nil && !errors.Is(err, render.ErrReaderGone) {
		complain(err)
		status = exitFailed
	}
	if command != nil {
		if ended := finish(command); ended && status == 0 {
			status = command.Status()
		}
	}
	account, err := session.Account()
	if err != nil {
		complain(err)
		return exitFailed
	}
	msg.Account(account)
	return status
}

// readable says which file of the kubelet's flags cannot be read.
func (c *config) readable() error {
	for _, f := range []struct{ flag, path string }{
		{"--kubelet-token", c.kubelet.TokenFile},
		{"--kubelet-cert", c.kubelet.CertFile},
		{"--kubelet-key", c.kubelet.KeyFile},
		{"--kubelet-ca", c.kubelet.CAFile},
	} {
		if f.path == "" {
			continue
		}
		file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not hold it up
		if err != nil {
			return fmt.Errorf("%s: %w", f.flag, err)
		}
		file.Close()
	}
	return nil
}

// wait returns when there is a reason to end tracing: the command has ended, a
// signal came, or the session has ended by itself.
func wait(command *trace.Command, stop <-chan os.Signal, ended <-chan struct{}) {
	var done <-chan struct{}
	if command != nil {
		done = command.Done
	}
	select {
	case <-done:
	case <-ended:
	case sig := <-stop:
		if command == nil {
			return
		}
		// Ctrl-C reaches the command by itself; a signal that was sent to
		// tracer alone does not. Its last events are still wanted.
		select {
		case <-command.Done:
			return
		case <-time.After(grace / 20):
			command.Signal(sig)
		}
		select {
		case <-command.Done:
		case <-stop:
		case <-time.After(grace):
		}
	}
}

// finish ends a command that is still running when tracing has ended, and
// reports whether it has.
func finish(command *trace.Command) bool {
	select {
	case <-command.Done:
		return true
	default:
	}
	command.Signal(syscall.SIGTERM)
	select {
	case <-command.Done:
	case <-time.After(grace):
		complain(fmt.Errorf("the command (process %d) does not end and is left running", command.PID))
	}
	return false
}

// commandStatus is the exit status for a command that did not start.
func commandStatus(err error) int {
	var e *trace.CommandError
	if errors.As(err, &e) {
		return e.Status
	}
	return exitFailed
}

// ready is the first line on stderr.
func (c *config) ready(p *trace.Probe, _ *trace.Session) string {
	what := "tracing " + p.Name
	switch {
	case len(c.command) > 0:
		what += " of " + string(render.AppendCommand(nil, c.command))
	case c.duration > 0:
		what += " for " + c.duration.String()
	default:
		what += "; Ctrl-C ends it"
	}
	return what
}

// ownNotice says what is left out.
func ownNotice(own []uint32) string {
	text := fmt.Sprintf("tracer itself (process %d)", own[0])
	if len(own) > 1 {
		var list []string
		for _, pid := range own[1:] {
			list = append(list, strconv.Itoa(int(pid)))
		}
		text += " and its SSH session (sshd " + strings.Join(list, ", ") + ")"
	}
	return text + " left out; --self shows it"
}
