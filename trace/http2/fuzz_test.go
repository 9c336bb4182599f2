package http2

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/message"
)

// FuzzSegmentation: however the bytes of a connection are cut into calls, and whether the
// source follows frames or not, the exchanges are those that took place, with their
// sizes and times.
func FuzzSegmentation(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { checkSegmentation(t, data) })
}

func TestSegmentation(t *testing.T) { roll(t, 1000, checkSegmentation) }

func checkSegmentation(t *testing.T, bytes []byte) {
	d := &dice{bytes}
	p := newPlay(d, 5+d.n(60), false)
	flip := pick(d, Sent, Received)
	role := Role(flip)
	calls := p.calls()
	closed := int64(len(calls) + 1)

	want := map[uint32]string{}
	for _, d := range p.deals {
		want[d.id] = row(d.truth(calls, role, closed))
	}
	whole := feed(t, p.segments(calls, flip), false, closed, nil)
	if diff := cmp.Diff(want, whole.rows); diff != "" || whole.to.Counts != (Counts{}) {
		t.Errorf("exchanges (-want +got):\n%s\n%+v", diff, whole.to.Counts)
	}
	walked, _ := p.walked(calls, flip)
	w := feed(t, walked, false, closed, nil)
	if diff := cmp.Diff(want, w.rows); diff != "" || w.to.Counts != (Counts{}) {
		t.Errorf("exchanges where frames are followed (-want +got):\n%s\n%+v", diff, w.to.Counts)
	}
}

// FuzzTruth: whichever bytes are lost, and where a connection begins, what is told of a
// stream is what took place on it: this method, path, host and status, or unknown; and
// no stream is told as stuck, reset or unanswered that was not.
func FuzzTruth(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { checkTruth(t, data) })
}

func TestTruth(t *testing.T) { roll(t, 2000, checkTruth) }

func checkTruth(t *testing.T, bytes []byte) {
	d := &dice{bytes}
	follows := d.oneIn(2)
	// Where a source does not follow frames and bytes are missing, a body that looks like
	// a call full of frames is the one thing that cannot be told apart.
	p := newPlay(d, 5+d.n(80), !follows)
	flip := pick(d, Sent, Received)
	calls := p.calls()
	closed := int64(len(calls) + 1)
	truth := map[uint32]*deal{}
	for _, d := range p.deals {
		truth[d.id] = d
	}
	all := p.segments(calls, flip)
	aligned := make([]bool, len(all))
	if follows {
		all, aligned = p.walked(calls, flip)
	}
	joined := d.oneIn(3)
	var segments []Segment
	rate := 3 + d.n(20)
	var gap [2]bool     // something was lost, and its direction does not show it yet
	var pending []bool  // the same, of segments
	var lost [2][]int64 // when
	start := 0
	if joined {
		start = d.n(len(all) + 1)
		gap = [2]bool{true, true}
	}
	for i, s := range all {
		switch {
		case i < start, d.oneIn(rate),
			gap[s.Dir] && follows && !aligned[i]: // the source goes on where a frame begins
			gap[s.Dir] = true
			lost[s.Dir] = append(lost[s.Dir], s.Last)
		default:
			gap[s.Dir] = false
			segments = append(segments, s)
			pending = append(pending, gap[0] || gap[1])
		}
	}
	for dir, wire := range p.wire {
		segments = append(segments, Segment{Dir: Direction(dir) ^ flip, Offset: uint64(len(wire)), Time: closed, Last: closed})
	}
	r := feed(t, segments, joined, closed, func(i int) bool { return i < len(pending) && !pending[i] && d.oneIn(4) })

	missed := func(dir Direction, x *Exchange) bool {
		return slices.ContainsFunc(lost[dir^flip], func(at int64) bool { return at >= x.RequestStart && at <= x.ResponseEnd })
	}
	// unseen reports whether bytes were lost that no later ones of the direction have
	// shown yet to be missing at a time.
	unseen := func(dir Direction, now int64) bool {
		n := len(lost[dir^flip])
		for n > 0 && lost[dir^flip][n-1] > now {
			n--
		}
		return n > 0 && !slices.ContainsFunc(segments, func(s Segment) bool {
			return s.Dir == dir^flip && s.Last > lost[dir^flip][n-1] && s.Last <= now
		})
	}
	for id, x := range r.exchanges {
		d := truth[id]
		if d == nil {
			t.Errorf("%s: there is no such stream", r.rows[id])
			continue
		}
		y := d.truth(calls, Role(flip), closed)
		switch {
		case x.Role != y.Role, len(x.Method) > 0 && string(x.Method) != d.method, len(x.Target) > 0 && string(x.Target) != d.target,
			len(x.Host) > 0 && string(x.Host) != d.host, x.TargetTruncated:
			t.Errorf("%s is not as it was sent: %s", r.rows[id], row(y))
		case d.status == -1 && !x.WasReset:
			continue // the client has reset it, which was lost, and the server did not know
		case x.Status != 0 && x.Status != y.Status, x.GRPC && (!y.GRPC || x.GRPCStatus != y.GRPCStatus || string(x.GRPCMessage) != string(y.GRPCMessage)):
			t.Errorf("%s has another answer: %s", r.rows[id], row(y))
		case x.Ending == Closed && x.ClosedBy == message.Neither && d.refused.at != 0:
			continue // that GOAWAY was lost
		case x.Ending == Closed && d.stopped.at != 0 && unseen(d.stopped.dir, x.ResponseEnd):
			continue // it was reset before, which nobody knows of yet
		case x.Ending != Complete && (x.Ending != y.Ending || x.WasReset != y.WasReset || x.Code != y.Code || x.ClosedBy != y.ClosedBy):
			t.Errorf("%s ended otherwise: %s", r.rows[id], row(y))
		case x.Ending == Complete && d.crossed && !d.over:
			continue // that the client has reset it was lost
		case x.Ending == Complete && !d.over:
			t.Errorf("%s was not over: %s", r.rows[id], row(y))
		case x.Inexact&InexactTime != 0: // it is marked
		case x.RequestStart != y.RequestStart, x.ResponseStart != 0 && x.ResponseStart != y.ResponseStart,
			x.Inexact&InexactRequest == 0 && !missed(Sent, x) && (x.RequestBytes != y.RequestBytes || x.RequestEnd != y.RequestEnd),
			x.Inexact&InexactResponse == 0 && !missed(Received, x) && (x.ResponseBytes != y.ResponseBytes || x.ResponseEnd != y.ResponseEnd):
			t.Errorf("%s has other numbers: %s", r.rows[id], row(y))
		}
	}
	// A GOAWAY that was lost may have refused what a client sends behind it: few do.
	for _, s := range r.stuck {
		d := truth[s.id]
		if d == nil || when(calls, d.last) > s.now || !d.ended || d.read.at != 0 && when(calls, d.read) < s.now ||
			d.stopped.at != 0 && when(calls, d.stopped) < s.now {
			t.Errorf("stream %d was not stuck at %d", s.id, s.now)
		}
	}
	if t.Failed() {
		t.Fatalf("joined %v, follows %v, %+v\n%v", joined, follows, r.to.Counts, slices.Sorted(maps.Values(r.rows)))
	}
}
