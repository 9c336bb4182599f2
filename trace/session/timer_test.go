package session

import (
	"testing"
	"time"

	"tracer/trace/kernel"
)

func TestTimersCallInTheOrderOfTheirTimes(t *testing.T) {
	var all timers
	var called []string
	timer := func(name string) *Timer { return all.add(func() { called = append(called, name) }) }
	now := kernel.Now()
	second := uint64(time.Second)
	a, b, c := timer("a"), timer("b"), timer("c")
	c.At(now + 3*second)
	a.At(now + 2*second)
	b.At(now + 4*second)
	b.At(now + second)   // earlier: that counts
	a.At(now + 5*second) // later: it waits already
	if wait, ok := all.next(now); !ok || wait != time.Second {
		t.Errorf("the first is due in %v, %v", wait, ok)
	}
	all.run(now + second - 1)
	if len(called) > 0 {
		t.Errorf("too early: %q", called)
	}
	all.run(now + 3*second)
	if len(called) != 3 || called[0] != "b" || called[1] != "a" || called[2] != "c" {
		t.Errorf("called %q", called)
	}
	if _, ok := all.next(now); ok || a.Waits() || b.Waits() || c.Waits() {
		t.Error("one still waits")
	}
}

// Who finds at its time that it is too early sets its timer again: that must not
// become a loop.
func TestTimerIsNeverDueAtOnce(t *testing.T) {
	var all timers
	n := 0
	var again *Timer
	again = all.add(func() {
		n++
		again.At(1) // long ago
	})
	again.At(1)
	now := kernel.Now() + uint64(leastWait)
	all.run(now)
	if n != 1 || !again.Waits() {
		t.Errorf("called %d times, waits %v", n, again.Waits())
	}
}
