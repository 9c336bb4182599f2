package http

import (
	"strconv"
	"testing"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/session"
)

func TestKernelHTTPRoomFollowsTheSockets(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const usual, held = 64, 211
	work.Start(t, "holdMany", strconv.Itoa(held)).Hear()
	r := record.Open(t, Probe, session.Options{Limits: session.Limits{LeastSocks: usual}})
	if room := r.Host.Map(bpf.HttpMapSockets).MaxEntries(); room < 2*2*held {
		t.Errorf("room for %d sockets, %d are open", room, 2*held)
	}
}
