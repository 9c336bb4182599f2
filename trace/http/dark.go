package http

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/session"
	"tracer/trace/stream"
	"tracer/trace/tls/hello"
)

const (
	// maxDark is how many connections are watched for plaintext; the oldest are taken for
	// unreadable.
	maxDark = 1 << 14
	// darkPatience is how long a connection has no plaintext before it is asked why.
	darkPatience = 250 * time.Millisecond
	maxHello     = 4096 // bytes that are kept of a ClientHello
)

// A darkKey is the same at both ends of a connection.
type darkKey struct {
	id   stream.ConnID
	pair stream.Pair // where it has no id
}

func darkKeyOf(s *bpf.HttpHttpSocket) darkKey {
	if id := connID(s); id.Known {
		return darkKey{id: id}
	}
	e := stream.End{
		Local:  endpoint(&s.Local, s.LocalPort, s.Family),
		Remote: endpoint(&s.Remote, s.RemotePort, s.Family),
		Netns:  s.Netns,
	}
	return darkKey{pair: e.Pair(e.Local.Compare(e.Remote) < 0)}
}

// A darkConn is a connection that speaks TLS and of which no plaintext has come.
type darkConn struct {
	key   darkKey
	owner event.Process // who showed first that it speaks TLS: the client, where it is here
	hello []byte
	began uint64
	gone  bool // plaintext has come, or it was counted
	why   *atomic.Pointer[string]
}

// dark watches connections that speak TLS for plaintext. Those without are named in the
// end.
type dark struct {
	session *session.Host
	why     func(pid uint32, tell func(string)) // asks, and answers from elsewhere
	asking  *session.Timer
	conns   map[darkKey]*darkConn
	order   []*darkConn // the oldest first
	asked   int         // of order, from its beginning
}

// hello takes the first bytes of a connection, or further ones of the same end.
func (d *dark) hello(c *conns, data []byte, intro *bpf.HttpHttpIntro) {
	key := darkKeyOf(&intro.Socket)
	dc := d.conns[key]
	switch {
	case dc == nil:
		dc = &darkConn{key: key, owner: c.owner(&intro.Owner), began: c.now}
		d.conns[key] = dc
		d.order = append(d.order, dc)
		d.asking.At(c.now + uint64(darkPatience))
		if len(d.conns) > maxDark {
			d.count(d.order[0])
			d.shift(1)
		}
	case dc.owner.PID != intro.Owner.Pid && hello.Is(dc.hello):
		return // the other end, which has the same bytes
	case hello.Is(data):
		dc.hello = nil
	}
	dc.hello = append(dc.hello, data[:min(len(data), maxHello-len(dc.hello))]...)
}

func (d *dark) shift(n int) {
	d.order = d.order[n:]
	d.asked = max(d.asked-n, 0)
}

// lit takes note that plaintext has come.
func (d *dark) lit(s *bpf.HttpHttpSocket) {
	key := darkKeyOf(s)
	if dc := d.conns[key]; dc != nil {
		dc.gone = true
		dc.hello = nil
		delete(d.conns, key)
	}
}

// ask asks why those are dark that have been so for a while, as long as their process
// is there.
func (d *dark) ask(now uint64) {
	first := 0
	for first < len(d.order) && d.order[first].gone {
		first++
	}
	d.shift(first)
	for ; d.asked < len(d.order); d.asked++ {
		dc := d.order[d.asked]
		if dc.gone {
			continue
		}
		if due := dc.began + uint64(darkPatience); due > now {
			d.asking.At(due)
			return
		}
		why := new(atomic.Pointer[string])
		dc.why = why
		d.why(dc.owner.PID, func(s string) { why.Store(&s) })
	}
}

// unreadable is what is known of one.
func (dc *darkConn) unreadable() event.Unreadable {
	u := event.Unreadable{Comm: dc.owner.Comm, Connections: 1}
	if h, ok := hello.Parse(dc.hello); ok {
		u.ServerName, u.ALPN = h.ServerName, h.ALPN
	}
	if dc.why != nil {
		if s := dc.why.Load(); s != nil {
			u.Why = *s
		}
	}
	return u
}

// count takes a connection for one that cannot be read.
func (d *dark) count(dc *darkConn) {
	if dc.gone {
		return
	}
	dc.gone = true
	delete(d.conns, dc.key)
	if d.session.JudgeOwner(&dc.owner) == (session.Refusal{}) {
		d.session.Ledger.Unreadable(dc.unreadable())
	}
}

// end counts all that are left.
func (d *dark) end() {
	for _, dc := range d.order {
		d.count(dc)
	}
	d.order, d.asked = nil, 0
}

// example names one of those that are dark, if there are any that were asked about.
func (d *dark) example() string {
	for _, dc := range d.order[:d.asked] {
		if dc.gone || dc.why == nil || dc.why.Load() == nil {
			continue
		}
		u := dc.unreadable()
		text := u.Comm
		if u.ServerName != "" {
			text += " to " + u.ServerName
		}
		if len(u.ALPN) > 0 {
			text += " (" + strings.Join(u.ALPN, ", ") + ")"
		}
		if u.Why != "" {
			text += fmt.Sprintf(": %s", u.Why)
		}
		return text
	}
	return ""
}
