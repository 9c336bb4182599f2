package conn

import (
	"fmt"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// With --open there is a row for each end that is open, those that wait to be accepted
// included, each once: as its process, and what the kernel tells that, say.
func TestKernelOpenConnectionsAreListed(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	record.Buffers(t, func(t *testing.T, buffer kernel.Buffer) {
		w := work.Start(t, "holdOpen")
		child, age := w.HearInt(), time.Duration(w.HearInt())*time.Microsecond
		idle := w.HearInt()
		full, unacked, unsent := hearQueue(t, w)
		half := w.HearInt()
		waits := []int{w.HearInt(), w.HearInt(), w.HearInt()}
		said := time.Now()
		c := start(t, session.Options{Buffer: buffer}, "--open")
		const n = 3*2 + 3*2
		type end struct {
			port int
			role string
		}
		got := map[end]*event.Open{}
		for _, e := range c.of(w.PID, n) {
			if e, ok := e.(*event.Open); ok {
				got[end{int(e.Src.Port()), e.Role}] = e
			}
		}
		took := time.Since(said)
		w.Say("end")
		_, unackedLater, unsentLater := hearQueue(t, w)
		type bytes struct {
			unread, unsent, unacked int
			accepted                bool
		}
		want := map[end]bytes{
			{idle, event.RoleClient}:     {accepted: true},
			{idle, event.RoleServer}:     {unread: 101, accepted: true},
			{full, event.RoleClient}:     {unsent: unsent, unacked: unacked, accepted: true},
			{full, event.RoleServer}:     {accepted: true}, // what is unread depends on buffers
			{half, event.RoleClient}:     {accepted: true},
			{half, event.RoleServer}:     {unread: 77, accepted: true},
			{waits[0], event.RoleClient}: {accepted: true},
			{waits[0], event.RoleServer}: {unread: 13},
		}
		for _, port := range waits[1:] {
			want[end{port, event.RoleClient}] = bytes{accepted: true}
			want[end{port, event.RoleServer}] = bytes{}
		}
		for of, want := range want {
			e := got[of]
			if e == nil {
				t.Errorf("no row of port %d, %s", of.port, of.role)
				continue
			}
			has := bytes{int(e.Unread), int(e.Unsent), int(e.Unacked), e.Accepted}
			if of.port == full && has.unsent <= unsent && has.unsent >= unsentLater && has.unacked <= unacked && has.unacked >= unackedLater {
				has.unsent, has.unacked = want.unsent, want.unacked // it was so in between
			}
			if of == (end{full, event.RoleServer}) {
				if has.unread <= 0 {
					t.Errorf("nothing unread: %s", describe(e))
				}
				has.unread = 0
			}
			if has != want || !e.ID.Known || e.Time.IsZero() {
				t.Errorf("want %+v: %s", want, describe(e))
			}
			checkWithin(t, fmt.Sprintf("idle of %+v", of), e.Idle, 100*time.Millisecond, age+took)
			if e.Age != 0 && (e.Age < 100*time.Millisecond || e.Age > age+took) || of.port == waits[1] && e.Age == 0 {
				t.Errorf("age, at most %s: %s", age+took, describe(e))
			}
		}
		if len(got) != n {
			t.Errorf("%d rows, want %d", len(got), n)
		}
		// The other process has nothing but the listener, which is told already.
		if list := c.of(child, 0); len(list) != 0 {
			t.Errorf("rows of the child:\n%s", describe(list...))
		}
		w.Hear()
	})
}

// hearQueue hears a port, and what the kernel says is not acknowledged and not sent.
func hearQueue(t *testing.T, w *work.Process) (port, unacked, unsent int) {
	t.Helper()
	if _, err := fmt.Sscan(w.Hear(), &port, &unacked, &unsent); err != nil {
		t.Fatal(err)
	}
	return port, unacked, unsent
}

// Those that are open do not pass --failed: they are counted as left out.
func TestKernelOpenConnectionsHaveNotFailed(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	w := work.Start(t, "older")
	w.Hear()
	c := start(t, session.Options{Filter: session.Filter{PIDs: []uint32{uint32(w.PID)}}}, "--open", "--failed")
	leaveOut := func(n uint64) {
		t.Helper()
		kit.Eventually(t, "open connections are left out as not failed", func() error {
			if leftOut, _, err := c.Host.Counts(); err != nil || leftOut["failed"] != n {
				return fmt.Errorf("%v, %v, want %d", leftOut, err, n)
			}
			return nil
		})
		if list := c.of(w.PID, 0); len(list) != 0 {
			t.Fatalf("not left out:\n%s", describe(list...))
		}
	}
	leaveOut(2) // both ends that are open
	w.Say("go on")
	w.Hear()
	leaveOut(4) // and their closes
}
