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
	"io"
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
	"tracer/trace/kernel/attach"
	"tracer/trace/place"
	"tracer/trace/proc"
)

// Exit statuses.
const (
	exitFailed = 1 // could not trace
	exitUsage  = 2 // the command line is wrong
)

// maxComm is how much the kernel keeps of a process's name, in bytes.
const maxComm = 15

// grace is how long a command that was told to end may take.
const grace = 2 * time.Second

func main() {
	attach.Become()
	trace.BecomeCommand()
	os.Exit(run())
}

// run is main without the exit.
func run() int {
	// A write to a closed pipe is an error to handle. The default is to die
	// of it if it is stdout's; to ignore the signal would pass on to COMMAND.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	status := 0
	root := newRoot(&status)
	var out stdout
	root.SetOut(&out)
	if err := root.Execute(); err != nil {
		// Whatever cobra itself rejects is the command line's fault.
		complain(usage(err))
		return exitUsage
	}
	if out.err != nil {
		complain(out.err)
		return exitFailed
	}
	return status
}

// stdout is where what traces nothing writes. It keeps the first error, which is
// no fault of the command line; that the reader left is none.
type stdout struct{ err error }

func (s *stdout) Write(b []byte) (int, error) {
	if _, err := os.Stdout.Write(b); err != nil {
		if err = render.WriteError(err); s.err == nil && !errors.Is(err, render.ErrReaderGone) {
			s.err = err
		}
	}
	return len(b), nil
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
		Use:   "tracer",
		Short: "what is going on on this host?",
		Long: `What is going on on this Linux host? Live, as a table for people, or with --json
as lines for programs.

Events are written to stdout and nothing else is: a table on a terminal, plain
lines elsewhere. Everything else is written to stderr: first a line that says that
tracing has begun (what happens after it is reported), warnings and losses as they
come, and last an account of what was seen, shown and lost, and what tracing cost.

The exit status is 0 if it was interrupted, reached --duration or --count, or the
reader of a pipe left; 1 if it could not trace; 2 if the command line is wrong.
With -- COMMAND it is the command's own: 127 if there is none of this name, 126 if
it cannot be run, 128+N if signal N ended it.

It takes root, or CAP_BPF and CAP_PERFMON: tracer check says what is missing.`,
		Example: `  tracer exec --exits        what runs here, and how it ends
  tracer conn --failed       what cannot be opened, or is reset
  tracer http --summary      rates and percentiles by route`,
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
	cobra.EnableCommandSorting = false
	for i := range trace.Probes {
		root.AddCommand(newCommand(&trace.Probes[i], status))
	}
	root.AddCommand(newCheck(status), newCompletion())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	root.SetHelpCommand(newHelp())
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		show(cmd, render.AppendScreen(nil, helpOf(cmd)))
	})
	return root
}

// flagError names the flag first, as all that is said of flags does, and what it
// wants.
func flagError(err error) error {
	invalid := new(pflag.InvalidValueError)
	if !errors.As(err, &invalid) {
		return err
	}
	f := invalid.GetFlag()
	switch f.Value.Type() {
	case "duration":
		return fmt.Errorf("--%s: %q is no duration, as 10s", f.Name, invalid.GetValue())
	case "int", "uint64":
		return fmt.Errorf("--%s: %q is no number", f.Name, invalid.GetValue())
	case "bool":
		return fmt.Errorf("--%s: %q is neither true nor false", f.Name, invalid.GetValue())
	}
	return fmt.Errorf("--%s: %w", f.Name, errors.Unwrap(invalid))
}

