package session

import (
	"errors"
	"testing"

	"tracer/trace/account"
	"tracer/trace/event"
)

// queue is a Sink with room for some events.
type queue struct {
	name        string
	room, taken int
	err         error // of Flush
	left        uint64
}

func (q *queue) Name() string { return q.name }
func (q *queue) Event(event.Event) bool {
	if q.taken == q.room {
		return false
	}
	q.taken++
	return true
}
func (q *queue) Flush() error            { return q.err }
func (q *queue) Broken() <-chan struct{} { return nil }
func (q *queue) Close() (uint64, error)  { return q.left, nil }

// What the first sink does not take is lost. What another one does not take, or cannot
// pass on, was shown and is undelivered there.
func TestEachSinkHasItsOwnLosses(t *testing.T) {
	stdout := &queue{name: "stdout", room: 11, left: 2}
	file := &queue{name: "recording", room: 7}
	remote := &queue{name: "otlp", room: 13, left: 3}
	h := Offline(nil, Options{}, stdout, file, remote)
	for range 13 {
		h.Emit(&event.Exec{Common: event.Common{Kind: event.KindExec}})
	}
	if err := h.stages.sinks.close(); err != nil {
		t.Fatal(err)
	}
	a := h.Ledger.Account(0)
	if a.Seen != 13 || a.Shown != 9 || a.Lost != 4 || a.LostBy[account.OutputFull] != 4 {
		t.Errorf("stdout: %+v", a)
	}
	if a.Undelivered["recording"] != 6 || a.Undelivered["otlp"] != 3 || a.Undelivered["stdout"] != 0 {
		t.Errorf("undelivered %v", a.Undelivered)
	}
}

// each is a queue that takes what rows sum up.
type each struct{ queue }

func (*each) Each() {}

// A sink that takes each event gets what rows on stdout sum up, and not the rows.
func TestWhatRowsSumUpGoesToSinksForEachEvent(t *testing.T) {
	stdout := &queue{name: "stdout", room: 100}
	file := &each{queue{name: "recording", room: 5}}
	h := Offline(nil, Options{Filter: Filter{Comms: []string{"a"}}}, stdout, file)
	for i := range 14 {
		h.Take(&event.Exec{Common: event.Common{Process: event.Process{Comm: string("ab"[i%2])}}})
	}
	h.ShowRow(&event.ExecSummary{}, 7)
	a := h.Ledger.Account(0)
	if stdout.taken != 1 || file.taken != 5 || a.Shown != 7 || a.Filtered["comm"] != 7 || a.Undelivered["recording"] != 2 {
		t.Errorf("%d and %d taken, %+v", stdout.taken, file.taken, a)
	}
}

// Only the first sink ends a session. Another one that breaks takes no more.
func TestABrokenSinkBesideStdoutIsLeftOut(t *testing.T) {
	stdout := &queue{name: "stdout", room: 100}
	file := &queue{name: "recording", room: 100}
	h := Offline(nil, Options{}, stdout, file)
	h.Emit(&event.Exec{})
	file.err = errors.New("disk full")
	if err := h.stages.sinks.flush(); err != nil {
		t.Fatalf("the session ends: %v", err)
	}
	h.Emit(&event.Exec{})
	stdout.err = errors.New("gone")
	if err := h.stages.sinks.flush(); !errors.Is(err, stdout.err) {
		t.Errorf("stdout broke: %v", err)
	}
	if a := h.Ledger.Account(0); file.taken != 1 || a.Shown != 2 || a.Undelivered["recording"] != 1 {
		t.Errorf("%d taken, %+v", file.taken, a)
	}
}

func TestCountEndsAfterSoManyShown(t *testing.T) {
	sink := &queue{room: 100}
	h := Offline(nil, Options{Count: 3}, sink)
	for range 5 {
		h.Emit(&event.Exec{})
	}
	if a := h.Ledger.Account(0); a.Shown != 3 || a.Seen != 3 || sink.taken != 3 {
		t.Errorf("%d taken, %+v", sink.taken, a)
	}
}
