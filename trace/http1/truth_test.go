package http1

import (
	"fmt"
	"strings"
	"testing"
)

// FuzzTruth: whatever was captured, whichever records were lost and in whatever
// order the two directions come, the exchanges that are told are a subset of
// those that took place: this method, this status, and every number and time
// that is not marked. And where all heads were captured and nothing was lost,
// every exchange is told.
//
// Left out is what cannot be told apart: a client that does not wait for its
// answers and was not seen to before records were lost, or was joined late, and a
// request of unknown length that is answered early and has another in its body.
func FuzzTruth(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { checkTruth(t, data) })
}

func TestTruth(t *testing.T) { roll(t, 20000, checkTruth) }

// A scene is a connection with all that truly moves on it, and what is told of
// that.
type scene struct {
	*dice
	requests   Direction
	prefix     int  // bytes captured of a call
	full       bool // all bytes are captured
	kernel     bool // only of calls that begin within a head
	tails      bool
	sums       bool // calls are told in sums
	losing     bool // records are lost
	swapping   bool // records of the two directions change places
	ahead      bool // the client does not wait for answers
	joined     bool
	deals      map[string]*deal
	unanswered string

	now     int64
	off     [2]uint64
	records []Segment
	shown   int // of records, the first ones that are not lost
	log     strings.Builder
}

func checkTruth(t *testing.T, data []byte) {
	d := &dice{data}
	s := &scene{dice: d, deals: map[string]*deal{}}
	s.joined = d.oneIn(3)
	s.requests = pick(d, Sent, Received)
	s.prefix = pick(d, 4096, 256, 64, 16)
	s.kernel = s.prefix == 4096 && d.oneIn(2)
	s.full = s.prefix == 4096 && !s.kernel && d.oneIn(2)
	s.tails = d.oneIn(2)
	s.sums = !s.kernel && !s.full && d.oneIn(3)
	s.losing = d.oneIn(3)
	s.swapping = d.oneIn(4)
	s.ahead = (s.kernel || s.full) && !s.joined && d.oneIn(3)
	batched := s.play()

	told := map[string]bool{}
	var c Conn
	c.Reset(s.joined)
	to := Sink{}
	to.Exchange = func(x *Exchange) {
		fmt.Fprintf(&s.log, "  -> %s\n", row(x))
		id, wrong := s.check(x, told)
		if wrong != "" {
			t.Errorf("%q %s", x.Target, wrong)
		}
		told[id] = true
	}
	for i := range s.records {
		r := &s.records[i]
		// Fewer bytes do not show a response that comes before its request.
		if s.swapping && i+1 < len(s.records) && r.Dir != s.records[i+1].Dir &&
			len(s.records[i+1].Data) >= len("HTTP/1.") && d.oneIn(3) {
			s.records[i], s.records[i+1] = s.records[i+1], s.records[i]
		}
		if s.losing && i >= s.shown && d.oneIn(6) {
			fmt.Fprintf(&s.log, "%d lost %d %d+%d\n", r.Time, r.Dir, r.Offset, r.Size)
			continue
		}
		fmt.Fprintf(&s.log, "%d %d %d+%d %q … %q\n", r.Time, r.Dir, r.Offset, r.Size, r.Data, r.Tail)
		c.Feed(r, &to)
	}
	for dir := range s.off {
		c.Feed(&Segment{Dir: Direction(dir), Offset: s.off[dir], Time: s.now, Last: s.now}, &to)
	}
	c.Close(s.now+10, pick(d, Closed, Reset), &to)

	whole := s.full || s.kernel && !batched && !s.swapping && !s.ahead
	if whole && !s.losing && !s.joined {
		for id, x := range s.deals {
			// What is not captured of a body may leave it in doubt what begins behind that.
			if !told[id] && (s.full || common([]byte(x.method))) {
				t.Errorf("%q is not told", id)
			}
		}
	}
	if t.Failed() {
		t.Fatalf("joined %v, ahead %v\n%s%+v", s.joined, s.ahead, s.log.String(), to.Counts)
	}
}

// play lets exchanges take place and reports whether any were sent together or
// answered early.
func (s *scene) play() (batched bool) {
	if s.joined { // the rest of an exchange that began earlier
		rest := s.body() + s.body() + "\n"
		if s.oneIn(2) {
			rest = s.deal(999, false).response
		}
		if !strings.HasPrefix(rest, "GET") || s.oneIn(2) {
			s.move(s.requests^1, rest, nil, func(int, int) {})
		}
	}
	var open [][]deal
	batches := s.plan()
	if s.ahead && s.losing { // that it does not wait is shown by two requests in one call
		first := []deal{s.deal(600, false), s.deal(601, false)}
		batches = append([][]deal{first}, batches...)
	}
	for i, batch := range batches {
		batched = batched || len(batch) > 1
		for i := range batch {
			s.deals[batch[i].id()] = &batch[i]
		}
		if i == 0 && s.ahead && s.losing {
			s.shown = 1
			s.ask(batch)
			open = append(open, batch)
			continue
		}
		if len(batch) == 1 && len(open) == 0 && (s.full && !s.losing || !looksLikeRequest(batch[0].request)) && s.oneIn(4) {
			s.answerEarly(batch)
			batched = true
			continue
		}
		s.ask(batch)
		open = append(open, batch)
		for len(open) > 0 && (!s.ahead || s.oneIn(2)) {
			s.answer(open[0])
			open = open[1:]
		}
	}
	for _, batch := range open {
		s.answer(batch)
	}
	last := batches[len(batches)-1]
	if s.oneIn(2) && !last[len(last)-1].close {
		x := []deal{s.deal(500, false)}
		s.deals[x[0].id()] = &x[0]
		s.unanswered = x[0].id()
		s.ask(x)
	}
	return batched
}

