package otlp

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"tracer/trace/event"
)

// endPatience is how long Close waits for the endpoint.
const endPatience = 5 * time.Second

// Options say what is sent where.
type Options struct {
	*Endpoint
	Attributes []Attribute // of all resources
	Hostname   string      // empty if unknown
	Version    string      // tracer's own
	Sums       bool        // exchanges, connections: as metrics, not one by one
	Routes     bool        // say the route of an exchange, as far as its path looks like one
	// Waits: to add to what is to be sent may wait for room, as long as the endpoint takes
	// something. It is for events that could come later: recorded ones.
	Waits bool
	// Warn tells a sentence on stderr. It is called by a goroutine of its own.
	Warn func(string)

	patience time.Duration // of Close, in tests; 0: endPatience
	queue    int64         // bytes that may wait, in tests; 0: queueBytes
}

// An Exporter is a sink that sends events: package session. Its methods are called by one
// goroutine, and do not wait, but for Close.
type Exporter struct {
	options   Options
	resources resources
	namer     namer
	pipes     [signals]*pipe
	tell      *teller
	ports     ports
	end       ending
	spans     spans
	records   records
	sums      sums
	ctx       context.Context
	cancel    context.CancelFunc
	held      atomic.Int64
	transport *http.Transport

	item []byte // reused
}

// Open starts sending.
func Open(o Options) *Exporter {
	o.patience, o.queue = cmp.Or(o.patience, endPatience), cmp.Or(o.queue, queueBytes)
	o.Attributes = append(o.Attributes[:len(o.Attributes):len(o.Attributes)], o.Endpoint.attributes...)
	x := &Exporter{options: o, resources: newResources(o.Attributes, o.Hostname), end: ending{near: make(chan struct{})}}
	_, _ = rand.Read(x.namer.seed[:]) // it never fails
	x.ctx, x.cancel = context.WithCancel(context.Background())
	x.tell = newTeller(o.Endpoint.String(), o.Warn)
	x.transport = x.ports.transport(o.Endpoint)
	client := &http.Client{
		Transport: x.transport,
		// Headers with secrets go nowhere else, and a POST would become a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var wait *room
	if o.Waits {
		wait = &room{freed: make(chan struct{}, 1)}
	}
	const name, version = 1, 2
	scope := appendText(nil, name, "tracer")
	if o.Version != "" {
		scope = appendText(scope, version, o.Version)
	}
	for s := range signals {
		zip, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic(err) // the level is one
		}
		x.pipes[s] = &pipe{
			signal: s, field: fieldItems, scope: scope, endpoint: o.Endpoint, client: client, tell: x.tell, end: &x.end,
			held: &x.held, limit: o.queue, room: wait, zip: zip,
			wake: make(chan struct{}, 1), done: make(chan struct{}),
		}
		go x.pipes[s].work(x.ctx)
	}
	x.spans.routes = o.Routes
	x.records = records{resources: &x.resources, pipe: x.pipes[logs]}
	x.sums = newSums(&x.resources, x.pipes[metrics], &x.spans, time.Now())
	x.sums.growing = o.growing
	return x
}

// Name is what the account calls it.
func (x *Exporter) Name() string { return "otlp" }

// Each makes it take each event, also where rows on stdout sum them up.
func (x *Exporter) Each() {}

// Event takes an event. What cannot be sent is counted by Close, in spans, log records and
// data points: to the caller it is always taken.
func (x *Exporter) Event(e event.Event) bool {
	switch e := e.(type) {
	case *event.HTTP:
		switch {
		case x.ports.has(e.Src): // what is sent to the endpoint, as that sees it
		case e.Kind != event.KindHTTP:
			id := x.namer.ids(e)
			x.records.send(e, traceOf(e, &id), &id)
		case x.options.Sums:
			x.sums.exchange(e)
		default:
			x.exchange(e)
		}
	case *event.Traffic:
		x.sums.traffic(e)
		x.records.send(e, nil, nil)
	case *event.Connect, *event.ConnectFailed, *event.Accept, *event.Close, *event.ConnectStuck, *event.Open:
		if x.options.Sums {
			x.sums.connection(e)
			return true
		}
		x.records.send(e, nil, nil)
	default:
		x.records.send(e, nil, nil)
	}
	return true
}

// exchange sends an exchange as a span, or two.
func (x *Exporter) exchange(e *event.HTTP) {
	id := x.namer.ids(e)
	x.spans.begin(e)
	ends, n := views(e)
	for i := range ends[:n] {
		x.item = x.spans.append(x.item[:0], &ends[i], &id)
		x.pipes[traces].add(x.resources.of(ends[i].whose), x.item)
	}
}

// Flush sends the sums, if it is time.
func (x *Exporter) Flush() error {
	x.sums.flush(time.Now(), false)
	return nil
}

// Broken is never closed: an endpoint may come back.
func (x *Exporter) Broken() <-chan struct{} { return nil }

// Close sends what is left, and waits for that up to endPatience. It returns how many
// spans, log records and data points were not acknowledged, since Open. That is told, and
// is no error.
func (x *Exporter) Close() (undelivered uint64, err error) {
	x.sums.flush(time.Now(), true)
	x.end.at = time.Now().Add(x.options.patience)
	close(x.end.near)
	stop := time.AfterFunc(x.options.patience, x.cancel)
	defer stop.Stop()
	for _, p := range x.pipes {
		p.close()
	}
	for _, p := range x.pipes {
		<-p.done
	}
	x.cancel()
	x.tell.close()
	x.transport.CloseIdleConnections()
	return x.tell.undelivered(), nil
}

// Sent is how many spans, log records and data points were to be sent since Open, and how
// many of these the endpoint has acknowledged.
func (x *Exporter) Sent() (sent, acknowledged uint64) {
	for _, p := range x.pipes {
		sent += p.sent.Load()
		acknowledged += p.acknowledged.Load()
	}
	return sent, acknowledged
}
