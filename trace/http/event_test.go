package http

import (
	"testing"
	"time"

	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/message"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// A lineSink keeps the last line of JSON.
type lineSink struct {
	countingSink
	events []event.HTTP
}

func (s *lineSink) Event(e event.Event) bool {
	s.events = append(s.events, *e.(*event.HTTP))
	return true
}

// What both ends know of an exchange of HTTP/2, and what one of them knows only: the
// other one may have been joined late, or may have lost a part.
func TestEventsOfStreams(t *testing.T) {
	const ms = int64(time.Millisecond)
	whole := message.Exchange{
		Method: []byte("POST"), Target: []byte("/a.B/C"), Host: []byte("h"), Status: 200, Stream: 5, GRPC: true, GRPCStatus: 5, GRPCMessage: []byte("no"),
		Trace:        message.Trace{ID: [16]byte{1}, Parent: [8]byte{2}},
		RequestStart: 1 * ms, RequestEnd: 2 * ms, ResponseStart: 5 * ms, ResponseEnd: 9 * ms, RequestBytes: 100, ResponseBytes: 200,
	}
	x := func(role message.Role, change func(x *message.Exchange)) *exchange.Half {
		h := &exchange.Half{Exchange: whole}
		h.Exchange.Role = role
		if change != nil {
			change(&h.Exchange)
		}
		return h
	}
	little := func(x *message.Exchange) {
		*x = message.Exchange{Role: x.Role, Stream: 5, RequestStart: 1 * ms, ResponseStart: 5 * ms, ResponseEnd: 9 * ms}
	}
	reset := func(x *message.Exchange) {
		x.Ending, x.Status, x.ResponseStart, x.WasReset, x.Code, x.ClosedBy, x.GRPC = stream.Reset, 0, 0, true, 8, message.TheClient, false
	}
	for name, tc := range map[string]struct {
		client, server *exchange.Half
		want           func(e *event.HTTP)
	}{
		"both know all":              {x(message.Client, nil), x(message.Server, nil), func(e *event.HTTP) {}},
		"the client knows little":    {x(message.Client, little), x(message.Server, nil), func(e *event.HTTP) { e.RequestBytes, e.ResponseBytes = 0, 0 }},
		"the server knows little":    {x(message.Client, nil), x(message.Server, little), func(e *event.HTTP) {}},
		"the server missed the head": {x(message.Client, nil), x(message.Server, func(x *message.Exchange) { x.ResponseStart, x.Status = 0, 0 }), func(e *event.HTTP) { e.ServerLatency = 0 }},
		"the client has reset it, the server had answered": {x(message.Client, reset), x(message.Server, nil), func(e *event.HTTP) {
			e.Error, e.ClosedBy, e.ResetCode, e.Status, e.Latency, e.GRPC, e.GRPCStatus, e.GRPCMessage = "reset", "client", "CANCEL", 200, 0, false, 0, ""
		}},
		"the server knows where the time went": {x(message.Client, nil), x(message.Server, func(x *message.Exchange) {
			x.Spent = message.Spent{Accept: 1, Queue: 2, CPU: 3, RunQ: 4, Blocked: 5}
		}), func(e *event.HTTP) {
			e.AcceptWait, e.Queue, e.CPU, e.RunQueue, e.Blocked = 1, 2, 3, 4, 5
		}},
		"the server's end": {nil, x(message.Server, nil), func(e *event.HTTP) {
			e.Role, e.ServerLatency, e.ServerDuration, e.ServerTime = event.RoleServer, 0, 0, time.Time{}
		}},
		"the client's end, of which little is known": {x(message.Client, little), nil, func(e *event.HTTP) {
			*e = event.HTTP{Connection: event.Connection{Role: event.RoleClient}, Version: "2", Stream: 5, Latency: 4 * time.Millisecond, Duration: 8 * time.Millisecond}
		}},
	} {
		sink := &lineSink{}
		tr := record.Parse(t, Probe).(*tracer)
		if err := tr.Attached(session.Offline(tr, session.Options{}, sink)); err != nil {
			t.Fatal(err)
		}
		tr.events.reportEnds(tc.client, tc.server)
		want := event.HTTP{
			Connection: event.Connection{Role: event.RoleBoth}, Version: "2", Stream: 5, Method: "POST", Path: "/a.B/C", Host: "h", Status: 200,
			Latency: 4 * time.Millisecond, Duration: 8 * time.Millisecond, RequestBytes: 100, ResponseBytes: 200,
			GRPC: true, GRPCStatus: 5, GRPCMessage: "no", ServerLatency: 4 * time.Millisecond,
			TraceID: event.TraceID{1}, ParentID: event.SpanID{2}, ServerDuration: 8 * time.Millisecond, ServerTime: time.Unix(0, ms).UTC(),
		}
		tc.want(&want)
		if len(sink.events) != 1 {
			t.Fatalf("%s: %d events", name, len(sink.events))
		}
		got := sink.events[0]
		got.Common = event.Common{}
		if got != want {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, want)
		}
	}
}
