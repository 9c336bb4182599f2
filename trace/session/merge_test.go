package session

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
	"tracer/trace/kernel"
)

// merging is a merge, and the names of what it has shown.
type merging struct {
	*merge
	timers timers
	shown  []string
	start  time.Time
}

func newMerging() *merging {
	m := &merging{start: time.Now()}
	m.merge = newMerge(func(e event.Event) { m.shown = append(m.shown, e.Head().Comm) }, m.timers.add(func() {}))
	return m
}

// happen adds an event that happened, or was over, some milliseconds after the start.
func (m *merging) happen(name string, at int) {
	m.add(&event.Exec{Common: event.Common{Kind: event.KindExec, Time: m.at(at), Process: event.Process{Comm: name}}})
}

func (m *merging) at(ms int) time.Time { return m.start.Add(time.Duration(ms) * time.Millisecond) }

func TestEventsOfSeveralProbesComeInOneOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(m *merging)
		want []string
	}{
		"an event waits for what another probe may still tell": {func(m *merging) {
			m.happen("b", 20)
			m.release(m.at(10), m.at(30))
		}, nil},
		"it is shown when that has told all": {func(m *merging) {
			m.happen("b", 20)
			m.happen("a", 10)
			m.happen("c", 30)
			m.release(m.at(21), m.at(40))
		}, []string{"a", "b"}},
		"what was over at the same time stays as it came": {func(m *merging) {
			for _, name := range []string{"c", "a", "b"} {
				m.happen(name, 10)
			}
			m.release(m.at(11), m.at(11))
		}, []string{"c", "a", "b"}},
		"it waits no longer than patience": {func(m *merging) {
			m.happen("b", 20)
			m.release(m.at(0), m.at(20).Add(mergePatience))
			m.happen("c", 21)
			m.release(m.at(0), m.at(21).Add(mergePatience+1))
		}, []string{"b", "c"}},
		"what is too late is shown at once": {func(m *merging) {
			m.happen("b", 200)
			m.release(m.at(201), m.at(201))
			m.happen("a", 100)
			m.release(m.at(201), m.at(202))
		}, []string{"b", "a"}},
		"an exchange stands at its end": {func(m *merging) {
			m.add(&event.HTTP{Common: event.Common{Kind: event.KindHTTP, Time: m.at(10), Process: event.Process{Comm: "http"}}, Duration: 25 * time.Millisecond})
			m.add(&event.HTTP{Common: event.Common{Kind: event.KindHTTPStuck, Time: m.at(0), Process: event.Process{Comm: "stuck"}}, Age: 40 * time.Millisecond})
			m.happen("a", 30)
			m.happen("b", 36)
			m.release(m.at(50), m.at(50))
		}, []string{"a", "http", "b", "stuck"}},
		"at the end all are shown": {func(m *merging) {
			m.happen("b", 20)
			m.happen("a", 10)
			m.end()
		}, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMerging()
			tt.do(m)
			if diff := cmp.Diff(tt.want, m.shown); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// While something waits the session wakes up to look again.
func TestWhatWaitsIsLookedAtAgain(t *testing.T) {
	m := newMerging()
	m.happen("a", 0)
	m.release(m.at(-1), m.at(1))
	if wait, ok := m.timers.next(kernel.Now()); !ok || wait > mergeLook {
		t.Errorf("the next look is in %v, %t", wait, ok)
	}
	m.timers.run(kernel.Now() + uint64(mergeLook))
	m.release(m.at(1), m.at(1))
	if m.look.Waits() || len(m.shown) != 1 {
		t.Errorf("shown %q, and looks again: %t", m.shown, m.look.Waits())
	}
}

// However many come, none is lost, and no more wait than there is room for.
func TestWhatFindsNoRoomToWaitIsShown(t *testing.T) {
	m := newMerging()
	const more = 1009
	for i := range mergeMost + more {
		m.happen("x", i)
	}
	if len(m.shown) != more || len(m.waiting) != mergeMost {
		t.Errorf("%d shown, %d wait", len(m.shown), len(m.waiting))
	}
	if m.end(); len(m.shown) != mergeMost+more {
		t.Errorf("%d shown in the end", len(m.shown))
	}
}

// What waits is a copy: whoever has told it uses it again.
func TestWhatWaitsIsACopy(t *testing.T) {
	m := newMerging()
	e := &event.Exec{Common: event.Common{Time: m.at(1), Process: event.Process{Comm: "first"}}}
	m.add(e)
	e.Comm, e.Time = "second", m.at(2)
	m.add(e)
	m.end()
	if !slices.Equal(m.shown, []string{"first", "second"}) {
		t.Errorf("%q", m.shown)
	}
}

// Events that are merged count when they are shown, and --count ends with them.
func TestMergedEventsAreCountedWhenTheyAreShown(t *testing.T) {
	sink := &queue{room: 100}
	h := Offline(nil, Options{Count: 3}, sink)
	s := &Session{stages: *h.stages}
	s.merge = newMerge(s.showMerged, s.timers.add(func() {}))
	h.stages = &s.stages
	for range 5 {
		h.Emit(&event.Exec{})
	}
	if a := s.ledger.Account(0); a.Shown != 0 || a.Seen != 0 {
		t.Errorf("while they wait: %+v", a)
	}
	s.merge.end()
	if a := s.ledger.Account(0); a.Shown != 3 || a.Seen != 3 || sink.taken != 3 {
		t.Errorf("%d taken, %+v", sink.taken, a)
	}
}
