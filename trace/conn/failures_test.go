package conn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

func testResetBeforeAccept(t *testing.T, c *conns) {
	w := work.Start(t, "resetBeforeAccept")
	w.Hear()
	got := c.kinds(w.PID, both...)
	for _, k := range []string{"close client", "close server"} {
		if e := got[k].(*event.Close); e.Reason != event.ReasonReset || e.ClosedBy != event.RoleClient {
			t.Errorf("end: %s", describe(e))
		}
	}
}

func testResets(t *testing.T, c *conns) {
	for _, how := range []string{"linger", "unread"} {
		w := work.Start(t, "reset", how)
		w.Hear()
		got := c.kinds(w.PID, both...)
		for _, k := range []string{"close client", "close server"} {
			if e := got[k].(*event.Close); e.Reason != event.ReasonReset || e.ClosedBy != event.RoleClient || e.ResetBy != event.RoleClient {
				t.Errorf("%s: %s", how, describe(e))
			}
		}
	}
	w := work.Start(t, "reset", "after")
	w.Hear()
	got := c.kinds(w.PID, both...)
	if e := got["close server"].(*event.Close); e.Reason != event.ReasonReset || e.ClosedBy != event.RoleClient || e.ResetBy != event.RoleServer {
		t.Errorf("the client has closed, the server resets: %s", describe(e))
	}
}

func testRefused(t *testing.T, c *conns) {
	for _, how := range []string{"blocking", "nonblocking", "again", "ipv6"} {
		testRefusedBy(t, c, how)
	}
}

func testRefusedBy(t *testing.T, c *conns, how string) {
	w := work.Start(t, "refused", how)
	port := w.HearInt()
	w.Hear()
	want := []string{"connect_failed client"}
	got := c.kinds(w.PID, want...)
	e := got["connect_failed client"].(*event.ConnectFailed)
	if e.Error != "ECONNREFUSED" || int(e.Dst.Port()) != port || e.Latency <= 0 || e.SYNs != 1 || e.Src.Port() == 0 {
		t.Errorf("%s: %s", how, describe(e))
	}
	w.Say("close")
	w.Hear()
	c.kinds(w.PID, want...) // and nothing more
	if n := len(c.socks(w.PID)); n != 0 {
		t.Errorf("%s: %d sockets left", how, n)
	}
}

func testAtOnce(t *testing.T, c *conns) {
	for _, want := range []struct{ how, err string }{
		{"noroute4", "ENETUNREACH"},
		{"noroute6", "ENETUNREACH"},
		{"noroutemapped", "ENETUNREACH"},
		{"unreachable", "EHOSTUNREACH"},
		{"noaddress", "EADDRNOTAVAIL"},
	} {
		w := work.Start(t, "atOnce", want.how)
		dst := w.Hear()
		w.Hear()
		n := 1
		if want.how == "noaddress" {
			n = 2 // the connection that is in the way
		}
		list := c.of(w.PID, n)
		if e, ok := list[n-1].(*event.ConnectFailed); !ok || len(list) != n || e.Error != want.err || e.Dst.String() != dst {
			t.Errorf("%s: want %s to %s, got\n%s", want.how, want.err, dst, describe(list...))
		}
	}
}

func testHostUnreachable(t *testing.T, c *conns) {
	w := work.Start(t, "hostUnreachable")
	port := w.HearInt()
	w.Hear()
	e := c.kinds(w.PID, "connect_failed client")["connect_failed client"].(*event.ConnectFailed)
	if e.Error != "EHOSTUNREACH" || int(e.Dst.Port()) != port || e.Src.Port() == 0 || e.Latency <= 0 {
		t.Errorf("end: %s", describe(e))
	}
}

// A rejection that comes while a call holds the socket is what the program is told, and
// is told of it, also if it does not ask.
func testRejectedWhileHeld(t *testing.T, c *conns) {
	for _, how := range []string{"asked", "not asked"} {
		w := work.Start(t, "rejectedWhileHeld", strings.ReplaceAll(how, " ", "-"))
		port := w.HearInt()
		w.Hear()
		e := c.kinds(w.PID, "connect_failed client")["connect_failed client"].(*event.ConnectFailed)
		if e.Error != "EHOSTUNREACH" || int(e.Dst.Port()) != port || e.Src.Port() == 0 || e.Latency <= 0 {
			t.Errorf("%s: %s", how, describe(e))
		}
	}
}

