package event

import "time"

// Kinds of events about HTTP.
const (
	KindHTTP        = "http"
	KindHTTPStuck   = "http_stuck"
	KindHTTPSummary = "http_summary"
)

// RoleBoth is the role of an exchange whose two ends are both on this host.
const RoleBoth = "both"

// HTTP is an exchange (KindHTTP): a request and its answer, or the reason why
// there is none; or a request that still waits (KindHTTPStuck). Time is that of
// the request's first byte. With RoleBoth the process is the server's and the
// times are the client's. Method, Path and Host are valid as long as the event.
type HTTP struct {
	Common
	Connection
	Version       string // as 1.1
	TLS           string // the library that the plaintext was taken from: of the server where it is known; empty: it was not encrypted
	Seq           uint64 // position of the request on its connection, from 1; 0 if unknown
	Method        string
	Path          string // request target as sent
	PathTruncated bool   // Path is not all
	Host          string // empty if unknown
	Status        int    // 0 if there was no response
	Latency       time.Duration
	Duration      time.Duration // to the last byte, or to the end without one
	RequestBytes  uint64        // whole messages
	ResponseBytes uint64
	Error         string // as a Reason of Close: the response is missing, or not whole

	// With RoleBoth: the client, and how long the server took.
	PeerPID       uint32
	PeerComm      string
	ServerLatency time.Duration

	Age time.Duration // KindHTTPStuck: since the request's first byte
}

// HTTPSummary is what came of the exchanges of one method, host and route
// (KindHTTPSummary): in an interval that ends at Time or, on a page, since
// tracing began. The percentiles are of the latencies of those that were
// answered, and at most 1 % too high.
type HTTPSummary struct {
	Common
	Interval           time.Duration // that it tells of
	Method             string        // empty in what sums several up
	Host               string        // in lower case; empty if unknown
	Route              string        // the path, what looks like an identifier replaced, as by {id}
	Count              uint64
	Errors             uint64 // of Count: status 5xx, and unanswered
	Answered           uint64 // of Count; if 0 there are no latencies (a line tells only whether it is 0)
	P50, P90, P99, Max time.Duration

	// For tables.
	Rate    float64 // exchanges a second: of the interval, in a closing table of the whole run
	Failing bool    // Errors has grown meanwhile
}

func (e *HTTP) fields(t *table) {
	answered, stuck, both := e.Status != 0, e.Kind == KindHTTPStuck, e.Role == RoleBoth
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.text("version", &e.Version, e.Version != "")
	t.text("tls", &e.TLS, e.TLS != "")
	t.uint64("seq", &e.Seq, e.Seq != 0)
	t.text("method", &e.Method, true)
	t.text("path", &e.Path, true)
	t.flag("path_truncated", &e.PathTruncated, e.PathTruncated)
	t.text("host", &e.Host, e.Host != "")
	t.int("status", &e.Status, answered)
	t.micros("latency_us", &e.Latency, answered)
	t.micros("age_us", &e.Age, stuck)
	t.micros("duration_us", &e.Duration, !stuck)
	t.uint64("request_bytes", &e.RequestBytes, true)
	t.uint64("response_bytes", &e.ResponseBytes, !stuck)
	t.text("error", &e.Error, e.Error != "")
	t.uint32("peer_pid", &e.PeerPID, both)
	t.text("peer_comm", &e.PeerComm, both)
	t.micros("server_latency_us", &e.ServerLatency, both && answered)
}

func (e *HTTPSummary) fields(t *table) {
	t.common(&e.Common)
	t.micros("interval_us", &e.Interval, true)
	t.text("method", &e.Method, e.Method != "")
	t.text("host", &e.Host, e.Host != "")
	t.text("route", &e.Route, e.Route != "")
	t.uint64("count", &e.Count, true)
	t.uint64("errors", &e.Errors, true)
	if t.reads("p50_us") {
		e.Answered = 1
	}
	answered := e.Answered != 0
	t.micros("p50_us", &e.P50, answered)
	t.micros("p90_us", &e.P90, answered)
	t.micros("p99_us", &e.P99, answered)
	t.micros("max_us", &e.Max, answered)
}
