package trace

import (
	"net/netip"
	"slices"
	"time"

	"tracer/trace/event"
	"tracer/trace/http1"
)

const (
	// partnerPatience is how long an exchange waits for the same one seen
	// from the other end before it is asked what became of that.
	partnerPatience = 40 * time.Millisecond
	// idlePatience is how long it waits if the other end is there and does
	// not seem to have it: a thread may not have come back from sending it.
	idlePatience = 500 * time.Millisecond
	// maxHalves bounds the exchanges that wait for their other end.
	maxHalves = 1 << 16
	// maxOld bounds what a wire remembers of exchanges that were told early.
	maxOld = 64
)

// joint puts together what the two ends of a connection saw, where both are on
// this host. Both saw the same bytes, which TCP numbers: the number of a
// request's first byte is the same at both ends.
type joint struct {
	links  map[ends]*wire
	halves []*half // that wait for their other end, oldest first; nil up to first
	first  int
	aged   []*half // of stuck requests, while they are looked at
	spare  []*half
}

// ends are the two ends of a connection, the client's first. The same loopback
// addresses may be in use in several network namespaces.
type ends struct {
	client, server netip.AddrPort
	netns          uint32
}

// A wire joins the two ends of a connection, as far as both are here.
type wire struct {
	ends
	conns  [2]*httpConn // by role
	halves [2][]*half   // that wait, by role
	alone  bool         // one end waited in vain: the other one is elsewhere
	told   []uint32     // exchanges that were told before their other end had them
	stuck  []uint32     // requests that were told to be stuck
}

// A half is an exchange seen from one end.
type half struct {
	link    *wire
	waiting bool // for the other end
	listed  bool // in joint.halves
	ends    ends
	seq     uint32 // TCP's number of the request's first byte
	owner   event.Process
	began   uint64 // when it began to wait
	since   uint64 // the same, or when the other end was looked at last
	x       http1.Exchange
	text    []byte // holds the text of x, if it is kept
}

// connect makes c an end of its wire.
func (t *httpTracer) connect(c *httpConn, role http1.Role) {
	local := addrPort(&c.socket.Local, c.socket.LocalPort, c.socket.Family)
	remote := addrPort(&c.socket.Remote, c.socket.RemotePort, c.socket.Family)
	key := ends{client: local, server: remote}
	if role == http1.Server {
		key = ends{client: remote, server: local}
	}
	if local.Addr().IsLoopback() {
		key.netns = c.socket.Netns
	}
	l := t.links[key]
	if l == nil {
		l = &wire{ends: key}
		t.links[key] = l
	}
	if old := l.conns[role]; old != nil {
		old.link = nil // its end was not told yet: it is over
	}
	c.role = role
	c.link = l
	l.conns[role] = c
	l.alone = false
}

func (t *httpTracer) disconnect(c *httpConn) {
	l := c.link
	if l == nil {
		return
	}
	c.link = nil
	if l.conns[c.role] == c {
		l.conns[c.role] = nil
	}
	t.forget(l)
}

// forget removes a wire that nothing needs.
func (t *httpTracer) forget(l *wire) {
	if l.conns[0] == nil && l.conns[1] == nil && len(l.halves[0]) == 0 && len(l.halves[1]) == 0 && t.links[l.ends] == l {
		delete(t.links, l.ends)
	}
}

// wantsRole reports whether --role leaves a role in.
func (t *httpTracer) wantsRole(r http1.Role) bool { return t.role == "" || t.role == r.String() }

// join takes an exchange that one end has seen: it is reported together with
// the other end's, which may have come before or is waited for.
func (t *httpTracer) join(c *httpConn, x *http1.Exchange) {
	if !t.wantsRole(x.Role) {
		t.session.stats.filtered["role"]++
		return
	}
	h := t.half(c, x)
	l := c.link
	if t.role != "" {
		t.reportHalf(h)
		return
	}
	if i := slices.Index(l.told, h.seq); i >= 0 {
		l.told = slices.Delete(l.told, i, i+1)
		t.drop(h)
		return
	}
	for len(l.halves[1-c.role]) > 0 {
		o := l.halves[1-c.role][0]
		d := int32(o.seq - h.seq)
		if d > 0 {
			break
		}
		l.take(o)
		if d == 0 {
			if h.x.Role == http1.Client {
				t.reportEnds(h, o)
			} else {
				t.reportEnds(o, h)
			}
			t.drop(o)
			t.drop(h)
			return
		}
		t.reportHalf(o) // this end has gone past it
	}
	if l.alone && l.conns[1-c.role] == nil || len(t.halves)-t.first >= maxHalves {
		t.reportHalf(h)
		return
	}
	// Most have met their other end since: forget them as they come to the front.
	for ; t.first < len(t.halves) && !t.halves[t.first].waiting; t.first++ {
		t.halves[t.first].listed = false
		t.drop(t.halves[t.first])
		t.halves[t.first] = nil
	}
	if t.first > len(t.halves)/2 {
		t.halves, t.first = slices.Delete(t.halves, 0, t.first), 0
	}
	h.keep()
	h.link, h.waiting, h.listed, h.began, h.since = l, true, true, t.now, t.now
	l.halves[c.role] = append(l.halves[c.role], h)
	t.halves = append(t.halves, h)
}

