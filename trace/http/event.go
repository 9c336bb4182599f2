package http

import (
	"time"
	"unsafe"

	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/message"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// events makes events of exchanges, and passes them on.
type events struct {
	options *options
	session *session.Host
	sum     *exchange.Summary // nil: there is none
	event   event.HTTP        // reused
	peer    event.Common      // of event with both ends: the client
}

// reportEnds shows an exchange as it was seen from one end or from both.
func (ev *events) reportEnds(client, server *exchange.Half) {
	if client, server = ev.wanted(client, server); client == nil && server == nil {
		return
	}
	e := &ev.event
	ev.fill(e, event.KindHTTP, client, server)
	ev.show(e)
}

// wanted are the halves that are shown. If none is, that is counted: of an exchange
// that is lost each end, of one that a filter leaves out the row that it would be.
func (ev *events) wanted(client, server *exchange.Half) (_, _ *exchange.Half) {
	refused := func(h *exchange.Half) bool { return h == nil || h.Refusal != nil }
	switch {
	case !refused(client) && !refused(server):
		return client, server
	case !refused(client):
		return client, nil
	case !refused(server):
		return nil, server
	}
	filter, lost := "", false
	for _, h := range []*exchange.Half{server, client} { // the client's flag counts
		switch {
		case h == nil:
		case h.Refusal.Cause != "":
			ev.session.Ledger.Lost(h.Refusal.Cause, 1)
			lost = true
		default:
			filter = h.Refusal.Filter
		}
	}
	if !lost {
		ev.session.Ledger.Filtered(filter, 1)
	}
	return nil, nil
}

// reportStuck shows a request that is stuck now, as it was seen from one end or from
// both.
func (ev *events) reportStuck(client, server *exchange.Half, now uint64) {
	if client, server = ev.wanted(client, server); client == nil && server == nil {
		return
	}
	e := &ev.event
	ev.fill(e, event.KindHTTPStuck, client, server)
	e.Status, e.Error, e.Latency = 0, "", 0
	start := client
	if start == nil {
		start = server
	}
	e.Age = time.Duration(max(int64(now)-start.Exchange.RequestStart, 0))
	ev.show(e)
}

// show passes an event on if it passes the probe's own filters.
func (ev *events) show(e *event.HTTP) {
	filter := ev.options.filters(e)
	switch {
	case filter != "":
		ev.session.Ledger.Filtered(filter, 1)
	case ev.sum != nil:
		if ev.session.Located() {
			ev.locatePeer(e)
		}
		if ev.session.TakeJudged(e) {
			ev.sum.Add(e)
		}
	default:
		ev.session.Locate(e.Head())
		ev.locatePeer(e)
		ev.session.Show(e)
	}
}

// locatePeer fills in where the client of an event with both ends runs.
func (ev *events) locatePeer(e *event.HTTP) {
	if e.Role != event.RoleBoth {
		return
	}
	ev.session.Locate(&ev.peer)
	at := &ev.peer.Place
	e.PeerContainer, e.PeerContainerID, e.PeerPod, e.PeerNamespace = at.Container, at.ContainerID, at.Pod, at.Namespace
}

// fill makes an event of what one end or both saw.
func (ev *events) fill(e *event.HTTP, kind string, client, server *exchange.Half) {
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
			Time:    ev.session.Clock.Wall(uint64(x.RequestStart)),
			Kind:    kind,
			Process: whose.Owner,
		},
		Connection:    event.Connection{Role: role, Src: view.Pair.Client, Dst: view.Pair.Server, ID: event.ConnID(view.ID)},
		Version:       version(x),
		TLS:           view.TLS,
		Stream:        x.Stream,
		Seq:           x.Position,
		Method:        text(x.Method),
		Path:          text(x.Target),
		PathTruncated: x.TargetTruncated,
		Host:          text(x.Host),
		TraceID:       event.TraceID(x.Trace.ID),
		ParentID:      event.SpanID(x.Trace.Parent),
		Incomplete:    x.Incomplete,
		Status:        x.Status,
		RequestBytes:  x.RequestBytes,
		ResponseBytes: x.ResponseBytes,
		Error:         x.Ending.String(),
		ClosedBy:      x.ClosedBy.String(),
	}
	if x.GRPC {
		e.GRPC, e.GRPCStatus, e.GRPCMessage = true, uint32(x.GRPCStatus), text(x.GRPCMessage)
	}
	if x.WasReset {
		e.ResetCode = x.Code.String()
	}
	if role == event.RoleBoth {
		addServer(e, x, &server.Exchange)
		if s := &server.Exchange; s.Role == message.Server { // else it stands for one that is not known
			e.ServerTime = ev.session.Clock.Wall(uint64(s.RequestStart))
			_, e.ServerDuration = times(s)
		}
		ev.peer = event.Common{Process: client.Owner}
		e.PeerPID, e.PeerComm = client.Owner.PID, client.Owner.Comm
		e.TLS = server.TLS
	}
	if server != nil {
		s := &server.Exchange.Spent
		e.AcceptWait, e.Queue, e.CPU, e.RunQueue, e.Blocked = s.Accept, s.Queue, s.CPU, s.RunQ, s.Blocked
	}
	// What was captured beyond the prefix is not for show.
	if n := int(ev.options.prefix) - len(x.Method) - 1; len(e.Path) > n {
		e.Path, e.PathTruncated = e.Path[:max(n, 0)], true
	}
	e.Latency, e.Duration = times(x)
}

