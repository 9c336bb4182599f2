package http

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/kernel/attach"
	"tracer/trace/session"
)

func TestMain(m *testing.M) {
	attach.Become()
	work.Main()
	os.Exit(m.Run())
}

// tiersOf runs a test once for each kind of hook.
func tiersOf(t *testing.T, test func(t *testing.T, tier kernel.Tier)) {
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		if tier == kernel.Tracepoint { // no kernel between takes it where it may choose
			kit.Needs(t, kit.EndsKernel)
		}
		test(t, tier)
	})
}

// A view is what a session of http tells, by the port of the server.
type view struct{ *record.Recorder }

// traceHTTP runs a session of http until the test ends, and nothing may be lost.
func traceHTTP(t *testing.T, opts session.Options, args ...string) *view {
	t.Helper()
	opts.Self = true // the test is the client
	return &view{record.Start(t, Probe, opts, args...)}
}

// openHTTP opens a session of http, which is closed when the test ends. Nobody
// reads what it tells until Run is called.
func openHTTP(t *testing.T, opts session.Options, args ...string) *view {
	t.Helper()
	opts.Self = true // the test is the client
	return &view{record.Open(t, Probe, opts, args...)}
}

// of returns the events of a port.
func (v *view) of(port int) (list []*event.HTTP) {
	for _, e := range record.All[*event.HTTP](v.Recorder) {
		if int(e.Dst.Port()) == port {
			list = append(list, e)
		}
	}
	return list
}

// await returns the events of a port as soon as there are n, or what there is
// after a while.
func (v *view) await(port, n int) []*event.HTTP {
	v.Wait(record.Patience, func() bool { return len(v.of(port)) >= n })
	return v.of(port)
}

// atPorts is the flag that leaves out what others do meanwhile.
func atPorts(ports ...int) string {
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(p))
	}
	return "--port=" + strings.Join(list, ",")
}
