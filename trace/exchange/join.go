package exchange

import (
	"cmp"
	"slices"
	"time"

	"tracer/trace/event"
	"tracer/trace/message"
	"tracer/trace/stream"
)

const (
	// partnerPatience is how long an exchange waits for the same one seen
	// from the other end before it is asked what became of that.
	partnerPatience = 40 * time.Millisecond
	// IdlePatience is how long it waits if the other end is there and does
	// not seem to have it: a thread may not have come back from sending it.
	IdlePatience = 500 * time.Millisecond
	// maxHalves bounds the exchanges that wait for their other end.
	maxHalves = 1 << 16
	// maxOld bounds what a wire remembers of exchanges that were told early, maxStreams
	// the same in HTTP/2, where many may be under way.
	maxOld     = 64
	maxStreams = 1024
)

// A Join puts together what the two ends of a connection saw, where both are on
// this host. Ends of one connection have the same name, however addresses are
// translated between them; where an end's name is not known, its addresses stand for
// it. Both ends saw the same bytes, which TCP numbers: the number of a request's first
// byte is the same at both. In HTTP/2 the number of its stream is, and exchanges are
// over in any order. It is not safe for concurrent use.
type Join struct {
	// Report is called with each exchange as it was seen from one end, the other
	// one being nil, or from both. The halves are valid during the call. It is
	// also called with halves that are not to be shown: see Half.Refusal.
	Report func(client, server *Half)

	now    uint64                  // boot clock: see Advance
	named  map[stream.ConnID]*wire // with wire.same, all that have the name
	placed map[stream.Pair]*wire   // the last that was made with the addresses
	halves []*Half                 // that wait for their other end, oldest first; nil up to first
	first  int
	aged   []*Half // of stuck requests, while they are looked at
	spare  []*Half
}

// NewJoin returns an empty Join.
func NewJoin(report func(client, server *Half)) *Join {
	return &Join{Report: report, named: map[stream.ConnID]*wire{}, placed: map[stream.Pair]*wire{}}
}

// A Source is what an end of a connection is to whoever reads its bytes.
type Source interface {
	// Fetch asks for what has not been told yet.
	Fetch()
	// Opaque, Busy: see message.Parser.
	Opaque() bool
	Busy(stream uint32) bool
	// Closed reports whether the connection has ended.
	Closed() bool
}

// An End is one end of a connection. Who has its Source keeps one for it.
type End struct {
	Source
	stream.End
	Owner event.Process
	// Refusal is why exchanges of this end are not shown. It is judged by the
	// owner, before the join: what the other end is does not matter.
	Refusal *Refusal

	link *wire // nil until it is connected
	role message.Role
	pair stream.Pair // as this end sees it
}

// A Refusal says why what an end has seen is not shown; nil is none. It does not
// change: halves that wait keep it.
type Refusal struct {
	Filter string // the flag that leaves it out, or
	Cause  string // why that is not known, or why it is lost
}

// filters reports whether a flag leaves it out.
func (r *Refusal) filters() bool { return r != nil && r.Filter != "" }

// Connected reports whether the end's role is known.
func (e *End) Connected() bool { return e.link != nil }

// Role is what the end is, once it is connected.
func (e *End) Role() message.Role { return e.role }

// A wire joins the two ends of a connection, as far as both are here.
type wire struct {
	id     stream.ConnID
	pair   stream.Pair // of the end that came first
	same   *wire       // another one with the name: rare, see split
	ends   [2]*End     // by role
	halves [2][]*Half  // that wait, by role
	alone  bool        // one end waited in vain: the other one is elsewhere
	told   []told      // exchanges that were told before their other end had them
	stuck  []key       // requests that were told to be stuck
}

// A told names an exchange that an end may still come to.
type told struct {
	role message.Role
	key  key
}

// A key names an exchange of a connection at both ends.
type key struct {
	stream uint32 // of HTTP/2, else
	seq    uint32 // TCP's number of the request's first byte
}

func keyOf(x *message.Exchange, seq uint32) key {
	if x.Stream != 0 {
		return key{stream: x.Stream}
	}
	return key{seq: seq}
}

// compare orders keys by when the requests began. A connection can turn to HTTP/2, and
// not back.
func (k key) compare(o key) int {
	if k.stream|o.stream != 0 {
		return cmp.Compare(k.stream, o.stream)
	}
	return int(int32(k.seq - o.seq))
}

