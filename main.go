// Tracer answers one question about a Linux host: what is going on here?
//
// This file is the tree of commands: one for each row of trace.Probes, and check,
// completion and help. options.go turns flags into options. live.go is one tracing
// command from its start to its end. exit.go is how tracer ends.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"tracer/render"
	"tracer/render/help"
	"tracer/trace"
	"tracer/trace/command"
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
