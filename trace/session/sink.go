package session

import (
	"errors"

	"tracer/trace/account"
	"tracer/trace/event"
)

// A Sink takes events: stdout, a recording, a collector. Its methods are called by
// one goroutine and must not block: a sink that has to wait has a goroutine and a
// bounded queue of its own.
type Sink interface {
	// Name is what the account calls it.
	Name() string
	// Event takes e, or reports false if it cannot because what it took before
	// is still on its way. It must not keep e.
	Event(e event.Event) bool
	// Flush passes on what was taken. An error ends the session if the sink is
	// the first one: nothing can be shown any more.
	Flush() error
	// Broken is closed when Flush would return an error.
	Broken() <-chan struct{}
	// Close waits, for a bounded time, until everything is passed on. It
	// returns the number of events that Event took and that were not, and why.
	Close() (undelivered uint64, err error)
}

// A Pager is a Sink that also shows pages.
type Pager interface {
	// Page shows p, or leaves it out if what was shown before is still not
	// taken. It must not keep p.
	Page(p *event.Page)
}

// A Waker is a Sink that sometimes has something to pass on by itself.
type Waker interface {
	// Wake tells that it has: Flush passes it on.
	Wake() <-chan struct{}
}

// An Eacher is a Sink that takes each event, also where stdout has rows that sum them up,
// and no such rows. The first sink is none.
type Eacher interface {
	Each()
}

// A Waiter is a Sink that can be waited for, where events need not be lost: those of a
// recording.
type Waiter interface {
	// Wait returns when most of what was taken is passed on, when the sink is broken, or
	// when stop is closed.
	Wait(stop <-chan struct{})
}

// fanout passes events on to any number of sinks. What the first one, stdout, does
// not take is lost; what another one does not take was shown and is undelivered.
type fanout struct {
	sinks  []Sink
	each   []bool // is an Eacher
	broken []bool
	ledger *account.Ledger
}

func newFanout(ledger *account.Ledger, sinks []Sink) *fanout {
	f := &fanout{sinks, make([]bool, len(sinks)), make([]bool, len(sinks)), ledger}
	for i, s := range sinks {
		_, f.each[i] = s.(Eacher)
	}
	return f
}

func (f *fanout) event(e event.Event) {
	shown := true
	for i := range f.sinks {
		shown = f.take(i, e) && shown
	}
	if shown {
		f.ledger.Shown()
	} else {
		f.ledger.Lost(account.OutputFull, 1)
	}
}

// summed is event for one that a row will sum up.
func (f *fanout) summed(e event.Event) {
	f.ledger.Shown()
	for i, each := range f.each {
		if each {
			f.take(i, e)
		}
	}
}

// row is event for a row that sums up n events, which were counted as shown.
func (f *fanout) row(e event.Event, n uint64) {
	for i, each := range f.each {
		if !each && !f.take(i, e) {
			f.ledger.Unwritten(n)
		}
	}
}

// take passes e to a sink. It reports false if that is the first one and does not take it.
func (f *fanout) take(i int, e event.Event) bool {
	if !f.broken[i] && f.sinks[i].Event(e) {
		return true
	}
	if i == 0 {
		return false
	}
	f.ledger.Undelivered(f.sinks[i].Name(), 1)
	return true
}

// wake is that of the first sink, if it is a Waker.
func (f *fanout) wake() <-chan struct{} {
	if w, ok := f.sinks[0].(Waker); ok {
		return w.Wake()
	}
	return nil
}

func (f *fanout) page(p *event.Page) {
	for _, s := range f.sinks {
		if pager, ok := s.(Pager); ok {
			pager.Page(p)
		}
	}
}

// flush returns an error if the first sink is broken. Another one that is takes no
// more events.
func (f *fanout) flush() error {
	var first error
	for i, s := range f.sinks {
		if f.broken[i] {
			continue
		}
		if err := s.Flush(); err != nil {
			f.broken[i] = i > 0
			if i == 0 {
				first = err
			}
		}
	}
	return first
}

// wait waits for the sinks that can be waited for.
func (f *fanout) wait(stop <-chan struct{}) {
	for i, s := range f.sinks {
		if w, ok := s.(Waiter); ok && !f.broken[i] {
			w.Wait(stop)
		}
	}
}

func (f *fanout) close() error {
	var failed error
	for i, s := range f.sinks {
		n, err := s.Close()
		if i == 0 {
			f.ledger.Unwritten(n)
		} else {
			f.ledger.Undelivered(s.Name(), n)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
