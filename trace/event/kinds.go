package event

import "fmt"

// newEvent makes an event for a value of the JSON key "event"; nil if there is
// no such kind.
func newEvent(kind string) Event {
	switch kind {
	case KindExec:
		return new(Exec)
	case KindExit:
		return new(Exit)
	case KindExecFailed:
		return new(ExecFailed)
	case KindExecSummary:
		return new(ExecSummary)
	case KindConnect:
		return new(Connect)
	case KindConnectFailed:
		return new(ConnectFailed)
	case KindConnectStuck:
		return new(ConnectStuck)
	case KindAccept:
		return new(Accept)
	case KindClose:
		return new(Close)
	case KindOpen:
		return new(Open)
	case KindConnSummary:
		return new(ConnSummary)
	case KindTraffic:
		return new(Traffic)
	case KindHTTP, KindHTTPStuck:
		return new(HTTP)
	case KindHTTPSummary:
		return new(HTTPSummary)
	}
	return nil
}

// event goes through the table of e. A call through the interface would do the
// same, but would put t on the heap for each line.
func (t *table) event(e Event) {
	switch e := e.(type) {
	case *Exec:
		e.fields(t)
	case *Exit:
		e.fields(t)
	case *ExecFailed:
		e.fields(t)
	case *ExecSummary:
		e.fields(t)
	case *Connect:
		e.fields(t)
	case *ConnectFailed:
		e.fields(t)
	case *ConnectStuck:
		e.fields(t)
	case *Accept:
		e.fields(t)
	case *Close:
		e.fields(t)
	case *Open:
		e.fields(t)
	case *ConnSummary:
		e.fields(t)
	case *Traffic:
		e.fields(t)
	case *HTTP:
		e.fields(t)
	case *HTTPSummary:
		e.fields(t)
	case *unknown:
		e.fields(t)
	}
}

// AppendJSON appends e as one line of compact JSON without the newline: time
// and event first, then who and where, then the event's own keys; a key whose
// value is unknown is left out. The result is always valid UTF-8. It allocates
// nothing beyond growing dst. An event that was recorded is appended as it was:
// Common.Recorded.
func AppendJSON(dst []byte, e Event) []byte {
	if line := e.Head().Recorded; line != "" {
		return append(dst, line...)
	}
	t := table{out: dst}
	t.event(e)
	return t.close(len(dst))
}

// event reads an event of a kind. What begins as all of tracer's do, but is of no
// kind that is known, is a newer tracer's.
func (r *scanner) event(kind string) Event {
	e := newEvent(kind)
	known := e != nil
	if !known {
		e = new(unknown)
	}
	t := read(r, kind)
	for t.again() {
		t.event(e)
	}
	if !known {
		r.fail(fmt.Errorf("%w: kind %.64q", ErrNewer, kind))
		return nil
	}
	return e
}

// unknown is an event of a kind that this version does not know.
type unknown struct{ Common }

func (e *unknown) fields(t *table) { t.common(&e.Common) }
