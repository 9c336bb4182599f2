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

// HTTPSummary is what came of the exchanges of one kind within an interval.
type HTTPSummary struct {
	Common
	Interval           time.Duration // until Time
	Method             string
	Host               string
	Route              string // the path with {id} for what looks like an identifier
	Count              uint64
	Errors             uint64 // status 5xx and unanswered
	P50, P90, P99, Max time.Duration
	Total              bool // of the whole run
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
	o.flag("total", e.Total)
	o.str("method", e.Method)
	o.optional("host", e.Host)
	o.str("route", e.Route)
	o.uint("count", e.Count)
	o.uint("errors", e.Errors)
	o.micros("p50_us", e.P50)
	o.micros("p90_us", e.P90)
	o.micros("p99_us", e.P99)
	o.micros("max_us", e.Max)
	return o
}
