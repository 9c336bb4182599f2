package http

import (
	"testing"
	"time"

	"tracer/testdata/kit"

	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

// idleness is what a tracer's timers have to come back to.
type idleness struct {
	conns int // that are known
	waits int // those of them with a request that has no answer
	timed int // timers that wait for a connection or an exchange
}

// A connection that is idle costs nothing: no timer comes back to it. One request that
// waits has its own connection looked at, and no other.
func TestKernelHTTPIdleConnectionsAreNotLookedAt(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	n := kit.Size(307, 37)
	l, port := work.FixedListener()
	defer work.CloseFD(l)
	tr := record.Parse(t, Probe, atPorts(port), "--stuck=50ms").(*tracer)
	v := &view{record.OpenTracer(t, Probe, tr, session.Options{Self: true})}
	v.Clean(nil)

	// The tracer belongs to the session's goroutine, and so does this timer.
	idle := idleness{conns: 2 * n}
	states := make(chan idleness, 1)
	settled, most := false, 0
	var look *session.Timer
	look = v.Host.Timer(func() {
		look.In(10 * time.Millisecond)
		s := idleness{conns: len(tr.conns.known), waits: len(tr.pending.waits)}
		for _, timer := range []*session.Timer{tr.pending.adopting, tr.joining, tr.pending.sticking} {
			if timer.Waits() {
				s.timed++
			}
		}
		if settled = settled || s == idle; settled {
			most = max(most, s.waits)
		}
		select {
		case <-states: // nobody has taken it
		default:
		}
		states <- s
	})
	look.In(0)
	v.Run()
	await := func(what string) {
		t.Helper()
		var s idleness
		for deadline := time.After(record.Patience); s != idle; {
			select {
			case s = <-states:
			case <-deadline:
				t.Fatalf("%s: %+v, want %+v", what, s, idle)
			}
		}
	}

	var clients, servers []int
	for i := range n {
		clients = append(clients, work.Dial("127.0.0.1", port))
		servers = append(servers, work.Accept(l))
		for _, fd := range []int{clients[i], servers[i]} {
			defer work.CloseFD(fd)
			work.Timeouts(fd)
		}
		perform(t, clients[i], send(get))
		perform(t, servers[i], recv(len(get)), send(ok5))
		perform(t, clients[i], recv(len(ok5)))
	}
	v.await(port, n)
	await("all connections have become idle")

	perform(t, clients[0], send(get))
	perform(t, servers[0], recv(len(get)))
	if got := v.await(port, n+1); len(got) != n+1 || got[n].Kind != event.KindHTTPStuck {
		t.Fatalf("%d rows, want %d and one that is stuck", len(got), n)
	}
	perform(t, servers[0], send(ok5))
	perform(t, clients[0], recv(len(ok5)))
	v.await(port, n+2)
	await("the request that was stuck has its answer")
	v.Stop()
	if most > 2 { // its two ends
		t.Errorf("up to %d connections were looked at for one request", most)
	}
}
