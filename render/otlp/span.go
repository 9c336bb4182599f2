package otlp

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tracer/trace/event"
	"tracer/trace/exchange"
)

// Fields of message Span.
const (
	spanTraceID    = 1
	spanID         = 2
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanStatus     = 15

	kindServer, kindClient = 2, 3

	statusMessage, statusCode, codeError = 2, 3, 2
)

// methods are those that are known to the conventions; another one may be anything.
var methods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "DELETE": true, "CONNECT": true,
	"OPTIONS": true, "TRACE": true, "PATCH": true, "QUERY": true,
}

const otherMethod = "_OTHER"

// grpcNames are the statuses of gRPC.
var grpcNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
	"UNAUTHENTICATED",
}

func grpcName(n uint32) string {
	if int(n) < len(grpcNames) {
		return grpcNames[n]
	}
	return strconv.FormatUint(uint64(n), 10)
}

// A view is an exchange as one end sees it.
type view struct {
	*event.HTTP
	server   bool
	whose    whose
	start    time.Time
	duration time.Duration
}

// views are an exchange from its client's end and from its server's, as far as these were
// seen: the first n.
func views(e *event.HTTP) (ends [2]view, n int) {
	own := view{HTTP: e, whose: whoseOf(e.Head()), start: e.Time, duration: e.Duration}
	switch e.Role {
	case event.RoleClient:
		return [2]view{own}, 1
	case event.RoleServer:
		own.server = true
		return [2]view{own}, 1
	}
	peer := own
	peer.whose = peerOf(e)
	own.server = true
	own.start, own.duration = serverTimes(e)
	return [2]view{peer, own}, 2
}

// failure is the conventions' error.type; empty if it is none.
func (v *view) failure() string {
	e := v.HTTP
	switch {
	case e.ResetCode != "" && e.Error != "":
		return e.ResetCode
	case e.Error != "":
		return e.Error
	case e.GRPC && e.GRPCStatus != 0 && (!v.server || e.Failed()):
		return grpcName(e.GRPCStatus)
	case e.Status >= 500, e.Status >= 400 && !v.server:
		return statusText(e.Status)
	}
	return ""
}

// statusText is the status as a text.
func statusText(status int) string { return strconv.Itoa(status) }

// scheme is that of the URL.
func scheme(e *event.HTTP) string {
	if e.TLS != "" {
		return "https"
	}
	return "http"
}

// address is who was asked, by name where that is known.
func address(e *event.HTTP) (host string, port uint16) {
	host, port = e.Host, e.Dst.Port()
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		if n, err := strconv.ParseUint(host[i+1:], 10, 16); err == nil {
			host, port = host[:i], uint16(n)
		}
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if host == "" && e.Dst.Addr().IsValid() {
		host = e.Dst.Addr().String()
	}
	return host, port
}

// target takes a request target apart (RFC 9112, 3.2).
func target(e *event.HTTP) (path, query string) {
	path = e.Path
	if e.Method == "CONNECT" || path == "*" {
		return "", ""
	}
	if i := strings.Index(path, "://"); i > 0 && !strings.ContainsAny(path[:i], "/?#") {
		path = path[i+len("://"):]
		if i = strings.IndexAny(path, "/?"); i < 0 {
			return "/", ""
		}
		path = path[i:]
	}
	path, query, _ = strings.Cut(path, "?")
	return path, query
}

// secret are the names of values in a query that grant something: the conventions have
// them redacted.
var secret = map[string]bool{
	"AWSAccessKeyId": true, "Signature": true, "sig": true, "X-Goog-Signature": true,
	"X-Amz-Signature": true, "X-Amz-Credential": true, "X-Amz-Security-Token": true,
}

// redacted is a query without such values.
func redacted(query string) string {
	if !strings.Contains(query, "ig") && !strings.Contains(query, "AWSAccessKeyId") && !strings.Contains(query, "X-Amz-") {
		return query
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		if name, _, ok := strings.Cut(part, "="); ok && secret[name] {
			parts[i] = name + "=REDACTED"
		}
	}
	return strings.Join(parts, "&")
}

