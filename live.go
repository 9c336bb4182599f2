package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"golang.org/x/term"

	"tracer/render"
	"tracer/render/help"
	"tracer/trace"
	"tracer/trace/command"
	"tracer/trace/event"
	"tracer/trace/proc"
)

// trace runs a session to its end and returns the exit status.
func (c *config) trace(p *trace.Probe, tracer trace.Tracer, view render.View) int {
	msg := render.NewMessages(os.Stderr, c.json)
	c.Notice = msg.Notice

	stop := make(chan os.Signal, 4)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)

	if err := c.exist(); err != nil {
		complain(err)
		return exitFailed
	}
	var cmd *command.Command
	if len(c.command) > 0 {
		var err error
		if cmd, err = command.Start(c.command); err != nil {
			complain(err)
			return commandStatus(err)
		}
		c.Command = cmd.PID
		c.PIDs = append(c.PIDs, cmd.PID)
	}
	session, err := trace.Open(tracer, c.Options)
	if err != nil {
		if cmd != nil {
			cmd.Cancel()
		}
		complain(err)
		return exitFailed
	}
	defer session.Close()
	unconfined := session.Confine()

	msg.Start(&event.Start{Command: p.Name, PID: os.Getpid()}, c.ready(p))
	if unconfined != nil {
		msg.Notice(&event.Notice{Kind: "warning", Message: fmt.Sprintf("privileges are kept while tracing: %v", unconfined)})
	}
	for _, w := range session.Warnings() {
		msg.Notice(&event.Notice{Kind: "warning", Message: w})
	}
	if own := session.Own(); !c.Self && len(own) > 0 && len(c.PIDs) == 0 {
		msg.Notice(&event.Notice{Kind: "note", Message: ownNotice(own)})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if c.duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.duration)
		defer cancel()
	}
	if cmd != nil {
		if err := cmd.Release(); err != nil {
			complain(err)
			return exitFailed
		}
	}
	format := c.format(view)
	release := c.share(msg, format)
	interrupted := func() {}
	if _, live := format.(*render.Live); !live && !c.json && term.IsTerminal(int(os.Stderr.Fd())) {
		interrupted = func() { fmt.Fprintln(os.Stderr) } // the next message begins below ^C
	}
	ended := make(chan struct{})
	go func() {
		defer cancel()
		cmd.Wait(stop, ended, interrupted)
	}()
	err = session.Run(ctx, render.NewOutput(os.Stdout, format))
	close(ended)
	release()

	status := 0
	if err != nil && !errors.Is(err, render.ErrReaderGone) {
		complain(err)
		status = exitFailed
	}
	if cmd != nil {
		own, err := cmd.Finish()
		if err != nil {
			complain(err)
		}
		if status == 0 {
			status = own
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

// exist says which file or process that a flag names does not exist. The command
// line may have been right when it was written: this is no wrong usage.
func (c *config) exist() error {
	for _, f := range []struct{ flag, path string }{
		{"--btf", c.BTF},
		{"--kubelet-token", c.Kubelet.TokenFile},
		{"--kubelet-cert", c.Kubelet.CertFile},
		{"--kubelet-key", c.Kubelet.KeyFile},
		{"--kubelet-ca", c.Kubelet.CAFile},
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
	for _, pid := range c.PIDs {
		switch leader, err := proc.Dir("/proc").Leader(pid); {
		case err != nil:
			return fmt.Errorf("--pid: no process %d", pid)
		case leader != pid:
			return help.Hint(fmt.Errorf("--pid: %d is a thread of process %d", pid, leader), fmt.Sprintf("use --pid %d", leader))
		}
	}
	return nil
}

// commandStatus is the exit status for a command that did not start.
func commandStatus(err error) int {
	var e *command.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return exitFailed
}

// ready is the first line on stderr.
func (c *config) ready(p *trace.Probe) string {
	what := "tracing " + p.Name
	switch {
	case len(c.command) > 0:
		what += " of " + string(render.AppendCommand(nil, c.command))
	case c.duration > 0:
		what += " for " + c.duration.String()
	default:
		what += "; press Ctrl-C to stop"
	}
	return what
}

// ownNotice says which processes are left out.
func ownNotice(own []uint32) string {
	text := fmt.Sprintf("tracer itself (process %d)", own[0])
	if len(own) == 1 {
		return text + " is left out; --self shows it"
	}
	var list []string
	for _, pid := range own[1:] {
		list = append(list, strconv.Itoa(int(pid)))
	}
	return text + " and its SSH session (sshd " + strings.Join(list, ", ") + ") are left out; --self shows them"
}

// format picks how events look on stdout.
func (c *config) format(view render.View) render.Format {
	if c.json {
		return render.JSON{}
	}
	t := render.TableOptions{Columns: view.Columns, Mark: view.Mark, Wide: c.wide}
	if term.IsTerminal(int(os.Stdout.Fd())) {
		t.Terminal = os.Stdout
		t.Color = c.color == "auto" && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	t.Color = t.Color || c.color == "always"
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
