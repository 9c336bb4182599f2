package conn

import (
	"testing"
	"time"

	"tracer/testdata/kit/work"
	"tracer/trace/event"
)

// What the kernel has told the client of its connection is what is reported.
func testRetransmits(t *testing.T, c *conns) {
	w := work.Start(t, "lostSegments")
	again, rtt := w.HearInt(), w.HearInt()
	w.Hear()
	cl, sv := c.ends(w.PID)
	if again < 2 || int(cl.Retransmits) != again || cl.SRTT != time.Duration(rtt)*time.Microsecond || sv.Retransmits != 0 {
		t.Errorf("want %d sent again, %dµs:\n%s", again, rtt, describe(cl, sv))
	}
	if cl.Tx != 1009 || cl.Rx != 1013 || sv.Tx != 1013 || sv.Rx != 1009 {
		t.Errorf("bytes: %s", describe(cl, sv))
	}
}

func testBytes(t *testing.T, c *conns) {
	w := work.Start(t, "bytes")
	sent := uint64(w.HearInt())
	w.Hear()
	cl, sv := c.ends(w.PID)
	if cl.Tx != sent || sv.Rx != sent || cl.Rx != 1013 || sv.Tx != 1013 {
		t.Errorf("want %d and %d:\n%s", sent, 1013, describe(cl, sv))
	}
}

func testFastOpen(t *testing.T, c *conns) {
	w := work.Start(t, "fastOpen")
	w.Hear()
	list := c.of(w.PID, 8)
	var bytes []uint64
	for _, e := range list {
		if e, ok := e.(*event.Close); ok && e.Role == event.RoleClient {
			bytes = append(bytes, e.Tx)
		}
		if e, ok := e.(*event.Close); ok && e.Role == event.RoleServer && e.Rx != 1009 {
			t.Errorf("bytes: %s", describe(list...))
		}
	}
	if len(list) != 8 || len(bytes) != 2 || bytes[0] != 1009 || bytes[1] != 1009 {
		t.Errorf("two connections of 1009 bytes:\n%s", describe(list...))
	}
}

func testMPTCP(t *testing.T, c *conns) {
	for _, client := range []string{"mptcp", "tcp"} {
		w := work.Start(t, "mptcp", client)
		w.Hear()
		got := c.kinds(w.PID, both...)
		if e := got["close server"].(*event.Close); e.Tx != 1013 || e.Rx != 1009 {
			t.Errorf("bytes: %s", describe(e))
		}
	}
}

func testGoNet(t *testing.T, c *conns) {
	w := work.Start(t, "goNet")
	w.Hear()
	got := c.kinds(w.PID, both...)
	if e := got["close server"].(*event.Close); e.Tx != 1013 || e.Rx != 1009 || e.Src.Addr().String() != "127.0.0.1" {
		t.Errorf("end: %s", describe(e))
	}
}

func testWithoutIPv6(t *testing.T, c *conns) {
	w := work.Start(t, "withoutIPv6")
	errno := w.Hear()
	w.Hear()
	list := c.of(w.PID, 9)
	failed := 0
	for _, e := range list {
		if f, ok := e.(*event.ConnectFailed); ok && f.Error == errno && f.Dst.Addr().String() == "::1" {
			failed++
		} else if connectionOf(e).Dst.Addr().String() != "127.0.0.1" {
			t.Errorf("addresses of %s", describe(e))
		}
	}
	if len(list) != 9 || failed != 1 {
		t.Errorf("want two connections and one failure by %s:\n%s", errno, describe(list...))
	}
}

func testIoUring(t *testing.T, c *conns) {
	w := work.Start(t, "ioUring")
	w.Hear()
	c.kinds(w.PID, both...)
	testRefusedBy(t, c, "uring")
}
