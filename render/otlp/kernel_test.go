package otlp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/trace/event"
	"tracer/trace/kernel/confine"
)

// requests makes so many to a server of its own, each second one with a traceparent, and
// returns its port.
func requests(t *testing.T, s *httptest.Server, n int) {
	t.Helper()
	for i := range n {
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/things/%d", s.URL, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			req.Header.Set("traceparent", fmt.Sprintf("00-4bf92f3577b34da6a3ce929d0e0e4736-%016x-01", i))
		}
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

func serve(t *testing.T) (s *httptest.Server, port string) {
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("thing")) }))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s, u.Port()
}

// text is a string of an event, empty where it is left out.
func word(e kit.Event, key string) string { s, _ := e[key].(string); return s }

// Confined and without privileges tracer sends two spans of each row, by the ids that the
// row's own keys give, to an endpoint that it finds by name.
func TestKernelExchangesReachTheEndpoint(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 23
	s, port := serve(t)
	e := newEngine(t, nil)
	r := kit.Start(t, "http", "--port", port, "--otlp="+strings.Replace(e.url, "127.0.0.1", "localhost", 1))
	requests(t, s, n)
	for range n {
		r.Until(kit.OfKind("http"))
	}
	end := r.Stop()
	if end["undelivered"] != nil || len(e.items) != 2*n {
		t.Fatalf("%v: %d spans", end, len(e.items))
	}
	spans := map[string]map[string]any{}
	for _, i := range e.items {
		m := flat(t, i)
		spans[m["spanId"].(string)] = m
	}
	traced := 0
	for _, row := range r.Events {
		id, err := event.ParseConnID(word(row, "conn_id"))
		if err != nil {
			t.Fatalf("%v: %v", err, row)
		}
		names := (&namer{}).ids(&event.HTTP{Connection: event.Connection{ID: id}, Seq: uint64(row["seq"].(float64))})
		clientID, serverID, trace := fmt.Sprintf("%x", names.client), fmt.Sprintf("%x", names.server), fmt.Sprintf("%x", names.trace)
		if word(row, "trace_id") != "" {
			traced++
			trace = word(row, "trace_id")
		}
		client, server := spans[clientID], spans[serverID]
		if client == nil || server == nil {
			t.Fatalf("no spans %s and %s of %v", clientID, serverID, row)
		}
		parent, _ := client["parentSpanId"].(string)
		if client["traceId"] != trace || server["traceId"] != trace || parent != word(row, "parent_id") || server["parentSpanId"] != clientID {
			t.Errorf("%v\n%v\n%v", row, client, server)
		}
		if path := client["attributes"].(map[string]any)["url.path"]; path != row["path"] || server["kind"] != "2" || client["kind"] != "3" {
			t.Errorf("%v\n%v\n%v", row, client, server)
		}
	}
	if traced != n/2 {
		t.Errorf("%d rows with a trace", traced)
	}
}

// What an endpoint does not take is in the account, and told before that. The trace is
// whole all the same, and so is the status.
func TestKernelAccountHasWhatWasNotDelivered(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 17
	s, port := serve(t)
	e := newEngine(t, refuse(400))
	r := kit.Start(t, "http", "--port", port, "--otlp="+e.url)
	requests(t, s, n)
	for range n {
		r.Until(kit.OfKind("http"))
	}
	end := r.Stop()
	if by, _ := end["undelivered"].(map[string]any); by["otlp"] != float64(2*n) || end["shown"] != float64(n) || end["lost"] != 0.0 {
		t.Errorf("%v", end)
	}
	said := fmt.Sprint(r.Notes)
	if !strings.Contains(said, "message:otlp: 34 spans not delivered to "+e.url+": 400 Bad Request") {
		t.Errorf("told %s", said)
	}
}

// With --summary there is a histogram of each end, with each exchange in it.
func TestKernelSummaryIsHistograms(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 19
	s, port := serve(t)
	e := newEngine(t, nil)
	r := kit.Start(t, "http", "--summary", "--port", port, "--otlp="+e.url)
	requests(t, s, n)
	for seen := 0.0; seen < n; {
		seen += r.Until(kit.OfKind("http_summary"))["count"].(float64)
	}
	if end := r.Stop(); end["undelivered"] != nil {
		t.Errorf("%v", end)
	}
	last := map[string]uint64{}
	for _, i := range e.items {
		p := parse(t, parse(t, i.bytes(metricHistogram)).bytes(dataPoints))
		last[i.text(metricName)] = p.number(histogramCount)
	}
	if len(last) != 2 || last["http.client.request.duration"] != n || last["http.server.request.duration"] != n {
		t.Errorf("%v", last)
	}
}

// confined names the endpoint and the name server of a process that confines itself.
const confined = "TRACER_OTLP_CONFINED"

// An exporter finds its endpoint by name and sends to it in a process that has neither
// capabilities nor the system calls that a reader of strangers' bytes needs not.
func TestConfinedExporterFindsItsEndpointByName(t *testing.T) {
	if where := os.Getenv(confined); where != "" {
		confinedExporter(t, where)
		return
	}
	e := newEngine(t, nil)
	u, err := url.Parse(e.url)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), confined+"=http://collector.test:"+u.Port()+" "+nameServer(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if e.taken != 200 {
		t.Errorf("%d spans", e.taken)
	}
}

func confinedExporter(t *testing.T, where string) {
	endpoint, server, _ := strings.Cut(where, " ")
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server)
	}}
	if err := confine.Confine(0, confine.Reader()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setuid(0); err == nil || exec.Command("/bin/true").Run() == nil {
		t.Fatal("it is not confined")
	}
	x, told := open(t, endpoint, nil, Options{})
	send(x, 100)
	if undelivered, _ := shut(t, x, 200); undelivered != 0 {
		t.Errorf("%d undelivered: %q", undelivered, told.list)
	}
}

// nameServer starts one for which all names are loopback's, and returns its address.
func nameServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			m.Header.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}