// spans makes spans of exchanges. What both ends' spans say is made once.
type spans struct {
	routes        bool   // say the route
	text, scratch []byte // reused

	// Of the exchange that begin was called with.
	shared      []byte // attributes of both its spans
	name        string
	path, query string
	host        string
}

// begin makes what the spans of an exchange share.
func (x *spans) begin(e *event.HTTP) {
	method := e.Method
	if !methods[method] && method != "" {
		method = otherMethod
	}
	x.path, x.query = target(e)
	x.query = redacted(x.query)
	rpc := ""
	if e.GRPC && len(x.path) > 1 {
		rpc = x.path[1:]
	}
	switch {
	case rpc != "":
		x.name = rpc
	case method == "" || method == otherMethod:
		x.name = "HTTP"
	default:
		x.name = method
	}
	b := x.shared[:0]
	if method != "" {
		b = appendString(b, spanAttributes, "http.request.method", method)
	}
	if method == otherMethod {
		b = appendString(b, spanAttributes, "http.request.method_original", e.Method)
	}
	b = appendString(b, spanAttributes, "url.scheme", scheme(e))
	if x.path != "" {
		b = appendString(b, spanAttributes, "url.path", x.path)
	}
	if e.PathTruncated {
		b = appendBool(b, spanAttributes, "tracer.path_truncated", true)
	}
	if x.routes {
		if route := x.route(e); route != "" {
			b = appendString(b, spanAttributes, "tracer.route", route)
		}
	}
	var port uint16
	if x.host, port = address(e); x.host != "" {
		b = appendString(b, spanAttributes, "server.address", x.host)
	}
	if port != 0 {
		b = appendInt(b, spanAttributes, "server.port", int64(port))
	}
	if e.Status != 0 {
		b = appendInt(b, spanAttributes, "http.response.status_code", int64(e.Status))
	}
	b = appendInt(b, spanAttributes, "http.request.size", int64(e.RequestBytes))
	b = appendInt(b, spanAttributes, "http.response.size", int64(e.ResponseBytes))
	if e.Version != "" {
		b = appendString(b, spanAttributes, "network.protocol.version", e.Version)
	}
	if e.GRPC {
		b = appendRPC(b, e, rpc)
	}
	x.shared = appendOwn(b, e)
}

// append appends message Span, after begin.
func (x *spans) append(b []byte, v *view, id *ids) []byte {
	e := v.HTTP
	b = appendBytes(b, spanTraceID, traceOf(e, id))
	own, kind, parent := id.client[:], uint64(kindClient), e.ParentID[:]
	if v.server {
		own, kind = id.server[:], kindServer
		if e.Role == event.RoleBoth || e.TraceID.IsZero() {
			parent = id.client[:]
		}
	}
	b = appendBytes(b, spanID, own)
	if v.server || !e.TraceID.IsZero() {
		b = appendBytes(b, spanParent, parent)
	}
	b = appendText(b, spanName, x.name)
	b = appendVarint(b, spanKind, kind)
	b = appendFixed(b, spanStart, nanos(v.start))
	b = appendFixed(b, spanEnd, nanos(v.start.Add(v.duration)))
	b = append(b, x.shared...)
	switch {
	case v.server && x.query != "":
		b = appendString(b, spanAttributes, "url.query", x.query)
	case !v.server && x.path != "" && x.host != "":
		b = x.appendURL(b, e)
	}
	if peer := v.peer(); peer.Addr().IsValid() {
		b = appendAddr(b, "network.peer.address", peer.Addr())
		if v.server {
			b = appendAddr(b, "client.address", peer.Addr())
		}
		b = appendInt(b, spanAttributes, "network.peer.port", int64(peer.Port()))
	}
	b = appendTimes(b, v)
	failure := v.failure()
	if failure == "" {
		return b
	}
	b = appendString(b, spanAttributes, "error.type", failure)
	message := ""
	if e.GRPC {
		message = valid(e.GRPCMessage)
	}
	size := 2
	if message != "" {
		size += sizeBytes(len(message))
	}
	b = appendHead(b, spanStatus, size)
	if message != "" {
		b = appendText(b, statusMessage, message)
	}
	return appendVarint(b, statusCode, codeError)
}