// newHelp is the command that tells all of another; its screen is what --help
// shows.
func newHelp() *cobra.Command {
	var man bool
	cmd := &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "all about a command: what it sees and misses, every flag",
		Long:  "All about a command: what it sees and misses, every flag.",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			for _, c := range cmd.Root().Commands() {
				if len(args) == 0 && c.IsAvailableCommand() {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage(fmt.Errorf("unknown command %q", strings.Join(args, " ")))
			}
			about.InitDefaultHelpFlag()
			switch {
			case man:
				show(cmd, render.AppendMan(nil, helpOf(about), version()))
			case about.HasParent():
				show(cmd, render.AppendHelp(nil, helpOf(about)))
			default:
				return about.Help()
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&man, "man", false, "as the source of a man page")
	return cmd
}

// show writes what traces nothing has to say. What fails is kept by stdout.
func show(cmd *cobra.Command, text []byte) { _, _ = cmd.OutOrStdout().Write(text) }

// Annotations of flags.
const (
	purpose = "purpose" // its group in the help; one without is the command's own
	value   = "value"   // what its value is called
)

// annotate takes the name of the value off the text that explains each flag.
func annotate(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		name, text := pflag.UnquoteUsage(f)
		f.Usage = strings.TrimPrefix(text, name+" ")
		_ = flags.SetAnnotation(f.Name, value, []string{name}) // it exists
	})
}

func annotation(f *pflag.Flag, name string) string { return strings.Join(f.Annotations[name], "") }

// helpOf is what a command says of itself.
func helpOf(cmd *cobra.Command) *render.Help {
	h := &render.Help{Command: cmd.CommandPath(), Short: cmd.Short, Long: cmd.Long, Usage: cmd.UseLine(), Example: cmd.Example}
	if !cmd.HasParent() {
		h.Usage = "tracer COMMAND [flags] [-- COMMAND ARG...]"
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			h.Commands = append(h.Commands, render.HelpEntry{Name: c.Name(), Text: c.Short})
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" && cmd.HasParent() {
			return
		}
		text := f.Usage
		switch f.DefValue {
		case "", "0", "0s", "false", "[]": // does nothing
		default:
			text += " (default " + f.DefValue + ")"
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		title := annotation(f, purpose)
		i := slices.IndexFunc(h.Flags, func(g render.FlagGroup) bool { return g.Title == title })
		if i < 0 {
			i = len(h.Flags)
			h.Flags = append(h.Flags, render.FlagGroup{Title: title, Own: title == ""})
		}
		h.Flags[i].Flags = append(h.Flags[i].Flags, render.Flag{Name: name, Value: annotation(f, value), Text: text})
	})
	return h
}

// newCompletion is the command that teaches a shell the others.
func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "a script that completes flags and their values in a shell",
		Long: `A script that completes commands, flags and their values in a shell, also names
of processes, users, containers and pods that are here now.`,
		Example: `  source <(tracer completion bash)
  tracer completion zsh >"${fpath[1]}/_tracer"
  tracer completion fish >~/.config/fish/completions/tracer.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch strings.Join(args, " ") {
			case "bash":
				return cmd.Root().GenBashCompletionV2(out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(out)
			case "fish":
				return cmd.Root().GenFishCompletion(out, true)
			}
			return usage(errors.New("name a shell: bash, zsh or fish"))
		},
	}
}

// complete tells a shell the values of a command's flags: those that the help
// lists with | between them, and those that are known by what is here now.
func complete(cmd *cobra.Command, columns func() []render.Column) {
	annotate(cmd.Flags())
	known := map[string]func() []string{
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
		"columns": func() []string { return render.Names(columns()) },
		"method":  func() []string { return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} },
		"status":  func() []string { return []string{"1xx", "2xx", "3xx", "4xx", "5xx"} },
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		called := annotation(f, value)
		if called == "FILE" {
			return // as shells do by themselves
		}
		values := known[f.Name]
		if values == nil {
			values = func() []string {
				if !strings.Contains(called, "|") {
					return nil
				}
				return strings.Split(called, "|")
			}
		}
		list := strings.Contains(called, ",")
		_ = cmd.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return offer(values(), typed, list)
		})
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		if cmd.ArgsLenAtDash() < 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

// offer are the values that what is typed may become. Behind each comma of a
// list begins another. What would not mean itself to a shell is not offered: a
// process may have any name.
func offer(values []string, typed string, list bool) (offered []string, how cobra.ShellCompDirective) {
	how = cobra.ShellCompDirectiveNoFileComp
	before := ""
	if list {
		how |= cobra.ShellCompDirectiveNoSpace
		before = typed[:strings.LastIndexByte(typed, ',')+1]
	}
	for _, v := range values {
		name, _, _ := strings.Cut(v, "\t")
		if list && strings.Contains(name, ",") {
			continue
		}
		if name != "" && string(render.AppendShell(nil, name, false)) == name && strings.HasPrefix(before+name, typed) {
			offered = append(offered, before+v)
		}
	}
	slices.Sort(offered)
	return slices.Compact(offered), how
}

// processes are those that run, each with its name.
func processes() (list []string) {
	dir := proc.Dir("/proc")
	pids, _ := dir.PIDs()
	for _, pid := range pids {
		if stat, err := dir.Stat(pid); err == nil {
			list = append(list, fmt.Sprintf("%d\t%s", pid, render.AppendText(nil, stat.Comm)))
		}
	}
	return list
}

// newCheck is the command that traces nothing, but says what could be.
func newCheck(status *int) *cobra.Command {
	var json bool
	var opts trace.Options
	var tier, buffer string
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "what this kernel and this user can trace, and what to do about the rest",
		Long: `What this kernel and this user can trace, and what to do about the rest.

