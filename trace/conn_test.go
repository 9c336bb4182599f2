package trace

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
)

// The events of some processes, as a session with conn reported them.
type connEvents struct {
	t       *testing.T
	session *Session
	mu      sync.Mutex
	changed chan struct{}
	list    []event.Event
	asked   []int          // the processes that tests have asked for
	counts  map[string]int // instead of the list, where there are many
	only    bool           // count, do not keep
	missed  int            // how many steps are known to be counted as missed
	late    time.Duration  // the longest that an event took to get here
	stop    func() error
}

func (c *connEvents) Event(e event.Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := e.Head()
	c.counts[h.Kind+" "+strconv.Itoa(int(h.PID))]++
	if !c.only {
		if late := time.Since(h.Time); late > c.late {
			c.late = late
		}
		switch e := e.(type) {
		case *event.Connect:
			c.list = append(c.list, ptr(*e))
		case *event.ConnectFailed:
			c.list = append(c.list, ptr(*e))
		case *event.ConnectStuck:
			c.list = append(c.list, ptr(*e))
		case *event.Accept:
			c.list = append(c.list, ptr(*e))
		case *event.Close:
			c.list = append(c.list, ptr(*e))
		}
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return true
}

func ptr[T any](v T) *T { return &v }

func (c *connEvents) Flush() error            { return nil }
func (c *connEvents) Broken() <-chan struct{} { return nil }
func (c *connEvents) Close() (uint64, error)  { return 0, nil }

// traceConn runs a session of conn until the test ends.
func traceConn(t *testing.T, opts Options, args ...string) *connEvents {
	t.Helper()
	needRoot(t)
	tracer := &connTracer{}
	fs := flag.NewFlagSet("conn", flag.ContinueOnError)
	tracer.Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := tracer.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(tracer, opts)
	if err != nil {
		if opts.tier != 0 && opts.tier != tierTracepoint && os.Getenv("TRACER_VM") == "" {
			t.Skipf("functions cannot be hooked here, other kernels are tested by make test-kernels: %v", err)
		}
		t.Fatal(err)
	}
	c := &connEvents{t: t, session: s, changed: make(chan struct{}, 1), counts: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, c) }()
	c.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		a, accountErr := s.Account()
		if accountErr == nil {
			if mayMiss(s, opts.tier) {
				a.Lost -= a.LostBy[causeNames[lostAccept]]
				a.Incomplete = 0
			}
			if s.tracer.(*connTracer).preempts {
				a.Lost -= a.LostBy[causeNames[lostMissed]]
			}
			if a.LostBy[causeNames[lostStep]] == uint64(c.missed) {
				a.Lost -= uint64(c.missed)
			}
			if a.Lost != 0 || a.Incomplete != 0 {
				t.Errorf("lost %d %v, %d details", a.Lost, a.LostBy, a.Incomplete)
			}
		}
		s.Close()
		return errors.Join(err, accountErr)
	})
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// of returns the events of a process as soon as there are n, or fails.
func (c *connEvents) of(pid, n int) []event.Event {
	c.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		c.mu.Lock()
		var got []event.Event
		c.asked = append(c.asked, pid)
		for _, e := range c.list {
			if int(e.Head().PID) == pid {
				got = append(got, e)
			}
		}
		c.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-c.changed:
		case <-deadline:
			c.t.Fatalf("%d events of process %d, want %d:\n%s", len(got), pid, n, describe(got))
		}
	}
}

// sorted checks that the events of a process are exactly these kinds, in any
// order, and returns them by kind and role.
func (c *connEvents) kinds(pid int, want ...string) map[string]event.Event {
	c.t.Helper()
	got := map[string]event.Event{}
	list := c.of(pid, len(want))
	for _, e := range list {
		got[e.Head().Kind+" "+connectionOf(e).Role] = e
	}
	if len(list) != len(want) {
		c.t.Fatalf("%d events, want %d:\n%s", len(list), len(want), describe(list))
	}
	for _, k := range want {
		if got[k] == nil {
			c.t.Fatalf("no %s in:\n%s", k, describe(list))
		}
	}
	return got
}

func describe(list []event.Event) string {
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
	}
	panic("no event of conn")
}

// A connWorkload is another process, which runs one of the functions in workloads.
type connWorkload struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	pid int
}

func startWorkload(t *testing.T, name string, args ...string) *connWorkload {
	t.Helper()
	w := &connWorkload{t: t}
	w.cmd = exec.Command("/proc/self/exe", "-test.run=^TestConnWorkload$")
	w.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", "CONN_WORKLOAD="+name+" "+strings.Join(args, " "))
	w.cmd.Stderr = os.Stderr
	w.in, _ = w.cmd.StdinPipe()
	out, _ := w.cmd.StdoutPipe()
	w.out = bufio.NewScanner(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.pid = w.cmd.Process.Pid
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // it may have ended
		_ = w.cmd.Wait()
	})
	return w
}

