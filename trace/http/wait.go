package http

import (
	"container/heap"
	"time"

	"tracer/bpf"
	"tracer/trace/exchange"
	"tracer/trace/session"
)

const (
	// An answer may be told before its request, whose thread has not come
	// back from sending it. The kernel is asked for it every orphanLook, until
	// orphanPatience is over.
	orphanLook     = 15 * time.Millisecond
	orphanPatience = 500 * time.Millisecond
	// lookInterval is how often the kernel is looked at for old requests, and told the
	// time asleep. With a shorter --stuck it is more often, up to every leastLook.
	lookInterval = time.Second
	leastLook    = 10 * time.Millisecond
	// waitAge is for how long a request must have waited to be told by --summary, and
	// lastWaitAge the same of its closing table: what is younger is on its way.
	waitAge     = exchange.SummaryInterval / 2
	lastWaitAge = 100 * time.Millisecond
)

// pending is what waits on connections: answers for their requests, and requests for
// their answers.
type pending struct {
	options *options
	session *session.Host
	conns   *conns
	join    *exchange.Join
	events  *events

	// Timers: what waits looks when it is due.
	adopting, sticking *session.Timer

	orphans []orphan
	waits   waits
	kept    [4096]bpf.HttpWaitingRequest // the variable waiting, while it is looked at
}

// fed takes note of what waits on a connection: it was just fed.
func (p *pending) fed(c *conn) {
	if c.parser.Holds() && c.orphan == 0 {
		c.orphan = p.conns.now
		p.wait(c)
	}
	p.watch(c)
}

// An orphan is a connection whose answer waits for its request.
type orphan struct {
	conn *conn
	due  uint64
}

// wait looks for the request of an answer after a while.
func (p *pending) wait(c *conn) {
	p.orphans = append(p.orphans, orphan{c, p.conns.now + uint64(orphanLook)})
	p.adopting.At(p.orphans[0].due)
}

// adopt looks for the requests of answers that wait for theirs.
func (p *pending) adopt() {
	p.adoptDue(false)
	if len(p.orphans) > 0 {
		p.adopting.At(p.orphans[0].due)
	}
}

func (p *pending) adoptAll() { p.adoptDue(true) }

func (p *pending) adoptDue(last bool) {
	list := p.orphans
	p.orphans = p.orphans[len(p.orphans):]
	for _, o := range list {
		c := o.conn
		switch {
		case !last && o.due > p.conns.now:
			p.orphans = append(p.orphans, o)
			continue
		case c.closed:
			continue
		}
		p.conns.fetch(c)
		p.conns.current = c
		if c.parser.Holds() && !last && p.conns.now < c.orphan+uint64(orphanPatience) {
			p.orphans = append(p.orphans, orphan{c, p.conns.now + uint64(orphanLook)})
			continue
		}
		c.parser.Settle(int64(p.conns.now))
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
func (p *pending) watch(c *conn) {
	if c.watched || p.options.stuck == 0 {
		return
	}
	if start, ok := c.parser.Oldest(); ok {
		p.watchFrom(c, uint64(start))
	}
}

func (p *pending) watchFrom(c *conn, start uint64) {
	c.watched = true
	heap.Push(&p.waits, waiting{c, start + uint64(p.options.stuck)})
	p.sticking.At(p.waits[0].due)
}

// tellStuck reports requests that have become stuck.
func (p *pending) tellStuck() {
	for len(p.waits) > 0 && p.waits[0].due <= p.conns.sure {
		c := heap.Pop(&p.waits).(waiting).conn
		c.watched = false
		if c.closed || c.parser.Opaque() {
			continue
		}
		p.age(c)
		p.watch(c)
	}
	if len(p.waits) > 0 {
		p.sticking.At(p.waits[0].due)
	}
}

// lookInterval is how long to wait before the next look at the kernel.
func (p *pending) lookInterval() time.Duration {
	if p.options.stuck > 0 {
		return max(min(p.options.stuck, lookInterval), leastLook)
	}
	return lookInterval
}

// lookAtKept looks for requests that the kernel keeps and has not told yet. Where they
// are is in a variable that is mapped: to look there is no system call, and idle
// connections are not looked at.
func (p *pending) lookAtKept() {
	if err := p.session.Get(bpf.HttpVarWaiting, &p.kept); err != nil {
		return // no kernel that this runs on lacks it
	}
	soon := p.conns.now + uint64(p.lookInterval()+leastLook)
	for i := range p.kept {
		w := &p.kept[i]
		if w.Since == 0 || w.Since+uint64(p.options.stuck) > soon {
			continue // there is none, or the next look is early enough
		}
		c := p.conns.known[w.Socket]
		if c == nil || c.watched || c.parser.Opaque() {
			continue
		}
		if call, _, ok := p.conns.keptFor(c); ok && call.Offset >= c.next[call.Dir&1] {
			p.watchFrom(c, call.Time)
		}
	}
}

// age reports the stuck requests of a connection, and with them what its other
// end has of them, which may have come there late.
func (p *pending) age(c *conn) {
	p.conns.fetch(c)
	before := int64(p.conns.sure) - int64(p.options.stuck)
	p.conns.current = c
	c.parser.Stuck(before)
	if !c.Connected() || !p.join.Aging() {
		return // it was answered meanwhile
	}
	if other := p.join.Partner(&c.End); other != nil {
		other.Fetch()
		p.conns.current = other.Source.(*conn)
		p.conns.current.parser.Stuck(before + int64(exchange.IdlePatience))
	}
	p.join.Aged(&c.End, before, p.options.role == "", p.reportStuck)
}

// waitAll finds the requests that wait now and have done so since a time or longer.
func (p *pending) waitAll(before uint64) {
	look := func(c *conn) {
		if c == nil || c.closed || c.parser.Opaque() {
			return
		}
		p.conns.fetch(c)
		p.conns.current = c
		c.parser.Stuck(int64(before))
	}
	for _, w := range p.waits {
		look(w.conn)
	}
	if p.session.Object == nil || p.session.Get(bpf.HttpVarWaiting, &p.kept) != nil {
		return // there is no kernel; none that this runs on lacks it
	}
	for i := range p.kept {
		if w := &p.kept[i]; w.Since != 0 && w.Since <= before {
			look(p.conns.known[w.Socket])
		}
	}
}

// reportStuck is called with a request that is stuck.
func (p *pending) reportStuck(client, server *exchange.Half) {
	p.events.reportStuck(client, server, p.conns.sure)
}