// addServer adds what the server's end knows of an exchange, and what only that knows: what
// both know they agree in.
func addServer(e *event.HTTP, client, server *message.Exchange) {
	e.Seq = max(client.Position, server.Position)
	if e.Method == "" {
		e.Method = text(server.Method)
	}
	if e.Path == "" {
		e.Path, e.PathTruncated = text(server.Target), server.TargetTruncated
	}
	if e.Host == "" {
		e.Host = text(server.Host)
	}
	if e.TraceID.IsZero() {
		e.TraceID, e.ParentID = event.TraceID(server.Trace.ID), event.SpanID(server.Trace.Parent)
	}
	if e.Status == 0 { // the client has not read the answer, or does not know its status
		e.Status = server.Status
		if !client.Answered() {
			e.ResponseBytes = max(e.ResponseBytes, server.ResponseBytes)
		}
	}
	if e.Error != "" && e.ClosedBy == "" {
		e.ClosedBy = server.ClosedBy.String()
	}
	if !client.GRPC && client.Ending == stream.Complete && server.GRPC {
		e.GRPC, e.GRPCStatus, e.GRPCMessage = true, uint32(server.GRPCStatus), text(server.GRPCMessage)
	}
	e.ServerLatency, _ = times(server)
}

var versions = [...]string{"1.0", "1.1"}

func version(x *message.Exchange) string {
	if x.Stream != 0 {
		return "2"
	}
	if x.Minor > 9 {
		return "" // some other, or none that could be read
	}
	return versions[min(x.Minor, 1)]
}

// text is b as a string that is valid as long as b.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// times are those of an exchange. A latency of 0 is one that is not known.
func times(x *message.Exchange) (latency, duration time.Duration) {
	if x.ResponseStart != 0 {
		latency = time.Duration(max(x.ResponseStart-x.RequestStart, 1))
	}
	if x.ResponseEnd > x.RequestStart {
		duration = time.Duration(x.ResponseEnd - x.RequestStart)
	}
	return latency, max(latency, duration)
}

// tellSummary shows the rows of the summary. waiting gives the requests that wait.
func (ev *events) tellSummary(now uint64, last bool, waiting func(func(*conn, *message.Exchange))) {
	e := &ev.event
	waiting(func(c *conn, x *message.Exchange) {
		h := exchange.Half{Exchange: *x, Owner: c.Owner, ID: c.ID}
		client, server := &h, (*exchange.Half)(nil)
		if x.Role == message.Server {
			client, server = server, client
		}
		ev.fill(e, event.KindHTTPStuck, client, server)
		e.Age = time.Duration(max(int64(now)-x.RequestStart, 0))
		if ev.options.filters(e) == "" {
			ev.sum.Wait(e)
		}
	})
	ev.sum.Tell(ev.session, now, ev.session.Clock.Wall(now), last)
}
