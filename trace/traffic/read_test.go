package traffic

import (
	"strconv"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/work"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// restless reads one time after the other, as a timer alone would not.
type restless struct{ *tracer }

// atOnce is how many readings a call of the timer takes.
const atOnce = 50

func (r restless) Attached(h *session.Host) error {
	var again *session.Timer
	again = h.Timer(func() {
		for range atOnce {
			r.read(false)
			r.tell(kernel.Now(), false)
		}
		again.In(0)
	})
	again.In(0)
	return r.tracer.Attached(h)
}

// A reading may come at any moment of a socket's life, and then the kernel is
// between two steps.
func TestKernelReadingsComeAtAnyMoment(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	const n = 997
	x := parse(t)
	c := openTracer(t, x, restless{x}, session.Options{Limits: session.Limits{Socks: 64}})
	c.Clean(nil)
	c.Run()
	server := work.Start(t, "endServer", strconv.Itoa(n))
	client := work.Start(t, "endClient", server.Hear(), strconv.Itoa(n))
	server.Hear()
	client.Hear()
	// Else it was not tested.
	if pages := c.Pages(); pages < 4*atOnce {
		t.Errorf("%d readings of %d connections", pages, n)
	}
	c.want("server", server.PID, n*work.ShortAnswers, n*work.ShortAsks)
	c.want("client", client.PID, n*work.ShortAsks, n*work.ShortAnswers)
}
