package conn

import (
	"strconv"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

// On a host that has more sockets than there is room for usually all of them are known,
// and others have room beside them.
func TestKernelRoomFollowsTheSockets(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const usual, held, n = 64, 211, 101
	holder := work.Start(t, "holdMany", strconv.Itoa(held))
	holder.Hear()
	c := start(t, session.Options{Limits: session.Limits{LeastSocks: usual}})
	c.Count()
	storm := work.Start(t, "holdMany", strconv.Itoa(n))
	storm.Hear()
	for _, w := range []*work.Process{holder, storm} {
		w.Say("end")
	}
	type counts struct{ connects, accepts, closes int }
	for pid, want := range map[int]counts{holder.PID: {0, 0, 2 * held}, storm.PID: {n, n, 2 * n}} {
		var got counts
		there := c.Wait(record.Patience, func() bool {
			got = counts{c.Counted(event.KindConnect, pid), c.Counted(event.KindAccept, pid), c.Counted(event.KindClose, pid)}
			return got == want
		})
		if !there {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
