package conn

import (
	"testing"

	"tracer/testdata/kit/work"
	"tracer/trace/event"
)

func testOlder(t *testing.T, c *conns, w *work.Process, fromClient, fromServer uint64) {
	w.Say("close")
	w.Hear()
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
