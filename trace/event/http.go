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
// times are the client's. Method, Path, Host and GRPCMessage are valid as long as the event.
type HTTP struct {
	Common
	Connection
	Version       string        // as 1.1, or 2
	TLS           string        // the library that the plaintext was taken from, the server's where it is known; empty: it was not encrypted
	Stream        uint32        // of HTTP/2, else 0
	Seq           uint64        // position of the request on its connection, from 1; 0 if unknown, and in HTTP/2
	Method        string        // empty if unknown
	Path          string        // request target as sent; empty if unknown, or if there is none (CONNECT of HTTP/2)
	PathTruncated bool          // Path is not all
	Host          string        // empty if unknown
	Incomplete    bool          // the request's head never ended
	Status        int           // 0 if there was no response, or if it is unknown
	Latency       time.Duration // 0 if there was no response, or if it is unknown
	Duration      time.Duration // to the last byte, or to the end without one
	RequestBytes  uint64        // whole messages
	ResponseBytes uint64
	Error         string // as a Reason of Close, or not_http: the response is missing, or not whole
	ClosedBy      string // with Error: RoleClient or RoleServer; empty if unknown
	ResetCode     string // of a stream of HTTP/2 that was reset, as CANCEL
	GRPC          bool   // GRPCStatus is known
	GRPCStatus    uint32 // 0 to 16
	GRPCMessage   string
	TraceID       TraceID // of the request's traceparent field; zero: it has none that is valid, or it was not captured
	ParentID      SpanID  // in it

	// With RoleBoth: the client, and when the request came to the server and how long that
	// took; each as far as it is known. PeerHostname and Network are of two hosts' recordings.
	PeerPID                                                uint32
	PeerComm                                               string
	PeerContainer, PeerContainerID, PeerPod, PeerNamespace string
	PeerHostname                                           string
	ServerTime                                             time.Time
	ServerLatency, ServerDuration                          time.Duration
	Network                                                time.Duration // Latency without ServerLatency
	HasNetwork                                             bool          // Network is known

	// Where the time went at the server, before its answer; 0 if that is unknown, or below
	// 10 ms.
	AcceptWait time.Duration // of a request that came before its connection was accepted: until it was
	Queue      time.Duration // then, or else from its arrival, until it was read
	CPU        time.Duration // what the thread that read and answered it did in between: on a processor
	RunQueue   time.Duration // waiting for one
	Blocked    time.Duration // neither

	Age time.Duration // KindHTTPStuck: since the request's first byte
}

// Where is where the time of an exchange, or of several, went at the server, as fields of
// HTTP say.
type Where struct {
	AcceptWait, Queue, CPU, RunQueue, Blocked time.Duration
}

// Where is where its time went.
func (e *HTTP) Where() Where {
	return Where{e.AcceptWait, e.Queue, e.CPU, e.RunQueue, e.Blocked}
}

// Add adds what is known of another one.
func (w *Where) Add(from Where) {
	w.AcceptWait += from.AcceptWait
	w.Queue += from.Queue
	w.CPU += from.CPU
	w.RunQueue += from.RunQueue
	w.Blocked += from.Blocked
}

// Known reports whether anything is known.
func (w *Where) Known() bool { return *w != Where{} }

// Answered reports whether an answer began to come, with RoleBoth to the client. When it
// did, and its status, may be unknown.
func (e *HTTP) Answered() bool {
	return e.Latency > 0 || e.Error == "" && e.Kind == KindHTTP
}

// Failed reports whether it counts as an error: there was no answer, or it says that the
// server has failed.
func (e *HTTP) Failed() bool {
	return !e.Answered() || e.Status >= 500 || e.GRPC && grpcFailures&(1<<e.GRPCStatus) != 0
}

// grpcFailures are the statuses of gRPC that mean a fault of the server, a bit each:
// UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS
// (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/).
const grpcFailures = 1<<2 | 1<<4 | 1<<12 | 1<<13 | 1<<14 | 1<<15

// SlowLatency is from which latency on an answer is called slow.
const SlowLatency = time.Second

// Slow reports whether its answer was slow to begin.
func (e *HTTP) Slow() bool { return e.Kind == KindHTTP && e.Latency >= SlowLatency }

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
	Errors             uint64 // of Count: see HTTP.Failed
	Status4xx          uint64 // of Count: answered so
	Status5xx          uint64
	Unanswered         uint64 // of Count: see HTTP.Answered
	Answered           uint64 // of Count, those with a latency that is known; if 0 there are none (a line tells only whether it is 0)
	P50, P90, P99, Max time.Duration
	Total              time.Duration // of all durations
	ServerAnswered     uint64        // as Answered, of those that were seen at the server
	ServerP50          time.Duration // how long the server took
	ServerP99          time.Duration
	Waiting            uint64        // requests that wait for their answer now; they are in no other number
	Oldest             time.Duration // how long the oldest of those has waited

	// For tables.
	Rate    float64       // exchanges a second: of the interval, in a closing table of the whole run
	Failing bool          // Errors has grown meanwhile
	Slow    bool          // it takes much longer than others, now or mostly
	Both    bool          // some were seen at both ends, so that the server's part can differ
	Spent   time.Duration // Total, and how long those that wait have waited
	Last    time.Time     // when the last one ended; zero: there was none
	Spread  Spread        // of the latencies
	Where   Where         // of all exchanges of which it is known
}

