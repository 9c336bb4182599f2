package otlp

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

var (
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.2:8080")
	conn   = event.ConnID{Client: 0xdeadbeef, Server: 0x01020304, Known: true}
	began  = time.Unix(1700000000, 123456789)
	pod    = event.Place{Container: "app", ContainerID: "0123", Pod: "app-7", Namespace: "shop", PodUID: "6b1f"}
)

// one is an exchange of which much is known.
func one(role string, change func(e *event.HTTP)) *event.HTTP {
	e := &event.HTTP{
		Common:     event.Common{Time: began, Kind: event.KindHTTP, Process: event.Process{PID: 42, Comm: "java", Place: pod}},
		Connection: event.Connection{Role: role, Src: client, Dst: server, ID: conn},
		Version:    "1.1", Seq: 3, Method: "GET", Path: "/users/42?full=1", Host: "api.example.com:80", Status: 200,
		Latency: 5 * time.Millisecond, Duration: 7 * time.Millisecond, RequestBytes: 100, ResponseBytes: 200,
	}
	if role == event.RoleBoth {
		e.PeerPID, e.PeerComm, e.ServerLatency = 41, "curl", 3*time.Millisecond
	}
	if change != nil {
		change(e)
	}
	return e
}

// exchanges are some of each kind.
func exchanges() (list []*event.HTTP) {
	id, _ := event.ParseTraceID("4bf92f3577b34da6a3ce929d0e0e4736")
	for _, role := range []string{event.RoleClient, event.RoleServer, event.RoleBoth} {
		list = append(list,
			one(role, nil),
			one(role, func(e *event.HTTP) { e.Seq, e.Status, e.TraceID, e.ParentID = 4, 404, id, event.SpanID{7: 9} }),
			one(role, func(e *event.HTTP) { e.Seq, e.Status, e.TLS = 5, 503, "openssl" }),
			one(role, func(e *event.HTTP) { e.Seq, e.Status, e.Error, e.ClosedBy = 6, 0, "reset", event.RoleServer }),
			one(role, func(e *event.HTTP) {
				e.Seq, e.Method, e.Path, e.Host = 7, "MKCOL\xff", "/\xff?X-Amz-Signature=secret&a=b", ""
			}),
			one(role, func(e *event.HTTP) {
				e.Seq, e.Stream, e.Version, e.Method, e.Path = 0, 9, "2", "POST", "/shop.Cart/Add"
				e.GRPC, e.GRPCStatus, e.GRPCMessage = true, 5, "none\x00"
			}),
			one(role, func(e *event.HTTP) {
				e.Kind, e.Seq, e.Status, e.Duration, e.Age = event.KindHTTPStuck, 8, 0, 0, time.Minute
			}),
			&event.HTTP{Common: event.Common{Time: began, Kind: event.KindHTTP}, Connection: event.Connection{Role: role}, Duration: time.Second},
		)
	}
	return list
}

// sentOf is what an exporter sends of some events.
func sentOf(t *testing.T, o Options, events ...event.Event) (list []map[string]any) {
	t.Helper()
	e := newEngine(t, nil)
	x, told := open(t, e.url, nil, o)
	for _, one := range events {
		x.Event(one)
	}
	if n, _ := x.Close(); n != 0 {
		t.Fatalf("%d undelivered: %q", n, told.list)
	}
	slices.SortStableFunc(e.items, func(a, b item) int { return strings.Compare(a.path, b.path) })
	for _, i := range e.items {
		m := flat(t, i)
		delete(m, "observedTimeUnixNano")
		list = append(list, m)
	}
	return list
}

