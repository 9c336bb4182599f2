package traffic

import (
	"slices"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

func TestKernelOnlyWantedProcessesHaveRows(t *testing.T) {
	kit.Needs(t, kit.NewestKernel)
	server := work.Start(t, "echoServer", "3")
	port := server.Hear()
	c := start(t, session.Options{Filter: session.Filter{PIDs: []uint32{uint32(server.PID)}}}, "--interval", "20ms")
	client := work.Start(t, "echoClient", port, "3")
	client.Hear()
	server.Hear()
	c.want("server", server.PID, 3*work.ShortAnswers, 3*work.ShortAsks)
	if i := slices.IndexFunc(c.rows(), func(e *event.Traffic) bool { return int(e.PID) != server.PID }); i >= 0 {
		t.Errorf("row of another: %+v", c.rows()[i])
	}

	// The children of a wanted process, and what they do with its sockets.
	holder := work.Start(t, "heldParent", "100003")
	port = holder.Hear()
	c = start(t, session.Options{Filter: session.Filter{PIDs: []uint32{uint32(holder.PID)}}}, "--interval", "20ms")
	reader := work.Start(t, "readSlowly", port, "100003")
	writer := holder.HearInt()
	reader.Hear()
	holder.Hear()
	c.want("child", writer, 100_003, 0)
	c.want("reader", reader.PID, 0, 0)

	nobody := uint32(65534)
	c = start(t, session.Options{Filter: session.Filter{UID: &nobody}}, "--interval", "20ms")
	noise := work.Start(t, "udpNoise", "11")
	noise.Hear()
	if c.Stop(); len(c.rows()) != 0 {
		t.Errorf("rows of a user that runs nothing: %+v", c.rows())
	}

	c = start(t, session.Options{Filter: session.Filter{Comms: []string{"no?uch*"}}}, "--by", "peer", "--interval", "20ms")
	noise = work.Start(t, "udpNoise", "11")
	noise.Hear()
	a := c.Stop()
	if len(c.rows()) != 0 {
		t.Errorf("rows of names that there are not: %+v", c.rows())
	}
	// Rows are counted, not datagrams: one for a peer and an interval.
	if n := a.Filtered["comm"]; n == 0 || n >= 4*11 || a.Seen != a.Shown+n+a.Lost {
		t.Errorf("%+v", a)
	}
}
