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
	Answered           uint64 // of Count; if 0 there are no latencies
	P50, P90, P99, Max time.Duration

	// For tables.
	Rate    float64 // exchanges a second: of the interval, in a closing table of the whole run
	Failing bool    // Errors has grown meanwhile
}

func (e *HTTP) appendJSON(o object) object {
	o = e.appendConnection(o)
	o.optional("version", e.Version)
	o.str("method", e.Method)
	o.str("path", e.Path)
	o.flag("path_truncated", e.PathTruncated)
	o.optional("host", e.Host)
	if e.Status != 0 {
		o.int("status", int64(e.Status))
		o.micros("latency_us", e.Latency)
	}
	if e.Kind == KindHTTPStuck {
		o.micros("age_us", e.Age)
	} else {
		o.micros("duration_us", e.Duration)
	}
	o.uint("request_bytes", e.RequestBytes)
	if e.Kind != KindHTTPStuck {
		o.uint("response_bytes", e.ResponseBytes)
	}
	o.optional("error", e.Error)
	if e.Role == RoleBoth {
		o.uint("peer_pid", uint64(e.PeerPID))
		o.str("peer_comm", e.PeerComm)
		if e.Status != 0 {
			o.micros("server_latency_us", e.ServerLatency)
		}
	}
	return o
}

func (e *HTTPSummary) appendJSON(o object) object {
	o.micros("interval_us", e.Interval)
	o.optional("method", e.Method)
	o.optional("host", e.Host)
	o.optional("route", e.Route)
	o.uint("count", e.Count)
	o.uint("errors", e.Errors)
	if e.Answered > 0 {
		o.micros("p50_us", e.P50)
		o.micros("p90_us", e.P90)
		o.micros("p99_us", e.P99)
		o.micros("max_us", e.Max)
	}
	return o
}