// say lets the workload go on; hear waits for what it says.
func (w *connWorkload) say(text string) {
	if _, err := io.WriteString(w.in, text+"\n"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *connWorkload) hear() string {
	w.t.Helper()
	for w.out.Scan() {
		if text, ok := strings.CutPrefix(w.out.Text(), "said: "); ok {
			if why, ok := strings.CutPrefix(text, "skip: "); ok {
				w.t.Skip(why)
			}
			return text
		}
	}
	w.t.Fatalf("the workload ended: %v", w.out.Err())
	return ""
}

func (w *connWorkload) hearInt() int {
	w.t.Helper()
	n, err := strconv.Atoi(w.hear())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestConnWorkload(t *testing.T) {
	args := strings.Fields(os.Getenv("CONN_WORKLOAD"))
	if len(args) == 0 {
		return // not the process that is to work
	}
	workloads[args[0]](args[1:])
	os.Exit(0)
}

// tiersOf runs a test once for each kind of hook.
func tiersOf(t *testing.T, test func(t *testing.T, tier tier)) {
	for _, tier := range []tier{tierFunction, tierKprobe, tierTracepoint} {
		t.Run(tier.String(), func(t *testing.T) { test(t, tier) })
	}
}

func TestKernelConn(t *testing.T) {
	tiersOf(t, func(t *testing.T, tier tier) {
		// Both are there before tracing begins.
		blocked := startWorkload(t, "blockedAccept")
		blockedPort := blocked.hear()
		older := map[string]*connWorkload{}
		for _, name := range []string{"older", "olderHalfClosed", "olderConnecting"} {
			older[name] = startWorkload(t, name)
			older[name].hear()
		}

		c := traceConn(t, Options{tier: tier})
		if got := c.session.tiers["accepts, and connects that fail at once"]; got != tier {
			t.Fatalf("tier %s, want %s", got, tier)
		}
		run := func(name string, test func(t *testing.T, c *connEvents)) {
			t.Run(name, func(t *testing.T) {
				sub := &connEvents{t: t}
				c.mu.Lock()
				c.t, sub = t, c
				c.mu.Unlock()
				test(t, sub)
			})
		}
		run("a task that slept in accept before tracing", func(t *testing.T, c *connEvents) {
			client := startWorkload(t, "connectTo", blockedPort)
			client.hear()
			c.kinds(blocked.pid, "accept server", "close server")
		})
		run("connections that are older", func(t *testing.T, c *connEvents) {
			testOlder(t, c, older["older"], 2*1009, 2*2003)
			testOlder(t, c, older["olderHalfClosed"], 1009, 2003)
		})
		run("a connect that is older", func(t *testing.T, c *connEvents) { testOlderConnect(t, c, older["olderConnecting"]) })
		run("a process that is gone at once", testVanished)
		run("threads", testThreads)
		run("two processes, four rows", func(t *testing.T, c *connEvents) { testPair(t, c, "127.0.0.1", "127.0.0.1", "client") })
		run("IPv6, closed by the server", func(t *testing.T, c *connEvents) { testPair(t, c, "::1", "::1", "server") })
		run("IPv4 mapped into IPv6", func(t *testing.T, c *connEvents) { testPair(t, c, "::ffff:127.0.0.1", "127.0.0.1", "client") })
		run("accepted by a parent, used by its child", testAcceptParent)
		run("accepted, and handed to another process", testPassFD)
		run("connected by a parent that is gone, used by its child", testConnectParent)
		run("accepted late, closed without a byte", testAcceptLate)
		run("reset before it was accepted", testResetBeforeAccept)
		run("resets", testResets)
		run("refused, once each", testRefused)
		run("no route and no local address, once each", testAtOnce)
		run("no route, says a router", testHostUnreachable)
		run("one socket, three calls", testReused)
		run("segments that are lost", testRetransmits)
		run("bytes, however they were sent", testBytes)
		run("fast open", testFastOpen)
		run("MPTCP", testMPTCP)
		run("Go's library", testGoNet)
		run("IPv6 turned off", testWithoutIPv6)
		run("io_uring", testIoUring)
		run("no answer", testNoAnswer)
		run("timeout of an open connection", testTimeout)
		// Everything but what waits in a queue on purpose.
		if c.late > 2*time.Second {
			t.Errorf("an event took %s to be shown", c.late)
		}
		if n := entries(t, c, bpf.ConnMapCalls); n != 0 {
			t.Errorf("%d entries left in map calls", n)
		}
		// The processes have ended; of the last ones the kernel may still be at it.
		for deadline := time.Now().Add(15 * time.Second); left(t, c, c.asked...) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d sockets left in the map", left(t, c, c.asked...))
			}
		}
	})
}

