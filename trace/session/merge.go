package session

import (
	"container/heap"
	"time"

	"tracer/trace/event"
)

const (
	// mergePatience is how long an event waits at most, from when it happened, for what
	// another probe has still to tell. Readers look every 75 ms, and an event is to be
	// shown within 100 ms.
	mergePatience = 90 * time.Millisecond
	// mergeLook is how often is looked whether it has told all, while events wait.
	mergeLook = 10 * time.Millisecond
	// mergeMost bounds how many events wait.
	mergeMost = 1 << 16
)

// A merge brings the events of several probes into the order in which they were over.
// Each probe tells its own events in time, but those of another one may have happened
// before them and be still on their way. What comes too late is shown at once: an event
// is never dropped for the sake of order.
type merge struct {
	show    func(event.Event)
	waiting waiting
	added   uint64
	look    *Timer
}

// newMerge returns one whose look, a timer of its session, does no more than to end the
// session's wait.
func newMerge(show func(event.Event), look *Timer) *merge {
	return &merge{show: show, look: look}
}

// add takes an event, which may be used again afterwards.
func (m *merge) add(e event.Event) {
	if len(m.waiting) >= mergeMost {
		m.next()
	}
	kept := event.Clone(e)
	if kept == nil {
		m.show(e) // it is none of a moment
		return
	}
	m.added++
	heap.Push(&m.waiting, waiter{kept, event.Ended(e).UnixNano(), m.added})
}

// release shows what was over at a time from which on probes may still tell something,
// and what has waited for long enough.
func (m *merge) release(told, now time.Time) {
	until := max(told.UnixNano(), now.Add(-mergePatience).UnixNano())
	for len(m.waiting) > 0 && m.waiting[0].over < until {
		m.next()
	}
	if len(m.waiting) > 0 {
		m.look.In(mergeLook)
	}
}

// end shows all that waits.
func (m *merge) end() {
	for len(m.waiting) > 0 {
		m.next()
	}
}

func (m *merge) next() { m.show(heap.Pop(&m.waiting).(waiter).event) }

// A waiter is an event that waits.
type waiter struct {
	event event.Event
	over  int64  // when it was, ns
	added uint64 // its number: what was over at the same time stays as it came
}

// waiting is a heap: the first was over first.
type waiting []waiter

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	return w[i].over < w[j].over || w[i].over == w[j].over && w[i].added < w[j].added
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(waiter)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = waiter{}
	*w = (*w)[:last]
	return x
}
