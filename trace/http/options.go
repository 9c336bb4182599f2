package http

import (
	"flag"
	"strings"
	"time"

	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/message"
	"tracer/trace/option"
)

const (
	name      = "http" // of the probe
	minPrefix = 64
	maxPrefix = 16 << 10
)

// defaultStuck is from when on a request is reported that is still unanswered.
const defaultStuck = 5 * time.Second

// options are the flags of the probe.
type options struct {
	ports   []uint16
	methods option.Methods
	path    string
	host    string
	status  option.Statuses
	slow    time.Duration
	role    string
	stuck   time.Duration
	prefix  uint64 // bytes
	trace   event.TraceID
	summary bool
	order   option.Order // of the rows of the summary
	noTLS   bool
}

func (o *options) Flags(fs *flag.FlagSet) {
	o.stuck, o.prefix = defaultStuck, 1<<10
	fs.Var(option.Ports(&o.ports), "port", "`N[,N…]` only exchanges from or to one of these ports")
	fs.Var(o.methods.Value(), "method", "`M[,M…]` only these methods")
	fs.Var(option.Text(&o.path), "path", "`GLOB` only this path (with its query); * and ? match")
	fs.Var(option.Text(&o.host), "host", "`GLOB` only this Host header or :authority; * and ? match")
	fs.Var(o.status.Value(), "status", "`5xx,400-499` only these statuses")
	fs.Var(option.Duration(&o.slow, 0), "slow", "`100ms` at least this TOTAL (to last byte; LATENCY: first)")
	fs.Var(option.OneOf(&o.role, event.RoleClient, event.RoleServer), "role", "`client|server` only the client's or the server's side")
	fs.Var(option.Duration(&o.stuck, 0), "stuck", "`2s` report if unanswered this long; 0: off")
	fs.Var(option.Size(&o.prefix, minPrefix, maxPrefix), "prefix", "`1KiB` capture this much of each head")
	fs.Var(option.Parsed(&o.trace, "trace id", event.ParseTraceID), "trace", "`ID` only exchanges of this W3C trace (traceparent)")
	fs.BoolVar(&o.noTLS, "no-tls", false, "leave TLS libraries alone: show no HTTPS")
	fs.BoolVar(&o.summary, "summary", false, "one row per method, host and route")
	fs.Var(o.order.Flag(exchange.SummaryKeys...), "sort", o.order.Usage())
}

// Validate says what is wrong with the flags together.
func (o *options) Validate() error { return o.order.Validate(o.summary) }

// Order is what the rows of a summary are sorted by.
func (o *options) Order() *option.Order {
	if !o.summary {
		return nil
	}
	return &o.order
}

// View is another one with --summary.
func (o *options) View() string {
	if o.summary {
		return name + "-summary"
	}
	return name
}

// wantsRole reports whether --role leaves a role in.
func (o *options) wantsRole(r message.Role) bool { return o.role == "" || o.role == r.String() }

// filters is the first of the probe's own filters that an exchange does not
// pass; empty if it passes them all. What is unknown passes none.
func (o *options) filters(e *event.HTTP) string {
	switch {
	case len(o.methods) > 0 && !o.methods.Has(e.Method):
		return "method"
	case o.path != "" && (e.Path == "" || !option.Match(o.path, e.Path)):
		return "path"
	case o.host != "" && (e.Host == "" || !option.Match(strings.ToLower(o.host), strings.ToLower(e.Host))):
		return "host"
	case len(o.status) > 0 && !o.status.Has(e.Status):
		return "status"
	case !o.trace.IsZero() && e.TraceID != o.trace:
		return "trace"
	case o.slow > 0 && max(e.Duration, e.Age) < o.slow:
		return "slow"
	}
	return ""
}