Each command is tried: its programs are loaded and attached with all that it can
show, and taken off again. Nothing is reported of what happens meanwhile. The exit
status is 0 if all commands can run, 1 otherwise.`,
		Example: `  tracer check
  tracer check --json | jq '.commands[] | select(.ok | not)'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unexpected argument %q", args[0]))
			}
			if tier != "" {
				if err := opts.SetTier(tier); err != nil {
					return usage(fmt.Errorf("--tier: %w", err))
				}
			}
			var err error
			if opts.Buffer, err = trace.ParseBuffer(buffer); err != nil {
				return usage(fmt.Errorf("--buffer: %w", err))
			}
			if cmd.Flags().Changed("btf") && opts.BTF == "" {
				return usage(errors.New("--btf: names nothing"))
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
			show(cmd, text)
			if !check.OK() {
				*status = exitFailed
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "one JSON object on stdout")
	cmd.Flags().StringVar(&opts.BTF, "btf", "", "`FILE` kernel types (BTF), for kernels that carry none")
	cmd.Flags().StringVar(&buffer, "buffer", "auto", "`auto|ring|perf` how events travel: ring buffer, or perf event arrays where the kernel has none")
	cmd.Flags().StringVar(&tier, "tier", "", "`fentry|kprobe|tracepoint` hook the kernel in this way only, for tests")
	_ = cmd.Flags().MarkHidden("tier") // it exists
	complete(cmd, nil)
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
	verbose                   bool
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
	own.SetOutput(io.Discard)
	tracer.Flags(own)
	flags.AddGoFlagSet(own)
	for _, group := range c.flags() {
		group.flags.VisitAll(func(f *pflag.Flag) {
			flags.AddFlag(f)
			_ = flags.SetAnnotation(f.Name, purpose, []string{group.purpose}) // it exists
		})
	}
	complete(cmd, func() []render.Column {
		view := render.Views[p.View(tracer)]
		return render.WithPlaces(view.Columns, view.Paged)
	})
	return cmd
}

// flagGroup are flags that serve one purpose.
type flagGroup struct {
	purpose string
	flags   *pflag.FlagSet
}

