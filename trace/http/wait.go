package http

import (
	"container/heap"
	"time"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/message"
)

const (
	// An answer may be told before its request, whose thread has not come
	// back from sending it. The kernel is asked for it every orphanLook, until
	// orphanPatience is over.
	orphanLook     = 15 * time.Millisecond
	orphanPatience = 500 * time.Millisecond
	// leastLook bounds how often requests that the kernel keeps are looked at.
	leastLook = 10 * time.Millisecond
)

// An orphan is a connection whose answer waits for its request.
type orphan struct {
	conn *conn
	due  uint64
}

// wait looks for the request of an answer after a while.
func (t *tracer) wait(c *conn) {
	t.orphans = append(t.orphans, orphan{c, t.now + uint64(orphanLook)})
	t.adopting.At(t.orphans[0].due)
}

// adopt looks for the requests of answers that wait for theirs.
func (t *tracer) adopt() {
	t.adoptDue(false)
	if len(t.orphans) > 0 {
		t.adopting.At(t.orphans[0].due)
	}
}

func (t *tracer) adoptAll() { t.adoptDue(true) }

func (t *tracer) adoptDue(last bool) {
	list := t.orphans
	t.orphans = t.orphans[len(t.orphans):]
	for _, o := range list {
		c := o.conn
		switch {
		case !last && o.due > t.now:
			t.orphans = append(t.orphans, o)
			continue
		case c.closed:
			continue
		}
		t.fetch(c)
		if c.parser.Holds() && !last && t.now < c.orphan+uint64(orphanPatience) {
			t.orphans = append(t.orphans, orphan{c, t.now + uint64(orphanLook)})
			continue
		}
		c.parser.Settle(int64(t.now))
		t.missed(c)
		c.orphan = 0
	}
}

// waits are connections with requests that have no answer, the one first that is
// stuck first. Each is in it once at most.
type waits []waiting

type waiting struct {
	conn *conn
	due  uint64
}

// Methods of heap.Interface.

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].due < w[j].due }
func (w waits) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waits) Push(x any)        { *w = append(*w, x.(waiting)) }
func (w *waits) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = waiting{}
	*w = (*w)[:last]
	return x
}

// watch takes note of a request that waits. A connection is looked at again when its
// oldest request of now is stuck, not before: to follow every request would cost more
// than to follow none.
func (t *tracer) watch(c *conn) {
	if c.watched || t.stuck == 0 {
		return
	}
	if start, ok := c.parser.Oldest(); ok {
		t.watchFrom(c, uint64(start))
	}
}

func (t *tracer) watchFrom(c *conn, start uint64) {
	c.watched = true
	heap.Push(&t.waits, waiting{c, start + uint64(t.stuck)})
	t.sticking.At(t.waits[0].due)
}

// tellStuck reports requests that have become stuck.
func (t *tracer) tellStuck() {
	for len(t.waits) > 0 && t.waits[0].due <= t.sure {
		c := heap.Pop(&t.waits).(waiting).conn
		c.watched = false
		if c.closed || c.parser.Opaque() {
			continue
		}
		t.age(c)
		t.watch(c)
	}
	if len(t.waits) > 0 {
		t.sticking.At(t.waits[0].due)
	}
}

// lookAtKept looks for requests that the kernel keeps and has not told yet. Where they
// are is in a variable that is mapped: to look there is no system call, and idle
// connections are not looked at.
func (t *tracer) lookAtKept() {
	if err := t.session.Get(bpf.HttpVarWaiting, &t.kept); err != nil {
		return // no kernel that this runs on lacks it
	}
	soon := t.now + uint64(t.lookInterval()+leastLook)
	for i := range t.kept {
		w := &t.kept[i]
		if w.Since == 0 || w.Since+uint64(t.stuck) > soon {
			continue // there is none, or the next look is early enough
		}
		c := t.conns[w.Socket]
		if c == nil || c.watched || c.parser.Opaque() {
			continue
		}
		if call, _, ok := t.keptFor(c); ok && call.Offset >= c.next[call.Dir&1] {
			t.watchFrom(c, call.Time)
		}
	}
}

// age reports the stuck requests of a connection, and with them what its other
// end has of them, which may have come there late.
func (t *tracer) age(c *conn) {
	t.fetch(c)
	before := int64(t.sure) - int64(t.stuck)
	t.conn = c
	c.parser.Stuck(before)
	if !c.Connected() || !t.join.Aging() {
		return // it was answered meanwhile
	}
	if other := t.join.Partner(&c.End); other != nil {
		other.Fetch()
		t.conn = other.Source.(*conn)
		t.conn.parser.Stuck(before + int64(exchange.IdlePatience))
	}
	t.join.Aged(&c.End, before, t.role == "", t.reportStuck)
}

// reportStuck shows a request that is stuck.
func (t *tracer) reportStuck(client, server *exchange.Half) {
	e := &t.event
	t.fill(e, event.KindHTTPStuck, client, server)
	e.Status, e.Error = 0, ""
	start := client
	if start == nil {
		start = server
	}
	e.Age = time.Duration(max(int64(t.sure)-start.Exchange.RequestStart, 0))
	t.show(e)
}

// waited is called by parsers with a request that is stuck.
func (t *tracer) waited(x *message.Exchange) {
	if c := t.conn; t.wantsRole(x.Role) && c.Connected() {
		t.join.Age(&c.End, x, c.number(x))
	}
}