func (s *scene) ask(batch []deal) {
	var data string
	var heads []bool
	for i := range batch {
		batch[i].requestOffset = s.off[s.requests] + uint64(len(data))
		data += batch[i].request
		heads = append(heads, inHead(batch[i].request, 0)...)
	}
	s.move(s.requests, data, heads, func(from, to int) {
		at := 0
		for i := range batch {
			if from <= at && at < to {
				batch[i].requestStart = s.now
			}
			at += len(batch[i].request)
			if from <= at-1 && at-1 < to {
				batch[i].requestEnd = s.now
			}
		}
	})
}

// looksLikeRequest reports whether there is a request within a request. If that
// one's length is not known and its answer comes early, what follows is taken
// for the next.
func looksLikeRequest(request string) bool {
	_, body, _ := strings.Cut(request, "\r\n\r\n")
	return strings.Contains(body, "GET ")
}

// answerEarly lets the answer come before the request is whole.
func (s *scene) answerEarly(batch []deal) {
	x := &batch[0]
	x.requestOffset = s.off[s.requests]
	head := strings.Index(x.request, "\r\n\r\n") + 4
	cut := head + s.n(len(x.request)-head+1)
	note := func(int, int) { x.requestEnd = s.now }
	s.move(s.requests, x.request[:cut], inHead(x.request, 0), func(from, to int) {
		if from == 0 {
			x.requestStart = s.now
		}
		note(from, to)
	})
	s.answer(batch)
	s.move(s.requests, x.request[cut:], nil, note)
}

func (s *scene) answer(batch []deal) {
	var data string
	var heads []bool
	for i := range batch {
		data += batch[i].response
		heads = append(heads, inHead(batch[i].response, batch[i].final)...)
	}
	s.move(s.requests^1, data, heads, func(from, to int) {
		at := 0
		for i := range batch {
			if from <= at+batch[i].final && at+batch[i].final < to {
				batch[i].responseStart = s.now
			}
			at += len(batch[i].response)
			if from <= at-1 && at-1 < to {
				batch[i].responseEnd = s.now
			}
		}
	})
}

// inHead returns for each byte whether it belongs to a head, if the last one
// begins at final.
func inHead(data string, final int) []bool {
	heads := make([]bool, len(data))
	for i := range final + strings.Index(data[final:], "\r\n\r\n") + 4 {
		heads[i] = true
	}
	return heads
}

// move lets bytes move, and asks for their times to be noted.
func (s *scene) move(dir Direction, data string, heads []bool, note func(from, to int)) {
	for at := 0; at < len(data); {
		s.now += 10
		n := len(data) - at
		if !s.oneIn(3) && !(s.shown > 0 && len(s.records) == 0) {
			n = 1 + s.n(min(n, 1+s.n(600)))
		}
		r := Segment{Dir: dir, Offset: s.off[dir], Size: uint64(n), Time: s.now, Last: s.now}
		first := n // of two calls, where this is a sum
		if s.sums && n > 1 && s.oneIn(4) {
			first = 1 + s.n(n-1)
		}
		keep := min(first, s.prefix)
		switch {
		case s.full || s.ahead && dir == s.requests:
		case s.kernel && (heads == nil || !heads[at]):
			keep = min(keep, s.n(2)*s.n(20))
		case !s.kernel && s.oneIn(5):
			keep = min(keep, s.n(20))
		}
		r.Data = []byte(data[at : at+keep])
		if s.tails {
			r.Tail = []byte(data[max(at+keep, at+n-8) : at+n])
		}
		note(at, at+first)
		if first < n {
			s.now += 5
			r.Last = s.now
			note(at+first, at+n)
		}
		s.off[dir] += r.Size
		at += n
		s.records = append(s.records, r)
	}
}

// check compares what is told with what took place.
func (s *scene) check(x *Exchange, told map[string]bool) (id, wrong string) {
	target := string(x.Target)
	id = strings.TrimRight(target, "x")
	real := s.deals[id]
	if x.TargetTruncated { // it may be like several
		real = nil
		for i, other := range s.deals {
			if !told[i] && strings.HasPrefix(other.target, target) && (real == nil || other.number < real.number) &&
				x.RequestStart <= other.requestStart && other.requestStart <= x.RequestEnd {
				id, real = i, other
			}
		}
	}
	switch {
	case real == nil:
		return id, "was never asked for"
	case told[id]:
		return id, "is told twice"
	case string(x.Method) != real.method,
		!x.TargetTruncated && target != real.target,
		x.Host != nil && string(x.Host) != real.host,
		(x.Role == Client) != (s.requests == Sent):
		return id, "is not as it was sent"
	case x.Status == 0 && s.unanswered != id:
		return id, "was answered"
	case x.RequestStart != real.requestStart && x.Inexact&InexactTime == 0,
		x.RequestOffset != real.requestOffset,
		x.RequestEnd != real.requestEnd && x.Inexact&(InexactTime|InexactRequest) == 0,
		x.RequestBytes != uint64(len(real.request)) && x.Inexact&InexactRequest == 0:
		return id, fmt.Sprintf("has another request: %d@%d", len(real.request), real.requestStart)
	case x.Status == 0:
	case x.Status != real.status:
		return id, fmt.Sprintf("was answered with %d", real.status)
	case x.ResponseStart != real.responseStart && x.Inexact&InexactTime == 0,
		x.ResponseEnd != real.responseEnd && x.Inexact&(InexactTime|InexactResponse) == 0,
		x.ResponseBytes != uint64(len(real.response)) && x.Inexact&InexactResponse == 0 && x.Ending == Complete:
		return id, fmt.Sprintf("has another response: %d@%d-%d", len(real.response), real.responseStart, real.responseEnd)
	}
	return id, ""
}
