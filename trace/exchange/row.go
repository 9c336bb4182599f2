package exchange

import (
	"bytes"
	"cmp"
	"math/bits"
	"time"
	"unicode/utf8"

	"tracer/trace/event"
)

const (
	otherRoute = "(other)"
	// What is longer in a row's name is cut.
	maxMethodName, maxHostName, maxRouteName = 32, 260, 1 << 10
)

// rowName is what a row is about.
type rowName struct{ method, host, route string }

type summaryRow struct {
	rowName
	waits
	pace
	now, all tally // of this interval, and of all that are over

	// Percentiles of all, which take long to find: 0 if they are not known any more.
	p50, p99 time.Duration

	// What it is sorted by, as ranked last; and the time spent in all, also by those
	// that wait.
	rank  int64
	spent time.Duration
}

// waits are requests that wait for their answer.
type waits struct {
	waiting uint64
	oldest  time.Duration
	ages    time.Duration // their sum
}

// pace is what happened in the interval that was told last.
type pace struct {
	count   uint64
	failing bool
	slow    bool
}

// SummaryKeys are what the rows of a summary can be sorted by: the highest first. The
// first is the default: the time spent in all, also by those that wait.
var SummaryKeys = []string{"total", "count", "rate", "errors", "p50", "p99", "max", "waiting", "last"}

// compareRows orders rows that were ranked: by the key, by the time spent, by name.
func compareRows(a, b *summaryRow) int {
	return cmp.Or(
		cmp.Compare(b.rank, a.rank), cmp.Compare(b.spent, a.spent),
		cmp.Compare(a.route, b.route), cmp.Compare(a.method, b.method), cmp.Compare(a.host, b.host))
}

// rankNow ranks a row by what this interval has counted.
func (r *summaryRow) rankNow(key string) {
	r.rankBy(key, &r.now, r.pace.count)
	switch key {
	case "p50":
		r.rank = int64(r.now.client.percentile(50))
	case "p99":
		r.rank = int64(r.now.client.percentile(99))
	}
}

// rankAll ranks a row by all that it has counted. The rate is that of the last interval,
// and on a closing page that of the whole run.
func (r *summaryRow) rankAll(key string, closing bool) {
	pace := r.pace.count
	if closing {
		pace = r.all.count
	}
	r.rankBy(key, &r.all, pace)
	switch key {
	case "p50":
		r.rank = int64(r.percentile(&r.p50, 50))
	case "p99":
		r.rank = int64(r.percentile(&r.p99, 99))
	}
	if !closing {
		r.spent = time.Duration(steady(int64(r.spent)))
		if key != "last" {
			r.rank = steady(r.rank)
		}
	}
}

// steady drops all but the first six bits of a number: rows that differ by less than 3 %
// do not change places on a live screen all the time.
func steady(n int64) int64 {
	drop := max(bits.Len64(uint64(n))-6, 0)
	return n >> drop << drop
}

func (r *summaryRow) rankBy(key string, a *tally, pace uint64) {
	r.spent = a.total + r.ages
	switch key {
	case "count":
		r.rank = int64(a.count)
	case "rate":
		r.rank = int64(pace)
	case "errors":
		r.rank = int64(a.errors)
	case "max":
		r.rank = int64(a.client.max)
	case "waiting":
		r.rank = int64(r.waiting)
	case "last":
		r.rank = 0
		if !a.last.IsZero() {
			r.rank = a.last.UnixNano()
		}
	default:
		r.rank = int64(r.spent)
	}
}

// percentile is one of all, which is kept in known.
func (r *summaryRow) percentile(known *time.Duration, percent uint64) time.Duration {
	if *known == 0 {
		*known = r.all.client.percentile(percent)
	}
	return *known
}

// close ends an interval: what it has counted is now in all.
func (r *summaryRow) close() {
	r.pace = pace{count: r.now.count, failing: r.now.errors > 0}
	if r.now.count > 0 {
		r.all.merge(&r.now)
		r.p50, r.p99 = 0, 0
	}
}

// A namer finds the name of the row that an exchange belongs to.
type namer struct{ method, host, path, route []byte }

// name fills in method, host and route.
func (n *namer) name(e *event.HTTP) {
	n.method = limit(append(n.method[:0], e.Method...), maxMethodName)
	n.host = limit(appendLower(n.host[:0], e.Host), maxHostName)
	n.path = append(n.path[:0], e.Path...)
	switch n.route = n.route[:0]; {
	case len(n.path) == 0 && !e.PathTruncated: // it is unknown, or there is none
	case e.GRPC || e.Version == "2" && e.Method == "POST" && isRPC(n.path):
		n.route = append(n.route, n.path...)
	default:
		n.route = appendRoute(n.route, n.path, e.PathTruncated)
	}
	n.route = limit(n.route, maxRouteName)
}

// appendRoute appends the route of a request target. One that was cut may lack
// the end of its last segment: that is left out.
func appendRoute(dst, target []byte, cut bool) []byte {
	if !cut || bytes.ContainsAny(target, "?#") {
		return Route(dst, target)
	}
	return append(Route(dst, target[:bytes.LastIndexByte(target, '/')+1]), "…"...)
}

// appendLower appends s, ASCII letters in lower case.
func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// limit cuts b to so many bytes and a mark, not within a character.
func limit(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(b[end]) {
		end--
	}
	return append(b[:end], "…"...)
}
