package otlp

import (
	"encoding/binary"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tracer/trace/event"
)

const (
	// sumsEvery is how often sums are sent, beside the last time.
	sumsEvery = 10 * time.Second
	// maxSeries bounds how many sums are kept. What comes beyond is counted in one of
	// each instrument, as the specification has it.
	maxSeries = 2000
)

// An instrument is what is measured.
type instrument uint8

const (
	clientDuration instrument = iota
	serverDuration
	networkIO
	connections
	connectionIO
	instruments
)

var instrumentInfo = [instruments]struct {
	name, unit, description string
	histogram               bool
}{
	clientDuration: {"http.client.request.duration", "s", "Duration of HTTP client requests.", true},
	serverDuration: {"http.server.request.duration", "s", "Duration of HTTP server requests.", true},
	networkIO:      {"tracer.network.io", "By", "Payload sent and received.", false},
	connections:    {"tracer.connections", "{connection}", "TCP connections, by what became of them.", false},
	connectionIO:   {"tracer.connection.io", "By", "Payload of TCP connections that ended.", false},
}

// bounds are those of the conventions, in seconds.
var bounds = [...]float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}

// labels are what a sum is about. It is comparable; all that does not apply is empty.
type labels struct {
	whose      whose
	instrument instrument
	method     string
	route      string
	scheme     string
	version    string
	host       string
	port       uint16
	status     int
	failure    string
	role       string
	event      string
	direction  string
	proto      string
	peer       string
	overflow   bool
}

// A series is a sum of one set of labels, since the beginning.
type series struct {
	resource *resource
	count    uint64
	sum      float64 // of a histogram, in seconds
	least    float64
	most     float64
	buckets  [len(bounds) + 1]uint64
	growing  *exponential // instead of buckets; nil: not asked for
}

// sums are all series of an exporter. They are cumulative: what is not acknowledged is in
// the next ones.
type sums struct {
	resources *resources
	pipe      *pipe
	spans     *spans

	item, scratch []byte // reused

	all     map[labels]*series
	order   []labels
	since   time.Time
	next    time.Time
	growing bool // histograms are exponential
	fresh   bool // something was added since it was sent
}

func newSums(r *resources, p *pipe, x *spans, now time.Time) sums {
	return sums{resources: r, pipe: p, spans: x, all: map[labels]*series{}, since: now, next: now.Add(sumsEvery)}
}

// of is the series of some labels, whose strings need not outlive the call.
func (s *sums) of(l *labels) *series {
	s.fresh = true
	if known := s.all[*l]; known != nil {
		return known
	}
	key := *l
	if len(s.all) >= maxSeries {
		key = labels{instrument: l.instrument, overflow: true}
		if known := s.all[key]; known != nil {
			return known
		}
	}
	for _, p := range []*string{&key.method, &key.route, &key.host, &key.failure, &key.peer, &key.whose.comm} {
		*p = clean(*p)
	}
	if known := s.all[key]; known != nil { // a text was not valid
		return known
	}
	made := &series{resource: s.resources.of(key.whose)}
	if s.growing {
		made.growing = &exponential{}
	}
	s.all[key] = made
	s.order = append(s.order, key)
	return made
}

// exchange adds an exchange, at each end where it was seen.
func (s *sums) exchange(e *event.HTTP) {
	ends, n := views(e)
	for i := range ends[:n] {
		v := &ends[i]
		l := labels{whose: v.whose, instrument: clientDuration, scheme: scheme(e), version: e.Version, status: e.Status, failure: v.failure(), route: s.spans.route(e)}
		if l.method = e.Method; !methods[l.method] && l.method != "" {
			l.method = otherMethod
		}
		if v.server {
			l.instrument = serverDuration
		} else {
			l.host, l.port = address(e)
		}
		s.of(&l).add(v.duration.Seconds())
	}
}

func (s *series) add(seconds float64) {
	if s.growing != nil {
		s.growing.add(seconds)
	}
	i := 0
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	s.buckets[i]++
	if s.count == 0 || seconds < s.least {
		s.least = seconds
	}
	s.most = max(s.most, seconds)
	s.sum += seconds
	s.count++
}

// traffic adds what a row has moved.
func (s *sums) traffic(e *event.Traffic) {
	l := labels{whose: whoseOf(e.Head()), instrument: networkIO, proto: e.Proto, role: e.Role, port: e.Dst.Port()}
	switch {
	case e.Role != "" && e.Dst.Addr().IsValid():
		l.host = e.Dst.Addr().String()
		if e.Src.IsValid() {
			l.peer = e.Src.String()
		}
	case e.Peer.IsValid():
		l.peer = e.Peer.String()
	}
	s.bytes(l, e.Tx, e.Rx)
}

// bytes adds what was sent and received.
func (s *sums) bytes(l labels, tx, rx uint64) {
	l.direction = "transmit"
	s.of(&l).count += tx
	l.direction = "receive"
	s.of(&l).count += rx
}