// What a firewall of this host or a router rejects is told with the errno that the
// program gets, whether it waits in connect or not.
func TestKernelRejectedConnects(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly) // emulated machines have none
	c := start(t, session.Options{})
	type attempt struct {
		what string
		w    *work.Process
	}
	var all []attempt
	for _, how := range []string{"port", "net", "host", "reset", "ipv6", "router"} {
		for _, waits := range []string{"polls", "waits"} {
			all = append(all, attempt{how + ", " + waits, work.Start(t, "rejected", how, waits)})
		}
	}
	for _, a := range all {
		want, dst := a.w.Hear(), a.w.Hear()
		a.w.Hear()
		list := c.of(a.w.PID, 1)
		// One that waits is refused by an answer to its second SYN, mostly.
		if _, stuck := list[0].(*event.ConnectStuck); stuck {
			list = c.of(a.w.PID, 2)[1:]
		}
		e, ok := list[0].(*event.ConnectFailed)
		if !ok || len(list) != 1 || e.Error != want || e.Dst.String() != dst || e.Src.Port() == 0 {
			t.Errorf("%s: want %s to %s, got\n%s", a.what, want, dst, describe(list...))
		}
	}
	w := work.Start(t, "rejectedAndReused")
	w.Hear()
	list := c.of(w.PID, 2)
	for i, want := range []string{"ECONNREFUSED", "ECANCELED"} {
		if e, ok := list[i].(*event.ConnectFailed); !ok || len(list) != 2 || e.Error != want {
			t.Errorf("one socket, two calls: want %s, got\n%s", want, describe(list...))
		}
	}
}

func testReused(t *testing.T, c *conns) {
	w := work.Start(t, "reused")
	w.Hear()
	var got []string
	list := c.of(w.PID, 9)
	for _, e := range list {
		what := e.Head().Kind + " " + connectionOf(e).Role
		if e, ok := e.(*event.Close); ok {
			what += fmt.Sprintf(" %s by %s %d/%d", e.Reason, e.ClosedBy, e.Tx, e.Rx)
		}
		got = append(got, what)
	}
	want := []string{
		"connect_failed client",
		"connect client", "accept server", "close client reset by client 0/0", "close server reset by client 0/0",
		"connect client", "accept server", "close client closed by client 1009/0", "close server closed by client 0/1009",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("want %q, got\n%s", want, describe(list...))
	}
}

func testNoAnswer(t *testing.T, c *conns) {
	w := work.Start(t, "noAnswer")
	timesOut, givesUp, late := w.HearInt(), w.HearInt(), w.HearInt()
	took := time.Duration(w.HearInt()) * time.Microsecond // by the client's own clock
	w.Hear()
	bySource := map[int][]event.Event{}
	for _, e := range c.of(w.PID, 7) {
		port := int(connectionOf(e).Src.Port())
		bySource[port] = append(bySource[port], e)
	}
	check := func(port int, end func(e event.Event) bool) {
		t.Helper()
		list := bySource[port]
		if len(list) < 2 {
			t.Fatalf("want a stuck connect and its end:\n%s", describe(list...))
		}
		s, ok := list[0].(*event.ConnectStuck)
		if !ok || s.SYNs != 2 || s.Age < time.Second || s.Age > 3*time.Second || !end(list[1]) {
			t.Errorf("want a stuck connect after 1s and its end:\n%s", describe(list...))
		}
	}
	check(timesOut, func(e event.Event) bool {
		f, ok := e.(*event.ConnectFailed)
		return ok && f.Error == "ETIMEDOUT" && f.SYNs == 2 && f.Latency > 1900*time.Millisecond
	})
	check(givesUp, func(e event.Event) bool {
		f, ok := e.(*event.ConnectFailed)
		return ok && f.Error == "ECANCELED" && f.Latency > time.Second
	})
	check(late, func(e event.Event) bool {
		f, ok := e.(*event.Connect)
		return ok && f.Latency > 1900*time.Millisecond && abs(f.Latency-took) < took/50
	})
}

func testTimeout(t *testing.T, c *conns) {
	w := work.Start(t, "timeout")
	w.Hear()
	for _, e := range c.of(w.PID, 3) {
		if e, ok := e.(*event.Close); ok {
			if e.Role != event.RoleClient || e.Reason != event.ReasonTimeout || e.Retransmits == 0 || e.ClosedBy != "" {
				t.Errorf("end: %s", describe(e))
			}
			return
		}
	}
	t.Error("no end")
}
