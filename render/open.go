package render

import (
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// Color says when a table has colours.
type Color int

// Colors.
const (
	ColorAuto   Color = iota // on a terminal, unless NO_COLOR is set or TERM is dumb
	ColorAlways              // whatever the environment says
	ColorNever
)

// ParseColor reads auto, always or never.
func ParseColor(s string) (Color, error) {
	switch s {
	case "auto":
		return ColorAuto, nil
	case "always":
		return ColorAlways, nil
	case "never":
		return ColorNever, nil
	}
	return 0, fmt.Errorf("unknown value %q (want auto, always or never)", s)
}

// Options say how a user wants events on stdout.
type Options struct {
	JSON  bool // one object a line
	Wide  bool // no line is cut to the terminal's width
	Color Color
	// Command: a command runs meanwhile, and what it prints goes to stderr.
	Command bool
	Order   Order // of the rows of pages; nil: they have one order only
	// Recorded: the events were recorded, and come as fast as they can be read: there is
	// no live screen.
	Recorded bool
	// Closing: of pages the last one alone is shown.
	Closing bool
}

// Open starts writing events to file, usually os.Stdout: as JSON lines if they are
// asked for, else as a table of view's columns, or of pages where the view is
// paged. On a terminal the table has colours (see Color) and its rows are cut to
// the width; pages are refreshed in place, unless the terminal is dumb or a command
// may print to it as well. Call Share where messages can go to the same terminal.
func Open(file *os.File, view View, opts Options) *Output {
	return NewOutput(file, formatFor(file, view, opts))
}

func formatFor(file *os.File, view View, opts Options) Format {
	if opts.JSON {
		return JSON{}
	}
	dumb := os.Getenv("TERM") == "dumb"
	t := TableOptions{Columns: view.Columns, Mark: view.Mark, Wide: opts.Wide, Color: opts.Color == ColorAlways}
	if isTerminal(file) {
		t.Terminal = file
		t.Color = t.Color || opts.Color == ColorAuto && os.Getenv("NO_COLOR") == "" && !dumb
	}
	if !view.Paged {
		return NewTable(t)
	}
	pages := PageOptions{TableOptions: t, Title: view.Title, Below: view.Below, Order: opts.Order}
	switch {
	case live(file, view, opts):
		return NewLive(pages)
	case opts.Closing:
		return closing{NewLines(pages)}
	}
	return NewLines(pages)
}

// live reports whether formatFor makes a live screen.
func live(file *os.File, view View, opts Options) bool {
	return view.Paged && !opts.JSON && !opts.Recorded && isTerminal(file) && os.Getenv("TERM") != "dumb" && !(opts.Command && isTerminal(os.Stderr))
}

// OpenKeyboard makes ready to take the keyboard of a live screen that Open will show on
// file; nil if there will be none, or if a command reads what is typed. It starts a
// process, and so comes before privileges are dropped and before tracing begins.
func OpenKeyboard(file *os.File, view View, opts Options) *Keyboard {
	if !live(file, view, opts) || opts.Command {
		return nil
	}
	k := &Keyboard{tty: file}
	k.watch()
	return k
}

// Share makes m and a live screen on o get along: messages are shown in the last
// line of the screen, what is typed goes nowhere, and Ctrl-Z gives the terminal back to
// the shell. It does nothing if o has no live screen. After the last page, release
// writes the messages that the screen has shown; whatever way tracing ends, it gives the
// terminal back as it was. It may be called twice.
func (o *Output) Share(m *Messages, keys *Keyboard) (release func()) {
	live, ok := o.format.(*Live)
	if !ok {
		return func() {}
	}
	live.keys, live.keyed = keys, keys != nil
	keys.take(live.press)
	if m.terminal {
		m.share(live.Note)
	}
	signals := make(chan os.Signal, 4)
	for _, s := range []os.Signal{unix.SIGTSTP, unix.SIGCONT, unix.SIGQUIT} {
		if !signal.Ignored(s) { // what a shell has a job ignore stays so
			signal.Notify(signals, s)
		}
	}
	go func() {
		for s := range signals {
			switch s {
			case unix.SIGTSTP:
				live.Leave()
				_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // Ctrl-Z must not fail halfway
			case unix.SIGCONT:
				live.Return()
			case unix.SIGQUIT: // what Go does by itself: all goroutines' stacks
				live.Leave()
				signal.Reset(unix.SIGQUIT)
				_ = unix.Kill(os.Getpid(), unix.SIGQUIT)
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		close(signals)
		live.Leave()
		keys.Close()
		m.release()
	})
}
