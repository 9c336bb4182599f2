package conn

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

func TestMain(m *testing.M) {
	work.Main()
	os.Exit(m.Run())
}

// both are the events of a connection of which one process has both ends.
var both = []string{"connect client", "accept server", "close client", "close server"}

// conns are the events of a session with conn, by process.
type conns struct {
	*record.Recorder
	t      *testing.T
	tracer *tracer
	asked  []int // the processes that the test has asked for
	before [lostCauses]int
	missed int // steps that are known to be counted as missed
}

// What the programs count: enum lost_cause of the C headers.
const (
	lostAccept = 4
	lostStep   = 5
	lostCauses = 6
)

// start runs a session until the test ends. Nothing may be lost but what is known.
func start(t *testing.T, opts session.Options, args ...string) *conns {
	t.Helper()
	c := open(t, opts, args...)
	c.Run()
	return c
}

// open is start of a session whose programs run, and that tells nothing yet: it has not
// looked for older connections.
func open(t *testing.T, opts session.Options, args ...string) *conns {
	t.Helper()
	c := &conns{t: t, tracer: record.Parse(t, Probe, args...).(*tracer)}
	c.Recorder = record.OpenTracer(t, Probe, c.tracer, opts)
	c.before = c.counters()
	c.Clean(func() map[string]uint64 { return map[string]uint64{"step_missed": uint64(c.missed)} })
	return c
}

// looked returns when all sockets that are older than tracing have been met.
func (c *conns) looked() {
	c.t.Helper()
	kit.Eventually(c.t, "the look at older sockets", func() error {
		var looking uint32
		if err := c.Host.Get(bpf.ConnVarLooking, &looking); err != nil {
			return err
		}
		if looking != 0 {
			return errors.New("it goes on")
		}
		return nil
	})
}

// of returns the events of a process as soon as there are n, or fails.
func (c *conns) of(pid, n int) (got []event.Event) {
	c.t.Helper()
	c.asked = append(c.asked, pid)
	there := c.Wait(record.Patience, func() bool {
		got = nil
		for _, e := range c.Events() {
			if int(e.Head().PID) == pid {
				got = append(got, e)
			}
		}
		return len(got) >= n
	})
	if !there {
		c.t.Fatalf("%d events of process %d, want %d:\n%s", len(got), pid, n, describe(got...))
	}
	return got
}

// kinds checks that the events of a process are exactly these kinds, in any order,
// and returns them by kind and role.
func (c *conns) kinds(pid int, want ...string) map[string]event.Event {
	c.t.Helper()
	got := map[string]event.Event{}
	list := c.of(pid, len(want))
	for _, e := range list {
		got[e.Head().Kind+" "+connectionOf(e).Role] = e
	}
	if len(list) != len(want) {
		c.t.Fatalf("%d events, want %d:\n%s", len(list), len(want), describe(list...))
	}
	for _, k := range want {
		if got[k] == nil {
			c.t.Fatalf("no %s in:\n%s", k, describe(list...))
		}
	}
	return got
}

// ends are the closes of a connection of which one process has both ends, and
// nothing else.
func (c *conns) ends(pid int) (client, server *event.Close) {
	c.t.Helper()
	got := c.kinds(pid, both...)
	return got["close client"].(*event.Close), got["close server"].(*event.Close)
}

// socks are the sockets of some processes that are in the map.
func (c *conns) socks(pids ...int) map[uint64]bpf.ConnConn {
	c.t.Helper()
	found := map[uint64]bpf.ConnConn{}
	var key uint64
	var conn bpf.ConnConn
	iter := c.Host.Map(bpf.ConnMapSocks).Iterate()
	for iter.Next(&key, &conn) {
		for _, pid := range pids {
			if int(conn.Pid) == pid {
				found[key] = conn
			}
		}
	}
	if err := iter.Err(); err != nil {
		c.t.Fatal(err)
	}
	return found
}

// calls is how many entries the map of calls has.
func (c *conns) calls() (n int) {
	c.t.Helper()
	m := c.Host.Map(bpf.ConnMapCalls)
	if m == nil {
		return 0 // only kprobes use it
	}
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	iter := m.Iterate()
	for iter.Next(key, value) {
		n++
	}
	if err := iter.Err(); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// losses is what the programs count as missed, the ends included that nobody has
// found out yet.
func (c *conns) losses() (accepts, steps int) {
	c.t.Helper()
	c.tracer.Detaching()
	now := c.counters()
	return now[lostAccept] - c.before[lostAccept], now[lostStep] - c.before[lostStep]
}

// counters reads them while the session, which has a buffer of its own, does, too.
func (c *conns) counters() (sums [lostCauses]int) {
	c.t.Helper()
	for cause := range sums {
		var perCPU []uint64
		if err := c.Host.Map(bpf.ConnMapLost).Lookup(uint32(cause), &perCPU); err != nil {
			c.t.Fatal(err)
		}
		for _, n := range perCPU {
			sums[cause] += int(n)
		}
	}
	return sums
}

func describe(list ...event.Event) string {
	var b []byte
	for _, e := range list {
		b = append(event.AppendJSON(b, e), '\n')
	}
	return string(b)
}

func connectionOf(e event.Event) *event.Connection {
	switch e := e.(type) {
	case *event.Connect:
		return &e.Connection
	case *event.ConnectFailed:
		return &e.Connection
	case *event.ConnectStuck:
		return &e.Connection
	case *event.Accept:
		return &e.Connection
	case *event.Close:
		return &e.Connection
	case *event.Open:
		return &e.Connection
	}
	panic("no event of conn")
}

func abs(d time.Duration) time.Duration { return max(d, -d) }

// commOf is the name of a process, which is the same for all workloads.
func commOf(t *testing.T, pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}
