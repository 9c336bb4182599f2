package draw

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tracer/render"
	"tracer/render/help"
	"tracer/trace/option"
	"tracer/trace/replay"
)

// ladderDefault is how wide a ladder is if no terminal says it.
const ladderDefault = 80

// flags are what the command line says.
type flags struct {
	ladder   bool
	from, to string
	max      uint64
	group    []string
}

// Command is `tracer draw`. What fails is passed to failed, which returns; warnings go
// to stderr.
func Command(failed func(error)) *cobra.Command {
	f := flags{max: MaxArrows}
	cmd := &cobra.Command{
		Use:   "draw [flags] FILE...",
		Short: "a sequence diagram of what was recorded",
		Long: `Draw exchanges, connections and programs of recordings as a sequence diagram: in
the language of Mermaid, which many wikis and forges show as a picture, or with
--ascii as text.

FILE is JSON lines that tracer wrote, plain, gzip or zstd; - is stdin. Several files,
also of several hosts, make one picture. It takes no privileges.

A participant is a pod, else a container, else the processes that serve one port,
else a process. What a traced command starts is one participant, unless it starts
servers: then each of its children is one, with what that one starts.

What a server asks while it answers exactly one request, or one of the same trace
(traceparent), belongs to that request. Otherwise nothing is guessed. Equal neighbours are one loop, with
how many there were, in which time, the median and the longest of their times (to
the last byte). If that is still more than --max, what is of one route is put
together, then all of one route, then all between two participants. All sums stay
exact, and the picture says what was done and how much of the recording it has.

Answers stand at their own time, connections that speak no HTTP where they began,
with all bytes that they carried, and programs as notes. Queries, arguments and
header values are not drawn: paths, names of programs and addresses are.`,
		Example: `  tracer all --write run.jsonl -- make test; tracer draw run.jsonl >run.mmd
  tracer draw --ascii --from 15:04:05 --to 15:04:10 web.jsonl.gz db.jsonl.gz`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) == 0 {
				return errors.New("the file is missing")
			}
			if f.max < 2 {
				return fmt.Errorf("--max: %d is too small (at least 2: a request and its answer)", f.max)
			}
			o := Options{Max: int(min(f.max, 1<<30))}
			for _, by := range f.group {
				switch by {
				case "pod":
					o.Group.Pod = true
				case "container":
					o.Group.Container = true
				case "process":
				default:
					return fmt.Errorf("--group: invalid value %q (choose pod, container or process)", by)
				}
			}
			if len(f.group) == 0 {
				o.Group = Grouping{Pod: true, Container: true}
			}
			for _, t := range []struct{ name, text string }{{"from", f.from}, {"to", f.to}} {
				if _, err := parseMoment(t.text); err != nil {
					return fmt.Errorf("--%s: %w", t.name, err)
				}
			}
			text, err := f.draw(files, o, cmd.ErrOrStderr())
			if err != nil {
				failed(err)
				return nil
			}
			_, _ = cmd.OutOrStdout().Write(text) // who set it keeps the error
			return nil
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVar(&f.ladder, "ascii", false, "write text, as wide as the terminal or COLUMNS, instead of Mermaid")
	fs.StringVar(&f.from, "from", "", "`TIME` only what began at this time or later: 15:04:05 of the recording's day, or RFC 3339")
	fs.StringVar(&f.to, "to", "", "`TIME` only what began before this time")
	fs.Var(option.Number(&f.max, 1), "max", "`N` arrows and notes at most: beyond that more is put together")
	fs.Var(option.Names(&f.group), "group", "`WHAT` whose processes are one participant: pod, container, process; all of these by default")
	help.Prepare(cmd, help.Values{"group": func() []string { return []string{"pod", "container", "process"} }})
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault // files
	}
	return cmd
}

// draw reads the files and makes the picture.
func (f *flags) draw(files []string, o Options, stderr io.Writer) ([]byte, error) {
	r, err := read(files, stderr)
	if err != nil {
		return nil, err
	}
	_ = render.SetZone() // if it fails times are in UTC
	first, last, _ := r.Span()
	for _, t := range []struct {
		text string
		into *time.Time
	}{{f.from, &o.From}, {f.to, &o.To}} {
		m, _ := parseMoment(t.text)
		*t.into = m.in(first.Local(), last)
	}
	if f.ladder {
		return r.Ladder(o, ladderWidth())
	}
	return r.Mermaid(o)
}

// read reads all files. What cannot be read is told, the rest is taken.
func read(files []string, stderr io.Writer) (*Recording, error) {
	in, err := replay.Open(files, replay.Options{})
	if err != nil {
		return nil, err
	}
	defer in.Stop()
	r := NewRecording()
	for {
		l, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		r.Add(Host{Name: l.Host.Name, Number: l.Host.Number}, l.Object)
	}
	stats := in.Stats()
	warn := func(s string) {
		_, _ = stderr.Write(append(render.AppendMessage([]byte("tracer: warning: "), s), '\n')) // there is nowhere left to report it
	}
	for _, p := range stats.Problems {
		warn(p)
	}
	for _, why := range slices.Sorted(maps.Keys(stats.Unread)) {
		warn(fmt.Sprintf("%s could not be read (%s)", count(int(stats.Unread[why]), "line"), why))
	}
	return r, nil
}

// ladderWidth is that of the terminal, or what COLUMNS says, or 80.
func ladderWidth() int {
	if n := render.Width(os.Stdout); n > 0 {
		return n
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return ladderDefault
}