func entries(t *testing.T, c *connEvents, name string) (n int) {
	t.Helper()
	m := c.session.objects.Maps[name]
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	iter := m.Iterate()
	for iter.Next(key, value) {
		n++
	}
	if err := iter.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// left counts the sockets of some processes that are still in the map.
func left(t *testing.T, c *connEvents, pids ...int) (n int) {
	t.Helper()
	var key uint64
	var conn bpf.ConnConn
	iter := c.session.objects.Maps[bpf.ConnMapSocks].Iterate()
	for iter.Next(&key, &conn) {
		for _, pid := range pids {
			if int(conn.Pid) == pid {
				n++
			}
		}
	}
	if err := iter.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	clientSends = 1009 * 101
	serverSends = 2003 * 103
)

// testPair has two processes talk and checks all that is said about it.
func testPair(t *testing.T, c *connEvents, host, shown, first string) {
	server := startWorkload(t, "server", host, first)
	port := server.hearInt()
	client := startWorkload(t, "client", host, strconv.Itoa(port), first)
	clientPort := client.hearInt()
	client.hear()
	server.hear()

	cl := c.kinds(client.pid, "connect client", "close client")
	sv := c.kinds(server.pid, "accept server", "close server")
	all := []event.Event{cl["connect client"], cl["close client"], sv["accept server"], sv["close server"]}
	for _, e := range all {
		conn := connectionOf(e)
		if conn.Src.Addr().String() != shown || conn.Dst.Addr().String() != shown ||
			int(conn.Src.Port()) != clientPort || int(conn.Dst.Port()) != port {
			t.Errorf("addresses of %s", describe([]event.Event{e}))
		}
		if h := e.Head(); h.Comm == "" || h.CgroupID == 0 || h.UID != 0 {
			t.Errorf("process of %s", describe([]event.Event{e}))
		}
	}
	connect := cl["connect client"].(*event.Connect)
	if connect.Latency <= 0 || connect.Latency > time.Second {
		t.Errorf("latency %s", connect.Latency)
	}
	own, peer := cl["close client"].(*event.Close), sv["close server"].(*event.Close)
	if own.Tx != clientSends || own.Rx != serverSends || peer.Tx != serverSends || peer.Rx != clientSends {
		t.Errorf("bytes: client %d sent, %d received; server %d, %d", own.Tx, own.Rx, peer.Tx, peer.Rx)
	}
	for _, e := range []*event.Close{own, peer} {
		if e.Reason != event.ReasonClosed || e.ClosedBy != first || e.OpenBefore || e.SRTT <= 0 {
			t.Errorf("end: %s", describe([]event.Event{e}))
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
	if n := left(t, c, client.pid, server.pid); n != 0 {
		t.Errorf("%d sockets left", n)
	}
}

func abs(d time.Duration) time.Duration { return max(d, -d) }

func testOlder(t *testing.T, c *connEvents, w *connWorkload, fromClient, fromServer uint64) {
	w.say("close")
	w.hear()
	got := c.kinds(w.pid, "close client", "close server")
	cl, sv := got["close client"].(*event.Close), got["close server"].(*event.Close)
	for _, e := range []*event.Close{cl, sv} {
		if !e.OpenBefore || e.ClosedBy != event.RoleClient || e.Duration != 0 {
			t.Errorf("end: %s", describe([]event.Event{e}))
		}
	}
	if cl.Tx != fromClient || cl.Rx != fromServer || sv.Tx != fromServer || sv.Rx != fromClient {
		t.Errorf("bytes: %s", describe([]event.Event{cl, sv}))
	}
	if cl.Src != sv.Src || cl.Dst != sv.Dst {
		t.Errorf("ends differ: %s", describe([]event.Event{cl, sv}))
	}
}

func testOlderConnect(t *testing.T, c *connEvents, w *connWorkload) {
	w.say("go on")
	w.hear()
	e := c.kinds(w.pid, "connect_failed client")["connect_failed client"].(*event.ConnectFailed)
	if e.Error != "ETIMEDOUT" || e.Latency != 0 || e.Src.Port() == 0 || e.Dst.Port() == 0 {
		t.Errorf("end: %s", describe([]event.Event{e}))
	}
}

func testVanished(t *testing.T, c *connEvents) {
	server := startWorkload(t, "blockedAccept")
	port := server.hear()
	name := commOf(t, server.pid)
	client := startWorkload(t, "vanish", port)
	if err := client.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	got := c.kinds(client.pid, "connect client", "close client")
	if e := got["close client"].(*event.Close); e.Comm != name || e.ClosedBy != event.RoleClient {
		t.Errorf("end: %s", describe([]event.Event{e}))
	}
	c.kinds(server.pid, "accept server", "close server")
}

// commOf is the name of a process, which is the same for all workloads.
func commOf(t *testing.T, pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}

func testThreads(t *testing.T, c *connEvents) {
	w := startWorkload(t, "byThreads")
	w.hear()
	for _, e := range c.kinds(w.pid, "connect client", "accept server", "close client", "close server") {
		if e.Head().Comm != commOf(t, w.pid) {
			t.Errorf("the process is %s: %s", commOf(t, w.pid), describe([]event.Event{e}))
		}
	}
}

func testPassFD(t *testing.T, c *connEvents) { testHandedOn(t, c, "passFD") }

func testAcceptParent(t *testing.T, c *connEvents) { testHandedOn(t, c, "acceptParent") }

// testHandedOn has a process accept and another one do the work.
func testHandedOn(t *testing.T, c *connEvents, how string) {
	parent := startWorkload(t, how)
	child := parent.hearInt()
	parent.hear()
	got := c.kinds(parent.pid, "connect client", "accept server", "close client", "close server")
	if e := got["close server"].(*event.Close); e.Tx != 1013 || e.Rx != 1009 {
		t.Errorf("bytes: %s", describe([]event.Event{e}))
	}
	if list := c.of(child, 0); len(list) != 0 {
		t.Errorf("rows of the child:\n%s", describe(list))
	}
}

func testConnectParent(t *testing.T, c *connEvents) {
	server := startWorkload(t, "server", "127.0.0.1", "server")
	port := server.hear()
	parent := startWorkload(t, "connectParent", port)
	child := parent.hearInt()
	if err := parent.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	server.hear() // the child did the talking
	got := c.kinds(parent.pid, "connect client", "close client")
	if e := got["close client"].(*event.Close); e.Tx != clientSends || e.Rx != serverSends || e.ClosedBy != event.RoleServer {
		t.Errorf("end: %s", describe([]event.Event{e}))
	}
	c.kinds(server.pid, "accept server", "close server")
	if list := c.of(child, 0); len(list) != 0 {
		t.Errorf("rows of the child:\n%s", describe(list))
	}
}

func testAcceptLate(t *testing.T, c *connEvents) {
	w := startWorkload(t, "acceptLate")
	w.hear()
	got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
	accept := got["accept server"].(*event.Accept)
	if d := accept.Time.Sub(got["connect client"].Head().Time); d < 150*time.Millisecond {
		t.Errorf("accepted after %s", d)
	}
	if e := got["close server"].(*event.Close); e.ClosedBy != event.RoleServer || e.Tx != 0 || e.Rx != 0 {
		t.Errorf("end: %s", describe([]event.Event{e}))
	}
}

func testResetBeforeAccept(t *testing.T, c *connEvents) {
	w := startWorkload(t, "resetBeforeAccept")
	w.hear()
	got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
	for _, k := range []string{"close client", "close server"} {
		if e := got[k].(*event.Close); e.Reason != event.ReasonReset || e.ClosedBy != event.RoleClient {
			t.Errorf("end: %s", describe([]event.Event{e}))
		}
	}
}

func testResets(t *testing.T, c *connEvents) {
	for _, how := range []string{"linger", "unread"} {
		w := startWorkload(t, "reset", how)
		w.hear()
		got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
		for _, k := range []string{"close client", "close server"} {
			if e := got[k].(*event.Close); e.Reason != event.ReasonReset || e.ClosedBy != event.RoleClient || e.ResetBy != event.RoleClient {
				t.Errorf("%s: %s", how, describe([]event.Event{e}))
			}
		}
	}
	w := startWorkload(t, "reset", "after")
	w.hear()
	got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
	if e := got["close server"].(*event.Close); e.Reason != event.ReasonReset || e.ClosedBy != event.RoleClient || e.ResetBy != event.RoleServer {
		t.Errorf("the client has closed, the server resets: %s", describe([]event.Event{e}))
	}
}

func testRefused(t *testing.T, c *connEvents) {
	for _, how := range []string{"blocking", "nonblocking", "again", "ipv6"} {
		testRefusedBy(t, c, how)
	}
}

func testRefusedBy(t *testing.T, c *connEvents, how string) {
	w := startWorkload(t, "refused", how)
	port := w.hearInt()
	w.hear()
	want := []string{"connect_failed client"}
	got := c.kinds(w.pid, want...)
	e := got["connect_failed client"].(*event.ConnectFailed)
	if e.Error != "ECONNREFUSED" || int(e.Dst.Port()) != port || e.Latency <= 0 || e.SYNs != 1 || e.Src.Port() == 0 {
		t.Errorf("%s: %s", how, describe([]event.Event{e}))
	}
	w.say("close")
	w.hear()
	c.kinds(w.pid, want...) // and nothing more
	if n := left(t, c, w.pid); n != 0 {
		t.Errorf("%s: %d sockets left", how, n)
	}
}

func testAtOnce(t *testing.T, c *connEvents) {
	for _, want := range []struct{ how, err string }{
		{"noroute4", "ENETUNREACH"},
		{"noroute6", "ENETUNREACH"},
		{"noroutemapped", "ENETUNREACH"},
		{"unreachable", "EHOSTUNREACH"},
		{"noaddress", "EADDRNOTAVAIL"},
	} {
		w := startWorkload(t, "atOnce", want.how)
		dst := w.hear()
		w.hear()
		n := 1
		if want.how == "noaddress" {
			n = 2 // the connection that is in the way
		}
		list := c.of(w.pid, n)
		if e, ok := list[n-1].(*event.ConnectFailed); !ok || len(list) != n || e.Error != want.err || e.Dst.String() != dst {
			t.Errorf("%s: want %s to %s, got\n%s", want.how, want.err, dst, describe(list))
		}
	}
}

func testHostUnreachable(t *testing.T, c *connEvents) {
	w := startWorkload(t, "hostUnreachable")
	port := w.hearInt()
	w.hear()
	e := c.kinds(w.pid, "connect_failed client")["connect_failed client"].(*event.ConnectFailed)
	if e.Error != "EHOSTUNREACH" || int(e.Dst.Port()) != port || e.Src.Port() == 0 || e.Latency <= 0 {
		t.Errorf("end: %s", describe([]event.Event{e}))
	}
}

func testReused(t *testing.T, c *connEvents) {
	w := startWorkload(t, "reused")
	w.hear()
	var got []string
	list := c.of(w.pid, 9)
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
		t.Errorf("want %q, got\n%s", want, describe(list))
	}
}

// What the kernel has told the client of its connection is what is reported.
func testRetransmits(t *testing.T, c *connEvents) {
	w := startWorkload(t, "lostSegments")
	again, rtt := w.hearInt(), w.hearInt()
	w.hear()
	got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
	cl, sv := got["close client"].(*event.Close), got["close server"].(*event.Close)
	if again < 2 || int(cl.Retransmits) != again || cl.SRTT != time.Duration(rtt)*time.Microsecond || sv.Retransmits != 0 {
		t.Errorf("want %d sent again, %dµs:\n%s", again, rtt, describe([]event.Event{cl, sv}))
	}
	if cl.Tx != 1009 || cl.Rx != 1013 || sv.Tx != 1013 || sv.Rx != 1009 {
		t.Errorf("bytes: %s", describe([]event.Event{cl, sv}))
	}
}

func testBytes(t *testing.T, c *connEvents) {
	w := startWorkload(t, "bytes")
	sent := uint64(w.hearInt())
	w.hear()
	got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
	cl, sv := got["close client"].(*event.Close), got["close server"].(*event.Close)
	if cl.Tx != sent || sv.Rx != sent || cl.Rx != 1013 || sv.Tx != 1013 {
		t.Errorf("want %d and %d:\n%s", sent, 1013, describe([]event.Event{cl, sv}))
	}
}

func testFastOpen(t *testing.T, c *connEvents) {
	w := startWorkload(t, "fastOpen")
	w.hear()
	list := c.of(w.pid, 8)
	var bytes []uint64
	for _, e := range list {
		if e, ok := e.(*event.Close); ok && e.Role == event.RoleClient {
			bytes = append(bytes, e.Tx)
		}
		if e, ok := e.(*event.Close); ok && e.Role == event.RoleServer && e.Rx != 1009 {
			t.Errorf("bytes: %s", describe(list))
		}
	}
	if len(list) != 8 || len(bytes) != 2 || bytes[0] != 1009 || bytes[1] != 1009 {
		t.Errorf("two connections of 1009 bytes:\n%s", describe(list))
	}
}

func testMPTCP(t *testing.T, c *connEvents) {
	for _, client := range []string{"mptcp", "tcp"} {
		w := startWorkload(t, "mptcp", client)
		w.hear()
		got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
		if e := got["close server"].(*event.Close); e.Tx != 1013 || e.Rx != 1009 {
			t.Errorf("bytes: %s", describe([]event.Event{e}))
		}
	}
}

func testGoNet(t *testing.T, c *connEvents) {
	w := startWorkload(t, "goNet")
	w.hear()
	got := c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
	if e := got["close server"].(*event.Close); e.Tx != 1013 || e.Rx != 1009 || e.Src.Addr().String() != "127.0.0.1" {
		t.Errorf("end: %s", describe([]event.Event{e}))
	}
}

func testWithoutIPv6(t *testing.T, c *connEvents) {
	w := startWorkload(t, "withoutIPv6")
	errno := w.hear()
	w.hear()
	list := c.of(w.pid, 9)
	failed := 0
	for _, e := range list {
		if f, ok := e.(*event.ConnectFailed); ok && f.Error == errno && f.Dst.Addr().String() == "::1" {
			failed++
		} else if connectionOf(e).Dst.Addr().String() != "127.0.0.1" {
			t.Errorf("addresses of %s", describe([]event.Event{e}))
		}
	}
	if len(list) != 9 || failed != 1 {
		t.Errorf("want two connections and one failure by %s:\n%s", errno, describe(list))
	}
}

func testIoUring(t *testing.T, c *connEvents) {
	w := startWorkload(t, "ioUring")
	w.hear()
	c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
	testRefusedBy(t, c, "uring")
}

func testNoAnswer(t *testing.T, c *connEvents) {
	w := startWorkload(t, "noAnswer")
	timesOut, givesUp, late := w.hearInt(), w.hearInt(), w.hearInt()
	took := time.Duration(w.hearInt()) * time.Microsecond // by the client's own clock
	w.hear()
	bySource := map[int][]event.Event{}
	for _, e := range c.of(w.pid, 7) {
		port := int(connectionOf(e).Src.Port())
		bySource[port] = append(bySource[port], e)
	}
	check := func(port int, end func(e event.Event) bool) {
		t.Helper()
		list := bySource[port]
		if len(list) < 2 {
			t.Fatalf("want a stuck connect and its end:\n%s", describe(list))
		}
		s, ok := list[0].(*event.ConnectStuck)
		if !ok || s.SYNs != 2 || s.Age < time.Second || s.Age > 3*time.Second || !end(list[1]) {
			t.Errorf("want a stuck connect after 1s and its end:\n%s", describe(list))
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

func testTimeout(t *testing.T, c *connEvents) {
	w := startWorkload(t, "timeout")
	w.hear()
	for _, e := range c.of(w.pid, 3) {
		if e, ok := e.(*event.Close); ok {
			if e.Role != event.RoleClient || e.Reason != event.ReasonTimeout || e.Retransmits == 0 || e.ClosedBy != "" {
				t.Errorf("end: %s", describe([]event.Event{e}))
			}
			return
		}
	}
	t.Error("no end")
}

// What is chosen in the kernel.
func TestKernelConnFilters(t *testing.T) {
	run := func(name string, test func(t *testing.T, tier tier)) {
		t.Run(name, func(t *testing.T) { tiersOf(t, test) })
	}
	run("--port is either port", func(t *testing.T, tier tier) {
		needRoot(t)
		wanted := startWorkload(t, "many", "1")
		port := wanted.hear()
		other := startWorkload(t, "many", "1")
		other.hear()
		c := traceConn(t, Options{tier: tier}, "--port=65535,"+port)
		wanted.say("go")
		other.say("go")
		wanted.hear()
		other.hear()
		c.kinds(wanted.pid, "connect client", "accept server", "close client", "close server")
		if list := c.of(other.pid, 0); len(list) != 0 {
			t.Errorf("other ports:\n%s", describe(list))
		}
		if n := left(t, c, other.pid); n != 0 {
			t.Errorf("%d sockets of other ports kept", n)
		}
	})
	run("--pid is what it opens and accepts", func(t *testing.T, tier tier) {
		needRoot(t)
		w := startWorkload(t, "many", "1")
		w.hear()
		other := startWorkload(t, "many", "1")
		other.hear()
		c := traceConn(t, Options{tier: tier, Filter: Filter{PIDs: []uint32{uint32(w.pid)}}})
		for _, w := range []*connWorkload{other, w} {
			w.say("go")
			w.hear()
		}
		c.kinds(w.pid, "connect client", "accept server", "close client", "close server")
		if len(c.list) != 4 {
			t.Errorf("others:\n%s", describe(c.list))
		}
	})
	run("--uid", func(t *testing.T, tier tier) {
		c := traceConn(t, Options{tier: tier, Filter: Filter{UID: ptr(uint32(65534))}})
		w := startWorkload(t, "many", "1")
		nobody := startWorkload(t, "many", "1", "65534")
		for _, w := range []*connWorkload{w, nobody} {
			w.hear()
			w.say("go")
			w.hear()
		}
		got := c.kinds(nobody.pid, "connect client", "accept server", "close client", "close server")
		if got["accept server"].Head().UID != 65534 || len(c.list) != 4 {
			t.Errorf("others:\n%s", describe(c.list))
		}
	})
	run("--failed", func(t *testing.T, tier tier) {
		c := traceConn(t, Options{tier: tier}, "--failed")
		fine, reset, refused := startWorkload(t, "many", "1"), startWorkload(t, "reset", "linger"), startWorkload(t, "refused", "blocking")
		fine.hear()
		fine.say("go")
		fine.hear()
		reset.hear()
		refused.hear()
		noRoute := startWorkload(t, "atOnce", "noroute4")
		noRoute.hear()
		noRoute.hear()
		c.kinds(noRoute.pid, "connect_failed client")
		c.kinds(reset.pid, "close client", "close server")
		c.kinds(refused.pid, "connect_failed client")
		if list := c.of(fine.pid, 0); len(list) != 0 {
			t.Errorf("what went well:\n%s", describe(list))
		}
	})
	t.Run("--slow and --stuck below a second", func(t *testing.T) {
		c := traceConn(t, Options{}, "--slow=150ms", "--stuck=300ms")
		fine, slow := startWorkload(t, "many", "1"), startWorkload(t, "noAnswer")
		fine.hear()
		fine.say("go")
		fine.hear()
		for range 5 {
			slow.hear()
		}
		list := c.of(slow.pid, 6)
		stuck := 0
		for _, e := range list {
			switch e := e.(type) {
			case *event.ConnectStuck:
				stuck++
				if e.Age < 300*time.Millisecond || e.Age > 3*time.Second || e.SYNs != 1 {
					t.Errorf("stuck: %s", describe([]event.Event{e}))
				}
			case *event.Connect:
				if e.Latency < 150*time.Millisecond {
					t.Errorf("not slow: %s", describe([]event.Event{e}))
				}
			case *event.ConnectFailed:
			default:
				t.Errorf("not a connect: %s", describe([]event.Event{e}))
			}
		}
		if stuck != 3 || len(list) != 6 {
			t.Errorf("want 3 stuck and their ends:\n%s", describe(list))
		}
		if list := c.of(fine.pid, 0); len(list) != 0 {
			t.Errorf("not slow:\n%s", describe(list))
		}
	})
}

// Thousands of connections, both ends on this host: all are told, of the right
// processes, and nothing stays.
func TestKernelConnStorm(t *testing.T) {
	n := 5003
	if os.Getenv("TRACER_VM") != "" {
		n = 499
	}
	testConnStorm(t, BufferRing, n)
}

func TestKernelConnStormInPerfBuffers(t *testing.T) {
	n := 5003
	if os.Getenv("TRACER_VM") != "" {
		n = 101
	}
	testConnStorm(t, BufferPerf, n)
}

func testConnStorm(t *testing.T, buffer Buffer, n int) {
	tiersOf(t, func(t *testing.T, tier tier) {
		// Room for all of it: on a busy machine the reader waits for its turn.
		c := traceConn(t, Options{tier: tier, Buffer: buffer, ringBytes: 32 << 20})
		n := n
		if os.Getenv("TRACER_VM") != "" && tier == tierTracepoint && mayMiss(c.session, tier) {
			// Emulated, tasks are preempted within programs all the time: of
			// a larger storm more would be missed than copies make good.
			n = 199
		}
		c.mu.Lock()
		c.only = true
		c.mu.Unlock()
		var list []*connWorkload
		var pids []int
		fates := 0
		for _, name := range []string{"many", "many", "many", "many", "manyRaces", "manyFates"} {
			w := startWorkload(t, name, strconv.Itoa(n))
			w.hear()
			list = append(list, w)
			pids = append(pids, w.pid)
			fates = w.pid // of the last one
		}
		for _, w := range list {
			w.say("go")
		}
		for _, w := range list {
			w.hear()
		}
		// What the kernel did not run a program for is counted instead.
		want := map[string]int{fmt.Sprint("connect_failed ", fates): n}
		for _, pid := range pids {
			want[fmt.Sprint("connect ", pid)] = n
			want[fmt.Sprint("accept ", pid)] = n
			want[fmt.Sprint("close ", pid)] = 2 * n
		}
		deadline := time.After(10 * time.Second)
		for {
			missing := ""
			accepts, steps := lossesOf(t, c)
			c.mu.Lock()
			c.missed = steps
			for of, n := range want {
				short := n - c.counts[of]
				if short != 0 {
					missing += fmt.Sprintf("%s: %d, want %d\n", of, c.counts[of], n)
				}
				if strings.HasPrefix(of, "accept ") {
					accepts -= short
				} else {
					steps -= short
				}
			}
			c.mu.Unlock()
			if accepts == 0 && steps == 0 && (missing == "" || mayMiss(c.session, tier) || rarely(missing)) {
				break
			}
			select {
			case <-c.changed:
			case <-deadline:
				// Where programs are preempted all copies of one may be under way:
				// the kernel counts that.
				a, err := c.session.Account()
				if err != nil {
					t.Fatal(err)
				}
				missed := 2 * int(a.LostBy[causeNames[lostMissed]]) // each connects, or ends, unseen
				if c.session.tracer.(*connTracer).preempts && accepts <= 0 && steps <= 0 && -accepts-steps <= missed {
					return
				}
				accepts, steps := lossesOf(t, c)
				t.Fatalf("%scounted as missed: %d accepts and %d other steps", missing, accepts, steps)
			}
		}
		if c.counts["connect 0"]+c.counts["accept 0"]+c.counts["close 0"] != 0 {
			t.Error("rows of process 0")
		}
		if n := left(t, c, pids...); n != 0 {
			t.Errorf("%d sockets left in the map", n)
		}
	})
}

// mayMiss reports whether an accept may be missed, which is told: the kernel may
// leave a kprobe out while a task is in bpf(2), and where it preempts programs
// all copies of one may be under way.
func mayMiss(s *Session, tier tier) bool {
	return tier == tierKprobe || tier == tierTracepoint && s.tracer.(*connTracer).preempts
}

// rarely reports whether no more is missing than what happens while the host is
// at something of its own.
func rarely(missing string) bool { return strings.Count(missing, "\n") <= 2 }

// lossesOf is what the programs count as missed, the ends included that nobody
// has found out yet.
func lossesOf(t *testing.T, c *connEvents) (accepts, steps int) {
	c.session.tracer.(*connTracer).read(c.session, false)
	s := newStats()
	s.before = c.session.stats.before
	if err := s.readKernel(c.session.objects.Maps[bpf.ConnMapLost]); err != nil {
		t.Fatal(err)
	}
	return int(s.lost[lostAccept]), int(s.lost[lostStep])
}

// Steps that nobody has seen, as the map looks after them: they are counted, once
// each, and what is left of a connection hides none of those that come after it
// at its address.
func TestKernelConnUnseenSteps(t *testing.T) {
	const n, after = 11, 211
	tiersOf(t, func(t *testing.T, tier tier) {
		c := traceConn(t, Options{tier: tier})
		socks := c.session.objects.Maps[bpf.ConnMapSocks]
		c.mu.Lock()
		c.only = true
		c.mu.Unlock()
		wait := func(pid, connects, accepts, closes int) {
			t.Helper()
			for deadline := time.After(15 * time.Second); ; {
				c.mu.Lock()
				of := func(kind string) int { return c.counts[fmt.Sprint(kind, " ", pid)] }
				got := [3]int{of("connect"), of("accept"), of("close")}
				c.mu.Unlock()
				if got == [3]int{connects, accepts, closes} {
					return
				}
				select {
				case <-c.changed:
				case <-deadline:
					t.Fatalf("%d connects, accepts and closes, want %d %d %d", got, connects, accepts, closes)
				}
			}
		}
		of := func(pid int) map[uint64]bpf.ConnConn {
			entries := map[uint64]bpf.ConnConn{}
			var key uint64
			var conn bpf.ConnConn
			for iter := socks.Iterate(); iter.Next(&key, &conn); {
				if int(conn.Pid) == pid {
					entries[key] = conn
				}
			}
			return entries
		}
		missed := func(want int) {
			t.Helper()
			if _, steps := lossesOf(t, c); steps != want {
				t.Fatalf("%d steps counted as missed, want %d", steps, want)
			}
			c.missed = want
		}

		// That it was connected was not seen of any.
		w := startWorkload(t, "holdMany", strconv.Itoa(n))
		w.hear()
		wait(w.pid, n, n, 0)
		held := of(w.pid)
		if len(held) != 2*n {
			t.Fatalf("%d sockets in the map, want %d", len(held), 2*n)
		}
		missed(0)
		for key, conn := range held {
			if conn.Role == bpf.ConnRoleClient {
				conn.State = bpf.ConnStateConnecting
				if err := socks.Put(key, &conn); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.say("end")
		wait(w.pid, n, n, 2*n)
		missed(n)

		// Nor the end of any, of connects and of connections; more of them are
		// opened and closed then, some of them at the same addresses.
		reused := 0
		for round := 0; reused == 0 || round < 4; round++ {
			if round == 30 {
				t.Fatal("no address was used again")
			}
			for key, conn := range held {
				if conn.Role == bpf.ConnRoleClient && round%2 == 1 {
					conn.State = bpf.ConnStateConnecting
				}
				if err := socks.Put(key, &conn); err != nil {
					t.Fatal(err)
				}
			}
			// Held at once, as they take what is free of the allocator's slabs.
			m := startWorkload(t, "holdMany", strconv.Itoa(after))
			m.hear()
			wait(m.pid, after, after, 0)
			m.say("end")
			wait(m.pid, after, after, 2*after)
			reused += 2*n - len(of(w.pid))
			missed(c.missed + 2*n)
			wait(w.pid, n, n, 2*n) // no more than before
			if left := left(t, c, w.pid, m.pid); left != 0 {
				t.Fatalf("%d sockets left in the map", left)
			}
		}
	})
}

// A session that begins and ends while connections come and go counts none of
// them as missed: hooks are attached and detached one by one.
func TestKernelConnMissesNothingAtItsEnds(t *testing.T) {
	tiersOf(t, func(t *testing.T, tier tier) {
		w := startWorkload(t, "many", "1000000000")
		w.hear()
		w.say("go")
		// Its stop fails if anything is lost. Nobody reads until all programs are
		// attached, which takes seconds where the kernel is emulated.
		c := traceConn(t, Options{tier: tier, ringBytes: 32 << 20})
		c.mu.Lock()
		c.only = true
		c.mu.Unlock()
		for deadline := time.After(15 * time.Second); ; {
			c.mu.Lock()
			n := c.counts[fmt.Sprint("close ", w.pid)]
			c.mu.Unlock()
			if n > 100 {
				break
			}
			select {
			case <-c.changed:
			case <-deadline:
				t.Fatalf("%d closes", n)
			}
		}
		if err := c.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A map without room is counted, and what fits is still told.
func TestKernelConnFullMap(t *testing.T) {
	needRoot(t)
	const room = 7
	tracer := &fullMap{}
	tracer.Flags(flag.NewFlagSet("", flag.ContinueOnError))
	tracer.room = room
	s, err := Open(tracer, Options{Filter: Filter{PIDs: []uint32{uint32(os.Getpid())}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := startWorkload(t, "holdMany", "101")
	w.hear()
	if err := s.stats.readKernel(s.objects.Maps[bpf.ConnMapLost]); err != nil {
		t.Fatal(err)
	}
	if got := s.stats.lost[lostMapFull]; got < 2*101-room {
		t.Errorf("%d counted as lost, want at least %d", got, 2*101-room)
	}
}

type fullMap struct {
	connTracer
	room uint32
}

func (f *fullMap) load(s *Session) (*ebpf.CollectionSpec, error) {
	spec, err := f.connTracer.load(s)
	if err == nil {
		spec.Maps[bpf.ConnMapSocks].MaxEntries = f.room
	}
	return spec, err
}

// connRecordBytes is what the kernel would send.
func connRecordBytes(r *bpf.ConnConnRecord) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r))...)
}

func connSession(sink Sink) *Session {
	return &Session{stats: newStats(), clock: &clock{}, comms: map[[16]int8]string{}, sink: sink}
}

func TestConnDecode(t *testing.T) {
	base := bpf.ConnConnRecord{Time: 5_000_000_000}
	base.Conn = bpf.ConnConn{Start: 4_000_000_000, Pid: 4711, Uid: 1000, Cgroup: 77, Sport: 51234, Dport: 443, Role: bpf.ConnRoleClient}
	copy(base.Conn.Src[:], []uint8{10: 255, 11: 255, 12: 10, 15: 5})
	copy(base.Conn.Dst[:], []uint8{10: 255, 11: 255, 12: 10, 15: 9})
	for i, c := range "curl" {
		base.Conn.Comm[i] = int8(c)
	}
	const head = `"pid":4711,"comm":"curl","uid":1000,"cgroup_id":77,`
	const ends = `"family":"ipv4","src_addr":"10.0.0.5","src_port":51234,"dst_addr":"10.0.0.9","dst_port":443`
	tests := []struct {
		name   string
		change func(r *bpf.ConnConnRecord)
		want   string
	}{
		{"connect", func(r *bpf.ConnConnRecord) { r.Type = bpf.ConnEventConnect },
			`"event":"connect",` + head + `"role":"client",` + ends + `,"latency_us":1000000`},
		{"a connect whose beginning is unknown has no latency", func(r *bpf.ConnConnRecord) { r.Type, r.Conn.Start = bpf.ConnEventConnect, 0 },
			`"event":"connect",` + head + `"role":"client",` + ends},
		{"refused", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Error = bpf.ConnEventConnectFailed, int32(unix.ECONNREFUSED)
		},
			`"event":"connect_failed",` + head + `"role":"client",` + ends + `,"latency_us":1000000,"syns":1,"error":"ECONNREFUSED"`},
		{"no route: nothing was sent", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Error, r.Conn.Start = bpf.ConnEventConnectFailed, int32(unix.ENETUNREACH), r.Time
			r.Conn.Src, r.Conn.Sport = [16]uint8{}, 0
		}, `"event":"connect_failed",` + head + `"role":"client","family":"ipv4","dst_addr":"10.0.0.9","dst_port":443,"error":"ENETUNREACH"`},
		{"accept", func(r *bpf.ConnConnRecord) { r.Type, r.Conn.Role = bpf.ConnEventAccept, bpf.ConnRoleServer },
			`"event":"accept",` + head + `"role":"server",` + ends},
		{"closed by the other side", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Role, r.Conn.ClosedBy, r.Reason = bpf.ConnEventClose, bpf.ConnRoleServer, bpf.ConnSidePeer, 1
			r.Tx, r.Rx, r.Retransmits, r.SrttUs = 1009, 2003, 3, 25
		}, `"event":"close",` + head + `"role":"server",` + ends + `,"duration_us":1000000,"tx_bytes":1009,"rx_bytes":2003,"retransmits":3,"srtt_us":25,"reason":"closed","closed_by":"client"`},
		{"reset by this side, open before", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.ClosedBy, r.Reason, r.Conn.Before, r.Conn.Start = bpf.ConnEventClose, bpf.ConnSideOwn, 2, 1, 0
		}, `"event":"close",` + head + `"role":"client",` + ends + `,"tx_bytes":0,"rx_bytes":0,"retransmits":0,"reason":"reset","closed_by":"client","open_before":true`},
		{"IPv6", func(r *bpf.ConnConnRecord) {
			r.Type = bpf.ConnEventAccept
			r.Conn.Src, r.Conn.Dst = [16]uint8{0xfd, 15: 1}, [16]uint8{15: 1}
		}, `"event":"accept",` + head + `"role":"client","family":"ipv6","src_addr":"fd00::1","src_port":51234,"dst_addr":"::1","dst_port":443`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := base
			test.change(&r)
			sink := &lineSink{}
			tracer := &connTracer{stuck: time.Second, waits: map[wait]*waiter{}}
			if !tracer.decode(connSession(sink), connRecordBytes(&r)) {
				t.Fatal("not decoded")
			}
			want := `{"time":"1970-01-01T00:00:05.000000000Z",` + test.want + `}`
			if got := string(sink.lines); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

type lineSink struct {
	connEvents
	lines []byte
	n     int
}

func (s *lineSink) Event(e event.Event) bool {
	s.lines = event.AppendJSON(s.lines, e)
	s.n++
	return true
}

// A connect is told as stuck once, however often its SYN is sent again, and a
// second attempt on the same socket is another one.
func TestConnStuckOnce(t *testing.T) {
	sink := &lineSink{}
	s := connSession(sink)
	tracer := &connTracer{stuck: time.Second, waits: map[wait]*waiter{}}
	send := func(kind bpf.ConnEvent, start, after time.Duration, retransmits uint32) {
		r := bpf.ConnConnRecord{Type: kind, Time: uint64(start + after), Socket: 1, Retransmits: retransmits}
		r.Conn.Role, r.Conn.Start = bpf.ConnRoleClient, uint64(start)
		if !tracer.decode(s, connRecordBytes(&r)) {
			t.Fatal("not decoded")
		}
	}
	const first, second = time.Minute, time.Hour
	send(bpf.ConnEventConnectWaits, first, time.Second, 1)
	send(bpf.ConnEventConnectWaits, first, 3*time.Second, 2)
	if sink.n != 1 || tracer.waiting() {
		t.Fatalf("%d events, waiting %t: %s", sink.n, tracer.waiting(), sink.lines)
	}
	send(bpf.ConnEventConnectFailed, first, 7*time.Second, 2)
	send(bpf.ConnEventConnectWaits, second, 2*time.Second, 1)
	send(bpf.ConnEventConnect, second, 3*time.Second, 1)
	if sink.n != 4 || len(tracer.waits) != 0 {
		t.Fatalf("%d events, %d waits: %s", sink.n, len(tracer.waits), sink.lines)
	}
}

// Whatever the bytes: no crash, and one event or none, which none if they are
// no record.
func FuzzConnDecode(f *testing.F) {
	for kind := bpf.ConnEvent(0); kind <= bpf.ConnEventClose+1; kind++ {
		r := bpf.ConnConnRecord{Type: kind, Time: math.MaxUint64, Reason: bpf.ConnReason(kind)}
		r.Conn.Role = bpf.ConnRoleServer
		f.Add(connRecordBytes(&r))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		sink := &lineSink{}
		tracer := &connTracer{stuck: time.Second, waits: map[wait]*waiter{}}
		ok := tracer.decode(connSession(sink), append([]byte(nil), b...))
		if sink.n > 1 || !ok && sink.n != 0 {
			t.Fatalf("%d events, ok %t", sink.n, ok)
		}
	})
}