// connection adds what happened to a connection.
func (s *sums) connection(e event.Event) {
	l := labels{whose: whoseOf(e.Head()), instrument: connections, event: e.Head().Kind}
	about := func(c *event.Connection) {
		l.role, l.port = c.Role, c.Dst.Port()
		if c.Role == event.RoleClient && c.Dst.Addr().IsValid() {
			l.host = c.Dst.Addr().String()
		}
	}
	switch e := e.(type) {
	case *event.Connect:
		about(&e.Connection)
	case *event.ConnectFailed:
		about(&e.Connection)
		l.failure = e.Error
	case *event.ConnectStuck:
		about(&e.Connection)
	case *event.Accept:
		about(&e.Connection)
	case *event.Open:
		about(&e.Connection)
	case *event.Close:
		about(&e.Connection)
		if e.Reason != event.ReasonClosed {
			l.failure = e.Reason
		}
		io := l
		io.instrument, io.event, io.failure = connectionIO, "", ""
		s.bytes(io, e.Tx, e.Rx)
	}
	s.of(&l).count++
}

// flush sends all sums, if it is time and those before are not waiting any more; last: in
// any case.
func (s *sums) flush(now time.Time, last bool) {
	if !s.fresh || !last && (now.Before(s.next) || !s.pipe.idle()) {
		return
	}
	s.next, s.fresh = now.Add(sumsEvery), false
	for i := range s.order {
		l := &s.order[i]
		one := s.all[*l]
		s.item = s.appendMetric(s.item[:0], l, one, now)
		s.pipe.add(one.resource, s.item)
	}
	s.pipe.finish()
}

// Fields of messages of metrics.
const (
	metricName, metricDescription, metricUnit = 1, 2, 3
	metricSum, metricHistogram                = 7, 9
	dataPoints, dataTemporality               = 1, 2
	sumMonotonic                              = 3
	cumulative                                = 2

	pointStart, pointTime             = 2, 3
	numberInt, numberAttributes       = 6, 7
	histogramCount, histogramSum      = 4, 5
	histogramBuckets, histogramBounds = 6, 7
	histogramAttributes               = 9
	histogramLeast, histogramMost     = 11, 12
)

// appendMetric appends message Metric with one point.
func (s *sums) appendMetric(b []byte, l *labels, one *series, now time.Time) []byte {
	info := &instrumentInfo[l.instrument]
	b = appendText(b, metricName, info.name)
	b = appendText(b, metricDescription, info.description)
	b = appendText(b, metricUnit, info.unit)
	point := appendFixed(s.scratch[:0], pointStart, nanos(s.since))
	point = appendFixed(point, pointTime, nanos(now))
	if info.histogram && one.growing != nil {
		point = appendFixed(point, histogramCount, one.count)
		point = appendDouble(point, histogramSum, one.sum)
		point = one.growing.append(point)
		point = l.append(point, expAttributes)
		point = appendDouble(point, expLeast, one.least)
		point = appendDouble(point, expMost, one.most)
		s.scratch = point
		b = appendHead(b, metricExponential, sizeBytes(len(point))+2)
		b = appendBytes(b, dataPoints, point)
		return appendVarint(b, dataTemporality, cumulative)
	}
	if info.histogram {
		point = appendFixed(point, histogramCount, one.count)
		point = appendDouble(point, histogramSum, one.sum)
		point = appendHead(point, histogramBuckets, 8*len(one.buckets))
		for _, n := range one.buckets {
			point = protowire.AppendFixed64(point, n)
		}
		point = appendHead(point, histogramBounds, 8*len(bounds))
		for _, bound := range bounds {
			point = binary.LittleEndian.AppendUint64(point, math.Float64bits(bound))
		}
		point = l.append(point, histogramAttributes)
		point = appendDouble(point, histogramLeast, one.least)
		point = appendDouble(point, histogramMost, one.most)
		s.scratch = point
		b = appendHead(b, metricHistogram, sizeBytes(len(point))+2)
		b = appendBytes(b, dataPoints, point)
		return appendVarint(b, dataTemporality, cumulative)
	}
	point = appendFixed(point, numberInt, one.count)
	point = l.append(point, numberAttributes)
	s.scratch = point
	b = appendHead(b, metricSum, sizeBytes(len(point))+4)
	b = appendBytes(b, dataPoints, point)
	b = appendVarint(b, dataTemporality, cumulative)
	return appendVarint(b, sumMonotonic, 1)
}

// append appends the labels as attributes.
func (l *labels) append(b []byte, field protowire.Number) []byte {
	if l.overflow {
		return appendBool(b, field, "otel.metric.overflow", true)
	}
	text := func(key, value string) {
		if value != "" {
			b = appendString(b, field, key, value)
		}
	}
	number := func(key string, value int64) {
		if value != 0 {
			b = appendInt(b, field, key, value)
		}
	}
	text("http.request.method", l.method)
	text("url.scheme", l.scheme)
	text("tracer.route", l.route)
	text("network.protocol.version", l.version)
	number("http.response.status_code", int64(l.status))
	text("server.address", l.host)
	number("server.port", int64(l.port))
	text("network.transport", l.proto)
	text("network.peer.address", l.peer)
	text("network.io.direction", l.direction)
	text("tracer.role", l.role)
	text("tracer.event", l.event)
	text("error.type", l.failure)
	return b
}
