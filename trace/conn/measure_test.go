package conn

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// A busy machine wakes a process late, and a tick is told later than it was.
const late = 30 * time.Millisecond

// What sockets tell at their ends is compared with what their processes did and when, by
// their own clocks, and with what the kernel told them.
func TestKernelEndsAreMeasured(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		c := start(t, session.Options{Tier: tier})
		for name, test := range map[string]func(*testing.T, *conns){
			"idle": testIdle, "unread": testUnread, "queue": testQueue, "limited": testLimited,
		} {
			t.Run(name, func(t *testing.T) {
				c.t = t
				test(t, c)
			})
			c.t = t
		}
	})
}

// checkWithin is for what was measured by ticks: a tick less, or one more and what a busy
// machine adds.
func checkWithin(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if kit.Emulated() {
		most *= 4 // the program itself wakes late
	}
	if tick := kernel.Tick(); tick <= 0 || got < least-tick || got > most+tick {
		t.Errorf("%s: %s, want %s to %s, by ticks of %s", what, got, least, most, tick)
	}
}

func testIdle(t *testing.T, c *conns) {
	for _, how := range []string{"close", "abort", "half", "silent"} {
		w := work.Start(t, "idle", how)
		slept := time.Duration(w.HearInt()) * time.Microsecond
		w.Hear()
		cl, sv := c.ends(w.PID)
		for _, e := range []*event.Close{cl, sv} {
			checkWithin(t, how+" of the "+e.Role, e.Idle, slept, slept+late)
			if e.Unread != 0 || e.MinRTT <= 0 || e.MinRTT > e.SRTT {
				t.Errorf("%s: %s", how, describe(e))
			}
		}
	}
}

func testUnread(t *testing.T, c *conns) {
	for i, how := range []string{"open", "shut", "after"} {
		n := 101 + i
		w := work.Start(t, "unread", how, strconv.Itoa(n))
		w.Hear()
		cl, sv := c.ends(w.PID)
		if cl.Unread != 0 || int(sv.Unread) != n || sv.Reason != event.ReasonReset || sv.ResetBy != event.RoleServer || int(sv.Rx) != 1009+n {
			t.Errorf("%s, want %d bytes unread: %s", how, n, describe(cl, sv))
		}
	}
}

func testQueue(t *testing.T, c *conns) {
	const limit, n = 7, 8 // one more than the limit finds room
	w := work.Start(t, "queue", strconv.Itoa(limit), strconv.Itoa(n))
	type waited struct{ order, least, most int } // µs
	waits := map[int]waited{}
	for i := range n {
		port, wait := 0, waited{order: i}
		if _, err := fmt.Sscan(w.Hear(), &port, &wait.least, &wait.most); err != nil {
			t.Fatal(err)
		}
		waits[port] = wait
	}
	w.Hear()
	found := 0
	for _, e := range c.of(w.PID, 4*n) {
		e, ok := e.(*event.Accept)
		if !ok {
			continue
		}
		found++
		want := waits[int(e.Src.Port())]
		// The kernel's stamp is of the clock that it has looked at for the packet.
		if us := int(e.Queued.Microseconds()); us < want.least || us > want.most+1000 {
			t.Errorf("queued for %dµs, want %d to %d: %s", us, want.least, want.most, describe(e))
		}
		if int(e.Backlog) != want.order || e.BacklogMax != limit || e.SYNACKs != 0 {
			t.Errorf("want a queue of %d, at most %d: %s", want.order, limit, describe(e))
		}
	}
	if found != n {
		t.Errorf("%d accepts, want %d", found, n)
	}
}

func testLimited(t *testing.T, c *conns) {
	for _, by := range []string{"receiver", "nobody"} {
		w := work.Start(t, "limited", by)
		var busy, rwnd, sndbuf, rtt int
		if _, err := fmt.Sscan(w.Hear(), &busy, &rwnd, &sndbuf, &rtt); err != nil {
			t.Fatal(err)
		}
		w.Hear()
		cl, sv := c.ends(w.PID)
		for _, limit := range []struct {
			what string
			got  time.Duration
			want int
		}{{"busy", cl.Busy, busy}, {"window", cl.RwndLimited, rwnd}, {"buffer", cl.SndbufLimited, sndbuf}} {
			want := time.Duration(limit.want) * time.Microsecond
			if want <= leastLimit {
				want = 0
			}
			// The end is acknowledged, too.
			if tick := kernel.Tick(); limit.got < want || limit.got > want+2*tick && limit.got > leastLimit+2*tick {
				t.Errorf("%s, %s: %s, want %s: %s", by, limit.what, limit.got, want, describe(cl))
			}
		}
		if by == "receiver" && (cl.RwndLimited < 150*time.Millisecond || cl.Busy < cl.RwndLimited) {
			t.Errorf("not limited by the %s: %s", by, describe(cl))
		}
		if got := int(cl.MinRTT / time.Microsecond); got > rtt || got < 1 || sv.Busy != 0 {
			t.Errorf("%s, want a shortest round trip of %dµs: %s", by, rtt, describe(cl, sv))
		}
	}
}
