package http2

import (
	"strings"
	"testing"
)

// The status of gRPC is in the trailers, or in the only head: every error that comes
// before a message.
func TestGRPC(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, false, grpcCall("/helloworld.Greeter/SayHello")...), data(1, true, 12))
	p.in(p.sv.headers(1, false, grpcHead...), data(1, false, 12), p.sv.headers(1, true, "grpc-status: 0", "grpc-message: "))
	p.out(p.cl.headers(3, false, grpcCall("/helloworld.Greeter/SayHello")...), data(3, true, 12))
	p.in(p.sv.headers(3, true, append(grpcHead, "grpc-status: 12", "grpc-message: unknown%20method %C3%A4")...))
	p.want(`client 1 POST /helloworld.Greeter/SayHello at h 200 grpc 0 "" 94@3-3 77@4-4`,
		`client 3 POST /helloworld.Greeter/SayHello at h 200 grpc 12 "unknown method ä" 37@5-5 36@6-6`)
	// After that both are blocks of two bytes each.
	p.out(p.cl.headers(5, false, grpcCall("/helloworld.Greeter/SayHello")...), data(5, true, 12))
	p.in(p.sv.headers(5, false, grpcHead...), data(5, false, 12))
	p.in(p.sv.headers(5, true, "grpc-status: 0", "grpc-message: "))
	p.want(`client 5 POST /helloworld.Greeter/SayHello at h 200 grpc 0 "" 37@7-7 43@8-9`)
	p.counts(Counts{})
}

// A stream of messages: the head of the answer comes with the first one, the end with
// the last. obi#2992 ended such calls at their head.
func TestGRPCStreaming(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, false, grpcCall("/a.B/Bidi")...))
	for i := range 5 {
		p.out(data(1, false, 10))
		if i == 1 {
			p.in(p.sv.headers(1, false, grpcHead...))
		}
		if i > 0 {
			p.in(data(1, false, 10))
		}
		p.want()
	}
	p.out(data(1, true, 0))
	p.in(p.sv.headers(1, true, "grpc-status: 0"))
	p.want(`client 1 POST /a.B/Bidi at h 200 grpc 0 "" 163@3-14 120@6-15`)
}

// A request that waits is stuck from its end on. A stream that is open for one is not:
// watches are idle for hours.
func TestStuck(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, false, grpcCall("/etcdserverpb.Watch/Watch")...), data(1, false, 10)) // at 3
	p.out(p.cl.headers(3, false, post("/slow")...))                                             // at 4
	p.out(p.cl.headers(5, true, get("/a")...))                                                  // at 5
	p.out(data(3, true, 10))                                                                    // at 6
	p.in(p.sv.headers(5, false, ":status: 103"))
	if since, ok := p.c.Oldest(); since != 5 || !ok || p.c.Waiting() != 2 {
		t.Error(since, ok)
	}
	p.c.Stuck(4, &p.to)
	p.want()
	p.c.Stuck(5, &p.to)
	p.want("stuck client 5 GET /a at h 16@5-5 13@0-0")
	if since, ok := p.c.Oldest(); since != 6 || !ok {
		t.Error(since, ok)
	}
	p.c.Stuck(100, &p.to)
	p.c.Stuck(100, &p.to)
	p.want("stuck client 3 POST /slow at h 37@4-6 0@0-0")
	if _, ok := p.c.Oldest(); ok || p.c.Waiting() != 2 || !p.c.Waits(3) || p.c.Waits(1) {
		t.Error("they wait, and no other one does", p.c.Waiting())
	}
	p.in(p.sv.headers(3, true, ":status: 200"), p.sv.headers(5, false, ":status: 200"))
	if p.c.Waiting() != 0 || p.c.Waits(5) {
		t.Error("what is being answered waits")
	}
	p.close(Closed)
	p.want("client 3 POST /slow at h 200 37@4-6 10@8-8",
		`client 1 POST /etcdserverpb.Watch/Watch at h closed 89@3-3 0@0-9 ~request`,
		"client 5 GET /a at h 200 closed 16@5-5 23@8-9")
}