func TestExchangeIsOneSpanOrTwo(t *testing.T) {
	id := ids{}
	{
		n := namer{}
		id = n.ids(one(event.RoleBoth, nil))
	}
	text := func(b []byte) string { return hex.EncodeToString(b) }
	resource := map[string]any{
		"service.name": "app", "host.name": "here", "process.pid": int64(42), "tracer.comm": "java", "k8s.namespace.name": "shop", "k8s.pod.name": "app-7",
		"k8s.pod.uid": "6b1f", "k8s.container.name": "app", "container.id": "0123",
	}
	attributes := func(more map[string]any) map[string]any {
		all := map[string]any{
			"http.request.method": "GET", "http.response.status_code": int64(200), "http.request.size": int64(100), "http.response.size": int64(200),
			"network.protocol.version": "1.1", "url.scheme": "http", "url.path": "/users/42", "tracer.route": "/users/{id}",
			"server.address": "api.example.com", "server.port": int64(80), "tracer.conn_id": "deadbeef01020304", "tracer.seq": int64(3),
		}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	clientSpan := map[string]any{
		"resource": map[string]any{"service.name": "curl", "host.name": "here", "process.pid": int64(41), "tracer.comm": "curl"},
		"traceId":  text(id.trace[:]), "spanId": text(id.client[:]), "name": "GET", "kind": "3",
		"startTimeUnixNano": "1700000000123456789", "endTimeUnixNano": "1700000000130456789",
		"attributes": attributes(map[string]any{
			"url.full": "http://api.example.com:80/users/42?full=1", "network.peer.address": "10.0.0.2", "network.peer.port": int64(8080), "tracer.latency_us": int64(5000),
		}),
	}
	serverSpan := map[string]any{
		"resource": resource,
		"traceId":  text(id.trace[:]), "spanId": text(id.server[:]), "parentSpanId": text(id.client[:]), "name": "GET", "kind": "2",
		"startTimeUnixNano": "1700000000123456789", "endTimeUnixNano": "1700000000130456789",
		"attributes": attributes(map[string]any{
			"url.query": "full=1", "client.address": "10.0.0.1", "network.peer.address": "10.0.0.1", "network.peer.port": int64(40000), "tracer.latency_us": int64(5000),
		}),
	}
	change := func(m map[string]any, key string, v any) map[string]any {
		changed := map[string]any{}
		for k, v := range m {
			changed[k] = v
		}
		changed[key] = v
		return changed
	}
	if diff := cmp.Diff([]map[string]any{serverSpan}, sentOf(t, Options{Routes: true}, one(event.RoleServer, nil))); diff != "" {
		t.Errorf("the server's end (-want +got):\n%s", diff)
	}
	want := []map[string]any{change(clientSpan, "resource", resource)}
	if diff := cmp.Diff(want, sentOf(t, Options{Routes: true}, one(event.RoleClient, nil))); diff != "" {
		t.Errorf("the client's end (-want +got):\n%s", diff)
	}
	both := change(serverSpan, "endTimeUnixNano", "1700000000126456789")
	both["attributes"] = attributes(map[string]any{
		"url.query": "full=1", "client.address": "10.0.0.1", "network.peer.address": "10.0.0.1", "network.peer.port": int64(40000), "tracer.latency_us": int64(3000),
	})
	if diff := cmp.Diff([]map[string]any{clientSpan, both}, sentOf(t, Options{Routes: true}, one(event.RoleBoth, nil))); diff != "" {
		t.Errorf("both ends (-want +got):\n%s", diff)
	}
}

// Whose child a span is, and in which trace.
func TestParents(t *testing.T) {
	const traceID, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "0000000000000009"
	id, err := event.ParseTraceID(traceID)
	if err != nil {
		t.Fatal(err)
	}
	n := namer{}
	own := n.ids(one(event.RoleBoth, nil))
	trace, clientID, serverID := hex.EncodeToString(own.trace[:]), hex.EncodeToString(own.client[:]), hex.EncodeToString(own.server[:])
	for _, c := range []struct {
		name, role string
		traced     bool
		want       [][3]string // trace, span, parent
	}{
		{"client", event.RoleClient, false, [][3]string{{trace, clientID, ""}}},
		{"server", event.RoleServer, false, [][3]string{{trace, serverID, clientID}}},
		{"both", event.RoleBoth, false, [][3]string{{trace, clientID, ""}, {trace, serverID, clientID}}},
		{"client with traceparent", event.RoleClient, true, [][3]string{{traceID, clientID, parent}}},
		{"server with traceparent", event.RoleServer, true, [][3]string{{traceID, serverID, parent}}},
		{"both with traceparent", event.RoleBoth, true, [][3]string{{traceID, clientID, parent}, {traceID, serverID, clientID}}},
	} {
		e := one(c.role, func(e *event.HTTP) {
			if c.traced {
				e.TraceID, e.ParentID = id, event.SpanID{7: 9}
			}
			// Another host sees other addresses, and other times.
			if c.role == event.RoleServer {
				e.Src, e.Dst, e.Time = netip.MustParseAddrPort("192.0.2.9:7"), netip.MustParseAddrPort("192.0.2.8:9"), began.Add(time.Hour)
			}
		})
		var got [][3]string
		for _, m := range sentOf(t, Options{}, e) {
			parent, _ := m["parentSpanId"].(string)
			got = append(got, [3]string{m["traceId"].(string), m["spanId"].(string), parent})
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// No name is empty, and none comes twice: though addresses are used again, streams and
// positions have the same numbers, and some exchanges have no name of their own.
func TestNoIDComesTwice(t *testing.T) {
	seen := map[string]bool{}
	n := namer{seed: [16]byte{1}}
	take := func(e *event.HTTP) {
		id := n.ids(e)
		for _, s := range []string{string(id.trace[:]), string(id.client[:]), string(id.server[:])} {
			if seen[s] || s == string(make([]byte, len(s))) {
				t.Fatalf("%x of %+v", s, e)
			}
			seen[s] = true
		}
	}
	for conn := range uint32(200) {
		for at := range uint32(100) {
			e := one(event.RoleBoth, nil)
			e.ID = event.ConnID{Client: conn, Server: 7, Known: true}
			if e.Stream, e.Seq = 2*at+1, 0; at%2 == 0 {
				e.Stream, e.Seq = 0, uint64(2*at+1)
			}
			take(e)
		}
	}
	for range 1000 {
		take(one(event.RoleBoth, func(e *event.HTTP) { e.ID = event.ConnID{} }))
		take(one(event.RoleBoth, func(e *event.HTTP) { e.Seq = 0 }))
	}
	zero := split([32]byte{})
	if zero.trace == [16]byte{} || zero.client == [8]byte{} || zero.server == [8]byte{} {
		t.Errorf("%x", zero)
	}
}

// The hash is part of what users rely on: tracers of two versions make one trace.
func TestIDsAreStable(t *testing.T) {
	n := namer{}
	for want, e := range map[string]*event.HTTP{
		"a2fb3cd562c57aa42f246f0bcdc6e0e7 4278d2f6167dabd8 3c64f99394401870": one(event.RoleClient, nil),
		"0f2c2ad8495c4cdd02dba4f25399bdc8 c229fd68adb0d1b5 26963281b9d48cce": one(event.RoleServer, func(e *event.HTTP) { e.Stream, e.Seq = 3, 0 }),
	} {
		id := n.ids(e)
		got := hex.EncodeToString(id.trace[:]) + " " + hex.EncodeToString(id.client[:]) + " " + hex.EncodeToString(id.server[:])
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestStatusAndErrors(t *testing.T) {
	for _, c := range []struct {
		name           string
		change         func(e *event.HTTP)
		client, server string // error.type, status
	}{
		{"200", nil, "", ""},
		{"302", func(e *event.HTTP) { e.Status = 302 }, "", ""},
		{"404: the client's fault", func(e *event.HTTP) { e.Status = 404 }, "404 2 ", ""},
		{"503", func(e *event.HTTP) { e.Status = 503 }, "503 2 ", "503 2 "},
		{"no answer", func(e *event.HTTP) { e.Status, e.Error, e.Latency = 0, "closed", 0 }, "closed 2 ", "closed 2 "},
		{"half an answer", func(e *event.HTTP) { e.Error = "timeout" }, "timeout 2 ", "timeout 2 "},
		{"a stream that was reset", func(e *event.HTTP) { e.Error, e.ResetCode = "reset", "CANCEL" }, "CANCEL 2 ", "CANCEL 2 "},
		{"gRPC: OK", func(e *event.HTTP) { e.GRPC = true }, "", ""},
		{"gRPC: not found", func(e *event.HTTP) { e.GRPC, e.GRPCStatus, e.GRPCMessage = true, 5, "none" }, "NOT_FOUND 2 none", ""},
		{"gRPC: unavailable", func(e *event.HTTP) { e.GRPC, e.GRPCStatus = true, 14 }, "UNAVAILABLE 2 ", "UNAVAILABLE 2 "},
		{"an unknown status", func(e *event.HTTP) { e.Status = 0 }, "", ""},
	} {
		for role, want := range map[string]string{event.RoleClient: c.client, event.RoleServer: c.server} {
			m := sentOf(t, Options{}, one(role, c.change))[0]
			got := ""
			if kind, ok := m["attributes"].(map[string]any)["error.type"]; ok {
				got = kind.(string) + " " + m["status"].(string)
			} else if m["status"] != nil {
				got = m["status"].(string)
			}
			if got != want {
				t.Errorf("%s, %s: %q, want %q", c.name, role, got, want)
			}
		}
	}
}

func TestTargetsAndAddresses(t *testing.T) {
	for _, c := range []struct {
		name, method, path, host string
		want                     map[string]any
	}{
		{"a name without a port", "GET", "/a", "h", map[string]any{"url.path": "/a", "server.address": "h", "server.port": int64(8080), "url.full": "http://h/a"}},
		{"an IPv6 address", "GET", "/a", "[::1]:99", map[string]any{"url.path": "/a", "server.address": "::1", "server.port": int64(99), "url.full": "http://[::1]:99/a"}},
		{"an IPv6 address without a port", "GET", "/a", "[::1]", map[string]any{"url.path": "/a", "server.address": "::1", "server.port": int64(8080), "url.full": "http://[::1]/a"}},
		{"no name", "GET", "/a", "", map[string]any{"url.path": "/a", "server.address": "10.0.0.2", "server.port": int64(8080), "url.full": "http://10.0.0.2:8080/a"}},
		{"through a proxy", "GET", "http://u:p@h/a?b", "h", map[string]any{"url.path": "/a", "server.address": "h", "server.port": int64(8080), "url.full": "http://h/a?b"}},
		{"a proxy's without a path", "GET", "http://h", "h", map[string]any{"url.path": "/", "server.address": "h", "server.port": int64(8080), "url.full": "http://h/"}},
		{"all of a server", "OPTIONS", "*", "h", map[string]any{"server.address": "h", "server.port": int64(8080)}},
		{"a tunnel", "CONNECT", "h:443", "h:443", map[string]any{"server.address": "h", "server.port": int64(443)}},
		{"a secret", "GET", "/a?x=1&Signature=s&sig=t", "h", map[string]any{"url.path": "/a", "server.address": "h", "server.port": int64(8080), "url.full": "http://h/a?x=1&Signature=REDACTED&sig=REDACTED"}},
		{"nothing known", "", "", "", map[string]any{"server.address": "10.0.0.2", "server.port": int64(8080)}},
	} {
		m := sentOf(t, Options{}, one(event.RoleClient, func(e *event.HTTP) { e.Method, e.Path, e.Host = c.method, c.path, c.host }))[0]
		got := map[string]any{}
		for k, v := range m["attributes"].(map[string]any) {
			switch k {
			case "url.path", "url.query", "url.full", "server.address", "server.port":
				got[k] = v
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// What is sent to an endpoint on this host is seen there. To send that would go on for
// ever.
func TestOwnRequestsAreNotSent(t *testing.T) {
	e := newEngine(t, nil)
	x, _ := open(t, e.url, nil, Options{})
	send(x, 1)
	x.pipes[traces].finish()
	for deadline := time.Now().Add(5 * time.Second); x.held.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if len(x.ports.list) != 1 {
		t.Fatalf("%v", x.ports.list)
	}
	own := one(event.RoleServer, nil)
	own.Src = x.ports.list[0]
	x.Event(own)
	shut(t, x, 2)
}

// An exchange costs no memory of its own.
func TestSpansAllocateNothing(t *testing.T) {
	e := newEngine(t, nil)
	x, _ := open(t, e.url, nil, Options{Routes: true})
	defer x.Close()
	for name, h := range map[string]*event.HTTP{"both": one(event.RoleBoth, nil), "gRPC": exchanges()[5]} {
		if n := testing.AllocsPerRun(100, func() {
			id := x.namer.ids(h)
			x.spans.begin(h)
			ends, n := views(h)
			for i := range ends[:n] {
				x.item = x.spans.append(x.item[:0], &ends[i], &id)
				x.resources.of(ends[i].whose)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What a span costs all in all: encoded, compressed, sent. One exchange is two spans.
func BenchmarkExchange(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer s.Close()
	x, _ := open(b, s.URL, nil, Options{Routes: true})
	h := one(event.RoleBoth, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Seq = uint64(i)
		x.Event(h)
		for x.held.Load() > queueBytes/2 {
			time.Sleep(time.Millisecond)
		}
	}
	if n, _ := x.Close(); n > 0 {
		b.Errorf("%d undelivered", n)
	}
}
