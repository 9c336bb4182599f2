package conn

import (
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

func TestKernelFiltersAreDecidedInTheKernel(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	run := func(name string, test func(t *testing.T, tier kernel.Tier)) {
		t.Run(name, func(t *testing.T) { record.Tiers(t, test) })
	}
	run("--port is either port", func(t *testing.T, tier kernel.Tier) {
		wanted := work.Start(t, "many", "1")
		port := wanted.Hear()
		other := work.Start(t, "many", "1")
		other.Hear()
		c := start(t, session.Options{Tier: tier}, "--port=65535,"+port)
		wanted.Say("go")
		other.Say("go")
		wanted.Hear()
		other.Hear()
		c.kinds(wanted.PID, both...)
		if list := c.of(other.PID, 0); len(list) != 0 {
			t.Errorf("other ports:\n%s", describe(list...))
		}
		if n := len(c.socks(other.PID)); n != 0 {
			t.Errorf("%d sockets of other ports kept", n)
		}
	})
	run("--pid is what it opens and accepts", func(t *testing.T, tier kernel.Tier) {
		w := work.Start(t, "many", "1")
		w.Hear()
		other := work.Start(t, "many", "1")
		other.Hear()
		c := start(t, session.Options{Tier: tier, Filter: session.Filter{PIDs: []uint32{uint32(w.PID)}}})
		for _, w := range []*work.Process{other, w} {
			w.Say("go")
			w.Hear()
		}
		c.kinds(w.PID, both...)
		if len(c.Events()) != 4 {
			t.Errorf("others:\n%s", describe(c.Events()...))
		}
	})
	run("--uid", func(t *testing.T, tier kernel.Tier) {
		const nobody = 65534
		uid := uint32(nobody)
		c := start(t, session.Options{Tier: tier, Filter: session.Filter{UID: &uid}})
		root := work.Start(t, "many", "1")
		wanted := work.Start(t, "many", "1", strconv.Itoa(nobody))
		for _, w := range []*work.Process{root, wanted} {
			w.Hear()
			w.Say("go")
			w.Hear()
		}
		got := c.kinds(wanted.PID, both...)
		if got["accept server"].Head().UID != nobody || len(c.Events()) != 4 {
			t.Errorf("others:\n%s", describe(c.Events()...))
		}
	})
	run("--uid is who opened it, not who closes it", func(t *testing.T, tier kernel.Tier) {
		const nobody = 65534
		uid := uint32(nobody)
		older, w := work.Start(t, "changesUser", strconv.Itoa(nobody)), work.Start(t, "changesUser", strconv.Itoa(nobody))
		older.Hear()
		older.Say("open")
		older.Hear()
		w.Hear()
		c := start(t, session.Options{Tier: tier, Filter: session.Filter{UID: &uid}})
		c.looked()
		w.Say("open")
		w.Hear()
		for _, w := range []*work.Process{w, older} {
			w.Say("close")
			w.Hear()
		}
		if a := c.Stop(); a.Seen != 0 || a.LeftOut["uid"] < 2 {
			t.Errorf("%+v\n%s", a, describe(c.Events()...))
		}
	})
	run("--failed", func(t *testing.T, tier kernel.Tier) {
		c := start(t, session.Options{Tier: tier}, "--failed")
		fine, reset, refused := work.Start(t, "many", "1"), work.Start(t, "reset", "linger"), work.Start(t, "refused", "blocking")
		fine.Hear()
		fine.Say("go")
		fine.Hear()
		reset.Hear()
		refused.Hear()
		noRoute := work.Start(t, "atOnce", "noroute4")
		noRoute.Hear()
		noRoute.Hear()
		c.kinds(noRoute.PID, "connect_failed client")
		c.kinds(reset.PID, "close client", "close server")
		c.kinds(refused.PID, "connect_failed client")
		if list := c.of(fine.PID, 0); len(list) != 0 {
			t.Errorf("what went well:\n%s", describe(list...))
		}
	})
	run("--failed counts all that it leaves out", func(t *testing.T, tier kernel.Tier) {
		fine := work.Start(t, "many", "3")
		c := start(t, session.Options{Tier: tier}, "--failed", "--port="+fine.Hear())
		fine.Say("go")
		fine.Hear()
		if a := c.Stop(); a.LeftOut["failed"] != 3*uint64(len(both)) || a.Seen != 0 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("--slow and --stuck below a second", func(t *testing.T) {
		c := start(t, session.Options{}, "--slow=150ms", "--stuck=300ms")
		fine, slow := work.Start(t, "many", "1"), work.Start(t, "noAnswer")
		fine.Hear()
		fine.Say("go")
		fine.Hear()
		for range 5 {
			slow.Hear()
		}
		list := c.of(slow.PID, 6)
		stuck := 0
		for _, e := range list {
			switch e := e.(type) {
			case *event.ConnectStuck:
				stuck++
				if e.Age < 300*time.Millisecond || e.Age > 3*time.Second || e.SYNs != 1 {
					t.Errorf("stuck: %s", describe(e))
				}
			case *event.Connect:
				if e.Latency < 150*time.Millisecond {
					t.Errorf("not slow: %s", describe(e))
				}
			case *event.ConnectFailed:
			default:
				t.Errorf("not a connect: %s", describe(e))
			}
		}
		if stuck != 3 || len(list) != 6 {
			t.Errorf("want 3 stuck and their ends:\n%s", describe(list...))
		}
		if list := c.of(fine.PID, 0); len(list) != 0 {
			t.Errorf("not slow:\n%s", describe(list...))
		}
	})
}
