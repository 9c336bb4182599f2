package conn

import (
	"strconv"
	"testing"
	"time"

	"tracer/testdata/kit/work"
	"tracer/trace/event"
)

// testPair has two processes talk and checks all that is said about it.
func testPair(t *testing.T, c *conns, host, shown, first string) {
	server := work.Start(t, "server", host, first)
	port := server.HearInt()
	client := work.Start(t, "client", host, strconv.Itoa(port), first)
	clientPort := client.HearInt()
	client.Hear()
	server.Hear()

	cl := c.kinds(client.PID, "connect client", "close client")
	sv := c.kinds(server.PID, "accept server", "close server")
	all := []event.Event{cl["connect client"], cl["close client"], sv["accept server"], sv["close server"]}
	for _, e := range all {
		conn := connectionOf(e)
		if conn.Src.Addr().String() != shown || conn.Dst.Addr().String() != shown ||
			int(conn.Src.Port()) != clientPort || int(conn.Dst.Port()) != port {
			t.Errorf("addresses of %s", describe(e))
		}
		if h := e.Head(); h.Comm == "" || h.CgroupID == 0 || h.UID != 0 {
			t.Errorf("process of %s", describe(e))
		}
	}
	connect := cl["connect client"].(*event.Connect)
	if connect.Latency <= 0 || connect.Latency > time.Second {
		t.Errorf("latency %s", connect.Latency)
	}
	own, peer := cl["close client"].(*event.Close), sv["close server"].(*event.Close)
	if own.Tx != work.ClientSends || own.Rx != work.ServerSends || peer.Tx != work.ServerSends || peer.Rx != work.ClientSends {
		t.Errorf("bytes: client %d sent, %d received; server %d, %d", own.Tx, own.Rx, peer.Tx, peer.Rx)
	}
	for _, e := range []*event.Close{own, peer} {
		if e.Reason != event.ReasonClosed || e.ClosedBy != first || e.OpenBefore || e.SRTT <= 0 {
			t.Errorf("end: %s", describe(e))
		}
	}
	// From the SYN, not from the end of the handshake: the whole of what lies
	// between the two events, and the handshake.
	if d := own.Time.Sub(connect.Time) + connect.Latency; abs(d-own.Duration) > time.Millisecond {
		t.Errorf("duration %s, want %s", own.Duration, d)
	}
	if d := peer.Time.Sub(sv["accept server"].Head().Time); abs(d-peer.Duration) > time.Millisecond {
		t.Errorf("duration %s, want %s", peer.Duration, d)
	}
	if n := len(c.socks(client.PID, server.PID)); n != 0 {
		t.Errorf("%d sockets left", n)
	}
}

func testVanished(t *testing.T, c *conns) {
	server := work.Start(t, "blockedAccept")
	port := server.Hear()
	name := commOf(t, server.PID)
	client := work.Start(t, "vanish", port)
	client.Wait()
	got := c.kinds(client.PID, "connect client", "close client")
	if e := got["close client"].(*event.Close); e.Comm != name || e.ClosedBy != event.RoleClient {
		t.Errorf("end: %s", describe(e))
	}
	c.kinds(server.PID, "accept server", "close server")
}

func testThreads(t *testing.T, c *conns) {
	w := work.Start(t, "byThreads")
	w.Hear()
	for _, e := range c.kinds(w.PID, both...) {
		if e.Head().Comm != commOf(t, w.PID) {
			t.Errorf("the process is %s: %s", commOf(t, w.PID), describe(e))
		}
	}
}

func testPassFD(t *testing.T, c *conns) { testHandedOn(t, c, "passFD") }

func testAcceptParent(t *testing.T, c *conns) { testHandedOn(t, c, "acceptParent") }

// testHandedOn has a process accept and another one do the work.
func testHandedOn(t *testing.T, c *conns, how string) {
	parent := work.Start(t, how)
	child := parent.HearInt()
	parent.Hear()
	got := c.kinds(parent.PID, both...)
	if e := got["close server"].(*event.Close); e.Tx != 1013 || e.Rx != 1009 {
		t.Errorf("bytes: %s", describe(e))
	}
	if list := c.of(child, 0); len(list) != 0 {
		t.Errorf("rows of the child:\n%s", describe(list...))
	}
}

func testConnectParent(t *testing.T, c *conns) {
	server := work.Start(t, "server", "127.0.0.1", "server")
	port := server.Hear()
	parent := work.Start(t, "connectParent", port)
	child := parent.HearInt()
	parent.Wait()
	server.Hear() // the child did the talking
	got := c.kinds(parent.PID, "connect client", "close client")
	if e := got["close client"].(*event.Close); e.Tx != work.ClientSends || e.Rx != work.ServerSends || e.ClosedBy != event.RoleServer {
		t.Errorf("end: %s", describe(e))
	}
	c.kinds(server.PID, "accept server", "close server")
	if list := c.of(child, 0); len(list) != 0 {
		t.Errorf("rows of the child:\n%s", describe(list...))
	}
}

func testAcceptLate(t *testing.T, c *conns) {
	w := work.Start(t, "acceptLate")
	w.Hear()
	got := c.kinds(w.PID, both...)
	accept := got["accept server"].(*event.Accept)
	if d := accept.Time.Sub(got["connect client"].Head().Time); d < 150*time.Millisecond {
		t.Errorf("accepted after %s", d)
	}
	if e := got["close server"].(*event.Close); e.ClosedBy != event.RoleServer || e.Tx != 0 || e.Rx != 0 {
		t.Errorf("end: %s", describe(e))
	}
}
