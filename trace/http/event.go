package http

import (
	"strings"
	"time"
	"unsafe"

	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/message"
	"tracer/trace/option"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// wantsRole reports whether --role leaves a role in.
func (t *tracer) wantsRole(r message.Role) bool { return t.role == "" || t.role == r.String() }

// exchange is called by parsers with an exchange that is over.
func (t *tracer) exchange(x *message.Exchange) {
	c := t.conn
	t.join.Connect(&c.End, x.Role)
	switch {
	case !t.wantsRole(x.Role):
		t.session.Ledger.Filtered("role", 1)
	case t.role != "":
		t.join.AddAlone(&c.End, x, c.number(x))
	default:
		t.join.Add(&c.End, x, c.number(x))
	}
}

// number is TCP's number of a request's first byte, the same at both ends.
func (c *conn) number(x *message.Exchange) uint32 {
	way := stream.Sent
	if x.Role == message.Server {
		way = stream.Received
	}
	return c.Seq[way] + uint32(c.base[way]+x.RequestOffset)
}

// reportEnds shows an exchange as it was seen from one end or from both.
func (t *tracer) reportEnds(client, server *exchange.Half) {
	if client != nil && server != nil && !t.session.Options.Wants(server.Owner.Comm) {
		server = nil // of two ends one is wanted at most
	}
	e := &t.event
	t.fill(e, event.KindHTTP, client, server)
	t.show(e)
}

// show passes an event on if it passes the probe's own filters.
func (t *tracer) show(e *event.HTTP) {
	if t.sum != nil && e.Kind != event.KindHTTP {
		return // its exchange will be counted
	}
	filter := t.filters(e)
	switch {
	case filter != "":
		t.session.Ledger.Filtered(filter, 1)
	case t.sum != nil:
		if most := t.session.Options.Count; most > 0 && t.session.Ledger.ShownSoFar() >= most {
			return
		}
		if r := t.session.Judge(e.Head()); r != (session.Refusal{}) {
			t.session.Refuse(r, 1)
			return
		}
		t.session.Ledger.Shown()
		t.sum.Add(e)
	default:
		t.session.Offer(e)
	}
}

// fill makes an event of what one end or both saw.
func (t *tracer) fill(e *event.HTTP, kind string, client, server *exchange.Half) {
	whose, view := server, client
	role := event.RoleBoth
	switch {
	case server == nil:
		role, whose = event.RoleClient, client
	case client == nil:
		role, view = event.RoleServer, server
	}
	x := &view.Exchange
	*e = event.HTTP{
		Common: event.Common{
			Time:    t.session.Clock.Wall(uint64(x.RequestStart)),
			Kind:    kind,
			Process: whose.Owner,
		},
		Connection:    event.Connection{Role: role, Src: view.Pair.Client, Dst: view.Pair.Server},
		Version:       versions[min(x.Minor, 1)],
		Method:        text(x.Method),
		Path:          text(x.Target),
		PathTruncated: x.TargetTruncated,
		Host:          text(x.Host),
		Status:        x.Status,
		RequestBytes:  x.RequestBytes,
		ResponseBytes: x.ResponseBytes,
		Error:         x.Ending.String(),
	}
	// What was captured beyond the prefix is not for show.
	if n := int(t.prefix) - len(x.Method) - 1; len(e.Path) > n {
		e.Path, e.PathTruncated = e.Path[:max(n, 0)], true
	}
	e.Latency, e.Duration = times(x)
	if role == event.RoleBoth {
		e.PeerPID, e.PeerComm = client.Owner.PID, client.Owner.Comm
		e.ServerLatency, _ = times(&server.Exchange)
	}
}

var versions = [...]string{"1.0", "1.1"}

// text is b as a string that is valid as long as b.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func times(x *message.Exchange) (latency, duration time.Duration) {
	if x.ResponseStart > x.RequestStart {
		latency = time.Duration(x.ResponseStart - x.RequestStart)
	}
	if x.ResponseEnd > x.RequestStart {
		duration = time.Duration(x.ResponseEnd - x.RequestStart)
	}
	return latency, max(latency, duration)
}

// filters is the first of the probe's own filters that an exchange does not
// pass; empty if it passes them all.
func (t *tracer) filters(e *event.HTTP) string {
	switch {
	case len(t.methods) > 0 && !t.methods.Has(e.Method):
		return "method"
	case t.path != "" && !option.Match(t.path, e.Path):
		return "path"
	case t.host != "" && !option.Match(strings.ToLower(t.host), strings.ToLower(e.Host)):
		return "host"
	case len(t.status) > 0 && !t.status.Has(e.Status):
		return "status"
	case t.slow > 0 && max(e.Duration, e.Age) < t.slow:
		return "slow"
	}
	return ""
}
