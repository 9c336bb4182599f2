// Package all is programs, connections and HTTP exchanges at once: the probes of other
// commands in one session, whose events come in one order.
//
// It has no records of its own. A row of the table parts is what is traced. Start there.
package all

import (
	"flag"
	"io"
	"slices"

	"tracer/trace/conn"
	"tracer/trace/exec"
	"tracer/trace/http"
	"tracer/trace/option"
	"tracer/trace/session"
)

// parts are the probes with the flags that their commands are started with. The one whose
// programs take the longest to load is the first to begin.
var parts = []struct {
	probe *session.Probe
	flags []string
}{
	{&http.Probe, nil},
	{&conn.Probe, nil},
	{&exec.Probe, []string{"--exits", "--failed"}},
}

// Probe is the row of `tracer all`.
var Probe = session.Probe{Name: "all",
	Short: "programs, connections and HTTP exchanges in one timeline",
	Long: `Show programs, TCP connections and HTTP exchanges in one timeline: what exec --exits
--failed, conn and http show, in the order in which it was over, with one account.

An exchange stands where its last byte was, and TIME is that of its first. An event
waits for earlier ones of another kind until those are known to be told, and until it
is 90ms old at most: what comes later than that is shown at once, behind others.

A row says what happened in the words of its own command: how a program ended and its
arguments; the destination of a connection and what became of it; status and latency of
an exchange, what was asked for, its size, and TOTAL where that is much longer. With --json the lines are those of the commands
themselves. So it is what to record (--write) when it is not known yet which command
the question will be for.`,
	Example: `  tracer all -- make test                what a command does
  tracer all --only exec,http --pod web-0
  tracer all -w now.jsonl.zst -d 1m      to be looked at later`,
	New: func() session.Tracer { return &tracer{} },
}

// tracer stands for the probes of parts.
type tracer struct {
	session.Tracer // nil: see session.Several
	only           []string
}

func (t *tracer) Flags(fs *flag.FlagSet) {
	fs.Var(option.Some(&t.only, names()...), "only", "`exec,http` only what these commands show: exec, conn, http")
}

// names are those of the parts.
func names() (list []string) {
	for _, p := range parts {
		list = append(list, p.probe.Name)
	}
	slices.Sort(list)
	return list
}

// Tracers are those that are asked for: all, if none is.
func (t *tracer) Tracers() (list []session.Tracer) {
	for _, p := range parts {
		if len(t.only) > 0 && !slices.Contains(t.only, p.probe.Name) {
			continue
		}
		part := p.probe.New()
		flags := flag.NewFlagSet(p.probe.Name, flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		part.Flags(flags)
		_ = flags.Parse(p.flags) // they are the table's: a test parses them
		list = append(list, part)
	}
	return list
}
