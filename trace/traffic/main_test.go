package traffic

import (
	"flag"
	"os"
	"testing"
	"time"

	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/session"
)

func TestMain(m *testing.M) {
	work.Main()
	os.Exit(m.Run())
}

// traffic is what a session with traffic reports.
type traffic struct {
	*record.Recorder
	t      *testing.T
	tracer *tracer
}

// parse returns a tracer with flags. They are not validated: shorter intervals are
// wanted, too.
func parse(t *testing.T, args ...string) *tracer {
	t.Helper()
	x := Probe.New().(*tracer)
	fs := flag.NewFlagSet(Probe.Name, flag.ContinueOnError)
	x.Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return x
}

// open opens a session, which runs as soon as it is told to, or to end.
func open(t *testing.T, opts session.Options, args ...string) *traffic {
	t.Helper()
	x := parse(t, args...)
	return openTracer(t, x, x, opts)
}

// openTracer is open for what a test has made of a tracer.
func openTracer(t *testing.T, x *tracer, made session.Tracer, opts session.Options) *traffic {
	t.Helper()
	c := &traffic{record.OpenTracer(t, Probe, made, opts), t, x}
	if tier := c.Tier(callsFeature); opts.Tier != 0 && tier != opts.Tier {
		t.Fatalf("hooks of the kind %q, want %q", tier, opts.Tier)
	}
	return c
}

// start runs a session until the test ends, or Stop is called. Nothing may be lost.
func start(t *testing.T, opts session.Options, args ...string) *traffic {
	t.Helper()
	c := open(t, opts, args...)
	c.Clean(nil)
	c.Run()
	return c
}

// rows are those that came so far.
func (c *traffic) rows() []*event.Traffic { return record.All[*event.Traffic](c.Recorder) }

// sum is what a process has moved according to all its rows, or those of which also is
// true.
func (c *traffic) sum(pid int, also func(*event.Traffic) bool) (m moved) {
	for _, e := range c.rows() {
		if int(e.PID) == pid && (also == nil || also(e)) {
			m = m.plus(e.Tx, e.Rx)
		}
	}
	return m
}

func (m moved) plus(tx, rx uint64) moved { return moved{m.tx + tx, m.rx + rx} }

func both(tx, rx int) moved { return moved{uint64(tx), uint64(rx)} }

// want checks what a process has moved in all, by its rows and by the closing table.
func (c *traffic) want(what string, pid int, tx, rx int) {
	c.t.Helper()
	missed := c.Stop().LostBy[account.ProgramMissed]
	want := both(tx, rx)
	if got := c.sum(pid, nil); got != want {
		if missed > 0 { // who called is not known then, which is told
			c.t.Logf("%s: moved %+v, want %+v, and programs were not run %d times", what, got, want, missed)
			return
		}
		c.t.Errorf("%s: moved %+v, want %+v", what, got, want)
	}
	var closing moved
	for _, e := range c.Closing().Rows {
		if e := e.(*event.Traffic); int(e.PID) == pid {
			closing = closing.plus(e.TotalTx, e.TotalRx)
		}
	}
	if closing != want {
		c.t.Errorf("%s: the closing table says %+v, want %+v", what, closing, want)
	}
}

// await waits until a process has moved this much according to its rows.
func (c *traffic) await(pid int, tx, rx int) {
	c.t.Helper()
	var got moved
	if !c.Wait(record.Patience, func() bool { got = c.sum(pid, nil); return got == both(tx, rx) }) {
		c.t.Fatalf("moved %+v, want %+v", got, both(tx, rx))
	}
}

// offline is a tracer without a kernel.
func offline(opts session.Options, sink session.Sink) *tracer {
	x := &tracer{by: byProcess, sortBy: "total", interval: time.Second, look: 1}
	x.begin(session.Offline(x, opts, sink))
	return x
}
