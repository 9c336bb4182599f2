package conn

import (
	"os"
	"strconv"
	"testing"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Steps that nobody has seen, as the map looks after them: they are counted, once
// each, and what is left of a connection hides none of those that come after it
// at its address.
func TestKernelUnseenStepsAreCountedOnce(t *testing.T) {
	kit.Needs(t, kit.NewestKernel)
	const n, after = 11, 211
	record.AllTiers(t, func(t *testing.T, tier kernel.Tier) {
		c := start(t, session.Options{Tier: tier})
		socks := c.Host.Map(bpf.ConnMapSocks)
		c.Count()
		wait := func(pid, connects, accepts, closes int) {
			t.Helper()
			var got [3]int
			there := c.Wait(record.Patience, func() bool {
				got = [3]int{c.Counted(event.KindConnect, pid), c.Counted(event.KindAccept, pid), c.Counted(event.KindClose, pid)}
				return got == [3]int{connects, accepts, closes}
			})
			if !there {
				t.Fatalf("%d connects, accepts and closes, want %d %d %d", got, connects, accepts, closes)
			}
		}
		missed := func(want int) {
			t.Helper()
			if _, steps := c.losses(); steps != want {
				t.Fatalf("%d steps counted as missed, want %d", steps, want)
			}
			c.missed = want
		}

		// That it was connected was not seen of any.
		w := work.Start(t, "holdMany", strconv.Itoa(n))
		w.Hear()
		wait(w.PID, n, n, 0)
		held := c.socks(w.PID)
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
		w.Say("end")
		wait(w.PID, n, n, 2*n)
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
			m := work.Start(t, "holdMany", strconv.Itoa(after))
			m.Hear()
			wait(m.PID, after, after, 0)
			m.Say("end")
			wait(m.PID, after, after, 2*after)
			reused += 2*n - len(c.socks(w.PID))
			missed(c.missed + 2*n)
			wait(w.PID, n, n, 2*n) // no more than before
			if left := len(c.socks(w.PID, m.PID)); left != 0 {
				t.Fatalf("%d sockets left in the map", left)
			}
		}
	})
}

// A session that begins and ends while connections come and go counts none of
// them as missed: hooks are attached and detached one by one.
func TestKernelNothingIsMissedAtTheEndsOfASession(t *testing.T) {
	kit.Needs(t, kit.NewestKernel)
	record.AllTiers(t, func(t *testing.T, tier kernel.Tier) {
		w := work.Start(t, "many", "1000000000")
		w.Hear()
		w.Say("go")
		// Its stop fails if anything is lost. Nobody reads until all programs are
		// attached, which takes seconds where the kernel is emulated.
		c := start(t, session.Options{Tier: tier, Limits: session.Limits{Limits: kernel.Limits{RingBytes: 32 << 20}}})
		c.Count()
		if !c.Wait(record.Patience, func() bool { return c.Counted(event.KindClose, w.PID) > 100 }) {
			t.Fatalf("%d closes", c.Counted(event.KindClose, w.PID))
		}
		c.Stop()
	})
}

// A map without room is counted, and what fits is still told.
func TestKernelFullMapIsCounted(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const n, room = 101, 7
	c := record.Open(t, Probe, session.Options{
		Filter: session.Filter{PIDs: []uint32{uint32(os.Getpid())}},
		Limits: session.Limits{Socks: room},
	})
	w := work.Start(t, "holdMany", strconv.Itoa(n))
	w.Hear()
	a := c.Stop()
	if got := a.LostBy[account.MapFull]; got < 2*n-room || a.Shown == 0 {
		t.Errorf("%d counted as lost, want at least %d; %d shown", got, 2*n-room, a.Shown)
	}
	if a.Seen != a.Shown+a.Lost {
		t.Errorf("seen is not shown and lost: %+v", a)
	}
}