func (e *HTTP) fields(t *table) {
	stuck, both := e.Kind == KindHTTPStuck, e.Role == RoleBoth
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.text("version", &e.Version, e.Version != "")
	t.text("tls", &e.TLS, e.TLS != "")
	t.uint32("stream_id", &e.Stream, e.Stream != 0)
	t.uint64("seq", &e.Seq, e.Seq != 0)
	t.text("method", &e.Method, e.Method != "")
	t.text("path", &e.Path, e.Path != "")
	t.flag("path_truncated", &e.PathTruncated, e.PathTruncated)
	t.text("host", &e.Host, e.Host != "")
	t.int("status", &e.Status, e.Status != 0)
	t.knownMicros("latency_us", &e.Latency)
	t.micros("age_us", &e.Age, stuck)
	t.micros("duration_us", &e.Duration, !stuck)
	t.uint64("request_bytes", &e.RequestBytes, true)
	t.uint64("response_bytes", &e.ResponseBytes, !stuck)
	t.flag("request_incomplete", &e.Incomplete, e.Incomplete)
	t.text("error", &e.Error, e.Error != "")
	t.text("closed_by", &e.ClosedBy, e.ClosedBy != "")
	t.text("reset_code", &e.ResetCode, e.ResetCode != "")
	if t.reads("grpc_status") {
		e.GRPC = true
	}
	t.uint32("grpc_status", &e.GRPCStatus, e.GRPC)
	t.text("grpc_message", &e.GRPCMessage, e.GRPCMessage != "")
	t.traceID("trace_id", &e.TraceID)
	t.spanID("parent_id", &e.ParentID)
	t.uint32("peer_pid", &e.PeerPID, both)
	t.text("peer_comm", &e.PeerComm, both)
	t.text("peer_container", &e.PeerContainer, e.PeerContainer != "")
	t.text("peer_container_id", &e.PeerContainerID, e.PeerContainerID != "")
	t.text("peer_pod", &e.PeerPod, e.PeerPod != "")
	t.text("peer_namespace", &e.PeerNamespace, e.PeerNamespace != "")
	t.text("peer_hostname", &e.PeerHostname, e.PeerHostname != "")
	if both || t.in != nil {
		t.time("server_time", &e.ServerTime, !e.ServerTime.IsZero())
	}
	t.knownMicros("server_latency_us", &e.ServerLatency)
	t.knownMicros("server_duration_us", &e.ServerDuration)
	if t.reads("network_us") {
		e.HasNetwork = true
	}
	t.micros("network_us", &e.Network, e.HasNetwork)
	t.knownMicros("accept_wait_us", &e.AcceptWait)
	t.knownMicros("queue_us", &e.Queue)
	t.knownMicros("cpu_us", &e.CPU)
	t.knownMicros("runq_us", &e.RunQueue)
	t.knownMicros("blocked_us", &e.Blocked)
}

func (e *HTTPSummary) fields(t *table) {
	t.common(&e.Common)
	t.micros("interval_us", &e.Interval, true)
	t.text("method", &e.Method, e.Method != "")
	t.text("host", &e.Host, e.Host != "")
	t.text("route", &e.Route, e.Route != "")
	t.uint64("count", &e.Count, true)
	t.uint64("errors", &e.Errors, true)
	t.uint64("status_4xx", &e.Status4xx, true)
	t.uint64("status_5xx", &e.Status5xx, true)
	t.uint64("unanswered", &e.Unanswered, true)
	t.uint64("waiting", &e.Waiting, e.Waiting > 0)
	t.micros("oldest_us", &e.Oldest, e.Waiting > 0)
	if t.reads("p50_us") {
		e.Answered = 1
	}
	answered := e.Answered != 0
	t.micros("p50_us", &e.P50, answered)
	t.micros("p90_us", &e.P90, answered)
	t.micros("p99_us", &e.P99, answered)
	t.micros("max_us", &e.Max, answered)
	t.micros("total_us", &e.Total, true)
	if t.reads("server_p50_us") {
		e.ServerAnswered = 1
	}
	t.micros("server_p50_us", &e.ServerP50, e.ServerAnswered != 0)
	t.micros("server_p99_us", &e.ServerP99, e.ServerAnswered != 0)
}