// take removes a half from those that wait.
func (l *wire) take(h *half) {
	list := l.halves[h.x.Role]
	i := slices.Index(list, h)
	l.halves[h.x.Role] = slices.Delete(list, i, i+1)
	h.waiting = false
}

// half is what is known of an exchange; its text is that of x until it is kept.
func (t *httpTracer) half(c *httpConn, x *http1.Exchange) *half {
	var h *half
	if n := len(t.spare); n > 0 {
		h, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		h = &half{}
	}
	h.owner = c.owner
	h.ends = c.link.ends
	way := http1.Sent
	if x.Role == http1.Server {
		way = http1.Received
	}
	h.seq = c.socket.Seq[way] + uint32(c.base[way]+x.RequestOffset)
	h.x = *x
	return h
}

// keep copies the text of an exchange, which is valid only while it is told.
func (h *half) keep() {
	x := &h.x
	h.text = append(append(append(h.text[:0], x.Method...), x.Target...), x.Host...)
	m, p := len(x.Method), len(x.Method)+len(x.Target)
	x.Method, x.Target, x.Host = h.text[:m], h.text[m:p], h.text[p:]
}

// reportHalf reports an exchange of which one end is known.
func (t *httpTracer) reportHalf(h *half) {
	if h.x.Role == http1.Client {
		t.reportEnds(h, nil)
	} else {
		t.reportEnds(nil, h)
	}
	t.drop(h)
}

// drop keeps a half for reuse, as soon as nothing refers to it.
func (t *httpTracer) drop(h *half) {
	h.waiting = false
	if !h.listed && len(t.spare) < 4096 && cap(h.text) <= 4096 {
		h.link = nil
		t.spare = append(t.spare, h)
	}
}

// patient reports whether lose has something to do.
func (t *httpTracer) patient() bool { return len(t.halves) > t.first }

// lose looks at the exchanges that have waited for their other end long enough,
// at the end of tracing at all of them.
func (t *httpTracer) lose(all bool) {
	list, n := t.halves[t.first:], 0
	if len(list) == 0 || list[0].waiting && !all && list[0].since+uint64(partnerPatience) > t.now {
		return
	}
	t.halves, t.first = nil, 0 // to look at one may bring others
	var again []*half
	for ; n < len(list); n++ {
		h := list[n]
		if h.waiting && !all && h.since+uint64(partnerPatience) > t.now {
			break
		}
		if h.waiting && !all && t.waitOn(h) {
			h.since = t.now
			again = append(again, h)
			continue
		}
		h.listed = false
		if !h.waiting {
			t.drop(h) // it met its other end
			continue
		}
		l := h.link
		l.take(h)
		t.reportHalf(h)
		t.forget(l)
	}
	t.halves, t.first = append(append(list[n:], again...), t.halves[t.first:]...), 0
}

// waitOn decides what becomes of a half that has waited, and reports whether it
// goes on to.
func (t *httpTracer) waitOn(h *half) bool {
	l := h.link
	other := l.conns[1-h.x.Role]
	if other == nil || other.closed {
		l.alone = true
		return false
	}
	// It may have the request, and the kernel may not have told yet.
	t.fetch(other)
	if !h.waiting || other.Opaque() {
		return false
	}
	if !other.Busy() {
		return t.now < h.began+uint64(idlePatience)
	}
	if h.x.Status != 0 {
		return true // it is still at it
	}
	// This end has given up. What the other one will still do is no answer.
	o := &half{owner: other.owner, ends: h.ends, x: h.x}
	l.take(h)
	if h.x.Role == http1.Client {
		t.reportEnds(h, o)
	} else {
		t.reportEnds(o, h)
	}
	if len(l.told) < maxOld {
		l.told = append(l.told, h.seq)
	}
	return false
}
