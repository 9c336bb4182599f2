package otlp

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	batchAge = time.Second
	// queueBytes bounds what waits, of all signals together, as it is encoded.
	queueBytes = 16 << 20
	// patience is how long a batch is sent again before it is given up.
	patience = time.Minute
	// firstPause and longestPause are between two attempts.
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second
	// spares is how many empty batches are kept for use.
	spares = 4
)

// A pipe takes items of one signal and sends them in batches, one after the other. Items
// come from one goroutine; another one sends.
type pipe struct {
	signal   signal
	field    protowire.Number // of an item, in its scope
	scope    []byte           // message InstrumentationScope
	endpoint *Endpoint
	client   *http.Client
	tell     *teller
	end      *ending
	held     *atomic.Int64 // bytes that wait, of all signals
	limit    int64         // of those
	room     *room         // nil: what has no room is lost

	mu      sync.Mutex
	open    *batch // that is being filled; nil: none
	begun   time.Time
	queue   []*batch
	spare   []*batch
	sending bool
	closing bool
	wake    chan struct{}
	done    chan struct{}

	sent, acknowledged atomic.Uint64
	head, packed       []byte // reused
	zip                *gzip.Writer
}

// An ending is when all has to be over: known once it is near.
type ending struct {
	near chan struct{} // closed then
	at   time.Time     // valid then
}

// passes reports whether a time is behind it.
func (e *ending) passes(at time.Time) bool {
	select {
	case <-e.near:
		return at.After(e.at)
	default:
		return false
	}
}

// add takes an item, or counts it as undelivered if too much waits.
func (p *pipe) add(r *resource, item []byte) {
	size := int64(len(item) + 4)
	p.sent.Add(1)
	if p.room != nil {
		p.room.wait(func() bool { return p.held.Load()+size <= p.limit })
	}
	if p.held.Add(size) > p.limit {
		p.held.Add(-size)
		p.tell.lost(p.signal, 1, "too much waits to be sent")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.open == nil
	if first {
		p.open, p.begun = p.fresh(), time.Now()
	}
	b := p.open
	before := b.bytes
	b.add(r, p.field, item)
	p.held.Add(int64(b.bytes-before) - size)
	if b.full() {
		p.queue, p.open = append(p.queue, b), nil
	}
	if first || p.open == nil {
		p.signalWorker()
	}
}

// roomPatience is how long a recording waits for an endpoint that takes nothing.
const roomPatience = 5 * time.Second

// A room is where events wait that could come later, as those of a recording: they are
// read as fast as they are taken. If the endpoint takes nothing they do not wait for ever.
type room struct {
	freed   chan struct{}
	stalled atomic.Bool
}

// wait waits until there is room, unless it has waited in vain before.
func (r *room) wait(there func() bool) {
	if there() || r.stalled.Load() {
		return
	}
	timer := time.NewTimer(roomPatience)
	defer timer.Stop()
	for !there() {
		select {
		case <-r.freed:
		case <-timer.C:
			r.stalled.Store(true)
			return
		}
	}
}

// more says that something has left.
func (r *room) more() {
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// finish ends the batch that is being filled, as it is.
func (p *pipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		p.queue, p.open = append(p.queue, p.open), nil
		p.signalWorker()
	}
}

// idle reports whether nothing waits.
func (p *pipe) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open == nil && len(p.queue) == 0 && !p.sending
}

func (p *pipe) fresh() *batch {
	if n := len(p.spare); n > 0 {
		b := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return b
	}
	return &batch{signal: p.signal}
}

func (p *pipe) signalWorker() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// close lets the worker end when everything is sent.
func (p *pipe) close() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.signalWorker()
}

// work is the goroutine that sends, until ctx ends.
func (p *pipe) work(ctx context.Context) {
	defer close(p.done)
	for {
		b, wait, closing := p.next()
		switch {
		case b != nil:
			p.deliver(ctx, b)
			p.mu.Lock()
			p.sending = false
			p.held.Add(-int64(b.bytes))
			if p.room != nil {
				p.room.more()
			}
			if b.clear(); len(p.spare) < spares && b.small() {
				p.spare = append(p.spare, b)
			}
			p.mu.Unlock()
		case closing:
			return
		case wait > 0:
			select {
			case <-p.wake:
			case <-time.After(wait):
			}
		default:
			<-p.wake
		}
	}
}

// next is the batch to send now, or how long it is until there is one.
func (p *pipe) next() (b *batch, wait time.Duration, closing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 && p.open != nil {
		if wait = batchAge - time.Since(p.begun); wait > 0 && !p.closing {
			return nil, wait, false
		}
		p.queue, p.open = append(p.queue, p.open), nil
	}
	if len(p.queue) > 0 {
		b = p.queue[0]
		p.queue = append(p.queue[:0], p.queue[1:]...)
		p.sending = true
		return b, 0, false
	}
	return nil, 0, p.closing
}

// deliver sends a batch until it is taken, refused, or given up.
func (p *pipe) deliver(ctx context.Context, b *batch) {
	items := uint64(b.items)
	if ctx.Err() != nil {
		p.tell.lost(p.signal, items, errTooLate)
		return
	}
	body := p.pack(b)
	until := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		a := post(ctx, p.client, p.endpoint, p.signal.path(), body)
		if a != (answer{}) {
			p.packed = nil // the transport may still read it
		}
		if !a.again {
			rejected := items
			if a.why == "" || a.rejected > 0 {
				rejected = min(uint64(a.rejected), items)
				p.tell.taken()
				if p.room != nil {
					p.room.stalled.Store(false)
				}
			}
			p.acknowledged.Add(items - rejected)
			if rejected > 0 {
				p.tell.lost(p.signal, rejected, a.why)
			}
			return
		}
		// Who sends at the same time does not send again at the same time.
		at := time.Now().Add(max(a.after, pause/2+rand.N(pause)))
		if at.After(until) || !p.sleep(ctx, at, a.why) {
			p.tell.lost(p.signal, items, a.why)
			return
		}
	}
}

// sleep waits until a time, false if the end comes before.
func (p *pipe) sleep(ctx context.Context, at time.Time, why string) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	if p.end.passes(at) {
		return false
	}
	p.tell.again(why)
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-p.end.near:
	}
	if p.end.passes(at) {
		return false
	}
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// pack is a request, compressed. It is valid until the next call.
func (p *pipe) pack(b *batch) []byte {
	out := bytes.NewBuffer(p.packed[:0])
	p.zip.Reset(out)
	p.head = b.write(p.zip, p.scope, p.head)
	_ = p.zip.Close()
	p.packed = out.Bytes()
	return p.packed
}