// A Half is an exchange seen from one end.
type Half struct {
	Exchange message.Exchange
	Owner    event.Process
	ID       stream.ConnID // of the connection
	Pair     stream.Pair   // the addresses, as this end sees them
	TLS      string        // as the end's
	Refusal  *Refusal      // of its end, or why this exchange is lost to it

	link    *wire
	waiting bool // for the other end
	listed  bool // in Join.halves
	key     key
	began   uint64 // when it began to wait
	since   uint64 // the same, or when the other end was looked at last
	text    []byte // holds the text of Exchange, if it is kept
}

// Advance tells the time: what was sent before has come.
func (j *Join) Advance(now uint64) { j.now = max(j.now, now) }

// Connect makes e an end of its wire, in the place of one that had its role.
func (j *Join) Connect(e *End, role message.Role) {
	if e.link != nil {
		if e.role == role {
			return
		}
		j.Disconnect(e)
	}
	e.role, e.pair = role, e.Pair(role == message.Client)
	l := j.find(e)
	if l == nil {
		l = &wire{pair: e.pair}
		j.placed[l.pair] = l
	}
	if e.ID.Known && !l.id.Known {
		l.id, l.same = e.ID, j.named[e.ID]
		j.named[e.ID] = l
	}
	if old := l.ends[role]; old != nil {
		old.link = nil // its end was not told yet: it is over
	}
	e.link, l.ends[role] = l, e
	l.alone = false
}

// find returns the wire that e belongs to, nil if there is none yet.
func (j *Join) find(e *End) *wire {
	l := j.named[e.ID]
	if l == nil {
		// The other end's name may not be known.
		l = j.placed[e.pair]
		if l != nil && e.ID.Known && l.id.Known {
			return nil // a connection that had the same addresses before
		}
		return l
	}
	if l.same == nil {
		if old := l.ends[e.role]; old == nil || old.pair == e.pair {
			return l
		}
		j.split(l) // an end cannot be there twice: these are two connections
	}
	for ; l != nil; l = l.same {
		if l.pair == e.pair {
			return l
		}
	}
	return nil
}

// split parts the two ends of a wire if their addresses differ, because there is
// another connection with the same name: which ends of them belong together, only equal
// addresses tell.
func (j *Join) split(l *wire) {
	for role, e := range l.ends {
		if e == nil || e.pair == l.pair {
			continue
		}
		other := &wire{id: l.id, pair: e.pair, same: l.same, told: slices.Clone(l.told), stuck: slices.Clone(l.stuck)}
		l.same = other
		j.placed[other.pair] = other
		other.ends[role], other.halves[role] = e, l.halves[role]
		l.ends[role], l.halves[role] = nil, nil
		e.link = other
		for _, h := range other.halves[role] {
			h.link = other
		}
	}
}

// Named takes note that the name of e has become known.
func (j *Join) Named(e *End, id stream.ConnID) {
	l := e.link
	e.ID = id
	if l == nil || l.id == id || len(l.halves[e.role]) > 0 {
		return
	}
	j.Disconnect(e)
	j.Connect(e, e.role)
}

// Disconnect takes an end from its wire.
func (j *Join) Disconnect(e *End) {
	l := e.link
	if l == nil {
		return
	}
	e.link, l.ends[e.role] = nil, nil
	j.forget(l)
}

// Partner is the other end of e's connection, nil if it is not known here.
func (j *Join) Partner(e *End) *End {
	if e.link == nil {
		return nil
	}
	return e.link.ends[1-e.role]
}

// forget removes a wire that nothing needs.
func (j *Join) forget(l *wire) {
	if l.ends[0] != nil || l.ends[1] != nil || len(l.halves[0]) > 0 || len(l.halves[1]) > 0 {
		return
	}
	if j.placed[l.pair] == l {
		delete(j.placed, l.pair)
	}
	if !l.id.Known {
		return
	}
	first := j.named[l.id]
	if first == l {
		first = l.same
	}
	for o := first; o != nil; o = o.same {
		if o.same == l {
			o.same = l.same
		}
	}
	if first == nil {
		delete(j.named, l.id)
	} else {
		j.named[l.id] = first
	}
}

// AddAlone takes an exchange that is reported as this end has seen it.
func (j *Join) AddAlone(e *End, x *message.Exchange, seq uint32) { j.reportHalf(j.half(e, x, seq)) }

// Add takes an exchange that one end has seen, whose request begins with TCP's number
// seq: it is reported together with the other end's, which may have come before or is
// waited for.
//
// An end that is refused neither holds up the other one nor becomes a part of its row:
// of an exchange with one end that is shown this is reported as it is known, and the
// other one no more. Of one that no end shows both are reported together.
func (j *Join) Add(e *End, x *message.Exchange, seq uint32) {
	h := j.half(e, x, seq)
	if j.wasTold(h, e.link) {
		return
	}
	// Without streams this end has gone past all that come before.
	for list := &e.link.halves[1-e.role]; h.key.stream == 0 && len(*list) > 0 && (*list)[0].key.compare(h.key) < 0; {
		o := (*list)[0]
		e.link.take(o)
		j.reportHalf(o)
	}
	j.meet(h, e)
}