// A deadline: client and server race. The row has the code, and no status.
func TestGRPCDeadline(t *testing.T) {
	p := begun(t)
	p.out(p.cl.headers(1, false, append(grpcCall("/a.B/C"), "grpc-timeout: 100m")...), data(1, true, 5))
	p.out(rst(1, cancel))
	p.in(p.sv.headers(1, true, append(grpcHead, "grpc-status: 4")...)) // it was on its way
	p.out(p.cl.headers(3, false, append(grpcCall("/a.B/C"), "grpc-timeout: 100m")...), data(3, true, 5))
	p.in(rst(3, cancel))
	p.want("client 1 POST /a.B/C at h reset CANCEL by client 86@3-3 0@0-4", "client 3 POST /a.B/C at h reset CANCEL by server 31@6-6 0@0-7")
}

// What is no status of gRPC.
func TestNoGRPCStatus(t *testing.T) {
	for name, test := range map[string]struct{ head, trailers []string }{
		"none was sent":                 {grpcHead, []string{"grpc-message: x"}},
		"grpc-web (istio#58430)":        {[]string{":status: 200", "content-type: application/grpc-web+proto", "grpc-status: 0"}, nil},
		"grpc-web-text":                 {[]string{":status: 200", "content-type: application/grpc-web-text", "grpc-status: 0"}, []string{"grpc-status: 0"}},
		"plain HTTP (envoy#31483)":      {[]string{":status: 503", "content-type: text/plain"}, []string{"grpc-status: 14"}},
		"no type":                       {[]string{":status: 200"}, []string{"grpc-status: 0"}},
		"a proxy's answer":              {[]string{":status: 502", "content-type: text/html"}, nil},
		"no number":                     {grpcHead, []string{"grpc-status: OK"}},
		"an empty one":                  {grpcHead, []string{"grpc-status: "}},
		"beyond 16":                     {grpcHead, []string{"grpc-status: 17"}},
		"in a head that is not the end": {append([]string{"grpc-status: 0"}, grpcHead...), nil},
	} {
		p := begun(t)
		p.out(p.cl.headers(1, false, grpcCall("/a.B/C")...), data(1, true, 5))
		p.in(p.sv.headers(1, false, test.head...))
		if test.trailers != nil {
			p.in(p.sv.headers(1, true, test.trailers...))
		} else {
			p.in(data(1, true, 0))
		}
		if len(p.rows) != 1 || strings.Contains(p.rows[0], "grpc ") {
			t.Errorf("%s: %q", name, p.rows)
		}
	}
	for _, kind := range []string{"application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "Application/GRPC+json"} {
		p := begun(t)
		p.out(p.cl.headers(1, true, grpcCall("/a.B/C")...))
		p.in(p.sv.headers(1, true, ":status: 200", "content-type: "+kind, "grpc-status: 16"))
		if len(p.rows) != 1 || !strings.Contains(p.rows[0], "grpc 16 ") {
			t.Errorf("%s: %q", kind, p.rows)
		}
	}
}

// Joined late, a status that refers to what was not seen is unknown, never 0 (obi#138,
// beyla#1773). What is sent anew is right.
func TestGRPCJoined(t *testing.T) {
	p := begun(t)
	p.cl.block(grpcCall("/a.B/C")...)
	p.sv.block(append(grpcHead, "grpc-status: 0")...)
	p.c.Reset(true)
	p.off = [2]uint64{}
	call := func(id uint32, path, status string) {
		p.walk(Sent, 0, p.cl.headers(id, true, grpcCall(path)...))
		p.walk(Received, 0, p.sv.headers(id, false, grpcHead...))
		p.walk(Received, 0, p.sv.headers(id, true, "grpc-status: "+status, "grpc-message: m"))
	}
	call(11, "/a.B/C", "0")
	call(13, "/a.B/New", "0")
	call(15, "/a.B/New", "5") // the name refers to what was not seen
	p.want("client 11 POST - at - 200 16@3-3 34@4-5", "client 13 POST /a.B/New at - 200 24@6-6 22@7-8", "client 15 POST /a.B/New at - 200 16@9-9 25@10-11")
	// A server that inserts again has a type and a status that are known.
	p.sv = newSide()
	p.sv.enc.SetMaxDynamicTableSizeLimit(0)
	call(17, "/a.B/New", "5")
	p.want(`client 17 POST /a.B/New at - 200 grpc 5 "m" 16@12-12 59@13-14`)
	if p.to.Lost+p.to.Unmatched+p.to.Resyncs > 0 {
		t.Errorf("%+v", p.to.Counts)
	}
}
