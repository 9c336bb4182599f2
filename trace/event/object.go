package event

// Object is what one line tells: an Event, or a *Start, an *Account or a
// *Notice.
type Object interface {
	// fields is the table of the object's keys.
	fields(t *table)
}

// newObject makes an object for a value of the JSON key "event"; nil if there is
// no such kind.
func newObject(kind string) Object {
	switch kind {
	case KindExec:
		return new(Exec)
	case KindExit:
		return new(Exit)
	case KindExecFailed:
		return new(ExecFailed)
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
	case KindTraffic:
		return new(Traffic)
	case KindHTTP, KindHTTPStuck:
		return new(HTTP)
	case KindHTTPSummary:
		return new(HTTPSummary)
	case KindStart:
		return new(Start)
	case KindEnd:
		return new(Account)
	case KindNote, KindWarning, KindLost, KindTotal, KindSlowest:
		return new(Notice)
	}
	return nil
}

// object goes through the table of o. A call through the interface would do the
// same, but would put t on the heap for each line.
func (t *table) object(o Object) {
	switch o := o.(type) {
	case *Exec:
		o.fields(t)
	case *Exit:
		o.fields(t)
	case *ExecFailed:
		o.fields(t)
	case *Connect:
		o.fields(t)
	case *ConnectFailed:
		o.fields(t)
	case *ConnectStuck:
		o.fields(t)
	case *Accept:
		o.fields(t)
	case *Close:
		o.fields(t)
	case *Traffic:
		o.fields(t)
	case *HTTP:
		o.fields(t)
	case *HTTPSummary:
		o.fields(t)
	case *Start:
		o.fields(t)
	case *Account:
		o.fields(t)
	case *Notice:
		o.fields(t)
	case *unknown:
		o.fields(t)
	}
}

// unknown is an event of a kind that this version does not know.
type unknown struct{ Common }

func (e *unknown) fields(t *table) { t.common(&e.Common) }