// meet reports a half with the other end's, or has it wait for that.
func (j *Join) meet(h *Half, e *End) {
	i, ok := e.link.find(1-e.role, h.key)
	if !ok {
		j.await(h, e)
		return
	}
	o := e.link.halves[1-e.role][i]
	e.link.take(o)
	j.reportEnds(h, o)
	j.drop(o)
	j.drop(h)
}

// find returns where among the halves of a role one is, or would be.
func (l *wire) find(role message.Role, k key) (int, bool) {
	return slices.BinarySearchFunc(l.halves[role], k, func(h *Half, k key) int { return h.key.compare(k) })
}

// Miss is Add for an exchange that took place, and of which the end did not see enough
// to tell it, which why says. If the other end has it, it is not lost. Such ones may
// come out of order.
func (j *Join) Miss(e *End, x *message.Exchange, seq uint32, why *Refusal) {
	h := j.half(e, x, seq)
	if !h.Refusal.filters() {
		h.Refusal = why
	}
	if j.wasTold(h, e.link) {
		return
	}
	j.meet(h, e)
}

// wasTold drops a half whose exchange was reported without it.
func (j *Join) wasTold(h *Half, l *wire) bool {
	i := slices.Index(l.told, told{h.Exchange.Role, h.key})
	if i < 0 {
		return false
	}
	l.told = slices.Delete(l.told, i, i+1)
	j.drop(h)
	return true
}

// await has a half wait for the other end's, if there is one to wait for.
func (j *Join) await(h *Half, e *End) {
	l := e.link
	other := l.ends[1-e.role]
	if l.alone && other == nil || len(j.halves)-j.first >= maxHalves {
		j.reportHalf(h)
		return
	}
	if other != nil && other.Refusal.filters() && !h.Refusal.filters() && l.tell(h) {
		j.reportHalf(h)
		return
	}
	// Most have met their other end since: forget them as they come to the front.
	for ; j.first < len(j.halves) && !j.halves[j.first].waiting; j.first++ {
		j.halves[j.first].listed = false
		j.drop(j.halves[j.first])
		j.halves[j.first] = nil
	}
	if j.first > len(j.halves)/2 {
		j.halves, j.first = slices.Delete(j.halves, 0, j.first), 0
	}
	h.keep()
	h.link, h.waiting, h.listed, h.began, h.since = l, true, true, j.now, j.now
	at, _ := l.find(e.role, h.key)
	l.halves[e.role] = slices.Insert(l.halves[e.role], at, h)
	j.halves = append(j.halves, h)
}

// tell takes note that the exchange of h is reported, and that the other end's half is
// not to be any more. It reports false if there is no room for that.
func (l *wire) tell(h *Half) bool {
	switch {
	case h.key.stream != 0 && len(l.told) == maxStreams:
		l.told = slices.Delete(l.told, 0, maxStreams/2) // the other end has lost them, most likely
	case h.key.stream == 0 && len(l.told) == maxOld:
		l.told = slices.DeleteFunc(l.told, func(t told) bool { return t.key.compare(h.key) < 0 })
		if len(l.told) == maxOld {
			return false
		}
	}
	l.told = append(l.told, told{1 - h.Exchange.Role, h.key})
	return true
}

// take removes a half from those that wait.
func (l *wire) take(h *Half) {
	list := l.halves[h.Exchange.Role]
	i, _ := l.find(h.Exchange.Role, h.key)
	for list[i] != h { // there may be several, if an end had two parsers
		i++
	}
	l.halves[h.Exchange.Role] = slices.Delete(list, i, i+1)
	h.waiting = false
}

// half is what is known of an exchange; its text is that of x until it is kept.
func (j *Join) half(e *End, x *message.Exchange, seq uint32) *Half {
	var h *Half
	if n := len(j.spare); n > 0 {
		h, j.spare = j.spare[n-1], j.spare[:n-1]
	} else {
		h = &Half{}
	}
	h.Owner = e.Owner
	h.ID, h.Pair, h.TLS = e.link.id, e.pair, e.TLS
	h.Refusal = e.Refusal
	h.key = keyOf(x, seq)
	h.Exchange = *x
	return h
}