// appendURL appends what a client has asked for, all in one.
func (x *spans) appendURL(b []byte, e *event.HTTP) []byte {
	u := append(append(x.text[:0], scheme(e)...), "://"...)
	if e.Host != "" {
		u = append(u, e.Host...)
	} else {
		u = append(u, e.Dst.String()...)
	}
	u = append(u, x.path...)
	if x.query != "" {
		u = append(append(u, '?'), x.query...)
	}
	x.text = u
	return appendString(b, spanAttributes, "url.full", text(u))
}

func appendAddr(b []byte, key string, a netip.Addr) []byte {
	var digits [64]byte
	return appendString(b, spanAttributes, key, text(a.AppendTo(digits[:0])))
}

// peer is the other end's address.
func (v *view) peer() netip.AddrPort {
	if v.server {
		return v.Src
	}
	return v.Dst
}

// traceOf is the trace that an exchange belongs to: the one that its request names, else
// its own.
func traceOf(e *event.HTTP, id *ids) []byte {
	if e.TraceID.IsZero() {
		return id.trace[:]
	}
	return e.TraceID[:]
}

// appendRPC appends what a call of gRPC is, by its conventions and by those before 1.39.
func appendRPC(b []byte, e *event.HTTP, rpc string) []byte {
	b = appendString(b, spanAttributes, "rpc.system.name", "grpc")
	b = appendString(b, spanAttributes, "rpc.system", "grpc")
	if rpc != "" {
		b = appendString(b, spanAttributes, "rpc.method", rpc)
		if service, _, ok := strings.Cut(rpc, "/"); ok {
			b = appendString(b, spanAttributes, "rpc.service", service)
		}
	}
	b = appendString(b, spanAttributes, "rpc.response.status_code", grpcName(e.GRPCStatus))
	return appendInt(b, spanAttributes, "rpc.grpc.status_code", int64(e.GRPCStatus))
}

// appendOwn appends what the conventions have no names for.
func appendOwn(b []byte, e *event.HTTP) []byte {
	if e.ID.Known {
		var id [16]byte
		digits, _ := e.ID.AppendText(id[:0]) // it has no errors
		b = appendString(b, spanAttributes, "tracer.conn_id", text(digits))
	}
	if e.Stream != 0 {
		b = appendInt(b, spanAttributes, "tracer.stream_id", int64(e.Stream))
	}
	if e.Seq != 0 {
		b = appendInt(b, spanAttributes, "tracer.seq", int64(e.Seq))
	}
	if e.TLS != "" {
		b = appendString(b, spanAttributes, "tracer.tls", e.TLS)
	}
	if e.ClosedBy != "" {
		b = appendString(b, spanAttributes, "tracer.closed_by", e.ClosedBy)
	}
	if e.Incomplete {
		b = appendBool(b, spanAttributes, "tracer.request_incomplete", true)
	}
	return b
}

// appendTimes appends how long it took one end until the answer began, and of the server
// where that went.
func appendTimes(b []byte, v *view) []byte {
	e := v.HTTP
	if !v.server {
		return appendMicros(b, "tracer.latency_us", e.Latency)
	}
	latency := e.Latency
	if e.Role == event.RoleBoth {
		latency = e.ServerLatency
	}
	b = appendMicros(b, "tracer.latency_us", latency)
	b = appendMicros(b, "tracer.accept_wait_us", e.AcceptWait)
	b = appendMicros(b, "tracer.queue_us", e.Queue)
	b = appendMicros(b, "tracer.cpu_us", e.CPU)
	b = appendMicros(b, "tracer.runq_us", e.RunQueue)
	return appendMicros(b, "tracer.blocked_us", e.Blocked)
}

// appendMicros appends a duration of which 0 means unknown.
func appendMicros(b []byte, key string, d time.Duration) []byte {
	if d == 0 {
		return b
	}
	return appendInt(b, spanAttributes, key, d.Microseconds())
}

// route is that of an exchange, empty if it has none. It is valid until the next call.
func (x *spans) route(e *event.HTTP) string {
	if e.Path == "" || e.PathTruncated {
		return ""
	}
	x.scratch = append(x.scratch[:0], e.Path...)
	n := len(x.scratch)
	x.scratch = exchange.Route(x.scratch, x.scratch[:n:n])
	return text(x.scratch[n:])
}
