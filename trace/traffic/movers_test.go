package traffic

import (
	"fmt"
	"strconv"
	"testing"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Where readings of all sockets are dear, those of the sockets that move tell all the
// same, and at once; and a socket that moves nothing is in none.
func TestKernelIdleSocketsAreNotRead(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	n := kit.Size(211, 53)
	for _, room := range []uint32{0, 7} { // all have room in the list; and not
		t.Run(fmt.Sprintf("room for %d that move", room), func(t *testing.T) {
			record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
				// Older than tracing: one that is idle, and one that is so at first.
				idle, older := work.Start(t, "holdMany", strconv.Itoa(n)), work.Start(t, "talkMany", strconv.Itoa(n))
				idle.Hear()
				older.Hear()
				c := start(t, session.Options{Tier: tier, Limits: session.Limits{LeastSocks: room, RarePasses: true}}, "--interval", "20ms")
				listed := func() (entries int) {
					m := c.Host.Map(bpf.TrafficMapMovers)
					key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
					for iter := m.Iterate(); iter.Next(key, value); {
						entries++
					}
					return entries
				}
				newer := work.Start(t, "talkMany", strconv.Itoa(n))
				newer.Hear()
				for round := 1; round <= 3; round++ {
					for _, w := range []*work.Process{older, newer} {
						w.Say("talk")
						w.Hear()
						c.await(w.PID, 2*round*n*work.TalkSize, 2*round*n*work.TalkSize)
					}
					kit.Eventually(t, "sockets that move no more are taken off the list", func() error {
						if left := listed(); left > 0 {
							return fmt.Errorf("%d are on it", left)
						}
						return nil
					})
				}
				c.want("older", older.PID, 6*n*work.TalkSize, 6*n*work.TalkSize)
				c.want("newer", newer.PID, 6*n*work.TalkSize, 6*n*work.TalkSize)
				c.want("idle", idle.PID, 0, 0)
				for _, st := range c.tracer.sockets {
					if int(st.record.Tcp.Owner.Pid) == idle.PID {
						t.Fatal("a socket that is idle is remembered")
					}
				}
			})
		})
	}
}
