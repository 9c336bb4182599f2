package exchange

import (
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"tracer/trace/event"
)

const (
	// Latencies are kept by 128 buckets for each power of two: what comes out
	// is less than 1 % too high.
	latencyDigits = 2
	maxLatency    = 1000 * time.Hour // what is above counts as that much
)

// tally is what came of some exchanges.
type tally struct {
	count, errors                    uint64
	status4xx, status5xx, unanswered uint64
	both                             uint64        // seen at both ends
	total                            time.Duration // of all durations
	last                             time.Time     // when one ended
	client, server                   latencies     // as the side that asked saw it, if any did; and what the server took
	spread                           event.Spread  // of client
	where                            event.Where   // as far as it is known
}

// latencies are those of the answered exchanges.
type latencies struct {
	histogram *hdr.PackedHistogram // nil: there are none
	max       time.Duration
}

func (a *tally) add(e *event.HTTP) {
	a.count++
	if e.Failed() {
		a.errors++
	}
	switch {
	case !e.Answered():
		a.unanswered++
	case e.Status >= 500:
		a.status5xx++
	case e.Status >= 400:
		a.status4xx++
	}
	a.total += e.Duration
	a.where.Add(e.Where())
	if end := e.Time.Add(e.Duration); end.After(a.last) {
		a.last = end
	}
	if e.Latency != 0 { // else there was no answer, or it is not known when it came
		a.client.add(e.Latency)
		a.spread.Add(e.Latency)
	}
	switch e.Role {
	case event.RoleBoth:
		a.both++
		a.server.add(e.ServerLatency)
	case event.RoleServer:
		a.server.add(e.Latency)
	}
}

// merge adds what another one has counted.
func (a *tally) merge(from *tally) {
	a.count += from.count
	a.errors += from.errors
	a.status4xx += from.status4xx
	a.status5xx += from.status5xx
	a.unanswered += from.unanswered
	a.both += from.both
	a.total += from.total
	if from.last.After(a.last) {
		a.last = from.last
	}
	a.client.merge(&from.client)
	a.server.merge(&from.server)
	a.spread.Merge(&from.spread)
	a.where.Add(from.where)
}

// reset forgets everything but the memory that it takes.
func (a *tally) reset() {
	a.client.reset()
	a.server.reset()
	*a = tally{client: a.client, server: a.server}
}

// add takes a latency, unless it is 0: then it is not known.
func (l *latencies) add(d time.Duration) {
	if d == 0 {
		return
	}
	l.max = max(l.max, d)
	// It fails for what is out of range, and this is not.
	_ = l.open().RecordValue(int64(min(max(d, 0), maxLatency)))
}

func (l *latencies) open() *hdr.PackedHistogram {
	if l.histogram == nil {
		l.histogram = hdr.NewPacked(1, int64(maxLatency), latencyDigits)
	}
	return l.histogram
}

func (l *latencies) merge(from *latencies) {
	l.max = max(l.max, from.max)
	if from.count() > 0 {
		l.open().Merge(from.histogram) // drops nothing: both have the same range
	}
}

func (l *latencies) reset() {
	l.max = 0
	if l.histogram != nil {
		l.histogram.Reset()
	}
}

// count is how many there are.
func (l *latencies) count() uint64 {
	if l.histogram == nil {
		return 0
	}
	return uint64(l.histogram.TotalCount())
}

// percentile is the smallest latency that at least so many percent of all do
// not exceed: the nearest rank.
func (l *latencies) percentile(percent uint64) time.Duration {
	n := l.count()
	if n == 0 {
		return 0
	}
	rank := n/100*percent + (n%100*percent+99)/100
	// The library takes percent, of which it makes a rank by rounding.
	v := l.histogram.ValueAtPercentile(float64(rank) / float64(n) * 100)
	return min(time.Duration(v), l.max)
}
