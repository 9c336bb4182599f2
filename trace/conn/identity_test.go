package conn

import (
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// All that is told of a connection has the name that was on the wire, however it was
// opened, whatever it carried and however it ended; or none.
func TestKernelConnIDIsWhatWasOnTheWire(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		older := map[string]*work.Identity{"older": nil, "olderWaiting": nil}
		for name := range older {
			older[name] = work.StartIdentity(t, name)
			older[name].Hear("open")
		}
		c := start(t, session.Options{Tier: tier}, "--stuck=0s")
		for _, test := range []struct {
			name   string
			events int
		}{
			{"plain", 4},
			{"fastOpen", 16},
			{"fastOpenSlow", 8},
			{"mptcp", 8},
			{"syncookies", 4},
			{"sentAgain", 8},
			{"bothCall", 4},
			{"restored", 2},
			{"acceptedLate", 4},
			{"deferred", 4},
			{"resets", 12},
			{"large", 4},
			{"older", 8},        // ends
			{"olderWaiting", 3}, // an accept, and ends
		} {
			t.Run(test.name, func(t *testing.T) {
				c.t = t
				testIdentity(t, c, older[test.name], test.name, test.events)
			})
			c.t = t
		}
	})
}

// Addresses are translated between the two ends, on one host or on the way.
func TestKernelConnIDPassesAddressTranslation(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		c := start(t, session.Options{Tier: tier}, "--stuck=0s")
		for _, name := range []string{"dnat", "redirect", "service"} {
			t.Run(name, func(t *testing.T) {
				c.t = t
				w := work.StartIdentity(t, name)
				w.Hear("done")
				var ends [2]event.Connection
				for _, e := range c.of(w.PID, 4) {
					con := connectionOf(e)
					ends[map[string]int{event.RoleClient: 0, event.RoleServer: 1}[con.Role]] = *con
					for _, name := range w.Names { // of one connection
						if con.ID.String() != name {
							t.Errorf("on the wire it was %s: %s", name, describe(e))
						}
					}
				}
				if ends[0].Dst == ends[1].Dst || ends[0].ID != ends[1].ID {
					t.Errorf("ends: %v", ends)
				}
			})
			c.t = t
		}
	})
}

func testIdentity(t *testing.T, c *conns, w *work.Identity, name string, n int) {
	if w == nil {
		w = work.StartIdentity(t, name)
	} else {
		w.Say("go on")
	}
	w.Hear("done")
	list := c.of(w.PID, n)
	if len(list) != n {
		t.Errorf("%d events, want %d:\n%s", len(list), n, describe(list...))
	}
	names := map[string]bool{}
	for _, e := range list {
		con := connectionOf(e)
		want, known := w.Names[con.Src.Port()]
		if got := con.ID.String(); !known || got != want {
			t.Errorf("on the wire it was %q: %s", want, describe(e))
		}
		names[want] = true
	}
	if e, ok := list[n-1].(*event.Close); name == "large" && (!ok || max(e.Tx, e.Rx) < uint64(kit.Size(1<<32, 100<<20))) {
		t.Errorf("too few bytes moved: %s", describe(list...))
	}
	if len(names) != len(w.Names) {
		t.Errorf("%d connections, want %d:\n%s", len(names), len(w.Names), describe(list...))
	}
}
