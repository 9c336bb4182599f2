package session

import (
	"container/heap"
	"time"

	"tracer/trace/kernel"
)

// A Timer calls a function once at a time. It is the one way to wait for time: who
// has something to do later says when, and costs nothing until then.
type Timer struct {
	call   func()
	when   uint64 // boot clock, ns
	index  int    // in the heap, -1: it does not wait
	timers *timers
}

// leastWait is how far ahead a timer is set at least: who finds at its time that it
// is too early must not spin.
const leastWait = 5 * time.Millisecond

// At makes the timer call its function at a time of the boot clock, or soon after.
// If it waits already for an earlier time it calls at that time, once.
func (t *Timer) At(when uint64) {
	if t.index >= 0 && t.when <= when {
		return // the usual case: it must not cost a look at the clock
	}
	when = max(when, kernel.Now()+uint64(leastWait))
	switch {
	case t.index < 0:
		t.when = when
		heap.Push(t.timers, t)
	case when < t.when:
		t.when = when
		heap.Fix(t.timers, t.index)
	}
}

// In is At for a time from now on.
func (t *Timer) In(d time.Duration) { t.At(kernel.Now() + uint64(d)) }

// Next is At for the next multiple of an interval: timers of one interval wake tracer
// together, which costs most of what they cost.
func (t *Timer) Next(interval time.Duration) {
	now := kernel.Now()
	t.At(now - now%uint64(interval) + uint64(interval))
}

// Waits reports whether the timer will call.
func (t *Timer) Waits() bool { return t.index >= 0 }

// timers are all timers of a session that wait, as a heap: the first is due first.
type timers []*Timer

func (t *timers) add(f func()) *Timer { return &Timer{call: f, index: -1, timers: t} }

// next is how long it is until the first timer is due, and whether there is one.
func (t timers) next(now uint64) (time.Duration, bool) {
	if len(t) == 0 {
		return 0, false
	}
	return time.Duration(max(int64(t[0].when-now), 0)), true
}

// run calls those that are due.
func (t *timers) run(now uint64) {
	for len(*t) > 0 && (*t)[0].when <= now {
		heap.Pop(t).(*Timer).call()
	}
}

// Methods of heap.Interface.

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].when < t[j].when }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

func (t *timers) Push(x any) {
	timer := x.(*Timer)
	timer.index = len(*t)
	*t = append(*t, timer)
}

func (t *timers) Pop() any {
	last := len(*t) - 1
	timer := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	timer.index = -1
	return timer
}