// keep copies the text of an exchange, which is valid only while it is told.
func (h *Half) keep() {
	x := &h.Exchange
	h.text = append(append(append(append(h.text[:0], x.Method...), x.Target...), x.Host...), x.GRPCMessage...)
	m, p := len(x.Method), len(x.Method)+len(x.Target)
	e := p + len(x.Host)
	x.Method, x.Target, x.Host, x.GRPCMessage = h.text[:m], h.text[m:p], h.text[p:e], h.text[e:]
}

// reportHalf reports an exchange of which one end is known.
func (j *Join) reportHalf(h *Half) {
	j.reportEnds(h, nil)
	j.drop(h)
}

// reportEnds reports an exchange as one end saw it or, if other is not nil, both.
func (j *Join) reportEnds(h, other *Half) {
	if h.Exchange.Role == message.Client {
		j.Report(h, other)
	} else {
		j.Report(other, h)
	}
}

// drop keeps a half for reuse, as soon as nothing refers to it.
func (j *Join) drop(h *Half) {
	h.waiting = false
	if !h.listed && len(j.spare) < 4096 && cap(h.text) <= 4096 {
		h.link = nil
		j.spare = append(j.spare, h)
	}
}

// Due is when [Join.Look] has something to do next, and whether it will.
func (j *Join) Due() (uint64, bool) {
	if len(j.halves) == j.first {
		return 0, false
	}
	return j.halves[j.first].since + uint64(partnerPatience), true
}

// Look looks at the exchanges that have waited for their other end for long enough,
// with all at every one.
func (j *Join) Look(all bool) {
	list, n := j.halves[j.first:], 0
	j.halves, j.first = nil, 0 // to look at one may bring others
	var again []*Half
	for ; n < len(list); n++ {
		h := list[n]
		if h.waiting && !all && h.since+uint64(partnerPatience) > j.now {
			break
		}
		if h.waiting && !all && j.waitOn(h) {
			h.since = j.now
			again = append(again, h)
			continue
		}
		h.listed = false
		if !h.waiting {
			j.drop(h) // it met its other end
			continue
		}
		l := h.link
		l.take(h)
		j.reportHalf(h)
		j.forget(l)
	}
	j.halves, j.first = append(append(list[n:], again...), j.halves[j.first:]...), 0
}

// waitOn decides what becomes of a half that has waited, and reports whether it
// goes on to.
func (j *Join) waitOn(h *Half) bool {
	l := h.link
	other := l.ends[1-h.Exchange.Role]
	if other == nil || other.Closed() {
		l.alone = true
		return false
	}
	// It may have the request, and the source may not have told yet.
	other.Fetch()
	if !h.waiting || other.Opaque() {
		return false
	}
	shown := h.Refusal == nil
	switch {
	case other.Refusal.filters() && !h.Refusal.filters() && l.tell(h):
		return false
	case !other.Busy(h.Exchange.Stream) && j.now < h.began+uint64(IdlePatience):
		return true
	case !other.Busy(h.Exchange.Stream):
		if shown {
			l.tell(h) // what the other end may still say of it is late
		}
		return false
	case h.Exchange.Answered() || !shown:
		return true // it is still at it
	}
	// This end has given up. What the other one will still do is no answer.
	l.take(h)
	j.reportEnds(h, &Half{Exchange: h.Exchange, Owner: other.Owner, ID: h.ID, Pair: other.pair, TLS: other.TLS, Refusal: other.Refusal})
	l.tell(h)
	return false
}

// Age takes a request without an answer that waits too long, as one end sees it:
// Aged reports it.
func (j *Join) Age(e *End, x *message.Exchange, seq uint32) {
	h := j.half(e, x, seq)
	h.keep()
	j.aged = append(j.aged, h)
}

// Aging reports whether Age was called since Aged was.
func (j *Join) Aging() bool { return len(j.aged) > 0 }

// Aged calls report with the requests of a connection that Age took, each once, with
// both halves where both ends have it. Of one end alone those are left out that wait
// since after a time: they are younger, and were taken only for the other half's sake.
func (j *Join) Aged(e *End, before int64, join bool, report func(client, server *Half)) {
	for _, h := range j.aged {
		if h == nil {
			continue
		}
		var other *Half
		for i, o := range j.aged {
			if o != nil && o.Exchange.Role != h.Exchange.Role && o.key == h.key && join {
				other, j.aged[i] = o, nil
			}
		}
		if other == nil && h.Exchange.Waits() > before {
			continue
		}
		if l := e.link; slices.Contains(l.stuck, h.key) {
			continue // told when the other end's was
		} else if len(l.stuck) < maxOld {
			l.stuck = append(l.stuck, h.key)
		}
		if h.Exchange.Role == message.Client {
			report(h, other)
		} else {
			report(other, h)
		}
	}
	clear(j.aged)
	j.aged = j.aged[:0]
}