// flags declares what every command has.
func (c *config) flags() (groups []flagGroup) {
	group := func(purpose string) *pflag.FlagSet {
		flags := pflag.NewFlagSet(purpose, pflag.ContinueOnError)
		flags.SortFlags = false
		groups = append(groups, flagGroup{purpose, flags})
		return flags
	}
	whose := group("whose")
	whose.StringSliceVarP(&c.pids, "pid", "p", nil, "`N[,N…]` only these processes, and the children that they start from now on")
	whose.StringSliceVar(&c.comms, "comm", nil, "`NAME[,NAME…]` only processes of this name; * and ? match")
	whose.StringVarP(&c.user, "uid", "u", "", "`N|NAME` only this user")
	where := group("where")
	where.StringVar(&c.place.Container, "container", "", "`NAME` only this container, by its name or the first digits of its id; * and ? match")
	where.StringVar(&c.place.Pod, "pod", "", "`NAME` only this pod; * and ? match")
	where.StringVar(&c.place.Namespace, "namespace", "", "`NAME` only this Kubernetes namespace; * and ? match")
	until := group("until")
	until.DurationVarP(&c.duration, "duration", "d", 0, "`10s` stop after this long")
	until.Uint64VarP(&c.count, "count", "n", 0, "`N` stop after so many events shown")
	shown := group("shown")
	shown.BoolVar(&c.json, "json", false, "JSON lines on stdout")
	shown.StringSliceVar(&c.columns, "columns", nil, "`a,b,c` these table columns, in this order; a wrong name lists the right ones")
	shown.BoolVar(&c.wide, "wide", false, "do not cut cells to the terminal's width")
	shown.BoolVar(&c.noColor, "no-color", false, "no colour; NO_COLOR and TERM=dumb do the same")
	shown.BoolVar(&c.self, "self", false, "also show tracer itself and the SSH session it runs in")
	shown.BoolVar(&c.verbose, "verbose", false, "tell at the end what was seen, and what filters left out; done anyway if nothing was shown")
	kernel := group("kernel")
	kernel.StringVar(&c.buffer, "buffer", "auto", "`auto|ring|perf` how events travel: ring buffer, or perf event arrays where the kernel has none")
	kernel.StringVar(&c.btf, "btf", "", "`FILE` kernel types (BTF), for kernels that carry none")
	kernel.StringVar(&c.tier, "tier", "", "`fentry|kprobe|tracepoint` hook the kernel in this way only, for tests")
	_ = kernel.MarkHidden("tier") // it exists
	kubelet := group("kubelet")
	kubelet.StringVar(&c.kubelet.TokenFile, "kubelet-token", "", "`FILE` bearer token for the kubelet, who is asked for names that files and sockets lack")
	kubelet.StringVar(&c.kubelet.CertFile, "kubelet-cert", "", "`FILE` client certificate for the kubelet")
	kubelet.StringVar(&c.kubelet.KeyFile, "kubelet-key", "", "`FILE` its key")
	kubelet.StringVar(&c.kubelet.CAFile, "kubelet-ca", "", "`FILE` what the kubelet's own certificate is signed by; the system's, if none")
	return groups
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
	for _, name := range c.comms {
		if len(strings.ReplaceAll(name, "*", "")) > maxComm {
			return opts, view, fmt.Errorf("--comm: %q is too long: the kernel keeps %d bytes of a name", name, maxComm)
		}
	}
	opts.Comms = c.comms
	if flags.Changed("uid") {
		uid, err := proc.NewUsers("/etc/passwd").ID(c.user)
		if err != nil {
			return opts, view, fmt.Errorf("--uid: %w", err)
		}
		opts.UID = &uid
	}
	for _, name := range []string{"container", "pod", "namespace", "host", "path", "role", "btf", "kubelet-token", "kubelet-cert", "kubelet-key", "kubelet-ca"} {
		if f := flags.Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
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
			return opts, view, fmt.Errorf("--columns: no column %q; there are %s", bad, strings.Join(render.Names(view.Columns), ", "))
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
	if own := session.Own(); !c.self && len(own) > 0 && len(opts.PIDs) == 0 {
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
	format := c.format(view)
	release := c.share(msg, format)
	interrupted := func() {}
	if _, live := format.(*render.Live); !live && !c.json && term.IsTerminal(int(os.Stderr.Fd())) {
		interrupted = func() { fmt.Fprintln(os.Stderr) } // nothing shall stand behind ^C
	}
	go func() {
		defer cancel()
		wait(command, stop, ended, interrupted)
	}()
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
	if c.verbose || account.Shown == 0 {
		msg.Explain(account)
	}
	msg.Account(account)
	return status
}

// readable says which file that a flag names cannot be read.
func (c *config) readable() error {
	for _, f := range []struct{ flag, path string }{
		{"--btf", c.btf},
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
func wait(command *trace.Command, stop <-chan os.Signal, ended <-chan struct{}, interrupted func()) {
	var done <-chan struct{}
	if command != nil {
		done = command.Done
	}
	select {
	case <-done:
	case <-ended:
	case sig := <-stop:
		if sig == syscall.SIGINT {
			interrupted()
		}
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
