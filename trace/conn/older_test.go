package conn

import (
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

func testOlder(t *testing.T, c *conns, w *work.Process, fromClient, fromServer uint64) {
	w.Say("close")
	w.Hear()
	checkOlder(t, c, w, fromClient, fromServer)
}

func checkOlder(t *testing.T, c *conns, w *work.Process, fromClient, fromServer uint64) {
	t.Helper()
	got := c.kinds(w.PID, "close client", "close server")
	cl, sv := got["close client"].(*event.Close), got["close server"].(*event.Close)
	for _, e := range []*event.Close{cl, sv} {
		if !e.OpenBefore || e.ClosedBy != event.RoleClient || e.Duration != 0 {
			t.Errorf("end: %s", describe(e))
		}
	}
	if cl.Tx != fromClient || cl.Rx != fromServer || sv.Tx != fromServer || sv.Rx != fromClient {
		t.Errorf("bytes: %s", describe(cl, sv))
	}
	if cl.Src != sv.Src || cl.Dst != sv.Dst {
		t.Errorf("ends differ: %s", describe(cl, sv))
	}
}

func testOlderConnect(t *testing.T, c *conns, w *work.Process) {
	w.Say("go on")
	w.Hear()
	e := c.kinds(w.PID, "connect_failed client")["connect_failed client"].(*event.ConnectFailed)
	if e.Error != "ETIMEDOUT" || e.Latency != 0 || e.Src.Port() == 0 || e.Dst.Port() == 0 {
		t.Errorf("end: %s", describe(e))
	}
}

// What happens to connections that are older than tracing before the look at them has
// met them, here before it begins.
func TestKernelOlderConnectionsThatEndAtOnce(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	record.Buffers(t, func(t *testing.T, buffer kernel.Buffer) {
		closed, half := work.Start(t, "older"), work.Start(t, "olderHalfClosed")
		reset, answered := work.Start(t, "olderReset"), work.Start(t, "olderConnected")
		for _, w := range []*work.Process{closed, half, reset, answered} {
			w.Hear()
		}
		c := open(t, session.Options{Buffer: buffer})
		for _, w := range []*work.Process{closed, half, reset, answered} {
			w.Say("go on")
			w.Hear()
		}
		c.Run()
		checkOlder(t, c, closed, 2*1009, 2*2003)
		checkOlder(t, c, half, 1009, 2003)

		got := c.kinds(reset.PID, "close client", "close server")
		for _, e := range got {
			if e := e.(*event.Close); !e.OpenBefore || e.Reason != event.ReasonReset || e.ClosedBy != event.RoleClient || e.ResetBy != event.RoleClient || e.Duration != 0 {
				t.Errorf("end: %s", describe(e))
			}
		}
		reset.Say("close") // and nothing more
		reset.Hear()

		got = c.kinds(answered.PID, "connect client", "connect_failed client")
		connect, failed := got["connect client"].(*event.Connect), got["connect_failed client"].(*event.ConnectFailed)
		if connect.Latency != 0 || failed.Latency != 0 || failed.Error != "ECONNREFUSED" {
			t.Errorf("connects: %s", describe(connect, failed))
		}
		answered.Say("close")
		answered.Hear()
		list := c.of(answered.PID, 5)
		for _, e := range list {
			if e, ok := e.(*event.Close); ok && e.OpenBefore != (e.Role == event.RoleClient) {
				t.Errorf("end: %s", describe(e))
			}
		}
		c.of(reset.PID, 2)
		if len(list) != 5 {
			t.Errorf("%d events:\n%s", len(list), describe(list...))
		}
		for deadline := time.Now().Add(record.Patience); len(c.socks(c.asked...)) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d sockets left in the map", len(c.socks(c.asked...)))
			}
		}
	})
}
